"""The helpers of these tests stand beside them."""

import os
import sys

import numpy as np
import pytest

sys.path.insert(0, os.path.dirname(__file__))


@pytest.fixture
def normal():
    """Numbers of the normal distribution, in an array of any shape."""
    rng = np.random.default_rng(7)
    return lambda *shape: rng.normal(size=shape)
