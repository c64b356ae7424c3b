"""One procedure -> one `cdef` function, with the source that it comes from above it."""

from __future__ import annotations

from vibee.tree.defs import Alloc, Assign, Decl, For, If, Param, Procedure, While, statements
from vibee.tree.expr import names_in

from .context import Body, Local, Module
from .ctypes import ctype, mangle, native
from .ops import ex
from .statements import emit_body, hoist, signature


def assigned_names(statements: list) -> set[str]:
    """Names that statements give values to: not the same everywhere in them."""
    out: set[str] = set()
    for s in statements:
        match s:
            case Assign() | Decl() | Alloc():
                out.add(s.name)
            case For():
                out.add(s.var)
                out |= assigned_names(s.body)
            case While():
                out |= assigned_names(s.body)
            case If():
                out |= assigned_names(s.then) | assigned_names(s.orelse)
    return out


def pointer_of(v: Local, module: Module) -> str:
    """The C type in which a captured name is passed."""
    if v.kind != "scalar" and not v.ctype:
        return module.header.pointer(v.dtype, False)  # an array on the stack
    return v.ctype


def finish(b: Body, head: str, before: list[str]) -> str:
    """The text of a function: declarations, lines, and the release of its work memory."""
    if b.tiles:
        b.lines.insert(0, f"    {b.module.header.use('vb_tiles')}()")
        b.line(f"{b.module.header.use('vb_no_tiles')}()")
    if b.around:
        b.line(f"{b.module.header.use('vb_fence')}()")
    for p in b.heap:
        b.line(f"{b.module.header.use('free')}({p})")
    if b.result:
        b.line(f"return {b.result}")
    out = [*before, head + ":"]
    groups: dict[str, list[str]] = {}
    for name, t in b.decls.items():
        groups.setdefault(t, []).append(f"{name} = NULL" if name in b.heap else name)
    for t, names in groups.items():
        for k in range(0, len(names), 12):
            out.append(f"    cdef {t} {', '.join(names[k : k + 12])}")
    out += b.lines if b.lines or groups else ["    pass"]
    return "\n".join(out) + "\n"


def comment(p: Procedure) -> list[str]:
    """The spec's text as a comment."""
    where = f"{p.module or p.span.file or 'vibee'}, line {p.span.line}: " if p.span.line else ""
    return [f"# {where}{p.key}", *(f"#     {line}".rstrip() for line in p.source.strip("\n").splitlines())]


def fitting(p: Procedure, b: Body) -> None:
    """The test on entry that the arithmetic of indices stays within 63 bits."""
    if p.fits is not None:
        with b.block(f"if not ({ex(p.fits, b)})"):
            b.line(f"{b.module.header.use('vb_large')}({b.err}, {b.module.place(p.span)})")
            b.leave()


def scalar_function(p: Procedure, module: Module) -> str:
    """A function of numbers that gives a number; small ones are inlined into the loops that use them."""
    b = Body(module, native(p.key), scalar=True)
    params = []
    for q in p.params:
        b.env[q.name] = Local("scalar", mangle(q.name), q.dtype, ctype(q.dtype))
        params.append(f"{ctype(q.dtype)} {mangle(q.name)}")
    if b.err == "err":
        params.append("int* err")
    out = b.declare(p.outs[0].name, p.outs[0].dtype)
    b.result = out.name
    b.assigned, b.stepped = assigned_names(p.body), p.stepped
    loops = any(isinstance(s, For | While) for s in p.body)
    single = len(p.body) == 1 and isinstance(s := p.body[0], Assign) and s.name == p.outs[0].name
    single = single and p.outs[0].name not in names_in(s.value)
    if not single:
        b.line(f"{out.name} = 0")
    if any(isinstance(s, Alloc) for s in statements(p.body)):
        fitting(p, b)
    emit_body(p.body, b)
    word = "cdef" if loops else "cdef inline"
    return finish(b, f"{word} {ctype(p.outs[0].dtype)} {native(p.key)}({', '.join(params)}) noexcept nogil", comment(p))


def parameter(q: Param, b: Body) -> str:
    """`type name` of an array or of an output; makes it known to the body."""
    t = b.module.header.pointer(q.dtype, q.kind == "in")
    name = mangle(q.name)
    b.env[q.name] = Local("array" if q.shape else "cell", name, q.dtype, t, q.shape)
    return f"{t} {name}"


def procedure(p: Procedure, module: Module) -> None:
    """Add the function of a procedure, and before it those of its parallel loops, to the module."""
    if p.is_scalar:
        module.chunks.append(scalar_function(p, module))
        return
    b = Body(module, native(p.key))
    arrays, scalars, sizes = signature(p, b)
    params = [parameter(q, b) for q in [*arrays, *p.outs]]
    for q in scalars:
        t = ctype(q.dtype, size=q.kind == "size")
        b.env[q.name] = Local("scalar", mangle(q.name), q.dtype, t, nonnegative=q.kind == "size")
        params.append(f"{t} {mangle(q.name)}")
    for n in sizes:
        b.env[n] = Local("scalar", mangle(n), "i64", "Py_ssize_t", nonnegative=True)
        params.append(f"Py_ssize_t {mangle(n)}")
    b.assigned, b.stepped = assigned_names(p.body), p.stepped
    first = len(module.chunks)
    fitting(p, b)
    hoist(p.body, b)
    emit_body(p.body, b)
    head = f"cdef void {native(p.key)}({', '.join([*params, 'int threads', 'int* err'])}) noexcept nogil"
    text = finish(b, head, [] if len(module.chunks) > first else comment(p))
    if len(module.chunks) > first:
        module.chunks[first] = "\n".join(comment(p)) + "\n" + module.chunks[first]
    module.chunks.append(text)
