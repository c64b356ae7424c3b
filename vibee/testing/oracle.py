"""The oracle of formulas: index equations evaluated in higher precision, with a bound of the kernel's error.

It shares no code with the compiler's stages after checking.  All values of an expression are computed at once: an
index variable is an array along an axis of its own, the first variable of a reduction the newest axis in front.
`mask` says where a value is wanted: only there an index out of bounds or a division by zero counts.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from vibee.tree.defs import Definition, Equation, Formula, Param, Procedure
from vibee.tree.expr import Expr, walk
from vibee.tree.types import is_float

from .emulate import Unable, emulated
from .numbers import ELEMENTARY_ULPS, LEAST_NORMAL, UNIT, Arithmetic, Failure, Num, Undetermined, some
from .reductions import ROOM, Reductions, Space, needed

CLOSE_ULPS = 8  # what `close(a, b)` means by itself


class Oracle(Reductions):
    """Evaluates definitions of one program; `lookup` gives a definition by its instance name."""

    def __init__(self, lookup: Callable[[str], Definition], track: bool = True, budget: int = 20_000) -> None:
        self.lookup = lookup
        self.track = track
        self.a = Arithmetic(track)
        self.budget = budget  # statements of procedures that may still be carried out
        self._emulations: dict[str, Callable[..., Any]] = {}
        self._elementary: dict[str, bool] = {}

    def share(self, other: Oracle) -> None:
        """Know of definitions what another oracle of the program knows."""
        self._emulations, self._elementary, self.a = other._emulations, other._elementary, other.a

    def smoothed(self) -> Oracle:
        """The same without the roundings that differentiation does not see."""
        other = Oracle(self.lookup, self.track, self.budget)
        other.share(self)
        other.a = Arithmetic(self.track, smooth=True)
        return other

    def spend(self, steps: int = 1) -> None:
        """Count steps; too many are Undetermined."""
        self.budget -= steps
        if self.budget < 0:
            raise Undetermined("it takes too many steps")

    # ------------------------------------------------------------ expressions

    def value(self, e: Expr, s: Space) -> Num:
        """An expression over an index space."""
        rule = getattr(self, f"on_{e.op}", None)
        if rule is not None:
            return rule(e, s)  # type: ignore[no-any-return]
        args = [self.value(a, s) for a in e.args]
        source = e.args[0].dtype
        if e.op in ("floordiv", "mod") and some(needed(np.equal(args[1].v, 0), s.mask)):
            raise Failure("division by zero")
        return self.a.apply(e.op, e.dtype or source, args, source)

    def on_const(self, e: Expr, s: Space) -> Num:
        """A literal."""
        return self.a.const(e.attr, e.dtype)

    def on_var(self, e: Expr, s: Space) -> Num:
        """An index, a size or a number."""
        return s.names[str(e.attr)]

    def on_load(self, e: Expr, s: Space) -> Num:
        """Elements of an array."""
        array = s.arrays[str(e.attr)]
        if not e.args:  # as it is now: the array may change
            return Num(array.v[()], array.e[()] if isinstance(array.e, np.ndarray) else array.e)
        at = None if s.axes else self.element(e.args, array.v.shape, s, str(e.attr))
        if at is not None:
            return Num(array.v[at], array.e[at] if np.ndim(array.e) else array.e)
        index, unsure = self.places(e.args, array.v.shape, s, str(e.attr))
        v = array.v[index]
        error: Any = array.e[index] if isinstance(array.e, np.ndarray) and array.e.shape == array.v.shape else array.e
        if unsure is not None:
            error = np.where(unsure, True if v.dtype == bool else np.inf, error)
        return Num(v, error)

    def quick(self, e: Expr, s: Space) -> int | None:
        """A certain 64-bit integer by Python's own arithmetic, None where that will not do: most of what procedures
        compute is indices."""
        if e.op == "const":
            return int(e.attr)  # type: ignore[call-overload,no-any-return]
        if e.op == "var":
            x = s.names[str(e.attr)]
            return int(x.v) if e.dtype == "i64" and type(x.e) is int and np.ndim(x.v) == 0 else None
        f = QUICK.get(e.op)
        if f is None or e.dtype != "i64":
            return None
        a, b = (self.quick(x, s) for x in e.args)
        if a is None or b is None or (b == 0 and e.op in ("floordiv", "mod")):
            return None
        n: int = f(a, b)
        return n if -(2**63) <= n < 2**63 else None

    def element(self, idx: tuple[Expr, ...], shape: tuple[int, ...], s: Space, name: str) -> tuple[int, ...] | None:
        """One place of an array by quick integers."""
        at = []
        for axis, (k, n) in enumerate(zip(idx, shape, strict=True)):
            i = self.quick(k, s)
            if i is None or (s.mask is not None and not 0 <= i < n):
                return None
            if not 0 <= i < n:
                raise Failure(f"{name}: index {axis} out of bounds")
            at.append(i)
        return tuple(at)

    def places(self, idx: tuple[Expr, ...], shape: tuple[int, ...], s: Space, name: str) -> tuple[Any, Any]:
        """Index arrays, inside of the shape, and where they are uncertain."""
        index, unsure = [], None
        for axis, (k, n) in enumerate(zip(idx, shape, strict=True)):
            at = self.value(k, s)
            v = np.asarray(at.v).astype(np.int64)
            outside = (v < 0) | (v >= n)
            if some(at.e):
                unsure = np.not_equal(at.e, 0) if unsure is None else unsure | np.not_equal(at.e, 0)
                outside = outside & (np.equal(at.e, 0) | (n == 0))
            if some(outside) and some(needed(outside, s.mask)):
                raise Failure(f"{name}: index {axis} out of bounds")
            index.append(np.clip(v, 0, n - 1))
        return tuple(index), unsure

    def on_cast(self, e: Expr, s: Space) -> Num:
        """A conversion."""
        return self.a.cast(self.value(e.args[0], s), e.args[0].dtype, str(e.attr))

    def on_bitcast(self, e: Expr, s: Space) -> Num:
        """The bits as another type."""
        return self.a.bitcast(self.value(e.args[0], s), e.args[0].dtype, str(e.attr))

    def on_where(self, e: Expr, s: Space) -> Num:
        """A choice: each side is evaluated where it may be taken."""
        c = self.value(e.args[0], s)
        yes, no = np.logical_or(c.v, c.e), np.logical_or(np.logical_not(c.v), c.e)
        sides = []
        for side, taken in ((e.args[1], yes), (e.args[2], no)):
            sides.append(self.value(side, s.where(taken)) if some(needed(taken, s.mask)) else None)
        a, b = (x if x is not None else sides[1 - k] for k, x in enumerate(sides))
        if a is None or b is None:  # nothing is needed: any value will do
            return Num(np.zeros((), self.a.dtype(e.dtype)))
        return self.a.where(c, a, b, e.dtype)

    def on_and(self, e: Expr, s: Space) -> Num:
        """`and` and `or`: the right side is evaluated where it matters."""
        a = self.value(e.args[0], s)
        wanted = np.logical_or(a.v, a.e) if e.op == "and" else np.logical_or(np.logical_not(a.v), a.e)
        if not some(needed(wanted, s.mask)):
            return a
        return self.a.apply(e.op, "bool", [a, self.value(e.args[1], s.where(wanted))], "bool")

    on_or = on_and

    # ------------------------------------------------------------ calls

    def on_call(self, e: Expr, s: Space) -> Num:
        """A definition from numbers to a number."""
        key = str(e.attr[0] if isinstance(e.attr, tuple) else e.attr)
        args = [self.value(a, s) for a in e.args]
        if key == "close":
            return self.close(e, *args)
        d = self.lookup(key)
        if isinstance(d, Procedure):
            return self._each(d, args, s)
        assert isinstance(d, Formula)
        if self.track and self.elementary(d):
            return self.elementary_value(d, args)
        return self._inside(d, args, s)

    def close(self, e: Expr, a: Num, b: Num) -> Num:
        """`close(a, b, rel=...)` of a `then`: uncertain as far as its own operands are."""
        _, *tolerance = e.attr  # type: ignore[misc]
        kind, amount = tolerance or ("ulp", CLOSE_ULPS)
        with np.errstate(all="ignore"):
            gap = np.abs(a.v - b.v)
            room = np.maximum(np.abs(a.v), np.abs(b.v)) * (amount * (2 * UNIT[e.args[0].dtype] if kind == "ulp" else 1))
            held = (gap <= room) | np.equal(a.v, b.v)
            return Num(held, ~held & (gap <= room + a.e + b.e))

    def _inside(self, d: Formula, args: list[Num], s: Space) -> Num:
        """A formula of numbers, its equations evaluated over the caller's index space."""
        found = self.inside(d, {p.name: a for p, a in zip(d.params, args, strict=True)}, s)
        return self._each(d, args, s) if found is None else found[d.outs[0].name]

    def inside(self, d: Formula, values: Mapping[str, Num], s: Space) -> dict[str, Num] | None:
        """All values of a formula of numbers over an index space; None if it has loops of its own."""
        if any(q.vars or q.accumulate for q in d.equations):
            return None
        self.spend(len(d.equations))
        axes = max([s.axes, *(np.ndim(x.v) for x in values.values())])  # those of arrays that stand for numbers too
        inner = replace(s, names=dict(values), arrays=dict(values), axes=axes)
        for q in d.equations:
            inner.arrays[q.lhs] = inner.names[q.lhs] = self.value(q.rhs, inner)
        return inner.arrays

    def _each(self, d: Definition, args: list[Num], s: Space) -> Num:
        """A definition of numbers that has to be run, one element at a time."""
        shape = np.broadcast_shapes((), *(np.shape(a.v) for a in args), *(np.shape(a.e) for a in args))
        mask = np.broadcast_to(True if s.mask is None else s.mask, np.broadcast_shapes(shape, np.shape(s.mask)))
        out = d.outs[0]
        v, e = np.zeros(shape, self.a.dtype(out.dtype)), np.zeros(shape)
        spread = [(np.broadcast_to(a.v, shape), np.broadcast_to(a.e, shape)) for a in args]
        wanted = mask.any(axis=tuple(range(mask.ndim - len(shape)))) if mask.ndim > len(shape) else mask
        wanted = (
            np.broadcast_to(wanted, shape) if mask.shape == shape or mask.ndim > len(shape) else np.ones(shape, bool)
        )
        for at in np.ndindex(shape):
            if not wanted[at]:
                continue
            given = {p.name: Num(x[at], y[at] if y[at] else 0) for p, (x, y) in zip(d.params, spread, strict=True)}
            result = self.run(d, given, {})[out.name]
            v[at], e[at] = result.v, result.e
        return Num(v, e if some(e) else 0)

    def elementary(self, d: Definition) -> bool:
        """Does a definition of numbers work on the bits of floats?"""
        if d.key not in self._elementary:
            found = False
            if isinstance(d, Formula) and d.is_scalar and is_float(d.outs[0].dtype):
                casts = [n for q in d.equations for n in walk(q.rhs) if n.op == "bitcast"]
                found = any(is_float(n.dtype) != is_float(n.args[0].dtype) for n in casts)
                found = found and all(is_float(p.dtype) for p in d.params)
            self._elementary[d.key] = found
        return self._elementary[d.key]

    def twin(self, d: Definition) -> Formula:
        """The f64 version of a definition of numbers, or itself."""
        if d.key.endswith("_f32"):
            try:
                other = self.lookup(d.key[:-3] + "f64")
            except KeyError:
                other = d
            if isinstance(other, Formula) and other.name == d.name and len(other.params) == len(d.params):
                return other
        assert isinstance(d, Formula)
        return d

    def emulation(self, d: Formula) -> Callable[..., Any]:
        """A definition of numbers as a function of arrays that rounds as its kernel does."""
        if d.key not in self._emulations:
            try:
                self._emulations[d.key] = emulated(d, self.lookup)
            except Unable:
                plain = Oracle(self.lookup, track=False)
                self._emulations[d.key] = lambda *xs: np.asarray(
                    plain._inside(d, [Num(x) for x in xs], Space({}, {})).v
                )
        return self._emulations[d.key]

    def elementary_value(self, d: Definition, args: list[Num]) -> Num:
        """The value of the f64 version, computed as its kernel would; the bound is what the arguments' errors do to
        it, and the stated number of units in the last place for both versions."""
        twin = self.twin(d)
        body = self.emulation(twin)
        dtype, kind = d.outs[0].dtype, np.dtype("f4") if twin.params[0].dtype == "f32" else np.dtype("f8")

        def f(*xs: Any) -> Any:
            return body(*(np.asarray(x).astype(kind) for x in xs))

        own = self.a.dtype(dtype)
        with np.errstate(all="ignore"):
            v = f(*(a.v for a in args)).astype(own)
            if twin is not d and np.isnan(v).any():  # the other version may have a smaller domain
                assert isinstance(d, Formula)
                own_kind = np.dtype("f4")
                mine = self.emulation(d)(*(np.asarray(a.v).astype(own_kind) for a in args))
                v = np.where(np.isnan(v), mine.astype(own), v)
            cut = [Num(a.v, np.maximum(a.e, np.abs(a.v - a.v.astype(kind)))) if a.v.dtype != kind else a
                   for a in (Num(np.asarray(x.v), x.e) for x in args)]  # fmt: skip
            far = self.a.spread(lambda *xs: f(*xs).astype(own), cut, v)
            ulps = 2 * ELEMENTARY_ULPS if twin is d else ELEMENTARY_ULPS
            e = far + ulps * 2 * UNIT[dtype] * np.abs(v)
            e = np.where(np.isfinite(v), e + LEAST_NORMAL[dtype], far)
            return self.a.rounded(v, e, dtype, [Num(v, e)])

    # ------------------------------------------------------------ equations and formulas

    def equation(self, q: Equation, s: Space) -> None:
        """One index equation; what it writes is an array of the space."""
        dims = [max(int(self.whole(n, s).v), 0) for n in q.dims]
        if np.prod(dims, dtype=float) > ROOM:
            raise Undetermined("too many elements")
        target = s.arrays[q.lhs]
        if 0 in dims:
            return
        inner = s
        for name, n in list(zip(q.vars, dims, strict=True))[::-1]:
            inner = inner.with_index(name, np.arange(n, dtype=np.int64))
        rhs = self.value(q.rhs, inner)
        shape = tuple(dims)
        order = shape
        v = np.broadcast_to(rhs.v, order)
        e = np.broadcast_to(rhs.e, order) if some(rhs.e) else 0
        plain = len(q.idx) == len(q.vars) and all(
            k.op == "var" and k.attr == n for k, n in zip(q.idx, q.vars, strict=True)
        )
        if plain and not q.accumulate and target.v.shape == shape:
            target.v[...] = v
            target.e[...] = e
            return
        index, unsure = self.places(q.idx, target.v.shape, inner, q.lhs)
        if unsure is not None and some(unsure):
            raise Undetermined("where a value goes depends on rounding")
        at = tuple(np.broadcast_to(k, order) for k in index)
        if not q.accumulate:
            target.v[at], target.e[at] = v, e
            return
        self._accumulate(q, target, at, v, e, np.broadcast_shapes(order))

    def _accumulate(
        self, q: Equation, target: Num, at: tuple[Any, ...], v: Any, e: Any, shape: tuple[int, ...]
    ) -> None:
        """Several values added to elements, in any order."""
        with np.errstate(all="ignore"):
            if self.track and is_float(q.rhs.dtype):
                mass, count = np.asarray(np.abs(target.v), float), np.zeros(target.v.shape)
                np.add.at(mass, at, np.abs(v) + e)
                np.add.at(count, at, 1.0)
                np.add.at(target.e, at, np.broadcast_to(e, shape).astype(float))
                target.e[...] += count * UNIT[q.rhs.dtype] * (mass + target.e)
            elif some(e):
                np.add.at(target.e, at, np.broadcast_to(e, shape).astype(float))
            np.add.at(target.v, at, np.broadcast_to(v, shape).astype(target.v.dtype))
            bad = ~np.isfinite(target.v.astype(float))
            if some(bad):
                target.e[bad & ~np.isfinite(target.e)] = 0.0 if not some(e) else np.inf

    def blank(self, dtype: str, shape: tuple[int, ...]) -> Num:
        """An array of zeros."""
        if np.prod(shape, dtype=float) > ROOM:
            raise Undetermined("too many elements")
        return Num(np.zeros(shape, self.a.dtype(dtype)), np.zeros(shape, bool if dtype == "bool" else float))

    def shape(self, p: Param, s: Space) -> tuple[int, ...]:
        """The shape of a parameter or local with the sizes of the space."""
        return tuple(max(int(self.whole(n, s).v), 0) for n in p.shape)

    def run(self, d: Definition, numbers: Mapping[str, Num], arrays: Mapping[str, Num]) -> dict[str, Num]:
        """All arrays of a definition by name after it ran; `numbers` holds its sizes too."""
        if isinstance(d, Procedure):
            from .procedures import run_procedure

            return run_procedure(self, d, numbers, arrays)
        assert isinstance(d, Formula)
        s = Space(dict(numbers), dict(arrays))
        for p in [*d.outs, *d.temps]:
            s.arrays[p.name] = self.blank(p.dtype, self.shape(p, s))
        for q in d.equations:
            self.equation(q, s)
        return s.arrays


QUICK: dict[str, Callable[[int, int], int]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "floordiv": operator.floordiv,
    "mod": operator.mod, "min": min, "max": max,
}  # fmt: skip
