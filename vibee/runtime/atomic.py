"""Several files replaced as one.

A save writes every new file beside the old one (`NAME.new`), then a journal that names them,
then renames them one by one, then removes the journal.  A reader that finds the journal takes
`NAME.new` where it still exists.  So whatever moment the process is killed in, the folder
reads as the old set of files or as the new one, never as a mixture.
"""

from __future__ import annotations

import os

from vibee.runtime.errors import ModelFileError, UserError, os_error

TYPE_CHECKING = False
if TYPE_CHECKING:  # the typing module is not worth its start time
    from collections.abc import Callable, Iterable
    from typing import BinaryIO

    Write = Callable[[BinaryIO], None]

JOURNAL = "vibee.commit"
_NEW = ".new"


def sync_folder(folder: str) -> None:
    """Make renames in a folder durable; some file systems cannot, which is no error."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError:
        pass


def open_file(path: str) -> BinaryIO:
    """A file, open for reading; OSError if it is a pipe or a device, which may never begin or never end."""
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        import errno

        raise OSError(errno.EINVAL, "a pipe or a device is in its place; put the file itself there")
    return open(path, "rb")


def _write_new(path: str, write: Write) -> None:
    """Write a file and put it on the disk; nothing is left behind if that fails."""
    try:
        with open(path, "wb") as f:
            write(f)
            f.flush()
            os.fsync(f.fileno())
    except BaseException:
        _remove(path)
        raise


def _remove(path: str) -> None:
    try:  # noqa: SIM105 (contextlib is not worth its start time)
        os.unlink(path)
    except OSError:
        pass


def make_folder(folder: str) -> None:
    """Create a folder and its parents; an error is the user's."""
    try:
        os.makedirs(folder, exist_ok=True)
    except FileExistsError:
        raise UserError(f"cannot create the folder {folder}: a file of that name is in the way") from None
    except NotADirectoryError:
        raise UserError(f"cannot create the folder {folder}: a part of the path is a file") from None
    except OSError as e:
        raise os_error(e, "create the folder", folder) from None


def write_file(path: str, write: Write | bytes) -> None:
    """Replace one file atomically."""
    folder = os.path.dirname(path) or "."
    try:
        _write_new(path + _NEW, _writer(write))
        os.replace(path + _NEW, path)
    except OSError as e:
        _remove(path + _NEW)
        raise os_error(e, "write", path) from None
    sync_folder(folder)


def _writer(content: Write | bytes) -> Write:
    if isinstance(content, bytes):
        data = content

        def write(f: BinaryIO) -> None:
            f.write(data)

        return write
    return content


def write_files(folder: str, files: dict[str, Write | bytes], remove: Iterable[str] = ()) -> None:
    """Replace a set of files of one folder as one; `remove` names files that the new set does not have.

    On an error the old set stands as it was.
    """
    finish(folder)
    for path in (os.path.join(folder, name) for name in files):
        if os.path.isdir(path):
            raise UserError(f"cannot write {path}: a folder is in its place; move it away or choose another folder")
    written: list[str] = []
    name = ""
    try:
        for name, content in files.items():
            path = os.path.join(folder, name + _NEW)
            written.append(path)
            _write_new(path, _writer(content))
        sync_folder(folder)
        gone = [n for n in remove if n not in files and os.path.lexists(os.path.join(folder, n))]
        lines = ["vibee commit 1", *files, *("-" + n for n in gone), "end", ""]
        name = JOURNAL
        path = os.path.join(folder, JOURNAL)
        _write_new(path + _NEW, _writer("\n".join(lines).encode()))
        os.replace(path + _NEW, path)
    except BaseException as e:
        # With a journal in place the new set counts, and nothing of it may go any more.
        if not os.path.exists(os.path.join(folder, JOURNAL)):
            for path in written:
                _remove(path)
            _remove(os.path.join(folder, JOURNAL + _NEW))
        if isinstance(e, OSError):
            raise os_error(e, "write", os.path.join(folder, name)) from None
        raise
    sync_folder(folder)
    finish(folder)


def pending(folder: str) -> tuple[list[str], list[str]]:
    """The files a journal says are to be replaced, and those to be removed; none without a journal."""
    path = os.path.join(folder, JOURNAL)
    try:
        with open_file(path) as f:
            lines = f.read(1 << 20).decode("utf-8", "replace").split("\n")
    except FileNotFoundError:
        return [], []
    except OSError as e:
        raise os_error(e, "read", path) from None
    names = lines[1:-2]
    bad = any(not n.lstrip("-") or "/" in n or "\0" in n for n in names)
    if lines[0] != "vibee commit 1" or lines[-2:] != ["end", ""] or bad:
        raise ModelFileError(path, "not a journal of vibee", "remove this file and train again if the model is damaged")
    return [n for n in names if n[0] != "-"], [n[1:] for n in names if n[0] == "-"]


def current(folder: str, name: str) -> str:
    """Where the current content of a file is: under its name, or waiting for its rename."""
    new = os.path.join(folder, name + _NEW)
    if os.path.exists(os.path.join(folder, JOURNAL)):
        replaced, gone = pending(folder)
        if name in replaced and os.path.exists(new):
            return new
        if name in gone:
            return os.path.join(folder, name + ".removed")
    return os.path.join(folder, name)


def finish(folder: str) -> None:
    """Carry out what a journal still asks for."""
    replaced, gone = pending(folder)
    if not replaced and not gone:
        _remove(os.path.join(folder, JOURNAL))
        return
    try:
        for name in replaced:
            path = os.path.join(folder, name)
            if os.path.exists(path + _NEW):
                os.replace(path + _NEW, path)
        for name in gone:
            _remove(os.path.join(folder, name))
        sync_folder(folder)
        path = os.path.join(folder, JOURNAL)
        os.unlink(path)
    except OSError as e:
        raise os_error(e, "write", path) from None
