"""Bounds of integers: sums of products of sizes, without negative terms, below and above.

-low <= e <= high
"""

from __future__ import annotations

from dataclasses import dataclass

from vibee.tree.poly import Poly, add, mul

from .linear import RANGES

Side = Poly | None  # None: no bound is known


def one(c: int) -> Poly:
    """A constant."""
    return {(): c} if c else {}


def most(a: Side, b: Side) -> Side:
    """No less than either."""
    return None if a is None or b is None else {m: max(a.get(m, 0), b.get(m, 0)) for m in {**a, **b}}


def total(a: Side, b: Side) -> Side:
    """a + b."""
    return None if a is None or b is None else add(a, b)


def less(a: Side, b: Side) -> Side:
    """One that is no less than min(a, b): the constant one, or whichever is known."""
    if a is None or b is None:
        return b if a is None else a
    return b if set(b) <= {()} and not set(a) <= {()} else a


@dataclass(frozen=True, slots=True)
class Bounds:
    """-low <= e <= high."""

    low: Side = None
    high: Side = None

    @property
    def size(self) -> Side:
        """A bound of the magnitude."""
        return most(self.low, self.high)

    @property
    def natural(self) -> bool:
        """Never negative."""
        return self.low == {}


UNKNOWN = Bounds()
LIMITS = {**RANGES, "bool": (0, 1)}


def of_type(dtype: str) -> Bounds:
    """What the type alone says."""
    if dtype not in LIMITS:
        return UNKNOWN
    low, high = LIMITS[dtype]
    return Bounds(one(-low), one(high))


# ---- rules: the bounds of an operation, from those of its operands


def _add(a: Bounds, b: Bounds) -> Bounds:
    return Bounds(total(a.low, b.low), total(a.high, b.high))


def _sub(a: Bounds, b: Bounds) -> Bounds:
    return _add(a, _neg(b))


def _neg(a: Bounds) -> Bounds:
    return Bounds(a.high, a.low)


def _mul(a: Bounds, b: Bounds) -> Bounds:
    if a.size is None or b.size is None:
        return UNKNOWN
    size = mul(a.size, b.size)
    return Bounds({} if a.natural and b.natural else size, size)


def _floordiv(a: Bounds, b: Bounds) -> Bounds:
    return Bounds({}, a.high) if a.natural and b.natural else Bounds(a.size, a.size)


def _mod(a: Bounds, b: Bounds) -> Bounds:
    return Bounds({}, b.high) if b.natural else Bounds(b.size, b.size)


def _min(a: Bounds, b: Bounds) -> Bounds:
    return Bounds(most(a.low, b.low), less(a.high, b.high))


def _max(a: Bounds, b: Bounds) -> Bounds:
    low = {} if a.natural or b.natural else less(a.low, b.low)
    return Bounds(low, most(a.high, b.high))


def _bits(a: Bounds, b: Bounds) -> Bounds:
    return _add(a, b) if a.natural and b.natural else UNKNOWN


def _abs(a: Bounds) -> Bounds:
    """The least number of a type has no opposite: what is not seen to be greater may stay negative."""
    return Bounds({} if a.natural or small(a.size) else a.size, a.size)


def small(size: Side) -> bool:
    """Is it a constant that an i64 holds?  What the test on entry is about may be more where no test is made."""
    return size is not None and set(size) <= {()} and size.get((), 0) < 2**63


def _and(a: Bounds, b: Bounds) -> Bounds:
    sides = [x.high for x in (a, b) if x.natural]
    return Bounds({}, less(sides[0], sides[-1])) if sides else UNKNOWN


def shift(op: str, a: Bounds, b: Bounds) -> Bounds:
    """Of `shl` or `shr`."""
    least = b.natural and b.high is not None and set(b.high) <= {()}
    by = (b.high or {}).get((), 0)
    if op == "shl":  # no test is made of its result, which may wrap around to a negative number
        size = _mul(a, Bounds({}, one(1 << by))).size if least and by < 62 else None
        return Bounds({} if a.natural and small(size) else size, size)
    return Bounds({} if a.natural else a.size, a.size)


RULES = {"add": _add, "sub": _sub, "neg": _neg, "mul": _mul, "floordiv": _floordiv, "mod": _mod, "min": _min,
         "max": _max, "bitor": _bits, "xor": _bits, "bitand": _and, "abs": _abs}  # fmt: skip
