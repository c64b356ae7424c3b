"""Walks over typed statements, and what a parallel loop may write."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from vibee.tree.defs import Alloc, Assign, Call, Decl, Equations, For, If, Store, View, While
from vibee.tree.expr import Expr, Span, walk
from vibee.tree.types import is_float

from .errors import SpecError

COMBINE = {"add": "+=", "mul": "*=", "min": "min", "max": "max"}


def nested(s: object) -> list[list]:
    """The blocks inside a statement."""
    if isinstance(s, (For, While)):
        return [s.body]
    return [s.then, s.orelse] if isinstance(s, If) else []


def each(body: list) -> Iterator[object]:
    """Every statement, outer ones first."""
    for s in body:
        yield s
        for block in nested(s):
            yield from each(block)


def _view(v: object, f: Callable[[Expr], Expr]) -> None:
    if isinstance(v, View):
        v.lead = tuple(f(e) for e in v.lead)
        v.part = (f(v.part[0]), f(v.part[1])) if v.part else None
        v.shape = tuple(f(e) for e in v.shape)


def map_exprs(body: list, f: Callable[[Expr], Expr]) -> None:
    """Replace every expression of the statements by `f` of it, in a fixed order."""
    for s in each(body):
        match s:
            case Equations():
                for q in s.equations:
                    q.dims = tuple(f(e) for e in q.dims)
                    q.idx = tuple(f(e) for e in q.idx)
                    q.rhs = f(q.rhs)
            case Decl():
                s.init = f(s.init) if s.init is not None else None
            case Alloc():
                s.shape = tuple(f(e) for e in s.shape)
            case Assign():
                s.value = f(s.value)
            case Store():
                s.idx = tuple(f(e) for e in s.idx)
                s.value = f(s.value)
            case For():
                s.lo, s.hi = f(s.lo), f(s.hi)
            case While() | If():
                s.cond = f(s.cond)
            case Call():
                for k, a in enumerate(s.args):
                    if isinstance(a, Expr):
                        s.args[k] = f(a)
                    else:
                        _view(a, f)
                for o in s.outs:
                    _view(o, f)
                s.sizes = {k: f(v) for k, v in s.sizes.items()}


def exprs_of(body: list) -> list[Expr]:
    """Every expression of the statements."""
    out: list[Expr] = []

    def keep(e: Expr) -> Expr:
        out.append(e)
        return e

    map_exprs(body, keep)
    return out


def binders_of(body: list) -> set[str]:
    """Names of loop variables and of indices of equations."""
    out: set[str] = set()
    for s in each(body):
        if isinstance(s, For):
            out.add(s.var)
        elif isinstance(s, Equations):
            out |= {v for q in s.equations for v in q.vars}
    return out


def parallel_writes(loop: For, shown: dict[str, str]) -> Iterator[SpecError]:
    """Mistakes in the scalars that a parallel loop writes: only reductions may reach outside."""
    inner = {s.name for s in each(loop.body) if isinstance(s, Decl)}
    found: dict[str, tuple[str, Span]] = {}
    counted: dict[str, int] = {}
    for s in each(loop.body):
        if isinstance(s, Call):
            for o in s.outs:
                if isinstance(o, Expr) and o.attr not in inner:
                    name = shown.get(str(o.attr), str(o.attr))
                    yield SpecError(
                        s.span, f"'{name}' is written by every iteration of a parallel loop; declare it inside the loop"
                    )
        if not isinstance(s, Assign) or s.name in inner:
            continue
        name = shown.get(s.name, s.name)
        op, reads = _reduction(s)
        if op in ("min", "max") and is_float(s.value.dtype) and not _is(s.value.args[0], s.name):
            yield SpecError(s.span, f"write {name} = {op}({name}, ...) in a parallel loop: there a nan gives way")
            continue
        if op is None:
            yield SpecError(
                s.span, f"'{name}' is written by every iteration of a parallel loop; declare it inside, or reduce "
                    f"with {name} += ... "
                f"or {name} = max({name}, ...)"
            )  # fmt: skip
            continue
        if found.setdefault(s.name, (op, s.span))[0] != op:
            yield SpecError(s.span, f"'{name}' is reduced in two ways in one parallel loop; use two variables")
        counted[s.name] = counted.get(s.name, 0) + reads
    everything = exprs_of(loop.body)
    for target, (_, span) in found.items():
        reads = sum(1 for e in everything for n in walk(e) if n.op == "var" and n.attr == target)
        if reads > counted[target]:
            name = shown.get(target, target)
            yield SpecError(
                span,
                f"'{name}' is read inside the parallel loop that reduces it; its value is known only after the loop",
            )


def _is(e: Expr, name: str) -> bool:
    return e.op == "var" and e.attr == name


def _reduction(s: Assign) -> tuple[str | None, int]:
    """The operation of `s = s op e`, and how often it reads s; (None, 0) if it is none."""
    e = s.value
    if e.op == "sub" and _is(e.args[0], s.name):
        rest = sum(1 for n in walk(e.args[1]) if n.op == "var" and n.attr == s.name)
        return ("add", 1) if rest == 0 else (None, 0)
    if e.op not in COMBINE:
        return None, 0
    for mine, other in ((e.args[0], e.args[1]), (e.args[1], e.args[0])):
        if _is(mine, s.name):
            rest = sum(1 for n in walk(other) if n.op == "var" and n.attr == s.name)
            if rest == 0:
                return e.op, 1
    return None, 0
