"""Gradients of formulas as the checker gives them: types, casts, scalars without a derivative."""

import numpy as np
import pytest
from grad_interp import Interpreter, outputs
from grad_numeric import check
from grad_types import verify
from test_specs import Functions

from vibee.check.program import Program
from vibee.grad import GradError, needs, vjp
from vibee.tree.expr import walk
from vibee.tree.normal import describe, hoist


def load(body, name="f", types=None):
    program = Program("here.vibee", 'module("here", version=1)\n' + body)
    assert not program.errors, program.errors
    f = program.instance(name, types or {})
    return program, f


def gradient(body, types=None):
    program, f = load(body, types=types)
    g = vjp(f, program.by_key)
    verify(hoist(f))
    verify(g)
    return g


def test_key_and_order_of_parameters():
    g = gradient(
        "def f(x: real[N], a: real, n: i32[N], K: size) -> (y[K], s):\n    y[k] = a * f_(x)[k % N]\n"
        "    s = sum[i](x[i] * a)\ndef f_(x: real[N]) -> y[N]:\n    y[n] = x[n] * x[n]\n",
        {"real": "f32"},
    )
    assert g.key == "f_grad_f32"
    assert [p.name for p in g.params] == ["x", "a", "n", "K", "y", "s", "d_y", "d_s"]
    assert [(p.name, p.kind, p.dtype, len(p.shape)) for p in g.outs] == [
        ("d_x", "out", "f32", 1),
        ("d_a", "out", "f32", 0),
    ]
    assert [p.kind for p in g.params[4:]] == ["in"] * 4


def test_bf16_has_f32_adjoints():
    g = gradient("def f(x: bf16[N], w: f32[N]) -> y[N]:\n    y[n] = x[n] * w[n]\n")
    assert [p.dtype for p in g.outs] == ["f32", "f32"]
    g = gradient("def f(x: bf16[N], w: f32[N]) -> y(bf16[N]):\n    y[n] = bf16(x[n] * w[n])\n")
    assert [p.dtype for p in g.params if p.name in ("y", "d_y")] == ["bf16", "f32"]


def test_sums_in_double():
    body = """
def f(x: f32[N], w: f64[N]) -> y[N]:
    s = sum[n](f64(x[n]) * w[n])
    y[n] = x[n] * f32(s)
"""
    program, f = load(body)
    r = np.random.default_rng(0)
    g = check(f, functions=Functions(program), lookup=program.by_key, x=r.normal(size=4), w=r.normal(size=4))
    assert [p.dtype for p in g.outs] == ["f32", "f64"]


def test_integers_have_no_gradient():
    g = gradient(
        "def f(x: f32[N], k: i32[N]) -> (y[N], i(i64)):\n    y[n] = x[n] * f32(k[n])\n    i = argmax[n](x[n])\n"
    )
    assert [p.name for p in g.outs] == ["d_x"]
    assert [p.name for p in g.params] == ["x", "k", "y", "i", "d_y"]


def test_scalar_definition_with_a_sum():
    body = """
def series(x: real) -> y:
    y = sum[k:5](x * real(k) / (x * x + 1.0))

def f(x: real[N]) -> y[N]:
    y[n] = series(x[n]) * series(2.0 * x[n])
"""
    program, f = load(body, types={"real": "f64"})
    check(f, functions=Functions(program), lookup=program.by_key, x=np.array([0.3, -1.2, 2.0]))


def test_procedure_without_derivative_is_refused():
    body = """
@procedure
def twice(x: f32) -> y(f32):
    y = x * 2.0

def f(x: f32[N]) -> y[N]:
    y[n] = twice(x[n])
"""
    program, f = load(body)
    with pytest.raises(GradError, match="twice"):
        vjp(f, program.by_key)


def test_forward_values_are_read_not_computed():
    g = gradient("def f(x: f32[N]) -> y[N]:\n    y[n] = exp(x[n])\n")
    assert needs(g) == {"y", "d_y"}
    g = gradient("def f(x: f32[N]) -> y[N]:\n    y[n] = tanh(x[n])\n")
    assert needs(g) == {"y", "d_y"}


def test_condition_stays_where_it_protects():
    """A guarded read is not evaluated outside of its condition, in the gradient either."""
    body = """
def f(x: f64[N], w: f64[M]) -> y[N]:
    y[n] = where(n < M, x[n] * sum[k:2](w[n] * w[n]), x[n])
"""
    program, f = load(body)
    run = Interpreter(Functions(program))
    h = hoist(f)
    x, w = np.arange(5.0), np.array([2.0, 3.0])
    assert outputs(run, h, x=x, w=w)["y"].tolist() == outputs(run, f, x=x, w=w)["y"].tolist()
    check(f, functions=Functions(program), lookup=program.by_key, x=x, w=w)


def test_shared_sums_are_computed_once():
    _, f = load(
        """
def f(x: f64[N, D]) -> (y[N, D], z[N]):
    y[n, d] = x[n, d] / sum[e](x[n, e] * x[n, e])
    z[i] = sum[j](x[i, j] * x[i, j]) + 1.0
"""
    )
    h = hoist(f)
    assert sum(n.op == "reduce" for q in h.equations for n in walk(q.rhs)) == 1, describe(h)


def test_a_stride_bounds_the_sums():
    """Only the outputs that an element reaches are summed, if the stride is known to be positive."""
    body = """
def f(x: f64[N], w: f64[K], stride: size) -> y[(N - K) // max(stride, 1) + 1]:
    given(N >= K{})
    y[i] = sum[p](w[p] * where(i * stride + p < N, x[i * stride + p], 0.0))
"""
    rng = np.random.default_rng(1)
    for condition, conditions in (("", 1), (", stride >= 1", 0), (", 0 < stride", 0)):
        program, f = load(body.format(condition))
        g = vjp(f, program.by_key)
        (d_x,) = (q.rhs for q in g.equations if q.lhs == "d_x")
        assert sum(n.op == "where" for n in walk(d_x)) == conditions, describe(g)
        for stride in (1, 2, 3, 5) if condition else (0, 1, 3):
            x, w = rng.standard_normal(11), rng.standard_normal(4)
            check(f, functions=Functions(program), lookup=program.by_key, x=x, w=w, stride=stride)


RAGGED = """
def f(x: f64[K, D], z: f64[M], w: f64[V], o: i64[M]) -> y[M - 1]:
    given(0 <= o[i] <= K, V >= 3)
    y[i:M - 1] = sum[e:o[i]:o[i + 1]]({})
"""


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("x[e, 0] * w[e % 3]", "the range of `e` depends on data and so does an index that uses it"),
        ("max[d](x[e, d])", "max over a range that depends on data has no derivative here"),
        ("x[e, 0] * cumprod[i](z[i] * x[e, 1])", "prod over a range that depends on data has no derivative here"),
    ],
)
def test_what_has_no_derivative_is_told_with_its_place(body, message):
    with pytest.raises(GradError, match=message):
        gradient(RAGGED.format(body))


def test_a_value_is_read_only_where_it_exists():
    program, f = load(
        """
def f(x: f64[N], w: f64[N]) -> (y[N], s):
    given(N >= 2)
    t[i:N - 1] = x[i] * x[i + 1]
    y[i] = where(i < N - 1, x[i] * x[i + 1] * w[i], w[i])
    s = sum[i](t[i])
"""
    )
    r = np.random.default_rng(0)
    check(f, lookup=program.by_key, x=r.normal(size=4), w=r.normal(size=4))


def test_a_cut_to_an_integer_has_no_derivative():
    g = gradient("def f(x: f64[N]) -> y[N]:\n    y[n] = f64(i64(x[n])) * 2.0 + where(2 > 3, x[n], 1.0)\n")
    assert describe(g).startswith("d_x[n] = 0.0 ")


def test_a_stated_derivative_counts_not_the_equation():
    g = gradient("def f(x: real, a: real) -> y:\n    y = x * x * a\n    derivative(x=7.0, a=y)\n", {"real": "f64"})
    assert describe(g).split("    #")[0] == "d_x = 7.0 * d_y"


@pytest.mark.parametrize(
    ("dtype", "op", "least"),
    [
        ("i32", "max", "-2147483648"),
        ("i64", "min", "9223372036854775807"),
        ("u32", "max", "0"),
        ("u32", "min", "4294967295"),
        ("bool", "any", "False"),
        ("bool", "all", "True"),
    ],
)
def test_a_reduction_under_a_condition_is_neutral_where_it_fails(dtype, op, least):
    other = "False" if dtype == "bool" else "0"
    _, f = load(f"def f(c: bool[N], a: {dtype}[N, K]) -> y[N]:\n    y[i] = where(c[i], {op}[k](a[i, k]), {other})\n")
    assert describe(hoist(f)).split("    #")[0] == f"y_{op}[i] = {op}[k:K](where(c[i], a[i, k], {least}))"
