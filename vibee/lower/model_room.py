"""Conditions that keep the arithmetic on sizes from overflowing: no product is larger than the array that holds it.

The length of the weights or of the arena is a length of real memory.  A product of sizes is compared with it by
dividing the length by one factor after the other, which cannot overflow however large the factors are.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..tree.expr import Expr, const
from ..tree.poly import Mono, Poly, Sizes

ZERO, ONE = const(0, "i64"), const(1, "i64")


def products(polys: Iterable[Poly]) -> list[tuple[Mono, int]]:
    """The largest products of sums that have no negative terms; those that are part of another one are left out."""
    found: dict[Mono, int] = {}
    for p in polys:
        if all(c > 0 for c in p.values()):
            for m, c in p.items():
                if len(m) > 1 or c > 1:
                    found[m] = max(found.get(m, 0), c)
    return sorted(found.items())


def fits(m: Mono, times: int, length: Expr, sizes: Sizes) -> Expr:
    """`times * (product of m) <= length`, without computing the product."""
    factors = [sizes.expr({(a,): 1}) for a in m]
    rest = length if times == 1 else Expr("floordiv", (length, const(times, "i64")), None, "i64")
    for f in factors:
        rest = Expr("floordiv", (rest, Expr("max", (f, ONE), None, "i64")), None, "i64")
    out = Expr("ge", (rest, ONE), None, "bool")
    for f in dict.fromkeys(factors):
        out = Expr("or", (Expr("eq", (f, ZERO), None, "bool"), out), None, "bool")
    return out


def room(polys: Iterable[Poly], length: Expr, sizes: Sizes) -> list[Expr]:
    """The conditions for an array of `length` elements that holds values of these sizes."""
    return [fits(m, c, length, sizes) for m, c in products(polys)]
