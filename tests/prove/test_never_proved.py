"""Claims that some run breaks, though small numbers do not: none of them is proved, and the access is tested."""

import numpy as np
import pytest

import vibee
from vibee.check import load_text
from vibee.lower.unit import Unit
from vibee.prove.verify import PROVED, verify_program

BROKEN = {
    # n = 1 makes it -2**63
    "a counter from the end of its type": ("bounds", "0 of y", """
@procedure
def f(y: mut[f32[N]], n: i64):
    c: i64 = 9223372036854775807
    for i in range(n):
        c = c + 1
        if c < N:
            y[c] = 1.0
"""),
    # x[0, 1] = 2**62 and zeros on the diagonal: the sum is -2**63
    "what is given of the diagonal, of another element": ("bounds", "0 of y", """
@procedure
def f(x: i64[N, N], y: mut[f32[M]]):
    given(N >= 2, x[i, i] <= 5, x[i, i] >= 0)
    v = x[0, 1]
    if v > 0:
        if v + v < M:
            y[v + v] = 1.0
"""),
    # x = 2**62, y = -2**63, z = -2**63: all tests on entry hold, because y - 1 and x + x wrap around
    "conditions that bound each other only if neither wraps": ("bounds", "0 of a", """
@procedure
def f(x: i64[N], y: i64[N], z: i64[N], a: mut[f32[M]]):
    given(x[i] <= y[i] - 1, y[i] <= 10, x[i] >= 0, z[i] == x[i] + x[i])
    for i in range(N):
        v = x[i]
        w = z[i]
        if w < M and v >= 0:
            a[w] = 1.0
"""),
    # K = 100 is not refused: what needs a loop is not tested on entry
    "a condition that is not tested on entry": ("bounds", "0 of y", """
@procedure
def f(y: mut[f32[6]], K: i64):
    given(K >= 0, K <= max[i:3](i), max[i:3](i) <= 5)
    y[K] = 1.0
"""),
    # x = [1, -1] and k = 0
    "what is given of one element, of all": ("given", "at the call of g", """
@procedure
def g(x: i64[N]) -> y(i64):
    given(x[i] >= 0)
    y = 1

@procedure
def f(x: i64[N], k: i64) -> y(i64):
    given(0 <= k, k < N, x[k] >= 0)
    y = g(x)
"""),
    # every root is that of -1
    "a condition on an element that an equation changes": ("domain", "x[i] >= 0.0", """
@procedure
def f(x: mut[f64[N]]) -> y(f64[N]):
    for i in range(N):
        if x[i] >= 0.0:
            x[j] = -1.0
            y[i] = sqrt(x[i])
    then(y[i] >= 0.0)
"""),
    # x[0, 1] = -1
    "the root of what is given on the diagonal": ("domain", "x[i, j] >= 0.0", """
def f(x: f64[N, N]) -> y[N, N]:
    given(x[i, i] >= 0)
    y[i, j] = sqrt(x[i, j])
    then(y[i, j] >= 0)
"""),
    # x = -2**32, of which 32 bits are 0
    "the root of what is given of fewer bits": ("domain", "f64(x[i]) >= 0.0", """
def f(x: i64[N]) -> y[N]:
    given(i32(x[i]) >= 0)
    y[i] = sqrt(f64(x[i]))
    then(y[i] >= 0)
"""),
    # D = 1: s is exp(-5)
    "the largest term of a sum, where the maximum has become more": ("domain", "s[n] - 0.5 >= 0.0", """
def f(x: f64[N, D]) -> y[N]:
    given(D >= 1)
    m[n] = max[d](x[n, d])
    m[n] += 5.0
    s[n] = sum[d](exp(x[n, d] - m[n]))
    y[n] = sqrt(s[n] - 0.5)
    then(y[n] >= 0)
"""),
    # a product that is not rounded before the difference gives -8.3e-19
    "a difference that is 0 by rounding": ("domain", ">= 0.0", """
def g(x: f64) -> y:
    y = x * x - 0.010000000000000002

def f(a: f64) -> y:
    given(a == 0.1)
    y = sqrt(g(a))
    then(y >= 0)
"""),
    # with k = 6 the quotients are infinities of both signs
    "a condition that is not the contrary, for zeros have signs": ("bounds", "0 of y", """
@procedure
def f(y: mut[f32[N]], k: i64):
    if f64(k) / 0.0 > 0.0:
        if not (f64(k) / -0.0 > 0.0):
            y[k] = 1.0
"""),
    # with a = b = 2**31 - 1 the sum wraps around, and the difference is -2**32
    "a sum of i32 that wraps": ("bounds", "0 of y", """
@procedure
def f(a: i32, b: i32, y: mut[f32[N]]):
    if i64(a + b) - i64(a) - i64(b) < N:
        y[i64(a + b) - i64(a) - i64(b)] = 1.0
"""),
    # with B = 0 the quotient is 0, and the index -A
    "a quotient by what may be 0": ("bounds", "0 of y", """
@procedure
def f(y: mut[f32[N]], A: i64, B: i64):
    given(-100 < A, A < 100, -100 < B, B < 100)
    if (A * B) // B - A < N:
        y[(A * B) // B - A] = 1.0
"""),
    # with a = 2**63 the remainder is 2**63, which is no i64
    "a remainder of 64 bits": ("bounds", "0 of y", """
@procedure
def f(a: u64, y: mut[f32[N]]):
    r = i64(a % 9223372036854775809)
    if r < N:
        y[r] = 1.0
"""),
    # u64(b) is 2**63 or more for a negative b
    "a remainder by a number that was negative": ("bounds", "0 of y", """
@procedure
def f(a: u64, b: i64, y: mut[f32[N]]):
    given(u64(b) > 0)
    r = i64(a % u64(b))
    if r < N:
        y[r] = 1.0
"""),
    # x is written before
    "what is given of an array that is changed": ("bounds", "0 of y", """
@procedure
def f(x: mut[i32[N]], y: mut[f32[N]]):
    given(i64(x[i]) % 2 == 0)
    for i in range(N):
        x[i] = 1
        if i64(x[i]) // 2 * 2 - i64(x[i]) < N:
            y[i64(x[i]) // 2 * 2 - i64(x[i])] = 1.0
"""),
    # where j is outside of y, y[j] is 0 whatever is given of its elements
    "what is given of elements, outside of their array": ("bounds", "0 of a", """
@procedure
def f(x: i64[N], y: i64[M], a: mut[f32[K]]):
    given(x[i] >= 0, x[i] < y[j], N >= 1)
    for j in range(K):
        if x[0] >= 0:
            t = y[j]
            if t <= K:
                a[t - 1] = 1.0
"""),
    # i is N + 5: what x[i] is says nothing of the elements of x
    "a bound by an element that is not there": ("overflow", "v + v", """
@procedure
def f(x: i64[N], y: i64[M], a: mut[f32[K]]):
    given(x[i] >= y[j])
    i: i64 = N + 5
    for j in range(M):
        if x[i] < 5:
            v = y[j]
            if v > 0 and v + v < K:
                a[v + v] = 1.0
"""),
    # x[0] <= 0 is asked
    "a condition on elements and their places, at a call in a loop": ("given", "x[i] <= i", """
@procedure
def g(x: i64[N]) -> y(i64):
    given(x[i] <= i)
    y = 1

@procedure
def f(data: i64[N]) -> y(i64):
    given(data[j] <= 5, N >= 10)
    for i in range(5, N):
        y = g(data)
"""),
    # data[9] <= 9 is known
    "a condition on elements from one on their places": ("given", "x[i] <= 2", """
@procedure
def g(x: i64[N]) -> y(i64):
    given(x[i] <= 2)
    y = 1

@procedure
def f(data: i64[N]) -> y(i64):
    given(data[j] <= j, N >= 10)
    for j in range(3):
        y = g(data)
"""),
    # x[1] > x[0] is of what x[0] has become, not of what it was when the iteration began
    "a measure made of elements that the loop changes": ("ends", "the loop ends", """
@procedure
def f(x: mut[i64[2]], n: i64):
    k: i64 = 0
    while x[k] < n:
        x[k] = -100
        if x[(k + 1) % 2] > x[k]:
            k = (k + 1) % 2
        else:
            return
"""),
    "what was known of an element before it changed": ("ends", "the loop ends", """
@procedure
def f(x: mut[i64[2]]):
    k: i64 = 1
    while x[0] < k:
        x[0] = x[0] + 20
        if x[0] >= k:
            k = k + 20
        else:
            return
"""),
    # the first z[k] is written by no iteration, the second one by all
    "one element under two conditions": ("race", "elements of z", """
@procedure
def f(z: mut[f32[N]]):
    for i in parallel(N):
        for k in range(N):
            if k < 0:
                z[k] = 1.0
            if k >= 0:
                z[k] = 2.0
"""),
    # k is 0 at first, and what the array says after that
    "a sum in a condition that is evaluated again": ("overflow", "(k + 1) % 3 stays within 63 bits", """
@procedure
def f(x: i64[3]) -> s(i64):
    k: i64 = 0
    s = 0
    while x[(k + 1) % 3] < 0 and s < 5:
        k = x[0]
        s += 1
"""),
    # 65536 * 65536 wraps around to 0, 65536 * 32768 to a negative number
    "products of integers that are not negative": ("domain", "c[i]", """
def f(x: i32[N]) -> y[N]:
    given(x[i] >= 0)
    c[i] = cumprod[i](x[i])
    y[i] = sqrt(f32(c[i]))
    then(y[i] >= 0)
"""),
    # abs(-2**63) is -2**63
    "the least number has no opposite": ("bounds", "0 of y", """
@procedure
def f(x: i64[1], y: mut[u8[N]]):
    v = 5 - min(abs(x[0]), 5)
    if v < N:
        y[v] = u8(1)
"""),
    # u = 2**63 is a negative i64
    "a number of 64 bits without a sign": ("bounds", "0 of y", """
@procedure
def f(u: u64, y: mut[u8[N]]):
    if u >= 0:
        v = 5 - min(i64(u), 5)
        if v < N:
            y[v] = u8(1)
"""),
    # with N = 2**23 the length wraps around to 0
    "a length that wraps around": ("bounds", "axis 0 of x", """
@procedure
def f(x: f32[2199023255552 * N], N: size) -> y(f32):
    given(N >= 1)
    y = x[N]
"""),
    # -2**31 // -1 is -2**31, and -2**63 // -1 is -2**63
    "the least number divided by -1": ("bounds", "0 of y", """
@procedure
def f(a: i32, y: mut[f32[N]]):
    if a <= 0 and a % -1 == 0 and i64(a // -1) < N:
        y[i64(a // -1)] = 1.0
"""),
    "the least number of 64 bits divided by -1": ("bounds", "0 of y", """
@procedure
def f(x: i64[2], b: i64, y: mut[f32[N]]):
    given(b == -1)
    a = x[0]
    q = a // b
    if a <= 0 and a % b == 0 and q < N:
        y[q] = 1.0
"""),
    # fma(x, s, -m) is not 0 where x * s is rounded to m
    "the largest term of a sum, of which only the maximum is rounded": ("domain", "t[n] - 0.5 >= 0.0", """
def f(x: f32[N, D], s: f32) -> y[N]:
    given(D >= 1)
    m[n] = max[d](x[n, d] * s)
    t[n] = sum[d](exp(x[n, d] * s - m[n]))
    y[n] = sqrt(t[n] - 0.5)
    then(y[n] >= 0)
"""),
    # n = 2**23 makes it -2**63
    "a shift that wraps around": ("bounds", "0 of y", """
@procedure
def f(y: mut[u8[N]], n: size):
    v = 5 - min(n << 40, 5)
    if v < N:
        y[v] = u8(1)
"""),
    # with n = 2**13 the loop begins at -2**63
    "the turns of a loop whose range wraps around": ("bounds", "0 of y", """
@procedure
def f(y: mut[u8[N]], n: size):
    c: i64 = 0
    for i in range(min(n * 1125899906842624, 5), 10):
        c += 1024
        if c >= 8388608:
            break
    v = 5 - min(c * 1099511627776, 5)
    if v < N:
        y[v] = u8(1)
"""),
    # with N = 2**23 there is no element of which anything is given
    "what is given of elements of a length that wraps around": ("bounds", "0 of y", """
@procedure
def f(x: i64[2199023255552 * N], y: mut[u8[M]], N: size):
    given(N >= 1, x[i] >= 1099511627776)
    v = x[N]
    if v - 1099511627776 < M:
        y[v - 1099511627776] = u8(1)
"""),
    # with e = [2**32, 2**32] the product wraps around to 0
    "a shape with a product that wraps around": ("shape", "x of g", """
@procedure
def g(x: f32[K], K: size) -> y(f32):
    given(K >= 1)
    y = x[K - 1]

@procedure
def f(x: f32[N], e: i64[2]) -> y(f32):
    given(e[k] >= 1)
    a = e[0]
    b = e[1]
    if 0 <= a * b // b <= N:
        y = g(x[0:a * b // b], a)
"""),
    # with B = 0 there are no elements
    "a shape with a quotient by what may be 0": ("bounds", "axis 0 of x", """
def g(x: f32[N], y: f32[N]) -> z[N]:
    z[n] = x[n] + y[n]

def f(x: f32[A * B // B], y: f32[A], B: size) -> z[A]:
    z = g(y, x)
"""),
    # with B = 0 both are the first n elements
    "parts that are apart if nothing wraps around": ("shape", "do not overlap in x", """
@procedure
def g(x: i64[N], y: mut[i64[N]]):
    for i in range(N):
        y[i] = x[i]

@procedure
def f(x: mut[i64[K]], n: i64, b: i64):
    given(n >= 1, b >= 0, 2 * n <= K)
    g(x[n * b // b:n * b // b + n], x[0:n])
"""),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_a_run_breaks_is_never_proved(name: str) -> None:
    kind, words, text = BROKEN[name]
    program = load_text(text, "case.vibee")
    assert not program.errors
    verdicts = [v for d in verify_program(program) if d.definition.name == "f" for v in d.verdicts]
    outcomes = [v.outcome for v in verdicts if v.kind == kind and words in v.text]
    assert outcomes
    assert PROVED not in outcomes


UNWRITTEN = {
    "by a loop downwards that does not run": """
@procedure
def f(n: i64) -> (y(f32[2]), s(f32)):
    for j in range(0, 5, -1):
        y[0] = 1.0
        y[1] = 1.0
    s = 0.0
""",
    "where the condition of a while reads the next": """
@procedure
def f(x: f32[N]) -> (y(f32[N]), s(i64)):
    s = 0
    for i in range(N):
        y[i] = x[i]
        j: i64 = i
        while j < N and y[j] > 0.0:
            j += 1
        s += j
""",
    "under a condition that is not the contrary, for zeros have signs": """
@procedure
def f(a: f64, N: size) -> (y(f32[N]), s(f32)):
    if a / 0.0 > 0.0:
        for i in range(N):
            y[i] = 1.0
    if not (a / -0.0 > 0.0):
        for i in range(N):
            y[i] = 2.0
    s = 0.0
""",
    "at a place that a branch changed": """
@procedure
def f(n: i64) -> (y(f32[2]), s(f32)):
    k: i64 = 1
    k = 0
    if n > 0:
        k = 1
    y[k] = 1.0
    y[1] = 2.0
    s = 0.0
""",
    "under a condition that a branch changed": """
@procedure
def f(n: i64) -> (y(f32[2]), s(f32)):
    k: i64 = n
    if k == 0:
        for i in range(2):
            y[i] = 1.0
    if n > 1:
        k = 1 - k
    if k != 0:
        for i in range(2):
            y[i] = 2.0
    s = 0.0
""",
    "under a condition on an element that changed": """
@procedure
def f(x: mut[i64[1]]) -> (y(f32[2]), s(f32)):
    if x[0] > 0:
        for i in range(2):
            y[i] = 1.0
    x[0] = 1 - x[0]
    if x[0] <= 0:
        for i in range(2):
            y[i] = 2.0
    s = 0.0
""",
    "by a loop over pairs, in all but the last column": """
@procedure
def f(M: size, N: size) -> (y(f32[M, N + 1]), s(f32)):
    given(N >= 1)
    for p in range(M * N):
        y[p // N, p % N] = 1.0
    s = 0.0
""",
    "by a loop over pairs of another product": """
@procedure
def f(M: size, N: size, K: size) -> (y(f32[M, N]), s(f32)):
    given(N >= 1)
    for p in range(M * K):
        y[p // N, p % N] = 1.0
    s = 0.0
""",
    "by a loop over pairs, each in a row of another width": """
@procedure
def f(M: size, N: size) -> (y(f32[M, N]), s(f32)):
    given(N >= 1)
    for p in range(M * N):
        y[p // 2, p % 2] = 1.0
    s = 0.0
""",
    "by a loop over pairs whose width changes": """
@procedure
def f(M: size, N: size) -> (y(f32[M, N]), s(f32)):
    given(N >= 1)
    n: i64 = N
    for p in range(M * n):
        y[p // n, p % n] = 1.0
        n = 1
    s = 0.0
""",
    "by a loop over pairs, of which there may be two numbers below 0": """
@procedure
def f(m: i64, n: i64) -> (y(f32[4]), s(f32)):
    given(-2 <= m <= 2, -2 <= n <= 2)
    for p in range(m * n):
        y[p % n] = 1.0
    s = 0.0
""",
    "by a loop over pairs, on a diagonal": """
@procedure
def f(M: size, N: size) -> (y(f32[N, M * N]), s(f32)):
    given(N >= 1)
    for p in range(M * N):
        y[p % N, p] = 1.0
    s = 0.0
""",
    "by a loop from a place that it changes": """
@procedure
def f(a: i64) -> (y(f32[3]), s(f32)):
    given(0 <= a, a <= 1)
    k: i64 = a
    s = 0.0
    for j in range(3):
        if j < a:
            k = a
        for i in range(k, 3):
            if i > k and k >= 0:
                s += y[k]
            y[i] = 1.0
            k = 0
    for i in range(3):
        y[i] = 2.0
""",
}


@pytest.mark.parametrize("name", UNWRITTEN)
def test_what_is_written_before_something_changed_is_not_written_after(name: str) -> None:
    program = load_text(UNWRITTEN[name], "case.vibee")
    unit = Unit(program, "v3")
    (d,) = program.defs["f"]
    unit.procedure(d)
    said = [o.what for o in unit.obligations[d.key] if o.kind == "written"]
    assert "y begins as zeros" in said


def test_an_index_that_wraps_is_tested_when_it_runs(tmp_path) -> None:
    path = tmp_path / "wraps.vibee"
    path.write_text(BROKEN["a sum of i32 that wraps"][2])
    k = vibee.load(path)
    y = np.zeros(2, "f")
    k.f(1, 2, y)
    assert y.tolist() == [1, 0]
    with pytest.raises(ValueError, match="index out of range"):
        k.f(2**31 - 1, 2**31 - 1, y)


DIVIDED = """
@procedure
def f(x: f32[A], B: size) -> y(f32[A]):
    given(GIVEN)
    for i in range(A):
        y[B * i // B] = x[i]
"""


@pytest.mark.parametrize("given", ["B >= 1", "B > 0"])
def test_a_quotient_by_what_is_given_not_to_be_0_is_exact(given: str) -> None:
    (found,) = verify_program(load_text(DIVIDED.replace("GIVEN", given), "case.vibee"))
    assert {v.outcome for v in found.verdicts if v.kind == "bounds"} == {PROVED}


def test_a_remainder_by_a_constant_is_an_index() -> None:
    text = "@procedure\ndef f(a: u64, y: mut[f32[7]]):\n    y[i64(a % 7)] = 1.0\n"
    (found,) = verify_program(load_text(text, "case.vibee"))
    assert {v.outcome for v in found.verdicts if v.kind == "bounds"} == {PROVED}
