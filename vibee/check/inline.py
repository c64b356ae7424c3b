"""Whole-array calls of formulas: the callee's equations in the caller's names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vibee.tree.defs import Equation, Formula, Param
from vibee.tree.expr import Expr, Span, substitute, var

from .calls import Bound
from .views import ArrayArg, Move

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
    move = Move(names, arrays, scope.facts, scope.fresh, renamed)
    indices: dict[str, str] = {}
    for q in callee.equations:
        for v in q.vars:
            if v not in indices:
                indices[v] = scope.fresh(v)
        move.names = {**names, **{v: var(indices[v]) for v in q.vars}}
        equations.append(
            Equation(
                renamed[q.lhs],
                tuple(indices[v] for v in q.vars),
                tuple(map(move, q.dims)),
                tuple(map(move, q.idx)),
                move(q.rhs),
                q.accumulate,
                span,
            )
        )
    return temps, equations
