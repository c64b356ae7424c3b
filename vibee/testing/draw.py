"""Sizes, numbers and arrays that satisfy a definition's `given`, made from its types.

Hypothesis chooses what a case prefers (a size for each name, a kind of values, a seed); a search then finds the
nearest sizes and numbers that satisfy the conditions (`sizes`), and elements that do (`elements`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from vibee.tree.defs import Definition, Procedure
from vibee.tree.expr import Expr

from .blocks import Corner, edges, limit
from .elements import Elements
from .oracle import Oracle
from .sizes import LARGE, MIDDLE, MOST, SMALL, SPECIAL, Search, nums

KINDS = ("normal", "whole", "near", SPECIAL, "wide")


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


class Turns:
    """What changes from case to case, so that a few of them meet every kind of values and some large sizes.

    It does not change any more once a case has failed: smaller ones are to fail in the same way."""

    def __init__(self, kinds: Iterable[str], corners: Iterable[Corner], start: int = 0) -> None:
        ordinary = [k for k in kinds if k != SPECIAL]
        at = start % len(ordinary)
        self.kinds = [SPECIAL] * (SPECIAL in kinds) + ordinary[at:] + ordinary[:at]
        self.corners = [*corners]
        self.start, self.number, self.failed = start, -1, False

    def next(self) -> tuple[str, Corner | None]:
        """A kind of values, and for every third case a corner."""
        self.number += not self.failed
        kind = self.kinds[self.number % len(self.kinds)]
        if self.number % 3 != 1 or not self.corners:
            return kind, None
        return kind, self.corners[(self.start + self.number // 3) % len(self.corners)]


@st.composite
def cases(
    draw: Any, d: Definition, oracle: Oracle, kinds: tuple[str, ...] = KINDS, most: int = MOST,
    turns: Turns | None = None,
) -> Case | None:  # fmt: skip
    """Cases for a definition; None where the search found none.  Without `turns` Hypothesis chooses the kinds."""
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
    kind, corner = draw(st.sampled_from(kinds)) if turns is None else kinds[0], None
    if turns is not None and not draw(st.sampled_from((True, *[False] * 7))):  # what fails is tried without, too
        kind, corner = turns.next()
    if corner is not None:
        prefer = beside(corner, prefer, limit(d, most))
    if kind == SPECIAL:
        prefer = {n: max(k, 2) for n, k in prefer.items()}  # they are to stand beside others
    seed = draw(st.integers(0, 2**32 - 1))
    return made(d, oracle, prefer, kind, seed, draw(st.sampled_from((0, 1, 3, 7))), most)


def beside(corner: Corner, prefer: Mapping[str, int], most: int) -> dict[str, int]:
    """Sizes with one or some of them at a corner, and the others so small that there are at most so many elements."""
    chosen = dict(corner)
    size, others = math.prod(chosen.values()), len(prefer.keys() - chosen)
    top = next((k for k in (8, 5, 3, 2) if size * k**others <= most), 1)
    return {n: chosen.get(n, min(max(k, 1), top)) for n, k in prefer.items()}


def size_names(d: Definition) -> list[str]:
    """The sizes of a definition in the order of its head."""
    return [*d.sizes]


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
        found = Search(d, oracle, wanted, rng, most, kind == SPECIAL and attempt < 4).run()
        if found is not None:
            arrays = Elements(d, oracle, found, kind, rng).run()
            if arrays is not None:
                sizes = {n: int(found[n]) for n in d.sizes}
                numbers = {p.name: found[p.name] for p in d.params if p.kind in ("scalar", "size")}
                return Case(sizes, numbers, arrays, kind, seed, offset)
        wanted = {n: int(rng.choice(SMALL + MIDDLE[:3])) if attempt > 2 else max(k, 1) for n, k in wanted.items()}
    return None


def unmet(d: Definition, oracle: Oracle) -> Expr | None:
    """A condition of `given` that no values were found for, where there is one."""
    rng = np.random.default_rng(0)
    search = Search(d, oracle, dict.fromkeys(d.sizes, 3), rng, MOST)
    found = search.run()
    if found is None:
        return search.failed
    elements = Elements(d, oracle, found, "normal", rng)
    return elements.failed if elements.run() is None else None


__all__ = ["KINDS", "Case", "Search", "Turns", "cases", "made", "nums", "unmet"]
