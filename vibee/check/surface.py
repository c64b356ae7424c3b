"""What the parser makes of a file: statements whose expressions have no dtypes yet.

Expressions are `tree.expr.Expr` with dtype '' and these extra ops, which the checker resolves:

`none` ()            an omitted bound
`slice` (lo, hi)     `a:b` inside brackets
`index` (base, i..)  brackets after a call: `f(x)[n, d]`
`call` args          attr = (function name, keyword names ...); the last arguments are the keywords'
`attr` (base,)       `base.name`, attr = name
`mcall` (base, ..)   `base.name(args)`, attr = (name, keyword names ...)
`str` ()             a string
`list` items         a list or tuple in an example
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vibee.tree.expr import NOWHERE, Expr, Span


@dataclass(slots=True)
class RawType:
    """`f32`, `mut[f32[N, D]]`, `size`, `model`.  `shape` is None without brackets."""

    base: str
    shape: tuple[Expr, ...] | None = None
    mut: bool = False
    span: Span = NOWHERE


@dataclass(slots=True)
class RawParam:
    """A parameter as written."""

    name: str
    type: RawType
    default: Expr | None = None
    span: Span = NOWHERE


@dataclass(slots=True)
class RawOut:
    """An output as written; `dtype` is '' where the equations decide it."""

    name: str
    dtype: str
    shape: tuple[Expr, ...]
    span: Span = NOWHERE


@dataclass(slots=True)
class SAssign:
    """`a = v`, `a, b = v`, `a[i] += v`; `op` is '' or an operator's name ('add', ...)."""

    targets: list[Expr]
    value: Expr
    op: str = ""
    span: Span = NOWHERE


@dataclass(slots=True)
class SLocal:
    """`name: type` or `name: type = value`."""

    name: str
    type: RawType
    value: Expr | None = None
    span: Span = NOWHERE


@dataclass(slots=True)
class SFor:
    """`for var in iter:`; `iter` is a call (range, parallel, layers) or an attribute."""

    var: str
    iter: Expr
    body: list
    span: Span = NOWHERE


@dataclass(slots=True)
class SWhile:
    """`while cond:`."""

    cond: Expr
    body: list
    span: Span = NOWHERE


@dataclass(slots=True)
class SIf:
    """`if cond: ... else: ...`."""

    cond: Expr
    then: list
    orelse: list
    span: Span = NOWHERE


@dataclass(slots=True)
class SJump:
    """`break`, `continue`, `return`."""

    kind: str
    span: Span = NOWHERE


@dataclass(slots=True)
class SExpr:
    """A call as a statement: `given(...)`, `f(x, y)`."""

    value: Expr
    span: Span = NOWHERE


@dataclass(slots=True)
class SSchedule:
    """`with schedule(target): item; item`."""

    target: str
    items: list[Expr]
    span: Span = NOWHERE


@dataclass(slots=True)
class RawDef:
    """A definition as written.  `kind`: 'formula', 'procedure' or 'model'."""

    kind: str
    name: str
    params: list[RawParam]
    outs: list[RawOut]
    body: list
    doc: str = ""
    source: str = ""
    span: Span = NOWHERE
    uses_real: bool = False
    names: set[str] = field(default_factory=set)  # every identifier in it: fresh names avoid them
    broken: bool = False  # a part of it did not parse: reported, not checked any further
    module: str = ""
    file: str = ""


@dataclass(slots=True)
class RawConst:
    """`NAME = value` of a module: a constant, or a procedure made from another for a model."""

    name: str
    value: Expr
    span: Span = NOWHERE


@dataclass(slots=True)
class RawImport:
    """`from a.b import x, y as z`."""

    module: str
    names: list[tuple[str, str, Span]]
    span: Span = NOWHERE


@dataclass(slots=True)
class RawFile:
    """One file: its module line, imports, constants and definitions, in order."""

    path: str
    module: str = ""
    version: str = ""
    doc: str = ""
    imports: list[RawImport] = field(default_factory=list)
    consts: list[RawConst] = field(default_factory=list)
    defs: list[RawDef] = field(default_factory=list)
