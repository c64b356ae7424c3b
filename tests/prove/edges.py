"""Runs with integers at the edges of their types, where sums wrap around: small numbers never come there."""

from __future__ import annotations

import math
import random
from typing import Any

from vibee.lower.unit import Unit
from vibee.prove.draw import span_of_given
from vibee.prove.evaluate import Found, Frame, Refused
from vibee.prove.refute import machine
from vibee.prove.replay import Machine
from vibee.prove.values import limits
from vibee.tree.defs import Param, Procedure
from vibee.tree.expr import Span
from vibee.tree.types import is_int

NEAR = (0, 0, 1, 1, -1, 2, -2, 3, 5)
FAR = (2**15, 2**16, 46341, 2**31 - 1, 2**31, -(2**31), 2**32, 2**40, 2**62, 2**63 - 1, -(2**63), 2**63, 2**64 - 1)
RUNS = 80
STEPS = 500  # a loop of 2**31 turns tells no more
ALL_STEPS = 5_000


class Entered(Machine):
    """A machine that makes no run which the test on entry refuses (vibee.prove.overflow.fits)."""

    def enter(self, p: Procedure, f: Frame) -> None:
        """Test, and run."""
        self.entry(p, f)
        super().enter(p, f)

    def number(self, f: Frame, key: str, args: list, span: Span) -> Any:
        """A function of numbers is entered, too."""
        p = self.lookup(key)
        self.entry(p, Frame(p, 0, {q.name: a for q, a in zip(p.params, args, strict=True)}))
        return super().number(f, key, args, span)

    def entry(self, p: Procedure, f: Frame) -> None:
        """The test on entry."""
        if p.fits is not None and not self.expr(p.fits, p.span)(f):
            raise Refused(f"{p.name}: too large")


def entered(unit: Unit, steps: int, kinds: frozenset[str]) -> Entered:
    """Such a machine for the definitions of a unit."""
    m = Entered(machine(unit).lookup, kinds, steps)
    m.checked = unit.by_key
    return m


def run_edges(m: Entered, p: Procedure) -> None:
    """Some runs; the machine notes what it finds.  A loop that goes on for long is none that never ends."""
    if not any(is_int(q.dtype) and q.kind != "size" for q in p.params):
        return
    names = set(p.sizes) | {q.name for q in p.params if q.kind == "size"}
    saved = m.kinds, m.limit, m.attempts
    m.kinds, m.limit, m.attempts = m.kinds - {"endless"}, STEPS, 3
    steps = 0
    for seed in range(RUNS):
        rng = random.Random(seed)
        sizes = {n: rng.choice((1, 2, 2, 3, 4)) for n in sorted(names)}
        steps += m.run(p, sizes, arguments(m, p, sizes, rng), seed).steps
        if steps > ALL_STEPS:
            break
    m.kinds, m.limit, m.attempts = saved


def arguments(m: Entered, p: Procedure, sizes: dict[str, int], rng: random.Random) -> dict[str, Any]:
    """Values for most of the integers; the others are drawn as in every run."""
    m.sizes = sizes
    f = Frame(p, 0, dict(sizes))
    out: dict[str, Any] = {}
    alike = rng.random() < 0.4  # conditions on pairs of elements hold more often
    for q in p.params:
        if not is_int(q.dtype) or q.kind == "size" or rng.random() < 0.2:
            continue
        try:
            n = math.prod(k(f) for k in m.code(p).shapes[q.name]) if q.is_array else 1
        except (Found, KeyError):
            continue
        if not 0 <= n <= 100:
            continue
        pool = numbers(m, p, q, f, rng)
        values = [rng.choice(pool)] * n if alike else [rng.choice(pool) for _ in range(n)]
        out[q.name] = values if q.is_array else values[0]
        if not q.is_array:
            f.env[q.name] = values[0]
    return out


def numbers(m: Entered, p: Procedure, q: Param, f: Frame, rng: random.Random) -> list[int]:
    """What a parameter may be: small numbers, and some that are far from 0, as its type and `given` allow."""
    low, high, _ = span_of_given(m, p, q, f)
    least, greatest = limits(q.dtype)
    low, high = max(least, least if low is None else int(low)), min(greatest, greatest if high is None else int(high))
    ends = [low, high, *rng.sample(FAR, 4)]
    pool = rng.choice(([*NEAR, *ends], NEAR, ends))
    return [x for x in pool if low <= x <= high] or [max(least, min(low, greatest))]
