"""What is given of a formula holds where another formula calls it: told of parameters, else proved or refuted."""

from __future__ import annotations

import numpy as np
import pytest

import vibee
from vibee.check.program import load_text
from vibee.prove.verify import PROVED, REFUTED, UNPROVED, verify_program

CALLEES = '''
def pos(x: f64[N]) -> y:
    """every element"""
    given(x[i] > 0)
    y = sum[i](x[i])

def even(x: f64[N], k: i64) -> y:
    """a number"""
    given(k % 2 == 0)
    y = x[0] * f64(k) if N > 0 else 0.0

def rows(x: i64[N], V: size) -> y(i64):
    """elements and a size"""
    given(0 <= x[i] < V)
    y = sum[i](x[i])

def first(x: f64[N], n: i64) -> y:
    """one element, that a parameter says"""
    given(0 <= n < N, x[n] > 0)
    y = x[n]

def whole(x: f64[N]) -> y:
    """a sum"""
    given(sum[i](x[i]) > 0)
    y = sum[i](x[i])

def below(x: f64[N], w: f64[N], v: f64[M]) -> y:
    """two arrays of one length, and pairs of elements"""
    given(x[i] < w[i], w[i] < v[j])
    y = sum[i](x[i])

def three(n: i64, x: f64[N]) -> y:
    """a sum over a range"""
    given(sum[q:n](q) == 3)
    y = x[0] * f64(n) if N > 0 else 0.0
'''


@pytest.mark.parametrize(
    ("head", "lines", "asked", "outcome"),
    [
        ("x: f64[N]", ["t[i] = x[i] - 5.0", "y = pos(t)"], "t[i_1] > 0.0", REFUTED),
        ("x: f64[N]", ["t[i] = where(x[i] > 0.0, x[i], 0.5)", "y = pos(t)"], "t[i_1] > 0.0", PROVED),
        ("x: f64[N]", ["t[i] = abs(x[i]) + 1.0", "y = pos(t)"], "t[i_1] > 0.0", UNPROVED),  # x may be nan
        ("x: f64[N]", ["t[i:N] = 1.0", "t[i] += x[i]", "y = pos(t)"], "t[i_1] > 0.0", UNPROVED),
        ("x: f64[N], n: i64", ["t = n * 2", "y = even(x, t)"], "t % 2 == 0", PROVED),
        ("x: f64[N], n: i64", ["t = n * n * 2 + 2", "y = even(x, t)"], "t % 2 == 0", PROVED),
        ("x: f64[N], at: i64[M]", ["given(M >= 1)", "t = at[0] + 1", "y = even(x, t)"], "t % 2 == 0", REFUTED),
        ("x: f64[N], at: i64[M]", ["t = sum[m](at[m])", "y = even(x, t)"], "t % 2 == 0", REFUTED),
        ("x: i64[N], V: size", ["given(0 <= x[i] < V)", "t[i] = V - 1 - x[i]", "y = f64(rows(t, V))"],
         "0 <= t[i_1] and t[i_1] < V", PROVED),
        ("x: i64[N], V: size", ["given(0 <= x[i] < V)", "t[i] = V - x[i]", "y = f64(rows(t, V))"],
         "0 <= t[i_1] and t[i_1] < V", REFUTED),
    ],
)  # fmt: skip
def test_conditions_on_inner_values(head: str, lines: list[str], asked: str, outcome: str) -> None:
    text = CALLEES + f"\ndef f({head}) -> y:\n" + "".join(f"    {line}\n" for line in lines)
    program = load_text(text, "case.vibee")
    assert not program.errors, program.errors[0]
    found = next(v for v in verify_program(program) if v.definition.key == "f").verdicts
    told = {v.text.partition(" at the call of ")[0]: v for v in found if v.kind == "given" and " at the call" in v.text}
    assert {t: v.outcome for t, v in told.items()} == {asked: outcome}
    assert told[asked].span.line == text.count("\n")  # of the call
    assert (f"given {asked} of " in str(told[asked].counterexample)) is (outcome == REFUTED)


CALLERS = '''
def tail(x: f64[N]) -> y:
    """a part that does not begin at 0"""
    given(N >= 1)
    y = pos(x[1:])

def head(x: f64[N]) -> y:
    """one that ends early"""
    given(N >= 1)
    y = pos(x[:1])

def viewed(x: f64[2, 3]) -> y:
    """another shape: one element"""
    y = first(view(x, 6), 1)

def summed(x: f64[2, 3]) -> y:
    """another shape: a sum"""
    y = whole(view(x, 6))

def every(x: f64[2, 3]) -> y:
    """another shape: every element"""
    y = pos(view(x, 6))

def pairs(x: f64[4], v: f64[M]) -> y:
    """two parts of one array, and another one"""
    y = below(x[:2], x[2:], v)

def counted(n: i64, x: f64[N]) -> y:
    """its own index in a sum"""
    y = three(n, x)
'''


@pytest.fixture(scope="module")
def k(kept, quickly):
    with quickly():
        return vibee.load(kept("demands.vibee", CALLEES + CALLERS))


X = np.array([[-1.0, 5, -2], [-1, 2, 1]])


@pytest.mark.parametrize(
    ("name", "arguments", "result"),
    [
        ("tail", ([-1.0, 1],), 1), ("tail", ([1.0, -1],), None), ("tail", ([-1.0],), 0),
        ("head", ([1.0, -1],), 1), ("head", ([-1.0, 1],), None),
        ("viewed", (X,), 5), ("viewed", (-X,), None),
        ("summed", (X,), 4), ("summed", (-X,), None),
        ("every", (X,), None), ("every", (abs(X),), 12),
        ("pairs", ([1.0, 2, 3, 4], [5.0]), 3), ("pairs", ([1.0, 2, 3, 4], [4.0]), None),
        ("pairs", ([1.0, 4, 3, 4], [5.0]), None), ("pairs", ([1.0, 2, 3, 4], []), 3),
        ("counted", (3, [2.0]), 6), ("counted", (4, [2.0]), None),
    ],
)  # fmt: skip
def test_conditions_on_parts_and_views_of_parameters(k, name: str, arguments: tuple, result: float | None) -> None:
    given = [np.array(a, float) if isinstance(a, (list, np.ndarray)) else a for a in arguments]
    if result is None:
        with pytest.raises(ValueError, match=f"^{name}: given .* does not hold"):
            getattr(k, name)(*given)
    else:
        assert getattr(k, name)(*given) == result
