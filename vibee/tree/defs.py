"""Definitions and statements: what a checked spec is made of, and what lowered code is made of.

The same statements serve a checked procedure and the lowered form of everything; lowering
only removes `Equations` and whole-array calls of formulas from them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .expr import NOWHERE, Expr, Span


@dataclass(slots=True)
class Param:
    """A parameter, output or local array.  `shape` is () for a scalar.

    `kind`: 'in' read only, 'mut' read and written in place, 'out' result, 'temp' internal,
    'size' a symbolic size given as a number, 'scalar' a number.
    """

    name: str
    kind: str
    dtype: str
    shape: tuple[Expr, ...] = ()
    default: Expr | None = None
    span: Span = NOWHERE

    @property
    def is_array(self) -> bool:
        """True for anything stored in a buffer; a scalar output is a buffer of rank 0."""
        return self.kind in ("in", "mut", "out", "temp")


# ---------------------------------------------------------------- statements


@dataclass(slots=True)
class Equation:
    """`lhs[idx] = rhs` for all values of `vars`, or `+=` (a scatter-add).

    `vars[i]` runs over `0 <= vars[i] < dims[i]`.  A plain equation has idx == vars as
    variables.  A scatter's `idx` are any integer expressions over `vars`; `lhs` was zeroed
    (out/temp) or holds earlier values (an earlier equation of the same lhs).
    """

    lhs: str
    vars: tuple[str, ...]
    dims: tuple[Expr, ...]
    idx: tuple[Expr, ...]
    rhs: Expr
    accumulate: bool = False
    span: Span = NOWHERE


@dataclass(slots=True)
class Equations:
    """Index equations, evaluated here, in an order of the compiler's choice."""

    equations: list[Equation]
    span: Span = NOWHERE


@dataclass(slots=True)
class Decl:
    """A typed scalar local."""

    name: str
    dtype: str
    init: Expr | None = None
    span: Span = NOWHERE


@dataclass(slots=True)
class Alloc:
    """A local array, zero-filled if `zero`; a small constant shape lives on the stack."""

    name: str
    dtype: str
    shape: tuple[Expr, ...]
    zero: bool = True
    span: Span = NOWHERE


@dataclass(slots=True)
class Assign:
    """`name = value` for a scalar local or a scalar output of a scalar function."""

    name: str
    value: Expr
    span: Span = NOWHERE


@dataclass(slots=True)
class Store:
    """`array[idx] = value`; `checked` when not proved in bounds; a vector may go `around` the cache."""

    array: str
    idx: tuple[Expr, ...]
    value: Expr
    checked: bool = False
    span: Span = NOWHERE
    around: bool = False


@dataclass(slots=True)
class For:
    """`for var in range(lo, hi, step)`; `parallel` iterations are independent, any order."""

    var: str
    lo: Expr
    hi: Expr
    body: list
    step: int = 1
    parallel: bool = False
    span: Span = NOWHERE
    work: Expr | None = None  # operations of all iterations, where whoever made the loop knows them


@dataclass(slots=True)
class While:
    """`while cond`."""

    cond: Expr
    body: list
    span: Span = NOWHERE


@dataclass(slots=True)
class If:
    """`if cond: then else: orelse`."""

    cond: Expr
    then: list
    orelse: list = field(default_factory=list)
    span: Span = NOWHERE


@dataclass(slots=True)
class Jump:
    """`break`, `continue` or `return`."""

    kind: str
    span: Span = NOWHERE


@dataclass(slots=True)
class Comment:
    """A line of the spec (or a reason) kept in the emitted code."""

    text: str


@dataclass(slots=True)
class Prefetch:
    """Memory that will be read soon: what lies `ahead` elements after the one that the load `at` names, along an axis.

    It changes nothing and cannot fail, whatever the address, so that nothing is to be proved of it.  The index of `at`
    is that of a load which is evaluated later, under the same conditions.
    """

    at: Expr
    ahead: int
    axis: int


@dataclass(slots=True)
class View:
    """An array argument: a contiguous part of `array`, seen with another shape if need be.

    `lead`: leading indices that are fixed.  `part`: (lo, hi) on the axis after them, or None.
    `shape`: the shape the callee sees.  The base address is array[lead..., lo, 0...].
    """

    array: str
    lead: tuple[Expr, ...] = ()
    part: tuple[Expr, Expr] | None = None
    shape: tuple[Expr, ...] = ()
    span: Span = NOWHERE


@dataclass(slots=True)
class Call:
    """A call as a statement: `outs = fn(args)`.

    `args` follow the callee's params (View for an array, Expr for a scalar or size param);
    `outs` follow the callee's outs.  `fn` is the instance name; `sizes` maps every free size
    name of the callee to an expression of the caller's.
    """

    fn: str
    args: list
    outs: list
    sizes: dict[str, Expr]
    span: Span = NOWHERE


def statements(stmts: list) -> list[Any]:
    """Every statement, each before those in its blocks."""
    out: list[Any] = []
    for s in stmts:
        out.append(s)
        if isinstance(s, (For, While)):
            out += statements(s.body)
        elif isinstance(s, If):
            out += statements(s.then) + statements(s.orelse)
    return out


# ---------------------------------------------------------------- definitions


@dataclass(slots=True)
class Law:
    """`law("name", left, right)` or a `then` / `example` / `raises`, kept for the tests.

    Of an example `args` are what is passed and `results` what comes of it, both (name, value).  A value is a number,
    nested lists of numbers, or the call that draws initial weights.
    """

    kind: str  # 'law' 'then' 'example' 'raises'
    name: str
    args: tuple
    span: Span = NOWHERE
    results: tuple = ()


@dataclass(frozen=True, slots=True)
class Demand:
    """What is given of a callee, in the terms of its caller."""

    condition: Expr
    callee: str
    span: Span  # of the call


@dataclass(slots=True)
class Definition:
    """What formulas, procedures and models share.

    `sizes`: the free symbolic sizes, each with how a caller finds it: ('arg', param, axis) or
    ('param', name).  `given`: boolean expressions over sizes, scalars and (element-wise, over
    their free index variables) array elements.
    """

    name: str  # as written
    key: str  # instance name: the emitted function; unique in a program
    params: list[Param]
    outs: list[Param]
    sizes: dict[str, tuple]
    given: list[Expr] = field(default_factory=list)
    laws: list[Law] = field(default_factory=list)
    doc: str = ""
    source: str = ""  # its text in the spec
    module: str = ""
    span: Span = NOWHERE
    obligations: list[Demand] = field(default_factory=list)  # conditions of callees on inner values, to be proved

    def param(self, name: str) -> Param:
        """The parameter or output called `name`."""
        return next(p for p in [*self.params, *self.outs] if p.name == name)

    @property
    def is_scalar(self) -> bool:
        """True if all parameters are numbers and there is one number out: usable in expressions."""
        return all(p.kind == "scalar" for p in self.params) and len(self.outs) == 1 and not self.outs[0].shape


OF_ARRAYS = ("pack", "prefetch", "stream")  # words of a schedule that name arrays; the others name indices


@dataclass(slots=True)
class Formula(Definition):
    """Index equations in dependency order; calls of other formulas are already inlined.

    `derivative[p]`: the derivative of a scalar formula's output by parameter p, as given in the
    spec.  `schedule`: directives by name, e.g. {'parallel': ('n',), 'tile': {'i': 8, 'j': 32}}.
    """

    temps: list[Param] = field(default_factory=list)
    equations: list[Equation] = field(default_factory=list)
    derivative: dict[str, Expr] = field(default_factory=dict)
    schedule: dict[str, object] = field(default_factory=dict)
    gradient: str | None = None  # instance name of the definition given as its vector-Jacobian product


@dataclass(slots=True)
class Procedure(Definition):
    """Statements.  `implements`: the formula's instance it computes; `gradient`: instance name
    of the procedure that computes its vector-Jacobian product.  `fits`, of a lowered one: sizes for which the
    arithmetic of indices stays within 63 bits (None: all); `stepped`: scalars whose steps the C compiler must not add
    up, since their proofs count on the time that they take (vibee.prove.counters)."""

    body: list = field(default_factory=list)
    implements: str | None = None
    gradient: str | None = None
    fits: Expr | None = None
    stepped: frozenset[str] = frozenset()


@dataclass(slots=True)
class Weight:
    """A model's parameter array.  `layered`: one per layer, stored stacked with L in front."""

    name: str
    dtype: str
    shape: tuple[Expr, ...]
    init: Expr | None  # a constant, or op 'call' with attr (name, ) and scalar args
    layered: bool = False
    copies: Expr | None = None  # the number of layers of a layered one
    span: Span = NOWHERE


@dataclass(slots=True)
class ModelCall:
    """`outs = fn(args)` in a model: every value is a whole array.

    `args`: one per callee param: a View of a value, weight or input (its `shape` is what the
    callee sees), or an Expr for a number; a rank-0 value passed as a number is `load(value, ())`.
    `outs`: names of fresh values.  `fn` is the instance name; `sizes` as in `Call`.
    """

    fn: str
    args: list
    outs: list[str]
    sizes: dict[str, Expr] = field(default_factory=dict)
    span: Span = NOWHERE


@dataclass(slots=True)
class Carry:
    """A value carried from layer to layer: `inner` names it inside the loop, where it is `init`
    in the first layer and the previous layer's `last` after that; `result` is the final one."""

    init: str
    inner: str
    last: str
    result: str


@dataclass(slots=True)
class Layers:
    """`for var in layers(count)`: the values assigned in the body to names that exist before
    it are carried from layer to layer."""

    var: str
    count: Expr
    body: list
    carries: list[Carry] = field(default_factory=list)
    span: Span = NOWHERE


@dataclass(slots=True)
class Model(Definition):
    """Parameters, whole-array calls, outputs; the first scalar output is the loss.

    Every name of a value is assigned once.  `results[out]`: the value that an output is.
    """

    weights: list[Weight] = field(default_factory=list)
    body: list = field(default_factory=list)  # ModelCall and Layers
    values: dict[str, Param] = field(default_factory=dict)  # every intermediate value
    results: dict[str, str] = field(default_factory=dict)
    shares: str = ""  # the model whose parameters these are (`weights(other)`)

    @property
    def weights_dtype(self) -> str:
        """The dtype of the flat array of weights."""
        return self.weights[0].dtype if self.weights else "f32"
