"""Readable texts of a spec's stages: `tree` (as parsed) and `checked`."""

from __future__ import annotations

from vibee.tree.expr import Expr, show

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
            case _:
                out.append(f"{pad}with schedule({s.target}): {'; '.join(map(surface, s.items))}")
    return out or [f"{pad}pass"]
