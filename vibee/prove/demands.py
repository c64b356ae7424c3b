"""What is given of formulas that a formula calls: their equations are put in place (vibee.check.inline), so that no
call is there which would test it.

A condition on inner values is asked of what they are made of.  Where its numbers are the caller's, the solver or the
intervals of floats prove it, and runs on drawn arguments refute it (vibee.prove.replay).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from vibee.tree.defs import Definition, Demand, Formula
from vibee.tree.expr import Expr, const, free_vars, loads, names_in, rebuild, show, var, walk

from .facts import Facts, compare, conjuncts, guarded, opposite
from .overflow import ARITHMETIC, doubted
from .ranges import Known, Ranges, told
from .report import Obligation

Lookup = Callable[[str], Definition]
ZERO = const(0, "i64")
ENDS = const(-(2**63), "i64"), const(2**63 - 1, "i64")
POWERS = tuple(2**n for n in range(1, 63))
UNTESTED = "nothing tests it"


def demand_obligations(d: Definition, lookup: Lookup, fits: Expr | None = None) -> list[Obligation]:
    """One for each condition of a formula that is called, on values that are no parameters.  `fits`: the test on entry
    of its loops (see vibee.prove.overflow)."""
    if not isinstance(d, Formula) or not d.obligations:
        return []
    ranges = Ranges(d, lookup).settle()
    given = tuple(c for g in d.given for c in conjuncts(g))
    first = known_of(d, fits)
    out = []
    for o in d.obligations:
        within, c = ends(d, o), spelled(o.condition, ranges)
        proved = _proved(c, within, ranges, given, first.copy())
        what = f"{show(o.condition)} at the call of {o.callee}"
        facts, goal = ((), None) if proved else (given, o.condition)
        out.append(Obligation("given", what, o.span, proved, facts, goal, UNTESTED))
    return out


def demands(d: Definition, lookup: Lookup) -> Iterator[tuple[Demand, Expr]]:
    """Each, and as a condition without free indices on what the formula starts from.  What is added to holds another
    number at the end of a run than it may have held at the call: of that there is no test."""
    if not isinstance(d, Formula) or not d.obligations:
        return
    ranges = Ranges(d, lookup, equations=told(d.equations))
    added = {e.lhs for e in d.equations if e.accumulate}
    for o in d.obligations:
        c = o.condition
        if names_in(c) & added:
            continue
        for name, end in ends(d, o).items():
            c = Expr("reduce", (c, ZERO, end), ("all", (name,)), "bool", c.span)
        yield o, spelled(c, ranges)


def ends(d: Formula, o: Demand) -> dict[str, Expr]:
    """The free indices of a condition, and where they end."""
    shapes = {p.name: p.shape for p in [*d.params, *d.outs, *d.temps]}
    known = {*d.sizes, *(p.name for p in d.params)}
    return {
        str(i.attr): end
        for ld in loads(o.condition) for i, end in zip(ld.args, shapes[str(ld.attr)], strict=True)
        if i.op == "var" and i.attr in free_vars(o.condition) - known
    }  # fmt: skip


def spelled(e: Expr, ranges: Ranges) -> Expr:
    """An expression with each element of a temporary as what it is."""
    return rebuild(ranges.expanded(e), lambda a: spelled(a, ranges))


def _proved(c: Expr, within: dict[str, Expr], ranges: Ranges, given: Known, facts: Facts) -> bool:
    if all(ranges.sure(x, given) for x in conjuncts(c)):
        return True
    if any(n.op in ("reduce", "scan") for n in walk(c)):
        return False
    for name, end in within.items():
        facts.assume(compare("le", ZERO, var(name)))
        facts.assume(compare("lt", var(name), end))
    return all(facts.prove(exact(x, facts)) for x in conjuncts(c))


def known_of(d: Definition, fits: Expr | None) -> Facts:
    """The facts of what is given, so far as it says the same of numbers without end, and of the test on entry."""
    given = [doubted(g) for g in d.given]
    for _ in range(2):  # what the first round shows to fit, the second one knows
        facts = Facts(replace(d, given=given))
        if fits is not None and guarded(d):
            facts.assume(compare("le", _whole(fits.args[0]), ENDS[1]))  # it has room for the rounding of floats
        given = [exact(g, facts) for g in d.given]
    return facts


def _whole(e: Expr) -> Expr:
    """A sum of products that is computed in floats, as whole numbers."""
    if e.op == "cast":
        return e.args[0]
    e = rebuild(e, _whole)
    return replace(e, attr=int(e.attr) if e.op == "const" else e.attr, dtype="i64")  # type: ignore[call-overload]


def exact(e: Expr, facts: Facts) -> Expr:
    """The same expression, with the operations marked that are not proved to stay within an i64: what no code computes
    no test on entry is about (vibee.prove.overflow)."""
    if e.op == "where":
        c, a, b = e.args
        c = exact(c, facts)
        return replace(e, args=(c, exact(a, _where(facts, c)), exact(b, _where(facts, opposite(c)))))
    if e.op == "mod" and e.args[1].op == "const" and e.args[1].attr in POWERS:
        return replace(e, args=(_wrapped(e.args[0], facts), e.args[1]))
    e = rebuild(e, lambda a: exact(a, facts))
    if e.op not in ARITHMETIC or e.dtype != "i64" or _fits(e, facts):
        return e
    return replace(e, op=e.op + "?")


def _wrapped(e: Expr, facts: Facts) -> Expr:
    """Sums and products under a remainder by a power of two, which is the same after they wrap around."""
    if e.op in ARITHMETIC and e.dtype == "i64":
        return rebuild(e, lambda a: _wrapped(a, facts))
    return exact(e, facts)


def _where(facts: Facts, c: Expr) -> Facts:
    """The same, where a condition holds, too."""
    out = facts.copy()
    out.assume(c)
    return out


def _fits(e: Expr, facts: Facts) -> bool:
    """Does an operation stay within an i64, if all that it is made of does?"""
    least, most = ENDS
    inside = facts.copy()
    for n in walk(e):
        if n.op in ("var", "load") and n.dtype == "i64":
            inside.assume(compare("le", least, n))
            inside.assume(compare("le", n, most))
    return inside.prove(compare("le", least, e)) and inside.prove(compare("le", e, most))
