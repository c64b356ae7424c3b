"""Every expression op as emitted, against Python and numpy on edge values."""

import math

import numpy as np
import pytest

from vibee.build import build, load_extension
from vibee.check.fold import typed
from vibee.emit import emit_module
from vibee.tree.defs import Assign, Param, Procedure
from vibee.tree.expr import Expr, const, var
from vibee.tree.types import DTYPES

NUMPY = {
    "f32": "f4",
    "f64": "f8",
    "i32": "i4",
    "i64": "i8",
    "u32": "u4",
    "u64": "u8",
    "i8": "i1",
    "u8": "u1",
    "bool": "?",
}
INTS = ["i32", "i64", "u32", "u64"]
FLOATS = ["f32", "f64"]
BINARY = {
    **dict.fromkeys(("add", "sub", "mul", "min", "max", "lt", "le", "gt", "ge", "eq", "ne"), INTS + FLOATS),
    **dict.fromkeys(("floordiv", "mod", "bitand", "bitor", "xor", "shl", "shr"), INTS),
    "div": FLOATS, "pow": [*INTS, *FLOATS], "and": ["bool"], "or": ["bool"],
}  # fmt: skip
UNARY = {
    "neg": ["i32", "i64", *FLOATS], "abs": ["i32", "i64", *FLOATS], "invert": INTS, "sqrt": FLOATS, "floor": FLOATS,
    "rint": FLOATS, "not": ["bool"],
}  # fmt: skip
TYPES = ["f32", "f64", "i32", "i64", "u32", "u64", "i8", "u8", "bool"]
CASTS = [(a, b) for a in TYPES for b in TYPES if a in ("f64", "i32") or b in ("f32", "i64", "u8")]
BF16 = [1.0, 1.00390625, 1.01171875, -0.1, 3.4e38, 1e300, -1e300, math.inf, -math.inf, math.nan, 1e-40]
COMPARE = ("lt", "le", "gt", "ge", "eq", "ne")


def values(dtype):
    d = DTYPES[dtype]
    if d.kind == "b":
        return [False, True]
    if d.kind == "f":
        big = 3e38 if dtype == "f32" else 1e308
        return [0.0, -0.0, 1.0, -1.5, 2.5, 0.5, -7.25, 1e-30, big, math.inf, -math.inf, math.nan]
    if d.kind == "u":
        return [0, 1, 2, 3, 7, 31, 2 ** (d.bits - 1), 2**d.bits - 1]
    return [0, 1, -1, 2, -2, 3, 7, -7, 13, 31, 2 ** (d.bits - 1) - 1, -(2 ** (d.bits - 1))]


def wrap(x, dtype):
    bits, kind = DTYPES[dtype].bits, DTYPES[dtype].kind
    x &= (1 << bits) - 1
    return x - (1 << bits) if kind == "i" and x >> (bits - 1) else x


def scalar(name, dtypes, out, e):
    params = [Param(n, "scalar", t) for n, t in zip("abc", dtypes, strict=False)]
    return Procedure(name, name, params, [Param("r", "out", out)], {}, body=[Assign("r", e)])


def procedures():
    for op, dtypes in BINARY.items():
        for t in dtypes:
            out = "bool" if op in (*COMPARE, "and", "or") else t
            yield scalar(f"{op}_{t}", [t, t], out, Expr(op, (var("a", t), var("b", t)), None, out))
    for op, dtypes in UNARY.items():
        for t in dtypes:
            yield scalar(f"{op}_{t}", [t], t, Expr(op, (var("a", t),), None, t))
    for t in ("f32", "f64", "i32", "i64"):
        e = Expr("where", (var("c", "bool"), var("a", t), var("b", t)), None, t)
        yield scalar(f"where_{t}", [t, t, "bool"], t, e)
    for a, b in CASTS:
        yield scalar(f"cast_{a}_{b}", [a], b, Expr("cast", (var("a", a),), b, b))
    for a, b in (("f32", "i32"), ("i32", "f32"), ("f32", "u32"), ("u32", "f32"), ("f64", "i64"), ("u64", "f64")):
        yield scalar(f"bits_{a}_{b}", [a], b, Expr("bitcast", (var("a", a),), b, b))
    down = Expr("cast", (var("a", "f32"),), "bf16", "bf16")
    yield scalar("round_bf16", ["f32"], "f32", Expr("cast", (down,), "f32", "f32"))
    for k, v in enumerate(BF16):
        yield scalar(f"bf16_{k}", [], "f32", Expr("cast", (const(v, "bf16"),), "f32", "f32"))
    for t in ("f32", "i32"):
        yield scalar(f"keep_{t}", [t], t, Expr("bitcast", (var("a", t),), t, t))
    yield scalar("literal_f64", [], "f64", Expr("cast", (const(2**53 + 1, "i64"),), "f64", "f64"))
    for dtype in ("f32", "bf16"):
        for to in ("f64", "i64"):
            wide = Expr("cast", (typed(const(257.0000001, "float"), dtype),), to, to)
            yield scalar(f"literal_{dtype}_{to}", [], to, wide)
    yield scalar("literal_single", [], "f32", typed(const(0.1, "float"), "f32"))
    yield scalar("literal_i32", [], "i32", Expr("cast", (const(-2.75, "f64"),), "i32", "i32"))
    for t in ("f32", "f64", "i32", "i64", "u32", "u64"):
        e = const(0, t)
        for k, v in enumerate(values(t)):
            e = Expr("where", (Expr("eq", (var("a", "i64"), const(k, "i64")), None, "bool"), const(v, t), e), None, t)
        yield scalar(f"const_{t}", ["i64"], t, e)


@pytest.fixture(scope="module")
def ops():
    text = emit_module(procedures())
    return load_extension(*build(text, "ops"))


def reference(op, dtype, a, b):
    with np.errstate(all="ignore"):
        if DTYPES[dtype].kind in "fb":
            t = np.dtype(NUMPY[dtype]).type
            x, y = t(a), t(b)
            table = {
                "add": lambda: x + y, "sub": lambda: x - y, "mul": lambda: x * y, "div": lambda: x / y,
                "min": lambda: y if y < x else x, "max": lambda: y if y > x else x, "pow": lambda: x**y,
                "and": lambda: x and y, "or": lambda: x or y,
            }  # fmt: skip
        else:
            x, y = a, b
            count = y % DTYPES[dtype].bits
            table = {
                "add": lambda: x + y, "sub": lambda: x - y, "mul": lambda: x * y, "min": lambda: min(x, y),
                "max": lambda: max(x, y), "floordiv": lambda: x // y, "mod": lambda: x % y,
                "bitand": lambda: x & y, "bitor": lambda: x | y, "xor": lambda: x ^ y, "shl": lambda: x << count,
                "shr": lambda: x >> count, "pow": lambda: pow(x, y, 2 ** DTYPES[dtype].bits) if y >= 0 else 1,
            }  # fmt: skip
    signs = {"lt": x < y, "le": x <= y, "gt": x > y, "ge": x >= y, "eq": x == y, "ne": x != y}
    if op in signs:
        return bool(signs[op])
    with np.errstate(all="ignore"):
        found = table[op]()
    return wrap(found, dtype) if dtype in INTS else found


def same(got, want, *, exact=True):
    if isinstance(want, (float, np.floating)):
        if math.isnan(want):
            return math.isnan(got)
        if not exact:
            return got == want or abs(got - want) <= 1e-6 * abs(want)
        return got == want and math.copysign(1, got) == math.copysign(1, float(want))
    return got == want


@pytest.mark.parametrize("op,dtype", [(op, t) for op, ts in BINARY.items() for t in ts])
def test_binary(ops, op, dtype):
    f = getattr(ops, f"{op}_{dtype}")
    for a in values(dtype):
        for b in values(dtype):
            if op in ("floordiv", "mod") and b == 0:
                with pytest.raises(ValueError, match="a division by zero"):
                    f(a, b)
                continue
            want = reference(op, dtype, a, b)
            assert same(f(a, b), want, exact=op != "pow"), (a, b, f(a, b), want)


@pytest.mark.parametrize("op,dtype", [(op, t) for op, ts in UNARY.items() for t in ts])
def test_unary(ops, op, dtype):
    f = getattr(ops, f"{op}_{dtype}")
    table = {"neg": lambda x: -x, "abs": abs, "invert": lambda x: ~x, "not": lambda x: not x}
    table |= {"sqrt": np.sqrt, "floor": np.floor, "rint": np.rint}
    for a in values(dtype):
        with np.errstate(all="ignore"):
            want = table[op](np.dtype(NUMPY[dtype]).type(a) if dtype in FLOATS else a)
        assert same(f(a), wrap(want, dtype) if dtype in INTS else want), a


def test_where(ops):
    for t in ("f32", "f64", "i32", "i64"):
        f = getattr(ops, f"where_{t}")
        assert (f(3, 4, True), f(3, 4, False)) == (3, 4)


def test_casts(ops):
    for a, b in CASTS:
        f = getattr(ops, f"cast_{a}_{b}")
        for v in values(a):
            if a in FLOATS and b not in (*FLOATS, "bool") and not (math.isfinite(v) and -128 < v < 128):
                continue  # what a number that does not fit becomes is left open
            if a in FLOATS and b in ("u32", "u64", "u8") and v < 0:
                continue
            with np.errstate(all="ignore"):
                if b == "bool":
                    want = v != 0
                else:
                    want = np.dtype(NUMPY[b]).type(np.dtype(NUMPY[a]).type(v)) if b in FLOATS else wrap(int(v), b)
            assert same(f(v), want), (a, b, v, f(v), want)


def test_bits(ops):
    assert ops.bits_f32_i32(-0.0) == -(2**31)
    assert ops.bits_i32_f32(0x3F800000) == 1.0
    assert ops.bits_f32_u32(1.0) == 0x3F800000
    assert ops.bits_u32_f32(0x7F800000) == math.inf
    assert ops.bits_f64_i64(1.0) == 0x3FF0000000000000
    assert math.isnan(ops.bits_u64_f64(0x7FF8000000000001))


def test_bfloat16(ops):
    f = ops.round_bf16
    assert f(1.0) == 1.0 and f(-math.inf) == -math.inf and math.isnan(f(math.nan))
    assert f(1.00390625) == 1.0  # half way: to even
    assert f(1.01171875) == 1.015625  # half way: to even, upwards
    assert f(3.4e38) == math.inf


@pytest.mark.parametrize("k,value", list(enumerate(BF16)))
def test_constants_of_16_bits_are_rounded_as_numbers_are(ops, k, value):
    with np.errstate(over="ignore"):
        assert same(getattr(ops, f"bf16_{k}")(), ops.round_bf16(float(np.float32(value))))


def test_conversions_of_constants(ops):
    assert ops.literal_f64() == 2.0**53
    assert ops.literal_i32() == -2
    assert ops.keep_f32(-0.0).hex() == "-0x0.0p+0" and ops.keep_i32(-7) == -7
    assert ops.literal_f32_f64() == ops.literal_f32_i64() == 257
    assert ops.literal_bf16_f64() == ops.literal_bf16_i64() == 256  # half way: to even
    assert ops.literal_single() == np.float32(0.1)


def test_constants_are_emitted_as_they_were_written():
    half = Expr("cast", (typed(const(0.1, "float"), "f32"),), "f64", "f64")
    text = emit_module([scalar("f", [], "f32", typed(const(0.1, "float"), "f32")), scalar("g", [], "f64", half)])
    assert "    r = <float>0.1\n" in text and "    r = 0.10000000149011612\n" in text


@pytest.mark.parametrize("dtype", ["f32", "f64", "i32", "i64", "u32", "u64"])
def test_constants(ops, dtype):
    for k, v in enumerate(values(dtype)):
        assert same(getattr(ops, f"const_{dtype}")(k), np.dtype(NUMPY[dtype]).type(v).item())


def test_map_is_the_same_for_any_number_of_threads(ops):
    x = np.linspace(-3, 3, 20001, dtype="f4")
    for threads in (1, 2, 5):
        y = np.zeros_like(x)
        ops.floor_f32_map(x, y, threads)
        assert (y == np.floor(x)).all()
    with pytest.raises(ValueError, match="r has another length than a"):
        ops.floor_f32_map(x, x[:5].copy(), 1)
