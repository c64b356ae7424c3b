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
def far(a: f32[N, D], b: f32[K, M], at: i64) -> c(f32[N, M]):
    """a product whose second factor may begin too far down, in arrays longer than those of the search"""
    given(D <= K)
    for n in parallel(N):
        left: f32[8, D]
        row: f32[8, M]
        left[i, d] = a[n, d] * f32(i)
        row[i, j] = sum[d](left[i, d] * b[d + at * (N // 1000), j])
        c[n, j] = row[1, j]

@procedure
def pieces(x: f32[N, D]) -> (y(f32[N]), z(f32[2])):
    """calls on parts"""
    given(N >= 1, D >= 6)
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

@procedure
def differences(x: f32[N]) -> (s(f32), p(f64), n(i64)):
    """what is taken away in parallel is a sum too"""
    p = 1.0
    n = 5
    for i in parallel(N):
        s -= x[i]
        p *= 2.0
        if x[i] > 0:
            n = 1 + n

@procedure
def until(x: mut[f32[N]]) -> rounds(i64):
    """a condition with a sum"""
    while sum[i](x[i]) > 1:
        x[i] = x[i] / 2
        rounds += 1

@procedure
def guarded_sums(x: f32[N], k: i64) -> (s(f32), c(bool), d(bool), m(f32)):
    """sums that are taken only where a condition holds, and sums inside others"""
    s = sum[i:k](x[i]) if 0 <= k <= N else -1.0
    c = 0 <= k <= N and sum[i:k](x[i]) > 2
    d = k < 0 or k > N or any[i:k](x[i] > 2)
    m = sum[i:4](max[j:N](x[j] * f32(i)))

@procedure
def own_names(x: f32[N, D]) -> (y(f32[N]), s(f32)):
    """a local with the name that a temporary would have"""
    y_sum: f32 = 3.0
    y[n] = sum[d](x[n, d]) + sum[d](x[n, d] * x[n, d]) / 2.0
    s = y_sum

@procedure
def in_place(y: mut[f32[N]], w: f32[N, D]):
    """a sum that reads what the same equation writes"""
    y[n] = y[n] / sum[d](y[n] * w[n, d])

@procedure
def counted(at: i64[2]) -> n(i64):
    """the numbers of a range from data"""
    n = 0
    for k in parallel(at[0], at[1]):
        n += 1

def ones(at: i64[2]) -> s(f64):
    """the same as a sum"""
    s = sum[k:at[0]:at[1]](1.0)

@procedure
def marked(x: mut[f64[N]], y: f64[N]):
    """reductions say where is written"""
    given(N >= 1)
    x[argmin[i](y[i])] = 1.0
    for k in range(3):
        x[argmax[i](y[i])] += max[i](y[i])

def times(x: f64[N], a: f64) -> s:
    """a sum, times a"""
    s = sum[i](x[i]) * a

def halves(x: f64[N]) -> y[N]:
    """halves"""
    y[i] = x[i] / 2.0

@procedure
def called_with(x: f64[N, M], y: f64[N], many: i64[K], z: mut[f64[N, M]]) -> (r(f64), s(f64), t(f64)):
    """reductions in what is passed, and in where the result goes"""
    given(N >= 1, 0 <= many[k], sum[k](many[k]) <= N)
    r = times(y, max[i](y[i]))
    s = times(x[argmax[i](y[i])], 2.0)
    t = times(y[:sum[k](many[k])], 1.0)
    z[argmin[i](y[i])] = halves(x[argmax[i](y[i])])
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


def test_what_is_taken_away_in_parallel_is_a_sum_too(k):
    x = np.random.default_rng(0).standard_normal(100_003).astype(np.float32)
    first = k.differences(x[:1000], threads=1)
    assert first[1:] == (2.0**1000, 5 + (x[:1000] > 0).sum())
    np.testing.assert_allclose(first[0], -x[:1000].sum(), rtol=1e-4)
    assert all(k.differences(x, threads=t)[0] == k.differences(x, threads=1)[0] for t in (2, 7))
    assert k.differences.unproved == []


def test_a_condition_with_a_sum_is_tested_in_each_round(k):
    x = np.full(10, 0.9, "f")
    assert k.until(x) == 4 and x.sum() <= 1 < 2 * x.sum()
    assert k.until(np.zeros(3, "f")) == 0


@pytest.mark.parametrize("at", [-1, 0, 3, 40, 41])
def test_a_sum_is_taken_only_where_its_condition_holds(k, at):
    x = np.arange(40, dtype="f") / 10
    inside = 0 <= at <= 40
    s, c, d, m = k.guarded_sums(x, at)
    assert s == pytest.approx(x[:at].sum() if inside else -1)
    assert c == (inside and x[:at].sum() > 2) and d == (not inside or (x[:at] > 2).any())
    assert m == pytest.approx(x.max() * 6)
    assert k.guarded_sums.unproved == []


def test_temporaries_take_no_names(k):
    x = np.random.default_rng(0).random((5, 40)).astype(np.float32)
    y, s = k.own_names(x)
    np.testing.assert_allclose(y, x.sum(1) + (x * x).sum(1) / 2, rtol=1e-5)
    assert s == 3


def test_a_sum_reads_the_old_values_of_what_is_written(k):
    r = np.random.default_rng(0)
    y, w = r.random(50).astype("f") + 1, r.random((50, 20)).astype("f") + 1
    want = y / (y[:, None] * w).sum(1)
    k.in_place(y, w)
    np.testing.assert_allclose(y, want, rtol=1e-5)


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


def test_a_product_that_is_not_proved_to_stay_inside_is_checked(k):
    r = np.random.default_rng(0)
    a, b = r.random((1000, 5), "f"), r.random((6, 37), "f")
    np.testing.assert_allclose(k.far(a, b, 1), a @ b[1:], rtol=1e-4)
    with pytest.raises(ValueError, match="far: an index out of range"):
        k.far(a, b, 2)


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


@pytest.mark.parametrize(("begin", "end", "n"), [
    (-5, 5, 10), (5, -5, 0), (2**62, 2**62 + 3, 3), (2**62, -(2**62) - 2**61, 0), (2**63 - 1, -(2**63), 0),
])  # fmt: skip
def test_a_range_that_ends_far_below_its_begin_is_empty(k, begin, end, n):
    at = np.array([begin, end])
    assert (k.counted(at), k.ones(at)) == (n, n)


def test_reductions_in_places_and_arguments(k):
    x, y = np.zeros(3), np.array([1.0, 5.0, 3.0])
    k.marked(x, y)
    assert x.tolist() == [1, 15, 0]
    x, z = np.arange(6.0).reshape(3, 2), np.zeros((3, 2))
    assert k.called_with(x, y, np.array([1, 1]), z) == (45, 10, 6)
    assert z.tolist() == [[1, 1.5], [0, 0], [0, 0]]
