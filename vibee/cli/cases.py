"""What `vibee bench` runs a kernel on: sizes that satisfy its conditions, and arrays of values that do.

A kernel is described by plain data (`vibee.build.describe`): names, shapes and conditions as text.
"""

from __future__ import annotations

import functools
import math
import struct
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

from vibee.runtime.buffers import zeros
from vibee.runtime.sample_text import sample_text
from vibee.tree.types import DTYPES

from .kernels import view

Names = dict[str, Any]

LARGEST = 22  # sizes are powers of two up to this one
ENOUGH = 20_000  # steps of the search for sizes
PIECE = 1021  # values that repeat; a prime number, so that they do not fall in with the sizes
FILLS = ("scattered", "rising", "least")  # orders of values, tried until the kernel accepts them

# What expressions of the language mean in Python, beside what both share.
WORDS: Names = {
    "__builtins__": {}, "min": min, "max": max, "abs": abs, "sqrt": math.sqrt, "floor": math.floor, "inf": math.inf,
    "where": lambda c, a, b: a if c else b, "bool": bool,
    **{t.name: float if t.kind == "f" else int for t in DTYPES.values() if t.kind != "b"},
}  # fmt: skip


@functools.cache
def _code(text: str) -> CodeType:
    return compile(text, "<description of a kernel>", "eval")


def value(text: str, names: Names) -> Any:
    """The value of an expression of a description."""
    return eval(_code(text), WORDS, names)


@dataclass
class Kernel:
    """One native function, as it is described; `runs` are sizes that were chosen by hand."""

    function: str
    name: str
    label: str  # the name, with the type if it is not f32
    module: str
    sizes: list[str]
    numbers: list[tuple[str, str, Any]]  # name, type, default
    arrays: list[tuple[str, str, tuple[str, ...], str, str]]  # name, type, shape, least and largest value
    given: list[str]
    hints: dict[str, list[tuple[str, bool]]]  # values to try; True where only they will do
    flops: str | None
    bound: bool  # it may do fewer operations than `flops`
    bytes: str
    loose: bool  # it may touch less than `bytes`
    wide: bool  # it computes in f64
    runs: list[dict[str, Any]]


@dataclass
class Case:
    """A kernel with sizes and numbers; `ranges` of values of arrays that were chosen by hand."""

    kernel: Kernel
    names: Names
    scale: int = 0  # the size that the others were chosen around
    ranges: dict[str, list[Any]] = field(default_factory=dict)
    chosen: list[str] = field(default_factory=list)  # the names that were fixed by hand

    @property
    def flops(self) -> float | None:
        """Floating-point operations of one call, None if sizes do not tell."""
        return None if self.kernel.flops is None else float(value(self.kernel.flops, self.names))

    @property
    def bytes(self) -> float:
        """Bytes of its arrays that one call reads, and that it writes."""
        return float(value(self.kernel.bytes, self.names))

    @property
    def shown(self) -> Names:
        """The sizes that do not follow from others, and what was chosen by hand."""
        follows = {n for n, hints in self.kernel.hints.items() if any(only for _, only in hints)}
        shown = {*self.chosen, *self.kernel.sizes} - follows
        return {n: x for n, x in self.names.items() if n in shown}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every array."""
        return {name: tuple(int(value(e, self.names)) for e in shape) for name, _, shape, _, _ in self.kernel.arrays}

    def memory(self) -> int:
        """Bytes of all arrays."""
        shapes = self.shapes()
        return sum(math.prod(shapes[a[0]]) * DTYPES[a[1]].bits // 8 for a in self.kernel.arrays)


# ---------------------------------------------------------------- sizes


def choose(k: Kernel, run: dict[str, Any], most: int, operations: float, largest: int = LARGEST) -> Case | None:
    """Sizes as near as possible to one number, the largest for which the arrays take at most `most` bytes and the
    work is at most so many `operations`; `run` fixes some or all.  None if no sizes satisfy the conditions."""
    arrays = {a[0] for a in k.arrays}
    ranges = {n: x for n, x in run.items() if n in arrays and isinstance(x, list)}
    fixed = {n: x for n, x in run.items() if n not in ranges}
    least = None
    for scale in range(largest, -1, -1):
        found = _assignment(k, fixed, scale)
        if found is None:
            continue
        case = Case(k, found, scale, ranges, list(fixed))
        if min((n for s in case.shapes().values() for n in s), default=1) < 1:
            continue
        least = case
        if set(k.sizes) <= set(fixed) or _fits(case, most, operations):
            return case
    return least if least is not None and _fits(least, 64 * most, 64 * operations) else None


def _fits(case: Case, most: int, operations: float) -> bool:
    return max(case.memory(), case.bytes) <= most and (case.flops or 0) <= operations


def _assignment(k: Kernel, fixed: Names, scale: int) -> Names | None:
    """Values for all sizes and numbers that satisfy the conditions on them, if possible near 2**scale."""
    follows = [n for n, hints in k.hints.items() if any(only for _, only in hints)]
    order = [n for n in dict.fromkeys([*k.sizes, *(n for n, _, _ in k.numbers)]) if n not in follows] + follows
    numbers = {n: (dtype, default) for n, dtype, default in k.numbers if n not in k.sizes}
    # a condition is tested as soon as the last of its names has a value
    tests: list[list[str]] = [[] for _ in order]
    for g in k.given:
        used = [order.index(n) for n in _code(g).co_names if n in order]
        if used:
            tests[max(used)].append(g)
    # powers of two, and multiples of what the conditions on a size name
    factors = {n: {1, *(c for g in k.given if n in _code(g).co_names for c in _factors(g))} for n in k.sizes}
    names: Names = {}
    steps = 0

    def options(name: str) -> list[Any]:
        if name in fixed:
            return [fixed[name]]
        hints = [(h, only) for h, only in k.hints.get(name, []) if not set(_code(h).co_names) & set(order) - set(names)]
        values = [value(h, names) for h, _ in sorted(hints, key=lambda h: not _code(h[0]).co_names)]
        if any(only for _, only in hints):
            return [value(h, names) for h, only in hints if only]
        if name not in numbers:
            near = sorted((f * 2**p for f in factors[name] for p in range(LARGEST + 1)),
                          key=lambda n: abs(math.log2(n) - scale))  # fmt: skip
            return [*near, *(v for v in values if v > 0)]
        dtype, default = numbers[name]
        usual: list[Any] = [False, True] if dtype == "bool" else [1, 2, 3, 0, 4, 8, 16, 100, -1]
        if DTYPES[dtype].kind == "f":
            usual = [0.5, 1.0, 2.0, 0.25, 0.01, 0.0, -1.0, 10.0, 100.0]
        return [default, *values, *usual] if default is not None else [*values, *usual]

    def place(at: int) -> bool:
        nonlocal steps
        if at == len(order):
            return True
        for x in options(order[at]):
            steps += 1
            if steps > ENOUGH:
                return False
            names[order[at]] = x
            if all(_holds(g, names) for g in tests[at]) and place(at + 1):
                return True
            del names[order[at]]
        return False

    return names if place(0) else None


def _factors(g: str) -> list[int]:
    return [c for c in _code(g).co_consts if isinstance(c, int) and 1 < c < 1000]


def _holds(g: str, names: Names) -> bool:
    try:
        return bool(value(g, names))
    except (ArithmeticError, NameError, ValueError):
        return False


# ---------------------------------------------------------------- arrays


def fill(case: Case, order: str) -> dict[str, memoryview]:
    """The arrays of a case.  Integers stay in the range that conditions give them, bytes without one are a text,
    and floats without one are between -1 and 1."""
    out = {}
    shapes = case.shapes()
    for name, dtype, _, low, high in case.kernel.arrays:
        shape, t = shapes[name], DTYPES[dtype]
        flat = zeros(math.prod(shape), "B" if t.kind == "b" else t.format)
        least, most = case.ranges.get(name, [_limit(low, case.names), _limit(high, case.names)])
        if dtype == "u8" and least is None and most is None:
            _repeat(flat, sample_text(PIECE))
        else:
            _values(flat, dtype, least, most, order)
        out[name] = flat if len(shape) == 1 else view(flat, *shape)
    return out


def _limit(text: str, names: Names) -> Any:
    return value(text, names) if text else None


def _repeat(flat: memoryview, piece: bytes | memoryview) -> None:
    """The same piece again and again."""
    for at in range(0, len(flat), len(piece)):
        n = min(len(piece), len(flat) - at)
        flat[at : at + n] = piece[:n]


def _values(flat: memoryview, dtype: str, least: Any, most: Any, order: str) -> None:
    t = DTYPES[dtype]
    if t.kind == "f":
        least = (-1.0 if most is None else most - 1.0) if least is None else least
        most = least + (2.0 if least == -1.0 else 1.0) if most is None else most
    else:
        least = min(0, most or 0) if least is None else least
        most = min(least + 1, 2 ** (t.bits - 1) - 1) if most is None else most
    count = len(flat) if order == "rising" else min(PIECE, len(flat))
    piece = zeros(count, flat.format)
    for i in range(count):
        # how far through the range, between 0 and 1: in order, mixed up, or always at its start
        part = {"rising": i / count, "scattered": (i * 389 % PIECE + 0.5) / PIECE, "least": 0.5 / PIECE}[order]
        if t.kind == "f":
            x: Any = least + (most - least) * part
            piece[i] = struct.unpack("<I", struct.pack("<f", x))[0] >> 16 if dtype == "bf16" else x
        else:
            piece[i] = int(least + int((most - least + 1) * part))
    _repeat(flat, piece)
