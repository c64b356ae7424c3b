"""attention: the formula, the flash procedures, rotary positions and the cache, against numpy and PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

SIZES = pytest.mark.parametrize(
    "b, t, h, g, d", [(1, 1, 1, 1, 1), (2, 7, 4, 2, 8), (3, 33, 4, 1, 5), (2, 70, 4, 4, 16)]
)
TOLERANCE = {np.float32: 3e-6, np.float64: 1e-13}


@pytest.fixture(scope="module")
def att(load):
    return load("core/attention")


def packed(rng, b, t, h, g, d, dtype=np.float64):
    return rng.normal(size=(b, t, h + 2 * g, d)).astype(dtype)


def split(x, h, g):
    return (np.ascontiguousarray(p) for p in (x[:, :, :h], x[:, :, h : h + g], x[:, :, h + g :]))


def reference(x, h, g):
    """Attention by the book in f64."""
    t, d = x.shape[1], x.shape[3]
    q, k, v = (p.astype(np.float64) for p in split(x, h, g))
    k, v = (np.repeat(p, h // g, axis=2) for p in (k, v))
    s = np.einsum("bthd,buhd->bhtu", q, k) / np.sqrt(d)
    s = np.where(np.tril(np.ones((t, t), bool)), s, -np.inf)
    top = s.max(-1, keepdims=True)
    e = np.exp(s - top)
    z = e.sum(-1, keepdims=True)
    return np.einsum("bhtu,buhd->bthd", e / z, v), (top + np.log(z))[..., 0]


@SIZES
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_forward(att, rng, b, t, h, g, d, dtype):
    x = packed(rng, b, t, h, g, d, dtype)
    y, lse = reference(x, h, g)
    limit = TOLERANCE[dtype] * max(1, np.abs(y).max())
    assert np.abs(np.asarray(att.attention(*split(x, h, g))) - y).max() < limit
    assert np.abs(np.asarray(att.attention_packed(x, h, g)) - y).max() < limit
    flash_y, flash_lse = att.flash(x, h, g)
    assert np.abs(np.asarray(flash_y) - y).max() < limit
    assert np.abs(np.asarray(flash_lse) - lse).max() < limit * 4


def test_large_scores(att, rng):
    x = packed(rng, 1, 40, 2, 1, 8, np.float32) * np.float32(60)
    y, _ = reference(x, 2, 1)
    got = np.asarray(att.flash(x, 2, 1)[0])
    assert np.isfinite(got).all()
    assert np.abs(got - y).max() < 1e-2


def test_threads_do_not_change_a_bit(att, rng):
    x = packed(rng, 5, 40, 4, 2, 8, np.float32)
    results = [[np.array(a) for a in att.flash(x, 4, 2, threads=n)] for n in (1, 2, 5)]
    for y, lse in results[1:]:
        assert (y == results[0][0]).all()
        assert (lse == results[0][1]).all()


@SIZES
def test_backward(att, rng, b, t, h, g, d):
    torch = pytest.importorskip("torch")
    x = packed(rng, b, t, h, g, d)
    dy = rng.normal(size=(b, t, h, d))
    y, lse = (np.ascontiguousarray(a) for a in att.flash(x, h, g))
    got = np.asarray(att.flash_backward(x, h, g, y, lse, dy, np.zeros_like(lse)))
    dlse = rng.normal(size=(b, h, t))
    with_lse = np.asarray(att.flash.grad(x, h, g, dy, dlse))
    other = torch.from_numpy(x).requires_grad_()
    q, k, v = (p.transpose(1, 2) for p in (other[:, :, :h], other[:, :, h : h + g], other[:, :, h + g :]))
    k, v = (p.repeat_interleave(h // g, 1) for p in (k, v))
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
    out.backward(torch.from_numpy(dy), retain_graph=True)
    expected = other.grad.numpy().copy()
    scores = torch.where(torch.ones(t, t).tril() > 0, q @ k.transpose(2, 3) / d**0.5, -torch.inf)
    scores.logsumexp(-1).backward(torch.from_numpy(dlse))
    assert np.abs(with_lse - other.grad.numpy()).max() < 1e-11
    assert np.abs(got - expected).max() < 1e-12 * max(1, np.abs(expected).max())


def test_backward_by_finite_differences(att, rng):
    b, t, h, g, d = 2, 37, 4, 2, 3
    x = packed(rng, b, t, h, g, d)
    dy = rng.normal(size=(b, t, h, d))
    y, lse = (np.ascontiguousarray(a) for a in att.flash(x, h, g))
    got = np.asarray(att.flash_backward(x, h, g, y, lse, dy, np.zeros_like(lse)))
    for _ in range(5):
        way = rng.normal(size=x.shape)
        ends = [float(np.sum(np.asarray(att.flash(x + s * 1e-5 * way, h, g)[0]) * dy)) for s in (1, -1)]
        assert float(np.sum(got * way)) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5)


def rotated(x, pos, theta):
    """Hugging Face's rotate_half on [B, T, H, D]."""
    t, d = x.shape[1], x.shape[3]
    angle = np.outer(pos + np.arange(t), theta ** (-np.arange(0, d, 2) / d))
    co, si = (np.concatenate([f(angle), f(angle)], 1)[None, :, None] for f in (np.cos, np.sin))
    half = np.concatenate([-x[..., d // 2 :], x[..., : d // 2]], -1)
    return x * co + half * si


@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 2e-5), (np.float64, 1e-12)])
def test_rotary(att, rng, dtype, tolerance):
    x = rng.normal(size=(2, 9, 5, 8)).astype(dtype)
    co, si = att.rotary_table(9, 4, 3, 10000.0, dtype="f32" if dtype == np.float32 else "f64")
    y = np.asarray(att.rotary(x.reshape(2, 9, 5, 2, 4), co, si, 3)).reshape(x.shape)
    assert np.abs(y[:, :, :3] - rotated(x.astype(np.float64), 3, 10000.0)[:, :, :3]).max() < tolerance
    assert (y[:, :, 3:] == x[:, :, 3:]).all()


def test_rotary_gradient(att, rng, check_gradient):
    x = rng.normal(size=(2, 5, 3, 2, 4))
    co, si = (rng.normal(size=(5, 4)) for _ in range(2))
    check_gradient(att.rotary, [x, co, si, 2])


@pytest.mark.parametrize("chunks", [[37], [1] * 37, [10, 1, 1, 20, 5]])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cache(att, rng, chunks, dtype):
    h, g, d, s = 4, 2, 6, 40
    x = packed(rng, 1, 37, h, g, d, dtype)
    keys, values = (np.full((g, s, d), np.nan, dtype) for _ in range(2))
    parts, pos = [], 0
    for n in chunks:
        parts.append(np.array(att.attend_cached(np.ascontiguousarray(x[0, pos : pos + n]), keys, values, h, g, pos)))
        pos += n
    assert np.abs(np.concatenate(parts) - reference(x, h, g)[0][0]).max() < TOLERANCE[dtype] * 3
    assert (keys[:, :37] == x[0, :, h : h + g].transpose(1, 0, 2)).all()
    with pytest.raises(ValueError, match="pos"):
        att.attend_cached(np.zeros((2, h + 2 * g, d), dtype), keys, values, h, g, 39)
