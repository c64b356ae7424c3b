"""What is asked at calls, where an array is added to, a running value is read, integers wrap around or numbers are nan:
nothing of it is proved that some run breaks, and what is right beside it is."""

from __future__ import annotations

import pytest

from vibee.check.program import load_text
from vibee.prove.demands import exact, known_of
from vibee.prove.ranges import Ranges
from vibee.prove.verify import PROVED, REFUTED, UNPROVED, verify_program
from vibee.tree.expr import Expr, const, substitute, var

CALLEES = '''
from foundation.math import exp

def root(x: f64[N]) -> y[N]:
    """no negative numbers"""
    given(x[i] >= 0.0)
    y[i] = sqrt(x[i])

def low(x: i64[N]) -> y(i64[N]):
    """small ones"""
    given(x[i] < 5)
    y[i] = x[i]

def above(x: i64[N]) -> y(i64[N]):
    """positive ones"""
    given(x[i] > 0)
    y[i] = x[i]

def natural(x: i64[N]) -> y(i64[N]):
    """no negative ones"""
    given(x[i] >= 0)
    y[i] = x[i]

def many(x: i64[N], k: i64) -> y(i64[N]):
    """a positive number"""
    given(k > 0)
    y[i] = x[i]

def odd(x: i64[N]) -> y(i64[N]):
    """a remainder by a power of two"""
    given(x[i] % 8 == 5)
    y[i] = x[i]

def rising(x: i64[N], w: i64[N]) -> y(i64[N]):
    """pairs"""
    given(x[i] < w[i])
    y[i] = x[i]

def last(x: i64[N]) -> y(i64):
    """one element"""
    given(N >= 1, x[N - 1] < 5)
    y = x[N - 1]

def apart(x: f64[N], k: i64) -> y[N]:
    """one of two"""
    given(x[i] >= 0.0 or x[i] < -5.0 or k > 0)
    y[i] = x[i] + f64(k)

def other(x: f64[N]) -> y[N]:
    """what a nan is, too"""
    given(x[i] != -1.0, not x[i] < -2.0)
    y[i] = x[i]

def same(x: f64[N]) -> y[N]:
    """what no nan is"""
    given(not x[i] != 1.0)
    y[i] = x[i]
'''


def outcomes(text: str, kind: str = "given") -> dict[str, str]:
    """What came of each condition of the definition f."""
    program = load_text(text, "case.vibee")
    assert not program.errors, program.errors[0]
    found = next(v for v in verify_program(program) if v.definition.name == "f").verdicts
    return {v.text.partition(" at the call of ")[0].partition(" in ")[0]: v.outcome for v in found
            if v.kind == kind and "can hold" not in v.text}  # fmt: skip


def formula(head: str, *lines: str) -> str:
    return CALLEES + f"\ndef f({head}:\n" + "".join(f"    {line}\n" for line in lines)


@pytest.mark.parametrize(
    ("head", "lines", "asked", "outcome"),
    [
        # what is added to has two values: of before and of after
        ("x: i64[N], p: i64[N]) -> (y(i64[N]), t(i64[N]))",
         ["given(0 <= x[n] < 9, 0 <= p[n] < N)", "t[n] = x[n] * 1", "u[n] = t[n] + 1", "t[p[n]] += 20",
          "y = rising(t, u)"], "t[i] < u[i]", UNPROVED),
        ("x: i64[N], p: i64[N]) -> (y(i64[N]), t(i64[N]))",
         ["given(0 <= p[n] < N)", "t[n] = x[n] % 5", "y = low(t)", "t[p[n]] += 200"], "t[i] < 5", UNPROVED),
        ("x: i64[N], p: i64[N]) -> (y(i64[N]), t(i64[N]))",
         ["given(0 <= p[n] < N)", "t[n] = x[n] % 5", "u[n] = t[n] * 1", "t[p[n]] += 200", "y = low(u)"],
         "u[i] < 5", UNPROVED),
        ("x: i64[N], p: i64[N]) -> (y(i64[N]), t(i64[N]))",
         ["given(0 <= p[n] < N, 0 <= x[n] < 5)", "t[p[n]] += 200", "u[n] = where(t[n] < 5, t[n], 4)", "y = low(u)"],
         "u[i] < 5", PROVED),
        ("x: i64[N], p: i64[N]) -> (y(i64[N]), t(i64[N]))",
         ["given(0 <= p[n] < N)", "t[n] = x[n] * 0", "t[p[n]] += 200", "u[n] = t[n] + 1", "y = low(u)"],
         "u[i] < 5", REFUTED),
        # a running value is none of its elements
        ("x: i64[N]) -> y(i64)", ["given(N >= 1, x[N - 1] < 5)", "t[n] = cummax[n](x[n])", "y = last(t)"],
         "t[N - 1] < 5", UNPROVED),
        ("x: i64[N]) -> y(i64[N])", ["given(x[n] < 5)", "t[n] = cummax[n](x[n])", "y = low(t)"],
         "t[i] < 5", PROVED),
        ("x: f64[N]) -> y[N]", ["given(x[n] >= 0.0)", "t[n] = cumsum[n](x[n])", "y = root(t)"],
         "t[i] >= 0.0", UNPROVED),
        ("x: i64[N]) -> y(i64[N])", ["given(x[n] < 9)", "t[n] = cummin[n](min(x[n], 4))", "y = low(t)"],
         "t[i] < 5", PROVED),
        # integers wrap around
        ("x: i64[N]) -> y(i64[N])", ["given(x[n] >= 0)", "t[n] = x[n] + 1", "y = above(t)"], "t[i] > 0", UNPROVED),
        ("x: i64[N], k: i64) -> y(i64[N])", ["given(0 <= x[n] < k)", "t[n] = x[n] + 1", "y = above(t)"],
         "t[i] > 0", PROVED),
        ("x: i32[N]) -> y(i64[N])", ["given(x[n] >= 0)", "t[n] = i64(x[n]) + 1", "y = above(t)"],
         "t[i] > 0", PROVED),
        ("x: i64[N]) -> y(i64[N])", ["t[n] = where(x[n] < 0, 0 - x[n], x[n])", "y = natural(t)"],
         "t[i] >= 0", UNPROVED),
        ("x: i64[N]) -> y(i64[N])", ["t[n] = where(x[n] < 0, -(x[n] + 1), x[n])", "y = natural(t)"],
         "t[i] >= 0", PROVED),
        ("x: i64[N], M: size) -> y(i64[N])", ["given(M >= 1)", "t[n] = max(min(x[n], M - 1), 0)", "y = natural(t)"],
         "t[i] >= 0", PROVED),
        ("x: i64[N]) -> y(i64[N])", ["t[n] = 8 * x[n] * x[n] - 3", "y = odd(t)"], "t[i] % 8 == 5", PROVED),
        ("x: i64[N]) -> y(i64[N])", ["t[n] = where(x[n] > 7, 5 - 16 * x[n], 13)", "y = odd(t)"],
         "t[i] % 8 == 5", UNPROVED),
        ("x: i64[N]) -> (y(i64[N]), z(i64[N]))", ["t = N * N + 1", "y[n] = x[n] + t", "z = many(x, t)"],
         "t > 0", PROVED),  # no array has so many elements: tested on entry
        ("x: i64[N], k: i64) -> y(i64[N])",
         ["given(k >= 0, k + 1 < 5)", "t[n] = where(x[n] > 0, 5 - k, 1)", "y = above(t)"], "t[i] > 0", UNPROVED),
        ("x: i64[N], k: i64) -> y(i64[N])",
         ["given(k >= 0, k < 4)", "t[n] = where(x[n] > 0, 5 - k, 1)", "y = above(t)"], "t[i] > 0", PROVED),
        # a nan satisfies no comparison but `!=`
        ("x: f64[N]) -> y[N]", ["t[n] = x[n] * x[n]", "y = apart(t, 0)"],
         "t[i] >= 0.0 or t[i] < -5.0 or 0 > 0", UNPROVED),
        ("x: f64[N]) -> y[N]", ["t[n] = x[n] * x[n]", "y = apart(t, 1)"],
         "t[i] >= 0.0 or t[i] < -5.0 or 1 > 0", PROVED),
        ("x: f64[N]) -> y[N]", ["t[n] = where(x[n] * x[n] >= 0.0, 1.0, -1.0)", "y = root(t)"],
         "t[i] >= 0.0", UNPROVED),
        ("x: f64[N]) -> y[N]", ["t[n] = where(x[n] * x[n] != -1.0, 1.0, -1.0)", "y = root(t)"],
         "t[i] >= 0.0", PROVED),
        ("x: f64[N]) -> y[N]", ["given(x[n] >= 0.0)", "t[n] = where(x[n] + 1.0 > 0.0, 1.0, -1.0)", "y = root(t)"],
         "t[i] >= 0.0", PROVED),
        ("x: f64[N]) -> y[N]", ["t[n] = where(x[n] * x[n] >= 0.0, 1.0, 1.0)", "y = same(t)"],
         "not t[i] != 1.0", PROVED),
    ],
)  # fmt: skip
def test_what_is_asked_of_inner_values(head: str, lines: list[str], asked: str, outcome: str) -> None:
    assert outcomes(formula(head, *lines)) == {asked: outcome}


def test_a_nan_is_other_than_any_number() -> None:
    """It is not less, either."""
    found = outcomes(formula("x: f64[N]) -> y[N]", "t[n] = x[n] * x[n]", "y = other(t)"))
    assert found == {"t[i] != -1.0": PROVED, "not t[i_1] < -2.0": PROVED}


@pytest.mark.parametrize(
    ("lines", "outcome"),
    [
        (["t[n] = x[n] * 1.0", "m = max[n](t[n])", "t[p[n]] += -1e9"], UNPROVED),
        (["t[n] = x[n] * 1.0", "t[p[n]] += -1e9", "m = max[n](t[n])"], PROVED),
    ],
)
def test_the_largest_of_what_is_added_to(lines: list[str], outcome: str) -> None:
    text = formula("x: f64[N], p: i64[N]) -> (y, t[N])", "given(0 <= p[n] < N, N >= 1)", *lines,
                   "y = 1.0 / sum[n](exp(t[n] - m))", "then(y >= 0.0)")  # fmt: skip
    assert list(outcomes(text, "domain").values()) == [outcome]


def test_a_choice_of_a_root() -> None:
    """A nan chooses the second side."""
    text = "x: f64[N]) -> y[N]", "t[n:N] = where({} >= 0.0, 1.0, -1.0)", "y[n] = sqrt(t[n])", "then(y[n] >= 0.0)"
    wrong, right = (formula(*(line.format(c) for line in text)) for c in ("x[n] * x[n]", "f64(N)"))
    assert outcomes(wrong, "domain") == {"t[n] >= 0.0": UNPROVED}
    assert outcomes(right, "domain") == {"t[n] >= 0.0": PROVED}


PROCEDURES = '''
def half(k: i64) -> r:
    """a function of numbers"""
    given(k + 1 > 0)
    r = k // 2

@procedure
def follower(x: i64[N], k: i64) -> r(i64):
    """a number"""
    given(k + 1 > 0)
    r = N

@procedure
def followers(x: i64[N]) -> r(i64):
    """elements"""
    given(x[i] + 1 > 0)
    r = N

@procedure
def f(x: i64[N], k: i64) -> r(i64):
    """the caller"""
    given(GIVEN)
    r = CALL
'''


@pytest.mark.parametrize(("call", "asked"), [("half(k)", "k + 1 > 0"), ("follower(x, k)", "k + 1 > 0"),
                                             ("followers(x)", "x[i] + 1 > 0")])  # fmt: skip
def test_what_is_asked_at_calls_may_wrap_around(call: str, asked: str) -> None:
    for given, outcome in (("k >= 0, x[i] >= 0", UNPROVED), ("0 <= k < 100, 0 <= x[i] < N", PROVED)):
        assert outcomes(PROCEDURES.replace("GIVEN", given).replace("CALL", call)) == {asked: outcome}


def test_a_running_value_runs_along_an_index() -> None:
    e = Expr("scan", (var("n"),), ("max", "n"), "i64")
    assert substitute(e, {"n": var("m")}) == Expr("scan", (var("m"),), ("max", "m"), "i64")
    with pytest.raises(AssertionError, match=r"cummax\[n\]\(n\) at 3"):
        substitute(e, {"n": const(3, "i64")})


def test_operations_that_may_pass_63_bits_are_marked() -> None:
    d = load_text("def f(x: i64[N], k: i64, b: i32) -> y(i64[N]):\n    given(k < 9)\n    y[n] = x[n]").by_key("f")
    facts = known_of(d, None)
    k, n, one = var("k"), var("N"), const(1, "i64")
    for op, args, marked in (("add", (k, one), "add"), ("sub", (k, one), "sub?"), ("sub", (n, one), "sub"),
                             ("mul", (n, n), "mul?"), ("neg", (n,), "neg"), ("neg", (k,), "neg?")):  # fmt: skip
        assert exact(Expr(op, args, None, "i64"), facts).op == marked
    assert exact(Expr("add", (var("b", "i32"), const(1, "i32")), None, "i32"), facts).op == "add"  # it wraps by itself


def test_what_is_known_holds_of_nan_too() -> None:
    program = load_text("def f(x: f64[N]) -> y[N]:\n    y[n] = x[n]")
    ranges = Ranges(program.by_key("f"), program.by_key)
    c = Expr("gt", (Expr("load", (var("n"),), "x", "f64"), const(0.0, "f64")), None, "bool")
    assert not ranges.sure(c) and ranges.sure(c, (c,))
