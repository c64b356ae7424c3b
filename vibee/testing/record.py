"""What came of the tests of one run."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any


class Record:
    """Counts of one run, kept by pytest's hooks: for each definition how its tests ended."""

    def __init__(self, files: dict[str, str], live: bool = False, failed: Iterable[tuple[str, str]] = ()) -> None:
        self.live = live
        self.files = files  # module file -> definition
        self.passed: dict[str, int] = {}
        self.failed: list[tuple[str, str]] = [*failed]
        self.skipped: list[tuple[str, str]] = []
        self.seconds: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        """One phase of one test has ended."""
        name = self.files.get(os.path.realpath("/" + report.nodeid.partition("::")[0]), report.nodeid)
        test = f"{name}: {report.nodeid.rpartition('::')[2]}"
        self.seconds[test] = self.seconds.get(test, 0.0) + report.duration
        if self.live and report.when == "call":
            print(f"{report.duration:7.1f} s  {report.outcome:8}{test}", flush=True)
        if report.failed:
            self.failed.append((test, _reason(report)))
        elif report.skipped:
            self.skipped.append(
                (test, str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr))
            )
        elif report.when == "call":
            self.passed[name] = self.passed.get(name, 0) + 1

    def add(self, other: Record) -> None:
        """Count what another one has counted."""
        for name, n in other.passed.items():
            self.passed[name] = self.passed.get(name, 0) + n
        self.failed += other.failed
        self.skipped += other.skipped

    @property
    def tests(self) -> int:
        """How many tests ran."""
        return sum(self.passed.values()) + len(self.failed)

    @property
    def untested(self) -> list[str]:
        """Definitions without a test that ran."""
        ran = set(self.passed) | {t.partition(": ")[0] for t, _ in self.failed}
        return [n for n in self.files.values() if n not in ran]


def _reason(report: Any) -> str:
    """What a failed check said, without the way to it."""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash is not None else str(report.longrepr)
    return str(text).removeprefix("AssertionError: ").partition("\nFailing test case")[0]
