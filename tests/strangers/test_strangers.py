"""Programs that were written from the documentation alone, compared with numpy."""

import functools
import math
from pathlib import Path

import numpy as np
import pytest

import vibee

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
THREADS = (1, 2, 5)


@functools.cache
def load(name):
    return vibee.load(HERE / f"{name}.vibee")


def slope(f, x, step=1e-5):
    """Central differences of a scalar function of one array."""
    g = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[at] += step
        down[at] -= step
        g[at] = (f(up) - f(down)) / (2 * step)
    return g


def gradient_agrees(f, arrays, cotangents, rest=(), rel=1e-5, **named):
    """f.grad beside central differences of sum(cotangent * output), for every array."""
    got = f.grad(*arrays, *rest, *cotangents, **named)
    got = got if isinstance(got, tuple) else (got,)

    def dot(*given):
        out = f(*given, *rest, **named)
        out = out if isinstance(out, tuple) else (out,)
        return sum((o * c).sum() for o, c in zip(out, cotangents, strict=True))

    for place, array in enumerate(arrays):
        numeric = slope(lambda a, p=place: dot(*arrays[:p], a, *arrays[p + 1 :]), array)
        assert np.allclose(got[place], numeric, rtol=rel, atol=rel), place
    return got


def conv_reference(x, w, b, stride, pad):
    n, _, height, width = x.shape
    f, _, k, m = w.shape
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    y = np.zeros((n, f, (height + 2 * pad - k) // stride + 1, (width + 2 * pad - m) // stride + 1), x.dtype)
    for i in range(y.shape[2]):
        for j in range(y.shape[3]):
            part = x[:, :, i * stride : i * stride + k, j * stride : j * stride + m]
            y[:, :, i, j] = np.einsum("ncpq,fcpq->nf", part, w) + b
    return y


CONVS = [
    (1, 1, 1, 1, 1, 1, 1, 1, 0),
    (2, 3, 7, 5, 4, 3, 3, 1, 1),
    (1, 2, 11, 13, 3, 3, 2, 2, 2),
    (3, 1, 5, 5, 1, 5, 5, 3, 0),
    (1, 0, 5, 7, 2, 3, 3, 1, 0),
    (0, 2, 5, 7, 2, 3, 3, 1, 0),
    (1, 2, 17, 19, 5, 3, 3, 2, 1),
    (1, 1, 1, 1, 2, 3, 3, 1, 1),
]


@pytest.mark.parametrize("sizes", CONVS)
def test_convolution(sizes):
    n, c, height, width, f, k, m, stride, pad = sizes
    random = np.random.default_rng(1)
    x, w, b = (random.standard_normal(s) for s in ((n, c, height, width), (f, c, k, m), f))
    expected = conv_reference(x, w, b, stride, pad)
    conv = load("conv2d").conv2d
    for threads in THREADS:
        assert np.allclose(conv(x, w, b, stride=stride, pad=pad, threads=threads), expected)
    single = conv(*(a.astype("f") for a in (x, w, b)), stride=stride, pad=pad)
    assert single.dtype == np.float32 and np.allclose(single, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sizes", [CONVS[0], CONVS[1], CONVS[3], CONVS[4], CONVS[5], CONVS[7]])
def test_gradient_of_convolution(sizes):
    n, c, height, width, f, k, m, stride, pad = sizes
    random = np.random.default_rng(2)
    x, w, b = (random.standard_normal(s) for s in ((n, c, height, width), (f, c, k, m), f))
    shape = conv_reference(x, w, b, stride, pad).shape
    conv = load("conv2d").conv2d
    d = random.standard_normal(shape)
    got = gradient_agrees(conv, (x, w, b), (d,), stride=stride, pad=pad)
    for threads in THREADS:
        again = conv.grad(x, w, b, d_y=d, stride=stride, pad=pad, threads=threads)
        assert all(np.array_equal(p, q) for p, q in zip(got, again, strict=True))


@pytest.mark.parametrize("n", [0, 1, 2, 7, 101])
def test_options(n):
    random = np.random.default_rng(n)
    spot, strike = random.uniform(50, 150, (2, n))
    time, sigma = random.uniform(0.1, 2, (2, n))
    rate = 0.03
    f = load("black_scholes").black_scholes
    call, put = f(spot, strike, time, rate, sigma)
    cdf = np.vectorize(lambda v: 0.5 * math.erfc(-v / math.sqrt(2)), otypes=[float])
    d1 = (np.log(spot / strike) + (rate + sigma**2 / 2) * time) / (sigma * np.sqrt(time))
    d2 = d1 - sigma * np.sqrt(time)
    paid = strike * np.exp(-rate * time)
    assert np.allclose(call, spot * cdf(d1) - paid * cdf(d2), rtol=1e-10)
    assert np.allclose(put, paid * cdf(-d2) - spot * cdf(-d1), rtol=1e-10)
    single = f(*(a.astype("f") for a in (spot, strike, time)), rate, sigma.astype("f"))
    assert np.allclose(single[0], call, atol=1e-3)
    delta, _, minus_theta, rho, vega = f.grad(spot, strike, time, rate, sigma, np.ones(n), np.zeros(n))
    density = np.exp(-(d1**2) / 2) / math.sqrt(2 * math.pi)
    assert np.allclose(delta, cdf(d1))
    assert np.allclose(vega, spot * density * np.sqrt(time))
    assert np.allclose(rho, (paid * time * cdf(d2)).sum())
    assert np.allclose(minus_theta, spot * density * sigma / (2 * np.sqrt(time)) + rate * paid * cdf(d2))
    put_delta = f.grad(spot, strike, time, rate, sigma, d_call=np.zeros(n), d_put=np.ones(n))[0]
    assert np.allclose(put_delta, cdf(d1) - 1)


def test_options_are_refused():
    one = np.ones(2)
    with pytest.raises(ValueError, match="sigma"):
        load("black_scholes").black_scholes(one, one, one, 0.0, 0 * one)


@pytest.mark.parametrize(("n", "m", "d"), [(0, 1, 3), (1, 1, 1), (5, 7, 3), (31, 37, 2), (3, 4, 0), (67, 129, 17)])
@pytest.mark.parametrize("dtype", ["f", "d"])
def test_distances(n, m, d, dtype):
    random = np.random.default_rng(3)
    x, y = random.standard_normal((n, d)).astype(dtype), random.standard_normal((m, d)).astype(dtype)
    expected = np.sqrt(((x[:, None] - y) ** 2).sum(2))
    k = load("distances")
    for threads in THREADS:
        assert np.allclose(k.distances(x, y, threads=threads), expected, rtol=1e-5)
        place, best = k.nearest(x, y, threads=threads)
        assert np.array_equal(place, expected.argmin(1)) and np.allclose(best, expected.min(1), rtol=1e-5)


@pytest.mark.parametrize("n", [1, 2, 3, 23])
def test_nearest_other(n):
    x = np.random.default_rng(4).standard_normal((n, 2))
    d = np.sqrt(((x[:, None] - x) ** 2).sum(2))
    d[np.arange(n), np.arange(n)] = np.inf
    assert np.array_equal(load("distances").other(x), d.argmin(1))


def test_gradient_of_distances():
    random = np.random.default_rng(5)
    x, y = random.standard_normal((3, 2)), random.standard_normal((5, 2))
    gradient_agrees(load("distances").distances, (x, y), (random.standard_normal((3, 5)),))


def test_gradient_through_the_nearest():
    random = np.random.default_rng(6)
    x, y, d = random.standard_normal((3, 2)), random.standard_normal((5, 2)), random.standard_normal(3)
    nearest = load("distances").nearest
    d_x, d_y = nearest.grad(x, y, d)
    assert np.allclose(d_x, slope(lambda a: nearest(a, y)[1] @ d, x))
    assert np.allclose(d_y, slope(lambda a: nearest(x, a)[1] @ d, y))


def life_reference(cell):
    around = sum(np.roll(cell, (a, b), (0, 1)) for a in (-1, 0, 1) for b in (-1, 0, 1) if (a, b) != (0, 0))
    return ((around == 3) | ((around == 2) & (cell == 1))).astype("u1")


@pytest.mark.parametrize(("h", "w"), [(0, 0), (0, 3), (1, 1), (1, 5), (2, 3), (7, 11), (64, 33)])
def test_life(h, w):
    cell = np.random.default_rng(7).integers(0, 2, (h, w), dtype="u1")
    k = load("life")
    expected = cell
    for steps in range(6):
        for threads in THREADS:
            last, alive = k.play(cell, steps, threads=threads)
            assert np.array_equal(last, expected) and alive == expected.sum()
        if h and w:
            expected = life_reference(expected)
            assert np.array_equal(k.life(last), expected)


@pytest.mark.parametrize("n", [0, 1, 2, 17, 1009])
@pytest.mark.parametrize("dtype", ["f", "d"])
def test_prefix_sums(n, dtype):
    x = np.random.default_rng(8).standard_normal(n).astype(dtype)
    y = load("areas").prefix(x)
    assert y.dtype == dtype and y.shape == (n + 1,)
    assert np.allclose(y, np.concatenate([[0], np.cumsum(x, dtype="d")]), atol=1e-4)


def test_gradients_of_sums():
    random = np.random.default_rng(9)
    gradient_agrees(load("areas").prefix, (random.standard_normal(7),), (random.standard_normal(8),))
    gradient_agrees(load("areas").summed_area, (random.standard_normal((3, 5)),), (random.standard_normal((3, 5)),))
    places = (np.array([0, 1, 2]), np.array([0, 2, 1]), np.array([3, 1, 3]), np.array([5, 4, 3]))
    x, d = random.standard_normal((3, 5)), random.standard_normal(3)
    box_sum = load("areas").box_sum
    assert np.allclose(box_sum.grad(x, *places, d), slope(lambda a: box_sum(a, *places) @ d, x))


@pytest.mark.parametrize(("h", "w"), [(0, 0), (0, 4), (1, 1), (1, 7), (13, 1), (31, 37)])
def test_areas(h, w):
    random = np.random.default_rng(10)
    x = random.standard_normal((h, w))
    k = load("areas")
    top, bottom = np.sort(random.integers(0, h + 1, (2, 20)), 0)
    left, right = np.sort(random.integers(0, w + 1, (2, 20)), 0)
    expected = [x[t:b, p:q].sum() for t, p, b, q in zip(top, left, bottom, right, strict=True)]
    for threads in THREADS:
        assert np.allclose(k.summed_area(x, threads=threads), x.cumsum(0).cumsum(1))
        assert np.allclose(k.box_sum(x, top, left, bottom, right, threads=threads), expected)


@pytest.mark.parametrize("n", [0, 1, 13, 1009])
@pytest.mark.parametrize("bins", [1, 2, 17])
def test_histogram(n, bins):
    x = np.random.default_rng(11).uniform(-1.5, 1.5, n)
    k = load("histogram")
    for threads in THREADS:
        count = k.histogram(x, -1.0, 1.0, K=bins, threads=threads)
        assert np.array_equal(count, np.histogram(x, bins, (-1, 1))[0])


@pytest.mark.parametrize("n", [0, 1, 13, 1009])
def test_weighted_histogram(n):
    random = np.random.default_rng(12)
    bin, other = random.integers(0, 5, (2, n), dtype="i4")
    w = random.standard_normal(n)
    k = load("histogram")
    expected = np.bincount(bin, w, minlength=5)
    first = k.weighted(bin, w, K=5)
    assert np.allclose(first, expected)
    for threads in THREADS:
        assert np.array_equal(k.weighted(bin, w, K=5, threads=threads), first)
    both = np.zeros((5, 7), "i4")
    np.add.at(both, (bin, other), 1)
    assert np.array_equal(k.joint(bin, other, A=5, B=7), both)
    d = random.standard_normal(5)
    assert np.allclose(k.weighted.grad(bin, w, d, K=5), d[bin])


@pytest.mark.parametrize(("h", "w"), [(0, 0), (1, 1), (13, 17)])
def test_mandelbrot(h, w):
    re, im = np.linspace(-2, 0.6, w), np.linspace(-1.2, 1.2, h)
    expected = np.zeros((h, w), "i4")
    for at in np.ndindex(h, w):
        z, c = 0j, complex(re[at[1]], im[at[0]])
        while expected[at] < 50 and z.real * z.real + z.imag * z.imag <= 4:
            z = z * z + c
            expected[at] += 1
    for threads in THREADS:
        assert np.array_equal(load("mandelbrot").mandelbrot(re, im, limit=50, threads=threads), expected)


@pytest.mark.parametrize(("c", "t"), [(0, 5), (1, 0), (1, 1), (3, 101)])
@pytest.mark.parametrize("dtype", ["f", "d"])
def test_filter(c, t, dtype):
    x = np.random.default_rng(13).standard_normal((c, t)).astype(dtype)
    b, a = np.array([0.2, 0.3, 0.1], dtype), np.array([2.0, -0.8, 0.3], dtype)
    y = np.zeros((c, t + 2))
    past = np.concatenate([np.zeros((c, 2)), x], 1)
    for i in range(t):
        forward = b[0] * past[:, i + 2] + b[1] * past[:, i + 1] + b[2] * past[:, i]
        y[:, i + 2] = (forward - a[1] * y[:, i + 1] - a[2] * y[:, i]) / a[0]
    for threads in THREADS:
        assert np.allclose(load("filters").biquad(x, b, a, threads=threads), y[:, 2:], atol=1e-5)


@pytest.mark.parametrize("t", [0, 1, 53])
def test_kalman(t):
    z = 1 + np.random.default_rng(14).standard_normal(t)
    x, p = load("filters").kalman(z, 0.01, 0.5)
    mean, var = 0.0, 1.0
    for i in range(t):
        var += 0.01
        gain = var / (var + 0.5)
        mean += gain * (z[i] - mean)
        var *= 1 - gain
        assert np.isclose(x[i], mean) and np.isclose(p[i], var)


@pytest.mark.parametrize(("n", "k", "d"), [(0, 1, 2), (1, 1, 1), (53, 3, 2), (101, 7, 5)])
def test_kmeans(n, k, d):
    random = np.random.default_rng(15)
    x, start = random.standard_normal((n, d)), random.standard_normal((k, d))
    c, was = start.copy(), np.full(n, -1)
    steps = 0
    while steps < 100:
        steps += 1
        place = ((x[:, None] - c) ** 2).sum(2).argmin(1)
        if (place == was).all():
            break
        was = place
        for at in range(k):
            if (place == at).any():
                c[at] = x[place == at].mean(0)
    for threads in THREADS:
        centre, got, taken = load("kmeans").kmeans(x, start, threads=threads)
        assert np.allclose(centre, c) and np.array_equal(got, place) and taken == steps


@pytest.mark.parametrize("n", [0, 1, 2, 13, 41])
def test_floyd_warshall(n):
    random = np.random.default_rng(16)
    w = np.where(random.random((n, n)) < 0.3, random.uniform(1, 5, (n, n)), np.inf)
    d = w.copy()
    np.fill_diagonal(d, 0)
    for k in range(n):
        d = np.minimum(d, d[:, k, None] + d[k])
    module = load("paths")
    assert np.allclose(module.floyd_warshall(w), d)
    assert np.allclose(module.floyd_warshall(w.astype("f")), d, rtol=1e-5)
    again, via = w.copy(), np.zeros((n, n), int)
    np.fill_diagonal(again, 0)
    assert module.shortest(again, via) is None
    assert np.allclose(again, d)
    for i, j in zip(*np.nonzero(via >= 0), strict=True):
        assert np.isclose(d[i, via[i, j]] + d[via[i, j], j], d[i, j])


@pytest.mark.parametrize(("r", "c"), [(0, 3), (1, 1), (17, 5), (101, 103)])
@pytest.mark.parametrize("dtype", ["f", "d"])
def test_sparse(r, c, dtype):
    random = np.random.default_rng(17)
    dense = np.where(random.random((r, c)) < 0.2, random.standard_normal((r, c)), 0).astype(dtype)
    x = random.standard_normal(c).astype(dtype)
    row, column = np.nonzero(dense)
    start = np.concatenate([[0], np.cumsum((dense != 0).sum(1))]).astype("i8")
    value, column = dense[row, column], column.astype("i4")
    k = load("sparse")
    for threads in THREADS:
        assert np.allclose(k.multiply(start, column, value, x, R=r, threads=threads), dense @ x, atol=1e-5)
        assert np.allclose(k.multiply_by_hand(start, column, value, x, threads=threads), dense @ x, atol=1e-5)
    if len(value):
        with pytest.raises(ValueError, match="column"):
            k.multiply(start, column + np.int32(c), value, x, R=r)


def test_gradient_of_sparse():
    random = np.random.default_rng(18)
    start, column = np.array([0, 2, 2, 5]), np.array([0, 3, 1, 2, 3], "i4")
    value, x, d = random.standard_normal(5), random.standard_normal(4), random.standard_normal(3)
    f = load("sparse").multiply
    d_value, d_x = f.grad(start, column, value, x, d, R=3)
    assert np.allclose(d_value, slope(lambda a: f(start, column, a, x, R=3) @ d, value))
    assert np.allclose(d_x, slope(lambda a: f(start, column, value, a, R=3) @ d, x))
