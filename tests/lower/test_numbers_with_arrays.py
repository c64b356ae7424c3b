"""Formulas of numbers that have arrays of their own: they are called in expressions as all others are."""

import numpy as np
import pytest

import vibee
from vibee.check import load_text
from vibee.prove.verify import PROVED, verify_program

SPEC = '''
def powers(x: f32) -> y:
    t[i:4] = x * f32(i)
    y = sum[i](t[i])

def mixed(x: f64, n: i64) -> y:
    """arrays that are read where others say, and at a place that is given"""
    given(0 <= n, n < 6)
    a = 2 * x
    t[i:6] = a / f64(i + 1)
    u[i:6, j:3] = t[i] * x + f64(j)
    b[i:6] = sum[j](u[i, j])
    c = t[2]
    y = b[n] * c + t[n] + max[i](t[i])

def extremes(x: f64) -> y:
    """what has no array but where its inner reduction is kept"""
    y = sum[i:4](max[j:3](x * f64(i + j)))

def nested(x: f64) -> y:
    t[i:3] = sum[j:4](x ** 2 * f64(i + j))
    y = sum[j:3](t[j] * x)

def summed(x: f64) -> y:
    y = x * x
    y += 3.0 * x

def scattered(x: f64) -> y:
    t[i:8] = x * f64(i % 3)
    h[i:3] = 0.0 * f64(i)
    h[i % 3] += t[i] * x
    y = h[1] + 2.0 * h[2]

def running(x: f64) -> y:
    t[i:5] = x * f64(i + 1)
    u[i] = cumsum[i](t[i])
    y = u[4] * u[1]

def counted(n: i64) -> c(i64):
    t[i:8] = i % 3
    h[k:3] = where(k < n, 1, 0)
    c = sum[i](h[t[i]])

def each_powers(x: f32[N]) -> y[N]:
    y[j] = powers(x[j])

def each_mixed(x: f64[N]) -> y[N]:
    y[j] = mixed(x[j], 3)

def each_extremes(x: f64[N]) -> y[N]:
    y[j] = extremes(x[j])

def each_nested(x: f64[N]) -> y[N]:
    y[j] = nested(x[j])

def each_summed(x: f64[N]) -> y[N]:
    y[j] = summed(x[j])

def each_scattered(x: f64[N]) -> y[N]:
    y[j] = scattered(x[j])

def each_running(x: f64[N]) -> y[N]:
    y[j] = running(x[j])

def squares(x: f64[N]) -> y:
    y = sum[j](nested(x[j]) ** 2)

def tenth(x: f64, a: f32 = 0.1) -> y:
    t[i:2] = x * f64(a)
    y = t[1]

def each_tenth(x: f64[N]) -> y[N]:
    y[j] = tenth(x[j])

def each_tenths(x: f64[N], a: f32 = 0.1) -> y[N]:
    y[i] = x[i] * f64(a)

def tenths(x: f64[N]) -> y[N]:
    y = each_tenths(x)

@procedure
def far(x: f64, n: i64) -> y(f64):
    """what no small run comes to"""
    if n * n > 1000000:
        y = mixed(x, n - 1000000)
'''


def mixed(x, n=3):
    t = 2 * x / np.arange(1, 7.0)
    return (3 * t[n] * x + 3) * t[2] + t[n] + max(t)


VALUES = {
    "powers": lambda x: 6 * x,
    "mixed": mixed,
    "extremes": lambda x: sum(max(x * (i + j) for j in range(3)) for i in range(4)),
    "nested": lambda x: sum(x**3 * (i + j) for i in range(3) for j in range(4)),
    "summed": lambda x: x * x + 3 * x,
    "scattered": lambda x: 11 * x * x,
    "running": lambda x: 45 * x * x,
}
NAMES = sorted(VALUES)
X = np.array([1.0, 2.0, -1.5])


@pytest.fixture(scope="module")
def k(tmp_path_factory):
    path = tmp_path_factory.mktemp("numbers") / "numbers.vibee"
    path.write_text(SPEC)
    return vibee.load(path)


def arguments(name, x=X):
    """For the formula of a number, the array goes through element by element."""
    return (x.astype("f") if name == "powers" else x, *((3,) if name == "mixed" else ()))


def slope(name):
    f, h = VALUES[name], 1e-6
    return [(f(x + h) - f(x - h)) / (2 * h) for x in X]


@pytest.mark.parametrize("name", NAMES)
def test_values_are_those_of_the_equations(k, name):
    want = [VALUES[name](x) for x in X]
    np.testing.assert_allclose(getattr(k, name)(*arguments(name)), want, rtol=1e-6)
    np.testing.assert_allclose(getattr(k, f"each_{name}")(arguments(name)[0]), want, rtol=1e-6)


def test_values_of_integers_are_exact(k):
    assert [k.counted(n) for n in range(5)] == [0, 3, 6, 8, 8]


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_slopes(k, name):
    d = np.ones(3, "f" if name == "powers" else "d")
    np.testing.assert_allclose(getattr(k, name).grad(*arguments(name), d), slope(name), rtol=1e-6, atol=1e-6)
    if name not in ("scattered", "running"):
        each = getattr(k, f"each_{name}").grad(arguments(name)[0], d)
        np.testing.assert_allclose(each, slope(name), rtol=1e-6, atol=1e-6)


def test_gradients_go_through_a_sum_of_calls_whose_indices_have_the_same_names(k):
    want = [2 * VALUES["nested"](x) * s for x, s in zip(X, slope("nested"), strict=True)]
    np.testing.assert_allclose(k.squares.grad(X), want, rtol=1e-6)


@pytest.mark.parametrize("name", ["scattered", "running"])
def test_a_gradient_through_elements_that_are_sums_of_others_is_refused_in_a_line(k, name):
    with pytest.raises(ValueError, match=rf"vibee:\d+:\d+: elements of . in {name} are made of .*derivative") as e:
        getattr(k, f"each_{name}").grad(X, np.ones(3))
    assert "\n" not in str(e.value)


def test_a_number_that_is_left_out_is_one_of_its_type(k):
    x = np.array([1.0])
    assert k.tenth(1.0) == k.each_tenth(x)[0] == k.each_tenths(x)[0] == k.tenths(x)[0] == np.float64(np.float32(0.1))


def test_what_is_given_is_tested_on_entry_of_a_call(k):
    assert k.far(1.5, 1000003) == pytest.approx(mixed(1.5))
    with pytest.raises(ValueError, match="far: a condition of given that does not hold"):
        k.far(1.5, 1000006)
    with pytest.raises(ValueError, match="mixed: given n < 6 does not hold"):
        k.mixed(1.5, 6)


def test_places_in_arrays_of_their_own_are_proved():
    report = {f.definition.name: f.verdicts for f in verify_program(load_text(SPEC, "numbers.vibee"))}
    kinds = {name: [v.outcome for v in report[name] if v.kind in ("bounds", "written")] for name in NAMES}
    assert all(found and set(found) == {PROVED} for name, found in kinds.items() if name != "summed"), kinds


def test_a_number_of_one_version_is_stored_where_another_gives_an_array(tmp_path):
    path = tmp_path / "grown.vibee"
    path.write_text(
        "def grow(x: f64, n: size) -> y[n]:\n    y[i:n] = x + f64(i)\n\n"
        "def grow(x: f64, n: f64) -> y:\n    y = x + n\n\n"
        "@procedure\ndef grown(x: f64[N]) -> y[N]:\n    s: f64 = 1.0\n    s = grow(s, 3.0)\n"
        "    for i in range(N):\n        y[i] = grow(x[i], s)\n"
    )
    assert vibee.load(path).grown(np.array([1.0, 2.5])).tolist() == [5.0, 6.5]
