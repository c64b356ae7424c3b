"""Gradients of small models against finite differences, in a poisoned arena."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from model_case import Case

import vibee

PARTS = """
module("parts")
def lin(x: real[N, C], w: real[O, C]) -> y[N, O]:
    y[n, o] = sum[c](x[n, c] * w[o, c])
def bend(x: real) -> y:
    y = x / (1.0 + x * x)
def norm(x: real[N, C], g: real[C]) -> y[N, C]:
    s[n] = sum[c](x[n, c] * x[n, c])
    y[n, c] = x[n, c] / sqrt(s[n] + 1.0) * g[c]
def pick(t: i32[N], w: real[V, C]) -> x[N, C]:
    given(0 <= t[n] < V)
    x[n, c] = w[t[n], c]
def cost(x: real[N, V], t: i32[N]) -> (loss, largest[N]):
    given(0 <= t[n] < V)
    largest[n] = max[v](x[n, v])
    loss = sum[n]((x[n, t[n]] - 1.0)**2 + sum[v](x[n, v] * x[n, v]) / real(V)) / real(N)
def scaled(x: real[N, C], a: real) -> y[N, C]:
    y[n, c] = x[n, c] * a
def total(x: real[N, C]) -> s:
    s = sum[n, c](x[n, c]) / real(N)
def square(x: real[N, C]) -> loss:
    loss = sum[n, c](x[n, c] * x[n, c])
def split(x: real[N, C]) -> (a[N, C], b[N, C], place(i64[N])):
    a[n, c] = x[n, c] * x[n, c]
    b[n, c] = x[n, c] * 3.0
    place[n] = argmax[c](x[n, c])
@procedure
def slow_lin(x: real[N, C], w: real[O, C]) -> (y[N, O], sums[N]):
    implements(lin)
    gradient(slow_lin_back)
    for n in range(N):
        for o in range(O):
            y[n, o] = sum[c](x[n, c] * w[o, c])
        sums[n] = sum[c](x[n, c])
@procedure
def slow_lin_back(w: real[O, C], d_y: real[N, O], sums: real[N], x: real[N, C]) -> (d_w[O, C], d_x[N, C]):
    for n in range(N):
        for c in range(C):
            d_x[n, c] = sum[o](d_y[n, o] * w[o, c]) + 0.0 * sums[n]
    for o in range(O):
        for c in range(C):
            d_w[o, c] = sum[n](d_y[n, o] * x[n, c])
@procedure
def plain_lin(x: real[N, C], w: real[O, C]) -> y[N, O]:
    implements(lin)
    for n in range(N):
        for o in range(O):
            y[n, o] = sum[c](x[n, c] * w[o, c])
"""

TIED = (
    PARTS
    + """
@model
def tied(tokens: i32[B, T], targets: i32[B, T], V: size, L: size, C: size, scale: real = 0.5
         ) -> (loss, logits[B * T, V]):
    given(0 <= tokens[b, t] < V, 0 <= targets[b, t] < V)
    wte: real[V, C] = 0.1
    mix: real[C, C] = 0.2
    g0: real[C] = 1.0
    x = pick(view(tokens, T * B), wte)
    side = norm(x, g0)
    for l in layers(L):
        g: real[C] = 1.0
        w1: real[2 * C, C] = 0.1
        unused: real[C] = 0.0
        w2: real[C, 2 * C] = 0.1
        h = lin(norm(x, g), w1)
        x = x + lin(bend(h) * scale + h, w2) * 0.7 + lin(x, mix) + side
    logits = lin(x, wte)
    mean, largest = cost(logits, view(targets, B * T))
    loss = mean * 2.0 + real(L) * 0.0
"""
)


def tokens(rng: np.random.Generator, v: int, *shape: int) -> np.ndarray:
    return rng.integers(0, v, shape).astype(np.int32)


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_tied_weights_residuals_and_shared_ones(layers: int) -> None:
    rng = np.random.default_rng(1)
    case = Case(TIED, "tied", B=2, T=2, V=4, L=layers, C=3)
    grads = case.check(tokens=tokens(rng, 4, 2, 2), targets=tokens(rng, 4, 2, 2))
    at = sum((4 * 3, 9, 3, layers * 3, layers * 18))
    assert not grads[at : at + layers * 3].any()  # a weight that nothing uses


TWO = (
    PARTS
    + """
@model
def two(x0: real[N, C], L: size) -> (loss, a[N, C]):
    w: real[C, C] = 0.1
    u: real[C, C] = 0.1
    a = lin(x0, w)
    b = a
    for l in layers(L):
        v: real[C, C] = 0.1
        c = b
        b = lin(a, v)
        a = c + a
    s = total(b)
    y = scaled(lin(a, u), s)
    p, q, place = split(y)
    extra = total(q)
    loss = square(p) * 0.01 + extra * s
"""
)


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
def test_two_carried_values_that_change_places_and_numbers(layers: int) -> None:
    rng = np.random.default_rng(2)
    case = Case(TWO, "two", N=2, C=2, L=layers)
    case.check(x0=rng.normal(size=(2, 2)))


PROCEDURES = (
    PARTS
    + """
@model
def procs(x0: real[N, C], L: size) -> loss:
    w: real[2 * C, C] = 0.1
    x, s = slow_lin(x0, w)
    for l in layers(L):
        v: real[2 * C, 2 * C] = 0.1
        z, t = slow_lin(x, v)
        x = x + bend(z)
    loss = square(plain_lin(view(x, 2 * N, C), w))
"""
)


def test_gradient_procedures_by_name_and_implemented_formulas() -> None:
    case = Case(PROCEDURES, "procs", N=2, C=2, L=2)
    called = {s.fn for s in case.lowered.gradient.procedure.body if hasattr(s, "fn")}
    assert "slow_lin_back_f64" in called and "lin_grad_0_1_f64" in called
    case.check(x0=np.random.default_rng(3).normal(size=(2, 2)))


SHARED = (
    PARTS
    + """
@model
def trunk(x0: real[N, C], L: size) -> loss:
    w: real[C, C] = 0.3
    x = lin(x0, w)
    for l in layers(L):
        v: real[C, C] = 0.1
        x = lin(x, v)
    loss = square(x)
@model
def other(x0: real[N, C], L: size) -> y[N, C]:
    weights(trunk)
    x = lin(x0, w)
    for l in layers(L):
        x = lin(x, v)
    y = x
"""
)


def test_weights_of_another_model() -> None:
    case = Case(SHARED, "other", N=3, C=2, L=2)
    assert case.lowered.gradient is None and case.lowered.loss is None
    rng = np.random.default_rng(4)
    x0, w = rng.normal(size=(3, 2)), rng.normal(size=case.count)
    assert case.count == 4 + 8
    want = x0
    for k in range(3):
        want = want @ w[4 * k : 4 * k + 4].reshape(2, 2).T
    assert np.allclose(case.run("forward", w, x0=x0)[0], want)
    Case(SHARED, "trunk", N=3, C=2, L=2).check(x0=x0)


CACHE = (
    PARTS
    + """
@procedure
def push(x: real[N, C], cache: mut[real[S, C]], at: i64) -> y[N, C]:
    given(0 <= at, at + N <= S)
    for n in range(N):
        for c in range(C):
            cache[at + n, c] = x[n, c]
    for n in range(N):
        for c in range(C):
            y[n, c] = sum[s:at + n + 1](cache[s, c])
@model
def cached(x0: real[N, C], cache: mut[real[L, S, C]], at: i64, L: size) -> y[N, C]:
    given(0 <= at, at + N <= S)
    x = x0
    for l in layers(L):
        v: real[C, C] = 0.1
        x = push(lin(x, v), cache[l], at)
    y = x
"""
)


def test_a_cache_that_calls_write_to() -> None:
    rng = np.random.default_rng(5)
    x0 = rng.normal(size=(3, 2))
    whole = Case(CACHE, "cached", N=3, C=2, L=2, S=4)
    w = rng.normal(size=whole.count)
    want = whole.run("forward", w, x0=x0, cache=np.zeros((2, 4, 2)), at=0)[0]
    single = Case(CACHE, "cached", N=1, C=2, L=2, S=4)
    cache = np.zeros((2, 4, 2))
    got = [single.run("forward", w, x0=x0[k : k + 1], cache=cache, at=k)[0][0] for k in range(3)]
    assert np.allclose(got, want)


APART = (
    PARTS
    + """
def halves(x: real[N, C], w: real[N, C]) -> (a[N, C], b[N, C]):
    a[n, c] = x[n, c]
    b[n, c] = w[n, c] * w[n, c]
@procedure
def renamed(w: real[C, O], x: real[N, O], near: real[C, O]) -> out[C, N]:
    implements(lin)
    for n in range(C):
        for o in range(N):
            out[n, o] = sum[c](w[n, c] * x[o, c]) + 0.0 * near[n, 0]
@model
def apart(x0: real[N, C], D: size, L: size) -> (loss, seen[N, C], last[N, C], squares[N, C]):
    w: real[C, D] = 0.1
    r: real[D, C] = 0.1
    z: real[C, C] = 0.1
    h = lin(lin(x0, r), w)
    k = x0
    before = lin(h, z)
    for l in layers(L):
        v: real[C, C] = 0.1
        before = h
        k = bend(k)
        h = lin(h, v) + k
    g = x0
    for l in layers(L):
        u: real[C, C] = 0.1
        g = lin(g, u)
    a, b = halves(h, renamed(lin(x0, r), w, lin(h, r)))
    seen = g
    squares = b
    last = before
    loss = square(b + before)
"""
)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_what_no_weight_moves_and_what_no_loss_needs(layers: int) -> None:
    # `renamed` has its parameters, sizes and outputs in the places of those of `lin`, under other names
    case = Case(APART, "apart", N=2, C=2, D=3, L=layers)
    grads = case.check(x0=np.random.default_rng(7).normal(size=(2, 2)))
    assert not grads[-4 * layers :].any()  # the second loop's


NAMED = (
    PARTS
    + """
@model
def named(off_w: real[N, C], at_0: real[N, C], grads: real) -> loss:
    w: real[C, C] = 0.1
    loss = square(lin(off_w, w) * grads + at_0)
"""
)


def test_a_model_may_use_the_names_of_what_is_made_from_it() -> None:
    rng = np.random.default_rng(8)
    case = Case(NAMED, "named", N=2, C=2)
    case.check(off_w=rng.normal(size=(2, 2)), at_0=rng.normal(size=(2, 2)), grads=1.5)
    assert case.lowered.gradient.procedure.outs[-1].name == "grads_"


def test_weights_that_are_kept_in_bf16(tmp_path: Path) -> None:
    text = """
def scaled(x: f32[N], w: bf16[N]) -> y[N]:
    y[n] = x[n] * f32(w[n])
@model
def plain(x: f32[C], C: size) -> loss:
    w: f32[C] = 1.001
    loss = total(each(x, w))
@model
def kept(x: f32[C]) -> y[C]:
    weights(plain, bf16)
    y = scaled(x, w)
def each(x: f32[N], w: f32[N]) -> y[N]:
    y[n] = x[n] * w[n]
def total(x: f32[N]) -> s:
    s = sum[n](x[n])
"""
    (tmp_path / "kept.vibee").write_text(text)
    m = vibee.load(tmp_path / "kept.vibee").kept
    w = m.init(C=3)
    assert w.dtype == np.uint16 and w.tolist() == [0x3F80] * 3  # the nearest to 1.001 is 1
    w[1] = 0x4040
    np.testing.assert_array_equal(m.forward(w, np.array([1, 2, 3], "f4")), [1, 6, 3])
    np.testing.assert_array_equal(m.forward({"w": w}, np.array([1, 2, 3], "f4")), [1, 6, 3])
    assert m.arena("forward", C=3).dtype == np.float32
    with pytest.raises(ValueError, match="argument weights must be bf16, got f32"):
        m.forward(np.ones(3, "f4"), np.ones(3, "f4"))
    with pytest.raises(ValueError, match="there is no gradient"):
        m.gradient(w, np.ones(3, "f4"))


def test_initial_weights() -> None:
    text = (
        PARTS
        + """
@procedure
def ramp(key: u64, stream: u64, step: real) -> x(real[N]):
    for n in range(N):
        x[n] = real(n) * step + real(key) + 100.0 * real(stream)
@model
def m(x0: real[N, C], L: size) -> loss:
    w: real[C, C] = ramp(2.0 / real(L))
    g: real[C] = 1.5
    x = lin(x0, w)
    for l in layers(L):
        v: real[C, C] = ramp(0.5)
        x = lin(x, v)
    loss = square(x)
"""
    )
    case = Case(text, "m", N=2, C=2, L=2)
    out = np.full(case.count, np.nan)
    init = case.lowered.init
    env = {"key": 7, "C": 2, "L": 2}
    case.interp.call(init.key, [env[p.name] for p in init.params], [out], {"C": 2, "L": 2})
    assert out.tolist() == [7, 8, 9, 10, 1.5, 1.5, *(207 + 0.5 * k for k in range(8))]


def test_lengths() -> None:
    case = Case(TIED, "tied", B=2, T=2, V=4, L=3, C=3)
    p = case.lowered.sizes
    outs = [np.zeros((), np.int64) for _ in p.outs]
    sizes = {q.name: case.sizes[q.name] for q in p.params}
    case.interp.call(p.key, list(sizes.values()), outs, sizes)
    assert outs[0] == case.count
    assert [int(o) for o in outs[1:]] == [
        case.interp.eval(x.arena, case.sizes) for x in (case.lowered.forward, case.lowered.loss, case.lowered.gradient)
    ]
