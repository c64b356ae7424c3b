"""Ctrl-C and SIGTERM while training: finish what is running, save, then stop."""

from __future__ import annotations

import os
import signal
import sys
import threading
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
        self._before: dict[int, object] = {}
        # Only the executable has an outer process; a shell that ends is no reason to stop.
        self._parent = os.getppid() if getattr(sys, "frozen", False) else None

    def __enter__(self) -> Stopping:
        read, self._pipe = os.pipe()
        os.set_blocking(self._pipe, False)
        self._woken = signal.set_wakeup_fd(self._pipe)
        self._watcher = threading.Thread(target=self._watch, args=(read,), daemon=True)
        self._watcher.start()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it: then the run is to go on
                self._before[number] = signal.signal(number, self._notice)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        signal.set_wakeup_fd(self._woken)
        os.close(self._pipe)  # the watcher reads the end of the pipe, and ends
        self._watcher.join()

    def _notice(self, number: int, _frame: FrameType | None) -> None:
        self.signal = self.signal or number

    def _watch(self, pipe: int) -> None:
        """Ends the program on a second Ctrl-C, in a thread: `_notice` has to wait until a long step is done."""
        first = 0.0
        with open(pipe, "rb", buffering=0) as numbers:
            while number := numbers.read(1):
                now = time.monotonic()
                if not first:
                    first = now
                elif number[0] == signal.SIGINT and now - first > _IMPATIENT:
                    os._exit(128 + signal.SIGINT)

    @property
    def wanted(self) -> bool:
        """True once the run should end; also if the outer process of the executable is gone."""
        if not self.signal and self._parent is not None and os.getppid() != self._parent:
            self.signal = signal.SIGTERM
        return bool(self.signal)

    @property
    def status(self) -> int:
        """The exit status that tells a shell which signal it was: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.signal if self.signal else 0
