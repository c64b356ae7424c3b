"""Procedures -> the text of one Cython module."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePath

from vibee.tree.defs import Alloc, Assign, Call, Decl, For, If, Procedure, Store, View, While, statements
from vibee.tree.expr import Expr, walk

from .context import Module
from .functions import procedure
from .header import FAR
from .lanes import BITS
from .work import limit
from .wrapper import wrapper

DIRECTIVES = (
    "# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False\n"
    "# cython: nonecheck=False, embedsignature=False, freethreading_compatible=True\n"
)

# Limits of a module, each with a function that changes it and gives what it was: for tests, which have little work and
# small arrays.  The work above which loops use threads; the bytes from which on arrays are written around the cache.
LIMITS = {"vb_worth": ("vb_share", limit), "vb_far_from": ("vb_around", lambda: FAR)}
LIMIT = """
cdef int64_t {variable} = {limit}


def {change}(int64_t limit):
    global {variable}
    before = {variable}
    {variable} = limit
    return before
"""


def expressions(body: Iterable[object]) -> Iterator[Expr]:
    """Every expression that stands in statements."""
    for s in body:
        match s:
            case Decl():
                yield from [s.init] if s.init is not None else []
            case Alloc():
                yield from s.shape
            case Assign():
                yield s.value
            case Store():
                yield s.value
                yield from s.idx
            case For():
                yield from (s.lo, s.hi)
                yield from expressions(s.body)
            case While():
                yield s.cond
                yield from expressions(s.body)
            case If():
                yield s.cond
                yield from expressions([*s.then, *s.orelse])
            case Call():
                for a in [*s.args, *s.outs]:
                    yield from [*a.lead, *(a.part or ()), *a.shape] if isinstance(a, View) else [a]
                yield from s.sizes.values()


def _calls(statements: Iterable[object]) -> Iterator[str]:
    for s in statements:
        match s:
            case Call():
                yield s.fn
            case For() | While():
                yield from _calls(s.body)
            case If():
                yield from _calls([*s.then, *s.orelse])


def called(p: Procedure) -> list[str]:
    """Keys of the procedures and scalar functions that `p` uses directly."""
    found = dict.fromkeys(_calls(p.body))
    for e in [*expressions(p.body), *p.given]:
        for n in walk(e):
            if n.op == "call":
                found[str(n.attr[0] if isinstance(n.attr, tuple) else n.attr)] = None
    return list(found)


def in_order(procedures: dict[str, Procedure]) -> list[Procedure]:
    """Callees before their callers."""
    done: dict[str, Procedure] = {}

    def visit(key: str) -> None:
        if key in done or key not in procedures:
            return
        for other in called(procedures[key]):
            visit(other)
        done[key] = procedures[key]

    for key in procedures:
        visit(key)
    return list(done.values())


def fallible(p: Procedure, known: set[str]) -> bool:
    """Can a function of numbers fail, dividing by zero, reading out of bounds, or by what it calls?"""
    if any(isinstance(s, (Alloc, Call)) or (isinstance(s, Store) and s.checked) for s in statements(p.body)):
        return True
    for e in expressions(p.body):
        for n in walk(e):
            divides = n.op in ("floordiv", "mod") and not (n.args[1].op == "const" and n.args[1].attr)
            called = str(n.attr[0] if isinstance(n.attr, tuple) else n.attr) if n.op == "call" else ""
            if divides or n.op == "load?" or called in known:
                return True
    return False


def emit_module(procedures: Iterable[Procedure], *, wrap: Iterable[str] | None = None, isa: str = "") -> str:
    """The Cython text of a module with these procedures; only those in `wrap` (or all) get a Python wrapper."""
    table = {p.key: p for p in procedures}
    module = Module(table, bits=BITS.get(isa, 0))
    for p in in_order(table):
        if p.is_scalar and fallible(p, module.fallible):
            module.fallible.add(p.key)
        procedure(p, module)
    wanted = list(table) if wrap is None else list(wrap)
    wrappers = [wrapper(table[key], module) for key in wanted]
    files = ", ".join(repr(PurePath(f).name) for f in module.files)
    places = f"""
VB_FILES = [{files}]


def vb_failure(name, code):
    \"\"\"The exception for what native code noted in err.\"\"\"
    if code == -1:
        return MemoryError(f"{{name}}: not enough memory for its work arrays")
    place = f"{{VB_FILES[code >> 19]}}:{{code & 0x1FFFF}}"
    what = ("an index out of range", "a division by zero", "a condition of given that does not hold",
            "sizes so large that indices could pass 63 bits")[code >> 17 & 3]
    return ValueError(f"{{name}}: {{what}} ({{place}})")
"""
    head = DIRECTIVES + "from cython.parallel cimport prange\nfrom libc.stdint cimport *\n\n" + module.header.text()
    limits = [
        LIMIT.strip("\n").format(variable=variable, change=change, limit=most()) + "\n"
        for variable, (change, most) in LIMITS.items()
        if variable in module.header.used
    ]
    return "\n\n".join([head, *limits, *module.chunks, places.strip("\n") + "\n", *wrappers])
