"""Generated text is kept beside the modules that it is built into, so that only the first load of a spec lowers and
proves it.  The name of a kept text tells everything that it follows from: the compiler, the files of the spec, the
instruction set and the definitions."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from vibee.build.cache import cache_folder
from vibee.build.sources import compiler_digest


def remembered(program: Any, isa: str, stem: str, keys: Iterable[str], make: Callable[[], str]) -> str:
    """The text that `make` gives for definitions of a program, made only once."""
    digest = hashlib.sha256("\0".join([compiler_digest(), isa, *keys]).encode())
    try:
        for module in program.modules.all():
            digest.update(module.path.encode() + b"\0" + Path(module.path).read_bytes())
    except OSError:
        return make()
    name = "".join(c if c.isascii() and c.isalnum() else "_" for c in stem)[:40]
    path = cache_folder() / f"{name}_{digest.hexdigest()[:20]}.text"
    try:
        return path.read_text()
    except OSError:
        text = make()
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        part.write_text(text)
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
    return text
