"""tensor_ops against numpy, and against PyTorch where it is installed."""

from __future__ import annotations

import numpy as np
import pytest

TOLERANCE = {np.float32: 2e-5, np.float64: 1e-12}
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
SHAPES = pytest.mark.parametrize("m, k, n", [(1, 1, 1), (7, 5, 3), (33, 17, 65), (64, 128, 96), (130, 70, 41)])


@pytest.fixture(scope="module")
def ops(load):
    return load("foundation/tensor_ops")


def near(got, expected, dtype, scale=1.0):
    got = np.asarray(got)
    expected = np.asarray(expected)
    assert got.shape == expected.shape
    limit = TOLERANCE[dtype] * scale * max(1.0, float(np.abs(expected).max(initial=0.0)))
    assert np.abs(got - expected).max(initial=0.0) <= limit


@DTYPES
@SHAPES
def test_products(ops, rng, dtype, m, k, n):
    a = rng.normal(size=(m, k)).astype(dtype)
    b = rng.normal(size=(k, n)).astype(dtype)
    c = a @ b
    near(ops.matmul(a, b), c, dtype)
    near(ops.matmul_nt(a, np.ascontiguousarray(b.T)), c, dtype)
    near(ops.linear(a, np.ascontiguousarray(b.T)), c, dtype)
    near(ops.matmul_tn(np.ascontiguousarray(a.T), b), c, dtype)
    near(ops.matvec(a, np.ascontiguousarray(b[:, 0])), c[:, 0], dtype)
    bias = rng.normal(size=n).astype(dtype)
    near(ops.linear_bias(a, np.ascontiguousarray(b.T), bias), c + bias, dtype)


@DTYPES
def test_batched_product(ops, rng, dtype):
    a = rng.normal(size=(3, 9, 5)).astype(dtype)
    b = rng.normal(size=(3, 5, 11)).astype(dtype)
    near(ops.matmul_batched(a, b), a @ b, dtype)


@DTYPES
def test_elementwise(ops, rng, dtype):
    a = rng.normal(size=(13, 9)).astype(dtype)
    b = rng.normal(size=(13, 9)).astype(dtype)
    near(ops.add(a, b), a + b, dtype)
    near(ops.mul(a, b), a * b, dtype)
    near(ops.scale(a, 2.5), a * dtype(2.5), dtype)
    near(ops.axpy(a, b, 2.5), dtype(2.5) * a + b, dtype)
    near(ops.add_bias(a, np.ascontiguousarray(b[0])), a + b[0], dtype)
    near(ops.last_row(a), a[-1:], dtype)


@DTYPES
def test_reductions(ops, rng, dtype):
    x = rng.normal(size=(13, 37)).astype(dtype)
    near(ops.row_sum(x), x.sum(1), dtype)
    near(ops.row_mean(x), x.mean(1), dtype)
    near(ops.row_max(x), x.max(1), dtype)
    near(ops.row_norm(x), np.linalg.norm(x, axis=1), dtype)
    assert (np.asarray(ops.row_argmax(x)) == x.argmax(1)).all()
    ties = np.array([[1, 3, 3, 3], [2, 2, 2, 2]], dtype)
    assert list(np.asarray(ops.row_argmax(ties))) == [1, 0]


@DTYPES
@pytest.mark.parametrize("d", [1, 5, 64, 65, 200])
def test_softmax(ops, rng, dtype, d):
    x = (rng.normal(size=(11, d)) * 5 + 100).astype(dtype)
    e = np.exp(x - x.max(1, keepdims=True))
    y = e / e.sum(1, keepdims=True)
    near(ops.softmax(x), y, dtype)
    near(ops.softmax_online(x), y, dtype)
    near(ops.log_softmax(x), np.log(y), dtype)
    near(ops.log_softmax_online(x), np.log(y), dtype)


@DTYPES
def test_softmax_with_infinite_entries(ops, dtype):
    x = np.array([[-np.inf, 0.0, 0.0, -np.inf]], dtype)
    expected = np.array([[0, 0.5, 0.5, 0]], dtype)
    near(ops.softmax(x), expected, dtype)
    near(ops.softmax_online(x), expected, dtype)


@DTYPES
@pytest.mark.parametrize("d", [1, 16, 100])
def test_normalisation(ops, rng, dtype, d):
    x = (rng.normal(size=(9, d)) + 3).astype(dtype)
    w = rng.normal(size=d).astype(dtype)
    b = rng.normal(size=d).astype(dtype)
    centred = x - x.mean(1, keepdims=True)
    y = centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5)
    near(ops.layernorm(x, w), y * w, dtype, 5)
    near(ops.layernorm_bias(x, w, b), y * w + b, dtype, 5)
    near(ops.layernorm_welford(x, w), y * w, dtype, 5)
    near(ops.rmsnorm(x, w), x / np.sqrt((x**2).mean(1, keepdims=True) + 1e-5) * w, dtype)
    near(ops.rmsnorm(x, w, 0.5), x / np.sqrt((x**2).mean(1, keepdims=True) + 0.5) * w, dtype)


@DTYPES
def test_embeddings(ops, rng, dtype):
    tokens = rng.integers(0, 10, size=(3, 4)).astype(np.int32)
    w = rng.normal(size=(10, 6)).astype(dtype)
    p = rng.normal(size=(8, 6)).astype(dtype)
    near(ops.embedding(tokens, w), w[tokens], dtype)
    near(ops.embedding_positions(tokens, w, p), w[tokens] + p[:4], dtype)
    near(ops.embedding_positions(tokens, w, p, 3), w[tokens] + p[3:7], dtype)
    tokens[1, 2] = 10
    with pytest.raises(ValueError, match="tokens"):
        ops.embedding(tokens, w)
    tokens[1, 2] = -1
    with pytest.raises(ValueError, match="tokens"):
        ops.embedding(tokens, w)


@DTYPES
def test_cross_entropy(ops, rng, dtype):
    x = (rng.normal(size=(21, 65)) * 4).astype(dtype)
    target = rng.integers(0, 65, size=21).astype(np.int32)
    z = np.log(np.exp(x - x.max(1, keepdims=True)).sum(1)) + x.max(1)
    near(ops.cross_entropy(x, target), (z - x[np.arange(21), target]).mean(), dtype)
    far = np.array([[1000.0, -1000.0]], dtype)
    near(ops.cross_entropy(far, np.array([1], np.int32)), 2000.0, dtype)


@DTYPES
def test_top_k(ops, rng, dtype):
    x = rng.integers(0, 20, size=(15, 40)).astype(dtype)
    for k in (1, 5, 40):
        values, places = ops.top_k(x, K=k)
        order = np.argsort(-x, axis=1, kind="stable")[:, :k]
        assert (np.asarray(places) == order).all()
        assert (np.asarray(values) == np.take_along_axis(x, order, 1)).all()


@DTYPES
def test_activations_against_torch(ops, rng, dtype):
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    x = (rng.normal(size=(50, 20)) * 3).astype(dtype)
    b = rng.normal(size=(50, 20)).astype(dtype)
    t = torch.from_numpy(x)
    near(ops.gelu_rows(x), f.gelu(t), dtype)
    near(ops.gelu_tanh_rows(x), f.gelu(t, approximate="tanh"), dtype)
    near(ops.silu_rows(x), f.silu(t), dtype)
    near(ops.swiglu(x, b), f.silu(t) * torch.from_numpy(b), dtype)


@pytest.mark.slow
def test_gradients(ops, rng, check_gradient):
    x = rng.normal(size=(6, 9))
    b = rng.normal(size=(6, 9))
    w = rng.normal(size=9)
    m = rng.normal(size=(5, 9))
    tokens = rng.integers(0, 5, size=(2, 3)).astype(np.int32)
    p = rng.normal(size=(4, 9))
    check_gradient(ops.matmul, [x, np.ascontiguousarray(b.T)])
    check_gradient(ops.matmul_tn, [x, b])
    check_gradient(ops.matmul_batched, [rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 4, 5))])
    check_gradient(ops.linear, [x, m])
    check_gradient(ops.linear_bias, [x, m, rng.normal(size=5)])
    check_gradient(ops.row_max, [x])
    check_gradient(ops.row_norm, [x])
    check_gradient(ops.softmax, [x])
    check_gradient(ops.log_softmax, [x])
    check_gradient(ops.layernorm, [x, w])
    check_gradient(ops.layernorm_bias, [x, w, w + 1])
    check_gradient(ops.rmsnorm, [x, w])
    for f in (ops.gelu_rows, ops.gelu_tanh_rows, ops.silu_rows):
        check_gradient(f, [x])
    check_gradient(ops.swiglu, [x, b])
    check_gradient(ops.embedding, [tokens, m])
    check_gradient(ops.embedding_positions, [tokens, m, p])
    check_gradient(ops.cross_entropy, [x, rng.integers(0, 9, size=6).astype(np.int32)])


def test_wrong_shapes(ops):
    with pytest.raises(ValueError, match="b"):
        ops.matmul(np.zeros((2, 3), np.float32), np.zeros((4, 5), np.float32))
    with pytest.raises(ValueError, match="w"):
        ops.rmsnorm(np.zeros((2, 3), np.float32), np.zeros(4, np.float32))
