"""Numbers with a bound of the error that a kernel makes: running error analysis, element by element.

A `Num` is (v, e): v is the value in higher precision (f64 for f32, 80-bit floats for f64; integers and
conditions as they are), e bounds |what a kernel computes - v|.  e is 0 where the kernel's value is certain, inf
where nothing can be said.  For a condition, e says whether it might come out the other way.

Each rule adds what its rounding can cost, u |v| with u half a unit in the last place, to what the errors of its
operands become (Higham, "Accuracy and Stability of Numerical Algorithms", 3.3).  A sum of n terms, whose order is
the compiler's choice, costs n u times the sum of magnitudes (ibid. 4.2); a fused multiply-add costs less than its two
roundings.  Its product does not overflow, either: one that does, but not by much, may come back when something is
added, and infinities of two signs that come of products need not meet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from vibee.tree.types import DTYPES, is_float

UNIT = {"f32": 2.0**-24, "f64": 2.0**-53, "bf16": 2.0**-8}
TINY = {
    "f32": 2.0**-150,
    "f64": 2.0**-1074,
    "bf16": 2.0**-134,
}  # half the least positive number, or as little as can be said
LEAST_NORMAL = {"f32": 2.0**-126, "f64": 2.0**-1022, "bf16": 2.0**-126}
GREATEST = {"f32": 3.4028234663852886e38, "f64": 1.7976931348623157e308, "bf16": 3.39e38}
ELEMENTARY_ULPS = 4  # of the definitions that work on the bits of floats (exp, log, tanh ...), each

# The types that values are kept in; in an evaluation that rounds as the kernel does, its own.
HIGH: dict[str, np.dtype[Any]] = {"f32": np.dtype("f8"), "f64": np.dtype("g"), "bf16": np.dtype("f8")}
OWN: dict[str, np.dtype[Any]] = {
    "f32": np.dtype("f4"), "f64": np.dtype("f8"), "bf16": np.dtype("f4"), "i8": np.dtype("i1"), "u8": np.dtype("u1"),
    "i32": np.dtype("i4"), "i64": np.dtype("i8"), "u32": np.dtype("u4"), "u64": np.dtype("u8"), "bool": np.dtype("?"),
}  # fmt: skip


class Undetermined(Exception):
    """What a program does depends on rounding, or takes too long to find out."""


class Failure(Exception):
    """The program must be refused: an index out of bounds, a division by zero."""


@dataclass(slots=True)
class Num:
    """A value and the bound of its error, both of any shape that fits the index space."""

    v: Any
    e: Any = 0


def nearest_bf16(x: Any) -> Any:
    """Numbers rounded to bf16 as kernels do it, through f32, ties to even; as f32."""
    single = np.asarray(x).astype(np.float32)
    bits = single.view(np.uint32).astype(np.uint64)
    near = ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)
    return np.where(np.isnan(single), single, near)


def some(x: Any) -> bool:
    """Is any element not zero?"""
    return bool(np.any(x)) if isinstance(x, np.ndarray) else bool(x)


def unmet(v: Any, e: Any, nan: Any) -> Any:
    """The bound of a sum, for which nothing can be said where it is nan and no term is."""
    lost = np.isnan(v) & ~nan
    return np.where(lost, np.inf, e) if some(lost) else e


class Arithmetic:
    """The rules.  `track` False: every operation rounds as its type does, and no bounds are kept.  `smooth`: a
    conversion between floats keeps the value, which is what its derivative says, and a literal may be the nearest
    number to the one that is meant."""

    def __init__(self, track: bool = True, smooth: bool = False) -> None:
        self.track, self.smooth = track, smooth
        self._consts: dict[tuple[Any, str], Num] = {}

    def dtype(self, name: str) -> np.dtype[Any]:
        """The numpy type that values of a type are kept in."""
        return HIGH[name] if self.track and name in HIGH else OWN[name]

    def const(self, value: Any, dtype: str) -> Num:
        """A literal, which the kernel rounds to its type."""
        if not value or value != value:  # 0 and -0 are equal, nan is not
            return self._const(value, dtype)
        key = (value, dtype)
        if key not in self._consts:
            self._consts[key] = self._const(value, dtype)
        return self._consts[key]

    def _const(self, value: Any, dtype: str) -> Num:
        if not is_float(dtype):
            return Num(OWN[dtype].type(value) if dtype == "bool" else np.array(int(value)).astype(OWN[dtype])[()])
        v = np.float64(value)
        with np.errstate(all="ignore"):
            if not self.smooth:
                near = nearest_bf16(v) if dtype == "bf16" else v.astype(OWN[dtype])
                return Num(near.astype(self.dtype(dtype))[()])
            # a number of few digits is meant as it is, and so are nan and infinity: an error would excuse everything
            short = dtype != "f32" or v == v.astype("f2") or not np.isfinite(v)
            return Num(v.astype(self.dtype(dtype)), 0 if short else UNIT[dtype] * abs(v))

    # ------------------------------------------------------------ one operation

    def apply(self, op: str, dtype: str, args: list[Num], source: str) -> Num:
        """`op` of operands of type `source`, the result of type `dtype`."""
        if op in COMPARE:
            return self._compare(op, *args)
        if dtype == "bool":
            return self._logic(op, args)
        if op in ("min", "max"):
            return self._extreme(op, args[0], args[1], real=is_float(dtype))
        if is_float(dtype):
            return self._real(op, dtype, args)
        return self._whole(op, dtype, args)

    def rounded(self, v: Any, e: Any, dtype: str, args: list[Num], tiny: bool = False) -> Num:
        """After one rounding of v; e is what the operands' errors make of it."""
        if not self.track:
            return Num(v)
        size = np.abs(v)
        same = v == np.asarray(v).astype(OWN[dtype] if dtype != "bf16" else "f2")  # exact operands, exact result
        exact_here = same & np.equal(e, 0) & self._sure(args)
        e = np.asarray(e + UNIT[dtype] * (size + e) + (TINY[dtype] if tiny else 0.0), np.float64)
        if size.size and not np.max(size, initial=0.0) < GREATEST[dtype]:
            exact = ~np.any([np.broadcast_to(np.not_equal(a.e, 0), np.shape(v)) for a in args], axis=0)
            finite = np.all([np.broadcast_to(np.isfinite(a.v), np.shape(v)) for a in args], axis=0)
            beyond = 2 if tiny else 1 + UNIT[dtype]  # what is added to a product may bring it back
            over = finite & (size - e > GREATEST[dtype] * beyond)
            near = np.isfinite(v) & (size + e > GREATEST[dtype]) & ~over
            v = np.where(over, np.copysign(np.inf, v), v)
            e = np.where(over | (~np.isfinite(v) & exact), 0.0, e)
            e = np.where(near | np.isnan(e), np.inf, e)
        return Num(v, np.where(exact_here, 0.0, e) if some(exact_here) else e)

    def _real(self, op: str, dtype: str, args: list[Num]) -> Num:
        a = args[0]
        b = args[1] if len(args) > 1 else a
        e: Any
        if op in ("neg", "abs"):
            return Num(-a.v if op == "neg" else np.abs(a.v), a.e)
        if op in ("add", "sub"):
            found = self.rounded(a.v + b.v if op == "add" else a.v - b.v, a.e + b.e, dtype, args)
            return Num(found.v, unmet(found.v, found.e, np.isnan(a.v) | np.isnan(b.v))) if self.track else found
        if op == "mul":
            e = np.abs(a.v) * b.e + np.abs(b.v) * a.e + a.e * b.e if some(a.e) or some(b.e) else 0.0
            return self.rounded(a.v * b.v, e, dtype, args, tiny=True)
        if op == "div":
            v = a.v / b.v
            e = 0.0
            if some(a.e) or some(b.e):
                room = np.abs(b.v) - b.e
                e = np.where(room > 0, (a.e + np.abs(v) * b.e) / np.where(room > 0, room, 1), np.inf)
                e = np.where(np.equal(b.e, 0) & np.equal(a.e, 0), 0.0, e)
            return self.rounded(v, e, dtype, args, tiny=True)
        if op == "sqrt":
            v = np.sqrt(a.v)
            low = np.sqrt(np.maximum(a.v - a.e, 0))
            e = np.where(np.equal(a.e, 0), 0.0, np.maximum(v - low, np.sqrt(np.maximum(a.v + a.e, 0)) - v))
            e = np.where((a.v - a.e < 0) & np.not_equal(a.e, 0), np.inf, e)
            return self.rounded(v, e, dtype, args)
        if op in ("floor", "rint"):
            f = np.floor if op == "floor" else np.rint
            v = f(a.v)
            return Num(v, self._steps(f, a, v))
        assert op == "pow", op
        v = a.v**b.v
        e = self.spread(lambda x, y: x**y, args, v)
        return self.rounded(v, e + 2 * ELEMENTARY_ULPS * UNIT[dtype] * np.abs(v), dtype, args, tiny=True)

    def spread(self, f: Callable[..., Any], args: list[Num], v: Any) -> Any:
        """How far f gets from v when its arguments move by their errors, all together and each by itself."""
        if not self.track or not any(some(a.e) for a in args):
            return 0.0
        moves = [[sign] * len(args) for sign in (-1.0, 1.0)]
        if len(args) > 1:
            moves += [[sign * (k == j) for k in range(len(args))] for sign in (-1.0, 1.0) for j in range(len(args))]
        shape = np.broadcast_shapes(*(np.shape(x) for a in args for x in (a.v, a.e)))
        with np.errstate(all="ignore"):
            moved = [np.stack([np.broadcast_to(a.v + m[k] * a.e, shape) for m in moves]) for k, a in enumerate(args)]
            far = np.max(np.abs(f(*moved) - v), axis=0)
        return np.where(np.isnan(far), np.where(self._sure(args), 0.0, np.inf), far)

    @staticmethod
    def _sure(args: list[Num]) -> Any:
        out: Any = True
        for a in args:
            out = out & np.equal(a.e, 0)
        return out

    @staticmethod
    def _steps(f: Callable[[Any], Any], a: Num, v: Any) -> Any:
        """The error of a step function."""
        if not some(a.e):
            return 0
        e = np.maximum(f(a.v + a.e) - v, v - f(a.v - a.e))
        return np.asarray(np.where(np.isnan(e), np.inf, e), np.float64)

    def _extreme(self, op: str, a: Num, b: Num, real: bool) -> Num:
        """`b` where it is better, else `a`: a nan in `b` gives way."""
        v = np.where(COMPARE["lt" if op == "min" else "gt"](b.v, a.v), b.v, a.v)
        e: Any = 0
        if some(a.e) or some(b.e):  # an operand that is surely the other's better does not count
            sign = 1 if op == "max" else -1
            gap = sign * np.subtract(a.v, b.v, dtype=None if real else np.float64)
            sure = np.abs(gap) > a.e + b.e
            e = np.where(sure, np.where(gap > 0, a.e, b.e), np.maximum(a.e, b.e))
        return Num(v, e)

    def _compare(self, op: str, a: Num, b: Num) -> Num:
        v = COMPARE[op](a.v, b.v)
        if not self.track or not (some(a.e) or some(b.e)):
            return Num(v)
        e = np.asarray(a.e + b.e)
        apart = np.abs(np.subtract(a.v, b.v, dtype=np.float64 if np.asarray(a.v).dtype.kind in "iu" else None)) > e
        return Num(v, (e > 0) & ~apart)

    def _logic(self, op: str, args: list[Num]) -> Num:
        a = args[0]
        if op == "not":
            return Num(~np.asarray(a.v), a.e)
        b = args[1]
        if op == "and":
            v = np.logical_and(a.v, b.v)
            surely_not = (~np.asarray(a.v) & np.logical_not(a.e)) | (~np.asarray(b.v) & np.logical_not(b.e))
        else:
            v = np.logical_or(a.v, b.v)
            surely_not = (np.asarray(a.v) & np.logical_not(a.e)) | (np.asarray(b.v) & np.logical_not(b.e))
        if not (some(a.e) or some(b.e)):
            return Num(v)
        return Num(v, np.logical_or(a.e, b.e) & ~surely_not)

    def _whole(self, op: str, dtype: str, args: list[Num]) -> Num:
        a, *rest = (np.asarray(x.v).astype(OWN[dtype]) for x in args)
        b = rest[0] if rest else a
        errors = [x.e for x in args]
        unsure = any(some(e) for e in errors)
        if op in ("shl", "shr"):
            count = b & np.asarray(DTYPES[dtype].bits - 1, b.dtype)
            v = a << count if op == "shl" else a >> count
            if not unsure:
                return Num(v)
            if op == "shl":
                e = errors[0] * 2.0 ** count.astype(float)
            else:
                e = np.ceil(errors[0] / 2.0 ** count.astype(float))
                step = 2.0 ** count.astype(float)
                low, high = (a - errors[0]) // step, (a + errors[0]) // step
                e = np.where((low == v) & (high == v), 0.0, np.maximum(e, 1.0))
            return Num(v, np.where(np.not_equal(errors[1], 0), np.inf, e))
        if op == "neg":
            return Num(-a, errors[0])
        if op == "abs":
            return Num(np.abs(a), errors[0])
        v = INTEGER[op](a, b)
        if not unsure:
            return Num(v)
        x, y = errors[0], errors[-1] if len(args) > 1 else 0
        if op in ("add", "sub"):
            return Num(v, np.asarray(x + y, np.float64))
        if op == "mul":
            return Num(v, np.abs(a.astype(float)) * y + np.abs(b.astype(float)) * x + np.multiply(x, y))
        if op == "floordiv" and not some(y):
            size = np.abs(b.astype(float))
            low, high = np.floor((a - x) / b.astype(float)), np.floor((a + x) / b.astype(float))
            e = np.where((low == v) & (high == v), 0.0, np.ceil(x / np.where(size > 0, size, 1)))
            return Num(v, e)
        return Num(v, np.where(np.not_equal(x, 0) | np.not_equal(y, 0), np.inf, 0.0))

    # ------------------------------------------------------------ conversions

    def cast(self, a: Num, source: str, to: str) -> Num:
        """A conversion between types; one to bool is a comparison with 0."""
        if source == to:
            return a
        with np.errstate(all="ignore"):
            if is_float(to):
                v = np.asarray(a.v).astype(self.dtype(to))
                e = np.asarray(a.e, np.float64) if some(a.e) else 0.0
                if (self.smooth and is_float(source)) or (to == "bf16" and not self.track):
                    return Num(v, e)
                wider = is_float(source) and UNIT[to] <= UNIT[source]
                small = not is_float(source) and DTYPES[source].bits < 24
                return Num(v, e) if wider or small or source == "bool" else self._narrow(a, v, e, to)
            if is_float(source):
                v = np.trunc(a.v)
                low, high = -(2.0 ** (DTYPES[to].bits - 1)), 2.0 ** DTYPES[to].bits
                outside = ~((v >= low) & (v < high))
                e = self._steps(np.trunc, a, v) if self.track else 0
                if some(outside):
                    v, e = np.where(outside, 0, v), np.where(outside, np.inf if self.track else 0, e)
                whole = v.astype(np.int64 if to != "u64" else np.uint64)
                return Num(whole.astype(OWN[to]), e)
            return Num(np.asarray(a.v).astype(OWN[to]), np.asarray(a.e, np.float64) if some(a.e) else 0)

    def _narrow(self, a: Num, v: Any, e: Any, to: str) -> Num:
        """To a float that may not hold the value: exactly what the kernel has where that is certain."""
        if not self.track:
            return self.rounded(v, e, to, [a], tiny=True)
        exact = (nearest_bf16(a.v) if to == "bf16" else np.asarray(a.v).astype(OWN[to])).astype(v.dtype)
        if not some(e):
            return Num(exact)
        unsure = self.rounded(v, e, to, [a], tiny=True)
        return Num(np.where(e == 0, exact, unsure.v), np.where(e == 0, 0.0, unsure.e))

    def bitcast(self, a: Num, source: str, to: str) -> Num:
        """The bits of a value as another type; they keep the order of positive floats."""
        if is_float(source) == is_float(to):
            return Num(np.asarray(a.v).astype(OWN[source]).view(OWN[to]), np.inf if some(a.e) else 0)
        with np.errstate(all="ignore"):
            if is_float(source):
                bits = np.asarray(a.v).astype(OWN[source]).view(OWN[to])
                if not some(a.e):
                    return Num(bits)
                low, high = (np.asarray(a.v + s * a.e).astype(OWN[source]) for s in (-1, 1))
                far = np.maximum(np.abs(low.view(OWN[to]).astype(float) - bits),
                                 np.abs(high.view(OWN[to]).astype(float) - bits)) + 1  # fmt: skip
                crosses = (np.signbit(low) != np.signbit(high)) & np.not_equal(a.e, 0)
                return Num(bits, np.where(np.equal(a.e, 0), 0.0, np.where(crosses, np.inf, far)))
            whole = np.asarray(a.v).astype(OWN[source])
            v = whole.view(OWN[to]).astype(self.dtype(to))
            if not some(a.e):
                return Num(v)
            reach = np.where(np.isfinite(a.e), np.minimum(a.e, 2.0**62 if DTYPES[to].bits == 64 else 2.0**30), 0)
            step = np.ceil(reach).astype(np.int64).astype(OWN[source])
            low, high = ((x.view(OWN[to])).astype(v.dtype) for x in (whole - step, whole + step))
            e = np.maximum(np.abs(low - v), np.abs(high - v)).astype(np.float64)
            wild = ~np.isfinite(np.asarray(a.e, float)) | (np.signbit(low) != np.signbit(high)) | ~np.isfinite(e)
            return Num(v, np.where(np.equal(a.e, 0), 0.0, np.where(wild, np.inf, e)))

    # ------------------------------------------------------------ choices

    def where(self, c: Num, a: Num, b: Num, dtype: str) -> Num:
        """`a` or `b`; where the condition is uncertain, either."""
        v = np.where(c.v, a.v, b.v)
        if not (some(a.e) or some(b.e) or some(c.e)):
            return Num(v)
        e = np.where(c.v, a.e, b.e)
        if some(c.e):
            if dtype == "bool":
                e = np.where(c.e, np.not_equal(a.v, b.v) | np.logical_or(a.e, b.e), e)
            else:
                with np.errstate(all="ignore"):
                    gap = np.abs(np.subtract(a.v, b.v, dtype=None if is_float(dtype) else np.float64))
                    both = np.maximum(a.e, b.e)
                    gap = np.where(np.equal(a.v, b.v) | (np.isnan(a.v) & np.isnan(b.v)), 0.0, gap)
                e = np.where(c.e, np.where(np.isnan(gap), np.inf, gap + both), e)
        return Num(v, e)


COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal,
}  # fmt: skip


def _floordiv(a: Any, b: Any) -> Any:
    return np.where(b == 0, np.zeros_like(a), np.floor_divide(a, np.where(b == 0, np.ones_like(b), b)))


def _mod(a: Any, b: Any) -> Any:
    return np.where(b == 0, np.zeros_like(a), np.mod(a, np.where(b == 0, np.ones_like(b), b)))


INTEGER: dict[str, Callable[[Any, Any], Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "floordiv": _floordiv, "mod": _mod,
    "bitand": np.bitwise_and, "bitor": np.bitwise_or, "xor": np.bitwise_xor, "invert": lambda a, _: np.invert(a),
    "pow": np.power, "floor": lambda a, _: a, "rint": lambda a, _: a,
}  # fmt: skip
