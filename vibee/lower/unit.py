"""The lowered procedures of a program, and what they reach."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vibee.tree.defs import Definition, Procedure

from . import Obligation, lower_with_report


class Unit:
    """Lowered procedures of a program, by instance name; derived definitions can be added."""

    def __init__(self, program: Any, isa: str, thorough: bool = False) -> None:
        self.program, self.thorough = program, thorough
        self.isa = isa if isa in ("v2", "v3", "v4") else "v2"  # how wide tiles are made elsewhere
        self.added: dict[str, Definition] = {}
        self.lowered: dict[str, Procedure] = {}
        self.obligations: dict[str, list[Obligation]] = {}  # what had to hold in each
        self.open: dict[str, list[Obligation]] = {}  # what of it could not be proved

    def by_key(self, key: str) -> Definition:
        """The definition with this instance name."""
        return self.added[key] if key in self.added else self.program.by_key(key)

    def add(self, d: Definition) -> Definition:
        """Register a derived definition, or give the one that has its key already, which is the same."""
        known = self.added.setdefault(d.key, d)
        assert known == d, f"two definitions are called {d.key}"
        return known

    def derived_key(self, key: str) -> str:
        """The key of something derived, which no definition of the spec has."""
        return str(self.program.derived_key(key))

    def procedure(self, d: Definition) -> Procedure:
        """The lowered form of a definition."""
        if d.key not in self.lowered:
            self.lowered[d.key], found = lower_with_report(self, d, self.isa, self.thorough)
            self.obligations[d.key], self.open[d.key] = found, [o for o in found if not o.proved]
        return self.lowered[d.key]

    def reach(self, definitions: Iterable[Definition]) -> list[Procedure]:
        """The lowered definitions and everything that they call."""
        from vibee.emit import called

        found: dict[str, Procedure] = {}
        todo = list(definitions)
        while todo:
            d = todo.pop()
            if d.key in found:
                continue
            found[d.key] = p = self.procedure(d)
            todo += [self.by_key(key) for key in called(p) if key not in found]
        return list(found.values())
