"""The copies of the factors of a contraction: panels of B, blocks of rows of A.

Rows of A that lie along k in memory are copied as they lie, which vectors do: turning them takes as long as an eighth
of a product with 128 columns.  Others are copied MR at a time, with k outermost where memory runs along rows.  Columns
of B that lie along k are turned over in squares.  Expressions, edges and what is not a whole vector are copied element
by element.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from vibee.tree.defs import Alloc, Decl, For, If, Prefetch, Store
from vibee.tree.expr import Expr, const, free_vars, load, loads, substitute
from vibee.tree.stride import stride, unit_step
from vibee.tree.turn import Turn

from .build import Fresh, add, div, i, ix, local, mul, sub, subst_stmt
from .reduction import nest

if TYPE_CHECKING:
    from .contraction import Parts

SOON = 16  # steps of k between what is copied across k and what is asked for
GAP = 8  # steps of k between the copies of two tiles, which are written together: else lines share a set of the cache
LINE = 16  # elements
GROUP = 8  # columns of B copied together where memory runs along k


def pieces(count: int, width: int) -> Iterator[tuple[int, int]]:
    """Vectors that an even number of elements is made of, none wider than `width`: where each begins, its width."""
    at = 0
    while at < count:
        while width > count - at:
            width //= 2
        yield at, width
        at += width


class Copies:
    """Where the factors of one contraction are copied to, and how."""

    fresh: Fresh
    parts: Parts
    ks: list[tuple[str, Expr, Expr]]  # the summed indices with their bounds
    dtype: str  # of sums
    panel_dtype: str  # of what the copies hold
    width: int  # numbers in a vector
    vec: str  # of sums
    mr: int  # rows of a tile
    nv: int  # vectors in a row of a tile
    nr: int  # numbers in a row of a tile
    block: int  # rows of A copied at once
    run: int  # a run of the first k
    longest: int  # the longest: a rest of k that is no longer is one run
    by_rows: bool  # are rows of A copied as they lie?
    panel_batch: list[str]  # axes of B beside its own and the summed ones
    bp: str  # the copies of B and A
    ap: str
    jb: str  # a panel, and a column of it
    jj: str
    it: str  # a tile in a block of rows, and a row of it
    ii: str
    k_start: str  # where a run of the first k starts, its length, and what counts along it
    k_run: str
    kk: str
    first_column: Expr  # of those in the copies
    column_count: Expr

    # ---- along k

    def _along_k(self, e: Expr) -> bool:
        """Does memory run along k in every read of a factor?"""
        return len(self.ks) == 1 and all(stride(ld.args, self.ks[0][0]) == 1 for ld in loads(e))

    def runs_of_k(self, body: list) -> For:
        """`body` for each run of k.  None starts where the run before it is long enough to take what is left."""
        _, lo, hi = self.ks[0]
        end = ix("max", sub(hi, i(self.longest - self.run)), ix("min", add(lo, i(1)), hi))
        return For(self.k_start, lo, hi if self.longest == self.run else end, body, step=self.run)

    def run_of_k(self) -> list:
        """The length of the run of k that starts at k_start."""
        left = sub(self.ks[0][2], local(self.k_start))
        last = Expr("le", (left, i(self.longest)), None, "bool")
        most = Expr("where", (last, i(self.longest), i(self.run)), None, "i64")
        return [Decl(self.k_run, "i64", ix("min", left, i(self.run) if self.longest == self.run else most))]

    def depth(self) -> list[Expr]:
        """Axes of a copy that run over k."""
        _, lo, hi = self.ks[0]
        first = Expr("min", (i(self.longest), sub(hi, lo)), None, "i64")
        return [first, *(sub(hi, lo) for _, lo, hi in self.ks[1:])]

    def _k_loops(self, body: list) -> list:
        rest = [(n, lo, hi) for n, lo, hi in self.ks[1:]]
        return nest([(self.kk, i(0), local(self.k_run)), *rest], body)

    def _k_index(self) -> tuple[Expr, ...]:
        return (local(self.kk), *(sub(local(n), lo) for n, lo, _ in self.ks[1:]))

    def _at_k(self, e: Expr) -> Expr:
        return substitute(e, {self.ks[0][0]: add(local(self.k_start), local(self.kk))})

    def at_each_k(self, e: Expr, body: Callable[[Expr], list]) -> list:
        """`body(value)` for every kk, with the value of a factor there."""
        return self._k_loops(body(self._at_k(e)))

    def _padded(self, element: Store, index: str, used: Expr, room: int) -> list:
        """The copy of an element for `index` in 0..used, and zeros up to `room`."""
        zero = Store(element.array, element.idx, const(0, self.dtype))
        return [For(index, i(0), used, [element]), For(index, used, i(room), [zero])]

    # ---- panels of B

    def panel(self) -> list:
        """The copy of the columns of B that panel jb has."""
        p, jj, columns = self.parts, local(self.jj), self.fresh("columns")
        place = (*self._panel_index(), *self._k_index(), jj)
        col = add(self._column(), jj)
        element = Store(self.bp, place, substitute(self._at_k(p.b), {p.col: col}))
        if p.b.op == "load" and stride(p.b.args, p.col) == 1:
            copies = self._k_loops([self._copy_vector(place, self._column(), v * self.width) for v in range(self.nv)])
        elif self._along_k(p.b):
            copies = self._turned(element)
        else:
            copies = self._k_loops([For(self.jj, i(0), i(self.nr), [element])])
        full = Expr("eq", (local(columns), i(self.nr)), None, "bool")
        edge = self._k_loops(self._padded(element, self.jj, local(columns), self.nr))
        return [Decl(columns, "i64", self._wide()), If(full, copies, edge)]

    def _turned(self, element: Store) -> list:
        """The columns of a panel that lie along k: squares of them are turned over, and what is left of k follows."""
        b, col, side, k = self.parts.b, self.parts.col, self.width, self.ks[0][0]
        axes = [n for n, e in enumerate(b.args) if col in free_vars(e)]
        if b.op != "load" or len(axes) > 1 or not unit_step(b.args[axes[0]], col):
            return [self._in_groups(element)]
        step, group = self.fresh("step"), self.fresh("group")
        row, column = mul(local(step), i(side)), mul(local(group), i(side))
        at = {k: add(local(self.k_start), row), col: add(self._column(), column)}
        to = load(self.bp, (*self._panel_index(), row, column), self.dtype)
        turn = Turn(self.fresh("r"), self.fresh("c"), side, to, substitute(b, at), axes[0])
        whole = div(local(self.k_run), i(side))
        rest = For(self.kk, mul(whole, i(side)), local(self.k_run), [For(self.jj, i(0), i(self.nr), [element])])
        return [For(group, i(0), i(self.nv), [For(step, i(0), whole, [turn.loops()])]), rest]

    def _in_groups(self, element: Store) -> For:
        """Columns of anything that lies along k, GROUP at a time: what one k needs becomes one vector."""
        group, size = self.fresh("group"), min(GROUP, self.nr)  # which divides nr: both are powers of two
        one = [subst_stmt(element, {self.jj: add(mul(local(group), i(size)), i(n))}) for n in range(size)]
        return For(group, i(0), i(self.nr // size), self._k_loops(one))

    def _column(self) -> Expr:
        """The first column of panel jb."""
        return add(self.first_column, mul(local(self.jb), i(self.nr)))

    def _wide(self) -> Expr:
        """Columns in panel jb."""
        left = sub(self.column_count, mul(local(self.jb), i(self.nr)))
        return Expr("min", (i(self.nr), left), None, "i64")

    def _panel_index(self) -> tuple[Expr, ...]:
        """Where panel jb lies among the copies."""
        return (*(local(v) for v in self.panel_batch), local(self.jb))

    def _copy_vector(self, place: tuple[Expr, ...], first: Expr, at: int) -> Store:
        """One vector of a row of B, copied as it lies."""
        source = substitute(self._at_k(self.parts.b), {self.parts.col: add(first, i(at))})
        return Store(self.bp, (*place[:-1], i(at)), Expr("vload", source.args, source.attr, self.vec))

    # ---- blocks of rows of A

    def _place(self, tile: Expr, row: Expr) -> tuple[Expr, ...]:
        """Where the copy of A has a row of a tile, at kk."""
        if self.by_rows:
            return (add(mul(tile, i(self.mr)), row), *self._k_index())
        return (tile, *self._k_index(), row)

    def row_of_a(self) -> list[Expr]:
        """The length of a row that is copied as it lies.  If the compiler chose the runs, it is known when loops are
        compiled, so that one pointer serves all rows of a tile, and no power of two, for which they would share sets of
        the cache."""
        return self.depth() if self.longest == self.run else [i(self.most() + LINE)]

    def most(self) -> int:
        """The most elements of a copy along k."""
        return self.longest

    def room_a(self) -> Alloc:
        """Where the copy of a block of rows of A lies."""
        shape: tuple[Expr, ...] = (i(self.block), *self.row_of_a())
        if not self.by_rows:
            depth = self.depth() if len(self.ks) > 1 else [add(self.depth()[0], i(GAP))]
            shape = (i(self.block // self.mr), *depth, i(self.mr))
        return Alloc(self.ap, self.panel_dtype, shape, zero=False)

    def pack_a(self, block: Expr, rows: Expr, tiles: Expr) -> list:
        """The copy of a block of rows of A."""
        if self.by_rows:
            place = self._place(i(0), local(self.ii))
            source = substitute(self.parts.a, {self.parts.row: add(block, local(self.ii))})
            return self.copy_rows(self.ap, place, source, self.ii, rows, mul(tiles, i(self.mr)))
        whole = div(rows, i(self.mr))
        every, part = (self._tiles_of_a(block, count) for count in (i(self.block // self.mr), whole))
        full = Expr("eq", (rows, i(self.block)), None, "bool")
        return [If(full, every, [*part, For(self.it, whole, tiles, self._last_rows(block, rows))])]

    def _tiles_of_a(self, block: Expr, whole: Expr) -> list:
        """The copy of whole tiles of rows: where memory runs along rows with k outermost, so that a line of it is read
        once, and else tile by tile."""
        a, row, it = self.parts.a, self.parts.row, local(self.it)
        first = add(block, mul(it, i(self.mr)))

        def source(row_of_tile: Expr) -> Expr:
            return substitute(self._at_k(a), {row: add(first, row_of_tile)})

        if a.op == "load" and stride(a.args, row) == 1:
            tile = self._vectors_of_a(a, source)
        else:
            ii = local(self.ii)
            tile = [For(self.ii, i(0), i(self.mr), [Store(self.ap, self._place(it, ii), source(ii))])]
        if any(stride(ld.args, row) == 1 and stride(ld.args, self.ks[0][0]) != 0 for ld in loads(a)):
            return self._k_loops([For(self.it, i(0), whole, tile)])
        return [For(self.it, i(0), whole, self._k_loops(tile))]

    def _vectors_of_a(self, a: Expr, source: Callable[[Expr], Expr]) -> list:
        """The rows of a tile at kk as vectors, and what is asked for ahead."""
        (k, *more), it = (name for name, _, _ in self.ks), local(self.it)
        axes = [axis for axis, e in enumerate(a.args) if k in free_vars(e)]
        ahead = len(axes) == 1 and not more and unit_step(a.args[axes[0]], k)
        tile: list = [Prefetch(source(i(0)), SOON, axes[0])] if ahead else []
        for at, width in pieces(self.mr, self.width):
            value = Expr("vload", source(i(at)).args, a.attr, f"{self.dtype}x{width}")
            tile.append(Store(self.ap, self._place(it, i(at)), value))
        return tile

    def _last_rows(self, block: Expr, rows: Expr) -> list:
        """The copy of the rows of a tile of which some are missing, and zeros."""
        p, it, ii = self.parts, local(self.it), local(self.ii)
        valid, first = self.fresh("valid_rows"), mul(it, i(self.mr))
        source = substitute(self._at_k(p.a), {p.row: add(add(block, first), ii)})
        element = Store(self.ap, self._place(it, ii), source)
        copies = self._k_loops(self._padded(element, self.ii, local(valid), self.mr))
        return [Decl(valid, "i64", sub(rows, first)), *copies]

    def copy_rows(self, to: str, place: tuple[Expr, ...], e: Expr, row: str, used: Expr, room: Expr) -> list:
        """A factor as it lies, for `row` in 0..used, and zeros up to `room`."""
        zero = Store(to, place, const(0, self.panel_dtype))
        return [
            For(row, i(0), used, self.at_each_k(e, lambda value: [Store(to, place, value)])),
            For(row, used, room, self._k_loops([zero])),
        ]
