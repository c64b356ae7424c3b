"""Sizes, numbers and arrays that satisfy a definition's `given`, made from its types.

Hypothesis chooses what a case prefers (a size for each name, a kind of values, a seed); a search then finds the
nearest sizes and numbers that satisfy the conditions, and elements that break one are drawn again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from vibee.api.arrays import NUMPY
from vibee.api.values import Unknown, value
from vibee.tree.defs import Call, Definition, For, Formula, Param, Procedure
from vibee.tree.expr import Expr, Span, free_vars, loads, walk
from vibee.tree.types import DTYPES, is_float

from .numbers import HIGH, Failure, Num, Undetermined
from .oracle import Oracle, Space
from .procedures import over_elements

SMALL = (1, 2, 3, 0, 5, 7, 8, 9)
MIDDLE = (15, 16, 17, 13, 31, 33, 32)
LARGE = (47, 48, 49, 64, 65, 127, 130)
KINDS = ("normal", "whole", "near", "special", "wide")
MOST = 40_000  # product of all sizes
SPECIAL = (0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan)
NEVER = Expr("const", (), False, "bool")


@dataclass(slots=True, repr=False)
class Case:
    """One call: sizes and numbers by name, arrays as the kernel takes them (bfloat16 as f32 here)."""

    sizes: dict[str, int]
    numbers: dict[str, Any]
    arrays: dict[str, np.ndarray] = field(repr=False)
    kind: str = "normal"
    seed: int = 0
    offset: int = 0
    weights: np.ndarray | None = field(default=None, repr=False)  # a model's, in an example

    def __str__(self) -> str:
        parts = [*(f"{n}={x}" for n, x in self.sizes.items())]
        parts += [f"{n}={x!r}" for n, x in self.numbers.items() if n not in self.sizes]
        return f"{', '.join(parts) or 'no sizes'} ({self.kind} values, seed {self.seed}, offset {self.offset})"

    __repr__ = __str__

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))


@st.composite
def cases(draw: Any, d: Definition, oracle: Oracle, kinds: tuple[str, ...] = KINDS, most: int = MOST) -> Case | None:
    """Cases for a definition; None where the search found none."""
    names = size_names(d)
    pools = [SMALL, SMALL + MIDDLE, SMALL + MIDDLE + LARGE]
    room = len(names)
    if isinstance(d, Procedure) and room > 1 and draw(st.booleans()):
        pools = [(1, 2, 3, 0)] * 3  # what a procedure does to them may take very long
    prefer = {n: draw(st.sampled_from(pools[2 if room <= 2 else 1 if room <= 4 else 0])) for n in names}
    if room > 4 and len(pools[0]) > 4:
        prefer[draw(st.sampled_from(names))] = draw(st.sampled_from(MIDDLE + LARGE))
    near = edges(d)
    if near and draw(st.booleans()):
        prefer[draw(st.sampled_from(names))] = draw(st.sampled_from(near))
    kind = draw(st.sampled_from(kinds))
    seed = draw(st.integers(0, 2**32 - 1))
    return made(d, oracle, prefer, kind, seed, draw(st.sampled_from((0, 1, 3, 7))), most)


def size_names(d: Definition) -> list[str]:
    """The sizes of a definition in the order of its head."""
    return [*d.sizes]


def edges(d: Definition) -> list[int]:
    """Sizes at the numbers that a definition counts by, such as the length of its blocks, and one beyond."""
    body = d.body if isinstance(d, Procedure) else d.equations if isinstance(d, Formula) else []
    found = {n for n in _integers(body) if 16 <= n <= 1024}
    return sorted({n + k for n in found for k in (0, 1)}) if d.sizes else []


def _integers(x: Any) -> Iterator[int]:
    """The whole numbers of statements and expressions; not those of bits, and not what is passed on."""
    if isinstance(x, Expr) and x.op == "const" and x.dtype in ("i64", "i32"):
        yield x.attr  # type: ignore[misc]
    elif isinstance(x, For):
        yield x.step
    if isinstance(x, Call) or (isinstance(x, Expr) and x.op in ("shl", "shr", "bitand", "bitor", "xor")):
        return
    if isinstance(x, (list, tuple)):
        for part in x:
            yield from _integers(part)
    elif is_dataclass(x) and not isinstance(x, Span):
        for f in fields(x):
            yield from _integers(getattr(x, f.name))


def made(
    d: Definition, oracle: Oracle, prefer: Mapping[str, int], kind: str, seed: int, offset: int = 0, most: int = MOST
) -> Case | None:
    """The case nearest to what is preferred, or None."""
    rng = np.random.default_rng(seed)
    wanted = dict(prefer)
    for attempt in range(8):
        while np.prod([max(n, 1) for n in wanted.values()], dtype=float) > most:
            biggest = max(wanted, key=lambda n: wanted[n])
            wanted[biggest] //= 2
        found = Search(d, oracle, wanted, rng, most).run()
        if found is not None:
            arrays = Elements(d, oracle, found, kind, rng).run()
            if arrays is not None:
                sizes = {n: int(found[n]) for n in d.sizes}
                numbers = {p.name: found[p.name] for p in d.params if p.kind in ("scalar", "size")}
                return Case(sizes, numbers, arrays, kind, seed, offset)
        wanted = {n: int(rng.choice(SMALL + MIDDLE[:3])) if attempt > 2 else max(k, 1) for n, k in wanted.items()}
    return None


# ------------------------------------------------------------ sizes and numbers


class Search:
    """Backtracking over sizes and numbers: each condition is tested as soon as all its names have values."""

    def __init__(self, d: Definition, oracle: Oracle, prefer: Mapping[str, int], rng: np.random.Generator, most: int):
        self.d, self.oracle, self.prefer, self.rng, self.most = d, oracle, prefer, rng, most
        self.order = [*d.sizes, *(p.name for p in d.params if p.kind == "scalar")]
        known = set(self.order)
        self.conditions = [g for g in d.given if not any(True for _ in loads(g)) and free_vars(g) <= known]
        self.shapes = [e for p in [*d.params, *d.outs] for e in p.shape if e.op != "var"]
        self.steps = 4000

    def run(self) -> dict[str, Any] | None:
        """Values by name, or None."""
        found: dict[str, Any] = {}
        return found if self._from(0, found) else None

    def _from(self, k: int, found: dict[str, Any]) -> bool:
        if k == len(self.order):
            return True
        name = self.order[k]
        for x in self._candidates(name, found):
            self.steps -= 1
            if self.steps < 0:
                return False
            found[name] = x
            if self._fits(name, found) and self._from(k + 1, found):
                return True
            del found[name]
        return False

    def _fits(self, name: str, found: dict[str, Any]) -> bool:
        for c in self.conditions:
            used = free_vars(c)
            if name in used and used <= set(found) and not self._holds(c, found):
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
            rest = [*SMALL, *range(10, 41), 48, 64]
            yield from sorted(rest, key=lambda n: (abs(n - self.prefer.get(name, 1)), n))
            return
        p = self.d.param(name)
        if p.default is not None and self.rng.integers(2):
            yield value(p.default, found)
        yield from self._numbers(p, found)

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
        low, high = (0, 2**t.bits - 1) if t.kind == "u" else (-(2 ** (t.bits - 1)), 2 ** (t.bits - 1) - 1)
        near = {n + k for n in found.values() if isinstance(n, int) and n < 1000 for k in (-1, 0)} | {
            0,
            1,
            2,
            3,
            5,
            10,
            100,
        }
        picks = [x for x in sorted(near | {-1, -3}) if low <= x <= high]
        rng.shuffle(picks)
        if t.bits == 64 and t.kind == "u":
            yield int(rng.integers(0, 2**64 - 1, dtype=np.uint64))
        yield from (int(x) for x in picks)


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


# ------------------------------------------------------------ elements


class Elements:
    """The arrays of a case."""

    def __init__(self, d: Definition, oracle: Oracle, found: dict[str, Any], kind: str, rng: np.random.Generator):
        self.d, self.oracle, self.found, self.kind, self.rng = d, oracle, found, kind, rng
        self.names = nums(d, oracle, found)
        self.wide: dict[str, bool] = {}

    def run(self) -> dict[str, np.ndarray] | None:
        """Arrays by name that satisfy every condition on elements, or None."""
        arrays: dict[str, np.ndarray] = {}
        for p in self.d.params:
            if p.is_array:
                shape = [int(self._whole(n)) for n in p.shape]
                if min(shape, default=0) < 0 or np.prod(shape, dtype=float) > 4 * MOST:
                    return None
                arrays[p.name] = self.draw(p, int(np.prod(shape, dtype=np.int64))).reshape(shape)
        for c in self.d.given:
            if any(ld.attr not in arrays for ld in loads(c)):
                continue
            if any(True for _ in loads(c)) and not self.repair(c, arrays):
                return None
        for c in self.d.given:  # one condition may have broken another
            if (
                any(True for _ in loads(c))
                and all(ld.attr in arrays for ld in loads(c))
                and self.broken(c, arrays) is not None
            ):
                return None
        return arrays

    def _whole(self, e: Expr) -> int:
        return int(self.oracle.value(e, Space(self.names, {})).v)

    def broken(self, c: Expr, arrays: dict[str, np.ndarray]) -> np.ndarray | None:
        """Where a condition fails, None if nowhere."""
        high = {n: Num(a.astype(self.oracle.a.dtype(self.d.param(n).dtype))) for n, a in arrays.items()}
        try:
            held = over_elements(self.oracle, c, Space(self.names, high))
        except (Failure, Undetermined):
            return np.zeros(0, bool)
        if held is None or bool(np.all(held.v & ~np.asarray(held.e, bool))):
            return None
        return np.asarray(~(held.v & ~np.asarray(held.e, bool)))

    def repair(self, c: Expr, arrays: dict[str, np.ndarray]) -> bool:
        """Draw the elements of failing places again."""
        from .procedures import indices_of

        reduced = any(n.op in ("reduce", "scan") for n in walk(c))
        for _ in range(60):
            bad = self.broken(c, arrays)
            if bad is None:
                return True
            high = {n: Num(a) for n, a in arrays.items()}
            indices = indices_of(c, Space(self.names, high)) or {}
            if reduced or bad.size == 0 or bad.ndim == 0:
                for ld in loads(c):
                    p = self.d.param(str(ld.attr))
                    arrays[p.name] = self.draw(p, arrays[p.name].size).reshape(arrays[p.name].shape)
                continue
            places = dict(zip(indices, np.nonzero(bad), strict=True))
            at = Space({**self.names, **{n: Num(x) for n, x in places.items()}}, high)
            for ld in loads(c):
                try:
                    index = tuple(
                        np.broadcast_to(self.oracle.value(k, at).v, places[next(iter(places))].shape) for k in ld.args
                    )
                    p = self.d.param(str(ld.attr))
                    arrays[p.name][index] = self.draw(p, index[0].size if index else 1)
                except (Failure, IndexError):
                    continue
        return False

    def draw(self, p: Param, n: int) -> np.ndarray:
        """n elements of a parameter's type, within the bounds that single conditions tell."""
        t = DTYPES[p.dtype]
        if t.kind == "b":
            return self.rng.integers(0, 2, n).astype(bool)
        low, high = self.bounds(p)
        if t.kind == "f":
            return self._floats(p, n, low, high)
        least, most = (0, 2**t.bits - 1) if t.kind == "u" else (-(2 ** (t.bits - 1)), 2 ** (t.bits - 1) - 1)
        free = low is None and high is None
        if free and t.bits == 8 and t.kind == "u":
            pool = np.array([97, 98, 32, 10, 48, 200, 0, 255, 122, 46]) if self.kind == "normal" else np.arange(256)
            return self.rng.choice(pool, n).astype(NUMPY[p.dtype])
        if free and self.kind == "wide":
            return self.rng.integers(least, most, n, dtype=NUMPY[p.dtype], endpoint=True)
        sizes = [int(x) for name, x in self.found.items() if name in self.d.sizes]
        top = max([*sizes, 3])
        low = max(least, 0 if free and t.bits > 8 else -2) if low is None else max(low, least)
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
        if kind == "special" and n:
            count = int(rng.integers(1, 4))
            tiny = [float(np.finfo(dtype).smallest_subnormal) * 3, float(np.finfo(dtype).tiny), 1e30, -1e30]
            x[rng.integers(0, n, count)] = rng.choice([*SPECIAL, *tiny], count)
        if low is not None or high is not None:
            a = low if low is not None else float(high or 0) - 4
            b = high if high is not None else a + 4
            x = np.where((x > a) & (x < b), x, a + (b - a) * rng.random(n))
        x = x.astype(dtype)
        if p.dtype == "bf16":
            x = (x.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
        return x

    def bounds(self, p: Param) -> tuple[Any, Any]:
        """Bounds of the elements that conditions such as `0 <= x[i]` tell."""
        low: Any = None
        high: Any = None
        for c in self.d.given:
            for side in [c] if c.op != "and" else walk(c):
                if side.op not in ("lt", "le", "gt", "ge"):
                    continue
                for k, (a, b) in enumerate((side.args, side.args[::-1])):
                    if (
                        a.op != "load"
                        or a.attr != p.name
                        or any(True for _ in loads(b))
                        or not free_vars(b) <= set(self.names)
                    ):
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


__all__ = ["HIGH", "Case", "cases", "made", "nums"]
