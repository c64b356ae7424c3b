"""What loops over one row ask for ahead of each other: the one that does most with an element asks, while it computes;
the others find what was asked for while the row before was computed."""

from __future__ import annotations

from dataclasses import replace

from vibee.tree.defs import Equation, For, Prefetch, statements
from vibee.tree.expr import Expr, walk

from .build import Fresh, add, div, i, local, mul, subst_stmt
from .reduction import LANES, soon
from .schedule import Plan

CALL = 20  # operations of a function, as exp has


def asked_once(loops: list[tuple[Equation, list]]) -> list:
    """The loops of equations over one row, one after the other; each array is asked for in those of one equation."""
    asked = [{str(s.at.attr) for s in statements(body) if isinstance(s, Prefetch)} for _, body in loops]
    cost = [_operations(e.rhs) for e, _ in loops]
    out: list = []
    for n, (_, body) in enumerate(loops):
        dearer = [k for k in range(len(loops)) if (cost[k], -k) > (cost[n], -n)]
        out += _without({a for a in asked[n] if any(a in asked[k] for k in dearer)}, body)
    return out


def _without(arrays: set[str], stmts: list) -> list:
    """The statements, which do not ask for these arrays."""
    if not arrays:
        return stmts
    out: list = []
    for s in stmts:
        if isinstance(s, Prefetch) and s.at.attr in arrays:
            continue
        parts = {
            part: _without(arrays, found) for part in ("body", "then", "orelse") if (found := getattr(s, part, None))
        }
        out.append(replace(s, **parts) if parts else s)
    return out


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
