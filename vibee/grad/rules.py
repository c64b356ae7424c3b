"""The chain rule through one expression: from the adjoint of its value to those of what it reads.

One rule an operation.  Where an operation has no derivative, the choice is:
- `floor`, `rint`, comparisons, casts to and from integers: zero;
- `abs` at 0: zero;
- `max(a, b)` and `min(a, b)` on a tie: the first argument, but a constant gets nothing, so that
  max(x, 0) has derivative 0 at 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from fractions import Fraction

from ..tree.defs import Definition, Equation, Formula
from ..tree.expr import NOWHERE, Expr, Span, bound_vars, const, rebuild, substitute, walk
from ..tree.linear import Range
from ..tree.normal import negate, numbered, own_binders
from ..tree.types import DTYPES, is_float
from .terms import Term, product, term_of

Lookup = Callable[[str], Definition]
Ranges = dict[str, Range]
# (array or scalar parameter, indices, adjoint, ranges of the iteration variables)
Sink = Callable[[str, tuple[Expr, ...], list[Term], Ranges], None]


class GradError(Exception):
    """A formula (or a part of it) that has no derivative that could be built."""

    def __init__(self, message: str, span: Span = NOWHERE) -> None:
        super().__init__(f"{span}: {message}" if span.line else message)
        self.message = message
        self.span = span


def arith(dtype: str) -> str:
    """The type that derivatives of values of `dtype` have: that of its arithmetic."""
    return DTYPES[dtype].arith


def inline(f: Formula, args: tuple[Expr, ...]) -> Expr:
    """The body of a scalar formula as one expression of its arguments; an element of an array of its own is the right
    side of the array's equation, at that place."""
    taken = {p.name for p in [*f.params, *f.outs, *f.temps]} | {v for q in f.equations for v in q.vars}
    taken |= variables(args)
    values = {p.name: a for p, a in zip(f.params, args, strict=True)}
    arrays: dict[str, Equation] = {}

    def go(e: Expr) -> Expr:
        if e.op in ("load", "load?") and e.attr in arrays:
            q = arrays[str(e.attr)]
            return substitute(own_binders(q.rhs, taken), dict(zip(q.vars, map(go, e.args), strict=True)))
        if (e.op == "var" or (e.op in ("load", "load?") and not e.args)) and e.attr in values:
            return values[str(e.attr)]
        return rebuild(e, go)

    for q in f.equations:
        places = {v: numbered(v, taken) for v in q.vars}
        taken |= set(places.values())
        rhs = go(own_binders(q.rhs, taken, places))
        if q.vars or q.idx:
            if q.accumulate or any(n.op == "scan" for n in walk(rhs)):
                what = f"elements of {q.lhs} in {f.name} are made of several others"
                raise GradError(f"{what}; {f.name} can state derivative(...)", q.span)
            arrays[q.lhs] = replace(q, vars=tuple(places.values()), rhs=rhs)
        elif q.lhs in values:  # only += comes back to a number
            values[q.lhs] = Expr("add", (values[q.lhs], rhs), None, rhs.dtype)
        else:
            values[q.lhs] = rhs
    return values[f.outs[0].name]


def variables(args: Iterable[Expr]) -> set[str]:
    """The variables that expressions use or bind."""
    return {v for a in args for n in walk(a) for v in ((str(n.attr),) if n.op == "var" else bound_vars(n))}


def fill(e: Expr, values: dict[str, Expr]) -> Expr:
    """`e` with scalars replaced, be they variables or arrays of rank 0."""
    if (e.op == "var" or (e.op in ("load", "load?") and not e.args)) and e.attr in values:
        return values[str(e.attr)]
    return rebuild(e, lambda a: fill(a, values))


class Chain:
    """Carries adjoints from expressions to the arrays and scalars that they read."""

    def __init__(self, lookup: Lookup, scalars: set[str], sink: Sink) -> None:
        self.lookup = lookup
        self.scalars = scalars
        self.sink = sink

    def active(self, e: Expr) -> bool:
        """True if `e` may depend on anything that has a derivative."""
        return any((n.op in ("load", "load?") and is_float(n.dtype)) or self.is_scalar(n) for n in walk(e))

    def is_scalar(self, e: Expr) -> bool:
        """True for a float scalar parameter."""
        return e.op == "var" and e.attr in self.scalars

    def push(self, e: Expr, adjoint: list[Term], ranges: Ranges) -> None:
        """`adjoint` is that of `e`; what `e` reads gets its share."""
        adjoint = [t for t in adjoint if t.coeff]
        if not adjoint or not is_float(e.dtype) or e.op == "const" or not self.active(e):
            return
        if e.op in ("load", "load?"):
            self.sink(str(e.attr), e.args, adjoint, ranges)
        elif e.op == "var":
            self.sink(str(e.attr), (), adjoint, ranges)
        else:
            getattr(self, f"d_{e.op}")(e, adjoint, ranges)

    # ------------------------------------------------------------ one method an operation

    def d_add(self, e: Expr, adjoint: list[Term], ranges: Ranges) -> None:
        """a + b."""
        for a in e.args:
            self.push(a, adjoint, ranges)

    def d_sub(self, e: Expr, adjoint: list[Term], ranges: Ranges) -> None:
        """a - b."""
        self.push(e.args[0], adjoint, ranges)
        self.push(e.args[1], product(adjoint, Term(Fraction(-1))), ranges)

    def d_neg(self, e: Expr, adjoint: list[Term], ranges: Ranges) -> None:
        """-a."""
        self.push(e.args[0], product(adjoint, Term(Fraction(-1))), ranges)

    def d_mul(self, e: Expr, adjoint: list[Term], ranges: Ranges) -> None:
        """a * b."""
        a, b = e.args
        self.push(a, product(adjoint, term_of(b)), ranges)
        self.push(b, product(adjoint, term_of(a)), ranges)

    def d_div(self, e: Expr, adjoint: list[Term], ranges: Ranges) -> None:
        """a / b: 1/b and -a/b/b."""
        a, b = e.args
        one = const(1.0, e.dtype)
        over = term_of(Expr("div", (one, b), None, e.dtype))
        self.push(a, product(adjoint, over), ranges)
        self.push(b, product(product(adjoint, term_of(a).times(over)), replace(over, coeff=-over.coeff)), ranges)

    def d_sqrt(self, e: Expr, adjoint: list[Term], ranges: Ranges) -> None:
        """sqrt(a): 1 / (2 sqrt(a))."""
        self.push(e.args[0], product(adjoint, Term(Fraction(1, 2), (), ((e, -1),))), ranges)

    def d_abs(self, e: Expr, adjoint: list[Term], ranges: Ranges) -> None:
        """|a|: the sign of a, 0 at 0."""
        a = e.args[0]
        zero = const(0.0, e.dtype)
        below = Expr("where", (Expr("lt", (a, zero), None, "bool"), const(-1.0, e.dtype), zero), None, e.dtype)
        sign = Expr("where", (Expr("gt", (a, zero), None, "bool"), const(1.0, e.dtype), below), None, e.dtype)
        self.push(a, product(adjoint, Term(factors=((sign, 1),))), ranges)

    def d_floor(self, e: Expr, adjoint: list[Term], ranges: Ranges) -> None:
        """Zero."""

    def d_rint(self, e: Expr, adjoint: list[Term], ranges: Ranges) -> None:
        """Zero."""

    def d_bitcast(self, e: Expr, adjoint: list[Term], ranges: Ranges) -> None:
        """Zero: bits are no number."""

    def d_max(self, e: Expr, adjoint: list[Term], ranges: Ranges) -> None:
        """max(a, b): all to the larger."""
        self.choose(e, "gt", adjoint, ranges)

    def d_min(self, e: Expr, adjoint: list[Term], ranges: Ranges) -> None:
        """min(a, b): all to the smaller."""
        self.choose(e, "lt", adjoint, ranges)

    def choose(self, e: Expr, strict: str, adjoint: list[Term], ranges: Ranges) -> None:
        """The side that wins gets the adjoint."""
        a, b = e.args
        if not self.active(b):
            first = Expr(strict, (a, b), None, "bool")
            self.push(a, [t.under((first,)) for t in adjoint], ranges)
        elif not self.active(a):
            second = Expr(strict, (b, a), None, "bool")
            self.push(b, [t.under((second,)) for t in adjoint], ranges)
        else:
            second = Expr(strict, (b, a), None, "bool")  # as the value is chosen, where one is nan too
            self.push(a, [after(t, negate(second)) for t in adjoint], ranges)
            self.push(b, [after(t, second) for t in adjoint], ranges)

    def d_where(self, e: Expr, adjoint: list[Term], ranges: Ranges) -> None:
        """where(c, a, b): each side under its condition."""
        c, a, b = e.args
        self.push(a, [after(t, c) for t in adjoint], ranges)
        self.push(b, [after(t, negate(c)) for t in adjoint], ranges)

    def d_cast(self, e: Expr, adjoint: list[Term], ranges: Ranges) -> None:
        """Between float types: the adjoint is converted back."""
        inner = e.args[0]
        if not is_float(inner.dtype):
            return
        to = arith(inner.dtype)
        if to != arith(e.dtype):
            adjoint = [converted(t, e.dtype, to) for t in adjoint]
        self.push(inner, adjoint, ranges)

    def d_call(self, e: Expr, adjoint: list[Term], ranges: Ranges) -> None:
        """A scalar definition: the derivative that its spec gives, or that of its equations."""
        name = e.attr[0] if isinstance(e.attr, tuple) else e.attr
        f = self.lookup(str(name))
        given = getattr(f, "derivative", {})
        values = {p.name: a for p, a in zip(f.params, e.args, strict=True)} | {f.outs[0].name: e}
        rest = list(e.args)
        for k, p in enumerate(f.params):
            if p.name in given:
                slope = fill(own_binders(given[p.name], variables(e.args) | set(values)), values)
                self.push(e.args[k], product(adjoint, term_of(slope)), ranges)
                rest[k] = Expr("frozen", (e.args[k],), None, e.args[k].dtype)
        if not any(a.op != "frozen" and is_float(a.dtype) and self.active(a) for a in rest):
            return
        if not isinstance(f, Formula):
            raise GradError(f"{f.name} is a procedure and states no derivative", e.span)
        body = inline(f, tuple(e.args))
        if given:
            # parameters with a derivative of their own must not be counted twice
            open_params = {p.name: a for p, a in zip(f.params, rest, strict=True)}
            body = inline(f, tuple(open_params.values()))
        self.push(body, adjoint, ranges)

    def d_frozen(self, e: Expr, adjoint: list[Term], ranges: Ranges) -> None:
        """An argument that has its share already."""

    def d_reduce(self, e: Expr, adjoint: list[Term], ranges: Ranges) -> None:
        """A sum inside an expression: more iteration variables."""
        if e.attr[0] != "sum":  # type: ignore[index]
            raise GradError(f"{e.attr[0]} over a range that depends on data has no derivative here", e.span)  # type: ignore[index]
        inner = dict(zip(bound_vars(e), zip(e.args[1::2], e.args[2::2], strict=True), strict=True))
        self.push(e.args[0], adjoint, {**ranges, **inner})


def thaw(e: Expr) -> Expr:
    """`e` without the marks of `d_call`."""
    if e.op == "frozen":
        return thaw(e.args[0])
    return rebuild(e, thaw)


def after(t: Term, guard: Expr) -> Term:
    """The term under one more guard, tested last."""
    return t.times(Term(guards=(guard,)))


def converted(t: Term, dtype: str, to: str) -> Term:
    """A term in another float type, its guards kept outside of the conversion."""
    from .terms import emit_product

    inside = emit_product(Fraction(1), t.factors, dtype)
    return Term(t.coeff, t.guards, ((Expr("cast", (inside,), to, to), 1),))


__all__ = ["Chain", "GradError", "Lookup", "Ranges", "arith", "inline", "substitute", "thaw"]
