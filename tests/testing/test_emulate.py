"""Elementary functions are emulated as their kernels round, by the f64 version where there is one."""

import numpy as np
import pytest

from vibee import testing
from vibee.testing.emulate import Unable, emulated
from vibee.testing.numbers import Num
from vibee.testing.oracle import Oracle

SPEC = '''module("elementary", version=1)


def scaled(x: real) -> y:
    """x, through its bits and every kind of operation that an elementary function may use."""
    bits = i64(bitcast(i32, f32(x)))
    parity = (bits % 2 + 2) // 2 & ~0
    far = not (x > -1000.0 and x < 1000.0) or parity == 7
    m = max(min(abs(x), 1e30), -1.0) * (2.0 if bool(bits) or far else 1.0)
    y = (-m if x < 0 else m) / 2.0 + real(i8(floor(sqrt(abs(x) * 0.0)))) - real(rint(x) * 0)


def halve_f32(x: f32) -> y:
    """Named like the f32 version of a function that has no other one."""
    y = bitcast(f32, bitcast(i32, x) - (1 << 23))


def twice_f32(x: f32) -> y:
    y = bitcast(f32, bitcast(i32, x) + (1 << 23))


def twice_f64(x: f64, by: f64) -> y:
    y = x * by


def narrow(x: f32) -> y:
    y = bitcast(f32, bitcast(i32, x))


def narrow(x: f64) -> y:
    y = sqrt(x - 1.0) * 0.0 + bitcast(f64, bitcast(i64, x))


def eighth(x: f32) -> y:
    """With a loop, which numpy's expressions are not."""
    t[i:3] = bitcast(f32, bitcast(i32, x) - (i32(i) << 23))
    y = t[0] * t[1] * t[2]


@procedure
def root(x: f32) -> y(f32):
    y = sqrt(x)


def rooted(x: f32) -> y:
    y = root(bitcast(f32, bitcast(i32, x)))


def powered(x: f32) -> y:
    y = sum[k:3](bitcast(f32, bitcast(i32, x))) / 3.0


def called(x: f32) -> y:
    y = halve_f32(x) + bitcast(f32, bitcast(i32, x) ^ 0 | 0)
'''


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    path = tmp_path_factory.mktemp("elementary") / "elementary.vibee"
    path.write_text(SPEC)
    return testing.spec(str(path))


def test_every_operation_rounds_as_its_type_does(spec):
    x = np.array([1.5, -2.25, 7.0, 0.0])
    for key, kind in (("scaled_f32", "f4"), ("scaled_f64", "f8")):
        f = emulated(spec[key].d, spec.program.by_key)
        y = f(x.astype(kind))
        assert y.dtype == np.dtype(kind) and np.array_equal(y, x)


def test_calls_are_emulated_too(spec):
    x = np.array([2.0, 3.0], "f4")
    assert np.array_equal(emulated(spec["called"].d, spec.program.by_key)(x), 1.5 * x)


@pytest.mark.parametrize("name", ["eighth", "rooted", "powered"])
def test_what_is_more_than_arithmetic_is_evaluated_by_the_oracle(spec, name):
    d = spec[name].d
    with pytest.raises(Unable):
        emulated(d, spec.program.by_key)
    x = np.array([4.0, 9.0], "f4")
    want = {"eighth": x**3 / 8, "rooted": np.sqrt(x), "powered": x}[name]
    got = Oracle(spec.program.by_key).elementary_value(d, [Num(x.astype(float))])
    assert np.array_equal(got.v, want)


@pytest.mark.parametrize("name,factor", [("halve_f32", 0.5), ("twice_f32", 2.0)])
def test_a_version_without_a_twin_stands_for_itself(spec, name, factor):
    """There is no halve_f64, and twice_f64 is another function."""
    d = spec[name].d
    oracle = Oracle(spec.program.by_key)
    assert oracle.twin(d) is d and oracle.elementary(d)
    x = np.array([3.0, 5.0])
    got = oracle.elementary_value(d, [Num(x, np.array([0.0, 0.01]))])
    assert np.array_equal(got.v, factor * x)
    assert got.e[0] <= 20 * 2.0**-24 * factor * 3 and factor * 0.01 <= got.e[1] < factor * 0.0101


def test_where_the_twin_has_no_value_the_version_itself_does(spec):
    d = spec["narrow_f32"].d
    oracle = Oracle(spec.program.by_key)
    assert oracle.twin(d) is spec["narrow_f64"].d
    got = oracle.elementary_value(d, [Num(np.array([4.0, 0.5, np.nan]))])
    assert got.v[:2].tolist() == [4.0, 0.5] and np.isnan(got.v[2])


def test_elementary_functions_on_drawn_arrays(spec):
    subject = spec["halve_f32"]
    found = subject.evaluate(subject.oracle(), {}, {"x": Num(np.array([3.0, 5.0]), np.zeros(2))})
    assert found["y"].v.tolist() == [1.5, 2.5]
