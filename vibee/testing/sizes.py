"""Sizes and numbers that satisfy a definition's `given`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from vibee.api.arrays import NUMPY
from vibee.api.values import Unknown, value
from vibee.tree.defs import Definition, Param
from vibee.tree.expr import Expr, free_vars, loads, walk
from vibee.tree.types import DTYPES, is_float

from .numbers import COMPARE, GREATEST, Failure, Num, Undetermined
from .oracle import Oracle, Space

SMALL = (1, 2, 3, 0, 5, 7, 8, 9)
MIDDLE = (15, 16, 17, 13, 31, 33, 32)
LARGE = (47, 48, 49, 64, 65, 127, 130)
MOST = 40_000  # product of all sizes
SPECIAL = "special"  # the kind of values of which some are these, or the ends of what a type holds
SPECIAL_VALUES = (np.inf, -np.inf, np.nan, 0.0, -0.0, 1.0, -1.0)


class Search:
    """Backtracking over sizes and numbers: each condition is tested as soon as all its names have values."""

    def __init__(
        self, d: Definition, oracle: Oracle, prefer: Mapping[str, int], rng: np.random.Generator, most: int,
        special: bool = False,
    ):  # fmt: skip
        self.d, self.oracle, self.prefer, self.rng, self.most = d, oracle, prefer, rng, most
        self.special = self._one_special() if special else None
        self.order = [*d.sizes, *(p.name for p in d.params if p.kind == "scalar")]
        known = set(self.order)
        self.conditions = [g for g in d.given if not any(True for _ in loads(g)) and free_vars(g) <= known]
        self.shapes = [e for p in [*d.params, *d.outs] for e in p.shape if e.op != "var"]
        self.compared = [n for c in self.conditions for n in walk(c) if n.op in COMPARE]
        self.failed: Expr | None = None  # what the last values broke
        self.steps = 4000

    def run(self) -> dict[str, Any] | None:
        """Values by name, or None."""
        found: dict[str, Any] = {}
        return found if self._from(0, found) else None

    def _one_special(self) -> str | None:
        """A float that gets a special value.  Where there are arrays, too, which do, it often gets none: nan would be
        all that is left of them."""
        floats = [p.name for p in self.d.params if p.kind == "scalar" and is_float(p.dtype)]
        arrays = any(p.is_array and is_float(p.dtype) for p in self.d.params)
        return str(self.rng.choice(floats)) if floats and not (arrays and self.rng.integers(2)) else None

    def _from(self, k: int, found: dict[str, Any]) -> bool:
        if k == len(self.order):
            return True
        name = self.order[k]
        for x in self._candidates(name, found):
            self.steps -= 1
            if self.steps < 0:
                return False
            if x is None or (name in self.d.sizes and not 0 <= x <= 4 * self.most):
                continue
            found[name] = x
            if self._fits(name, found) and self._from(k + 1, found):
                return True
            del found[name]
        return False

    def _fits(self, name: str, found: dict[str, Any]) -> bool:
        for c in self.conditions:
            used = free_vars(c)
            if name in used and used <= set(found) and not self._holds(c, found):
                self.failed = c
                return False
        for e in self.shapes:
            used = free_vars(e)
            if name in used and used <= set(found):
                n = self._value(e, found)
                if n is None or not 0 <= n <= 4 * self.most:
                    return False
        return True

    def _holds(self, c: Expr, found: dict[str, Any]) -> bool:
        return bool(self._value(c, found))

    def _value(self, e: Expr, found: dict[str, Any]) -> Any:
        try:
            return value(e, found)
        except ZeroDivisionError:
            return None
        except Unknown:
            try:
                return self.oracle.value(e, Space(nums(self.d, self.oracle, found), {})).v
            except (Failure, Undetermined):
                return None

    def _candidates(self, name: str, found: dict[str, Any]) -> Iterator[Any]:
        for c in self.conditions:  # a name that an equation tells
            if c.op == "eq":
                for a, b in (c.args, c.args[::-1]):
                    if a.op == "var" and a.attr == name and free_vars(b) <= set(found):
                        yield self._value(b, found)
                        return
        if name in self.d.sizes:
            yield self.prefer.get(name, 1)
            yield from self._edges(name, found)
            rest = [*SMALL, *range(10, 41), 48, 64]
            yield from sorted(rest, key=lambda n: (abs(n - self.prefer.get(name, 1)), n))
            return
        p = self.d.param(name)
        if name == self.special:
            yield from (float(x) for x in self.rng.permutation(special_values(p.dtype)))
        if p.default is not None and self.rng.integers(2):
            yield value(p.default, found)
        yield from self._numbers(p, found)
        yield from self._edges(name, found)

    def _edges(self, name: str, found: dict[str, Any]) -> Iterator[Any]:
        """Values at which a comparison turns, and those beside them: it is taken to be linear in the name."""
        dtype = "i64" if name in self.d.sizes else self.d.param(name).dtype
        low, high = limits(dtype)
        for c in self.compared:
            if name not in free_vars(c) or not free_vars(c) <= {name, *found}:
                continue
            sides = [[self._value(a, {**found, name: x}) for a in c.args] for x in (0, 1)]
            if any(x is None or isinstance(x, bool) for side in sides for x in side):
                continue
            at, slope = float(sides[0][0] - sides[0][1]), float(sides[1][0] - sides[1][1])
            slope -= at
            if slope == 0 or not abs(at / slope) < 2**62:
                continue
            turn: Any = -at / slope if is_float(dtype) else int(-at // slope)
            tries = (turn, turn + 1, turn - 1, turn * 1.5) if is_float(dtype) else (turn, turn + 1, turn - 1)
            yield from (x for x in tries if low <= x <= high)

    def _numbers(self, p: Param, found: dict[str, Any]) -> Iterator[Any]:
        rng, t = self.rng, DTYPES[p.dtype]
        if t.kind == "b":
            yield from rng.permutation([False, True]).tolist()
            return
        if t.kind == "f":
            picks = [
                rng.standard_normal(),
                rng.random(),
                1.0,
                0.5,
                0.0,
                -rng.random() * 4,
                2.0,
                1e-3,
                rng.random() * 20,
            ]
            rng.shuffle(picks)
            exact = np.float32 if t.bits < 64 else np.float64
            yield from (float(exact(x)) for x in [rng.standard_normal() * 2, *picks, *rng.random(6) * 3])
            return
        low, high = limits(p.dtype)
        near = {n + k for n in found.values() if isinstance(n, int) and n < 1000 for k in (-1, 0)}
        near |= {0, 1, 2, 3, 5, 10, 100}
        picks = [x for x in sorted(near | {-1, -3}) if low <= x <= high]
        rng.shuffle(picks)
        if t.bits == 64 and t.kind == "u":
            yield int(rng.integers(0, 2**64 - 1, dtype=np.uint64))
        yield from (int(x) for x in picks)


def special_values(dtype: str) -> np.ndarray:
    """Floats of a type that arithmetic treats in a way of its own, or that are nearly too large or too small for it."""
    kind = np.dtype("f8") if dtype == "f64" else np.dtype("f4")
    ends = [np.finfo(kind).smallest_subnormal * 3, np.finfo(kind).tiny, 1e30, -1e30]
    return np.array([*SPECIAL_VALUES, *ends], kind)


def limits(dtype: str) -> tuple[float, float]:
    """The least and the greatest number of a type."""
    t = DTYPES[dtype]
    if t.kind == "f":
        return -GREATEST[dtype], GREATEST[dtype]
    if t.kind == "b":
        return 0, 1
    return (0, 2**t.bits - 1) if t.kind == "u" else (-(2 ** (t.bits - 1)), 2 ** (t.bits - 1) - 1)


def nums(d: Definition, oracle: Oracle, found: Mapping[str, Any]) -> dict[str, Num]:
    """Sizes and numbers as the oracle takes them: exactly what the kernel gets."""
    out = {}
    kinds = {p.name: p for p in d.params if p.kind in ("scalar", "size") or not p.shape}
    for n, x in found.items():
        p = kinds.get(n)
        dtype = "i64" if p is None or p.kind == "size" else p.dtype
        if is_float(dtype):
            out[n] = Num(
                np.asarray(x).astype(NUMPY[dtype] if dtype != "bf16" else "f4").astype(oracle.a.dtype(dtype))[()]
            )
        else:
            out[n] = Num(np.asarray(x).astype(NUMPY[dtype])[()])
    return out
