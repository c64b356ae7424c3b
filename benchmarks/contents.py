"""What is inside dist/vibee, by weight: the bytes that each part takes in the file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from PyInstaller.archive.readers import CArchiveReader, ZlibArchiveReader

ROOT = Path(__file__).resolve().parent.parent


def parts(path: Path) -> list[tuple[str, int, int]]:
    """(name, bytes in the file, bytes unpacked) of every entry, and of the boot loader."""
    archive = CArchiveReader(str(path))
    found = []
    for name, entry in archive.toc.items():
        _, stored, unpacked, _, kind = entry
        found.append((f"{name} (byte code and kernels)" if kind == "z" else name, stored, unpacked))
    rest = path.stat().st_size - sum(stored for _, stored, _ in found)
    return [*found, ("boot loader and table of contents", rest, rest)]


def packages(path: Path) -> list[tuple[str, int]]:
    """Compressed bytes of the byte code archive, by top-level package; the kernels, which are in it too, one by one."""
    archive = CArchiveReader(str(path))
    name = next(n for n, e in archive.toc.items() if e[4] == "z")
    inner: ZlibArchiveReader = archive.open_embedded_archive(name)
    weights: dict[str, int] = {}
    for module, (_, _, length) in inner.toc.items():
        parts = 3 if module.startswith("vibee._kernels.") else 2 if module.startswith("vibee.") else 1
        top = ".".join(module.split(".")[:parts])
        weights[top] = weights.get(top, 0) + length
    return sorted(weights.items(), key=lambda item: -item[1])


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vibee", type=Path, default=ROOT / "dist" / "vibee")
    parser.add_argument("--all", action="store_true", help="not only the heaviest")
    args = parser.parse_args()
    found = sorted(parts(args.vibee), key=lambda item: -item[1])
    total = args.vibee.stat().st_size
    shown = found if args.all else found[:20]
    print(f"{'bytes':>12} {'unpacked':>12}  part")
    for name, stored, unpacked in shown:
        print(f"{stored:12,} {unpacked:12,}  {name}")
    if len(shown) < len(found):
        print(f"{sum(s for _, s, _ in found[20:]):12,} {'':>12}  {len(found) - 20} smaller parts")
    print(f"{total:12,} {'':>12}  {args.vibee.name}")
    print("\nbyte code and kernels, compressed:")
    for name, size in packages(args.vibee)[: 1000 if args.all else 15]:
        print(f"{size:12,}  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
