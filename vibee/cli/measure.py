"""Times of kernels, each taken in a process of its own: one that crashes, or never ends, is a line of the report."""

from __future__ import annotations

import marshal
import math
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any, NoReturn

from vibee.runtime.buffers import zeros

from .cases import FILLS, Case, Kernel, choose, fill
from .failures import explain
from .kernels import view
from .peers import peer_call

Row = dict[str, Any]

# By how many powers of two the sizes shrink for the next try.
NO_MEMORY, NO_END = 3, 7


class Clock:
    """Measures calls: the median of several rounds, each long enough for the clock; or the best of them."""

    def __init__(self, quick: bool, best: bool = False) -> None:
        self.rounds, self.seconds = (5, 0.01) if quick else (9, 0.05)
        if best:
            self.rounds *= 4
        self.best = best

    def __call__(self, f: Callable[[], object]) -> float:
        """Seconds of one call."""
        f()
        begin = time.perf_counter()
        f()
        once = max(time.perf_counter() - begin, 1e-7)
        calls = max(1, math.ceil(self.seconds / once))
        budget = 4 * self.rounds * self.seconds
        times = []
        for _ in range(max(1, min(self.rounds, int(budget / (calls * once))))):
            begin = time.perf_counter()
            for _ in range(calls):
                f()
            times.append((time.perf_counter() - begin) / calls)
        return min(times) if self.best else sorted(times)[len(times) // 2]


@dataclass
class Bench:
    """How and with what is measured; `table` describes the functions of `module`."""

    module: ModuleType
    table: dict[str, Kernel]
    threads: int
    quick: bool
    peers: list[str] = field(default_factory=list)
    top: dict[str, float] = field(default_factory=dict)

    @property
    def most(self) -> int:
        """Bytes that the arrays of a case may take: in a quick run what stays near the processor."""
        return (4 if self.quick else 32) << 20

    @property
    def operations(self) -> float:
        """Floating-point operations of one call, at most."""
        return 1e8 if self.quick else 1e9

    @property
    def patience(self) -> float:
        """Seconds for one kernel, after which it gets smaller sizes."""
        return (2.0 if self.quick else 8.0) + (2.0 if self.quick else 6.0) * len(self.peers)


# ---------------------------------------------------------------- processes


def isolated(job: Callable[[], Row], patience: float) -> Row:
    """The result of `job`, done in a process of its own; {"reason": ...} if there is none."""
    source, target = os.pipe()
    child = os.fork() or _answer(job, target)  # the child answers, and never comes back
    os.close(target)
    try:
        data = _receive(source, time.monotonic() + patience)
    finally:
        os.close(source)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    if data:
        return marshal.loads(data)  # type: ignore[no-any-return]
    if data is None:
        return {"reason": f"it did not end within {patience:.0f} s", "smaller": NO_END}
    code = os.waitstatus_to_exitcode(status)
    return {"reason": f"it ended the process (signal {-code})", "smaller": NO_MEMORY}


def _answer(job: Callable[[], Row], target: int) -> NoReturn:
    """What the child does."""
    try:
        row = job()
    except MemoryError as e:
        row = {"reason": explain(e), "smaller": NO_MEMORY}
    except BaseException as e:
        row = {"reason": explain(e)}
    data = marshal.dumps(row)
    while data:
        data = data[os.write(target, data) :]
    os._exit(0)


def _receive(source: int, end: float) -> bytes | None:
    """All that the other side writes; None if time runs out before."""
    data = b""
    while True:
        ready, _, _ = select.select([source], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            return None
        part = os.read(source, 1 << 16)
        if not part:
            return data
        data += part


# ---------------------------------------------------------------- measurements


def roof(module: ModuleType, threads: int, quick: bool) -> dict[str, float]:
    """Peak GFLOP/s of multiply-adds, and GB/s of memory, both with all threads."""
    clock, rounds = Clock(quick, best=True), 20_000 if quick else 200_000
    flops = 0.0
    for chains in (48, 96, 256):
        out = view(zeros(threads * chains), threads, chains)
        peak = partial(getattr(module, f"peak_{chains}_f32"), y=out, rounds=rounds, T=threads, a=0.5, b=1.0)
        flops = max(flops, 2.0 * chains * rounds * threads / clock(partial(peak, threads=threads)))
    n = (8 if quick else 32) << 20
    a, b, c = (zeros(n) for _ in range(3))
    triad = module.triad_f32
    memory = clock(lambda: triad(a=a, b=b, c=c, s=0.5, threads=threads))
    return {"gflops": flops / 1e9, "gbytes": 12.0 * n / memory / 1e9}


def rows(bench: Bench) -> Iterator[Row]:
    """A row for every kernel at every choice of sizes; one with a "reason" says why there are no numbers."""
    for k in bench.table.values():
        for run in (k.runs[:1] if bench.quick else k.runs) or [{}]:
            yield row(k, run, bench)


def row(k: Kernel, run: dict[str, Any], bench: Bench) -> Row:
    """One kernel.  Where it takes too long or too much memory, it is tried with smaller sizes."""
    case = choose(k, run, bench.most, bench.operations)
    if case is None:
        return {"name": k.label, "sizes": {}, "reason": "no sizes of the general rule satisfy its conditions"}
    while True:
        found = isolated(partial(measure, case, bench), bench.patience)
        smaller = choose(k, run, bench.most, bench.operations, case.scale - found.pop("smaller", case.scale + 1))
        if smaller is None or smaller.names == case.names:
            return {"name": k.label, "sizes": case.shown, **found}
        case = smaller


def measure(case: Case, bench: Bench) -> Row:
    """Time, and what it says about the work."""
    k, clock = case.kernel, Clock(bench.quick)
    numbers = {n: case.names[n] for n, _, _ in k.numbers}
    f = getattr(bench.module, k.function)
    for order in FILLS:
        arrays = fill(case, order)
        call = partial(f, *arrays.values(), *numbers.values(), bench.threads)
        try:
            call()
            break
        except ValueError as e:
            refused = str(e)
    else:
        return {"reason": f"no values of the general rule satisfy its conditions: {refused}"}
    seconds = clock(call)
    out: Row = {"numbers": {n: x for n, x in numbers.items() if n not in k.sizes}, "microseconds": seconds * 1e6}
    out |= rates(case, seconds, bench.top)
    for peer in bench.peers:
        other = peer_call(peer, f"{k.module}.{k.name}", arrays, numbers, bench.threads)
        out[f"{peer}_microseconds"] = clock(other) * 1e6 if other else None
    return out


def rates(case: Case, seconds: float, top: dict[str, float]) -> Row:
    """Work for each second, and the time that the machine needs at least as a share of the time that it took.

    None where sizes do not tell.  In f64 a machine does half as many operations."""
    flops, moved = case.flops, case.bytes
    least = moved / (top["gbytes"] * 1e9)
    if flops is not None:
        least = max(least, flops * (2 if case.kernel.wide else 1) / (top["gflops"] * 1e9))
    return {
        "flops": flops, "flops_at_most": case.kernel.bound, "bytes": moved,
        "bytes_at_most": case.kernel.loose, "gflops": None if flops is None else flops / seconds / 1e9,
        "gbytes": moved / seconds / 1e9,
        "share_of_roof": None if flops is None or case.kernel.loose else least / seconds,
    }  # fmt: skip
