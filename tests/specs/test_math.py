"""The elementary functions against exact values: f32 by sampling (ulp.py has the rest), f64 by mpmath's digits."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vibee.runtime.machine import LEVELS, supported_levels


def _ulp() -> Any:
    spec = importlib.util.spec_from_file_location("vibee_tests_ulp", Path(__file__).with_name("ulp.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


ulp = _ulp()


@pytest.fixture(scope="module")
def k(load: Any) -> Any:
    """The math spec."""
    return load("foundation/math")


@pytest.mark.parametrize("name", list(ulp.BOUNDS))
def test_f32_is_within_its_bound(k: Any, name: str) -> None:
    (r,) = ulp.measure([k], name, iter([ulp.sample()]))
    assert r.wrong == 0, f"{name}({r.wrong_at!r})"
    assert r.ulps <= ulp.BOUNDS[name], f"{name}({r.at!r}) = {r.got!r}, exactly {r.want!r}"
    assert r.tiny <= ulp.TINY


@pytest.fixture(scope="module", params=[isa for isa in LEVELS if isa in supported_levels()])
def casts(request: pytest.FixtureRequest) -> Any:
    """The conversions for an instruction set."""
    return ulp.load_casts(request.param)


@pytest.mark.parametrize("name", ulp.CAST_NAMES)
def test_conversions_are_exact(casts: Any, name: str) -> None:
    """All 65,536 16-bit floats and 256 bytes, all places where rounding turns, and a million other numbers."""
    for x in (ulp.borders(), ulp.sample()):
        wrong = ulp.wrong_casts(casts, name, x)
        assert not wrong.any(), x[wrong][:5]


# f64 against digits of more precision than f64 has, made with numpy's long double where it is wider.
REFERENCES = {
    "exp": (np.exp, -700, 709), "exp2": (np.exp2, -1000, 1023), "expm1": (np.expm1, -5, 5), "log": (np.log, 1e-3, 1e3),
    "log2": (np.log2, 1e-3, 10), "log10": (np.log10, 1e-2, 1e3), "log1p": (np.log1p, -0.9, 5),
    "tanh": (np.tanh, -10, 10), "sin": (np.sin, -1e4, 1e4), "cos": (np.cos, -1e4, 1e4), "atan": (np.arctan, -5, 5),
}  # fmt: skip


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 60, reason="no wider float here to compare with")
@pytest.mark.parametrize("name", list(REFERENCES))
def test_f64_is_within_three_units(k: Any, rng: np.random.Generator, name: str) -> None:
    f, lo, hi = REFERENCES[name]
    x = np.concatenate([rng.uniform(lo, hi, 20000), rng.uniform(max(lo, -1), min(hi, 1), 20000)])
    if lo <= 0:
        x = np.concatenate([x, np.exp(rng.uniform(-30, 0, 5000))])
    want = f(x.astype(np.longdouble))
    error = np.abs(getattr(k, name)(x) - want) / np.spacing(np.abs(want).astype(np.float64))
    worst = int(np.argmax(error))
    assert error[worst] <= 3, f"{name}({x[worst]!r})"


def test_f64_erf_and_its_relatives(k: Any, rng: np.random.Generator) -> None:
    x = rng.uniform(-6, 6, 20000)
    want = np.array([math.erf(v) for v in x])
    assert np.max(np.abs(k.erf(x) - want) / np.spacing(np.abs(want))) <= 4
    np.testing.assert_allclose(k.sigmoid(x), 1 / (1 + np.exp(-x)), rtol=1e-15)
    np.testing.assert_allclose(k.softplus(x), np.log1p(np.exp(x)), rtol=1e-15)


def test_special_arguments(k: Any) -> None:
    inf, nan = math.inf, math.nan
    table = {
        "exp": [(inf, inf), (-inf, 0.0), (nan, nan), (0.0, 1.0), (1000.0, inf), (-1000.0, 0.0)],
        "log": [(0.0, -inf), (-1.0, nan), (inf, inf), (-inf, nan), (nan, nan), (1.0, 0.0)],
        "log1p": [(-1.0, -inf), (-2.0, nan), (inf, inf), (nan, nan)],
        "expm1": [(-inf, -1.0), (inf, inf), (nan, nan)],
        "tanh": [(inf, 1.0), (-inf, -1.0), (nan, nan)],
        "erf": [(inf, 1.0), (-inf, -1.0), (nan, nan)],
        "sigmoid": [(inf, 1.0), (-inf, 0.0), (nan, nan), (0.0, 0.5)],
        "sin": [(inf, nan), (-inf, nan), (nan, nan)],
        "cos": [(inf, nan), (nan, nan), (0.0, 1.0)],
        "atan": [(nan, nan), (inf, math.pi / 2), (-inf, -math.pi / 2)],
    }
    for name, cases in table.items():
        for dtype in (np.float32, np.float64):
            got = getattr(k, name)(np.array([x for x, _ in cases], dtype))
            want = np.array([y for _, y in cases], dtype)
            np.testing.assert_array_equal(got, want, err_msg=f"{name} {dtype.__name__}")


def test_zero_keeps_its_sign(k: Any) -> None:
    for name in ("tanh", "erf", "sin", "atan"):
        y = getattr(k, name)(np.array([0.0, -0.0], np.float32))
        assert not np.signbit(y[0]) and np.signbit(y[1]), name


def test_powers(k: Any, rng: np.random.Generator) -> None:
    x = np.exp(rng.uniform(-5, 5, 20000)).astype(np.float32)
    y = rng.uniform(-8, 8, 20000).astype(np.float32)
    want = x.astype(np.float64) ** y.astype(np.float64)
    assert np.max(np.abs(k.pow(x, y) - want) / np.spacing(want.astype(np.float32))) <= 1
    np.testing.assert_allclose(k.pow(x.astype(np.float64), y.astype(np.float64)), want, rtol=2e-14)
    inf, nan = math.inf, math.nan
    cases = [
        (0.0, 2.0, 0.0), (0.0, -1.0, inf), (-2.0, 3.0, -8.0), (-2.0, 2.0, 4.0), (-2.0, 0.5, nan), (nan, 0.0, 1.0),
        (1.0, nan, 1.0), (2.0, inf, inf), (0.5, inf, 0.0), (inf, -1.0, 0.0), (-inf, 3.0, -inf), (-1.0, inf, 1.0),
        (2.0, 200.0, inf), (nan, 1.0, nan),
    ]  # fmt: skip
    got = k.pow(np.array([c[0] for c in cases], np.float32), np.array([c[1] for c in cases], np.float32))
    np.testing.assert_array_equal(got, np.array([c[2] for c in cases], np.float32))


@pytest.mark.parametrize("name", [*REFERENCES, "erf", "sigmoid", "softplus"])
@pytest.mark.slow
def test_derivatives(k: Any, name: str) -> None:
    f, h = getattr(k, name), 1e-6
    x = np.linspace(0.1, 2, 20)
    slope = (f(x + h) - f(x - h)) / (2 * h)
    np.testing.assert_allclose(f.grad(x, np.ones_like(x)), slope, rtol=1e-8)
    small = x.astype(np.float32)
    np.testing.assert_allclose(f.grad(small, np.ones_like(small)), slope, rtol=1e-5)


def test_derivatives_of_a_power(k: Any) -> None:
    x, y, h = np.linspace(0.1, 2, 20), np.linspace(-2, 3, 20), 1e-6
    by_base, by_exponent = k.pow.grad(x, y, np.ones_like(x))
    np.testing.assert_allclose(by_base, (k.pow(x + h, y) - k.pow(x - h, y)) / (2 * h), rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(by_exponent, (k.pow(x, y + h) - k.pow(x, y - h)) / (2 * h), rtol=1e-7, atol=1e-7)


def test_numbers_and_arrays_give_the_same(k: Any) -> None:
    x = np.linspace(-4, 4, 101)
    np.testing.assert_array_equal(k.tanh(x), [k.tanh(float(v)) for v in x])
