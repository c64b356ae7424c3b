"""Index spaces, and reductions and scans over them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from vibee.tree.expr import Expr, bound_vars, free_vars
from vibee.tree.normal import neutral
from vibee.tree.types import is_float

from .numbers import LEAST_NORMAL, UNIT, Arithmetic, Num, Undetermined, some, unmet

ROOM = 8_000_000  # elements of one index space


@dataclass(slots=True)
class Space:
    """Names with their values, and the index space: `axes` counts its axes, `mask` where values are needed."""

    names: dict[str, Num]
    arrays: dict[str, Num]
    axes: int = 0
    mask: Any = None
    extents: dict[str, int] = field(default_factory=dict)  # of variables that run over a whole axis

    def with_index(self, name: str, values: np.ndarray, mask: Any = None) -> Space:
        """One more axis, in front, along which `name` takes `values`."""
        at = Num(values.reshape(-1, *([1] * self.axes)))
        return replace(self, names={**self.names, name: at}, axes=self.axes + 1, mask=_both(self.mask, mask))

    def where(self, mask: Any) -> Space:
        """The same space where fewer values are needed."""
        return replace(self, mask=_both(self.mask, mask))


def of_pairs(e: Expr) -> bool:
    """Is it a sum of products of two numbers that a bf16 holds?"""
    body = e.args[0]
    rounded = [x.op == "cast" and x.args[0].dtype == "bf16" for x in body.args]
    return e.dtype == "f32" and body.op == "mul" and all(rounded)


def _both(a: Any, b: Any) -> Any:
    return b if a is None else a if b is None else np.logical_and(a, b)


class Reductions(ABC):
    """The part of the oracle that combines values along axes."""

    a: Arithmetic
    track: bool

    @abstractmethod
    def value(self, e: Expr, s: Space) -> Num:
        """An expression over an index space."""

    def whole(self, e: Expr, s: Space) -> Num:
        """An integer that must be certain: a bound or a size."""
        n = self.value(e, s)
        if some(n.e):
            raise Undetermined("a range depends on rounding")
        return n

    def on_reduce(self, e: Expr, s: Space) -> Num:
        """A reduction: its variables become axes in front, which are then combined."""
        op, names = e.attr[0], bound_vars(e)  # type: ignore[index]
        inner = s
        for name, lo, hi in zip(names, e.args[1::2], e.args[2::2], strict=True):
            low, high = (np.asarray(self.whole(x, inner).v, np.int64) for x in (lo, hi))
            wanted = needed(np.less(low, high), inner.mask)
            if not some(wanted):
                first, last = 0, 0
            else:
                first = int(np.min(np.where(wanted, low, np.max(low))))
                last = int(np.max(np.where(wanted, high, np.min(high))))
            values = np.arange(first, max(last, first), dtype=np.int64)
            at = values.reshape(-1, *([1] * inner.axes))
            uneven = low.size > 1 or high.size > 1
            inner = inner.with_index(name, values, (at >= low) & (at < high) if uneven else None)
        count = len(names)
        lengths = [inner.names[n].v.size for n in names]
        if 0 in lengths:
            return self._empty(op, e)
        used = [np.shape(inner.names[n].v) for n in free_vars(e.args[0]) if n in inner.names]
        if np.prod(np.broadcast_shapes(*used), dtype=float) > ROOM:
            raise Undetermined("too many elements")  # even for its parts
        body = self.value(e.args[0], inner)
        shape = np.broadcast_shapes(
            np.shape(body.v), np.shape(body.e), np.shape(inner.mask), (*lengths[::-1], *[1] * s.axes)
        )
        if np.prod(shape, dtype=float) > ROOM:
            raise Undetermined("too many elements")
        v = np.broadcast_to(body.v, shape)
        error = np.broadcast_to(body.e, shape) if some(body.e) else 0
        if op == "sum" and of_pairs(e):
            error = error + np.broadcast_to(self._flushed(e.args[0], inner), shape)
        mask = None if inner.mask is None else np.broadcast_to(inner.mask, shape)
        axes = tuple(range(count))
        if op in ("argmax", "argmin"):
            return self._place(op, v, error, mask, np.asarray(inner.names[names[0]].v))
        return self.combined(op, e.dtype, v, error, mask, axes)

    def _flushed(self, product: Expr, s: Space) -> Any:
        """What a product of two bf16 and the sum with it may lose: processors may take numbers below the least normal
        one for 0."""
        a, b = (np.abs(self.value(x, s).v) for x in product.args)
        least = LEAST_NORMAL["f32"]
        with np.errstate(all="ignore"):
            lost = [np.where((x > 0) & (x < least), least * y, 0.0) for x, y in ((a, b), (b, a))]
            sums = np.where(a * b == np.rint(a * b), 0.0, least)
        return lost[0] + lost[1] + sums

    def _empty(self, op: str, e: Expr) -> Num:
        if op in ("argmax", "argmin"):
            return Num(np.int64(0))
        c = neutral(op, e.dtype)
        return self.a.const(c.attr, c.dtype)

    def combined(self, op: str, dtype: str, v: Any, e: Any, mask: Any, axes: tuple[int, ...]) -> Num:
        """A reduction along axes, of the values where the mask holds."""
        if mask is not None:
            c = neutral(op, dtype)
            v = np.where(mask, v, np.asarray(c.attr).astype(v.dtype))
            e = np.where(mask, e, 0) if some(e) else 0
        with np.errstate(all="ignore"):
            if op in ("any", "all"):
                out = np.any(v, axis=axes) if op == "any" else np.all(v, axis=axes)
                if not some(e):
                    return Num(out)
                sure = v & ~e if op == "any" else ~v & ~e
                return Num(out, np.any(e, axis=axes) & ~np.any(sure, axis=axes))
            if op in ("max", "min"):
                v, e = self.numbers(op, dtype, v, e)
                out = np.max(v, axis=axes) if op == "max" else np.min(v, axis=axes)
                error: Any = 0
                if some(e):
                    near = v + e >= np.max(v - e, axis=axes) if op == "max" else v - e <= np.min(v + e, axis=axes)
                    error = np.max(np.where(near, e, 0.0), axis=axes)
                return Num(out, error)
            if op == "sum":
                out = np.sum(v, axis=axes, dtype=v.dtype)
            else:
                out = np.prod(v, axis=axes, dtype=v.dtype)
            if not self.track or not is_float(dtype):
                return Num(out, np.sum(e, axis=axes) if some(e) and op == "sum" else np.inf if some(e) else 0)
            return self._rounding(op, dtype, v, e, mask, axes, out)

    def numbers(self, op: str, dtype: str, v: Any, e: Any) -> tuple[Any, Any]:
        """The operands of a maximum or minimum, which passes over nan."""
        lost = np.isnan(v) if is_float(dtype) else np.False_
        if not some(lost):
            return v, e
        unsure = lost & np.not_equal(e, 0)
        least = np.asarray(neutral(op, dtype).attr).astype(v.dtype)
        return np.where(unsure, 0, np.where(lost, least, v)), np.where(unsure, np.inf, np.where(lost, 0, e))

    def _rounding(self, op: str, dtype: str, v: Any, e: Any, mask: Any, axes: tuple[int, ...], out: Any) -> Num:
        """A sum or product of floats in any order."""
        n = np.sum(mask, axis=axes) if mask is not None else np.prod([v.shape[k] for k in axes])
        size = np.sum(np.abs(v) + e, axis=axes) if op == "sum" else np.prod(np.abs(v) + e, axis=axes)
        if op == "sum":
            own = np.sum(e, axis=axes) if some(e) else 0.0
            error = own + n * UNIT[dtype] * size
            whole = not some(e) and np.all(v == np.rint(v), axis=axes)  # so are all partial sums
            error = np.where(whole & (size < 1 / UNIT[dtype]), 0.0, error)
        else:
            error = size * (1 + UNIT[dtype]) ** n - np.prod(np.abs(v), axis=axes)
        sure = np.all(np.isfinite(e), axis=axes) if some(e) else np.True_
        error = np.where(~np.isfinite(out) & sure, 0.0, np.where(np.isnan(error), np.inf, error))
        error = unmet(out, error, np.any(np.isnan(v), axis=axes))
        return self.a.rounded(out, error, dtype, [Num(out, error)])

    def _place(self, op: str, v: Any, e: Any, mask: Any, values: Any) -> Num:
        """argmax, argmin: the first place among `values`, 0 where a range is empty."""
        rank = v if op == "argmax" else -v.astype(float) if v.dtype.kind == "u" else -v
        rank = rank.astype(float if v.dtype.kind != "f" else v.dtype)
        inside = np.broadcast_to(True if mask is None else mask, v.shape)
        rank = np.where(inside, rank, -np.inf)
        # what is outside of a range is no place, where all inside is -inf too
        best = np.where(np.max(rank, axis=0) == -np.inf, np.argmax(inside, axis=0), np.argmax(rank, axis=0))
        position = np.where(np.any(inside, axis=0), best + int(values.flat[0]), 0)
        if not some(e) and np.all(v == v):
            return Num(position.astype(np.int64))
        with np.errstate(all="ignore"):
            floor_ = np.max(rank - e, axis=0)
            could = ~(rank + e <= floor_)
        where = np.arange(rank.shape[0]).reshape(-1, *([1] * (v.ndim - 1)))
        far = np.max(np.where(could, np.abs(where - best), 0), axis=0)
        return Num(position.astype(np.int64), far.astype(float))

    def on_scan(self, e: Expr, s: Space) -> Num:
        """A running reduction along an index of the left side."""
        op, name = e.attr  # type: ignore[misc]
        at = s.names[str(name)]
        axis = -np.ndim(at.v)  # an index varies along its own axis alone, the first one of its values
        body = self.value(e.args[0], replace(s, mask=before(s.mask, axis)))
        shape = np.broadcast_shapes(np.shape(body.v), np.shape(body.e), np.shape(at.v))
        v = np.broadcast_to(body.v, shape)
        error = np.broadcast_to(body.e, shape) if some(body.e) else np.zeros(shape)
        with np.errstate(all="ignore"):
            if op in ("max", "min"):
                f = np.maximum if op == "max" else np.minimum
                v, error = self.numbers(str(op), e.dtype, v, error)
                return Num(f.accumulate(v, axis=axis), np.maximum.accumulate(error, axis=axis) if some(error) else 0)
            out = (np.cumsum if op == "sum" else np.cumprod)(v, axis=axis, dtype=v.dtype)
            if not self.track or not is_float(e.dtype):
                return Num(out, np.cumsum(error, axis=axis) if some(error) else 0)
            n = np.asarray(at.v) + 1
            if op == "sum":
                bound = np.cumsum(error + n.max() * UNIT[e.dtype] * (np.abs(v) + error), axis=axis)
            else:
                bound = np.cumprod(np.abs(v) + error, axis=axis) * (1 + UNIT[e.dtype]) ** n - np.abs(out)
            return self.a.rounded(out, np.where(np.isnan(bound), np.inf, bound), e.dtype, [Num(out, bound)])


def needed(x: Any, mask: Any) -> Any:
    """Where it is so and a value is needed."""
    return x if mask is None else np.logical_and(x, mask)


def before(mask: Any, axis: int) -> Any:
    """Where a running value needs an element: up to the last place along an axis where it is needed itself."""
    if np.ndim(mask) < -axis:
        return mask
    return np.flip(np.logical_or.accumulate(np.flip(mask, axis), axis), axis)
