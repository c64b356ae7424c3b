"""Adjoints through the reduction or scan at the root of an equation.

- sum: every element gets the adjoint of the result.
- max, min: the first element that attains the extreme gets it all (a tie is not shared out);
  a nan, which they pass over, gets nothing.
- prod: the product of the other elements, also where some are zero: the adjoint is
  `product of the nonzero ones` divided by the element if no element is zero, goes to the one
  zero alone if there is just one, and is zero if there are more.
- any, all, argmax, argmin: no derivative.
- cumsum: the cumulative sum of the adjoint from the other end.
- cumprod: the adjoint times the running product, summed from the other end, divided by the
  element; from the first zero on nothing, but at it the same with the zero left out.
- cummax, cummin: a scatter to the element that set the record.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..tree.defs import Equation, Param
from ..tree.expr import Expr, bound_vars, const, load, substitute, var
from ..tree.linear import ONE, ZERO, from_lin, to_lin
from ..tree.normal import compare, neutral
from .rules import Ranges
from .terms import Term, emit, term_of

if TYPE_CHECKING:
    from .reverse import Reverse


class Roots:
    """Hands the adjoint of an equation's left side to its right side."""

    def __init__(self, owner: Reverse) -> None:
        self.owner = owner

    def push(self, q: Equation, mark: Expr, ranges: Ranges) -> None:
        """`mark` is the adjoint of the left side, an element of an array."""
        e = q.rhs
        whole = [Term(factors=((mark, 1),))]
        if e.op == "scan":
            getattr(self, f"scan_{e.attr[0]}")(q, mark, ranges)  # type: ignore[index]
        elif e.op != "reduce" or e.attr[0] == "sum":  # type: ignore[index]
            self.owner.chain.push(e, whole, ranges)
        else:
            inner = dict(zip(bound_vars(e), zip(e.args[1::2], e.args[2::2], strict=True), strict=True))
            rule = {"max": self.extreme, "min": self.extreme, "prod": self.prod}[str(e.attr[0])]  # type: ignore[index]
            rule(q, whole, {**ranges, **inner})

    def temp(self, stem: str, q: Equation, rhs: Expr, front: bool = True) -> Expr:
        """A new equation over the variables of `q`; returns its element at these."""
        o = self.owner
        name = o.fresh(stem)
        p = Param(name, "temp", rhs.dtype, q.dims)
        o.temps.append(p)
        o.arrays[name], o.shapes[name] = p, q.dims
        o.hints[name] = q.vars
        at = tuple(map(var, q.vars))
        (o.front if front else o.back).append(Equation(name, q.vars, q.dims, at, rhs, span=q.span))
        return load(name, at, rhs.dtype)

    # ------------------------------------------------------------ reductions

    def extreme(self, q: Equation, adjoint: list[Term], ranges: Ranges) -> None:
        """max[r](body): to the first r that attains it."""
        e = q.rhs
        r = bound_vars(e)[0]
        op, body = str(e.attr[0]), e.args[0]  # type: ignore[index]
        numbers = Expr(op, (neutral(op, body.dtype), body), None, body.dtype)  # a nan gives way
        where = Expr("reduce", (numbers, *e.args[1:]), ("arg" + op, (r,)), "i64", e.span)
        hit = compare("eq", var(r), self.temp(f"{q.lhs}_at", q, where))
        self.owner.chain.push(body, [t.times(Term(guards=(hit, is_number(body)))) for t in adjoint], ranges)

    def prod(self, q: Equation, adjoint: list[Term], ranges: Ranges) -> None:
        """prod[r](body): the product of the others."""
        e = q.rhs
        body = e.args[0]
        zero, one = const(0.0, body.dtype), const(1.0, body.dtype)
        is_zero = Expr("eq", (body, zero), None, "bool")
        count = Expr("where", (is_zero, ONE, ZERO), None, "i64")
        zeros = self.temp(f"{q.lhs}_zeros", q, Expr("reduce", (count, *e.args[1:]), ("sum", e.attr[1]), "i64"))  # type: ignore[index]
        kept = Expr("where", (is_zero, one, body), None, body.dtype)
        rest = self.temp(f"{q.lhs}_rest", q, Expr("reduce", (kept, *e.args[1:]), e.attr, body.dtype))
        plain = (compare("eq", zeros, ZERO),)
        alone = (compare("eq", zeros, ONE), is_zero)
        over = term_of(rest).times(Term(guards=plain)).times(Term(factors=((body, -1),)))
        only = term_of(rest).times(Term(guards=alone))
        self.owner.chain.push(body, [t.times(f) for t in adjoint for f in (over, only)], ranges)

    # ------------------------------------------------------------ scans

    def reversed_sum(self, q: Equation, terms: list[Term]) -> Expr:
        """s[n] = sum over m >= n of the terms at m, as a cumulative sum read backwards."""
        v = q.rhs.attr[1]  # type: ignore[index]
        back = {v: self.mirror(q, v)}
        body = emit([t.map(lambda e: substitute(e, back)) for t in terms], q.rhs.dtype)
        total = self.temp(f"d_{q.lhs}_tail", q, Expr("scan", (body,), ("sum", v), body.dtype), front=False)
        return substitute(total, back)

    def mirror(self, q: Equation, v: str) -> Expr:
        """The index as far from the end as v is from the start."""
        end = Expr("sub", (q.dims[q.vars.index(v)], ONE), None, "i64")
        return from_lin(to_lin(Expr("sub", (end, var(v)), None, "i64")))

    def known(self, q: Equation) -> None:
        """The adjoint of a scan's result is read at other places: it needs an array."""
        self.owner.materialise(q.lhs)

    def scan_sum(self, q: Equation, mark: Expr, ranges: Ranges) -> None:
        """cumsum."""
        self.known(q)
        tail = self.reversed_sum(q, [Term(factors=((mark, 1),))])
        self.owner.chain.push(q.rhs.args[0], [Term(factors=((tail, 1),))], ranges)

    def scan_prod(self, q: Equation, mark: Expr, ranges: Ranges) -> None:
        """cumprod."""
        self.known(q)
        body, v = q.rhs.args[0], q.rhs.attr[1]  # type: ignore[index]
        k = q.vars.index(v)
        i = self.owner.fresh(v)
        zero, one = const(0.0, body.dtype), const(1.0, body.dtype)
        end = q.dims[k]
        # the index of the first zero, or the length of the axis if there is none
        there = substitute(body, {v: var(i)})
        spot = Expr("where", (Expr("eq", (there, zero), None, "bool"), var(i), end), None, "i64")
        line = replace(
            q, vars=q.vars[:k] + q.vars[k + 1 :], dims=q.dims[:k] + q.dims[k + 1 :], idx=q.idx[:k] + q.idx[k + 1 :]
        )
        first = self.temp(f"{q.lhs}_zero", line, Expr("reduce", (spot, ZERO, end), ("min", (i,)), "i64"))
        here = compare("eq", var(v), first)
        filled = Expr("where", (here, one, body), None, body.dtype)
        skip = self.temp(f"{q.lhs}_skip", q, Expr("scan", (filled,), ("prod", v), body.dtype))
        value = load(q.lhs, tuple(map(var, q.vars)), q.rhs.dtype)
        before = self.reversed_sum(q, [Term(factors=((mark, 1),)).times(term_of(value))])
        at = self.reversed_sum(q, [Term(factors=((mark, 1),)).times(term_of(skip))])
        early = Term(guards=(compare("lt", var(v), first),), factors=((before, 1),))
        terms = [early.times(Term(factors=((body, -1),))), Term(guards=(here,), factors=((at, 1),))]
        self.owner.chain.push(body, terms, ranges)

    def scan_max(self, q: Equation, mark: Expr, ranges: Ranges) -> None:
        """cummax."""
        self.record(q, mark, ranges, "gt")

    def scan_min(self, q: Equation, mark: Expr, ranges: Ranges) -> None:
        """cummin."""
        self.record(q, mark, ranges, "lt")

    def record(self, q: Equation, mark: Expr, ranges: Ranges, better: str) -> None:
        """To the element that set the value: the last index at which the result changed."""
        self.known(q)
        o, body, v = self.owner, q.rhs.args[0], q.rhs.attr[1]  # type: ignore[index]
        prior = load(
            q.lhs,
            tuple(Expr("sub", (var(x), ONE), None, "i64") if x == v else var(x) for x in q.vars),
            q.rhs.dtype,
        )
        kept = Expr("not", (Expr(better, (body, prior), None, "bool"),), None, "bool")
        stay = Expr("and", (compare("gt", var(v), ZERO), kept), None, "bool")
        new = Expr("where", (stay, ZERO, var(v)), None, "i64")
        at = self.temp(f"{q.lhs}_at", q, Expr("scan", (new,), ("max", v), "i64"))
        name = o.fresh(f"d_{q.lhs}_in")
        o.temps.append(Param(name, "temp", mark.dtype, q.dims))
        o.arrays[name], o.shapes[name] = o.temps[-1], q.dims
        idx = tuple(at if x == v else var(x) for x in q.vars)
        o.back.append(Equation(name, q.vars, q.dims, idx, mark, accumulate=True, span=q.span))
        part = load(name, tuple(map(var, q.vars)), mark.dtype)
        o.chain.push(body, [Term(guards=(is_number(body),), factors=((part, 1),))], ranges)


def is_number(e: Expr) -> Expr:
    """The condition that a float is no nan."""
    return Expr("eq", (e, e), None, "bool")
