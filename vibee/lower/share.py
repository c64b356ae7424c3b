"""Common subexpressions of fused equations: evaluated once into a row, read from it after that.

`sum[e](exp(x[n, e] - m[n]))` and `y[n, d] = exp(x[n, d] - m[n]) / s[n]` in one loop over n call exp
on the same elements; a row of results in the first-level cache costs less than a second call.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from vibee.tree.defs import Equation, Param
from vibee.tree.expr import Expr, bound_vars, free_vars, load, rebuild, substitute, var, walk

from .build import Fresh, is_const
from .group import Group

ROW = "%row"
Key = tuple[Expr, Expr]  # the call with the shared variables numbered and that of the row as ROW, and the row's size


class Candidate(NamedTuple):
    """A call that a row may stand for; `alone`: no other loop is around it, whose range may be empty, so that the
    equation evaluates all of the row."""

    node: Expr
    key: Key
    alone: bool


def share_rows(g: Group, temps: dict[str, Param], fresh: Fresh) -> set[str]:
    """Rewrites the equations of `g`; returns the names of the new temporaries (added to `temps`)."""
    places: dict[Key, list[int]] = {}
    whole: set[Key] = set()
    for n, e in enumerate(g.equations):
        found = _candidates(e, g.prefix)
        whole |= {c.key for c in found if c.alone}
        for key in dict.fromkeys(c.key for c in found):
            places.setdefault(key, []).append(n)
    made: set[str] = set()
    for key, users in places.items():
        if len(users) < 2 or key not in whole:
            continue
        expr, size = key
        at = next(k for k, e in enumerate(g.equations) if _nodes(e, g.prefix, key))
        first = g.equations[at]
        dims = (*first.dims[: g.prefix], size)
        name, v = fresh("row"), fresh("c")
        old = next(iter(free_vars(_nodes(first, g.prefix, key)[0]) & set(_ranges(first, g.prefix))))
        fresh.origin[v] = fresh.origin.get(old, old)
        here = {f"%{k}": var(first.vars[k]) for k in range(g.prefix)} | {ROW: var(v)}
        names = (*first.vars[: g.prefix], v)
        new = Equation(name, names, dims, tuple(map(var, names)), substitute(expr, here), span=first.span)
        g.equations = [_replaced(e, g.prefix, key, name) for e in g.equations]
        g.equations.insert(at, new)
        temps[name] = Param(name, "temp", expr.dtype, dims)
        made.add(name)
    return made


def _ranges(e: Equation, p: int) -> dict[str, Expr]:
    """Variables inside the shared loops that run from 0, and where they end."""
    out = dict(zip(e.vars[p:], e.dims[p:], strict=True))
    for r in walk(e.rhs):
        if r.op == "reduce":
            for v, lo, hi in zip(r.attr[1], r.args[1::2], r.args[2::2], strict=True):  # type: ignore[index]
                if is_const(lo, 0):
                    out[v] = hi
    return out


def _candidates(e: Equation, p: int) -> list[Candidate]:
    """Each call of a function on elements of a row that every iteration evaluates."""
    ranges = _ranges(e, p)
    outer = {v: var(f"%{k}") for k, v in enumerate(e.vars[:p])}
    out: list[Candidate] = []

    def visit(x: Expr, around: frozenset[str]) -> None:
        if x.op == "call":
            rest = free_vars(x) & set(ranges)
            if len(rest) == 1 and not any(n.op in ("reduce", "scan") for n in walk(x)):
                (v,) = rest
                size = ranges[v]
                if not free_vars(size) & (set(e.vars) | set(ranges)):
                    out.append(Candidate(x, (substitute(x, outer | {v: var(ROW)}), size), around == rest))
                    return
        if x.op in ("where", "and", "or"):  # the other sides may never be evaluated
            visit(x.args[0], around)
            return
        for k, a in enumerate(x.args):
            visit(a, around if k else around.union(bound_vars(x)))

    visit(e.rhs, frozenset(e.vars[p:]))
    return out


def _nodes(e: Equation, p: int, key: Key) -> list[Expr]:
    """The nodes of `e` that are `key`."""
    return [c.node for c in _candidates(e, p) if c.key == key]


def _replaced(e: Equation, p: int, key: Key, name: str) -> Equation:
    nodes = {id(x): x for x in _nodes(e, p, key)}
    ranges = _ranges(e, p)

    def go(x: Expr) -> Expr:
        if id(x) in nodes:
            v = next(iter(free_vars(x) & set(ranges)))
            return load(name, (*map(var, e.vars[:p]), var(v)), x.dtype, x.span)
        return rebuild(x, go)

    return replace(e, rhs=go(e.rhs)) if nodes else e
