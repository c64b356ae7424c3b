"""Digests of the files that generated code follows from: what was made from the same files need not be made again."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from collections.abc import Iterable
from pathlib import Path

STAGES = ("tree", "check", "grad", "lower", "prove", "emit")
PACKAGE = Path(__file__).resolve().parents[1]


@functools.cache
def compiler_digest(*more: str) -> str:
    """Of the compiler's own files, and those of `more` folders of the package."""
    found = hashlib.sha256(str(importlib.util.find_spec("z3") is not None).encode())
    for stage in (*STAGES, *more):
        for file in sorted((PACKAGE / stage).glob("*.py")):
            found.update(file.name.encode() + b"\0" + file.read_bytes())
    return found.hexdigest()


def files_digest(paths: Iterable[Path]) -> str:
    """Of files, their names and what they hold."""
    found = hashlib.sha256()
    for path in sorted(set(paths)):
        found.update(str(path).encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()
