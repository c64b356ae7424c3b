"""The Python functions of a module: typed memoryviews in, every check, then the native code.

A wrapper takes its arrays first (parameters, then outputs), then scalars and sizes given as
numbers, then the number of threads.  Scalar outputs are what it returns.
"""

from __future__ import annotations

import math
from dataclasses import replace

from vibee.prove.facts import conjuncts, tested
from vibee.tree.defs import For, Param, Procedure, Store
from vibee.tree.expr import Expr, load, loads, show, var
from vibee.tree.types import DTYPES

from . import parallel
from .context import Body, Local, Module
from .ctypes import ctype, exported, held, mangle, native
from .given import condition, large
from .ops import ex, numbers
from .statements import emit_body, signature
from .work import EACH


def wrapper(p: Procedure, module: Module) -> str:
    """The `def` for one procedure, and the one that maps it over arrays if it works on numbers."""
    out = "" if p.is_scalar else _array_wrapper(p, module)
    if p.is_scalar:
        out = _number_wrapper(p, module)
    if not any(q.shape for q in [*p.params, *p.outs]) and not p.sizes:
        out += "\n\n" + _map_wrapper(p, module)
    return out


def _view(q: Param) -> str:
    const = "const " if q.kind == "in" else ""
    axes = ", ".join([":"] * (len(q.shape) - 1) + ["::1"])
    return f"{const}{DTYPES[q.dtype].ctype}[{axes}] {mangle(q.name)} not None"


def _python_type(q: Param) -> str:
    if q.kind == "size":
        return "Py_ssize_t"
    return "float" if q.dtype == "bf16" else ctype(q.dtype)


def _numbers(found: list[Param]) -> list[str]:
    """Numbers and `threads` as parameters of a `def`; the last ones may be left out if they have defaults."""
    out = ["int threads=1"]
    for q in reversed(found):
        value = q.default.attr if q.default is not None and q.default.op == "const" else math.inf
        default = f"={value!r}" if "=" in out[0] and math.isfinite(value) else ""
        out.insert(0, f"{_python_type(q)} {mangle(q.name)}{default}")
    return out


def _result(q: Param, text: str, module: Module) -> str:
    if q.dtype == "bool":
        return f"{text} != 0"
    if q.dtype == "bf16":
        return f"{module.header.use('vb_f32_of_bf16')}({text})"
    return text


def _native(q: Param, module: Module) -> str:
    """A scalar argument as the native code takes it."""
    return f"{module.header.use('vb_bf16_of_f32')}({mangle(q.name)})" if q.dtype == "bf16" else mangle(q.name)


def _number_wrapper(p: Procedure, module: Module) -> str:
    params = ", ".join(f"{_python_type(q)} {mangle(q.name)}" for q in p.params)
    b = Body(module, p.key)
    b.err = "&err"
    for q in p.params:
        b.env[q.name] = Local("scalar", _native(q, module), q.dtype, ctype(q.dtype))
    b.line("cdef int err = 0")
    for g in p.given:
        condition(p, g, b)
    b.line(f"cdef {ctype(p.outs[0].dtype)} vb_result = {native(p.key)}({numbers(p.key, map(_variable, p.params), b)})")
    _raise(p, b)
    b.line(f"return {_result(p.outs[0], 'vb_result', module)}")
    return "\n".join([f"def {exported(p.key)}({params}):", *_declared(b), *b.lines]) + "\n"


def _variable(q: Param) -> Expr:
    return var(q.name, q.dtype)


def _declared(b: Body) -> list[str]:
    return [f"    cdef {t} {n}" for n, t in b.decls.items()]


def _raise(p: Procedure, b: Body) -> None:
    """Raise what native code noted."""
    with b.block("if err != 0"):
        b.line(f'raise vb_failure("{p.name}", err)')


def _array_wrapper(p: Procedure, module: Module) -> str:
    b = Body(module, p.key)
    b.err = "&err"
    arrays, scalars, sizes = signature(p, b)
    buffers = [q for q in [*arrays, *p.outs] if q.shape]
    cells = [q for q in arrays if not q.shape]  # read behind a pointer, but given as numbers
    results = [q for q in p.outs if not q.shape]
    params = [_view(q) for q in buffers] + _numbers([*cells, *scalars])
    b.line("cdef int err = 0")
    for n in sizes:
        _, array, axis = p.sizes[n]
        b.line(f"cdef Py_ssize_t {mangle(n)} = {mangle(array)}.shape[{axis}]")
        b.env[n] = Local("scalar", mangle(n), "i64", "Py_ssize_t", nonnegative=True)
    for q in scalars:
        b.env[q.name] = Local("scalar", _native(q, module), q.dtype, ctype(q.dtype, size=q.kind == "size"))
        if q.kind == "size":
            with b.block(f"if {mangle(q.name)} < 0"):
                b.line(f'raise ValueError(f"{p.name}: size {q.name} must not be negative, got {{{mangle(q.name)}}}")')
    for q in buffers:
        _shape_check(p, q, b)
    for q in buffers:
        t = module.header.pointer(q.dtype, q.kind == "in")
        zeros = ", ".join("0" * len(q.shape))
        b.line(f"cdef {t} {held(q.name)} = <{t}>&{mangle(q.name)}[{zeros}]")
        b.env[q.name] = Local("array", f"{held(q.name)}", q.dtype, t, q.shape)
    for q in cells:
        t = module.header.pointer(q.dtype, True)
        b.line(f"cdef {DTYPES[q.dtype].ctype} {held(q.name)} = {_native(q, module)}")
        b.env[q.name] = Local("scalar", f"{held(q.name)}", q.dtype, t)
    for q in results:
        b.line(f"cdef {DTYPES[q.dtype].ctype} {held(q.name)} = 0")
    _overlaps(p, buffers, b)
    if p.fits is not None:
        large(p, b)
    later = [g for g in p.given if _tested_inside(g, p)]
    for g in p.given:
        if g not in later:
            condition(p, g, b)
    args = [f"{held(q.name)}" if q.shape else f"&{held(q.name)}" for q in [*arrays, *p.outs]]
    args += [_native(q, module) for q in scalars] + [mangle(n) for n in sizes]
    b.line(f"threads = {module.header.use('vb_threads')}(threads)")
    with b.block("with nogil"):
        b.line(f"{native(p.key)}({', '.join([*args, 'threads', '&err'])})")
    if later:
        with b.block("if err != 0"):
            for g in later:
                condition(p, g, b)
    _raise(p, b)
    if results:
        b.line(f"return {', '.join(_result(q, f'{held(q.name)}', module) for q in results)}")
    head = f"def {exported(p.key)}({', '.join(params)}):"
    return "\n".join([head, *_declared(b), *b.lines]) + "\n"


def _tested_inside(g: Expr, p: Procedure) -> bool:
    """Does the native code look at all these elements on entry?  Then they are only gone through here to say which
    of them it was, once it has refused: none of them has changed."""
    fixed = {q.name for q in p.params if q.kind == "in"}
    return all(tested(c, p) == 1 and all(ld.attr in fixed for ld in loads(c)) for c in conjuncts(g))


def _shape_check(p: Procedure, q: Param, b: Body) -> None:
    """Every axis that does not bind a size must have the size that the spec says."""
    name = mangle(q.name)
    tests = []
    for axis, e in enumerate(q.shape):
        bound = e.op == "var" and p.sizes.get(str(e.attr)) == ("arg", q.name, axis)
        if not bound:
            tests.append(f"{name}.shape[{axis}] != {ex(e, b, 5)}")
    if not tests:
        return
    want = ", ".join(show(e) for e in q.shape)
    values = ", ".join("{" + ex(e, b) + "}" for e in q.shape)
    got = ", ".join(f"{{{name}.shape[{axis}]}}" for axis in range(len(q.shape)))
    kind = "output" if q.kind == "out" else "argument"
    with b.block(f"if {' or '.join(tests)}"):
        b.line(f'raise ValueError(f"{p.name}: {kind} {q.name} must have shape [{want}] = [{values}], got [{got}]")')


def _overlaps(p: Procedure, buffers: list[Param], b: Body) -> None:
    """What is written must not share memory with anything else."""
    for i, q in enumerate(buffers):
        for r in buffers[i + 1 :]:
            if q.kind == "in" and r.kind == "in":
                continue
            test = b.module.header.use("vb_overlap")
            sides = ", ".join(f"{held(x.name)}, {_bytes(x)}" for x in (q, r))
            with b.block(f"if {test}({sides})"):
                b.line(f'raise ValueError("{p.name}: {r.name} shares memory with {q.name}")')


def _bytes(q: Param) -> str:
    """The size of an array in bytes."""
    extents = " * ".join(f"{mangle(q.name)}.shape[{axis}]" for axis in range(len(q.shape)))
    return f"{extents} * {DTYPES[q.dtype].bits // 8}"


def _map_loop(p: Procedure, pointers: list[tuple[Param, str]], module: Module) -> list[str]:
    """The function of each element from lo to hi."""
    if not p.is_scalar:
        outs = [f"{held(q.name)} + vb__i" for q in [*p.params, *p.outs] if q.is_array]
        inner = [f"{held(q.name)}[vb__i]" for q in p.params if not q.is_array]
        step = f"{native(p.key)}({', '.join([*outs, *inner, '1', 'err'])})"
        return ["    cdef Py_ssize_t vb__i", "    for vb__i in range(lo, hi):", f"        {step}"]
    b, at = Body(module, p.key), (var("element"),)
    b.env |= {f"array {q.name}": Local("array", held(q.name), q.dtype, t, (parallel.HI,)) for q, t in pointers}
    b.env |= parallel.SHARE
    value = Expr("call", tuple(load(f"array {q.name}", at, q.dtype) for q in p.params), p.key, p.outs[0].dtype)
    loop = For("element", parallel.LO, parallel.HI, [Store(f"array {p.outs[0].name}", at, value)])
    emit_body([loop], b)
    return [*_declared(b), *b.lines]


def _map_wrapper(p: Procedure, module: Module) -> str:
    """The same function for every element of arrays of one length."""
    use = module.header.use
    work = [replace(q, kind="in") for q in p.params] + list(p.outs)
    views = ", ".join(_view(replace(q, shape=(Expr("var"),))) for q in work)
    pointers = [(q, module.header.pointer(q.dtype, q.kind == "in")) for q in work]
    length = f"{mangle(work[0].name)}.shape[0]"
    params = ", ".join(f"{t} {held(q.name)}" for q, t in pointers)
    names = ", ".join(f"{held(q.name)}" for q in work)
    lines = [
        f"cdef void c_{p.key}_map(Py_ssize_t lo, Py_ssize_t hi, {params}, int* err) noexcept nogil:",
        *_map_loop(p, pointers, module),
        "",
        "",
        f"def {p.key}_map({views}, int threads):",
        f"    cdef Py_ssize_t vb__n = {length}, vb__t",
        "    cdef int err = 0",
    ]
    for q, t in pointers:
        name = mangle(q.name)
        lines += [
            f"    if {name}.shape[0] != vb__n:",
            f'        raise ValueError("{p.name}: {q.name} has another length than {work[0].name}")',
            f"    cdef {t} {held(q.name)} = <{t}>&{name}[0]",
        ]
    b = Body(module, p.key)
    for q in p.params:
        b.env[q.name] = Local("scalar", f"{held(q.name)}[vb__i]", q.dtype, ctype(q.dtype))
    b.err = "&err"
    for g in p.given:
        with b.block("for vb__i in range(vb__n)"):
            condition(p, g, b)
    lines += ["    cdef Py_ssize_t vb__i", *_declared(b), *b.lines, f"    threads = {use('vb_threads')}(threads)"]
    run = parallel.RUN
    lo, hi = (f"{run}*({parallel.share(f'(vb__n // {run})', t)})" for t in ("vb__t", "(vb__t + 1)"))
    lines += [
        f"    if threads > 1 and vb__n * {EACH} > {use('vb_worth')}:",
        "        for vb__t in prange(threads, num_threads=threads, schedule='static', nogil=True):",
        f"            c_{p.key}_map({lo}, vb__n if vb__t == threads - 1 else {hi}, {names}, &err)",
        "    else:",
        "        with nogil:",
        f"            c_{p.key}_map(0, vb__n, {names}, &err)",
        "    if err != 0:",
        f'        raise vb_failure("{p.name}", err)',
    ]
    return "\n".join(lines) + "\n"
