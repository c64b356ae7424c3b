"""What is compared: examples, the oracle, the formula that a procedure implements."""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from vibee.api.arrays import NUMPY
from vibee.api.values import value
from vibee.tree.defs import Definition, Formula, Model, Param, Procedure
from vibee.tree.expr import Expr, Span, show
from vibee.tree.types import is_float

from .blocks import corners
from .draw import KINDS, Case, Turns, nums, unmet
from .draw import cases as draw_cases
from .numbers import UNIT, Failure, Num, Undetermined
from .oracle import Oracle, Space
from .subject import Subject, compare, levels, same_bits

THREADS = (1, 2, 5)
STEPS = 30_000  # statements of procedures that the oracle carries out in one test, more or less
EXAMPLES = 12  # drawn cases of one test
SHRINK = 5.0  # seconds spent on finding a smaller failing case
SEED = "VIBEE_TEST_SEED"
CASES = "VIBEE_TEST_CASES"  # instead of EXAMPLES, and of what some tests draw in proportion


def place(span: Span) -> str:
    """`file:line` of a statement, for messages."""
    return f"{os.path.relpath(span.file) if span.file else ''}:{span.line}"


def drawn(
    subject: Subject,
    check: Callable[[Case], None],
    span: Span,
    examples: int = EXAMPLES,
    kinds: tuple[str, ...] = KINDS,
    most: int = 40_000,
) -> None:
    """Carry out a check on drawn cases; a failure names the spec's line, the sizes and the seed."""
    chosen, cases = os.environ.get(SEED, ""), os.environ.get(CASES, "")
    examples = -(-examples * int(cases or EXAMPLES) // EXAMPLES)
    count, first = 0, 0.0
    known: dict[str, str] = {}  # failures by case; `first` is when the first was
    start = zlib.crc32(f"{subject.d.key} {check.__qualname__}".encode()) + int(chosen or 0)  # others begin elsewhere
    turns = Turns(kinds, corners(subject.head, levels(), most), start)

    def one(case: Case | None) -> None:
        nonlocal count, first
        if case is None:
            return
        text = known.get(str(case))
        if text is None and subject.steps < 0:
            return  # enough of what takes long
        if text is None and known and time.monotonic() - first > SHRINK:
            return  # small enough
        try:
            if text is None:
                turns.failed = True  # as long as it has not passed
                with np.errstate(all="ignore"):
                    check(case)
                turns.failed = bool(known)
                count += 1
        except AssertionError as e:
            words = [f"--{n} {x}" for n, x in (("seed", chosen), ("cases", cases)) if x]
            again = f"; {' '.join(words)} repeats it" if words else ""
            text = known[str(case)] = f"{place(span)}: {subject.d.key}: {e}\n  with {case}{again}"
            first = first or time.monotonic()
        if text is not None:
            raise AssertionError(text)

    subject.steps = STEPS
    run = seed(start)(settings(
        max_examples=examples, database=None, deadline=None, print_blob=False,
        suppress_health_check=list(HealthCheck), phases=(Phase.generate, Phase.shrink),
    )(given(draw_cases(subject.head, subject.oracle(), kinds, most, turns))(one)))  # fmt: skip
    run()
    if not count:
        c = unmet(subject.head, subject.oracle())
        which = f"given({show(c)})" if c is not None else "`given`"
        raise AssertionError(f"{place(span)}: {subject.d.key}: no sizes and values were found that satisfy {which}")


def _compared(subject: Subject, before: int, why: str) -> None:
    if subject.compared == before:
        pytest.skip(f"nothing could be compared: {why or 'all drawn cases are empty'}")


# ---------------------------------------------------------------- examples


def example(subject: Subject, line: int, nth: int = 1) -> None:
    """`example(x=..., y=...)`: exact for integers; floats within rounding, or as far as `rel` or `ulp` says."""
    law = subject.line("example", line, nth)
    said_after = dict(law.results)
    case = stated(subject, dict(law.args), {n: np.shape(x) for n, x in law.results})
    try:
        with np.errstate(all="ignore"):
            want = subject.expected(case)
    except (Failure, Undetermined):
        want = {}
    for isa in levels():
        got = subject.call(case, isa)
        for name, x in got.items():
            if name not in said_after:
                continue
            o = subject.head.param(name)
            said = np.asarray(said_after[name])
            said = np.broadcast_to(said, x.shape) if said.ndim == 0 else said
            if not is_float(o.dtype):
                assert np.array_equal(x.reshape(said.shape), said), _differs(law, subject, name, x, said)
                continue
            bound = want[name].e if name in want else 0.0
            size = np.abs(said).astype(float)
            size = np.where(np.isfinite(size), size, 0.0)  # infinity and nan are exact
            bound = np.where(np.isfinite(bound), bound, 0.0) + 2 * UNIT[o.dtype] * size
            if {"rel", "ulp"} & set(said_after):
                share = said_after.get("rel", said_after.get("ulp", 0.0) * 2 * UNIT[o.dtype])
                bound = np.full(said.shape, share * np.max(size, initial=0.0))
            assert x.size == said.size, _differs(law, subject, name, x, said)
            compare(name, x.reshape(said.shape).astype(float), Num(said.astype(float), np.reshape(bound, said.shape)),
                    f"the example at {place(law.span)}")  # fmt: skip
        if want:
            subject.compare(got, want, "the formula")


def _differs(law: Any, subject: Subject, name: str, got: Any, said: Any) -> str:
    return f"{place(law.span)}: {subject.d.key}: {name} is {got.tolist()}, not {said.tolist()}"


def stated(subject: Subject, values: dict[str, Any], shapes: dict[str, Any]) -> Case:
    """The case of an example: arrays with the types of the parameters, sizes from their shapes and from those of the
    results."""
    d = subject.head
    arrays: dict[str, Any] = {}
    numbers: dict[str, Any] = {}
    later = []
    for p in d.params:
        x = values.get(p.name)
        short = p.is_array and p.shape and not subject.mapped and isinstance(x, (Expr, int, float))
        if short:
            later.append(p)  # others tell its size
        elif p.is_array:
            x = np.asarray(values[p.name]) if p.name in values else np.asarray(value(p.default, {}))  # type: ignore[arg-type]
            kind = NUMPY[p.dtype] if p.dtype != "bf16" else np.dtype("f4")
            x = np.atleast_1d(x).reshape(-1) if subject.mapped else x
            arrays[p.name] = (
                x.astype(np.uint64).astype(kind) if p.dtype == "u64" and x.dtype == object else x.astype(kind)
            )
        else:
            numbers[p.name] = values[p.name] if p.name in values else value(p.default, numbers)  # type: ignore[arg-type]
    case = Case(sizes_of(d, arrays, numbers, shapes), numbers, arrays, "stated")
    for p in later:
        arrays[p.name] = filled(subject, case, p, values[p.name])
    if isinstance(d, Model):
        from .models import drawn_weights

        case.weights = drawn_weights(subject, case, values["weights"])
    return case


def filled(subject: Subject, case: Case, p: Param, x: Any) -> np.ndarray:
    """An array of an example that is told by one number, or by the call that draws weights."""
    from .laws import Sides

    if isinstance(x, Expr):
        v = Sides(subject, case, np.random.default_rng(0)).high(x, subject.oracle(10**6)).v
        return np.asarray(v).astype(NUMPY[p.dtype])
    oracle = subject.oracle()
    s = Space(nums(subject.d, oracle, {**case.sizes, **case.numbers}), {})
    return np.full([int(oracle.whole(e, s).v) for e in p.shape], x, NUMPY[p.dtype])


def sizes_of(d: Definition, arrays: dict[str, Any], numbers: dict[str, Any], shapes: dict[str, Any]) -> dict[str, int]:
    """The sizes of a definition from its arguments."""
    out = {}
    for n, where in d.sizes.items():
        if where[0] == "param":
            out[n] = int(numbers[where[1]])
        else:
            shape = arrays[where[1]].shape if where[1] in arrays else shapes[where[1]]
            out[n] = int(shape[where[2]])
    return out


# ---------------------------------------------------------------- the oracle


def agrees(subject: Subject) -> None:
    """The kernels of every instruction set against the oracle; the same bits for any number of threads; nothing
    written outside; refused where the definition has no value."""
    before, why = subject.compared, ""

    def check(case: Case) -> None:
        nonlocal why
        want, failure = None, None
        try:
            want = subject.expected(case)
        except Failure as e:
            failure = e
        except Undetermined as e:
            why = str(e)
            if isinstance(subject.d, Procedure):
                return  # a loop that may not end is not tried
        for isa in levels():
            if failure is not None:
                try:
                    subject.call(case, isa)
                except ValueError:
                    subject.compared += 1
                    continue
                raise AssertionError(f"it is not refused ({isa}), but has no value: {failure}")
            first = subject.call(case, isa)
            if want is not None:
                subject.compare(
                    first, want, f"the formula ({isa})" if isinstance(subject.d, Formula) else f"the oracle ({isa})"
                )
            for threads in THREADS[1:]:
                again = subject.call(case, isa, threads)
                for name, x in again.items():
                    assert same_bits(x, first[name]), f"{name} depends on the number of threads ({isa})"

    heavy = isinstance(subject.d, Procedure) and subject.mapped
    drawn(subject, check, subject.d.span, most=24 if heavy else 40_000)
    _compared(subject, before, why)


def implements(subject: Subject) -> None:
    """A procedure against the formula that it implements: equal but for rounding in higher precision, and the kernel
    against the formula within the rounding of both.  Where the formula is certain, the procedure must have a value."""
    d = subject.d
    assert isinstance(d, Procedure) and d.implements
    base = subject.spec.program.by_key(d.implements)
    pairs = list(zip(d.outs, base.outs, strict=False))
    before, why = subject.compared, ""

    def check(case: Case) -> None:
        nonlocal why
        try:
            theirs = formula_values(subject, base, case)
        except (Failure, Undetermined) as e:
            why = str(e)
            return
        mine: dict[str, Num] = {}
        try:
            mine = subject.expected(case)
        except Failure as e:
            raise AssertionError(f"it is refused ({e}), but {base.name} has a value") from None
        except Undetermined as e:
            why = str(e)
            if "steps" in why:
                return  # it may not end
        want = {}
        for o, b in pairs:
            y = theirs[b.name]
            bound: Any = np.where(np.isfinite(y.e), np.inf, y.e)  # of values that are unknown
            if mine:
                x = mine[o.name]
                bound = np.asarray(x.e) + np.asarray(y.e)
                sharp = Num(y.v, lost(x.v, y, bound * (2.0**-27 if o.dtype == "f32" else 1.0)))
                what = f"{base.name}, in higher precision,"
                subject.compared += compare(o.name, np.asarray(x.v), sharp, what)
            want[o.name] = Num(y.v, bound)
        got = subject.call(case)
        want = {n: Num(y.v, lost(got[n], y, y.e)) for n, y in want.items()}
        subject.compare({n: got[n] for n in want}, want, base.name)

    drawn(subject, check, d.span, kinds=("normal", "whole", "near", "wide"))
    _compared(subject, before, why)


def lost(x: Any, want: Num, bound: Any) -> Any:
    """A bound of the difference, also where x is nan and says nothing itself: there it is what is known of `want`."""
    if np.asarray(x).dtype.kind != "f":
        return bound
    return np.where(np.isnan(x) & np.isfinite(want.v) & np.isfinite(want.e), want.e, bound)


def formula_values(subject: Subject, base: Definition, case: Case, oracle: Oracle | None = None) -> dict[str, Num]:
    """What a formula gives for the arguments of a procedure with the same head."""
    oracle = oracle or subject.oracle()
    d = subject.d
    theirs = {q.name: p.name for p, q in zip(d.params, base.params, strict=False)}
    arrays = {q: case.arrays[p] for q, p in theirs.items() if p in case.arrays}
    numbers = {q: case.numbers[p] for q, p in theirs.items() if p in case.numbers}
    sizes = sizes_of(base, arrays, numbers, {})
    other = subject.spec[base.key]
    return other.expected(Case(sizes, numbers, arrays), oracle)
