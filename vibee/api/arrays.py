"""Buffers of any kind as numpy arrays without copying, and what is wrong with those that do not fit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

import numpy as np

from vibee.tree.defs import Param
from vibee.tree.expr import show
from vibee.tree.types import DTYPES

NUMPY: dict[str, np.dtype[Any]] = {
    "f32": np.dtype("f4"), "f64": np.dtype("f8"), "bf16": np.dtype("u2"), "i8": np.dtype("i1"), "u8": np.dtype("u1"),
    "i32": np.dtype("i4"), "i64": np.dtype("i8"), "u32": np.dtype("u4"), "u64": np.dtype("u8"),
    "bool": np.dtype("?"),
}  # fmt: skip

LINE, PAGE = 64, 4096  # bytes
_NAMES = {t: name for name, t in NUMPY.items() if name != "bf16"}


def empty(shape: Sequence[int], dtype: str) -> np.ndarray:
    """An array to be written.  From a page on it begins with a line of memory, as a part of a larger array: numpy's own
    large ones begin 16 bytes after one, so that every vector of 64 bytes would lie across two."""
    size = prod(shape) * NUMPY[dtype].itemsize
    if size < PAGE:
        return np.empty(shape, NUMPY[dtype])
    room = np.empty(size + LINE, np.uint8)
    start = -room.__array_interface__["data"][0] % LINE
    return room[start : start + size].view(NUMPY[dtype]).reshape(shape)


def view(fn: str, name: str, x: object) -> np.ndarray:
    """`x` as an array that shares its memory."""
    if isinstance(x, np.ndarray):
        return x
    if isinstance(x, np.generic) or not _has_buffer(x):
        raise ValueError(f"{fn}: argument {name} must be an array (any C-contiguous buffer), got {type(x).__name__}")
    return np.asarray(memoryview(x))  # type: ignore[arg-type]


def _has_buffer(x: object) -> bool:
    try:
        memoryview(x).release()  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True


def spread(x: object) -> bool:
    """Is an argument more than a number: an array, or a list of numbers?"""
    if isinstance(x, np.ndarray):
        return x.ndim > 0
    return isinstance(x, (list, tuple)) or (not isinstance(x, (np.generic, str, bytes)) and _has_buffer(x))


def rank(x: object) -> int:
    """The number of axes of an argument."""
    if isinstance(x, np.ndarray):
        return x.ndim
    return memoryview(x).ndim if _has_buffer(x) else 0  # type: ignore[arg-type]


def is_buffer(p: Param) -> bool:
    """Is the parameter an array?  One of rank 0, which derived gradients have, is given as a number."""
    return p.is_array and bool(p.shape)


def dtype_of(x: np.ndarray) -> str:
    """The language's name of an array's element type, or numpy's if it has none."""
    found = _NAMES.get(x.dtype)
    if found is not None:
        return found
    if x.dtype.name == "bfloat16":
        return "bf16"
    return "u16" if x.dtype == np.uint16 else x.dtype.str if not x.dtype.isnative else x.dtype.name


def named(fn: str, dtype: object) -> str:
    """The language's name of what `dtype=` asks for: one of its own names, or what numpy takes."""
    if isinstance(dtype, str) and dtype in NUMPY:
        return dtype
    try:
        return dtype_of(np.empty(0, dtype))  # type: ignore[call-overload]
    except (TypeError, ValueError):
        raise ValueError(f"{fn}: dtype must be one of {', '.join(NUMPY)}, got {_short(dtype)}") from None


def fits(dtype: str, want: str) -> bool:
    """May an array of `dtype` be passed where `want` is asked for?  Raw 16 bits may be bfloat16, bytes bools."""
    return dtype == want or (want, dtype) in (("bf16", "u16"), ("bool", "u8"))


def described(p: Param, dtypes: Iterable[str] = ()) -> str:
    """`f32[N, D] or f64[N, D]`."""
    axes = f"[{', '.join(show(e) for e in p.shape)}]"
    return " or ".join(d + axes for d in dict.fromkeys(dtypes or [p.dtype]))


def check(fn: str, p: Param, x: np.ndarray, *, writable: bool, kind: str = "argument") -> None:
    """Rank, layout and access of an array."""
    if x.ndim == len(p.shape) and x.flags.carray:  # C-contiguous, aligned and writable
        return
    if x.ndim != len(p.shape):
        shape = list(x.shape)
        raise ValueError(f"{fn}: {kind} {p.name} must have {len(p.shape)} axes, {described(p)}, got shape {shape}")
    if not x.flags.c_contiguous:
        raise ValueError(f"{fn}: {kind} {p.name} must be C-contiguous; numpy.ascontiguousarray makes a copy that is")
    if writable and not x.flags.writeable:
        raise ValueError(f"{fn}: {kind} {p.name} is written to, but the array is read-only")
    if not x.flags.aligned:
        raise ValueError(f"{fn}: {kind} {p.name} is not aligned to its element size")


def raw(x: np.ndarray, dtype: str) -> np.ndarray:
    """The array as generated code takes it: bools as bytes, bfloat16 as 16 bits."""
    if dtype == "bool" and x.dtype == np.bool_:
        return x.view(np.uint8)
    if dtype == "bf16" and x.dtype != np.uint16:
        return x.view(np.uint16)
    return x


def number(fn: str, p: Param, x: object) -> object:
    """A Python number for a scalar parameter."""
    if isinstance(x, np.ndarray) and x.ndim == 0:
        x = x[()]
    kind = "i" if p.kind == "size" else DTYPES[p.dtype].kind
    try:
        if kind == "f":
            if isinstance(x, (str, bytes, bytearray, memoryview, np.complexfloating)):
                raise TypeError  # of which Python makes numbers: by reading digits, or by dropping a part
            return float(x)  # type: ignore[arg-type]
        if kind == "b":
            if not isinstance(x, (bool, np.bool_, int)) or x not in (0, 1):
                raise TypeError
            return bool(x)
        value = x.__index__()  # type: ignore[attr-defined]
    except (TypeError, ValueError, AttributeError, OverflowError):
        what = "a size, a whole number" if p.kind == "size" else f"a number ({p.dtype})" if kind != "b" else "a bool"
        raise ValueError(f"{fn}: argument {p.name} must be {what}, got {_short(x)}") from None
    bits = 64 if p.kind == "size" else DTYPES[p.dtype].bits
    low, high = (0, (1 << bits) - 1) if kind == "u" else (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    if p.kind == "size":
        low = 0
    if not low <= value <= high:
        what = "a size" if p.kind == "size" else p.dtype
        raise ValueError(f"{fn}: argument {p.name} must be {what}, from {low} to {high}, got {_short(x)}")
    return int(value)


def _short(x: object) -> str:
    text = repr(x)
    return text if len(text) <= 40 and not isinstance(x, np.ndarray) else type(x).__name__
