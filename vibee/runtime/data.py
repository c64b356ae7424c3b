"""The text to train on: files, folders and standard input, read as bytes."""

from __future__ import annotations

import os
import stat
import sys

from vibee.runtime.errors import UserError, one_line, os_error

_PROBE = 8192  # bytes looked at to tell text from something else in a folder
_PIECE = 1 << 20

TYPE_CHECKING = False
if TYPE_CHECKING:  # the typing module is not worth its start time
    from collections.abc import Sequence
    from typing import BinaryIO


class Data:
    """What was read: all bytes in one piece, and where they came from."""

    __slots__ = ("content", "files", "skipped")

    def __init__(self, content: bytes, files: list[str], skipped: list[str]) -> None:
        self.content, self.files, self.skipped = content, files, skipped

    def fingerprint(self) -> str:
        """Length and two checksums: enough to see that a run is resumed on other data."""
        from zlib import adler32, crc32

        return f"{len(self.content)}-{crc32(self.content):08x}-{adler32(self.content):08x}"


def read(places: Sequence[str], limit: int | None = None, stdin: BinaryIO | None = None) -> Data:
    """Read files, folders (recursively, in sorted order) and `-`, one after the other.

    Of a folder, hidden files and files that are no text (a zero byte near their start) are left
    out; a file that is named is taken as it is.  A line break is put between two files if the
    first ends without one.  More than `limit` bytes are an error, before the machine suffers.
    """
    parts: list[bytes] = []
    files: list[str] = []
    skipped: list[str] = []
    room = limit if limit is not None else 1 << 62
    for place in places:
        found: list[str | None] = []
        if place == "-":
            found.append(None)
        elif os.path.isdir(place):
            names, others = _walk(place)
            if not names:
                raise UserError(one_line(f"{place}: {_why_empty(others)}"))
            found.extend(names)
            skipped.extend(others)
        else:
            found.append(place)
        for name in found:
            shown = "standard input" if name is None else name
            part = _read_stdin(stdin, room) if name is None else _read_file(name, room)
            if parts and part and parts[-1] and not parts[-1].endswith(b"\n"):
                parts.append(b"\n")
            parts.append(part)
            files.append(shown)
            room -= len(part)
    content = parts[0] if len(parts) == 1 else b"".join(parts)
    if not content:
        raise UserError(one_line(f"{', '.join(files) or 'DATA'}: empty; give some text to train on"))
    return Data(content, files, skipped)


def _why_empty(others: list[str]) -> str:
    if others:
        return f"no text in this folder ({len(others)} files were not text); name a file to take it as it is"
    return "nothing in this folder (hidden files do not count)"


def _walk(folder: str) -> tuple[list[str], list[str]]:
    """The text files under a folder, and the files that are none."""
    texts: list[str] = []
    others: list[str] = []

    def refuse(e: OSError) -> None:
        raise os_error(e, "read the folder", e.filename or folder)

    for at, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in sorted(names):
            path = os.path.join(at, name)
            if name.startswith(".") or not os.path.isfile(path):
                continue
            try:
                with open(path, "rb") as f:
                    start = f.read(_PROBE)
            except OSError as e:
                raise os_error(e, "read", path) from None
            if b"\0" in start:
                others.append(path)
            elif start:
                texts.append(path)
    return texts, others


def _too_much(name: str, room: int) -> UserError:
    return UserError(one_line(f"{name}: more text than fits into memory ({room / 1e6:.0f} MB are left); give less"))


def _read_file(path: str, room: int) -> bytes:
    try:
        with open(path, "rb", buffering=0) as f:
            info = os.fstat(f.fileno())
            if stat.S_ISREG(info.st_mode) and info.st_size > room:
                raise _too_much(path, room)
            return _read_all(f, path, room)
    except OSError as e:
        raise os_error(e, "read", path) from None
    except ValueError:
        raise UserError(one_line(f"cannot read {path!r}: not a file name")) from None


def _read_stdin(stdin: BinaryIO | None, room: int) -> bytes:
    source = stdin if stdin is not None else getattr(sys.stdin, "buffer", None)
    if source is None:
        raise UserError("cannot read standard input: it is closed")
    try:
        return _read_all(source, "standard input", room)
    except (OSError, ValueError) as e:
        raise UserError(one_line(f"cannot read standard input: {e}")) from None


def _read_all(f: BinaryIO, name: str, room: int) -> bytes:
    """Everything up to the end, in pieces: a device or a pipe does not say how long it is."""
    parts: list[bytes] = []
    left = room
    while True:
        part = f.read(_PIECE)
        if not part:
            return b"".join(parts)
        left -= len(part)
        if left < 0:
            raise _too_much(name, room)
        parts.append(part)
