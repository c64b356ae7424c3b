"""Checked formulas: types, casts, ranges, inlining."""

import pytest

from vibee.check.dump import tree_text
from vibee.tree.expr import show, walk
from vibee.tree.listing import definition, definition_lines


def lines(program, key):
    """The checked form of one instance, without its head."""
    return [line.strip() for line in definition_lines(program.by_key(key))[1:]]


def equations(program, key):
    """Its equations as text."""
    words = ("size", "given", "temp", "obligation", "derivative", "schedule", "gradient")
    return [line for line in lines(program, key) if line.split()[0] not in words]


def rhs(program, key, n=-1):
    """The right side of one of its equations."""
    return program.by_key(key).equations[n].rhs


def test_real_exists_for_both_floats(checked):
    p = checked("def f(x: real[N]) -> y[N]:\n    y[i] = 2 * x[i]")
    assert [d.key for d in p.defs["f"]] == ["f_f32", "f_f64"]
    assert p.instance("f", {"real": "f64"}).outs[0].dtype == "f64"
    assert equations(p, "f_f32") == ["y[i] = 2.0 * x[i]   for i < N   : f32"]


def test_key_of_what_is_not_generic(checked):
    p = checked("def f(x: f32) -> y:\n    y = x\n\ndef g(x: f32) -> y:\n    y = x\n\ndef g(x: i64) -> y:\n    y = x")
    assert [d.key for v in p.defs.values() for d in v] == ["f", "g_f32", "g_i64"]


@pytest.mark.parametrize(
    ("types", "expression", "expected"),
    [
        ("x: i8[N]", "x[i]", "i8: x[i]"),
        ("x: i8[N]", "x[i] + 1", "i32: i32(x[i]) + 1"),
        ("x: u8[N]", "where(x[i] > 3, x[i], 0)", "u8: where(i32(x[i]) > 3, x[i], 0)"),
        ("x: bf16[N]", "x[i] * 2", "f32: f32(x[i]) * 2.0"),
        ("x: i32[N], y: i64[N]", "x[i] + y[i]", "i64: i64(x[i]) + y[i]"),
        ("x: u32[N], y: u64[N]", "x[i] ^ y[i]", "u64: u64(x[i]) ^ y[i]"),
        ("x: f32[N]", "x[i] ** 2", "f32: x[i] * x[i]"),
        ("x: f64[N]", "x[i] ** 0.5", "f64: sqrt(x[i])"),
        ("x: f32[N]", "x[i] ** -1", "f32: 1.0 / x[i]"),
        ("x: i64[N]", "2 ** x[i]", "i64: 1 << x[i]"),
        ("x: f32[N]", "x[i] * (1 / 4)", "f32: x[i] * 0.25"),
        ("x: i32[N]", "f64(x[i]) / 2", "f64: f64(x[i]) / 2.0"),
        ("x: f32[N]", "-inf if x[i] < 0 else x[i]", "f32: where(x[i] < 0.0, -inf, x[i])"),
        ("x: f32[N]", "0 < x[i] < 1", "bool: 0.0 < x[i] and x[i] < 1.0"),
        ("x: bool[N]", "x[i] & ~x[i]", "bool: x[i] and not x[i]"),
        ("x: f32[N]", "x[-1]", "f32: x[N - 1]"),
        ("x: f32[N]", "i8(-1)", "i8: -1"),
        ("x: f32[N]", "u8(-1)", "u8: 255"),
        ("x: f32[N]", "i", "i64: i"),
        ("x: f32[N]", "bitcast(u32, x[i]) >> 3", "u32: bitcast_u32(x[i]) >> 3"),
        ("x: f32[N]", "min(x[i], 1, 2.5)", "f32: min(min(x[i], 1.0), 2.5)"),
        ("x: f32[N]", "argmax[k](x[k])", "i64: argmax[k:N](x[k])"),
        ("x: f32[N]", "any[k](x[k] > 1)", "bool: any[k:N](x[k] > 1.0)"),
        ("x: f32[N]", "sum[k:i:N](x[k])", "f32: sum[k:i:N](x[k])"),
        ("x: f32[N, N]", "sum[k, l:k](x[k, l])", "f32: sum[k:N](sum[l:k](x[k, l]))"),
        ("x: f32[N]", "cumsum[i](x[i])", "f32: cumsum[i](x[i])"),
        ("x: f32[N], p: u8[N]", "x[p[i]]", "f32: x[i64(p[i])]"),
    ],
)
def test_types(checked, types, expression, expected):
    p = checked(f"def f({types}) -> z[N]:\n    z[i] = {expression}")
    e = rhs(p, "f")
    assert f"{e.dtype}: {show(e)}" == expected
    assert all(n.dtype for n in walk(e))


def test_operands_have_one_type(checked):
    p = checked(
        "def f(x: i8[N], y: i64[N], a: f32) -> (z[N], c[N]):\n    z[i] = x[i] * y[i] + 3\n    c[i] = x[i] < y[i] "
        "or a > 1"
    )
    for q in p.by_key("f").equations:
        for n in walk(q.rhs):
            if n.op in ("add", "mul", "lt", "gt", "or"):
                assert n.args[0].dtype == n.args[1].dtype


def test_binders_are_unique(checked):
    p = checked(
        "def f(x: f32[N, D]) -> y[N, D]:\n    m[n] = sum[d](x[n, d])\n    y[n, d] = x[n, d] / sum[e](x[n, e]) + "
        "sum[e](m[e])"
    )
    seen = []
    for q in p.by_key("f").equations:
        seen += [v for n in walk(q.rhs) if n.op == "reduce" for v in n.attr[1]]
    assert len(set(seen)) == len(seen)
    assert not set(seen) & {"n", "d"}


def test_equal_reductions_stay_equal(checked):
    e = rhs(checked("def f(x: f32[N]) -> s:\n    s = sum[i](x[i]) ** 2"), "f")
    assert e.args[0] == e.args[1]


def test_temporaries_have_shapes(checked):
    p = checked(
        "def f(x: f32[N, 3 * C], C: size) -> s:\n    t[i, j] = x[j, i]\n    u[k:C] = t[3 * k, 0]\n    s = sum[k](u[k])"
    )
    assert [(t.name, [show(s) for s in t.shape]) for t in p.by_key("f").temps] == [("t", ["3 * C", "N"]), ("u", ["C"])]


CALLS = """
def softmax(x: real[N, D]) -> y[N, D]:
    given(D >= 1)
    m[n] = max[d](x[n, d])
    y[n, d] = exp(x[n, d] - m[n])

def product(a: real[M, K], b: real[K, N], scale: real = 1.0) -> c[M, N]:
    c[i, j] = scale * sum[k](a[i, k] * b[k, j])

def caller(q: real[B, T, C], k: real[C, S], n: real) -> y[B * T, S]:
    given(S >= 2)
    y = softmax(product(view(q, B * T, C), k, n + 1))
"""


def test_inlining(checked):
    p = checked(CALLS)
    assert equations(p, "caller_f32") == [
        "product_scale = n + 1.0   : f32",
        "product_c[i, j] = product_scale * sum[k_1:C](q[i // T, i % T, k_1] * k[k_1, j])   for i < B * T, j < S   "
        ": f32",
        "softmax_m[n_1] = max[d_1:S](product_c[n_1, d_1])   for n_1 < B * T   : f32",
        "y[n_1, d] = exp_f32(product_c[n_1, d] - softmax_m[n_1])   for n_1 < B * T, d < S   : f32",
    ]
    assert [show(g) for g in p.by_key("caller_f32").given] == ["S >= 2", "S >= 1"]


def test_conditions_of_callees(checked):
    p = checked(
        "def pick(w: f32[V], t: i32[N]) -> y[N]:\n    given(0 <= t[n] < V)\n    y[n] = w[t[n]]\n\n"
        "def a(w: f32[V], u: i32[B, T]) -> y[B * T]:\n    y = pick(w, view(u, B * T))\n\n"
        "def b(w: f32[V], u: i32[N]) -> y[N]:\n    v[n] = u[n] * 2\n    y = pick(w, v)"
    )
    assert [show(g) for g in p.by_key("a").given] == ["0 <= u[i0, i1] and i64(u[i0, i1]) < V"]
    assert p.by_key("b").given == []
    assert [show(g) for g in p.by_key("b").obligations] == ["0 <= v[n_1] and i64(v[n_1]) < V"]


def test_literals_choose_a_version(checked):
    p = checked(
        "def f(x: f32) -> y:\n    y = x\n\ndef f(x: f64) -> y:\n    y = x\n\n"
        "def a(x: f32[N]) -> y[N]:\n    y[i] = x[i] * f(2)\n\ndef b(n: i32[N]) -> y[N]:\n    y[i] = f(2.0)\n\n"
        "def c(n: i32[N]) -> y(f32[N]):\n    y[i] = f(1.0)"
    )
    assert [show(rhs(p, k)) for k in "abc"] == ["x[i] * f_f32(2.0)", "f_f64(2.0)", "f_f32(1.0)"]


def test_sizes_that_are_equal(checked):
    checked(
        "def add(x: f32[A, B], y: f32[A, B]) -> z[A, B]:\n    z[i, j] = x[i, j] + y[i, j]\n\n"
        "def f(x: f32[N, 4 * C], y: f32[N, K], w: f32[M, H * (K // H)], H: size, C: size, K: size) -> (z[N, K], "
        "u[N, K]):\n"
        "    given(K == 4 * C, M == N, K % H == 0)\n    z = add(x, y)\n    u = add(z, w)\n\n"
        "def g(x: f32[N, C // H], C: size, H: size) -> y[2 * N, C // (2 * H)]:\n    given(C % (2 * H) == 0)\n"
        "    y = add(view(x, 2 * N, C // (2 * H)), view(x, 2 * N, C // (2 * H)))"
    )


def test_scatter(checked):
    p = checked(
        "def f(p: i32[N], x: f32[N, C], V: size) -> (y[V, C], s):\n    y[p[n], c] += x[n, c]\n    s += x[n, c] * "
        "y[0, c]"
    )
    y, s = p.by_key("f").equations
    assert y.accumulate
    assert (y.vars, [show(i) for i in y.idx]) == (("n", "c"), ["i64(p[n])", "c"])
    assert s.accumulate and set(s.vars) == {"n", "c"} and s.idx == ()


def test_derivatives_may_refer_to_each_other(checked):
    p = checked(
        "def s(x: f64) -> y:\n    y = x\n    derivative(x=c(x))\n\ndef c(x: f64) -> y:\n    y = 1.0 - x\n    "
        "derivative(x=-s(x) * y)"
    )
    assert show(p.by_key("c").derivative["x"]) == "-s(x) * y"


def test_schedule(checked):
    p = checked(
        "def f(x: f32[N, D]) -> y[N]:\n    y[n] = sum[d](x[n, d])\n    with schedule(cpu): tile(n=8); "
        "parallel(n); pack(x)"
    )
    assert p.by_key("f").schedule == {"tile": {"n": 8}, "parallel": ("n",), "pack": ("x",)}


def test_properties_are_kept(checked):
    p = checked(
        "def f(x: f64[N]) -> y[N]:\n    y[n] = 2 * x[n]\n    then(y[n] == x[n] + x[n], close(y[n], 2 * x[n], "
        "ulp=1))\n"
        '    law("linear", f(x + c), f(x) + f(c))\n    example(x=[1, -2], y=[2, -4])\n    raises("rank", x=[[1]])'
    )
    laws = p.by_key("f").laws
    assert [(w.kind, w.name) for w in laws] == [("then", ""), ("law", "linear"), ("example", ""), ("raises", "rank")]
    assert laws[2].args == (("x", [1, -2]),) and laws[2].results == (("y", [2, -4]),)


def test_imports(tmp_path, checked):
    from vibee.check import load

    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "base.vibee").write_text("K = 3\n\ndef f(x: f32) -> y:\n    y = K * x\n")
    path = tmp_path / "main.vibee"
    path.write_text("from part.base import f as g, K\n\ndef f(x: f32) -> y:\n    y = g(x) + K\n")
    p = load(path)
    assert not p.errors
    assert p.own_names == ["f"]
    assert show(rhs(p, "f")) == "base_f(x) + 3.0"
    assert show(rhs(p, "base_f")) == "3.0 * x"


def test_dumps(checked):
    p = checked(CALLS)
    assert "y = softmax(product(view(q, B * T, C), k, n + 1))" in tree_text(p.module.raw)
    assert (
        "formula caller_f64(q: in f64[B, T, C], k: in f64[C, S], n: scalar f64) -> (y: out f64[B * T, S])"
        in definition(p.by_key("caller_f64"))
    )
