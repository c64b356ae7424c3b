"""Arguments that have names of the call's own, and conditions on numbers that wrap around or are rounded."""

import numpy as np
import pytest

import vibee

SPEC = """module("arguments", version=1)


def many(n: i64, threads: i64 = 4) -> y(i64):
    y = n * 100 + threads


def placed(x: f64[N], out: f64, self: f64) -> y[N]:
    y[i] = x[i] + out * self


def tenth(x: f32) -> y:
    given(x <= 0.1)
    y = x


def low_byte(n: i64) -> y(i64):
    given(u8(n) == 0)
    y = n


def apart(a: u32, b: u32) -> y(u32):
    given(a - b >= u32(10))
    y = a - b


def half(x: f32) -> y:
    given(bf16(x) > bf16(0.5))
    y = x


def some(x: f32[N]) -> y(bool[N]):
    y[i] = bool(bf16(x[i]))


def twice(x: f32[N, C], w: f32[C]) -> y[N, C]:
    y[n, c] = x[n, c] * w[c]


@model
def net(x: f32[N, C], arena: f32[C]) -> (y[N, C]):
    w: f32[C] = 2.0
    y = twice(twice(x, w), arena)
"""


@pytest.fixture(scope="module")
def k(tmp_path_factory):
    file = tmp_path_factory.mktemp("arguments") / "arguments.vibee"
    file.write_text(SPEC)
    return vibee.load(file)


def test_a_parameter_has_the_name_of_an_option(k):
    assert k.many(1, threads=2) == k.many(1, 2) == 102
    assert k.many(1) == 104
    x, into = np.ones(2), np.zeros(2)
    assert k.placed(x, out=2.0, self=3.0).tolist() == [7, 7]
    assert k.placed(x, 2.0, 3.0, threads=1).tolist() == [7, 7]
    assert k.tenth(0.05, threads=1) == np.float32(0.05)
    with pytest.raises(ValueError, match="out"):
        k.placed(x, out=into, self=1.0)


def test_conditions_are_those_of_the_types(k):
    assert k.tenth(np.float32(0.1)) == np.float32(0.1)
    with pytest.raises(ValueError, match=r"tenth: given x <= 0\.1"):
        k.tenth(0.2)
    assert k.low_byte(256) == 256 and k.apart(0, 1) == 2**32 - 1 and k.half(0.75) == 0.75
    with pytest.raises(ValueError, match="low_byte: given"):
        k.low_byte(255)


def test_both_zeros_of_bf16_are_false(k):
    assert k.some(np.array([0.0, -0.0, 1.0], "f4")).tolist() == [False, False, True]


def test_an_input_of_a_model_is_called_arena(k):
    x, w, scale = np.ones((1, 2), "f4"), np.full(2, 2, "f4"), np.array([1, 5], "f4")
    assert k.net.forward(w, x, scale).tolist() == [[2, 10]]
