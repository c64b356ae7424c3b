"""Lowered formulas against numpy: every strategy of loops, odd sizes, several thread counts."""

import numpy as np
import pytest

import vibee
from vibee.check import load
from vibee.emit import emit_module
from vibee.lower.unit import Unit

SPEC = '''
module("shapes", version=1)

third = 3

def softmax(x: real[N, D]) -> y[N, D]:
    """Row-wise softmax."""
    m[n] = max[d](x[n, d])
    y[n, d] = exp(x[n, d] - m[n]) / sum[e](exp(x[n, e] - m[n]))

def matmul(a: real[M, K], b: real[K, N]) -> c[M, N]:
    """a b"""
    c[i, j] = sum[k](a[i, k] * b[k, j])

def matmul_nt(a: real[M, K], b: real[N, K]) -> c[M, N]:
    """a b^T"""
    c[i, j] = sum[k](a[i, k] * b[j, k])

def matmul_tn(a: real[K, M], b: real[K, N]) -> c[M, N]:
    """a^T b"""
    c[i, j] = sum[k](a[k, i] * b[k, j])

def batched(a: real[B, M, K], b: real[B, K, N]) -> c[B, M, N]:
    """batched a b"""
    c[p, i, j] = sum[k](a[p, i, k] * b[p, k, j])

def bilinear(a: real[M, K, L], b: real[K, L, N]) -> c[M, N]:
    """two summed axes"""
    c[i, j] = sum[k, l](a[i, k, l] * b[k, l, j])

def affine(x: real[N, C], w: real[O, C], b: real[O]) -> y[N, O]:
    """rectified layer"""
    y[n, o] = max(sum[c](x[n, c] * w[o, c]) + b[o], 0.0)

def columns(x: real[N, D]) -> (s[D], m[D]):
    """down the rows"""
    s[d] = sum[n](x[n, d])
    m[d] = max[n](x[n, d])

def longest(x: real[N, K], w: real[K, D]) -> y[N, D]:
    """down the rows of one matrix, for every row of another"""
    top[n] = max[k](x[n, k])
    y[n, d] = max[k](x[n, k] - top[n] + w[k, d])

def row_sum(x: real[N, D]) -> y[N]:
    """along the rows"""
    y[n] = sum[d](x[n, d])

def row_max(x: real[N, D]) -> y[N]:
    """along the rows"""
    y[n] = max[d](x[n, d])

def total(x: real[N, D]) -> (s, m):
    """everything"""
    s = sum[n, d](x[n, d])
    m = max[n, d](x[n, d])

def best(x: real[N, D]) -> (a[N], i[N], t):
    """positions"""
    given(D >= 1)
    a[n] = argmax[d](x[n, d])
    i[n] = argmin[d](x[n, d])
    t = argmax[n](x[n, 0])

def logic(x: real[N, D]) -> (some[N], every[N]):
    """any, all"""
    some[n] = any[d](x[n, d] > 1.0)
    every[n] = all[d](x[n, d] < 1.0)

def scans(x: real[N, D]) -> (a[N, D], b[N, D], c[N, D]):
    """running sums along both axes"""
    a[n, d] = cumsum[d](x[n, d])
    b[n, d] = cumsum[n](x[n, d])
    c[n, d] = cummax[d](x[n, d])

def gather(w: real[V, C], t: i32[N]) -> y[N, C]:
    """rows by number"""
    given(0 <= t[n] < V)
    y[n, c] = w[t[n], c]

def scatter(x: real[N, C], t: i32[N], V: size) -> y[V, C]:
    """sums of rows by number"""
    given(0 <= t[n] < V)
    y[t[n], c] += x[n, c]

def conv(x: real[H, W], k: real[3, 3], P: size, Q: size) -> y[P, Q]:
    """stride 2"""
    given(H == 2 * P + 1, W == 2 * Q + 1)
    y[p, q] = sum[r, s](x[2 * p + r, 2 * q + s] * k[r, s])

def shifted(x: real[N]) -> y[N]:
    """differences with a guard"""
    y[n] = where(n > 0, x[n] - x[n - 1], 0.0)

def causal(x: real[T, T]) -> y[T]:
    """triangular"""
    y[t] = sum[s:t + 1](x[t, s])

def centred(x: real[N, D]) -> y[N, D]:
    """several uses of one row value"""
    mean[n] = sum[d](x[n, d]) / real(D)
    c[n, d] = x[n, d] - mean[n]
    var[n] = sum[d](c[n, d] ** 2) / real(D)
    y[n, d] = c[n, d] / sqrt(var[n] + 1e-5)

def groups(q: real[H, D], k: real[G, D]) -> y[H]:
    """grouped heads"""
    given(G >= 1, H % G == 0)
    y[h] = sum[d](q[h, d] * k[h // (H // G), d])

def scaled(x: real[N]) -> y[N]:
    """by the total"""
    s = sum[n](x[n])
    y[n] = x[n] / s

def names1(x: real[N, D]) -> (y[N, D], z):
    """a temporary with the name of something that lowering makes"""
    total[n] = sum[d](x[n, d])
    z = sum[n, d](x[n, d] * x[n, d])
    y[n, d] = total[(n + 1) % N] * x[n, d] + z

def names2(x: real[N, D]) -> (y[N], z[D]):
    """a temporary named as a second n would be"""
    n_2[n] = sum[d](x[n, d])
    y[n] = n_2[n] * 2.0 + sum[d](x[n, d] * n_2[N - 1 - n])
    z[d] = sum[n](x[n, d])

def names3(x: real[N, N]) -> y[N, N]:
    """shared loops whose equations swap their names"""
    s[j] = sum[d](x[j, d])
    q[i, j] = sum[d](x[i, d] * x[j, d] * x[i, j])
    y[i, j] = q[i, j] + s[j]

def added(x: real[N]) -> (s, z, y[N]):
    """numbers that are added to: an output, a temporary"""
    given(N >= 2)
    s = x[0]
    s += x[1]
    a = x[0]
    z = a * 3.0
    a += x[1]
    y[n] = x[n] * a

def both(a: f32, b: f32) -> s:
    """the same in a function of numbers"""
    t += a
    t += b
    s += t * 2.0
    s += a

def refilled(x: real[N, D], t: i32[N]) -> (y[N], z[N], u[N], v[N]):
    """sums are taken again after what they are kept in, or made of, was added to"""
    given(0 <= t[n] < N, D >= 1)
    y[n] = sum[d](x[n, d])
    u[n] = sum[m](y[m]) + x[n, 0]
    y[t[n]] += 1.0
    z[n] = sum[d](x[n, d]) * 2.0
    v[n] = sum[m](y[m]) + x[n, 0]

def picked(x: real[N], k: size) -> (y[N], z[4]):
    """added to single elements"""
    given(0 <= k < N)
    y[k] += sum[n](x[n])
    z[2] += x[0]
    z[2] += x[k]

def running(x: real[T]) -> y[T]:
    """functions of elements over ranges that grow"""
    m[t:T] = max[s:t + 1](exp(x[s]))
    y[t:T] = sum[s:t + 1](exp(x[s])) / m[t]

def ragged(x: real[N, D], t: i32[N]) -> (y[N], z[N]):
    """ranges that depend on data, inside others that do"""
    given(0 <= t[n] <= D, D <= N)
    y[n] = sum[d:t[n]](sum[e:t[d]](x[n, e]))
    z[n] = sum[d:t[n]](where(x[n, d] > 0, max[e:t[d]](x[n, e]), 0.0))

def cells(x: real[2 * N, D], N: size) -> y[N, D]:
    """constant positions that fold"""
    y[n, d] = x[2 * n + 7 % 2, d]

def scans_within(x: real[N, D]) -> (a[N, D], b[N, D], c[N, D], u[N, D], v[N, D]):
    """running values take in all elements, those too that the sum around them leaves out"""
    a[n, d] = sum[e:d + 1](cumsum[d](x[n, d]) * x[n, e])
    b[n, d] = max[e:d:D](cummax[d](x[n, d] * x[n, e]))
    c[n, d] = sum[e:n + 1](cumsum[n](x[n, d]) * x[e, d])
    u[n, d] = sum[e:d + 1](cumsum[d](sum[k:N](x[k, e] * x[n, d])))
    v[n, d] = where(d > 0, cumsum[d](where(d > 0, x[n, d - 1], 100.0)), 1.0)

def scans_ragged(x: real[N, D], t: i32[N]) -> (y[N], z[N]):
    """running values in ranges that depend on data"""
    given(0 <= t[n] <= D)
    y[n] = sum[d:t[n]](cumsum[n](x[n, d]))
    z[n] = sum[d:t[n], e:d](cummax[n](x[n, e] + cumsum[n](x[n, d])))

def scans_where(x: real[N, D], t: i32[N]) -> y[N, D]:
    """a sum in a running one, where what it reads exists"""
    y[n, d] = where(0 <= t[n] < N, cumsum[d](sum[e](x[t[n], e] * x[n, d])), 1.0)

def none_evaluated(x: real[N, D], w: real[M, D]) -> (y[N, D], z[N, D]):
    """sums for elements that do not exist"""
    y[n, d] = x[n, d] * sum[m](w[m, 0])
    z[n, d] = where(x[n, 0] > 0, sum[e](x[n, e]), real(sum[m:M](m // D)))

def none_shared(x: real[N, A, D]) -> (y[N], z[N]):
    """equal calls in sums without terms"""
    y[n] = sum[a:A, d:D](exp(x[n, A - 1, d]) * x[n, a, d])
    z[n] = sum[a:A, d:D](exp(x[n, A - 1, d]) + x[n, a, d]) * y[n]

def scaled_sum(x: real[N], alpha: real) -> s:
    """a temporary, an index, an output"""
    given(all[k](x[k] > -alpha))
    t = sum[k](x[k])
    s = t * alpha + 0.0 * cap(x, alpha)

def cap(x: real[N], p: real) -> s:
    """an index of the name of a size; ends that depend on another index"""
    s = sum[C:3, j:C](x[0] * real(N) * p)
    given(N >= 1)

def raised(x: real[N], b: real) -> y[N]:
    """an array of its own"""
    u[i] = x[i] + b
    y[i] = u[i] * 2.0

def clashes(C: real[k], j: real, i: real) -> (a, b, c, d, z[k]):
    """names of the callees mean something else here"""
    given(k >= 1, all[n](C[n] >= 0), j > 0, i > 0)
    a = scaled_sum(C, j)
    b = cap(C, i)
    t = 3.0 * C[0] + 1.0
    c = scaled_sum(C, t)
    s = 2.0 * j
    d = scaled_sum(C, s) + cap(C, s)
    u = C[0] * 10.0
    z = raised(C, u)

def powers(n: i32, m: u32) -> (a, b, c, d):
    """a power has the type of its base and exponent"""
    a = i64(2) ** n
    b = u64(4) ** m
    c = 2 ** n
    d = i64(1) << n

def shadowed(x: real[N]) -> y[N]:
    """an index with the name of a constant; the constant"""
    given(N > third)
    t[third] = x[third] * 2.0
    y[i] = t[i]
    y[third] += 1.0
'''


@pytest.fixture(scope="module")
def k(kept, quickly):
    with quickly():
        spec = vibee.load(kept("shapes.vibee", SPEC))
        spec.total(np.zeros((1, 1)))  # those for f64 are built with the first call
    return spec


def test_all_of_them_are_lowered_and_emitted(kept):
    """Also where the loops that the other tests run were kept from an earlier run."""
    unit = Unit(load(kept("shapes.vibee", SPEC)), "v3")
    definitions = [d for versions in unit.program.defs.values() for d in versions if not d.key.endswith("_f64")]
    text = emit_module(unit.reach(definitions))
    assert all(f"{d.key}(" in text for d in definitions)


def draw(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


SIZES = [(1, 1), (3, 5), (7, 17), (64, 64), (50, 130), (129, 33), (2, 1000)]
DTYPES = [np.float32, np.float64]


def close(a, b, dtype=np.float32):
    tol = 2e-4 if dtype == np.float32 else 1e-10
    np.testing.assert_allclose(a, b, rtol=tol, atol=tol)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n,d", SIZES)
def test_rows(k, n, d, dtype):
    x = draw(n, d, dtype=dtype)
    e = np.exp(x - x.max(1, keepdims=True))
    close(k.softmax(x), e / e.sum(1, keepdims=True), dtype)
    c = x - x.mean(1, keepdims=True)
    close(k.centred(x), c / np.sqrt((c**2).mean(1, keepdims=True) + 1e-5), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "m,n,kk",
    [(1, 1, 1), (3, 5, 7), (5, 40, 3), (48, 64, 32), (49, 65, 33), (100, 31, 600), (13, 9, 1030), (4, 4, 0), (0, 3, 2)],
)
def test_products(k, m, n, kk, dtype):
    a, b = draw(m, kk, dtype=dtype), draw(kk, n, dtype=dtype, seed=1)
    want = a @ b
    tol = dtype
    for threads in (1, 2, 3):
        np.testing.assert_allclose(k.matmul(a, b, threads=threads), want, atol=1e-3 if tol == np.float32 else 1e-9)
    np.testing.assert_allclose(k.matmul_nt(a, np.ascontiguousarray(b.T)), want, atol=1e-3)
    np.testing.assert_allclose(k.matmul_tn(np.ascontiguousarray(a.T), b), want, atol=1e-3)
    np.testing.assert_allclose(k.batched(a[None], b[None])[0], want, atol=1e-3)


@pytest.mark.parametrize("n,kk,d", [(1, 1, 1), (3, 5, 70), (17, 2, 129), (40, 33, 5)])
def test_greatest_sums(k, n, kk, d):
    x, w = draw(n, kk), draw(kk, d, seed=1)
    close(k.longest(x, w), (x[:, :, None] - x.max(1)[:, None, None] + w).max(1))


def test_two_summed_axes(k):
    a, b = draw(21, 5, 7), draw(5, 7, 37, seed=1)
    close(k.bilinear(a, b), np.einsum("ikl,klj->ij", a, b))


def test_epilogue(k):
    x, w, b = draw(33, 20), draw(19, 20, seed=1), draw(19, seed=2)
    close(k.affine(x, w, b), np.maximum(x @ w.T + b, 0))


@pytest.mark.parametrize("n,d", SIZES)
def test_reductions(k, n, d):
    x = draw(n, d)
    s, m = k.columns(x)
    close(s, x.sum(0))
    close(m, x.max(0))
    s, m = k.total(x)
    assert abs(s - x.sum(dtype=np.float64)) < 1e-2
    assert m == x.max()
    a, i, t = k.best(x)
    assert (a == x.argmax(1)).all()
    assert (i == x.argmin(1)).all()
    assert t == x[:, 0].argmax()
    some, every = k.logic(x)
    assert (np.asarray(some, bool) == (x > 1).any(1)).all()
    assert (np.asarray(every, bool) == (x < 1).all(1)).all()


@pytest.mark.parametrize("n,d", SIZES)
def test_scans(k, n, d):
    x = draw(n, d)
    a, b, c = k.scans(x)
    close(a, x.cumsum(1))
    close(b, x.cumsum(0))
    close(c, np.maximum.accumulate(x, 1))


def test_gather_and_scatter(k):
    w, t = draw(11, 70), np.random.default_rng(0).integers(0, 11, 40).astype(np.int32)
    assert (k.gather(w, t) == w[t]).all()
    x = draw(40, 70)
    want = np.zeros((11, 70), np.float32)
    np.add.at(want, t, x)
    for threads in (1, 2, 5):
        close(k.scatter(x, t, V=11, threads=threads), want)
    with pytest.raises(ValueError, match="t"):
        k.gather(w, np.array([11], np.int32))


def test_windows_guards_triangles(k):
    x, f = draw(21, 31), draw(3, 3, seed=1)
    want = np.zeros((10, 15), np.float32)
    for r in range(3):
        for s in range(3):
            want += x[r : r + 20 : 2, s : s + 30 : 2] * f[r, s]
    close(k.conv(x, f, P=10, Q=15), want)
    v = draw(100)
    close(k.shifted(v), np.concatenate([[0], np.diff(v)]))
    t = draw(77, 77)
    close(k.causal(t), np.tril(t).sum(1))
    q, g = draw(12, 20), draw(3, 20, seed=1)
    close(k.groups(q, g), (q * np.repeat(g, 4, 0)).sum(1))
    close(k.scaled(np.abs(v)), np.abs(v) / np.abs(v).sum())


def test_threads_do_not_change_a_bit(k):
    x = draw(3000, 70)
    first = k.total(x, threads=1)
    for threads in (2, 3, 8):
        assert k.total(x, threads=threads) == first
        for got, want in zip(k.columns(x, threads=threads), k.columns(x, threads=1), strict=True):
            assert (got == want).all()


def test_inf_and_nan_pass_through(k):
    x = draw(4, 40)
    x[1, 3] = np.inf
    x[2, 5] = np.nan
    s, m = k.columns(x)
    assert np.isinf(s[3]) and np.isnan(s[5]) and np.isinf(m[3])
    assert m[5] == np.nanmax(x[:, 5])


def test_names_are_never_captured(k):
    x = draw(13, 20, dtype=np.float64)
    y, z = k.names1(x)
    close(z, (x * x).sum(), np.float64)
    close(y, np.roll(x.sum(1), -1)[:, None] * x + (x * x).sum(), np.float64)
    y, z = k.names2(x)
    r = x.sum(1)
    close(y, r * 2 + r * r[::-1], np.float64)
    close(z, x.sum(0), np.float64)
    x = draw(9, 9, dtype=np.float64)
    close(k.names3(x), (x @ x.T) * x + x.sum(1), np.float64)


def test_what_is_added_to_a_number_comes_on_top(k):
    x = draw(5, dtype=np.float64)
    s, z, y = k.added(x)
    close(s, x[0] + x[1], np.float64)
    close(z, 3 * x[0], np.float64)
    close(y, x * (x[0] + x[1]), np.float64)
    assert k.both(3.0, 4.0) == 17


def test_a_sum_is_another_one_after_its_array_was_added_to(k):
    x, t = draw(5, 7, dtype=np.float64), np.array([1, 1, 0, 4, 1], np.int32)
    y, z, u, v = k.refilled(x, t)
    rows = x.sum(1)
    close(y, rows + np.bincount(t, minlength=5), np.float64)
    close(z, rows * 2, np.float64)
    close(u, rows.sum() + x[:, 0], np.float64)
    close(v, rows.sum() + 5 + x[:, 0], np.float64)


def test_single_elements_are_added_to(k):
    x = draw(6, dtype=np.float64)
    y, z = k.picked(x, k=4)
    close(y, [0, 0, 0, 0, x.sum(), 0], np.float64)
    close(z, [0, 0, x[0] + x[4], 0], np.float64)


def test_functions_of_elements_over_ranges_that_grow(k):
    x = draw(30, dtype=np.float64)
    close(k.running(x), np.exp(x).cumsum() / np.maximum.accumulate(np.exp(x)), np.float64)


def test_ranges_that_depend_on_data_inside_others(k):
    x, t = draw(20, 18, dtype=np.float64), np.random.default_rng(1).integers(1, 19, 20).astype(np.int32)
    y, z = k.ragged(x, t)
    close(y, [sum(x[n, : t[d]].sum() for d in range(t[n])) for n in range(20)], np.float64)
    close(z, [sum(x[n, : t[d]].max() for d in range(t[n]) if x[n, d] > 0) for n in range(20)], np.float64)


def test_constant_positions(k):
    x = draw(8, 3)
    assert (k.cells(x, N=4) == x[1::2]).all()


def test_running_values_in_sums_over_parts_of_a_range(k):
    x = draw(6, 6, dtype=np.float64)
    a, b, c, u, v = k.scans_within(x)
    run = x.cumsum(1)
    close(a, run * run, np.float64)
    products = np.maximum.accumulate(x[:, :, None] * x[:, None, :], 1)  # [n, d, e]
    close(b, np.where(np.triu(np.ones((6, 6), bool)), products, -np.inf).max(2), np.float64)
    close(c, x.cumsum(0) ** 2, np.float64)
    close(u, run * x.sum(0).cumsum(), np.float64)
    assert k.scans_within(np.array([[1.0, 2, 3]]))[0].tolist() == [[1, 9, 36]]
    assert k.scans_within(np.array([[1.0, 2, 3]]))[4].tolist() == [[1, 101, 103]]
    close(v[:, 1:], 100 + run[:, :-1], np.float64)


def test_running_values_in_ranges_that_depend_on_data(k):
    x, t = draw(20, 18, dtype=np.float64), np.random.default_rng(2).integers(0, 19, 20).astype(np.int32)
    y, z = k.scans_ragged(x, t)
    run = x.cumsum(0)
    close(y, [run[n, : t[n]].sum() for n in range(20)], np.float64)
    tops = np.maximum.accumulate(x[:, None, :] + run[:, :, None], 0)  # [n, d, e]
    close(z, [sum(tops[n, d, :d].sum() for d in range(t[n])) for n in range(20)], np.float64)


def test_a_sum_in_a_running_one_under_a_condition(k):
    x, t = draw(4, 5, dtype=np.float64), np.array([3, -1, 4, 0], np.int32)
    sums = np.array([x[3].sum(), 0, 0, x[0].sum()])
    want = np.where(((t >= 0) & (t < 4))[:, None], sums[:, None] * x.cumsum(1), 1.0)
    close(k.scans_where(x, t), want, np.float64)


def test_nothing_is_read_for_elements_that_do_not_exist(k):
    y, z = k.none_evaluated(np.zeros((2, 0)), np.zeros((3, 0)))
    assert y.shape == z.shape == (2, 0)
    y, _ = k.none_evaluated(np.ones((2, 4)), np.ones((3, 4)))
    assert (y == 3).all()
    y, z = k.none_shared(np.zeros((2, 0, 3)))
    assert y.tolist() == z.tolist() == [0, 0]
    x = draw(2, 3, 4, dtype=np.float64)
    y, z = k.none_shared(x)
    last = np.exp(x[:, -1:])
    close(y, (last * x).sum((1, 2)), np.float64)
    close(z, (last + x).sum((1, 2)) * y, np.float64)


def in_lanes(x, combine, start):
    """A reduction in 16 partial results, the rest in one of its own, combined in pairs."""
    whole = len(x) // 16 * 16
    parts = np.full(16, start, x.dtype)
    for k in range(0, whole, 16):
        parts = combine(parts, x[k : k + 16])
    rest = x.dtype.type(start)
    for v in x[whole:]:
        rest = combine(rest, v)
    half = 8
    while half:
        parts = combine(parts[:half], parts[half : 2 * half])
        half //= 2
    return combine(parts[0], rest)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("d", [0, 1, 15, 16, 17, 100, 1000])
def test_the_order_of_a_sum_is_that_of_the_lanes(k, d, dtype):
    x = np.random.default_rng(d).normal(size=(3, d)).astype(dtype)
    assert k.row_sum(x).tolist() == [in_lanes(row, np.add, 0) for row in x]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("d", [1, 16, 40, 1000])
def test_a_maximum_in_lanes_passes_over_nan(k, d, dtype):
    x = np.random.default_rng(d).normal(size=(4, d)).astype(dtype)
    x[1, ::3] = np.nan
    x[2] = np.nan
    x[3] = -np.inf
    assert k.row_max(x).tolist() == [in_lanes(row, np.fmax, -np.inf) for row in x]


def test_names_of_a_callee_are_not_those_of_its_caller(k):
    x = np.array([1.0, 2.0, 3.0])
    a, b, c, d, z = k.clashes(x, 1.5, 0.5)
    close([a, b, c, d], [9, 3 * 3 * 0.5, 24, 18 + 3 * 3 * 3], np.float64)
    close(z, [22, 24, 26], np.float64)


def test_powers_of_two_have_the_type_of_both(k):
    assert k.powers(33, 20) == (2**33, 2**40, k.powers(33, 20)[2], 2**33)
    assert k.powers(5, 1) == (32, 4, 32, 32)


def test_an_index_may_have_the_name_of_a_constant(k):
    assert k.shadowed(np.arange(5.0)).tolist() == [0, 2, 4, 7, 8]
