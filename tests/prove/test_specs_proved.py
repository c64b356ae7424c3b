"""Every definition of specs/ is verified: nothing is refuted; what is not proved is in the table of docs/proofs.md."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from vibee.check import load
from vibee.check.modules import specs_root
from vibee.prove.report import KINDS
from vibee.prove.verify import REFUTED, UNPROVED, verify_program

ROOT = Path(specs_root())
SPECS = {str(p.relative_to(ROOT)): p for p in sorted(ROOT.glob("*/*.vibee"))}
PAGE = Path(__file__).resolve().parents[2] / "docs" / "proofs.md"
ROW = re.compile(r"^\| `([^`]+\.vibee)` \| (.*?) \| (\w+) \| (\d+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)

Unproved = Counter[tuple[str, str, str]]  # by file, definition, kind


def table() -> Unproved:
    """What the page says is not proved."""
    text = PAGE.read_text().partition("## What is not proved of `specs/`")[2]
    return Counter({
        (file, name, kind): int(count)
        for file, names, kind, count, *_ in ROW.findall(text)
        for name in re.findall(r"`(\w+)`", names)
    })  # fmt: skip


def test_the_table_is_read() -> None:
    rows = table()
    assert rows
    for file, _, kind in rows:
        assert file in SPECS
        assert kind in KINDS


# Of most files the loops are alike on all instruction sets; register tiles and what they copy are not.
TILED = ("core/attention.vibee", "foundation/tensor_ops.vibee")
CASES = [(file, "v3") for file in SPECS] + [(file, isa) for file in TILED for isa in ("v2", "v4")]


@pytest.mark.slow
@pytest.mark.parametrize(("file", "isa"), CASES)
def test_what_is_not_proved_is_in_the_table(file: str, isa: str) -> None:
    """A new one is a mistake of the spec, or belongs in the table with its reason; what is proved now leaves it."""
    found: Unproved = Counter()
    for v in verify_program(load(SPECS[file]), isa):
        refuted = [f"{x.span}: {x.text}: {x.counterexample}" for x in v.verdicts if x.outcome == REFUTED]
        assert not refuted
        found.update((file, v.definition.key, x.kind) for x in v.verdicts if x.outcome == UNPROVED)
    listed = Counter({row: count for row, count in table().items() if row[0] == file})
    assert (dict(found - listed), dict(listed - found)) == ({}, {}), "(not in the table, proved but in the table)"
