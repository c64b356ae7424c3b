"""The kernels that measure the machine compute what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="module")
def k(load: Any) -> Any:
    """The benchmark spec."""
    return load("training/benchmark")


@pytest.mark.parametrize("chains", [48, 96, 256])
def test_chains(k: Any, chains: int) -> None:
    y = getattr(k, f"peak_{chains}")(3, a=0.5, b=1.0, T=2)
    np.testing.assert_allclose(y, np.tile(np.arange(chains) / 8 + 1.75, (2, 1)), rtol=1e-6)


def test_memory(k: Any, rng: np.random.Generator) -> None:
    a, b = rng.normal(size=10_007), rng.normal(size=10_007)
    c = np.zeros_like(a)
    k.copy(a, c)
    np.testing.assert_array_equal(a, c)
    k.triad(a, b, c, 0.5)
    np.testing.assert_allclose(c, a + 0.5 * b, rtol=1e-15)
    assert k.total(a) == pytest.approx(a.sum(), abs=1e-10)
    np.testing.assert_allclose(k.read(a[:10_000].reshape(4, 2500)), a[:10_000].reshape(4, 2500).sum(1), atol=1e-11)
