"""What the prover has to say something of, whatever comes of it: found in the loops without its help."""

from __future__ import annotations

from collections.abc import Iterator

from vibee.lower.unit import Unit
from vibee.prove.domain import claims
from vibee.prove.facts import conjuncts, expressions
from vibee.prove.report import Obligation, named, results
from vibee.tree.defs import Call, Definition, Formula, If, Jump, Procedure, Store, While, statements
from vibee.tree.expr import Expr, Span, loads, show, walk
from vibee.tree.types import is_float

Owed = tuple[str, Span | None, str]  # the kind, the place where it is known, and the beginning of what is said


def owed(unit: Unit, d: Definition) -> Iterator[Owed]:
    """A claim for each `while`, condition of a callee, sum or product in an index, and root or quotient of a number
    that a `then` is about."""
    p, names = unit.procedure(d), results(d)
    for s in statements(p.body):
        if isinstance(s, While):
            yield "ends", s.span, "the loop ends"
        if isinstance(s, Call):
            yield from given(unit.by_key(s.fn), s.span)
        every = [] if is_test(s) else list(expressions(s))
        for key in (
            str(n.attr[0] if isinstance(n.attr, tuple) else n.attr) for e in every for n in walk(e) if n.op == "call"
        ):
            yield from given(unit.by_key(key), None) if key != "close" else ()
        places = [*(s.idx if isinstance(s, Store) else ()), *(a for e in every for ld in loads(e) for a in ld.args)]
        for e in places:
            if any(n.op in ("add", "sub", "mul", "neg") for n in walk(e)):
                yield "overflow", None, named(show(e), names) + " stays within"
    if claims(d):
        for span in undefined(d):
            yield "domain", span, ""


def given(callee: Definition, span: Span | None) -> Iterator[Owed]:
    """The conditions at a call."""
    for g in callee.given:
        for c in conjuncts(g):
            yield "given", span, f"{show(c)} at the call of {callee.name}"


def undefined(d: Definition) -> Iterator[Span]:
    """Where a definition as it is written takes roots and divides floats."""
    if isinstance(d, Formula):
        every = [(e.rhs, e.span) for e in d.equations]
    else:
        assert isinstance(d, Procedure)
        every = [(e, s.span) for s in statements(d.body) for e in expressions(s)]
    for whole, span in every:
        for e in walk(whole):
            if e.op == "sqrt" or (e.op == "div" and is_float(e.dtype) and not constant(e.args[1])):
                yield e.span if e.span.line else span


def constant(e: Expr) -> bool:
    return e.op == "const" and bool(e.attr)


def is_test(s: object) -> bool:
    """What the compiler added to say what is given."""
    return isinstance(s, If) and len(s.then) == 1 and isinstance(s.then[0], Jump) and s.then[0].kind == "fail"


def missing(unit: Unit, d: Definition, said: list[Obligation]) -> list[Owed]:
    """What nothing is said of."""
    return [
        (kind, span, text) for kind, span, text in owed(unit, d)
        if not any(o.kind == kind and span in (None, o.span) and o.what.startswith(text) for o in said)
    ]  # fmt: skip
