"""Index expressions with a choice in them, taken apart into one index map for each side."""

from __future__ import annotations

from ..tree.expr import Expr, rebuild
from ..tree.normal import negate

Choice = tuple[tuple[Expr, ...], tuple[Expr, ...]]  # (conditions, indices)


def _choice(e: Expr) -> Expr | None:
    """The first `where` of an index expression (not one inside of a read)."""
    if e.op == "where":
        return e
    if e.op in ("load", "load?", "call", "reduce"):
        return None
    return next((w for a in e.args if (w := _choice(a)) is not None), None)


def _replace(e: Expr, old: Expr, new: Expr) -> Expr:
    return new if e == old else rebuild(e, lambda a: _replace(a, old, new))


def split_where(idx: tuple[Expr, ...], limit: int = 8) -> list[Choice]:
    """All index maps that the choices in `idx` select between, each with its conditions."""
    done: list[Choice] = []
    todo: list[Choice] = [((), idx)]
    while todo:
        conds, parts = todo.pop(0)
        w = next((c for e in parts if (c := _choice(e)) is not None), None)
        if w is None or len(todo) + len(done) >= limit:
            done.append((conds, parts))
            continue
        c, a, b = w.args
        todo.append(((*conds, c), tuple(_replace(e, w, a) for e in parts)))
        todo.append(((*conds, negate(c)), tuple(_replace(e, w, b) for e in parts)))
    return done
