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
OUTSIDE = {
    "cuts from an array": (
        "def f(y: mut[f64[N]], lo: i64[2]):\n    add(y[lo[0] : lo[1]])",
        "9:9: 0 <= lo[0] <= lo[1] <= N for an argument in y does not hold: y[1:0] is outside y[0] with N=0",
    ),
    "an end past the last": (
        "def f(y: mut[f64[N]], k: i64):\n    given(k >= 0)\n    add(y[:k + 1])",
        "10:9: 0 <= k + 1 <= N for an argument in y does not hold: y[0:4] is outside y[0] with N=0, k=3",
    ),
    "a row": (
        "def f(y: mut[f64[N, M]], n: i64):\n    given(0 <= n)\n    add(y[n, 1:])",
        "10:9: 0 <= n < N, 1 <= M for an argument in y does not hold: y[3, 1:0] is outside y[0, 0] with N=0, M=0, n=3",
    ),
}
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


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_part_outside_its_array_is_an_error_of_the_spec(name: str, tmp_path) -> None:
    body, said = OUTSIDE[name]
    path = tmp_path / "outside.vibee"
    path.write_text(f"{ADD}\n@procedure\n{body}\n")
    with pytest.raises(vibee.SpecError) as error:
        vibee.load(path)
    assert said in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_of_two_parts_the_one_outside_is_refused(tmp_path) -> None:
    path = tmp_path / "two.vibee"
    path.write_text("""
def move(x: f64[S]) -> y[S]:
    y[s] = 2.0 * x[s]


@procedure
def f(x: f64[N], k: i64) -> y(f64[N]):
    given(0 <= k, k < N)
    y[:k + 1] = move(x[k - k // 2 - 1 : k + k - k // 2])
""")
    with pytest.raises(vibee.SpecError) as error:
        vibee.load(path)
    assert [line.split(": ")[0].rpartition("vibee:")[2] for line in str(error.value).splitlines()] == ["9:22"]


def test_parts_that_are_given_inside_load_and_say_nothing(tmp_path) -> None:
    path = tmp_path / "inside.vibee"
    path.write_text(f"""{ADD}
@procedure
def f(y: mut[f64[N]], lo: i64[2]):
    given(0 <= lo[i] <= N, lo[0] <= lo[1])
    add(y[lo[0] : lo[1]])
""")
    f = vibee.load(path).f
    y = np.zeros(4)
    f(y, np.array([1, 3]))
    assert y.tolist() == [0.0, 1.0, 1.0, 0.0]
    assert f.unproved == []


@pytest.fixture(scope="module")
def far(tmp_path_factory):
    path = tmp_path_factory.mktemp("parts") / "far.vibee"
    path.write_text(FAR)
    return vibee.load(path).far


def test_an_unproved_part_is_told(far) -> None:
    assert [o for o in far.unproved if "12:" in o and "for an argument in y; tested before the call" in o]


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
