"""What says where a part of an array lies is code too: its reads and divisions are proved, or tested."""

import numpy as np
import pytest

import vibee
from vibee.check import load_text
from vibee.prove.verify import REFUTED, verify_program

ADD = """
@procedure
def add(y: mut[f64[S]]):
    for j in range(S):
        y[j] += 1.0
"""
WRONG = {
    "a read": ("def f(y: mut[f64[N]], k: i64[M]):\n    add(y[k[5]:])", "bounds", "0 <= 5 < M for axis 0 of k"),
    "a row": ("def f(y: mut[f64[N, N]], k: i64[M]):\n    add(y[k[5]])", "bounds", "0 <= 5 < M for axis 0 of k"),
    "a divisor": ("def f(y: mut[f64[N]], k: i64, m: i64):\n    add(y[: k % m])", "divisor", "m != 0"),
    "a divisor of what is zero": (
        "def f(y: mut[f64[N]], m: i64):\n    k: i64 = 0\n    add(y[: k % m])", "divisor", "m != 0"
    ),
}  # fmt: skip
# no small run comes to the part, so that nothing is refuted
FAR = f"""{ADD}
@procedure
def far(y: mut[f64[N]], k: i64[M], m: i64, n: i64):
    if m * m > 1000000:
        if n > 1000000:
            add(y[1 // (n - 2000000):])
        add(y[k[m]:])
"""


@pytest.mark.parametrize("name", WRONG)
def test_a_fault_in_the_place_of_a_part_is_refuted(name: str) -> None:
    body, kind, what = WRONG[name]
    report = verify_program(load_text(f"{ADD}\n@procedure\n{body}\n", "part.vibee"))
    assert (kind, what) in [(v.kind, v.text) for d in report for v in d.verdicts if v.outcome == REFUTED]


@pytest.fixture(scope="module")
def far(tmp_path_factory):
    path = tmp_path_factory.mktemp("parts") / "far.vibee"
    path.write_text(FAR)
    return vibee.load(path).far


def test_an_unproved_read_in_the_place_of_a_part_is_tested(far) -> None:
    y, k = np.zeros(4), np.full(2001, 2)
    far(y, k, 2000, 0)
    assert y.tolist() == [0.0, 0.0, 1.0, 1.0]
    with pytest.raises(ValueError, match=r"index out of range \(far\.vibee:12"):
        far(y, k[:3], 2000, 0)
    with pytest.raises(ValueError, match=r"does not hold \(far\.vibee:12"):
        far(y, np.full(2001, 5), 2000, 0)


def test_an_unproved_divisor_in_the_place_of_a_part_is_tested(far) -> None:
    y, k = np.zeros(4), np.full(2001, 4)
    far(y, k, 2000, 2000001)
    assert y.tolist() == [0.0, 1.0, 1.0, 1.0]
    with pytest.raises(ValueError, match=r"division by zero \(far\.vibee:11"):
        far(y, k, 2000, 2000000)
