"""Arrays whose elements satisfy a definition's `given`.

Elements are drawn within the bounds that conditions such as `0 <= x[i] < N` tell.  Where a condition does not hold
then, they are moved: put in order, set to what a comparison asks for, or drawn again, whatever breaks least.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from vibee.api.arrays import NUMPY
from vibee.tree.defs import Definition, Param
from vibee.tree.expr import Expr, bound_vars, free_vars, loads, walk
from vibee.tree.types import DTYPES, is_float

from .numbers import COMPARE, Failure, Num, Undetermined
from .oracle import Oracle, Space
from .procedures import indices_of, over_elements
from .sizes import MOST, SPECIAL, limits, nums, special_values

TURNS = 60  # moves until the search gives up, and
STUCK = 12  # moves without that fewer places fail
PAST = {"lt": -1, "le": 0, "gt": 1, "ge": 0, "eq": 0}  # a whole number satisfies a < b where it is b + this

Arrays = dict[str, np.ndarray]


def conjuncts(c: Expr) -> Iterator[Expr]:
    """The conditions that a condition says together: `a <= b <= c` is two, and so is one for `all` values."""
    if c.op == "and":
        for a in c.args:
            yield from conjuncts(a)
    elif c.op == "reduce" and c.attr[0] == "all":  # type: ignore[index]
        for a in conjuncts(c.args[0]):
            yield replace(c, args=(a, *c.args[1:]))
    else:
        yield c


class Elements:
    """The arrays of a case."""

    def __init__(self, d: Definition, oracle: Oracle, found: dict[str, Any], kind: str, rng: np.random.Generator):
        self.d, self.oracle, self.found, self.kind, self.rng = d, oracle, found, kind, rng
        self.names = nums(d, oracle, found)
        self.parts = [c for g in d.given for c in conjuncts(g) if any(True for _ in loads(c))]
        self.failed: Expr | None = None  # a condition that could not be satisfied

    def run(self) -> Arrays | None:
        """Arrays by name that satisfy every condition on elements, or None."""
        arrays: Arrays = {}
        for p in self.d.params:
            if p.is_array:
                shape = [int(self._whole(n)) for n in p.shape]
                if min(shape, default=0) < 0 or np.prod(shape, dtype=float) > 4 * MOST:
                    return None
                arrays[p.name] = self.draw(p, int(np.prod(shape, dtype=np.int64))).reshape(shape)
        self.parts = [c for c in self.parts if all(ld.attr in arrays for ld in loads(c))]
        return self.settle(arrays)

    def _whole(self, e: Expr) -> int:
        return int(self.oracle.value(e, Space(self.names, {})).v)

    # ------------------------------------------------------------ conditions

    def space(self, arrays: Arrays) -> Space:
        """Names and arrays as the oracle takes them."""
        high = {n: Num(a.astype(self.oracle.a.dtype(self.d.param(n).dtype))) for n, a in arrays.items()}
        return Space(self.names, high)

    def indices(self, c: Expr, s: Space) -> tuple[Expr, dict[str, np.ndarray]]:
        """What has to hold, and for which values of its indices; `all` says so itself."""
        if c.op == "reduce" and c.attr[0] == "all":  # type: ignore[index]
            ranges = {}
            for name, lo, hi in zip(bound_vars(c), c.args[1::2], c.args[2::2], strict=True):
                if not free_vars(lo) | free_vars(hi) <= set(s.names):
                    return c, {}
                ranges[name] = np.arange(int(self.oracle.value(lo, s).v), int(self.oracle.value(hi, s).v))
            return c.args[0], ranges
        return c, {n: np.arange(k) for n, k in (indices_of(c, s) or {}).items()}

    def broken(self, c: Expr, arrays: Arrays) -> np.ndarray | None:
        """Where a condition fails, along an axis for each of its indices; None if nowhere."""
        s = self.space(arrays)
        try:
            body, ranges = self.indices(c, s)
            if body is c:
                held = over_elements(self.oracle, c, s)
            else:
                for name, at in list(ranges.items())[::-1]:
                    s = s.with_index(name, at)
                held = None if any(not at.size for at in ranges.values()) else self.oracle.value(body, s)
        except (Failure, Undetermined):
            return np.zeros(0, bool)
        if held is None:
            return None
        bad = ~(held.v & ~np.asarray(held.e, bool))
        bad = np.broadcast_to(bad, tuple(at.size for at in ranges.values())) if body is not c else np.asarray(bad)
        return bad if bad.any() else None

    def wrong(self, arrays: Arrays) -> tuple[int, list[tuple[Expr, np.ndarray]]]:
        """How many places fail, and the conditions with them."""
        found = [(c, bad) for c in self.parts if (bad := self.broken(c, arrays)) is not None]
        return sum(max(int(np.sum(bad)), 1) for _, bad in found), found

    # ------------------------------------------------------------ moves

    def settle(self, arrays: Arrays) -> Arrays | None:
        """Move elements until every condition holds; None if that does not succeed."""
        moves: tuple[Callable[..., Arrays | None], ...] = (self.ordered, self.projected, self.redrawn)
        least, since, turn = math.inf, 0, 0
        while True:
            count, found = self.wrong(arrays)
            if not found:
                return arrays
            if count < least:
                least, since = count, turn
            if turn == TURNS or turn - since > STUCK:
                return None
            self.failed, bad = found[int(self.rng.integers(len(found)))]
            tries = [x for move in moves if (x := move(self.failed, bad, arrays)) is not None]
            better = [(n, k) for k, x in enumerate(tries) if (n := self.wrong(x)[0]) < count]
            arrays = tries[min(better)[1]] if better else tries[int(self.rng.integers(len(tries)))]
            turn += 1

    def ordered(self, c: Expr, bad: np.ndarray, arrays: Arrays) -> Arrays | None:
        """An array that is compared with itself in the order, along the axis, that breaks least."""
        places: dict[str, set[tuple[Expr, ...]]] = {}
        for ld in loads(c):
            places.setdefault(str(ld.attr), set()).add(ld.args)
        found = []
        for name in (n for n, idx in places.items() if len(idx) > 1):
            for axis in range(arrays[name].ndim):
                up = np.sort(arrays[name], axis=axis)
                found += [{**arrays, name: up}, {**arrays, name: np.flip(up, axis).copy()}]
        return min(found, key=lambda x: self.wrong(x)[0]) if found else None

    def projected(self, c: Expr, bad: np.ndarray, arrays: Arrays) -> Arrays | None:
        """One element of a comparison, at each place where it fails, set to what the others ask for."""
        s = self.space(arrays)
        try:
            body, ranges = self.indices(c, s)
            at = self._at(s, ranges, bad)
            nodes = [n for n in walk(body) if n.op in PAST]
            n = nodes[int(self.rng.integers(len(nodes)))]
            terms = [(sign * side, ld, sums) for side, a in zip((1, -1), n.args, strict=True)
                     for sign, ld, sums in linear(a)]  # fmt: skip
            sign, ld, sums = terms[int(self.rng.integers(len(terms)))]
            a, b = (np.asarray(self.oracle.value(k, at).v) for k in n.args)
            gap = b - a if b.dtype.kind == "f" else b.astype(np.int64) - a.astype(np.int64)
            fails = ~np.asarray(COMPARE[n.op](0, gap), bool)
            step = PAST[n.op] * (1e-3 * (1 + np.abs(gap)) if is_float(n.args[0].dtype) else 1)
            inner = self._some(at, sums)
            index = [np.broadcast_to(self.oracle.value(k, inner).v, np.shape(fails))[fails] for k in ld.args]
        except (Failure, Undetermined, IndexError, ValueError, KeyError):
            return None  # nothing to set, or not at these indices
        x = arrays[str(ld.attr)].copy()
        low, high = limits(self.d.param(str(ld.attr)).dtype)
        move = np.broadcast_to(sign * (gap + step), np.shape(fails))[fails]
        with np.errstate(all="ignore"):
            x[tuple(index)] = np.clip(x[tuple(index)] + move, low, high).astype(x.dtype)
        return {**arrays, str(ld.attr): x}

    def redrawn(self, c: Expr, bad: np.ndarray, arrays: Arrays) -> Arrays:
        """The elements at failing places drawn again, or all of the arrays that are read where there are no places."""
        s = self.space(arrays)
        new = {str(ld.attr): arrays[str(ld.attr)].copy() for ld in loads(c)}
        try:
            _, ranges = self.indices(c, s)
            at = self._at(s, ranges, bad)
            for ld in loads(c):
                x = new[str(ld.attr)]
                index = tuple(np.broadcast_to(self.oracle.value(k, at).v, int(bad.sum())) for k in ld.args)
                x[index] = self.draw(self.d.param(str(ld.attr)), int(bad.sum()))
        except (Failure, Undetermined, IndexError, ValueError, KeyError):
            for name, x in new.items():
                new[name] = self.draw(self.d.param(name), x.size).reshape(x.shape)
        return arrays | new

    def _at(self, s: Space, ranges: dict[str, np.ndarray], bad: np.ndarray) -> Space:
        """The space of the failing places alone."""
        if not ranges:
            return s
        places = zip(ranges.items(), np.nonzero(bad), strict=True)
        return Space({**s.names, **{n: Num(values[k]) for (n, values), k in places}}, s.arrays, axes=1)

    def _some(self, s: Space, sums: list[Expr]) -> Space:
        """The space with a value for each variable of the sums around an element."""
        for e in sums:
            for name, lo, hi in zip(bound_vars(e), e.args[1::2], e.args[2::2], strict=True):
                low, high = (np.asarray(self.oracle.value(x, s).v) for x in (lo, hi))
                s = replace(s, names={**s.names, name: Num(self.rng.integers(low, high))})
        return s

    # ------------------------------------------------------------ values

    def draw(self, p: Param, n: int) -> np.ndarray:
        """n elements of a parameter's type, within the bounds that single conditions tell."""
        t = DTYPES[p.dtype]
        if t.kind == "b":
            return self.rng.integers(0, 2, n).astype(bool)
        low, high = self.bounds(p)
        if t.kind == "f":
            return self._floats(p, n, low, high)
        least, most = limits(p.dtype)
        free = low is None and high is None
        if free and t.bits == 8 and t.kind == "u":
            pool = np.array([97, 98, 32, 10, 48, 200, 0, 255, 122, 46]) if self.kind == "normal" else np.arange(256)
            return self.rng.choice(pool, n).astype(NUMPY[p.dtype])
        if free and self.kind == "wide":
            return self.rng.integers(int(least), int(most), n, dtype=NUMPY[p.dtype], endpoint=True)
        sizes = [int(x) for name, x in self.found.items() if name in self.d.sizes]
        top = max([*sizes, 3])
        start = -2 if not free or t.bits == 8 else -top if self.kind == SPECIAL else 0  # free ones may be indices
        low = max(least, start) if low is None else max(low, least)
        high = min(most, max(top, low + 1) if not free else top - 1) if high is None else min(high, most)
        if high < low:
            high = low
        return self.rng.integers(int(low), int(high), n, endpoint=True).astype(NUMPY[p.dtype])

    def _floats(self, p: Param, n: int, low: float | None, high: float | None) -> np.ndarray:
        rng, kind = self.rng, self.kind
        dtype = np.dtype("f8") if p.dtype == "f64" else np.dtype("f4")
        if kind == "whole":
            x = rng.integers(-4, 5, n).astype(float)
        elif kind == "near":
            x = 1 + rng.standard_normal(n) * 1e-3
        elif kind == "wide":
            x = rng.standard_normal(n) * 10.0 ** rng.integers(-3, 3, n)
        else:
            x = rng.standard_normal(n)
        if low is not None or high is not None:
            a = low if low is not None else float(high or 0) - 4
            b = high if high is not None else a + 4
            x = np.where((x > a) & (x < b), x, a + (b - a) * rng.random(n))
        if kind == SPECIAL and n:
            few = special_values(p.dtype)
            if low is not None:
                few = few[few >= low]
            if high is not None:
                few = few[few <= high]
            count = int(rng.integers(1, 4)) if few.size else 0
            x[rng.integers(0, n, count)] = rng.choice(few, count)
            if np.isnan(few).any() and rng.integers(2):  # by chance alone nan would come seldom; not in every row
                x[rng.integers(0, n, 1 + n // 256)] = np.nan
        x = x.astype(dtype)
        if p.dtype == "bf16":
            x = (x.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
        return x

    def bounds(self, p: Param) -> tuple[Any, Any]:
        """Bounds of the elements that conditions such as `0 <= x[i]` tell."""
        low: Any = None
        high: Any = None
        for c in self.parts:
            side = c.args[0] if c.op == "reduce" and c.attr[0] == "all" else c  # type: ignore[index]
            if side.op not in ("lt", "le", "gt", "ge"):
                continue
            for k, (a, b) in enumerate((side.args, side.args[::-1])):
                told = free_vars(b) <= set(self.names) and not any(True for _ in loads(b))
                if a.op != "load" or a.attr != p.name or not told:
                    continue
                at = self.oracle.value(b, Space(self.names, {})).v
                strict = side.op in ("lt", "gt") and not is_float(p.dtype)
                if (side.op in ("lt", "le")) == (k == 0):
                    at = at - strict
                    high = at if high is None else min(high, at)
                else:
                    at = at + strict
                    low = at if low is None else max(low, at)
        return low, high


def linear(e: Expr, sign: int = 1, sums: tuple[Expr, ...] = ()) -> Iterator[tuple[int, Expr, list[Expr]]]:
    """The elements that an expression adds or subtracts: the sign, the element, the sums around it."""
    if e.op == "load":
        yield sign, e, list(sums)
    elif e.op in ("add", "sub"):
        yield from linear(e.args[0], sign, sums)
        yield from linear(e.args[1], sign if e.op == "add" else -sign, sums)
    elif e.op == "neg":
        yield from linear(e.args[0], -sign, sums)
    elif e.op == "cast":
        yield from linear(e.args[0], sign, sums)
    elif e.op == "reduce" and e.attr[0] == "sum":  # type: ignore[index]
        yield from linear(e.args[0], sign, (*sums, e))
