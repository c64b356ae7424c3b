"""One product, divided among threads.

Each thread takes a share of the rows or of the columns of c, whichever there are more of, and copies what it needs of
A and B for itself: threads meet once, and none reads what another has just written, which takes longer than copying
it twice.  Columns are taken a few at a time, so that the copies of B have a largest size.

How the work is divided changes no sum: every element of c adds its products in the order of k, in the runs of the tile.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

from vibee.tree.defs import Alloc, Decl, For
from vibee.tree.expr import Expr
from vibee.tree.types import DTYPES

from .build import add, ceil_div, div, i, ix, local, mul, sub

if TYPE_CHECKING:
    from .contraction import Tile

ROW = 4096  # bytes of a row of B that are copied at once: whole panels of any tile
TEAM = 256  # most threads that a product is divided among


def columns_at_once(dtype: str) -> int:
    """The columns of B that are copied at once, where copies hold elements of a type."""
    return ROW * 8 // DTYPES[dtype].bits


def lower_shares(t: Tile) -> list:
    """The statements of a single product whose parts are those of `t`."""
    rows, columns, fresh = t.dim[t.parts.row], t.dim[t.parts.col], t.fresh
    team, row_share, column_share = fresh("team"), fresh("row_share"), fresh("column_share")
    by_rows = Expr("lt", (columns, rows), None, "bool")
    by_columns = Expr("not", (by_rows,), None, "bool")
    threads = ix("max", i(1), ix("min", i(TEAM), Expr("threads", (), None, "i64")))
    row_part, column_part = fresh("row_part"), fresh("column_part")
    first_row, first_column = mul(local(row_part), local(row_share)), mul(local(column_part), local(column_share))
    row_end, column_end = fresh("row_end"), fresh("column_end")
    work = [
        Decl(row_end, "i64", ix("min", add(first_row, local(row_share)), rows)),
        Decl(column_end, "i64", ix("min", add(first_column, local(column_share)), columns)),
        Alloc(
            t.bp,
            t.panel_dtype,
            (ix("min", i(columns_at_once(t.panel_dtype) // t.nr), t.panels), *t.depth(), i(t.nr)),
            zero=False,
        ),
        _column_blocks(t, first_row, row_end, first_column, column_end),
    ]
    across = For(column_part, i(0), _parts(columns, column_share), work, parallel=True)
    return [
        Decl(team, "i64", threads),
        Decl(row_share, "i64", mul(i(t.mr), _part(ceil_div(rows, t.mr), team, by_rows))),
        Decl(column_share, "i64", mul(i(t.nr), _part(t.panels, team, by_columns))),
        For(row_part, i(0), _parts(rows, row_share), [across], parallel=True, work=_operations(t)),
    ]


def _operations(t: Tile) -> Expr:
    """Products that are added."""
    counts = [t.dim[t.parts.row], t.dim[t.parts.col], *(sub(hi, lo) for _, lo, hi in t.ks)]
    return reduce(mul, counts)


def _part(whole: Expr, team: str, divided: Expr) -> Expr:
    """What each of the team takes of a number of things: a part if they are divided, or all."""
    part = div(add(whole, sub(local(team), i(1))), local(team))
    return ix("max", i(1), Expr("where", (divided, part, whole), None, "i64"))


def _parts(whole: Expr, size: str) -> Expr:
    """How many parts of a size there are."""
    return div(add(whole, sub(local(size), i(1))), local(size))


def _column_blocks(t: Tile, first_row: Expr, row_end: str, first: Expr, end: str) -> For:
    """What one thread does: the columns of its share, block by block, along k."""
    start, count = t.fresh("column_0"), t.fresh("column_count")
    t.first_column, t.column_count = local(start), local(count)
    panels = ceil_div(local(count), t.nr)
    copy = For(t.jb, i(0), panels, t.panel())
    most = columns_at_once(t.panel_dtype)
    run = [*t.run_of_k(), copy, _row_blocks(t, first_row, row_end, panels)]
    body = [
        Decl(count, "i64", ix("min", i(most), sub(local(end), local(start)))),
        t.runs_of_k(run),
    ]
    return For(start, first, local(end), body, step=most)


def _row_blocks(t: Tile, first: Expr, end: str, panels: Expr) -> For:
    """The rows of a share, block by block, times the copied panels."""

    def tiles(count: Expr, valid: Decl, micro: list) -> For:
        return For(t.jb, i(0), panels, [For(t.it, i(0), count, [valid, *micro])])

    start = t.fresh("row_0")
    return For(start, first, local(end), t.row_block(local(start), local(end), tiles), step=t.block)
