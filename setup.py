"""Packaging that pyproject.toml cannot express: specs/ is installed as the package vibee.specs.

In a checkout the specs stand beside the package, where people read and edit them; in a
wheel they must be inside it.  `vibee.runtime.paths.specs_dir` finds them in both.
"""

from __future__ import annotations

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent

spec_files = sorted(p.relative_to(ROOT / "specs").as_posix() for p in (ROOT / "specs").rglob("*.vibee"))
spec_packages = {"vibee.specs": "specs"}

setup(
    packages=[*find_packages(include=["vibee", "vibee.*"]), *spec_packages],
    package_dir=spec_packages,
    package_data={"vibee.specs": [*spec_files, "kernels.toml", "bench.toml"], "vibee": ["py.typed"]},
)
