"""Peak memory: of a training run as a user starts it, and of attention as the context grows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .attention import ours as attention
from .side import ROOT, Case, Contestant, Goal, Result, Side, fixed
from .training import LARGE, SMALL, TINY, settings, text, torch_step, trainer

MB = 1e6
HERE = "benchmarks.memory"
RETURN = {"MALLOC_MMAP_THRESHOLD_": "65536"}  # glibc's word for: freed memory goes back to the system
OVER = 40.0  # MB beside what is planned: libpython, the kernels' code, the text


def peak() -> float:
    """MB that this process had at most."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / MB


# A process counts what the one before it in its place had at most, so a small one starts the run.
WATCH = """
import os, sys
null = os.open(os.devnull, os.O_WRONLY)
started = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, null, 1)])
_, status, used = os.wait4(started, 0)
print(used.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


class Peak:
    """A call whose result is the memory that it has taken."""

    def __init__(self, call: Callable[[], object], before: float = 0.0) -> None:
        self.call, self.before = call, before

    def __call__(self) -> float:
        """MB, after a few calls, beyond what was there before."""
        for _ in range(3):
            self.call()
        return peak() - self.before


def torch_training(shape: dict[str, int]) -> Peak:
    """A process with PyTorch that trains."""
    return Peak(torch_step(shape))


def attention_at(context: int) -> Peak:
    """vibee's attention of one head, what it takes beyond a short one and its arguments."""
    attention(1, 32, 1, 64)()
    call = attention(1, context, 1, 64)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew: making the arguments took more than they do
    return Peak(call, peak())


def planned(shape: dict[str, int]) -> Callable[[], float]:
    """MB of all arrays of vibee's training run, as it says before it starts."""
    from vibee.cli.kernels import training_bytes

    t = trainer(settings(shape))
    return lambda: training_bytes(t.lengths, t.shape.V, t.settings) / MB


def ask(side: Side, name: str, make: str, given: dict[str, Any], env: dict[str, str] | None = None) -> Result:
    """The number that a call gives, in a process of its own."""
    c = Contestant(f"{name} {json.dumps(given)}", f"{HERE}:{make}", given, env=env or {})
    worker = side.worker(c)
    reply = worker.ask(make=c.make, given=given)
    reply = reply if "missing" in reply else worker.ask(result=True)
    if "missing" in reply:
        return Result(name, reason=reply["missing"])
    return Result(name, reply["result"], reply["result"], 1, 1)


def train(shape: dict[str, int]) -> Result:
    """MB of `vibee train` of a few steps: the executable, or Python where it is not built."""
    built = ROOT / "dist" / "vibee"
    command = [str(built)] if built.exists() else [sys.executable, "-m", "vibee"]
    with tempfile.TemporaryDirectory() as temp:
        (Path(temp) / "text.txt").write_bytes(text())
        words = [w for name, value in shape.items() for w in (f"--{name}", str(value))]
        said = "train text.txt --arch gpt2 --tokenizer char --steps 3 --sample-every 0"
        command += [*said.split(), *words]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        watch = [sys.executable, "-I", "-S", "-c", WATCH, *command]
        done = subprocess.run(watch, cwd=temp, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        return Result("vibee", reason=f"the run failed: {done.stderr.strip()[-100:]}")
    most = int(done.stdout) * 1024 / MB
    return Result("vibee", most, most, 1, 1)


def training(shape: dict[str, int]) -> Callable[[Side], list[Result]]:
    """vibee, PyTorch, and what vibee may take."""

    def run(side: Side) -> list[Result]:
        plan = ask(side, "planned", "planned", {"shape": shape})
        torch = ask(side, "torch", "torch_training", {"shape": shape})
        return [train(shape), torch, fixed("planned + 40", plan.median + OVER)]

    return run


def contexts(shorter: int, longer: int) -> Callable[[Side], list[Result]]:
    """Attention at two contexts, and as much as linear growth allows at the longer one."""

    def run(side: Side) -> list[Result]:
        short = ask(side, "shorter", "attention_at", {"context": shorter}, RETURN)
        long = ask(side, "vibee", "attention_at", {"context": longer}, RETURN)
        return [long, short, fixed("linear", short.median * longer / shorter)]

    return run


def cases(quick: bool) -> Iterator[Case]:
    """The table's part."""
    goals = [Goal("vibee", "torch", 1.0), Goal("vibee", "planned", 1.0)]
    for name, shape in [("tiny", TINY)] if quick else [("nanoGPT's CPU recipe", SMALL), ("6 layers, 384 wide", LARGE)]:
        yield Case(f"training, {name}", goals, training(shape), "MB")
    shorter, longer = (2048, 4096) if quick else (8192, 32768)
    yield Case(f"attention at context {longer} against {shorter}, one head of 64", [Goal("vibee", "linear", 0.95)],
               contexts(shorter, longer), "MB")  # fmt: skip
