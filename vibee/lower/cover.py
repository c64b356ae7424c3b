"""Which outputs of a procedure need no zeros first, because it writes every element before it reads any."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vibee.tree.defs import Call, Equations, For, Jump, Param, Store, View, statements
from vibee.tree.expr import Expr, const, loads

ZERO = const(0, "i64")


def written_whole(out: Param, body: list) -> bool:
    """Is every element of `out` written by unconditional loops over all of it, and read only where written?

    The first statement in the text that touches `out` decides.  Reads must be at the indices of that write.
    """
    if any(isinstance(s, Jump) for s in statements(body)):
        return False  # a loop left early
    written: list[tuple[Expr, ...]] = []
    for touch, loops in _touches(body, out.name, {}):
        if not written:
            idx = _whole(touch, out, loops)
            if idx is None:
                return False
            written.append(idx)
        elif not _same_place(touch, out.name, written[0]):
            return False
    return bool(written)


def _touches(stmts: list, name: str, loops: dict[str, For] | None) -> Iterator[tuple[Any, dict[str, For] | None]]:
    """Statements that mention `name`, each with the loops around it (None under a condition)."""
    for s in stmts:
        if isinstance(s, For):
            if _mentions_range(s, name):
                yield s, None
            yield from _touches(s.body, name, None if loops is None else {**loops, s.var: s})
            continue
        inner = [getattr(s, part, None) or [] for part in ("body", "then", "orelse")]
        if any(ld.attr == name for e in _exprs(s) for ld in loads(e)) or name in _writes(s):
            yield s, loops
        for part in inner:
            yield from _touches(part, name, None)


def _mentions_range(s: For, name: str) -> bool:
    return any(ld.attr == name for e in (s.lo, s.hi) for ld in loads(e))


def _exprs(s: Any) -> Iterator[Expr]:
    for part in ("value", "init", "cond"):
        e = getattr(s, part, None)
        if isinstance(e, Expr):
            yield e
    if isinstance(s, Store):
        yield from s.idx
    if isinstance(s, Equations):
        for q in s.equations:
            yield q.rhs
            yield from q.idx
    if isinstance(s, Call):
        yield from (a for a in s.args if isinstance(a, Expr))


def _writes(s: Any) -> set[str]:
    if isinstance(s, Store):
        return {s.array}
    if isinstance(s, Equations):
        return {q.lhs for q in s.equations}
    if isinstance(s, Call):
        return {a.array for a in [*s.args, *s.outs] if isinstance(a, View)}
    return set()


def _whole(s: Any, out: Param, loops: dict[str, For] | None) -> tuple[Expr, ...] | None:
    """The indices of a write that, with the loops around it, reaches every element; None if it may not."""
    if loops is None or any(ld.attr == out.name for e in _exprs(s) for ld in loads(e)):
        return None
    if isinstance(s, Call):
        args = [a for a in s.args if isinstance(a, View) and a.array == out.name]
        mine = [o for o in s.outs if isinstance(o, View) and o.array == out.name]
        if args or len(mine) != 1 or mine[0].part is not None:
            return None
        return mine[0].lead if _reach(mine[0].lead, out.shape, loops, set()) else None
    if isinstance(s, Store):
        return s.idx if len(s.idx) == len(out.shape) and _reach(s.idx, out.shape, loops, set()) else None
    if isinstance(s, Equations):
        q = next(q for q in s.equations if q.lhs == out.name)
        if q.accumulate or not _reach(q.idx, out.shape, loops, set(q.vars)):
            return None
        return tuple(e for e in q.idx if not (e.op == "var" and e.attr in q.vars))
    return None


def _reach(idx: tuple[Expr, ...], shape: tuple[Expr, ...], loops: dict[str, For], free: set[str]) -> bool:
    seen: set[str] = set()
    for e, size in zip(idx, shape, strict=False):
        if e.op != "var" or e.attr in seen:
            return False
        seen.add(str(e.attr))
        if e.attr in free:
            continue
        loop = loops.get(str(e.attr))
        if loop is None or loop.lo != ZERO or loop.hi != size or loop.step != 1:
            return False
    return True


def _same_place(s: Any, name: str, idx: tuple[Expr, ...]) -> bool:
    """Does every access of `s` to the array begin with the indices that were written?"""
    places = [ld.args for e in _exprs(s) for ld in loads(e) if ld.attr == name]
    if isinstance(s, Store) and s.array == name:
        places.append(s.idx)
    if isinstance(s, Equations):
        places += [q.idx for q in s.equations if q.lhs == name]
    if isinstance(s, Call):
        places += [a.lead for a in [*s.args, *s.outs] if isinstance(a, View) and a.array == name]
    if isinstance(s, For):
        return False
    return all(p[: len(idx)] == idx for p in places)
