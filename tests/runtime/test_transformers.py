"""Weights exchanged with transformers: what it writes we read, what we write it reads."""

import random

import pytest

from vibee.runtime import atomic, buffers, folder, shapes
from vibee.runtime.shapes import Shape

pytestmark = pytest.mark.slow
SHAPES = [
    Shape("gpt2", V=31, S=16, L=3, H=4, C=32),
    Shape("llama", V=31, S=16, L=3, H=4, C=32, G=2, F=40, theta=500.0, eps=1e-4),
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: s.arch)
def test_there_and_back(tmp_path, shape):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    flat = buffers.zeros(shapes.count(shape))
    dice = random.Random(1)
    for i in range(len(flat)):
        flat[i] = dice.gauss(0, 0.1)
    atomic.write_files(
        str(tmp_path), {folder.WEIGHTS: folder.weights_file(shape, flat), folder.CONFIG: folder.config_file(shape)}
    )
    theirs, info = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert type(theirs).__name__ == shapes.ARCHITECTURES[shape.arch]
    config = theirs.config
    if shape.arch == "llama":
        rope = getattr(config, "rope_parameters", None) or {"rope_theta": config.rope_theta}
        assert rope["rope_theta"] == shape.theta and config.rms_norm_eps == shape.eps

    for dtype, exact in ((torch.float32, True), (torch.bfloat16, False), (torch.float16, False), (torch.float64, True)):
        place = str(tmp_path / str(dtype))
        theirs.to(dtype).save_pretrained(place)
        assert folder.read_shape(place) == shape
        again = folder.read_weights(folder.open_weights(place), shape)
        if exact and dtype == torch.float32:
            assert bytes(again) == bytes(flat)
        assert max(abs(a - b) for a, b in zip(again, flat, strict=True)) < 0.01


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: s.arch)
def test_logits_by_hand(tmp_path, shape):
    """The meaning of every weight: a forward pass written out in numpy against transformers' own."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    numpy = pytest.importorskip("numpy")
    flat = buffers.zeros(shapes.count(shape))
    values = numpy.asarray(flat)
    values[:] = numpy.random.default_rng(3).normal(0, 0.2, len(values))
    atomic.write_files(
        str(tmp_path), {folder.WEIGHTS: folder.weights_file(shape, flat), folder.CONFIG: folder.config_file(shape)}
    )
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    tokens = numpy.random.default_rng(4).integers(0, shape.V, shape.S)
    with torch.no_grad():
        want = theirs(torch.tensor(tokens)[None]).logits[0].numpy()
    got = forward(numpy, shape, split(shape, values.astype(float)), tokens)
    assert numpy.abs(got - want).max() < 1e-4


def split(shape, values):
    parts, at = {}, 0
    for w in shapes.weights(shape):
        parts[w.name] = values[at : at + w.size].reshape(
            (w.copies, w.rows, w.columns) if w.rows else (w.copies, w.columns)
        )
        at += w.size
    return parts


def forward(np, s, w, tokens):
    t, d = len(tokens), s.C // s.H

    def norm(x, scale):
        if s.arch == "gpt2":
            x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + s.eps) * scale

    def gelu(x):
        from math import erf

        return x * 0.5 * (1 + np.vectorize(erf)(x / np.sqrt(2)))

    def rotate(x):
        angles = np.arange(t)[:, None] * s.theta ** (-np.arange(d // 2) / (d // 2))
        a, b = x[..., : d // 2], x[..., d // 2 :]
        co, si = np.cos(angles)[:, None], np.sin(angles)[:, None]
        return np.concatenate([a * co - b * si, b * co + a * si], -1)

    def attend(qkv):
        x = qkv.reshape(t, s.H + 2 * s.G, d)
        q, k, v = x[:, : s.H], x[:, s.H : s.H + s.G], x[:, s.H + s.G :]
        if s.arch == "llama":
            q, k = rotate(q), rotate(k)
        k, v = (np.repeat(y, s.H // s.G, axis=1) for y in (k, v))
        scores = np.einsum("thd,uhd->htu", q, k) / np.sqrt(d)
        scores = np.where(np.tril(np.ones((t, t), bool)), scores, -np.inf)
        e = np.exp(scores - scores.max(-1, keepdims=True))
        return np.einsum("htu,uhd->thd", e / e.sum(-1, keepdims=True), v).reshape(t, s.C)

    if s.arch == "gpt2":
        x = w["wte"][0][tokens] + w["wpe"][0][:t]
        for i in range(s.L):
            x = x + attend(norm(x, w["ln_1"][i]) @ w["c_attn"][i].T) @ w["attn_proj"][i].T
            x = x + gelu(norm(x, w["ln_2"][i]) @ w["c_fc"][i].T) @ w["mlp_proj"][i].T
        return norm(x, w["ln_f"][0]) @ w["wte"][0].T
    x = w["embed_tokens"][0][tokens]
    for i in range(s.L):
        x = x + attend(norm(x, w["input_norm"][i]) @ w["qkv_proj"][i].T) @ w["o_proj"][i].T
        n = norm(x, w["post_norm"][i])
        gate, up = n @ w["gate_proj"][i].T, n @ w["up_proj"][i].T
        x = x + (gate / (1 + np.exp(-gate)) * up) @ w["down_proj"][i].T
    return norm(x, w["norm"][0]) @ w["embed_tokens"][0].T
