"""Side by side: contestants take turns, each in a process of its own, so that all of them meet the same machine.

A run of a contestant is as many calls as last long enough for the clock.  Runs alternate: A B C A B C ...
What counts is the median of a contestant's runs, and the ratio of two medians.
"""

from __future__ import annotations

import json
import math
import os
import select
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LIMIT = 180.0  # seconds of a call, the first of which may compile: bf16 of others, say, where no processor has it
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Contestant:
    """A name, the function `module:function` that makes its call, what that function is given, and the environment."""

    name: str
    make: str
    given: dict[str, Any] = field(default_factory=dict)
    threads: int = 0  # 0: all
    env: dict[str, str] = field(default_factory=dict)


@dataclass
class Result:
    """What came out for one contestant, in the unit of its row; or why nothing did."""

    name: str
    median: float = 0.0
    least: float = 0.0
    runs: int = 0
    calls: int = 0
    reason: str = ""
    note: str = ""


@dataclass(frozen=True)
class Goal:
    """`ours` should be so many times as fast (or small) as the best contestant whose name begins with `theirs`."""

    ours: str
    theirs: str
    factor: float


@dataclass(frozen=True)
class Case:
    """One row of the table: what is done, the goals, how to measure it, and in which unit."""

    work: str
    goals: list[Goal]
    run: Callable[[Side], list[Result]]
    unit: str = "ms"


class Worker:
    """A contestant's process."""

    def __init__(self, threads: int, env: dict[str, str]) -> None:
        one = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        cache = {"TORCHINDUCTOR_CACHE_DIR": str(ROOT / "build" / "bench" / "inductor")}
        command = [sys.executable, "-m", "benchmarks.worker"]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **cache, **one, **env}, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=None if os.environ.get("VIBEE_DEBUG") else subprocess.DEVNULL,
        )  # fmt: skip

    def ask(self, *, limit: float | None = None, **request: Any) -> dict[str, Any]:
        """One request, one answer, within `limit` seconds.  Between requests the process is stopped: idle threads of
        some libraries go on looking for work for a tenth of a second, and would take a processor from the next
        contestant."""
        self.process.send_signal(signal.SIGCONT)
        try:
            return self._ask(request, limit)
        finally:
            self.process.send_signal(signal.SIGSTOP)

    def _ask(self, request: dict[str, Any], limit: float | None) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            if not select.select([self.process.stdout], [], [], limit)[0]:
                self.process.kill()
                return {"missing": f"a call takes more than {limit:g} s"}
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        return json.loads(line) if line else {"missing": f"the process ended ({self.process.wait()})"}

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


class Side:
    """Races of contestants.  A process serves all contestants of one name, one after the other."""

    def __init__(self, quick: bool = False) -> None:
        self.quick = quick
        self.rounds, self.seconds = (3, 0.02) if quick else (9, 0.03)
        self.workers: dict[str, Worker] = {}

    def worker(self, c: Contestant) -> Worker:
        """The process of a contestant, a new one where the last has ended."""
        threads = c.threads or processors()
        key = json.dumps([c.name, threads, c.env])
        if key not in self.workers or self.workers[key].process.poll() is not None:
            self.workers[key] = Worker(threads, c.env)
        return self.workers[key]

    def close(self) -> None:
        """End all processes."""
        for w in self.workers.values():
            w.close()
        self.workers.clear()

    def race(self, contestants: list[Contestant], rounds: int = 0, same: float = 0.0) -> list[Result]:
        """Milliseconds of one call of each.

        same: how far numbers of their results may differ, relative to the mean; 0 compares nothing."""
        results = {c.name: Result(c.name) for c in contestants}
        for c in contestants:
            made = self.worker(c).ask(make=c.make, given=c.given)
            results[c.name].reason = made.get("missing", "")
        there = [c for c in contestants if not results[c.name].reason]
        if same:
            _compare([(results[c.name], self.worker(c).ask(digest=True).get("digest")) for c in there], same)
        for c in list(there):
            self._calibrate(c, results[c.name])
            if results[c.name].reason:
                there.remove(c)
        times: dict[str, list[float]] = {c.name: [] for c in there}
        for _ in range(min(3, rounds or 3) if self.quick else rounds or self.rounds):
            for c in there:
                calls = results[c.name].calls
                times[c.name].append(self.worker(c).ask(time=calls)["seconds"] / calls * 1e3)
        for name, found in times.items():
            r = results[name]
            r.median, r.least, r.runs = statistics.median(found), min(found), len(found)
        return list(results.values())

    def _calibrate(self, c: Contestant, result: Result) -> None:
        """Warm up, and find how many calls a run has."""
        once = math.inf
        begin = time.perf_counter()
        for _ in range(3):
            found = self.worker(c).ask(time=1, limit=LIMIT)
            if "missing" in found:
                result.reason = found["missing"]
                return
            once = min(once, max(found["seconds"], 1e-7))
            if time.perf_counter() - begin > 10 * self.seconds and once < math.inf:
                break
        result.calls = max(1, math.ceil(self.seconds / once))


def _compare(found: list[tuple[Result, list[float] | None]], same: float) -> None:
    """Say so where the results of a contestant are not those of the first."""
    given = [(r, d) for r, d in found if d is not None]
    for r, d in given[1:]:
        first = given[0][1]
        pairs = zip(first, d, strict=False)
        if len(d) != len(first) or any(abs(a - b) > same * (abs(first[1]) + abs(a)) for a, b in pairs):
            r.note = f"its results are not those of {given[0][0].name}"


def fixed(name: str, value: float, note: str = "") -> Result:
    """A limit among the results: nothing that was raced, but something to compare with."""
    return Result(name, value, value, note=note)
