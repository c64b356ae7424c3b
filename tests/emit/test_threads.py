"""Loops use threads where there is enough work; a module can be told how much that is."""

import numpy as np
import pytest

import vibee

SPEC = """
module("shares", version=1)

def twice(x: f32[N]) -> y[N]:
    y[i] = 2 * x[i]

def product(a: f32[N, K], b: f32[K, M]) -> c[N, M]:
    c[i, j] = sum[k](a[i, k] * b[k, j])

def apart(a: f32[N], b: f32[N], c: f32[N], d: f32[N]) -> y[N]:
    y[i] = a[i] * exp(b[i]) - c[i] * exp(d[i])

def difference(a: f32, b: f32, c: f32, d: f32) -> y:
    y = a * exp(b) - c * exp(d)

def scaled(worth: f32, share: f32) -> y:
    y = worth * share

@procedure
def steps(x: f32[N]) -> y(f32[N]):
    for i in range(min(N, 1)):
        y[i] = 2 * x[i]
    for i in parallel(1, N):
        y[i] = 2 * x[i]

def tiled(x: f32[N]) -> y[N]:
    y[i] = 2 * x[i]
    with schedule(cpu): parallel(i); tile(i=3)
"""


@pytest.fixture(scope="module")
def k(tmp_path_factory):
    path = tmp_path_factory.mktemp("spec") / "shares.vibee"
    path.write_text(SPEC)
    return vibee.load(path)


@pytest.fixture
def everywhere(k):
    """Threads for every loop."""
    module = k._builds["twice"].module
    before = module.vb_share(0)
    yield
    assert module.vb_share(before) == 0


def test_the_work_that_threads_are_worth(k):
    module = k._builds["twice"].module
    before = module.vb_share(17)
    assert before == 480_000 and module.vb_share(before) == 17
    # an array of some 8000 numbers, whatever is done with them
    assert "vb__n * 58 > vb_worth" in k.scaled.pyx and before // 58 == 8275


@pytest.mark.parametrize("n", [0, 1, 2, 3, 5, 6, 17, 63, 64, 65, 127, 128, 129, 193, 321, 1001])
@pytest.mark.parametrize("threads", [1, 2, 5, 7])
def test_shares_without_an_element_are_right(k, everywhere, n, threads):
    x = np.arange(n, dtype=np.float32)
    for f in (k.twice, k.steps, k.tiled):
        y = np.full(n, -1, np.float32)
        assert (f(x, out=y, threads=threads) == 2 * x).all()
    assert (k.scaled(x, x, threads=threads) == x * x).all()


@pytest.mark.parametrize("n", [*range(1, 40), 64, 100, 127, 128, 129, 130, 200, 321, 1001])
def test_rounding_is_the_same_in_every_share(k, everywhere, n):
    """Vector loops and what is left over of them may fuse other products with sums."""
    x = np.random.default_rng(n).standard_normal((4, n)).astype(np.float32)
    for f in (k.apart, k.difference):
        assert len({f(*x, threads=threads).tobytes() for threads in (1, 2, 3, 5, 7)}) == 1


@pytest.mark.parametrize("shape", [(0, 3, 2), (2, 0, 2), (1, 3, 0), (1, 1, 1), (2, 3, 2), (25, 3, 2), (2, 3, 65)])
@pytest.mark.parametrize("threads", [2, 5])
def test_shares_of_a_product(k, everywhere, shape, threads):
    n, m, q = shape
    a, b = np.arange(n * m, dtype=np.float32).reshape(n, m), np.ones((m, q), np.float32)
    assert (k.product(a, b, threads=threads) == a @ b).all()
