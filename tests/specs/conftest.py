"""What the tests of the specs share: loading a spec once, and finite differences."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vibee

SPECS = Path(__file__).resolve().parents[2] / "specs"


@cache
def _load(name: str) -> Any:
    return vibee.load(SPECS / f"{name}.vibee")


@pytest.fixture(scope="session")
def load() -> Callable[[str], Any]:
    """Loads and builds `specs/NAME.vibee`."""
    return _load


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in every run."""
    return np.random.default_rng(7)


def slope(f: Callable[..., np.ndarray], args: list, which: int, direction: np.ndarray, weight: np.ndarray) -> float:
    """Central difference of sum(f(*args) * weight) along `direction` of argument `which`, in f64."""
    h = 1e-5
    ends = []
    for sign in (1.0, -1.0):
        moved = list(args)
        moved[which] = np.ascontiguousarray(args[which] + sign * h * direction)
        ends.append(float(np.sum(f(*moved) * weight)))
    return (ends[0] - ends[1]) / (2 * h)


@pytest.fixture
def check_gradient(rng: np.random.Generator) -> Callable[..., None]:
    """Asserts that `kernel.grad` agrees with finite differences in every floating argument."""

    def check(kernel: Any, args: list, rel: float = 1e-5, **numbers: Any) -> None:
        y = kernel(*args, **numbers)
        dy = rng.normal(size=np.shape(y))
        grads = kernel.grad(*args, dy, **numbers)
        names = list(grads) if isinstance(grads, dict) else None
        floats = [i for i, a in enumerate(args) if isinstance(a, np.ndarray) and a.dtype == np.float64]
        parts = [grads[n] for n in names] if names else (grads if isinstance(grads, tuple) else (grads,))
        for i, g in zip(floats, parts, strict=False):
            direction = rng.normal(size=args[i].shape)
            expected = slope(lambda *a: kernel(*a, **numbers), args, i, direction, dy)
            got = float(np.sum(np.asarray(g) * direction))
            assert got == pytest.approx(expected, rel=rel, abs=1e-7)

    return check
