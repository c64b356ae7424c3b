"""The loop around the kernels: everything is done when it is due, however the steps fall into chunks."""

from __future__ import annotations

import io
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
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


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """Ctrl-C is heard, though a job in the background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


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


@pytest.mark.parametrize(("last", "ended"), [(signal.SIGINT, [130]), (signal.SIGTERM, [])])
def test_a_second_and_later_interrupt_ends_the_program_at_once(
    last: int, ended: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[int] = []
    monkeypatch.setattr(stopping_module, "_IMPATIENT", -1.0)
    monkeypatch.setattr(os, "_exit", found.append)
    with Stopping() as stopping:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(last)
        assert stopping.status == 130
    assert found == ended


def test_it_does_so_within_a_step_that_takes_long() -> None:
    """A kernel runs without the interpreter, as this key does: no handler of Python is called meanwhile."""
    code = (
        "import hashlib, vibee.cli.stopping as s; s._IMPATIENT = 0.1\n"
        "with s.Stopping(): print(flush=True); hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)"
    )
    heard = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=env, preexec_fn=heard)
    try:
        assert child.stdout is not None and child.stdout.readline()
        for _ in range(2):
            time.sleep(0.4)
            assert child.poll() is None
            child.send_signal(signal.SIGINT)
        assert child.wait(60) == 130
    finally:
        child.kill()
        child.communicate()


def test_a_run_whose_outer_process_has_gone_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    stopping = Stopping()
    assert not stopping.wanted and stopping.status == 0
    monkeypatch.setattr(os, "getppid", lambda: -1)
    assert stopping.wanted and stopping.status == 143


def test_a_shell_that_ends_does_not_end_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    stopping = Stopping()
    monkeypatch.setattr(os, "getppid", lambda: -1)
    assert not stopping.wanted


def test_a_signal_that_was_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with Stopping() as stopping:
            signal.raise_signal(signal.SIGHUP)
            assert not stopping.wanted
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_run_without_time_does_one_chunk() -> None:
    fake = Fake()
    loop = make(fake, Settings(steps=10, eval_every=0, sample_every=0))
    loop.deadline = time.monotonic() - 1
    loop.run(Stopping())
    assert fake.done == [0] and loop.history.last_loss == 1.0


def test_a_list_of_losses_is_thinned_without_losing_the_last() -> None:
    h = History()
    h.add_losses(0, [float(i) for i in range(1, 4002)])
    assert (len(h.train), h.train[0], h.train[-2:]) == (2001, (2, 1.5), [(4000, 3999.5), (4001, 4001.0)])
    h.add_losses(4001, [0.25] * 1999)
    h.add_losses(6000, [8.0])
    assert (h.train[-1], h.last_loss) == ((6001, 8.0), 8.0)
    h.add_losses(6001, [9.0] * 5000)
    assert h.train[-1] == (11001, 9.0)


def test_the_log_tells_the_loss_of_the_last_step_itself(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = JsonLog(str(path))
    loop = make(Fake(), Settings(steps=4002, eval_every=4001, sample_every=0), log)
    loop.run(Stopping())
    log.close()
    found = [json.loads(line)["train_loss"] for line in path.read_text().splitlines()[-3:]]
    assert found == [1 / 4001, 1 / 4001, 1 / 4002]


def test_a_long_history_is_thinned_and_survives_a_checkpoint() -> None:
    h = History()
    h.add_losses(0, [float(i) for i in range(10_001)])
    assert 1000 < len(h.train) <= 4000
    assert h.train[-1][0] >= 9990
    h.step, h.seconds, h.validation = 10_001, 1.5, [(5.0, 2.0)]
    again = History.from_dict(json.loads(json.dumps(h.to_dict())))
    assert again == h
