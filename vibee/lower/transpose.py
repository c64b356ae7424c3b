"""Arrays turned over: `y[..., d, i] = x[..., i, ..., d]`, where what is read runs along one index and what is written
along another.  Squares as wide as a vector are turned over in registers (`vibee.tree.turn`), and what is left of both
indices follows element by element.
"""

from __future__ import annotations

from dataclasses import dataclass

from vibee.tree.defs import Equation, For, Store
from vibee.tree.expr import Expr, free_vars, load, loads, substitute
from vibee.tree.stride import stride, unit_step
from vibee.tree.turn import SIDES, Turn
from vibee.tree.types import DTYPES

from .build import Fresh, add, at_least_zero, div, i, is_const, local, mul, sub


@dataclass(frozen=True, slots=True)
class Transpose:
    """An equation that turns an array over: `row` counts along what is read, `col` along what is written, and along
    `axis` of what is read."""

    e: Equation
    row: str
    col: str
    axis: int
    side: int

    def lower(self, fresh: Fresh) -> list[tuple[list[tuple[str, Expr]], list]]:
        """Loops that may run in any order, and what is done in them: whole squares, what is left of the columns beside
        them, then what is left of the rows."""
        e, side = self.e, i(self.side)
        dim = {v: at_least_zero(d, fresh.signed) for v, d in zip(e.vars, e.dims, strict=True)}
        cols, others = dim[self.col], [(v, dim[v]) for v in e.vars if v not in (self.row, self.col)]
        block, step = fresh.part(self.row, "block"), fresh.part(self.col, "block")
        part, rest = fresh.part(self.row, "part"), fresh.part(self.row, "rest")
        rows, columns = div(dim[self.row], side), div(cols, side)
        left, whole = mul(rows, side), mul(columns, side)
        turn = Turn(
            fresh("r"), fresh("c"), self.side, *self._at(mul(local(block), side), mul(local(step), side)), self.axis
        )
        beside = [For(self.col, whole, cols, [self._one(local(part))])]
        below = [For(self.col, i(0), cols, [self._one(add(left, local(rest)))])]
        return [
            ([*others, (block, rows), (step, columns)], [turn.loops()]),
            ([*others, (part, left)], beside),
            ([*others, (rest, sub(dim[self.row], left))], below),
        ]

    def _at(self, row: Expr, col: Expr) -> tuple[Expr, Expr]:
        """The element that is written at a row and a column, and the one that is read for it."""
        at = {self.row: row, self.col: col}
        idx = tuple(substitute(x, at) for x in self.e.idx)
        return load(self.e.lhs, idx, self.e.rhs.dtype), substitute(self.e.rhs, at)

    def _one(self, row: Expr) -> Store:
        to, source = self._at(row, local(self.col))
        return Store(self.e.lhs, to.args, source, span=self.e.span)


def transpose_of(e: Equation, bits: int) -> Transpose | None:
    """The equation as a transpose, where squares of registers of so many bits serve it."""
    if e.accumulate or e.rhs.op != "load" or e.rhs.attr == e.lhs or len(e.idx) < 2 or e.rhs.dtype not in ("f32", "f64"):
        return None
    col, side = str(e.idx[-1].attr), bits // DTYPES[e.rhs.dtype].bits
    row = next((v for v in e.vars if v != col and stride(e.rhs.args, v) == 1), None)
    if e.idx[-1].op != "var" or col not in e.vars or row is None or side not in SIDES:
        return None
    axes = [n for n, x in enumerate(e.rhs.args) if col in free_vars(x)]
    written = [n for n, x in enumerate(e.idx) if row in free_vars(x)]
    if len(axes) != 1 or axes[0] == len(e.rhs.args) - 1 or not unit_step(e.rhs.args[axes[0]], col):
        return None
    if written != [len(e.idx) - 2] or not unit_step(e.idx[-2], row) or [n for x in e.rhs.args for n in loads(x)]:
        return None
    short = (d for v, d in zip(e.vars, e.dims, strict=True) if v in (row, col) and is_const(d) and int(d.attr) < side)  # type: ignore[call-overload]
    return None if any(True for _ in short) else Transpose(e, row, col, axes[0], side)
