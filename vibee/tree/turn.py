"""A block of 16 x 16 words turned over, as loops: what a processor does with a few shuffles of whole registers.

    for r in range(0, 16):
        for c in range(0, 16):
            T[..., row + r, column + c] = S[c, r]

Like a product (`vibee.tree.product`): lowering writes these loops, the prover sees loops, and emission knows them
again.
"""

from __future__ import annotations

from dataclasses import dataclass

from .defs import For, Store
from .expr import Expr, const, free_vars, load, loads, var
from .product import SIDE


@dataclass(frozen=True, slots=True)
class Turn:
    """The parts of the loops.  `to` is the load of the element that is written first."""

    r: str
    c: str
    words: str
    to: Expr

    def loops(self) -> For:
        """The loops."""
        r, c = var(self.r, "i64"), var(self.c, "i64")
        *lead, row, column = self.to.args
        place = (*lead, Expr("add", (row, r), None, "i64"), Expr("add", (column, c), None, "i64"))
        put = Store(str(self.to.attr), place, load(self.words, (c, r), "u32"))
        zero, side = const(0, "i64"), const(SIDE, "i64")
        return For(self.r, zero, side, [For(self.c, zero, side, [put])])


def turn_of(s: For) -> Turn | None:
    """The turn that a loop is, if it has the form above; whatever else it is, None."""
    try:
        (inner,) = s.body
        (put,) = inner.body
        *lead, row, column = put.idx
        to = load(put.array, (*lead, row.args[0], column.args[0]), "u32")
        found = Turn(s.var, inner.var, put.value.attr, to)
    except (AttributeError, IndexError, ValueError):
        return None
    return found if found.loops() == s and _separate(found) else None


def _separate(t: Turn) -> bool:
    """Is the place the same in all iterations, and another array?"""
    still = all(not free_vars(e) & {t.r, t.c} and not [*loads(e)] for e in t.to.args)
    return still and t.words != t.to.attr and t.r != t.c
