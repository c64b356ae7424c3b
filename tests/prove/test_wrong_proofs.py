"""Wrong specs: what `vibee verify` says of each, with the run that breaks it, stands at the top of its file."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

import pytest

from vibee.check import load_text
from vibee.cli.specs import check_specs
from vibee.cli.verify import verify_specs
from vibee.lower.unit import Unit
from vibee.prove.replay import replay
from vibee.prove.written import check_written
from vibee.tree.defs import Alloc, For
from vibee.tree.expr import const

WRONG = sorted((Path(__file__).parents[1] / "wrong_proofs").glob("*.vibee"))
EXPECT = re.compile(r"^# expect: (.*)$", re.MULTILINE)
TOLD = ("loop_that_steps_over_its_end",)  # which is UNPROVED


def said_of(path: Path) -> tuple[int, str]:
    """Exit status and text of `vibee verify`."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = verify_specs([str(path)], as_json=False, timeout=10, isa="v3")
    return code, err.getvalue() + out.getvalue()


def test_there_are_enough_cases() -> None:
    assert len(WRONG) >= 10


@pytest.mark.parametrize("path", WRONG, ids=[p.stem for p in WRONG])
@pytest.mark.slow
def test_a_wrong_spec_is_refused_with_its_reason(path: Path) -> None:
    expected = EXPECT.findall(path.read_text())
    code, text = said_of(path)
    said = text.replace(f"{path}:", "").splitlines()
    found = [line for line in said if re.match(r"\d+:\d+: |    (counterexample|example|why)", line)]
    assert expected
    assert found == expected
    assert code == (1 if "REFUTED" in text else 0 if "UNPROVED" in text else 2)


def test_the_page_names_every_case() -> None:
    page = (Path(__file__).parents[2] / "docs" / "proofs.md").read_text()
    assert [p.stem for p in WRONG if f"`{p.stem}`" not in page] == []


@pytest.mark.parametrize("path", [p for p in WRONG if p.stem not in TOLD], ids=lambda p: p.stem)
def test_what_is_refuted_is_an_error_of_the_spec(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of whatever kind; a loop that no run has seen end may still end."""
    assert check_specs([str(path)]) == 2
    assert f"{path}:" in capsys.readouterr().err


COPY = """@procedure
def copy(x: f32[N]) -> y(f32[N]):
    t: f32[N]
    for i in range(N):
        t[i] = x[i]
    for i in range(N):
        y[i] = t[i]
"""


def test_a_read_of_what_is_not_written_is_found_in_loops() -> None:
    """No spec can say this, since arrays begin as zeros: the first loop is made to start at 1, and the zeros go."""
    program = load_text(COPY, "copy.vibee")
    unit = Unit(program, "v3")
    whole = unit.procedure(program.defs["copy"][0])
    whole = replace(whole, body=[replace(s, zero=False) if isinstance(s, Alloc) else s for s in whole.body])
    first = next(n for n, s in enumerate(whole.body) if isinstance(s, For))
    late = replace(whole.body[first], lo=const(1, "i64"))
    broken = replace(whole, body=[*whole.body[:first], late, *whole.body[first + 1 :]])

    assert all(o.proved for _, o in check_written(whole, unit.by_key))
    assert replay(lambda key: whole, whole, {"N": 2}) is None
    (o,) = [o for _, o in check_written(broken, unit.by_key) if not o.proved]
    fault = replay(lambda key: broken, broken, {"N": 2})
    assert fault is not None and o.what == "t is written: t[i]"
    assert str(fault) == f"copy.vibee:{o.span.line}:16: t[0] is read before it is written with N=2, i=0"
