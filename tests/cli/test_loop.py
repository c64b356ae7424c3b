"""The loop around the kernels: everything is done when it is due, however the steps fall into chunks."""

from __future__ import annotations

import io
import itertools
import json
import os
import signal
from pathlib import Path

import pytest

from vibee.cli import loop as loop_module
from vibee.cli import stopping as stopping_module
from vibee.cli.loop import Actions, History, Loop
from vibee.cli.settings import Settings
from vibee.cli.stopping import Stopping
from vibee.runtime.errors import UserError
from vibee.runtime.progress import JsonLog, Progress


class Fake:
    """Kernels that only count."""

    def __init__(self) -> None:
        self.done: list[int] = []
        self.evaluated: list[int] = []
        self.sampled: list[int] = []
        self.saved: list[int] = []
        self.on_step: dict[int, object] = {}

    def steps(self, first: int, count: int) -> tuple[list[float], list[float]]:
        assert first == len(self.done)
        self.done += range(first, first + count)
        for step in range(first, first + count):
            if step in self.on_step:
                self.on_step[step]()  # type: ignore[operator]
        return [1.0 / (first + i + 1) for i in range(count)], [1e-3] * count

    def evaluate(self) -> float:
        self.evaluated.append(len(self.done))
        return 2.0

    def sample(self) -> str:
        self.sampled.append(len(self.done))
        return "text"

    def save(self, history: History) -> None:
        assert history.step == len(self.done)
        self.saved.append(history.step)

    def actions(self) -> Actions:
        return Actions(self.steps, self.evaluate, self.sample, self.save)


def make(fake: Fake, settings: Settings, log: JsonLog | None = None) -> Loop:
    progress = Progress(settings.steps, 8, stream=io.StringIO(), tty=False)
    return Loop(settings, History(), fake.actions(), progress, log, 8)


def test_all_is_done_when_it_is_due() -> None:
    fake = Fake()
    loop = make(fake, Settings(steps=103, eval_every=25, sample_every=40))
    loop.run(Stopping())
    assert fake.done == list(range(103))
    assert fake.evaluated == [25, 50, 75, 100]
    assert fake.sampled == [40, 80]
    assert fake.saved == [25, 50, 75, 100]
    assert loop.history.step == 103


def test_the_log_has_one_object_a_step(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = JsonLog(str(path))
    make(Fake(), Settings(steps=30, eval_every=10, sample_every=0), log).run(Stopping())
    log.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    keys = {"step", "tokens", "seconds", "train_loss", "val_loss", "lr", "tokens_per_second"}
    assert all(set(line) == keys for line in lines)
    assert [x["step"] for x in lines if x["lr"] is not None] == list(range(1, 31))
    assert [x["step"] for x in lines if x["val_loss"] is not None] == [10, 20]
    assert [x["tokens"] for x in lines] == [8 * x["step"] for x in lines]
    assert all(a["seconds"] <= b["seconds"] for a, b in itertools.pairwise(lines))


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_after_the_step(number: int, status: int) -> None:
    fake = Fake()
    fake.on_step[0] = lambda: os.kill(os.getpid(), number)
    with Stopping() as stopping:
        loop = make(fake, Settings(steps=10**6, eval_every=10**6, sample_every=0))
        loop.run(stopping)
        assert stopping.status == status
    assert loop.history.step == len(fake.done) < 10**6


def test_a_signal_that_comes_twice_at_once_is_one() -> None:
    fake = Fake()

    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    fake.on_step[0] = twice
    with Stopping() as stopping:
        make(fake, Settings(steps=10**6, eval_every=10**6, sample_every=0)).run(stopping)
        assert stopping.status == 130


def test_a_diverged_run_is_told_and_not_saved() -> None:
    fake = Fake()
    actions = fake.actions()
    actions.steps = lambda first, count: ([float("nan")] * count, [0.1] * count)
    loop = make(fake, Settings(steps=10, eval_every=1))
    loop.actions = actions
    with pytest.raises(UserError, match="diverged"):
        loop.run(Stopping())
    assert fake.saved == []


def test_a_long_run_is_saved_from_time_to_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "SAVE_SECONDS", -1.0)
    fake = Fake()
    make(fake, Settings(steps=20, eval_every=0, sample_every=5)).run(Stopping())
    assert {5, 10, 15} <= set(fake.saved) and fake.evaluated == []


def test_a_second_and_later_interrupt_ends_the_program_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, object]] = []
    with Stopping() as stopping:
        monkeypatch.setattr(stopping_module, "_IMPATIENT", -1.0)
        signal.raise_signal(signal.SIGINT)
        monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((number, signal.getsignal(number))))
        signal.raise_signal(signal.SIGTERM)  # is no more urgent than the first
        assert sent == [] and stopping.status == 130
        signal.raise_signal(signal.SIGINT)
    assert sent == [(signal.SIGINT, signal.SIG_DFL)]


def test_a_run_whose_starter_has_gone_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    stopping = Stopping()
    assert not stopping.wanted and stopping.status == 0
    monkeypatch.setattr(os, "getppid", lambda: 1 - stopping._parent)
    assert stopping.wanted and stopping.status == 143


def test_a_long_history_is_thinned_and_survives_a_checkpoint() -> None:
    h = History()
    h.add_losses(0, [float(i) for i in range(10_001)])
    assert 1000 < len(h.train) <= 4000
    assert h.train[-1][0] >= 9990
    h.step, h.seconds, h.validation = 10_001, 1.5, [(5.0, 2.0)]
    again = History.from_dict(json.loads(json.dumps(h.to_dict())))
    assert again == h
