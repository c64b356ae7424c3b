"""What can go wrong between a Cython text and a module."""

from __future__ import annotations


class BuildError(RuntimeError):
    """Generated code could not be turned into a module; one line that says why."""
