"""`vibee verify`: every obligation of every definition, PROVED, REFUTED with a counterexample, or UNPROVED.

It looks at the loops that are emitted, of a definition and of its derived procedures.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from vibee.check.errors import SpecError, SpecFailure
from vibee.tree.defs import Definition, Model
from vibee.tree.expr import Span, loads, show, walk

from .facts import conjuncts
from .linear import satisfiable
from .plan import plan_obligations
from .refute import faults
from .replay import Fault
from .report import Obligation

EXCLUDE = "exclude it by given(...) or a condition"
PROVED, REFUTED, UNPROVED = "PROVED", "REFUTED", "UNPROVED"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one obligation."""

    obligation: Obligation
    outcome: str
    counterexample: Fault | None = None

    @property
    def kind(self) -> str:
        """A key of vibee.prove.report.KINDS."""
        return self.obligation.kind

    @property
    def text(self) -> str:
        """What had to hold."""
        return self.obligation.what

    @property
    def span(self) -> Span:
        """Where."""
        return self.obligation.span

    def __str__(self) -> str:
        fault = self.counterexample
        return f"{self.text} does not hold: {fault.told()}; {EXCLUDE}" if fault else self.text


@dataclass(slots=True)
class Verified:
    """A definition and its verdicts."""

    definition: Definition
    verdicts: list[Verdict] = field(default_factory=list)
    ms: float = 0.0

    def count(self, outcome: str) -> int:
        """How many came to this."""
        return sum(v.outcome == outcome for v in self.verdicts)


def verify_program(program: Any, isa: str = "v3") -> list[Verified]:
    """Every definition of a spec's own, with the procedures derived from models."""
    from vibee.lower.unit import Unit

    unit = Unit(program, isa, thorough=True)
    return [found for name in program.defs for found in verify_versions(unit, name)]


def verify_versions(unit: Any, name: str) -> list[Verified]:
    """The versions of one of the definitions of a unit's program, with the procedures derived from models."""
    from vibee.lower.model import lower_model

    out = []
    for d in unit.program.defs[name]:
        start = time.perf_counter()
        lowered = lower_model(d, unit) if isinstance(d, Model) else None
        plans = {x.procedure.key: x for x in lowered.planned} if lowered else {}
        for part in [unit.add(p) for p in lowered.procedures] if lowered else [d]:
            more = plan_obligations(plans[part.key]) if part.key in plans else []
            found = Verified(part, verify(unit, part, more))
            now = time.perf_counter()
            found.ms, start = 1000 * (now - start), now
            out.append(found)
    return out


def verify(unit: Any, d: Definition, more: Iterable[Obligation] = ()) -> list[Verdict]:
    """The obligations of one definition, decided; `more` are those that are not of its lowered loops."""
    unit.procedure(d)
    found = [*unit.obligations[d.key], *possible(d), *more]
    if all(o.proved for o in found):
        return [Verdict(o, PROVED) for o in found]
    seen = faults(unit, d)
    return [Verdict(o, PROVED) if o.proved else _decided(o, seen, d) for o in found] + _unexpected(found, seen, d)


def _place(span: Span, d: Definition) -> Span:
    """Loops that the compiler adds have no place of their own: that of the definition."""
    return span if span.line else d.span


def _decided(o: Obligation, seen: dict[tuple[str, Span], Fault], d: Definition) -> Verdict:
    fault = seen.get((o.kind, o.span))
    if fault is None and o.array:  # the two accesses of a race stand at two places
        fault = next((f for f in seen.values() if (f.kind, f.array, f.key) == (o.kind, o.array, d.key)), None)
    if fault is not None and o.kind == "given" and o.what.partition(" at the call")[0] not in fault.text:
        fault = None  # another condition of the same call
    return Verdict(replace(o, span=_place(o.span, d)), REFUTED if fault else UNPROVED, fault)


def _unexpected(found: list[Obligation], seen: dict[tuple[str, Span], Fault], d: Definition) -> list[Verdict]:
    """Faults at places where nothing is listed as unproved: in a callee, or of a kind that has no obligation there."""
    known = {(o.kind, o.span) for o in found if not o.proved}
    races = {o.kind for o in found if not o.proved and o.kind == "race"}  # shown once, wherever it comes to light
    return [
        Verdict(Obligation(kind, fault.text, _place(span, d), False), REFUTED, fault)
        for (kind, span), fault in seen.items()
        if (kind, span) not in known and kind not in races and kind != "overflow"  # numbers that are no index may wrap
    ]


def refuted(unit: Any, d: Definition) -> list[Verdict]:
    """What is refuted of a definition that is about to be emitted; a loop that has not ended in a run may end later,
    which is for the report to tell."""
    unit.procedure(d)
    found = [o for o in unit.open[d.key] if o.kind not in ("schedule", "ends")]
    if not found:
        return []
    seen = faults(unit, d)
    return [v for v in (_decided(o, seen, d) for o in found) if v.outcome == REFUTED]


def refuse(unit: Any, definitions: list[Definition]) -> None:
    """An error of the spec for each thing that a run on small sizes breaks: an index outside, a race, a division by
    zero."""
    wrong = {str(v): SpecError(v.span, str(v)) for d in definitions for v in refuted(unit, d)}
    if wrong:
        raise SpecFailure(list(wrong.values()))


def possible(d: Definition) -> list[Obligation]:
    """Can what is given hold at all?"""
    plain = [c for g in d.given for c in conjuncts(g)
             if not any(n.op in ("reduce", "scan") for n in walk(c)) and not any(True for _ in loads(c))]  # fmt: skip
    if not plain:
        return []
    from .facts import Facts

    model = satisfiable([*Facts(d).known, *plain])
    what = "given can hold: " + ", ".join(map(show, plain))
    return [Obligation("given", what, d.given[0].span, model is not None)]
