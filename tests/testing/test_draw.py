"""Sizes and values are found for conditions of many kinds, and what is found satisfies them, tested by numpy."""

import numpy as np
import pytest
from hypothesis import given, settings

from vibee import testing
from vibee.testing import elements
from vibee.testing.draw import cases, made, unmet
from vibee.testing.elements import Elements
from vibee.tree.expr import show

SPEC = '''"""Conditions."""
module("conditions", version=1)


def offsets(at: i64[N], x: f32[E]) -> y(i64[N]):
    given(0 <= at[i] <= E, i + 1 >= N or at[i] <= at[i + 1])
    y[i] = at[i]


def rows(at: i64[N1], x: f32[E], N: size) -> y[N]:
    given(N1 == N + 1, at[0] == 0, at[N] == E, all[i:N](at[i] <= at[i + 1]), 0 <= at[i] <= E)
    y[i:N] = sum[e:at[i]:at[i + 1]](x[e])


def rising(at: i32[N]) -> y(i32[N]):
    given(all[i:N - 1](at[i] < at[i + 1]))
    y[i] = at[i]


def pairs(at: i32[N]) -> y(i32[N]):
    given(all[i:N, j:i](at[j] < at[i]))
    y[i] = at[i]


def spans(start: i64[W], length: i64[W], N: size) -> s(i64):
    given(0 <= start[w], 1 <= length[w], start[w] + length[w] <= N)
    s = sum[w](length[w])


def counted(n: i64[K], B: size) -> s(i64):
    given(sum[k](n[k]) == B, n[k] >= 0, B >= 500)
    s = sum[k](n[k])


def last(offset: i64[M + 257], M: size, B: size) -> s(i64):
    given(B == offset[M + 256], offset[m] >= 0, all[m:M + 256](offset[m] <= offset[m + 1]))
    s = offset[0]


def below(a: f32[N, D], hi: f32[N]) -> s:
    given(N >= 1, a[n, d] < hi[n], all[n:N - 1](hi[n] > hi[n + 1]), hi[n] > 0)
    s = sum[n, d](a[n, d] - hi[n])


def tied(n: size, m: size, k: i32, rate: f32, x: f32[n, m]) -> y[n]:
    given(3 * n + 2 == m, n >= 1, 7 * k > 2000, k < m * 1000, rate >= 250.0)
    y[i] = sum[j](x[i, j]) * rate


def apart(x: i64[N], n: i64[W], y: f32[N]) -> s:
    given(-x[i] <= -3, W <= N, n[w] <= 3, n[w] >= 0, all[k:n[w]](x[k] // 2 <= 25), y[i] * 2.0 > sqrt(f32(N)))
    s = sum[i](y[i])


def flagged(flag: bool, other: bool, key: u64, n: i64, m: i64, x: f32[N]) -> y[N]:
    given(n // 1000 < 5, flag == (n >= 100), other != flag, abs(n) >= 50, abs(n) % m == 1, key % 2 == 1)
    y[i] = x[i] if flag or other else f32(m) + f32(key)


def cubes(x: f32[N, N, M], y: f32[N - 3]) -> s:
    given(N >= 4)
    s = sum[n, k, m](x[n, k, m]) + sum[n:N - 3](y[n])


def told(x: f32[N], n: i64) -> y[N]:
    given(n == N + 1, n > 40)
    y[i] = x[i] * f32(n)


def blocks(x: f32[N]) -> s:
    s = sum[i:min(N, 100)](x[i])


@procedure
def many(a: f32[A], b: f32[B], c: f32[C], d: f32[D], e: f32[E]) -> s(f32):
    for lo in range(0, A, 300):
        s += a[lo]
    s += f32(B + C + D + E)


def never_between(at: i64[N]) -> y(i64[N]):
    given(N >= 1, at[i] > 5, at[i] < 3)
    y[i] = at[i]


def never_told(x: f32[N], n: i64) -> y[N]:
    given(n == 3, n * n > 10)
    y[i] = x[i]


def never_flagged(flag: bool, n: i64, x: f32[N]) -> y[N]:
    given(flag == (n > 3), flag == (n < 3), n != 3)
    y[i] = x[i]


def endless(at: i64[N]) -> y(i64[N]):
    given(N >= 1, at[i] <= at[i + 1])
    y[i] = at[i]


def split(x: f32[N], n: i64) -> y[N]:
    given(n > 4, n < 3)
    y[i] = x[i]


def huge(x: f32[N]) -> y[N]:
    given(N > 10 ** 12)
    y[i] = x[i]


def squares(x: f32[A], y: f32[B], z: f32[C, D]) -> w[A]:
    given((A * A + B * B + C * C + 8 * D) % 8 == 7)
    w[i] = x[i]
'''


def rising(x):
    return bool(np.all(x[1:] >= x[:-1]))


HOLDS = {
    "offsets": lambda at, x: rising(at) and np.all((at >= 0) & (at <= x.size)),
    "rows": lambda at, x, N: at.size == N + 1 and at[0] == 0 and at[-1] == x.size and rising(at),
    "rising": lambda at: np.all(at[1:] > at[:-1]),
    "pairs": lambda at: np.all(at[1:] > at[:-1]),
    "spans": lambda start, length, N: np.all((start >= 0) & (length >= 1) & (start + length <= N)),
    "counted": lambda n, B: n.sum() == B and B >= 500 and np.all(n >= 0),
    "last": lambda offset, M, B: offset.size == M + 257 and offset[-1] == B and offset[0] >= 0 and rising(offset),
    "below": lambda a, hi: hi.size and np.all(a < hi[:, None]) and np.all(hi[1:] < hi[:-1]) and np.all(hi > 0),
    "tied": lambda n, m, k, rate, x: m == 3 * n + 2 and 7 * k > 2000 and k < m * 1000 and rate >= 250,
}
HOLDS |= {
    "apart": lambda x, n, y: (
        np.all(x >= 3) and n.size <= x.size and np.all(x[: max([0, *n])] <= 51) and np.all(y * 2 > np.sqrt(x.size))
    ),
    "flagged": lambda flag, other, key, n, m, x: (
        flag == (n >= 100) and other != flag and abs(n) >= 50 and abs(n) % m == 1 and n < 5000 and key % 2 == 1
    ),
    "cubes": lambda x, y: y.size == x.shape[0] - 3 and x.size <= 160_000,
    "told": lambda x, n: n == x.size + 1 > 40,
}
NEVER = {
    "never_between": "at[i] < 3",
    "never_told": "n * n > 10",
    "never_flagged": "flag == (n < 3)",
    "endless": "at[i] <= at[i + 1]",
    "split": "n > 4",
    "huge": "N > 1000000000000",
    "squares": "(A * A + B * B + C * C + 8 * D) % 8 == 7",  # of no three whole numbers: the search gives up
}


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    path = tmp_path_factory.mktemp("conditions") / "conditions.vibee"
    path.write_text(SPEC)
    return testing.spec(str(path))


def drawn(subject, count):
    for seed in range(count):
        rng = np.random.default_rng(seed)
        prefer = {n: int(rng.choice([0, 1, 2, 3, 7, 16, 33, 48, 90])) for n in subject.head.sizes}
        yield made(subject.head, subject.oracle(), prefer, ("normal", "whole", "wide", "near")[seed % 4], seed)


@pytest.mark.parametrize("name", HOLDS)
def test_cases_are_found(spec, name):
    subject = spec[spec.definitions()[name][0].key]
    found = [c for c in drawn(subject, 12) if c is not None]
    assert len(found) >= 8, unmet(subject.head, subject.oracle())
    for c in found:
        assert HOLDS[name](**c.arrays, **c.numbers), c
    assert sum(all(a.size for a in c.arrays.values()) for c in found) >= 6


@pytest.mark.parametrize("name", NEVER)
def test_what_cannot_be_satisfied_is_told(spec, name):
    subject = spec[spec.definitions()[name][0].key]
    assert all(c is None for c in drawn(subject, 3))
    assert show(unmet(subject.head, subject.oracle())) == NEVER[name]


@pytest.mark.parametrize("name,sizes", [("blocks", {100, 101}), ("many", {300, 301})])
def test_sizes_are_drawn_where_a_definition_counts_by_a_number(spec, name, sizes):
    subject = spec[name]
    seen = set()

    @settings(max_examples=200, derandomize=True, database=None)
    @given(cases(subject.head, subject.oracle()))
    def look(case):
        if case is not None:
            seen.update(case.sizes.values())

    look()
    assert sizes <= seen and {0, 1} <= seen
    assert not seen & set(range(400, 10**6))


def test_the_search_for_elements_ends(spec, monkeypatch):
    """After so many moves, though each of them leaves fewer places that fail."""
    subject = spec["rows"]

    def search():
        sizes = {"N1": 40, "E": 9, "N": 39}
        return Elements(subject.head, subject.oracle(), sizes, "normal", np.random.default_rng(1)).run()

    assert search() is not None
    monkeypatch.setattr(elements, "TURNS", 0)
    assert search() is None


def test_arrays_of_more_elements_than_memory_is_for_are_not_made(spec):
    subject = spec["cubes"]
    big = Elements(subject.head, subject.oracle(), {"N": 90, "M": 90}, "normal", np.random.default_rng(1))
    assert big.run() is None
    assert made(subject.head, subject.oracle(), {"N": 90, "M": 90}, "normal", 1).arrays["x"].size <= 160_000
