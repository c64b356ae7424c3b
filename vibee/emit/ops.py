"""Expressions: one rule per op.  A rule gives (text, precedence) in Cython's own precedences."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from vibee.prove.values import BINARY, FIT, shift
from vibee.prove.values import UNARY as UNARY_OF
from vibee.tree.expr import INFIX, Expr, load, rebuild, walk
from vibee.tree.types import DTYPES, is_float, is_int

from .context import Body, InternalError, flat, product
from .ctypes import bf16_bits, float_text, int_text, native

ATOM, UNARY, TERNARY = 15, 12, 0
Text = tuple[str, int]


def ex(e: Expr, b: Body, level: int = 0) -> str:
    """The Cython text of an expression, in parentheses if it binds less than `level`."""
    e = folded(e)
    rule = VECTORS.get(e.op) if "x" in e.dtype else None
    rule = rule or OPS.get(e.op) or OPS.get(e.op.rstrip("?"))  # integers wrap around, bounded or not
    if rule is None:
        raise InternalError(f"{b.name}: {e.op} in lowered code")
    text, prec = rule(e, b)
    return f"({text})" if prec < level else text


def folded(e: Expr) -> Expr:
    """Integer arithmetic of constants as one constant: Cython would compute it without an end, or as C ints."""
    if not e.args or not is_int(e.dtype) or any(not n.args and n.op != "const" for n in walk(e)):
        return e
    e = rebuild(e, folded)
    if any(a.op != "const" or is_float(a.dtype) for a in e.args):
        return e
    op, values = e.op.rstrip("?"), [int(a.attr) for a in e.args]  # type: ignore[call-overload]
    if op in ("floordiv", "mod") and not values[1]:
        return e  # noted where it runs
    if op in ("shl", "shr"):
        found = shift(op, values[0], values[1], e.dtype)
    elif op == "cast":
        found = values[0]
    elif op in BINARY or op in UNARY_OF:
        found = (BINARY.get(op) or UNARY_OF[op])(*values)
    else:
        return e
    return Expr("const", (), FIT[e.dtype](found), e.dtype, e.span)


def _const(e: Expr, b: Body) -> Text:
    value = e.attr
    if e.dtype == "bool":
        return ("1" if value else "0"), ATOM
    if e.dtype == "bf16":
        return str(bf16_bits(float(value))), ATOM  # type: ignore[arg-type]
    if is_float(e.dtype):
        shown = str(value) if e.dtype == "f32" else value  # C rounds an f32 as it was written
        text = float_text(float(shown), e.dtype)  # type: ignore[arg-type]
        for name in ("vb_inf_", "vb_nan_"):
            if name in text:
                b.module.header.use(name + e.dtype)
        return text, UNARY if text.startswith("<") else ATOM
    return int_text(int(value), e.dtype), ATOM  # type: ignore[call-overload]


def _var(e: Expr, b: Body) -> Text:
    local = b.lookup(str(e.attr))
    if local.kind != "scalar":
        raise InternalError(f"{b.name}: {local.kind} {e.attr} used as a number")
    return local.name, ATOM


def element(e: Expr, b: Body) -> Text:
    """`x[flat index]` for a load or a store target."""
    local = b.lookup(str(e.attr))
    if local.kind == "scalar":
        return local.name, ATOM
    text = f"{local.name}[{ex(flat(local.shape, e.args), b)}]"
    return text, ATOM


def _load(e: Expr, b: Body) -> Text:
    text, prec = element(e, b)
    if e.dtype == "bool" and b.lookup(str(e.attr)).kind == "array":
        return f"{text} != 0", 4
    return text, prec


def in_bounds(array: str, idx: tuple[Expr, ...], span: object, b: Body) -> str:
    """The condition that every index is inside its axis, noting the spec's line if not."""
    local = b.lookup(array)
    name = b.module.header.use("vb_in")
    place = b.module.place(span)  # type: ignore[arg-type]
    tests = [f"{name}({ex(k, b)}, {ex(s, b)}, {b.err}, {place})" for k, s in zip(idx, local.shape, strict=True)]
    return " and ".join(tests) or "1"


def _load_checked(e: Expr, b: Body) -> Text:
    text, _ = _load(e, b)
    zero = "False"
    if e.dtype != "bool":  # both sides in the same C type, as in `_where`
        t = f"<{DTYPES[e.dtype].ctype}>"
        text, zero = t + text, t + "0"
    return f"{text} if {in_bounds(str(e.attr), e.args, e.span, b)} else {zero}", TERNARY


def _infix(e: Expr, b: Body) -> Text:
    sign, prec = INFIX[e.op.rstrip("?")]
    right = prec + 1
    left = prec + 1 if e.op in ("lt", "le", "gt", "ge", "eq", "ne") else prec
    x, y = ex(e.args[0], b, left), ex(e.args[1], b, right)
    tight = e.op == "mul" and all(len(t) < 24 and " " not in t for t in (x, y)) and not is_float(e.dtype)
    return (f"{x}{sign}{y}" if tight else f"{x} {sign} {y}"), prec


def nonnegative(e: Expr, b: Body) -> bool:
    """Can `e` be seen never to be negative?  Sizes and what is made of them; loop variables say so."""
    if e.op == "const":
        return isinstance(e.attr, int) and e.attr >= 0
    if DTYPES.get(e.dtype) and DTYPES[e.dtype].kind == "u":
        return True
    if e.op == "var":
        local = b.env.get(str(e.attr))
        return local is not None and local.nonnegative
    if e.op in ("add", "mul", "floordiv", "mod", "max", "min"):
        return all(nonnegative(a, b) for a in e.args)
    return False


def _division(e: Expr, b: Body) -> Text:
    x, y = e.args
    positive = y.op == "const" and isinstance(y.attr, int) and y.attr > 0
    if positive and nonnegative(x, b):
        return _infix(e, b)
    name = b.module.header.use(f"vb_{e.op}_{e.dtype}")
    return f"{name}({ex(x, b)}, {ex(y, b)}, {b.err}, {b.module.place(e.span)})", ATOM


def _shift(e: Expr, b: Body) -> Text:
    # the count is taken modulo the width: a larger one would be undefined in C
    bits = DTYPES[e.dtype].bits
    sign, prec = INFIX[e.op]
    count = e.args[1]
    if count.op == "const" and isinstance(count.attr, int):
        by = str(count.attr % bits)
    else:
        by = f"({ex(count, b, 8)} & {bits - 1})"
    plain = e.args[0].op in ("var", "load")
    left = ex(e.args[0], b, prec if plain else UNARY)
    if not plain and not left.startswith("<"):
        left = f"<{DTYPES[e.dtype].ctype}>{left}"  # what is made of literals is an int in C
    return f"{left} {sign} {by}", prec


def _cheap(e: Expr) -> bool:
    """May it be evaluated although its value is not needed?"""
    return not any(n.op in ("load", "load?", "call", "floordiv", "mod", "where", "and", "or") for n in walk(e))


def _logic(e: Expr, b: Body) -> Text:
    if _cheap(e.args[1]):
        sign, prec = ("&", 8) if e.op == "and" else ("|", 6)
        return f"{ex(e.args[0], b, ATOM)} {sign} {ex(e.args[1], b, ATOM)}", prec
    return _infix(e, b)


def _neg(e: Expr, b: Body) -> Text:
    return f"-{ex(e.args[0], b, UNARY + 1)}", UNARY


def _not(e: Expr, b: Body) -> Text:
    return f"not {ex(e.args[0], b, 4)}", 3


def _invert(e: Expr, b: Body) -> Text:
    return f"~{ex(e.args[0], b, UNARY + 1)}", UNARY


def _helper(e: Expr, b: Body) -> Text:
    b.ctype(e.dtype)  # a type of vectors is declared before what is done with it
    name = b.module.header.use(f"vb_{e.op}_{e.dtype}")
    return f"{name}({', '.join(ex(a, b) for a in e.args)})", ATOM


def _rounding(e: Expr, b: Body) -> Text:
    return (ex(e.args[0], b, ATOM), ATOM) if not is_float(e.dtype) else _helper(e, b)


def _pow(e: Expr, b: Body) -> Text:
    name = b.module.header.use(f"vb_{'pow' if is_float(e.dtype) else 'ipow'}_{e.dtype}")
    return f"{name}({', '.join(ex(a, b) for a in e.args)})", ATOM


def _cast(e: Expr, b: Body) -> Text:
    (a,) = e.args
    to, source = str(e.attr), a.dtype
    if to == source:
        return OPS[a.op](a, b)
    if to == "bool":
        return f"{ex(a, b, 5)} != 0", 4
    if source == "bf16" and a.op == "cast" and a.args[0].dtype == to == "f32":
        return f"{b.module.header.use('vb_rounded_bf16')}({ex(a.args[0], b)})", ATOM
    if source == "bf16":
        wide = f"{b.module.header.use('vb_f32_of_bf16')}({ex(a, b)})"
        return (wide, ATOM) if to == "f32" else (_c_cast("f32", to, wide), UNARY)
    if to == "bf16":
        inner = ex(a, b) if source == "f32" else f"<float>{ex(a, b, UNARY)}"
        return f"{b.module.header.use('vb_bf16_of_f32')}({inner})", ATOM
    if a.op == "const" and isinstance(a.attr, (int, float)) and math.isfinite(a.attr):
        return _const(Expr("const", (), a.attr if is_float(to) else int(a.attr), to), b)
    return _c_cast(source, to, ex(a, b, UNARY)), UNARY


def _c_cast(source: str, to: str, text: str) -> str:
    t = DTYPES[to].ctype
    if is_float(source) and to in ("i8", "u8"):
        return f"<{t}><int32_t>{text}"  # through a type that holds negative values: those wrap
    if is_float(source) and to == "u32":
        return f"<{t}><int64_t>{text}"
    return f"<{t}>{text}"


def _bitcast(e: Expr, b: Body) -> Text:
    (a,) = e.args
    to = str(e.attr)
    if to == a.dtype:
        return OPS[a.op](a, b)
    if DTYPES[to].kind in "iu" and DTYPES[a.dtype].kind in "iu":
        return f"<{DTYPES[to].ctype}>{ex(a, b, UNARY)}", UNARY
    return f"{b.module.header.use(f'vb_bits_{to}_{a.dtype}')}({ex(a, b)})", ATOM


def _where(e: Expr, b: Body) -> Text:
    c, x, y = e.args
    t = "bint" if e.dtype == "bool" else DTYPES[e.dtype].ctype
    sides = [ex(s, b, UNARY) for s in (x, y)]
    # both sides in the same C type: Cython keeps the result in a temporary of their common type
    typed = [s if s.startswith(f"<{t}>") else f"<{t}>{s}" for s in sides]
    return f"{typed[0]} if {ex(c, b, 1)} else {typed[1]}", TERNARY


def _call(e: Expr, b: Body) -> Text:
    name = str(e.attr[0] if isinstance(e.attr, tuple) else e.attr)
    if name not in b.module.procedures:
        raise InternalError(f"{b.name}: call of unknown {name}")
    return f"{native(name)}({numbers(name, e.args, b)})", ATOM


def numbers(name: str, args: Iterable[Expr], b: Body) -> str:
    """What is between the brackets of a call of a function of numbers."""
    return ", ".join([*(ex(a, b) for a in args), *([b.err] if name in b.module.fallible else [])])


def _splat(e: Expr, b: Body) -> Text:
    return f"{b.ctype(e.dtype)}_splat({ex(e.args[0], b)})", ATOM


def _vector_load(e: Expr, b: Body) -> Text:
    return f"{b.ctype(e.dtype)}_loadu(&{element(e, b)[0]})", ATOM


def _dot2(e: Expr, b: Body) -> Text:
    for x in e.args:
        b.ctype(x.dtype)  # the types come before what takes them
    name = b.module.header.use("vb_dot2_avx512bf16" if e.attr == "avx512bf16" else "vb_dot2")
    return f"{name}({', '.join(ex(a, b) for a in e.args)})", ATOM


def _pairs(e: Expr, b: Body) -> Text:
    for x in (e.args[0], e):
        b.ctype(x.dtype)  # the types come before what takes them
    return f"{b.module.header.use(f'vb_pairs_{e.attr}')}({', '.join(ex(a, b) for a in e.args)})", ATOM


def _has(e: Expr, b: Body) -> Text:
    return f"{b.module.header.use(f'vb_has_{e.attr}')}()", ATOM


def _far(e: Expr, b: Body) -> Text:
    """Is an array too large for caches, and does a line of memory begin at an element?"""
    local = b.lookup(str(e.attr))
    target, _ = element(load(str(e.attr), e.args, local.dtype), b)
    count = ex(product(local.shape), b)
    use, width = b.module.header.use, f"sizeof({DTYPES[local.dtype].ctype})"
    return f"{use('vb_far')}(&{target}, {count}, {width}, {use('vb_far_from')})", ATOM


def _threads(e: Expr, b: Body) -> Text:
    return b.threads, ATOM


def _lanewise(e: Expr, b: Body) -> Text:
    """A helper for vectors, called by the op and the type of what it takes last."""
    taken = e.args[-1].dtype
    element, _, count = taken.partition("x")
    for dtype in (*(a.dtype for a in e.args), e.dtype, f"i{DTYPES[element].bits}x{count}"):
        b.ctype(dtype)  # the types, and that of a mask, come before what takes them
    name = f"vb_{e.op}_{taken}"
    if e.op in ("cast", "bitcast"):
        name = f"vb_{'bits' if e.op == 'bitcast' else 'to'}_{e.dtype}_{e.args[0].dtype}"
    return f"{b.module.header.use(name)}({', '.join(ex(a, b) for a in e.args)})", ATOM


def _shifted(e: Expr, b: Body) -> Text:
    sign, prec = INFIX[e.op]
    return f"{ex(e.args[0], b, prec)} {sign} {int(e.args[1].attr) % DTYPES[e.dtype.partition('x')[0]].bits}", prec


def _lanes(e: Expr, b: Body) -> Text:
    return f"{e.attr}({', '.join(ex(a, b) for a in e.args)})", ATOM


OPS: dict[str, Callable[[Expr, Body], Text]] = {
    "const": _const, "var": _var, "load": _load, "load?": _load_checked,
    "add": _infix, "sub": _infix, "mul": _infix, "div": _infix, "floordiv": _division, "mod": _division,
    "pow": _pow, "neg": _neg, "not": _not, "invert": _invert, "abs": _helper, "sqrt": _helper,
    "floor": _rounding, "rint": _rounding, "lt": _infix, "le": _infix, "gt": _infix, "ge": _infix, "eq": _infix,
    "ne": _infix, "and": _logic, "or": _logic, "min": _helper, "max": _helper, "bitand": _infix,
    "bitor": _infix, "xor": _infix, "shl": _shift, "shr": _shift, "cast": _cast, "bitcast": _bitcast,
    "where": _where, "call": _call, "splat": _splat, "vload": _vector_load, "dot2": _dot2,
    "pairs": _pairs, "has": _has, "threads": _threads, "far": _far, "lanes": _lanes,
}  # fmt: skip

# Rules for results that are vectors, where they differ.
VECTORS: dict[str, Callable[[Expr, Body], Text]] = {
    "shl": _shifted, "shr": _shifted,
    **dict.fromkeys(("abs", "sqrt", "floor", "rint", "lt", "le", "gt", "ge", "eq", "ne", "where", "cast", "bitcast"),
                    _lanewise),
}  # fmt: skip
