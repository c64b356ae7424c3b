"""Questions that were answered before, by content, in the cache folder: a build does not ask the same thing twice.

What was not proved is kept with the steps that the solver had: with as many it gives up again, on any machine.  The
name of the file holds a hash of all that decides an answer, the text of the prover and of expressions and the version
of the solver, so that after a change of any of them nothing is known.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from vibee.tree.expr import Expr

SIZE = 16  # bytes of one key
DECIDES = ("prove", "tree")  # the folders of vibee on whose text an answer depends


def key(facts: tuple[Expr, ...], goal: Expr) -> bytes:
    """What identifies a claim: the text of its parts, types included."""
    return _digest("\n".join([_text(goal), *sorted(map(_text, facts))]).encode())


def _text(e: Expr) -> str:
    return f"{e.op}:{e.dtype}:{e.attr!r}({','.join(map(_text, e.args))})"


def failed(which: bytes, steps: int) -> bytes:
    """What says of a claim that so many steps did not prove it."""
    return _digest(which + steps.to_bytes(8, "little"))


def _digest(data: bytes, size: int = SIZE) -> bytes:
    from hashlib import blake2b  # not in the one-file executable, which has no solver either

    return blake2b(data, digest_size=size).digest()


def known(which: bytes) -> bool:
    """Was this found before, or by another process meanwhile?"""
    return which in _known().found or which in _known().read_on()


def remember(which: bytes) -> None:
    """Keep an answer; a full or read-only disk only means that it is found again."""
    _known().found.add(which)
    try:
        fd = os.open(_file(), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(fd, which)
        finally:
            os.close(fd)
    except OSError:
        pass


class _Answers:
    """The keys in the file, which other processes write to as well."""

    def __init__(self) -> None:
        self.found: set[bytes] = set()
        self.length = 0  # bytes of the file that were read

    def read_on(self) -> set[bytes]:
        """All keys, with those that were added since the last look."""
        try:
            if os.stat(_file()).st_size - self.length >= SIZE:
                with open(_file(), "rb") as f:
                    f.seek(self.length)
                    data = f.read()
                whole = len(data) - len(data) % SIZE
                self.found.update(data[n : n + SIZE] for n in range(0, whole, SIZE))
                self.length += whole
        except OSError:
            pass
        return self.found


@cache
def _known() -> _Answers:
    return _Answers()


@cache
def _file() -> Path:
    from vibee.build.cache import cache_folder

    return cache_folder() / f"proofs-{_digest(b''.join(_decides(Path(__file__).parents[1])), 8).hex()}"


def _decides(vibee: Path) -> Iterator[bytes]:
    """All that decides an answer: the version of the solver, and texts below the folder of the package."""
    from importlib.metadata import PackageNotFoundError, version

    with suppress(PackageNotFoundError):
        yield version("z3-solver").encode()
    for folder in DECIDES:
        for part in sorted((vibee / folder).glob("*.py")):
            yield part.read_bytes()
