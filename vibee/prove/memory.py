"""Memory as a replay sees it: flat buffers that know what was written, and who touched what in a parallel loop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

LARGEST = 2_000_000  # elements of one array: replays are for small sizes


class TooLarge(Exception):
    """An array that is too large to replay."""


@dataclass(slots=True, eq=False)
class Memory:
    """One buffer.  `depth`: how many parallel loops were running when it was made; they see it as private
    if it was made inside them."""

    data: list
    written: bytearray
    depth: int


@dataclass(slots=True)
class Array:
    """A view of a buffer: `shape` laid out row by row from `offset`."""

    name: str
    memory: Memory
    offset: int
    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """The number of elements."""
        return count(self.shape)

    def place(self, at: Sequence[int], run: int = 1) -> int | None:
        """Where element `at` lies in the buffer (and `run - 1` more after it); None if it is outside."""
        flat = 0
        for k, n in zip(at, self.shape, strict=True):
            if not 0 <= k < n:
                return None
            flat = flat * n + k
        if run > 1 and at[-1] + run > self.shape[-1]:
            return None
        return self.offset + flat

    def index(self, place: int) -> tuple[int, ...]:
        """The indices of an element of the buffer."""
        left, out = place - self.offset, []
        for n in reversed(self.shape):
            left, k = divmod(left, n)
            out.append(k)
        return tuple(reversed(out))


def count(shape: Sequence[int]) -> int:
    """Elements of a shape; an axis below 0 has none."""
    return math.prod(max(n, 0) for n in shape)


def new(name: str, dtype: str, shape: tuple[int, ...], depth: int, values: list | None = None) -> Array:
    """An array of its own: with `values`, or not written yet."""
    size = count(shape)
    if size > LARGEST:
        raise TooLarge(f"{name} has {size} elements")
    zero: Any = False if dtype == "bool" else 0.0 if dtype in ("f32", "f64", "bf16") else 0
    data = [zero] * size if values is None else list(values)
    return Array(name, Memory(data, bytearray([values is not None]) * size, depth), 0, shape, dtype)


@dataclass(slots=True, eq=False)
class Region:
    """One run of a parallel loop: which iteration wrote each element, and which read it first.

    Iterations are replayed in order, so the first reader is enough: if it is the present iteration, so
    are all others.
    """

    var: str
    key: str  # the procedure that has the loop
    arrays: dict[str, Array]  # its arrays, by the names that they have there
    now: int = 0
    writer: dict[tuple[int, Any], int] = field(default_factory=dict)
    reader: dict[tuple[int, Any], int] = field(default_factory=dict)

    def touch(self, key: tuple[int, Any], write: bool) -> tuple[int, bool] | None:
        """Note an access; an earlier one by another iteration that clashes with it, and whether that wrote."""
        wrote = self.writer.get(key)
        if wrote is not None and wrote != self.now:
            return wrote, True
        if write:
            self.writer[key] = self.now
            first = self.reader.get(key, self.now)
            return (first, False) if first != self.now else None
        self.reader.setdefault(key, self.now)
        return None
