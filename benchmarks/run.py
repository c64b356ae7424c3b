"""`make bench`: vibee beside the peers that are installed.

    python -m benchmarks.run [--only THEME[/WORK]] [--quick] [--json FILE]

Every theme is a file of this folder.  A peer that is not here leaves a gap.  TEXT names a text to train on (by default
the built-in one), LLMC a checkout of llm.c.  The results are added to the JSON file, rows of the same work replaced;
docs/performance.md is made from it (python -m benchmarks.page).
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

from . import table
from .about import about
from .side import ROOT, Side

THEMES = ("matmul", "elementwise", "attention", "training", "learning", "generation", "start", "memory")


def main() -> int:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", metavar="THEME[/WORK]", default="", help=f"of {', '.join(THEMES)}; part of a work")
    parser.add_argument("--quick", action="store_true", help="few and short runs, small shapes")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench" / "results.json")
    args = parser.parse_args()
    theme, _, work = args.only.partition("/")
    if theme and theme not in THEMES:
        parser.error(f"--only {theme}: not one of {', '.join(THEMES)}")
    for name in [theme] if theme else THEMES:
        side = Side(args.quick)
        try:
            for case in importlib.import_module(f"benchmarks.{name}").cases(args.quick):
                if work in case.work:
                    row = table.record(name, case, case.run(side))
                    print("\n".join(table.lines(row)), flush=True)
                    table.merge(args.json, about(args.quick), row)
        finally:
            side.close()
    rows = json.loads(args.json.read_text())["rows"] if args.json.exists() else []
    goals = [g for r in rows for g in r["goals"]]
    met = sum(g["met"] is True for g in goals)
    print(f"{met} of {len(goals)} goals met, {sum(g['met'] is None for g in goals)} not measured; {args.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
