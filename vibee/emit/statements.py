"""Statements: one rule per class, in a table that others may add to."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

from vibee.tree.defs import (
    Alloc,
    Assign,
    Call,
    Comment,
    Decl,
    For,
    If,
    Jump,
    Prefetch,
    Procedure,
    Store,
    View,
    While,
)
from vibee.tree.expr import Expr, free_vars, load, walk
from vibee.tree.product import product_of
from vibee.tree.turn import turn_of
from vibee.tree.types import DTYPES

from . import parallel
from .context import Body, InternalError, Local, flat, i64, known, product
from .ctypes import mangle, native, vector_of
from .lanes import emit_lanes
from .ops import element, ex, in_bounds, nonnegative, numbers
from .tiles import emit_product, emit_turn

STACK_BYTES = 16 * 1024  # of one local array
ALL_STACK_BYTES = 256 * 1024  # of those of one function: threads have a few MB


def emit_body(statements: list, b: Body) -> None:
    """Every statement, in order."""
    for s in statements:
        rule = STATEMENTS.get(type(s))
        if rule is None:
            raise InternalError(f"{b.name}: statement {type(s).__name__} in lowered code")
        rule(s, b)


def _comment(s: Comment, b: Body) -> None:
    for text in s.text.splitlines():
        b.line(f"# {text}".rstrip())


def _prefetch(s: Prefetch, b: Body) -> None:
    target, _ = element(s.at, b)
    local = b.lookup(str(s.at.attr))
    step = product((i64(s.ahead * (DTYPES[local.dtype].bits // 8)), *local.shape[s.axis + 1 :]))
    b.line(f"{b.module.header.use('vb_prefetch')}(&{target}, {ex(step, b)})")


def _decl(s: Decl, b: Body) -> None:
    value = ex(s.init, b) if s.init is not None else "" if vector_of(s.dtype) else "0"
    local = b.declare(s.name, s.dtype)
    if value:
        b.line(f"{local.name} = {value}")


def _assign(s: Assign, b: Body) -> None:
    local = b.lookup(s.name)
    if local.outer:
        raise InternalError(f"{b.name}: assignment to {s.name} of the enclosing function in a parallel loop")
    if local.kind != "scalar" or local.nonnegative:
        what = "a size or loop variable" if local.nonnegative else local.kind
        raise InternalError(f"{b.name}: assignment to {what} {s.name}")
    b.line(f"{local.name} = {counted(s.name, s.value, b)}")


def counted(name: str, value: Expr, b: Body) -> str:
    """The text of a value; of one that a counter gets, behind a barrier for the C compiler."""
    text = ex(value, b)
    return f"{b.module.header.use('vb_step')}({text})" if name in b.stepped and value.dtype == "i64" else text


def _store(s: Store, b: Body) -> None:
    local = b.lookup(s.array)
    if local.outer and local.kind != "array":
        raise InternalError(f"{b.name}: store to {s.array} of the enclosing function in a parallel loop")
    value = counted(f"{s.array}[]" if not s.idx else "", s.value, b)
    target, _ = element(load(s.array, s.idx, local.dtype), b)
    if local.kind != "scalar" and local.dtype == "bool" and any(n.op == "where" for n in walk(s.value)):
        value = f"<{DTYPES['bool'].ctype}>({value})"  # an `and` in a branch would be a Python object to Cython
    if vector_of(s.value.dtype):
        put = f"{b.ctype(s.value.dtype)}_storeu"  # the type comes before what takes it
        if s.around:
            b.around, put = True, b.module.header.use(f"vb_stream_{s.value.dtype}")
        b.line(f"{put}(&{target}, {value})")
        return
    if s.checked and s.idx:
        with b.block(f"if {in_bounds(s.array, s.idx, s.span, b)}"):
            b.line(f"{target} = {value}")
    else:
        b.line(f"{target} = {value}")


def _alloc(s: Alloc, b: Body) -> None:
    local = b.hoisted.get(id(s)) or make_array(s, b)
    b.env[s.name] = local
    if s.zero:
        memset = b.module.header.use("memset")
        size, count = "sizeof(" + DTYPES[s.dtype].ctype + ")", product(s.shape)
        with nullcontext() if nonnegative(count, b) else b.block(f"if {ex(count, b, 9)} > 0"):
            b.line(f"{memset}({local.name}, 0, {ex(count, b, 12)} * {size})")


def make_array(s: Alloc, b: Body) -> Local:
    """The memory of a local array: on the stack if small and constant, else from the heap."""
    width = DTYPES[s.dtype].bits // 8
    count = known(product(s.shape))
    name = b.fresh(mangle(s.name))
    size = (count or 0) * width
    if 0 < size <= min(STACK_BYTES, ALL_STACK_BYTES - b.stack):
        b.stack += size
        b.decls[name] = f"{DTYPES[s.dtype].ctype}[{count}]"
        local = Local("array", name, s.dtype, "", s.shape)
    else:
        p = b.module.header.pointer(s.dtype, False)
        b.decls[name] = p
        b.line(f"{b.module.header.use('free')}({name})")
        b.line(f"{name} = <{p}>{b.module.header.use('vb_alloc')}({ex(product(s.shape), b)}, {width}, {b.err})")
        b.heap.append(name)
        with b.block(f"if {name} == NULL"):
            b.leave()
        local = Local("array", name, s.dtype, p, s.shape)
    return local


def _large(s: Alloc) -> bool:
    """Is an array too large for the stack, or may it be?"""
    count = known(product(s.shape))
    return count is None or count * DTYPES[s.dtype].bits // 8 > STACK_BYTES


def hoist(statements: list, b: Body) -> None:
    """Allocate at the start what the loops of `statements` need, where its size is known by then."""
    for s in statements:
        match s:
            case For(parallel=False):
                _hoist_in(s.body, b)
            case While():
                _hoist_in(s.body, b)
            case If():
                hoist(s.then, b)
                hoist(s.orelse, b)


def _hoist_in(statements: list, b: Body) -> None:
    for s in statements:
        match s:
            case Alloc():
                fixed = all(n in b.env and n not in b.assigned for e in s.shape for n in free_vars(e))
                if fixed and _large(s) and not any(may_fail(e) for e in s.shape):
                    b.hoisted[id(s)] = make_array(s, b)
            case For(parallel=False) | While():
                _hoist_in(s.body, b)
            case If():
                _hoist_in(s.then, b)
                _hoist_in(s.orelse, b)


def may_fail(e: Expr) -> bool:
    """Does a value need a test, of a divisor, which may stand around its statement?"""
    return any(n.op in ("floordiv", "mod") and known(n.args[1]) in (None, 0) for n in walk(e))


def _for(s: For, b: Body) -> None:
    if s.parallel and b.threads != "1":
        parallel.outline(s, b)
        return
    if (product := product_of(s)) is not None:
        emit_product(product, b)
        return
    if (turn := turn_of(s)) is not None:
        emit_turn(turn, b)
        return
    if emit_lanes(s, b):
        return
    lo, hi = ex(s.lo, b), ex(s.hi, b)
    step = f", {s.step}" if s.step != 1 else ""
    up = nonnegative(s.lo, b) if s.step > 0 else nonnegative(s.hi, b)
    var = b.declare(s.var, "i64", size=True)
    with b.block(f"for {var.name} in range({lo}, {hi}{step})"):
        b.env[s.var] = replace(var, nonnegative=up)
        emit_body(s.body, b)


def _while(s: While, b: Body) -> None:
    b.in_while += 1
    with b.block(f"while {ex(s.cond, b)}"):
        head = len(b.lines)
        emit_body(s.body, b)
        if b.err == "err" and any("vb_in(" in line for line in b.lines[head - 1 :]):
            # a read out of bounds gave 0, so that what the loop waits for may never come
            end = len(b.lines)
            with b.block(f"if {b.module.header.use('vb_failed')}(err)"):
                b.leave()
            b.lines[head:] = [*b.lines[end:], *b.lines[head:end]]
    b.in_while -= 1


def _if(s: If, b: Body) -> None:
    word = "if"
    while True:
        with b.block(f"{word} {ex(s.cond, b)}"):
            emit_body(s.then, b)
        if len(s.orelse) == 1 and isinstance(s.orelse[0], If):
            s, word = s.orelse[0], "elif"
            continue
        break
    if s.orelse:
        with b.block("else"):
            emit_body(s.orelse, b)


def _jump(s: Jump, b: Body) -> None:
    if s.kind == "fail":
        b.line(f"{b.module.header.use('vb_fail')}({b.err}, {b.module.place(s.span)})")
    if s.kind in ("return", "fail"):
        b.leave()
    else:
        b.line(s.kind)


def _named(v: View | Expr) -> str:
    return v.array if isinstance(v, View) else str(v.attr)


def address(v: View | Expr, b: Body, want: str) -> str:
    """The pointer that an array argument is: where the viewed part starts."""
    local = b.lookup(_named(v))
    if local.kind == "scalar":
        return f"&{local.name}"
    text = local.name
    if isinstance(v, View) and (v.lead or v.part is not None):
        idx = [*v.lead, *([v.part[0]] if v.part is not None else [])]
        idx += [i64(0)] * (len(local.shape) - len(idx))
        start = flat(local.shape, idx)
        if not (start.op == "const" and start.attr == 0):
            text = f"({text} + {ex(start, b, 10)})"
    return text if local.ctype == want else f"<{want}>{text}"


def signature(p: Procedure, b: Body) -> tuple[list, list, list[str]]:
    """A procedure's arguments in emitted order: arrays and outs, scalars, free sizes."""
    arrays = [q for q in p.params if q.is_array]
    scalars = [q for q in p.params if not q.is_array]
    named = {q.name for q in scalars}
    return arrays, scalars, [n for n in p.sizes if n not in named]


def _call(s: Call, b: Body) -> None:
    p = b.module.procedures.get(s.fn)
    if p is None:
        raise InternalError(f"{b.name}: call of unknown {s.fn}")
    args = dict(zip((q.name for q in p.params), s.args, strict=True))
    if p.is_scalar:
        target = s.outs[0]
        idx = target.lead if isinstance(target, View) else ()
        where, _ = element(load(_named(target), idx, p.outs[0].dtype), b)
        b.line(f"{where} = {native(s.fn)}({numbers(s.fn, [args[q.name] for q in p.params], b)})")
        return
    arrays, scalars, sizes = signature(p, b)
    out: list[str] = []
    for q in arrays:
        out.append(address(args[q.name], b, b.module.header.pointer(q.dtype, q.kind == "in")))
    for q, v in zip(p.outs, s.outs, strict=True):
        out.append(address(v, b, b.module.header.pointer(q.dtype, False)))
    out += [ex(args[q.name], b) for q in scalars]
    out += [ex(s.sizes[n], b) for n in sizes]
    b.line(f"{native(s.fn)}({', '.join([*out, b.threads, b.err])})")
    if b.in_while and b.err == "err":
        # what the loop waits for may never come from a call that failed
        with b.block(f"if {b.module.header.use('vb_failed')}(err)"):
            b.leave()


STATEMENTS: dict[type, Callable[..., None]] = {
    Comment: _comment, Decl: _decl, Assign: _assign, Store: _store, Alloc: _alloc, For: _for, While: _while,
    If: _if, Jump: _jump, Call: _call, Prefetch: _prefetch,
}  # fmt: skip
