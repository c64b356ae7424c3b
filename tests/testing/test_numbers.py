"""The oracle's bounds of rounding: they hold for what f32 arithmetic gives, and are not far above it."""

import numpy as np
import pytest

from vibee import testing
from vibee.testing.draw import Case
from vibee.testing.numbers import Arithmetic, Num
from vibee.testing.oracle import Oracle
from vibee.testing.subject import levels

SPEC = """module("small", version=1)


def chain(x: f32[N, D], y: f32[N, D]) -> z[N]:
    s[n] = sum[d](x[n, d] * y[n, d])
    z[n] = sqrt(abs(s[n])) / (1.0 + exp(-s[n]))


def step(x: f32[N]) -> (big[N], place):
    big[i] = where(x[i] * 3.0 > 1.0, 100.0, 0.0)
    place = argmax[i](x[i] * 3.0)


def extremes(x: f32[N, D], y: f32[N, D]) -> (a[N, D], b[N, D], c[N], d[D], e, f[N, D], g[N, D]):
    a[i, j] = max(x[i, j], y[i, j])
    b[i, j] = min(x[i, j], 0.0, y[i, j])
    c[i] = max[j](x[i, j])
    d[j] = min[i](x[i, j])
    e = max[i, j](x[i, j] * y[i, j])
    f[i, j] = cummax[j](x[i, j])
    g[i, j] = cummin[i](x[i, j])


def pairs(x: f32[N, D], y: f32[M, D]) -> z[N, M]:
    z[n, m] = sum[d](f32(bf16(x[n, d])) * f32(bf16(y[m, d])))


@procedure
def longest(x: f32[N]) -> (m(f32), l(f32)):
    for n in parallel(N):
        m = max(m, x[n])
        l = min(l, x[n])
"""


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    path = tmp_path_factory.mktemp("small") / "small.vibee"
    path.write_text(SPEC)
    return testing.spec(str(path))


def num(x):
    return Num(np.asarray(x, np.float64), np.zeros(np.shape(x)))


@pytest.mark.parametrize("op", ["add", "sub", "mul", "div", "sqrt"])
def test_one_operation(op):
    rng = np.random.default_rng(1)
    x, y = np.abs(rng.standard_normal((2, 2000)) * 10.0 ** rng.integers(-5, 5, 2000)).astype("f4")
    args = [x] if op == "sqrt" else [x, y]
    got = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "sqrt": np.sqrt}[op](*args)
    want = Arithmetic().apply(op, "f32", [num(a) for a in args], "f32")
    gap = np.abs(got - want.v)
    inexact = want.e > 0
    assert np.all(gap <= want.e) and np.max(gap[inexact] / want.e[inexact]) > 0.9


@pytest.mark.parametrize("n", [1, 2, 6])
def test_a_power_of_one_rounded_number_by_many(n):
    base, to = Num(np.longdouble(1.5), np.longdouble(2.0**-40)), Num(np.arange(1.0, n + 1, dtype="g"), np.zeros(n))
    for args, slope in (([base, to], to.v * 1.5 ** (to.v - 1)), ([to, base], np.log(to.v) * to.v**1.5)):
        got = Arithmetic().apply("pow", "f64", args, "f64")
        least = slope * base.e
        assert got.v.shape == got.e.shape == (n,)
        assert np.all(got.e >= 0.999 * least) and np.all(got.e <= 1.001 * least + 2.0**-48 * got.v)


def test_chain_in_f32(spec):
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((2, 50, 40)).astype("f4")
    d = spec["chain"].d
    want = Oracle(spec.program.by_key).run(
        d, {"N": Num(np.int64(50)), "D": Num(np.int64(40))}, {"x": num(x), "y": num(y)}
    )["z"]
    s = np.zeros(50, "f4")
    for k in range(40):
        s += x[:, k] * y[:, k]
    got = np.sqrt(np.abs(s)) / (np.float32(1) + np.exp(-s))
    gap = np.abs(got - want.v)
    assert np.all(gap <= want.e) and np.all(want.e < 1e-4 * (1 + np.abs(want.v)))


def evaluated(spec, name, x, y, smooth=False):
    oracle = Oracle(spec.program.by_key)
    sizes = {"N": len(x), "M": len(y), "D": x.shape[1]}
    oracle = oracle.smoothed() if smooth else oracle
    return oracle.run(spec[name].d, {n: Num(np.int64(k)) for n, k in sizes.items()}, {"x": num(x), "y": num(y)})["z"]


def test_products_of_pairs_may_take_the_least_numbers_for_zero(spec):
    """A processor may lose a factor below the least normal number, and a sum below it; no more."""
    least = 2.0**-126
    y = np.array([[2.0**20, 1.0]], "f4")
    z = evaluated(spec, "pairs", np.array([[least / 2, 0.0]], "f4"), y)
    assert z.v[0, 0] == least * 2.0**19 and least * 2.0**19 <= z.e[0, 0] < least * 2.0**21
    z = evaluated(spec, "pairs", np.array([[1.0, 3.0]], "f4"), y)
    assert z.v[0, 0] == 2.0**20 + 3 and z.e[0, 0] == 0


def test_differences_do_not_see_roundings_to_bf16(spec):
    x, y = np.array([[1.0 + 2.0**-12, 2.0]], "f4"), np.array([[1.0, 1.0]], "f4")
    assert evaluated(spec, "pairs", x, y).v[0, 0] == 3
    assert evaluated(spec, "pairs", x, y, smooth=True).v[0, 0] == 3 + 2.0**-12


@pytest.mark.parametrize(("dtype", "value"), [("f32", np.float32(0.1)), ("bf16", 0.10009765625), ("f64", 0.1)])
def test_a_literal_is_what_its_type_holds(dtype, value):
    for track in (True, False):
        got = Arithmetic(track).const(0.1, dtype)
        assert got.v == value and got.e == 0
    assert np.isinf(Arithmetic().const(1e60, dtype).v) == (dtype != "f64")


def test_differences_take_literals_for_what_is_meant():
    a = Arithmetic(smooth=True)
    third, half = a.const(1 / 3, "f32"), a.const(0.5, "f32")
    assert third.v == 1 / 3 and abs(np.float32(1 / 3) - 1 / 3) < third.e < 2.0**-25 and half.e == 0
    assert [a.const(1 / 3, t).e for t in ("f64", "bf16")] == [0, 0]
    assert a.const(np.inf, "f32").e == a.const(np.nan, "f32").e == 0


@pytest.mark.parametrize("to", ["f32", "bf16"])
def test_differences_do_not_see_conversions_between_floats(to):
    a, x = Arithmetic(smooth=True), Num(np.longdouble(1 + 2.0**-40))
    assert a.cast(x, "f64", to).v == 1 + 2.0**-40 and Arithmetic().cast(x, "f64", to).v == 1
    assert a.cast(Num(np.int64(2**40 + 1)), "i64", to).v == 2.0**40  # integers have no derivative


def test_a_choice_that_rounding_decides(spec):
    x = np.array([1 / 3, 0.5, 0.1], "f4")
    found = Oracle(spec.program.by_key).run(spec["step"].d, {"N": Num(np.int64(3))}, {"x": num(x)})
    assert found["big"].e[0] == 100 and not found["big"].e[1:].any()
    assert found["place"].v == 1 and found["place"].e == 0
    near = (np.float32(0.7) + np.arange(8, dtype="f4") * np.float32(2.0**-24)).astype("f4")
    unsure = Oracle(spec.program.by_key).run(spec["step"].d, {"N": Num(np.int64(8))}, {"x": num(near)})
    assert unsure["place"].v == 7 and unsure["place"].e >= 1


def test_overflow_and_nan(spec):
    a = Arithmetic()
    with np.errstate(all="ignore"):
        big = a.apply("mul", "f32", [num([3e38, 1e30, 3e38]), num([3.0, 1e-30, 2.0])], "f32")
        assert np.isinf(big.v[0]) and big.e[0] == 0 and np.isfinite(big.v[1])
        assert big.e[2] == np.inf  # as a part of a fused multiply-add it may be finite
        total = a.apply("add", "f32", [num([3e38, np.inf]), num([1e38, 1.0])], "f32")
        assert np.isinf(total.v).all() and not np.any(total.e)
        lost = a.apply("add", "f32", [num([np.nan, 1.0]), num([1.0, np.nan])], "f32")
        assert np.isnan(lost.v).all() and not np.any(lost.e)


def test_of_infinities_of_two_signs_that_meet_nothing_is_said(spec):
    a = Arithmetic()
    with np.errstate(all="ignore"):
        met = a.apply("sub", "f32", [num([np.inf, np.inf]), num([np.inf, 1.0])], "f32")
    assert np.isnan(met.v[0]) and np.isinf(met.e[0]) and (met.v[1], met.e[1]) == (np.inf, 0)
    # each is the sum of two products; fused, the second meets what the first has become
    oracle = Oracle(spec.program.by_key)
    x, n = num([1e30, -1e30]), num([2e30, 2e30])
    with np.errstate(all="ignore"):
        products = a.apply("mul", "f32", [x, n], "f32")
    total = oracle.combined("sum", "f32", products.v, 0, None, (0,))
    assert np.isnan(total.v) and np.isinf(total.e)
    known = oracle.combined("sum", "f32", np.array([np.nan, 1.0]), 0, None, (0,))
    assert np.isnan(known.v) and known.e == 0


@pytest.mark.parametrize("isa", levels())
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (17, 33), (70, 9)])
def test_extremes_pass_over_nan(spec, isa, shape):
    rng = np.random.default_rng(sum(shape))
    x, y = rng.standard_normal((2, *shape)).astype("f4")
    x[rng.random(shape) < 0.3] = np.nan
    y[rng.random(shape) < 0.3] = np.nan
    x[0], x[:, 0] = np.nan, np.nan
    for key, arrays in (("extremes", {"x": x, "y": y}), ("longest", {"x": x.ravel()})):
        subject = spec[key]
        case = Case(dict(zip(subject.d.sizes, arrays["x"].shape, strict=True)), {}, arrays)
        want = subject.expected(case)
        assert all(np.all(np.isfinite(n.e)) for n in want.values())
        subject.compare(subject.call(case, isa, threads=2), want, "the oracle")
