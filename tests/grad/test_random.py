"""Random formulas: nested reductions, conditions, index arithmetic, gathers, scans."""

import pytest
from grad_numeric import check
from grad_random import Writer


@pytest.mark.parametrize("seed", range(40))
def test_random(seed):
    w = Writer(seed)
    check(w.text(), **w.values())
