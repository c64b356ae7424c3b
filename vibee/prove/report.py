"""What has to hold, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

from vibee.tree.expr import Expr, Span

KINDS = {
    "bounds": "every read and write is inside its array",
    "race": "no two iterations of a parallel loop touch the same element, one of them writing",
    "written": "an element is written before it is read, and every element of an output by the end",
    "ends": "a loop ends",
    "divisor": "a divisor is not zero",
    "domain": "a root, a quotient or a logarithm is of numbers that have one",
    "overflow": "integer arithmetic stays within 63 bits",
    "given": "what is given can hold, and holds at every call",
    "shape": "shapes agree at a call",
    "schedule": "the schedule is followed",
    "plan": "values alive at the same time do not overlap in memory",
}


class VectorBounds(Exception):
    """A vector access is not proved in bounds: the caller lowers again without vectors."""


@dataclass(frozen=True, slots=True)
class Obligation:
    """Something that must hold at a place.  `what` is said in the words of the spec; `facts` and `goal` are the
    claim that was put to the solver, kept where it was not proved."""

    kind: str
    what: str
    span: Span
    proved: bool = True
    facts: tuple[Expr, ...] = ()
    goal: Expr | None = None
    instead: str = ""  # what happens at run time where it is not proved
    array: str = ""  # of a race: where iterations may meet

    def __str__(self) -> str:
        said = f"it is not proved that {self.what}" if self.kind != "schedule" else self.what
        return f"{self.span}: {said}" + (f"; {self.instead}" if self.instead else "")
