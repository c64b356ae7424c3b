"""The error of a spec that cannot be compiled."""

from __future__ import annotations

from collections.abc import Iterable


class SpecError(ValueError):
    """All mistakes of a spec, a line each: `file:line:column: what is wrong; what would be right`."""

    def __init__(self, messages: Iterable[str]) -> None:
        self.messages = list(messages)
        super().__init__("\n".join(self.messages))
