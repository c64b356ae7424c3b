"""Loops along memory in vectors: what becomes one, what stays a loop, and that no value changes."""

import re

import numpy as np
import pytest

from vibee.build import build, load_extension
from vibee.check import load_text
from vibee.emit import emit_module
from vibee.lower.unit import Unit
from vibee.runtime.machine import supported_levels
from vibee.tree.defs import Assign, Comment, Decl, For, Param, Store
from vibee.tree.expr import Expr, const, load, var

from .test_statements import proc

VALUES = {
    "signs": "-x[i] + abs(x[i]) * 0.25 - 3.0",
    "roots": "sqrt(x[i]) / (x[i] + 2.0)",
    "whole": "floor(x[i]) + 4.0 * rint(x[i] * 0.5)",
    "clipped": "max(min(x[i], 2.0), -1.5)",
    "largest": "max(x[i], w[i]) - min(w[i], x[i])",
    "same": "where(x[i] == w[i], 1.0, where(x[i] != x[i], 2.0, w[i]))",
    "between": "where(x[i] >= -1.0 and x[i] <= 1.0, x[i], a)",
    "outside": "where(not (x[i] > -1.0) or w[i] < 0.5, x[i] * a, w[i])",
    "through": "exp(x[i] * 0.1) * tanh(w[i]) + a",
    "inside": "sum[k:8](x[i] * real(k)) + w[i]",
}  # fmt: skip
BITS = {
    "f32": "bitcast(f32, (bitcast(u32, x[i]) ^ (bitcast(u32, w[i]) & 2147483648)) | (~bitcast(u32, w[i]) >> 31))",
    "f64": "bitcast(f64, bitcast(u64, x[i]) ^ (bitcast(u64, w[i]) & (bitcast(u64, x[i]) << 3)))",
}
WHOLE = "f32(where(i32(x[i]) - 3 < 2, i32(w[i]) * 1, -i32(x[i]))) + f32((i32(w[i]) >> 1) << 2)"

STAY = {
    "guarded": "(x: f32[N]) -> y[N]:\n    y[i] = where(i > 0, x[i - 1], 0.0)",
    "beside": "(x: f32[N + 1], c: f32[N]) -> y[N]:\n    y[i] = where(c[i] > 0, x[i + 1], 0.0)",
    "either": "(x: f32[N], c: f32[N]) -> y[N]:\n    y[i] = where(c[i] > 0 or x[i] > 0, 1.0, 0.0)",
    "gathered": "(x: f32[N], at: i32[N]) -> y[N]:\n    given(0 <= at[i] < N)\n    y[i] = x[at[i]]",
    "every_other": "(x: f32[M], N: size) -> y[N]:\n    given(2 * N <= M)\n    y[i] = x[2 * i]",
    "numbers": "(x: f64[N]) -> y(f64[N]):\n    y[i] = x[i] * f64(i)",
    "somewhere": "(x: f64[N], k: i64) -> y(f64[N]):\n    y[i] = x[i + k]",
    "once": "(x: f32[N], m: f32) -> y[N]:\n    y[i] = where(x[i] > 0, looping(m), 0.0)",
    "numbered": "(x: f32[N]) -> y[N]:\n    y[i] = x[i] * f32(i)",
    "wide": "(x: f32[N], a: f64) -> y[N]:\n    y[i] = f32(f64(x[i]) * a)",
    "counts": "(x: i32[N]) -> y(i32[N]):\n    y[i] = x[i] + 1",
    "asked": "(x: f32[N], c: bool[N]) -> y[N]:\n    y[i] = where(c[i], x[i], 0.0)",
    "truths": "(x: f32[N]) -> y[N]:\n    y[i] = f32(x[i] > 0)",
    "one_truth": "(x: f32[N], on: bool) -> y[N]:\n    y[i] = where(on, x[i], 0.0)",
    "small": "(x: bf16[N]) -> y(bf16[N]):\n    y[i] = bf16(f32(x[i]) * 2.0)",
    "powers": "(x: f32[N], n: f32) -> y[N]:\n    y[i] = x[i] + raised(x[i], n)",
    "looped": "(x: f32[N]) -> y[N]:\n    y[i] = steps(x[i])",
    "divided": "(x: f32[N], m: i32) -> y[N]:\n    given(m > 0)\n    y[i] = x[i] + f32(7 % m)",
    "fallible": "(x: f32[N], m: f32) -> y[N]:\n    y[i] = x[i] + parted(x[i])",
    "fallible_once": "(x: f32[N], m: f32) -> y[N]:\n    y[i] = where(x[i] > 0, parted(m), 0.0)",
    "long": "(x: f64[N]) -> y(f64[N]):\n    y[i] = f64(i64(x[i]))",
}  # fmt: skip
HELP = """

@procedure
def looping(x: f32) -> y:
    y = x
    for k in range(9):
        y = y * 0.5 + x


def parted(x: f32) -> y:
    y = where(x > 0, f32(7 // i32(min(x, 9.0))), 0.0)


def raised(x: f32, n: f32) -> y:
    y = where(x > 0, f32(f64(x) * f64(n)), 0.0)


@procedure
def steps(x: f32) -> y:
    y = x
    for k in range(3):
        y = y * 0.5 + x
"""


def text_of(source, isa="v3", wrap=None):
    program = load_text('module("lanes", version=1)\n\n' + source)
    assert not program.errors, program.errors
    unit = Unit(program, "v3")
    found = [d for defs in program.defs.values() for d in defs]
    return emit_module(unit.reach(found), wrap=wrap, isa=isa)


def of_values():
    out = [f"def {name}(x: real[N], w: real[N], a: real) -> y[N]:\n    y[i] = {e}\n" for name, e in VALUES.items()]
    for d, e in BITS.items():
        out.append(f"def bits_{d}(x: {d}[N], w: {d}[N], a: {d}) -> y({d}[N]):\n    y[i] = {e}\n")
    out.append(f"def counted(x: f32[N], w: f32[N], a: f32) -> y[N]:\n    given(-9 <= x[i] <= 9, -9 <= w[i] <= 9)\n"
               f"    y[i] = {WHOLE}\n")  # fmt: skip
    out.append("def truth(c: bool) -> y(f32):\n    y = where(c, 1.5, -0.5)\n")
    out.append("def chosen(x: f32[N], w: f32[N], a: f32) -> y[N]:\n    y[i] = x[i] * truth(not x[i] > w[i]) + a\n")
    return "\n\n".join(out)


def numbers(n, dtype, seed, plain=False):
    """Some of everything."""
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=n) * 3).astype(dtype)
    if plain:
        return np.clip(x, -9, 9)
    odd = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 0.5, -0.5, 2.5, 1e30, -1e-40], dtype)
    return np.where(rng.random(n) < 0.3, rng.choice(odd, n), x)


@pytest.fixture(scope="module")
def modules():
    if "v3" not in supported_levels():
        pytest.skip("this processor has no AVX2")
    texts = [text_of(of_values(), isa) for isa in ("v3", "")]
    assert all(f"vb_v{w}_storeu(&y[i]" in texts[0] for w in ("8f", "4d"))
    assert not re.search(r"_storeu\(&y|vb_x\d", texts[1])
    return [load_extension(*build(text, "lanes", "v3")) for text in texts]


@pytest.mark.parametrize("name", [*VALUES, *(f"bits_{d}" for d in BITS), "counted", "chosen"])
def test_lanes_give_what_the_loop_gives(modules, name):
    for dtype in ("f32", "f64") if name in VALUES else (name.removeprefix("bits_") if "_" in name else "f32",):
        key = f"{name}_{dtype}" if name in VALUES else name
        for n in (*range(1, 36), 300):
            x, w = (numbers(n, f"f{int(dtype[1:]) // 8}", s, name == "counted") for s in (n, n + 1))
            a = x.dtype.type(1.75)
            results = []
            for module in modules:
                y = np.full(n + 2, 7, x.dtype)
                getattr(module, key)(x, w, y[1:-1], a, 1)
                results.append(y.tobytes())
            assert results[0] == results[1], (key, n)
            assert y[0] == y[-1] == 7


@pytest.mark.parametrize("name", STAY)
def test_what_has_no_form_in_vectors_stays_a_loop(name):
    text = text_of(f"def {name}{STAY[name]}\n{HELP}", wrap=[])
    body = text.split(f"cdef void c_{name}")[1]
    assert "_storeu(&y" not in body and re.search(r"for i\w* in range", body)


def test_a_function_of_numbers_has_one_form_in_vectors():
    text = text_of("""
def f(x: f32) -> y:
    given(x > 0)
    t = x * 2.0
    y = t + 1.0


def g(x: f32[N], w: f32[N]) -> y[N]:
    given(x[i] > 0)
    y[i] = f(x[i]) + f(x[i] * 3.0)


def h(x: f32[N]) -> y[N]:
    given(x[i] > 0)
    y[i] = f(x[i])
""")
    assert text.count("cdef inline vb_v8f vb_x8_c_f(vb_v8f x)") == 1
    assert text.index("cdef inline vb_v8f vb_x8_c_f") < text.index("cdef void c_h")
    assert "vb_v8f_storeu(&vb_y[element], vb_x8_c_f(vb_v8f_loadu(&vb_x[element])))" in text  # over arrays of numbers


N, D = var("N"), var("D")
X, Y, S = (lambda i: load("x", (i,), "f32")), (lambda i: load("y", (i,), "f32")), (lambda e, a="y", i=None, **k: Store(
    a, (var("i") if i is None else i,), e, **k))  # fmt: skip


def plus(a, b):
    return Expr("add", (a, b), None, a.dtype)


def emitted(*body, lo=0, hi=N, step=1):
    ends = [const(e, "i64") if isinstance(e, int) else e for e in (lo, hi)]
    arrays = [Param(n, "mut", "f32", (N,)) for n in ("x", "y")]
    arrays += [Param(n, "scalar", "i64") for n in ("lo", "hi")]
    return emit_module([proc("f", arrays, [], [For("i", *ends, list(body), step)])], wrap=[], isa="v3")


def test_a_known_number_of_elements_has_no_loop():
    text = emitted(S(X(var("i"))), lo=16, hi=32)
    assert text.count("_storeu(&y") == 2 and "&y[24]" in text and "for i in" not in text
    for lo, hi in ((0, 64), (3, 3)):  # too many of them, none: but nothing is left over
        text = emitted(S(X(var("i"))), lo=lo, hi=hi)
        assert f"for i in range({lo}, {hi}, 8)" in text and "while" not in text
    assert "while i < 20" in emitted(S(X(var("i"))), lo=0, hi=20)


def test_several_stores_and_numbers_of_their_own():
    t = var("t", "f32")
    body = [Comment("both"), Decl("t", "f32", plus(X(var("i")), X(var("i")))), S(plus(t, t)), S(t, "x")]
    text = emitted(*body)
    assert "cdef vb_v8f t" in text and text.count("_storeu(&") == 2
    text = emitted(*body, hi=8)
    assert "for i in" not in text and "t = vb_v8f_loadu(&x[0]) + vb_v8f_loadu(&x[0])" in text


def test_a_lane_reads_what_no_other_writes():
    i, one = var("i"), const(1, "i64")
    assert "_storeu(&y" in emitted(S(plus(Y(i), X(i))))
    for body in ([S(Y(plus(i, one)))], [S(X(i)), S(Y(plus(i, one)), "x")], [S(X(i)), S(X(i))]):
        assert "_storeu(&y" not in emitted(*body)


@pytest.mark.parametrize("reads_itself", [False, True])
def test_every_element_once(reads_itself):
    if "v3" not in supported_levels():
        pytest.skip("this processor has no AVX2")
    i = var("i")
    body = [S(plus(plus(Y(i), X(i)) if reads_itself else X(i), const(1.0, "f32")))]
    arrays = [Param(n, "mut", "f32", (N,)) for n in ("x", "y")]
    p = proc("f", [*arrays, Param("lo", "scalar", "i64")], [], [For("i", var("lo"), N, body)])
    module = load_extension(*build(emit_module([p], isa="v3"), "once", "v3"))
    for n in range(1, 36):
        for lo in (0, 1, 5, 8, 40):
            x, y = numbers(n, "f4", n, plain=True), np.full(n, 0.5, "f4")
            want = y.copy()
            want[lo:] = (want[lo:] + x[lo:] if reads_itself else x[lo:]) + 1
            module.f(x, y, lo, 1)
            assert y.tobytes() == want.tobytes(), (n, lo)


def test_stores_that_stay():
    i = var("i")
    for body in ([S(X(i), checked=True)], [S(X(i), i=const(0, "i64"))], [Decl("t", "f32")],
                 [S(Expr("load?", (i,), "x", "f32"))], [S(X(i)), Decl("t", "f32")]):  # fmt: skip
        assert "_storeu(&y" not in emitted(*body)
    assert "_storeu(&y" not in emitted(S(X(i)), step=2)


def test_limits_that_stay():
    i = var("i")
    for hi in (Expr("floordiv", (N, D), None, "i64"), Expr("cast", (X(const(0, "i64")),), "i64", "i64")):
        assert "_storeu(&y" not in emitted(S(X(i)), hi=hi)
    half = Expr("floordiv", (N, const(2, "i64")), None, "i64")
    text = emitted(S(X(i)), lo=2, hi=half)
    for line in (
        "if N // 2 - 2 >= 8:",
        "for vb_i in range(2, N // 2, 8):",
        "i = vb_min_i64(vb_i, N // 2 - 8)",
        "i = 2",
    ):
        assert f"    {line}\n" in text
    text = emitted(S(Y(i)), lo=2, hi=half)
    for line in (
        "for i in range(2, 2 + (N // 2 - 2) // 8 * 8, 8):",
        "i = 2 + (N // 2 - 2) // 8 * 8",
        "while i < N // 2:",
    ):
        assert f"    {line}\n" in text


def test_what_a_function_gives_begins_as_zero():
    body = [
        Decl("t", "f32", plus(var("x", "f32"), var("x", "f32"))),
        Assign("y", plus(var("y", "f32"), var("t", "f32"))),
    ]
    for statements, result in (([], 0), ([Assign("y", plus(var("y", "f32"), var("x", "f32")))], 3), (body, 6)):
        g = proc("g", [Param("x", "scalar", "f32")], [Param("y", "out", "f32")], statements)
        call = Expr("call", (X(var("i")),), "g", "f32")
        arrays = [Param(n, "mut", "f32", (N,)) for n in ("x", "y")]
        text = emit_module([g, proc("f", arrays, [], [For("i", const(0, "i64"), N, [S(call)])])], isa="v3")
        assert "_storeu(&y[i], vb_x8_c_g(" in text and "y = vb_v8f_splat(0)" in text
        assert re.search(r"    y = 0\n", text.split("cdef inline float c_g(")[1].split("cdef")[1])
        if "v3" in supported_levels():
            module = load_extension(*build(text, "zero", "v3"))
            found = np.full(19, 9, "f4")
            module.f(np.full(19, 3, "f4"), found, 1)
            assert (found == result).all() and module.g(3.0) == result


def test_limits_far_apart_are_none():
    text = emitted(S(plus(Y(var("i")), X(var("i")))), lo=var("lo"), hi=var("hi"))
    assert re.search(r"if hi_ > lo_:\n +for i in range\(lo_, lo_ \+ \(hi_ - lo_\) // 8 \* 8, 8\):", text)


def test_no_array_decides_where_is_written():
    i, zero = var("i"), const(0, "i64")
    at = lambda a: plus(i, Expr("where", (compare(a), const(1, "i64"), zero), None, "i64"))  # noqa: E731
    compare = lambda a: Expr("gt", (load(a, (zero,), "f32"), const(0.0, "f32")), None, "bool")  # noqa: E731
    one = const(1.0, "f32")
    assert "_storeu(&y" not in emitted(S(one, i=at("x")), S(one, "x"))
    assert "_storeu(&y" not in emitted(S(one, i=at("y")))


def test_no_number_of_a_lane_decides_where():
    i, t = var("i"), Decl("t", "i64", plus(var("n"), const(1, "i64")))
    for store in (S(load("x", (i,), "f64"), i=plus(i, var("t"))), S(load("x", (plus(i, var("t")),), "f64"))):
        arrays = [Param(n, "mut", "f64", (N,)) for n in ("x", "y")]
        p = proc("f", [*arrays, Param("n", "scalar", "i64")], [], [For("i", const(0, "i64"), N, [t, store])])
        assert "_storeu(&y" not in emit_module([p], wrap=[], isa="v3")
