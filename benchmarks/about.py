"""On what and with what was measured."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from functools import cache
from typing import Any

from vibee import __version__
from vibee.cli.bench import processor_name
from vibee.runtime.machine import isa_level

from .side import ROOT, processors


def output(*command: str) -> str:
    """What a program prints; empty if there is no such program."""
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def version(package: str) -> str | None:
    """The version of an installed package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def libraries() -> dict[str, str]:
    """What numpy and PyTorch compute products with."""
    import numpy as np

    found = {"openblas": np.show_config(mode="dicts")["Build Dependencies"]["blas"]["version"]}
    try:
        import torch
    except ImportError:
        return found
    match = re.search(r"Math Kernel Library Version ([\d.]+)", torch.__config__.show())
    return {**found, "mkl": match[1] if match else "none"}


@cache
def about(quick: bool) -> dict[str, Any]:
    """The machine and the versions."""
    packages = {name: version(name) for name in ("numpy", "torch", "cython")}
    return {
        "processor": processor_name(), "processors": processors(), "isa": f"x86-64-{isa_level()}",
        "system": platform.platform(), "python": platform.python_version(), "gcc": output("gcc", "-dumpfullversion"),
        "vibee": __version__, "commit": output("git", "rev-parse", "--short", "HEAD"), **packages, **libraries(),
        "quick": quick, "load": round(os.getloadavg()[0], 1),
    }  # fmt: skip
