"""Regions of arrays: boxes with conditions, what a loop makes of them, and whether they cover another one.

covers:  facts and e in the box   =>   e in one of the regions        (e: one unknown index per axis)
along a loop:  L(v+s) <= U(v) for neighbours   =>   the union of [L(v), U(v)) is [L(first), U(last))
in pairs:      p in [0, M N), N >= 1, a region of p // N and p % N alone   =>   the union of (b, g) over [0, M) x [0, N)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import chain

from vibee.tree.defs import For
from vibee.tree.expr import Expr, const, free_vars, names_in, rebuild, show, substitute, var, walk

from .facts import ZERO, Facts, compare, opposite, range_facts
from .linear import constant_apart

Range = tuple[Expr, Expr]  # from, up to but not including


@dataclass(frozen=True, slots=True)
class Region:
    """The elements of a box, where the conditions hold."""

    box: tuple[Range, ...]
    where: tuple[Expr, ...] = ()
    names: frozenset[str] = field(init=False, repr=False, compare=False)  # every scalar and array that it depends on

    def __post_init__(self) -> None:
        parts = (*(e for r in self.box for e in r), *self.where)
        object.__setattr__(self, "names", frozenset().union(*map(names_in, parts)))

    def each(self, change: Callable[[Expr], Expr]) -> Region:
        """The region with every expression changed."""
        return Region(tuple((change(a), change(b)) for a, b in self.box), tuple(map(change, self.where)))


def covers(
    facts: Facts, regions: list[Region], box: tuple[Range, ...], where: Iterable[Expr] = (), size: tuple[Expr, ...] = ()
) -> bool:
    """Is every element of the box (and of an array of this size) in one of the regions?"""
    if any(r.box == box and not r.where for r in regions):
        return True
    if not regions:
        return any(lo == hi for lo, hi in box)
    here = facts.copy()
    for c in where:
        here.assume(c)
    element = [var(f"element {n}") for n in range(len(box))]
    for e, (lo, hi) in zip(element, box, strict=True):
        here.assume(compare("le", lo, e))
        here.assume(compare("lt", e, hi))
    for e, n in zip(element, size, strict=False):
        here.assume(compare("le", ZERO, e))
        here.assume(compare("lt", e, n))
    sides = []
    for r in regions:
        inside = [*r.where]
        for e, own, asked in zip(element, r.box, box, strict=True):
            if own != asked:
                inside += [compare("le", own[0], e), compare("lt", e, own[1])]
        sides.append(Expr("and", tuple(inside), None, "bool") if inside else const(True, "bool"))
    return here.prove(Expr("or", tuple(sides), None, "bool") if len(sides) > 1 else sides[0])


def merged(regions: list[Region]) -> list[Region]:
    """Boxes that meet in one axis and agree in all others become one."""
    out: list[Region] = []
    for r in regions:
        while True:
            for n, other in enumerate(out):
                both = _meeting(other, r) or _meeting(r, other)
                if both is not None:
                    del out[n]
                    r = both
                    break
            else:
                break
        if r not in out:
            out.append(r)
    return out


def _meeting(a: Region, b: Region) -> Region | None:
    """One box for two of which the second begins where the first ends."""
    if a.where != b.where:
        return None
    apart = [n for n, (x, y) in enumerate(zip(a.box, b.box, strict=True)) if x != y and not _same(x, y)]
    if len(apart) != 1:
        return None
    n = apart[0]
    if constant_apart(a.box[n][1], b.box[n][0]) != 0:
        return None
    return replace(a, box=(*a.box[:n], (a.box[n][0], b.box[n][1]), *a.box[n + 1 :]))


def _same(a: Range, b: Range) -> bool:
    return constant_apart(a[0], b[0]) == 0 and constant_apart(a[1], b[1]) == 0


def joined(facts: Facts, cond: Expr, then: list[Region], orelse: list[Region]) -> list[Region]:
    """What is written after `if cond: then else: orelse`, whichever side is taken."""
    yes, no = facts.copy(), facts.copy()
    yes.assume(cond)
    no.assume(opposite(cond))
    then, orelse = merged(then), merged(orelse)
    both: list[Region] = []
    candidates = dict.fromkeys([*orelse, *then]) if then and orelse else ()
    for r in sorted(candidates, key=lambda r: len(r.where)):
        if covers(yes, then, r.box, r.where) and covers(no, orelse, r.box, r.where):
            both.append(r)
            if not r.where:
                break  # mostly both sides write the same
    rest = [*(replace(r, where=(*r.where, cond)) for r in then),
            *(replace(r, where=(*r.where, opposite(cond))) for r in orelse)]  # fmt: skip
    return both or rest


def along(facts: Facts, s: For, r: Region, size: tuple[Expr, ...]) -> tuple[Region | None, Region | None]:
    """What the whole loop writes where an iteration writes `r`, and what the iterations before one have written.

    `facts` are those of any iteration; None where it is not known."""
    v = s.var
    pair = _pair(facts, s, r) if v in r.names else None
    if pair is not None:
        return _along_both(facts, *pair, size), None
    ahead = "lt" if s.step > 0 else "gt"
    ran, before = compare(ahead, s.lo, s.hi), compare(ahead, s.lo, var(v))
    if v not in r.names:
        return replace(r, where=(*r.where, ran)), replace(r, where=(*r.where, before))
    axes = [n for n, (lo, hi) in enumerate(r.box) if v in free_vars(lo) | free_vars(hi)]
    if s.step < 1 or len(axes) != 1 or any(v in free_vars(c) for c in r.where):
        return None, None
    n = axes[0]
    lo, hi = r.box[n]
    step = Expr("add", (var(v), const(s.step, "i64")), None, "i64")
    next_lo, next_hi = substitute(lo, {v: step}), substitute(hi, {v: step})
    more, last = facts.copy(), facts.copy()
    more.known = [*more.known, *(substitute(f, {v: step}) for f in range_facts(s, set()))]
    last.assume(compare("ge", step, s.hi))
    for c in r.where:
        more.assume(c)
        last.assume(c)

    def made(a: Expr, b: Expr) -> Region:
        return Region((*r.box[:n], (_without_zeros(a), _without_zeros(b)), *r.box[n + 1 :]), r.where)

    def whole(a: Expr, b: Expr) -> Region:
        """Where the loop does not run at all, the box must be empty, or there is a condition that it runs."""
        none = facts.copy()
        none.known = [f for f in none.known if v not in free_vars(f)]
        none.assume(opposite(ran))
        return made(a, b) if none.prove(compare("le", b, a)) else replace(made(a, b), where=(*r.where, ran))

    first_lo, first_hi = substitute(lo, {v: s.lo}), substitute(hi, {v: s.lo})
    end = Expr("sub", (s.hi, const(1, "i64")), None, "i64")
    if more.prove(compare("le", next_lo, hi)):
        final = Expr("sub", (s.hi, const(s.step, "i64")), None, "i64")
        # the shortest text for the end first, where it may be one: a proof that fails takes longest
        exact = constant_apart(lo, var(v)) is not None and last.prove(compare("le", hi, s.hi))
        likely = [*([s.hi] if exact else []), *([size[n]] if hi.op == "min" and size[n] in hi.args else [])]
        ends = [*likely, substitute(hi, {v: final}), size[n], s.hi]
        x = next((x for x in ends if v not in free_vars(x) and last.prove(compare("le", x, hi))), None)
        return (whole(first_lo, x) if x is not None else None), made(first_lo, lo)
    if s.step == 1 and more.prove(compare("le", lo, next_hi)):
        return whole(substitute(lo, {v: end}), first_hi), made(hi, first_hi)
    return None, None


def _pair(facts: Facts, s: For, r: Region) -> tuple[For, For, Region] | None:
    """Two loops, one inside of the other, that go through what one loop over a product goes through, and a region in
    terms of their variables."""
    count = next(
        (n.args[1] for e in (*chain(*r.box), *r.where) for n in walk(e) if n.op == "mod" and n.args[0] == var(s.var)),
        None,
    )
    if count is None or s.lo != ZERO or s.step != 1 or s.hi.op != "mul" or count not in s.hi.args:
        return None
    if not facts.prove(compare("le", const(1, "i64"), count)):
        return None
    outer, inner = f"{s.var} // {show(count)}", f"{s.var} % {show(count)}"
    digits = {Expr(op, (var(s.var), count), None, "i64"): var(n) for op, n in (("floordiv", outer), ("mod", inner))}

    def told(e: Expr) -> Expr:
        return digits.get(e) or rebuild(e, told)

    both = r.each(told)
    if s.var in both.names:
        return None
    rows = s.hi.args[s.hi.args[0] == count]
    return For(outer, ZERO, rows, []), For(inner, ZERO, count, []), both


def _along_both(facts: Facts, outer: For, inner: For, r: Region, size: tuple[Expr, ...]) -> Region | None:
    """What two loops write, one inside of the other, neither of which is in the facts."""
    around = facts.copy()
    around.enter(outer)
    inside = around.copy()
    inside.enter(inner)
    row, _ = along(inside, inner, r, size)
    return None if row is None else along(around, outer, row, size)[0]


def _without_zeros(e: Expr) -> Expr:
    """Without what is multiplied by 0, or added as 0: a region is forgotten where a name in it changes."""
    e = rebuild(e, _without_zeros)
    if e.op == "mul" and ZERO in e.args:
        return ZERO
    if e.op == "add" and ZERO in e.args:
        return e.args[e.args[0] == ZERO]
    return e
