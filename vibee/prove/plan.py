"""The memory plan of a model's step: two values that are alive at the same time never overlap in the arena.

        values of one slot live at different times,   each fits into its slot,   slots lie one after the other
        a call sees a value as it is, a copy that there is of it,   reads what is written,   writes what is its own

for all sizes.  Lifetimes are counted anew here, from the steps as they are emitted.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

from vibee.tree.defs import Decl
from vibee.tree.expr import Expr, show, var

from .facts import ZERO, Facts, compare
from .report import Obligation


def plan_obligations(planned: Any) -> list[Obligation]:
    """What has to hold of one planned procedure (a vibee.lower.model_emit.Planned)."""
    p, plan, work = planned.procedure, planned.plan, planned.work
    facts, out = Facts(p), []

    def claim(goal: Expr, what: str) -> None:
        proved = facts.prove(goal)
        known = () if proved else facts.about(goal)
        out.append(Obligation("plan", what, p.span, proved, known, None if proved else goal))

    times = _times(work)
    for k, (slot, size) in enumerate(zip(plan.slots, plan.sizes, strict=True)):
        clash = [(a.name, b.name) for a, b in combinations(slot.buffers, 2) if _meet(times[a.name], times[b.name])]
        names = ", ".join(b.name for b in slot.buffers)
        told = f"{clash[0][0]} and {clash[0][1]} are in use at different times" if clash else "they take turns"
        out.append(Obligation("plan", f"slot {k} holds {names}: {told}", p.span, not clash))
        for b in slot.buffers:
            held = work.sizes.expr(b.size)
            claim(compare("le", held, size), f"{b.name} fits into slot {k}: {show(held)} <= {show(size)}")
    starts = {s.name: s.init for s in p.body if isinstance(s, Decl) and s.init is not None}
    at: Expr = ZERO
    for k, size in enumerate(plan.sizes):
        name = next((n for n in (f"at_{k}", f"at_{k}_", f"at_{k}__") if n in starts), "")
        begins = bool(name) and starts[name] == at
        out.append(Obligation("plan", f"slot {k} begins where the one before it ends", p.span, begins))
        at = Expr("add", (var(name), size), None, "i64")
    return out + Uses(planned).run()


class Uses:
    """What has to hold of the values that calls read and write."""

    def __init__(self, planned: Any) -> None:
        self.p, self.work = planned.procedure, planned.work
        self.inputs = {x.name for x in self.p.params if x.kind == "in"}
        self.written = {x.name for x in self.p.params}
        self.defined: set[tuple[str, Expr | None]] = set()
        self.claims: dict[str, bool] = {}

    def claim(self, what: str, proved: bool) -> None:
        """One claim, of all the places where it is made."""
        self.claims[what] = self.claims.get(what, True) and proved

    def run(self) -> list[Obligation]:
        """The claims of all steps, in their order."""
        facts = Facts(self.p)
        for s in self.work.steps:
            loop = getattr(s, "var", None)
            inside = facts.copy()
            if loop is not None:
                inside.known += [compare("le", ZERO, var(loop)), compare("lt", var(loop), s.count)]
            for d in s.steps if loop is not None else [s]:
                self.call(d, inside, loop)
        return [Obligation("plan", what, self.p.span, proved) for what, proved in self.claims.items()]

    def call(self, d: Any, facts: Facts, loop: str | None) -> None:
        """One call: what it reads is there, and what it writes is its own."""
        taken = [(self.work.resolve(a), q.kind) for a, q in zip(d.args, self.work.program.by_key(d.fn).params,
                                                               strict=True) if not isinstance(a, Expr)]  # fmt: skip
        given = [self.work.resolve(r) for r in d.outs]
        for r in [*(r for r, _ in taken), *given]:
            self.inside(r, facts, loop)
        for r, _ in taken:
            there = self.work.values[r.value].home == "weights" or r.value in self.written
            self.claim(f"{r.value} is written before it is read", there)
        for r in [*(r for r, kind in taken if kind == "mut"), *given]:
            own = self.work.values[r.value].home != "weights" and r.value not in self.inputs
            self.claim(f"{r.value} may be written", own)
        for r in given:
            place = f"copy {show(r.index)} of {r.value}" if r.index is not None else r.value
            self.claim(f"{place} has one definition", (r.value, r.index) not in self.defined)
            self.defined.add((r.value, r.index))
            self.written.add(r.value)

    def inside(self, r: Any, facts: Facts, loop: str | None) -> None:
        """A call sees all elements of a value, of one copy that there is or of all copies.  (The part that it sees of
        a parameter is looked at where bounds are.)"""
        v, numel = self.work.values[r.value], self.work.sizes.numel
        every = v.copies is not None and r.index == ZERO and numel(r.shape) == numel((v.copies, *v.shape))
        if v.home == "param" or every:
            return
        seen, whole = (self.work.sizes.expr(numel(x)) for x in (r.shape, v.shape))
        self.claim(f"{v.name} is seen whole: {show(seen)} == {show(whole)}", facts.prove(compare("eq", seen, whole)))
        if v.copies is not None:
            index = r.index if r.index is not None else var(loop or "")
            there = facts.prove(compare("le", ZERO, index)) and facts.prove(compare("lt", index, v.copies))
            self.claim(f"there is a copy {show(index)} of {v.name}, which has {show(v.copies)}", there)


def _times(work: Any) -> dict[str, tuple[int, int]]:
    """For each value of the arena the first and last moment of use; the steps of a loop are one moment for what
    outlives an iteration."""
    out: dict[str, list[int]] = {}
    now = 0
    for s in work.steps:
        steps = getattr(s, "steps", None)
        first = now + 1
        uses: dict[str, list[int]] = {}
        for d in steps if steps is not None else [s]:
            now += 1
            for r in d.refs():
                uses.setdefault(work.resolve(r).value, []).append(now)
        for name, moments in uses.items():
            v = work.values[name]
            private = steps is not None and v.loop is not None and v.copies is None
            out.setdefault(name, []).extend(moments if private or steps is None else [first, now])
    return {name: (min(m), max(m)) for name, m in out.items()}


def _meet(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return a[0] <= b[1] and b[0] <= a[1]
