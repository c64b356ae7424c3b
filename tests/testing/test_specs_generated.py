"""The tests generated from vibee's own specs and from those of strangers: every definition has one that ran."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted([*(ROOT / "specs").rglob("*.vibee"), *(ROOT / "tests" / "strangers").glob("*.vibee")])


@pytest.mark.generated
@pytest.mark.parametrize("file", FILES, ids=[str(f.relative_to(ROOT)) for f in FILES])
def test_generated(file):
    command = [sys.executable, "-m", "vibee", "test", str(file.relative_to(ROOT))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = re.search(r"^(\d+) definitions?, (\d+) tests: (\d+) passed", done.stdout, re.MULTILINE)
    assert counts is not None and int(counts[2]) == int(counts[3]) >= int(counts[1]) >= 1
    assert "without a test" not in done.stdout
