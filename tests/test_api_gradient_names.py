"""`grad` of definitions that use a cotangent's name themselves."""

import numpy as np
import pytest

import vibee

SPEC = '''module("names", version=1)


def scaled(x: f64[N], d_y: f64) -> y[N]:
    """Its parameter has the name that the cotangent of y would have."""
    y[i] = x[i] * d_y


def with_slope(x: f64[N]) -> (y[N], d_y[N]):
    """So has its other output."""
    y[i] = x[i] * x[i]
    d_y[i] = 2.0 * x[i] * y[i]


def power(x: f64, d_y: f64) -> y:
    y = x * d_y * d_y


def clash(x: f64, d_y: f64) -> (y, y_):
    y = x * d_y
    y_ = x + d_y


def slope(x: f32[N], d_e: f32) -> d_x[N]:
    d_x[i] = d_e * x[i]


def slope(x: f64[N], d_e: f64) -> d_x[N]:
    d_x[i] = d_e * x[i]


def energy(x: f64[N]) -> e:
    e = sum[i](x[i] * x[i]) / 2
    gradient(slope)
'''


@pytest.fixture(scope="module")
def k(tmp_path_factory):
    file = tmp_path_factory.mktemp("names") / "names.vibee"
    file.write_text(SPEC)
    return vibee.load(file)


def test_a_parameter_has_the_name(k):
    x, d = np.arange(4.0), np.ones(4)
    for found in (k.scaled.grad(x, 2.0, d), k.scaled.grad(x, d_y=2.0, d_y_=d)):
        assert found[0].tolist() == [2, 2, 2, 2] and found[1] == 6
    with pytest.raises(ValueError, match="the cotangent d_y_ is missing"):
        k.scaled.grad(x, 2.0)


def test_an_output_has_the_name(k):
    x, d = np.arange(4.0), np.ones(4)
    assert k.with_slope.grad(x, d, d).tolist() == (2 * x + 6 * x * x).tolist()
    assert k.with_slope.grad(x, d_d_y=d, d_y=0 * d).tolist() == (6 * x * x).tolist()


def test_of_numbers_element_by_element(k):
    d_x, d_second = k.power.grad(np.ones(3), 3.0, np.ones(3))
    assert d_x.tolist() == [9, 9, 9] and d_second.tolist() == [6, 6, 6]
    assert k.power.grad(2.0, 3.0) == (9.0, 12.0)


def test_each_cotangent_has_one_of_its_own(k):
    assert k.clash.grad(2.0, 3.0, d_y_=1.0, d_y__=10.0) == (13.0, 12.0)


TAKEN = '''module("taken", version=1)


def lin(x: f64[N], a: f64) -> y[N]:
    y[i] = a * x[i]


def lin_grad(x: f64[N], a: f64, d_y: f64[N]) -> (d_x[N], d_a(f64)):
    """No gradient of lin, though it is called so."""
    d_x[i] = 7.0 * x[i]
    d_a = 7.0 * a * sum[i](d_y[i])
'''


@pytest.mark.parametrize("first", [True, False])
def test_another_definition_has_the_name_of_the_gradient(tmp_path, first):
    file = tmp_path / "taken.vibee"
    file.write_text(TAKEN)
    k = vibee.load(file)
    x, d = np.arange(3.0), np.ones(3)
    if first:
        assert k.lin_grad(x, 2.0, d)[1] == 42.0
    d_x, d_a = k.lin.grad(x, 2.0, d)
    assert d_x.tolist() == [2.0, 2.0, 2.0] and d_a == 3.0
    assert k.lin_grad(x, 2.0, d)[1] == 42.0


def test_the_version_of_its_type_is_the_gradient(k):
    assert k.energy.grad(np.arange(3.0), 2.0).tolist() == [0, 2, 4]
