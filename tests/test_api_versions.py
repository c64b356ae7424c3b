"""Versions of one name that take numbers or arrays, and gradients where arguments are left out."""

import numpy as np
import pytest

import vibee

SPEC = """module("versions", version=1)


def g(x: f32[N]) -> y:
    y = sum[i](x[i])


def g(x: f32) -> y:
    y = 3 * x


def g(x: u8[N], by: i64 = 2) -> y(i64):
    y = by * i64(sum[i](x[i]))


def h(x: f32[N]) -> (y, z[N]):
    y = g(x)
    z[i] = g(x[i])


def energy(p: f64[N], eps: f64 = 1.0, sigma: f64 = 1.0) -> e:
    e = eps * sigma * sum[i](p[i] ** 2)


def two(p: f64[N], by: f64 = 1.0) -> (a, b):
    a = by * sum[i](p[i])
    b = a * a
"""


@pytest.fixture(scope="module")
def k(kept):
    return vibee.load(kept("versions.vibee", SPEC))


def test_each_call_has_the_version_that_takes_its_arrays(k):
    x = np.array([1, 2, 3], "f")
    y, z = k.h(x)
    assert y == 6 and z.tolist() == [3, 6, 9]
    assert k.g(2.0) == 6 and k.g(x) == 6 and k.g(x=x) == 6 and k.g(bytes([1, 2])) == 6 and k.g(b"ab", by=1) == 195
    assert k.g(np.ones((2, 2), "f")).tolist() == [[3, 3], [3, 3]]
    assert k.g.grad(x).tolist() == [1, 1, 1] and k.g.grad(2.0, 1.0) == 3
    assert repr(k.g) == ("<vibee g(x: f32[N]) -> y(f32) or g(x: f32) -> y(f32) or g(x: u8[N], by: i64 = 2) -> y(i64)>")
    with pytest.raises(ValueError, match="there is no argument z; it is g"):
        k.g(z=1)


def test_a_cotangent_is_left_out_together_with_defaults(k):
    p = np.array([1.0, 2])
    for args in ((p,), (p, 1.0), (p, 1.0, 1.0, 1.0)):
        d_p, d_eps, d_sigma = k.energy.grad(*args)
        assert d_p.tolist() == [2, 4] and (d_eps, d_sigma) == (5, 5)
    assert k.energy.grad(p, sigma=2.0)[0].tolist() == [4, 8]
    with pytest.raises(ValueError, match="the cotangent d_a is missing"):
        k.two.grad(p)
    with pytest.raises(ValueError, match="argument p is missing"):
        k.two.grad()
