"""The process of one contestant: makes what it is told to make, and calls it when it is told to.

Requests and answers are lines of JSON.  What libraries print goes to standard error, so that it is no answer.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

PR_SET_PDEATHSIG = 1


class Missing(Exception):
    """What a contestant needs is not on this machine; the message says what."""


def seconds_of(call: Callable[[], Any], count: int) -> float:
    """Seconds that `count` calls take; a call that runs a program of others tells its own time."""
    own = getattr(call, "seconds", None)
    if own is not None:
        return float(own(count))
    begin = time.perf_counter()
    for _ in range(count):
        call()
    return time.perf_counter() - begin


def digest(result: Any) -> list[float] | None:
    """A few numbers by which results of different contestants are compared: of each array mean, size and ends."""
    if result is None:
        return None
    import numpy as np

    numbers: list[float] = []
    for x in result if isinstance(result, tuple | list) else (result,):
        x = x.detach().float().numpy() if hasattr(x, "detach") else x
        flat = np.asarray(x, np.float64).reshape(-1)
        spread = np.linspace(0, len(flat) - 1, min(len(flat), 64)).astype(int)
        numbers += [float(flat.mean()), float(np.abs(flat).mean()), *map(float, flat[spread])]
    return numbers


def answer(request: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
    """Do what one line asks."""
    if "make" in request:
        state.clear()  # what was measured before gives its memory back
        module, _, function = request["make"].partition(":")
        state["call"] = getattr(importlib.import_module(module), function)(**request["given"])
        return {}
    if "time" in request:
        return {"seconds": seconds_of(state["call"], request["time"])}
    if "result" in request:
        return {"result": state["call"]()}
    if "digest" in request:
        return {"digest": digest(state["call"]())}
    return {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def main() -> None:
    """Answer until standard input ends, or the process that asks does."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    state: dict[str, Any] = {}
    for line in sys.stdin:
        try:
            reply = answer(json.loads(line), state)
        except Missing as e:
            reply = {"missing": str(e)}
        except Exception as e:
            reply = {"missing": f"{type(e).__name__}: {e}".split("\n")[0][:200]}
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    # The factories import this file by its name in the package; both must mean one `Missing`.
    sys.modules["benchmarks.worker"] = sys.modules["__main__"]
    main()
