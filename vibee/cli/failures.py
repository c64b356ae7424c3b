"""What an exception means to a person at the prompt: one line each."""

from __future__ import annotations

import errno
import os


def explain(error: BaseException) -> str:
    """One line for any exception; errors made for users carry their own text."""
    if isinstance(error, MemoryError):
        text = str(error)
        return text or "out of memory; a smaller --batch, --width or --context needs less"
    if isinstance(error, OSError):
        name = error.filename
        if isinstance(name, bytes):
            name = os.fsdecode(name)
        what = error.strerror or str(error) or type(error).__name__
        if name is None and error.errno in (errno.ENOSPC, errno.EIO, errno.EBADF):
            return f"cannot write the output: {what}"
        return f"{name}: {what}" if name is not None else what
    text = " ".join(str(error).split()) or type(error).__name__
    if type(error).__module__.startswith("vibee") or isinstance(error, (ValueError, RuntimeError)):
        return text
    return f"internal error: {type(error).__name__}: {text} (VIBEE_DEBUG=1 shows where)"
