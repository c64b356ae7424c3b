"""What a model's step is made of before memory is planned: calls on named values, and layer loops."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from ..tree.defs import Definition, Model
from ..tree.expr import NOWHERE, Expr, Span
from ..tree.poly import Sizes


class Registry(Protocol):
    """What the lowering of a model needs of a program: definitions by key, and a place for new ones."""

    def by_key(self, key: str) -> Definition:
        """The definition with this instance name."""
        ...

    def add(self, definition: Definition) -> Definition:
        """Registers a derived definition, or gives the one that has its key already, which is the same."""
        ...

    def derived_key(self, key: str) -> str:
        """The key of something derived, which no definition of the spec has."""
        ...


@dataclass(slots=True)
class Ref:
    """A value as a callee sees it.

    `index`: which copy, for a value with several.  `lead`, `part`: a part of an input, as in View.
    `number`: a rank-0 value passed as a number.
    """

    value: str
    shape: tuple[Expr, ...]
    index: Expr | None = None
    lead: tuple[Expr, ...] = ()
    part: tuple[Expr, Expr] | None = None
    number: bool = False


@dataclass(slots=True)
class Do:
    """`outs = fn(args)`; args and outs follow the callee's params and outs."""

    fn: str
    args: list[Ref | Expr]
    outs: list[Ref]
    sizes: dict[str, Expr]
    span: Span = NOWHERE

    def refs(self) -> Iterator[Ref]:
        """Every value that the call touches."""
        yield from (a for a in self.args if isinstance(a, Ref))
        yield from self.outs


@dataclass(slots=True)
class Loop:
    """`steps` once per layer, the last layer first if `reverse`."""

    var: str
    count: Expr
    steps: list[Do]
    reverse: bool = False


@dataclass(slots=True)
class Value:
    """A whole array.

    `home`: 'arena', 'local' (an own allocation: another dtype than the arena's), 'param' (an
    array parameter of its name) or the name of the flat array that it is a part of, at `offset`.
    `loop`: the variable of the layer loop that defines it; `copies`: how many of it are stacked.
    """

    name: str
    dtype: str
    shape: tuple[Expr, ...]
    home: str = "arena"
    loop: str | None = None
    copies: Expr | None = None
    offset: Expr | None = None


@dataclass(slots=True)
class Work:
    """The state of lowering one model into one procedure."""

    model: Model
    program: Registry
    sizes: Sizes
    dtype: str
    values: dict[str, Value] = field(default_factory=dict)
    same: dict[str, Ref] = field(default_factory=dict)  # values that are a copy of another one
    steps: list[Do | Loop] = field(default_factory=list)
    count: dict[str, int] = field(default_factory=dict)

    def fresh(self, stem: str) -> str:
        """A new name for a value."""
        name = stem
        while name in self.values or name in self.same:
            self.count[stem] = self.count.get(stem, 0) + 1
            name = f"{stem}_{self.count[stem]}"
        return name

    def new(self, stem: str, dtype: str, shape: tuple[Expr, ...], loop: str | None = None) -> Value:
        """A new value in the arena, or in an allocation of its own if it has another dtype."""
        name = self.fresh(stem)
        v = Value(name, dtype, shape, "arena" if dtype == self.dtype else "local", loop)
        self.values[name] = v
        return v

    def resolve(self, r: Ref) -> Ref:
        """The same elements, named by the value that owns them."""
        while r.value in self.same:
            owner = self.same[r.value]
            r = Ref(owner.value, r.shape, owner.index, r.lead, r.part, r.number)
        return r

    def model_shape(self, name: str) -> tuple[Expr, ...]:
        """The shape of a value, weight or input of the model, wherever it is stored."""
        m = self.model
        shapes = {x.name: x.shape for x in m.weights} | {x.name: x.shape for x in m.params}
        return shapes[name] if name in shapes else m.values[name].shape
