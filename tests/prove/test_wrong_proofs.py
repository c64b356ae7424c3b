"""Wrong specs: what `vibee verify` says of each, with the run that breaks it, stands at the top of its file."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from vibee.check import load_text
from vibee.cli.verify import verify_specs
from vibee.lower.unit import Unit
from vibee.prove.replay import replay
from vibee.prove.written import check_written
from vibee.tree.defs import Alloc, For
from vibee.tree.expr import const

WRONG = sorted((Path(__file__).parents[1] / "wrong_proofs").glob("*.vibee"))
EXPECT = re.compile(r"^# expect: (.*)$", re.MULTILINE)


def test_there_are_enough_cases() -> None:
    assert len(WRONG) >= 10


@pytest.mark.parametrize("path", WRONG, ids=[p.stem for p in WRONG])
def test_a_wrong_spec_is_refused_with_its_reason(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = EXPECT.findall(path.read_text())
    code = verify_specs([str(path)], as_json=False, timeout=10, isa="v3")
    out, err = capsys.readouterr()
    said = (err + out).replace(f"{path}:", "").splitlines()
    found = [line for line in said if re.match(r"\d+:\d+: |    counterexample", line)]
    assert expected
    assert found == expected
    assert code == (1 if "REFUTED" in out else 2)


COPY = """
@procedure
def copy(x: f32[N]) -> y(f32[N]):
    t: f32[N]
    for i in range(N):
        t[i] = x[i]
    for i in range(N):
        y[i] = t[i]
"""


def test_an_element_that_is_read_before_it_is_written() -> None:
    """Arrays of a spec begin as zeros, so the mistake is made in the loops: the first one starts late."""
    unit = Unit(load_text(COPY, "copy.vibee"), "v3")
    (d,) = unit.program.defs["copy"]
    whole = unit.procedure(d)
    whole = replace(whole, body=[replace(s, zero=False) if isinstance(s, Alloc) else s for s in whole.body])
    first = next(n for n, s in enumerate(whole.body) if isinstance(s, For))
    late = replace(whole.body[first], lo=const(1, "i64"))
    broken = replace(whole, body=[*whole.body[:first], late, *whole.body[first + 1 :]])

    assert all(o.proved for _, o in check_written(whole, unit.by_key))
    assert replay(lambda key: whole, whole, {"N": 2}) is None
    found = [(array, o.what) for array, o in check_written(broken, unit.by_key) if not o.proved]
    assert found == [("t", "t is written: t[i]")]
    assert (
        str(replay(lambda key: broken, broken, {"N": 2}))
        == "copy.vibee:8:16: t[0] is read before it is written with N=2, i=0"
    )
