"""What lies between the proof and the code: proved loops that once read, wrote or computed something else."""

import re

import numpy as np
import pytest

import vibee
from vibee.check import load_text
from vibee.emit import emit_module
from vibee.emit.ops import folded
from vibee.lower.unit import Unit
from vibee.tree.expr import Expr, const

SPEC = """
@procedure
def hoisted(x: f32[N]) -> y(f32[N]):
    s: f64 = 0.0
    for i in range(2):
        s += f64(i)
    for i in parallel(N):
        row: f32[i + 1]
        for j in range(i + 1):
            row[j] = x[j] * 2.0
        y[i] = row[i]

@procedure
def ends(x: mut[i64[N]]):
    given(N >= 1, 0 <= x[i] <= N)
    for i in parallel(x[0], N):
        if i >= 0:
            x[i] = 1000000000

@procedure
def counted(x: mut[i64[N]]) -> s(i64):
    given(N >= 6)
    for i in parallel(max(x[5], 0), N):
        x[i] = 0
        s += 1

@procedure
def inner(x: f32[N], n: size) -> y(f32):
    given(n < N)
    y = x[n]

@procedure
def outer(x: f32[N], k: i64) -> y(f32):
    given(k < N)
    y = inner(x, k)

def pick(n: size) -> y(i64):
    t[i:10] = cumsum[i](i64(i) + 5)
    y = t[min(n, 9)]

@procedure
def picks(k: i64) -> y(i64):
    y = pick(k)

@procedure
def last(x: f32[N, C], p: mut[f32[K]]) -> y(f32):
    given(K >= 1, N < K)
    p[N] = 7.0
    y = 1.0

@procedure
def seen(x: f32[L], p: mut[f32[K]], a: i64, b: i64) -> y(f32):
    given(a * b == L, a < K, K >= 1)
    y = last(view(x, a, b), p)

def under(x: u32[N], at: i64[M], z: i64[K]) -> y(i64[M]):
    given(K >= 1, N >= 1)
    y[m] = z[min(i64(x[at[m] ^ at[m]] - u32(1)), K - 1)]

def wrapped(x: i32[N], at: i64[M]) -> y(i64[M]):
    given(N >= 1)
    y[m] = i64(x[at[m] ^ at[m]] + 2147483647)

def flags(x: bool[N], at: i64[M]) -> y(bool[M]):
    given(N >= 1)
    y[m] = x[at[m] ^ at[m]]

def shifted(n: i64) -> y(i64):
    y = 1 << n

def halved(n: i64) -> y(i64):
    y = -1 >> n

@procedure
def negative(x: f32[N], k: i64) -> y(f32[N]):
    row: f32[k]
    for i in range(N):
        y[i] = x[i]
        if i < k:
            y[i] += row[i]

@procedure
def three(x: f32[N], a: i64, b: i64, c: i64) -> y(f32[N]):
    given(a < N, b < N, N >= 1)
    t: f32[a, b, c]
    t[i, j, k] = x[i + 1] * x[j + 1]
    y[n] = x[n]

@procedure
def quotient(x: f32[N], k: i64) -> y(f32):
    for i in range(N):
        if k > 0:
            row: f32[N // k + 1]
            row[0] = x[i]
            y += row[0]

@procedure
def counts(y: mut[f32[N]], n: i64):
    c: i64 = 0
    for i in range(n):
        c = c + 1024
    if c < N:
        y[c] = 1.0

@procedure
def waits(y: mut[f32[N]], n: i64) -> s(i64):
    s = 0
    k: i64 = n
    while k > 0:
        s += 1
        k -= 1
    if s < N:
        y[s] = 1.0

@procedure
def apart(y: mut[f32[N]], a: i64, b: i64):
    given(a >= 0, b <= N)
    for i in parallel(a, b):
        j: i64 = 0
        while j < 3:
            y[i] = 1.0
            j += 1

@procedure
def blocks(y: mut[f32[(C // H) * H]], C: size, H: size):
    given(C % H == 0, C >= 1)
    y[C - 1] = 1.0

@procedure
def last_of(x: f32[K], K: size) -> y(f32):
    given(K >= 1)
    y = x[K - 1]

@procedure
def wrapping(x: f32[N], e: i64[2]) -> y(f32):
    given(e[k] >= 1)
    a = e[0]
    b = e[1]
    if 0 <= a * b // b <= N:
        y = last_of(x[0:a * b // b], a)

@procedure
def reversed(x: i64[N], y: mut[i64[N]]):
    for i in range(N):
        y[i] = x[N - 1 - i]

@procedure
def moved(x: mut[i64[K]], e: i64[2]):
    given(e[k] >= 1)
    n = e[0]
    b = e[1]
    if n <= K // 2:
        reversed(x[n * b // b:n * b // b + n], x[0:n])

@procedure
def exchange(a: mut[i64[N]], b: mut[i64[N]]):
    for i in range(N):
        t = a[i]
        a[i] = b[i]
        b[i] = t

@procedure
def rows(x: mut[i64[M, N]], k: i64):
    given(0 <= k, k + 1 < M)
    exchange(x[k], x[k + 1])

@procedure
def corner(x: f32[P, Q], Q: size) -> y(f32):
    given(P >= 1, Q >= 1)
    y = x[P - 1, Q - 1]

@procedure
def as_rows(x: f32[K], e: i64[1], M: size, N: size) -> y(f32):
    given(M == N, N >= 1)
    a = e[0]
    if a >= 1 and a * N <= K:
        y = corner(view(x[0:a * N], a, N), M)

def added(x: f64[N], S: size) -> y[N]:
    n = S + 1
    n += 2
    y[i] = x[i] * f64(n)

@procedure
def lengths(x: i64[A * 2199023255552 // 2199023255552], y: i64[A], a: mut[u8[N]]):
    given(A >= 1, x[i] >= 0, x[i] <= y[i])
    v = 5 - min(y[0], 5)
    if v < N:
        a[v] = u8(1)

@procedure
def named(x: f64[N, M]) -> (y(f64[N, M]), s(i64)):
    hi: i64 = 1
    hi_: i64 = 20
    for lo in range(N):
        for lo_ in range(M):
            y[lo, lo_] = x[lo, lo_] + 1.0
    é: i64 = 3
    u_e9: i64 = 400
    s = hi + hi_ + é + u_e9

def summed(lo: f64, lo_: f64, len: f64[len_]) -> y[len_]:
    y[i] = len[i] + lo * 10.0 + lo_ * 100.0

KEY = u64(0x9E3779B97F4A7C15)
UB = u32(4000000000)
MOST = i64(9223372036854775807)
ONE = i64(1)
BIG = i32(2000000000)
YES = True

@procedure
def constants(n: i64) -> (a(u64), b(u32), c(bool), d(i64), e(i64), f(i64), g(i64), h(bool)):
    a = u64(n) ^ (KEY * u64(3) >> u64(7))
    b = (UB + UB) >> u32(n)
    c = MOST + 1 < n
    d = (ONE + ONE) << n
    e = (~ONE) << n
    f = i64(BIG) << n
    g = i64(YES) << n
    h = n > i64(BIG) * 2 or n * 2 < MOST // ONE

@procedure
def fixed(n: size) -> y(f64):
    t: f64[8589934592, 2147483648]
    for i in range(4096):
        t[0, i] = 1.5
    y = t[0, 5]
"""


@pytest.fixture(scope="module")
def k(kept):
    return vibee.load(kept("after_the_proof.vibee", SPEC))


@pytest.mark.parametrize("threads", [1, 3])
def test_a_local_array_has_the_size_of_its_own_iteration(k, threads):
    x = np.arange(300, dtype="f")
    assert (k.hoisted(x, threads=threads) == 2 * x).all()


@pytest.mark.parametrize("threads", [1, 4])
def test_the_ends_of_a_parallel_range_are_those_of_the_beginning(k, threads):
    x = np.zeros(100_000, "i8")
    k.ends(x, threads=threads)
    assert (x == 1_000_000_000).all()
    assert k.counted(np.full(200, 3), threads=threads) == 197


def test_a_size_at_a_call_is_no_negative_number(k):
    x = np.arange(60, dtype="f")
    assert k.outer(x, 5) == 5.0
    assert k.picks(2) == 18
    with pytest.raises(ValueError, match="outer"):
        k.outer(x[50:], -50)
    with pytest.raises(ValueError, match="pick"):
        k.picks(-1)
    p = np.zeros(60, "f")
    with pytest.raises(ValueError, match="seen"):
        k.seen(np.ones(6, "f"), p[50:], -3, -2)
    assert not p.any()
    assert k.seen(np.ones(6, "f"), p[50:], 3, 2) == 1.0
    assert p[53] == 7.0


def test_elements_that_are_tested_keep_their_type(k):
    at = np.zeros(1, "i8")
    assert k.under(np.array([0], "u4"), at, np.arange(100)[50:60]).tolist() == [59]
    assert k.flags(np.array([True]), at).tolist() == [True]
    assert k.wrapped(np.array([1], "i4"), at).tolist() == [-(2**31)]


@pytest.mark.parametrize("n", [0, 5, 31, 32, 40, 62])
def test_a_number_is_shifted_in_its_own_type(k, n):
    assert k.shifted(n) == 1 << n
    assert k.halved(n) == -1


def test_arrays_of_negative_sizes_have_no_elements(k):
    assert k.negative(np.ones(3, "f"), -5).tolist() == [1, 1, 1]
    assert k.three(np.ones(4, "f"), -(10**8), -1, 1, threads=1).tolist() == [1] * 4
    assert k.three(np.ones(4, "f"), 2, 3, 1).tolist() == [1] * 4


def test_a_size_that_divides_is_not_computed_before_its_test(k):
    assert k.quotient(np.ones(3, "f"), 0) == 0.0
    assert k.quotient(np.ones(3, "f"), 2) == 3.0


def test_the_loops_are_made_anew():
    """`k` takes what an earlier run has compiled."""
    unit = Unit(load_text(SPEC, "case.vibee"), "v3")
    for name in re.findall(r"^def (\w+)", SPEC, re.MULTILINE):
        assert f"c_{name}(" in emit_module(unit.reach([unit.by_key(name)]))


def test_many_small_arrays_do_not_fill_the_stack():
    rows = "".join(f"    t{i}: f32[4096]\n    t{i}[0] = x\n" for i in range(20))
    unit = Unit(load_text(f"@procedure\ndef many(x: f32) -> y(f32):\n{rows}    y = t0[0]\n", "case.vibee"), "v3")
    text = emit_module([unit.procedure(unit.by_key("many"))])
    assert text.count("vb_alloc(4096") == 4 and "float[4096] t0, " in text


def test_steps_are_counted_one_by_one_or_refused(k):
    y = np.zeros(2000, "f")
    k.counts(y, 1)
    assert y.nonzero()[0].tolist() == [1024]
    with pytest.raises(ValueError, match="too large"):
        k.counts(y, 2**54 - 1)
    assert k.waits(y, 7) == 7 and y[7] == 1.0
    unit = Unit(load_text(SPEC, "case.vibee"), "v3")
    text = {name: emit_module([unit.procedure(unit.by_key(name))]) for name in ("counts", "waits", "apart")}
    assert "vb_step(" in text["waits"] and "vb_step(" not in text["counts"] and "vb_step(" not in text["apart"]


@pytest.mark.parametrize("threads", [1, 2])
def test_an_empty_range_is_no_long_one(k, threads):
    y = np.zeros(4, "f")
    k.apart(y, 10, -(2**63), threads=threads)
    assert not y.any()
    k.apart(y, 1, 3, threads=threads)
    assert y.tolist() == [0, 1, 1, 0]


def test_a_remainder_by_nothing_is_not_0(k):
    y = np.zeros(200, "f")
    with pytest.raises(ValueError, match="division by zero"):
        k.blocks(y[50:50], 100, 0)
    assert not y.any()
    y = np.zeros(6, "f")
    k.blocks(y, 6, 3)
    assert y[5] == 1.0


def test_what_the_front_end_took_for_equal_is_tested_where_it_may_wrap(k):
    x = np.arange(60, dtype="f")
    assert k.wrapping(x, np.array([7, 3])) == 6.0
    with pytest.raises(ValueError, match="wrapping"):
        k.wrapping(x, np.array([2**32, 2**32]))
    x = np.arange(6)
    k.moved(x, np.array([3, 1]))
    assert x.tolist() == [5, 4, 3, 3, 4, 5]
    x = np.arange(8)
    with pytest.raises(ValueError, match="moved"):
        k.moved(x, np.array([4, 2**62]))
    assert x.tolist() == list(range(8))


def test_rows_of_one_array_are_apart(k):
    x = np.arange(6).reshape(3, 2)
    k.rows(x, 1)
    assert x.tolist() == [[0, 1], [4, 5], [2, 3]]


def test_rows_of_an_array_hold_all_of_it(k):
    x = np.arange(12, dtype="f")
    assert k.as_rows(x, np.array([3]), 4, 4) == 11.0
    with pytest.raises(ValueError, match="as_rows"):
        k.as_rows(x, np.array([2**62]), 4, 4)


def test_a_number_that_is_added_to_is_no_size(k):
    assert k.added(np.ones(2), 3).tolist() == [6, 6]


def test_what_is_given_of_two_arrays_is_given_of_as_many_elements(k):
    a = np.zeros(60, "u1")
    with pytest.raises(ValueError, match="lengths"):
        k.lengths(np.zeros(0, "i8"), np.full(2**23, -(2**63)), a[50:])
    assert not a.any()
    k.lengths(np.full(3, 2), np.full(3, 2), a[50:])
    assert a[53] == 1


def test_names_that_c_would_take_for_one(k):
    y, s = k.named(np.zeros((2, 3)))
    assert y.tolist() == [[1.0] * 3] * 2 and s == 424
    assert k.summed(1.0, 2.0, np.array([3.0])).tolist() == [213.0]


def test_constants_have_the_arithmetic_of_their_type(k):
    got = k.constants(4)
    key = (0x9E3779B97F4A7C15 * 3) % 2**64 >> 7
    wide = [x << 4 for x in (2, -2, 2000000000, 1)]
    assert list(got) == [4 ^ key, (8000000000 % 2**32) >> 4, True, *wide, True]
    assert k.constants(40)[3] == 2 << 40 and k.constants(40)[6] == 1 << 40
    two, none, word = const(2, "i64"), const(0, "i64"), const(200, "u8")
    for e in (Expr("floordiv", (two, none), None, "i64"), Expr("pow", (two, two), None, "i64")):
        assert folded(e) == e
    assert folded(Expr("add", (word, word), None, "u8")) == const(144, "u8")


def test_an_array_that_is_too_large_for_its_count_is_refused(k):
    with pytest.raises((ValueError, MemoryError), match="fixed"):
        k.fixed(1)


TWO = """
def two(x: f32[N]) -> (a[N], b[N]):
    a[i] = x[i] * 2.0
    b[i] = a[i] + 1.0

def pair(x: f32[N]) -> (a, b):
    a = sum[i](x[i])
    b = max[i](x[i])

@procedure
def f(x: f32[N], n: i64, y: mut[f32[M]], z: mut[f32[3]]) -> s(f32):
    given(M >= 2 * N, n >= 0, n + N <= M, N >= 1)
    CALL
"""


@pytest.mark.parametrize(
    "call",
    ["y[0:N], y[n:n + N] = two(x)", "u: f32[N]\n    u, u = two(x)", "z[0], z[0] = pair(x)", "s, s = pair(x)",
     "z[n], z[n] = pair(x)"],
)  # fmt: skip
def test_results_of_a_call_do_not_overlap(call):
    (error,) = load_text(TWO.replace("CALL", call), "case.vibee").errors
    assert "two results of" in str(error)
    assert "give each a place of its own" in str(error)


@pytest.mark.parametrize("call", ["y[0:N], y[N:2 * N] = two(x)", "z[0], z[1] = pair(x)", "s, z[0] = pair(x)"])
def test_results_apart_from_each_other_are_taken(call):
    assert not load_text(TWO.replace("CALL", call), "case.vibee").errors


MODEL = """
@procedure
def put(c: mut[f32[N]], x: f32[N]) -> y(f32[N]):
    for i in parallel(N):
        c[i] += x[N - 1 - i]
        y[i] = c[i]

@model
def m(x: f32[N], c: mut[f32[2, N]]) -> y[N]:
    w: f32[N] = 1.0
    y = put(c[0], ROW)
"""


def test_a_model_gives_what_is_changed_only_once():
    (error,) = load_text(MODEL.replace("ROW", "c[0]"), "case.vibee").errors
    assert "'c' is given twice to put, which changes 'c'; give two arrays" in str(error)
    assert not load_text(MODEL.replace("ROW", "c[1]"), "case.vibee").errors
