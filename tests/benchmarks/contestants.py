"""Contestants for test_benchmarks.py."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from benchmarks.worker import Missing


def number(x: float) -> Callable[[], object]:
    return lambda: [x, 2.0]


def missing() -> Callable[[], object]:
    raise Missing("it is not here")


def broken() -> Callable[[], object]:
    return lambda: 1 // 0


def dies() -> Callable[[], object]:
    return lambda: os._exit(3)


class OwnTime:
    def seconds(self, count: int) -> float:
        return 2.0 * count

    def __call__(self) -> None:
        return None


def own_time() -> Callable[[], object]:
    return OwnTime()


def sleeps() -> Callable[[], object]:
    return lambda: time.sleep(60)
