"""Where built modules are kept: a folder of the user's, or a private one that ends with the process."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
from pathlib import Path


def cache_folder() -> Path:
    """The folder for built modules; it exists and can be written to."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    home = os.path.expanduser("~")
    if not os.path.isabs(base):
        base = os.path.join(home, ".cache") if os.path.isabs(home) else ""
    if base:
        folder = Path(base) / "vibee"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # modules in it are executed, so nobody else may have put them there
            info = folder.stat()
            if info.st_uid == os.getuid() and not info.st_mode & 0o022 and os.access(folder, os.W_OK | os.X_OK):
                return folder
        except OSError:
            pass
    return _private()


@functools.cache
def _private() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="vibee-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
