"""What has to hold, and what came of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from vibee.tree.defs import Definition, Procedure, Store, statements
from vibee.tree.expr import Expr, Span, substitute, var

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
    why: str = ""  # it is not proved, where no claim says so
    wrong: bool = False  # that it does not hold is proved

    def __str__(self) -> str:
        said = f"it is not proved that {self.what}" if self.kind != "schedule" else self.what
        return f"{self.span}: {said}" + (f"; {self.instead}" if self.instead else "")


def results(d: Definition) -> dict[str, str]:
    """The locals that hold a procedure's outputs that are numbers until it stores them, and the outputs."""
    if not isinstance(d, Procedure):
        return {}
    ends = [s for s in statements(d.body) if isinstance(s, Store) and not s.idx and s.value.op == "var"]
    return {str(s.value.attr): s.array for s in ends if str(s.value.attr).startswith(f"{s.array}_value")}


def named(text: str, names: Mapping[str, str]) -> str:
    """A text with other names."""
    return re.sub(r"\w+", lambda word: names.get(word[0], word[0]), text)


def in_words_of(d: Definition, o: Obligation) -> Obligation:
    """An obligation with the names of the spec."""
    names = results(d)
    table = {n: var(out, "") for n, out in names.items()}
    facts = tuple(substitute(f, table) for f in o.facts)
    goal = o.goal and substitute(o.goal, table)
    return replace(o, what=named(o.what, names), why=named(o.why, names), facts=facts, goal=goal) if names else o
