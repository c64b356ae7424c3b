"""`vibee test`: the tests generated from specs, where Python and what they need is there."""

from __future__ import annotations

import sys


def test_specs(
    paths: list[str],
    seed: int | None,
    only: list[str],
    verbose: bool,
    jobs: int = 0,
    cases: int | None = None,
    isa: str | None = None,
) -> int:
    """Generate and run the tests of spec files; 0 if all passed, 1 if one failed, 2 for wrong input."""
    try:
        from vibee.testing import command
    except ImportError as e:
        what = f"{e.name} is missing" if e.name and not e.name.startswith("vibee") else "it is not in the executable"
        print(f"vibee test: {what}; in a Python environment: pip install 'vibee[test]'", file=sys.stderr)
        return 2
    return command.test_specs(paths, seed, only, verbose, jobs, cases, isa)
