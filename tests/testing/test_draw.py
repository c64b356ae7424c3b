"""Sizes and values are found for conditions of many kinds, and what is found satisfies them, tested by numpy."""

import numpy as np
import pytest

from vibee import testing
from vibee.testing.draw import made, unmet
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


def endless(at: i64[N]) -> y(i64[N]):
    given(N >= 1, at[i] <= at[i + 1])
    y[i] = at[i]


def split(x: f32[N], n: i64) -> y[N]:
    given(n > 4, n < 3)
    y[i] = x[i]
'''


def rising(x):
    return bool(np.all(x[1:] >= x[:-1]))


HOLDS = {
    "offsets": lambda at, x: rising(at) and np.all((at >= 0) & (at <= x.size)),
    "rows": lambda at, x, N: at.size == N + 1 and at[0] == 0 and at[-1] == x.size and rising(at),
    "rising": lambda at: np.all(at[1:] > at[:-1]),
    "spans": lambda start, length, N: np.all((start >= 0) & (length >= 1) & (start + length <= N)),
    "counted": lambda n, B: n.sum() == B and B >= 500 and np.all(n >= 0),
    "last": lambda offset, M, B: offset.size == M + 257 and offset[-1] == B and offset[0] >= 0 and rising(offset),
    "below": lambda a, hi: hi.size and np.all(a < hi[:, None]) and np.all(hi[1:] < hi[:-1]) and np.all(hi > 0),
    "tied": lambda n, m, k, rate, x: m == 3 * n + 2 and 7 * k > 2000 and k < m * 1000 and rate >= 250,
}
NEVER = {"endless": "at[i] <= at[i + 1]", "split": "n > 4"}


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    path = tmp_path_factory.mktemp("conditions") / "conditions.vibee"
    path.write_text(SPEC)
    return testing.spec(str(path))


def drawn(subject, count):
    for seed in range(count):
        rng = np.random.default_rng(seed)
        prefer = {n: int(rng.choice([0, 1, 2, 3, 7, 16, 33, 48])) for n in subject.head.sizes}
        yield made(subject.head, subject.oracle(), prefer, ("normal", "whole", "wide", "near")[seed % 4], seed)


@pytest.mark.parametrize("name", HOLDS)
def test_cases_are_found(spec, name):
    subject = spec[spec.definitions()[name][0].key]
    cases = [c for c in drawn(subject, 12) if c is not None]
    assert len(cases) >= 8, unmet(subject.head, subject.oracle())
    for c in cases:
        assert HOLDS[name](**c.arrays, **c.numbers), c
    assert sum(all(a.size for a in c.arrays.values()) for c in cases) >= 6


@pytest.mark.parametrize("name", NEVER)
def test_what_cannot_be_satisfied_is_told(spec, name):
    subject = spec[spec.definitions()[name][0].key]
    assert all(c is None for c in drawn(subject, 3))
    assert show(unmet(subject.head, subject.oracle())) == NEVER[name]
