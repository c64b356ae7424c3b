"""Arrays as arguments, and what an index into a view is in the array itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vibee.tree.defs import View
from vibee.tree.expr import Expr, Span, const, var, walk

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


def _elements(e: Expr, arrays: dict[str, ArrayArg]) -> tuple[Expr, ...]:
    """The indices of a reshaped array in the condition `e`, if `e` is about each of its elements alone."""
    loads = [n for n in walk(e) if n.op in ("load", "load?") and n.attr in arrays and arrays[str(n.attr)].reshaped]
    if not loads or len({(n.args, arrays[str(n.attr)].own_shape) for n in loads}) != 1:
        return ()
    idx = loads[0].args
    names = [str(i.attr) for i in idx if i.op == "var"]
    used = sum(1 for n in walk(e) if n.op == "var" and n.attr in names)
    return idx if len(set(names)) == len(idx) and used == len(idx) * len(loads) else ()


def through_views(
    e: Expr, arrays: dict[str, ArrayArg], facts: Facts, fresh: Callable[[str], str] | None = None
) -> Expr:
    """`e` with loads of a callee's arrays turned to loads of the caller's.

    With `fresh`, `e` is a condition: one about every element of a reshaped array stays one about every element.
    """
    each = _elements(e, arrays) if fresh is not None else ()
    new: list[Expr] = []

    def go(e: Expr) -> Expr:
        if e.op not in ("load", "load?") or e.attr not in arrays:
            return Expr(e.op, tuple(go(a) for a in e.args), e.attr, e.dtype, e.span) if e.args else e
        a = arrays[str(e.attr)]
        idx = [go(x) for x in e.args]
        if a.reshaped and each and e.args == each and fresh is not None:
            if not new:
                new.extend(var(fresh(f"i{k}")) for k in range(len(a.own_shape)))
            idx = list(new)
        elif a.reshaped:
            idx = reindex(idx, a.view.shape, a.own_shape, facts)
        if a.view.part is not None:
            idx[0] = arithmetic("add", a.view.part[0], idx[0])
        return Expr(e.op, (*a.view.lead, *idx), a.view.array, e.dtype, e.span)

    return go(e)
