"""Rules for numbers: what the generated code computes lies in the intervals and bounds that the prover says."""

import math
import random
from fractions import Fraction

import numpy as np
import pytest

from vibee.check import load_text
from vibee.prove import intervals, magnitude
from vibee.prove.intervals import ANY, Interval, compared, converted, folded, literal, nearest, of_type
from vibee.prove.magnitude import Bounds
from vibee.prove.numbers import Unknown, evaluated
from vibee.prove.values import BINARY, FIT, UNARY, bitcast, cast, limits, shift
from vibee.tree.expr import const

ODD = [-math.inf, -1e300, -2.5, -1.0, -1e-42, 0.0, 1e-30, 0.5, 1.0, 3.0, 2.0**120, math.inf, math.nan]


def results(op: str, dtype: str, args: list) -> list:
    """What the generated code gives; nothing where it stops with an error, or gives 0 and notes one."""
    if op == "shr":
        return [FIT[dtype](shift(op, *args, dtype))]
    if op in ("floordiv", "mod") and args[1] == 0:
        return [0]
    return [FIT[dtype]({**BINARY, **UNARY}[op](*args))]


def test_what_no_float_holds_is_infinite() -> None:
    assert [FIT["f32"](x) for x in (1e39, -1e39, 3.4e38)] == [math.inf, -math.inf, float(np.float32(3.4e38))]


@pytest.mark.parametrize("op", [*intervals.BINARY, *intervals.UNARY])
@pytest.mark.parametrize("dtype", ["i64", "i32", "u32", "f32", "f64", "bf16"])
def test_every_result_lies_in_its_interval_or_is_nan(op: str, dtype: str) -> None:
    whole = dtype[0] in "iu"
    if whole == (op in ("div", "sqrt", "floor", "rint")) or (not whole and op in ("bitand", "shr", "floordiv", "mod")):
        return
    rule = {**intervals.BINARY, **intervals.UNARY}[op]
    ends = [*limits(dtype), -3, -1, 0, 1, 2, 5, 1000] if whole else [FIT[dtype](x) for x in ODD if x == x]
    ends = [x for x in ends if not whole or limits(dtype)[0] <= x <= limits(dtype)[1]]
    rng = random.Random(0)
    for _ in range(400):
        args, values = [], []
        for _ in range(2 if op in intervals.BINARY else 1):
            low, high = sorted((rng.choice(ends), rng.choice(ends)))
            inside = [x for x in ends if low <= x <= high] + ([] if whole else [math.nan])
            args.append(Interval(low, high, not whole))
            values.append(rng.choice(inside))
        found = rule(*args, dtype)
        if whole:  # as Ranges.of does
            found = found.meet(of_type(dtype))
        for x in results(op, dtype, values):
            assert x != x or found.low <= x <= found.high, (op, dtype, args, values, x, found)


def test_numbers_beyond_a_type_are_infinite_bounds() -> None:
    assert nearest(Fraction(10**400), True, "f64") == math.inf
    assert nearest(Fraction(-(10**400)), False, "f32") == -math.inf
    assert nearest(1e-50, True, "bf16") == math.inf
    assert nearest(-1.5, True, "bf16") == 0.0
    assert nearest(1.5, False, "bf16") == 0.0


@pytest.mark.parametrize("op", intervals.UNARY)
def test_a_product_that_no_float_holds_has_bounds_that_can_be_taken_on(op: str) -> None:
    far = Interval(1e200, math.inf, False)
    for other in (far, Interval(-math.inf, -1e200, False)):
        product = intervals.BINARY["mul"](far, other, "f64")
        found = intervals.UNARY[op](product, "f64")
        for x in results(op, "f64", [math.copysign(math.inf, other.low)]) if op != "sqrt" or other is far else []:
            assert found.low <= x <= found.high


def test_what_is_no_number_has_no_bounds() -> None:
    assert literal(const(math.nan, "f32")) == ANY
    assert literal(const("text", "f32")) == ANY  # type: ignore[arg-type]


def test_comparisons_say_what_they_mean() -> None:
    one = Interval(1.0, 2.0)
    assert compared("eq", one, "f32") == Interval(1.0, 2.0, False)
    assert compared("ne", one, "f32") == ANY
    assert compared("lt", Interval(0.0, 0.0), "f32").high < 0
    assert compared("gt", Interval(3, 3), "i32").low == 4


def test_conversions_keep_what_fits() -> None:
    assert converted(Interval(0, 300, False), "i32", "u8") == of_type("u8")
    assert converted(Interval(0, 200, False), "i32", "u8") == Interval(0, 200, False)
    assert converted(Interval(0.5, 0.75), "f32", "i32") == of_type("i32")
    assert converted(Interval(0, 1, False), "bool", "i32") == of_type("i32")


@pytest.mark.parametrize("dtype", ["i32", "f64"])
@pytest.mark.parametrize("op", ["sum", "prod", "max", "min", "any"])
def test_reductions_lie_in_their_interval(op: str, dtype: str) -> None:
    rng = random.Random(1)
    two = {"sum": "add", "prod": "mul", "any": "bitor"}.get(op, op)
    for _ in range(200):
        top = rng.choice((1, 5, 2**20))
        values = [FIT[dtype](rng.randint(rng.choice((-top, 0)), top)) for _ in range(rng.randint(1, 4))]
        if op == "any" and dtype == "f64":
            return
        total = values[0]
        for x in values[1:]:
            total = FIT[dtype](BINARY[two](total, x))
        found = folded(op, Interval(min(values), max(values), False), True, dtype)
        assert found.low <= total <= found.high


# ---------------------------------------------------------------- bounds of i64 by sums of products


def side(p: dict | None) -> float:
    return math.inf if p is None else p.get((), 0)


@pytest.mark.parametrize("op", [*magnitude.RULES, "shl", "shr"])
def test_every_result_lies_in_its_bounds(op: str) -> None:
    rng = random.Random(2)
    for _ in range(500):
        ranges = [sorted((rng.choice((-9, -2, 0, 0, 1, 5)), rng.choice((-1, 0, 3, 12)))) for _ in range(2)]
        if op in ("neg", "abs"):
            ranges = ranges[:1]
        known = [Bounds(magnitude.one(max(0, -a)), magnitude.one(max(0, b))) for a, b in ranges]
        args = [rng.randint(a, b) for a, b in ranges]
        if op in ("shl", "shr"):
            found = magnitude.shift(op, *known)
            x = FIT["i64"](shift(op, *args, "i64"))
        else:
            found = magnitude.RULES[op](*known)
            (x,) = results(op, "i64", args)
        assert -side(found.low) <= x <= side(found.high), (op, ranges, args, x, found)


def test_what_may_be_negative_or_far_has_no_bounds_as_bits() -> None:
    some, natural, any_ = Bounds({(): 1}, {(): 5}), Bounds({}, {("N",): 1}), magnitude.UNKNOWN
    assert magnitude.RULES["bitor"](some, natural) == magnitude.UNKNOWN
    assert magnitude.RULES["bitand"](some, some) == magnitude.UNKNOWN
    assert magnitude.RULES["bitand"](any_, natural) == natural
    assert magnitude.shift("shl", natural, natural) == magnitude.UNKNOWN
    assert magnitude.shift("shl", natural, Bounds({}, {(): 62})) == magnitude.UNKNOWN


# ---------------------------------------------------------------- numbers as the generated code computes them


def test_casts_and_bits_are_numpys() -> None:
    for x in (0.0, -0.0, 1.5, -3.75, 65504.0, 1e-40):
        assert bitcast(x, "f32", "i32") == np.float32(x).view("i4")
        assert cast(x, "f32", "i32") == int(x)
        assert cast(x, "f32", "bool") is (x != 0)
    assert math.isnan(bitcast(bitcast(math.nan, "bf16", "bf16"), "bf16", "bf16"))
    assert FIT["bf16"](1.00390625) == 1.0  # ties to even
    assert cast(math.nan, "f32", "i32") == limits("i32")[0]
    assert cast(300, "i32", "u8") == 44


FUNCTIONS = """
def choice(x: f64, y: f64) -> z(f64):
    z = where(x > 0 and y > 0 or x < -5, x / y, -sqrt(x))

def bits(n: i64, k: i64) -> z(i64):
    z = (n << k) + (n >> 1) + i64(bitcast(u32, f32(k)) & 1) + n // 3 % 5

def twice(x: f64) -> z(f64):
    z = choice(x, 2.0) + choice(2.0, x)

def sums(n: i64) -> z(i64):
    z = sum[i:3](n)

def divides(n: i64, k: i64) -> z(i64):
    z = n // k

def whole(x: f64[N]) -> z:
    z = sum[i](x[i])

@procedure
def loop(n: i64) -> z(i64):
    for i in range(n):
        z += i
"""


def test_functions_of_numbers_are_evaluated_as_they_are_written() -> None:
    program = load_text(FUNCTIONS, "case.vibee")
    assert not program.errors

    def value(name: str, *args: float) -> object:
        return evaluated(program.defs[name][0], args, program.by_key)

    assert value("choice", 6.0, 3.0) == 2.0
    assert value("choice", 0.0, 3.0) == 0.0
    assert value("choice", -8.0, 2.0) == -4.0
    assert value("choice", 4.0, -1.0) == -2.0
    assert value("bits", 5, 1) == (5 << 1) + 2 + 0 + 1
    assert value("twice", 6.0) == 3.0 + 1 / 3
    for name, args in {"divides": (1, 0), "whole": (1.0,), "loop": (3,), "sums": (3,), "choice": (1.0,)}.items():
        with pytest.raises(Unknown):
            value(name, *args)
