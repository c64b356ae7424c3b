"""Time to a validation loss: vibee's default recipe for the text against nanoGPT's recipe in PyTorch.

The steps that it takes are counted in a run that is not timed (the loss does not depend on the machine's load), on all
of the held-out text, window after window; the time of a step is raced side by side.  The product is the time, without
the evaluations.  Counting takes minutes and is kept in build/bench; `python -m benchmarks.learning` does it alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .side import ROOT, Case, Contestant, Goal, Result, Side
from .training import SMALL, STEPS, split, text, torch_step, trainer

TARGET = 1.88
EVERY = 50
SEEDS = (1, 2, 3)
HERE = "benchmarks.learning"


def default(seed: int) -> Any:
    """What `vibee train TEXT --tokenizer char` chooses."""
    from vibee.cli.settings import TrainOptions, settle

    return settle(TrainOptions(tokenizer="char", seed=seed), len(text()))


class Curve:
    """Losses every so many steps.  `seconds` trains; the answer is read as the result of a call."""

    def __init__(self, step: Callable[[], object], loss: Callable[[], float], steps: int, target: float) -> None:
        self.step, self.loss, self.steps, self.target = step, loss, steps, target

    def __call__(self) -> list[float]:
        """The step at which the target is reached (or the last), and the loss there."""
        for i in range(1, self.steps + 1):
            self.step()
            if i % EVERY == 0:
                found = self.loss()
                if found <= self.target:
                    break
        return [float(i), found]


def ours(seed: int, target: float) -> Curve:
    """vibee's."""
    t = trainer(default(seed))
    done = 0

    def step() -> None:
        nonlocal done
        t.steps(done, 1)
        done += 1

    return Curve(step, lambda: t.evaluate(0), t.settings.steps, target)


def nanogpt(seed: int, target: float) -> Curve:
    """PyTorch's."""
    from .gpt import held_out_loss

    step: Any = torch_step(SMALL, seed=seed)
    _, held_out, _ = split()
    return Curve(step, lambda: held_out_loss(step.model, held_out, SMALL["context"], 12), STEPS, target)


def step(recipe: str) -> Callable[[], object]:
    """One step of a recipe, for the race."""
    return ours(1, TARGET).step if recipe == "ours" else nanogpt(1, TARGET).step


# ---------------------------------------------------------------- counting


def key() -> str:
    """What the counts depend on."""
    parts = [ROOT / "vibee" / "_kernels" / "kernels.json", Path(__file__).with_name("gpt.py")]
    content = b"".join(p.read_bytes() for p in parts) + text() + f"{TARGET} {default(1)}".encode()
    return hashlib.sha256(content).hexdigest()[:16]


def count(side: Side) -> dict[str, list[float]]:
    """Steps and last loss of each run, by recipe and seed; known ones are read."""
    path = ROOT / "build" / "bench" / f"curves-{key()}.json"
    found: dict[str, list[float]] = json.loads(path.read_text()) if path.exists() else {}
    open_ = [(r, s) for s in SEEDS for r in ("ours", "nanogpt") if f"{r} {s}" not in found]
    path.parent.mkdir(parents=True, exist_ok=True)

    def one(recipe: str, seed: int) -> None:
        c = Contestant(f"{recipe} {seed}", f"{HERE}:{recipe}", threads=1)
        worker = side.worker(c)
        worker.ask(make=c.make, given={"seed": seed, "target": TARGET})
        reply = worker.ask(result=True)
        if "result" in reply:
            found[c.name] = reply["result"]
            path.write_text(json.dumps(found))

    with ThreadPoolExecutor(max_workers=len(SEEDS)) as pool:
        list(pool.map(lambda x: one(*x), open_))
    return found


# ---------------------------------------------------------------- cases


def run(side: Side) -> list[Result]:
    """Steps times the time of a step, for every seed; the median of the seeds, and the least."""
    names = {"vibee": "ours", "torch": "nanogpt"}
    contestants = [Contestant(name, f"{HERE}:step", {"recipe": recipe}) for name, recipe in names.items()]
    results = side.race(contestants)
    found = {} if side.quick else count(side)
    for r in results:
        runs = [found[f"{names[r.name]} {s}"] for s in SEEDS if f"{names[r.name]} {s}" in found]
        if r.reason or not runs:
            r.reason = r.reason or "not counted in a quick run"
            continue
        steps = sorted(x for x, _ in runs)
        reached = "; ".join(f"{x:.0f}{'' if loss <= TARGET else f' (not reached, {loss:.3f})'}" for x, loss in runs)
        r.note = f"{r.median:.1f} ms a step; steps of seeds 1, 2, 3: {reached}"
        r.median, r.least = (n * r.median / 1e3 for n in (steps[len(steps) // 2], steps[0]))
    return results


def cases(quick: bool) -> Iterator[Case]:
    """The table's part."""
    yield Case(f"loss {TARGET} on the held-out text", [Goal("vibee", "torch", 4.0)], run, "s")


if __name__ == "__main__":
    print(count(Side()))
