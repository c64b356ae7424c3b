"""Whole-array calls of formulas: the callee's equations in the caller's names."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vibee.tree.defs import Equation, Formula, Param
from vibee.tree.expr import Expr, Span, substitute

from .calls import Bound
from .views import ArrayArg, through_views

if TYPE_CHECKING:
    from .formula import FormulaChecker


def inline(caller: FormulaChecker, bound: Bound, targets: list[str], span: Span) -> tuple[list[Param], list[Equation]]:
    """Temporaries and equations that compute the call's outputs into `targets`."""
    callee = bound.callee
    assert isinstance(callee, Formula)
    scope = caller.scope
    names: dict[str, Expr] = dict(bound.sizes)
    arrays: dict[str, ArrayArg] = {}
    temps: list[Param] = []
    equations: list[Equation] = []
    for p, a in zip(callee.params, bound.args, strict=True):
        if isinstance(a, ArrayArg):
            arrays[p.name] = a
            continue
        if a.op not in ("const", "var") and p.kind != "size" and not (a.op == "load" and not a.args):
            temp = scope.fresh(f"{callee.name}_{p.name}")  # an argument's expression is evaluated once
            temps.append(Param(temp, "temp", a.dtype, (), None, a.span))
            equations.append(Equation(temp, (), (), (), a, False, a.span))
            a = Expr("load", (), temp, a.dtype, a.span)
        names[p.name] = a
    renamed = {o.name: t for o, t in zip(callee.outs, targets, strict=True)}
    for t in callee.temps:
        renamed[t.name] = scope.fresh(f"{callee.name}_{t.name}")
        shape = tuple(substitute(s, names) for s in t.shape)
        temps.append(Param(renamed[t.name], "temp", t.dtype, shape, None, t.span))
    indices: dict[str, str] = {}

    def move(e: Expr, inner: dict[str, Expr]) -> Expr:
        return through_views(rename(substitute(e, inner), renamed, indices), arrays, scope.facts)

    for q in callee.equations:
        for v in [*q.vars, *_bound(q.rhs)]:
            indices.setdefault(v, scope.fresh(v))
        inner = {**names, **{v: Expr("var", (), indices[v], "i64") for v in q.vars}}
        equations.append(
            Equation(
                renamed[q.lhs],
                tuple(indices[v] for v in q.vars),
                tuple(move(d, inner) for d in q.dims),
                tuple(move(i, inner) for i in q.idx),
                move(q.rhs, inner),
                q.accumulate,
                span,
            )
        )
    return temps, equations


def _bound(e: Expr) -> list[str]:
    out = list(e.attr[1]) if e.op == "reduce" else []
    for a in e.args:
        out += _bound(a)
    return out


def rename(e: Expr, arrays: dict[str, str], binders: dict[str, str]) -> Expr:
    """`e` with its arrays and its binders' variables renamed (free variables are done already)."""
    if e.op == "reduce":
        op, names = e.attr
        new = tuple(binders[n] for n in names)
        inside = {n: Expr("var", (), b, "i64") for n, b in zip(names, new, strict=True)}
        body = rename(substitute(e.args[0], inside), arrays, binders)
        return replace(e, attr=(op, new), args=(body, *(rename(a, arrays, binders) for a in e.args[1:])))
    args = tuple(rename(a, arrays, binders) for a in e.args)
    if e.op in ("load", "load?") and e.attr in arrays:
        return replace(e, attr=arrays[str(e.attr)], args=args)
    return replace(e, args=args) if args else e
