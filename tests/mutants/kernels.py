"""The proofs of `cases.vibee`, and the generated tests of the definitions that are named, compiled quickly; 1 if any
fails.  With --wrong: 1 if a definition of `wrong.vibee` is proved."""

# ruff: noqa: E402
from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from edits import Source
from judge import Original, first_failure, prepare, proofs

from vibee.build import flags
from vibee.testing import checks
from vibee.testing.draw import KINDS
from vibee.testing.subject import Spec

KINDS_OF_TESTS = ("example", "agrees", "then", "implements", "gradient", "raises")


def safe() -> int:
    """A definition with a fault that is said to be safe."""
    s = Spec(str(HERE / "wrong.vibee"))
    proved = [name for name in s.definitions() if proofs(s.program, {name}) == ("", 0)]
    for name in proved:
        print(f"SAFE {name}")
    return bool(proved)


def main() -> int:
    """The first test or proof that fails."""
    path = HERE / "cases.vibee"
    with TemporaryDirectory() as folder:
        prepare(os.environ.get("XDG_CACHE_HOME", folder))  # what was proved for one change is known for the next
        flags.COMMON = ("-O0", *flags.COMMON[1:])
        checks.drawn.__defaults__ = (8, KINDS, 30_000)
        if sys.argv[1:] == ["--wrong"]:
            return safe()
        s = Spec(str(path))
        refuted, unproved = proofs(s.program, set(sys.argv[1:]) or set(s.definitions()))
        if refuted or unproved:
            print(f"PROOF {refuted or unproved}")
            return 1
        names = set(sys.argv[1:])
        source = Source(path.read_text())
        needed = {n for name in names for n in source.around(name)[1]}
        part = Path(folder) / "cases.vibee"
        part.write_text(source.only(needed))
        o = Original(source, part, "", names, source.text, names, names)
        failed = first_failure(Spec(str(part)), o, KINDS_OF_TESTS, names) if names else []
        if failed:
            print(f"FAILED {failed[0]}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
