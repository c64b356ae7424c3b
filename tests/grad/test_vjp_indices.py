"""Derived gradients against central differences: index arithmetic, indices from data, several equations."""

import numpy as np
import pytest
from grad_numeric import check

from vibee.tree.expr import walk
from vibee.tree.normal import describe

# ---------------------------------------------------------------- index arithmetic


def test_conv_with_padding(normal):
    check(
        """
def f(x: f64[C, T], w: f64[O, C, K]) -> y[O, T]:
    y[o, t] = sum[c, k](where(t + k >= 1 and t + k - 1 < T, w[o, c, k] * x[c, t + k - 1], 0.0))
""",
        x=normal(2, 5), w=normal(3, 2, 3),
    )  # fmt: skip


@pytest.mark.parametrize(("stride", "width"), [(2, 3), (2, 2), (3, 2)])
def test_conv_with_stride(stride, width, normal):
    check(
        f"""
def f(x: f64[C, T], w: f64[O, C, K]) -> y[O, (T - K) // {stride} + 1]:
    y[o, t] = sum[c, k](w[o, c, k] * x[c, {stride} * t + k])
""",
        x=normal(2, 7), w=normal(2, 2, width),
    )  # fmt: skip


def test_conv_with_symbolic_stride(normal):
    check(
        """
def f(x: f64[T], w: f64[K], S: size) -> y[(T - K) // S + 1]:
    y[t] = sum[k](w[k] * x[S * t + k])
""",
        sizes={"S": 2}, x=normal(7), w=normal(3), S=2,
    )  # fmt: skip


def test_pooling(normal):
    check("def f(x: f64[N]) -> y[N // 2]:\n    y[n] = max[k:2](x[2 * n + k])", x=normal(6))
    check("def f(x: f64[N], G: size) -> y[N // G]:\n    y[n] = sum[k:G](x[n * G + k] * x[n * G + k])",
          sizes={"G": 3}, x=normal(6), G=3)  # fmt: skip


def test_grouped_heads(normal):
    for given in ("", "    given(H == K * G)\n"):
        g = check(
            f"""
def f(q: f64[T, H, D], k: f64[S, K, D], G: size) -> y[T, H, S]:
{given}    y[t, h, s] = sum[d](q[t, h, d] * k[s, h // G, d])
""",
            sizes={"G": 2}, q=normal(2, 4, 3), k=normal(2, 2, 3), G=2,
        )  # fmt: skip
    assert not any(q.accumulate for q in g.equations)
    assert not any(n.op == "where" for q in g.equations for n in walk(q.rhs)), describe(g)


def test_flat_and_split_axes(normal):
    check("def f(x: f64[H, D]) -> y[H * D]:\n    y[i] = x[i // D, i % D] * 2.0", x=normal(2, 3))
    check(
        "def f(x: f64[N], D: size) -> y[N // D, D]:\n    y[h, d] = x[h * D + d] * 2.0", sizes={"D": 3}, x=normal(6), D=3
    )
    check(
        "def f(x: f64[N], G: size, D: size) -> y[N // (G * D), G, D]:\n    y[h, g, d] = x[(h * G + g) * D + d]",
        sizes={"D": 2, "G": 3}, x=normal(12), D=2, G=3,
    )  # fmt: skip


@pytest.mark.parametrize(
    "rhs",
    [
        "x[t, d] * c[t, d // 2] + x[t, d + 1 - 2 * (d % 2)] * c[t, d // 2]",
        "x[t, (d + D // 2) % D] * x[t, d]",
        "where(d < D // 2, x[t, d] - x[t, d + D // 2], x[t, d] + x[t, d - D // 2])",
        "x[t, where(d < D // 2, d + D // 2, d - D // 2)] * x[t, d]",
        "x[t, d ^ 1]",
        "x[t, D - 1 - d] * x[t, d]",
        "x[(t + 1) % T, d]",
        "x[t, (2 * d + 1) % D]",
        "x[t, (d // 2) * 2 + 1 - d % 2]",
        "x[t, (3 * d) % D // 2]",
        "x[t, (d + 1) // 2 + 1]",
        "x[t, (d + 1) // 3 + (d + 1) // 4]",
        "x[t, (d + 1) % 3 + 1]",
        "x[t, d // (t + 1)]",
        "x[d // (T + D), d]",
        "x[t, min(d, 2)]",
        "x[t, d ^ t]",
        "x[0, d ^ t]",
        "x[0, d // (t + 1)]",
    ],
)
def test_index_arithmetic(rhs, normal):
    check(
        f"def f(x: f64[T, D], c: f64[T, D // 2]) -> y[T, D]:\n    given(D % 2 == 0)\n    y[t, d] = {rhs}",
        x=normal(3, 4), c=normal(3, 2),
    )  # fmt: skip


def test_strides_that_are_sizes(normal):
    check("def f(x: f64[K], M: size) -> y[K // M]:\n    y[n] = x[n * M]", sizes={"M": 2}, x=normal(6), M=2)
    check(
        "def f(x: f64[K], M: size) -> y[K // M - 1, 2]:\n    y[n, m] = x[n * M + m * M]",
        sizes={"M": 2}, x=normal(6), M=2,
    )  # fmt: skip


@pytest.mark.parametrize(
    "rhs",
    [
        "where(n > 0, sum[k](x[(A - B) * n, k]), 0.0)",
        "where(n > 0, sum[k](x[(n // 2) * (n // 3), k]), 0.0)",
        "where(n > 0, sum[k](x[max((A - B) * n, 0), k]), 0.0)",
        "where(n + m < N - 1, sum[k](x[n + 1, k]), 0.0)",
    ],
)
def test_a_sum_that_may_be_out_of_bounds_stays_under_its_condition(rhs, normal):
    check(
        f"def f(x: f64[N, D], A: size, B: size) -> y[N, 2]:\n    y[n, m] = {rhs}",
        sizes={"A": 2, "B": 1}, x=normal(4, 3), A=2, B=1,
    )  # fmt: skip


def test_sizes_given_in_terms_of_each_other(normal):
    check(
        "def f(x: f64[A], w: f64[B]) -> y[B]:\n    given(A == B + 1, B == A - 1)\n    y[n] = x[n] * x[n + 1] * w[n]",
        x=normal(4), w=normal(3),
    )  # fmt: skip


def test_packed_attention(normal):
    g = check(
        """
def f(x: f64[T, 3, H, D]) -> o[T, H, D]:
    a[h, t, s] = where(s <= t, sum[d](x[t, 0, h, d] * x[s, 1, h, d]) / f64(D) ** 0.5, 0.0)
    m[h, t] = max[s:t+1](a[h, t, s])
    z[h, t] = sum[s:t+1](exp(a[h, t, s] - m[h, t]))
    p[h, t, s] = where(s <= t, exp(a[h, t, s] - m[h, t]) / z[h, t], 0.0)
    o[t, h, d] = sum[s:t+1](p[h, t, s] * x[s, 2, h, d])
""",
        x=normal(4, 3, 2, 3),
    )
    assert not any(q.accumulate for q in g.equations)


def test_causal_attention(normal):
    check(
        """
def f(q: f64[T, D], k: f64[T, D], v: f64[T, D]) -> o[T, D]:
    m[t] = max[s:t+1](sum[d](q[t, d] * k[s, d]))
    z[t] = sum[s:t+1](exp(sum[d](q[t, d] * k[s, d]) - m[t]))
    o[t, e] = sum[s:t+1](exp(sum[d](q[t, d] * k[s, d]) - m[t]) / z[t] * v[s, e])
""",
        q=normal(4, 3), k=normal(4, 3), v=normal(4, 3),
    )  # fmt: skip


def test_window(normal):
    check(
        "def f(x: f64[N], W: size) -> y[N]:\n    y[n] = sum[k:max(0, n - W):n+1](x[k] * x[n])",
        sizes={"W": 2},
        x=normal(6),
        W=2,
    )


# ---------------------------------------------------------------- indices from data


def test_embedding(normal):
    g = check(
        """
def f(w: f64[V, C], p: f64[T, C], t: i32[B, T]) -> y[B, T, C]:
    y[b, s, c] = w[t[b, s], c] * 2.0 + p[s, c]
""",
        w=normal(5, 3), p=normal(4, 3), t=np.array([[0, 1, 4, 1], [2, 2, 2, 0]]),
    )  # fmt: skip
    scatter = next(q for q in g.equations if q.accumulate)
    assert scatter.lhs == "d_w" and scatter.idx[1].op == "var"


def test_guarded_gather(normal):
    check(
        "def f(w: f64[V], t: i32[N]) -> y[N]:\n    y[n] = where(t[n] >= 0, w[t[n]] * w[n], 0.5)",
        w=normal(5), t=np.array([3, -1, -7, 3, 0]),
    )  # fmt: skip


def test_gather_and_dense(normal):
    check(
        "def f(w: f64[V], t: i32[N]) -> y[N]:\n    y[n] = w[t[n]] * w[n] + w[n + 1]",
        w=normal(5), t=np.array([3, 1, 1, 0]),
    )  # fmt: skip


def test_scatter(normal):
    check(
        "def f(x: f64[N, C], t: i32[N], V: size) -> y[V, C]:\n    y[t[n], c] += x[n, c] * x[n, c]",
        sizes={"V": 4}, x=normal(5, 2), t=np.array([0, 3, 3, 1, 0]), V=4,
    )  # fmt: skip


def test_ragged_sum(normal):
    check(
        "def f(x: f64[K], o: i32[M]) -> y[M - 1]:\n    y[i] = sum[k:i64(o[i]):i64(o[i + 1])](x[k] * x[k])",
        x=normal(6), o=np.array([0, 2, 2, 6]),
    )  # fmt: skip


@pytest.mark.parametrize(
    "rhs",
    [
        "sum[k:i64(o[i]):i64(o[i + 1])](x[k] * sum[j](w[j]))",
        "sum[k:i64(o[i]):i64(o[i + 1])](x[k] + sum[j](w[j] * x[k]))",
        "2.0 * sum[k:i64(o[i]):i64(o[i + 1])](x[k] * sum[j](w[j] * x[k]))",
        "sum[k:i64(o[i]):i64(o[i + 1])](where(i + k < 3, sum[j](z[i + 1, j]), 0.0) * x[k])",
        "where(i > 0, sum[k:i64(o[i - 1]):i64(o[i])](x[k] * w[0]), 0.0)",
    ],
)
def test_sums_inside_of_a_ragged_sum(rhs, normal):
    check(
        f"def f(x: f64[K], w: f64[J], z: f64[H, J], o: i32[M]) -> y[M - 1]:\n    y[i] = {rhs}",
        x=normal(6), w=normal(3), z=normal(4, 3), o=np.array([0, 2, 2, 6]),
    )  # fmt: skip


def test_a_gather_under_a_triangle(normal):
    check(
        "def f(w: f64[V], a: f64[N, N], t: i32[N]) -> y[N]:\n    y[i] = sum[j:i](w[t[j]] * a[i, j])",
        w=normal(3), a=normal(4, 4), t=np.array([2, 0, 2, 1]),
    )  # fmt: skip


def test_a_scatter_onto_what_an_equation_gave(normal):
    check(
        "def f(b: f64[V], x: f64[N], t: i32[N]) -> y[V]:\n    y[v] = b[v] * b[v]\n    y[t[n]] += x[n] * x[n]",
        b=normal(4), x=normal(5), t=np.array([0, 3, 3, 1, 0]),
    )  # fmt: skip


# ---------------------------------------------------------------- several equations


@pytest.mark.parametrize(
    "body",
    [
        "y[n] = sum[k](x[k] * w[k])\n    s = y[0]",
        "y[n] = x[n]\n    s = sum[i:N, j:i](a)",
        "y[n] = x[n]\n    s = sum[k]((x[k] - w[k]) * a)",
        "y[n] = x[n] * t\n    s = sum[k]((x[k] - 1.0) * a)",
        "z[n] = 0.0 * x[n] * w[n]\n    y[n] = z[n] + x[n] * a\n    s = a",
        "z[n] = x[n] * x[n] * w[n]\n    y[n] = x[n] * w[n] * z[n] * x[n]\n    s = sum[k](z[k]) * a",
    ],
)
def test_sums_and_products_that_other_equations_hold(body, normal):
    first = "t = sum[k](x[k])\n    " if "* t" in body else ""
    check(f"def f(x: f64[N], w: f64[N], a: f64) -> (y[N], s):\n    {first}{body}", x=normal(4), w=normal(4), a=0.7)


def test_a_value_along_an_axis_that_cancels(normal):
    check(
        "def f(x: f64[N], w: f64[M]) -> y[N, M]:\n    z[n, m] = x[n] * x[n] * w[m] / w[m]\n"
        "    y[n, m] = z[n, m] * x[n] * x[n]",
        x=normal(3), w=normal(2) + 3.0,
    )  # fmt: skip


def test_terms_that_are_the_same_where_they_are_summed_cancel(normal):
    """The conditions differ, but both hold for every element of x."""
    g = check(
        "def f(x: f64[N], b: i32[N], w: i32[K]) -> y[N]:\n"
        "    z[n] = sum[k](where(n >= 1, x[n - 1] * f64(w[k] + b[n]), 0.0))\n"
        "    y[n] = z[n] - where(2 * n >= 1, z[n], 0.0)",
        x=normal(5), b=np.arange(5, dtype="i4"), w=np.arange(3, dtype="i4"),
    )  # fmt: skip
    assert [str(q.rhs.attr) for q in g.equations if q.rhs.op == "const"] == ["0.0"]
    assert len(g.equations) == 1


def test_output_read_by_another(normal):
    check(
        "def f(x: f64[N]) -> (y[N], z[N]):\n    y[n] = exp(x[n])\n    z[n] = y[n] * y[n] + x[n]\n",
        x=normal(4),
    )


def test_mlp_block(normal):
    check(
        """
def f(x: f64[N, D], w: f64[D], a: f64[H, D], b: f64[D, H]) -> y[N, D]:
    r[n] = 1.0 / (sum[d](x[n, d] * x[n, d]) / f64(D) + 0.01) ** 0.5
    h[n, j] = sum[d](x[n, d] * r[n] * w[d] * a[j, d])
    g[n, j] = silu(h[n, j])
    y[n, d] = x[n, d] + sum[j](g[n, j] * b[d, j])
""",
        x=normal(2, 3), w=normal(3), a=normal(4, 3), b=normal(3, 4),
    )  # fmt: skip


def test_second_derivative(normal):
    from grad_mini import formula
    from grad_numeric import SCALARS

    from vibee.grad import vjp

    f = formula("def f(x: f64[N]) -> y:\n    y = sum[n](x[n] * x[n] * x[n])")
    g = vjp(f, SCALARS.__getitem__)
    g.params = [p for p in g.params if p.name in ("x", "d_y")]
    check(g, x=normal(3), d_y=np.array(0.7))
