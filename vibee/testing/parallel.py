"""Several processes: everything that tests call is built first, then each process runs the tests of some definitions.

No two processes build the same module, since tests wait for all of them.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from vibee.api.errors import SpecError
from vibee.tree.defs import Model

from .record import Record
from .subject import levels, spec

ENDED = "the process that ran it has ended: a kernel crashed, or memory was short"


class Workers:
    """Processes that carry out tasks.  One that dies is replaced, and its task gives None."""

    def __init__(self, jobs: int) -> None:
        self._threads = ThreadPoolExecutor(jobs)  # each has a process of its own
        self._own = threading.local()
        self._pools: list[ProcessPoolExecutor] = []

    def map(self, f: Callable[..., Any], tasks: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        """`f` of every task, in their order."""
        return self._threads.map(lambda task: self._one(f, task), tasks)

    def _one(self, f: Callable[..., Any], task: tuple[Any, ...]) -> Any:
        if getattr(self._own, "pool", None) is None:
            # what has loaded OpenMP cannot be forked
            self._own.pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
            self._pools.append(self._own.pool)
        try:
            return self._own.pool.submit(f, *task).result()
        except BrokenProcessPool:
            self._own.pool = None
            return None

    def close(self) -> None:
        """End the processes."""
        self._threads.shutdown(cancel_futures=True)
        for pool in self._pools:
            pool.shutdown()


def build(path: str, what: str, isa: str) -> list[str]:
    """Build the modules of a spec's plain definitions for an instruction set, of its gradients, or of a model; gives
    what the spec is refused for."""
    # what cannot be built otherwise fails again in the tests that call it, and is told there
    with contextlib.suppress(Exception):
        try:
            _build(path, what, isa)
        except SpecError as e:
            return e.messages
    return []


def _build(path: str, what: str, isa: str) -> None:
    s = spec(path)
    library = s.gradients() if what == "gradients" else s.library(isa)
    if what in ("plain", "gradients", "proofs"):
        for b in list(library._builds.values()):
            _ = b.text if what == "proofs" else b.module
        return
    functions = getattr(library, what)
    for dtype in functions._models:
        for part in ("forward", "gradient"):
            library._function(functions._function(dtype, part).definitions[0])


def refuse(found: Iterable[list[str] | None]) -> None:
    """Specs that are refused are told of once, before every test says the same."""
    lines = dict.fromkeys(line for lines in found for line in lines or ())
    if lines:
        raise SpecError(lines)


def run_modules(words: list[str], modules: dict[str, str], live: bool = False) -> Record:
    """Run test modules in this process."""
    import pytest

    record = Record(modules, live)
    if modules:  # without files pytest would take the tests of the current folder
        pytest.main([*words, *modules], plugins=[record])
    return record


def run_parallel(words: list[str], paths: list[str], modules: dict[str, str], live: bool, jobs: int) -> Record:
    """Build whole specs, then run test modules, in several processes."""
    paths = _longest(paths)
    models = {p: [n for n, v in spec(p).definitions().items() if isinstance(v[0], Model)] for p in paths}
    workers = Workers(jobs)
    whole = Record(modules)
    try:
        # gradients and models need the plain definitions of their file
        refuse(workers.map(build, [(p, "plain", isa) for p in paths for isa in levels()]))
        for _ in workers.map(build, [(p, what, "") for p in paths for what in (*models[p], "gradients")]):
            pass
        parts = [{file: modules[file]} for file in _longest(modules)]
        for part, record in zip(parts, workers.map(run_modules, [(words, x, live) for x in parts]), strict=True):
            whole.add(record if record is not None else Record(part, failed=[(n, ENDED) for n in part.values()]))
    finally:
        workers.close()
    return whole


def _longest(files: Iterable[str]) -> list[str]:
    """The longest files first: they are likely to take longest."""
    return sorted(files, key=lambda f: -Path(f).stat().st_size)
