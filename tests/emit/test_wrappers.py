"""What a spec's definitions refuse, take and give from Python, and the calls that reach them from procedures."""

import numpy as np
import pytest

import vibee

SPEC = '''
module("wrappers", version=1)

def first_is_largest(x: f32[N, M]) -> s:
    given(N >= 1, M >= 1, argmax[i](x[i, 0]) == 0)
    s = x[0, 0]

def last_is_least(x: i32[N]) -> s(i32):
    given(N >= 1, argmin[i](x[i]) == N - 1)
    s = x[N - 1]

def between(t: i32[N, M], u: u32[N]) -> s(i32):
    given(min[i, j](t[i, j]) > -5, max[i, j](t[i, j]) < 5, max[i](u[i]) < 7)
    s = sum[i, j](t[i, j])

def sorted_pairs(x: i64[N], y: f32[M]) -> s(f32):
    given(all[i:N, j:i, k:j:i](x[j] <= x[k] <= x[i]), 0 <= x[i] < M)
    s = sum[i](y[x[i]])

@procedure
def last_of_sorted(x: i64[N]) -> s(i64):
    given(N >= 1, all[i:N, j:i](x[j] < x[i]))
    s = x[N - 1]

def third(α: u32) -> π(u32):
    π = α // 3

def half(x: bf16) -> y(bf16):
    y = bf16(f32(x) / 2)

def grow(x: f32[N]) -> y[N]:
    y[i] = x[i] * 2

def grow(x: f32) -> y:
    y = x * 3

@procedure
def versions(a: f32, x: f32[N]) -> (s(f32), y(f32[2]), z(f32[N])):
    """the version for a number is called as the one for arrays is"""
    s = grow(a)
    y[1] = grow(s)
    y[0] = grow(a) + grow(s)
    z = grow(x)
'''


@pytest.fixture(scope="module")
def k(tmp_path_factory):
    path = tmp_path_factory.mktemp("spec") / "wrappers.vibee"
    path.write_text(SPEC)
    return vibee.load(path)


def test_a_condition_on_the_place_of_an_extreme_is_tested(k):
    assert k.first_is_largest(np.array([[3, 9], [3, 1]], "f")) == 3  # the first of equals
    with pytest.raises(ValueError, match=r"first_is_largest: given argmax\[i:N\]\(x\[i, 0\]\) == 0 does not hold"):
        k.first_is_largest(np.array([[3, 9], [4, 1]], "f"))
    assert k.last_is_least(np.array([5, 6, 4], "i4")) == 4
    with pytest.raises(ValueError, match="does not hold at N = 3"):
        k.last_is_least(np.array([5, 4, 4], "i4"))


def test_a_condition_on_the_extremes_of_integers_is_tested(k):
    t, u = np.array([[-4, 4]], "i4"), np.array([6], "u4")
    assert k.between(t, u) == 0
    assert k.between(t[:0], u[:0]) == 0  # nothing lies within any bounds
    for bad in (lambda: k.between(t - 1, u), lambda: k.between(t + 1, u), lambda: k.between(t, u + 1)):
        with pytest.raises(ValueError, match="does not hold"):
            bad()


def test_a_condition_over_ranges_that_depend_on_each_other_is_tested(k):
    y = np.arange(5, dtype="f")
    assert k.sorted_pairs(np.array([0, 3, 3, 4]), y) == 10 and k.sorted_pairs(np.array([], "i8"), y) == 0
    assert k.last_of_sorted(np.array([-3, 4, 9])) == 9
    for bad in ([0, 4, 3, 4], [1, 0], [0, 1, 2, 3, 0]):
        with pytest.raises(ValueError, match=r"sorted_pairs: given all\[i:N\]\(all\[j:i\]\(.*does not hold at"):
            k.sorted_pairs(np.array(bad), y)
        with pytest.raises(ValueError, match=r"last_of_sorted: given all\[i:N\]\(all\[j:i\]\(x\[j\] < x\[i\]\)\)"):
            k.last_of_sorted(np.array(bad))


def test_names_may_be_greek_and_unsigned_quotients_are_those_of_large_numbers_too(k):
    assert k.third(2**32 - 1) == (2**32 - 1) // 3


def test_numbers_of_16_bits_go_in_and_out_as_floats(k):
    assert k.half(3.0) == 1.5
    assert k.half(1.00390625) == 0.5  # rounded to 16 bits on entry


def test_a_version_for_numbers_is_called_where_another_takes_arrays(k):
    s, y, z = k.versions(2.0, np.ones(3, "f"))
    assert s == 6 and list(y) == [6 + 18, 18] and list(z) == [2, 2, 2]
