"""A definition run for every assignment of small sizes: the independent check of what the prover says."""

from __future__ import annotations

from vibee.lower.unit import Unit
from vibee.prove.refute import Search, as_written, assignments, machine, search
from vibee.prove.replay import Fault
from vibee.tree.defs import Definition
from vibee.tree.defs import statements as inner

__all__ = ["Search", "as_written", "assignments", "brute", "inner", "machine", "search"]


def brute(unit: Unit, d: Definition, top: int = 4, limit: int = 300) -> Fault | None:
    """The first fault of a definition for small sizes, or None."""
    return search(unit, d, top, limit).fault
