"""Cleaning the equations of a gradient: copies, unused equations, names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..tree.defs import Equation, Formula, Param
from ..tree.expr import Expr, bound_vars, load, rebuild, rename_arrays, var, walk
from ..tree.normal import live, numbered, reads


def needs(f: Formula) -> set[str]:
    """Names of the parameters that the equations of `f` really read (sizes and scalars too)."""
    used: set[str] = set()
    for q in f.equations:
        used |= reads(q)
        for e in (q.rhs, *q.idx, *q.dims):
            used |= {str(n.attr) for n in walk(e) if n.op == "var"}
    return used & {p.name for p in f.params}


def on_exprs(q: Equation, f: Callable[[Expr], Expr]) -> Equation:
    """The equation with `f` applied to its expressions."""
    return replace(q, rhs=f(q.rhs), idx=tuple(f(i) for i in q.idx))


def is_copy(q: Equation) -> bool:
    """True for `a[v] = b[the same variables, in any order]`."""
    x = q.rhs
    return (
        not q.accumulate
        and x.op == "load"
        and len(set(x.args)) == len(x.args) == len(q.vars)
        and set(x.args) == {var(v) for v in q.vars}
        and q.idx == tuple(map(var, q.vars))
    )


def drop_copies(equations: list[Equation], temps: set[str]) -> list[Equation]:
    """Copies between arrays, at least one of them a temporary, left out."""
    k = 0
    while k < len(equations):
        q = equations[k]
        x = q.rhs
        source = str(x.attr)
        single = sum(1 for r in equations if r.lhs == q.lhs) == 1
        made = [r for r in equations if r.lhs == source]
        if is_copy(q) and single and q.lhs in temps and q.lhs != source:
            order = [q.vars.index(str(a.attr)) for a in x.args]
            equations = [read_from(r, q.lhs, source, order) for r in equations if r is not q]
        elif is_copy(q) and single and source in temps and len(made) == 1 and not made[0].accumulate:
            (m,) = made
            place = [x.args.index(var(v)) for v in q.vars]  # axis of the source for each axis of the copy
            names = tuple(m.vars[p] for p in place)
            new = replace(m, lhs=q.lhs, vars=names, dims=tuple(m.dims[p] for p in place), idx=tuple(map(var, names)))
            back = [place.index(p) for p in range(len(place))]
            equations = [new if r is m else read_from(r, source, q.lhs, back) for r in equations if r is not q]
        else:
            k += 1
    return equations


def read_from(q: Equation, old: str, new: str, order: list[int]) -> Equation:
    """`q` reading `new` for `old`; axis p of `new` is axis order[p] of `old`."""

    def go(e: Expr) -> Expr:
        e = rebuild(e, go)
        if e.op == "load" and e.attr == old:
            return load(new, tuple(e.args[p] for p in order), e.dtype, e.span)
        return e

    return on_exprs(q, go)


# ---------------------------------------------------------------- names


class Namer:
    """Gives internal variables (`x.0`) readable names and every binder a name of its own."""

    def __init__(self, hints: dict[str, tuple[str, ...]], taken: set[str]) -> None:
        self.hints = hints
        self.taken = taken  # arrays, sizes, scalars
        self.binders: set[str] = set()
        self.variables: set[str] = set()  # of equations: no binder has the name of one

    def wish(self, name: str) -> str:
        """The name that a variable would like to have."""
        if "." not in name:
            return name
        array, axis = name.rsplit(".", 1)
        hint = self.hints.get(array, ())
        return hint[int(axis)] if int(axis) < len(hint) and "." not in hint[int(axis)] else f"i{axis}"

    def equation(self, q: Equation) -> Equation:
        """The equation with its variables renamed."""
        mine: dict[str, str] = {}
        for v in q.vars:
            mine[v] = numbered(self.wish(v), set(mine.values()) | self.taken | self.binders)
        self.variables |= set(mine.values())
        q = replace(q, vars=tuple(mine[v] for v in q.vars))
        return on_exprs(q, lambda e: self.rename(e, mine))

    def rename(self, e: Expr, names: dict[str, str]) -> Expr:
        """Variables by `names`, binders anew."""
        if e.op == "var":
            return replace(e, attr=names.get(str(e.attr), e.attr))
        if e.op == "scan":
            op, v = str(e.attr[0]), str(e.attr[1])  # type: ignore[index]
            e = replace(e, attr=(op, names.get(v, v)))
        if e.op == "reduce":
            inner = dict(names)
            for v in bound_vars(e):
                inner[v] = numbered(self.wish(v), self.taken | self.binders | self.variables | set(names.values()))
                self.binders.add(inner[v])
            e = replace(e, attr=(e.attr[0], tuple(inner[v] for v in bound_vars(e))))  # type: ignore[index]
            return rebuild(e, lambda a: self.rename(a, inner))
        return rebuild(e, lambda a: self.rename(a, names))


def tidy(equations: list[Equation], outs: list[Param], temps: list[Param]) -> tuple[list[Equation], list[Param]]:
    """Equations without copies and without what nothing needs, and the temporaries left."""
    wanted = {p.name for p in outs}
    equations = live(equations, wanted)
    equations = live(drop_copies(equations, {p.name for p in temps}), wanted)
    used = {q.lhs for q in equations}
    return equations, [p for p in temps if p.name in used]


__all__ = ["Namer", "drop_copies", "live", "needs", "on_exprs", "rename_arrays", "tidy"]
