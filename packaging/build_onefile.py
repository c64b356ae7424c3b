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


def main() -> int:
    """Build, check, move into place."""
    if shutil.which("strip") is None:
        print("'strip' is missing: sudo apt-get install binutils (without it the file has 12 MB)", file=sys.stderr)
        return 1
    if missing := missing_kernels():
        print(f"no kernels for {', '.join(missing)} in vibee/_kernels: run `make kernels` first", file=sys.stderr)
        return 1
    work = ROOT / "build" / "onefile"
    out = work / "dist"
    # A private cache: PyInstaller's shared one keeps unstripped libraries of other builds.
    env = {**os.environ, "PYINSTALLER_CONFIG_DIR": str(work / "config"), "PYTHONHASHSEED": "1"}
    command = [sys.executable, "-m", "PyInstaller", "--clean", "-y", "--log-level=WARN"]
    command += [f"--workpath={work / 'work'}", f"--distpath={out}", str(ROOT / "packaging" / "onefile.spec")]
    if code := subprocess.run(command, cwd=ROOT, env=env, check=False).returncode:
        return code
    built = out / "vibee"
    size = built.stat().st_size
    if size >= LIMIT:
        print(f"dist/vibee would have {size:,} bytes, {LIMIT:,} are allowed (make contents)", file=sys.stderr)
        return 1
    target = ROOT / "dist" / "vibee"
    target.parent.mkdir(exist_ok=True)
    os.replace(built, target)
    print(f"dist/vibee: {size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
