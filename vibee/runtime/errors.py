"""The errors that a user sees: one line that says what is wrong and what to do."""

from __future__ import annotations

import os


class UserError(Exception):
    """Something the user can put right; shown as one line, exit status 2."""

    status = 2


class ModelFileError(UserError):
    """A file of a model folder is missing, damaged or not what it should be."""

    def __init__(self, path: str | os.PathLike[str], what: str, advice: str = "") -> None:
        text = f"{os.fspath(path)}: {what}"
        super().__init__(one_line(f"{text}; {advice}" if advice else text))
        self.path = os.fspath(path)


class OutOfMemoryForeseen(UserError):
    """The work asked for needs more memory than this machine has free."""


def one_line(text: str, limit: int = 400) -> str:
    """The text without line breaks and control characters, cut if it is absurdly long."""
    line = "".join(c if c.isprintable() else " " for c in text)
    return line if len(line) <= limit else line[: limit - 3] + "..."


def os_error(e: OSError, doing: str, path: str | os.PathLike[str]) -> UserError:
    """The user's version of an operating system error."""
    import errno

    name = os.fspath(path)
    if e.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(one_line(f"cannot {doing} {name}: the disk is full; free some space or choose another folder"))
    if e.errno == errno.EROFS:
        return UserError(one_line(f"cannot {doing} {name}: the file system is read-only; choose another folder"))
    if e.errno in (errno.EACCES, errno.EPERM):
        return UserError(one_line(f"cannot {doing} {name}: permission denied"))
    if e.errno == errno.ENOENT:
        return UserError(one_line(f"cannot {doing} {name}: no such file or folder"))
    return UserError(one_line(f"cannot {doing} {name}: {e.strerror or e}"))
