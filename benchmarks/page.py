"""docs/performance.md from the JSON of a run: python -m benchmarks.page [--json FILE] [--out FILE]."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

from .side import ROOT
from .table import number

HEAD = """# Performance

Made by `python -m benchmarks.page` from the results of `make bench`; [bench.md](bench.md#beside-others) says how they
are measured. Times are medians of runs that alternate with those of the others; in brackets the shortest. A ratio is
how many times as long the best of the others of that name takes; in bold it is less than what is asked for.
"""

NAMES = {
    "matmul": "Matrix products",
    "elementwise": "Rows and elements past the cache",
    "attention": "Attention, forward and backward",
    "training": "A training step",
    "learning": "Time to a validation loss",
    "generation": "Generation",
    "start": "Cold start",
    "memory": "Memory",
}


def machine(about: dict[str, Any]) -> list[str]:
    """What was measured on, and with what."""
    peers = [f"numpy {about['numpy']} with OpenBLAS {about['openblas']}"]
    if about["torch"]:
        peers.append(f"PyTorch {about['torch']} with MKL {about['mkl']}")
    return [
        f"{about['processor']}, {about['processors']} processors, {about['isa']}; {about['system']}; "
        f"Python {about['python']}, gcc {about['gcc']}; vibee {about['vibee']} at {about['commit']}; "
        f"{'; '.join(peers)}.",
        *(["", "A quick run: few and short, on small shapes."] if about["quick"] else []),
    ]


def cell(r: dict[str, Any], unit: str) -> str:
    """A result."""
    if r["reason"]:
        return r["reason"]
    return f"{number(r['median'])} {unit}" + (f" ({number(r['least'])})" if r["runs"] else "")


def ratio(g: dict[str, Any]) -> str:
    """A goal as `1.42x / 1.4x`."""
    which = g["ours"].removeprefix("vibee").strip()
    name = f"{which}: {g['theirs']}" if which else g["theirs"]
    if g["ratio"] is None:
        return f"{name} - / {g['factor']:g}"
    found = f"{g['ratio']:.2f}"
    return f"{name} {found if g['met'] else f'**{found}**'} / {g['factor']:g}"


def part(rows: list[dict[str, Any]], theme: str) -> list[str]:
    """The table of a theme: a column for each contestant."""
    names = list(dict.fromkeys(r["name"] for row in rows for r in row["results"]))
    heads = ["work", *names, "ratio / asked"]
    out = ["", f"## {NAMES[theme]}", "", f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    for row in rows:
        found = {r["name"]: r for r in row["results"]}
        cells = [cell(found[n], row["unit"]) if n in found else "" for n in names]
        ratios = "; ".join(ratio(g) for g in row["goals"])
        out.append(f"| {row['work']} | {' | '.join(cells)} | {ratios} |")
    notes = {f"{row['work']}: {r['name']}: {r['note']}" for row in rows for r in row["results"] if r["note"]}
    return out + [line for note in sorted(notes) for line in ("", note)]


def gaps(rows: list[dict[str, Any]]) -> list[str]:
    """What is missed, the furthest first."""
    missed = [(math.log(g["ratio"] / g["factor"]), row, g) for row in rows for g in row["goals"] if g["met"] is False]
    out = ["", "## What is missed", "", "| work | against | ratio | asked |", "| --- | --- | --- | --- |"]
    for _, row, g in sorted(missed, key=lambda x: x[0]):
        work = f"{row['theme']}: {row['work']}, {g['ours']}"
        out.append(f"| {work} | {g['against']} | {g['ratio']:.2f} | {g['factor']:g} |")
    return out


def page(found: dict[str, Any]) -> str:
    """The whole page."""
    rows = found["rows"]
    goals = [g for row in rows for g in row["goals"]]
    met, open_ = (sum(g["met"] is x for g in goals) for x in (True, None))
    count = f"{met} of {len(goals)} goals are met, {open_} not measured."
    out = [HEAD, *machine(found["about"]), "", count]
    for theme in NAMES:
        some = [row for row in rows if row["theme"] == theme]
        if some:
            out += part(some, theme)
    return "\n".join(out + gaps(rows)) + "\n"


def main() -> int:
    """Write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench" / "results.json")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "performance.md")
    args = parser.parse_args()
    if not args.json.exists():
        print(f"{args.json} is not there; `make bench` makes it", file=sys.stderr)
        return 2
    args.out.write_text(page(json.loads(args.json.read_text())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
