"""Calls kernels in a process with the sanitizers' runtime, and says what became of it.

    python child.py memory|races FILE MODULES COUNT SEED LOG KEY...

Prints one line of JSON for each definition; before each call its description goes to LOG.call.
"""

# ruff: noqa: E402
from __future__ import annotations

import json
import re
import signal
import sys
import traceback
import zlib
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import numpy as np
from calls import Call, calls
from hypothesis import HealthCheck, Phase, given, seed, settings
from kernels import Whole

from vibee.api import arrays
from vibee.api.function import Function
from vibee.testing.oracle import Oracle
from vibee.testing.subject import on_numbers
from vibee.tree.defs import Definition

# memory that there is not: the caller hears of it
REFUSED = re.compile(r"^==\d+==WARNING: AddressSanitizer failed to allocate .*\n", re.MULTILINE)
MANY = 10_007  # elements of arrays that are shared by threads
# seconds of the processor for one call (a loop of as many rounds as a number says may never end), and by the clock
PATIENCE, CLOCK = 10, 900


class Reports:
    """What the sanitizers have written so far."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.seen: dict[Path, int] = {}

    def new(self) -> str:
        """What is new since the last time."""
        out = ""
        for f in sorted(self.log.parent.glob(self.log.name + ".*")):
            if f.suffix[1:].isdigit():
                text = f.read_text(errors="replace")
                out += text[self.seen.get(f, 0) :]
                self.seen[f] = len(text)
        return REFUSED.sub("", out).strip()


def outcome(f: Function, d: Definition, c: Call, raw: bool) -> tuple[str, str]:
    """'result', 'refused' or 'fault', and what it says."""
    try:
        if raw:
            natively(f, d, c)
        else:
            f(**c.named, **({} if c.out is None else {"out": tuple(c.out)}))
    except (ValueError, TypeError, MemoryError) as e:
        text = str(e)
        names = {p.name for p in [*d.params, *d.outs]} | set(d.sizes) | {"given", "threads", "out", "no_such_argument"}
        if raw or names & set(re.findall(r"\w+", text)) or re.search(r"\(\w+\.vibee:\d+\)", text):
            return "refused", text
        return "fault", f"{type(e).__name__} names no argument: {text}"
    except (OverflowError, BufferError) as e:
        return ("refused" if raw else "fault"), f"{type(e).__name__}: {e}"
    except Exception:
        return "fault", traceback.format_exc(limit=-4)
    return "result", ""


def natively(f: Function, d: Definition, c: Call) -> None:
    """The same call without the Python API in front: what the module checks by itself."""
    dtypes = {p.name: p.dtype for p in d.params}
    x = {n: arrays.raw(a, dtypes.get(n, "")) if isinstance(a, np.ndarray) else a for n, a in c.named.items()}
    outs = [o for o in d.outs if o.shape or any(np.ndim(x.get(p.name)) for p in d.params if p.kind == "scalar")]
    made = [arrays.raw(a, o.dtype) if isinstance(a, np.ndarray) else a for a, o in zip(c.out or [], outs, strict=False)]
    threads = x.get("threads", 1)
    if isinstance(threads, int) and threads > 64:
        threads = 64  # OpenMP ends a process that it cannot give as many as it asks for
    buffers = [x.get(p.name) for p in d.params if arrays.is_buffer(p)]
    cells = [x.get(p.name) for p in d.params if p.is_array and not p.shape]
    numbers = [x[p.name] for p in d.params if not p.is_array and p.name in x]
    if d.is_scalar and outs:
        f._library._mapped(d)(*numbers, *made, threads)
    elif d.is_scalar:
        f._library._function(d)(*numbers)
    else:
        f._library._function(d)(*buffers, *made, *cells, *numbers, threads)


def limits(processor: int, clock: int) -> None:
    """End this process after so many seconds; 0 means never.  A busy machine makes no call endless."""
    signal.setitimer(signal.ITIMER_PROF, processor)
    signal.alarm(clock)


class Calls:
    """The calls of one definition, and what became of them."""

    def __init__(self, whole: Whole, d: Definition, reports: Reports) -> None:
        self.d, self.reports = d, reports
        self.f = Function(whole, d.name, [d])
        self.counts = {"result": 0, "refused": 0, "fault": 0}
        self.faults: list[str] = []

    def noted(self, c: Call, what: str, text: str) -> None:
        """Count a call."""
        report = self.reports.new()
        if report:
            what, text = "fault", report
        self.counts[what] += 1
        if what == "fault" and len(self.faults) < 5:
            self.faults.append(f"{self.d.key}: {c}\n{text}")

    def begin(self, c: Call) -> None:
        """Say what is about to be called, in case that it is the end."""
        self.reports.log.with_suffix(".call").write_text(f"{self.d.key}: {c}")
        limits(PATIENCE, CLOCK)

    def memory(self, c: Call | None) -> None:
        """A call with the Python API in front, and one without."""
        for raw in (False, True) if c is not None else ():
            assert c is not None
            self.begin(c)
            what, text = outcome(self.f, self.d, c, raw)
            limits(0, 0)
            self.noted(c, what, f"without the Python API: {text}" if raw else text)

    def races(self, c: Call | None) -> None:
        """A call with several numbers of threads: the same bits, and no races."""
        if c is None:
            return
        if on_numbers(self.d):
            c.named = {n: np.resize(x, MANY) if np.ndim(x) else x for n, x in c.named.items()}
            c.out = None
        first = None
        for threads in (1, 2, 3, 7):
            c.named["threads"] = threads
            self.begin(c)
            named = {n: np.array(x) if isinstance(x, np.ndarray) else x for n, x in c.named.items()}
            out = None if c.out is None else tuple(np.zeros_like(x) for x in c.out)
            try:
                back = self.f(**named, out=out)
                what = "result"
            except (ValueError, MemoryError) as e:
                back, what = str(e), "refused"
            limits(0, 0)
            self.noted(c, what, "")
            del named["threads"]
            bits = [x.tobytes() if isinstance(x, np.ndarray) else repr(x) for x in (*named.values(), *_flat(back))]
            first = first or bits
            if bits != first and what == "result":
                self.noted(c, "fault", f"{threads} threads give other bits than one")


def _flat(back: Any) -> tuple[Any, ...]:
    return back if isinstance(back, tuple) else (back,)


def tried(whole: Whole, d: Definition, tool: str, count: int, chosen: int, reports: Reports) -> dict[str, Any]:
    """Many calls of one definition."""
    done = Calls(whole, d, reports)
    one = done.races if tool == "races" else done.memory
    run = settings(
        max_examples=count, derandomize=False, database=None, deadline=None, phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )(given(calls(d, Oracle(whole._unit.by_key), tool == "memory"))(one))  # fmt: skip
    with np.errstate(all="ignore"):
        seed(chosen + zlib.crc32(d.key.encode()))(run)()
    return {"key": d.key, **done.counts, "faults": done.faults}


def main(tool: str, file: str, modules: str, count: str, chosen: str, log: str, *keys: str) -> None:
    """Each definition in turn."""
    whole = Whole(file)
    whole.take(modules.split(","))
    reports = Reports(Path(log))
    for timer in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(timer, signal.SIG_DFL)
    for key in keys:
        print(json.dumps({"begins": key}), flush=True)
        print(json.dumps(tried(whole, whole.definitions[key], tool, int(count), int(chosen), reports)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
