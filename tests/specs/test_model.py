"""Both language models: logits and gradients against PyTorch and transformers, finite differences, the cache."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import lm

ARCHITECTURES = pytest.mark.parametrize("arch", ["gpt2", "llama"])


@pytest.fixture(scope="module")
def models(load):
    return load("core/model")


def batch(rng, arch, b=3, t=37):
    v = lm.SIZES[arch]["V"]
    return tuple(rng.integers(0, v, size=(b, t)).astype(np.int32) for _ in range(2))


@ARCHITECTURES
def test_weights(models, arch):
    s = lm.SIZES[arch]
    m = getattr(models, arch)
    assert m.parameters(**s) == lm.shapes(arch, s)
    w = m.init(5, **s)
    assert w.size == lm.length(arch, s)
    assert (m.init(5, threads=1, **s) == w).all()
    assert (m.init(6, **s) != w).any()
    for name, x in lm.parts(arch, s, w).items():
        if name.startswith("ln") or "norm" in name:
            assert (x == 1).all()
        else:
            std = 0.02 * math.sqrt(768 / s["C"])
            if name in ("attn_proj", "mlp_proj", "o_proj", "down_proj"):
                std /= math.sqrt(2 * s["L"])
            assert abs(x.mean()) < 5 * std / math.sqrt(x.size)
            assert x.std() == pytest.approx(std, rel=0.1)


@ARCHITECTURES
def test_logits_of_transformers(models, rng, arch):
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    s = lm.SIZES[arch]
    w = lm.random_weights(arch, s, rng)
    other = lm.hugging_face(arch, s)
    lm.fill(arch, s, other, w)
    tokens, targets = batch(rng, arch)
    loss, logits = getattr(models, arch).forward(w, tokens, targets, **s)
    with torch.no_grad():
        expected = other(torch.from_numpy(tokens.astype(np.int64))).logits.reshape(-1, s["V"])
    assert np.abs(np.asarray(logits) - expected.numpy()).max() < 1e-4
    mean = torch.nn.functional.cross_entropy(expected, torch.from_numpy(targets.astype(np.int64)).reshape(-1))
    assert loss == pytest.approx(float(mean), rel=1e-5)
    assert getattr(models, arch).loss(w, tokens, targets, **s) == pytest.approx(loss, rel=1e-6)


@ARCHITECTURES
def test_gradients_of_torch(models, rng, arch):
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    s = lm.SIZES[arch]
    w = lm.random_weights(arch, s, rng)
    other = lm.hugging_face(arch, s)
    lm.fill(arch, s, other, w)
    tokens, targets = batch(rng, arch)
    loss, flat = getattr(models, arch).gradient(w, tokens, targets, **s)
    logits = other(torch.from_numpy(tokens.astype(np.int64))).logits.reshape(-1, s["V"])
    expected = torch.nn.functional.cross_entropy(logits, torch.from_numpy(targets.astype(np.int64)).reshape(-1))
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    ours = lm.parts(arch, s, np.asarray(flat))
    for name, g in lm.gradients(arch, s, other).items():
        assert np.linalg.norm(g) > 1e-4
        assert np.linalg.norm(ours[name] - g) / np.linalg.norm(g) < 1e-4, name


@ARCHITECTURES
@pytest.mark.slow
def test_gradients_by_finite_differences(models, rng, arch):
    s = lm.SIZES[arch]
    m = getattr(models, arch)
    w = lm.random_weights(arch, s, rng, np.float64)
    tokens, targets = batch(rng, arch, 2, 33)
    _, flat = m.gradient(w, tokens, targets, **s)
    names = list(lm.shapes(arch, s))
    for name in names:
        way = np.zeros_like(w)
        part = lm.parts(arch, s, way)[name]
        part[...] = rng.normal(size=part.shape)
        ends = [m.loss(w + h * way, tokens, targets, **s) for h in (1e-5, -1e-5)]
        expected = (ends[0] - ends[1]) / 2e-5
        assert float(np.dot(np.asarray(flat), way)) == pytest.approx(expected, rel=1e-5, abs=1e-8), name


@ARCHITECTURES
def test_threads_do_not_change_a_bit(models, rng, arch):
    s = lm.SIZES[arch]
    w = lm.random_weights(arch, s, rng)
    tokens, targets = batch(rng, arch)
    results = [getattr(models, arch).gradient(w, tokens, targets, threads=n, **s) for n in (1, 2, 3)]
    for loss, flat in results[1:]:
        assert loss == results[0][0]
        assert (np.asarray(flat) == np.asarray(results[0][1])).all()


@ARCHITECTURES
@pytest.mark.parametrize("chunks", [[33], [1] * 12])
def test_decoding_with_weights_in_bf16(models, rng, arch, chunks):
    s = lm.SIZES[arch]
    w = lm.random_weights(arch, s, rng)
    kept = ((w.view(np.uint32) + 0x7FFF + (w.view(np.uint32) >> 16 & 1)) >> 16).astype(np.uint16)
    w = (kept.astype(np.uint32) << 16).view(np.float32)
    tokens, _ = batch(rng, arch, 1, sum(chunks))
    found = []
    for name, weights in ((f"{arch}_decode", w), (f"{arch}_decode_bf16", kept)):
        keys, values = (np.zeros((s["L"], s.get("G", s["H"]), s["S"], s["C"] // s["H"]), np.float32) for _ in range(2))
        pos = 0
        for n in chunks:
            part = np.ascontiguousarray(tokens[0, pos : pos + n])
            logits = getattr(models, name).forward(weights, part, keys, values, pos, **s)
            pos += n
        found.append(logits)
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-5)


@ARCHITECTURES
@pytest.mark.parametrize("chunks", [[33], [1] * 12, [7, 1, 20, 1, 4]])
def test_decoding_with_a_cache(models, rng, arch, chunks):
    s = lm.SIZES[arch]
    w = lm.random_weights(arch, s, rng)
    tokens, targets = batch(rng, arch, 1, sum(chunks))
    _, logits = getattr(models, arch).forward(w, tokens, targets, **s)
    keys, values = (np.zeros((s["L"], s.get("G", s["H"]), s["S"], s["C"] // s["H"]), np.float32) for _ in range(2))
    pos = 0
    for n in chunks:
        part = np.ascontiguousarray(tokens[0, pos : pos + n])
        got = getattr(models, f"{arch}_decode").forward(w, part, keys, values, pos, **s)
        pos += n
        assert np.abs(np.asarray(got)[0] - np.asarray(logits)[pos - 1]).max() < 2e-5


@ARCHITECTURES
def test_wrong_tokens(models, rng, arch):
    s = lm.SIZES[arch]
    w = lm.random_weights(arch, s, rng)
    tokens, targets = batch(rng, arch)
    tokens[1, 2] = s["V"]
    with pytest.raises(ValueError, match="tokens"):
        getattr(models, arch).forward(w, tokens, targets, **s)
    with pytest.raises(ValueError):
        getattr(models, arch).loss(w, *batch(rng, arch, 1, s["S"] + 1), **s)
