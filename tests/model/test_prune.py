"""Formulas reduced to some of their outputs: what stays is all that these need, and nothing else."""

from vibee.check import load_text
from vibee.lower.model_prune import needed, passes, prune
from vibee.tree.expr import show

TEXT = """
module("m", version=1)

def f(x: f32[N], t: i32[M], K: size, S: size, a: f32, b: f32) -> (y[N], z[N], w[N]):
    given(K < N, S >= 1, a > 0.0, b > 0.0, x[K] > 0.0, x[n] > b, 0 <= t[m] < S, x[n] > -1.0)
    u[n] = x[n] * a
    v[n] = u[n] + 1.0
    y[n] = v[n]
    z[n] = x[n]
    w[n] = x[N - 1 - n] * b + f32(t[0]) * f32(S)
"""


def formula():
    program = load_text(TEXT, "m.vibee")
    program.raise_errors()
    return program.defs["f"][0]


def test_what_an_output_needs_is_all_that_it_is_made_from():
    assert needed(formula(), {"y"}) == {"y", "v", "u", "x"}
    assert needed(formula(), {"z"}) == {"z", "x"}


def test_conditions_on_what_is_left_out_go_with_it():
    f = formula()
    g = prune(f, ("y",), "g")
    assert [p.name for p in g.params] == ["x", "a"] and list(g.sizes) == ["N"]
    # K is no index that runs over x: it is a number that is not there any more
    assert [show(c) for c in g.given] == ["a > 0.0", "x[n] > -1.0"]
    assert [show(c) for c in prune(f, ("z",), "h").given] == ["x[n] > -1.0"]


def test_a_copy_of_a_parameter_is_one_of_all_its_elements_in_order():
    f = formula()
    assert passes(f, "z") == "x"
    assert passes(f, "w") is None  # other elements
    assert passes(f, "y") is None  # of what is computed
