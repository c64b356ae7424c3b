"""Fusion: which equations share a loop nest.

Two equations share their outer loops when those run over the same sizes and every value that
passes from one to the other is read at exactly the outer indices at which it was written:
then each iteration of the shared loops is complete in itself, may run in parallel with
the others, and a temporary that lives only inside it needs no memory beyond one iteration.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from vibee.tree.defs import Equation
from vibee.tree.expr import Expr, free_vars, loads, substitute, var, walk

from .contraction import is_contraction
from .reduction import downward
from .schedule import Schedule


@dataclass(slots=True)
class Group:
    """Equations that share loops over their first `prefix` variables."""

    equations: list[Equation] = field(default_factory=list)
    prefix: int = 0
    closed: bool = False  # scans, scatters, contractions and rank-0 reductions keep to themselves

    @property
    def writes(self) -> set[str]:
        """Arrays that the group defines."""
        return {e.lhs for e in self.equations}

    @property
    def flat(self) -> bool:
        """Is there nothing but the shared loops?"""
        return all(len(e.vars) == self.prefix and e.rhs.op != "reduce" for e in self.equations)


def stands_alone(e: Equation) -> bool:
    """Equations whose loops are shaped by a strategy of their own."""
    return e.accumulate or not e.vars or e.rhs.op == "scan" or is_contraction(e)


def outer_loops(e: Equation) -> int:
    """How many of its loops an equation can share: all, but that along which a reduction down the rows has its
    results side by side; inside it each would run through memory by itself, row after row."""
    side_by_side = e.vars and e.rhs.op == "reduce" and downward(e.rhs, e.vars[-1])
    return len(e.vars) - bool(side_by_side)


def shared_prefix(e: Equation, group: Group) -> int:
    """How many outer loops `e` can share with `group`; 0 if it must not join."""
    first = group.equations[0]
    p = 0
    while p < min(outer_loops(e), group.prefix) and e.dims[p] == first.dims[p]:
        p += 1
    for ld in loads(e.rhs):
        if ld.attr in group.writes:
            same = 0
            while same < min(p, len(ld.args)) and _is_var(ld.args[same], e.vars[same]):
                same += 1
            p = min(p, same)
    return p


def _is_var(e: Expr, name: str) -> bool:
    return e.op == "var" and e.attr == name


def reads(e: Equation) -> set[str]:
    """Names of the arrays that an equation reads."""
    found = {str(ld.attr) for ld in loads(e.rhs)}
    for index in e.idx:
        found |= {str(ld.attr) for ld in loads(index)}
    for n in walk(e.rhs):  # rank-0 temporaries may be read as plain variables
        if n.op == "var":
            found.add(str(n.attr))
    return found


def fuse(equations: list[Equation]) -> list[Group]:
    """Groups in an order that respects every dependency."""
    groups: list[Group] = []
    home: dict[str, int] = {}
    for e in equations:
        needed = reads(e)
        after = max((home[a] for a in needed if a in home), default=-1)
        if e.lhs in home:  # a later contribution to the same array comes after the earlier one
            after = max(after, home[e.lhs])
        start = max(after, 0)
        for n, g in enumerate(groups):  # earlier equations read the old values: all of them come first
            if any(e.lhs in reads(other) for other in g.equations):
                start = n + 1
        place = None if stands_alone(e) or e.lhs in home else _find(e, groups, start, needed)
        if place is None:
            groups.append(Group([e], outer_loops(e), stands_alone(e)))
            place = len(groups) - 1
        home[e.lhs] = max(place, home.get(e.lhs, -1))
    return groups


def _find(e: Equation, groups: list[Group], start: int, needed: set[str]) -> int | None:
    """The first group from `start` on that `e` may join; joins it."""
    for g in range(start, len(groups)):
        group = groups[g]
        if group.closed:
            continue
        p = shared_prefix(e, group)
        related = bool(needed & group.writes)
        # Giving up an outer loop of the group must buy something: a value kept out of memory.
        if p and (p == group.prefix or related) and not (p < group.prefix and not related):
            group.equations.append(e)
            group.prefix = p
            return g
    return None


def refit(groups: list[Group], schedule: Schedule) -> list[Group]:
    """The groups with no loop shared that must be the innermost, unless nothing runs inside it."""
    out: list[Group] = []
    for g in groups:
        wanted = schedule.plan(g.equations).vector(g.equations[0].vars[: g.prefix])
        if wanted is None or len(g.equations) == 1 or g.flat:
            out.append(g)
            continue
        g.prefix = g.equations[0].vars.index(wanted)
        out += [g] if g.prefix else [Group([e], len(e.vars), True) for e in g.equations]
    return out


def local_temps(group: Group, all_groups: list[Group], temps: set[str]) -> set[str]:
    """Temporaries of `group` that no other group reads: they live inside one iteration."""
    outside: set[str] = set()
    for other in all_groups:
        if other is not group:
            for e in other.equations:
                outside |= reads(e)
                outside.add(e.lhs)
    mine = {e.lhs for e in group.equations if e.lhs in temps and len(e.vars) >= group.prefix}
    return mine - outside


def in_place(e: Equation) -> bool:
    """Does `+=` add to each element once: is every variable an index by itself?"""
    plain = [x.attr for x in e.idx if x.op == "var" and x.attr in e.vars]
    mixed = any(free_vars(x) & set(e.vars) for x in e.idx if x.op != "var")
    return not mixed and sorted(plain) == sorted(e.vars)  # type: ignore[type-var]


def rename(e: Equation, names: dict[str, str]) -> Equation:
    """An equation with its own variables renamed."""
    table = {old: var(new) for old, new in names.items()}
    return replace(
        e,
        vars=tuple(names.get(v, v) for v in e.vars),
        idx=tuple(substitute(x, table) for x in e.idx),
        rhs=substitute(e.rhs, table),
    )
