"""Checked and lowered definitions as text, for `--emit` and for tests: types, shapes and ranges written out."""

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
    Model,
    ModelCall,
    Param,
    Prefetch,
    Procedure,
    Store,
    View,
    While,
)
from .expr import Expr, show


def definition(d: Definition) -> str:
    """One definition as text."""
    return "\n".join(definition_lines(d))


def param_text(p: Param) -> str:
    """`x: in f32[N, D]`."""
    shape = f"[{', '.join(map(show, p.shape))}]" if p.shape else ""
    return f"{p.name}: {p.kind} {p.dtype}{shape}" + (f" = {show(p.default)}" if p.default is not None else "")


def definition_lines(d: Definition) -> list[str]:
    """A checked definition."""
    kind = type(d).__name__.lower()
    out = [f"{kind} {d.key}({', '.join(map(param_text, d.params))}) -> ({', '.join(map(param_text, d.outs))})"]
    out += [f"    size {n} from {' '.join(map(str, how))}" for n, how in d.sizes.items()]
    out += [f"    given {show(g)}" for g in d.given]
    out += [f"    obligation {show(o.condition)}" for o in d.obligations]
    if isinstance(d, Formula):
        out += [f"    temp {param_text(t)}" for t in d.temps]
        out += [f"    {equation_text(q)}" for q in d.equations]
        out += [f"    derivative by {n}: {show(e)}" for n, e in d.derivative.items()]
        out += [f"    schedule {word} {how}" for word, how in d.schedule.items()]
        out += [f"    gradient {d.gradient}"] if d.gradient else []
    elif isinstance(d, Procedure):
        out += [f"    implements {d.implements}"] if d.implements else []
        out += [f"    gradient {d.gradient}"] if d.gradient else []
        out += block_lines(d.body, "    ")
    else:
        assert isinstance(d, Model)
        for w in d.weights:
            init = f" = {show(w.init)}" if w.init is not None else ""
            out.append(
                f"    weight {w.name}: "
                f"{w.dtype}[{', '.join(map(show, w.shape))}]{init}{' per layer' if w.layered else ''}"
            )
        out += block_lines(d.body, "    ")
    return out


def equation_text(q: Equation) -> str:
    """`y[n, d] = ...   for n < N, d < D`."""
    left = f"{q.lhs}[{', '.join(map(show, q.idx))}]" if q.idx else q.lhs
    ranges = ", ".join(f"{v} < {show(n)}" for v, n in zip(q.vars, q.dims, strict=True))
    return (
        f"{left} {'+=' if q.accumulate else '='} {show(q.rhs)}"
        + (f"   for {ranges}" if ranges else "")
        + f"   : {q.rhs.dtype}"
    )


def _argument(a: object) -> str:
    if isinstance(a, View):
        idx = [show(e) for e in a.lead] + ([f"{show(a.part[0])}:{show(a.part[1])}"] if a.part else [])
        return a.array + (f"[{', '.join(idx)}]" if idx else "") + f" as [{', '.join(map(show, a.shape))}]"
    return show(a) if isinstance(a, Expr) else str(a)


def block_lines(body: list, pad: str) -> list[str]:
    """Checked or lowered statements, one a line."""
    out: list[str] = []
    deeper = pad + "    "
    for s in body:
        match s:
            case Equations():
                out += [pad + equation_text(q) for q in s.equations]
            case Decl():
                out.append(f"{pad}{s.name}: {s.dtype}" + (f" = {show(s.init)}" if s.init is not None else ""))
            case Alloc():
                out.append(f"{pad}{s.name}: {s.dtype}[{', '.join(map(show, s.shape))}]{' = 0' if s.zero else ''}")
            case Assign():
                out.append(f"{pad}{s.name} = {show(s.value)}")
            case Store():
                mark = "  # checked" if s.checked else "  # around the cache" if s.around else ""
                out.append(f"{pad}{s.array}[{', '.join(map(show, s.idx))}] = {show(s.value)}{mark}")
            case For():
                step = f", {s.step}" if s.step != 1 else ""
                word = "parallel" if s.parallel else "range"
                out += [
                    f"{pad}for {s.var} in {word}({show(s.lo)}, {show(s.hi)}{step}):",
                    *block_lines(s.body, deeper),
                ]
            case While():
                out += [f"{pad}while {show(s.cond)}:", *block_lines(s.body, deeper)]
            case If():
                out += [f"{pad}if {show(s.cond)}:", *block_lines(s.then, deeper)]
                out += [f"{pad}else:", *block_lines(s.orelse, deeper)] if s.orelse else []
            case Jump():
                out.append(pad + s.kind)
            case Comment():
                out.append(f"{pad}# {s.text}")
            case Prefetch():
                ahead = f" + {s.ahead} along axis {s.axis}" if s.ahead else ""
                out.append(f"{pad}prefetch {show(s.at)}{ahead}")
            case Call() | ModelCall():
                left = f"{', '.join(map(_argument, s.outs))} = " if s.outs else ""
                sizes = f"   with {', '.join(f'{k}={show(v)}' for k, v in s.sizes.items())}" if s.sizes else ""
                out.append(f"{pad}{left}{s.fn}({', '.join(map(_argument, s.args))}){sizes}")
            case _:  # Layers
                carried = ", ".join(f"{c.inner} from {c.init} then {c.last}" for c in s.carries)
                out.append(f"{pad}for {s.var} in layers({show(s.count)}):" + (f"  # {carried}" if carried else ""))
                out += block_lines(s.body, deeper)
    return out
