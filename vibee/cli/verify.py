"""`vibee verify`: what was proved of specs, as a table or as JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import repeat
from multiprocessing import get_context
from typing import Any

from vibee.check.errors import SpecError, count
from vibee.runtime.errors import UserError

LONG, HEAD = 400, 300  # characters of a formula, and of its beginning


def verify_specs(paths: list[str], as_json: bool, timeout: int | None, isa: str) -> int:
    """0 if everything is proved or tested at run time, 1 if something is refuted, 2 for wrong input."""
    from vibee.prove.linear import TIMEOUT_MS, solver

    if not solver():
        raise UserError("verify needs the solver: pip install z3-solver, or pip install . in vibee's folder")
    from vibee.prove.report import KINDS
    from vibee.prove.verify import PROVED, REFUTED, UNPROVED
    from vibee.testing.command import spec_files

    files = spec_files(paths)
    if isinstance(files, str):
        raise UserError(files)
    start, rows, mistakes = time.perf_counter(), [], []
    for path, errors, found in _all(list(map(str, files)), isa, timeout or TIMEOUT_MS):
        for error in errors:
            print(error, file=sys.stderr)
        mistakes += errors
        rows += [(path, f) for f in found]
    seconds = time.perf_counter() - start
    totals = {o: sum(found.count(o) for _, found in rows) for o in (PROVED, REFUTED, UNPROVED)}
    if as_json:
        print(json.dumps({"seconds": round(seconds, 3), "isa": isa, **totals, "mistakes": list(map(_mistake, mistakes)),
                          "definitions": [_row(p, f) for p, f in rows]}, indent=1))  # fmt: skip
    elif rows:
        _table(rows)
        for _, found in rows:
            for v in found.verdicts:
                if v.outcome != PROVED:
                    print(failure(found.definition.name, v, KINDS))
        counts = ", ".join(f"{n} {o.lower()}" for o, n in totals.items())
        whole = f"{count(len(rows), 'definition')}, {count(sum(totals.values()), 'obligation')}"
        print(f"{whole}: {counts}, {seconds:.1f} s")
    if not rows and not mistakes:
        print("vibee verify: no definitions", file=sys.stderr)
    return 2 if mistakes or not rows else 1 if totals[REFUTED] else 0


def _all(paths: list[str], isa: str, timeout: int) -> Iterator[tuple[str, list[SpecError], list[Any]]]:
    """What came of each file, in the order of the paths; of a folder, several at a time where there are processors.

    A file is divided too, for one may take as long as all others, but not into its definitions: neighbours ask the
    same things."""
    workers = len(os.sched_getaffinity(0))
    if workers < 2 or len(paths) < 2:
        _unit.cache_clear()  # a file may have changed
        for path in paths:
            errors, names, _ = _look(path, isa)
            yield path, errors, _some(path, isa, names, timeout)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        looks = list(pool.map(_look, paths, repeat(isa)))
        # What stands on most text first: it takes longest, and at the end there is little left to wait for.
        order = sorted(range(len(paths)), key=lambda k: -looks[k][2])
        started = {
            k: [pool.submit(_some, paths[k], isa, part, timeout) for part in _parts(looks[k][1], workers)]
            for k in order
        }
        for k, (errors, _, _) in enumerate(looks):
            yield paths[k], errors, [found for part in started[k] for found in part.result()]


def _parts(names: list[str], count: int) -> list[list[str]]:
    """The names in as many parts, one after the other."""
    size = -(-len(names) // count) or 1
    return [names[n : n + size] for n in range(0, len(names), size)]


@cache
def _unit(path: str, isa: str) -> Any:
    """A file's definitions, ready to be lowered and proved; kept by a process for all that it proves of them."""
    from vibee.check import load
    from vibee.lower.unit import Unit

    return Unit(load(path), isa, thorough=True)


def _look(path: str, isa: str) -> tuple[list[SpecError], list[str], int]:
    """The mistakes of a file, or the names of its definitions; and how much text they and all that they use have."""
    program = _unit(path, isa).program
    size = sum(os.path.getsize(m.path) for m in program.modules.all())
    return program.errors, [] if program.errors else list(program.defs), size


def _some(path: str, isa: str, names: list[str], timeout: int) -> list[Any]:
    """The verdicts on all versions of some definitions."""
    from vibee.prove import linear
    from vibee.prove.verify import verify_versions

    with linear.limit(timeout):
        return [found for name in names for found in verify_versions(_unit(path, isa), name)]


def _table(rows: list[tuple[str, Any]]) -> None:
    names = [(f"{found.definition.key}", found) for _, found in rows]
    wide = max([10, *(len(n) for n, _ in names)])
    print(f"{'definition':{wide}}  obligations  proved  refuted  unproved       ms")
    for name, found in names:
        counts = [found.count(o) for o in ("PROVED", "REFUTED", "UNPROVED")]
        print(f"{name:{wide}}  {sum(counts):11}  {counts[0]:6}  {counts[1]:7}  {counts[2]:8}  {found.ms:7.0f}")


def failure(name: str, v: Any, kinds: dict[str, str]) -> str:
    """What failed, in the words of the spec: the claim, what is known there, and the run that breaks it; or a run that
    shows what may happen."""
    from vibee.tree.expr import show

    o = v.obligation
    lines = [f"{o.span}: {v.outcome} in {name}: {_short(o.what)} ({o.kind}: {kinds.get(o.kind, '')})"]
    if v.counterexample:
        lines.append(f"    {_run(v)}, run: {v.counterexample}")
    if v.outcome == "REFUTED" and v.counterexample:
        return "\n".join(lines)
    if o.why:
        lines.append(f"    why: {_short(o.why)}")
    if o.goal is not None:
        lines.append(f"    claim: {_short(show(o.goal))}")
        known = list(dict.fromkeys(_short(show(f)) for f in o.facts))
        lines.append("    known: " + ("; ".join(known[:8]) or "nothing") + ("; ..." if len(known) > 8 else ""))
    if o.instead:
        lines.append(f"    so: {o.instead}")
    return "\n".join(lines)


def _short(text: str) -> str:
    """What a few lines of a terminal can hold: the length of a model's arena fills pages, and `--json` has it all."""
    return text if len(text) <= LONG else f"{text[:HEAD]} ... {text[HEAD - LONG :]}"


def _run(v: Any) -> str:
    """What a run is called: one that only shows what may happen refutes nothing."""
    return "counterexample" if v.outcome == "REFUTED" else "example"


def _mistake(error: SpecError) -> dict[str, Any]:
    """A mistake that the front end found."""
    return {"file": error.span.file, "line": error.span.line, "column": error.span.col, "message": error.message}


def _row(path: str, found: Any) -> dict[str, Any]:
    from vibee.tree.expr import show

    return {
        "file": path, "definition": found.definition.key, "ms": round(found.ms, 1),
        "obligations": [
            {"kind": v.kind, "outcome": v.outcome, "what": v.text, "line": v.span.line, "column": v.span.col,
             **({_run(v): str(v.counterexample)} if v.counterexample else {}),
             **({"why": v.obligation.why} if v.obligation.why and v.outcome != "PROVED" else {}),
             **({"claim": show(v.obligation.goal)} if v.outcome == "UNPROVED" and v.obligation.goal else {}),
             **({"instead": v.obligation.instead} if v.outcome == "UNPROVED" else {})}
            for v in found.verdicts
        ],
    }  # fmt: skip
