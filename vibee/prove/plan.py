"""The memory plan of a model's step: two values that are alive at the same time never overlap in the arena.

        values of one slot live at different times,   each fits into its slot,   slots lie one after the other

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
    return out


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
