"""The Python API: a spec's definitions as functions on numpy arrays.

k = vibee.load("my.vibee")
y = k.softmax(x)                  # numpy in, numpy out, nothing copied
k.softmax(x, out=y, threads=2)
dx = k.softmax.grad(x, dy)        # vector-Jacobian product
k.softmax.source, k.softmax.pyx   # the spec's text, the generated Cython
"""

from __future__ import annotations

import os

from .errors import SpecError
from .library import Library

__all__ = ["Library", "SpecError", "load"]


def load(path: str | bytes | os.PathLike[str] | os.PathLike[bytes], *, isa: str | None = None) -> Library:
    """Compile the spec at `path` for this machine and import it.

    Built code is cached by its content, so that only the first load of a spec runs the C
    compiler.  All mistakes of a spec are raised at once, as one SpecError.  `isa` ('v2', 'v3',
    'v4') asks for an instruction set below the machine's own.
    """
    from vibee.check import load as check

    name = os.fsdecode(path)
    if not os.path.isfile(name):
        what = "is a folder" if os.path.isdir(name) else "there is no such file"
        raise SpecError([f"{name}: {what}"])
    program = check(name)
    if program.errors:
        raise SpecError([str(e) for e in program.errors])
    return Library(program, isa)
