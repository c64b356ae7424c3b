"""Procedures made for a model: sizes, calls and loops over weights written out."""

from __future__ import annotations

import numpy as np
from model_case import Case
from model_interp import Interp
from test_gradient import TIED, tokens

from vibee.check import load_text
from vibee.check.model_template import Keys

TEMPLATE = TIED + """
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


def test_a_step_of_descent() -> None:
    program = load_text(TEMPLATE, "case.vibee")
    program.raise_errors()
    d = program.by_key("descend_tied")
    assert [p.name for p in d.params] == ["w", "arena", "tokens", "C", "rate", "V", "L", "tied_C", "scale"]
    interp = Interp(Keys(program))
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
