"""Reductions of terms: conditions decided, turned into loop bounds, or solved for a variable.

`where(s <= t, f, 0)` summed over t in [0, T) becomes a sum over [s, T); a condition `t == e`
leaves no sum at all.  What is known to hold is dropped, a term that cannot occur is too.
"""

from __future__ import annotations

from ..tree.expr import Expr, free_vars, loads, show, substitute
from ..tree.linear import ONE, Facts, Lin, Range, add, from_lin, linear_in, to_lin
from ..tree.normal import compare
from .terms import Term, merge

Ranges = dict[str, Range]


def difference(g: Expr) -> Lin | None:
    """An integer comparison as `lin >= 0`; None for anything else."""
    if g.op not in ("lt", "le", "gt", "ge") or g.args[0].dtype != "i64":
        return None
    a, b = to_lin(g.args[0]), to_lin(g.args[1])
    lin = add(b, a, -1) if g.op in ("lt", "le") else add(a, b, -1)
    return add(lin, {(): 1}, -1) if g.op in ("lt", "gt") else lin


def truth(g: Expr, facts: Facts) -> bool | None:
    """Whether a condition always or never holds; None where neither is known."""
    if g.op == "const":
        return bool(g.attr)
    if g.op == "not":
        inner = truth(g.args[0], facts)
        return None if inner is None else not inner
    if g.op in ("eq", "ne") and g.args[0].dtype == "i64":
        if facts.same(*g.args):
            return g.op == "eq"
        if facts.lt(*g.args) or facts.lt(g.args[1], g.args[0]):
            return g.op == "ne"
    lin = difference(g)
    if lin is None:
        return None
    e = from_lin(lin)
    if facts.nonneg(e):
        return True
    if facts.nonneg(Expr("sub", (Expr("neg", (e,), None, "i64"), ONE), None, "i64")):
        return False
    return None


def canonical(g: Expr) -> Expr:
    """An integer comparison as `x >= e`, `x < e`, `x == e` or `x != e`, so that a condition and
    its opposite look alike."""
    if g.op not in ("lt", "le", "gt", "ge", "eq", "ne") or g.args[0].dtype != "i64":
        return g
    lin = difference(g)
    if lin is None:
        lin = add(to_lin(g.args[0]), to_lin(g.args[1]), -1)
    parts = [k for k in lin if k]
    lead = min(parts, key=lambda k: (not any("." in v for x in k for v in free_vars(x)), [show(x) for x in k]))
    up = lin[lead] > 0
    size: Lin = {lead: abs(lin[lead])}
    rest = add(lin, {lead: lin[lead]}, -1)
    if g.op in ("eq", "ne"):
        return compare(g.op, from_lin(size), from_lin(add({}, rest, -1 if up else 1)))
    if up:
        return compare("ge", from_lin(size), from_lin(add({}, rest, -1)))
    return compare("lt", from_lin(size), from_lin(add(rest, {(): 1})))


def ordered(guards: tuple[Expr, ...]) -> tuple[Expr, ...]:
    """Conditions that read arrays last: the others say that the elements exist."""
    plain = [g for g in guards if not loads(g)]
    return tuple(plain + [g for g in guards if g not in plain])


def settle(term: Term, ranges: Ranges, facts: Facts) -> tuple[Term, Ranges] | None:
    """The term and the ranges it is summed over, both made as small as conditions allow."""
    ranges = dict(ranges)
    while True:
        for v, (lo, hi) in list(ranges.items()):
            if facts.same(hi, Expr("add", (lo, ONE), None, "i64")):
                del ranges[v]  # one element
                term = term.map(lambda e, v=v, lo=lo: substitute(e, {v: lo}))  # type: ignore[misc]
                ranges = {u: (substitute(a, {v: lo}), substitute(b, {v: lo})) for u, (a, b) in ranges.items()}
        known = facts.within(ranges)
        term = term.map(known.simplify)
        kept: list[Expr] = []
        for g in term.guards:
            holds = truth(g, known)
            if holds is False:
                return None
            if holds is None:
                kept.append(canonical(g))
        term = Term(term.coeff, ordered(tuple(kept)), term.factors)
        for k, g in enumerate(kept):
            found = solve_equal(g, ranges)
            if found is not None:
                u, value = found
                lo, hi = ranges.pop(u)
                limits = (compare("ge", value, lo), compare("lt", value, hi))
                rest = merge(limits, tuple(kept[:k] + kept[k + 1 :]))
                term = Term(term.coeff, rest, term.factors).map(lambda e, u=u, v=value: substitute(e, {u: v}))  # type: ignore[misc]
                ranges = {v: (substitute(a, {u: value}), substitute(b, {u: value})) for v, (a, b) in ranges.items()}
                break
            bound = tighten(g, ranges, known)
            if bound is not None:
                ranges[bound[0]] = bound[1]
                term = Term(term.coeff, tuple(kept[:k] + kept[k + 1 :]), term.factors)
                break
        else:
            return term, ranges


def _last(lin: Lin, ranges: Ranges, facts: Facts | None = None) -> tuple[str, Lin, Lin] | None:
    """(u, c, rest) with lin == c*u + rest for the last variable of `ranges` in it; c is a number,
    or times sizes that are known to be at least 1."""
    positive = facts.positive if facts is not None else set()
    for u in reversed(list(ranges)):
        if any(u in free_vars(x) for k in lin for x in k):
            parts = linear_in(lin, u)
            if parts is None or len(parts[0]) != 1:
                return None
            atoms = next(iter(parts[0]))
            return (u, *parts) if all(x.op == "var" and x.attr in positive for x in atoms) else None
    return None


def solve_equal(g: Expr, ranges: Ranges) -> tuple[str, Expr] | None:
    """(u, value) if the condition says u == value for a variable that is summed over."""
    if g.op != "eq" or g.args[0].dtype != "i64":
        return None
    found = _last(add(to_lin(g.args[0]), to_lin(g.args[1]), -1), ranges)
    if found is None or abs(found[1][()]) != 1:
        return None
    u, c, rest = found[0], found[1][()], found[2]
    return u, from_lin(add({}, rest, -c))


def tighten(g: Expr, ranges: Ranges, facts: Facts) -> tuple[str, Range] | None:
    """(u, new range) if the condition bounds a variable that is summed over."""
    lin = difference(g)
    found = _last(lin, ranges, facts) if lin is not None else None
    if found is None or loads(g):
        return None
    u, factor, rest = found
    lo, hi = ranges[u]
    c = next(iter(factor.values()))  # the sign is that of the number
    step = from_lin(factor if c > 0 else add({}, factor, -1))
    if c > 0:  # c*u + rest >= 0: u >= ceil(-rest / c) == -(rest // c)
        low = add({}, to_lin(Expr("floordiv", (from_lin(rest), step), None, "i64")), -1)
        return u, (larger(lo, from_lin(low), facts), hi)
    high = add(to_lin(Expr("floordiv", (from_lin(rest), step), None, "i64")), {(): 1})
    return u, (lo, smaller(hi, from_lin(high), facts))


def larger(a: Expr, b: Expr, facts: Facts) -> Expr:
    """max(a, b); b if that is decided (a condition that a decides is gone before)."""
    return b if facts.le(a, b) else Expr("max", (a, b), None, "i64")


def smaller(a: Expr, b: Expr, facts: Facts) -> Expr:
    """min(a, b); b if that is decided."""
    return b if facts.le(b, a) else Expr("min", (a, b), None, "i64")
