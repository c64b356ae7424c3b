"""Constants: arithmetic with types, mistakes in them, and where they stand for numbers of properties."""

import math

import pytest

from vibee.check import load
from vibee.check.fold import computed
from vibee.check.statements import each
from vibee.tree.defs import Call
from vibee.tree.expr import show, var

USE = "\n\ndef f(x: f32) -> y:\n    y = x"


@pytest.mark.parametrize(
    ("text", "value", "dtype"),
    [
        ("B = u64(1)\nA = B + 1", 2, "u64"),
        ("B = u32(0)\nA = B - 1", 2**32 - 1, "u32"),
        ("B = u32(3)\nA = 1 << (B + 30)", 2, "u32"),
        ("B = i32(-8)\nA = B >> 1", -4, "i32"),
        ("A = ~u64(0)", 2**64 - 1, "u64"),
        ("A = i64(u8(255)) * 2", 510, "i64"),
        ("A = f64(f32(0.1)) + 1", 1.10000000149011612, "f64"),
        ("A = f32(1) / 3", 0.3333333432674408, "f32"),
        ("A = sqrt(f32(2.0))", 1.4142135381698608, "f32"),
        ("A = 1 < 2 < 3", True, "bool"),
        ("A = not (u8(1) > 2 or False)", True, "bool"),
        ("A = 3 if u8(2) > 1 else 4", 3, "int"),
        ("A = (3 if 2 < 1 else 4) + 1", 5, "int"),
        ("A = bool(2) and f32(1) == 1", True, "bool"),
        ("A = -inf", -math.inf, "float"),
    ],
)
def test_arithmetic_of_constants_is_a_constant(checked, text, value, dtype):
    p = checked(text + USE)
    found = p.constant(p.module, "A")
    assert (found.op, found.attr, found.dtype) == ("const", value, dtype)


def test_what_is_no_arithmetic_of_constants_stays_as_it_is(mistakes):
    (told,) = mistakes("A = bitcast(u32, f32(1.0)) + 1" + USE)
    assert told == "'A' is not a constant; write a number or arithmetic of numbers"
    assert computed(var("n")) == var("n")


@pytest.mark.parametrize("text", ["A = u8(2) // 0", "A = 1 % (u8(1) - 1)"])
def test_a_constant_with_a_type_divides_by_no_zero(mistakes, text):
    assert mistakes(text + USE) == ["this divides by zero; the divisor is a constant"]


def test_a_constant_is_in_no_circle_over_imports_either(tmp_path):
    (tmp_path / "b.vibee").write_text("K = L + 1\nL = K\n")
    (tmp_path / "a.vibee").write_text("from b import K\n\nM = K + 1\n\ndef f(x: f32) -> y:\n    y = x * M\n")
    assert [str(e) for e in load(tmp_path / "a.vibee").errors] == [
        f"{tmp_path}/b.vibee:1:1: 'K' is made of itself, by way of L; write a number for one of them"
    ]


def test_names_stand_once_in_an_imported_file(tmp_path):
    twice = "def g(x: f32) -> y:\n    y = x\n\n"
    (tmp_path / "b.vibee").write_text(f"K = 1\nK = 2\n\n{twice}{twice}def h(x: f32) -> y:\n    y = x\n")
    (tmp_path / "a.vibee").write_text("from b import h\n\ndef f(x: f32) -> y:\n    y = h(x)\n")
    assert [str(e) for e in load(tmp_path / "a.vibee").errors] == [
        f"{tmp_path}/b.vibee:2:1: 'K' is defined twice (line 1); choose another name",
        f"{tmp_path}/b.vibee:7:1: 'g' is defined twice for the same types (line 4); choose another name",
    ]


def test_examples_laws_and_close_take_constants(checked):
    p = checked(
        "TOL = f32(1e-3)\nTWO = u8(2)\n\n"
        "def f(x: f32[N], n: u8 = 0) -> y[N]:\n    y[i] = x[i] + f32(n)\n"
        "    then(close(y[i], y[i], rel=TOL))\n"
        '    law("same", f(x), f(x), ulp=2 * 4)\n'
        "    example(x=[1 / 2, -inf], n=u8(TWO + 1), y=[3.5, -inf], rel=TOL)\n"
        '    raises("x", x=[2 ** 3])\n'
        '    raises("x must be", x=2.5)\n'
    )
    then, law, example, raised, number = p.by_key("f").laws
    assert then.args[0].attr == ("close", "rel", pytest.approx(1e-3)) and law.args[2] == ("ulp", 8)
    assert example.args == (("x", [0.5, -math.inf]), ("n", 3))
    assert example.results == (("y", [3.5, -math.inf]), ("rel", pytest.approx(1e-3)))
    assert raised.args == (("x", [8]),) and number.args == (("x", 2.5),)


def test_a_constant_in_a_law_is_its_value(checked, mistakes):
    f = 'def f(x: f32[N]) -> y[N]:\n    y[i] = x[i]\n    law("a", f(x + A), B * x + c + where(C, 1, 2))\n'
    p = checked("A = 3.0\nB = f32(2)\nC = True\n\n" + f)
    assert [show(e) for e in p.by_key("f").laws[0].args] == ["f(x + 3.0)", "f32(2.0) * x + c + where(True, 1, 2)"]
    (told,) = mistakes("A = 1 / 0\nB = 1\nC = True\n\n" + f)
    assert told == "this divides by zero; the divisor is a constant"


OVERLOADED = """
def g(x: f32) -> y:
    y = 3 * x
    law("numbers", g(x), 3 * x)

def g(x: f32[N]) -> y:
    y = sum[i](x[i])
    law("arrays", g(x), g(x))

def moved(x: f32[N], by: f32 = 1.0) -> y[N]:
    y[i] = x[i] + by

def moved(x: f32, by: f32) -> y:
    y = x + by
"""
FIRST, SECOND = OVERLOADED.split("def moved")[0].strip().split("\n\n")
CALLER = """

def h(x: f32[N, M], v: f32[N]) -> (y, z[N], r, s, w[N], p[N]):
    y = g(v)
    z[i] = g(v[i])
    r = 1 + g(view(x, N * M)) + g(g(v)) + g(g(x[0]) + 1)
    s = g(v[1:])
    w = moved(v)
    p[i] = moved(by=v[i], x=z[i]) + moved(v, by=2.0)[i]

@procedure
def q(x: f32[N]) -> (y(f32), z(f32[N])):
    t: f32[N] = moved(x)
    y = g(t)
    z = moved(x)
    for i in range(N):
        z[i] = g(x[i]) + g(x)

@model
def m(x: f32[N]) -> (loss, y[N]):
    b: f32[N] = 1.0
    y = moved(x + b)
    loss = g(y + y) + g(2.0) + g(g(y))
"""


@pytest.mark.parametrize("order", [(FIRST, SECOND), (SECOND, FIRST)])
def test_a_version_is_meant_by_the_arrays_and_numbers_of_the_call(checked, order):
    p = checked("\n\n".join([*order, *OVERLOADED.split("\n\n")[2:]]) + CALLER)
    number, array = sorted(p.defs["g"], key=lambda d: len(d.params[0].shape))
    by_name = {q.lhs: show(q.rhs) for q in p.by_key("h").equations}
    assert by_name["y"] == "sum[i_1:N](v[i_1])" and by_name["z"] == f"{number.key}(v[i])"
    assert array.key in [s.fn for s in each(p.by_key("q").body) if isinstance(s, Call)]
