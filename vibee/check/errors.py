"""Mistakes of a spec: where, what is wrong, and what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from vibee.tree.expr import NOWHERE, Span


class SpecError(Exception):
    """One mistake.  `str()` gives `file:line:column: message`."""

    def __init__(self, span: Span, message: str) -> None:
        super().__init__(span, message)
        self.span = span
        self.message = message

    def __str__(self) -> str:
        return f"{self.span}: {self.message}" if self.span.line else f"{self.span.file}: {self.message}"


class Known(SpecError):
    """Raised where something depends on a part whose mistake is already reported; never shown."""

    def __init__(self) -> None:
        super().__init__(NOWHERE, "depends on something that has a mistake")


class SpecFailure(Exception):
    """A spec that cannot be used: all its mistakes."""

    def __init__(self, errors: list[SpecError]) -> None:
        super().__init__(errors)
        self.errors = errors

    def __str__(self) -> str:
        return "\n".join(map(str, self.errors))


class Errors:
    """Collects mistakes, each once, so that one run reports them all."""

    def __init__(self) -> None:
        self.items: list[SpecError] = []
        self._seen: set[tuple[str, int, int]] = set()

    def add(self, error: SpecError) -> None:
        """Keep `error` unless there is one at the same place already."""
        place = (error.span.file, error.span.line, error.span.col)
        if isinstance(error, Known) or (place in self._seen and error.span.line):
            return
        self._seen.add(place)
        self.items.append(error)

    def sorted(self) -> list[SpecError]:
        """In the order of the text; files in the order in which they were read."""
        files = list(dict.fromkeys(e.span.file for e in self.items))
        return sorted(self.items, key=lambda e: (files.index(e.span.file), e.span.line, e.span.col))


def suggest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or nothing if no known name is near."""
    near = difflib.get_close_matches(name, sorted(set(known) - {name}), n=1, cutoff=0.65)
    return f"; did you mean '{near[0]}'?" if near else ""


def count(n: int, thing: str) -> str:
    """`1 axis`, `2 axes`, `3 arguments`."""
    many = {"axis": "axes", "index": "indices"}.get(thing, thing + "s")
    return f"{n} {thing if n == 1 else many}"


def listed(names: Iterable[str]) -> str:
    """`a, b and c`."""
    items = list(names)
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1] if items else "none"
