"""optimizer: update rules against PyTorch, clipping, schedules."""

from __future__ import annotations

import math

import numpy as np
import pytest


@pytest.fixture(scope="module")
def rules(load):
    return load("core/optimizer")


def zeros(*arrays):
    return [np.zeros_like(a) for a in arrays]


@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 2e-6), (np.float64, 1e-13)])
def test_adamw_matches_torch(rules, rng, dtype, tolerance):
    torch = pytest.importorskip("torch")
    w = rng.normal(size=(2, 9, 17)).astype(dtype)
    m, v = zeros(w, w)
    other = torch.nn.Parameter(torch.from_numpy(w.copy()))
    optimizer = torch.optim.AdamW([other], lr=1e-2, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1)
    for step in range(1, 21):
        g = rng.normal(size=w.shape).astype(dtype)
        rules.adamw(w, g, m, v, step, 1e-2, 0.9, 0.99, 1e-8, 0.1)
        other.grad = torch.from_numpy(g)
        optimizer.step()
    assert np.abs(w - other.detach().numpy()).max() <= tolerance


def test_sgd_matches_torch(rules, rng):
    torch = pytest.importorskip("torch")
    w = rng.normal(size=(1, 5, 8)).astype(np.float64)
    (v,) = zeros(w)
    other = torch.nn.Parameter(torch.from_numpy(w.copy()))
    optimizer = torch.optim.SGD([other], lr=0.05, momentum=0.9, weight_decay=0.01)
    for _ in range(10):
        g = rng.normal(size=w.shape)
        rules.sgd(w, g, v, 0.05, 0.9, 0.01)
        other.grad = torch.from_numpy(g)
        optimizer.step()
    assert np.abs(w - other.detach().numpy()).max() < 1e-12


def test_lion(rules, rng):
    w = rng.normal(size=(2, 3, 4))
    (m,) = zeros(w)
    expected, momentum = w.copy(), m.copy()
    for _ in range(5):
        g = rng.normal(size=w.shape)
        rules.lion(w, g, m, 0.01, 0.9, 0.99, 0.1)
        update = np.sign(0.9 * momentum + (1 - 0.9) * g)
        momentum = 0.99 * momentum + (1 - 0.99) * g
        expected = expected * (1 - 0.01 * 0.1) - 0.01 * update
    assert np.abs(w - expected).max() < 1e-12


def newton_schulz(g):
    x = g / (np.linalg.norm(g) + 1e-7)
    turned = x.shape[0] > x.shape[1]
    if turned:
        x = x.T
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.T if turned else x


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 6, 15), (3, 15, 6), (1, 1, 5)])
def test_muon(rules, rng, shape):
    w = rng.normal(size=shape)
    (m,) = zeros(w)
    expected, momentum = w.copy(), m.copy()
    for _ in range(3):
        g = rng.normal(size=shape)
        rules.muon(w, g, m, 0.02, 0.95, 0.1)
        momentum = 0.95 * momentum + 0.05 * g
        for k in range(shape[0]):
            update = newton_schulz(0.95 * momentum[k] + 0.05 * g[k])
            expected[k] = expected[k] * (1 - 0.02 * 0.1) - 0.02 * max(1, shape[1] / shape[2]) ** 0.5 * update
    assert np.abs(w - expected).max() < 1e-10


def test_orthogonalized_singular_values(rules, rng):
    for shape in ((20, 50), (50, 20)):
        x = rng.normal(size=shape)
        rules.orthogonalize(x, 5)
        s = np.linalg.svd(x, compute_uv=False)
        assert s.min() > 0.5
        assert s.max() < 1.3


@pytest.mark.parametrize("size", [1, 1000, 1024, 5000, 300_001])
def test_clip(rules, rng, size):
    g = rng.normal(size=size).astype(np.float32)
    exact = float(np.linalg.norm(g.astype(np.float64)))
    assert rules.global_norm(g) == pytest.approx(exact, rel=1e-6)
    clipped = g.copy()
    assert rules.clip(clipped, 0.0) == pytest.approx(exact, rel=1e-6)
    assert (clipped == g).all()
    rules.clip(clipped, exact * 2)
    assert (clipped == g).all()
    rules.clip(clipped, exact / 2)
    assert np.linalg.norm(clipped.astype(np.float64)) == pytest.approx(exact * exact / 2 / (exact + 1e-6), rel=1e-5)


def test_norm_is_the_same_for_any_number_of_threads(rules, rng):
    g = rng.normal(size=123_457).astype(np.float32)
    assert len({rules.global_norm(g, threads=t) for t in (1, 2, 3, 7)}) == 1


def test_cosine(rules):
    def nanogpt(it):
        if it < 100:
            return 1e-3 * (it + 1) / 101
        if it > 2000:
            return 1e-4
        return 1e-4 + 0.5 * (1.0 + math.cos(math.pi * (it - 100) / 1900)) * 9e-4

    for it in (0, 1, 50, 99, 100, 101, 1000, 1999, 2000, 2001, 10**6):
        assert rules.warmup_cosine(it, 100, 2000, 1e-3, 1e-4) == pytest.approx(nanogpt(it), rel=1e-12)
    assert rules.warmup_cosine(0, 0, 0, 1e-3, 1e-4) == 1e-4


def test_constant_then_decay(rules):
    rates = [rules.constant_then_decay(s, 10, 100, 20, 1.0, 0.1) for s in (0, 9, 10, 79, 80, 90, 99, 100, 500)]
    expected = [1 / 11, 10 / 11, 1, 1, 1, 0.55, 0.145, 0.1, 0.1]
    assert rates == pytest.approx(expected)
