"""The derived work of definitions: known counts, and counts made by running the loops one by one."""

from __future__ import annotations

import pytest

from vibee.check import load_text
from vibee.lower.cost import moved, work
from vibee.tree.expr import Expr, show

MODULE = 'module("m", version=1)\n\n'


def counted(text: str, **names: float) -> tuple[float | None, float]:
    """Operations and bytes of the first definition of a text, at these sizes."""
    program = load_text(MODULE + text, "m.vibee")
    program.raise_errors()
    d = next(iter(program.defs.values()))[0]
    w = work(d, program.by_key)
    return (None if w.flops is None else number(w.flops, names)), number(moved(d, w), names)


def number(e: Expr, names: dict[str, float]) -> float:
    return eval(show(e), {"min": min, "max": max, "where": lambda c, a, b: a if c else b}, dict(names))  # type: ignore[no-any-return]


PRODUCT = """
def f(a: real[M, K], b: real[K, N]) -> c[M, N]:
    c[i, j] = sum[k](a[i, k] * b[k, j])
"""

# the maximum and the sum are computed once for each row, not for each element
SHIFTED = """
def f(x: real[N, D]) -> y[N, D]:
    given(D >= 1)
    y[n, d] = (x[n, d] - max[e](x[n, e])) / sum[e](x[n, e])
"""

PREFIX = """
def f(x: real[N]) -> y[N]:
    y[n] = sum[i:n + 1](x[i])
"""

GATHER = """
def f(w: real[V, C], t: i32[N]) -> y[N, C]:
    given(0 <= t[n] < V)
    y[n, c] = w[t[n], c]
"""

CHOICE = """
def f(x: real[N]) -> y[N]:
    y[n] = where(x[n] > 0.0, x[n] * x[n] + 1.0, -x[n])
"""

TRIANGLES = """
@procedure
def f(x: real[N]) -> s(real):
    for i in range(N):
        for j in range(i):
            for k in range(j, i + 1):
                s += x[k] * x[j]
"""

STEPS = """
@procedure
def f(x: mut[real[N]]):
    for i in range(1, N, 3):
        x[i] = x[i] * 2.0
"""

BLOCKS = """
@procedure
def f(x: real[N]) -> s(real):
    for lo in range(0, N, 8):
        hi: i64 = min(lo + 8, N)
        for i in range(lo, hi):
            s += x[i]
"""

SIZES_DECIDE = """
@procedure
def f(x: mut[real[N]], mode: i64):
    for i in range(N):
        if mode == 1:
            x[i] = x[i] * 2.0 + 1.0
        else:
            x[i] = x[i] + 1.0
"""

INTEGERS = """
@procedure
def f(x: i64[N]) -> s(i64):
    i: i64 = 0
    while i < N:
        s += x[i] * 3
        i += 1
"""

HALVING = """
@procedure
def f(n: i64, a: f64) -> y(f64):
    k: i64 = n
    y = a
    while k > 0:
        y = y * a
        k = k // 2
"""

WAITING = """
@procedure
def f(x: real[N]) -> s(real):
    while s < x[0]:
        s += x[0]
"""

RANGES_FROM_DATA = """
@procedure
def f(start: i64[R], x: real[E]) -> y(real[R]):
    for r in range(R - 1):
        for e in range(start[r], start[r + 1]):
            y[r] += x[e]
"""

CALLS = """
@procedure
def f(x: mut[real[R, N]]):
    for r in range(R):
        scaled(x[r])

@procedure
def scaled(x: mut[real[N]]):
    for i in range(N):
        x[i] = twice(x[i]) * 0.5

def twice(x: real) -> y:
    y = x + x
"""

REMAINDERS = """
@procedure
def f(x: f32[N], q: i64[1]) -> s(f32):
    for i in range(N):
        for j in range(i % 4):
            s += x[j] * 2.0
    for i in range(N // q[0]):
        s += x[0]
"""

TRIANGLE_OR_NOTHING = """
@procedure
def f(x: f32[N], mode: i64) -> s(f32):
    for i in range(N):
        if mode == 1:
            for j in range(i):
                s += x[j]
"""

DATA_OR_NOTHING = """
@procedure
def f(x: f32[N], n: i64[1]) -> s(f32):
    if N > 3:
        for j in range(n[0]):
            s += x[j % N]
"""

IN_EQUATIONS = """
@procedure
def f(x: f32[N, D]) -> y(f32[N, D]):
    y[n, d] = x[n, d] / sum[e](x[n, e])
"""

FOUR_DEEP = """
@procedure
def f(x: f32[N]) -> s(f32):
    for i in range(N):
        for j in range(i):
            for k in range(j):
                for m in range(k):
                    s += x[m]
"""

UP_TO_DATA = """
@procedure
def f(x: f32[N], n: i64[1]) -> s(f32):
    for i in range(min(N, n[0])):
        s += x[i]
"""

LEAVING = """
@procedure
def f(x: f32[N]) -> s(f32):
    for i in range(N):
        if x[i] > 0.0:
            break
        s += x[i]
"""

ADDED = """
@procedure
def f(x: f32[N], c: mut[f32[N]]):
    c[n] += x[n] * 2.0
"""

WORK_MEMORY = """
@procedure
def f(x: f32[N]) -> y(f32[N]):
    t: f32[N]
    t[i] = x[i] * 2.0
    y = filled(t, x[0] * x[0])

@procedure
def filled(x: f32[N], a: f32) -> y(f32[N]):
    for i in range(N):
        y[i] = x[i] + a
"""

KNOWN = {
    "a product": (PRODUCT, {"M": 3, "K": 5, "N": 7}, 2 * 3 * 5 * 7, 4 * (15 + 35 + 21)),
    "nested reductions are computed once": (SHIFTED, {"N": 3, "D": 5}, 3 * 5 * 4, 4 * 30),
    "a range that grows": (PREFIX, {"N": 6}, 21, 48),
    "rows that are read": (GATHER, {"V": 1000, "C": 8, "N": 3}, 0, 4 * (24 + 3 + 24)),
    "rows that are read often": (GATHER, {"V": 2, "C": 8, "N": 30}, 0, 4 * (16 + 30 + 240)),
    "the dearer branch": (CHOICE, {"N": 6}, 12, 48),
    "loops in steps": (STEPS, {"N": 11}, 4, 4 * 8),
    "blocks": (BLOCKS, {"N": 32}, 32, 4 * 33),
    "a number decides": (SIZES_DECIDE, {"N": 6, "mode": 1}, 12, 48),
    "a number decides otherwise": (SIZES_DECIDE, {"N": 6, "mode": 2}, 6, 48),
    "integers do not count": (INTEGERS, {"N": 6}, 0, 56),
    "halving": (HALVING, {"n": 5, "a": 1}, 64, 8),
    "remainders and quotients are bounded": (REMAINDERS, {"N": 8}, 8 * 3 * 2 + 8, 4 * 9 + 8),
    "one of two, the dearer of which is counted from above": (TRIANGLE_OR_NOTHING, {"N": 6, "mode": 2}, 15, 4 * 7 + 0),
    "equations of a procedure": (IN_EQUATIONS, {"N": 3, "D": 5}, 3 * 5 * 2, 4 * 30),
    "a range that data may cut": (UP_TO_DATA, {"N": 6}, 6, 4 * 7 + 8),
    "a loop that is left": (LEAVING, {"N": 6}, 6, 4 * 7),
    "what is added to is read": (ADDED, {"N": 6}, 12, 4 * 18),
    "work memory is not moved": (WORK_MEMORY, {"N": 6}, 6 + 1 + 6, 4 * 12),
    "calls": (CALLS, {"R": 3, "N": 5}, 30, 4 * 30),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_counts(name: str) -> None:
    text, sizes, flops, moved_ = KNOWN[name]
    assert counted(text, **sizes) == (flops, moved_)


@pytest.mark.parametrize("n", [0, 1, 2, 5, 9])
def test_triangular_loops_are_counted_exactly(n: int) -> None:
    expected = sum(2 for i in range(n) for j in range(i) for _ in range(j, i + 1))
    assert counted(TRIANGLES, N=n)[0] == expected


@pytest.mark.parametrize("n", [0, 1, 4, 7, 12])
def test_four_triangles_in_each_other_are_counted_from_above(n: int) -> None:
    exact = sum(1 for i in range(n) for j in range(i) for k in range(j) for _ in range(k))
    assert exact <= (counted(FOUR_DEEP, N=n)[0] or 0) <= max(n**4, 0)


@pytest.mark.parametrize("text", [WAITING, RANGES_FROM_DATA, DATA_OR_NOTHING])
def test_what_only_data_tell_is_unknown(text: str) -> None:
    assert counted(text, N=8, R=4, E=16)[0] is None


def test_a_gradient_is_counted_like_any_formula() -> None:
    from vibee.grad import vjp

    program = load_text(MODULE + PRODUCT, "m.vibee")
    g = vjp(program.defs["f"][0], program.by_key)  # type: ignore[arg-type]
    w = work(g, program.by_key)
    assert w.flops is not None
    assert number(w.flops, {"M": 3, "K": 5, "N": 7}) == 4 * 3 * 5 * 7


def test_every_definition_of_the_specs_is_counted() -> None:
    from pathlib import Path

    from vibee.check import load

    unknown = set()
    for path in sorted((Path(__file__).parents[2] / "specs" / "foundation").glob("*.vibee")):
        program = load(str(path))
        known: dict = {}
        for versions in program.defs.values():
            for d in versions:
                w = work(d, program.by_key, known)
                moved(d, w)
                unknown |= {d.name} if w.flops is None else set()
    assert {"matmul", "softmax", "exp"}.isdisjoint(unknown)


@pytest.mark.parametrize(
    ("text", "bound"),
    [(PRODUCT, False), (SHIFTED, False), (TRIANGLES, False), (SIZES_DECIDE, False), (CALLS, False), (BLOCKS, True),
     (HALVING, True), (UP_TO_DATA, True), (LEAVING, True), (WORK_MEMORY, False)],
)  # fmt: skip
def test_a_count_from_above_says_so(text: str, bound: bool) -> None:
    program = load_text(MODULE + text, "m.vibee")
    assert work(program.defs["f"][0], program.by_key).bound is bound
