"""Intervals of numbers: what an operation gives lies between two bounds, or is nan.

Rounding is monotone: a result is no less than the lower bound rounded, so bounds are computed exactly and rounded
outward.  An infinity as a bound stands for any number so far out, and for itself.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from vibee.tree.expr import Expr
from vibee.tree.types import DTYPES, is_float, is_int

from .values import f32, limits

Bound = Fraction | float  # a whole number too
LARGEST = sys.float_info.max
LEAST = {"f32": 2.0**-149, "f64": 5e-324, "bf16": 2.0**-133}  # the least number above 0


@dataclass(frozen=True, slots=True)
class Interval:
    """low <= x <= high; or x is nan, if it may be."""

    low: Bound
    high: Bound
    nan: bool = True

    def join(self, other: Interval | None) -> Interval:
        """One that holds both."""
        if other is None:
            return self
        return Interval(min(self.low, other.low), max(self.high, other.high), self.nan or other.nan)

    def meet(self, other: Interval) -> Interval:
        """What is in both; this one where nothing is (such a place is never come to)."""
        low, high = max(self.low, other.low), min(self.high, other.high)
        return Interval(low, high, self.nan and other.nan) if low <= high else self


ANY = Interval(-math.inf, math.inf)


def of_type(dtype: str) -> Interval:
    """Every number of a type."""
    if dtype == "bool":
        return Interval(0, 1, False)
    return Interval(*limits(dtype), False) if is_int(dtype) else ANY


def nearest(x: Bound, up: bool, dtype: str) -> float:
    """A bound, rounded as a result is; where that takes two steps, rather too far."""
    if isinstance(x, float) and math.isinf(x):
        return x
    try:
        near = float(x)
    except OverflowError:
        return math.inf if x > 0 else -math.inf
    if dtype == "f64":
        return near
    if near != x:
        near = math.nextafter(near, math.inf if up else -math.inf)
    if dtype == "bf16":  # far fewer digits: only the sign is kept
        return (math.inf if near > 0 else 0.0) if up else (-math.inf if near < 0 else 0.0)
    return f32(near)


def fitted(low: Bound, high: Bound, dtype: str, nan: bool) -> Interval:
    """Exact bounds of a result, in its type: rounded, or any number if whole ones do not fit."""
    if is_float(dtype):
        return Interval(nearest(low, False, dtype), nearest(high, True, dtype), nan)
    every = of_type(dtype)
    return Interval(int(low), int(high), False) if every.low <= low and high <= every.high else every


def _exact(x: Bound) -> Bound:
    return x if math.isinf(x) else Fraction(x)


def _sum(a: Bound, b: Bound, far: float) -> Bound:
    """a + b; infinities that do not agree are `far`."""
    if math.isinf(a) or math.isinf(b):
        return far if math.isinf(a) and math.isinf(b) and a != b else a if math.isinf(a) else b
    return Fraction(a) + Fraction(b)


def _product(a: Bound, b: Bound) -> Bound:
    if a == 0 or b == 0:
        return Fraction(0)
    if math.isinf(a) or math.isinf(b):
        return math.inf if (a > 0) == (b > 0) else -math.inf
    return Fraction(a) * Fraction(b)


def _quotients(a: Bound, b: Bound) -> list[Bound]:
    if math.isinf(b):
        return [Fraction(0), *([math.inf if (a > 0) == (b > 0) else -math.inf] if math.isinf(a) else [])]
    return [(math.inf if (a > 0) == (b > 0) else -math.inf) if math.isinf(a) else Fraction(a) / Fraction(b)]


# ---------------------------------------------------------------- rules


def _add(a: Interval, b: Interval, dtype: str) -> Interval:
    low, high = _sum(a.low, b.low, -math.inf), _sum(a.high, b.high, math.inf)
    against = (a.low == -math.inf and b.high == math.inf) or (a.high == math.inf and b.low == -math.inf)
    return fitted(low, high, dtype, a.nan or b.nan or against)


def _neg(a: Interval, dtype: str) -> Interval:
    return fitted(_exact(-a.high), _exact(-a.low), dtype, a.nan)


def _mul(a: Interval, b: Interval, dtype: str) -> Interval:
    """A product that is fused with a sum is not rounded: both are inside, and the bounds are no larger than floats."""
    corners = [_product(x, y) for x in (a.low, a.high) for y in (b.low, b.high)]
    low, high = min(corners), max(corners)
    endless = any(math.isinf(y) and x.low <= 0 <= x.high for x, z in ((a, b), (b, a)) for y in (z.low, z.high))
    found = fitted(low, high, dtype, a.nan or b.nan or endless)
    if not is_float(dtype):
        return found
    return Interval(min(low, found.low, LARGEST), max(high, found.high, -LARGEST), found.nan)


def _div(a: Interval, b: Interval, dtype: str) -> Interval:
    if b.low <= 0 <= b.high:
        return ANY  # a zero may be -0.0
    corners = [q for x in (a.low, a.high) for y in (b.low, b.high) for q in _quotients(x, y)]
    endless = any(map(math.isinf, (a.low, a.high))) and any(map(math.isinf, (b.low, b.high)))
    return fitted(min(corners), max(corners), dtype, a.nan or b.nan or endless)


def _abs(a: Interval, dtype: str) -> Interval:
    high = max(a.high, -a.low)
    return fitted(_exact(a.low if a.low >= 0 else -a.high if a.high <= 0 else 0.0), _exact(high), dtype, a.nan)


def _max(a: Interval, b: Interval, dtype: str) -> Interval:
    """max(a, b) is b where b > a, else a: where b is nan it is a, and where a is nan it is nan."""
    return Interval(a.low if b.nan else max(a.low, b.low), max(a.high, b.high), a.nan)


def _min(a: Interval, b: Interval, dtype: str) -> Interval:
    return Interval(min(a.low, b.low), a.high if b.nan else min(a.high, b.high), a.nan)


def _sqrt(a: Interval, dtype: str) -> Interval:
    low, high = math.sqrt(max(a.low, 0.0)), math.sqrt(max(a.high, 0.0))
    low = low if low in (0.0, math.inf) else math.nextafter(low, 0.0)
    high = high if high in (0.0, math.inf) else math.nextafter(high, math.inf)
    return fitted(_exact(low), _exact(high), dtype, a.nan or a.low < 0)


def _whole(f: Callable[[Any], Any]) -> Callable[[Interval, str], Interval]:
    def rule(a: Interval, dtype: str) -> Interval:
        low, high = (x if math.isinf(x) else float(f(x)) for x in (a.low, a.high))
        return Interval(low, high, a.nan)

    return rule


def _bitand(a: Interval, b: Interval, dtype: str) -> Interval:
    sides = [x.high for x in (a, b) if x.low >= 0]
    return Interval(0, min(sides), False) if sides else of_type(dtype)


def _shr(a: Interval, b: Interval, dtype: str) -> Interval:
    if b.low != b.high or a.low < 0:
        return of_type(dtype)
    return Interval(0, int(a.high) >> (int(b.low) & (DTYPES[dtype].bits - 1)), False)


def _floordiv(a: Interval, b: Interval, dtype: str) -> Interval:
    return Interval(0, a.high, False) if a.low >= 0 and b.low >= 0 else of_type(dtype)


def _mod(a: Interval, b: Interval, dtype: str) -> Interval:
    return Interval(0, max(b.high, 0), False) if b.low >= 0 else of_type(dtype)


BINARY: dict[str, Callable[[Interval, Interval, str], Interval]] = {
    "add": _add, "sub": lambda a, b, t: _add(a, Interval(-b.high, -b.low, b.nan), t), "mul": _mul, "div": _div,
    "min": _min, "max": _max, "bitand": _bitand, "shr": _shr, "floordiv": _floordiv, "mod": _mod,
}  # fmt: skip
UNARY: dict[str, Callable[[Interval, str], Interval]] = {
    "neg": _neg, "abs": _abs, "sqrt": _sqrt, "floor": _whole(math.floor), "rint": _whole(round),
}  # fmt: skip


def converted(a: Interval, source: str, to: str) -> Interval:
    """A conversion of a number."""
    if is_float(to):
        return fitted(_exact(a.low), _exact(a.high), to, a.nan)
    if is_float(source) or source == "bool" or not is_int(to):
        return of_type(to)
    every = of_type(to)
    return a if every.low <= a.low and a.high <= every.high else every


def square(a: Interval, dtype: str) -> Interval:
    """x * x."""
    return replace(_mul(_abs(a, dtype), _abs(a, dtype), dtype), nan=a.nan)


def added(a: Interval, some: bool, dtype: str) -> Interval:
    """A sum of numbers that lie in `a`, of one at least if `some`: rounding takes no sum of what is not negative below
    any of its terms."""
    low = (a.low if some else 0.0) if a.low >= 0 else -math.inf
    high = (a.high if some else 0.0) if a.high <= 0 else math.inf
    return Interval(low, high) if is_float(dtype) else of_type(dtype)


def folded(op: str, a: Interval, some: bool, dtype: str) -> Interval:
    """A reduction of numbers that lie in `a`, of one at least if `some`.  Products of integers wrap around."""
    if op == "sum":
        return added(a, some, dtype)
    if op in ("max", "min"):
        sure = some and not a.nan
        return Interval(a.low if sure or op == "min" else -math.inf, a.high if sure or op == "max" else math.inf, False)
    return Interval(0, math.inf) if op == "prod" and a.low >= 0 and is_float(dtype) else of_type(dtype)


def compared(op: str, other: Interval, dtype: str) -> Interval:
    """What `x op other` says of x."""
    if op == "eq":
        return replace(other, nan=False)
    if op not in ("lt", "le", "gt", "ge"):
        return ANY
    least = LEAST.get(dtype, 1) if op in ("lt", "gt") else 0
    if op in ("gt", "ge"):
        low = other.low + least if is_int(dtype) or other.low == 0 else other.low
        return Interval(low, math.inf, False)
    high = other.high - least if is_int(dtype) or other.high == 0 else other.high
    return Interval(-math.inf, high, False)


def holds(op: str, a: Interval, b: Interval) -> bool:
    """Does a comparison hold for all numbers in two intervals that are not nan?"""
    below, above, one = a.high < b.low, a.low > b.high, a.low == a.high == b.low == b.high
    return {"lt": below, "le": a.high <= b.low, "gt": above, "ge": a.low >= b.high, "ne": below or above,
            "eq": one}.get(op, False)  # fmt: skip


def literal(e: Expr) -> Interval:
    """A constant."""
    x = e.attr
    if not isinstance(x, (int, float)) or x != x:
        return ANY
    return Interval(x, x, False) if e.dtype == "bool" else fitted(_exact(x), _exact(x), e.dtype, False)
