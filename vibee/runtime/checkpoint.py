"""The state a stopped training run goes on from.

`training.state` is a safetensors file of named buffers (weights, the optimiser's moments, ...)
with everything else as JSON in its metadata: step, seeds, options, the data's fingerprint.
Both are covered by checksums.  It is replaced in one go with the model's own files, so that a
folder always holds a model and the state that belongs to it.
"""

from __future__ import annotations

import os

from vibee.runtime import atomic, safetensors
from vibee.runtime.buffers import typed
from vibee.runtime.errors import ModelFileError, UserError, os_error
from vibee.runtime.jsontext import JsonError, dump, parse

TYPE_CHECKING = False
if TYPE_CHECKING:  # the typing module is not worth its start time
    from collections.abc import Mapping
    from typing import Any, BinaryIO

STATE = "training.state"
VERSION = 1
_FORMATS = {"f": "F32", "d": "F64", "b": "I8", "B": "U8", "h": "I16", "H": "U16", "i": "I32", "I": "U32",
            "q": "I64", "Q": "U64", "l": "I64", "L": "U64"}  # fmt: skip
_VIEWS = {"F32": "f", "F64": "d", "I8": "b", "U8": "B", "I16": "h", "U16": "H", "I32": "i", "U32": "I",
          "I64": "q", "U64": "Q"}  # fmt: skip
_ADVICE = "train again without --resume"


class State:
    """What was saved: `info` (JSON values) and `buffers` (read-only, copy them into your own)."""

    __slots__ = ("buffers", "info")

    def __init__(self, info: dict[str, Any], buffers: dict[str, memoryview]) -> None:
        self.info, self.buffers = info, buffers

    def restore(self, name: str, target: Any) -> None:
        """Copy a saved buffer into one of the run's; their sizes and types must agree."""
        into = memoryview(target)
        have = self.buffers.get(name)
        if have is None or have.format != into.format or have.nbytes != into.nbytes:
            raise UserError(f"the saved {name} do not fit this run; use the options of the first run, or {_ADVICE}")
        if into.nbytes:
            into.cast("B")[:] = have.cast("B")


def state_file(info: Mapping[str, Any], buffers: Mapping[str, Any]) -> atomic.Write:
    """A writer for the state file; the buffers are read when it is called."""
    from zlib import crc32

    text = dump({"version": VERSION, **info})
    metadata = {"vibee_state": text, "vibee_state_crc32": f"{crc32(text.encode()):08x}"}

    def write(f: BinaryIO) -> None:
        tensors = []
        for name, buffer in buffers.items():
            view = memoryview(buffer)
            shape = tuple(view.shape or ())
            tensors.append((name, _FORMATS[view.format], shape, (view,) if view.nbytes else ()))
        safetensors.write(f, tensors, metadata)

    return write


def save(
    folder: str, info: Mapping[str, Any], buffers: Mapping[str, Any], files: Mapping[str, atomic.Write | bytes]
) -> None:
    """Replace the state and the model's files together; on an error the old ones stand."""
    atomic.make_folder(folder)
    atomic.write_files(folder, {**files, STATE: state_file(info, buffers)})


def exists(folder: str) -> bool:
    """Is there a state to go on from?"""
    return os.path.exists(atomic.current(folder, STATE))


def load(folder: str) -> State:
    """The last complete state of a folder; an error in one line if there is none or it is damaged."""
    shown = os.path.join(folder, STATE)
    if not os.path.isdir(folder):
        raise UserError(f"{folder}: no such folder to resume from; train without --resume first")
    if not exists(folder):
        raise UserError(f"{folder}: nothing to resume from here (no {STATE}); train without --resume first")
    file = safetensors.read(atomic.current(folder, STATE), shown=shown)
    text = file.metadata.get("vibee_state")
    if text is None or safetensors.CHECKSUM not in file.metadata:
        raise ModelFileError(shown, "not a training state of vibee", _ADVICE)
    from zlib import crc32

    if f"{crc32(text.encode()):08x}" != file.metadata.get("vibee_state_crc32"):
        raise ModelFileError(shown, "the training state is damaged (the checksum differs)", _ADVICE)
    try:
        info = parse(text)
    except JsonError as e:
        raise ModelFileError(shown, f"the training state is damaged ({e})", _ADVICE) from None
    if not isinstance(info, dict) or info.pop("version", None) != VERSION:
        raise ModelFileError(shown, "the training state was written by another version of vibee", _ADVICE)
    buffers: dict[str, memoryview] = {}
    for name, tensor in file.tensors.items():
        if tensor.dtype not in _VIEWS:
            raise ModelFileError(shown, f"{name!r} has the unexpected dtype {tensor.dtype}", _ADVICE)
        buffers[name] = typed(tensor.data, _VIEWS[tensor.dtype])
    return State(info, buffers)


class Lock:
    """Keeps a second training run out of a folder, until it is closed or the process ends."""

    def __init__(self, folder: str) -> None:
        import errno
        import fcntl

        atomic.make_folder(folder)
        try:
            self._fd = os.open(folder, os.O_RDONLY)
        except OSError as e:
            raise os_error(e, "open the folder", folder) from None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            if e.errno in (errno.EWOULDBLOCK, errno.EACCES):
                os.close(self._fd)
                raise UserError(f"{folder}: another vibee is training into this folder; use --out") from None
            # A file system without locks: nothing to hold on to, and no reason to refuse.

    def close(self) -> None:
        """Let others in."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
