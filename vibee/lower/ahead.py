"""What loops over one row ask for ahead of each other: the one that does most with an element asks, while it computes;
the others find what was asked for while the row before was computed."""

from __future__ import annotations

from collections.abc import Iterable

from vibee.tree.defs import Equation, For
from vibee.tree.expr import Expr, bound_vars, walk

from .build import Fresh, add, div, i, local, mul, subst_stmt
from .reduction import LANES, soon, streams
from .schedule import Plan

CALL = 20  # operations of a function, as exp has


def dearest(equations: list[Equation], arrays: Iterable[str]) -> dict[str, int]:
    """For each array that is read along memory, which of the equations does most with an element of it."""
    out: dict[str, int] = {}
    for array in arrays:
        cost = [_operations(e.rhs) if array in _read(e) else 0 for e in equations]
        if any(cost):
            out[array] = cost.index(max(cost))
    return out


def _read(e: Equation) -> set[str]:
    """The arrays that the innermost loop of an equation runs through."""
    reduced = e.rhs.op == "reduce"
    body, names = (e.rhs.args[0], bound_vars(e.rhs)) if reduced else (e.rhs, e.vars)
    return {str(ld.attr) for ld in streams(body, names[-1])}


def _operations(e: Expr) -> int:
    return 1 + sum(CALL if n.op == "call" else 1 for n in walk(e) if n.op not in ("load", "var", "const", "reduce"))


def in_lanes(name: str, dim: Expr, element: list, value: Expr, fresh: Fresh, plan: Plan) -> list:
    """A loop over the elements of a row that asks for arrays ahead, LANES elements at a time; nothing if it asks for
    none.  `element` is done for each, `value` is what it evaluates."""
    base, lane = fresh.part(name, "0"), fresh("lane")
    asked = soon(value, name, base, plan)
    if not asked:
        return []
    fresh.rests.add(name)
    whole = mul(div(dim, i(LANES)), i(LANES))
    at = {name: add(local(base), local(lane))}
    step = For(lane, i(0), i(LANES), [subst_stmt(s, at) for s in element])
    return [For(base, i(0), whole, [*asked, step], step=LANES), For(name, whole, dim, element)]
