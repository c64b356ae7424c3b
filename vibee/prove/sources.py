"""Where the elements of an array come from: copies of elements of other arrays, and constants.

What is given of every element of an array holds of copies of them too.  No order of statements is looked at: an element
is any that is ever written, or the zero with which an array begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from vibee.tree.defs import (
    Alloc,
    Assign,
    Call,
    Definition,
    Equation,
    Equations,
    Formula,
    Procedure,
    Store,
    View,
    statements,
)
from vibee.tree.expr import Expr

Source = str | int | None  # an array, a constant, or what is not known
Lookup = Callable[[str], Definition]


def sources(d: Definition, array: str, lookup: Lookup) -> set[str | int] | None:
    """The input arrays of `d` that hold every element that `array` may have, and constants; None if others may be
    there."""
    written = _written(d, lookup)
    found: set[str | int] = set()
    todo: list[Source] = [array]
    while todo:
        source = todo.pop()
        if source is None:
            return None
        if source not in found:
            found.add(source)
            todo += written.get(source, []) if isinstance(source, str) else []
    inputs = {p.name for p in d.params if p.is_array}
    return {s for s in found if not isinstance(s, str) or s in inputs}


def _written(d: Definition, lookup: Lookup) -> dict[str, list[Source]]:
    """For each array of a definition that is no input: what is written to it."""
    out: dict[str, list[Source]] = {p.name: [0] for p in [*d.outs, *getattr(d, "temps", [])]}
    body = d.body if isinstance(d, Procedure) else d.equations if isinstance(d, Formula) else []
    for s in _each(body):
        if isinstance(s, Alloc):
            out.setdefault(s.name, []).append(0)
        elif isinstance(s, Assign):
            out.setdefault(s.name, []).append(None)
        elif isinstance(s, Store):
            out.setdefault(s.array, []).extend(_value(s.value))
        elif isinstance(s, Equation):
            out.setdefault(s.lhs, []).extend([None] if s.accumulate else _value(s.rhs))
        elif isinstance(s, Call):
            for array, source in _called(s, lookup):
                out.setdefault(array, []).append(source)
    return out


def _each(body: list) -> Iterator[object]:
    for s in statements(body):
        yield from s.equations if isinstance(s, Equations) else (s,)


def _value(e: Expr) -> list[Source]:
    """A read that may be outside of its array gives 0 there."""
    if e.op in ("load", "load?"):
        return [str(e.attr), 0]
    return [int(e.attr)] if e.op == "const" and isinstance(e.attr, int) else [None]


def _called(s: Call, lookup: Lookup) -> Iterator[tuple[str, Source]]:
    """What a call writes to the arrays that it is given, in the caller's terms."""
    callee = lookup(s.fn)
    pairs = [*zip(callee.params, s.args, strict=True), *zip(callee.outs, s.outs, strict=True)]
    given = {p.name: a.array for p, a in pairs if isinstance(a, View)}
    for p, a in pairs:
        if p.kind not in ("mut", "out"):
            continue
        if not isinstance(a, View):
            yield str(a.attr), None
            continue
        found = sources(callee, p.name, lookup) if not callee.is_scalar else None
        for source in [None] if found is None else found:
            yield a.array, given.get(source) if isinstance(source, str) else source
