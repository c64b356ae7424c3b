"""A square of numbers turned over, as loops: what a processor does with a few shuffles of whole registers.

    for r in range(0, S):
        for c in range(0, S):
            T[..., row + r, column + c] = W[..., first + c, ..., start + r]

Like a product (`vibee.tree.product`): lowering writes these loops, the prover sees loops, and emission knows them
again.
"""

from __future__ import annotations

from dataclasses import dataclass

from .defs import For, Store
from .expr import Expr, const, free_vars, load, loads, var

SIDES = (2, 4, 8, 16)
NUMBERS = ("f32", "f64", "u32")  # what is turned as it lies in memory


@dataclass(frozen=True, slots=True)
class Turn:
    """The parts of the loops.  `to` and `source` are the loads of the elements written and read first; c counts along
    `axis` of what is read, which is not the last one."""

    r: str
    c: str
    side: int
    to: Expr
    source: Expr
    axis: int

    def loops(self) -> For:
        """The loops."""
        r, c = var(self.r, "i64"), var(self.c, "i64")
        taken = list(self.source.args)
        taken[self.axis], taken[-1] = _plus(taken[self.axis], c), _plus(taken[-1], r)
        *lead, row, column = self.to.args
        place = (*lead, _plus(row, r), _plus(column, c))
        put = Store(str(self.to.attr), place, load(str(self.source.attr), tuple(taken), self.to.dtype))
        zero, side = const(0, "i64"), const(self.side, "i64")
        return For(self.r, zero, side, [For(self.c, zero, side, [put])])


def turn_of(s: For) -> Turn | None:
    """The turn that a loop is, if it has the form above; whatever else it is, None."""
    try:
        (inner,) = s.body
        (put,) = inner.body
        *lead, row, column = put.idx
        taken = list(put.value.args)
        (axis,) = (n for n, e in enumerate(taken[:-1]) if inner.var in free_vars(e))
        taken[axis], taken[-1] = taken[axis].args[0], taken[-1].args[0]
        to = load(put.array, (*lead, row.args[0], column.args[0]), put.value.dtype)
        source = load(put.value.attr, tuple(taken), put.value.dtype)
        found = Turn(s.var, inner.var, s.hi.attr, to, source, axis)
    except (AttributeError, IndexError, ValueError):
        return None
    known = found.side in SIDES and found.to.dtype in NUMBERS
    return found if known and found.loops() == s and _separate(found) else None


def _plus(e: Expr, name: Expr) -> Expr:
    return Expr("add", (e, name), None, "i64")


def _separate(t: Turn) -> bool:
    """Are both places the same in all iterations, and in two arrays?"""
    places = (*t.to.args, *t.source.args)
    still = all(not free_vars(e) & {t.r, t.c} and not [*loads(e)] for e in places)
    return still and t.source.attr != t.to.attr and t.r != t.c
