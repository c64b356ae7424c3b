"""How an access to an array moves when one variable grows."""

from __future__ import annotations

from .expr import Expr, free_vars


def stride(index: tuple[Expr, ...], name: str) -> int | None:
    """How an access moves when `name` grows by one: 0 stays, 1 next element, None anything else."""
    if not index or all(name not in free_vars(e) for e in index):
        return 0
    if any(name in free_vars(e) for e in index[:-1]):
        return None
    return 1 if unit_step(index[-1], name) else None


def unit_step(e: Expr, name: str) -> bool:
    """Is `e` the variable `name` plus something that does not depend on it?"""
    if e.op == "var":
        return e.attr == name
    if e.op == "add":
        a, b = e.args
        if name in free_vars(a):
            return name not in free_vars(b) and unit_step(a, name)
        return unit_step(b, name)
    if e.op == "sub":
        return name not in free_vars(e.args[1]) and unit_step(e.args[0], name)
    return False
