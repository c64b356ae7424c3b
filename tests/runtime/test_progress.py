"""The bar, the plain lines and the log."""

import fcntl
import io
import json
import math
import os
import pty
import struct
import termios

import pytest

from vibee.runtime import progress
from vibee.runtime.errors import UserError
from vibee.runtime.progress import JsonLog, Progress


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


class Screen(io.StringIO):
    encoding = "utf-8"


def run(tty, steps=100, seconds=50.0, width=100, screen=None):
    clock, screen = Clock(), screen or Screen()
    bar = Progress(steps, 1000, stream=screen, tty=tty, width=width, clock=clock)
    for step in range(1, steps + 1):
        clock.now += seconds / steps
        bar.update(step, 4.0 - step / 50, validation=2.5 if step == 50 else None)
    return bar, screen


def test_terminal():
    bar, screen = run(True)
    bar.close()
    text = screen.getvalue()
    last = text.rstrip("\n").split("\r\x1b[K")[-1]
    assert last.startswith("100% ") and "step 100/100" in last and "val 2.500" in last
    assert "2.00k tok/s" in last and "0:00 left" in last
    assert "0:25 left" in text
    assert text.count("\r") <= 110


def test_narrow_terminals_are_not_overrun():
    for width in (1, 10, 40, 79, 80):
        bar, _ = run(True, width=width)
        line = bar.line()
        for code in ("\x1b[36m", "\x1b[90m", "\x1b[0m"):
            line = line.replace(code, "")
        assert len(line) < max(width, 2)


def test_no_terminal_gives_few_plain_lines():
    bar, screen = run(False)
    bar.close()
    text = screen.getvalue()
    assert "\r" not in text and "\x1b" not in text
    assert 5 <= len(text.splitlines()) <= 8 and text.startswith("  1%  step 1/100")


def test_a_run_that_did_nothing_says_nothing():
    screen = Screen()
    Progress(10, 1, start=3, stream=screen, tty=False).close()
    assert screen.getvalue() == ""


def test_the_bar_is_as_wide_as_its_terminal():
    master, slave = pty.openpty()
    with open(master, "rb"), open(slave, "w", encoding="utf-8") as terminal:
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 61, 0, 0))
        bar = Progress(100, 1, stream=terminal)
        assert bar.tty == (os.environ.get("TERM") != "dumb")
        bar.step = 50
        narrow = bar.line().count("━") + bar.line().count("─")
    bar = Progress(100, 1, stream=Screen(), tty=True)  # where nobody knows, it is 80
    bar.step = 50
    assert narrow == 30 and len(bar.line().split("\x1b")) == 4


def test_notes_stand_above_the_bar():
    bar, screen = run(True)
    before = len(screen.getvalue())
    bar.step = 50
    bar.note("validation loss 2.5")
    assert screen.getvalue()[before:].startswith("\r\x1b[Kvalidation loss 2.5\n\r\x1b[K 50% ")


def test_ascii_terminals():
    class Old(io.StringIO):
        encoding = "ascii"

    bar, screen = run(True, screen=Old())
    bar.note("schön ●")
    assert screen.getvalue().isascii() and "[###" in screen.getvalue()


def test_a_closed_terminal_does_not_matter():
    screen = Screen()
    bar = Progress(10, 1, stream=screen, tty=True, width=80)
    screen.close()
    bar.note("x")
    bar.update(1, 1.0)
    bar.close()


def test_bad_losses_are_shown():
    bar, _ = run(True)
    bar.update(100, math.nan)
    assert "loss nan" in bar.line()


def test_a_validation_alone_leaves_the_loss():
    bar, _ = run(True)
    before = bar.loss
    bar.update(100, validation=1.25)
    assert bar.loss == before and "val 1.250" in bar.line()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (7, "7"),
        (42.51, "43"),
        (950, "950"),
        (999.4, "999"),
        (999.5, "1.00k"),
        (9_994, "9.99k"),
        (41_234, "41.2k"),
        (999_499, "999k"),
        (1.25e6, "1.25M"),
        (3e9, "3.00G"),
        (5e12, "5000G"),
    ],
)
def test_short_count(value, text):
    assert progress.short_count(value) == text


def test_short_time():
    assert [progress.short_time(s) for s in (0, 7.4, 754, 10921)] == ["0:00", "0:07", "12:34", "3:02:01"]


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_log_and_resume(tmp_path):
    path = tmp_path / "log.jsonl"
    log = JsonLog(str(path))
    for step in (1, 2, 2, 3):
        log.write(step=step, train_loss=float("inf") if step == 2 else 1 / 3, val_loss=None)
    log.close()
    assert lines(path)[0] == {"step": 1, "train_loss": 1 / 3, "val_loss": None}
    assert lines(path)[1]["train_loss"] is None
    with open(path, "a") as f:
        f.write('{"step": 1, "cut')
    log = JsonLog(str(path), resume_step=2)
    log.write(step=3, train_loss=0.5, again=True)
    log.close()
    assert [x["step"] for x in lines(path)] == [1, 2, 2, 3] and lines(path)[3]["again"]
    JsonLog(str(path)).close()
    assert path.read_text() == ""


LINE = '{"step": 1, "train_loss": 2.0}\n'


@pytest.mark.parametrize(
    "text",
    ["my notes\n", "my notes", LINE + "my notes\n", LINE + "my notes", LINE + "\n", '{"step": 1}\n', "[1]\n"]
    + ['{"step": "a", "train_loss": 2.0}\n', '{"step": 1, "' + "a" * 5000, "a" * 5000 + "\n"],
)
@pytest.mark.parametrize("step", [0, 7])
def test_a_file_that_is_no_log_is_left_alone(text, step, tmp_path):
    path = tmp_path / "notes"
    path.write_text(text)
    with pytest.raises(UserError, match=r"notes: there is something else than a log of vibee in this file; choose"):
        JsonLog(str(path), step)
    assert path.read_text() == text


@pytest.mark.parametrize("cut", ["", "{", '{"step"', '{"step": 1, "train_'])
def test_a_line_that_was_cut_short_is_one_of_a_log(cut, tmp_path):
    path = tmp_path / "log"
    path.write_text(LINE + cut)
    JsonLog(str(path), 1).close()
    assert path.read_text() == LINE


def test_a_log_may_be_a_device_or_a_pipe(tmp_path):
    JsonLog("/dev/null", 3).close()
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    log = JsonLog(str(tmp_path / "pipe"))
    log.write(step=1)
    log.close()
    assert os.read(reader, 99) == b'{"step": 1}\n'
    os.close(reader)


def test_log_errors(tmp_path):
    with pytest.raises(UserError, match="cannot write the log"):
        JsonLog(str(tmp_path / "no" / "log"))
    log = JsonLog("/dev/full")
    with pytest.raises(UserError, match="disk is full"):
        for step in range(10_000):
            log.write(step=step)
    with pytest.raises(UserError, match="disk is full"):
        log.close()
