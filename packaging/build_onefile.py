"""Build dist/vibee and refuse a result that is too large.  Usage: python packaging/build_onefile.py"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 10_000_000
KERNELS = ("v2", "v3", "v4")


def missing_kernels() -> list[str]:
    """The instruction sets whose kernel module has not been built."""
    folder = ROOT / "vibee" / "_kernels"
    return [isa for isa in KERNELS if not list(folder.glob(f"*{isa}*.so"))]


def build(compress: bool) -> Path | None:
    """The file that PyInstaller makes, libraries compressed or not; None if it fails."""
    work = ROOT / "build" / "onefile"
    out = work / "dist"
    # A private cache: PyInstaller's shared one keeps unstripped libraries of other builds.
    config = {"PYINSTALLER_CONFIG_DIR": str(work / "config"), "PYTHONHASHSEED": "1"}
    env = {**os.environ, **config, "VIBEE_COMPRESS": "1" if compress else "0"}
    command = [sys.executable, "-m", "PyInstaller", "--clean", "-y", "--log-level=WARN"]
    command += [f"--workpath={work / 'work'}", f"--distpath={out}", str(ROOT / "packaging" / "onefile.spec")]
    done = subprocess.run(command, cwd=ROOT, env=env, check=False)
    return out / "vibee" if done.returncode == 0 else None


def main() -> int:
    """Build, check, move into place."""
    if shutil.which("strip") is None:
        print("'strip' is missing: sudo apt-get install binutils (without it the file has 12 MB)", file=sys.stderr)
        return 1
    if missing := missing_kernels():
        print(f"no kernels for {', '.join(missing)} in vibee/_kernels: run `make kernels` first", file=sys.stderr)
        return 1
    for compress in (False, True):
        built = build(compress)
        if built is None:
            return 1
        size = built.stat().st_size
        if size < LIMIT:
            break
        if not compress:
            print(f"{size:,} bytes with this Python's libpython stored raw: compressing it (20 ms more at each start)")
    else:
        print(f"dist/vibee would have {size:,} bytes, {LIMIT:,} are allowed (make contents)", file=sys.stderr)
        return 1
    target = ROOT / "dist" / "vibee"
    target.parent.mkdir(exist_ok=True)
    os.replace(built, target)
    print(f"dist/vibee: {size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
