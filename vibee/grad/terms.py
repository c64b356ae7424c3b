"""Sums of guarded products: the form in which adjoints are added, cancelled and factored.

A `Term` is `where(all guards, coeff * product of factors, 0)`; a factor is an expression with
an integer power.  Sums that a spec wrote stay factors, they are never multiplied out: only
contributions of the chain rule are separate terms.  Terms follow the arithmetic of real
numbers, so `t / s * s` is `t` and contributions that cancel are gone before any code exists.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

from ..tree.expr import Expr, const, loads, show
from ..tree.normal import negate, under
from ..tree.types import is_float

Factors = tuple[tuple[Expr, int], ...]


@lru_cache(maxsize=20000)
def _order(e: Expr) -> str:
    return show(e)


@dataclass(frozen=True, slots=True)
class Term:
    """`where(guards, coeff * factors, 0)`; guards are tested in their order."""

    coeff: Fraction = Fraction(1)
    guards: tuple[Expr, ...] = ()
    factors: Factors = ()

    @property
    def key(self) -> tuple[frozenset[Expr], Factors]:
        """Terms with equal keys add up."""
        return frozenset(self.guards), self.factors

    def times(self, other: Term) -> Term:
        """The product."""
        powers = dict(self.factors)
        for f, p in other.factors:
            powers[f] = powers.get(f, 0) + p
        return Term(self.coeff * other.coeff, merge(self.guards, other.guards), pack(powers))

    def inverse(self) -> Term:
        """1 / term, of a term without guards."""
        return Term(1 / self.coeff, (), tuple((f, -p) for f, p in self.factors))

    def under(self, guards: Iterable[Expr]) -> Term:
        """The term under more guards, tested before its own."""
        return replace(self, guards=merge(tuple(guards), self.guards))

    def map(self, f: Callable[[Expr], Expr]) -> Term:
        """The term with `f` applied to each factor and guard."""
        powers: dict[Expr, int] = {}
        for x, p in self.factors:
            y = f(x)
            powers[y] = powers.get(y, 0) + p
        return Term(self.coeff, merge((), tuple(f(g) for g in self.guards)), pack(powers))


def pack(powers: dict[Expr, int]) -> Factors:
    """Factors in canonical order, those of power 0 left out."""
    return tuple(sorted(((f, p) for f, p in powers.items() if p), key=lambda fp: (_order(fp[0]), fp[1])))


def merge(a: tuple[Expr, ...], b: tuple[Expr, ...]) -> tuple[Expr, ...]:
    """Guards of both, each once, conjunctions taken apart."""
    out: list[Expr] = []
    todo = [*a, *b]
    while todo:
        g = todo.pop(0)
        if g.op == "and":
            todo = [*g.args, *todo]
        elif g not in out and not (g.op == "const" and g.attr):
            out.append(g)
    return tuple(out)


def is_zero(e: Expr) -> bool:
    """True for a literal 0."""
    return e.op == "const" and e.attr == 0


def term_of(e: Expr) -> Term:
    """A float expression as one term; what is no product becomes a factor."""
    if e.op == "const" and math.isfinite(e.attr):  # type: ignore[arg-type]
        return Term(Fraction(e.attr))  # type: ignore[call-overload]
    if e.op == "neg":
        t = term_of(e.args[0])
        return replace(t, coeff=-t.coeff)
    if e.op == "mul":
        return term_of(e.args[0]).times(term_of(e.args[1]))
    if e.op == "div":
        bottom = term_of(e.args[1])
        if not bottom.guards and bottom.coeff:
            return term_of(e.args[0]).times(bottom.inverse())
        return term_of(e.args[0]).times(Term(factors=((e.args[1], -1),)))
    if e.op == "where" and is_zero(e.args[2]):
        return term_of(e.args[1]).under((e.args[0],))
    if e.op == "where" and is_zero(e.args[1]):
        return term_of(e.args[2]).under((negate(e.args[0]),))
    if e.op == "cast" and is_float(str(e.attr)) and e.args[0].op == "const" and math.isfinite(e.args[0].attr):  # type: ignore[arg-type]
        return Term(Fraction(e.args[0].attr))  # type: ignore[call-overload]
    return Term(factors=((e, 1),))


def collect(terms: Iterable[Term]) -> list[Term]:
    """Like terms added up; what cancels is left out."""
    found: dict[object, Term] = {}
    for t in terms:
        old = found.get(t.key)
        found[t.key] = t if old is None else replace(old, coeff=old.coeff + t.coeff)
    return [t for t in found.values() if t.coeff]


def product(a: Iterable[Term], b: Term) -> list[Term]:
    """Each term of a sum times `b`."""
    return [t.times(b) for t in a]


# ---------------------------------------------------------------- back to expressions


def _binary(op: str, a: Expr, b: Expr, dtype: str) -> Expr:
    return Expr(op, (a, b), None, dtype)


def _power(e: Expr, n: int, dtype: str) -> Expr:
    out = e
    for _ in range(n - 1):
        out = _binary("mul", out, e, dtype)
    return out


def _times(a: Expr | None, b: Expr, dtype: str) -> Expr:
    return b if a is None else _binary("mul", a, b, dtype)


def nearest(x: Fraction) -> float:
    """The float nearest to a positive number: inf where none is as large."""
    try:
        return float(x)
    except OverflowError:
        return math.inf


def emit_product(coeff: Fraction, factors: Factors, dtype: str, last: Expr | None = None) -> Expr:
    """coeff * factors (* last), the coefficient's sign in front."""
    top: Expr | None = None
    bottom: Expr | None = None
    for f, p in factors:
        if p > 0:
            top = _times(top, _power(f, p, dtype), dtype)
        else:
            bottom = _times(bottom, _power(f, -p, dtype), dtype)
    if last is not None:
        top = _times(top, last, dtype)
    if top is None or abs(coeff) != 1:
        size = const(nearest(abs(coeff)), dtype)
        top = size if top is None else _binary("mul", size, top, dtype)
    if bottom is not None:
        top = _binary("div", top, bottom, dtype)
    return top if coeff > 0 else Expr("neg", (top,), None, dtype)


def emit_sum(terms: list[Term], dtype: str) -> Expr:
    """A sum of terms (their guards set aside), common factors taken out."""
    if not terms:
        return const(0.0, dtype)
    if len(terms) == 1:
        return emit_product(terms[0].coeff, terms[0].factors, dtype)
    counts: dict[Expr, list[int]] = {}
    for t in terms:
        for f, p in t.factors:
            counts.setdefault(f, []).append(p)
    shared: dict[Expr, int] = {}
    for f, ps in counts.items():
        if len(ps) == len(terms) and (all(p > 0 for p in ps) or all(p < 0 for p in ps)):
            shared[f] = min(ps) if ps[0] > 0 else max(ps)
    sign = -1 if all(t.coeff < 0 for t in terms) else 1
    scale = abs(terms[0].coeff) if all(abs(t.coeff) == abs(terms[0].coeff) for t in terms) else Fraction(1)
    if shared or scale != 1 or sign < 0:
        inverse = Term(1 / (sign * scale), (), tuple((f, -p) for f, p in shared.items()))
        return emit_product(sign * scale, pack(shared), dtype, emit_sum([t.times(inverse) for t in terms], dtype))
    best = max(((f, sum(1 for p in ps if p > 0)) for f, ps in counts.items()), key=lambda fc: fc[1], default=(None, 0))
    if best[0] is not None and 2 <= best[1] < len(terms):
        inside = [t for t in terms if dict(t.factors).get(best[0], 0) > 0]
        others = [t for t in terms if t not in inside]
        parts = [(emit_sum(inside, dtype), 1), (emit_sum(others, dtype), 1)]
    else:
        parts = [(emit_product(abs(t.coeff), t.factors, dtype), 1 if t.coeff > 0 else -1) for t in terms]
    return _add_up(parts, dtype)


def _add_up(parts: list[tuple[Expr, int]], dtype: str) -> Expr:
    signed = [(e.args[0], -s) if e.op == "neg" else (e, s) for e, s in parts]
    signed.sort(key=lambda es: es[1] < 0)
    first, s = signed[0]
    out = first if s > 0 else Expr("neg", (first,), None, dtype)
    for e, s in signed[1:]:
        out = _binary("add" if s > 0 else "sub", out, e, dtype)
    return out


Group = tuple[tuple[Expr, ...], list[Term]]


def emit(terms: Iterable[Term], dtype: str) -> Expr:
    """The expression of a sum of terms: a tree of conditions with sums at its leaves."""
    groups: dict[frozenset[Expr], Group] = {}
    for t in collect(terms):
        groups.setdefault(frozenset(t.guards), (t.guards, []))[1].append(t)
    return _tree(list(groups.values()), dtype)


def _tree(groups: list[Group], dtype: str) -> Expr:
    """Terms by their conditions: the one that most of them share first."""
    zero = const(0.0, dtype)
    plain = [t for guards, ts in groups if not guards for t in ts]
    guarded = [g for g in groups if g[0]]
    if not guarded:
        return emit_sum(plain, dtype)
    if len({g for g, _ in guarded}) == 1:
        return _sum_of(plain, under(guarded[0][0], emit_sum(guarded[0][1], dtype), zero), dtype)
    best = max((g[0][0] for g in guarded), key=lambda c: sum(1 for g in guarded if _side(g[0], c)))
    yes = [_without(g, best) for g in guarded if _side(g[0], best) == 1]
    no = [_without(g, negate(best)) for g in guarded if _side(g[0], best) == -1]
    rest = [g for g in guarded if not _side(g[0], best)]
    out = under((best,), _tree(yes, dtype), _tree(no, dtype))
    if rest:
        out = _add_up([(out, 1), (_tree(rest, dtype), 1)], dtype)
    return _sum_of(plain, out, dtype)


def _sum_of(plain: list[Term], guarded: Expr, dtype: str) -> Expr:
    return _add_up([(emit_sum(plain, dtype), 1), (guarded, 1)], dtype) if plain else guarded


def _side(guards: tuple[Expr, ...], cond: Expr) -> int:
    """1 if the condition is one of `guards`, -1 if its opposite is, else 0.

    A condition that reads an array counts only where it is tested first: those before it may
    say that the element exists."""
    at = guards[:1] if loads(cond) else guards
    return 1 if cond in at else -1 if negate(cond) in at else 0


def _without(g: Group, cond: Expr) -> Group:
    """The group with one condition tested already."""
    left = tuple(c for c in g[0] if c != cond)
    return left, [replace(t, guards=left) for t in g[1]]
