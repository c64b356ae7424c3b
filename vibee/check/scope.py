"""What names mean inside one definition."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vibee.tree.expr import NOWHERE, Expr, Span
from vibee.tree.types import DTYPES, FLOAT_LITERAL, INT_LITERAL, REAL, is_float

from .errors import Errors, Known, SpecError, suggest
from .fold import BROKEN
from .parse_expr import RESERVED, reserved
from .sizes import Facts
from .surface import RawDef

if TYPE_CHECKING:
    from .modules import Module
    from .program import Program

WHAT = {
    "in": "an array parameter", "mut": "an array parameter", "out": "an output", "temp": "defined here",
    "size": "a size", "scalar": "a parameter", "index": "an index", "loop": "a loop variable",
    "local": "a local variable", "const": "a constant",
}  # fmt: skip


@dataclass(slots=True)
class Symbol:
    """A name of a definition.

    `kind`: in mut out temp (arrays; shape () is one element), size, scalar (a parameter), index (of an
    equation or a binder), loop, local (a scalar variable), const.  `target` is its name in the tree
    (locals are renamed where a name is used twice).  A `broken` one had a mistake where it was defined.
    """

    name: str
    kind: str
    dtype: str
    shape: tuple[Expr, ...] = ()
    span: Span = NOWHERE
    target: str = ""
    value: Expr | None = None
    broken: bool = False
    written: bool = False

    @property
    def cell(self) -> bool:
        """True if it is stored in a buffer (rank 0 included), so that reading it is a load."""
        return self.kind in ("in", "mut", "out", "temp")


class Scope:
    """Nested name tables of a definition, and what else checking one needs to know."""

    def __init__(self, program: Program, module: Module, raw: RawDef, types: dict[str, str]) -> None:
        self.program = program
        self.module = module
        self.raw = raw
        self.types = types
        self.errors: Errors = program.log
        self.tables: list[dict[str, Symbol]] = [{}]
        self.gone: dict[str, Span] = {}  # locals of blocks that have ended
        self.facts = Facts()
        self.used: set[str] = set(raw.names)
        self.float_default = "f64"

    # ------------------------------------------------------------ names

    def get(self, name: str) -> Symbol | None:
        """The symbol called `name`, innermost first; module constants last."""
        for table in reversed(self.tables):
            if name in table:
                return table[name]
        value = self.program.constant(self.module, name)
        if value is not None:
            return Symbol(name, "const", value.dtype, (), value.span, name, value, broken=value is BROKEN)
        return None

    def local(self, name: str) -> Symbol | None:
        """As `get`, but without module constants, which a definition may shadow."""
        return next((t[name] for t in reversed(self.tables) if name in t), None)

    def need(self, name: str, span: Span) -> Symbol:
        """The symbol called `name`, or an error."""
        sym = self.get(name)
        if sym is None:
            raise self.unknown(name, span)
        if sym.broken:
            raise Known()
        return sym

    def unknown(self, name: str, span: Span) -> SpecError:
        """The error for a name that nothing defines."""
        if name in self.gone:
            return SpecError(
                span,
                f"'{name}' is declared in a block that has ended (line {self.gone[name].line}); declare it before "
                f"the block",
            )
        if self.program.find(self.module, name):
            return SpecError(span, f"'{name}' is a definition; call it, as in {name}(...)")
        hint = suggest(name, self.names())
        return SpecError(
            span, f"'{name}' is not defined here{hint or '; define it before this line, or make it a parameter'}"
        )

    def is_new(self, name: str) -> bool:
        """True for a name that nothing defines and that is like no other."""
        known = self.get(name) or name in self.gone or self.program.find(self.module, name)
        return not known and not suggest(name, self.names())

    def names(self) -> set[str]:
        """All names that can be used here."""
        return {n for t in self.tables for n in t} | set(self.program.constant_names(self.module))

    def declare(self, sym: Symbol) -> Symbol:
        """Add a symbol to the innermost table; the name must be new, and no word of the language."""
        if sym.name in RESERVED:
            self.tables[-1][sym.name] = replace(sym, broken=True)  # its uses are no mistakes of their own
            raise SpecError(sym.span, reserved(sym.name))
        old = self.local(sym.name)
        if old is not None:
            raise SpecError(
                sym.span,
                f"'{sym.name}' is {WHAT[old.kind]} already (line {old.span.line}); choose another name",
            )
        sym.target = sym.target or sym.name
        self.tables[-1][sym.name] = sym
        return sym

    def push(self) -> None:
        """Open a block."""
        self.tables.append({})

    def pop(self) -> None:
        """Close the innermost block."""
        for s in self.tables.pop().values():
            if s.kind in ("local", "temp"):
                self.gone[s.name] = s.span

    def fresh(self, base: str) -> str:
        """A name that nothing in the definition uses."""
        name, k = base, 0
        while name in self.used:
            k += 1
            name = f"{base}_{k}"
        self.used.add(name)
        return name

    # ------------------------------------------------------------ dtypes

    def dtype(self, written: str) -> str:
        """A dtype as written to the one of this instance (`real` to f32 or f64)."""
        return self.types.get(REAL, "f64") if written == REAL else written

    def set_float_default(self, dtypes: list[str]) -> None:
        """Float literals on their own take the definition's float type if it has just one."""
        floats = {DTYPES[d].arith for d in dtypes if is_float(d)}
        self.float_default = self.dtype(REAL) if self.raw.uses_real else floats.pop() if len(floats) == 1 else "f64"

    def default(self, dtype: str, want: str = "") -> str:
        """The type that a literal of kind `dtype` takes when `want` is what its surroundings ask for."""
        if dtype == INT_LITERAL:
            return want if want in DTYPES and want != "bool" else "i64"
        if dtype == FLOAT_LITERAL:
            return want if is_float(want) and want in DTYPES else self.float_default
        return dtype
