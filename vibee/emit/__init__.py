"""Lowered procedures -> one Cython text.

`emit_module` writes everything: a header of small C helpers, a `cdef` function for each
procedure (and one more for the body of each parallel loop), and Python wrappers with typed
memoryviews that check shapes, `given` and overlap before they let the native code run.
"""

from .module import called, emit_module

__all__ = ["called", "emit_module"]
