"""A model as its derived procedures: init, sizes, forward, loss, gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vibee.tree.defs import Definition

if TYPE_CHECKING:
    from .library import Library


class ModelFunctions:
    """The procedures of a model as attributes, lowered and built when first used."""

    def __init__(self, library: Library, name: str, definitions: list[Definition]) -> None:
        self._library, self._name, self._definitions = library, name, definitions
        self._lowered: dict[str, list[Definition]] = {}
        self.source = definitions[0].source
        self.__doc__ = definitions[0].doc

    def _procedures(self) -> dict[str, list[Definition]]:
        from vibee.lower.model import lower_model

        if not self._lowered:
            for m in self._definitions:
                lowered = lower_model(m, self._library._unit)  # type: ignore[arg-type]
                for p in lowered.procedures:
                    part = p.name.removeprefix(f"{m.name}_")
                    self._lowered.setdefault(part, []).append(self._library._unit.add(p))
        return self._lowered

    def __getattr__(self, part: str) -> Any:
        from .function import Function

        if not part.startswith("_"):
            found = self._procedures().get(part)
            if found:
                return Function(self._library, f"{self._name}.{part}", found)
        raise AttributeError(f"model {self._name} has no '{part}'; it has {', '.join(self._procedures())}")

    def __repr__(self) -> str:
        return f"<vibee model {self._name}>"
