"""Sums of products of numbers rounded to bf16, for a processor with AMX: tiles written for its instructions.

The copies are those of `PairsAtOnce`, but rows of A lie along k, and words along k come in multiples of SIDE, so that a
tile is a `vibee.tree.product`, whose loops the instructions of `vibee.emit.tiles` replace.  The sums of a tile go to a
small array, and from there to c.
"""

from __future__ import annotations

from vibee.tree.defs import Alloc, Decl, Equation, For, If, Store
from vibee.tree.expr import Expr, const, load, substitute
from vibee.tree.product import SIDE, Product
from vibee.tree.turn import Turn

from .build import Fresh, add, div, i, ix, local, mul, sub
from .contraction import whole_tiles
from .contraction_amx_copies import PairsAtOnce
from .contraction_bf16 import half
from .reduction import nest
from .schedule import Plan

ROWS = 2 * SIDE  # of a tile
BLOCK = 96  # rows of A copied at once


class MatrixTile(PairsAtOnce):
    """The lowered tile of a contraction of pairs, for matrix instructions; of one summed index."""

    def __init__(self, e: Equation, isa: str, fresh: Fresh, plan: Plan) -> None:
        super().__init__(e, isa, fresh, plan)
        self.mr, self.by_rows = ROWS, True  # however A lies
        self.block = whole_tiles(plan.size(self.parts.row), BLOCK, ROWS)

    # ---- copies

    def pack_a(self, block: Expr, rows: Expr, tiles: Expr) -> list:
        """The copy of a block of rows of A: where memory lies across k, blocks of SIDE x SIDE are copied and turned."""
        if self._along_k(self.parts.a):
            return super().pack_a(block, rows, tiles)
        words, part, step, there = (self.fresh(n) for n in ("words", "part", "step", "there"))
        first, k = mul(local(part), i(SIDE)), mul(local(step), i(SIDE))
        source = load(words, (i(0), i(0)), "u32")
        turn = Turn(self.fresh("r"), self.fresh("c"), SIDE, load(self.ap, (first, k), "u32"), source, 0)
        room = Alloc(words, "u32", (i(SIDE), i(SIDE)), zero=False)
        each = [room, *self._pairs_of_rows(words, add(block, first), k, there), turn.loops()]
        return [
            For(part, i(0), div(mul(tiles, i(self.mr)), i(SIDE)), [
                Decl(there, "i64", within(sub(rows, first))),
                For(step, i(0), local(self.pairs), each),
            ])
        ]  # fmt: skip

    def _pairs_of_rows(self, words: str, first: Expr, k: Expr, there: str) -> list:
        """For each pair of k a row of words, as memory lies; zeros where there are no pairs or columns."""
        t, c = self.fresh("t"), self.fresh("c")
        at = mul(i(2), add(k, local(t)))

        def number(x: Expr, column: Expr) -> Expr:
            return substitute(
                self.parts.a, {self.ks[0][0]: add(local(self.k_start), x), self.parts.row: add(first, column)}
            )

        low, high = (number(x, local(c)) for x in (at, add(at, i(1))))
        both, one, none = (
            Expr("bitor", (half(low, False), half(high, True)), None, "u32"),
            half(low, False),
            const(0, "u32"),
        )
        left = sub(local(self.k_run), mul(i(2), k))
        whole, begun = (within(div(x, i(2))) for x in (left, add(left, i(1))))

        def row(word: Expr, lo: Expr, hi: Expr) -> For:
            return For(c, lo, hi, [Store(words, (local(t), local(c)), word)])

        def rows(lo: Expr, hi: Expr, word: Expr) -> list:
            zeros = row(none, local(there), i(SIDE))
            edge = [For(t, lo, hi, [row(word, i(0), local(there)), zeros])]
            return [If(full, [For(t, lo, hi, [at_once if word is both else row(word, i(0), i(SIDE))])], edge)]

        full = Expr("eq", (local(there), i(SIDE)), None, "bool")
        at_once: For | Store = row(both, i(0), i(SIDE))
        if self.lies(self.parts.a, self.parts.row):
            words_of_row = self.words_of("across", number(at, i(0)), number(add(at, i(1)), i(0)))
            at_once = Store(words, (local(t), i(0)), words_of_row)
        rest = For(t, begun, i(SIDE), [row(none, i(0), i(SIDE))])
        return [*rows(i(0), whole, both), *rows(whole, begun, one), rest]

    # ---- tiles

    def _tile(self, row0: Expr, valid: Expr, wide: str, vectors: int) -> list:
        sums, zero = self.fresh("sums"), i(0)
        columns = [i(v * self.width) for v in range(vectors)]
        products = Product(
            r=self.fresh("r"), rows=self.mr, k=self.kk, steps=local(self.pairs), word=self.fresh("word"),
            c=tuple(self.fresh(f"c{v}") for v in range(vectors)),
            a=load(self.ap, (mul(local(self.it), i(self.mr)), zero), "u32"),
            b=tuple(load(self.bp, (*self._panel_index(), zero, column), "u32") for column in columns),
            sums=tuple(load(sums, (zero, column), self.dtype) for column in columns),
        )  # fmt: skip
        return [
            Alloc(sums, self.dtype, (i(self.mr), i(vectors * self.width)), zero=False),
            products.loops(),
            *self._written(sums, vectors, row0, valid, wide),
        ]

    def _written(self, sums: str, vectors: int, row0: Expr, valid: Expr, wide: str) -> list:
        """The sums of a tile, added to c or put there: whole rows as vectors, at the edge number by number."""
        r, j = self.fresh("tr"), self.fresh("tc")
        later = self._later()

        def put(column: Expr, dtype: str, op: str) -> list[Store]:
            at = self._out_index(add(row0, local(r)), add(self._column(), column))
            new = Expr(op, (local(r), column), sums, dtype)
            old = Expr(op, at, self.out, dtype)
            return [Store(self.out, at, Expr("add", (old, new), None, dtype)), Store(self.out, at, new)]

        whole = [put(i(v * self.width), self.vec, "vload") for v in range(vectors)]
        more, first = ([For(r, i(0), valid, [stores[n] for stores in whole])] for n in (0, 1))
        onto, into = (nest([(r, i(0), valid), (j, i(0), local(wide))], [s]) for s in put(local(j), self.dtype, "load"))
        full = Expr("eq", (local(wide), i(vectors * self.width)), None, "bool")
        return [If(full, [If(later, more, first)], [If(later, onto, into)])]


def within(e: Expr) -> Expr:
    """As many of SIDE as there are."""
    return ix("max", i(0), ix("min", i(SIDE), e))
