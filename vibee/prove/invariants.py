"""Candidates for what holds at the start of every iteration of a loop, and after a branch: bounds of scalars.

A scalar is compared with what it is compared with in the text, with what it begins as, with the sizes of the axes that
it is an index of, and with what its loop counts by, or the sum of those.  Which candidates hold, the walk finds out:
those that hold on entry and that an iteration keeps, if all of them are assumed together, until no more fall (Flanagan
and Leino 2001, "Houdini").
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce

from vibee.tree.defs import Alloc, Assign, Decl, For, Procedure, Store, While, statements
from vibee.tree.expr import Expr, const, free_vars, var, walk
from vibee.tree.types import is_int

from .facts import ZERO, changed, compare, expressions, norm, plus

COMPARED = ("lt", "le", "gt", "ge", "ne", "eq", "min", "max")


def limits_of(p: Procedure) -> dict[str, list[Expr]]:
    """For each i64 scalar: conditions on it that may hold."""
    shapes = {q.name: q.shape for q in [*p.params, *p.outs] if q.is_array}
    shapes |= {s.name: s.shape for s in statements(p.body) if isinstance(s, Alloc)}
    out: dict[str, dict[Expr, None]] = {}
    for s in statements(p.body):
        if isinstance(s, (Decl, Assign)):
            dtype = s.dtype if isinstance(s, Decl) else s.value.dtype
            if dtype == "i64":
                out.setdefault(s.name, {})
        elif isinstance(s, Store) and not s.idx and s.value.dtype == "i64":
            out.setdefault(f"{s.array}[]", {})
    for s in statements(p.body):
        for name, limit in _pairs(s, shapes):
            if name in out and name not in free_vars(limit):
                out[name] |= dict.fromkeys(_below(name, limit))
        if isinstance(s, (Decl, Assign)) and s.name in out:
            value = s.init if isinstance(s, Decl) else s.value
            if value is not None and _near(value) and s.name not in free_vars(value):
                out[s.name][compare("le", value, var(s.name))] = None
        if isinstance(s, While):
            counted = changed([s])
            through = [var(n) for n in sorted(free_vars(s.cond) & counted & out.keys())]
            if len(through) > 1:  # what is counted for each of several
                for name in sorted(counted & out.keys() - free_vars(s.cond)):
                    out[name] |= dict.fromkeys(_below(name, reduce(plus, through)))
    return {name: list(found) for name, found in out.items()}


def _pairs(s: object, shapes: dict[str, tuple[Expr, ...]]) -> Iterator[tuple[str, Expr]]:
    """Scalars of a statement with the expressions that bound them."""
    whole = list(expressions(s))
    if isinstance(s, Store):
        whole.append(Expr("load", s.idx, s.array, s.value.dtype))
    for e in whole:
        for n in walk(e):
            if n.op in ("load", "load?") and n.attr in shapes:
                for index, size in zip(n.args, shapes[str(n.attr)], strict=True):
                    for name in free_vars(norm(index)):
                        yield name, size
            elif n.op in COMPARED and all(is_int(a.dtype or "i64") for a in n.args):
                a, b = map(norm, n.args)
                for x, y in ((a, b), (b, a)):
                    if x.op == "var" and not any(m.op in ("load", "load?", "call") for m in walk(y)):
                        yield str(x.attr), y
    if isinstance(s, (Decl, Assign)):
        value = s.init if isinstance(s, Decl) else s.value
        if value is not None and value.op == "var":  # where it begins
            yield s.name, value
    if isinstance(s, For) and s.hi.op == "var":
        for name in free_vars(s.lo):
            yield name, s.hi


def candidates(name: str, limits: list[Expr], counters: list[str]) -> list[Expr]:
    """Conditions on a scalar that may hold, where a loop counts by other ones."""
    x = var(name)
    out = [compare("le", ZERO, x), compare("le", const(-1, "i64"), x), *limits]
    for n in counters:
        if n != name:
            out += _below(name, var(n))
    return out


def _below(name: str, limit: Expr) -> list[Expr]:
    return [compare("lt", var(name), limit), compare("le", var(name), limit)]


def _near(e: Expr) -> bool:
    """Is it a scalar, or one plus a constant?"""
    return e.op == "var" or (e.op == "add" and sorted(a.op for a in e.args) == ["const", "var"])
