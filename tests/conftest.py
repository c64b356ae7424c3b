"""The order of tests, and which of them are measured.

Those that take long begin first, so that short ones fill the gaps of several processes.  Lines are counted in the
others alone: that makes the long ones half as long, and leaves no line to be reached only by the way.
"""

import contextlib
import os
import tempfile
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: ("generated" not in item.keywords, "slow" not in item.keywords))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    with unmeasured() if "slow" in item.keywords else contextlib.nullcontext():
        return (yield)


@contextlib.contextmanager
def unmeasured():
    """No lines are counted here, nor in processes that are started."""
    coverage = measuring()
    if coverage is None:
        yield
        return
    coverage.stop()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
            yield
    finally:
        coverage.start()


@pytest.fixture(scope="session")
def quickly():
    """For what is made once and takes long where lines are counted; other tests reach those lines."""
    return unmeasured


@pytest.fixture(scope="session")
def kept():
    """A spec in a file that is at the same place in the next run, so that its loops are not made again."""
    folder = Path(tempfile.gettempdir()) / f"vibee-tests-{os.getuid()}"
    folder.mkdir(exist_ok=True)

    def write(name, text):
        path, part = folder / name, folder / f"{name}.{os.getpid()}"
        part.write_text(text)
        os.replace(part, path)
        return path

    return write


def measuring():
    """What counts lines in this process, if anything does."""
    try:
        from coverage import Coverage
    except ImportError:
        return None
    return Coverage.current()
