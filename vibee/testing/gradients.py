"""Gradients: the kernel against its own definition in higher precision, and that against central differences.

A gradient is tried in two steps, so that both can be sharp.  The kernel must be within rounding of the gradient's
definition (derived, or the spec's own).  That definition, in higher precision, must agree with central differences of
the definition that it is the gradient of, at points where those converge: a point at a kink is passed over.  Both
are then without the roundings of conversions between floats, which differentiation passes over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from vibee.api.function import Function
from vibee.api.gradient import gradient_of, passed, spelled
from vibee.grad import GradError, vjp
from vibee.tree.defs import Definition, Formula, Param, Procedure
from vibee.tree.expr import Expr, walk
from vibee.tree.types import is_float

from .checks import THREADS, drawn, formula_values
from .draw import Case, nums
from .numbers import HIGH, Failure, Num, Undetermined
from .oracle import Oracle, Space
from .subject import Subject, as_floats, compare, same_bits, sharing

STEP = 2.0**-12  # of the central differences, relative to each element
SHARP = {"f32": 2.0**-27, "f64": 1.0}  # the rounding of higher precision, as a share of the kernel's


def has_gradient(subject: Subject) -> bool:
    """Is there a gradient to test: derived of a formula, or one that the definition names?"""
    d = subject.d
    if not floats(d) or not any(is_float(o.dtype) for o in d.outs):
        return False
    if getattr(d, "gradient", None):
        return True
    if not isinstance(d, Formula):
        return False
    try:
        vjp(d, subject.spec.program.by_key)
    except GradError:
        return False
    return True


def gradient(subject: Subject) -> None:
    """The gradient's kernel against its definition, and the definition against central differences and, where the
    spec states its own, against the derived one."""
    library = subject.spec.gradients()
    f = Function(library, subject.d.name, [subject.d])
    g = gradient_of(f, subject.d)
    if constant(subject.d):
        _stays_zero(subject, f)
        return
    alone = not wanted(subject)  # nothing but the kernel is compared
    state: dict[str, Any] = {"kernel": 0, "slope": 0, "why": ""}

    def check(case: Case) -> None:
        one = Point(subject, g, case)
        try:
            one.prepare()
            state["kernel"] += one.kernel(f)
            one.oracle = one.oracle.smoothed()
            state["slope"] += one.slopes()
            one.derived()
        except Failure:
            return
        except Undetermined as e:
            state["why"] = str(e)

    drawn(subject, check, subject.d.span, examples=6, kinds=("normal", "near"), most=2000)
    if not state["kernel" if alone else "slope"]:
        pytest.skip(f"no smooth point was found: {state['why'] or 'kinks everywhere, or nothing to differentiate by'}")


def floats(d: Definition) -> list[Param]:
    """The parameters that a definition is differentiated by."""
    return [p for p in d.params if is_float(p.dtype) and p.kind in ("in", "scalar")]


def stopped(d: Definition, p: Param) -> bool:
    """Does a formula say that its derivative by a parameter is 0, whatever it computes?"""
    e = getattr(d, "derivative", {}).get(p.name)
    return e is not None and e.op == "const" and e.attr == 0


def constant(d: Definition) -> bool:
    """Does a formula say so of all its parameters: a constant to differentiation?"""
    return all(stopped(d, p) for p in floats(d))


def wanted(subject: Subject) -> list[Param]:
    """The parameters by which differences are taken: not where the derivative is 0 whatever is computed."""
    d, lookup = subject.d, subject.spec.program.by_key
    return [p for p in floats(d) if not stopped(d, p) and not by_bits(d, p, lookup)]


def by_bits(d: Definition, p: Param, lookup: Callable[[str], Definition]) -> bool:
    """Does a formula take the bits of what depends on a parameter for a whole number, which has no derivative?"""
    if not isinstance(d, Formula) or d.gradient or p.name in d.derivative:
        return False
    active = {p.name}

    def depends(e: Expr) -> bool:
        return is_float(e.dtype) and ((e.op in ("var", "load") and e.attr in active) or any(map(depends, e.args)))

    def taken(e: Expr) -> bool:
        if e.op == "bitcast":
            return not is_float(e.dtype) and depends(e.args[0])
        if e.op != "call":
            return False
        callee = lookup(str(e.attr[0] if isinstance(e.attr, tuple) else e.attr))
        return any(depends(a) and by_bits(callee, q, lookup) for a, q in zip(e.args, callee.params, strict=True))

    for q in d.equations:
        if any(map(taken, walk(q.rhs))):
            return True
        if depends(q.rhs):
            active.add(q.lhs)
    return False


def _stays_zero(subject: Subject, f: Function) -> None:
    def check(case: Case) -> None:
        back = f.grad(*case.arrays.values(), np.ones_like(next(iter(case.arrays.values()))))
        for x in back if isinstance(back, tuple) else (back,):
            assert not np.any(x), "its stated derivative is 0, but its gradient is not"

    drawn(subject, check, subject.d.span, examples=3, kinds=("normal",))


class Point:
    """One case with cotangents for every float output."""

    def __init__(self, subject: Subject, g: Definition, case: Case) -> None:
        self.subject, self.g, self.case = subject, g, case
        self.d = subject.d
        self.rng = np.random.default_rng(case.seed)
        self.oracle = subject.oracle(60_000)

    def prepare(self) -> None:
        """The outputs in higher precision, and a cotangent for each float one."""
        self.names, self.arrays = self.subject.inputs(self.case, self.oracle)
        self.outs = self.subject.evaluate(self.oracle.smoothed(), self.names, self.arrays)
        self.cotangents = {}
        for o in self.d.outs:
            if is_float(o.dtype):
                shape = np.shape(self.outs[o.name].v)
                kind = np.dtype("f4") if o.dtype != "f64" else np.dtype("f8")
                self.cotangents[o.name] = np.asarray(self.rng.standard_normal(shape)).astype(kind)

    # ------------------------------------------------------------ the gradient's definition

    def gradients(
        self, g: Definition, forward: Mapping[str, Num], cotangents: Mapping[str, np.ndarray]
    ) -> dict[str, Num]:
        """What a gradient's definition gives in higher precision, for cotangents by the outputs' names."""
        o = self.oracle
        given = {
            n: Num(x.astype(o.a.dtype("f64" if x.dtype == np.float64 else "f32")), np.zeros(x.shape))
            for n, x in passed(self.d, g, cotangents).items()
        }
        forward = {n: Num(np.asarray(x.v), np.zeros(np.shape(x.v))) for n, x in forward.items()}
        pool = {**self.arrays, **forward, **given}
        pool = {p.name: pool[p.name] for p in g.params if p.name in pool}
        if self.subject.mapped:
            shape = next(iter(self.arrays.values())).v.shape
            assert isinstance(g, Formula)
            found = o.inside(g, pool, Space({}, {})) or self._one_by_one(g, pool, shape)
            return {
                x.name: Num(np.broadcast_to(found[x.name].v, shape), np.broadcast_to(found[x.name].e, shape))
                for x in g.outs
            }
        found = o.run(g, {**self.names, **{n: x for n, x in pool.items() if x.v.ndim == 0}}, pool)
        return {x.name: found[x.name] for x in g.outs}

    def _one_by_one(self, g: Formula, pool: Mapping[str, Num], shape: tuple[int, ...]) -> dict[str, Num]:
        """A gradient of numbers with loops of its own, for each element of the arrays that stand for numbers."""
        found = {x.name: Num(np.zeros(shape, self.oracle.a.dtype(x.dtype)), np.zeros(shape)) for x in g.outs}
        for at in np.ndindex(shape):
            given = {n: Num(np.asarray(x.v[at]), np.asarray(np.broadcast_to(x.e, shape)[at])) for n, x in pool.items()}
            one = self.oracle.run(g, given, given)
            for n, x in found.items():
                x.v[at], x.e[at] = one[n].v, one[n].e
        return found

    def kernel(self, f: Function) -> int:
        """The kernel's gradient within its rounding; how many elements were compared."""
        back = self.subject.call(self.case)
        raw = {p.name: self.subject._raw(p, self.case.arrays[p.name]) for p in self.subject.head.params if p.is_array}
        cells = {spelled(self.d)[n]: x.item() if x.ndim == 0 else x for n, x in self.cotangents.items()}
        named: dict[str, Any] = {p.name: {**raw, **self.case.numbers}[p.name] for p in self.d.params}
        got = self._threaded(f, named | cells)
        forward = {
            n: Num(np.asarray(x).astype(HIGH[t] if (t := self.d.param(n).dtype) in HIGH else x.dtype))
            for n, x in back.items()
        }
        want = self.gradients(self.g, forward, self.cotangents)
        count = 0
        for o, x in zip(self.g.outs, got, strict=True):
            count += compare(o.name, as_floats(o.dtype, np.asarray(x)), want[o.name], "the gradient's definition")
        return count

    def _threaded(self, f: Function, named: dict[str, Any]) -> tuple[Any, ...]:
        """The kernel's gradient, with the same bits for one thread and for many."""
        found = []
        for threads in (1, max(THREADS)):
            with sharing(f._library._build_of(self.g).module, threads):
                back = f.grad(**named, threads=threads)
            found.append(back if isinstance(back, tuple) else (back,))
        for o, one, many in zip(self.g.outs, *found, strict=True):
            alike = same_bits(*(as_floats(o.dtype, np.asarray(x)) for x in (one, many)))
            assert alike, f"{o.name} depends on the number of threads"
        return found[0]

    # ------------------------------------------------------------ central differences

    def slopes(self) -> int:
        """Central differences along a direction for each parameter; how many could be compared."""
        exact = self.gradients(self.g, self.outs, self.cotangents)
        count = 0
        for p in wanted(self.subject):
            x = self.arrays[p.name].v if p.name in self.arrays else np.asarray(self.names[p.name].v)
            step = np.where(x == 0, 1, np.abs(x)) * self.rng.standard_normal(x.shape).astype(x.dtype)
            if not self.subject.mapped and x.size == 0:
                continue
            got = exact.get(f"d_{p.name}") or next(
                (exact[o.name] for o in self.g.outs if o.name.rstrip("_") == f"d_{p.name}"), None
            )
            g = np.zeros_like(x) if got is None else np.asarray(got.v)  # what a gradient leaves out has none
            unsure = 0.0 if got is None else np.asarray(got.e)
            count += self._slope(p, x, step, g, unsure)
        return count

    def _slope(self, p: Param, x: Any, step: Any, g: Any, unsure: Any) -> int:
        mapped = self.subject.mapped
        one, noise = self._difference(p, x, step, STEP)
        two, _ = self._difference(p, x, step, STEP / 2)
        with np.errstate(all="ignore"):
            best, spread = (4 * two - one) / 3, np.abs(one - two)
            terms = g * step
            along, mass = (terms, np.abs(terms)) if mapped else (np.sum(terms), np.sum(np.abs(terms)))
            smooth = np.isfinite(best) & np.isfinite(noise) & (spread <= 1e-4 * (mass + np.abs(best)) + noise)
            smooth &= (noise <= 1e-3 * (mass + np.abs(best))) | ((best == 0) & (mass == 0))
            literal = np.abs(unsure * step)  # a gradient may be written with constants of the kernel's precision
            room = spread + noise + 1e-8 * (mass + np.abs(best)) + (literal if mapped else np.sum(literal))
            wrong = smooth & ~(np.abs(best - along) <= room)
        if np.any(wrong):
            at = np.unravel_index(int(np.argmax(wrong)), np.shape(wrong)) if mapped else ()
            raise AssertionError(
                f"the gradient by {p.name} is {float(np.asarray(along)[at]):.9g} along a direction, but central "
                f"differences give {float(np.asarray(best)[at]):.9g}"
            )
        return int(np.sum(smooth))

    def _difference(self, p: Param, x: Any, step: Any, h: float) -> tuple[Any, Any]:
        """(F(x + h step) - F(x - h step)) / 2 h of the outputs times their cotangents, and its rounding."""
        sides, noise = [], 0.0
        for sign in (1, -1):
            moved = Num(x + sign * h * step, np.zeros(x.shape) if x.ndim else 0)
            names, arrays = dict(self.names), dict(self.arrays)
            if p.name in arrays:
                arrays[p.name] = moved
            else:
                names[p.name] = Num(moved.v[()])
            outs = self.subject.evaluate(self.oracle, names, arrays)
            total: Any = 0.0
            for o in self.d.outs:
                if is_float(o.dtype):
                    c = self.cotangents[o.name].astype(np.float64)
                    share, error = outs[o.name].v * c, np.asarray(outs[o.name].e) * np.abs(c) * SHARP[_unit(o)]
                    total = total + (share if self.subject.mapped else np.sum(share))
                    noise = noise + (error if self.subject.mapped else np.sum(error)) / h  # type: ignore[assignment]
            sides.append(total)
        return (sides[0] - sides[1]) / (2 * h), noise

    # ------------------------------------------------------------ a stated gradient and the derived one

    def derived(self) -> None:
        """The spec's own gradient of what implements a formula against the formula's derived one."""
        d = self.d
        if not getattr(d, "gradient", None):
            return
        lookup = self.subject.spec.program.by_key
        base = lookup(d.implements) if isinstance(d, Procedure) and d.implements else d
        if not isinstance(base, Formula):
            return
        try:
            derived = vjp(base, lookup)
        except GradError:
            return
        shared = {o.name for o, _ in zip(d.outs, base.outs, strict=False)}
        cotangents = {n: x if n in shared else np.zeros_like(x) for n, x in self.cotangents.items()}
        mine = self.gradients(self.g, self.outs, cotangents)
        theirs = self._formula_gradients(base, derived, cotangents)
        for p, q in zip(d.params, base.params, strict=False):
            if f"d_{p.name}" in mine and f"d_{q.name}" in theirs:
                x, y = mine[f"d_{p.name}"], theirs[f"d_{q.name}"]
                bound = (np.asarray(x.e) + np.asarray(y.e)) * SHARP[_unit(p)]
                compare(
                    f"d_{p.name}",
                    np.asarray(x.v),
                    Num(y.v, bound),
                    f"the derived gradient of {base.name}, in higher precision,",
                )

    def _formula_gradients(
        self, base: Formula, derived: Definition, cotangents: Mapping[str, np.ndarray]
    ) -> dict[str, Num]:
        forward = formula_values(self.subject, base, self.case, self.oracle)
        other = self.subject.spec[base.key]
        renamed = {q.name: p.name for p, q in zip(self.d.params, base.params, strict=False)}
        arrays = {q: self.case.arrays[p] for q, p in renamed.items() if p in self.case.arrays}
        numbers = {q: self.case.numbers[p] for q, p in renamed.items() if p in self.case.numbers}
        from .checks import sizes_of

        point = Point(other, derived, Case(sizes_of(base, arrays, numbers, {}), numbers, arrays))
        point.names, point.arrays = other.inputs(point.case, point.oracle)
        point.oracle = point.oracle.smoothed()
        theirs = {b.name: cotangents[o.name] for o, b in zip(self.d.outs, base.outs, strict=False) if is_float(o.dtype)}
        return point.gradients(derived, forward, theirs)


def _unit(p: Param) -> str:
    return "f64" if p.dtype == "f64" else "f32"


__all__ = ["Oracle", "constant", "gradient", "has_gradient", "nums"]
