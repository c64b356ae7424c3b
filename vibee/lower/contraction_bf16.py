"""Sums of products of numbers rounded to bf16: register tiles over panels of pairs.

    c[..., i, ..., j] = sum[k](f32(bf16(A(i, k))) * f32(bf16(B(k, j))))        in f32

Such a product is exact in f32, and a processor with AVX512-BF16 adds two of them to each of 16 sums in one
instruction (`dot2`).  So the copies hold words of two neighbours along k, the even one in the low half, and what is
missing of the last pair is 0.  Whether the processor has the instruction is asked when the code runs; without it the
halves are taken apart and multiplied as f32.  On other instruction sets `Tile` runs over copies of the rounded numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from vibee.tree.defs import Alloc, Assign, Decl, Equation, For, If, Store
from vibee.tree.expr import Expr, const, load, substitute

from .build import Fresh, add, ceil_div, div, i, local, mul
from .contraction import Tile
from .reduction import nest
from .schedule import Plan

ISAS = ("v4",)  # those on which a processor may have the instruction
FEATURE = "avx512bf16"  # its name
ZERO = i(0)


def rounded(e: Expr) -> bool:
    """Is `e` an f32 that a bf16 holds exactly: a conversion from bf16?"""
    return e.op == "cast" and e.attr == "f32" and e.args[0].dtype == "bf16"


def of_pairs(a: Expr, b: Expr, isa: str) -> bool:
    """Can a contraction of these factors run on pairs of bf16?"""
    return isa in ISAS and rounded(a) and rounded(b)


def half(e: Expr, upper: bool) -> Expr:
    """A rounded number as one half of a word, the other half 0."""
    bits = Expr("bitcast", (e,), "u32", "u32")
    return bits if upper else Expr("shr", (bits, const(16, "u32")), None, "u32")


class PairTile(Tile):
    """The lowered tile of a contraction of pairs."""

    held = 2
    unit = 1  # pairs along k come in multiples of it, with zeros at the end

    def __init__(self, e: Equation, isa: str, fresh: Fresh, plan: Plan) -> None:
        super().__init__(e, isa, fresh, plan)
        self.run, self.longest = self.run + self.run % 2, self.longest + self.longest % 2
        self.pairs = fresh("pairs")
        self.panel_dtype, self.words = "u32", f"u32x{self.width}"

    def run_of_k(self) -> list:
        """The length of the run, in numbers and in pairs."""
        return [*super().run_of_k(), Decl(self.pairs, "i64", ceil_div(local(self.k_run), 2 * self.unit))]

    # ---- along k

    def depth(self) -> list[Expr]:
        """Axes of a copy that run over pairs of the first k and over the others."""
        first, *rest = super().depth()
        return [mul(ceil_div(first, 2 * self.unit), i(self.unit)), *rest]

    def most(self) -> int:
        """The most pairs of a copy along k."""
        return -(-self.longest // (2 * self.unit)) * self.unit

    def all_pairs(self) -> Expr:
        """How many pairs a run has."""
        return mul(local(self.pairs), i(self.unit))

    def _k_loops(self, body: list) -> list:
        return nest([(self.kk, i(0), self.all_pairs()), *self.ks[1:]], body)

    def at_each_k(self, e: Expr, body: Callable[[Expr], list], start: Expr = ZERO) -> list:
        """`body(word)` for each pair of a factor at kk, from `start` on; a number that is left over at the end has 0
        beside it."""
        k, at = self.ks[0][0], mul(i(2), local(self.kk))
        low, high = (substitute(e, {k: add(local(self.k_start), add(at, i(n)))}) for n in (0, 1))
        word = Expr("bitor", (half(low, False), half(high, True)), None, "u32")
        whole = div(local(self.k_run), i(2))
        pairs = nest([(self.kk, start, whole), *self.ks[1:]], body(word))
        begun = ceil_div(local(self.k_run), 2) if self.unit > 1 else self.all_pairs()
        rest = nest([(self.kk, whole, begun), *self.ks[1:]], body(half(low, False)))
        if self.unit == 1:
            return [*pairs, *rest]
        none = nest([(self.kk, begun, self.all_pairs()), *self.ks[1:]], body(const(0, self.panel_dtype)))
        return [*pairs, *rest, *none]

    # ---- copies

    def panel(self) -> list:
        """The copy of the columns of B that panel jb has."""
        p, jj, columns = self.parts, local(self.jj), self.fresh("columns")
        source = substitute(p.b, {p.col: add(self._column(), jj)})
        place = (*self._panel_index(), *self._k_index(), jj)
        return [
            Decl(columns, "i64", self._wide()),
            *self._copy(self.bp, place, source, self.jj, local(columns), i(self.nr), self._along_k(p.b)),
        ]

    def _copy(self, to: str, place: tuple, e: Expr, across: str, used: Expr, room: Expr, along_k: bool) -> list:
        """Words of a factor for `across` in 0..used, and zeros up to `room`; loops as memory lies."""
        if along_k:
            return self.copy_rows(to, place, e, across, used, room)
        both = lambda word: [For(across, i(0), used, [Store(to, place, word)])]  # noqa: E731 - a name for one form
        zero = Store(to, place, const(0, self.panel_dtype))
        return [*self.at_each_k(e, both), *self._k_loops([For(across, used, room, [zero])])]

    def _place(self, tile: Expr, row: Expr) -> tuple[Expr, ...]:
        """Where the copy of A has the words of a row of a tile."""
        at = add(mul(tile, i(self.mr)), row)
        return (at, *self._k_index()) if self.by_rows else (*self._k_index(), at)

    def room_a(self) -> Alloc:
        """Where the copy of a block of rows of A lies."""
        room = super().room_a()
        return room if self.by_rows else replace(room, shape=(*self.depth(), i(self.block)))

    def pack_a(self, block: Expr, rows: Expr, tiles: Expr) -> list:
        """The copy of a block of rows of A."""
        source = substitute(self.parts.a, {self.parts.row: add(block, local(self.ii))})
        place, room = self._place(i(0), local(self.ii)), mul(tiles, i(self.mr))
        return self._copy(self.ap, place, source, self.ii, rows, room, self._along_k(self.parts.a))

    # ---- tiles

    def _product(self, acc: list, a: str, b: list[str]) -> list:
        fast, plain = (self._k_loops(self._step(acc, a, b, feature)) for feature in (FEATURE, ""))
        return [If(Expr("has", (), FEATURE, "bool"), fast, plain)]

    def _step(self, acc: list, a: str, b: list[str], feature: str = "") -> list:
        bat = (*self._panel_index(), *self._k_index())
        step: list = [
            Assign(b[v], Expr("vload", (*bat, i(v * self.width)), self.bp, self.words)) for v in range(len(b))
        ]
        for r in range(self.mr):
            at = load(self.ap, self._place(local(self.it), i(r)), "u32")
            step.append(Assign(a, Expr("splat", (at,), None, self.words)))
            for v in range(len(b)):
                args = (local(acc[r][v], self.vec), local(a, self.words), local(b[v], self.words))
                step.append(Assign(acc[r][v], Expr("dot2", args, feature, self.vec)))
        return step
