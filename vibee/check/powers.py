"""Powers."""

from __future__ import annotations

from dataclasses import replace

from vibee.tree.expr import Expr, Span, const
from vibee.tree.types import INT_LITERAL, is_float, is_int

from . import fold
from .errors import SpecError
from .expr import LITERALS, ExprChecker

MAX_POWER = 16  # larger constant powers call the definition


class PowerChecker(ExprChecker):
    """Adds `a ** b` to the expression checker."""

    def on_pow(self, e: Expr, want: str) -> Expr:
        """Powers: small constant ones are products and roots, others call the definition of that name."""
        a, b = self.arith(self.check(e.args[0], want)), self.arith(self.check(e.args[1]))
        if fold.is_literal(a) and fold.is_literal(b):
            return fold.fold(replace(e, args=(a, b)))
        k = b.attr if b.op == "const" and b.dtype in LITERALS else None
        if isinstance(k, float) and k.is_integer() and is_float(a.dtype):
            k = int(k)
        if isinstance(k, int) and (is_float(a.dtype) or k >= 0) and abs(k) <= MAX_POWER:
            return self.power(self.finish(a, want), k, e.span)
        if k == 0.5 and is_float(a.dtype):
            return Expr("sqrt", (a,), None, a.dtype, e.span)
        if is_int(a.dtype) and is_int(b.dtype):
            n = a.attr if a.op == "const" else 0
            if isinstance(n, int) and n > 1 and n & (n - 1) == 0 and b.dtype != INT_LITERAL:
                a, b = self.same(a, b, e.span)
                shift = Expr("mul", (b, const(n.bit_length() - 1, b.dtype)), None, b.dtype, e.span) if n > 2 else b
                return Expr("shl", (const(1, b.dtype, a.span), shift), None, b.dtype, e.span)
            raise SpecError(
                e.span,
                f"an integer power needs a constant exponent from 0 to {MAX_POWER}, or 2 as its base; write a "
                f"loop or prod[i:n](x)",
            )
        exponent = e.args[1]
        if is_float(a.dtype) and is_int(b.dtype) and b.dtype != INT_LITERAL:
            exponent = Expr("cast", (exponent,), self.scope.default(a.dtype, want), "", exponent.span)
        return self.check(Expr("call", (e.args[0], exponent), (e.op,), "", e.span), want)

    def power(self, a: Expr, k: int, span: Span) -> Expr:
        """`a**k` as products."""
        one = fold.typed(const(1, INT_LITERAL, span), a.dtype)
        if k < 0:
            return Expr("div", (one, self.power(a, -k, span)), None, a.dtype, span)
        if k == 0:
            return one
        if k == 1:
            return a
        half = self.power(a, k // 2, span)
        square = Expr("mul", (half, half), None, a.dtype, span)
        return square if k % 2 == 0 else Expr("mul", (square, a), None, a.dtype, span)
