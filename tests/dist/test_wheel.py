"""A wheel holds the specs inside of the package: `pip install .` is enough for `vibee.load`."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_wheel_holds_every_spec_and_every_module(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        source.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, source)
    skip = shutil.ignore_patterns("__pycache__", "*.so", "*.pyx", "*.c", "*.log", "tmp-*")
    for name in ("vibee", "specs"):
        shutil.copytree(ROOT / name, source / name, ignore=skip)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-build-isolation", "--no-deps", "-w", "out", "./source"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = set(zipfile.ZipFile(next((tmp_path / "out").glob("*.whl"))).namelist())
    for path in (source / "specs").rglob("*.vibee"):
        assert f"vibee/specs/{path.relative_to(source / 'specs')}" in names
    assert "vibee/specs/kernels.toml" in names
    for path in (source / "vibee").rglob("*.py"):
        assert str(path.relative_to(source)) in names
