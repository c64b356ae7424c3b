"""Common subexpressions of fused equations: evaluated once into a row, read from it after that.

`sum[e](exp(x[n, e] - m[n]))` and `y[n, d] = exp(x[n, d] - m[n]) / s[n]` in one loop over n call exp
on the same elements; a row of results in the first-level cache costs less than a second call.
"""

from __future__ import annotations

from dataclasses import replace

from vibee.tree.defs import Equation, Param
from vibee.tree.expr import Expr, free_vars, load, rebuild, substitute, var, walk

from .build import Fresh, is_const
from .group import Group

ROW = "%row"


def share_rows(g: Group, temps: dict[str, Param], fresh: Fresh) -> set[str]:
    """Rewrites the equations of `g`; returns the names of the new temporaries (added to `temps`)."""
    places: dict[tuple[Expr, Expr], list[int]] = {}
    for n, e in enumerate(g.equations):
        for found in dict.fromkeys(k for _, k in _candidates(e, g.prefix)):
            places.setdefault(found, []).append(n)
    made: set[str] = set()
    for (expr, size), users in places.items():
        if len(users) < 2:
            continue
        key = (expr, size)
        at = next(k for k, e in enumerate(g.equations) if any(key == found for _, found in _candidates(e, g.prefix)))
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


def _candidates(e: Equation, p: int) -> list[tuple[Expr, tuple[Expr, Expr]]]:
    """(node, key) for each call of a function on elements of a row that every iteration evaluates."""
    ranges = _ranges(e, p)
    outer = {v: var(f"%{k}") for k, v in enumerate(e.vars[:p])}
    out: list[tuple[Expr, tuple[Expr, Expr]]] = []

    def visit(x: Expr) -> None:
        if x.op == "call":
            rest = free_vars(x) & set(ranges)
            if len(rest) == 1 and not any(n.op in ("reduce", "scan") for n in walk(x)):
                (v,) = rest
                size = ranges[v]
                if not free_vars(size) & (set(e.vars) | set(ranges)):
                    out.append((x, (substitute(x, outer | {v: var(ROW)}), size)))
                    return
        if x.op in ("where", "and", "or"):  # the other sides may never be evaluated
            visit(x.args[0])
            return
        for a in x.args:
            visit(a)

    visit(e.rhs)
    return out


def _nodes(e: Equation, p: int, key: tuple[Expr, Expr]) -> list[Expr]:
    """The nodes of `e` that are `key`."""
    return [x for x, k in _candidates(e, p) if k == key]


def _replaced(e: Equation, p: int, key: tuple[Expr, Expr], name: str) -> Equation:
    nodes = {id(x): x for x in _nodes(e, p, key)}
    ranges = _ranges(e, p)

    def go(x: Expr) -> Expr:
        if id(x) in nodes:
            v = next(iter(free_vars(x) & set(ranges)))
            return load(name, (*map(var, e.vars[:p]), var(v)), x.dtype, x.span)
        return rebuild(x, go)

    return replace(e, rhs=go(e.rhs)) if nodes else e
