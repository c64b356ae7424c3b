"""Races: two iterations of a parallel loop never touch the same element, one of them writing.

        facts(i) and facts(j) and i < j   =>   for some axis: a's indices(i) and b's indices(j) do not meet

for every write a and every access b of the same array; what an iteration changes has one name in i and another
in j.  Indices of several accesses that differ by constants, under the same facts, are taken together as one range.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby, product

from vibee.tree.defs import For, View
from vibee.tree.expr import Expr, Span, const, free_vars, names_in, rename_arrays, show, substitute, var

from .facts import FLIP, ZERO, Facts, changed, compare, plus, range_facts, relevant
from .linear import constant_apart, implied
from .report import Obligation

SERIAL = "the loop runs serially"


@dataclass(frozen=True, slots=True)
class Access:
    """`counts` elements from `start` on, along each axis, under `facts`."""

    array: str
    start: tuple[Expr, ...]
    counts: tuple[Expr, ...]
    write: bool
    facts: list[Expr] = field(hash=False)
    span: Span = field(compare=False)


@dataclass(slots=True)
class Scope:
    """A parallel loop while its body is walked."""

    loop: For
    own: set[str]  # what each iteration has for itself
    accesses: list[Access] = field(default_factory=list)
    shared: list[tuple[str, Span]] = field(default_factory=list)  # outer scalars that iterations set


def whole(v: View, shape: tuple[Expr, ...]) -> tuple[tuple[Expr, ...], tuple[Expr, ...]]:
    """The elements that a view stands for: first index and count along each axis."""
    start, counts = list(v.lead), [const(1, "i64")] * len(v.lead)
    rest = shape[len(v.lead) :]
    if v.part is not None:
        lo, hi = v.part
        start.append(lo)
        counts.append(Expr("sub", (hi, lo), None, "i64"))
        rest = rest[1:]
    return (*start, *[ZERO] * len(rest)), (*counts, *rest)


def separate(scope: Scope, facts: Facts) -> list[Obligation]:
    """One obligation for each array that the loop writes, and for each outer scalar that it sets."""
    v = scope.loop.var
    out = [
        Obligation("race", f"{name} is set by several iterations of the loop over {v}", span, False, instead=SERIAL)
        for name, span in dict(scope.shared).items()
    ]
    order = sorted(range(len(scope.accesses)), key=lambda n: (scope.accesses[n].array, n))
    for array, group in groupby((scope.accesses[n] for n in order), key=lambda a: a.array):
        accesses = list(group)
        if any(a.write for a in accesses):
            out.append(_array(scope, array, accesses, facts))
    return out


def _array(scope: Scope, array: str, accesses: list[Access], facts: Facts) -> Obligation:
    v = scope.loop.var
    what = f"iterations of the loop over {v} touch different elements of {array}"
    if _own_row(accesses, v):
        return Obligation("race", what, scope.loop.span)
    merged = hulls(accesses)
    moved = changed([scope.loop])
    if len(merged) > 1 and _in_bands(scope, merged, moved, facts):
        return Obligation("race", what, scope.loop.span)
    for n, a in enumerate(merged):
        for b in merged[n:]:
            if not (a.write or b.write):
                continue
            for x, y in ((a, b), (b, a)) if a is not b else ((a, b),):
                facts_of_both, sides = _claim(scope, x, y, moved, facts)
                if _in_order(facts_of_both, sides, moved):
                    continue
                goal = Expr("or", sides, None, "bool") if len(sides) > 1 else sides[0]
                known = tuple(relevant(facts_of_both, goal))
                if not implied(known, goal):
                    text = f"{what}: {_place(x)} and {_place(y)}"
                    return Obligation("race", text, x.span, False, known, goal, SERIAL, array)
    return Obligation("race", what, scope.loop.span)


def _own_row(accesses: list[Access], v: str) -> bool:
    """Is the loop variable itself the index of one and the same axis everywhere?"""
    one = const(1, "i64")
    axes = [{n for n, (e, c) in enumerate(zip(a.start, a.counts, strict=True))
             if e.op == "var" and e.attr == v and c == one} for a in accesses]  # fmt: skip
    return bool(set.intersection(*axes))


def _in_bands(scope: Scope, accesses: list[Access], moved: set[str], facts: Facts) -> bool:
    """Does each iteration stay, on one axis, inside a band that ends before those of later iterations begin?"""
    others = [set(a.facts) for a in accesses[1:]]
    common = [f for f in accesses[0].facts if all(f in known for known in others)]
    for axis, lo, hi in _bands(accesses[0], common, scope.loop.var, moved):
        band = replace(accesses[0], start=(lo,), counts=(Expr("sub", (hi, lo), None, "i64"),), facts=common)
        known, (ends_before, _) = _claim(scope, band, band, moved, facts)
        if _in_order(known, (ends_before,), moved) and all(_inside(a, axis, lo, hi, moved, facts) for a in accesses):
            return True
    return False


def _bands(a: Access, common: list[Expr], v: str, moved: set[str]) -> Iterator[tuple[int, Expr, Expr]]:
    """Axes with ranges of loops inside an iteration, said by what does not change in the iteration: likely bands."""
    own = moved - {v}
    values = {
        str(f.args[0].attr): f.args[1]
        for f in common
        if f.op == "eq" and f.args[0].op == "var" and f.args[0].attr in own
    }

    def ends(side: int, op: str, x: str) -> Iterator[Expr]:
        for e in (f.args[1 - side] for f in common if f.op == op and f.args[side] == var(x)):
            for name in reversed(values):  # a value is in terms of older names
                e = substitute(e, {name: values[name]})
            if v in free_vars(e) and not names_in(e) & own:
                yield e

    for axis, start in enumerate(a.start):
        names = sorted(free_vars(start) & own)
        for x in names:  # grows
            yield from ((axis, lo, hi) for lo, hi in product(ends(1, "le", x), ends(0, "lt", x)))
            below = {n for f in common if f.op == "le" and f.args[1] == var(x) for n in free_vars(f.args[0])}
            names += sorted((below & own) - {*names})


def _inside(a: Access, axis: int, lo: Expr, hi: Expr, moved: set[str], facts: Facts) -> bool:
    """Is an access inside a band?"""
    known = [*a.facts, *facts.instances(a.facts)]
    still = {n for f in known for n in names_in(f)} - moved
    goals = compare("le", lo, a.start[axis]), compare("le", plus(a.start[axis], a.counts[axis]), hi)
    return all(implied(tuple(relevant(known, goal, still)), goal) for goal in goals)


def _in_order(known: list[Expr], sides: tuple[Expr, ...], moved: set[str]) -> bool:
    """Does one iteration end, on one axis, before the other begins?  What is linked to that axis by names that change
    is enough to see it, and takes far fewer steps than a question of all axes."""
    earlier, plain = known[0], [f for f in known if f.op in FLIP]
    still = {n for f in plain for n in names_in(f) if n.rstrip("'").partition("#")[0] not in moved}
    for side in (s for s in sides if s.op == "le"):
        near = relevant(plain, side, still)
        if earlier in near and implied(tuple(near), side):
            return True
    return False


def _claim(scope: Scope, a: Access, b: Access, moved: set[str], facts: Facts) -> tuple[list[Expr], tuple[Expr, ...]]:
    """Facts of an earlier iteration at `a` and a later one at `b`, the first that it is earlier, and comparisons any of
    which says that they are apart."""
    seen = {n for e in (*b.facts, *b.start, *b.counts) for n in free_vars(e)}
    # what a scalar held before (`x#1`) belongs to its iteration too
    later = {n: var(f"{n}'") for n in moved | {n for n in seen if n.partition("#")[0] in moved}}
    arrays = {n: f"{n}'" for n in moved}

    def prime(e: Expr) -> Expr:
        return rename_arrays(substitute(e, later), arrays)

    v = scope.loop.var
    own = range_facts(scope.loop, moved - {v})
    earlier = compare("lt" if scope.loop.step > 0 else "gt", var(v), prime(var(v)))
    known = [earlier, *own, *map(prime, own), *a.facts, *map(prime, b.facts)]
    known = [*known, *facts.instances(known)]
    sides = []
    for x, m, y, k in zip(a.start, a.counts, b.start, b.counts, strict=True):
        y, k = prime(y), prime(k)
        one = const(1, "i64")
        if m == one == k:
            sides.append(compare("ne", x, y))
        else:
            sides += [compare("le", plus(x, m), y), compare("le", plus(y, k), x)]
    return known, tuple(sides) or (const(False, "bool"),)


def hulls(accesses: list[Access]) -> list[Access]:
    """Accesses under the same facts whose indices differ by constants become one that holds them all."""
    out: list[Access] = []
    for a in dict.fromkeys(accesses):
        for n, h in enumerate(out):
            both = _joined(h, a)
            if both is not None:
                out[n] = both
                break
        else:
            out.append(a)
    return out


def _joined(a: Access, b: Access) -> Access | None:
    if a.facts is not b.facts and a.facts != b.facts:
        return None
    start, counts = [], []
    for x, m, y, k in zip(a.start, a.counts, b.start, b.counts, strict=True):
        if x == y and m == k:
            start.append(x)
            counts.append(m)
            continue
        apart = constant_apart(x, y)
        if apart is None or m.op != "const" or k.op != "const":
            return None
        first, end = min(0, apart), max(int(m.attr), apart + int(k.attr))  # type: ignore[call-overload]
        start.append(x if apart >= 0 else y)
        counts.append(const(end - first, "i64"))
    return replace(a, start=tuple(start), counts=tuple(counts), write=a.write or b.write)


def _place(a: Access) -> str:
    one = const(1, "i64")
    ranges = zip(a.start, a.counts, strict=True)
    parts = [show(e) if c == one else f"{show(e)} to {show(c if e == ZERO else plus(e, c))}" for e, c in ranges]
    return f"{a.array}[{', '.join(parts)}]"
