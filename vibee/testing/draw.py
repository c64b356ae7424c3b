"""Sizes, numbers and arrays that satisfy a definition's `given`, made from its types.

Hypothesis chooses what a case prefers (a size for each name, a kind of values, a seed); a search then finds the
nearest sizes and numbers that satisfy the conditions (`sizes`), and elements that do (`elements`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from vibee.tree.defs import Call, Definition, For, Formula, Procedure
from vibee.tree.expr import Expr, Span

from .elements import Elements
from .oracle import Oracle
from .sizes import LARGE, MIDDLE, MOST, SMALL, Search, nums

KINDS = ("normal", "whole", "near", "special", "wide")


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


def unmet(d: Definition, oracle: Oracle) -> Expr | None:
    """A condition of `given` that no values were found for, where there is one."""
    rng = np.random.default_rng(0)
    search = Search(d, oracle, dict.fromkeys(d.sizes, 3), rng, MOST)
    found = search.run()
    if found is None:
        return search.failed
    elements = Elements(d, oracle, found, "normal", rng)
    return elements.failed if elements.run() is None else None


__all__ = ["KINDS", "Case", "Search", "cases", "made", "nums", "unmet"]
