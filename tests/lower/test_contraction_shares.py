"""A product divided among threads: the same bits for any number of them, at every edge of tiles, blocks and shares."""

import numpy as np
import pytest

import vibee

TEXT = """
def nn(a: f32[M, K], b: f32[K, N]) -> c[M, N]:
    c[i, j] = sum[k](a[i, k] * b[k, j])

def nt(a: f32[M, K], b: f32[N, K]) -> c[M, N]:
    c[i, j] = sum[k](a[i, k] * b[j, k])

@procedure
def add(a: f32[K, M], b: f32[K, N], c: mut[f32[M, N]]):
    c[i, j] += sum[k](a[k, i] * b[k, j])
"""
# rows, summed, columns: one tile, its edges, more rows than columns and fewer, two runs of k, two blocks of columns
SHAPES = [
    (4, 1, 1), (5, 0, 3), (0, 4, 4), (12, 7, 32), (13, 513, 33), (48, 40, 31), (97, 65, 64), (300, 20, 64),
    (64, 20, 300), (12, 600, 1025), (1025, 33, 12), (60, 30, 2100), (200, 1030, 200),
]  # fmt: skip


@pytest.fixture(scope="module")
def products(tmp_path_factory):
    path = tmp_path_factory.mktemp("shares") / "shares.vibee"
    path.write_text(TEXT)
    return vibee.load(path)


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(("rows", "summed", "columns"), SHAPES)
@pytest.mark.slow
def test_products_are_right_and_the_same_for_any_number_of_threads(products, rows, summed, columns) -> None:
    a, b = drawn(rows, summed), drawn(summed, columns)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    one = products.nn(a, b, threads=1)
    np.testing.assert_allclose(one, exact, atol=1e-6 * (summed + 1) * 4)
    for threads in (2, 3, 5, 16):
        assert products.nn(a, b, threads=threads).tobytes() == one.tobytes()
        assert products.nt(a, np.ascontiguousarray(b.T), threads=threads).tobytes() == one.tobytes()


@pytest.mark.parametrize(("rows", "summed", "columns"), SHAPES)
def test_adding_to_what_is_there_takes_the_same_shares(products, rows, summed, columns) -> None:
    a, b, start = drawn(summed, rows), drawn(summed, columns), drawn(rows, columns)
    results = []
    for threads in (1, 2, 3, 16):
        c = start.copy()
        products.add(a, b, c, threads=threads)
        results.append(c.tobytes())
    assert len(set(results)) == 1
    np.testing.assert_allclose(c, start + a.T.astype(np.float64) @ b, atol=1e-6 * (summed + 1) * 4)
