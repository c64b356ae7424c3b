"""Numbers as the generated code computes them: wrapped integers, rounded floats, vectors as lists.

Every rule works on exact Python numbers; `fit` then brings the result into its type.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

from vibee.tree.types import DTYPES, is_float

Value = Any  # int, float, bool, or a list of floats for a vector


def f32(x: float) -> float:
    """The nearest single-precision number."""
    return struct.unpack("f", struct.pack("f", x))[0]  # type: ignore[no-any-return]  # in C: infinite if too large


def bf16(x: float) -> float:
    """The nearest bfloat16, ties to even."""
    return _of_bits(_bits(x, "bf16"), "bf16")


def _integer(bits: int, signed: bool) -> Callable[[Any], int]:
    mask, half = (1 << bits) - 1, 1 << (bits - 1)

    def wrap(x: Any) -> int:
        x = int(x) & mask
        return x - mask - 1 if signed and x >= half else x

    return wrap


FIT: dict[str, Callable[[Any], Value]] = {
    "f64": float, "f32": f32, "bf16": bf16, "bool": bool,
    **{d.name: _integer(d.bits, d.kind == "i") for d in DTYPES.values() if d.kind in "iu"},
}  # fmt: skip


def lanes(dtype: str) -> int:
    """Elements in a value: 1, or those of a vector type such as f32x16."""
    return int(dtype.split("x")[1]) if "x" in dtype else 1


def limits(dtype: str) -> tuple[int, int]:
    """Least and greatest number of an integer type."""
    d = DTYPES[dtype]
    return (-(1 << (d.bits - 1)), (1 << (d.bits - 1)) - 1) if d.kind == "i" else (0, (1 << d.bits) - 1)


def _bits(x: Value, dtype: str) -> int:
    if dtype == "bf16":
        (word,) = struct.unpack("I", struct.pack("f", f32(x)))
        if math.isnan(x):
            return int(word) >> 16
        return ((int(word) + 0x7FFF + ((int(word) >> 16) & 1)) >> 16) & 0xFFFF
    return int.from_bytes(struct.pack("<" + DTYPES[dtype].format, x), "little")


def _of_bits(bits: int, dtype: str) -> Value:
    if dtype == "bf16":
        return struct.unpack("f", struct.pack("I", bits << 16))[0]
    return struct.unpack("<" + DTYPES[dtype].format, bits.to_bytes(DTYPES[dtype].bits // 8, "little"))[0]


def bitcast(x: Value, source: str, to: str) -> Value:
    """The same bits as another type."""
    return _of_bits(_bits(x, source), to)


def dot2(total: float, a: float, b: float) -> Value:
    """A sum with the products of the lower and of the upper bf16 of two words added."""
    for shift_by in (0, 16):
        x, y = (_of_bits((int(word) >> shift_by) & 0xFFFF, "bf16") for word in (a, b))
        total = f32(total + x * y)
    return total


def pairs(order: str, a: list[float], b: list[float]) -> list[int]:
    """Words of two numbers rounded to bf16.  (The instruction takes denormals for zeros, as those do that multiply.)"""
    both = [*a, *b]
    low, high = (both[::2], both[1::2]) if order == "along" else (a, b)
    return [_bits(x, "bf16") | _bits(y, "bf16") << 16 for x, y in zip(low, high, strict=True)]


def cast(x: Value, source: str, to: str) -> Value:
    """A conversion; what does not fit an integer is some number, as in C."""
    if to == "bool":
        return x != 0
    if is_float(source) and not is_float(to):
        if not math.isfinite(x):
            return limits(to)[0]
        return FIT[to](math.trunc(x))
    return FIT[to](x)


def _divide(a: float, b: float) -> float:
    if b == 0:
        return math.nan if a == 0 or math.isnan(a) else math.copysign(math.inf, a) * math.copysign(1.0, b)
    return a / b


def _root(a: float) -> float:
    return math.sqrt(a) if a >= 0 else math.nan


def _whole(f: Callable[[float], float]) -> Callable[[float], float]:
    return lambda a: math.copysign(f(a), a) if math.isfinite(a) else a


BINARY: dict[str, Callable[[Value, Value], Value]] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": _divide,
    "floordiv": lambda a, b: a // b, "mod": lambda a, b: a % b,
    "lt": lambda a, b: a < b, "le": lambda a, b: a <= b, "gt": lambda a, b: a > b, "ge": lambda a, b: a >= b,
    "eq": lambda a, b: a == b, "ne": lambda a, b: a != b,
    "min": lambda a, b: b if b < a else a, "max": lambda a, b: b if b > a else a,
    "bitand": lambda a, b: a & b, "bitor": lambda a, b: a | b, "xor": lambda a, b: a ^ b,
}  # fmt: skip
UNARY: dict[str, Callable[[Value], Value]] = {
    "neg": lambda a: -a, "not": lambda a: not a, "invert": lambda a: ~a, "abs": abs, "sqrt": _root,
    "floor": _whole(math.floor), "rint": _whole(round),
}  # fmt: skip


def shift(op: str, a: int, b: int, dtype: str) -> int:
    """A shift; the count is taken modulo the width."""
    by = b & (DTYPES[dtype].bits - 1)
    return a << by if op == "shl" else a >> by


def constant(value: Any, dtype: str) -> Value:
    """A literal as its type stores it."""
    return FIT[dtype](value)
