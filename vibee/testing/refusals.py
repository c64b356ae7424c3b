"""Wrong arguments: each must be refused with a ValueError that names what is wrong, and nothing else may happen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from vibee.api.arrays import NUMPY
from vibee.tree.defs import Definition, Model, Param
from vibee.tree.expr import Expr, loads, show
from vibee.tree.types import DTYPES, is_float

from .checks import place
from .draw import Case, made
from .elements import Elements
from .numbers import Failure, Undetermined
from .sizes import Search
from .subject import Subject


def raises(subject: Subject, line: int, nth: int = 1) -> None:
    """`raises("text", x=...)`: the call is refused with a message that contains the text."""
    law = subject.line("raises", line, nth)
    named: dict[str, Any] = {}
    for name, x in law.args:
        named[name] = _array(subject.d.param(name), x) if isinstance(x, list) else x
    call = _forward(subject, subject.d) if isinstance(subject.d, Model) else subject.function()
    try:
        call(**named)
    except ValueError as e:
        assert law.name in str(e), f"{place(law.span)}: {subject.d.key}: refused with {str(e)!r}, not {law.name!r}"
        return
    raise AssertionError(f"{place(law.span)}: {subject.d.key}: this call must be refused, but was carried out")


def _forward(subject: Subject, m: Model) -> Callable[..., Any]:
    """A model's forward pass with weights of 0: what `given` asks for is asked before any weight is read."""
    functions = getattr(subject.spec.library(), m.name)

    def call(**named: Any) -> Any:
        sizes = {n: named[at[1]].shape[at[2]] if at[0] == "arg" else named[n] for n, at in m.sizes.items()}
        return functions.forward(np.zeros(functions.count(**sizes), NUMPY[m.weights_dtype]), **named)

    return call


def _array(p: Param, x: Any) -> np.ndarray:
    """Nested lists as an array; those that are empty do not tell all axes."""
    a = np.asarray(x).astype(NUMPY[p.dtype])
    return a if a.size else a.reshape(*a.shape, *([0] * (len(p.shape) - a.ndim)))


def refusals(subject: Subject) -> None:
    """Every way to call it wrongly that its head and `given` tell."""
    case = _valid(subject)
    if case is None:
        pytest.skip("no sizes and values were found that satisfy `given`")
    where, said = f"{place(subject.d.span)}: {subject.d.key}", f"\n  with {case}"
    for what, words, named in wrong_calls(subject, case):
        before = {n: x.tobytes() for n, x in named.items() if isinstance(x, np.ndarray)}
        try:
            subject.function()(**named)
        except ValueError as e:
            text = str(e)
            named_so = " or ".join(words)
            assert any(w in text for w in words), f"{where}: {what} is refused without naming {named_so}: {text}{said}"
        except Exception as e:
            raise AssertionError(f"{where}: {what} gives {type(e).__name__}: {e}{said}") from e
        else:
            raise AssertionError(f"{where}: {what} is not refused{said}")
        for n, x in named.items():
            if isinstance(x, np.ndarray):
                assert x.tobytes() == before[n], f"{where}: {what} changed {n}{said}"


def _valid(subject: Subject, d: Definition | None = None) -> Case | None:
    for seed in range(12):
        sizes = {n: 2 + (seed + k) % 3 for k, n in enumerate(subject.head.sizes)}
        case = made(d or subject.head, subject.oracle(), sizes, "normal", seed)
        if case is not None and all(x.size for x in case.arrays.values()):
            return case
    return None


def wrong_calls(subject: Subject, case: Case) -> Iterator[tuple[str, list[str], dict[str, Any]]]:
    """What is wrong, words of which the message must have one, and the arguments."""
    d = subject.d
    good = _arguments(subject, case)
    for p in d.params:
        if subject.mapped or not (p.is_array and p.shape):
            yield f"text for the number {p.name}", [p.name], {**good, p.name: "text"}
            continue
        x = good[p.name]
        yield f"{p.name} with one axis more", [p.name], {**good, p.name: x[None]}
        yield f"{p.name} of another type", [p.name], {**good, p.name: x.astype(np.complex64)}
        yield f"{p.name} that is no array", [p.name], {**good, p.name: object()}
        yield (
            f"{p.name} with gaps",
            [p.name],
            {**good, p.name: np.repeat(x, 2, axis=-1)[..., ::2]} if x.shape[-1] > 1 else {**good, p.name: x[None]},
        )
        for axis, e in enumerate(p.shape):
            if d.sizes.get(str(e.attr)) != ("arg", p.name, axis) or e.op != "var":
                pad = [(0, int(a == axis)) for a in range(x.ndim)]
                yield f"{p.name} longer along axis {axis}", [p.name, "given"], {**good, p.name: np.pad(x, pad)}
    yield from _aliases(subject, case, good)
    yield from _broken(subject, case, good)
    first = d.params[0]
    if first.default is None:
        yield f"a call without {first.name}", [first.name], {n: x for n, x in good.items() if n != first.name}


def _arguments(subject: Subject, case: Case) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for p in subject.d.params:
        if p.name in case.arrays:
            x = subject._raw(p, case.arrays[p.name])
            out[p.name] = x[0].item() if subject.mapped else x if p.shape else x.item()
        else:
            out[p.name] = case.numbers[p.name]
    return out | {n: case.sizes[n] for n, w in subject.d.sizes.items() if w[0] == "out"}


def _aliases(subject: Subject, case: Case, good: dict[str, Any]) -> Iterator[tuple[str, list[str], dict[str, Any]]]:
    """Outputs that share memory with an input."""
    d = subject.d
    outs = [o for o in d.outs if o.shape]
    if subject.mapped or not outs:
        return
    copies: dict[str, Any] = {n: x.copy() if isinstance(x, np.ndarray) else x for n, x in good.items()}
    try:
        subject.expected(case, subject.oracle(2000))
    except (Failure, Undetermined):
        return  # it may not end
    back = subject.function()(**copies)
    results = [x for x, o in zip(back if isinstance(back, tuple) else (back,), d.outs, strict=True) if o.shape]
    for k, o in enumerate(outs):
        for p in d.params:
            x = good.get(p.name)
            if not isinstance(x, np.ndarray) or not x.nbytes or not results[k].nbytes:
                continue
            memory = np.zeros(max(x.nbytes, results[k].nbytes) + 16, np.uint8)
            shared = memory[: x.nbytes].view(x.dtype).reshape(x.shape)
            shared[...] = x
            out = list(results)
            out[k] = memory[: results[k].nbytes].view(results[k].dtype).reshape(results[k].shape)
            given = {n: y for n, y in good.items() if not (n in d.sizes and d.sizes[n][0] == "out")}
            yield f"{o.name} in the memory of {p.name}", [o.name, p.name], {**given, p.name: shared, "out": tuple(out)}


def _broken(subject: Subject, case: Case, good: dict[str, Any]) -> Iterator[tuple[str, list[str], dict[str, Any]]]:
    """Each condition of `given` broken, the others kept where that is possible."""
    d = subject.d
    if subject.mapped:
        return
    oracle = subject.oracle()
    for c in d.given:
        read = {str(ld.attr) for ld in loads(c)}
        if read:
            yield from _elements(subject, case, good, c, read)
            continue
        others = [g for g in d.given if g is not c]
        other = replace(d, given=[*others, Expr("not", (c,), None, "bool")])
        found = Search(other, oracle, dict.fromkeys(d.sizes, 2), np.random.default_rng(1), 2000).run()
        if found is None:
            continue
        arrays = Elements(replace(d, given=others), oracle, found, "normal", np.random.default_rng(1)).run()
        if arrays is None:
            continue
        bad = Case(
            {n: int(found[n]) for n in d.sizes}, {p.name: found[p.name] for p in d.params if p.name in found}, arrays
        )
        yield f"given({show(c)}) broken", ["given", *(p.name for p in d.params)], _arguments(subject, bad)


def _elements(
    subject: Subject, case: Case, good: dict[str, Any], c: Expr, read: set[str]
) -> Iterator[tuple[str, list[str], dict[str, Any]]]:
    """One element that breaks a condition."""
    d = subject.d
    for name in sorted(read):
        p = d.param(name)
        x = good.get(name)
        if not isinstance(x, np.ndarray) or not x.size or p.dtype == "bool":
            continue
        tries: list[Any] = (
            [-1e30, 1e30, 0.0, -1.0] if is_float(p.dtype) else [-1, 1 << (DTYPES[p.dtype].bits - 2), -(1 << 20), 0]
        )
        if DTYPES[p.dtype].kind == "u":
            tries = [(1 << DTYPES[p.dtype].bits) - 1, 0]
        for value in tries:
            bad = x.copy()
            if not is_float(p.dtype) and not np.iinfo(x.dtype).min <= value <= np.iinfo(x.dtype).max:
                continue
            bad.flat[-1 if bad.size > 1 else 0] = value
            broken = Elements(
                replace(d, given=[c]),
                subject.oracle(),
                {**case.sizes, **case.numbers},
                "normal",
                np.random.default_rng(1),
            )
            if broken.broken(c, {**case.arrays, name: bad}) is not None:
                yield f"{name}[...] = {value}, which breaks given({show(c)}),", ["given", name], {**good, name: bad}
                break
