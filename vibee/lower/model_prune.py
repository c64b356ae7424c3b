"""A formula reduced to some of its outputs: equations and parameters that they don't need are left out."""

from __future__ import annotations

from dataclasses import replace

from ..tree.defs import Formula, Param
from ..tree.expr import Expr, free_vars, loads


def _expressions(f: Formula) -> list[Expr]:
    out = []
    for e in f.equations:
        out += [*e.dims, *e.idx, e.rhs]
    for p in (*f.params, *f.temps, *f.outs):
        out += p.shape
    return out


def needed(f: Formula, outs: set[str]) -> set[str]:
    """The arrays that the outputs depend on, themselves included."""
    names, before = set(outs), 0
    while len(names) > before:
        before = len(names)
        for e in f.equations:
            if e.lhs in names:
                for x in (e.rhs, *e.idx, *e.dims):
                    names |= {str(n.attr) for n in loads(x)}
    return names


def prune(f: Formula, outs: tuple[str, ...], key: str) -> Formula:
    """`f` with only `outs` as outputs, under another key."""
    keep = needed(f, set(outs))
    equations = [e for e in f.equations if e.lhs in keep]
    temps = [p for p in f.temps if p.name in keep]
    dropped = [p for p in f.outs if p.name not in outs and p.name in keep]
    temps += [replace(p, kind="temp") for p in dropped]
    g = replace(f, key=key, equations=equations, temps=temps, outs=[f.param(n) for n in outs],
                params=[p for p in f.params if p.kind in ("scalar", "size") or p.name in keep])  # fmt: skip
    names: set[str] = set()
    for x in _expressions(g):
        names |= free_vars(x)
    params = [p for p in g.params if p.kind != "scalar" or p.name in names]
    params = [p for p in params if p.kind != "size" or p.name in names]
    sizes: dict[str, tuple] = {}
    for name in f.sizes:
        if name not in names:
            continue
        found = next((("arg", p.name, i) for p in params for i, e in enumerate(p.shape)
                      if p.kind in ("in", "mut") and e.op == "var" and e.attr == name), None)  # fmt: skip
        if found is None and all(p.name != name for p in params):
            params.append(Param(name, "size", "i64"))
        sizes[name] = found or ("param", name)
    arrays = {p.name for p in params}
    own = {*f.sizes, *(p.name for p in f.params)}  # what else is free in a condition runs over elements
    given = [c for c in f.given if {str(n.attr) for n in loads(c)} <= arrays and free_vars(c) & own <= names]
    return replace(g, params=params, sizes=sizes, given=given, laws=[])


def passes(f: Formula, out: str) -> str | None:
    """The parameter that `out` is an unchanged copy of, if it is one."""
    mine = [e for e in f.equations if e.lhs == out]
    if len(mine) != 1 or mine[0].accumulate:
        return None
    rhs, names = mine[0].rhs, mine[0].vars
    if rhs.op != "load" or tuple(a.attr if a.op == "var" else None for a in rhs.args) != names:
        return None
    if any(p.name == rhs.attr and p.kind == "in" for p in f.params):
        return str(rhs.attr)
    return None
