"""Simulated annealing against brute force, on a ferromagnet and on a spin glass; any number of threads."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="module")
def k(load: Any) -> Any:
    """The annealing spec."""
    return load("quantum/annealing")


def rows(couplings: dict[tuple[int, int], float], n: int, dtype: type) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compressed rows of a symmetric coupling list."""
    lists: list[list[tuple[int, float]]] = [[] for _ in range(n)]
    for (i, j), v in couplings.items():
        lists[i].append((j, v))
        lists[j].append((i, v))
    row = np.cumsum([0] + [len(x) for x in lists]).astype(np.int64)
    flat = [p for x in lists for p in x]
    return row, np.array([j for j, _ in flat], np.int32), np.array([v for _, v in flat], dtype)


def grid(size: int) -> list[tuple[int, int]]:
    """Neighbours on a square with open edges."""
    right = [(i * size + j, i * size + j + 1) for i in range(size) for j in range(size - 1)]
    return right + [(i * size + j, (i + 1) * size + j) for i in range(size - 1) for j in range(size)]


def energy(couplings: dict[tuple[int, int], float], field: np.ndarray, s: np.ndarray) -> float:
    """By the definition."""
    return -sum(v * s[i] * s[j] for (i, j), v in couplings.items()) - float(np.dot(field, s))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_energy(k: Any, rng: np.random.Generator, dtype: type) -> None:
    n = 12
    couplings = {(i, j): float(rng.normal()) for i in range(n) for j in range(i) if rng.random() < 0.4}
    field = rng.normal(size=n).astype(dtype)
    spin = rng.choice([-1, 1], (5, n)).astype(np.int8)
    got = k.ising_energy(*rows(couplings, n, dtype), field, spin)
    want = [energy(couplings, field, s) for s in spin.astype(float)]
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_small_glasses_reach_the_ground_state(k: Any, rng: np.random.Generator) -> None:
    n = 14
    for key in range(3):
        couplings = {(i, j): float(rng.normal()) for i in range(n) for j in range(i) if rng.random() < 0.5}
        field = 0.3 * rng.normal(size=n)
        best = min(energy(couplings, field, np.array(s)) for s in itertools.product((-1.0, 1.0), repeat=n))
        spin, found = k.anneal(*rows(couplings, n, np.float64), field, 300, 3.0, 0.1, True, key, R=8)
        assert found.min() == pytest.approx(best, abs=1e-9)
        for s, e in zip(spin.astype(float), found, strict=True):
            assert e == pytest.approx(energy(couplings, field, s), abs=1e-9)


def test_ferromagnet_aligns(k: Any) -> None:
    size = 16
    couplings = dict.fromkeys(grid(size), 1.0)
    field = np.full(size * size, 0.05, np.float32)
    spin, found = k.anneal(*rows(couplings, size * size, np.float32), field, 400, 3.0, 0.2, False, 5, R=4)
    best = -len(couplings) - 0.05 * size * size
    assert found.min() == pytest.approx(best, rel=1e-5)
    assert np.all(spin[np.argmin(found)] == 1)


def test_glass_on_a_grid_is_nearly_solved(k: Any, rng: np.random.Generator) -> None:
    """+-J on a 4 x 6 strip, whose ground state a transfer over columns finds exactly."""
    height, width = 4, 6
    pairs = [(i * width + j, i * width + j + 1) for i in range(height) for j in range(width - 1)]
    pairs += [(i * width + j, (i + 1) * width + j) for i in range(height - 1) for j in range(width)]
    couplings = {p: float(rng.choice([-1, 1])) for p in pairs}
    columns = list(itertools.product((-1.0, 1.0), repeat=height))

    def inside(j: int, c: tuple[float, ...]) -> float:
        return -sum(couplings[i * width + j, (i + 1) * width + j] * c[i] * c[i + 1] for i in range(height - 1))

    best = {c: inside(0, c) for c in columns}
    for j in range(1, width):
        best = {
            c: inside(j, c)
            + min(
                b - sum(couplings[i * width + j - 1, i * width + j] * a[i] * c[i] for i in range(height))
                for a, b in best.items()
            )
            for c in columns
        }
    field = np.zeros(height * width, np.float32)
    _, found = k.anneal(*rows(couplings, height * width, np.float32), field, 500, 3.0, 0.2, True, 1, R=8)
    assert found.min() == min(best.values())


@pytest.mark.slow
def test_metropolis_keeps_the_boltzmann_distribution(k: Any) -> None:
    """Two coupled spins in a field at a fixed temperature: the four states in their proportions."""
    couplings, field, t = {(0, 1): 0.7}, np.array([0.3, -0.2]), 1.3
    row, column, coupling = rows(couplings, 2, np.float64)
    spin = np.array([1, 1], np.int8)
    local = k.local_fields(row, column, coupling, field, spin)
    counts: dict[tuple[int, ...], int] = {}
    for step in range(40_000):
        k.sweep(row, column, coupling, spin, local, t, 11, 0, 2 * step, threads=1)
        state = (int(spin[0]), int(spin[1]))
        counts[state] = counts.get(state, 0) + 1
    weights = {s: np.exp(-energy(couplings, field, np.array(s)) / t) for s in itertools.product((-1, 1), repeat=2)}
    for s, w in weights.items():
        assert counts[s] / 40_000 == pytest.approx(w / sum(weights.values()), abs=0.02)


def test_any_number_of_threads_and_other_keys(k: Any, rng: np.random.Generator) -> None:
    size = 10
    couplings = {p: float(rng.choice([-1, 1])) for p in grid(size)}
    field = np.zeros(size * size, np.float32)
    a = rows(couplings, size * size, np.float32)
    one = k.anneal(*a, field, 50, 3.0, 0.3, True, 2, R=7, threads=1)
    for threads in (2, 3):
        many = k.anneal(*a, field, 50, 3.0, 0.3, True, 2, R=7, threads=threads)
        np.testing.assert_array_equal(one[0], many[0])
        np.testing.assert_array_equal(one[1], many[1])
    other = k.anneal(*a, field, 50, 3.0, 0.3, True, 3, R=7)
    assert not np.array_equal(one[0], other[0])
    assert not np.array_equal(one[0][0], one[0][1])


def test_no_sweeps_and_no_couplings(k: Any) -> None:
    field = np.array([1.0, -2.0])
    none = (np.zeros(3, np.int64), np.zeros(0, np.int32), np.zeros(0))
    spin, found = k.anneal(*none, field, 20, 1.0, 0.01, True, 0, R=2)
    np.testing.assert_array_equal(spin, [[1, -1], [1, -1]])
    np.testing.assert_array_equal(found, [-3.0, -3.0])
    spin, found = k.anneal(*none, field, 0, 1.0, 0.01, True, 0, R=1)
    assert found[0] == -float(spin[0] @ field)


def test_wrong_lists_are_refused(k: Any) -> None:
    row, column, coupling = rows({(0, 1): 1.0}, 2, np.float64)
    column[0] = 7
    with pytest.raises(ValueError):
        k.anneal(row, column, coupling, np.zeros(2), 1, 1.0, 0.1, True, 0, R=1)
