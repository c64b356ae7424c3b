"""Models from Python: weights by name or as one array, and every wrong call is told in words."""

import os

import numpy as np
import pytest

import vibee

SPEC = """
from foundation.random import normal

def scaled(x: real[N, C], w: real[C], gain: real) -> y[N, C]:
    y[n, c] = gain * x[n, c] * w[c]

def summed(x: real[N, C], w: real[C]) -> y[N]:
    y[n] = sum[c](x[n, c] * w[c])

def squared_error(y: real[N], t: real[N]) -> e:
    given(N >= 1)
    e = sum[n]((y[n] - t[n]) ** 2) / real(N)

@model
def net(x: real[N, C], t: real[N], L: size, gain: real = 1.0) -> (loss, y[N]):
    given(N >= 1)
    h = x
    for l in layers(L):
        scale: real[C] = 1.0
        h = scaled(h, scale, gain)
    head: real[C] = normal(0.0, 1.0)
    y = summed(h, head)
    loss = squared_error(y, t)

@model
def plain(x: f32[N, C]) -> y[N]:
    w: f32[C] = 1.0
    y = summed(x, w)

def widened(w: bf16[C]) -> y[C]:
    y[c] = f32(w[c])

@model
def small(x: f32[N, C], t: f32[N]) -> loss:
    weights(plain, bf16)
    given(N >= 1)
    loss = squared_error(summed(x, widened(w)), t)
"""
SIZES = {"C": 3, "L": 2}
X, T = np.arange(12.0).reshape(4, 3) / 10, np.array([1.0, -1.0, 0.5, 2.0])


@pytest.fixture(scope="module")
def k(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "nets.vibee"
    path.write_text(SPEC)
    return vibee.load(path)


def net(w, x, t, gain):
    """The model in numpy: its loss and outputs."""
    h = x
    for scale in w["scale"]:
        h = gain * h * scale
    y = h @ w["head"]
    return ((y - t) ** 2).mean(), y


def test_weights_by_name_are_parts_of_the_flat_array(k):
    assert repr(k.net) == "<vibee model net(L, N, C)>"
    assert k.net.parameters(**SIZES) == {"scale": (2, 3), "head": (3,)} and k.net.count(**SIZES) == 9
    w = k.net.init(7, dtype="f64", gain=2.0, **SIZES)
    assert w.dtype == np.float64 and (w == k.net.init(7, dtype="f64", threads=1, **SIZES)).all()
    named = k.net.views(w, **SIZES)
    assert (named["scale"] == 1).all() and len(set(named["head"])) == 3
    assert np.shares_memory(named["head"], w)
    assert (k.net.flat({"head": named["head"], "scale": named["scale"]}, **SIZES) == w).all()


def test_loss_outputs_and_gradient_are_those_of_the_formulas(k):
    w = k.net.init(7, dtype="f64", **SIZES)
    named = k.net.views(w, **SIZES)
    loss, y = k.net.forward(w, X, T, gain=0.5, L=2)
    want, outputs = net(named, X, T, 0.5)
    assert np.isclose(loss, want) and np.allclose(y, outputs)
    assert k.net.loss(named, X, T, gain=0.5, L=2, threads=1) == loss
    again, g = k.net.gradient(w, X, t=T, gain=0.5, L=2)
    assert again == loss
    for i in range(9):
        d = np.zeros(9)
        d[i] = 1e-6
        up, down = (net(k.net.views(w + s * d, **SIZES), X, T, 0.5)[0] for s in (1, -1))
        assert np.isclose(g[i], (up - down) / 2e-6, rtol=1e-6)
    by_name = k.net.gradient(named, X, T, gain=0.5, L=2, arena=k.net.arena("gradient", "f64", N=4, **SIZES))[1]
    assert {n: x.tolist() for n, x in by_name.items()} == {n: x.tolist() for n, x in k.net.views(g, **SIZES).items()}


@pytest.mark.parametrize("kind", [str, os.fsencode])
def test_a_path_is_text_or_bytes(tmp_path, kind):
    path = tmp_path / "alone.vibee"
    path.write_text("@model\ndef twice(x: f32[N]) -> y[N]:\n    y = x + x\n")
    assert vibee.load(kind(path)).twice.count() == 0
    with pytest.raises(vibee.SpecError, match=r"none\.vibee: there is no such file"):
        vibee.load(kind(tmp_path / "none.vibee"))


def test_a_spec_of_models_alone_builds_nothing_before_it_is_asked_to(tmp_path, monkeypatch):
    path = tmp_path / "alone.vibee"
    path.write_text("@model\ndef twice(x: f32[N]) -> y[N]:\n    y = x + x\n")
    monkeypatch.setattr("vibee.api.library.build", None)
    k = vibee.load(path)
    assert dir(k)[-1] == "twice" and k.twice.count() == 0 and k.twice.flat({}).size == 0


def wrong(k):
    w = np.zeros(9)
    named = k.net.views(w, **SIZES)
    return [
        (lambda: k.net.loss(w, X, T, T, L=2), r"3 inputs, but it takes weights, x, t; sizes are given by name"),
        (lambda: k.net.loss(w, X, L=2), r"net.loss: argument t is missing"),
        (lambda: k.net.loss(w, X[0], T, L=2), r"net.loss: argument x must have 2 axes"),
        (lambda: k.net.loss(w, X, T, L=-1), r"net.loss: argument L must be a size"),
        (lambda: k.net.loss(w.astype("i4"), X, T, L=2), r"net.loss: argument weights must be f32 or f64, got i32"),
        (lambda: k.net.loss(w[1:], X, T, L=2), r"weights must have 9 elements in one axis, got shape \[8\]"),
        (lambda: k.net.loss(w.reshape(3, 3), X, T, L=2), r"must have 9 elements in one axis, got shape \[3, 3\]"),
        (lambda: k.net.loss({"head": w[:3]}, X, T, L=2), r"net: the weight scale is missing"),
        (lambda: k.net.loss({**named, "tail": w}, X, T, L=2), r"net: there is no weight tail; it has scale, head"),
        (lambda: k.net.loss({**named, "head": w}, X, T, L=2), r"net: the weight head must have shape \[3\], got \[9\]"),
        (lambda: k.net.views(w, C=3, L=3), r"net: argument flat must have 12 elements in one axis without gaps"),
        (lambda: k.net.count(C=3), r"net: the size L is missing"),
        (lambda: k.net.arena(C=3, L=2), r"net: the size N is missing"),
        (lambda: k.net.arena(C=1 << 20, L=2, N=1 << 40), r"net: the arena would have \d+ elements of f32"),
        (lambda: k.net.init(0, dtype="bf16", **SIZES), r"net: there is no bf16 version; there are f32, f64"),
        (lambda: k.plain.loss(w[:3].astype("f4"), X.astype("f4")),
         r"plain: there is no loss; a model without a loss, or that writes to its inputs, has forward alone"),
        (lambda: k.small.loss(k.small.init(C=3), X.astype("f4"), T.astype("f4")),
         r"small: there is no loss; a model with weights in bf16 has forward alone"),
        (lambda: k.small.arena(C=3, N=2),
         r"small: there is no gradient; a model with weights in bf16 has forward alone"),
    ]  # fmt: skip


def test_wrong_calls(k):
    for n, (call, message) in enumerate(wrong(k)):
        with pytest.raises((ValueError, MemoryError), match=message) as e:
            call()
        assert "\n" not in str(e.value), n
