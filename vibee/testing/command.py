"""`vibee test`: generate the tests of specs, run them, print counts."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from vibee.api.function import default_threads
from vibee.runtime.machine import supported_levels

from .parallel import build, refuse, run_modules, run_parallel
from .record import Record


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


def run(
    files: list[Path], only: Iterable[str] = (), live: bool = False, jobs: int = 1, **chosen: int | str | None
) -> Record:
    """Generate the tests of specs and run them with pytest; `chosen`: the seed, the number of drawn cases, the
    instruction set."""
    from .checks import CASES, SEED
    from .generate import generate
    from .subject import ISA, levels

    modules: dict[str, str] = {}
    specs: dict[str, None] = {}  # those with a definition to test
    for file in files:
        for name, module in generate(str(file), only):
            modules[os.path.realpath(module)] = f"{file}:{name}" if len(files) > 1 else name
            specs[str(file.resolve())] = None
    words = ["-p", "no:cacheprovider", "-p", "no:terminal", "--import-mode=importlib", "--rootdir", "/"]
    words += ["-c", os.devnull]
    told = {{"seed": SEED, "cases": CASES, "isa": ISA}[n]: str(x) for n, x in chosen.items() if x is not None}
    os.environ |= told
    try:
        shared = jobs > 1 and len(modules) > 1
        if only or not shared:
            refuse(build(path, "proofs", levels()[0]) for path in specs)
        if shared:
            return run_parallel(words, [] if only else list(specs), modules, live, jobs)
        return run_modules(words, modules, live)
    finally:
        for name in told:
            del os.environ[name]


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


def test_specs(
    paths: list[str],
    seed: int | None = None,
    only: Iterable[str] = (),
    verbose: bool = False,
    jobs: int = 0,
    cases: int | None = None,
    isa: str | None = None,
) -> int:
    """The command: 0 if all tests passed, 1 if one failed, 2 for wrong input."""
    from vibee.api import SpecError

    files = spec_files(paths)
    if isinstance(files, str):
        print(files, file=sys.stderr)
        return 2
    if isa and isa not in supported_levels():
        print(f"vibee test: this processor does not have x86-64-{isa}", file=sys.stderr)
        return 2
    start = time.perf_counter()
    try:
        record = run(files, only, verbose, jobs or default_threads(), seed=seed, cases=cases, isa=isa)
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
