"""vibee.load: numpy in, numpy out; every wrong argument is named."""

import array
import functools
import os
import threading

import numpy as np
import pytest

import vibee
from vibee.api import arrays

SPEC = '''
module("api", version=1)
SCALE = 3.0

def softmax(x: real[N, D]) -> y[N, D]:
    """Row-wise softmax."""
    given(N >= 1, D >= 1)
    m[n] = max[d](x[n, d])
    y[n, d] = exp(x[n, d] - m[n]) / sum[e](exp(x[n, e] - m[n]))

def affine(x: real[N, K], w: real[M, K], b: real[M], gain: real = 2.0) -> y[N, M]:
    """gain (x w^T + b)"""
    y[n, m] = gain * (sum[k](x[n, k] * w[m, k]) + b[m])

def mse(x: real[N], t: real[N]) -> loss:
    """Mean squared error."""
    given(N >= 1)
    loss = sum[n]((x[n] - t[n]) ** 2) / real(N)

def minmax(x: real[N]) -> (lo[N], hi, at(i64)):
    """Three outputs."""
    lo[n] = cummin[n](x[n])
    hi = max[n](x[n])
    at = argmax[n](x[n])

def gather(w: f32[V, C], t: i32[N]) -> y[N, C]:
    """Rows by number."""
    given(0 <= t[n] < V)
    y[n, c] = w[t[n], c]

def bump(x: real, a: real = 2.0) -> y:
    """a x^2"""
    y = a * x * x

def root(x: f64) -> y:
    """Only of what has one."""
    given(x >= 0.0)
    y = sqrt(x)

def kind(n: i32) -> k(i32):
    """Remainder by three."""
    k = n % 3

def positive(x: f32[N]) -> p(bool[N]):
    """Where x is above zero."""
    p[n] = x[n] > 0.0

def chosen(p: bool[N], x: f32[N]) -> y[N]:
    """x where p."""
    y[n] = where(p[n], x[n], 0.0)

def halve(x: bf16[N]) -> y(bf16[N]):
    """Half of it, in bfloat16."""
    y[n] = bf16(f32(x[n]) * 0.5)

def grid(H: size, W: size, step: f64 = 0.5) -> y(f64[H, W]):
    """Sizes as numbers."""
    given(H >= 1, W >= 1)
    y[i, j] = f64(i * W + j) * step

def sorted_pick(x: f32[N], w: f32[M]) -> y:
    """Conditions over whole arrays."""
    given(N >= 1, all[n:N-1](x[n] <= x[n+1]), abs(sum[m](w[m]) - 1.0) < 0.001, argmax[m](w[m]) == 0)
    y = x[0]

def fill(N: size) -> y(real[N]):
    """One to N."""
    y[n] = real(n + 1)

@procedure
def halve_in_place(x: mut[real[N]], times: i64 = 1):
    """Halve every element."""
    given(times >= 0)
    for k in range(times):
        for n in parallel(N):
            x[n] = x[n] * 0.5

@procedure
def own(x: real[N]) -> y[N]:
    """The identity, with a gradient that tells that it was used."""
    gradient(own_backward)
    for n in parallel(N):
        y[n] = x[n]

@procedure
def own_backward(y: real[N], d_y: real[N]) -> d_x[N]:
    """Seven times the cotangent plus the output."""
    for n in parallel(N):
        d_x[n] = 7.0 * d_y[n] + y[n]

@procedure
def countdown(start: i64) -> n(i64[N]):
    """A size that only the output has."""
    given(start >= N)
    n[i] = start - i

def free(x: f32) -> y:
    """A name of the C library, that emitted code uses."""
    y = x + 1.0

def free_map(free: f32[N], threads: f32, _i: i64) -> result[N]:
    """The name that emitted code has for `free` of arrays; names of its variables."""
    result[n] = free[n] * threads + f32(_i)

@procedure
def f32c(ValueError: mut[f32[N, D]]) -> overlap(f64):
    """The name of a type of emitted code, of an exception, and of functions."""
    for INT64_MAX in parallel(N):
        memset: f32[D]
        memset[d] = 2.0 * ValueError[INT64_MAX, d]
        ValueError[INT64_MAX, d] = memset[d]
        overlap += f64(sum[d](memset[d]))

def f32c_p0(x: f32[N]) -> y:
    """The name that emitted code has for the loop of `f32c`."""
    y = sum[n](x[n])
'''


MORE = '''
module("more", version=1)

def flip(p: bool, x: f64) -> y:
    """Minus x where p."""
    y = where(p, -x, x)

def powers(x: f64) -> (a, b):
    """Two outputs."""
    a = x * x
    b = x * x * x

def cube(x: f64) -> y:
    """With a gradient of its own that does not need y."""
    y = x * x * x
    gradient(cube_gradient)

def cube_gradient(x: f64, d_y: f64) -> d_x:
    """Of cube."""
    d_x = 3.0 * x * x * d_y

def tail(x: f32[H], K: size) -> y[H - K]:
    """Without the first K."""
    y[i] = x[i + K]

def total(x: f64[N]) -> s:
    """The sum of squares."""
    s = sum[i](x[i] * x[i])

@procedure
def total_by_steps(x: f64[N]) -> s(f64):
    """The same."""
    implements(total)
    for i in range(N):
        s += x[i] * x[i]

@procedure
def total_of_nothing(x: f64[N]) -> s(f64):
    """The same, but it does not say so."""
    for i in range(N):
        s += x[i] * x[i]

def energy(x: f64[N]) -> e:
    """With a gradient of its own that does not need e."""
    e = sum[i](x[i] * x[i])
    gradient(energy_gradient)

def energy_gradient(x: f64[N], d_e: f64) -> d_x[N]:
    """Of energy, times ten."""
    d_x[i] = 20.0 * d_e * x[i]

def by_rows(row: i64[M], column: i32[E], x: f64[C]) -> y[M - 1]:
    """Without a derivative."""
    given(0 <= row[i] <= E, 0 <= column[e] < C)
    y[i:M - 1] = sum[e:row[i]:row[i + 1]](x[column[e]])

@procedure
def count_up(start: i64) -> (y(i64[N]), z(i64[N, M])):
    """Sizes that only the caller knows."""
    for n in range(N):
        y[n] = start + n
        for m in range(M):
            z[n, m] = y[n]
'''


@pytest.fixture(scope="module")
def k(tmp_path_factory):
    path = tmp_path_factory.mktemp("api") / "api.vibee"
    path.write_text(SPEC)
    return vibee.load(path)


@pytest.fixture(scope="module")
def more(tmp_path_factory):
    path = tmp_path_factory.mktemp("more") / "more.vibee"
    path.write_text(MORE)
    return vibee.load(path, isa="v2" if vibee.build.flags.has_levels() else None)


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def rand(*shape, dtype="f4"):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


def numeric(f, x, cotangent, h=1e-6):
    """Central differences of sum(f(x) * cotangent)."""
    out = np.zeros_like(x)
    for i in np.ndindex(*x.shape):
        a, b = x.copy(), x.copy()
        a[i] += h
        b[i] -= h
        out[i] = (np.sum(f(a) * cotangent) - np.sum(f(b) * cotangent)) / (2 * h)
    return out


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("threads", [None, 1, 3])
def test_arrays(k, dtype, threads):
    x = rand(17, 33, dtype=dtype)
    y = k.softmax(x, threads=threads)
    assert y.dtype == x.dtype
    np.testing.assert_allclose(y, softmax(x), rtol=1e-5)


def test_out_is_used(k):
    x = rand(4, 5)
    y = np.zeros((4, 5), "f4")
    assert k.softmax(x, out=y) is y
    np.testing.assert_allclose(y, softmax(x), rtol=1e-5)
    lo = np.zeros(5, "f4")
    got = k.minmax(x[0], out=(lo,))
    assert got[0] is lo and got[1] == x[0].max() and got[2] == x[0].argmax()


def test_large_outputs_begin_with_a_line_of_memory(k):
    y = k.softmax(rand(61, 67))
    assert y.__array_interface__["data"][0] % 64 == 0
    for size in (1024, 4096, 100_003):
        out = arrays.empty((size,), "f32")
        assert out.shape == (size,) and out.dtype == np.float32 and out.flags.c_contiguous and out.flags.writeable
        assert out.__array_interface__["data"][0] % 64 == 0
    assert arrays.empty((3, 0, 5), "f64").shape == (3, 0, 5) and arrays.empty((7, 3), "bf16").dtype == np.uint16


@pytest.mark.parametrize("make", [
    lambda v: array.array("f", v), lambda v: memoryview(array.array("f", v)), lambda v: np.array(v, "f4"),
    lambda v: memoryview(bytearray(array.array("f", v).tobytes())).cast("f"),
])  # fmt: skip
def test_any_buffer(k, make):
    lo, hi, at = k.minmax(make([3.0, 1.0, 4.0]))
    assert lo.tolist() == [3, 1, 1] and hi == 4.0 and at == 2


def test_nothing_is_copied(k):
    x = array.array("d", [8.0, 4.0])
    assert k.halve_in_place(x, times=2) is None
    assert x.tolist() == [2.0, 1.0]


def test_numbers(k):
    assert k.bump(3) == 18.0 and k.bump(3, a=1.0) == 9.0 and k.kind(-1) == 2
    assert k.bump(np.float32(3.0)) == 18.0
    assert k.root(4) == 2.0 and k.root(np.array([4.0, 9.0])).tolist() == [2.0, 3.0]
    x = rand(3, 4)
    np.testing.assert_allclose(k.bump(x), 2 * x * x)
    np.testing.assert_allclose(k.bump(x.astype("f8"), x.astype("f8")[:1]), x.astype("f8") ** 2 * x.astype("f8")[:1])
    assert k.bump(x).dtype == np.float32 and k.kind(np.arange(-3, 3, dtype="i4")).tolist() == [0, 1, 2, 0, 1, 2]
    y = np.zeros_like(x)
    assert k.bump(x, out=y) is y and (y == k.bump(x)).all()


def test_sizes(k):
    assert k.grid(2, W=3).tolist() == [[0.0, 0.5, 1.0], [1.5, 2.0, 2.5]]
    assert k.grid(H=1, W=2, step=2).tolist() == [[0.0, 2.0]]


def test_conditions_over_arrays(k):
    assert k.sorted_pick(np.array([1, 2, 2], "f4"), np.array([0.75, 0.25], "f4")) == 1.0


def test_dtype(k):
    assert k.fill(3, dtype="f32").dtype == np.float32 and k.fill(N=3, dtype=np.float64).dtype == np.float64
    assert k.fill(3, out=np.zeros(3)).dtype == np.float64
    assert k.bump(0.1, dtype="f32") == float(np.float32(2) * np.float32(0.1) * np.float32(0.1))
    with pytest.raises(ValueError, match="fill: there is no version for dtype i32"):
        k.fill(3, dtype="i32")


def test_bool_and_bf16(k):
    x = rand(9)
    p = k.positive(x)
    assert p.dtype == bool and (p == (x > 0)).all()
    assert (k.chosen(p, x) == np.where(x > 0, x, 0)).all()
    assert (k.chosen(bytearray(b"\1\0\2" + bytes(6)), x)[:3] == [x[0], 0, x[2]]).all()
    raw = (np.array([1.0, -3.0, np.inf], "f4").view("u4") >> 16).astype("u2")
    half = (k.halve(raw).astype("u4") << 16).view("f4")
    assert half.tolist() == [0.5, -1.5, np.inf]
    assert k.halve(raw.view(Named)).tolist() == k.halve(raw).tolist()


class Named(np.ndarray):
    """16 bits with the type name of a library for bfloat16."""

    class dtype:
        name = "bfloat16"

    def view(self, _):
        return np.asarray(memoryview(self))


def test_gradients(k):
    x, dy = rand(3, 5, dtype="f8"), rand(3, 5, dtype="f8") + 1
    np.testing.assert_allclose(k.softmax.grad(x, dy), numeric(k.softmax, x, dy), atol=1e-7)
    w, b, dz = rand(4, 5, dtype="f8"), rand(4, dtype="f8"), rand(3, 4, dtype="f8")
    dx, dw, db, dgain = k.affine.grad(x, w, b, 1.5, dz)
    np.testing.assert_allclose(dx, 1.5 * dz @ w, rtol=1e-9)
    np.testing.assert_allclose(dw, 1.5 * dz.T @ x, rtol=1e-9)
    np.testing.assert_allclose(db, 1.5 * dz.sum(0), rtol=1e-9)
    np.testing.assert_allclose(dgain, (dz * (x @ w.T + b)).sum(), rtol=1e-9)
    for got, want in zip(k.affine.grad(x, w, b, dz), k.affine.grad(x, w, b, 2.0, dz), strict=True):
        np.testing.assert_allclose(got, want)
    for got, want in zip(k.affine.grad(x, w, b, gain=2.0, d_y=dz), k.affine.grad(x, w, b, dz), strict=True):
        np.testing.assert_allclose(got, want)


def test_gradient_of_a_number(k):
    x, t = rand(6), rand(7)[:6].copy()
    dx, dt = k.mse.grad(x, t)
    np.testing.assert_allclose(dx, 2 * (x - t) / 6, rtol=1e-5)
    np.testing.assert_allclose(dt, -dx, rtol=1e-6)
    np.testing.assert_allclose(k.mse.grad(x, t, 3.0)[0], 3 * dx, rtol=1e-5)
    assert k.bump.grad(3.0, 2.0, 1.0) == (12.0, 9.0)
    dx, da = k.bump.grad(x, 2.0, np.ones_like(x))
    np.testing.assert_allclose(dx, 4 * x, rtol=1e-6)
    np.testing.assert_allclose(da, x * x, rtol=1e-6)


def test_gradient_of_ones_own(k):
    x, dy = rand(5), rand(5)
    np.testing.assert_allclose(k.own.grad(x, dy), 7 * dy + x, rtol=1e-6)


def test_a_gradient_follows_what_the_definition_states(more):
    x = np.array([1.0, -2.0])
    assert more.total_by_steps.grad(x, 3.0).tolist() == [6.0, -12.0]  # of the formula that it implements
    assert more.energy.grad(x, 3.0).tolist() == [60.0, -120.0]  # its own
    assert more.cube.grad(2.0, 1.0) == 12.0 and more.cube.grad(x, x).tolist() == [3.0, -24.0]


def test_gradients_of_several_numbers_element_by_element(more):
    x, d_a, d_b = np.array([1.0, -2.0]), np.array([1.0, 10.0]), np.array([0.5, 2.0])
    want = [1.0 * 2 + 0.5 * 3, 10.0 * -4 + 2.0 * 12]
    assert more.powers.grad(x, d_a, d_b).tolist() == want
    assert more.powers.grad(1.0, d_a[:1], d_b[:1]).tolist() == want[:1]


def test_a_condition_is_a_number_too(more):
    assert more.flip(True, 2.0) == -2.0 and more.flip(np.bool_(False), 2.0) == 2.0 and more.flip(1, 2.0) == -2.0
    assert more.flip(np.array([True, False]), 2.0).tolist() == [-2.0, 2.0]


def test_numbers_may_be_arrays_of_rank_0(k):
    assert k.kind(np.array(4, "i4")) == 1 and k.bump(np.array(3.0)) == 18.0


def test_sizes_that_only_the_caller_knows(more):
    y, z = more.count_up(5, N=2, M=1)
    assert y.tolist() == [5, 6] and z.tolist() == [[5], [6]]
    y, z = np.zeros(3, "i8"), np.zeros((3, 2), "i8")
    assert more.count_up(1, out=(y, z))[0] is y and z.tolist() == [[1, 1], [2, 2], [3, 3]]


def test_without_a_number_of_threads_it_is_that_of_the_processors(monkeypatch):
    from vibee.api.function import default_threads

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 6}, raising=False)
    assert default_threads() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert default_threads() == 7


def wrong(k, more):
    x, t = np.ones((4, 5), "f4"), np.zeros(4, "i4")
    wide = np.broadcast_to(np.float32(1), (1 << 46,))
    odd = np.frombuffer(bytearray(25), "f4", 6, offset=1)
    v = functools.partial(np.array, dtype="f4")
    frozen = np.ones(3, "f4")
    frozen.flags.writeable = False
    return [
        (lambda: k.softmax(), r"softmax: argument x is missing"),
        (lambda: k.softmax([[1.0]]), r"softmax: argument x must be an array .* got list"),
        (lambda: k.softmax(x.astype("i8")), r"argument x must be f32\[N, D\] or f64\[N, D\], got i64\[4, 5\]"),
        (lambda: k.softmax(x.astype(">f4")), r"argument x must be f32\[N, D\] or f64\[N, D\], got >f4\[4, 5\]"),
        (lambda: k.softmax(x[0]), r"argument x must have 2 axes"),
        (lambda: k.softmax(x[:, ::2]), r"argument x must be C-contiguous"),
        (lambda: k.softmax(x.T), r"argument x must be C-contiguous"),
        (lambda: k.softmax(x, out=x), r"softmax: y shares memory with x"),
        (lambda: k.softmax(x, out=x[:2].copy()), r"output y must have shape \[N, D\] = \[4, 5\], got \[2, 5\]"),
        (lambda: k.softmax(x, out=x.astype("f8")), r"output y must be f32\[N, D\], got f64"),
        (lambda: k.softmax(x, out=(x, x)), r"out must have 1 array"),
        (lambda: k.softmax(np.ones((4, 0), "f4")), r"softmax: given D >= 1 does not hold at D = 0"),
        (lambda: k.softmax(x, z=1), r"there is no argument z"),
        (lambda: k.softmax(x, x), r"2 arguments"),
        (lambda: k.softmax(x, x=x), r"argument x is given twice"),
        (lambda: k.softmax(x, threads=0), r"threads must be a whole number"),
        (
            lambda: k.affine(x, np.ones((2, 4), "f4"), np.ones(2, "f4")),
            r"argument w must have shape \[M, K\] = \[2, 5\]",
        ),
        (lambda: k.affine(x, np.ones((2, 5), "f8"), np.ones(2, "f4")), r"argument w must be f32\[M, K\], got f64"),
        (lambda: k.affine(x, np.ones((2, 5), "f4"), np.ones(2, "f4"), "a"), r"argument gain must be a number"),
        (lambda: k.gather(x, t + 4), r"gather: given .* does not hold at n = 0"),
        (lambda: k.gather(x, t - 1), r"gather: given .* does not hold at n = 0"),
        (lambda: k.halve_in_place(frozen), r"argument x is written to, but the array is read-only"),
        (lambda: k.halve_in_place(np.ones(3, "f4"), times=-1), r"given times >= 0 does not hold at times = -1"),
        (lambda: k.grid(2, -1), r"argument W must be a size"),
        (lambda: k.grid(2, 1.5), r"argument W must be a size"),
        (lambda: k.sorted_pick(v([2, 1]), v([1])), r"sorted_pick: given all\[n:N - 1\]\(.*\) does not hold at N = 2"),
        (lambda: k.sorted_pick(v([1, 2]), v([1, 1])), r"sorted_pick: given .* < 0.001 does not hold at M = 2"),
        (lambda: k.sorted_pick(v([1, 2]), v([0.25, 0.75])), r"sorted_pick: given argmax.* == 0 does not hold"),
        (lambda: k.root(-1.0), r"root: given x >= 0.0 does not hold at x = -1.0"),
        (lambda: k.root(np.array([4.0, -4.0])), r"root: given x >= 0.0 does not hold at x = -4.0"),
        (lambda: k.kind(2**31), r"argument n must be i32"),
        (lambda: k.kind(1.5), r"argument n must be a number \(i32\)"),
        (lambda: k.kind(np.ndarray), r"argument n must be a number \(i32\), got <class"),
        (lambda: k.kind([1, 2]), r"argument n must be a number \(i32\), got \[1, 2\]"),
        (lambda: k.kind(t, threads=True), r"threads must be a whole number from 1 to 4096, got True"),
        (lambda: k.kind(t, out=t), r"kind: output k shares memory"),
        (lambda: k.kind(t, out=(t, t)), r"out must have 1 array"),
        (lambda: k.bump(np.complex64(1)), r"argument x must be a number"),
        (lambda: k.affine(x, x, v([1, 1, 1, 1]), bytearray(b"1")), r"argument gain must be a number"),
        (lambda: k.bump(1.0, out=t), r"bump: out has no use here: the results are numbers"),
        (lambda: k.softmax(x, dtype="float23"), r"softmax: dtype must be one of f32, f64"),
        (lambda: k.countdown(5), r"countdown: the size N of the output n is needed"),
        (lambda: k.countdown(5, N=3, out=np.zeros(4, "i8")), r"argument N is 3, but output n has shape \[4\]"),
        (lambda: k.bump(v([1, 2]), v([1, 2, 3])), r"argument a has shape \[3\], but others \[2\]"),
        (lambda: k.softmax.grad(x), r"cotangent d_y is missing"),
        (lambda: k.softmax.grad(x, x[:2].copy()), r"d_y must have shape \[N, D\]"),
        (lambda: k.halve_in_place.grad(np.ones(3, "f4")), r"has no gradient"),
        (lambda: k.kind.grad(3), r"kind has no gradient: none of its outputs is a float"),
        (lambda: k.fill.grad(3, v([1, 2, 3])), r"fill has no gradient: none of its parameters is a float"),
        (lambda: k.mse.grad(v([1]), v([2]), 1.0, d_loss=1.0), r"mse.grad: argument d_loss is given twice"),
        (lambda: k.mse.grad(x[0], x[0], 1.0, 2.0), r"mse.grad: 2 cotangents, but there are 1 real outputs"),
        (lambda: k.bump(t), r"bump: argument x must be f32 or f64, a number or an array, got i32"),
        (lambda: k.bump(x, out=x[0].copy()), r"bump: output y must be f32 of shape \[4, 5\]"),
        (lambda: k.bump(x, out=np.ones((4, 10), "f4")[:, ::2]), r"output y must be C-contiguous, aligned and writable"),
        (lambda: k.bump(wide, 2.0), r"bump: no memory for argument x in the shape"),
        (lambda: k.grid(1 << 31, 1 << 31), r"grid: no memory for output y of shape \[2147483648, 2147483648\]"),
        (lambda: k.positive(odd), r"positive: argument x is not aligned to its element size"),
        (lambda: more.flip(2.0, 1.0), r"flip: argument p must be a bool, got 2.0"),
        (lambda: more.tail(x[0], 7), r"tail: output y would have shape \[-2\]; f32\[H - K\]"),
        (lambda: more.count_up(1), r"count_up: the size N of the output y is needed: N=... or out=..."),
        (lambda: more.count_up(1, M=2, out=np.zeros(3, "i8")), r"count_up: out must have 2 arrays, got 1"),
        (lambda: more.count_up(1, out=np.zeros(3, "i8")), r"count_up: the size M of the output z is needed"),
        (lambda: more.count_up(1, out=(t.astype("i8"), np.zeros(4, "i8"))), r"output z must have 2 axes"),
        (lambda: more.total_of_nothing.grad(np.ones(3)), r"no gradient: a procedure needs implements\(formula\) or"),
        (lambda: more.by_rows.grad(np.zeros(2, "i8"), t, np.ones(3), np.ones(1)), r"no gradient: .* state one"),
    ]  # fmt: skip


def test_wrong_arguments(k, more):
    for n, (call, message) in enumerate(wrong(k, more)):
        with pytest.raises((ValueError, MemoryError), match=message) as e:
            call()
        assert "\n" not in str(e.value), n


def test_names_of_the_emitted_code_are_free_to_use(k):
    x = np.ones((2, 3), "f4")
    assert k.free(1.0) == 2 and k.free(x).tolist() == [[2, 2, 2]] * 2
    assert k.free_map(x[0], 2.0, 3).tolist() == [5, 5, 5]
    assert k.f32c(x) == 12 and (x == 2).all() and k.f32c_p0(x[0]) == 6


def test_elements_of_any_buffer(k):
    x = array.array("d", [1, 2])
    assert k.bump(x).tolist() == k.bump(memoryview(x)).tolist() == [2, 8]


def test_what_is_known_of_a_function(k):
    assert k.softmax.__doc__ == "Row-wise softmax."
    assert "m[n] = max[d](x[n, d])" in k.softmax.source
    assert "cdef void c_softmax_f32(" in k.softmax.pyx and "def softmax_f32(const float[:, ::1] x" in k.softmax.pyx
    assert repr(k.softmax) == "<vibee softmax(x: real[N, D]) -> y(real[N, D])>"
    assert "softmax" in dir(k) and "exp" not in dir(k)
    with pytest.raises(AttributeError, match="has no definition 'nothing'"):
        _ = k.nothing
    assert repr(k).startswith("<vibee spec ") and "api.vibee: softmax, affine" in repr(k)


def test_what_the_package_offers_is_imported_when_asked_for():
    from vibee.build import BuildError

    assert vibee.BuildError is BuildError and set(vibee.__all__) <= {*dir(vibee), *vibee.__all__}
    with pytest.raises(AttributeError, match="module 'vibee' has no attribute 'nothing'"):
        _ = vibee.nothing


def test_threads_of_python(k):
    """Calls release the interpreter's lock and may run at the same time."""
    x = rand(64, 64)
    want, found = softmax(x), []
    workers = [threading.Thread(target=lambda: found.append(k.softmax(x, threads=2))) for _ in range(4)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    assert all(np.allclose(y, want, rtol=1e-5) for y in found) and len(found) == 4


def test_mistakes_are_told_together(tmp_path):
    path = tmp_path / "wrong.vibee"
    path.write_text(
        'module("wrong", version=1)\n\ndef f(x: f32[N]) -> y[N]:\n    y[n] = x[n] + z[n]\n\n'
        "def g(x: f32[N]) -> y[N]:\n    y[n] = nothing(x[n])\n"
    )
    with pytest.raises(vibee.SpecError) as e:
        vibee.load(path)
    lines = str(e.value).splitlines()
    assert isinstance(e.value, ValueError) and len(lines) == 2
    assert lines[0].startswith(f"{path}:4:") and lines[1].startswith(f"{path}:7:")
    with pytest.raises(vibee.SpecError, match="there is no such file"):
        vibee.load(tmp_path / "absent.vibee")
    with pytest.raises(vibee.SpecError, match="is a folder"):
        vibee.load(tmp_path)


def test_what_a_run_breaks_is_a_mistake_of_the_spec(tmp_path):
    path = tmp_path / "broken.vibee"
    path.write_text("@procedure\ndef f(y: mut[f64[N]], k: i64):\n    y[k] = 1.0\n    y[k + 1] = 2.0\n")
    with pytest.raises(vibee.SpecError) as e:
        vibee.load(path)
    assert [line.split(" ")[0] for line in str(e.value).splitlines()] == [f"{path}:3:5:", f"{path}:4:5:"]


def test_an_instruction_set_must_be_one_of_the_machines(tmp_path, monkeypatch):
    path = tmp_path / "one.vibee"
    path.write_text("def one(x: f32) -> y:\n    y = x\n")
    with pytest.raises(ValueError, match="isa must be one of v2, v3, v4, native, got 'avx'"):
        vibee.load(path, isa="avx")
    monkeypatch.setattr("vibee.api.library.supported_levels", lambda: ["v2"])
    with pytest.raises(ValueError, match="this processor does not have x86-64-v4"):
        vibee.load(path, isa="v4")


CONDITIONS = [
    "N >= 3 or M == 2", "not (N > M)", "-N < M", "where(N > M, N, M) == 5", "f64(N) / 2 < 1.5", "i32(2.5) == N",
    "N ** 3 == 8",
    "2 ** -M == 0", "f64(N) ** -1 < 0.3", "N // 2 + M % 4 * 2 - 1 == M", "(N & 6) | 1 == 3", "N ^ 1 != M",
    "1 << N == 4", "64 >> M == 2", "min(N, M) + max(N, M) == 7", "N <= M and M <= N",
]  # fmt: skip


@pytest.mark.parametrize("text", CONDITIONS)
def test_conditions_on_sizes_mean_what_they_mean_in_python(text):
    from vibee.api.values import value
    from vibee.check import load_text

    program = load_text(f"def f(x: f32[N], y: f32[M]) -> z:\n    given({text})\n    z = sum[n](x[n])\n", "t.vibee")
    program.raise_errors()
    (d,) = program.defs["f"]
    own = {"where": lambda c, a, b: a if c else b, "f64": float, "i32": int}
    for n, m in ((2, 5), (5, 2), (1, 1), (7, 64)):
        want = eval(text, {"N": n, "M": m, **own})
        assert all(value(g, {"N": n, "M": m}) for g in d.given) == bool(want), (n, m)


def test_a_size_divided_by_zero_is_none():
    from vibee.api.values import Unknown, size, value
    from vibee.tree.expr import Expr, load, var

    n = Expr("floordiv", (var("N"), var("K")), None, "i64")
    assert size(n, {"N": 7, "K": 2}) == 3 and size(n, {"N": 7, "K": 0}) == 0
    for other in (var("M"), load("x", (), "f32")):
        with pytest.raises(Unknown):
            value(other, {"N": 7})


def test_generated_text_is_kept_where_that_is_possible(tmp_path, monkeypatch):
    from types import SimpleNamespace

    from vibee.api import memo

    spec, made = tmp_path / "s.vibee", []
    spec.write_text("")
    program = SimpleNamespace(modules=SimpleNamespace(all=lambda: [SimpleNamespace(path=str(spec))]))

    def ask():
        return memo.remembered(program, "v3", "s", ["f"], lambda: made.append(1) or f"text {len(made)}")

    monkeypatch.setattr(memo, "cache_folder", lambda: tmp_path)
    assert [ask(), ask()] == ["text 1", "text 1"]
    spec.write_text("# changed\n")
    assert ask() == "text 2"
    monkeypatch.setattr(memo, "cache_folder", lambda: tmp_path / "full")  # nothing can be written there
    assert [ask(), ask()] == ["text 3", "text 4"]
    monkeypatch.setattr(memo, "cache_folder", lambda: tmp_path)
    spec.unlink()
    assert [ask(), ask()] == ["text 5", "text 6"]
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".text", ".text"]


def test_any_name_is_free_for_a_definition(tmp_path):
    path = tmp_path / "names.vibee"
    heads = "".join(f"def {n}(x: f32) -> y:\n    y = 2 * x\n\n" for n in ("text", "function", "mapped", "unproved"))
    path.write_text(heads)
    k = vibee.load(path)
    assert [f(1.5) for f in (k.text, k.function, k.mapped, k.unproved)] == [3] * 4
    assert k.text.unproved == []


def test_a_gradient_is_derived_once(tmp_path, monkeypatch):
    path = tmp_path / "half.vibee"
    path.write_text("def half(x: f64[N]) -> e:\n    e = sum[i](x[i] ** 2) / 2\n")
    k = vibee.load(path)
    x = np.array([1.0, 2.0])
    assert np.allclose(k.half.grad(x), x)
    monkeypatch.setattr("vibee.grad.vjp", None)
    assert np.allclose(k.half.grad(x, 2.0), 2 * x)
