"""Written before read: every element of an output by the end, and whatever is read before that.

Goes through the statements in order with the regions of each array that are written so far.  A loop is walked
twice: once for what an iteration writes, and once more with what the iterations before it have written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from vibee.tree.defs import (
    Alloc,
    Assign,
    Call,
    Decl,
    Definition,
    For,
    If,
    Jump,
    Procedure,
    Store,
    View,
    While,
    statements,
)
from vibee.tree.expr import Expr, Span, const, free_vars, show, substitute, walk

from .facts import ZERO, Facts, changed, leaves, opposite, plus, width
from .races import whole
from .regions import Region, along, covers, joined, merged
from .report import Obligation

Lookup = Callable[[str], Definition]
Have = dict[str, list[Region]]
ZEROS = "it begins as zeros"
DATA = ("load", "load?", "call")


@dataclass(slots=True)
class Written:
    """The walk through one procedure."""

    lookup: Lookup
    facts: Facts
    shapes: dict[str, tuple[Expr, ...]]
    outs: list[str]
    have: Have
    values: dict[str, Expr] = field(default_factory=dict)  # of scalars, in terms of names that are older
    silent: int = 0
    open: dict[tuple[str, Span], str] = field(default_factory=dict)
    asked: dict[tuple[str, Span], None] = field(default_factory=dict)

    def block(self, stmts: list) -> None:
        """Statements one after the other."""
        for s in stmts:
            self.stmt(s)

    def stmt(self, s: object) -> None:
        """One statement: what it reads must be there; then what it writes is."""
        for part in ("value", "init", "lo", "hi", "cond"):
            e = getattr(s, part, None)
            if isinstance(e, Expr) and not isinstance(s, While):  # its condition is read again and again
                self.reads(e, s.span)  # type: ignore[attr-defined]
        if isinstance(s, (Decl, Assign)):
            value = s.init if isinstance(s, Decl) else s.value
            known = value if value is None else self.older(value, {s.name})
            self.facts.drop({s.name})
            self.forget({s.name})
            if value is not None and known is not None:
                self.facts.know(s.name, value.dtype, value)
                told = s.name not in free_vars(known) and not any(n.op in DATA for n in walk(known))
                if value.dtype == "i64" and told:
                    self.values[s.name] = known
        elif isinstance(s, Alloc):
            self.shapes[s.name] = s.shape
            self.have[s.name] = []
        elif isinstance(s, Store):
            for e in s.idx:
                self.reads(e, s.span)
            run = width(s.value.dtype)
            self.write(s.array, s.idx, run)
            self.facts.drop(changed([s]))
            self.forget({s.array})
        elif isinstance(s, Call):
            self.call(s)
        elif isinstance(s, If):
            self.branch(s)
        elif isinstance(s, For):
            self.loop(s)
        elif isinstance(s, While):
            self.repeat(s)
        elif isinstance(s, Jump) and s.kind == "return":
            self.finish(s.span)

    # ---- reads and writes

    def reads(self, e: Expr, span: Span) -> None:
        """Every element that an expression reads."""
        for n in walk(e):
            if n.op in ("load", "load?", "vload") and n.attr in self.have:
                run = width(n.dtype)
                self.need(str(n.attr), box_of(n.args, run), span, show(n))

    def write(self, array: str, idx: tuple[Expr, ...], run: int) -> None:
        """Elements are there from now on."""
        if array in self.have:
            self.add(array, box_of(idx, run))

    def add(self, array: str, box: tuple[tuple[Expr, Expr], ...]) -> None:
        """A box is written."""
        if not any(n.op in ("load", "load?") for r in box for e in r for n in walk(e)):
            self.have[array] = [*self.have[array], Region(box)]

    def need(self, array: str, box: tuple[tuple[Expr, Expr], ...], span: Span, text: str) -> None:
        """A box is read."""
        if self.silent:
            return
        self.asked[array, span] = None
        # that it is inside its array is another obligation
        if not covers(self.facts, self.have[array], box, size=self.shapes[array]):
            self.open.setdefault((array, span), text)

    def call(self, s: Call) -> None:
        """The callee reads what it is given and writes all of its outputs."""
        for v, p in zip(s.args, self.lookup(s.fn).params, strict=True):
            if isinstance(v, View) and v.array in self.have and p.kind != "out":
                self.need(v.array, self.box(v), s.span, f"{p.name} of {s.fn}")
            elif isinstance(v, Expr):
                self.reads(v, s.span)
        for v in s.outs:
            if isinstance(v, View) and v.array in self.have:
                self.add(v.array, self.box(v))
        moved = changed([s])
        self.facts.drop(moved)
        self.forget(moved)

    def box(self, v: View) -> tuple[tuple[Expr, Expr], ...]:
        """The elements of a view."""
        start, counts = whole(v, self.shapes[v.array])
        ends = [c if a == ZERO else plus(a, c) for a, c in zip(start, counts, strict=True)]
        if v.part is not None:
            ends[len(v.lead)] = v.part[1]
        return tuple(zip(start, ends, strict=True))

    def older(self, e: Expr, names: set[str]) -> Expr:
        """The expression without these names, as far as their values are known."""
        if names.isdisjoint(free_vars(e)):
            return e
        known = {n: self.values[n] for n in names & self.values.keys()}
        for _ in known:  # a value may be in terms of another of them
            if not free_vars(e) & known.keys():
                break
            e = substitute(e, known)
        return e

    def settled(self, regions: list[Region], names: set[str]) -> list[Region]:
        """The regions whose names are not these, once values are put for them."""
        told = [r if names.isdisjoint(r.names) else r.each(lambda e: self.older(e, names)) for r in regions]
        return [r for r in told if names.isdisjoint(r.names)]

    def forget(self, names: set[str]) -> None:
        """Scalars and arrays change: what was said in terms of them is said by their values, or no longer known."""
        self.have = {array: self.settled(regions, names) for array, regions in self.have.items()}
        told = {n: self.older(e, names) for n, e in self.values.items() if n not in names}
        self.values = {n: e for n, e in told.items() if not free_vars(e) & names}

    # ---- blocks

    def branch(self, s: If) -> None:
        """Both sides, and what is written whichever was taken."""
        before, values, known = self.copy(), dict(self.values), self.facts.known
        self.facts.assume(s.cond)
        gone = [leaves(s.then), leaves(s.orelse)]
        moved = {n for side, left in zip((s.then, s.orelse), gone, strict=True) if not left for n in changed(side)}
        self.block(s.then)
        then = {array: self.settled(regions, moved) for array, regions in self.have.items()}
        self.have, self.values, self.facts.known = before, dict(values), known
        start = self.copy()
        self.facts.assume(opposite(s.cond))
        self.block(s.orelse)
        orelse = {array: self.settled(regions, moved) for array, regions in self.have.items()}
        self.facts.known = known
        self.have = {}
        for array, old in start.items():
            new = [[r for r in side[array] if r not in old] for side in (then, orelse)]
            if gone[0] or gone[1]:
                both = [] if all(gone) else new[1] if gone[0] else new[0]
            else:
                both = joined(self.facts, s.cond, new[0], new[1]) if any(new) else []
            self.have[array] = [*old, *both]
        self.values = values
        self.forget(moved)
        self.facts.drop(moved)
        if not s.orelse and gone[0]:
            self.facts.assume(opposite(s.cond))

    def loop(self, s: For) -> None:
        """What one iteration writes, then the body again with what those before it wrote."""
        moved = changed([s])
        start, values, known = self.copy(), dict(self.values), self.facts.known
        lo, hi = self.older(s.lo, moved), self.older(s.hi, moved)  # the range is that of the beginning
        self.forget(moved)
        begun = self.copy()
        outer = dict(self.values)
        self.facts.enter(s)
        inside = self.facts.known
        self.silent += 1
        self.block(s.body)
        self.silent -= 1
        self.facts.known = inside
        early = any(isinstance(t, Jump) and t.kind in ("break", "continue") for t in statements(s.body))
        locals_ = moved - {s.var}
        total: Have = {}
        ahead: Have = {}
        plain = For(s.var, lo, hi, [], s.step)
        for array, old in begun.items():
            new = merged([r for r in self.settled(self.have[array], locals_) if r not in old])
            pairs = [] if early else [along(self.facts, plain, r, self.shapes[array]) for r in new]
            total[array] = [p for p, _ in pairs if p is not None]
            held = [p for _, p in pairs if p is not None and not p.names & locals_]  # the range was, when it began
            ahead[array] = held if not s.parallel else []
        if not self.silent:
            self.have = {a: [*old, *ahead[a]] for a, old in begun.items()}
            self.facts.known = inside
            self.values = outer
            self.block(s.body)
        self.facts.known = known
        self.values = values
        self.facts.drop(moved)
        self.have = {a: [*old, *total.get(a, [])] for a, old in start.items()}
        self.forget(moved)

    def repeat(self, s: While) -> None:
        """A `while` may not run at all: nothing that it writes counts after it."""
        moved = changed([s])
        known, values = self.facts.known, dict(self.values)
        self.forget(moved)
        start = self.copy()
        self.facts.enter(s)
        self.reads(s.cond, s.span)
        self.facts.assume(s.cond)
        self.block(s.body)
        self.have = start
        self.facts.known, self.values = known, values
        self.facts.drop(moved)
        self.forget(moved)

    def copy(self) -> Have:
        """The regions so far."""
        return {a: list(r) for a, r in self.have.items()}

    def finish(self, span: Span) -> None:
        """Every element of every output is there."""
        if self.silent:
            return
        for name in self.outs:
            self.asked[name, span] = None
            box = tuple((ZERO, e) for e in self.shapes[name])
            if not covers(self.facts, merged(self.have[name]), box):
                self.open.setdefault((name, span), "at the end")


def box_of(idx: tuple[Expr, ...], run: int) -> tuple[tuple[Expr, Expr], ...]:
    """One element, or `run` of them along the last axis."""
    counts = [1] * (len(idx) - 1) + [run] if idx else []
    return tuple((e, plus(e, const(n, "i64"))) for e, n in zip(idx, counts, strict=True))


def check_written(p: Procedure, lookup: Lookup) -> list[tuple[str, Obligation]]:
    """One obligation for each place where an array of its own is read, whether or not it begins as zeros, and for the
    end of each output; with the array's name."""
    outs = [o.name for o in p.outs if o.shape and not p.is_scalar]
    shapes = {q.name: q.shape for q in [*p.params, *p.outs] if q.is_array}
    w = Written(lookup, Facts(p), shapes, outs, {o: [] for o in outs})
    w.block(p.body)
    w.finish(p.span)
    out = []
    for array, span in w.asked:
        text = w.open.get((array, span))
        what = f"{array} is written wherever it is read" if text is None else f"{array} is written: {text}"
        out.append((array, Obligation("written", what, span, text is None, instead=ZEROS)))
    return out
