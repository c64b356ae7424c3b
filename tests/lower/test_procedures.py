"""Lowered procedures: loops, local arrays, index equations in place, parallel sums, views."""

import numpy as np
import pytest

import vibee

SPEC = '''
module("procs", version=1)
from shapes2 import rowsum

@procedure
def collatz(n: i64) -> steps(i64):
    """scalar procedure with while"""
    x: i64 = n
    steps = 0
    while x > 1:
        if x % 2 == 0:
            x = x // 2
        else:
            x = 3 * x + 1
        steps += 1

@procedure
def norm2(x: f32[N]) -> s(f64):
    """parallel sum"""
    for i in parallel(N):
        s += f64(x[i]) * f64(x[i])

@procedure
def largest(x: f32[N]) -> s(f32):
    """parallel max"""
    s = -1e30
    for i in parallel(N):
        s = max(s, x[i])

@procedure
def normalise(x: mut[f32[N, D]]):
    """rows in place"""
    for n in parallel(N):
        t: f32 = sum[d](x[n, d])
        x[n, d] = x[n, d] / t

@procedure
def racy(x: f32[N]) -> y(f32[N]):
    """iterations meet, but only in runs that are longer than those of the search: serial, and still right"""
    for i in parallel(N):
        y[where(i < 1000, i, 0)] += x[i]

@procedure
def unchecked(x: f32[N], at: i64) -> y(f32):
    """an index that leaves the array, but only far from where the search looks"""
    y = x[at * (N // 1000)] if N >= 1000 else 0.0

@procedure
def follow(next: i64[N]) -> steps(i64):
    """a walk along links that may lead out of a long array"""
    at: i64 = N // 1000
    while at != 0:
        at = next[at] + 7000
        steps += 1

@procedure
def tiles(a: f32[N, D], b: f32[D, M]) -> c(f32[N, M]):
    """a product inside a parallel loop"""
    for n in parallel(N):
        row: f32[8, M]
        left: f32[8, D]
        left[i, d] = a[n, d] * f32(i + 1)
        row[i, j] = sum[d](left[i, d] * b[d, j])
        row[i, j] += sum[d](left[i, d] * b[d, j])
        c[n, j] = row[7, j] / 16.0

@procedure
def pieces(x: f32[N, D]) -> (y(f32[N]), z(f32[2])):
    """calls on parts"""
    y = rowsum(x)
    z = rowsum(view(x[0, 0:6], 2, 3))

@procedure
def sieve(N: size) -> count(i64):
    """local array, nested loops"""
    gone: bool[N]
    for i in range(2, N):
        if not gone[i]:
            count += 1
            j: i64 = i * i
            while j < N:
                gone[j] = True
                j += i
'''
OTHER = '''
module("shapes2", version=1)
def rowsum(x: real[N, D]) -> y[N]:
    """sum of rows"""
    y[n] = sum[d](x[n, d])
'''


@pytest.fixture(scope="module")
def k(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spec")
    (folder / "shapes2.vibee").write_text(OTHER)
    (folder / "procs.vibee").write_text(SPEC)
    return vibee.load(folder / "procs.vibee")


def test_scalar_procedure(k):
    assert k.collatz(27) == 111


@pytest.mark.parametrize("n", [0, 1, 5, 64, 1000, 100_003])
def test_parallel_sum_is_the_same_for_all_threads(k, n):
    x = np.random.default_rng(0).standard_normal(n).astype(np.float32)
    first = k.norm2(x, threads=1)
    np.testing.assert_allclose(first, (x.astype(np.float64) ** 2).sum(), rtol=1e-12)
    assert all(k.norm2(x, threads=t) == first for t in (2, 3, 7))
    if n:
        assert k.largest(x) == x.max()


def test_in_place(k):
    x = np.random.default_rng(0).random((30, 41)).astype(np.float32)
    want = x / x.sum(1, keepdims=True)
    k.normalise(x)
    np.testing.assert_allclose(x, want, rtol=1e-5)


def test_a_race_runs_serially(k):
    x = np.ones(50_000, np.float32)
    assert k.racy(x, threads=4)[0] == 49_001


def test_an_unproved_index_is_checked(k):
    x = np.arange(5000, dtype=np.float32)
    assert k.unchecked(x, 999) == 4995
    for bad in (1000, -1, 2**40):
        with pytest.raises(ValueError):
            k.unchecked(x, bad)


@pytest.mark.parametrize("n,d,m", [(1, 1, 1), (5, 9, 70), (3, 33, 16), (4, 8, 37)])
def test_products_inside_a_parallel_loop(k, n, d, m):
    r = np.random.default_rng(0)
    a, b = r.standard_normal((n, d)).astype(np.float32), r.standard_normal((d, m)).astype(np.float32)
    np.testing.assert_allclose(k.tiles(a, b), a @ b, atol=1e-4)


def test_calls_on_parts(k):
    x = np.arange(40, dtype=np.float32).reshape(4, 10)
    y, z = k.pieces(x)
    np.testing.assert_allclose(y, x.sum(1))
    np.testing.assert_allclose(z, x[0, :6].reshape(2, 3).sum(1))


def test_sieve(k):
    assert k.sieve(N=1000) == 168


def test_what_is_not_proved_is_told(k):
    assert any("runs serially" in text for text in k.racy.unproved)
    assert any("0 <= at * (N // 1000) < N" in text for text in k.unchecked.unproved)
    assert k.tiles.unproved == []


def test_a_loop_ends_when_a_read_fails(k):
    with pytest.raises(ValueError, match="out of range"):
        k.follow(np.arange(3000))
