"""Loops end: a `while` has a whole number that each iteration makes smaller, and that stays above a bound.

        facts and the way through an iteration   =>   m' <= m - 1   and   m' >= 0

for every way from the start of an iteration to its next one.  Candidates for m are the distances in the loop's
condition and in the conditions under which it is left: `b - a` for `a < b`, and the distance that makes `a == b`
false; and the sum of those in the parts of the condition, of which each iteration may make another one smaller.  A
counted loop always ends: its range is fixed when it begins.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import reduce

from vibee.tree.defs import Assign, Call, Decl, For, If, Jump, Store, While, statements
from vibee.tree.expr import Expr, const, loads, show, substitute, var
from vibee.tree.types import is_int

from .facts import Facts, changed, compare, conjuncts, names_in, opposite, plus
from .report import Obligation

SHOWN = 4  # numbers that were tried and are named, of those that may be many
PATHS = 64  # ways through an iteration beyond which none is looked at


@dataclass(slots=True)
class Way:
    """One way through statements: what was assumed on it, and what scalars hold in terms of those before it."""

    assumed: list[Expr] = field(default_factory=list)
    values: dict[str, Expr] = field(default_factory=dict)
    on: bool = True  # it has not left the iteration yet
    leaves: bool = False  # it leaves the loop

    def now(self, e: Expr) -> Expr:
        """An expression in terms of what scalars held at the start."""
        return substitute(e, self.values)

    def set(self, name: str, e: Expr | None, unknown: str) -> None:
        """A scalar is assigned; None: with what is not known."""
        self.values = {**self.values, name: e if e is not None else var(unknown)}


def ending(s: While, facts: Facts) -> Obligation:
    """The obligation of one loop; `facts` hold at the start of every iteration."""
    moved = {n for t in statements(s.body) if isinstance(t, (Store, Call)) for n in changed([t])}
    start = facts.copy()  # without elements that an iteration changes: they have no other name for what they hold then
    start.drop(moved)
    measure = next((m for m in _measures(s) if not names_in(m) & moved and _shrinks(s, m, start)), None)
    if measure is not None:
        return Obligation("ends", f"the loop ends: {show(measure)} becomes smaller", s.span)
    return Obligation("ends", "the loop ends", s.span, False, instead="it runs as it is written", why=_why(s))


def _why(s: While) -> str:
    """What was looked for and not found."""
    if _ways(s.body, [Way()]) is None:
        return f"an iteration can go more than {PATHS} ways"
    tried = list(map(show, _measures(s)))
    if not tried:
        return "no condition that keeps it going compares integers"
    shown = ", ".join([*tried[:SHOWN], *(["..."] if len(tried) > SHOWN else [])])
    return f"no number is known that each iteration makes smaller, and none below a bound: not {shown}"


# ---- candidates


def _measures(s: While) -> Iterator[Expr]:
    """Distances in the conditions that keep the loop going, scalars' own values among them."""
    seen: set[Expr] = set()
    stay = [*conjuncts(s.cond), *(opposite(c) for t in statements(s.body) if isinstance(t, If) and _leaves(t.then)
                                  for c in _disjuncts(t.cond))]  # fmt: skip
    for c in stay:
        for m in _distances(c):
            if m not in seen:
                seen.add(m)
                yield m
    parts = [m for c in conjuncts(s.cond) if c.op in ("lt", "le", "gt", "ge") for m in _distances(c)]
    if len(parts) > 1:
        yield reduce(plus, parts)


def _distances(c: Expr) -> Iterator[Expr]:
    """What is 0 or more, or more than 0, as long as a comparison of integers holds."""
    if c.op in ("lt", "le", "gt", "ge", "ne") and all(is_int(a.dtype or "i64") for a in c.args):
        a, b = c.args if c.op in ("lt", "le", "ne") else c.args[::-1]
        for x, y in ((a, b), (b, a)) if c.op == "ne" else ((a, b),):
            yield Expr("sub", (y, x), None, "i64")


def _disjuncts(e: Expr) -> Iterator[Expr]:
    if e.op == "or":
        for a in e.args:
            yield from _disjuncts(a)
    else:
        yield e


def _leaves(body: list) -> bool:
    return bool(body) and isinstance(body[-1], Jump) and body[-1].kind != "continue"


# ---- one candidate


def _shrinks(s: While, measure: Expr, facts: Facts) -> bool:
    """Is the measure smaller after every iteration, and not below 0 if there is a next one?"""
    ways = _ways(s.body, [Way()])
    if ways is None:
        return False
    for w in ways:
        if w.leaves:
            continue
        then = facts.copy()
        again = w.now(s.cond)
        for c in (*w.assumed, again):
            then.assume(c)
        after = w.now(measure)
        below = compare("lt", after, measure)
        if not (then.prove(below) and then.prove(compare("le", const(-1, "i64"), after))):
            return False
    return True


def _ways(stmts: list, ways: list[Way]) -> list[Way] | None:
    """Every way through statements; None if there are too many."""
    for s in stmts:
        out: list[Way] = []
        for w in ways:
            if not w.on or w.leaves:
                out.append(w)
                continue
            step = _step(s, w)
            if step is None:
                return None
            out += step
        ways = out
        if len(ways) > PATHS:
            return None
    return ways


def _step(s: object, w: Way) -> list[Way] | None:
    if isinstance(s, (Decl, Assign)):
        value = s.init if isinstance(s, Decl) else s.value
        known = value is not None and value.dtype == "i64" and not any(True for _ in loads(value))
        w.set(s.name, w.now(value) if known and value is not None else None, f"{s.name}#{id(s)}")
        return [w]
    if isinstance(s, If):
        cond = w.now(s.cond)
        sides = []
        for body, c in ((s.then, cond), (s.orelse, opposite(cond))):
            way = Way([*w.assumed, c], dict(w.values))
            found = _ways(body, [way])
            if found is None:
                return None
            sides += found
        return sides
    if isinstance(s, Jump):
        w.on, w.leaves = False, s.kind != "continue"
        return [w]
    moved, before = changed([s]), w.values
    for n in moved:
        w.set(n, None, f"{n}#{id(s)}")
    w.assumed = [c for c in w.assumed if not {str(ld.attr) for ld in loads(c)} & moved]
    for n in sorted(moved - _lessened(s)):
        w.assumed.append(compare("le", substitute(var(n), before), w.now(var(n))))
    return [w]


def _lessened(s: object) -> set[str]:
    """What a statement may make smaller: all that it changes otherwise than by adding what is not negative."""
    out: set[str] = set()
    for t in statements([s]):
        if isinstance(t, For):
            out.add(t.var)
        elif not isinstance(t, (If, While)) and not (isinstance(t, Assign) and _adds(t.name, t.value)):
            out |= changed([t])
    return out


def _adds(name: str, e: Expr) -> bool:
    """Is it a scalar plus a number that is not negative?"""
    if e.op != "add" or e.dtype != "i64":
        return False
    return any(a == var(name) and b.op == "const" and b.attr >= 0 for a, b in (e.args, e.args[::-1]))  # type: ignore[operator]
