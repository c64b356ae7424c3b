"""The loop of a training run: chunks of steps from the kernels, and what happens between them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from vibee.runtime.errors import UserError
from vibee.runtime.progress import JsonLog, Progress

from .settings import Settings
from .stopping import Stopping

CHUNK_SECONDS = 0.2  # between two looks at the clock, the keyboard and the screen
PER_TOKEN = 2e-8  # seconds more for each token of the text: every chunk tests them all, 1e-9 s each
SAVE_SECONDS = 300.0  # the most work that a power cut may cost


@dataclass
class History:
    """What happened so far: kept in the checkpoint, so that a resumed run's curve is whole."""

    step: int = 0
    seconds: float = 0.0
    train: list[tuple[float, float]] = field(default_factory=list)
    validation: list[tuple[float, float]] = field(default_factory=list)
    last_loss: float | None = field(default=None, compare=False)  # of the last step, for the log; not kept

    def to_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"step": self.step, "seconds": self.seconds, "train": self.train, "validation": self.validation}

    @staticmethod
    def from_dict(found: dict[str, Any]) -> History:
        """From a checkpoint."""

        def points(name: str) -> list[tuple[float, float]]:
            return [(float(a), float(b)) for a, b in found[name]]

        return History(int(found["step"]), float(found["seconds"]), points("train"), points("validation"))

    def add_losses(self, first: int, losses: list[float]) -> None:
        """Losses of steps first+1, first+2, ...; the list is thinned when it grows long."""
        self.train += [(first + 1 + i, x) for i, x in enumerate(losses)]
        self.last_loss = losses[-1]
        while len(self.train) > 4000:
            alone = self.train[len(self.train) // 2 * 2 :]  # the last point of an odd number
            pairs = zip(self.train[::2], self.train[1::2], strict=False)
            self.train = [(b[0], (a[1] + b[1]) / 2) for a, b in pairs] + alone


@dataclass
class Actions:
    """What the loop asks others to do."""

    steps: Callable[[int, int], tuple[list[float], list[float]]]  # (first, count) -> losses, rates
    evaluate: Callable[[], float]
    sample: Callable[[], str]
    save: Callable[[History], None]


def next_stop(step: int, settings: Settings) -> int:
    """The next step after which something else than training is due."""
    stop = settings.steps
    for every in (settings.eval_every, settings.sample_every):
        if every:
            stop = min(stop, (step // every + 1) * every)
    return stop


def refuse_divergence(what: str, loss: float, step: int, rate: float) -> None:
    """An error if a loss is no number: nothing can be learnt from there, and no such state is saved."""
    if loss - loss != 0.0:
        raise UserError(
            f"{what} is {loss} at step {step}: the run has diverged; a lower --lr helps (it is {rate:g}). "
            "Nothing of this is saved; what was saved before stands as it was"
        )


class Loop:
    """Runs from history.step to settings.steps, or until it is asked to stop."""

    def __init__(
        self, settings: Settings, history: History, actions: Actions, progress: Progress, log: JsonLog | None,
        tokens_per_step: int,
    ) -> None:  # fmt: skip
        self.settings, self.history, self.actions = settings, history, actions
        self.progress, self.log, self.tokens_per_step = progress, log, tokens_per_step
        self.deadline: float | None = None
        self.saved_at = time.monotonic()
        self.chunk = 1
        self.chunk_seconds = CHUNK_SECONDS

    def run(self, stopping: Stopping) -> None:
        """Train.  The state is saved at every evaluation, from time to time, and when stopping.

        Time is looked at after a chunk: even a run without time has a loss to tell.
        """
        h, s = self.history, self.settings
        while h.step < s.steps and not stopping.wanted:
            stop = next_stop(h.step, s)
            self._advance(min(self.chunk, stop - h.step), stop)
            if h.step == s.steps or self._out_of_time():
                break
            if s.eval_every and h.step % s.eval_every == 0:
                self._validate()
                self._save()
            if s.sample_every and h.step % s.sample_every == 0:
                self.progress.note(self.actions.sample())
            if time.monotonic() - self.saved_at > SAVE_SECONDS:
                self._save()

    def _out_of_time(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline

    def _advance(self, count: int, stop: int) -> None:
        h, s = self.history, self.settings
        begin = time.monotonic()
        losses, rates = self.actions.steps(h.step, count)
        took = max(time.monotonic() - begin, 1e-6)
        first = h.step
        h.add_losses(first, losses)
        if self.log:
            speed = count * self.tokens_per_step / took
            for i, (loss, rate) in enumerate(zip(losses, rates, strict=True)):
                step = first + i + 1
                self.log.write(
                    step=step, tokens=step * self.tokens_per_step, seconds=round(h.seconds + took * (i + 1) / count, 4),
                    train_loss=loss, val_loss=None, lr=rate, tokens_per_second=round(speed, 1),
                )  # fmt: skip
        h.step += count
        h.seconds += took
        for i, loss in enumerate(losses):
            refuse_divergence("the loss", loss, first + i + 1, s.lr)
        self.progress.update(h.step, sum(losses) / count)
        # How many steps a chunk has follows the clock; what the steps compute does not depend on it.
        self.chunk = max(1, min(int(count * self.chunk_seconds / took), 4 * count, 1000))

    def _validate(self) -> float:
        h = self.history
        begin = time.monotonic()
        loss = self.actions.evaluate()
        h.seconds += time.monotonic() - begin
        h.validation.append((h.step, loss))
        self.progress.update(h.step, validation=loss)
        if self.log:
            self.log.write(
                step=h.step, tokens=h.step * self.tokens_per_step, seconds=round(h.seconds, 4),
                train_loss=h.last_loss, val_loss=loss, lr=None, tokens_per_second=None,
            )  # fmt: skip
        return loss

    def _save(self) -> None:
        self.actions.save(self.history)
        self.saved_at = time.monotonic()
