"""Values of a model that are alive together have memory of their own: outputs assigned twice, loops of one name, shared
weights, names that mean something else elsewhere."""

import numpy as np
import pytest
from model_case import Case

PARTS = """
def scaled(x: real[N, C], w: real[C]) -> y[N, C]:
    y[n, c] = x[n, c] * w[c] / (1.0 + x[n, c] * w[c] * x[n, c] * w[c])

def summed(x: real[N, C]) -> e:
    e = sum[n, c](x[n, c] ** 2)

"""
HEAD = "@model\ndef net(x: real[N, C]) -> (y[N, C], q[N, C]):\n    w: real[C] = 0.0\n"
W = np.array([0.3, 0.5, 0.7])
X = np.random.default_rng(1).normal(size=(2, 3))


def bend(x):
    return x * W / (1 + (x * W) ** 2)


@pytest.mark.parametrize(
    ("body", "want"),
    [
        (["y = scaled(x, w)", "z = y", "y = scaled(z, w)", "q = y + z"], lambda a, b: (b, a + b)),
        (["y = scaled(x, w)", "q = scaled(y, w)", "t = y", "y = q", "q = t"], lambda a, b: (b, a)),
    ],
    ids=["assigned twice", "swapped"],
)
def test_an_output_is_what_it_is_at_the_end(body, want):
    case = Case(PARTS + HEAD + "".join(f"    {line}\n" for line in body), "net", N=2, C=3)
    got = case.run("forward", W, x=X)
    first = bend(X)
    for a, b in zip(got, want(first, bend(first)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


LOOPS = """
@model
def net(x: real[N, C], L: size, M: size) -> (loss(real)):
    h = x
    for l in layers(L):
        w: real[C] = 0.0
        a = scaled(h, w)
        h = scaled(a, w)
    for l in layers(M):
        v: real[C] = 0.0
        a = scaled(h, v)
        h = scaled(a, v)
    loss = summed(h)
"""


@pytest.mark.parametrize(("first", "second"), [(2, 9), (1, 8), (5, 2), (3, 3)])
def test_loops_of_one_name_have_counts_of_their_own(first, second):
    case = Case(PARTS + LOOPS, "net", N=4, C=5, L=first, M=second)
    case.check(x=np.random.default_rng(1).normal(size=(4, 5)))


SHARED = """
@model
def base(x: real[N, C], L: size) -> (loss(real)):
    h = x
    for l in layers(L):
        w: real[C] = 0.0
        h = scaled(h, w)
    loss = summed(h)

@model
def net(x: real[N, C], C: size, L: size) -> (loss(real)):
    weights(base)
    h = x
    for l in layers(L):
        h = scaled(h, w)
    for k in layers(L):
        h = scaled(h, w)
    loss = summed(h)
"""


def test_the_gradient_of_weights_that_two_loops_use_has_both_shares():
    Case(PARTS + SHARED, "net", N=2, C=3, L=2).check(x=X)


NUMBERS = """
def largest(x: real[N, C]) -> k(i64[N]):
    k[n] = argmax[c](x[n, c])
def moved(x: real[N, C], k: i64[N]) -> y[N, C]:
    y[n, c] = x[n, c] * (1.0 + real(k[n]))
"""


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("", ["h = x", "for l in layers(L):", "    a = scaled(h, g)", "    h = scaled(a, g)", "a: real[C] = 1.0",
              "loss = summed(scaled(h, a))"]),
        ("", ["h = x", "for l in layers(L):", "    h_in_layers = scaled(h, g)", "    h = scaled(h_in_layers, g) + h",
              "loss = summed(h)"]),
        ("", ["h = x", "for l in layers(L):", "    h = scaled(h, g)", "h_in_layers = scaled(h, g)",
              "loss = summed(h_in_layers + h)"]),
        ("", ["h = x", "for l in layers(L):", "    h = scaled(h, g)", "l = largest(h)", "loss = summed(moved(h, l))"]),
        ("", ["h = x", "for l in layers(L):", "    k = largest(h)", "    h = moved(scaled(h, g), k)", "    k_1 = k",
              "loss = summed(h)"]),
        ("", ["arena = largest(scaled(x, g))", "weights_size = largest(x)",
              "loss = summed(moved(moved(scaled(x, g), arena), weights_size))"]),
        ("", ["h = x", "for arena in layers(L):", "    h = scaled(h, g)", "for arena_size in layers(L):",
              "    h = scaled(h, g)", "loss = summed(h)"]),
        (", at_0: real[N, C]", ["h = x", "k = largest(x)", "for l in layers(L):", "    h = scaled(moved(h, k), g)",
                                "    k = largest(h)", "loss = summed(moved(h, k) + at_0)"]),
    ],
    ids=["a weight and a value of a loop", "the box of a carry", "the same, later", "a loop variable", "integers",
         "parameters of what is derived", "loop variables", "carried integers"],
)  # fmt: skip
def test_names_that_mean_something_else_elsewhere(head, body):
    lines = [f"def net(x: real[N, C]{head}, L: size) -> (loss(real)):", "    given(C >= 1)", "    g: real[C] = 1.0"]
    text = "\n".join(["@model", *lines, *(f"    {line}" for line in body), ""])
    case = Case(PARTS + NUMBERS + text, "net", N=2, C=3, L=2)
    case.check(x=X, **({"at_0": X * 2} if head else {}))


ENDS = """
@model
def net(x: real[N, C], L: size) -> (loss(real)):
    s: real[C] = 1.0
    h = x
    g = s
    for l in layers(L):
        w: real[C] = 1.0
        h = scaled(h, g)
        g = w
    loss = summed(scaled(h, g))
"""


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_a_weight_that_only_ends_a_layer_has_its_gradient(layers):
    grads = Case(PARTS + ENDS, "net", N=2, C=3, L=layers).check(x=X)
    assert grads.all()


FEWER = """
@model
def net(x: real[N, C], L: size) -> (loss(real)):
    g: real[C] = 1.0
    h = scaled(x, g)
    for l in layers(L - 1):
        w: real[C] = 1.0
        h = scaled(h, w)
    loss = summed(h)
"""


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_a_number_of_layers_that_would_be_negative_is_none(layers):
    case = Case(PARTS + FEWER, "net", N=2, C=3, L=layers)
    assert case.count == 3 * max(layers, 1)
    case.check(x=X)
