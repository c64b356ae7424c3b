"""Specs without a fault of which everything is proved."""

import pytest

from vibee.check import load_text
from vibee.lower.unit import Unit
from vibee.prove.verify import PROVED, verify_program

PROVABLE = {
    "bisection": """
@procedure
def place(x: f32[N], v: f32) -> at(i64):
    lo: i64 = 0
    hi: i64 = N
    while lo < hi:
        mid = (lo + hi) // 2
        if x[mid] < v:
            lo = mid + 1
        else:
            hi = mid
    at = lo
""",
    "a countdown from any number": """
@procedure
def thirds(n: i64) -> s(i64):
    given(n >= 0)
    k = n
    while k > 0:
        k -= 3
        s += 1
""",
    "parts of arrays between given cuts": """
@procedure
def double(x: f32[N], y: mut[f32[N]]):
    for i in range(N):
        y[i] = x[i] * 2.0

@procedure
def between(x: f32[M], y: mut[f32[M]], cut: i64[2]):
    given(0 <= cut[0], cut[0] <= cut[1], cut[1] <= M)
    double(x[cut[0]:cut[1]], y[cut[0]:cut[1]])
""",
    "what comes after a condition of several": """
@procedure
def slopes(x: f32[N], at: i64[M]) -> y(f32[M]):
    for m in range(M):
        k: i64 = at[m]
        if k < 0 or k >= N - 1:
            continue
        y[m] = x[k + 1] - x[k]
""",
    "two places of one array in each iteration, and a way out": """
@procedure
def both(x: f32[N], y: mut[f32[2 * N]], n: i64) -> s(i64):
    s = 1
    for i in parallel(N):
        y[i] = x[i]
        y[i + N] = x[i]
    for i in range(N):
        if i == n:
            return
        s = 2
""",
    "what is given of the elements of copies": """
def embed(token: i32[N], w: f32[V, C]) -> y[N, C]:
    given(0 <= token[n] < V)
    y[n, c] = w[token[n], c]

def head(x: i32[N], T: size) -> y[T]:
    given(T <= N)
    y[t:T] = x[t]

@procedure
def window(data: i32[N], at: i64, t: mut[i32[T]]):
    given(0 <= at, at + T <= N)
    for i in range(T):
        t[i] = data[at + i]

@procedure
def windows(data: i32[N], w: f32[V, C], T: size) -> (y(f32[N, C]), z(f32[T, C])):
    given(0 <= data[i] < V, N > T, T >= 1)
    t: i32[T]
    u: i32[T]
    k: i64 = 0
    for n in range(N - T):
        k = n
        window(data, k, t)
        z = embed(t, w)
        for c in range(C):
            y[n, c] = z[0, c]
        u = head(data, T)
        for i in range(T):
            t[i] = u[i]
        z = embed(view(t, T), w)
""",
    "parts of threads, written under several conditions": """
@procedure
def halves(x: f32[N, M], y: mut[f32[N, M]], share: size):
    given(share >= 1)
    for p in parallel((N + share - 1) // share):
        last: i64 = min(p * share + share, N)
        for row in range(p * share, last, 4):
            for r in range(row, min(row + 4, last)):
                for m in range(M):
                    if m == 0:
                        y[r, m] = x[r, m]
                    else:
                        y[r, m] = 2.0 * x[r, m]
""",
    "what is written in parts, again and again": """
@procedure
def again(x: f32[N], times: i64) -> y(f32[N]):
    for t in range(times):
        step: i64 = max(1, min(N, 7 + t))
        part: f32[N]
        for p in range((N + step - 1) // step):
            first: i64 = p * step
            last: i64 = min(first + step, N)
            for i in range(first, last):
                part[i] = x[i]
        for i in range(N):
            y[i] += part[i]
""",
}
NOT_PROVABLE = {
    "an element that is changed": ("t[n] = 2 * data[n]", "t"),
    "a sum": ("t[n] += data[n]", "t"),
    "a number": ("t[n] = 7", "t"),
    "an element of another array": ("t[n] = other[n]", "t"),
    "a zero that nothing shows to be allowed": ("pass", "t"),
    "copies of copies of what is changed": ("u[n] = data[n] + 1\n        t[n] = u[n]", "t"),
    "what a function of numbers gives": ("t[n] = abs(data[n])", "t"),
}
CALLER = """
def embed(token: i32[N], w: f32[V, C]) -> y[N, C]:
    given(0 <= token[n] < V)
    y[n, c] = w[token[n], c]

@procedure
def f(data: i32[N], other: i32[N], w: f32[V, C]) -> y(f32[N, C]):
    given(0 <= data[i] < V)
    t: i32[N]
    u: i32[N]
    for n in range(N):
        CHANGE
    y = embed(ARRAY, w)
"""


@pytest.mark.parametrize("name", PROVABLE)
def test_everything_is_proved_of(name: str) -> None:
    program = load_text(PROVABLE[name], "case.vibee")
    assert not program.errors
    verdicts = [v for found in verify_program(program) for v in found.verdicts]
    assert len(verdicts) > 1
    assert [f"{v.span}: {v.outcome}: {v.text}" for v in verdicts if v.outcome != PROVED] == []


PAIRS = """
@procedure
def f(M: size, N: size) -> (y(f32[M, N]), s(f32)):
    given(GIVEN)
    for p in range(M * N):
        m: i64 = p // N
        n: i64 = p % N
        y[m, n] = 1.0
    s = 0.0
"""


@pytest.mark.parametrize("given", ["N >= 1", "M >= 1, N >= 1", "N == 7", "M == N, N >= 2"])
def test_a_loop_over_pairs_writes_every_row(given: str) -> None:
    unit = Unit(load_text(PAIRS.replace("GIVEN", given), "case.vibee"), "v3")
    (d,) = unit.program.defs["f"]
    unit.procedure(d)
    assert sum("y begins as zeros" in o.what for o in unit.obligations[d.key]) == 0


@pytest.mark.parametrize("name", NOT_PROVABLE)
def test_what_may_be_no_copy_is_not_taken_for_one(name: str) -> None:
    change, array = NOT_PROVABLE[name]
    program = load_text(CALLER.replace("CHANGE", change).replace("ARRAY", array), "case.vibee")
    assert not program.errors
    (found,) = [f for f in verify_program(program) if f.definition.name == "f"]
    assert any(v.kind == "given" and v.outcome != PROVED for v in found.verdicts)
