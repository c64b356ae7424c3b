"""One arena for a whole step: which values share memory, with every size symbolic.

A value lives from the step that writes it to the last that reads it.  Values are placed
largest first into the first slot whose values are all dead while it lives; a slot is as
large as its largest value (a symbolic maximum where that depends on the sizes).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..tree.expr import Expr, const
from ..tree.poly import Poly, Sizes, evaluate, mul

ALIGN = 16  # elements: 64 bytes of f32, a cache line and the widest vector
GUESS = 64  # the size that every name has where values are ordered by how large they usually are


def aligned(e: Expr) -> Expr:
    """`e` rounded up to whole cache lines."""
    if e.op == "const":
        return const(-(-int(e.attr) // ALIGN) * ALIGN, "i64")  # type: ignore[call-overload]
    up = Expr("add", (e, const(ALIGN - 1, "i64")), None, "i64")
    lines = Expr("floordiv", (up, const(ALIGN, "i64")), None, "i64")
    return Expr("mul", (lines, const(ALIGN, "i64")), None, "i64")


@dataclass(slots=True)
class Buffer:
    """A value that needs memory, alive at the times first..last (both included)."""

    name: str
    size: Poly  # elements, all copies together
    first: int
    last: int


@dataclass(slots=True)
class Slot:
    """A piece of the arena."""

    buffers: list[Buffer] = field(default_factory=list)

    def free_during(self, b: Buffer) -> bool:
        """True if no value of the slot is alive while `b` is."""
        return all(b.last < o.first or o.last < b.first for o in self.buffers)

    def size(self, sizes: Sizes) -> Expr:
        """Elements: the largest of its values, those left out that never are the largest."""
        largest: list[Poly] = []
        for b in self.buffers:
            if not any(sizes.at_most(b.size, p) for p in largest):
                largest = [p for p in largest if not sizes.at_most(p, b.size)] + [b.size]
        total = sizes.expr(largest[0])
        for p in largest[1:]:
            total = Expr("max", (total, sizes.expr(p)), None, "i64")
        return total


@dataclass(slots=True)
class Plan:
    """Where every value of a step is."""

    slots: list[Slot]
    sizes: list[Expr]  # of the slots, rounded up
    slot_of: dict[str, int]

    def evaluate(self, numbers: Mapping[str, int]) -> tuple[dict[str, int], int]:
        """Offset of every value and the arena's length for concrete sizes."""
        at, start = [], 0
        for size in self.sizes:
            at.append(start)
            start += evaluate(size, numbers)
        return {name: at[i] for name, i in self.slot_of.items()}, start


def make_plan(buffers: list[Buffer], sizes: Sizes) -> Plan:
    """Slots for the values; deterministic."""

    def usual(b: Buffer) -> int:
        names = {a for m in b.size for a in m}
        guess = dict.fromkeys(names, GUESS)
        return sum(c * _product(guess[a] for a in m) for m, c in b.size.items())

    slots: list[Slot] = []
    slot_of: dict[str, int] = {}
    for b in sorted(buffers, key=lambda b: (-usual(b), b.first, b.name)):
        home = next((i for i, s in enumerate(slots) if s.free_during(b)), len(slots))
        if home == len(slots):
            slots.append(Slot())
        slots[home].buffers.append(b)
        slot_of[b.name] = home
    return Plan(slots, [aligned(s.size(sizes)) for s in slots], slot_of)


def _product(numbers) -> int:  # type: ignore[no-untyped-def]
    out = 1
    for n in numbers:
        out *= n
    return out


def overlaps(plan: Plan, numbers: Mapping[str, int], sizes: Sizes) -> list[tuple[str, str]]:
    """Pairs of values alive at the same time that share an element, for concrete sizes."""
    at, total = plan.evaluate(numbers)
    everything = [b for s in plan.slots for b in s.buffers]
    bad = []
    for i, a in enumerate(everything):
        end_a = at[a.name] + evaluate(sizes.expr(a.size), numbers)
        if end_a > total:
            bad.append((a.name, "the end of the arena"))
        for b in everything[:i]:
            if a.last < b.first or b.last < a.first:
                continue
            if at[a.name] < at[b.name] + evaluate(sizes.expr(b.size), numbers) and at[b.name] < end_a:
                bad.append((a.name, b.name))
    return bad


def times(size: Poly, copies: Expr | None, sizes: Sizes) -> Poly:
    """Elements of `copies` values of `size` elements."""
    return size if copies is None else mul(size, sizes.poly(copies))
