"""Counterexamples: what is not proved is run on small sizes, every access watched (vibee.prove.replay).

Only a fault that really happened there refutes; a claim that no run breaks stays unproved.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, replace
from typing import Any

from vibee.tree.defs import Definition, For, Procedure, statements
from vibee.tree.expr import Span

from .domain import claims
from .replay import KINDS, Fault, Machine

KIND = {"unwritten": "written", "endless": "ends", "overlap": "shape"}  # a fault's kind as an obligation's
WORK = 60_000  # loop iterations that a definition is run for
SIDE = 4  # the largest size
RUNS = 60
SECONDS = 20.0  # for one definition, however busy the machine is


@dataclass
class Search:
    """What running a definition gave: its first fault, and how many runs there were."""

    fault: Fault | None
    runs: int
    refused: int


def as_written(d: Definition, p: Procedure) -> Procedure:
    """The lowered procedure with those loops parallel that the spec says are parallel, proved or not."""
    if not isinstance(d, Procedure):
        return p
    wanted = {(s.var, s.span) for s in statements(d.body) if isinstance(s, For) and s.parallel}

    def block(stmts: list) -> list:
        out = []
        for s in stmts:
            changes: dict[str, Any] = {
                part: block(getattr(s, part)) for part in ("body", "then", "orelse") if getattr(s, part, None)
            }
            if isinstance(s, For) and (s.var, s.span) in wanted:
                changes["parallel"] = True
            out.append(replace(s, **changes) if changes else s)
        return out

    return replace(p, body=block(p.body)) if wanted else p


def machine(unit: Any, steps: int = 20_000, kinds: frozenset[str] = KINDS) -> Machine:
    """One that reads lowered procedures as their spec wrote them."""
    made: dict[str, Procedure] = {}

    def lookup(key: str) -> Procedure:
        if key not in made:
            d = unit.by_key(key)
            made[key] = as_written(d, unit.procedure(d))
        return made[key]

    m = Machine(lookup, kinds, steps)
    m.checked = unit.by_key
    return m


def assignments(names: list[str], top: int, limit: int = 4096) -> list[dict[str, int]]:
    """All sizes from 0 to `top`, at most `limit` of them; small ones first: they are quick, and where edges meet."""
    total = (top + 1) ** len(names)
    chosen = range(total) if total <= limit else random.Random(0).sample(range(total), limit)
    tables = [{n: k // (top + 1) ** at % (top + 1) for at, n in enumerate(names)} for k in chosen]
    return sorted(tables, key=lambda t: sum(t.values()))


def search(
    unit: Any, d: Definition, top: int = SIDE, limit: int = RUNS, work: int = WORK, m: Machine | None = None
) -> Search:
    """Run a definition for small sizes (up to `limit` of those that its `given` allows) with drawn arguments, until a
    fault is found or `work` loop iterations are done.  A machine that notes every fault goes on."""
    m = m or machine(unit)
    p = m.lookup(d.key)
    choices = assignments(list(d.sizes), top)
    seeds = max(2, 24 // len(choices))
    out = Search(None, 0, 0)
    steps, end = 0, time.monotonic() + SECONDS
    for sizes in choices:
        for seed in range(seeds):
            result = m.run(p, sizes, seed=seed)
            steps += result.steps
            out.fault = out.fault or result.fault
            out.runs += not result.refused
            out.refused += bool(result.refused)
            if out.fault and m.every is None:
                return out
            if result.refused and not result.steps:
                break
        if out.runs >= limit * seeds or steps > work or time.monotonic() > end:
            break
    return out


def faults(unit: Any, d: Definition) -> dict[tuple[str, Span], Fault]:
    """Every fault that runs of a definition on small sizes show, by the obligation's kind and place."""
    m = machine(unit, kinds=KINDS | {"domain"} if claims(d) else KINDS)
    m.every = {}
    search(unit, d, m=m)
    return {(KIND.get(kind, kind), span): fault for (kind, span), fault in m.every.items()}
