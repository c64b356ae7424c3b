"""Maxima and minima in vectors pass over what is no number, wherever it stands, on every instruction set."""

import numpy as np
import pytest

import vibee
from vibee.runtime.machine import LEVELS, supported_levels

SPEC = """
def highest(x: f32[N, D]) -> high[N]:
    given(D >= 1)
    high[n] = max[d](x[n, d])


def lowest(x: f64[N, D]) -> low(f64[N]):
    given(D >= 1)
    low[n] = min[d](x[n, d])
"""


@pytest.fixture(scope="module", params=[isa for isa in LEVELS if isa in supported_levels()])
def maxima(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("maxima") / "maxima.vibee"
    path.write_text(SPEC)
    return vibee.load(path, isa=request.param)


@pytest.mark.parametrize("columns", [1, 15, 16, 17, 40, 64])
def test_what_is_no_number_gives_way(maxima, columns):
    x = np.random.default_rng(columns).standard_normal((columns, columns))
    x[np.diag_indices(columns)] = np.nan  # in each row at another place
    want = np.append(np.nanmax(x, axis=1), np.nanmin(x, axis=1)) if columns > 1 else [-np.inf, np.inf]
    found = np.append(maxima.highest(x.astype(np.float32)), maxima.lowest(x))
    np.testing.assert_allclose(found, want, rtol=1e-7)


def test_of_numbers_alone_there_is_one_and_of_none_the_least(maxima):
    assert maxima.highest(np.full((2, 40), np.nan, "f4")).tolist() == [-np.inf] * 2
    assert maxima.lowest(np.full((2, 40), np.nan)).tolist() == [np.inf] * 2
    x = np.full((1, 40), -np.inf)
    assert maxima.highest(x.astype("f4")).tolist() == [-np.inf]
    x[0, 21] = 3.0
    assert maxima.highest(x.astype("f4")).tolist() == [3.0]
    assert maxima.lowest(-x).tolist() == [-3.0]
