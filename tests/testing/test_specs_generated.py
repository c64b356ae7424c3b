"""The tests generated from vibee's own specs and from those of strangers: every definition has one that ran."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vibee.runtime.machine import supported_levels

ROOT = Path(__file__).resolve().parents[2]
CASES = 4  # a test; with fewer, the gradient of a model may meet no point where differences converge


def names(file):
    """What a spec defines: its functions, and procedures over models made for one."""
    body = ast.parse(file.read_text()).body
    functions = [f for f in body if isinstance(f, ast.FunctionDef)]
    patterns = {f.name for f in functions if over_model(f)}
    calls = [a for a in body if isinstance(a, ast.Assign) and isinstance(a.value, ast.Call)]
    made = {a.targets[0].id for a in calls if getattr(a.value.func, "id", "") in patterns}
    return {f.name for f in functions} - patterns | made


def over_model(f):
    return any(isinstance(a.annotation, ast.Name) and a.annotation.id == "model" for a in f.args.args)


@pytest.mark.parametrize("folder", [
    pytest.param("specs", marks=[pytest.mark.generated, pytest.mark.slow]),
    "tests/strangers",
])  # fmt: skip
def test_every_definition_has_tests_that_pass(folder, capsys):
    command = [sys.executable, "-m", "vibee", "test", folder, "--cases", str(CASES)]
    if folder == "specs" and supported_levels():  # the highest
        command += ["--isa", supported_levels()[-1]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=3600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = re.search(r"^(\d+) definitions, (\d+) tests: (\d+) passed, 0 failed.*", done.stdout, re.MULTILINE)
    assert counts is not None
    assert int(counts[1]) == sum(len(names(f)) for f in (ROOT / folder).rglob("*.vibee"))
    assert int(counts[2]) == int(counts[3]) >= int(counts[1])
    assert "without a test" not in done.stdout
    with capsys.disabled():
        print(f"\n{folder}: {counts[0]}")
