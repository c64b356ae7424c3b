"""Readable texts of a spec's stages: `tree` (as parsed) and `checked`."""

from __future__ import annotations

from vibee.tree.defs import (
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
    While,
)
from vibee.tree.expr import Expr, show

from .program import Program
from .surface import (
    RawDef,
    RawFile,
    RawType,
    SAssign,
    SExpr,
    SFor,
    SIf,
    SJump,
    SLocal,
    SSchedule,
    SWhile,
)

SIGN = {
    "": "=", "add": "+=", "sub": "-=", "mul": "*=", "div": "/=", "floordiv": "//=", "mod": "%=", "pow": "**=",
    "shl": "<<=", "shr": ">>=", "bitand": "&=", "bitor": "|=", "xor": "^=",
}  # fmt: skip


def surface(e: Expr) -> str:
    """A surface expression in the language's notation."""
    args = [surface(a) for a in e.args]
    match e.op:
        case "none":
            return ""
        case "slice":
            return ":".join(args)
        case "index":
            return f"{args[0]}[{', '.join(args[1:])}]"
        case "attr":
            return f"{args[0]}.{e.attr}"
        case "str":
            return repr(e.attr)
        case "list":
            return f"[{', '.join(args)}]"
        case "call" | "mcall":
            name, *keys = e.attr
            if e.op == "mcall":
                name, args = f"{args[0]}.{name}", args[1:]
            plain = len(args) - len(keys)
            return (
                f"{name}({', '.join([*args[:plain], *(f'{k}={a}' for k, a in zip(keys, args[plain:], strict=True))])})"
            )
        case "load":
            return f"{e.attr}[{', '.join(args)}]"
        case "reduce":
            op, names = e.attr
            ranges = [
                n if not hi else f"{n}:{lo}:{hi}" for n, lo, hi in zip(names, args[1::2], args[2::2], strict=True)
            ]
            return f"{op}[{', '.join(ranges)}]({args[0]})"
        case "scan":
            return f"cum{e.attr[0]}[{e.attr[1]}]({args[0]})"
        case "const" | "var":
            return str(e.attr)
        case "cast":
            return f"{e.attr}({args[0]})"
        case "bitcast":
            return f"bitcast({e.attr}, {args[0]})"
        case "where" | "abs" | "sqrt" | "floor" | "rint" | "min" | "max":
            return f"{e.op}({', '.join(args)})"
    return show(
        Expr(
            e.op,
            tuple(
                Expr("var", (), a if b.op in ("var", "const", "load", "call") else f"({a})")
                for a, b in zip(args, e.args, strict=True)
            ),
        )
    )


def _type(t: RawType) -> str:
    inner = t.base + (f"[{', '.join(map(surface, t.shape))}]" if t.shape is not None else "")
    return f"mut[{inner}]" if t.mut else inner


def tree_text(file: RawFile) -> str:
    """`--emit tree`: the file as parsed, one line a statement."""
    out = [f"module {file.module}" + (f" version {file.version}" if file.version else "")]
    out += [
        f"from {i.module} import {', '.join(n if n == a else f'{n} as {a}' for n, a, _ in i.names)}"
        for i in file.imports
    ]
    out += [f"{c.name} = {surface(c.value)}" for c in file.consts]
    for d in file.defs:
        out += ["", *_raw_def(d)]
    return "\n".join(out) + "\n"


def _raw_def(d: RawDef) -> list[str]:
    params = [f"{p.name}: {_type(p.type)}" + (f" = {surface(p.default)}" if p.default else "") for p in d.params]
    outs = []
    for o in d.outs:
        shape = f"[{', '.join(map(surface, o.shape))}]" if o.shape else ""
        outs.append(f"{o.name}({o.dtype}{shape})" if o.dtype else o.name + shape)
    return [f"{d.kind} {d.name}({', '.join(params)}) -> ({', '.join(outs)})", *_raw_block(d.body, "    ")]


def _raw_block(body: list, pad: str) -> list[str]:
    out: list[str] = []
    for s in body:
        match s:
            case SAssign():
                out.append(f"{pad}{', '.join(map(surface, s.targets))} {SIGN[s.op]} {surface(s.value)}")
            case SLocal():
                out.append(f"{pad}{s.name}: {_type(s.type)}" + (f" = {surface(s.value)}" if s.value else ""))
            case SFor():
                out += [f"{pad}for {s.var} in {surface(s.iter)}:", *_raw_block(s.body, pad + "    ")]
            case SWhile():
                out += [f"{pad}while {surface(s.cond)}:", *_raw_block(s.body, pad + "    ")]
            case SIf():
                out += [f"{pad}if {surface(s.cond)}:", *_raw_block(s.then, pad + "    ")]
                if s.orelse:
                    out += [f"{pad}else:", *_raw_block(s.orelse, pad + "    ")]
            case SJump():
                out.append(pad + s.kind)
            case SExpr():
                out.append(pad + surface(s.value))
            case SSchedule():
                out.append(f"{pad}with schedule({s.target}): {'; '.join(map(surface, s.items))}")
    return out


# ---------------------------------------------------------------- checked


def typed(e: Expr) -> str:
    """A checked expression, calls by their instance names."""
    return show(e)


def checked_text(program: Program) -> str:
    """`--emit checked`: every instance of the file's own definitions, with types, shapes and ranges."""
    out: list[str] = []
    for versions in program.defs.values():
        for d in versions:
            out += [*definition_lines(d), ""]
    return "\n".join(out)


def param_text(p: Param) -> str:
    """`x: in f32[N, D]`."""
    shape = f"[{', '.join(map(typed, p.shape))}]" if p.shape else ""
    return f"{p.name}: {p.kind} {p.dtype}{shape}" + (f" = {typed(p.default)}" if p.default is not None else "")


def definition_lines(d: Definition) -> list[str]:
    """A checked definition."""
    kind = type(d).__name__.lower()
    out = [f"{kind} {d.key}({', '.join(map(param_text, d.params))}) -> ({', '.join(map(param_text, d.outs))})"]
    out += [f"    size {n} from {' '.join(map(str, how))}" for n, how in d.sizes.items()]
    out += [f"    given {typed(g)}" for g in d.given]
    out += [f"    obligation {typed(g)}" for g in d.obligations]
    if isinstance(d, Formula):
        out += [f"    temp {param_text(t)}" for t in d.temps]
        out += [f"    {equation_text(q)}" for q in d.equations]
        out += [f"    derivative by {n}: {typed(e)}" for n, e in d.derivative.items()]
        out += [f"    schedule {word} {how}" for word, how in d.schedule.items()]
        out += [f"    gradient {d.gradient}"] if d.gradient else []
    elif isinstance(d, Procedure):
        out += [f"    implements {d.implements}"] if d.implements else []
        out += [f"    gradient {d.gradient}"] if d.gradient else []
        out += block_lines(d.body, "    ")
    elif isinstance(d, Model):
        for w in d.weights:
            init = f" = {typed(w.init)}" if w.init is not None else ""
            out.append(
                f"    weight {w.name}: "
                f"{w.dtype}[{', '.join(map(typed, w.shape))}]{init}{' per layer' if w.layered else ''}"
            )
        out += block_lines(d.body, "    ")
    return out


def equation_text(q: Equation) -> str:
    """`y[n, d] = ...   for n < N, d < D`."""
    left = f"{q.lhs}[{', '.join(map(typed, q.idx))}]" if q.idx else q.lhs
    ranges = ", ".join(f"{v} < {typed(n)}" for v, n in zip(q.vars, q.dims, strict=True))
    return (
        f"{left} {'+=' if q.accumulate else '='} {typed(q.rhs)}"
        + (f"   for {ranges}" if ranges else "")
        + f"   : {q.rhs.dtype}"
    )


def _argument(a: object) -> str:
    if isinstance(a, View):
        idx = [typed(e) for e in a.lead] + ([f"{typed(a.part[0])}:{typed(a.part[1])}"] if a.part else [])
        return a.array + (f"[{', '.join(idx)}]" if idx else "") + f" as [{', '.join(map(typed, a.shape))}]"
    return typed(a) if isinstance(a, Expr) else str(a)


def block_lines(body: list, pad: str) -> list[str]:
    """Checked or lowered statements, one a line."""
    out: list[str] = []
    deeper = pad + "    "
    for s in body:
        match s:
            case Equations():
                out += [pad + equation_text(q) for q in s.equations]
            case Decl():
                out.append(f"{pad}{s.name}: {s.dtype}" + (f" = {typed(s.init)}" if s.init is not None else ""))
            case Alloc():
                out.append(f"{pad}{s.name}: {s.dtype}[{', '.join(map(typed, s.shape))}]{' = 0' if s.zero else ''}")
            case Assign():
                out.append(f"{pad}{s.name} = {typed(s.value)}")
            case Store():
                mark = "  # checked" if s.checked else ""
                out.append(f"{pad}{s.array}[{', '.join(map(typed, s.idx))}] = {typed(s.value)}{mark}")
            case For():
                step = f", {s.step}" if s.step != 1 else ""
                word = "parallel" if s.parallel else "range"
                out += [
                    f"{pad}for {s.var} in {word}({typed(s.lo)}, {typed(s.hi)}{step}):",
                    *block_lines(s.body, deeper),
                ]
            case While():
                out += [f"{pad}while {typed(s.cond)}:", *block_lines(s.body, deeper)]
            case If():
                out += [f"{pad}if {typed(s.cond)}:", *block_lines(s.then, deeper)]
                out += [f"{pad}else:", *block_lines(s.orelse, deeper)] if s.orelse else []
            case Jump():
                out.append(pad + s.kind)
            case Comment():
                out.append(f"{pad}# {s.text}")
            case Call() | ModelCall():
                left = f"{', '.join(map(_argument, s.outs))} = " if s.outs else ""
                sizes = f"   with {', '.join(f'{k}={typed(v)}' for k, v in s.sizes.items())}" if s.sizes else ""
                out.append(f"{pad}{left}{s.fn}({', '.join(map(_argument, s.args))}){sizes}")
            case Layers():
                carried = ", ".join(f"{c.inner} from {c.init} then {c.last}" for c in s.carries)
                out.append(f"{pad}for {s.var} in layers({typed(s.count)}):" + (f"  # {carried}" if carried else ""))
                out += block_lines(s.body, deeper)
    return out
