"""Calls of a definition, good and bad: arguments that satisfy `given`, with up to two of them spoilt."""

from __future__ import annotations

import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from vibee.api.arrays import NUMPY
from vibee.testing.draw import Case, cases
from vibee.testing.oracle import Oracle
from vibee.testing.subject import elementwise, on_numbers
from vibee.tree.defs import Definition, Param
from vibee.tree.types import is_float

HUGE = 2**40
NUMBERS = (0, -1, 1, 2, 3, 127, 128, 255, 2**31 - 1, -(2**31), 2**31, 2**32, 2**62, 2**63 - 1, -(2**63), 2**63, 2**64,
           10**30, 0.0, -0.0, 1e-40, 1e38, 1e300, -1e300, np.inf, -np.inf, np.nan, 0.5)  # fmt: skip
WRONG = ("3", None, 1j, [1], b"1", True, np.float32(1.5), np.int8(-3), np.array(2), np.array([2, 3]), object())
THREADS = (1, 2, 3, 7, 2, 3, 0, -1, 10**6, 2**70, True, "2", 2.0, None, np.int64(2))
KINDS = ("normal", "special", "wide", "whole")


@dataclass
class Call:
    """Arguments by name, and what was done to them."""

    named: dict[str, Any]
    out: list[Any] | None
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        given = dict(self.named, **({} if self.out is None else {"out": tuple(self.out)}))
        return f"{'; '.join(self.notes) or 'as it should be'}: {', '.join(f'{n}={shown(x)}' for n, x in given.items())}"


def shown(x: Any) -> str:
    """An argument in few words."""
    if isinstance(x, np.ndarray):
        return f"{x.dtype}{list(x.shape)}"
    if isinstance(x, tuple):
        return f"({', '.join(map(shown, x))})"
    return repr(x)[:40]


@st.composite
def calls(draw: Any, d: Definition, oracle: Oracle, spoil: bool = True, most: int = 20_000) -> Call | None:
    """Calls of a definition; None where no good arguments were found."""
    head = elementwise(d) if on_numbers(d) and (not spoil or draw(st.booleans())) else d  # threads share only arrays
    case = draw(cases(head, oracle, KINDS, most))
    if case is None:
        return None
    c = good(head, oracle, case, draw)
    if not spoil:
        return c
    for _ in range(draw(st.sampled_from((0, 1, 1, 1, 2)))):
        EDITS[draw(st.integers(0, len(EDITS) - 1))](draw, head, c)
    if draw(st.integers(0, 3)) == 0:
        c.named["threads"] = draw(st.sampled_from(THREADS))
    return c


def good(d: Definition, oracle: Oracle, case: Case, draw: Any) -> Call:
    """A case as arguments; outputs are given in half of the calls."""
    named: dict[str, Any] = {}
    for p in d.params:
        if p.name in case.arrays:
            x = stored(p, case.arrays[p.name])
            named[p.name] = x if p.shape else float(x) if is_float(p.dtype) else x.item()
        elif p.name in case.numbers:
            named[p.name] = case.numbers[p.name]
    free = {n: case.sizes[n] for n, where in d.sizes.items() if where[0] == "out"}
    out = None
    if draw(st.booleans()):
        out = [np.zeros(shape(o, d, oracle, case), NUMPY[o.dtype]) for o in d.outs if o.shape] or None
    return Call({**named, **(free if out is None else {}), "threads": draw(st.sampled_from((1, 2, 3)))}, out)


def stored(p: Param, x: np.ndarray) -> np.ndarray:
    """A drawn array as a caller has it."""
    if p.dtype == "bf16":
        return (np.ascontiguousarray(x, np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return x.astype(NUMPY[p.dtype])


def shape(o: Param, d: Definition, oracle: Oracle, case: Case) -> tuple[int, ...]:
    """The shape of an output."""
    from vibee.testing.draw import nums
    from vibee.testing.oracle import Space

    s = Space(nums(d, oracle, {**case.sizes, **case.numbers}), {})
    return tuple(max(int(oracle.whole(e, s).v), 0) for e in o.shape)


# ---------------------------------------------------------------- what is done to arguments

Edit = Callable[[Any, Definition, Call], None]


def _arrays(c: Call) -> list[tuple[Any, Any]]:
    """Places of arrays: their container and key."""
    places: list[tuple[Any, Any]] = [(c.named, n) for n in c.named] + [(c.out, k) for k in range(len(c.out or []))]
    return [(where, k) for where, k in places if isinstance(where[k], np.ndarray) and where[k].ndim]


def _spoil(draw: Any, c: Call, ways: dict[str, Callable[[np.ndarray], Any]]) -> None:
    """One array, spoilt in one of some ways."""
    places = _arrays(c)
    if not places:
        return
    where, key = draw(st.sampled_from(places))
    how = draw(st.sampled_from(sorted(ways)))
    c.notes.append(f"{key if where is c.named else f'out {key}'} {how}")
    where[key] = ways[how](where[key])


def wrong_type(draw: Any, d: Definition, c: Call) -> None:
    """Another type of element, or no array at all."""
    other = draw(st.sampled_from(("f4", "f8", "i4", "i8", "u8", "i1", "u2", "f2", "c8", "?", "O", "S3", ">f4", ">i4")))
    _spoil(draw, c, {
        f"as {other}": lambda x: np.zeros(x.shape, other), "a list": lambda x: [], "None": lambda x: None,
        "bytes": lambda x: bytes(x.nbytes), "a bytearray": lambda x: bytearray(x.nbytes), "text": lambda x: "abc",
        "an array.array": lambda x: array.array("f", [0.0] * x.size), "a number": lambda x: 3,
        "a memoryview": lambda x: memoryview(np.ascontiguousarray(x)), "a class": lambda x: np.ndarray,
    })  # fmt: skip


def wrong_layout(draw: Any, d: Definition, c: Call) -> None:
    """Another layout of the memory, or memory that must not be written."""

    def frozen(x: np.ndarray) -> np.ndarray:
        y = x.copy()
        y.flags.writeable = False
        return y

    _spoil(draw, c, {
        "not contiguous": lambda x: np.repeat(x, 2, axis=-1)[..., ::2], "reversed": lambda x: x.copy()[..., ::-1],
        "transposed": lambda x: np.ascontiguousarray(x.T).T, "read-only": frozen,
        "of strides 0": lambda x: np.lib.stride_tricks.as_strided(np.zeros(1, x.dtype), x.shape, (0,) * x.ndim),
        "not aligned": lambda x: np.frombuffer(bytes(x.nbytes + 1), np.uint8)[1:].view(x.dtype).reshape(x.shape),
    })  # fmt: skip


def wrong_size(draw: Any, d: Definition, c: Call) -> None:
    """Another rank, an axis one longer, one shorter or empty, and empty arrays with huge axes."""

    def along(x: np.ndarray, by: int) -> np.ndarray:
        axis = draw(st.integers(0, x.ndim - 1))
        n = max(x.shape[axis] + by, 0)
        return np.ascontiguousarray(
            np.take(x, np.arange(n) % max(x.shape[axis], 1), axis)
            if x.shape[axis]
            else np.zeros((*x.shape[:axis], n, *x.shape[axis + 1 :]), x.dtype)
        )

    def huge(x: np.ndarray) -> np.ndarray:
        axes = [draw(st.sampled_from((0, 1, HUGE, 2**20, 2**31, n))) for n in x.shape]
        axes[draw(st.integers(0, x.ndim - 1))] = 0
        try:
            return np.empty(axes, x.dtype)
        except ValueError:  # more than numpy can count
            return np.empty([0] * x.ndim, x.dtype)

    _spoil(draw, c, {
        "longer by 1": lambda x: along(x, 1), "shorter by 1": lambda x: along(x, -1),
        "empty": lambda x: along(x, -x.size),
        "twice as long": lambda x: along(x, x.shape[-1]), "of one more axis": lambda x: x[None],
        "of one axis": lambda x: x.reshape(-1), "of no axis": lambda x: np.zeros((), x.dtype), "huge but empty": huge,
    })  # fmt: skip


def wrong_values(draw: Any, d: Definition, c: Call) -> None:
    """Elements at the ends of their type: indices out of range, infinities."""

    def at_the_end(x: np.ndarray) -> np.ndarray:
        y = np.array(x)
        if not y.size or y.dtype.kind not in "iuf":
            return y
        place = draw(st.integers(0, y.size - 1))
        if y.dtype.kind == "f":
            y.flat[place] = draw(st.sampled_from((np.inf, -np.inf, np.nan, 1e30, -1e30, 1e-42, 0.5)))
            return y
        ends = np.iinfo(y.dtype)
        near = {n + k for x in c.named.values() if isinstance(x, np.ndarray) for n in x.shape for k in (-1, 0, 1)}
        picks = [ends.min, ends.max, ends.min + 1, ends.max - 1, -1, 0, *sorted(near)]
        y.flat[place] = draw(st.sampled_from([k for k in picks if ends.min <= k <= ends.max]))
        return y

    _spoil(draw, c, {"with another element": at_the_end})


def wrong_number(draw: Any, d: Definition, c: Call) -> None:
    """A number or a size that is none, or is enormous."""
    names = [p.name for p in d.params if not isinstance(c.named.get(p.name), np.ndarray)]
    names += [n for n, where in d.sizes.items() if where[0] == "out" and n in c.named]
    if names:
        name = draw(st.sampled_from(names))
        c.named[name] = draw(st.sampled_from(NUMBERS + WRONG))
        c.notes.append(f"{name} = {shown(c.named[name])}")


def shared(draw: Any, d: Definition, c: Call) -> None:
    """Two arrays in the same memory, or in overlapping parts of it."""
    places = _arrays(c)
    if len(places) < 2:
        return
    first, second = draw(st.sampled_from(places)), draw(st.sampled_from(places))
    x, y = first[0][first[1]], second[0][second[1]]
    by = draw(st.sampled_from((0, 1, 2, 5)))
    if first == second or x.dtype.hasobject or y.dtype.hasobject or not x.flags.c_contiguous:
        return
    start = by * y.itemsize
    memory = np.zeros(max(x.nbytes, start + y.nbytes), np.uint8)
    first[0][first[1]] = a = memory[: x.nbytes].view(x.dtype).reshape(x.shape)
    second[0][second[1]] = b = memory[start : start + y.nbytes].view(y.dtype).reshape(y.shape)
    b[...] = y
    a[...] = x
    c.notes.append(f"{first[1]} and {second[1]} share memory, {start} bytes apart")


def wrong_count(draw: Any, d: Definition, c: Call) -> None:
    """An argument or an output too few or too many."""
    what = draw(st.sampled_from(("missing", "unknown", "outputs", "no tuple")))
    if what == "missing" and c.named:
        name = draw(st.sampled_from(sorted(c.named)))
        del c.named[name]
        c.notes.append(f"without {name}")
    elif what == "unknown":
        c.named["no_such_argument"] = 1
        c.notes.append("an argument more")
    elif c.out is not None:
        c.out = [*c.out, np.zeros(2)] if draw(st.booleans()) else c.out[:-1]
        c.notes.append("another number of outputs")


EDITS: tuple[Edit, ...] = (
    wrong_type, wrong_layout, wrong_size, wrong_size, wrong_values, wrong_values, wrong_number, wrong_number, shared,
    wrong_count,
)  # fmt: skip
