"""Sums over iteration variables: each distinct one is computed once, in an array of its own."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from ..tree.defs import Equation, Param
from ..tree.expr import Expr, bound_vars, const, free_vars, load, substitute, var, walk
from ..tree.linear import ZERO, Facts
from ..tree.normal import always_safe, canonical, compare, limits_under, under
from ..tree.types import is_float
from .rules import Ranges
from .settle import ordered, settle
from .terms import Term, collect, emit, term_of

if TYPE_CHECKING:
    from .reverse import Reverse

Key = tuple[object, ...]


class Sums:
    """The sums of one gradient, those of the forward equations among them."""

    def __init__(self, owner: Reverse) -> None:
        self.owner = owner
        self.known: dict[Key, tuple[str, tuple[int, ...]]] = {}  # -> array, place of each axis in the key
        for q in owner.f.equations:
            e = q.rhs
            plain = not q.accumulate and len(set(q.vars)) == len(q.vars)
            if not (e.op == "reduce" and e.attr[0] == "sum" and is_float(e.dtype) and plain):  # type: ignore[index]
                continue
            ranges = dict(zip(bound_vars(e), zip(e.args[1::2], e.args[2::2], strict=True), strict=True))
            outer = {v: (ZERO, d) for v, d in zip(q.vars, q.dims, strict=True)}
            done = settle(term_of(e.args[0]), ranges, owner.facts.within(outer))
            if done is not None and done[0].coeff == 1:
                self.remember([done[0]], done[1], outer, q.lhs, q.vars)

    def remember(self, body: list[Term], over: Ranges, scope: Ranges, array: str, axes: tuple[str, ...]) -> None:
        """`array[axes]` holds the sum."""
        key, order = self.key(body, over, scope)
        if set(axes) <= set(order):
            self.known.setdefault(key, (array, tuple(order.index(v) for v in axes)))

    def key(self, body: list[Term], over: Ranges, scope: Ranges) -> tuple[Key, tuple[str, ...]]:
        """What equal sums have in common whatever their variables are called."""
        parts = sorted((term_key(t) for t in body), key=shape_of)
        limits = tuple(e for r in over.values() for e in r)
        form, order = canonical(Expr("key", (*parts, *limits, *map(var, over))))
        dims = tuple((k, self.owner.facts.normal(scope[v][1])) for k, v in enumerate(order) if v in scope)
        others = tuple((k, v) for k, v in enumerate(order) if v not in scope and v not in over)
        return (form, dims, others), order

    def find(self, body: list[Term], over: Ranges, scope: Ranges) -> Term | None:
        """A sum that exists already."""
        key, order = self.key(body, over, scope)
        hit = self.known.get(key)
        if hit is None:
            return None
        value = load(hit[0], tuple(var(order[p]) for p in hit[1]), self.owner.dtype(hit[0]))
        return Term(factors=((value, 1),))

    def over(self, terms: list[Term], ranges: Ranges, scope: Ranges, dtype: str, keep: bool = False) -> list[Term]:
        """The terms summed over `ranges`: no variable of these is left in the result.

        `scope`: the variables that stay, each from 0; `keep`: conditions stay with the sums even
        where a sum is zero without them."""
        known = self.owner.facts.within(scope)
        out: list[Term] = []
        groups: dict[object, tuple[Term, Ranges, list[Term]]] = {}
        for t in collect(terms):
            done = settle(t, ranges, known)
            if done is None:
                continue
            t, over = done
            if over:
                fixed, moving = self.parted(t, over, known)
                if self.vanishes(moving, over, scope):
                    continue
                if moving == Term() and (counted := self.count(fixed, over, known, dtype)) is not None:
                    out.append(counted)
                    continue
                hit = self.find([moving], over, scope)
                if hit is not None:
                    out.append(self.scaled(hit, fixed, [moving], over, known))
                    continue
            t = self.owner.reuse.rewrite(t, known.within(over))
            if not over:
                out.append(t)
                continue
            fixed, moving = self.parted(t, over, known)
            key = (tuple(over.items()), fixed.factors, frozenset(fixed.guards))
            group = groups.setdefault(key, (replace(fixed, coeff=Fraction(1)), over, []))
            group[2].append(replace(moving, coeff=fixed.coeff))
        for fixed, over, body in groups.values():
            body = collect(body)
            if body:
                total, guarded = self.make(body, over, known, scope, fixed.guards, dtype)
                if guarded and not fixed.factors and not keep:
                    fixed = replace(fixed, guards=())  # the sum itself is 0 where they fail
                out.append(self.scaled(total, fixed, body, over, known))
        return collect(out)

    def parted(self, t: Term, over: Ranges, known: Facts) -> tuple[Term, Term]:
        """(fixed, moving): what does not depend on the variables of `over`, and what does.

        Where a range may be empty because of the variables that stay, what is fixed is read
        though no element is summed: it moves too unless it always exists."""
        fixed, moving = parted(t, set(over))
        if not shaped(over, known):
            return fixed, moving

        def stays(e: Expr) -> bool:
            return always_safe(e, known, self.owner.shapes, self.owner.sizes)

        powers = tuple(fp for fp in fixed.factors if not stays(fp[0]))
        guards = tuple(g for g in fixed.guards if not stays(g))
        if powers or guards:
            moving = moving.times(Term(factors=powers)).under(guards)
            fixed = Term(
                fixed.coeff,
                tuple(g for g in fixed.guards if g not in guards),
                tuple(fp for fp in fixed.factors if fp not in powers),
            )
        return fixed, moving

    def scaled(self, total: Term, fixed: Term, body: list[Term], over: Ranges, known: Facts) -> Term:
        """A sum times what is fixed.  That may be infinite, and 0 times it a nan: a sum of nothing stays 0."""
        if unbounded(fixed) and (all(t.guards for t in body) or emptied(over, known)):
            value = total.factors[0][0]
            total = total.under((Expr("ne", (value, const(0.0, value.dtype)), None, "bool"),))
        return fixed.times(total)

    def count(self, fixed: Term, over: Ranges, known: Facts, dtype: str) -> Term | None:
        """The sum of what depends on none of the variables: so many times the same."""
        if unbounded(fixed) and emptied(over, known):
            fixed = fixed.times(Term(guards=tuple(compare("lt", lo, hi) for lo, hi in over.values())))
        for lo, hi in over.values():
            if (free_vars(lo) | free_vars(hi)) & set(over):
                return None
            length = known.simplify(Expr("sub", (hi, lo), None, "i64"))
            if not known.nonneg(length):
                length = Expr("max", (length, ZERO), None, "i64")
            fixed = fixed.times(Term(factors=((Expr("cast", (length,), dtype, dtype), 1),)))
        return fixed

    def make(
        self, body: list[Term], over: Ranges, known: Facts, scope: Ranges, guards: tuple[Expr, ...], dtype: str
    ) -> tuple[Term, bool]:
        """The temporary that holds the sum of `body`, as a term, and whether it is 0 outside of
        `guards` (they are inside of it if it must not be computed there)."""
        scale = Term()
        if len(body) == 1:
            scale, body = Term(body[0].coeff), [replace(body[0], coeff=Fraction(1))]
        hit = self.find(body, over, scope)
        if hit is not None:
            return scale.times(hit), False
        o = self.owner
        inside = emit(body, dtype)
        guarded = bool(guards) and not always_safe(reduction(inside, over), known, o.shapes, o.sizes)
        if guarded:
            guards = ordered(guards)
            inside = under(guards, inside, const(0.0, dtype))
            over = {v: limits_under(guards, r) for v, r in over.items()}  # type: ignore[misc]
        e = reduction(inside, over)
        names = [v for v in scope if v in free_vars(e)]
        name = o.fresh("summed")
        dims = tuple(o.facts.simplify(scope[v][1]) for v in names)
        idx = tuple(map(var, names))
        p = Param(name, "temp", dtype, dims)
        o.temps.append(p)
        o.arrays[name], o.shapes[name] = p, dims
        o.back.append(Equation(name, tuple(names), dims, idx, e))
        if not guarded:
            self.remember(body, over, scope, name, tuple(names))
        return scale.times(Term(factors=((load(name, idx, dtype), 1),))), guarded

    # ------------------------------------------------------------ sums that are zero

    def vanishes(self, t: Term, over: Ranges, scope: Ranges) -> bool:
        """True for the sum of differences from a mean, and whatever else is 0 by the definitions
        of the forward equations alone: a - b is summed part by part and must cancel exactly."""
        if t.guards or len(t.factors) != 1 or t.factors[0][1] != 1 or t.factors[0][0].op not in ("add", "sub"):
            return False
        parts = self.linear(t.factors[0][0], Fraction(1))
        total: list[Term] = []
        for p in parts:
            fixed, moving = parted(p, set(over))
            if moving.factors or moving.guards:
                hit = self.find([moving], over, scope)
                if hit is None:
                    return False
                total.append(fixed.times(hit))
                continue
            for lo, hi in over.values():
                if lo != ZERO or not fixed.factors:
                    return False
                dtype = fixed.factors[0][0].dtype
                fixed = fixed.times(Term(factors=((Expr("cast", (hi,), dtype, dtype), 1),)))
            total.append(fixed)
        return not collect(self.defined(t) for t in total)

    def linear(self, e: Expr, sign: Fraction) -> list[Term]:
        """The parts of a sum or difference."""
        if e.op in ("add", "sub"):
            second = sign if e.op == "add" else -sign
            return self.linear(e.args[0], sign) + self.linear(e.args[1], second)
        t = term_of(e)
        return [replace(t, coeff=t.coeff * sign)]

    def defined(self, t: Term) -> Term:
        """The term with elements of pointwise forward arrays replaced by the products they are."""
        for k in self.owner.reuse.values:
            for f, p in t.factors:
                if f.op == "load" and f.attr == k.array and p == 1:
                    rest = Term(t.coeff, t.guards, tuple(fp for fp in t.factors if fp[0] != f))
                    names = dict(zip(k.vars, f.args, strict=True))
                    return self.defined(rest.times(k.term.map(lambda e, n=names: substitute(e, n))))  # type: ignore[misc]
        return t


def reduction(body: Expr, over: Ranges) -> Expr:
    """sum[over](body)."""
    args = [e for r in over.values() for e in r]
    return Expr("reduce", (body, *args), ("sum", tuple(over)), body.dtype)


def shape_of(e: Expr) -> str:
    """An expression's text with its variables numbered: equal up to renaming, equal text."""
    return repr(canonical(e)[0])


def term_key(t: Term) -> Expr:
    """A term as one expression whose parts stand in an order that does not depend on names."""
    factors = sorted((Expr("power", (f,), p) for f, p in t.factors), key=shape_of)
    guards = sorted(t.guards, key=shape_of)
    return Expr("term", (*factors, *guards), str(t.coeff))


def unbounded(t: Term) -> bool:
    """True for a product that may be infinite though what it reads is not."""
    return any(p < 0 or any(n.op in ("div", "sqrt", "call") for n in walk(f)) for f, p in t.factors)


def shaped(over: Ranges, known: Facts) -> bool:
    """True if a range depends on the variables that stay."""
    bounds = {v for r in over.values() for e in r for v in free_vars(e)}
    return bool(bounds & (set(known.ranges) - set(over)))


def emptied(over: Ranges, known: Facts) -> bool:
    """True if a range may be empty because of the variables that stay."""
    inside = known.within(over)
    return shaped(over, known) and not all(inside.lt(lo, hi) for lo, hi in over.values())


def parted(t: Term, names: set[str]) -> tuple[Term, Term]:
    """(fixed, moving): what does not depend on the variables `names`, and what does."""
    fixed = Term(
        t.coeff,
        tuple(g for g in t.guards if not free_vars(g) & names),
        tuple(fp for fp in t.factors if not free_vars(fp[0]) & names),
    )
    moving = Term(
        guards=tuple(g for g in t.guards if free_vars(g) & names),
        factors=tuple(fp for fp in t.factors if free_vars(fp[0]) & names),
    )
    return fixed, moving
