"""Domains: a definition whose `then` compares a float output claims that it is a number.  So where it takes a root, the
argument is not negative; a divisor of floats is not 0; and a function is asked only for what it has a value for.

Where a function of numbers has none its own text says: by `where(x > 0.0, ..., nan)`, with a constant that is infinite
or nan on one side.  Proved is that no nan is made here out of numbers; one may still come from outside, or from an
overflow (inf - inf).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from vibee.tree.defs import Definition, Formula, Procedure
from vibee.tree.expr import Expr, Span, const, rebuild, show, substitute, walk
from vibee.tree.types import is_float

from .facts import conjuncts
from .numbers import Unknown, value
from .ranges import SWAP, Known, Ranges, earlier, negated, told
from .report import Obligation
from .values import Value

Lookup = Callable[[str], Definition]
OUTSIDE = "outside of it, the result is no number"


def claims(d: Definition) -> bool:
    """Does a `then` compare a float output?  A nan satisfies no comparison but `!=`."""
    floats = {p.name for p in [*d.outs, *d.params] if p.kind in ("out", "mut") and is_float(p.dtype or "f64")}
    return any(
        law.kind == "then" and any(
            (n.op in SWAP and n.op != "ne") or (n.op == "call" and n.attr[0] == "close")  # type: ignore[index]
            for c in law.args for n in walk(c) if _names(n) & floats
        )
        for law in d.laws
    )  # fmt: skip


def _names(e: Expr) -> set[str]:
    return {str(n.attr).removesuffix("_value") for n in walk(e) if n.op in ("var", "load")}


def domain_obligations(d: Definition, lookup: Lookup) -> list[Obligation]:
    """One for each root, quotient of floats and function with a domain, in a definition that claims a result."""
    if not isinstance(d, (Formula, Procedure)) or not claims(d):
        return []
    found: dict[tuple[str, Span], Obligation] = {}
    given = tuple(c for g in d.given for c in conjuncts(g))
    ranges = Ranges(d, lookup).settle()
    for condition, e, proved, span in _asked(ranges, divisors=True):
        what = f"{_said(condition, lookup)} in {_said(e, lookup)}"
        before = found.get((what, span))
        proved = proved and (before is None or before.proved)
        facts, goal = ((), None) if proved else (given, condition)
        found[what, span] = Obligation("domain", what, span, proved, facts, goal, OUTSIDE)
    return list(found.values())


def _said(e: Expr, lookup: Lookup) -> str:
    """An expression with functions named as the spec does."""

    def named(n: Expr) -> Expr:
        n = rebuild(n, named)
        return replace(n, attr=(lookup(str(n.attr[0])).name,)) if n.op == "call" else n  # type: ignore[index]

    return show(named(e))


def _asked(ranges: Ranges, divisors: bool) -> Iterator[tuple[Expr, Expr, bool, Span]]:
    """Each condition, the expression that asks for it, whether it holds, and where."""
    for event in ranges.events:
        if isinstance(event.value, Expr):
            yield from _in(event.value, event.known, ranges, divisors, event.span)


def _in(e: Expr, known: Known, r: Ranges, divisors: bool, span: Span) -> Iterator[tuple[Expr, Expr, bool, Span]]:
    span = e.span if e.span.line else span
    if e.op in ("where", "and", "or"):
        first, *rest = e.args
        yield from _in(first, known, r, divisors, span)
        sides = (first, negated(first)) if e.op == "where" else (first,) if e.op == "and" else (negated(first),)
        for a, c in zip(rest, sides, strict=True):
            yield from _in(a, (*known, c), r, divisors, span)
        return
    if e.op == "reduce":
        r.of(e, known)  # the ranges of its variables
    inside = earlier(e, known) if e.op == "scan" else known
    for a in e.args:
        yield from _in(a, inside, r, divisors, span)
    if e.op == "sqrt":
        condition = Expr("ge", (e.args[0], const(0.0, e.dtype)), None, "bool")
        yield condition, e, r.true(condition, known), span
    elif e.op == "div" and divisors and not (e.args[1].op == "const" and e.args[1].attr):
        condition = Expr("ne", (e.args[1], const(0.0, e.dtype)), None, "bool")
        yield condition, e, r.true(condition, known), span
    elif e.op == "call" and e.attr[0] != "close":  # type: ignore[index]
        inner = r.inside(e, known)
        table = {p.name: a for p, a in zip(inner.d.params, e.args, strict=False)}
        own = [(c, inner.true(c)) for c in domain(inner)]
        # one that claims a number itself is asked for its divisors where it is defined
        deeper = [(c, ok) for c, _, ok, _ in _asked(inner, divisors=not claims(inner.d))]
        for c, ok in [*own, *deeper]:
            yield substitute(c, table), e, ok, span


def domain(inside: Ranges) -> list[Expr]:
    """The conditions, on its parameters, under which a function of numbers gives no constant that is not finite."""
    out = inside.d.outs[0].name
    return _wanted(inside.equations[out].rhs, inside) if out in inside.equations else []


def leaves_domain(f: Definition, args: Sequence[Value], lookup: Lookup) -> bool:
    """Has a function of numbers, by its own text, no finite value for these?"""
    if not isinstance(f, Formula):
        return False
    known = Ranges(f, lookup, {})
    known.equations = told(f.equations)
    env = dict(zip((p.name for p in f.params), args, strict=False))
    try:
        return not all(value(c, env, lookup) for c in domain(known))
    except Unknown:
        return False


def _wanted(e: Expr, r: Ranges) -> list[Expr]:
    e = r.expanded(e)
    if e.op != "where":
        return []
    c, a, b = e.args
    if _no_number(b, r):
        return [c, *_wanted(a, r)]
    return [negated(c), *_wanted(b, r)] if _no_number(a, r) else []


def _no_number(e: Expr, r: Ranges) -> bool:
    """Is it a constant that is infinite or nan, or a choice of such?"""
    e = r.expanded(e)
    if e.op == "where":
        return all(_no_number(a, r) for a in e.args[1:])
    try:
        x = value(e, {}, r.lookup)
    except Unknown:
        return False
    return isinstance(x, float) and not math.isfinite(x)
