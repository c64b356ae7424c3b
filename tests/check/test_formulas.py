"""Checked formulas: types, casts, ranges, inlining."""

import math
import re
from pathlib import Path

import pytest

from vibee.check.dump import tree_text
from vibee.check.errors import Errors
from vibee.check.modules import specs_root
from vibee.check.parse import parse
from vibee.tree.expr import show, walk
from vibee.tree.listing import definition, definition_lines

SPECS = sorted(Path(specs_root()).glob("*/*.vibee"))


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
        ("x: u32[N], y: i64[N]", "x[i] + y[i]", "i64: i64(x[i]) + y[i]"),
        ("x: f32[N]", "bool(x[i])", "bool: x[i] != 0.0"),
        ("x: f32[N]", "bool(x[i] > 1)", "bool: x[i] > 1.0"),
        ("x: f32[N]", "bool(3)", "bool: True"),
        ("x: f32[N]", "i32(-2.7)", "i32: -2"),
        ("x: f32[N]", "x[i] * sqrt(4)", "f32: x[i] * 2.0"),
        ("x: f32[N]", "x[i] * (1 << 4)", "f32: x[i] * 16.0"),
        ("x: f32[N]", "x[i] / rint(-0.3)", "f32: x[i] / -0.0"),
        ("x: f32[N]", "x[i] + floor(-2.5) + floor(inf)", "f32: x[i] + -3.0 + inf"),
        ("x: f32[N]", "max(3, 2.5)", "f32: 3.0"),
        ("x: f32[N]", "x[i] < 0.1", "bool: x[i] < 0.1"),
        ("x: i32[N]", "~x[i]", "i32: ~x[i]"),
        (
            "x: f32[N]",
            "where(x[i] > 0, 1, 2) < where(x[i] > 1, 2, 3)",
            "bool: where(x[i] > 0.0, 1, 2) < where(x[i] > 1.0, 2, 3)",
        ),
        ("x: f32[N]", "x[i] ** 2.0", "f32: x[i] * x[i]"),
        ("x: f32[N]", "x[i] ** 1", "f32: x[i]"),
        ("x: f32[N]", "x[i] ** 0", "f32: 1.0"),
        ("x: f32[N]", "x[i] ** 1.5", "f32: pow_f32(x[i], 1.5)"),
        ("x: f32[N], n: i32[N]", "x[i] ** n[i]", "f32: pow_f32(x[i], f32(n[i]))"),
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
    assert [show(o.condition) for o in p.by_key("b").obligations] == ["0 <= v[n_1] and i64(v[n_1]) < V"]


PARTS = """
def row(x: f32[N]) -> y[N]:
    y[i] = x[i]

def rows(x: f32[N, M]) -> y[N, M]:
    y[i, j] = x[i, j]
"""


@pytest.mark.parametrize(
    ("head", "call", "expected"),
    [
        ("x: f32[N, M]) -> y[M]", "row(x[-1])", "y[i] = x[N - 1, i]   for i < M"),
        ("x: f32[N, M]) -> y[2, M]", "rows(x[1:3, :])", "y[i, j] = x[1 + i, j]   for i < 2, j < M"),
        ("x: f32[N, M]) -> y[N - 1, M]", "rows(x[:-1])", "y[i, j] = x[i, j]   for i < N - 1, j < M"),
        ("x: f32[N, 1]) -> y[N]", "row(view(x, N))", "y[i] = x[i, 0]   for i < N"),
        ("x: f32[N]) -> y[N, 1]", "rows(view(x, N, 1))", "y[i, j] = x[i + j]   for i < N, j < 1"),
        ("x: f32[N], K: size, M: size) -> y[K, M]", "rows(view(x, K, M))", "y[i, j] = x[i * M + j]   for i < K, j < M"),
        ("x: f32[N, M], K: size) -> y[N, K]", "rows(view(x, N, K))", "y[i, j] = x[i, j]   for i < N, j < K"),
        ("x: f32[N]) -> s", "2 * row(x)[+1]", "s = 2.0 * row_y[1]"),
    ],
)
def test_a_call_reads_the_part_that_it_is_given(checked, head, call, expected):
    given = {"K: size, M": "K * M == N", "K: size)": "N * M == N * K"}
    asked = next((f"    given({g})\n" for text, g in given.items() if text in head), "")
    p = checked(f"{PARTS}\ndef f({head}:\n{asked}    {expected[0]} = {call}")
    assert equations(p, "f")[-1] == expected + "   : f32"


def test_a_call_gives_each_name_its_output(checked):
    p = checked(
        "def both(x: f32[N]) -> (a[N], b):\n    a[i] = x[i]\n    b = x[0]\n\n"
        "def f(x: f32[N]) -> (y[N], z):\n    y, t = both(x)\n    z = t"
    )
    assert [q.split("   ")[0] for q in equations(p, "f")] == ["y[i] = x[i]", "t = x[0]", "z = t"]


def test_an_integer_of_any_type_is_a_size(checked):
    p = checked(
        "def first(x: f32[N], K: size) -> y[K]:\n    given(K <= N)\n    y[i] = where(i < N, x[i], 0)\n\n"
        "def f(x: f32[N], n: i32) -> s:\n    t = first(x, n)\n    s = sum[i](t[i])"
    )
    assert equations(p, "f")[0] == "t[i_1] = where(i_1 < N, x[i_1], 0.0)   for i_1 < i64(n)   : f32"


@pytest.mark.parametrize(
    ("given", "one", "other"),
    [
        ("N == N", "N", "N"),
        ("N + 1 == M", "M", "N + 1"),
        ("2 * N == 3 * M", "2 * N", "3 * M"),
        ("N >= 0", "N - -M", "N + M"),
        ("N >= 0", "N % 4", "N % 4"),
        ("N >= 0", "times(N, 7 % 4)", "3 * N"),
        ("N >= 0", "2 * N // 2", "N"),
        ("N >= 0", "min(N, N)", "N"),
        ("N >= 0", "min(N, N + 1)", "N"),
        ("N >= 0", "max(N, N + 1)", "N + 1"),
        ("N >= 0", "min(N, M)", "min(N, M)"),
        ("M >= 1, N % M == 0", "N // 3", "N // 3"),
        ("N % (2 * M) == 0", "N // M", "2 * (N // (2 * M))"),
        ("N % (M + 1) == 0", "N // (M + 1)", "N // (M + 1)"),
        ("N * M == K, M == 2 * N", "K", "2 * N * N"),
        ("M == 2 * N, N * M == K", "K", "N * M"),
        ("N % M == 0, K * 3 == N * 2, N == 6 * L", "6 * L // M * M * K", "N * K"),
        ("K * 3 == N * 2, N == 6 * L", "K * 3", "12 * L"),
        ("N == M, M == N, L == N", "L", "M"),
        ("N == M // 4, M == 8 * N", "M", "8 * N"),
        ("inf > 1.0, 2.0 * inf == inf", "N + i64(2.5 * f64(M))", "i64(2.5 * f64(M)) + N"),
    ],
)
def test_sizes_that_are_the_same_number(checked, given, one, other):
    one = one.replace("times(N, 7 % 4)", "N * (7 % 4)")
    checked(
        f"def same(x: f32[A], y: f32[A]) -> z[A]:\n    z[i] = x[i] + y[i]\n\n"
        f"def f(x: f32[{one}], y: f32[{other}], N: size, M: size, K: size, L: size) -> z[{other}]:\n"
        f"    given({given})\n    z = same(x, y)"
    )


@pytest.mark.parametrize("given", ["x == 0.5", "x * x == 0.5", "N >= 1"])
def test_sizes_of_floats_are_not_told_by_their_whole_parts(mistakes, given):
    text = (
        "def total(x: f32[A]) -> s:\n    s = sum[i](x[i])\n\ndef f(x: f64, u: f32[N]) -> s:\n"
        f"    given({given})\n    s = total(view(u[0:i64(5.5 * x)], i64({{}} * x)))"
    )
    assert mistakes(text.format(5.5)) == []
    assert "has not as many elements" in mistakes(text.format(5.0))[0]


@pytest.mark.parametrize(
    ("shape", "k", "expected"), [("K % 4", 7, "3"), ("K // 2", 9, "4"), ("K // 2", 1, "0"), ("K % 4", 8, "0")]
)
def test_a_size_of_numbers_is_a_number(checked, mistakes, shape, k, expected):
    text = (
        f"def cut(x: f32[N], K: size) -> y[N + {shape}]:\n    y[i:N + {shape}] = x[0]\n\n"
        f"def f(x: f32[N]) -> y[N + {{}}]:\n    y = cut(x, {k})"
    )
    checked(text.format(expected))
    assert "has the shape" in mistakes(text.format(5))[0]


def test_a_scan_adds_over_the_index_that_it_runs_along(checked):
    q = checked("def f(x: f32[N]) -> s:\n    s += cumsum[n](x[n])").by_key("f").equations[0]
    assert (q.vars, show(q.rhs), [show(d) for d in q.dims]) == (("n",), "cumsum[n](x[n])", ["N"])


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


def test_examples_hold_infinities(checked):
    p = checked("def f(x: f64[N]) -> y[N]:\n    y[n] = x[n] - 1\n    example(x=[inf, -inf, 1], y=[inf, -inf, 0])")
    (case,) = p.by_key("f").laws
    assert case.args == (("x", [float("inf"), float("-inf"), 1]),)


def test_each_nest_may_have_an_innermost_loop(checked):
    p = checked(
        "def f(x: f32[N], y: f32[M]) -> (a[N], b[M]):\n    a[i] = x[i]\n    b[j] = y[j]\n"
        "    with schedule(cpu): simd(i, j)"
    )
    assert p.by_key("f").schedule == {"simd": ("i", "j")}


@pytest.mark.parametrize(
    ("literal", "dtype", "value"),
    [
        ("0.1", "f32", 0.10000000149011612),
        ("16777217", "f32", 16777216.0),
        ("0.1", "bf16", 0.10009765625),
        ("1e999", "f32", math.inf),
        ("-0.0", "bf16", -0.0),
        ("0.1", "f64", 0.1),
    ],
)
def test_a_constant_is_a_number_of_its_type_and_shows_as_it_was_written(checked, literal, dtype, value):
    p = checked(f"def f(x: f64, a: {dtype} = {literal}) -> y:\n    y = x * f64({dtype}({literal}))")
    for e in (p.by_key("f").params[1].default, rhs(p, "f").args[1]):
        e = e.args[0] if e.op == "cast" else e
        assert (e.dtype, float(e.attr).hex()) == (dtype, value.hex())
        assert show(e) == (str(value) if dtype == "bf16" else str(float(literal)))


def test_a_constant_under_another_name_is_apart_from_one_of_that_name(tmp_path):
    from vibee.check import load

    (tmp_path / "base.vibee").write_text("X = 2.0\nY = 3.0\n\ndef g(x: f64) -> y:\n    y = x * Y\n")
    path = tmp_path / "main.vibee"
    path.write_text("from base import X as Y, g\n\ndef f(x: f64) -> y:\n    y = x * Y + g(x)\n")
    p = load(path)
    assert not p.errors
    assert (show(rhs(p, "f")), show(rhs(p, "g"))) == ("x * 2.0 + g(x)", "x * 3.0")


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


EVERYTHING = """
module("all", version=2)
from foundation.math import exp, log as ln

K = 1 << 4

pass


def pair(x: real[N, D], eps: real = 1e-05, D: size = 3) -> (a[N], s(f32)):
    given(N >= 1, 0 < N <= D)
    a[n] = sum[d](x[n, d]) + max[d:1:D](x[n, d]) + (eps if x[n, 0] > 0 and not x[n, 1] < 0 else -eps)
    s += f32(x[n, 0]) + bitcast(f32, ~i32(x[n, 1]) >> 1) + min(1.0, ln(exp(2.0)), abs(-x[0, 0] ** -2)) + x[-1, 0]
    law("name", pair(x=x, eps=2.0), pair(x, eps))
    example(x=[[1, -2]], a=[0, True])
    with schedule(cpu): tile(n=8, d=4); parallel(n)


def scans(x: f32[N]) -> y:
    y[n] = cumsum[n](x[n]) + dot(x, x)[n]
    y[i:N - 1] = (x[i] + 1.0) * 2.0


@procedure
def steps(m: model, x: mut[f32[m.P]], n: i64) -> (k(i64), y(f32[N, 2])):
    row: f32[N]
    best: f32 = 0.0
    for i in range(0, n, 2):
        while k < 4 or k == 7:
            k += 1
            if k % 2 == 0:
                continue
            elif k // 3 != 1:
                break
            else:
                pass
    a, b = f(x[1:], x[:n], view(x, n, 2))
    y[0, :] = m.forward(x, arena=a)
    x[n] **= 2
    return


made = steps(net)
"""


def body(raw):
    """A definition without its places; a number that is too large for a float is inf."""
    text = re.sub(r", span=Span\([^)]*\)", "", repr((raw.kind, raw.params, raw.outs, raw.body)))
    return text.replace("op='const', args=(), attr=inf", "op='var', args=(), attr='inf'")


def read_back(lines):
    """A definition of the tree's text as a file."""
    kind, head = lines[0].split(" ", 1)
    mark = "" if kind == "formula" else f"@{kind}\n"
    return parse("\n".join([f"{mark}def {head.replace(' -> ()', '')}:", *lines[1:]]), "b", Errors()).defs[0]


@pytest.mark.parametrize("path", [None, *SPECS], ids=lambda p: p.stem if p else "everything")
def test_the_text_of_a_tree_reads_back_as_the_tree(path):
    log = Errors()
    file = parse(path.read_text() if path else EVERYTHING, "a", log)
    assert not log.items
    for raw, text in zip(file.defs, tree_text(file).split("\n\n")[1:], strict=True):
        assert body(read_back(text.rstrip().split("\n"))) == body(raw)


def test_the_text_of_a_tree_starts_with_what_the_file_needs():
    head = tree_text(parse(EVERYTHING, "a", Errors())).split("\n\n")[0].split("\n")
    imports = "from foundation.math import exp, log as ln"
    assert head == ["module all version 2", imports, "K = 1 << 4", "made = steps(net)"]


def test_dumps(checked):
    p = checked(CALLS)
    assert "y = softmax(product(view(q, B * T, C), k, n + 1))" in tree_text(p.module.raw)
    assert (
        "formula caller_f64(q: in f64[B, T, C], k: in f64[C, S], n: scalar f64) -> (y: out f64[B * T, S])"
        in definition(p.by_key("caller_f64"))
    )


def test_a_definition_is_no_value_and_hides_no_index(checked, mistakes):
    p = checked(
        "def g(x: f64[N], w: f64) -> y[N]:\n    y[g] = x[g]\n    y[f] += x[f] * w\n\ndef f(x: f64) -> y:\n    y = x"
    )
    assert equations(p, "g") == ["y[g] = x[g]   for g < N   : f64", "y[f] += x[f] * w   for f < N   : f64"]
    said = mistakes("def f(x: f64) -> y:\n    y = x + f")
    assert said == ["'f' is a definition; call it, as in f(...)"]


def test_what_two_calls_ask_for_is_given_once(checked):
    p = checked(
        "def even(x: f64[N], k: i64) -> y:\n    given(k % 2 == 0)\n    y = sum[i](x[i]) * f64(k)\n\n"
        "def f(x: f64[N], k: i64) -> (y, z):\n    y = even(x, k)\n    z = even(x, k)"
    )
    assert [show(g) for g in p.by_key("f").given] == ["k % 2 == 0"]
