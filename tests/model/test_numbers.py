"""Numbers that a model computes: arguments made of them, and values that are rounded."""

import numpy as np
import pytest
from model_case import Case

import vibee

PARTS = """
def scaled(x: real[N, C], w: real[C]) -> y[N, C]:
    y[n, c] = x[n, c] * w[c]
def summed(x: real[N, C]) -> e:
    e = sum[n, c](x[n, c] ** 2)
def times(x: real[N, C], a: real) -> y[N, C]:
    y[n, c] = x[n, c] * a
def best(x: real[N, C]) -> k(i64):
    k = argmax[c](sum[n](x[n, c]))
def best_i32(x: real[N, C]) -> k(i32):
    k = i32(argmax[c](sum[n](x[n, c])))
def shifted(x: real[N, C], k: i64) -> y[N, C]:
    y[n, c] = x[n, c] * real(k + 1)
def bend(x: real) -> y:
    y = x / (1.0 + x * x)
@model
def net(x: real[N, C], L: size) -> (loss(real)):
    given(C >= 1)
    h = x
    s = summed(x)
    for l in layers(L):
        w: real[C] = 1.0
        h = scaled(h, w)
        s = summed(h)
        k = best(h)
        h = {}
    loss = summed(h)
"""
X = np.random.default_rng(1).normal(size=(2, 3))


@pytest.mark.parametrize(
    "made",
    ["times(h, s * 2.0)", "times(h, bend(s))", "times(h, bend(s) + s)", "shifted(h, k + 1)", "shifted(h, best_i32(h))"],
)
def test_an_argument_made_of_values_that_are_numbers(made):
    Case(PARTS.replace("{}", made), "net", N=2, C=3, L=3).check(x=X)


STATED = """
def summed(x: real[N, C]) -> e:
    e = sum[n, c](x[n, c] ** 2)
def scaled(x: real[N, C], w: real[C]) -> y[N, C]:
    y[n, c] = x[n, c] * w[c]
@procedure
def energy(x: real[N, C]) -> (e(real), least(real)):
    gradient(energy_back)
    for n in range(N):
        e += sum[c](x[n, c] ** 2)
    least = e
@procedure
def energy_back(x: real[N, C], d_e: real, d_least: real) -> d_x[N, C]:
    for n in range(N):
        for c in range(C):
            d_x[n, c] = 2.0 * x[n, c] * (d_e + d_least)
@model
def net(x: real[N, C]) -> (loss(real)):
    w: real[C] = 1.0
    e, least = energy(scaled(x, w))
    loss = e * e
"""


def test_a_stated_gradient_takes_the_cotangent_of_a_number():
    Case(STATED, "net", N=2, C=3).check(x=X)


BF16 = """
def scaled(x: f32[N, C], w: f32[C]) -> y[N, C]:
    y[n, c] = x[n, c] * w[c]
def summed(x: f32[N, C]) -> e:
    e = sum[n, c](x[n, c] ** 2)
def narrow(x: f32[N, C]) -> (y(bf16[N, C]), unused(bf16[N, C])):
    y[n, c] = bf16(x[n, c])
    unused[n, c] = bf16(x[n, c] * 2.0)
def wide(x: bf16[N, C]) -> y(f32[N, C]):
    y[n, c] = f32(x[n, c])
@model
def net(x: f32[N, C], L: size) -> (loss(f32)):
    g: f32[C] = 1.0
    h, other = narrow(scaled(x, g))
    for l in layers(L):
        w: f32[C] = 1.0
        h, other = narrow(scaled(wide(h), w))
    loss = summed(wide(h) + wide(h))
"""


def test_the_gradient_passes_values_that_are_kept_in_bf16(tmp_path):
    (tmp_path / "net.vibee").write_text(BF16)
    net = vibee.load(tmp_path / "net.vibee").net
    x = np.array([[1, 2, -3], [4, 0.5, 6]], "f4")  # and the weights: nothing is rounded
    loss, grads = net.gradient(net.init(C=3, L=2), x, L=2)
    assert loss == 4 * (x**2).sum()
    np.testing.assert_array_equal(grads.reshape(3, 3), np.tile(8 * (x**2).sum(0), (3, 1)))
