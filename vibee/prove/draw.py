"""Arguments for a run: given ones, and others drawn so that `given` holds."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from vibee.tree.defs import Param, Procedure
from vibee.tree.expr import Expr, free_vars, loads, show, walk
from vibee.tree.types import is_float

from .evaluate import Found, Frame, Refused, Run
from .memory import new
from .values import FIT, Value, limits

if TYPE_CHECKING:
    from .replay import Machine

FLIP = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le", "eq": "eq"}


def arrange(m: Machine, p: Procedure, sizes: dict[str, int], arguments: dict[str, Any], seed: int) -> Frame:
    """The first frame of a run; raises Refused if the sizes or arguments break `given`."""
    missing = [n for n in p.sizes if n not in sizes and n not in arguments]
    if missing:
        raise Refused(f"{p.name} needs a value for {missing[0]}")
    at_once = Frame(p, 0, {**sizes})
    for g, test in m.code(p).given:
        if free_vars(g) <= set(sizes) and not any(True for _ in loads(g)) and not _true(test, at_once):
            raise Refused(f"given {show(g)} of {p.name} does not hold")
    rng = random.Random(seed)
    for attempt in range(m.attempts):
        f = _frame(m, p, sizes, arguments, rng, attempt)
        broken = m.holds(p, f)
        if broken is None:
            return f
    raise Refused(f"given {show(broken)} of {p.name} does not hold" if broken else p.name)


def _true(test: Run, f: Frame) -> bool:
    """Does a condition hold?  One that divides by zero does not."""
    try:
        return bool(test(f))
    except Found:
        return False


def _frame(
    m: Machine, p: Procedure, sizes: dict[str, int], arguments: dict[str, Any], rng: random.Random, attempt: int
) -> Frame:
    f = Frame(p, 0, {n: int(v) for n, v in sizes.items()})
    for n in p.sizes:
        if n in arguments and n not in f.env:
            f.env[n] = int(arguments[n])
    if any(v < 0 for v in f.env.values()):
        raise Refused("a size is below 0")
    for q in p.params:
        if not q.is_array and q.name not in f.env:
            f.env[q.name] = _number(m, p, q, f, arguments, rng)
    code = m.code(p)
    for q in [*p.params, *p.outs]:
        if q.name not in code.shapes:
            continue
        try:
            shape = tuple(k(f) for k in code.shapes[q.name])
        except Found as e:
            raise Refused(f"the shape of {q.name}: {e.fault.text}") from None
        if any(n < 0 for n in shape):
            raise Refused(f"an axis of {q.name} is below 0")
        if q.kind == "out":
            f.arrays[q.name] = new(q.name, q.dtype, shape, 0)
            continue
        size = new(q.name, q.dtype, shape, 0).size  # refuses what is too large
        if q.name in arguments:
            values = [FIT[q.dtype](x) for x in _flat(arguments[q.name])]
            if len(values) != size:
                raise Refused(f"{q.name} needs {size} elements, not {len(values)}")
        else:
            values = _elements(*span_of_given(m, p, q, f), q.dtype, size, rng, attempt)
            values = _with_nan(values, rng) if m.odd and is_float(q.dtype) else values
        f.arrays[q.name] = new(q.name, q.dtype, shape, 0, values)
    if p.is_scalar:
        f.env[p.outs[0].name] = FIT[p.outs[0].dtype](0)
    return f


def _number(m: Machine, p: Procedure, q: Param, f: Frame, arguments: dict[str, Any], rng: random.Random) -> Value:
    if q.name in arguments:
        return FIT[q.dtype](arguments[q.name])
    if q.default is not None and rng.random() < 0.5:
        return m.expr(q.default, q.span)(f)
    values = _elements(*span_of_given(m, p, q, f), q.dtype, 1, rng, 0)
    return (_with_nan(values, rng) if m.odd and is_float(q.dtype) else values)[0]


def _with_nan(values: list[Value], rng: random.Random) -> list[Value]:
    """Some of the numbers are none."""
    return [math.nan if rng.random() < 0.2 else x for x in values]


def _flat(x: Any) -> Iterator[Any]:
    x = x.tolist() if hasattr(x, "tolist") else x
    if isinstance(x, (list, tuple)):
        for y in x:
            yield from _flat(y)
    else:
        yield x


def span_of_given(m: Machine, p: Procedure, q: Param, f: Frame) -> tuple[Value | None, Value | None, int]:
    """Bounds that `given` sets to a number or to the elements of an array, where they can be told, and how far
    beyond them one may look."""
    low = high = None
    for g in p.given:
        for c in _conjuncts(g):
            if c.op not in FLIP:
                continue
            left, right = c.args
            for op, me, other in ((c.op, left, right), (FLIP[c.op], right, left)):
                if not _is(me, q) or any(n.op in ("load", "reduce", "call") for n in walk(other)):
                    continue
                if free_vars(other) - set(f.env):
                    continue
                try:
                    limit = m.expr(other, q.span)(f)
                except Found:
                    continue
                step = 0 if is_float(q.dtype) else 1
                if op in ("lt", "le", "eq"):
                    top = limit - step if op == "lt" else limit
                    high = top if high is None else min(high, top)
                if op in ("gt", "ge", "eq"):
                    bottom = limit + step if op == "gt" else limit
                    low = bottom if low is None else max(low, bottom)
    return low, high, max([2, *m.sizes.values()])


def _conjuncts(e: Expr) -> Iterator[Expr]:
    if e.op == "and":
        for a in e.args:
            yield from _conjuncts(a)
    else:
        yield e


def _is(e: Expr, q: Param) -> bool:
    while e.op == "cast":
        e = e.args[0]
    return e.op in ("var", "load") and e.attr == q.name


def _elements(
    low: Value | None, high: Value | None, far: int, dtype: str, size: int, rng: random.Random, attempt: int
) -> list[Value]:
    """Values in a range: at random, with both ends often; in later attempts sorted, all alike, or all different."""
    fit = FIT[dtype]
    if dtype == "bool":
        return [rng.random() < 0.5 for _ in range(size)]
    if is_float(dtype):
        a = -2.0 if low is None else low + 0.125
        b = max(2.0 if high is None else high - 0.125, a)
        a = min(a, b) if low is not None or high is None else b - 4.0
        return [fit(rng.uniform(a, b)) for _ in range(size)]
    least, greatest = limits(dtype)
    a = max(least, -2 if high is None else min(-2, high - 2)) if low is None else low
    b = min(greatest, a + far + 4) if high is None else high
    if a > b:
        a = b
    style = attempt % 4
    if style == 2:
        return [fit(a)] * size
    if style == 3:
        values = [a + k % (b - a + 1) for k in range(size)]
        rng.shuffle(values)
        return [fit(v) for v in values]
    values = [rng.choice((a, b, rng.randint(a, b), rng.randint(a, b))) for _ in range(size)]
    return [fit(v) for v in (sorted(values) if style == 1 else values)]
