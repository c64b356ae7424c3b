"""The vector-Jacobian product of a formula, as a formula of its own."""

from __future__ import annotations

import re
from dataclasses import replace

from ..tree.defs import Definition, Equation, Formula, Param
from ..tree.expr import Expr, bound_vars, loads, rebuild, var, walk
from ..tree.normal import hoist
from ..tree.types import is_float
from .finish import Namer, needs, tidy
from .reverse import Reverse
from .rules import Lookup, arith, inline
from .terms import collect
from .versions import versions


def gradient_key(key: str) -> str:
    """`f_grad_f32` for `f_f32`."""
    m = re.fullmatch(r"(.*)_(f32|f64)", key)
    return f"{m[1]}_grad_{m[2]}" if m else f"{key}_grad"


def prepared(f: Formula, lookup: Lookup) -> Formula:
    """The formula with what has to be seen before it is brought to normal form: extremes over
    several variables one after the other, and calls inlined whose bodies hold reductions."""
    count = 0

    def numbered(e: Expr) -> Expr:
        nonlocal count
        count += 1
        names = {v: f"{v}_c{count}" for n in walk(e) for v in bound_vars(n)}

        def go(x: Expr) -> Expr:
            if x.op == "reduce":
                x = replace(x, attr=(x.attr[0], tuple(names[v] for v in x.attr[1])))  # type: ignore[index]
            if x.op == "var":
                x = replace(x, attr=names.get(str(x.attr), x.attr))
            return rebuild(x, go)

        return go(e)

    def go(e: Expr) -> Expr:
        e = rebuild(e, go)
        if e.op == "reduce" and e.attr[0] in ("max", "min") and len(bound_vars(e)) > 1 and is_float(e.dtype):  # type: ignore[index]
            op, names = str(e.attr[0]), bound_vars(e)  # type: ignore[index]
            inner = Expr("reduce", (e.args[0], *e.args[-2:]), (op, names[-1:]), e.dtype, e.span)
            return go(Expr("reduce", (inner, *e.args[1:-2]), (op, names[:-1]), e.dtype, e.span))
        if e.op == "call" and is_float(e.dtype):
            g = lookup(str(e.attr[0] if isinstance(e.attr, tuple) else e.attr))
            if isinstance(g, Formula) and not g.derivative:
                if any(n.op == "reduce" for q in g.equations for n in walk(q.rhs)):
                    return go(numbered(inline(g, e.args)))
        return e

    return replace(f, equations=[replace(q, rhs=go(q.rhs)) for q in f.equations])


def stated(f: Formula) -> Formula:
    """A formula of numbers that states its derivative, as a call of itself: so the statement counts, not the body."""
    if not (f.derivative and f.is_scalar):
        return f
    out = f.outs[0]
    args = tuple(var(p.name, p.dtype) for p in f.params)
    call = Expr("call", args, f.key, out.dtype, f.span)
    return replace(f, temps=[], equations=[Equation(out.name, (), (), (), call, span=f.span)])


def cotangents(f: Definition, g: Definition) -> dict[str, str]:
    """The parameter of the derived gradient `g` of `f` that is the cotangent of each float output: `d_<out>`, with `_`
    behind it where `f` uses that name itself."""
    real = [p.name for p in f.outs if is_float(p.dtype)]
    return dict(zip(real, [p.name for p in g.params][len(g.params) - len(real) :], strict=True))


def vjp(f: Formula, lookup: Lookup) -> Formula:
    """The formula that computes `f`'s vector-Jacobian product.

    Parameters: those of `f`, the outputs of `f` (forward results, read where that saves work),
    and `d_<out>`, the cotangent of each float output (see `cotangents`).  Outputs: `d_<param>` for each float
    array and float scalar (of rank 0).  Adjoints of bf16 arrays are f32.  `lookup` gives the
    scalar definition behind a called name.
    """
    h = hoist(prepared(versions(stated(f)), lookup))
    names = {p.name for p in [*h.params, *h.outs, *h.temps]} | set(h.sizes)
    for q in h.equations:
        names |= set(q.vars) | {v for n in walk(q.rhs) for v in bound_vars(n)}

    def named(stem: str) -> str:
        name = stem
        while name in names:
            name += "_"
        names.add(name)
        return name

    forward = [Param(p.name, "in", p.dtype, p.shape, span=p.span) for p in h.outs]
    cotangents = {p.name: named(f"d_{p.name}") for p in h.outs if is_float(p.dtype)}
    given = [Param(cotangents[p.name], "in", arith(p.dtype), p.shape) for p in h.outs if p.name in cotangents]
    wanted = [p for p in h.params if is_float(p.dtype) and p.kind != "size"]
    outs = {p.name: Param(named(f"d_{p.name}"), "out", arith(p.dtype), p.shape) for p in wanted}

    r = Reverse(h, lookup, names)
    r.run(cotangents)
    for p in wanted:
        r.write(outs[p.name].name, p.name, collect(r.dense.pop(p.name, [])))
    equations, temps = tidy(r.front + r.back, list(outs.values()), r.temps)
    namer = Namer(r.hints, {p.name for p in [*h.params, *forward, *given, *outs.values(), *temps]} | set(h.sizes))
    out = Formula(
        name=f"{f.name}_grad",
        key=gradient_key(f.key),
        params=[*h.params, *forward, *given],
        outs=list(outs.values()),
        sizes=dict(h.sizes),
        doc=f"Vector-Jacobian product of {f.name}.",
        module=f.module,
        span=f.span,
        temps=temps,
        equations=[namer.equation(q) for q in equations],
    )
    used = needs(out)
    arrays = {p.name for p in out.params if p.is_array}
    out.given = [g for g in h.given if {str(x.attr) for x in loads(g)} & arrays <= used]
    return out
