"""Definitions and statements as text, for `vibee compile --emit` and for messages."""

from __future__ import annotations

from .defs import (
    Alloc,
    Assign,
    Call,
    Comment,
    Decl,
    Definition,
    Equation,
    Equations,
    For,
    Formula,
    If,
    Jump,
    Layers,
    Model,
    ModelCall,
    Param,
    Procedure,
    Store,
    View,
    Weight,
    While,
)
from .expr import Expr, show


def _shape(dtype: str, shape: tuple[Expr, ...]) -> str:
    return f"{dtype}[{', '.join(map(show, shape))}]" if shape else dtype


def _param(p: Param) -> str:
    kind = _shape(p.dtype, p.shape)
    text = f"{p.name}: {f'mut[{kind}]' if p.kind == 'mut' else 'size' if p.kind == 'size' else kind}"
    return f"{text} = {show(p.default)}" if p.default is not None else text


def _view(v: object) -> str:
    if isinstance(v, View):
        inside = [show(i) for i in v.lead]
        if v.part is not None:
            inside.append(f"{show(v.part[0])}:{show(v.part[1])}")
        base = f"{v.array}[{', '.join(inside)}]" if inside else v.array
        return f"view({base}, {', '.join(map(show, v.shape))})" if v.shape else base
    if isinstance(v, Expr):
        return show(v)
    if isinstance(v, tuple) and len(v) == 3:
        return f"view({v[1]}, {', '.join(map(show, v[2]))})" if v[2] else str(v[1])
    return str(v)


def _call(fn: str, args: list, outs: list, sizes: dict[str, Expr]) -> str:
    words = [_view(a) for a in args] + [f"{n}={show(e)}" for n, e in sizes.items()]
    left = f"{', '.join(_view(o) for o in outs)} = " if outs else ""
    return f"{left}{fn}({', '.join(words)})"


def _equation(e: Equation) -> str:
    ranges = ", ".join(f"{v}:{show(d)}" for v, d in zip(e.vars, e.dims, strict=True))
    left = f"{e.lhs}[{', '.join(map(show, e.idx))}]" if e.idx else e.lhs
    return f"{left} {'+=' if e.accumulate else '='} {show(e.rhs)}" + (f"    for {ranges}" if ranges else "")


def _block(body: list) -> list[str]:
    return ["    " + line for s in body for line in statement(s)] or ["    pass"]


def statement(s: object) -> list[str]:
    """The lines of one statement."""
    match s:
        case Equations():
            return [_equation(e) for e in s.equations]
        case Decl():
            return [f"{s.name}: {s.dtype}" + (f" = {show(s.init)}" if s.init is not None else "")]
        case Alloc():
            return [f"{s.name}: {_shape(s.dtype, s.shape)}" + ("" if s.zero else "    (not zeroed)")]
        case Assign():
            return [f"{s.name} = {show(s.value)}"]
        case Store():
            target = f"{s.array}[{', '.join(map(show, s.idx))}]" if s.idx else s.array
            return [f"{target} = {show(s.value)}" + ("    (checked)" if s.checked else "")]
        case For():
            words = [show(s.lo), show(s.hi)] + ([str(s.step)] if s.step != 1 else [])
            return [f"for {s.var} in {'parallel' if s.parallel else 'range'}({', '.join(words)}):", *_block(s.body)]
        case While():
            return [f"while {show(s.cond)}:", *_block(s.body)]
        case If():
            return [f"if {show(s.cond)}:", *_block(s.then)] + (["else:", *_block(s.orelse)] if s.orelse else [])
        case Jump():
            return [s.kind]
        case Comment():
            return [f"# {line}" for line in s.text.splitlines()]
        case Call() | ModelCall():
            return [_call(s.fn, s.args, s.outs, s.sizes)]
        case Layers():
            carried = [f"{c.result} = {c.inner} from {c.init} by {c.last}" for c in s.carries]
            return [f"for {s.var} in layers({show(s.count)}):    carries {', '.join(carried)}", *_block(s.body)]
        case Weight():
            init = f" = {show(s.init)}" if s.init is not None else ""
            return [f"weight {s.name}: {_shape(s.dtype, s.shape)}{init}" + ("    (one a layer)" if s.layered else "")]
    return [f"{type(s).__name__}: {s}"]


def definition(d: Definition) -> str:
    """One definition as text."""
    head = f"{type(d).__name__.lower()} {d.key}({', '.join(map(_param, d.params))})"
    if d.outs:
        head += " -> " + ", ".join(f"{o.name}({_shape(o.dtype, o.shape)})" for o in d.outs)
    lines = [head]
    lines += [f"    given {show(g)}" for g in d.given]
    body: list = []
    if isinstance(d, Formula):
        lines += [f"    temp {t.name}: {_shape(t.dtype, t.shape)}" for t in d.temps]
        lines += [f"    {_equation(e)}" for e in d.equations]
        lines += [f"    derivative {p} = {show(e)}" for p, e in d.derivative.items()]
        if d.schedule:
            lines.append("    schedule " + "; ".join(f"{k}{v}" for k, v in d.schedule.items()))
    elif isinstance(d, Procedure):
        body = d.body
    elif isinstance(d, Model):
        body = [*d.weights, *d.body]
    lines += ["    " + line for s in body for line in statement(s)]
    return "\n".join(lines)
