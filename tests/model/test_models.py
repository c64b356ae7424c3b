"""The shipped models as native code: gradients against finite differences and against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

import vibee
from vibee.check.modules import specs_root

GPT2 = {"V": 31, "S": 24, "L": 3, "H": 2, "C": 32}
LLAMA = {"V": 31, "S": 24, "L": 3, "H": 4, "G": 2, "C": 32, "F": 48}
SIZES = {"gpt2": GPT2, "llama": LLAMA}


@pytest.fixture(scope="module")
def models():
    return vibee.load(f"{specs_root()}/core/model.vibee")


def batch(rng: np.random.Generator, v: int, b: int, t: int) -> tuple[np.ndarray, np.ndarray]:
    text = rng.integers(0, v, (b, t + 1)).astype(np.int32)
    return text[:, :-1].copy(), text[:, 1:].copy()


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_finite_differences(models, name: str) -> None:
    m, sizes = getattr(models, name), SIZES[name]
    rng = np.random.default_rng(0)
    tokens, targets = batch(rng, sizes["V"], 2, 11)
    w = m.init(3, dtype="f64", **sizes) + rng.normal(size=m.count(**sizes)) * 0.05
    _, grads = m.gradient(w, tokens, targets, **sizes)
    for part in m.views(np.arange(len(w)), **sizes).values():
        direction = np.zeros(len(w))
        direction[part.ravel()] = rng.normal(size=part.size)
        h = 1e-6
        up, down = (m.loss(w + k * direction, tokens, targets, **sizes) for k in (h, -h))
        want = (up - down) / (2 * h)
        assert grads @ direction == pytest.approx(want, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_against_torch(models, name: str) -> None:
    torch = pytest.importorskip("torch")
    m, sizes = getattr(models, name), SIZES[name]
    rng = np.random.default_rng(1)
    tokens, targets = batch(rng, sizes["V"], 3, 17)
    flat = m.init(5, **sizes) + rng.normal(size=m.count(**sizes)).astype(np.float32) * 0.05
    loss, grads = m.gradient(m.views(flat, **sizes), tokens, targets, **sizes)
    w = {k: torch.tensor(x, requires_grad=True) for k, x in m.views(flat, **sizes).items()}
    logits = {"gpt2": torch_gpt2, "llama": torch_llama}[name](torch, w, torch.tensor(tokens).long(), sizes)
    want = torch.nn.functional.cross_entropy(logits, torch.tensor(targets).long().flatten())
    want.backward()
    got_loss, got_logits = m.forward(flat, tokens, targets, **sizes)
    assert got_loss == loss
    assert np.abs(got_logits - logits.detach().numpy()).max() < 1e-4
    assert loss == pytest.approx(want.item(), rel=1e-5)
    for k, x in w.items():
        theirs = x.grad.numpy()
        assert np.linalg.norm(grads[k] - theirs) <= 1e-4 * np.linalg.norm(theirs), k


def torch_gpt2(torch, w, tokens, s):
    """nanoGPT's forward without biases and dropout."""
    f = torch.nn.functional
    b, t = tokens.shape
    x = w["wte"][tokens] + w["wpe"][:t]
    for k in range(s["L"]):
        n = f.layer_norm(x, (s["C"],), w["ln_1"][k])
        q, key, v = (n @ w["c_attn"][k].T).split(s["C"], dim=2)
        q, key, v = (y.view(b, t, s["H"], -1).transpose(1, 2) for y in (q, key, v))
        a = f.scaled_dot_product_attention(q, key, v, is_causal=True)
        x = x + a.transpose(1, 2).reshape(b, t, s["C"]) @ w["attn_proj"][k].T
        x = x + f.gelu(f.layer_norm(x, (s["C"],), w["ln_2"][k]) @ w["c_fc"][k].T) @ w["mlp_proj"][k].T
    return (f.layer_norm(x, (s["C"],), w["ln_f"]) @ w["wte"].T).view(b * t, -1)


def torch_llama(torch, w, tokens, s):
    """Llama's forward with the rotation by halves, as in Hugging Face's code."""
    f = torch.nn.functional
    b, t = tokens.shape
    d = s["C"] // s["H"]
    angle = torch.outer(torch.arange(t).float(), 10000.0 ** (-torch.arange(0, d, 2).float() / d))
    cos, sin = (torch.cat([y, y], -1) for y in (angle.cos(), angle.sin()))

    def rotate(y):
        half = torch.cat([-y[..., d // 2 :], y[..., : d // 2]], -1)
        return y * cos + half * sin

    def norm(y, g):
        return y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-5) * g

    x = w["embed_tokens"][tokens]
    for k in range(s["L"]):
        qkv = norm(x, w["input_norm"][k]) @ w["qkv_proj"][k].T
        q, key, v = qkv.split([s["H"] * d, s["G"] * d, s["G"] * d], dim=2)
        q, key, v = (y.view(b, t, -1, d).transpose(1, 2) for y in (q, key, v))
        key, v = (y.repeat_interleave(s["H"] // s["G"], 1) for y in (key, v))
        a = f.scaled_dot_product_attention(rotate(q), rotate(key), v, is_causal=True)
        x = x + a.transpose(1, 2).reshape(b, t, s["C"]) @ w["o_proj"][k].T
        n = norm(x, w["post_norm"][k])
        x = x + (f.silu(n @ w["gate_proj"][k].T) * (n @ w["up_proj"][k].T)) @ w["down_proj"][k].T
    return (norm(x, w["norm"]) @ w["embed_tokens"].T).view(b * t, -1)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_decoding_with_a_cache_gives_the_same_logits(models, name: str) -> None:
    m, decode, sizes = getattr(models, name), getattr(models, f"{name}_decode"), SIZES[name]
    rng = np.random.default_rng(2)
    tokens, targets = batch(rng, sizes["V"], 1, 13)
    w = m.init(5, **sizes) + rng.normal(size=m.count(**sizes)).astype(np.float32) * 0.05
    _, want = m.forward(w, tokens, targets, **sizes)
    heads = sizes.get("G", sizes["H"])
    keys, values = (np.zeros((sizes["L"], heads, sizes["S"], sizes["C"] // sizes["H"]), np.float32) for _ in "kv")
    at = 0
    for n in (5, 1, 1, 4, 2):
        got = decode.forward(w, tokens[0, at : at + n].copy(), keys, values, at, **sizes)
        at += n
        assert np.abs(got[0] - want[at - 1]).max() < 1e-4


def test_threads_and_runs_give_the_same_bits(models) -> None:
    m = models.gpt2
    tokens, targets = batch(np.random.default_rng(3), 31, 4, 19)
    w = m.init(1, **GPT2)
    assert np.array_equal(w, m.init(1, threads=3, **GPT2))
    first = m.gradient(w, tokens, targets, threads=1, **GPT2)
    for threads in (1, 2, 5):
        again = m.gradient(w, tokens, targets, threads=threads, **GPT2)
        assert again[0] == first[0]
        assert np.array_equal(again[1], first[1])


def test_mistakes_of_a_caller(models) -> None:
    m = models.gpt2
    tokens, targets = batch(np.random.default_rng(3), 31, 2, 5)
    w = m.init(1, **GPT2)
    assert list(m.parameters(**GPT2)) == [
        "wte", "wpe", "ln_1", "c_attn", "attn_proj", "ln_2", "c_fc", "mlp_proj", "ln_f"
    ]  # fmt: skip
    assert m.parameters(**GPT2)["c_attn"] == (3, 96, 32)
    with pytest.raises(ValueError, match="weights must have"):
        m.loss(w[:-1], tokens, targets, **GPT2)
    with pytest.raises(ValueError, match="the size C"):
        m.parameters(V=1, S=1, L=1, H=1)
    with pytest.raises(ValueError, match="argument C is missing"):
        m.loss(w, tokens, targets, V=31, S=24, L=3, H=2)
    with pytest.raises(ValueError, match="tokens"):
        m.loss(w, tokens + 31, targets, **GPT2)
    with pytest.raises(ValueError, match="there is no weight q"):
        m.loss({"q": w}, tokens, targets, **GPT2)
    with pytest.raises(ValueError, match="arena"):
        m.loss(w, tokens, targets, arena=np.empty(5, np.float32), **GPT2)
    with pytest.raises(ValueError, match="T <= S"):
        long, _ = batch(np.random.default_rng(3), 31, 2, 30)
        m.loss(w, long, long, **GPT2)
    for call, message in (
        (lambda: m.count(**GPT2 | {"C": 1.5}), "argument C must be a size"),
        (lambda: m.init(1, C=-1), "argument C must be a size, from 0"),
        (lambda: m.init(1, q=3, **GPT2), "there is no size q; it has "),
        (lambda: m.init(1, dtype=["f32"], **GPT2), "there is no .* version; there are f32, f64"),
        (lambda: m.arena(B=[1], T=5, **GPT2), "argument B must be a size"),
        (lambda: m.views(w[:-1], **GPT2), "argument flat must have .* elements in one axis"),
        (lambda: m.views(np.repeat(w, 2)[::2], **GPT2), "without gaps"),
        (lambda: m.views([1.0], **GPT2), "argument flat must be an array"),
        (lambda: m.flat(w, **GPT2), "argument named must be weights by name"),
        (lambda: m.loss(w, tokens, targets, tokens=tokens, **GPT2), "argument tokens is given twice"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert m.count(**GPT2 | {"C": 2**62}) > 2**100  # told before memory is asked for
    with pytest.raises(ValueError, match="there is no gradient"):
        models.gpt2_decode.gradient(w, tokens[0].copy(), None, None, 0, **GPT2)
