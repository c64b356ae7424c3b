"""The bounds of single operations: whatever the operands are within their errors, the result is within its own."""

import itertools

import numpy as np
import pytest

from vibee.testing.numbers import Arithmetic, Num

A = Arithmetic()

WHOLE = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "floordiv": lambda a, b: a // b,
    "mod": lambda a, b: a % b,
    "shl": lambda a, b: a << b,
    "shr": lambda a, b: a >> b,
    "bitand": lambda a, b: a & b,
    "min": min,
    "max": max,
    "neg": lambda a: -a,
    "abs": abs,
    "invert": lambda a: ~a,
}
REAL = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "pow": np.power,
    "min": np.minimum,
    "max": np.maximum,
    "sqrt": np.sqrt,
    "floor": np.floor,
    "rint": np.rint,
    "abs": np.abs,
}
LOGIC = {"and": lambda a, b: a and b, "or": lambda a, b: a or b, "not": lambda a: not a}
UNARY = ("neg", "abs", "invert", "sqrt", "floor", "rint", "not")


def around(x, e, points=5):
    """Values within an error."""
    return np.linspace(x - e, x + e, points)


@pytest.mark.parametrize("op", WHOLE)
def test_whole_numbers_within_their_errors(op):
    rng = np.random.default_rng(3)
    for _ in range(200):
        values = [int(rng.integers(-40, 40)), int(rng.integers(1, 6))][: 1 if op in UNARY else 2]
        errors = [int(rng.integers(0, 4)), int(rng.integers(0, 2))][: len(values)]
        got = A.apply(op, "i64", [Num(np.int64(x), e) for x, e in zip(values, errors, strict=True)], "i64")
        assert got.v == WHOLE[op](*values)
        if not any(errors):
            assert got.e == 0
        ranges = [range(x - e, x + e + 1) for x, e in zip(values, errors, strict=True)]
        for moved in itertools.product(*ranges):
            if not (op in ("floordiv", "mod", "shl", "shr") and moved[1] <= 0):
                assert abs(WHOLE[op](*moved) - got.v) <= got.e


@pytest.mark.parametrize("op", ["floordiv", "shr"])
def test_what_rounds_down_is_certain_where_no_step_is_near(op):
    by = Num(np.int64(2 if op == "shr" else 4))
    assert A.apply(op, "i64", [Num(np.int64(6), 1), by], "i64").e == 0
    assert A.apply(op, "i64", [Num(np.int64(7), 1), by], "i64").e == 1


def test_shifts_count_modulo_the_width():
    assert A.apply("shl", "i32", [Num(np.int32(3)), Num(np.int32(33))], "i32").v == 6


@pytest.mark.parametrize("op", REAL)
def test_reals_within_their_errors(op):
    rng = np.random.default_rng(4)
    for _ in range(100):
        values = (rng.random(2) * 5 + 0.5)[: 1 if op in UNARY else 2]
        errors = rng.choice([0.0, 1e-3, 0.4], len(values))
        got = A.apply(op, "f32", [Num(x, e) for x, e in zip(values, errors, strict=True)], "f32")
        grid = np.meshgrid(*(around(x, e) for x, e in zip(values, errors, strict=True)))
        assert np.all(np.abs(REAL[op](*grid) - got.v) <= got.e + 1e-12)


def test_a_power_of_certain_operands_has_only_its_own_rounding():
    got = A.apply("pow", "f32", [Num(np.float64(3.0)), Num(np.float64(0.3))], "f32")
    assert 0 < got.e < 20 * 2.0**-24 * got.v


@pytest.mark.parametrize("op", LOGIC)
def test_conditions_within_their_doubts(op):
    count = 1 if op == "not" else 2
    for values in itertools.product((False, True), repeat=count):
        for doubts in itertools.product((False, True), repeat=count):
            got = A.apply(op, "bool", [Num(np.bool_(v), e) for v, e in zip(values, doubts, strict=True)], "bool")
            may = [(v, not v) if e else (v,) for v, e in zip(values, doubts, strict=True)]
            results = {LOGIC[op](*moved) for moved in itertools.product(*may)}
            assert bool(got.v) == LOGIC[op](*values) and bool(got.e) == (len(results) == 2)


@pytest.mark.parametrize("doubts", [*itertools.product((False, True), repeat=3)])
def test_a_choice_between_conditions(doubts):
    for values in itertools.product((False, True), repeat=3):
        c, a, b = (Num(np.bool_(v), e) for v, e in zip(values, doubts, strict=True))
        got = A.where(c, a, b, "bool")
        may = [(v, not v) if e else (v,) for v, e in zip(values, doubts, strict=True)]
        results = {y if x else z for x, y, z in itertools.product(*may)}
        assert bool(got.v) == (values[1] if values[0] else values[2])
        assert bool(got.e) or len(results) == 1


# ---------------------------------------------------------------- conversions


def test_a_conversion_to_the_same_type_changes_nothing():
    a = Num(np.float64(0.1), 0.5)
    assert A.cast(a, "f32", "f32") is a


def test_a_float_cut_to_an_integer():
    got = A.cast(Num(np.array([-2.7, 2.95, 300.0, np.nan]), np.array([0.1, 0.1, 0.0, 0.0])), "f32", "i8")
    assert got.v.tolist() == [-2, 2, 0, 0]
    assert got.e.tolist() == [0, 1, np.inf, np.inf]  # what does not fit is any number
    own = Arithmetic(track=False).cast(Num(np.float32(300)), "f32", "i8")
    assert own.v == 0 and own.e == 0


def test_an_integer_in_another_integer_type():
    assert A.cast(Num(np.int64(-1)), "i64", "u32").v == 2**32 - 1
    assert A.cast(Num(np.int64(5), 2), "i64", "i32").e == 2


@pytest.mark.parametrize("to", ["f32", "bf16"])
def test_a_narrower_float_is_exact_where_its_value_is_certain(to):
    x, e = np.array([1 / 3, 1 / 3], "g"), np.array([0.0, 1e-3])
    got = A.cast(Num(x, e), "f64", to)
    step = {"f32": 2.0**-25, "bf16": 2.0**-9}[to]
    assert got.e[0] == 0 and 0 < abs(got.v[0] - 1 / 3) <= step
    assert 1e-3 < got.e[1] <= 1e-3 + 2 * step
    assert A.cast(Num(x), "f64", to).e == 0


def test_without_bounds_every_operation_rounds_as_its_type_does():
    own = Arithmetic(track=False)
    third = own.apply("div", "f32", [Num(np.float32(1)), Num(np.float32(3))], "f32")
    assert third.v == np.float32(1) / np.float32(3) and third.v.dtype == np.float32 and third.e == 0
    assert own.cast(Num(np.float64(1 / 3)), "f64", "f32").v == np.float32(1 / 3)
    assert own.spread(np.exp, [Num(np.float32(1), 1.0)], np.float32(np.e)) == 0


# ---------------------------------------------------------------- bits


def test_bits_of_a_float_within_its_error():
    x, e = np.array([1.5, -3.0, 0.25, 0.0]), np.array([1e-4, 0.5, 0.0, 1.0])
    got = A.bitcast(Num(x, e), "f32", "i32")
    assert got.v.tolist() == x.astype("f4").view("i4").tolist()
    assert got.e[2] == 0 and got.e[3] == np.inf  # the sign is in doubt
    for k in (0, 1):
        near = around(x[k], e[k], 101).astype("f4").view("i4").astype(float)
        assert np.all(np.abs(near - got.v[k]) <= got.e[k]) and got.e[k] < 2 * np.max(np.abs(near - got.v[k]))
    assert A.bitcast(Num(x), "f32", "i32").e == 0


def test_the_float_of_bits_within_their_error():
    bits = np.array([1.5, 1.5, 2.0, 0.0], "f4").view("i4")
    e = np.array([0.0, 5.0, np.inf, 1.0])
    got = A.bitcast(Num(bits, e), "i32", "f32")
    assert got.v.tolist() == [1.5, 1.5, 2.0, 0.0] and got.e[0] == 0
    near = np.arange(bits[1] - 5, bits[1] + 6, dtype="i4").view("f4").astype(float)
    assert np.max(np.abs(near - 1.5)) == got.e[1]
    assert got.e[2:].tolist() == [np.inf, np.inf]
    assert A.bitcast(Num(bits), "i32", "f32").e == 0


def test_bits_of_an_integer_as_another_one():
    got = A.bitcast(Num(np.array([-1], "i4")), "i32", "u32")
    assert got.v[0] == 2**32 - 1 and got.e == 0
    assert A.bitcast(Num(np.array([-1], "i4"), 1), "i32", "u32").e == np.inf
