"""Sums of products over two separate output axes (matrix products and their kin): register tiles.

    c[..., i, ..., j] = sum[k...](A(i, k) * B(k, j))        A without j, B without i

The method is that of Goto & van de Geijn (2008): B is copied in panels of NR columns, with k outermost, A in blocks of
rows, both zero padded (`contraction_copies`); a micro-kernel then keeps an MR x NR tile of c in vector registers over
the whole k loop.  A and B are any expressions: copying evaluates them.  Rows of an array that lie along k, and are few,
are not copied at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from vibee.tree.defs import Alloc, Assign, Comment, Decl, Equation, For, If, Prefetch, Store
from vibee.tree.expr import Expr, bound_vars, const, free_vars, load, loads, substitute
from vibee.tree.types import DTYPES

from .build import Fresh, add, ceil_div, div, i, less, local, mul, sub, subst_stmt
from .contraction_copies import Copies
from .contraction_shares import lower_shares
from .reduction import freshen, nest, reduce_ranges
from .schedule import Plan

# Rows, vectors and bits per vector of the register tile, by instruction set: as many
# accumulators as the register file holds beside one row of B and one element of A.
TILES = {"v2": (4, 2, 128), "v3": (6, 2, 256), "v4": (12, 2, 512)}
ROWS = 48  # rows of A copied at once: a multiple of every tile's rows; stays in the second-level cache
WAYS = 8  # lines of a set of the first cache: as many rows, a power of two apart, are read without a copy
DEPTH = 512  # most of k between two visits to c, but for what is left
PANEL = 32 * 1024  # bytes of a panel of B along such a run of one k: it stays in a first cache of 48 KB
REST = 3  # halves of a run: what is left of k and no longer is one run, for a visit to c takes longer than a late panel
FEW_ROWS = 4  # below this, copying B costs more than it saves


@dataclass(slots=True)
class Parts:
    """The two factors of a contraction and the axes they own."""

    row: str
    col: str
    a: Expr
    b: Expr


def split(e: Equation) -> Parts | None:
    """The parts of `e` if it is a contraction that a register tile serves."""
    r = e.rhs
    if e.accumulate or len(e.vars) < 2:  # what is added to an array is none for panels
        return None
    if r.op != "reduce" or r.attr[0] != "sum" or r.dtype not in ("f32", "f64"):  # type: ignore[index]
        return None
    if r.args[0].op != "mul" or not e.idx or e.idx[-1].op != "var" or e.idx[-1].attr not in e.vars:
        return None
    col = str(e.idx[-1].attr)
    for a, b in (r.args[0].args, r.args[0].args[::-1]):
        if col in free_vars(a) or col not in free_vars(b) or not any(col in free_vars(ld) for ld in loads(b)):
            continue
        for row in reversed(e.vars[:-1]):
            if row in free_vars(a) and row not in free_vars(b):
                bounds = set().union(*(free_vars(x) for x in r.args[1:])) if len(r.args) > 1 else set()
                return None if bounds & set(e.vars) else Parts(row, col, a, b)
    return None


def is_contraction(e: Equation) -> bool:
    """Does a register tile serve this equation?"""
    return split(e) is not None


def streamed(e: Equation) -> set[str]:
    """The arrays of which each row of c reads other elements in each column: with few rows, they come from memory."""
    p = split(e)
    assert p is not None
    return {str(ld.attr) for ld in loads(p.b) if p.col in free_vars(ld)}


def tiles(e: Equation, plan: Plan) -> bool:
    """Does the plan leave this contraction to a register tile over panels?"""
    p = split(e)
    assert p is not None
    along = plan.vector((*e.vars, *bound_vars(e.rhs)))
    if (plan.tile and not plan.pack) or any(plan.splits(v, False) for v in bound_vars(e.rhs)):
        return False
    return along in (None, p.col)


def whole_tiles(asked: int | None, default: int, unit: int) -> int:
    """A block size: at least what was asked, in whole register tiles."""
    return default if asked is None else -(-asked // unit) * unit


def tile_columns(isa: str, dtype: str) -> int:
    """The columns of a register tile, and of a panel of B."""
    _, vectors, bits = TILES[isa]
    return vectors * bits // DTYPES[dtype].bits


def run_of_panels(isa: str, dtype: str, held: int = 1) -> int:
    """The run of the first k over panels whose elements hold one or more numbers of it."""
    return min(DEPTH, held * PANEL * 8 // (tile_columns(isa, dtype) * DTYPES[dtype].bits))


class Tile(Copies):
    """The lowered tile of one contraction."""

    held = 1  # numbers along k in an element of a copy

    def __init__(self, e: Equation, isa: str, fresh: Fresh, plan: Plan) -> None:
        parts = split(e)
        assert parts is not None
        self.fresh, self.plan = fresh, plan
        rows, vectors, bits = TILES[isa]
        self.dtype = self.panel_dtype = e.rhs.dtype  # of sums, and of what the copies hold
        self.width = bits // DTYPES[self.dtype].bits
        self.mr, self.nv, self.nr = rows, vectors, vectors * self.width
        self.vec = f"{self.dtype}x{self.width}"
        red = freshen(e.rhs, fresh)
        names = {v: fresh.own(v) for v in e.vars}
        renamed = {v: local(n) for v, n in names.items()}
        self.idx = tuple(substitute(x, renamed) for x in e.idx)
        new_vars = tuple(names[v] for v in e.vars)
        again = split(replace(e, vars=new_vars, idx=self.idx, rhs=substitute(red, renamed)))
        assert again is not None
        self.parts, self.out = again, e.lhs
        self.vars = new_vars
        self.dim = dict(zip(self.vars, e.dims, strict=True))
        self.batch = [v for v in self.vars if v not in (again.row, again.col)]
        self.ks = reduce_ranges(substitute(red, renamed))
        self.by_rows = self._along_k(again.a)
        plain = again.a.op == "load" and str(again.a.attr) not in plan.pack
        self.in_place = self.by_rows and plain and self.mr <= WAYS  # are rows of A read where they are?
        self.block = whole_tiles(plan.size(again.row), ROWS, self.mr)
        asked = plan.size(self.ks[0][0])
        self.run = asked or run_of_panels(isa, self.dtype, self.held)
        self.longest = asked or self.run * REST // 2
        self.columns = whole_tiles(plan.size(again.col), self.nr, self.nr) // self.nr  # panels
        for v in (*self.batch, *(n for n, _, _ in self.ks[1:])):
            plan.uncut(v, "register tiles have blocks of rows, columns and one summed index", e.span)
        for v in (again.row, again.col):
            plan.not_unrolled(v, "a register tile has several rows and columns in one step already", e.span)
        around = plan.outer((*self.batch, again.row))
        if around is not None:
            plan.serial(again.col, f"it stands inside the parallel loop over {plan.base(around)}", e.span)

    # ---- pieces

    def lower(self) -> list:
        """Statements of the whole contraction."""
        p = self.parts
        self.panel_batch = [v for v in self.batch if v in free_vars(p.b)]
        self.bp, self.ap = self.fresh("b_panel"), self.fresh("a_block")
        self.jb, self.jj, self.ib = self.fresh("jb"), self.fresh("jj"), self.fresh("ib")
        self.it, self.ii = self.fresh("it"), self.fresh("ii")
        k0, klo, khi = self.ks[0]
        self.k_start, self.k_run = self.fresh(f"{k0}_0"), self.fresh(f"{k0}_run")
        self.kk = self.fresh.part(k0, "k")
        self.panels = ceil_div(self.dim[p.col], self.nr)
        self.first_column, self.column_count = i(0), self.dim[p.col]  # of those in the copies
        if self._by_shares():
            return [*self._empty(klo, khi), *lower_shares(self)]
        panels = [self.dim[v] for v in self.panel_batch]
        return [
            Alloc(self.bp, self.panel_dtype, (*panels, self.panels, *self.depth(), i(self.nr)), zero=False),
            *self._empty(klo, khi),
            self.runs_of_k([*self.run_of_k(), self._pack_b(), self._rows()]),
        ]

    def _by_shares(self) -> bool:
        """Has every thread copies of its own?  With more than one product, and where the schedule says, they share."""
        return not self.batch and not self.plan.tile and not self.plan.parallel

    def _empty(self, klo: Expr, khi: Expr) -> list:
        """An empty k range leaves zeros; otherwise the first run of k writes c."""
        zero = const(0, self.dtype)
        fill = nest([(v, i(0), self.dim[v]) for v in self.vars], [Store(self.out, self.idx, zero)])
        return [If(Expr("le", (khi, klo), None, "bool"), fill)]

    def _pack_b(self) -> For:
        """The copy of B, panel by panel."""
        loop = For(self.jb, i(0), self.panels, self.panel(), parallel=True)
        for v in reversed(self.panel_batch):
            loop = For(v, i(0), self.dim[v], [loop], parallel=True)
        return loop

    def _rows(self) -> For:
        """All tiles: in parallel over blocks of rows (and batch axes)."""
        p, start = self.parts, mul(local(self.ib), i(self.block))
        body = self.row_block(start, self.dim[p.row], self._tiles)
        splits = self.plan.splits
        loop = For(self.ib, i(0), ceil_div(self.dim[p.row], self.block), body, parallel=splits(p.row, True))
        for v in reversed(self.batch):
            loop = For(v, i(0), self.dim[v], [loop], parallel=splits(v, True))
        return loop

    def row_block(self, start: Expr, end: Expr, tiles: Callable[[Expr, Decl, list], For]) -> list:
        """The rows of a block that starts at `start`, before `end`: their copy, and `tiles` of a number of tiles, the
        rows that are there of each, and what is done for it."""
        rows, valid = self.fresh("rows"), self.fresh("valid_rows")
        first = mul(local(self.it), i(self.mr))
        least = Expr("min", (i(self.mr), sub(local(rows), first)), None, "i64")
        count = div(add(local(rows), i(self.mr - 1)), i(self.mr))
        row0 = add(start, first)
        copy = [] if self.in_place else [self.room_a(), *self.pack_a(start, local(rows), count)]
        there = self._rows_there(row0, local(valid)) if self.in_place else []
        micro = [*there, *self.micro(row0, local(valid))]
        return [
            Decl(rows, "i64", Expr("min", (i(self.block), sub(end, start)), None, "i64")),
            *copy,
            tiles(count, Decl(valid, "i64", least), micro),
        ]

    def _rows_there(self, row0: Expr, valid: Expr) -> list:
        """The rows of A that a tile reads: what a tile at the edge has too many are its last one, once more."""
        self.row_at = [self.fresh(f"row{r}") for r in range(self.mr)]
        last = sub(valid, i(1))
        return [
            Decl(name, "i64", add(row0, Expr("min", (i(r), last), None, "i64"))) for r, name in enumerate(self.row_at)
        ]

    def _factor(self, row: int) -> Expr:
        """The element of A at kk in a row of the tile."""
        if not self.in_place:
            return load(self.ap, self._place(local(self.it), i(row)), self.dtype)
        return substitute(self._at_k(self.parts.a), {self.parts.row: local(self.row_at[row])})

    def _tiles(self, tiles: Expr, valid: Decl, micro: list) -> For:
        """The tiles of a block of rows: for each panel of B, or for each tile of A along blocks of panels."""
        alone = not any(self.plan.splits(v, True) for v in (self.parts.row, *self.batch))
        parallel = alone and self.plan.splits(self.parts.col, False)
        if self.columns == 1:
            return For(self.jb, i(0), self.panels, [For(self.it, i(0), tiles, [valid, *micro])], parallel=parallel)
        block = self.fresh.part(self.parts.col, "block")
        first = mul(local(block), i(self.columns))
        last = Expr("min", (add(first, i(self.columns)), self.panels), None, "i64")
        row = For(self.it, i(0), tiles, [valid, For(self.jb, first, last, micro)])
        return For(block, i(0), ceil_div(self.panels, self.columns), [row], parallel=parallel)

    def micro(self, row0: Expr, valid: Expr) -> list:
        """One tile of c, from `row0` on and in panel jb, of which `valid` rows are there: all its vectors, or the
        first alone where the last panel has no more columns."""
        wide = self.fresh("wide")
        whole = self._tile(row0, valid, wide, self.nv)
        one = Expr("le", (local(wide), i(self.width)), None, "bool")
        return [Decl(wide, "i64", self._wide()), If(one, self._tile(row0, valid, wide, 1), whole)]

    def _tile(self, row0: Expr, valid: Expr, wide: str, vectors: int) -> list:
        acc = [[self.fresh(f"c{r}_{v}") for v in range(vectors)] for r in range(self.mr)]
        b = [self.fresh(f"b{v}") for v in range(vectors)]
        a = self.fresh("a")
        zero = Expr("splat", (const(0, self.dtype),), None, self.vec)
        none = Expr("splat", (const(0, self.panel_dtype),), None, f"{self.panel_dtype}x{self.width}")
        decls: list = [Decl(n, self.vec, zero) for row in acc for n in row]
        decls += [Decl(n, none.dtype, none) for n in [*b, a]]
        return [
            *decls,
            *self._soon(acc, row0, valid, wide),
            *self._product(acc, a, b),
            *self._write(acc, row0, valid, wide),
        ]

    def _soon(self, acc: list, row0: Expr, valid: Expr, wide: str) -> list:
        """A tile of c that is added to: asked for before the loop over k, for it comes from far, all of it at once."""
        cells = [load(self.out, at, self.dtype) for row in self._places_in_c(acc, row0) for at in row]
        again = Expr("and", (self._is_whole(acc, valid, wide), self._later()), None, "bool")
        return [If(again, [Prefetch(c, 0, len(c.args) - 1) for c in cells])]

    def _product(self, acc: list, a: str, b: list[str]) -> list:
        """The tile over the whole run of k, two at a time: what counts k takes turns of the units that multiply."""
        step = self._step(acc, a, b)
        if len(self.ks) > 1:
            return self._k_loops(step)
        again = [subst_stmt(s, {self.kk: add(local(self.kk), i(1))}) for s in step]
        even = mul(div(local(self.k_run), i(2)), i(2))
        return [
            For(self.kk, i(0), even, [*step, *again], step=2),
            For(self.kk, even, local(self.k_run), step),
        ]

    def _step(self, acc: list, a: str, b: list[str]) -> list:
        """One k: the tile grows by the product of a column of A and a row of B."""
        bat = (*self._panel_index(), *self._k_index())
        step: list = [Assign(b[v], Expr("vload", (*bat, i(v * self.width)), self.bp, self.vec)) for v in range(len(b))]
        for r in range(self.mr):
            step.append(Assign(a, Expr("splat", (self._factor(r),), None, self.vec)))
            for v in range(len(b)):
                c = local(acc[r][v], self.vec)
                prod = Expr("mul", (local(a, self.vec), local(b[v], self.vec)), None, self.vec)
                step.append(Assign(acc[r][v], Expr("add", (c, prod), None, self.vec)))
        return step

    def _out_index(self, row: Expr, col: Expr) -> tuple[Expr, ...]:
        at = {self.parts.row: row, self.parts.col: col}
        return tuple(substitute(x, at) for x in self.idx)

    def _places_in_c(self, acc: list, row0: Expr) -> list[list[tuple[Expr, ...]]]:
        """Where the vectors of each row of a tile lie in c."""
        col0 = self._column()
        return [
            [self._out_index(add(row0, i(r)), add(col0, i(v * self.width))) for v in range(len(row))]
            for r, row in enumerate(acc)
        ]

    def _is_whole(self, acc: list, valid: Expr, wide: str) -> Expr:
        """Are all rows and columns of a tile there?"""
        rows = Expr("eq", (valid, i(self.mr)), None, "bool")
        return Expr("and", (rows, Expr("eq", (local(wide), i(len(acc[0]) * self.width)), None, "bool")), None, "bool")

    def _later(self) -> Expr:
        """Is this run of k not the first, so that c is added to?"""
        return Expr("gt", (local(self.k_start), self.ks[0][1]), None, "bool")

    def _write(self, acc: list, row0: Expr, valid: Expr, wide: str) -> list:
        """Whole tiles straight to c; tiles at the edge through a small buffer."""
        tile, r_, c_ = self.fresh("tile"), self.fresh("tr"), self.fresh("tc")
        whole: list = []
        again: list = []
        edge: list = []
        for r, row in enumerate(self._places_in_c(acc, row0)):
            for v, at in enumerate(row):
                value = local(acc[r][v], self.vec)
                whole.append(Store(self.out, at, value))
                old = Expr("vload", at, self.out, self.vec)
                again.append(Store(self.out, at, Expr("add", (old, value), None, self.vec)))
                edge.append(Store(tile, (i(r), i(v * self.width)), value))
        at = self._out_index(add(row0, local(r_)), add(self._column(), local(c_)))
        cell = load(tile, (local(r_), local(c_)), self.dtype)
        total = Expr("add", (load(self.out, at, self.dtype), cell), None, self.dtype)

        def copy(value: Expr) -> list:
            return nest([(r_, i(0), valid), (c_, i(0), local(wide))], [Store(self.out, at, value)])

        later = self._later()
        small = Alloc(tile, self.dtype, (i(self.mr), i(len(acc[0]) * self.width)), zero=False)
        return [
            If(
                self._is_whole(acc, valid, wide),
                [If(later, again, whole)],
                [small, *edge, If(later, copy(total), copy(cell))],
            ),
        ]


def _tiled(e: Equation, parts: Parts, isa: str, fresh: Fresh, plan: Plan) -> list:
    """The tile that serves the factors; where the processor decides, both."""
    from vibee.tree.product import FEATURE

    from .contraction_amx import MatrixTile
    from .contraction_bf16 import PairTile, of_pairs

    if not of_pairs(parts.a, parts.b, isa):
        return Tile(e, isa, fresh, plan).lower()
    pairs = PairTile(e, isa, fresh, plan).lower()
    if len(bound_vars(e.rhs)) > 1:
        return pairs
    return [If(Expr("has", (), FEATURE, "bool"), MatrixTile(e, isa, fresh, plan).lower(), pairs)]


def lower_contraction(e: Equation, isa: str, fresh: Fresh, plain: list, plan: Plan) -> list:
    """The tiled contraction, with the `plain` nest for very few rows (without one, tiles for all)."""
    parts = split(e)
    assert parts is not None
    plan.copies(parts.a, parts.b, e.span)
    tiled = _tiled(e, parts, isa, fresh, plan)
    if not plain:
        return [Comment("register tiles over packed panels"), *tiled]
    rows = e.dims[e.vars.index(parts.row)]
    return [
        Comment("few rows: no copies; otherwise register tiles over packed panels"),
        If(less(rows, i(FEW_ROWS)), plain, tiled),
    ]
