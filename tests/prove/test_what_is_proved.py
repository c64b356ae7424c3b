"""Specs without a fault of which everything is proved."""

import pytest

from vibee.check import load_text
from vibee.prove.verify import PROVED, verify_program

PROVABLE = {
    "bisection": """
@procedure
def place(x: f32[N], v: f32) -> at(i64):
    lo: i64 = 0
    hi: i64 = N
    while lo < hi:
        mid = (lo + hi) // 2
        if x[mid] < v:
            lo = mid + 1
        else:
            hi = mid
    at = lo
""",
    "a countdown from any number": """
@procedure
def thirds(n: i64) -> s(i64):
    given(n >= 0)
    k = n
    while k > 0:
        k -= 3
        s += 1
""",
}


@pytest.mark.parametrize("name", PROVABLE)
def test_everything_is_proved_of(name: str) -> None:
    program = load_text(PROVABLE[name], "case.vibee")
    assert not program.errors
    verdicts = [v for found in verify_program(program) for v in found.verdicts]
    assert len(verdicts) > 1
    assert [f"{v.span}: {v.outcome}: {v.text}" for v in verdicts if v.outcome != PROVED] == []
