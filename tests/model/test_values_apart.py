"""Values of a model that are alive together have memory of their own: outputs assigned twice, loops of one name, shared
weights."""

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
