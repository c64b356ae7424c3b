"""`vibee verify`: every obligation of every definition, PROVED, REFUTED with a counterexample, or UNPROVED.

It looks at the loops that are emitted, of a definition and of its derived procedures.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from vibee.check.errors import SpecError, SpecFailure, listed
from vibee.tree.defs import Definition, Model, Procedure
from vibee.tree.expr import Expr, Span, const, free_vars, loads, show, walk

from .facts import Facts, conjuncts
from .linear import implied, satisfiable
from .plan import plan_obligations
from .refute import faults
from .replay import Fault
from .report import Obligation

EXCLUDE = "exclude it by given(...) or a condition"
UNCLEAR = "the solver finds no numbers that satisfy all of it, and no proof that there are none"
PROVED, REFUTED, UNPROVED = "PROVED", "REFUTED", "UNPROVED"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one obligation.  `counterexample`: the run that refutes it; of one that is not proved, a run that
    shows what may happen."""

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
        if self.counterexample is None:
            return self.obligation.why or self.text
        if self.kind == "ends":
            return self.counterexample.told()
        return f"{self.text} does not hold: {self.counterexample.told()}; {EXCLUDE}"


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
    p = unit.procedure(d)
    found = [*unit.obligations[d.key], *possible(d, p), *more]
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
    wrong = o.wrong or (fault is not None and fault.certain)
    return Verdict(replace(o, span=_place(o.span, d)), REFUTED if wrong else UNPROVED, fault)


def _unexpected(found: list[Obligation], seen: dict[tuple[str, Span], Fault], d: Definition) -> list[Verdict]:
    """Faults at places where nothing is listed as unproved: in a callee, or of a kind that has no obligation there."""
    known = {(o.kind, o.span) for o in found if not o.proved}
    races = {o.kind for o in found if not o.proved and o.kind == "race"}  # shown once, wherever it comes to light
    return [
        Verdict(Obligation(kind, fault.text, _place(span, d), False), REFUTED, fault)
        for (kind, span), fault in seen.items()
        if fault.certain and (kind, span) not in known and kind not in {*races, "overflow"}
    ]  # numbers that are no index may wrap


def refuted(unit: Any, d: Definition) -> list[Verdict]:
    """What is refuted of a definition that is about to be emitted."""
    p = unit.procedure(d)
    found = [o for o in [*unit.open[d.key], *contradiction(d, p)] if o.kind != "schedule"]
    if all(o.wrong for o in found):
        return [Verdict(o, REFUTED) for o in found]
    seen = faults(unit, d)
    return [v for v in (_decided(o, seen, d) for o in found) if v.outcome == REFUTED]


def refuse(unit: Any, definitions: list[Definition]) -> None:
    """An error of the spec for each thing that a run on small sizes breaks: an index outside, a race, a division by
    zero."""
    wrong = {str(v): SpecError(v.span, str(v)) for d in definitions for v in refuted(unit, d)}
    if wrong:
        raise SpecFailure(list(wrong.values()))


def possible(d: Definition, p: Procedure) -> list[Obligation]:
    """Can what is given hold at all?"""
    known, plain = _plain(p)
    if not plain:
        return []
    if satisfiable(known) is not None:
        return [Obligation("given", _can_hold(d), d.given[0].span)]
    return contradiction(d, p) or [Obligation("given", _can_hold(d), d.given[0].span, False, why=UNCLEAR)]


def contradiction(d: Definition, p: Procedure) -> list[Obligation]:
    """What is given can never hold.  The solver knows less than is given, so that nothing satisfies is certain: of
    what is no integer, or may wrap around, it takes any value (`p`, the lowered procedure, has that marked)."""
    known, plain = _plain(p)
    if not plain or not _never(known):
        return []
    for c in known:
        rest = [x for x in known if x is not c]
        known = rest if _never(rest) else known
    kind = "sizes" if {n for c in known for n in free_vars(c)} <= set(d.sizes) else "numbers"
    why = f"no {kind} satisfy {listed(map(show, known))}"
    return [Obligation("given", _can_hold(d), d.given[0].span, False, why=why, wrong=True)]


def _never(conditions: list[Expr]) -> bool:
    return implied(tuple(conditions), const(False, "bool"))


def _plain(p: Definition) -> tuple[list[Expr], list[Expr]]:
    """What is known at the start of a procedure, and what of its `given` is about no elements."""
    plain = [c for g in p.given for c in conjuncts(g)
             if not any(n.op in ("reduce", "scan") for n in walk(c)) and not any(True for _ in loads(c))]  # fmt: skip
    return list(dict.fromkeys([*Facts(p).known, *plain])) if plain else [], plain


def _can_hold(d: Definition) -> str:
    return "given can hold: " + ", ".join(map(show, _plain(d)[1]))
