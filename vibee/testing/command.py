"""`vibee test`: generate the tests of specs, run them, print counts."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class Record:
    """Counts of one run, kept by pytest's hooks: for each definition how its tests ended."""

    def __init__(self, files: dict[str, str], live: bool = False) -> None:
        self.live = live
        self.files = files  # module file -> definition
        self.passed: dict[str, int] = {}
        self.failed: list[tuple[str, str]] = []
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


def spec_files(paths: Iterable[str]) -> list[Path] | str:
    """The specs that paths name, or what is wrong with them."""
    found: list[Path] = []
    for text in paths:
        path = Path(text)
        if path.is_dir():
            inside = sorted(path.rglob("*.vibee"))
            if not inside:
                return f"{text}: there is no .vibee file in this folder"
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            return f"{text}: there is no such file or folder"
    return list(dict.fromkeys(found))


def run(files: list[Path], seed: int | None = None, only: Iterable[str] = (), live: bool = False) -> Record:
    """Generate the tests of specs and run them with pytest."""
    import pytest

    from .checks import SEED
    from .generate import generate

    modules: dict[str, str] = {}
    for file in files:
        for name, module in generate(str(file), only):
            modules[os.path.realpath(module)] = f"{file}:{name}" if len(files) > 1 else name
    record = Record(modules, live)
    if seed is not None:
        os.environ[SEED] = str(seed)
    try:
        words = ["-p", "no:cacheprovider", "-p", "no:terminal", "--import-mode=importlib", "--rootdir", "/"]
        pytest.main([*words, "-c", os.devnull, *modules], plugins=[record])
    finally:
        if seed is not None:
            del os.environ[SEED]
    return record


def report(record: Record, seconds: float, verbose: bool = False) -> None:
    """Print failures and counts."""
    for test, text in record.failed:
        print(f"FAILED {test}\n  {text}\n")
    if verbose:
        for test, text in record.skipped:
            print(f"skipped {test}: {text}")
    passed = sum(record.passed.values())
    tail = f", {len(record.skipped)} had nothing to compare" if record.skipped else ""
    counts = f"{passed} passed, {len(record.failed)} failed{tail}"
    if record.untested:
        print(f"without a test that ran: {', '.join(record.untested)}")
    count = f"{len(record.files)} definition{'s' if len(record.files) != 1 else ''}"
    print(f"{count}, {record.tests} tests: {counts}  ({seconds:.0f} s)")


def test_specs(paths: list[str], seed: int | None = None, only: Iterable[str] = (), verbose: bool = False) -> int:
    """The command: 0 if all tests passed, 1 if one failed, 2 for wrong input."""
    from vibee.api import SpecError

    files = spec_files(paths)
    if isinstance(files, str):
        print(files, file=sys.stderr)
        return 2
    start = time.perf_counter()
    try:
        record = run(files, seed, only, verbose)
    except SpecError as e:
        print(e, file=sys.stderr)
        return 2
    if not record.files:
        print(
            f"vibee test: no definition is called {', '.join(only)}" if only else "vibee test: no definitions",
            file=sys.stderr,
        )
        return 2
    report(record, time.perf_counter() - start, verbose)
    return 1 if record.failed else 0
