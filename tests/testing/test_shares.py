"""Generated tests call kernels with several threads that share the smallest work: a wrong share must be found."""

import numpy as np
import pytest

import vibee.api.library as library
import vibee.emit.parallel as parallel
from vibee import testing
from vibee.testing.subject import same_bits, sharing

SPEC = """
module("planted", version=1)


def twice(x: real[N, D]) -> y[N, D]:
    y[n, d] = 2 * x[n, d] + 1


@procedure
def rows(x: f32[N, D]) -> y(f32[N]):
    for n in parallel(N):
        for d in range(D):
            y[n] += x[n, d] + 1.0


def root(x: f32) -> y:
    y = sqrt(x * x + 1.0)


@model
def line(x: f32[N, C]) -> y(f32):
    given(N >= 1, C >= 1)
    w: f32[C] = 0.5
    y = total(x, w)


def total(x: f32[N, C], w: f32[C]) -> y:
    y = sum[n, c](x[n, c] * w[c])


def alone(n: i64) -> x(i64[4]):
    x[i] = n + i
"""


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """A spec whose loops leave out the first of their parts where threads share them."""
    monkeypatch.setenv("VIBEE_TEST_ISA", "v3")
    monkeypatch.setenv("VIBEE_TEST_CASES", "4")
    monkeypatch.setattr(library, "remembered", lambda program, isa, stem, keys, make: make())
    monkeypatch.setattr(parallel, "share", lambda n, t: f"({n} * {t} // threads if {t} > 0 else 1)")
    path = tmp_path / "planted.vibee"
    path.write_text(SPEC)
    return testing.spec(str(path))


@pytest.mark.parametrize("key", ["twice_f32", "rows", "root"])
def test_a_wrong_share_is_found(planted, key):
    with pytest.raises(AssertionError, match=rf"planted.vibee:\d+: {key}: y depends on the number of threads"):
        testing.agrees(planted[key])


def test_a_wrong_share_of_a_gradient_is_found(planted):
    with pytest.raises(AssertionError, match=r"twice_f32: d_x depends on the number of threads"):
        testing.gradient(planted["twice_f32"])


def test_a_wrong_share_of_a_model_is_found(planted):
    with pytest.raises(AssertionError, match="depends on the number of threads"):
        testing.model(planted["line"])


def test_the_limit_is_as_before_after_a_failure(planted):
    module = planted.library("v3")._builds["twice_f32"].module
    with pytest.raises(AssertionError), sharing(module, 5):
        raise AssertionError
    with sharing(module, 1):
        assert module.vb_share(480_000) == 480_000
    with sharing(np, 5):  # no module with loops to share
        pass


def test_the_bits_of_nan_do_not_count():
    one, other = (np.array([np.copysign(np.nan, sign), 1, 0], np.float32) for sign in (1, -1))
    assert one.tobytes() != other.tobytes() and same_bits(one, other)
    assert not same_bits(one, np.array([np.nan, 1, -0.0], np.float32))
    assert not same_bits(one, np.array([1, np.nan, 0], np.float32))
    assert same_bits(np.arange(3), np.arange(3)) and not same_bits(np.arange(3), np.zeros(3, int))
