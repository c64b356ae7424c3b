"""Models: outputs against the oracle, the same bits for any number of threads, gradients against differences.

The oracle evaluates a model's calls one after the other; for a procedure that implements a formula it takes the
formula.  The gradient's kernel is compared with central differences of the oracle's loss along a direction for each
weight.  Its rounding is bounded by that of the loss: the backward pass repeats the forward pass's operations, so the
relative error of a directional derivative is allowed SLACK times the loss's own bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from vibee.api.arrays import NUMPY
from vibee.api.models import ModelFunctions
from vibee.api.values import value
from vibee.tree.defs import Definition, Formula, Layers, Model, ModelCall, Param, Procedure, View
from vibee.tree.expr import Expr

from .checks import THREADS, drawn, sizes_of
from .draw import Case, nums
from .gradients import SHARP, STEP
from .numbers import Failure, Num, Undetermined, nearest_bf16
from .oracle import Oracle, Space
from .subject import Subject, compare, same_bits, sharing, written

SLACK = 16


class Evaluation:
    """One run of a model by the oracle."""

    def __init__(self, oracle: Oracle, m: Model, names: dict[str, Num], arrays: dict[str, Num]) -> None:
        self.oracle, self.m = oracle, m
        self.names, self.values = dict(names), dict(arrays)
        self.layered = {w.name for w in m.weights if w.layered}
        self.layer: int | None = None

    def run(self) -> dict[str, Num]:
        """Outputs and changed inputs by name."""
        self.block(self.m.body)
        outs = {o.name: self.values[self.m.results[o.name]] for o in self.m.outs}
        return outs | {p.name: self.values[p.name] for p in self.m.params if p.kind == "mut"}

    def block(self, body: list) -> None:
        """Calls and layer loops in order."""
        for s in body:
            if isinstance(s, Layers):
                self.layers(s)
            else:
                self.call(s)

    def layers(self, s: Layers) -> None:
        """A layer loop: carried values go from layer to layer."""
        now = {c.inner: self.values[c.init] for c in s.carries}
        for k in range(self.size(s.count)):
            self.layer = k
            self.names[s.var] = Num(np.int64(k))
            self.values |= now
            self.block(s.body)
            now = {c.inner: self.values[c.last] for c in s.carries}
        self.layer = None
        self.values |= {c.result: now[c.inner] for c in s.carries}

    def size(self, e: Expr) -> int:
        """A size expression."""
        return int(self.oracle.whole(e, Space(self.names, {})).v)

    def argument(self, a: View) -> Num:
        """A value, or a part of one, in the shape that the callee sees; it shares the value's memory."""
        whole = self.values[a.array]
        sides = []
        for x in (whole.v, np.broadcast_to(whole.e, np.shape(whole.v)) if not np.shape(whole.e) else whole.e):
            if a.array in self.layered and self.layer is not None:
                x = x[self.layer]
            x = x[tuple(self.size(i) for i in a.lead)] if a.lead else x
            if a.part is not None:
                x = x[self.size(a.part[0]) : self.size(a.part[1])]
            sides.append(x.reshape([self.size(n) for n in a.shape]))
        return Num(*sides)

    def call(self, c: ModelCall) -> None:
        """One call; its results are fresh values."""
        callee = self.oracle.lookup(c.fn)
        names = {n: self.oracle.value(e, Space(self.names, {})) for n, e in c.sizes.items()}
        arrays: dict[str, Num] = {}
        for p, a in zip(callee.params, c.args, strict=True):
            if isinstance(a, View):
                arrays[p.name] = self.argument(a)
            else:
                number = a.op == "load"
                x = self.values[str(a.attr)] if number else self.oracle.value(a, Space(self.names, {}))
                names[p.name] = Num(np.asarray(x.v)[()], np.asarray(x.e)[()] if number else x.e)
        outs = self.results(callee, names, arrays)
        for name, o in zip(c.outs, callee.outs, strict=True):
            self.values[name] = outs[o.name]

    def results(self, callee: Definition, names: dict[str, Num], arrays: dict[str, Num]) -> dict[str, Num]:
        """What a call gives; the formula in place of a procedure that implements it."""
        if not (isinstance(callee, Procedure) and callee.implements):
            return self.oracle.run(callee, names, arrays)
        f = self.oracle.lookup(callee.implements)
        assert isinstance(f, Formula)
        theirs = {q.name: p.name for p, q in zip(callee.params, f.params, strict=False)}
        given = {q: arrays[p] for q, p in theirs.items() if p in arrays}
        numbers = {q: names[p] for q, p in theirs.items() if p in names}
        sizes = sizes_of(f, {n: x.v for n, x in given.items()}, {n: x.v for n, x in numbers.items()}, {})
        found = self.oracle.run(f, {**{n: Num(np.int64(x)) for n, x in sizes.items()}, **numbers}, given)
        out = {o.name: found[b.name] for o, b in zip(callee.outs, f.outs, strict=False)}
        for o in callee.outs[len(f.outs) :]:  # further results: nothing is said about them
            shape = self.oracle.shape(o, Space(names, {}))
            out[o.name] = Num(np.zeros(shape, self.oracle.a.dtype(o.dtype)), np.full(shape, np.inf))
        return out


class Run:
    """A model's kernels and its oracle for one case."""

    def __init__(self, subject: Subject, case: Case, isa: str = "") -> None:
        assert isinstance(subject.d, Model)
        self.subject, self.case, self.m = subject, case, subject.d
        self.library = subject.spec.library(isa)
        functions = getattr(self.library, self.m.name)
        assert isinstance(functions, ModelFunctions)
        self.functions = functions
        self.dtype = self.m.weights_dtype
        self.rng = np.random.default_rng(case.seed)
        own = {p.name for p in self.m.params if p.kind == "size"}
        self.sizes = dict(case.sizes)
        self.inputs = {n: x for n, x in case.numbers.items() if n in own or self.m.param(n).kind == "scalar"}
        flat = case.weights
        if flat is None:
            flat = self.rng.standard_normal(functions.count(**self.sizes)) * 0.5
        self.flat = nearest_bf16(flat) if self.dtype == "bf16" else flat.astype(NUMPY[self.dtype])

    def part(self, part: str, threads: int) -> dict[str, np.ndarray]:
        """`forward` or `gradient` by the kernels: outputs and changed inputs by name."""
        arrays = {n: self.subject._raw(self.m.param(n), x).copy() for n, x in self.case.arrays.items()}
        d = self.functions._function(self.dtype, part).definitions[0]
        taken = {p.name for p in d.params}
        numbers = {n: x for n, x in self.inputs.items() if n in taken}
        flat = self.subject._raw(Param("weights", "in", self.dtype), self.flat)
        with sharing(self.library._build_of(d).module, threads):
            back = getattr(self.functions, part)(flat, threads=threads, **arrays, **numbers)
        back = back if isinstance(back, tuple) else (back,)
        if part == "gradient":
            return {"loss": np.asarray(back[0]), "gradient": back[1]}
        results = {o.name: np.asarray(x) for o, x in zip(self.m.outs, back, strict=True)}
        return results | {p.name: arrays[p.name] for p in self.m.params if p.kind == "mut"}

    def expected(self, move: Mapping[str, Any] | None = None) -> dict[str, Num]:
        """The oracle's outputs; with some weights moved, those that differentiation sees."""
        oracle = self.subject.oracle(60_000)
        if move is not None:
            oracle = oracle.smoothed()
        names = nums(self.m, oracle, {**self.case.sizes, **self.case.numbers})
        kind = oracle.a.dtype(self.dtype)
        arrays = {n: x.astype(kind) for n, x in self.functions.views(self.flat, **self.sizes).items()}
        for n, by in (move or {}).items():
            arrays[n] = arrays[n] + by
        arrays |= {n: x.astype(oracle.a.dtype(self.m.param(n).dtype)) for n, x in self.case.arrays.items()}
        values = {n: Num(x, np.zeros(x.shape)) for n, x in arrays.items()}
        return Evaluation(oracle, self.m, names, values).run()

    def slopes(self, loss: str, gradient: np.ndarray) -> int:
        """The gradient along a direction for each weight; how many could be compared."""
        views = self.functions.views(gradient, **self.sizes)
        at = self.expected()[loss]
        relative = float(at.e) / max(abs(float(at.v)), 1e-300)
        count = 0
        for name, g in views.items():
            if not g.size:
                continue
            step = self.rng.standard_normal(g.shape)
            one, noise = self.difference(loss, name, step, STEP)
            two, _ = self.difference(loss, name, step, STEP / 2)
            best, spread = (4 * two - one) / 3, abs(one - two)
            along, mass = float(np.sum(g * step)), float(np.sum(np.abs(g * step)))
            if not np.isfinite(best) or spread > 1e-4 * (mass + abs(best)) + noise:
                continue
            room = spread + noise + SLACK * relative * (mass + abs(best)) + 1e-9 * mass
            if not room <= 0.1 * (mass + abs(best)):  # nan, too: 0 with an error that is not known
                continue
            assert abs(along - best) <= room, (
                f"the gradient by {name} is {along:.9g} along a direction, but central differences give {best:.9g}, "
                f"and rounding explains {room:.3g} at most"
            )
            count += 1
        return count

    def difference(self, loss: str, name: str, step: Any, h: float) -> tuple[float, float]:
        """A central difference of the loss and its rounding."""
        up, down = (self.expected({name: sign * h * step})[loss] for sign in (1, -1))
        noise = float(up.e + down.e) * SHARP[self.dtype] / h
        return float(up.v - down.v) / (2 * h), noise


def drawn_weights(subject: Subject, case: Case, key: int) -> np.ndarray:
    """What `m.init(key)` draws, in f32 for all versions of a model, by the oracle."""
    library = subject.spec.library()
    functions = getattr(library, subject.d.name)
    d = functions._lower(min(functions._models)).init
    oracle = Oracle(library._unit.by_key, budget=10**6)
    known = {**case.sizes, **case.numbers, d.params[0].name: key}
    names = {p.name: known[p.name] if p.default is None else known.get(p.name, value(p.default, {})) for p in d.params}
    return np.asarray(oracle.run(d, nums(d, oracle, names), {})[d.outs[0].name].v)


def defaults(m: Model) -> dict[str, Any]:
    """The numbers of a model that have a default, at it."""
    return {p.name: value(p.default, {}) for p in m.params if p.kind == "scalar" and p.default is not None}


def model(subject: Subject) -> None:
    """Outputs against the oracle, threads, and the gradient of the loss."""
    m = subject.d
    assert isinstance(m, Model)
    loss = next((o.name for o in m.outs if not o.shape), None)
    state = {"compared": 0, "slopes": 0, "trainable": 0}

    def check(case: Case) -> None:
        run = Run(subject, case)
        first = run.part("forward", 1)
        for threads in THREADS[1:]:
            for name, x in run.part("forward", threads).items():
                assert same_bits(x, first[name]), f"{name} depends on the number of threads"
        try:
            want = run.expected()
            for p in written(m):
                state["compared"] += compare(p.name, first[p.name], want[p.name], "the oracle")
        except (Failure, Undetermined):
            return
        if loss is None or any(p.kind == "mut" for p in m.params):
            return
        state["trainable"] += 1
        one = run.part("gradient", 1)
        assert one["loss"].tobytes() == first[loss].tobytes(), "the gradient's loss is not that of forward"
        for threads in THREADS[1:]:
            for name, x in run.part("gradient", threads).items():
                assert same_bits(x, one[name]), f"{name} depends on the number of threads"
        found = run.slopes(loss, one["gradient"])
        if not found:  # a number may have chosen products too coarse for differences: its default has not
            run = Run(subject, replace(case, numbers=case.numbers | defaults(m)))
            found = run.slopes(loss, run.part("gradient", 1)["gradient"])
        state["slopes"] += found

    drawn(subject, check, m.span, examples=4, kinds=("normal",), most=600)
    if state["trainable"] and not state["slopes"]:  # few cases, none of them smooth enough: others, from other draws
        drawn(subject, lambda case: check(case), m.span, examples=24, kinds=("normal",), most=600)
    if not state["compared"]:
        pytest.skip("nothing could be compared")
    assert state["slopes"] or not state["trainable"], "no point was found where central differences converge"
