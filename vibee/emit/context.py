"""What the emission of one function keeps: its names, its declarations, its lines."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from vibee.tree.defs import Procedure
from vibee.tree.expr import Expr, Span, const

from .ctypes import ctype, mangle, vector_of
from .header import Header

if TYPE_CHECKING:
    from collections.abc import Iterable


class InternalError(Exception):
    """Lowered code that breaks the emitter's rules: a fault of the compiler, not of a spec."""


@dataclass(frozen=True, slots=True)
class Local:
    """A name of the spec inside an emitted function.

    `kind`: 'scalar', 'array', or 'cell' (a number behind a pointer: a scalar output).
    `outer`: it belongs to the function around an outlined loop body.  `nonnegative`: a size, or a
    loop variable that starts at 0 or above.
    """

    kind: str
    name: str  # as emitted
    dtype: str
    ctype: str
    shape: tuple[Expr, ...] = ()
    outer: bool = False
    nonnegative: bool = False


@dataclass(slots=True)
class Module:
    """What all functions of one module share."""

    procedures: dict[str, Procedure]
    header: Header = field(default_factory=Header)
    files: dict[str, int] = field(default_factory=dict)
    chunks: list[str] = field(default_factory=list)
    fallible: set[str] = field(default_factory=set)  # functions of numbers that note failures in an err of their own
    bits: int = 0  # of the vectors that loops along memory become; 0: the C compiler makes them
    lanes: dict[str, str] = field(default_factory=dict)  # functions of vectors: their names, '' for those not to be had

    def place(self, span: Span) -> int:
        """A spec line as one number for `err`: the line in the low 17 bits, then 2 for what went
        wrong there (set by who notes it), the file in the high bits."""
        number = self.files.setdefault(span.file, len(self.files))
        return (min(number, 4095) << 19) | min(span.line, (1 << 17) - 1)


class Body:
    """One function under construction."""

    def __init__(self, module: Module, name: str, *, scalar: bool = False) -> None:
        self.module = module
        self.name = name
        self.scalar = scalar  # a scalar function: it returns a number, has no threads, and an err only if it can fail
        self.result = ""  # what a scalar function returns
        self.err = "NULL" if scalar and name[2:] not in module.fallible else "err"
        self.threads = "1" if scalar else "threads"
        self.lines: list[str] = []
        self.indent = 1
        self.decls: dict[str, str] = {}
        self.env: dict[str, Local] = {}
        self.captured: dict[str, Local] = {}
        self.assigned: set[str] = set()  # names that are not the same everywhere in the function
        self.stepped: frozenset[str] = frozenset()  # scalars of which every step is made
        self.heap: list[str] = []
        self.stack = 0  # bytes of the arrays that are declared
        self.hoisted: dict[int, Local] = {}
        self.children = 0
        self.in_while = 0
        self.tiles = False  # does it use registers for tiles, from beginning to end?
        self.around = False  # does it store around the cache?

    # ------------------------------------------------------------ names

    def lookup(self, name: str) -> Local:
        """The local called `name` in the spec; notes that an outer one is needed."""
        found = self.env.get(name)
        if found is None:
            raise InternalError(f"{self.name}: no variable {name}")
        if found.outer:
            self.captured.setdefault(found.name, found)
        return found

    def fresh(self, base: str) -> str:
        """An emitted name that nothing in this function has."""
        taken = set(self.decls) | {v.name for v in self.env.values()} | set(self.captured)
        name, n = base, 1
        while name in taken:
            n += 1
            name = f"{base}_{n}"
        return name

    def declare(self, name: str, dtype: str, *, size: bool = False) -> Local:
        """A scalar local; one of the same name and another type gets a name of its own."""
        base, _, lanes = dtype.partition("x")
        ct = self.module.header.vector(base, int(lanes)) if lanes else ctype(dtype, size=size)
        here = self.env.get(name)
        if here is not None and here.kind == "scalar" and not here.outer:
            if here.ctype == ct or {here.ctype, ct} == {"Py_ssize_t", "int64_t"}:
                return here
        cname = mangle(name)
        if self.decls.get(cname, ct) != ct or (here is not None and here.name == cname):
            cname = self.fresh(cname)
        self.decls[cname] = ct
        local = Local("scalar", cname, dtype, ct)
        self.env[name] = local
        return local

    def ctype(self, dtype: str, *, size: bool = False) -> str:
        """The Cython type of a number or of a vector of numbers."""
        vector = vector_of(dtype)
        return self.module.header.vector(*vector) if vector else ctype(dtype, size=size)

    def child(self, name: str) -> Body:
        """The function for the body of a parallel loop."""
        body = Body(self.module, name)
        body.threads = "1"
        body.stepped = self.stepped
        body.env = {k: replace(v, outer=True) for k, v in self.env.items()}
        return body

    # ------------------------------------------------------------ text

    def line(self, text: str) -> None:
        """Add a line at the present depth."""
        self.lines.append("    " * self.indent + text)

    def block(self, head: str) -> _Block:
        """`with body.block("if x"):` writes the head and indents."""
        return _Block(self, head)

    def leave(self) -> None:
        """Write a `return` that gives all work memory back."""
        for p in self.heap:
            self.line(f"{self.module.header.use('free')}({p})")
        self.line(f"return {self.result}".rstrip())


class _Block:
    """An indented block; the names declared in it end with it."""

    def __init__(self, body: Body, head: str) -> None:
        self.body, self.head = body, head

    def __enter__(self) -> None:
        self.body.line(self.head + ":")
        self.body.indent += 1
        self.env = dict(self.body.env)
        self.start = len(self.body.lines)

    def __exit__(self, *_: object) -> None:
        if all(line.lstrip().startswith("#") for line in self.body.lines[self.start :]):
            self.body.line("pass")
        self.body.indent -= 1
        self.body.env = self.env


def i64(value: int) -> Expr:
    """An i64 constant."""
    return const(value, "i64")


def flat(shape: Iterable[Expr], idx: Iterable[Expr]) -> Expr:
    """Row-major position of `idx` in an array of `shape`: ((i*S1 + j)*S2 + k)."""
    place: Expr | None = None
    for s, k in zip(shape, idx, strict=True):
        place = k if place is None else plus(times(place, s), k)
    return place if place is not None else i64(0)


def times(a: Expr, b: Expr) -> Expr:
    """a * b, folded where a factor is 0 or 1 or both are known."""
    for x, y in ((a, b), (b, a)):
        if x.op == "const":
            if x.attr == 0:
                return x
            if x.attr == 1:
                return y
            if y.op == "const":
                return i64(x.attr * y.attr)  # type: ignore[operator]
    return Expr("mul", (a, b), None, "i64")


def plus(a: Expr, b: Expr) -> Expr:
    """a + b, folded where one is 0."""
    if a.op == "const" and a.attr == 0:
        return b
    if b.op == "const" and b.attr == 0:
        return a
    return Expr("add", (a, b), None, "i64")


def product(factors: Iterable[Expr]) -> Expr:
    """The product of some sizes."""
    out = i64(1)
    for f in factors:
        out = times(out, f)
    return out


def known(e: Expr) -> int | None:
    """The value of a size expression made of constants."""
    if e.op == "const" and isinstance(e.attr, int):
        return int(e.attr)
    values = [known(a) for a in e.args]
    if len(values) != 2 or None in values:
        return None
    x, y = values
    assert x is not None and y is not None
    if e.op in ("floordiv", "mod"):
        return None if y == 0 else x // y if e.op == "floordiv" else x % y
    return {"add": x + y, "sub": x - y, "mul": x * y, "min": min(x, y), "max": max(x, y)}.get(e.op)
