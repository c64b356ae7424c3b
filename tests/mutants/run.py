"""Count the mutants that the prover and the generated tests find, without any hand-written test.

    python tests/mutants/run.py specs/foundation/tensor_ops.vibee --count 100 --seed 0
    python tests/mutants/run.py --compiler

Without --count every mutant is tried.  Ends with 1 if fewer than 95% of those that matter die.
"""

# ruff: noqa: E402
from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from edits import Edit, Source, edits
from judge import ALIVE, DRAWN, EQUIVALENT, PROVER, REFUSED, TESTS, TIME, Verdict, judge, original, prepare

COLUMNS = (REFUSED, EQUIVALENT, PROVER, TESTS, TIME, ALIVE)
ENOUGH = 0.95


def sample(found: list[Edit], count: int, seed: int) -> list[Edit]:
    """Some of the edits: definitions in turn, and in each the kinds of edits in turn, so that all have their share."""
    if not count or count >= len(found):
        return found
    groups: dict[str, list[Edit]] = {}
    rng = random.Random(seed)
    seen: Counter[tuple[str, str]] = Counter()
    rank = {}
    for e in rng.sample(found, len(found)):
        groups.setdefault(e.definition, []).append(e)
        seen[e.definition, e.kind] += 1
        rank[e] = (-seen[e.definition, e.kind], rng.random())
    for group in groups.values():
        group.sort(key=lambda e: rank[e])
    names, chosen = sorted(groups), []
    rng.shuffle(names)
    while len(chosen) < count:
        for n in names:
            if groups[n] and len(chosen) < count:
                chosen.append(groups[n].pop())
    return sorted(chosen, key=lambda e: (e.start, e.new))


def spec_mutants(
    file: Path, count: int = 0, seed: int = 0, only: set[str] | None = None, live: bool = True
) -> list[tuple[Edit, Verdict]]:
    """Mutants of one spec, judged one after the other."""
    source = Source(file.read_text())
    todo = [e for e in edits(source) if not only or e.definition in only]
    out = []
    with TemporaryDirectory(prefix="mutants-") as folder:
        prepare(folder)
        known: dict[str, object] = {}
        for e in sample(todo, count, seed):
            if e.definition not in known:
                known[e.definition] = original(source, e.definition, Path(folder), file.stem)
                o = known[e.definition]
                if live and o.failing:  # type: ignore[attr-defined]
                    print(f"  not used: {sorted(o.failing)}", flush=True)  # type: ignore[attr-defined]
            v = judge(known[e.definition], e)  # type: ignore[arg-type]
            out.append((e, v))
            if live:
                print(
                    f"{v.seconds:6.1f} s  {v.outcome:22}{e.definition}:{e.line} {e.kind}: {e.what}  [{v.why}]",
                    flush=True,
                )
    return out


def table(done: list[tuple[Edit, Verdict]]) -> str:
    """Counts by class of edit."""
    rows: dict[str, Counter[str]] = {}
    for e, v in done:
        rows.setdefault(e.kind, Counter())[v.outcome] += 1
    total: Counter[str] = Counter()
    for c in rows.values():
        total += c
    lines = ["| class | made | " + " | ".join(COLUMNS) + " |", "| --- |" + " ---: |" * (len(COLUMNS) + 1)]
    for name, c in [*sorted(rows.items()), ("**all**", total)]:
        made = sum(c[x] for x in COLUMNS)
        lines.append(f"| {name} | {made} | " + " | ".join(str(c[x]) for x in COLUMNS) + " |")
    return "\n".join(lines)


def share(done: list[tuple[Edit, Verdict]], least: bool = False) -> float:
    """How many of the mutants that mean something else, and that the front end takes, die; at `least`, if those that
    only drawn cases call equivalent are none."""
    real = [v for _, v in done if v.outcome not in (REFUSED, EQUIVALENT) or (least and v.why == DRAWN)]
    return sum(v.outcome not in (ALIVE, EQUIVALENT) for v in real) / max(len(real), 1)


def by(v: Verdict) -> str:
    """What found a mutant: the check, the obligation, or the rule by which it is equivalent."""
    if v.outcome == TESTS:
        return v.why.partition(": ")[2].partition(":")[0].partition("_line")[0]
    return (
        v.why.partition(":")[0]
        if v.outcome == PROVER and ":" in v.why
        else {PROVER: "no longer proved", EQUIVALENT: v.why}.get(v.outcome, v.outcome)
    )


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--count", type=int, default=0, help="mutants of each file; 0 is all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="definitions, with commas; with --compiler, a part of a file name")
    parser.add_argument("--compiler", action="store_true", help="mutants of the compiler instead of specs")
    options = parser.parse_args()
    start = time.time()
    if options.compiler:
        from compiler import run

        return run(options.only)
    done: list[tuple[Edit, Verdict]] = []
    made = 0
    for file in options.files or sorted((HERE.parents[1] / "specs").rglob("*.vibee")):
        made += len(edits(Source(file.read_text())))
        print(f"{file}", flush=True)
        done += spec_mutants(file, options.count, options.seed, set(filter(None, options.only.split(","))))
    seconds = time.time() - start
    print("\n" + table(done))
    real, least = share(done), share(done, least=True)
    print(f"\n{real:.1%} of those that are neither refused nor equivalent die ({least:.1%} if those with equal values "
          f"on drawn cases are not equivalent); {seconds:.0f} s for {len(done)} of {made} mutants, so that all would "
          f"take {seconds / max(len(done), 1) * made / 3600:.1f} h")  # fmt: skip
    print("by: " + ", ".join(f"{k} {n}" for k, n in Counter(by(v) for _, v in done).most_common()))
    for e, v in done:
        if v.outcome == ALIVE:
            print(f"survived: {e.definition}:{e.line} {e.kind}: {e.what}")
    return 0 if real >= ENOUGH else 1


if __name__ == "__main__":
    sys.exit(main())
