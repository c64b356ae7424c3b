"""Forward values found again in adjoints: a product or call that an equation already computed
is read from its array instead of being computed a second time."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from ..tree.defs import Equation
from ..tree.expr import Expr, load, rebuild, walk
from ..tree.linear import Facts
from .terms import Factors, Term, pack, term_of


@dataclass(frozen=True)
class Known:
    """`array[vars] = rhs`, as a product if it is one."""

    array: str
    vars: tuple[str, ...]
    dims: tuple[Expr, ...]
    rhs: Expr
    term: Term


def known_value(q: Equation) -> Known | None:
    """What a pointwise forward equation offers; None if reading it would save nothing."""
    if q.accumulate or q.rhs.op in ("reduce", "scan") or len(set(q.vars)) < len(q.vars):
        return None
    term = term_of(q.rhs)
    names = {str(n.attr) for f, _ in term.factors for n in walk(f) if n.op == "var"}
    if term.guards or not term.coeff or not set(q.vars) <= names:
        return None
    if len(term.factors) < 2 and all(f.op in ("load", "load?", "var", "const", "cast") for f, _ in term.factors):
        return None
    return Known(q.lhs, q.vars, q.dims, q.rhs, term)


def match(pattern: Expr, e: Expr, free: Set[str], found: dict[str, Expr]) -> bool:
    """True if `e` is `pattern` with its variables `free` replaced as `found` then says."""
    if pattern.op == "var" and pattern.attr in free:
        name = str(pattern.attr)
        return e.op == "var" and found.setdefault(name, e) == e
    if (pattern.op, pattern.attr, pattern.dtype) != (e.op, e.attr, e.dtype) or len(pattern.args) != len(e.args):
        return False
    return all(match(p, a, free, found) for p, a in zip(pattern.args, e.args, strict=True))


def _match_all(
    pattern: Factors, factors: dict[Expr, int], free: Set[str], found: dict[str, Expr]
) -> dict[str, Expr] | None:
    if not pattern:
        return found
    p, n = pattern[0]
    for f, m in factors.items():
        if m * n > 0 and abs(m) >= abs(n):
            trial = dict(found)
            if match(p, f, free, trial):
                rest = _match_all(pattern[1:], {x: k for x, k in factors.items() if x != f}, free, trial)
                if rest is not None:
                    return rest
    return None


class Reuse:
    """The forward values of one formula."""

    def __init__(self, values: list[Known]) -> None:
        # long products first: they save most
        self.values = sorted(values, key=lambda k: -len(k.term.factors))

    def rewrite(self, t: Term, facts: Facts) -> Term:
        """The term with products that are forward values read from their arrays."""
        t = t.map(lambda e: self.inside(e, facts))
        for k in self.values:
            while True:
                new = self.once(t, k, facts)
                if new is None:
                    break
                t = new
        return t

    def once(self, t: Term, k: Known, facts: Facts) -> Term | None:
        """One value of `k` found in the product."""
        free = set(k.vars)
        for sign in (1, -1):
            pattern = tuple((f, sign * p) for f, p in k.term.factors)
            found = _match_all(pattern, dict(t.factors), free, {})
            if found is not None:
                return self.replaced(t, k, found, sign, facts)
        return None

    def replaced(self, t: Term, k: Known, found: dict[str, Expr], sign: int, facts: Facts) -> Term | None:
        """The product divided by the value, times a read of it."""
        if not self.covers(k, found, facts):
            return None
        powers = dict(t.factors)
        instance = [(self.at(f, found), p) for f, p in k.term.factors]
        for f, p in instance:
            powers[f] -= sign * p
        value = load(k.array, tuple(found[v] for v in k.vars), k.rhs.dtype)
        powers[value] = powers.get(value, 0) + sign
        scale = k.term.coeff if sign < 0 else 1 / k.term.coeff
        return Term(t.coeff * scale, t.guards, pack(powers))

    def at(self, e: Expr, found: dict[str, Expr]) -> Expr:
        """The pattern at the place where it was found."""
        if e.op == "var":
            return found.get(str(e.attr), e)
        return rebuild(e, lambda a: self.at(a, found))

    def covers(self, k: Known, found: dict[str, Expr], facts: Facts) -> bool:
        """True if the value exists for these indices."""
        return all(facts.nonneg(found[v]) and facts.lt(found[v], d) for v, d in zip(k.vars, k.dims, strict=True))

    def inside(self, e: Expr, facts: Facts) -> Expr:
        """Whole forward values inside of a factor."""
        e = rebuild(e, lambda a: self.inside(a, facts)) if e.op not in ("load", "load?") else e
        if e.op in ("load", "load?", "var", "const", "cast"):
            return e
        for k in self.values:
            found: dict[str, Expr] = {}
            if k.rhs.op == e.op and match(k.rhs, e, set(k.vars), found) and self.covers(k, found, facts):
                return load(k.array, tuple(found[v] for v in k.vars), e.dtype, e.span)
        return e
