"""Cython text -> a native module: Cython and the C compiler run, the result is cached and imported."""

from .errors import BuildError
from .extension import build, load_extension

__all__ = ["BuildError", "build", "load_extension"]
