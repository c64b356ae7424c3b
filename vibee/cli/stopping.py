"""Ctrl-C and SIGTERM while training: finish what is running, save, then stop."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType

_IMPATIENT = 2.0  # seconds after which a second Ctrl-C means: at once


class Stopping:
    """Remembers that the run was asked to stop; a context in which signals only do that.

    The executable's outer process passes signals on to the inner one, so that one Ctrl-C can
    arrive twice: only a second one that comes later ends the program at once.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._when = 0.0
        self._before: dict[int, object] = {}
        self._parent = os.getppid()

    def __enter__(self) -> Stopping:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._notice)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _notice(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.signal:
            self.signal, self._when = number, now
        elif number == signal.SIGINT and now - self._when > _IMPATIENT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)

    @property
    def wanted(self) -> bool:
        """True once the run should end; also if the outer process of the executable is gone."""
        if not self.signal and os.getppid() != self._parent:
            self.signal = signal.SIGTERM
        return bool(self.signal)

    @property
    def status(self) -> int:
        """The exit status that tells a shell which signal it was: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.signal if self.signal else 0
