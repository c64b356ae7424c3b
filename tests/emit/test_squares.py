"""Squares of numbers turned over in registers, compiled for every level of this processor."""

import numpy as np
import pytest

import vibee
from vibee.runtime.machine import supported_levels

SPEC = '''"""Factors whose columns lie along the sum."""
module("squares", version=1)


def between(a: real[M, K], b: real[N, 2, K]) -> c[M, N]:
    c[i, j] = sum[k](a[i, k] * b[j, 1, k])


def batched(a: real[B, M, K], b: real[B, N, K]) -> c[B, M, N]:
    c[n, i, j] = sum[k](a[n, i, k] * b[n, j, k])


def later(a: real[M, K], b: real[N, K]) -> c[M, N]:
    c[i, j] = sum[k:3:K](a[i, k] * b[j, k])
'''
# the last are more than a run of the sum, so squares are turned over in two
SIZES = [(5, 8, 33), (13, 17, 16), (7, 35, 64), (4, 530, 33)]


@pytest.mark.slow
@pytest.mark.parametrize("isa", supported_levels())
def test_products_of_turned_squares_are_those_of_numpy(tmp_path, isa):
    (tmp_path / "squares.vibee").write_text(SPEC)
    spec = vibee.load(tmp_path / "squares.vibee", isa=isa)
    rng = np.random.default_rng(9)
    for dtype in (np.float32, np.float64):
        for rows, k, columns in SIZES:
            a, b = (rng.integers(-3, 4, (2, n, k)).astype(dtype) for n in (rows, columns))
            np.testing.assert_array_equal(spec.batched(a, b), a @ b.transpose(0, 2, 1))
            wide = np.stack([b[0], b[1]], 1)
            np.testing.assert_array_equal(spec.between(a[0], wide), a[0] @ b[1].T)
            np.testing.assert_array_equal(spec.later(a[0], b[0]), a[0][:, 3:] @ b[0][:, 3:].T)
