"""Contractions in place: register tiles that read A and B where they are, without copies.

For products inside a parallel loop, tile by tile, copying costs as much as it saves; and a schedule may ask
for tiles without copies.  B must lie contiguously along the columns; columns beyond whole vectors are summed
one by one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from dataclasses import replace

from vibee.tree.defs import Assign, Decl, Equation, For, Store
from vibee.tree.expr import Expr, bound_vars, const, load, loads, substitute
from vibee.tree.stride import stride
from vibee.tree.types import DTYPES

from .build import Fresh, add, ceil_div, div, i, ix, local, mul, sub
from .contraction import ROWS, Parts, split, whole_tiles
from .group import in_place, rename
from .reduction import freshen, nest, reduce_ranges
from .schedule import Plan

Ends = tuple[Expr, Expr]

COLUMNS = 128  # columns of a block for threads, where a schedule gives no size
TILES = {"v2": (4, 2, 128), "v3": (4, 2, 256), "v4": (8, 2, 512)}


def direct_parts(e: Equation) -> Parts | None:
    """The parts of a contraction whose factors can be read in place."""
    p = split(replace(e, accumulate=False))  # what is added to an array is a product, too
    if p is None or p.a.op != "load" or p.b.op != "load":
        return None
    if stride(p.b.args, p.col) != 1 or e.lhs in (p.a.attr, p.b.attr):
        return None
    return p


def added(equations: list[Equation], temps: Container[str]) -> list[Equation]:
    """The equations, in which a product that is only added to an array is one equation with `+=`: the tile adds it
    where it belongs, and needs no memory for it."""
    read = Counter(str(ld.attr) for e in equations for ld in loads(e.rhs))
    out: list[Equation] = []
    for e in equations:
        product = _added(out[-1], e) if out and out[-1].lhs in temps and read[out[-1].lhs] == 1 else None
        out[len(out) - bool(product) :] = [product or e]
    return out


def _added(t: Equation, e: Equation) -> Equation | None:
    """The temporary `t` and `e`, which adds it element by element, as one."""
    own = tuple(str(x.attr) for x in e.rhs.args)
    if not e.accumulate or e.rhs.op != "load" or e.rhs.attr != t.lhs or own != e.vars or e.dims != t.dims:
        return None
    if not in_place(e) or set(own) & set(bound_vars(t.rhs)):
        return None
    both = replace(rename(t, dict(zip(t.vars, own, strict=True))), lhs=e.lhs, idx=e.idx, span=e.span)
    return replace(both, accumulate=True) if direct_parts(both) else None


def in_place_tiles(e: Equation, plan: Plan) -> bool:
    """Does the plan ask for register tiles without copies?"""
    p = direct_parts(e)
    if p is None or not plan.tile or plan.pack or plan.outer(bound_vars(e.rhs)):
        return False
    return plan.vector((*e.vars, *bound_vars(e.rhs))) in (None, p.col)


class Direct:
    """The lowered loops of one contraction in place."""

    def __init__(self, e: Equation, isa: str, fresh: Fresh) -> None:
        self.fresh = fresh
        self.rows, self.vectors, bits = TILES[isa]
        self.dtype = e.rhs.dtype
        self.width = bits // DTYPES[self.dtype].bits
        self.vec = f"{self.dtype}x{self.width}"
        red = freshen(e.rhs, fresh)
        table = {v: local(fresh.own(v)) for v in e.vars}
        self.e = replace(
            e,
            vars=tuple(str(table[v].attr) for v in e.vars),
            idx=tuple(substitute(x, table) for x in e.idx),
            rhs=substitute(red, table),
        )
        parts = direct_parts(self.e)
        assert parts is not None
        self.p = parts
        self.ks = reduce_ranges(self.e.rhs)
        self.dim = dict(zip(self.e.vars, self.e.dims, strict=True))

    def lower(self) -> list:
        """Loops over the batch axes, then all rows and columns."""
        p = self.p
        body = self._region((i(0), self.dim[p.row]), (i(0), self.dim[p.col]))
        return nest([(v, i(0), self.dim[v]) for v in self._batch()], body)

    def blocks(self, plan: Plan) -> list:
        """The same in blocks of rows and columns, and of the first summed index, as the plan asks."""
        p = self.p
        loops = [(v, self.dim[v]) for v in self._batch()]
        rows = self._block(p.row, whole_tiles(plan.size(p.row), ROWS, self.rows), loops)
        cols = (i(0), self.dim[p.col])
        if plan.size(p.col) or plan.asks_parallel(p.col):
            cols = self._block(p.col, whole_tiles(plan.size(p.col), COLUMNS, self.vectors * self.width), loops)
        for name, _, _ in self.ks[1:]:
            plan.uncut(name, "register tiles have blocks of rows, columns and one summed index", self.e.span)
        runs, piece = plan.cut(self.ks[0], plan.size(self.ks[0][0]))
        if not runs:
            return plan.arrange(loops, self._region(rows, cols))
        self.ks[0] = piece
        zero = Store(self.e.lhs, self.e.idx, const(0, self.dtype), span=self.e.span)
        first = nest([(p.row, *rows), (p.col, *cols)], [zero])
        self.e = replace(self.e, accumulate=True)
        return plan.arrange(loops, [*first, *nest(runs, self._region(rows, cols))])

    def _batch(self) -> list[str]:
        return [v for v in self.e.vars if v not in (self.p.row, self.p.col)]

    def _block(self, name: str, size: int, loops: list[tuple[str, Expr]]) -> Ends:
        """The ends of a block of an axis; the loop over its blocks is added to `loops`."""
        block, dim = self.fresh.part(name, "block"), self.dim[name]
        loops.append((block, ceil_div(dim, size)))
        start = mul(local(block), i(size))
        return start, ix("min", add(start, i(size)), dim)

    def _region(self, rows: Ends, cols: Ends) -> list:
        """Whole tiles of rows, then single rows."""
        tile = self.fresh(f"{self.p.row}_tile")
        whole = _whole(*rows, self.rows)
        return [
            For(tile, rows[0], whole, self._columns(local(tile), self.rows, cols), step=self.rows),
            For(tile, whole, rows[1], self._columns(local(tile), 1, cols)),
        ]

    def _columns(self, row: Expr, rows: int, cols: Ends) -> list:
        out, start = [], cols[0]
        for vectors in range(self.vectors, 0, -1):
            step = vectors * self.width
            name = self.fresh(f"{self.p.col}_tile")
            stop = _whole(*cols, step)
            out.append(For(name, start, stop, self._micro(row, rows, local(name), vectors), step=step))
            start = stop
        name, r = self.fresh(self.p.col), self.fresh("r")
        acc = local(self.fresh("acc"), self.dtype)
        at = {self.p.row: add(row, local(r)), self.p.col: local(name)}
        term = substitute(self.e.rhs.args[0], at)
        out.append(
            For(
                name,
                start,
                cols[1],
                [
                    For(
                        r,
                        i(0),
                        i(rows),
                        [
                            Decl(str(acc.attr), self.dtype, const(0, self.dtype)),
                            *nest(self.ks, [Assign(str(acc.attr), Expr("add", (acc, term), None, self.dtype))]),
                            self._put(at, acc),
                        ],
                    )
                ],
            )
        )
        return out

    def _put(self, at: dict[str, Expr], value: Expr) -> Store:
        idx = tuple(substitute(x, at) for x in self.e.idx)
        if self.e.accumulate:
            old = (
                Expr("vload", idx, self.e.lhs, self.vec)
                if value.dtype == self.vec
                else load(self.e.lhs, idx, self.dtype)
            )
            value = Expr("add", (old, value), None, value.dtype)
        return Store(self.e.lhs, idx, value, span=self.e.span)

    def _micro(self, row: Expr, rows: int, col: Expr, vectors: int) -> list:
        acc = [[self.fresh(f"c{r}_{v}") for v in range(vectors)] for r in range(rows)]
        b = [self.fresh(f"b{v}") for v in range(vectors)]
        a = self.fresh("a")
        zero = Expr("splat", (const(0, self.dtype),), None, self.vec)
        step: list = []
        for v in range(vectors):
            at = tuple(substitute(x, {self.p.col: add(col, i(v * self.width))}) for x in self.p.b.args)
            step.append(Assign(b[v], Expr("vload", at, self.p.b.attr, self.vec)))
        for r in range(rows):
            step.append(Assign(a, Expr("splat", (substitute(self.p.a, {self.p.row: add(row, i(r))}),), None, self.vec)))
            for v in range(vectors):
                prod = Expr("mul", (local(a, self.vec), local(b[v], self.vec)), None, self.vec)
                step.append(Assign(acc[r][v], Expr("add", (local(acc[r][v], self.vec), prod), None, self.vec)))
        decls: list = [Decl(n, self.vec, zero) for n in [*(x for line in acc for x in line), *b, a]]
        puts = [
            self._put({self.p.row: add(row, i(r)), self.p.col: add(col, i(v * self.width))}, local(acc[r][v], self.vec))
            for r in range(rows)
            for v in range(vectors)
        ]
        return [*decls, *nest(self.ks, step), *puts]


def _whole(lo: Expr, hi: Expr, step: int) -> Expr:
    """Where the last whole step from `lo` ends."""
    return add(lo, mul(div(sub(hi, lo), i(step)), i(step)))
