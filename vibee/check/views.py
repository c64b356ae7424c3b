"""Arrays as arguments, and what an index into a view is in the array itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from vibee.tree.defs import View
from vibee.tree.expr import Expr, Span, const, free_vars, loads, var, walk

from .scope import Symbol
from .sizes import Facts, minus, product


@dataclass(slots=True)
class ArrayArg:
    """An array as an argument or target: a view of `symbol`, its dtype and the shape it is seen with."""

    symbol: Symbol
    view: View
    dtype: str
    shape: tuple[Expr, ...]
    span: Span

    @property
    def own_shape(self) -> tuple[Expr, ...]:
        """The shape of the part of the array that is seen, before it gets another one."""
        left = self.symbol.shape[len(self.view.lead) :]
        if self.view.part is None:
            return left
        return (minus(self.view.part[1], self.view.part[0]), *left[1:])

    @property
    def reshaped(self) -> bool:
        """True if it is seen with another shape than its own."""
        return self.own_shape != self.view.shape


def arithmetic(op: str, a: Expr, b: Expr) -> Expr:
    """An index expression, without operations that do nothing."""
    zero, one = const(0, "i64"), const(1, "i64")
    if op == "add" and zero in (a, b):
        return b if a == zero else a
    if op == "mul" and one in (a, b):
        return b if a == one else a
    if op == "floordiv" and b == one:
        return a
    if op == "mod" and b == one:
        return zero
    return Expr(op, (a, b), None, "i64", a.span)


def _flat(idx: list[Expr], shape: list[Expr]) -> Expr:
    out = idx[0]
    for i, n in zip(idx[1:], shape[1:], strict=True):
        out = arithmetic("add", arithmetic("mul", out, n), i)
    return out


def _split(flat: Expr, shape: list[Expr]) -> list[Expr]:
    out: list[Expr] = []
    for n in reversed(shape[1:]):
        out.append(arithmetic("mod", flat, n))
        flat = arithmetic("floordiv", flat, n)
    return [flat, *reversed(out)]


def reindex(idx: list[Expr], seen: tuple[Expr, ...], real: tuple[Expr, ...], facts: Facts) -> list[Expr]:
    """Indices into an array seen with the shape `seen` as indices into its own shape `real`.

    Axes are matched in groups of equal size from the front, so that only what is regrouped is computed.
    """
    out: list[Expr] = []
    i = j = 0
    while i < len(seen) and j < len(real):
        for m, n in sorted(
            ((m, n) for m in range(i + 1, len(seen) + 1) for n in range(j + 1, len(real) + 1)), key=lambda g: sum(g)
        ):
            if facts.equal(product(seen[i:m]), product(real[j:n])):
                break
        else:
            m, n = len(seen), len(real)
        if n == len(real) and all(x.op == "const" and x.attr == 1 for x in seen[m:]):
            m = len(seen)
        if m == len(seen):
            n = len(real)
        out += _split(_flat(idx[i:m], list(seen[i:m])), list(real[j:n]))
        i, j = m, n
    return out


def _elements(e: Expr, arrays: dict[str, ArrayArg], free: list[str]) -> tuple[Expr, ...]:
    """The indices of a reshaped array in the condition `e`, if `e` is about each of its elements alone."""
    loads = [n for n in walk(e) if n.op in ("load", "load?") and n.attr in arrays and arrays[str(n.attr)].reshaped]
    if not loads or len({(n.args, arrays[str(n.attr)].own_shape) for n in loads}) != 1:
        return ()
    idx = loads[0].args
    names = {str(i.attr) for i in idx if i.op == "var" and i.attr in free}
    used = sum(1 for n in walk(e) if n.op == "var" and n.attr in names)
    whole = all(arrays[str(n.attr)].view.part is None for n in loads)
    return idx if whole and len(names) == len(idx) and used == len(idx) * len(loads) else ()


@dataclass(slots=True)
class Move:
    """Expressions of a callee in its caller's names.

    It is one walk: what stands in for a name is the caller's, and is not looked into again, though the callee may use
    the same names for something else.  Indices that are bound inside get names that nothing in the caller has.
    """

    names: dict[str, Expr]  # what its numbers, sizes and indices are
    arrays: dict[str, ArrayArg]
    facts: Facts
    fresh: Callable[[str], str]
    renamed: dict[str, str] = field(default_factory=dict)  # its outputs and temporaries
    each: tuple[Expr, ...] = ()
    _new: list[Expr] = field(default_factory=list)

    def condition(self, e: Expr, shapes: Mapping[str, tuple[Expr, ...]]) -> Expr:
        """What is given, of arrays with these `shapes`.  One about every element of a reshaped array stays one about
        every element; of a part, it says how far its indices go."""
        free = sorted(free_vars(e) - set(self.names))
        self.each = _elements(e, self.arrays, free)
        ends: dict[str, Expr] = {}
        for n in () if self.each else loads(e):
            a = self.arrays[str(n.attr)]
            if a.view.part is not None or a.reshaped:
                ends |= {str(i.attr): end for i, end in zip(n.args, shapes[str(n.attr)], strict=True)
                         if i.op == "var" and i.attr in free and i.attr not in ends}  # fmt: skip
        for name, end in ends.items():
            e = Expr("reduce", (e, const(0, "i64"), end), ("all", (name,)), "bool", e.span)
        self.names |= {n: var(self.fresh(n)) for n in free if n not in ends}
        return self(e)

    def __call__(self, e: Expr) -> Expr:
        """An expression."""
        if e.op == "var":
            return self.names.get(str(e.attr), e)
        if e.op == "reduce":
            return self._reduce(e)
        if e.op in ("load", "load?"):
            return self._load(e)
        attr = e.attr
        if e.op == "scan":
            op, along = e.attr  # type: ignore[misc]
            attr = (op, str(self.names[along].attr))
        return Expr(e.op, tuple(map(self, e.args)), attr, e.dtype, e.span)

    def _reduce(self, e: Expr) -> Expr:
        op, bound = e.attr  # type: ignore[misc]
        new = tuple(map(self.fresh, bound))
        outside = self.names
        self.names = {**outside, **dict(zip(bound, map(var, new), strict=True))}
        args = tuple(map(self, e.args))
        self.names = outside
        return Expr(e.op, args, (op, new), e.dtype, e.span)

    def _load(self, e: Expr) -> Expr:
        name = str(e.attr)
        if name not in self.arrays:
            return Expr(e.op, tuple(map(self, e.args)), self.renamed[name], e.dtype, e.span)
        a = self.arrays[name]
        if a.reshaped and self.each and e.args == self.each:
            if not self._new:
                self._new = [var(self.fresh(f"i{k}")) for k in range(len(a.own_shape))]
            idx = list(self._new)
        else:
            idx = [self(x) for x in e.args]
            if a.reshaped:
                idx = reindex(idx, a.view.shape, a.own_shape, self.facts)
        if a.view.part is not None:
            idx[0] = arithmetic("add", a.view.part[0], idx[0])
        return Expr(e.op, (*a.view.lead, *idx), a.view.array, e.dtype, e.span)
