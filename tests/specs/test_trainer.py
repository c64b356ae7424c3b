"""trainer: batches, whole steps against PyTorch's, resuming, evaluation, and the sampler against llama.cpp's rules."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import lm

ARCHITECTURES = pytest.mark.parametrize("arch", ["gpt2", "llama"])
SGD, ADAMW, LION, MUON = range(4)
COSINE, CONSTANT = range(2)
B, T = 4, 16
SIZES = {
    "gpt2": {"V": 29, "S": 16, "L": 2, "H": 2, "C": 20},
    "llama": {"V": 29, "S": 16, "L": 2, "H": 4, "G": 2, "C": 24, "F": 34},
}


@pytest.fixture(scope="module")
def trainer(load):
    return load("training/trainer")


class Run:
    """The state of a training run."""

    def __init__(self, trainer, arch, weights, data):
        self.trainer, self.arch, self.sizes, self.data = trainer, arch, SIZES[arch], data
        count, room = getattr(trainer, f"measure_{arch}")(B=B, T=T, **self.sizes)
        assert count == weights.size
        self.w = weights.copy()
        self.m1, self.m2, self.g = (np.zeros_like(weights) for _ in range(3))
        self.arena = np.zeros(room, np.float32)
        self.done = 0

    def steps(self, k, threads=1, rule=ADAMW, peak=1e-2, **changes):
        losses, rates, norms = (np.zeros(k, np.float32) for _ in range(3))
        options = {
            "B": B, "T": T, "key": 11, "start": self.done, "accumulate": 1, "rule": rule, "shape": COSINE, "warmup": 3,
            "steps": 40, "decay_steps": 0, "peak": peak, "least": peak / 10, "beta1": 0.9, "beta2": 0.99,
            "decay": 0.1, "limit": 1.0,
        }  # fmt: skip
        getattr(self.trainer, f"train_{self.arch}")(
            self.data, self.w, self.g, self.m1, self.m2, self.arena, losses, rates, norms,
            **(options | changes), **self.sizes, threads=threads,
        )  # fmt: skip
        self.done += k
        return losses, rates, norms


def text(rng, n=900, v=29):
    """Tokens that a model can learn: each is followed by one of two."""
    out = np.zeros(n, np.int32)
    for i in range(1, n):
        out[i] = (out[i - 1] * 5 + 3 + rng.integers(0, 2)) % v
    return out


@pytest.mark.parametrize("n", [1, 2, 3, 16, 17, 1000, 4096])
def test_shuffled(trainer, n):
    orders = [[trainer.shuffled(3, stream, i, n) for i in range(n)] for stream in (1, 2)]
    assert sorted(orders[0]) == list(range(n))
    assert sorted(orders[1]) == list(range(n))
    if n > 10:
        assert orders[0] != orders[1]
        assert abs(np.corrcoef(orders[0], np.arange(n))[0, 1]) < 5 / math.sqrt(n)


@pytest.mark.parametrize("n", [T + 1, T + 5, 2 * T, 2 * T + 1, 500])
def test_batches_cover_the_data(trainer, n):
    data = np.arange(n, dtype=np.int32)
    windows = max(1, (n - T) // T)
    starts = []
    for number in range(-(-3 * windows // B)):
        tokens, targets = (np.zeros((B, T), np.int32) for _ in range(2))
        trainer.draw_batch(data, 5, number, tokens, targets)
        assert (targets == tokens + 1).all()
        assert (np.diff(tokens, axis=1) == 1).all()
        starts += list(tokens[:, 0])
    for epoch in range(3):
        found = sorted(starts[epoch * windows : (epoch + 1) * windows])
        assert (np.diff(found) == T).all()
        assert 0 <= found[0] < T
        assert found[-1] + T < n


def adamw_of_torch(torch, model, decayed):
    groups = [
        {"params": [p for p in model.parameters() if id(p) in decayed], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if id(p) not in decayed], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.99), eps=1e-8)


@ARCHITECTURES
@pytest.mark.parametrize("accumulate", [1, 3])
def test_steps_are_those_of_torch(trainer, rng, arch, accumulate):
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    s = SIZES[arch]
    data = text(rng)
    run = Run(trainer, arch, lm.random_weights(arch, s, rng), data)
    other = lm.hugging_face(arch, s)
    lm.fill(arch, s, other, run.w)
    ours = [p for copies in lm.tensors(arch, s, other).values() for pieces in copies for p, _ in pieces]
    for p in other.parameters():  # biases: the spec has none
        p.requires_grad_(any(p is q for q in ours))
    optimizer = adamw_of_torch(torch, other, {id(p) for p in ours if p.dim() >= 2})
    losses, rates, norms = run.steps(6, accumulate=accumulate)
    for step in range(6):
        lr = 1e-2 * (step + 1) / 4 if step < 3 else 1e-3 + 0.5 * (1 + math.cos(math.pi * (step - 3) / 37)) * 9e-3
        assert rates[step] == pytest.approx(lr, rel=1e-6)
        total = 0.0
        for a in range(accumulate):
            tokens, targets = (np.zeros((B, T), np.int32) for _ in range(2))
            trainer.draw_batch(data, 11, step * accumulate + a, tokens, targets)
            x, y = (torch.from_numpy(z.astype(np.int64)) for z in (tokens, targets))
            loss = torch.nn.functional.cross_entropy(other(x).logits.flatten(0, 1), y.flatten()) / accumulate
            loss.backward()
            total += loss.item()
        assert losses[step] == pytest.approx(total, rel=2e-4)
        norm = torch.nn.utils.clip_grad_norm_(ours, 1.0)
        assert norms[step] == pytest.approx(float(norm), rel=1e-3)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        optimizer.zero_grad()


@ARCHITECTURES
def test_resuming_is_exact_for_any_threads(trainer, rng, arch):
    data = text(rng)
    w = lm.random_weights(arch, SIZES[arch], rng)
    whole = Run(trainer, arch, w, data)
    a = whole.steps(9, accumulate=2)
    parts = Run(trainer, arch, w, data)
    pieces = [parts.steps(k, accumulate=2, threads=k) for k in (2, 1, 3, 3)]
    for x, y in ((whole.w, parts.w), (whole.m1, parts.m1), (whole.m2, parts.m2)):
        assert (x == y).all()
    assert (a[0] == np.concatenate([p[0] for p in pieces])).all()


@ARCHITECTURES
@pytest.mark.parametrize("rule, peak", [(SGD, 0.1), (ADAMW, 1e-2), (LION, 2e-3), (MUON, 0.05)])
@pytest.mark.slow
def test_every_rule_learns(trainer, rng, arch, rule, peak):
    w = getattr(trainer_models(trainer), arch).init(1, **SIZES[arch])
    run = Run(trainer, arch, w, text(rng))
    losses = run.steps(150, rule=rule, peak=peak, steps=150, warmup=10)[0]
    assert losses[0] == pytest.approx(math.log(29), abs=0.6)
    assert losses[-10:].mean() < 0.6 * math.log(29)


def trainer_models(trainer):
    """The models' functions; the trainer's spec imports them."""
    import vibee

    return vibee.load(Path(__file__).resolve().parents[2] / "specs" / "core" / "model.vibee")


def test_constant_schedule(trainer, rng):
    run = Run(trainer, "gpt2", lm.random_weights("gpt2", SIZES["gpt2"], rng), text(rng))
    rates = run.steps(10, shape=CONSTANT, warmup=1, steps=10, decay_steps=4)[1]
    assert rates == pytest.approx([5e-3] + [1e-2] * 6 + [7.75e-3, 5.5e-3, 3.25e-3])


@ARCHITECTURES
@pytest.mark.parametrize("n", [2, 10, T + 1, 3 * T + 1, (2 * B + 1) * T + 6])
@pytest.mark.slow
def test_evaluating_everything(trainer, rng, arch, n):
    s = SIZES[arch]
    data = text(rng, n)
    w = lm.random_weights(arch, s, rng)
    _, room = getattr(trainer, f"measure_{arch}")(B=B, T=T, **s)
    arena = np.zeros(room, np.float32)
    got = getattr(trainer, f"evaluate_{arch}")(data, w, arena, B=B, T=T, batches=0, key=0, **s)
    model = getattr(trainer_models(trainer), arch)
    total = 0.0
    for at in range(0, n - 1, T):
        x, y = data[None, at : min(at + T, n - 1)].copy(), data[None, at + 1 : at + T + 1].copy()
        total += model.loss(w, x, y, **s) * x.size
    assert got == pytest.approx(total / (n - 1), rel=1e-5)


def test_evaluating_some(trainer, rng):
    s = SIZES["gpt2"]
    data = text(rng)
    w = lm.random_weights("gpt2", s, rng)
    arena = np.zeros(trainer.measure_gpt2(B=B, T=T, **s)[1], np.float32)
    losses = []
    for number in range(5):
        tokens, targets = (np.zeros((B, T), np.int32) for _ in range(2))
        trainer.draw_batch(data, 4, number, tokens, targets)
        losses.append(trainer_models(trainer).gpt2.loss(w, tokens, targets, **s))
    got = trainer.evaluate_gpt2(data, w, arena, B=B, T=T, batches=5, key=4, **s)
    assert got == pytest.approx(np.mean(losses), rel=1e-5)


# ---------------------------------------------------------------- sampling


def allowed(logits, history, temp, top_k, top_p, min_p, penalty):
    """Probabilities as llama.cpp's chain makes them: penalties, top-k, top-p, min-p, temperature."""
    x = logits.astype(np.float64).copy()
    for k in set(history.tolist()):
        x[k] = x[k] * penalty if x[k] <= 0 else x[k] / penalty
    order = np.argsort(-x, kind="stable")
    if top_k > 0:
        order = order[:top_k]
    if top_p < 1:
        p = np.exp(x[order] - x[order[0]])
        order = order[: int(np.searchsorted(np.cumsum(p / p.sum()), top_p)) + 1]
    if min_p > 0:
        order = order[x[order] >= x[order[0]] + math.log(min_p)]
    p = np.zeros(len(x))
    p[order] = np.exp((x[order] - x[order[0]]) / temp)
    return p / p.sum()


def draw(
    trainer, logits, history=(), used=None, temp=1.0, top_k=0, top_p=1.0, min_p=0.0, penalty=1.0, key=1, counter=0
):
    history = np.array(history, np.int32)
    used = len(history) if used is None else used
    return trainer.sample(logits.copy(), history, used, temp, top_k, top_p, min_p, penalty, key, counter)


def test_greedy(trainer, rng):
    x = rng.integers(0, 5, size=50).astype(np.float32)
    assert draw(trainer, x, temp=0.0) == int(np.argmax(x))
    assert draw(trainer, x, temp=0.7, top_k=1) == int(np.argmax(x))
    assert draw(trainer, x, temp=0.0, history=[int(np.argmax(x))], penalty=100.0) != int(np.argmax(x))
    # only the last `used` tokens of the history count
    assert draw(trainer, x, temp=0.0, history=[int(np.argmax(x)), 3], used=1, penalty=100.0) == int(np.argmax(x))
    below = np.array([-1.0, -2.0, -3.0], np.float32)
    assert draw(trainer, below, temp=0.0, history=[0, 0], penalty=2.5) == 1


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temp": 0.5},
        {"top_k": 7},
        {"top_p": 0.7},
        {"min_p": 0.2},
        {"temp": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05},
        {"temp": 1.5, "top_k": 12, "top_p": 0.8, "min_p": 0.1, "penalty": 1.3},
    ],
)
def test_distribution(trainer, rng, options):
    x = (rng.normal(size=30) * 2).astype(np.float32)
    history = rng.integers(0, 30, size=8)
    full = {"temp": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "penalty": 1.0} | options
    p = allowed(x, history, **full)
    n = 4000
    found = np.bincount([draw(trainer, x, history, counter=c, **full) for c in range(n)], minlength=30)
    assert (found[p == 0] == 0).all()
    assert np.abs(found / n - p).max() < 5 * math.sqrt(0.25 / n)


def test_ties_and_repeatability(trainer):
    x = np.zeros(6, np.float32)
    found = {draw(trainer, x, top_k=2, counter=c) for c in range(50)}
    assert found == {0, 1}
    again = [[draw(trainer, x, key=9, counter=c) for c in range(20)] for _ in range(2)]
    assert again[0] == again[1]
    assert len(set(again[0])) > 1


def test_bad_history(trainer):
    with pytest.raises(ValueError, match="history"):
        draw(trainer, np.zeros(4, np.float32), history=[4], penalty=1.1)
