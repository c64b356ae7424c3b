"""The lattice n 3^k pi^m phi^p e^q against plain enumeration."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

PHI = (1 + math.sqrt(5)) / 2


@pytest.fixture(scope="module")
def k(load: Any) -> Any:
    """The sacred formula spec."""
    return load("foundation/sacred_formula")


def every(n_max: int, bound: int) -> dict[float, tuple[int, ...]]:
    """All values (rounded to 12 digits) with their exponents, the smallest n first."""
    found: dict[float, tuple[int, ...]] = {}
    for n in range(1, n_max + 1):
        for e in itertools.product(range(-bound, bound + 1), repeat=4):
            v = n * 3.0 ** e[0] * math.pi ** e[1] * PHI ** e[2] * math.e ** e[3]
            found.setdefault(float(f"{v:.12g}"), (n, *e))
    return found


def test_powers(k: Any) -> None:
    for n in range(-20, 21):
        assert k.power(1.7, n) == pytest.approx(1.7**n, rel=1e-14)
    assert k.power(2.0, 1000) == 2.0**1000


def test_values(k: Any) -> None:
    assert k.sacred(1, 0, 0, 2, 0) + k.sacred(1, 0, 0, -2, 0) == pytest.approx(3, rel=1e-15)
    assert k.sacred(5, -2, 3, 1, -4) == pytest.approx(5 / 9 * math.pi**3 * PHI / math.e**4, rel=1e-14)


def test_lattice_in_an_interval(k: Any) -> None:
    lo, hi, n_max, bound = 1.0, 4.0, 7, 2
    want = sorted((v, e) for v, e in every(n_max, bound).items() if lo <= v <= hi)
    sizes = dict.fromkeys("KMPQ", bound)
    count = k.lattice_count(lo, hi, n_max, **sizes)
    value, exponent, again = k.lattice(lo, hi, n_max, **sizes, R=count)
    assert again == count == len(want)
    assert np.all(np.diff(value) > 0)
    np.testing.assert_allclose(value, [v for v, _ in want], rtol=1e-11)
    assert [tuple(row) for row in exponent.tolist()] == [e for _, e in want]
    for v, (n, *e) in zip(value, exponent.tolist(), strict=True):
        assert k.sacred(n, *e) == pytest.approx(v, rel=1e-14)


def test_too_little_room(k: Any) -> None:
    sizes = dict.fromkeys("KMPQ", 1)
    value, _, count = k.lattice(1.0, 2.0, 3, **sizes, R=3)
    assert count > 3 and np.all(np.diff(value) > 0) and value.min() >= 1


def test_nearest_point(k: Any) -> None:
    sizes = dict.fromkeys("KMPQ", 2)
    value, exponent, error = k.nearest(137.035999, 9, **sizes)
    brute = min(every(9, 2), key=lambda v: abs(v - 137.035999))
    assert value == pytest.approx(brute, rel=1e-11)
    assert error == pytest.approx((brute - 137.035999) / 137.035999, abs=1e-11)
    assert k.sacred(*exponent.tolist()) == pytest.approx(value, rel=1e-14)
    value, exponent, error = k.nearest(3.0, 9, **sizes)
    assert (value, error, exponent.tolist()) == (3.0, 0.0, [1, 1, 0, 0, 0]) or exponent.tolist() == [3, 0, 0, 0, 0]


def test_wrong_arguments(k: Any) -> None:
    with pytest.raises(ValueError):
        k.nearest(-1.0, 9, K=1, M=1, P=1, Q=1)
    with pytest.raises(ValueError):
        k.lattice_count(2.0, 1.0, 9, K=1, M=1, P=1, Q=1)


def test_sort(k: Any, rng: np.random.Generator) -> None:
    for n in (0, 1, 2, 3, 10, 1000):
        key = rng.integers(0, 20, n).astype(np.float64)
        place = rng.permutation(n)
        want = sorted(zip(key.tolist(), place.tolist(), strict=True))
        k.sort_pairs(key, place, n)
        assert list(zip(key.tolist(), place.tolist(), strict=True)) == want
