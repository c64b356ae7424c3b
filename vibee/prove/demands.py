"""What is given of formulas that a formula calls: their equations are put in place (vibee.check.inline), so that no
call is there which would test it.

A condition on inner values is asked of what they are made of.  Where its numbers are the caller's, the solver or the
intervals of floats prove it, and runs on drawn arguments refute it (vibee.prove.replay).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from vibee.tree.defs import Definition, Demand, Formula
from vibee.tree.expr import Expr, const, free_vars, loads, rebuild, show, var, walk

from .facts import Facts, compare, conjuncts
from .ranges import Known, Ranges, told
from .report import Obligation

Lookup = Callable[[str], Definition]
ZERO = const(0, "i64")
UNTESTED = "nothing tests it"


def demand_obligations(d: Definition, lookup: Lookup) -> list[Obligation]:
    """One for each condition of a formula that is called, on values that are no parameters."""
    if not isinstance(d, Formula) or not d.obligations:
        return []
    ranges = Ranges(d, lookup).settle()
    given = tuple(c for g in d.given for c in conjuncts(g))
    out = []
    for o in d.obligations:
        within, c = ends(d, o), spelled(o.condition, ranges)
        proved = _proved(c, within, ranges, given)
        what = f"{show(o.condition)} at the call of {o.callee}"
        facts, goal = ((), None) if proved else (given, o.condition)
        out.append(Obligation("given", what, o.span, proved, facts, goal, UNTESTED))
    return out


def demands(d: Definition, lookup: Lookup) -> Iterator[tuple[Demand, Expr]]:
    """Each, and as a condition without free indices on what the formula starts from."""
    if not isinstance(d, Formula) or not d.obligations:
        return
    ranges = Ranges(d, lookup, equations=told(d.equations))
    for o in d.obligations:
        c = o.condition
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


def _proved(c: Expr, within: dict[str, Expr], ranges: Ranges, given: Known) -> bool:
    if all(ranges.true(x, given) and _is_number(x, ranges, given) for x in conjuncts(c)):
        return True
    if any(n.op in ("reduce", "scan") for n in walk(c)):
        return False
    facts = Facts(ranges.d)
    for name, end in within.items():
        facts.assume(compare("le", ZERO, var(name)))
        facts.assume(compare("lt", var(name), end))
    return all(facts.prove(x) for x in conjuncts(c))


def _is_number(c: Expr, ranges: Ranges, known: Known) -> bool:
    """Can no side of a comparison be nan, which satisfies none?"""
    return all(not ranges.of(a, known).nan for a in c.args)
