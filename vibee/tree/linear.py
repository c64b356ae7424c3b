"""Integer polynomials over sizes and index variables: equality, bounds and signs.

A `Lin` maps a product of atoms (a sorted tuple of expressions; () for the constant) to its
integer coefficient.  An atom is a variable or an expression that is not a polynomial
(`a // b`, `a % b`, a load).  Everything here is sound but not complete: "not shown" is an
answer, and what cannot be shown is guarded or checked by whoever asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from .expr import Expr, const, free_vars, rebuild, show, substitute
from .types import DTYPES

Lin = dict[tuple[Expr, ...], int]
Range = tuple[Expr, Expr]  # half open

ZERO = const(0, "i64")
ONE = const(1, "i64")


def add(a: Lin, b: Lin, scale: int = 1) -> Lin:
    """a + scale * b."""
    out = dict(a)
    for k, c in b.items():
        new = out.get(k, 0) + scale * c
        if new:
            out[k] = new
        else:
            out.pop(k, None)
    return out


def _product(k: tuple[Expr, ...], coeff: int) -> Lin:
    """One product of atoms; (a // b) * b becomes a - a % b, so that the pair compares with a."""
    for q in k:
        if q.op == "floordiv" and q.args[1] in k:
            rest = list(k)
            rest.remove(q)
            rest.remove(q.args[1])
            inner = add(to_lin(q.args[0]), {(Expr("mod", q.args, None, "i64"),): 1}, -1)
            return mul(inner, {tuple(rest): coeff})
    return {tuple(sorted(k, key=show)): coeff}


def mul(a: Lin, b: Lin) -> Lin:
    """a * b."""
    out: Lin = {}
    for ka, ca in a.items():
        for kb, cb in b.items():
            out = add(out, _product(ka + kb, ca * cb))
    return out


def to_lin(e: Expr) -> Lin:
    """The polynomial of an integer expression; never fails (what is not one becomes an atom)."""
    if e.op == "const":
        return {(): int(e.attr)} if e.attr else {}  # type: ignore[call-overload]
    if e.op in ("add", "sub"):
        return add(to_lin(e.args[0]), to_lin(e.args[1]), 1 if e.op == "add" else -1)
    if e.op == "neg":
        return add({}, to_lin(e.args[0]), -1)
    if e.op == "mul":
        return mul(to_lin(e.args[0]), to_lin(e.args[1]))
    if e.op == "cast" and e.attr == "i64" and e.args[0].dtype in DTYPES and DTYPES[e.args[0].dtype].kind in "i":
        inner = e.args[0]  # narrow arithmetic may wrap: only a leaf is surely the same number
        return to_lin(inner) if inner.op in ("const", "var") else {(e,): 1}
    if e.op in ("floordiv", "mod"):
        return _quotient(e)
    if e.op == "xor":
        for x, k in (e.args, e.args[::-1]):
            if x.op == "xor" and k in x.args:  # (y ^ k) ^ k
                return to_lin(x.args[1] if x.args[0] == k else x.args[0])
    return {(rebuild(e, normal_index),): 1}


def _quotient(e: Expr) -> Lin:
    """a // b and a % b, with the multiples of b taken out of a."""
    a, b = to_lin(e.args[0]), to_lin(e.args[1])
    if e.op == "mod":
        a = _without_mod(a, from_lin(b))
    whole, rest = split_multiple(a, b)
    if not rest:
        return whole if e.op == "floordiv" else {}
    if set(b) <= {()} and set(rest) <= {()} and b:
        q, r = divmod(rest.get((), 0), b[()])
        return add(whole, {(): q} if q else {}) if e.op == "floordiv" else {(): r} if r else {}
    atom = Expr(e.op, (from_lin(rest), from_lin(b)), None, "i64")
    return add(whole, {(atom,): 1}) if e.op == "floordiv" else {(atom,): 1}


def _without_mod(a: Lin, b: Expr) -> Lin:
    """`a` with `x % b` replaced by x: the same modulo b."""
    out: Lin = {}
    for k, c in a.items():
        inner = next((x for x in k if x.op == "mod" and x.args[1] == b), None)
        if inner is None:
            out = add(out, {k: c})
        else:
            left = list(k)
            left.remove(inner)
            out = add(out, mul(to_lin(inner.args[0]), {tuple(left): c}))
    return out


def split_multiple(a: Lin, b: Lin) -> tuple[Lin, Lin]:
    """(whole, rest) with a == whole * b + rest, for a divisor that is a single product."""
    if len(b) != 1:
        return ({(): 1}, {}) if a == b and a else ({}, a)
    kb, cb = next(iter(b.items()))
    whole: Lin = {}
    rest: Lin = {}
    for k, c in a.items():
        left = list(k)
        if c % cb == 0 and all(_take(left, x) for x in kb):
            whole = add(whole, {tuple(left): c // cb})
        else:
            rest = add(rest, {k: c})
    return whole, rest


def _take(items: list[Expr], x: Expr) -> bool:
    if x in items:
        items.remove(x)
        return True
    return False


def from_lin(lin: Lin) -> Expr:
    """The expression of a polynomial, in a canonical order (positive products first)."""
    out: Expr | None = None
    for k, c in sorted(lin.items(), key=lambda kc: (kc[0] == (), kc[1] < 0, [show(x) for x in kc[0]])):
        term: Expr | None = None
        for x in k:
            term = x if term is None else Expr("mul", (term, x), None, "i64")
        if term is None:
            term = const(abs(c), "i64")
        elif abs(c) != 1:
            term = Expr("mul", (const(abs(c), "i64"), term), None, "i64")
        if out is None:
            out = term if c > 0 else (const(c, "i64") if not k else Expr("neg", (term,), None, "i64"))
        else:
            out = Expr("add" if c > 0 else "sub", (out, term), None, "i64")
    return out if out is not None else ZERO


def normal_index(e: Expr) -> Expr:
    """An integer expression in canonical form; anything else unchanged but for its parts."""
    return from_lin(to_lin(e)) if e.dtype == "i64" else rebuild(e, normal_index)


def same(a: Expr, b: Expr) -> bool:
    """True if two integer expressions are equal as polynomials."""
    return a == b or to_lin(a) == to_lin(b)


def linear_in(lin: Lin, name: str) -> tuple[Lin, Lin] | None:
    """(c, rest) with lin == c * name + rest, neither of which mentions `name`; else None."""
    c: Lin = {}
    rest: Lin = {}
    for k, n in lin.items():
        hits = [x for x in k if name in free_vars(x)]
        if not hits:
            rest = add(rest, {k: n})
        elif len(hits) == 1 and hits[0].op == "var":
            left = list(k)
            left.remove(hits[0])
            c = add(c, {tuple(left): n})
        else:
            return None
    return c, rest


@dataclass
class Facts:
    """What is known: `sizes` are >= 0; `ranges` of index variables, later ones may use earlier
    ones; `zero`: atoms known to be 0 (`H % G` from a `given`); `equal`: rewrites of sizes;
    `positive`: sizes that are >= 1."""

    sizes: set[str] = field(default_factory=set)
    ranges: dict[str, Range] = field(default_factory=dict)
    zero: set[Expr] = field(default_factory=set)
    equal: dict[str, Expr] = field(default_factory=dict)
    positive: set[str] = field(default_factory=set)

    def within(self, ranges: Mapping[str, Range]) -> Facts:
        """The same facts with more index variables."""
        return replace(self, ranges={**self.ranges, **ranges})

    def lin(self, e: Expr) -> Lin:
        """`to_lin` with the equalities and zeros applied."""
        out = to_lin(substitute(e, self.equal)) if self.equal else to_lin(e)
        return {k: c for k, c in out.items() if not any(x in self.zero for x in k)} if self.zero else out

    def same(self, a: Expr, b: Expr) -> bool:
        """True if a == b is known."""
        return self.lin(a) == self.lin(b)

    def nonneg(self, e: Expr) -> bool:
        """True if e >= 0 is known."""
        low = self._bound(self.lin(e), upper=False)
        return low is not None and self._positive(low)

    def le(self, a: Expr, b: Expr) -> bool:
        """True if a <= b is known."""
        return self.nonneg(Expr("sub", (b, a), None, "i64"))

    def lt(self, a: Expr, b: Expr) -> bool:
        """True if a < b is known."""
        return self.nonneg(Expr("sub", (Expr("sub", (b, a), None, "i64"), ONE), None, "i64"))

    def bound(self, e: Expr, upper: bool) -> Expr | None:
        """A bound of e (the largest or smallest value) free of index variables."""
        if not free_vars(e) & set(self.ranges):
            return e
        out = self._bound(self.lin(e), upper)
        return None if out is None else from_lin(out)

    def simplify(self, e: Expr) -> Expr:
        """An integer expression in canonical form, `(a*G + r) // G` and `% G` resolved where
        r is known to lie in [0, G); the integer parts of any other expression likewise."""
        if e.dtype != "i64" or e.op not in ("add", "sub", "mul", "neg", "floordiv", "mod", "cast", "var", "const"):
            return rebuild(e, self.simplify)
        e = rebuild(e, self.simplify)
        if e.op in ("floordiv", "mod"):
            top, bottom = self.lin(e.args[0]), self.lin(e.args[1])
            whole, rest = split_multiple(_without_mod(top, from_lin(bottom)) if e.op == "mod" else top, bottom)
            r = from_lin(rest)
            if whole or self.ranges or self.zero:
                if self.nonneg(r) and self.lt(r, e.args[1]):
                    return from_lin(whole) if e.op == "floordiv" else r
        return from_lin(to_lin(e))

    def normal(self, e: Expr) -> Expr:
        """The form that equal integer expressions share, the known equalities applied."""
        return from_lin(self.lin(e))

    def _positive(self, lin: Lin) -> bool:
        return all(c >= 0 and all(self._atom_nonneg(x) for x in k) for k, c in lin.items())

    def _atom_nonneg(self, x: Expr) -> bool:
        if x.op == "var":
            return x.attr in self.sizes
        if x.op == "mod":
            return self._positive(to_lin(x.args[1]))
        if x.op == "floordiv":
            return self.nonneg(x.args[0]) and self._positive(to_lin(x.args[1]))
        if x.op in ("min", "max"):
            tests = [self.nonneg(a) for a in x.args]
            return all(tests) if x.op == "min" else any(tests)
        return False

    def _bound(self, lin: Lin, upper: bool) -> Lin | None:
        for name in reversed(list(self.ranges)):
            if not any(name in free_vars(x) for k in lin for x in k):
                continue
            lin2 = self._loose(lin, name, upper)
            parts = linear_in(lin2, name) if lin2 is not None else None
            if parts is None:
                return None
            c, rest = parts
            if not c:
                lin = rest
                continue
            neg = add({}, c, -1)
            if self._positive(c):
                up = upper
            elif self._positive(neg):
                up = not upper
            else:
                return None
            lo, hi = self.ranges[name]
            edge = add(self.lin(hi), {(): 1}, -1) if up else self.lin(lo)
            lin = add(rest, mul(c, edge))
        return lin

    def _loose(self, lin: Lin, name: str, upper: bool) -> Lin | None:
        """`lin` with the non-polynomial atoms that mention `name` replaced by bounds of theirs."""
        out: Lin = {}
        for k, c in lin.items():
            hits = [x for x in k if x.op != "var" and name in free_vars(x)]
            if not hits:
                out = add(out, {k: c})
                continue
            left = list(k)
            left.remove(hits[0])
            if len(hits) > 1 or not self._positive({tuple(left): 1}):
                return None
            b = self._atom_bound(hits[0], upper if c > 0 else not upper)
            if b is None:
                return None
            out = add(out, mul(b, {tuple(left): c}))
        return out

    def _atom_bound(self, x: Expr, upper: bool) -> Lin | None:
        if x.op == "floordiv" and self._positive(self.lin(x.args[1])):
            top = self._bound(self.lin(x.args[0]), upper)
            return None if top is None else to_lin(Expr("floordiv", (from_lin(top), x.args[1]), None, "i64"))
        if x.op == "mod" and self._positive(self.lin(x.args[1])):
            return add(self.lin(x.args[1]), {(): 1}, -1) if upper else {}
        if x.op in ("min", "max"):
            for a in x.args if (x.op == "min") == upper else ():
                b = self._bound(self.lin(a), upper)
                if b is not None:
                    return b
        return None


def facts_of(sizes: Iterable[str], given: Iterable[Expr]) -> Facts:
    """Sizes and what the `given` conditions say: `H == K * G`, `H % G == 0`, `H >= 1`."""
    facts = Facts(sizes=set(sizes))
    todo = list(given)
    while todo:
        e = todo.pop(0)
        if e.op == "and":
            todo = [*e.args, *todo]
        facts.positive |= _positive_sizes(e) & facts.sizes
        if e.op != "eq" or e.args[0].dtype != "i64":
            continue
        a, b = e.args
        lin = facts.lin(Expr("sub", (a, b), None, "i64"))
        if len(lin) == 1 and next(iter(lin)) != ():
            atoms = next(iter(lin))
            if len(atoms) == 1 and atoms[0].op == "mod":
                facts.zero.add(atoms[0])
                continue
        for x, y in ((a, b), (b, a)):
            name = str(x.attr)
            if x.op == "var" and name in facts.sizes and name not in free_vars(y) and name not in facts.equal:
                y = substitute(y, facts.equal)
                if name in free_vars(y):
                    continue
                facts.equal = {n: substitute(v, {name: y}) for n, v in facts.equal.items()} | {name: y}
                break
    return facts


def _positive_sizes(e: Expr) -> set[str]:
    """`{H}` for `H >= 1` in one of its spellings."""
    if e.op not in ("ge", "gt", "le", "lt") or e.args[0].dtype != "i64":
        return set()
    a, b = e.args if e.op in ("ge", "gt") else reversed(e.args)
    lin = add(to_lin(a), to_lin(b), -1)
    lin = add(lin, {(): 1}, -1) if e.op in ("gt", "lt") else lin
    atoms = [k for k in lin if k]
    if len(atoms) != 1 or len(atoms[0]) != 1 or atoms[0][0].op != "var" or lin[atoms[0]] != 1 or lin.get((), 0) >= 0:
        return set()
    return {str(atoms[0][0].attr)}
