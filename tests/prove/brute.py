"""A definition run for every assignment of small sizes: the independent check of what the prover says."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from vibee.lower.unit import Unit
from vibee.prove.replay import KINDS, Fault, Machine
from vibee.tree.defs import Definition, For, Procedure


@dataclass
class Search:
    """What running all of them gave: the first fault, and how many runs there were."""

    fault: Fault | None
    runs: int
    refused: int


def inner(stmts: list) -> Iterator[Any]:
    """Every statement, at any depth."""
    for s in stmts:
        yield s
        for part in ("body", "then", "orelse"):
            yield from inner(getattr(s, part, None) or [])


def as_written(d: Definition, p: Procedure) -> Procedure:
    """The lowered procedure with those loops parallel that the spec says are parallel, proved or not."""
    if not isinstance(d, Procedure):
        return p
    wanted = {(s.var, s.span) for s in inner(d.body) if isinstance(s, For) and s.parallel}

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


def machine(unit: Unit, steps: int = 20_000, kinds: frozenset[str] = KINDS) -> Machine:
    """One that reads lowered procedures as their spec wrote them."""
    made: dict[str, Procedure] = {}

    def lookup(key: str) -> Procedure:
        if key not in made:
            d = unit.by_key(key)
            made[key] = as_written(d, unit.procedure(d))
        return made[key]

    return Machine(lookup, kinds, steps)


def assignments(names: list[str], top: int, limit: int = 4096) -> list[dict[str, int]]:
    """All sizes from 0 to `top`, at most `limit` of them; small ones first: they are quick, and where edges meet."""
    total = (top + 1) ** len(names)
    chosen = range(total) if total <= limit else random.Random(0).sample(range(total), limit)
    tables = [{n: k // (top + 1) ** at % (top + 1) for at, n in enumerate(names)} for k in chosen]
    return sorted(tables, key=lambda t: sum(t.values()))


def search(
    unit: Unit, d: Definition, top: int = 4, limit: int = 60, work: int = 60_000, m: Machine | None = None
) -> Search:
    """Run a definition for small sizes (up to `limit` of those that its `given` allows) with drawn arguments, until a
    fault is found or `work` loop iterations are done.  A machine that notes every fault goes on."""
    m = m or machine(unit)
    p = m.lookup(d.key)
    choices = assignments(list(d.sizes), top)
    seeds = max(2, 24 // len(choices))
    out = Search(None, 0, 0)
    steps = 0
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
        if out.runs >= limit * seeds or steps > work:
            break
    return out


def brute(unit: Unit, d: Definition, top: int = 4, limit: int = 300) -> Fault | None:
    """The first fault of a definition for small sizes, or None."""
    return search(unit, d, top, limit).fault
