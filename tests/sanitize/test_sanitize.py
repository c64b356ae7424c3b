"""A few definitions under the sanitizers, and faults that are planted to see that they are found.

All kernels of specs/: make sanitize."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from kernels import MEMORY, RACES  # noqa: E402


def run(tool, planted, count):
    """Run with one definition tampered with: what is reported of that alone, and what the calls came to."""
    why = tool.runtime()
    if isinstance(why, str):
        pytest.skip(why)
    options = ["--tool", tool.name, "--count", str(count), "--tamper", planted]
    command = [sys.executable, HERE / "run.py", HERE / "small.vibee", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.stderr == ""
    counts = r"^small.vibee, \w+: (\d+) kernels, (\d+) calls: (\d+) results, (\d+) refused"
    found = re.search(counts, done.stdout, re.MULTILINE)
    faults = re.findall(r"^  FAULT (\w+):", done.stdout, re.MULTILINE)
    assert found and set(faults) == {planted} and done.returncode == 1, done.stdout
    return done.stdout, [int(n) for n in found.groups()]


@pytest.mark.slow
def test_memory():
    """Calls good and bad end in results or in errors that name an argument; a planted access outside is found."""
    said, (kernels, calls, results, refused) = run(MEMORY, "picked", count=20)
    assert "AddressSanitizer: heap-buffer-overflow" in said or "AddressSanitizer: SEGV" in said
    assert "no call gave a result" not in said.replace("no call gave a result: picked\n", "")
    assert kernels >= 16 and min(results, refused) > calls / 5


@pytest.mark.slow
def test_races():
    """The same bits for any number of threads, and no two of them at one element; a planted race is found."""
    said, (kernels, _, results, _) = run(RACES, "count", count=4)
    assert "ThreadSanitizer: data race" in said
    assert kernels >= 14 and results >= 16 * 14  # `remainder` too, over arrays
