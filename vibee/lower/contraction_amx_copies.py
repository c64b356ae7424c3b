"""Copies of pairs of bf16, 32 numbers at once: where a processor has matrix instructions, it rounds two vectors of f32
in one (`pairs`).  It takes denormals for zeros, as the instructions do that multiply what it makes: all that changes is
what lies just below 2**-126, and would be rounded up to it.  Expressions, gathers, edges and what is not a whole vector
are rounded number by number.
"""

from __future__ import annotations

from vibee.tree.defs import Alloc, For, If, Store
from vibee.tree.expr import Expr, load, substitute
from vibee.tree.product import SIDE
from vibee.tree.stride import stride
from vibee.tree.turn import Turn

from .build import add, div, i, local, mul
from .contraction_bf16 import PairTile
from .reduction import gathered, nest

WHOLE = 2 * SIDE  # numbers in a vector of words


class PairsAtOnce(PairTile):
    """The copies of a product's factors for a processor with matrix instructions."""

    unit = SIDE

    def lies(self, e: Expr, along: str) -> bool:
        """Is the factor an array of f32, rounded, that memory runs through along an index?"""
        inner = e.args[0].args[0] if e.op == "cast" and e.args[0].op == "cast" else e
        return inner.op == "load" and inner.dtype == "f32" and stride(inner.args, along) == 1 and not gathered(inner)

    def words_of(self, order: str, a: Expr, b: Expr) -> Expr:
        """A vector of words from the vectors that begin at two elements."""
        both = (x.args[0].args[0] for x in (a, b))
        return Expr("pairs", tuple(Expr("vload", x.args, x.attr, self.vec) for x in both), order, self.words)

    def _neighbours(self, e: Expr, step: Expr) -> Expr:
        """The words of numbers that lie along k, from `step` vectors on."""
        k, first = self.ks[0][0], add(local(self.k_start), mul(step, i(WHOLE)))
        return self.words_of("along", *(substitute(e, {k: add(first, i(n))}) for n in (0, SIDE)))

    def copy_rows(self, to: str, place: tuple[Expr, ...], e: Expr, row: str, used: Expr, room: Expr) -> list:
        """Rows of A that lie along k, and columns of B, which are turned over."""
        if not self.lies(e, self.ks[0][0]):
            return super().copy_rows(to, place, e, row, used, room)
        steps, step = div(local(self.k_run), i(WHOLE)), self.fresh("step")
        rest = self.at_each_k(e, lambda word: [Store(to, place, word)], mul(steps, i(SIDE)))
        if place[-1] == local(self.kk):
            at_once = Store(to, (*place[:-1], mul(local(step), i(SIDE))), self._neighbours(e, local(step)))
            zeros = super().copy_rows(to, place, e, row, used, room)[1:]
            return [For(row, i(0), used, [For(step, i(0), steps, [at_once]), *rest]), *zeros]
        group, c, words = self.fresh("group"), self.fresh("c"), self.fresh("words")
        column = mul(local(group), i(SIDE))
        read = self._neighbours(substitute(e, {row: add(column, local(c))}), local(step))
        there = load(to, (*place[:-2], mul(local(step), i(SIDE)), column), "u32")
        turn = Turn(self.fresh("r"), self.fresh("c"), SIDE, there, load(words, (i(0), i(0)), "u32"), 0)
        square = [
            Alloc(words, "u32", (i(SIDE), i(SIDE)), zero=False),
            For(c, i(0), i(SIDE), [Store(words, (local(c), i(0)), read)]),
            turn.loops(),
        ]
        every = [*nest([(group, i(0), i(self.nv)), (step, i(0), steps)], square), For(row, i(0), room, rest)]
        return [If(Expr("eq", (used, room), None, "bool"), every, super().copy_rows(to, place, e, row, used, room))]

    def _copy(self, to: str, place: tuple, e: Expr, across: str, used: Expr, room: Expr, along_k: bool) -> list:
        """Rows of B, a word of two of them at a time."""
        some = super()._copy(to, place, e, across, used, room, along_k)
        if along_k or not self.lies(e, across):
            return some
        k, at = self.ks[0][0], mul(i(2), local(self.kk))

        def words(v: int) -> Store:
            first = {across: i(v * self.width)}
            low, high = (substitute(e, first | {k: add(local(self.k_start), add(at, i(n)))}) for n in (0, 1))
            return Store(to, (*place[:-1], i(v * self.width)), self.words_of("across", low, high))

        whole = div(local(self.k_run), i(2))
        rest = self.at_each_k(e, lambda word: [For(across, i(0), used, [Store(to, place, word)])], whole)
        every = [For(self.kk, i(0), whole, [words(v) for v in range(self.nv)]), *rest]
        return [If(Expr("eq", (used, room), None, "bool"), every, some)]
