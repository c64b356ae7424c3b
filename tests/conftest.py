"""The order of tests, and which of them are measured.

Those that take long begin first, so that short ones fill the gaps of several processes.  Lines are counted in the
others alone: that makes the long ones half as long, and leaves no line to be reached only by the way.
"""

import pytest


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: ("generated" not in item.keywords, "slow" not in item.keywords))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    coverage = measuring() if "slow" in item.keywords else None
    if coverage is None:
        return (yield)
    coverage.stop()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)  # of processes that the test starts
            return (yield)
    finally:
        coverage.start()


def measuring():
    """What counts lines in this process, if anything does."""
    try:
        from coverage import Coverage
    except ImportError:
        return None
    return Coverage.current()
