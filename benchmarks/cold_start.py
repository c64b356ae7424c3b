"""Median start time of the executable: `dist/vibee infer --prompt a -n 1` on a small model.

Twenty runs, with an empty environment, from a read-only folder, as an ordinary user would see
them: the clock runs from before the process starts until it has ended.  --limit makes the
result a check.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def make_model(vibee: Path, folder: Path) -> None:
    """A model of 0.8M weights, trained for a few steps: the weights do not matter, the files do."""
    command = [
        str(vibee),
        "train",
        "--preset",
        "nanogpt-cpu",
        "--steps",
        "5",
        "--sample-every",
        "0",
        "--out",
        str(folder),
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def measure(vibee: Path, model: Path, runs: int) -> list[float]:
    """Milliseconds of each run."""
    command = [str(vibee), "infer", "--prompt", "a", "-n", "1", "--model", str(model)]
    times = []
    for _ in range(runs + 2):
        start = time.perf_counter()
        subprocess.run(command, check=True, env={}, cwd="/", stdout=subprocess.DEVNULL)
        times.append((time.perf_counter() - start) * 1e3)
    return times[2:]  # the first runs bring the file into the page cache


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vibee", type=Path, default=ROOT / "dist" / "vibee")
    parser.add_argument("--model", type=Path, help="a trained model; without it a small one is made")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--limit", type=float, help="fail if the median is not under this many ms")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    vibee = args.vibee.resolve()
    with tempfile.TemporaryDirectory() as temp:
        model = args.model.resolve() if args.model else Path(temp) / "model"
        if not args.model:
            make_model(vibee, model)
        model.chmod(0o555)
        times = measure(vibee, model, args.runs)
        model.chmod(0o755)
    median = statistics.median(times)
    result = {"median_ms": median, "min_ms": min(times), "max_ms": max(times), "runs": len(times)}
    result["bytes"] = vibee.stat().st_size
    result["load"] = os.getloadavg()[0]
    if args.json:
        print(json.dumps({k: round(v, 2) for k, v in result.items()}))
    else:
        print(
            f"cold start: median {median:.1f} ms of {len(times)} runs (fastest {min(times):.1f}, slowest "
            f"{max(times):.1f}; load {result['load']:.1f}); {result['bytes']:,} bytes"
        )
    return int(args.limit is not None and median >= args.limit)


if __name__ == "__main__":
    sys.exit(main())
