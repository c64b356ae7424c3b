"""Fuzz the prover: random specs, what it says of them, and what happens when they run.

    python tests/prove/fuzz.py --count 20000 --seed 0

A spec with a fault must never be said to be safe where the fault is.  A spec without one should be proved; what
is not is a false alarm, counted by kind.  Ends with 1 if a fault was said to be safe, a clean spec refuted, or the
compiler broke.
"""

# ruff: noqa: E402
from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from brute import search
from edges import entered, run_edges
from owed import missing
from random_specs import UNKNOWN, spec

from vibee.check import load_text, modules
from vibee.check.errors import Errors
from vibee.check.surface import RawFile
from vibee.lower.unit import Unit
from vibee.prove.facts import CONSTANTS, expressions
from vibee.prove.replay import KINDS, Fault
from vibee.tree.defs import Definition, Procedure, statements
from vibee.tree.expr import Span, walk
from vibee.tree.types import is_float

KIND = {"unwritten": "written", "endless": "ends", "overlap": "shape"}  # a fault's kind as the prover calls it
BROKEN = {"unwritten"}  # the language starts arrays at zero: only a wrong lowering leaves elements unwritten
WORK = 15_000  # loop iterations that a definition is run for


@dataclass(frozen=True)
class Claim:
    """One thing that the prover had to decide."""

    kind: str
    span: Span
    outcome: str  # PROVED REFUTED UNPROVED
    text: str


@dataclass
class Judged:
    """What came of one spec."""

    seed: int
    row: str  # the line of the table that it belongs to
    alarms: tuple[str, ...] = ()  # kinds that were not proved although there is no fault
    wrong: str = ""  # what must not happen


def begin(folder: str) -> None:
    """What a process does first.  Proofs are remembered in a folder of the run's own; vibee's own modules, which
    every spec sees, are parsed once: they would take half the time."""
    os.environ["XDG_CACHE_HOME"] = folder
    real, kept = modules.parse, {}

    def parse(text: str, path: str, errors: Errors) -> RawFile:
        if path == "case.vibee":
            return real(text, path, errors)
        if path not in kept:
            kept[path] = real(text, path, errors)
        return kept[path]

    modules.parse = parse


def claims(unit: Unit, d: Definition) -> list[Claim]:
    """What the prover says of a definition."""
    unit.procedure(d)
    return [Claim(o.kind, o.span, "PROVED" if o.proved else "UNPROVED", o.what) for o in unit.obligations[d.key]]


def said_safe(fault: Fault, said: list[Claim]) -> bool:
    """Does the prover claim that this fault cannot happen?"""
    kind = KIND.get(fault.kind, fault.kind)
    about = [c for c in said if c.kind == kind]
    about = [c for c in about if c.span == fault.span] or about
    return all(c.outcome == "PROVED" for c in about)  # also where nothing is claimed: the prover passed it over


def compares_floats(p: Procedure) -> bool:
    """Can a nan make a difference to where a procedure goes?"""
    every = [e for s in statements(p.body) for e in expressions(s)]
    return any(is_float(n.args[0].dtype) for e in [*every, *p.given] for n in walk(e) if n.op in CONSTANTS)


def found(unit: Unit, definitions: list[Definition]) -> list[Fault]:
    """Every fault that runs show, one for each place and kind."""
    m = entered(unit, WORK, KINDS | {"domain"})
    m.every = {}
    for d in definitions:
        ways = (False, True) if compares_floats(unit.procedure(d)) else (False,)
        for m.odd in ways:
            search(unit, d, m=m, work=WORK // len(ways))
        m.odd = False
        run_edges(m, m.lookup(d.key))
    return list(m.every.values())


def judge(seed: int) -> Judged:
    """One spec: loaded, lowered, proved, run."""
    text, planted = spec(seed)
    try:
        return _judge(seed, text, planted)
    except Exception as e:
        last = traceback.extract_tb(e.__traceback__)[-1]
        words = f"{type(e).__name__}: {e} ({Path(last.filename).name}:{last.lineno})"
        return Judged(seed, "the compiler broke", wrong=words)


def _judge(seed: int, text: str, planted: str | None) -> Judged:
    program = load_text(text, "case.vibee")
    if program.errors:
        row = {None: "clean", UNKNOWN: "wild"}.get(planted, "planted")
        return Judged(seed, f"{row}, refused", wrong="" if planted else f"refused: {program.errors[0]}")
    unit = Unit(program, "v3", thorough=True)
    definitions = [d for ds in program.defs.values() for d in ds]
    said = {d.key: claims(unit, d) for d in definitions}
    unsaid = [o for d in definitions for o in missing(unit, d, unit.obligations[d.key])]
    if unsaid:
        kind, span, text = unsaid[0]
        return Judged(seed, f"{kind}, nothing said", wrong=f"nothing is said of {kind}: {text or span}")
    faults = found(unit, definitions)
    for f in faults:
        if f.kind in BROKEN:
            return Judged(seed, "the compiler broke", wrong=f"no spec can say this: {f}")
        if said_safe(f, said[f.key]):
            return Judged(seed, f"{f.kind}, said to be safe", wrong=f"{f.kind} said to be safe: {f}")
    if faults:
        row = "planted" if planted not in (None, UNKNOWN) else "wild with a fault"
        return Judged(seed, f"{row}, not said to be safe", wrong="" if planted else f"clean, but {faults[0]}")
    if planted not in (None, UNKNOWN):
        return Judged(seed, "planted, but no run shows it", wrong="no run shows the planted fault")
    everything = [c for cs in said.values() for c in cs]
    refuted = [c for c in everything if c.outcome == "REFUTED"]
    if refuted and not planted:
        return Judged(seed, "clean, refuted", wrong=f"refuted: {refuted[0].span}: {refuted[0].text}")
    alarms = tuple(sorted({c.kind for c in everything if c.outcome != "PROVED"}))
    row = "wild without a fault" if planted else "clean"
    return Judged(seed, f"{row}, {'not proved' if alarms else 'proved'}", alarms)


def fuzz(count: int, seed: int = 0, workers: int = 2, show: int = 0) -> tuple[Counter[str], Counter[str], list[Judged]]:
    """Counts of rows, of false alarms by kind, and everything that must not happen."""
    rows: Counter[str] = Counter()
    alarms: Counter[str] = Counter()
    wrong: list[Judged] = []
    with TemporaryDirectory() as folder, multiprocessing.get_context("fork").Pool(workers, begin, (folder,)) as pool:
        for done in pool.imap_unordered(judge, range(seed, seed + count), chunksize=16):
            rows[done.row] += 1
            alarms.update(done.alarms if done.row.startswith("clean") else ())
            if done.wrong:
                wrong.append(done)
            if show and done.alarms and done.row.startswith("clean"):
                show -= 1
                print(f"\nnot proved ({', '.join(done.alarms)}), seed {done.seed}:\n{spec(done.seed)[0]}")
    return rows, alarms, wrong


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0, help="the first of the seeds")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--show", type=int, default=0, help="clean specs to show that are not proved")
    options = parser.parse_args()
    start = time.time()
    rows, alarms, wrong = fuzz(options.count, options.seed, options.workers, options.show)
    print(f"{options.count} specs from seed {options.seed} in {time.time() - start:.0f} s")
    for row, n in sorted(rows.items()):
        print(f"{n:8}  {row}")
    if alarms:
        print("clean, not proved, by kind: " + ", ".join(f"{k} {n}" for k, n in alarms.most_common()))
    for w in sorted(wrong, key=lambda w: w.seed)[:20]:
        print(f"\nWRONG, seed {w.seed}: {w.wrong}\n{spec(w.seed)[0]}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
