"""What a person sees of a training run while it goes on: a bar, or plain lines in a log."""

from __future__ import annotations

import os
import sys
import time

from vibee.runtime.errors import UserError, one_line, os_error
from vibee.runtime.jsontext import JsonError, dump, parse

TYPE_CHECKING = False
if TYPE_CHECKING:  # the typing module is not worth its start time
    from collections.abc import Callable
    from typing import Any, TextIO

_REDRAW = 0.1  # seconds between two pictures of the bar
_PLAIN = 10.0  # seconds between two lines where there is no terminal
_CLEAR = "\r\x1b[K"
_BEGIN = b'{"step": '  # of every line of a log
_LONGEST = 4096  # bytes of such a line; they have about 150


def short_count(x: float) -> str:
    """A number in four or five characters: 950, 41.2k, 1.25M."""
    units = ["G", "M", "k", ""]
    while x >= 999.5 and len(units) > 1:
        x /= 1000
        units.pop()
    digits = 0 if units[-1] == "" or x >= 99.95 else 1 if x >= 9.995 else 2
    return f"{x:.{digits}f}{units[-1]}"


def short_time(seconds: float) -> str:
    """A duration: 0:07, 12:34, 3:02:01."""
    total = max(0, int(seconds + 0.5))
    hours, rest = divmod(total, 3600)
    minutes, second = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{second:02}" if hours else f"{minutes}:{second:02}"


def can_show(stream: TextIO, text: str) -> bool:
    """Can this stream write these characters?"""
    encoding = (getattr(stream, "encoding", None) or "ascii").lower().replace("-", "")
    return encoding == "utf8" or text.isascii()


class Progress:
    """The bar.  `update` after some steps, `note` for a line that stays, `close` at the end."""

    def __init__(
        self,
        total: int,
        tokens_per_step: int,
        start: int = 0,
        stream: TextIO | None = None,
        tty: bool | None = None,
        width: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total, self.tokens_per_step, self.start = total, tokens_per_step, start
        self.stream = sys.stderr if stream is None else stream
        self.tty = self.stream.isatty() and os.environ.get("TERM") != "dumb" if tty is None else tty
        self.blocks = can_show(self.stream, "━")
        self._fixed_width = width
        self._clock = clock
        self._drawn = self._rated = clock()
        self._drawn -= _PLAIN if not self.tty else _REDRAW
        self._rate = 0.0
        self._rated_step = start
        self.step = start
        self.loss: float | None = None
        self.validation: float | None = None
        self._shown = False

    @property
    def tokens_per_second(self) -> float:
        """The recent speed."""
        return self._rate * self.tokens_per_step

    def update(self, step: int, loss: float | None = None, validation: float | None = None) -> None:
        """The run has done `step` steps in all."""
        now = self._clock()
        self.step = step
        if loss is not None:
            # Single batches jump about; the bar shows where they tend to.
            self.loss = loss if self.loss is None or loss != loss else 0.8 * self.loss + 0.2 * loss
        if validation is not None:
            self.validation = validation
        if now - self._rated >= 0.5 or (self._rate == 0 and now > self._rated and step > self._rated_step):
            rate = (step - self._rated_step) / (now - self._rated)
            # The first seconds count less and less, a change of speed shows within a few.
            keep = 0.0 if self._rate == 0 else max(0.0, 1 - (now - self._rated) / 4)
            self._rate = keep * self._rate + (1 - keep) * rate
            self._rated, self._rated_step = now, step
        if now - self._drawn >= (_REDRAW if self.tty else _PLAIN):
            self._draw(now)

    def _draw(self, now: float) -> None:
        self._drawn = now
        self._write((_CLEAR + self.line()) if self.tty else self.line(bar=False) + "\n")
        self._shown = self.tty

    def line(self, bar: bool = True) -> str:
        """The bar as it is now."""
        share = min(1.0, self.step / self.total) if self.total > 0 else 1.0
        words = [f"step {self.step}/{self.total}"]
        if self.loss is not None:
            words.append(f"loss {self.loss:.3f}")
        if self.validation is not None:
            words.append(f"val {self.validation:.3f}")
        if self._rate > 0:
            words.append(f"{short_count(self.tokens_per_second)} tok/s")
            words.append(f"{short_time((self.total - self.step) / self._rate)} left")
        text = "  ".join(words)
        if not bar:
            return f"{share:4.0%}  {text}"
        columns = self._width()
        room = min(30, columns - len(text) - 8)
        if room < 5:
            return f"{share:4.0%}  {text}"[: columns - 1]
        return f"{share:4.0%} {self._bar(share, room)}  {text}"

    def _bar(self, share: float, room: int) -> str:
        if not self.blocks:
            full = int(share * room)
            return "[" + "#" * full + "-" * (room - full) + "]"
        halves = int(share * room * 2)
        full, half = divmod(halves, 2)
        on = "━" * full + ("╸" if half else "")
        return f"\x1b[36m{on}\x1b[90m{'─' * (room - len(on))}\x1b[0m"

    def _width(self) -> int:
        if self._fixed_width is not None:
            return self._fixed_width
        try:
            return os.get_terminal_size(self.stream.fileno()).columns
        except (OSError, ValueError, AttributeError):
            return 80

    def note(self, text: str) -> None:
        """A line (or several) that stays above the bar."""
        if self._shown:
            self._write(_CLEAR)
            self._shown = False
        if not can_show(self.stream, text):
            text = text.encode("ascii", "replace").decode("ascii")
        self._write(text + "\n")
        if self.tty and self.step < self.total:
            self._draw(self._clock())

    def close(self) -> None:
        """Leave the last state of the bar on the screen."""
        if self.tty:
            self._write(_CLEAR + self.line() + "\n")
        elif self.step > self.start:
            self._write(self.line(bar=False) + "\n")
        self._shown = False

    def _write(self, text: str) -> None:
        try:
            self.stream.write(text)
            self.stream.flush()
        except (OSError, ValueError):
            pass  # a terminal that went away must not end a training run


class JsonLog:
    """One JSON object a line.  A resumed run goes on in the same file, after the resumed step.

    A file that holds anything but such lines is somebody else's, and refused.  A device or a pipe is written as it is.
    """

    def __init__(self, path: str, resume_step: int = 0) -> None:
        self.path = path
        try:
            known = os.path.isfile(path)
            end = _end_of(path, resume_step) if known else 0
            self._file = open(path, "ab")  # noqa: SIM115 (open as long as the run)
            if known:
                self._file.truncate(end)
        except OSError as e:
            raise os_error(e, "write the log", path) from None

    def write(self, **values: Any) -> None:
        """Add a line; what is no finite number is written as null."""
        clean = {k: None if isinstance(v, float) and v - v != 0.0 else v for k, v in values.items()}
        try:
            self._file.write(dump(clean).encode() + b"\n")
            self._file.flush()
        except OSError as e:
            raise os_error(e, "write the log", self.path) from None

    def close(self) -> None:
        """Close the file."""
        try:
            self._file.close()
        except OSError as e:
            raise os_error(e, "write the log", self.path) from None


def _end_of(path: str, step: int) -> int:
    """Where the lines of a log end that are about steps up to this one; an error if it is no log."""
    end, kept = 0, True
    with open(path, "rb") as old:
        while line := old.readline(_LONGEST):
            at = _step_of(line)
            if at < 0:
                raise UserError(one_line(f"--log {path}: there is something else than a log of vibee in this file; "
                                         "choose another file"))  # fmt: skip
            kept = kept and at <= step and line.endswith(b"\n")
            if kept:
                end += len(line)
    return end


def _step_of(line: bytes) -> int:
    """The step of a line of a log, of 0 for one that was cut short, and -1 for what is none."""
    if not line.endswith(b"\n"):
        return 0 if len(line) < _LONGEST and line[: len(_BEGIN)] == _BEGIN[: len(line)] else -1
    try:
        value = parse(line)
    except JsonError:
        return -1
    at = value.get("step") if isinstance(value, dict) and "train_loss" in value else None
    return at if isinstance(at, int) else -1
