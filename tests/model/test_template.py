"""Procedures made for a model: sizes, calls and loops over weights written out."""

from __future__ import annotations

import numpy as np
from model_case import Case
from model_interp import Interp
from test_gradient import TIED, tokens

from vibee.check import load, load_text
from vibee.tree.expr import show
from vibee.tree.listing import block_lines, definition

TEMPLATE = (
    TIED
    + """
@procedure
def push(w: mut[f32[K, R, C]], g: f32[K, R, C], rate: f32):
    for k in range(K):
        for r in range(R):
            for c in range(C):
                w[k, r, c] = w[k, r, c] - rate * g[k, r, c]

@procedure
def descend(m: model, w: mut[f32[m.P]], arena: mut[f32[m.A]], tokens: i32[B, T], C: i64, rate: f32)
        -> (first(f32), matrices(i64), layered(i64), facts(i64)):
    g: f32[m.P]
    first = m.loss(w, tokens, tokens, arena)
    loss, g = m.gradient(w, tokens, tokens, arena)
    for p in m.weights:
        if p.rank >= 2:
            push(view(w, p), view(g, p), rate)
            matrices += 1
        if p.layered:
            layered += 1
        facts += p.copies * p.rows * p.columns

@procedure
def room(m: model, B: size, T: size) -> (count(i64), arena(i64)):
    count = m.P
    arena = m.A

descend_tied = descend(tied)
room_tied = room(tied)
""".replace("\n        -> (first", " -> (first")
)


def test_a_step_of_descent() -> None:
    program = load_text(TEMPLATE, "case.vibee")
    program.raise_errors()
    d = program.by_key("descend_tied")
    assert [p.name for p in d.params] == ["w", "arena", "tokens", "C", "rate", "V", "L", "tied_C", "scale"]
    interp = Interp(program)
    sizes = {"V": 4, "L": 2, "tied_C": 3, "B": 2, "T": 2}
    count, arena = np.zeros((), np.int64), np.zeros((), np.int64)
    r = program.by_key("room_tied")
    values = {"V": 4, "L": 2, "C": 3, "B": 2, "T": 2, "scale": 0.5}
    interp.call(r.key, [values[p.name] for p in r.params], [count, arena], values)
    case = Case(TIED, "tied", V=4, L=2, C=3, B=2, T=2)
    assert count == case.count
    rng = np.random.default_rng(1)
    w = rng.normal(size=case.count)
    toks = tokens(rng, 4, 2, 2)
    loss, grads = case.run("gradient", w, tokens=toks, targets=toks)
    new = w.copy()
    env = {"w": new, "arena": np.full(int(arena), np.nan), "tokens": toks, "C": 1, "rate": 0.1, "scale": 0.5, **sizes}
    outs = [np.zeros(()), *(np.zeros((), np.int64) for _ in range(3))]
    interp.call(d.key, [env[p.name] for p in d.params], outs, sizes)
    assert np.isclose(outs[0].item(), loss.item())
    assert [int(o) for o in outs[1:]] == [4, 4, case.count]
    vectors = np.ones(case.count, bool)
    at = 0
    for x in case.model.weights:
        n = int(np.prod([case.interp.eval(e, case.sizes) for e in (*x.shape, *([x.copies] if x.copies else []))]))
        vectors[at : at + n] = len(x.shape) == 1
        at += n
    assert np.allclose(new, np.where(vectors, w, w - 0.1 * grads))


def test_a_size_of_the_template_and_one_of_the_model_of_the_same_name_stay_apart() -> None:
    program = load_text(TEMPLATE, "case.vibee")
    assert "tied_C" in program.by_key("descend_tied").sizes


def test_a_template_may_stand_in_another_file(tmp_path) -> None:
    (tmp_path / "train.vibee").write_text("@procedure\ndef room(m: model) -> n(i64):\n    n = m.P\n")
    path = tmp_path / "net.vibee"
    path.write_text(
        "from train import room\n\ndef total(x: f32[N], w: f32[3]) -> s:\n    s = sum[n](x[n]) + w[0]\n\n"
        "@model\ndef net(x: f32[N]) -> loss:\n    w: f32[3] = 0.0\n    loss = total(x, w)\n\n"
        "room_net = room(net)\n\ndef twice(x: f32) -> y:\n    y = 2 * x\n"
    )
    program = load(path)
    program.raise_errors()
    assert program.own_names == ["total", "net", "twice", "room_net"]
    assert block_lines(program.by_key("room_net").body, "") == ["n = 3"]


WHOLE = """
@procedure
def fill(x: mut[f32[N]], v: f32):
    x[i] = v

def linear(x: f32[N, C], w: f32[C, C]) -> y[N, C]:
    y[n, d] = sum[c](x[n, c] * w[d, c])

@model
def net(x: f32[N, C], cache: mut[f32[N]], scale: f32, C: size) -> y[N, C]:
    w: f32[C, C] = 0.0
    fill(cache, 1.0)
    c = 2.0
    e = scale
    d = c * e
    h = linear(x, w)
    h += x
    h = h * c + d * h - e + scale
    c = linear(h, w)
    y = c
"""


def test_names_of_numbers_and_of_arrays_in_a_model() -> None:
    program = load_text(WHOLE, "case.vibee")
    program.raise_errors()
    assert block_lines(program.by_key("net").body, "") == [
        "fill(cache as [N], 1.0)   with N=N",
        "h = linear(x as [N, C], w as [C, C])   with N=N, C=C",
        "h_1 = net_each1(h as [N * C], x as [N * C])   with N=N * C",
        "h_2 = net_each2(h_1 as [N * C], 2.0 * scale, scale)   with N=N * C",
        "c_1 = linear(h_2 as [N, C], w as [C, C])   with N=N, C=C",
    ]
    (last,) = program.by_key("net_each2").equations
    assert show(last.rhs) == "a0[i] * 2.0 + s0 * a0[i] - s1 + s1"


LAYERED = """
from foundation.random import normal

def linear(x: f32[N, C], w: f32[C, C]) -> y[N, C]:
    y[n, d] = sum[c](x[n, c] * w[d, c])

@model
def deep(x: f32[N, C], C: size, L: size) -> y[N, C]:
    head: f32[C, C] = normal(0.0, 1.0)
    h = x
    g = linear(x, head)
    for l in layers(L):
        w: f32[C, C] = 0.5
        g = linear(g, w)
    y = g
"""


def test_the_text_of_a_model_shows_weights_layers_and_what_is_carried() -> None:
    program = load_text(LAYERED, "case.vibee")
    program.raise_errors()
    assert definition(program.by_key("deep")).split("\n") == [
        "model deep(x: in f32[N, C], C: size i64, L: size i64) -> (y: out f32[N, C])",
        "    size C from param C",
        "    size L from param L",
        "    size N from arg x 0",
        "    weight head: f32[C, C] = normal_f32(0.0, 1.0)",
        "    weight w: f32[C, C] = 0.5 per layer",
        "    g = linear(x as [N, C], head as [C, C])   with N=N, C=C",
        "    for l in layers(L):  # g_in from g then g_1",
        "        g_1 = linear(g_in as [N, C], w as [C, C])   with N=N, C=C",
    ]
