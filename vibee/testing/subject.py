"""A definition under test: its compiled kernels for every instruction set, called with guarded arrays, beside the
oracle of the same definition."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np

from vibee.api.arrays import NUMPY, fits
from vibee.api.function import Function
from vibee.api.library import Build, Library
from vibee.build.flags import default_isa
from vibee.check import load as check
from vibee.runtime.machine import LEVELS, supported_levels
from vibee.tree.defs import Definition, Formula, Model, Param, Procedure
from vibee.tree.expr import Expr, Span, load, substitute, var
from vibee.tree.types import is_float

from .draw import Case, nums
from .numbers import Num
from .oracle import Oracle, Space

GUARD = 64  # bytes before and after every array that must not change
CANARY = 0xA5
ISA = "VIBEE_TEST_ISA"  # the only instruction set whose kernels are tested
ITEM = "vb_item"  # the index of a definition of numbers that is called with arrays


class Guarded:
    """An array between two guard zones, a given number of elements off a 64-byte boundary."""

    def __init__(self, shape: tuple[int, ...], dtype: Any, offset: int) -> None:
        kind: np.dtype[Any] = np.dtype(dtype)
        size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
        self.memory = np.full(size + 4 * GUARD, CANARY, np.uint8)
        address = self.memory.ctypes.data
        self.start = -address % 64 + GUARD + offset * kind.itemsize % 64
        self.stop = self.start + size
        self.array: np.ndarray = self.memory[self.start : self.stop].view(kind).reshape(shape)

    def intact(self) -> bool:
        """Are both guard zones as they were?"""
        return bool((self.memory[: self.start] == CANARY).all() and (self.memory[self.stop :] == CANARY).all())


def levels() -> list[str]:
    """The instruction sets of this machine, the lowest first, or the one that is asked for."""
    if os.environ.get(ISA):
        return [os.environ[ISA]]
    return [x for x in LEVELS if x in supported_levels()] or [default_isa()]


@contextlib.contextmanager
def sharing(module: ModuleType, threads: int) -> Iterator[None]:
    """With several threads, the loops of a module use them here, however little work there is, and write around the
    cache what they stream, however small it is."""
    names = ("vb_share", "vb_around") if threads > 1 else ()
    limits = [change for name in names if (change := getattr(module, name, None))]  # without such loops there is none
    before = [change(0) for change in limits]
    try:
        yield
    finally:
        for change, limit in zip(limits, before, strict=True):
            change(limit)


class Spec:
    """A spec file: its checked definitions by instance name, and libraries by instruction set."""

    def __init__(self, path: str) -> None:
        from vibee.api import SpecError

        self.path = path
        self.program = check(path)
        if self.program.errors:
            raise SpecError([str(e) for e in self.program.errors])
        self.oracle = Oracle(self.program.by_key)  # what is known of definitions, for all others
        self._libraries: dict[str, Library] = {}
        self._subjects: dict[str, Subject] = {}
        self._gradients = False

    def library(self, isa: str = "") -> Library:
        """The spec's library for one instruction set."""
        isa = isa or default_isa()
        if isa not in self._libraries:
            self._libraries[isa] = Library(self.program, isa)
        return self._libraries[isa]

    def __getitem__(self, key: str) -> Subject:
        if key not in self._subjects:
            self._subjects[key] = Subject(self, self.program.by_key(key))
        return self._subjects[key]

    def definitions(self) -> dict[str, list[Definition]]:
        """The file's own definitions with all their instances."""
        return self.program.defs  # type: ignore[no-any-return]

    def gradients(self) -> Library:
        """The library with all derived gradients of the file in one module for each float type."""
        library = self.library()
        if self._gradients:
            return library
        self._gradients = True
        from vibee.grad import GradError, vjp

        groups: dict[str, list[Definition]] = {}
        for versions in self.definitions().values():
            for d in versions:
                if not isinstance(d, Formula) or d.gradient or not derivable(d):
                    continue
                try:
                    g = library._unit.add(vjp(d, library._unit.by_key))
                except GradError:
                    continue
                library._gradients[d.key] = g
                groups.setdefault("f64" if d.key.endswith("_f64") else "main", []).append(g)
        for name, ds in groups.items():
            build = Build(library._unit, f"{library._stem}_gradients_{name}", ds, library._isa)
            library._builds |= {g.key: build for g in ds}
        return library


@functools.cache
def spec(path: str) -> Spec:
    """The spec at a path, loaded once."""
    return Spec(os.path.abspath(path))


def derivable(d: Definition) -> bool:
    """Are there floats to differentiate by, and floats to differentiate?"""
    return any(is_float(p.dtype) and p.kind in ("in", "scalar") for p in d.params) and any(
        is_float(o.dtype) for o in d.outs
    )


def on_numbers(d: Definition) -> bool:
    """Is it from numbers to numbers, so that calls with arrays work on every element?"""
    return all(p.kind == "scalar" for p in d.params) and bool(d.params) and not d.sizes and all(
        not o.shape for o in d.outs
    ) and bool(d.outs)  # fmt: skip


def elementwise(d: Definition) -> Definition:
    """The head of a definition of numbers as that of one of arrays of one length, for drawing."""
    n, i = var("N"), var(ITEM)
    element = {p.name: load(p.name, (i,), p.dtype) for p in d.params}
    params = [Param(p.name, "in", p.dtype, (n,), span=p.span) for p in d.params]
    outs = [Param(o.name, "out", o.dtype, (n,), span=o.span) for o in d.outs]
    given = [substitute(g, element) for g in d.given]
    return Definition(d.name, d.key, params, outs, {"N": ("arg", d.params[0].name, 0)}, given, d.laws, span=d.span)


class Subject:
    """One instance of a definition."""

    def __init__(self, spec: Spec, d: Definition) -> None:
        self.spec, self.d = spec, d
        self.mapped = on_numbers(d)
        self.head = elementwise(d) if self.mapped else d
        self.compared = 0
        self.steps = 0  # statements that the oracle may still carry out in this test

    def __repr__(self) -> str:
        return self.d.key

    def oracle(self, budget: int = 20_000) -> Oracle:
        """A fresh oracle."""
        oracle = Oracle(self.spec.program.by_key, budget=budget)
        oracle.share(self.spec.oracle)
        return oracle

    # ------------------------------------------------------------ the oracle's side

    def inputs(self, case: Case, oracle: Oracle) -> tuple[dict[str, Num], dict[str, Num]]:
        """The numbers and arrays of a case as the oracle takes them."""
        names = nums(self.d, oracle, {**case.sizes, **case.numbers})
        arrays = {}
        for n, a in case.arrays.items():
            v = a.astype(oracle.a.dtype(self.head.param(n).dtype))
            arrays[n] = Num(v, np.zeros(v.shape, bool if v.dtype == bool else float))
        return names, arrays

    def expected(self, case: Case, oracle: Oracle | None = None) -> dict[str, Num]:
        """Outputs and changed arrays by name; raises Failure or Undetermined."""
        if case.weights is not None:
            from .models import Run

            return Run(self, case).expected()
        oracle = oracle or self.oracle()
        return self.evaluate(oracle, *self.inputs(case, oracle))

    def everything(self, case: Case, oracle: Oracle) -> dict[str, Num]:
        """All arrays of the definition by name, temporaries too."""
        names, arrays = self.inputs(case, oracle)
        if self.mapped:
            assert isinstance(self.d, Formula)
            return oracle.inside(self.d, arrays, Space({}, {})) or {}
        return oracle.run(self.d, names, arrays)

    def evaluate(self, oracle: Oracle, names: dict[str, Num], arrays: dict[str, Num]) -> dict[str, Num]:
        """The oracle's outputs for numbers and arrays in its own form."""
        d = self.d
        if not self.mapped:
            changed = {n: Num(a.v.copy(), np.array(a.e)) for n, a in arrays.items() if d.param(n).kind == "mut"}
            before = oracle.budget
            try:
                after = oracle.run(d, names, arrays | changed)
            finally:
                self.steps -= before - oracle.budget
            return {p.name: after[p.name] for p in written(d)}
        args = [arrays[p.name] for p in d.params]
        shape = args[0].v.shape
        found: dict[str, Num] | None = None
        if isinstance(d, Formula) and oracle.elementary(d):
            found = {d.outs[0].name: oracle.elementary_value(d, args)}
        elif isinstance(d, Formula):
            found = oracle.inside(d, arrays, Space({}, {}))
        if found is None:
            return self._one_by_one(oracle, args)
        outs = {o.name: found[o.name] for o in d.outs}
        return {n: Num(np.broadcast_to(x.v, shape), np.broadcast_to(x.e, shape)) for n, x in outs.items()}

    def _one_by_one(self, oracle: Oracle, args: list[Num]) -> dict[str, Num]:
        n = args[0].v.size
        outs = {o.name: oracle.blank(o.dtype, (n,)) for o in self.d.outs}
        for k in range(n):
            given = {
                p.name: Num(a.v[k], a.e[k] if np.ndim(a.e) else a.e) for p, a in zip(self.d.params, args, strict=True)
            }
            found = oracle.run(self.d, given, {})
            for name, out in outs.items():
                out.v[k], out.e[k] = found[name].v, found[name].e
        return outs

    # ------------------------------------------------------------ the kernel's side

    def function(self, isa: str = "") -> Function:
        """The compiled kernel."""
        return Function(self.spec.library(isa), self.d.name, [self.d])

    def call(self, case: Case, isa: str = "", threads: int = 1) -> dict[str, np.ndarray]:
        """Outputs and changed arrays of the kernel; nothing else may have changed."""
        if case.weights is not None:
            from .models import Run

            return Run(self, case, isa).part("forward", threads)
        inputs = {
            p.name: self._placed(p, case.arrays[p.name], case.offset)
            for p in self.head.params
            if p.is_array and p.name in case.arrays
        }
        outs = {}
        for o in self.head.outs:
            if o.shape:
                shape = self.shape(o, case)
                outs[o.name] = Guarded(shape, NUMPY[o.dtype], case.offset)
        named = {n: g.array for n, g in inputs.items()} | {
            n: x for n, x in case.numbers.items() if any(p.name == n for p in self.head.params)
        }
        named = {p.name: self._cell(p, named[p.name]) for p in self.head.params if p.name in named}
        out = tuple(g.array for g in outs.values())
        with sharing(self.spec.library(isa)._build_of(self.d).module, threads):
            back = self.function(isa)(**named, out=out or None, threads=threads)
        for name, g in [*inputs.items(), *outs.items()]:
            assert g.intact(), f"{self.d.name} wrote outside of {name}"
        results: dict[str, np.ndarray] = {}
        values = back if isinstance(back, tuple) else (back,)
        for o, x in zip(self.head.outs, values, strict=bool(self.head.outs)):
            results[o.name] = np.asarray(x, NUMPY[o.dtype] if o.dtype != "bf16" or o.shape else np.float32)
        for p in self.head.params:
            if p.is_array and p.shape and p.name in inputs:
                got = inputs[p.name].array
                if p.kind == "mut":
                    results[p.name] = got
                else:
                    same = got.tobytes() == self._raw(p, case.arrays[p.name]).tobytes()
                    assert same, f"{self.d.name} changed its input {p.name}"
        return {n: as_floats(self.head.param(n).dtype, a) for n, a in results.items()}

    def shape(self, o: Param, case: Case) -> tuple[int, ...]:
        """The shape of an output."""
        if self.mapped:
            return case.arrays[self.d.params[0].name].shape
        oracle = self.oracle()
        s = Space(nums(self.d, oracle, {**case.sizes, **case.numbers}), {})
        return tuple(int(oracle.whole(e, s).v) for e in o.shape)

    @staticmethod
    def _raw(p: Param, x: np.ndarray) -> np.ndarray:
        if p.dtype == "bf16":
            return (np.ascontiguousarray(x, np.float32).view(np.uint32) >> 16).astype(np.uint16)
        return x.astype(NUMPY[p.dtype])

    def _placed(self, p: Param, x: np.ndarray, offset: int) -> Guarded:
        raw = self._raw(p, x)
        g = Guarded(raw.shape, raw.dtype, offset)
        g.array[...] = raw
        return g

    @staticmethod
    def _cell(p: Param, x: Any) -> Any:
        """An array parameter of rank 0 is given as a number."""
        return x.item() if isinstance(x, np.ndarray) and not p.shape else x

    # ------------------------------------------------------------ comparison

    def compare(self, got: Mapping[str, np.ndarray], want: Mapping[str, Num], what: str) -> None:
        """Every element of every output within its bound."""
        for name, x in got.items():
            self.compared += compare(name, x, want[name], what)

    def line(self, kind: str, line: int, nth: int = 1) -> Any:
        """The statement of a kind at a line, the nth there."""
        return [w for w in self.d.laws if w.kind == kind and w.span.line == line][nth - 1]


def as_floats(dtype: str, x: np.ndarray) -> np.ndarray:
    """bfloat16 as f32, anything else as it is."""
    if dtype != "bf16" or x.dtype != np.uint16:
        return x
    return (x.astype(np.uint32) << 16).view(np.float32)


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Are they equal bit for bit?  Of nan there are many, and which one an operation gives is the C compiler's choice,
    in vectors another than in what is left of a loop."""
    if a.dtype.kind != "f":
        return a.tobytes() == b.tobytes()
    nan = np.isnan(a)
    return np.array_equal(nan, np.isnan(b)) and a[~nan].tobytes() == b[~nan].tobytes()


def written(d: Definition) -> list[Param]:
    """What a call gives or changes."""
    return [*d.outs, *(p for p in d.params if p.kind == "mut")]


def compare(name: str, got: np.ndarray, want: Num, what: str) -> int:
    """How many elements could be compared; AssertionError names the worst one that is out of its bound."""
    v = np.broadcast_to(want.v, got.shape)
    e = np.broadcast_to(want.e, got.shape)
    if v.dtype == bool or got.dtype == bool:
        wrong = (got != v) & ~e.astype(bool)
        sure = int((~e.astype(bool)).sum())
        e = e.astype(float)
        gap = wrong.astype(float)
    else:
        with np.errstate(all="ignore"):
            exact = (got == v) | (np.isnan(got) & np.isnan(v)) if got.dtype.kind == "f" else got == v
            high = np.promote_types(v.dtype, np.float64)
            gap = np.where(exact, 0.0, np.abs(got.astype(high) - v.astype(high)))
            if got.dtype.kind in "iu":
                gap = np.where(exact, 0.0, np.maximum(gap, 1.0))
            wrong = ~exact & ~(gap <= e * 1.01) & np.isfinite(e)
        sure = int(np.isfinite(e).sum())
    if wrong.any():
        order = np.where(wrong, np.where(np.isnan(gap), np.inf, gap / np.maximum(e, 1e-300)), -1.0)
        at = np.unravel_index(int(np.argmax(order)), got.shape)
        place = f"{name}[{', '.join(map(str, at))}]" if at else name
        raise AssertionError(
            f"{place} is {got[at]}, but {what} gives {v[at]} with a rounding error of at most {float(e[at]):.3g}; "
            f"{int(wrong.sum())} of {got.size} elements are wrong"
        )
    return sure


__all__ = ["Callable", "Expr", "Guarded", "Model", "Procedure", "Span", "Spec", "Subject", "fits", "replace", "spec"]
