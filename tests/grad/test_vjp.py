"""Derived gradients against central differences, formula by formula: elements, contractions, rows, scans."""

import numpy as np
import pytest
from grad_numeric import check

from vibee.tree.expr import walk
from vibee.tree.normal import describe

# ---------------------------------------------------------------- elementwise


@pytest.mark.parametrize(
    "rhs",
    [
        "x[n] * w[n] + x[n]",
        "(x[n] - w[n]) * (x[n] + 2.0 * w[n])",
        "x[n] / (w[n] * w[n] + 1.0)",
        "exp(x[n] * w[n]) + tanh(x[n])",
        "sin(x[n]) * sin(w[n]) * x[n]",
        "silu(x[n]) * w[n]",
        "mix(x[n], w[n]) + mix(x[n], x[n])",
        "(x[n] * x[n] + 1.0) ** 0.5 * w[n]",
        "abs(x[n]) + max(w[n], 0.0) + min(x[n], 0.3)",
        "max(x[n], w[n]) * min(x[n], w[n] + 0.1)",
        "where(x[n] > 0.0, x[n] * w[n], exp(x[n]))",
        "x[n] * w[n] if x[n] < w[n] else 2.0 * x[n] - w[n]",
        "floor(x[n]) * w[n] + rint(w[n]) * x[n]",
        "f64(n) * x[n] - w[n] / 3.0",
        "-x[n] - -w[n] * 0.5",
        "0.5 * x[n] * (1.0 + tanh(0.7978845608 * (x[n] + 0.044715 * x[n] * x[n] * x[n]))) * w[n]",
        "log(exp(x[n]) + exp(w[n]))",
        "max(0.0, x[n]) + min(0.4, w[n])",
        "x[n] / where(w[n] < 9.0, w[n] * w[n] + 1.0, 0.0)",
        "where(x[n] > 0.0, 0.0, x[n] * w[n]) * w[n]",
        "f64(3) * x[n] * w[n]",
        "where(n == n, x[n], 0.0) * where(n != n + 1, w[n], 0.0)",
        "where(n == n + 1, x[n], w[n] * w[n])",
        "where(n > 0, cumsum[n](x[n] * w[n]), 0.0) * x[n]",
        "sum[k:n:n + 1](x[k] * w[k]) * x[n]",
        "sum[k](where(k >= 0, x[k] * w[n], 0.0) - x[k] * w[n])",
        "sum[k:n:N](max[j](x[j] * w[k]))",
    ],
)
def test_elementwise(rhs, normal):
    check(f"def f(x: f64[N], w: f64[N]) -> y[N]:\n    y[n] = {rhs}", x=normal(5), w=normal(5))


def test_scalars(normal):
    check(
        "def f(x: f64[N], a: f64, b: f64) -> (y[N], s):\n    y[n] = a * x[n] + b\n    s = sum[n](y[n] * y[n]) * a",
        x=normal(4), a=0.7, b=-0.2,
    )  # fmt: skip


def test_unused_input_has_zero_gradient(normal):
    g = check("def f(x: f64[N], z: f64[N]) -> y[N]:\n    y[n] = x[n] * 2.0", x=normal(3), z=normal(3))
    assert [p.name for p in g.outs] == ["d_x", "d_z"]


def test_broadcast(normal):
    check(
        "def f(x: f64[N, D], b: f64[D], c: f64[N]) -> y[N, D]:\n    y[n, d] = (x[n, d] + b[d]) * c[n]",
        x=normal(3, 4), b=normal(4), c=normal(3),
    )  # fmt: skip


def test_diagonal_and_transpose(normal):
    check(
        "def f(x: f64[N, N]) -> (y[N], z[N, N]):\n    y[n] = x[n, n] * 2.0\n    z[i, j] = x[i, j] * x[j, i]",
        x=normal(4, 4),
    )


# ---------------------------------------------------------------- contractions


@pytest.mark.parametrize(
    ("a", "b", "c"),
    [("i, k", "k, j", "i, j"), ("k, i", "k, j", "i, j"), ("i, k", "j, k", "i, j"), ("k, i", "j, k", "j, i")],
)
def test_matmul(a, b, c, normal):
    size = {"i": 3, "j": 2, "k": 4}
    shapes = [[size[v.strip()] for v in s.split(",")] for s in (a, b)]
    head = [", ".join(v.strip().upper() for v in s.split(",")) for s in (a, b, c)]
    g = check(
        f"def f(a: f64[{head[0]}], b: f64[{head[1]}]) -> c[{head[2]}]:\n    c[{c}] = sum[k](a[{a}] * b[{b}])",
        a=normal(*shapes[0]), b=normal(*shapes[1]),
    )  # fmt: skip
    assert len(g.equations) == 2 and not g.temps
    assert all(q.rhs.op == "reduce" for q in g.equations)


def test_linear_with_activation_keeps_matmuls(normal):
    g = check(
        """
def f(x: f64[N, K], w: f64[J, K], b: f64[J], v: f64[M, J]) -> y[N, M]:
    h[n, j] = sum[k](x[n, k] * w[j, k]) + b[j]
    g[n, j] = tanh(h[n, j])
    y[n, m] = sum[j](g[n, j] * v[m, j])
""",
        x=normal(3, 2), w=normal(4, 2), b=normal(4), v=normal(2, 4),
    )  # fmt: skip
    bodies = [q.rhs.args[0] for q in g.equations if q.rhs.op == "reduce" and q.rhs.args[0].op == "mul"]
    assert all(len(list(walk(b))) <= 7 for b in bodies), describe(g)  # a product of two elements, no more


def test_batched(normal):
    check(
        """
def f(a: f64[B, M, K], b: f64[B, K, N]) -> c[B, M, N]:
    c[q, i, j] = sum[k](a[q, i, k] * b[q, k, j])
""",
        a=normal(2, 3, 2), b=normal(2, 2, 4),
    )  # fmt: skip


def test_three_factors(normal):
    check(
        "def f(a: f64[M, K], b: f64[K, N], c: f64[N]) -> y[M]:\n    y[i] = sum[k, j](a[i, k] * b[k, j] * c[j])",
        a=normal(3, 2), b=normal(2, 4), c=normal(4),
    )  # fmt: skip


# ---------------------------------------------------------------- rows


SOFTMAX = """
def f(x: f64[N, D]) -> y[N, D]:
    m[n]    = max[d](x[n, d])
    s[n]    = sum[d](exp(x[n, d] - m[n]))
    y[n, d] = exp(x[n, d] - m[n]) / s[n]
"""


def test_softmax_is_two_rows_of_the_output(normal):
    g = check(SOFTMAX, x=normal(3, 5))
    assert len(g.equations) == 2
    from vibee.grad import needs

    assert needs(g) == {"y", "d_y"}


def test_softmax_in_one_equation(normal):
    g = check(
        """
def f(x: f64[N, D]) -> y[N, D]:
    y[n, d] = exp(x[n, d] - max[k](x[n, k])) / sum[e](exp(x[n, e] - max[q](x[n, q])))
""",
        x=normal(3, 5),
    )
    assert len(g.equations) == 2


def test_logsumexp(normal):
    g = check(
        """
def f(x: f64[N, D]) -> y[N]:
    m[n] = max[d](x[n, d])
    y[n] = m[n] + log(sum[d](exp(x[n, d] - m[n])))
""",
        x=normal(3, 5),
    )
    assert not any("arg" in str(q.rhs.attr) for q in g.equations)


def test_log_softmax(normal):
    check(
        """
def f(x: f64[N, D]) -> y[N, D]:
    m[n] = max[d](x[n, d])
    y[n, d] = x[n, d] - m[n] - log(sum[e](exp(x[n, e] - m[n])))
""",
        x=normal(3, 5),
    )


def test_layernorm(normal):
    check(
        """
def f(x: f64[N, D], w: f64[D], b: f64[D]) -> y[N, D]:
    u[n] = sum[d](x[n, d]) / f64(D)
    v[n] = sum[d]((x[n, d] - u[n]) * (x[n, d] - u[n])) / f64(D)
    r[n] = 1.0 / (v[n] + 0.00001) ** 0.5
    y[n, d] = (x[n, d] - u[n]) * r[n] * w[d] + b[d]
""",
        x=normal(3, 5), w=normal(5), b=normal(5),
    )  # fmt: skip


def test_rmsnorm(normal):
    check(
        """
def f(x: f64[N, D], w: f64[D], eps: f64) -> y[N, D]:
    y[n, d] = x[n, d] / (sum[e](x[n, e] * x[n, e]) / f64(D) + eps) ** 0.5 * w[d]
""",
        x=normal(3, 5), w=normal(5), eps=0.01,
    )  # fmt: skip


def test_cross_entropy(normal):
    g = check(
        """
def f(x: f64[N, V], t: i32[N]) -> loss:
    m[n] = max[v](x[n, v])
    l[n] = m[n] + log(sum[v](exp(x[n, v] - m[n])))
    loss = sum[n](l[n] - x[n, t[n]]) / f64(N)
""",
        x=normal(4, 5), t=np.array([0, 3, 4, 3]),
    )  # fmt: skip
    assert not any(q.accumulate for q in g.equations)  # one dense equation over n, v


def test_row_max(normal):
    check("def f(x: f64[N, D]) -> y[N]:\n    y[n] = max[d](x[n, d] * x[n, d]) + min[d](x[n, d])", x=normal(3, 5))
    check("def f(x: f64[N, D]) -> y:\n    y = max[n, d](x[n, d])", x=normal(3, 5))


def test_max_tie_goes_to_the_first():
    from grad_interp import Interpreter, outputs
    from grad_mini import formula

    from vibee.grad import vjp

    g = vjp(formula("def f(x: f64[D]) -> y:\n    y = max[d](x[d])"), lambda k: None)
    got = outputs(Interpreter(), g, x=np.array([1.0, 3.0, 3.0]), y=np.array(3.0), d_y=np.array(1.0))
    assert got["d_x"].tolist() == [0, 1, 0]


@pytest.mark.parametrize("zeros", [(), (1,), (1, 3)])
def test_prod(zeros, normal):
    x = normal(2, 4)
    x[0, list(zeros)] = 0
    check("def f(x: f64[N, D]) -> y[N]:\n    y[n] = prod[d](x[n, d])", x=x)
    check("def f(x: f64[N, D]) -> y:\n    y = prod[n, d](x[n, d] + 0.0)", x=x)


# ---------------------------------------------------------------- scans


@pytest.mark.parametrize("zeros", [(), (0,), (2,), (1, 3), (0, 1, 4)])
def test_cumprod(zeros, normal):
    x = normal(2, 5)
    x[0, list(zeros)] = 0
    check("def f(x: f64[N, D]) -> y[N, D]:\n    y[n, d] = cumprod[d](x[n, d] * 2.0) + x[n, d]", x=x)


def test_other_scans(normal):
    check("def f(x: f64[N, D]) -> y[N, D]:\n    y[n, d] = cumsum[d](x[n, d] * x[n, d])", x=normal(2, 5))
    check("def f(x: f64[N, D]) -> y[N, D]:\n    y[n, d] = cumsum[n](x[n, d]) * x[n, d]", x=normal(3, 2))
    check("def f(x: f64[N, D]) -> y[N, D]:\n    y[n, d] = cummax[d](x[n, d] * x[n, d])", x=normal(2, 6))
    check("def f(x: f64[N]) -> y[N]:\n    y[n] = cummin[n](x[n]) * 2.0", x=normal(6))
