"""What contestants share: the libraries, each loaded as its users would load it, and arrays of numbers."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import numpy as np

from .side import ROOT
from .worker import Missing


def torch() -> Any:
    """PyTorch, with as many threads as the worker was given."""
    try:
        import torch as found
    except ImportError:
        raise Missing("torch is not here (make venv-peers)") from None
    found.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    return found


def threads() -> int:
    """The threads that the worker was given."""
    return int(os.environ["OMP_NUM_THREADS"])


@cache
def spec(path: str) -> Any:
    """A spec of vibee's, built for this machine (or for VIBEE_ISA)."""
    from vibee.api import load

    return load(ROOT / "specs" / f"{path}.vibee")


def room(*shape: int) -> np.ndarray:
    """An array that begins with a line of memory, as PyTorch's and vibee's do; numpy's begin 16 bytes later."""
    from vibee.api.arrays import empty  # here, so that no peer that makes its own arrays has vibee in its memory

    return empty(shape, "f32")


def normal(*shape: int, seed: int = 1) -> np.ndarray:
    """The same numbers for every contestant."""
    out = room(*shape)
    np.random.default_rng(seed).standard_normal(out=out, dtype=np.float32)
    return out
