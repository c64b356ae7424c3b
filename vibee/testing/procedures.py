"""The oracle of procedures: statements carried out one by one, in higher precision.

Where the way through a procedure depends on rounding (a comparison of numbers whose errors overlap), the run is
`Undetermined`: there is nothing to compare a kernel with.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from vibee.tree.defs import (
    Alloc,
    Assign,
    Call,
    Decl,
    Equations,
    For,
    If,
    Jump,
    Param,
    Procedure,
    Store,
    View,
    While,
)
from vibee.tree.expr import Expr, free_vars
from vibee.tree.types import is_float

from .numbers import OWN, UNIT, Failure, Num, Undetermined, some
from .oracle import Oracle, Space


class _Left(Exception):
    """`break`, `continue` or `return` on its way out."""

    def __init__(self, kind: str) -> None:
        self.kind = kind


def run_procedure(
    oracle: Oracle, d: Procedure, numbers: Mapping[str, Num], arrays: Mapping[str, Num]
) -> dict[str, Num]:
    """All arrays of a procedure after it ran; a scalar output is an array of rank 0 or a number."""
    s = Space(dict(numbers), dict(arrays))
    for o in d.outs:
        if o.name not in s.arrays:
            s.arrays[o.name] = oracle.blank(o.dtype, oracle.shape(o, s))
    if d.is_scalar:
        s.names[d.outs[0].name] = oracle.a.const(0, d.outs[0].dtype)
    with contextlib.suppress(_Left):  # by `return`
        Run(oracle, s).block(d.body)
    if d.is_scalar:
        s.arrays[d.outs[0].name] = s.names[d.outs[0].name]
    return s.arrays


class Run:
    """One run of a procedure."""

    def __init__(self, oracle: Oracle, space: Space) -> None:
        self.oracle, self.s = oracle, space

    def block(self, body: list) -> None:
        """Statements in order."""
        for s in body:
            self.oracle.spend()
            getattr(self, f"_{type(s).__name__.lower()}")(s)

    def value(self, e: Expr) -> Num:
        """An expression without free indices."""
        return self.oracle.value(e, self.s)

    def number(self, e: Expr) -> int:
        """An integer that must be certain."""
        n = self.oracle.quick(e, self.s)
        return n if n is not None else int(self.oracle.whole(e, self.s).v)

    def holds(self, e: Expr) -> bool:
        """A condition that must be certain."""
        c = self.value(e)
        if some(c.e):
            raise Undetermined("a branch depends on rounding")
        return bool(c.v)

    # ------------------------------------------------------------ statements

    def _decl(self, s: Decl) -> None:
        zero = 0 if s.init is None else s.init
        self.s.names[s.name] = self.value(zero) if isinstance(zero, Expr) else self.oracle.a.const(0, s.dtype)

    def _assign(self, s: Assign) -> None:
        self.s.names[s.name] = self.value(s.value)

    def _alloc(self, s: Alloc) -> None:
        self.s.arrays[s.name] = self.oracle.blank(s.dtype, tuple(max(self.number(n), 0) for n in s.shape))

    def _store(self, s: Store) -> None:
        value = self.value(s.value)
        target = self.s.arrays[s.array]
        at = []
        for axis, (k, n) in enumerate(zip(s.idx, target.v.shape, strict=True)):
            i = self.number(k)
            if not 0 <= i < n:
                raise Failure(f"{s.array}: index {axis} out of bounds")
            at.append(i)
        target.v[tuple(at)] = value.v
        target.e[tuple(at)] = value.e

    def _if(self, s: If) -> None:
        self.block(s.then if self.holds(s.cond) else s.orelse)

    def _while(self, s: While) -> None:
        while self.holds(s.cond):
            if self._turn(s.body):
                break

    def _turn(self, body: list) -> bool:
        """One iteration; True if the loop ends by it."""
        self.oracle.spend()
        try:
            self.block(body)
        except _Left as left:
            if left.kind == "break":
                return True
            if left.kind != "continue":
                raise
        return False

    def _for(self, s: For) -> None:
        lo, hi = self.number(s.lo), self.number(s.hi)
        sums = dict(_sums(s.body, s)) if s.parallel else {}
        mass = dict.fromkeys(sums, 0.0)
        count = 0
        for i in range(lo, hi, s.step):
            before = {n: self._scalar(n) for n in sums}
            self.s.names[s.var] = Num(np.int64(i), 0)
            if self._turn(s.body):
                break
            count += 1
            for n in sums:
                with np.errstate(all="ignore"):
                    mass[n] += float(np.abs(self._scalar(n).v - before[n].v))
        for n, dtype in sums.items():
            # the partial results of blocks are added in another order
            x = self._scalar(n)
            if isinstance(x.e, np.ndarray) and x.e.shape == ():
                x.e = x.e + count * UNIT[dtype] * (mass[n] + abs(float(x.v)))
            else:
                self.s.names[n] = Num(x.v, x.e + count * UNIT[dtype] * (mass[n] + abs(float(x.v))))

    def _scalar(self, name: str) -> Num:
        return self.s.names[name] if name in self.s.names else self.s.arrays[name]

    def _jump(self, s: Jump) -> None:
        raise _Left(s.kind)

    def _equations(self, s: Equations) -> None:
        for q in s.equations:
            self.oracle.equation(q, self.s)

    # ------------------------------------------------------------ calls

    def _call(self, s: Call) -> None:
        callee = self.oracle.lookup(s.fn)
        numbers = {n: self.value(e) for n, e in s.sizes.items()}
        arrays: dict[str, Num] = {}
        for p, a in zip(callee.params, s.args, strict=True):
            if isinstance(a, View):
                arrays[p.name] = self.view(a)
            else:
                numbers[p.name] = self.value(a)
        check_given(self.oracle, callee.given, Space(dict(numbers), dict(arrays)))
        writes = [(o, a) for o, a in zip(callee.outs, s.outs, strict=True)]
        results = self.oracle.run(callee, numbers, {**arrays, **self._into(callee, writes)})
        for o, a in writes:
            out = results[o.name]
            if isinstance(a, View):
                target = self.view(a)
                target.v[...] = out.v
                target.e[...] = out.e
            else:
                self.s.names[str(a.attr)] = Num(np.asarray(out.v)[()], np.asarray(out.e)[()])

    def _into(self, callee: Any, writes: list[tuple[Param, Any]]) -> dict[str, Num]:
        """Outputs whose sizes only their target tells."""
        if not isinstance(callee, Procedure):
            return {}
        out = {}
        for o, a in writes:
            if isinstance(a, View):
                out[o.name] = self.oracle.blank(o.dtype, self.view(a).v.shape)
        return out

    def view(self, a: View) -> Num:
        """A part of an array that shares its memory."""
        whole = self.s.arrays[a.array]
        lead = tuple(self.number(i) for i in a.lead)
        part = None if a.part is None else tuple(self.number(x) for x in a.part)
        shape = tuple(self.number(n) for n in a.shape)
        sides = []
        for x in (whole.v, whole.e):
            for i, n in zip(lead, x.shape, strict=False):
                if not 0 <= i < n:
                    raise Failure(f"{a.array}: index out of bounds")
            x = x[(*lead, ...)]
            if part is not None:
                if not 0 <= part[0] <= part[1] <= x.shape[0]:
                    raise Failure(f"{a.array}: range out of bounds")
                x = x[part[0] : part[1]]
            if x.size != int(np.prod(shape, dtype=np.int64)):
                raise Failure(f"{a.array}: another number of elements")
            sides.append(x.reshape(shape))
        return Num(*sides)


def _sums(body: list, loop: For) -> Iterator[tuple[str, str]]:
    """Float scalars that a parallel loop adds to, and their types."""
    own = {s.name for s in _all(body) if isinstance(s, (Decl, Alloc))}
    for s in _all(body):
        name = s.name if isinstance(s, Assign) else s.array if isinstance(s, Store) and not s.idx else ""
        if name and name not in own and s.value.op in ("add", "sub", "mul") and is_float(s.value.dtype):
            yield name, s.value.dtype


def _all(body: list) -> Iterator[Any]:
    for s in body:
        yield s
        for part in ("body", "then", "orelse"):
            yield from _all(getattr(s, part, None) or [])


def check_given(oracle: Oracle, conditions: list[Expr], s: Space) -> None:
    """A call that breaks the callee's `given` must be refused."""
    for g in conditions:
        held = over_elements(oracle, g, s)
        if held is not None and not np.all(np.logical_or(held.v, held.e)):
            raise Failure("given does not hold")


def over_elements(oracle: Oracle, c: Expr, s: Space) -> Num | None:
    """A condition for all values of its own indices, along axes in the order of `indices_of`; None if it is about
    names that only the body of the definition knows."""
    found = indices_of(c, s)
    if found is None:
        return None
    inner = s
    for name, n in list(found.items())[::-1]:
        inner = inner.with_index(name, np.arange(n, dtype=np.int64))
    if 0 in found.values():
        return Num(np.ones(tuple(found.values()), bool))
    held = oracle.value(c, inner)
    shape = tuple(found.values())
    return Num(np.broadcast_to(held.v, shape), np.broadcast_to(held.e, shape) if some(held.e) else 0)


def indices_of(c: Expr, s: Space) -> dict[str, int] | None:
    """The indices of a condition and how far they run: over the axes that they stand at alone, less what an index
    such as i + 1 needs."""
    from vibee.tree.expr import loads

    free = free_vars(c) - set(s.names)
    out: dict[str, int] = {}
    for e in loads(c):
        if e.attr not in s.arrays:
            return None
        for k, n in zip(e.args, s.arrays[str(e.attr)].v.shape, strict=True):
            if k.op == "var" and k.attr in free:
                out.setdefault(str(k.attr), n)
    return out if free <= set(out) else None


__all__ = ["OWN", "Run", "check_given", "indices_of", "over_elements", "run_procedure"]
