"""Integer facts for a solver: polynomials over atoms, products linearised, then QF_LIA.

Symbolic sizes multiply (`b*T + t`), and solvers of nonlinear arithmetic are slow and moody.
Every product of atoms becomes one fresh integer, with lemmas that say what multiplication by a
positive factor preserves:      f > 0 and x < y   =>   f*x + f <= f*y
which is all that bounds of tiled and flattened indices need.  Division and remainder by b > 0 become
a = q*b + r, 0 <= r < b.
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import Any

from vibee.tree.expr import Expr
from vibee.tree.types import is_int

Monomial = tuple[str, ...]
Poly = dict[Monomial, int]
TIMEOUT_MS = 400


class Linear:
    """Translates integer and boolean expressions to z3, collecting side conditions."""

    def __init__(self) -> None:
        import z3

        self.z3 = z3
        self.atoms: dict[str, Any] = {}
        self.products: dict[Monomial, Any] = {}
        self.side: list[Any] = []
        self.opaque: dict[Expr, str] = {}
        self.memo: dict[Expr, Poly] = {}

    # ---- polynomials

    def poly(self, e: Expr) -> Poly:
        """`e` as a polynomial over atoms."""
        if e not in self.memo:
            self.memo[e] = self._poly(e)
        return self.memo[e]

    def _poly(self, e: Expr) -> Poly:
        if e.op == "const" and isinstance(e.attr, int):
            return {(): int(e.attr)} if e.attr else {}
        if e.op == "var":
            return {(str(e.attr),): 1}
        if e.op in ("add", "sub"):
            return plus(self.poly(e.args[0]), self.poly(e.args[1]), 1 if e.op == "add" else -1)
        if e.op == "neg":
            return plus({}, self.poly(e.args[0]), -1)
        if e.op == "mul":
            return times(self.poly(e.args[0]), self.poly(e.args[1]))
        if e.op in ("floordiv", "mod"):
            return self._divide(e)
        if e.op == "cast" and is_int(e.dtype) and is_int(e.args[0].dtype) and e.dtype in ("i32", "i64"):
            if e.dtype == "i64" or e.args[0].dtype in ("i8", "u8", "i32"):
                return self.poly(e.args[0])
        if e.op in ("min", "max", "where"):
            return self._choice(e)
        return self._atom(e)

    def _atom(self, e: Expr) -> Poly:
        if e not in self.opaque:
            self.opaque[e] = f"@{len(self.opaque)}"
        return {(self.opaque[e],): 1}

    def _divide(self, e: Expr) -> Poly:
        a, b = self.poly(e.args[0]), self.poly(e.args[1])
        key = Expr("floordiv", e.args, None, "i64")
        fresh = key not in self.opaque
        q = self._atom(key)
        r = plus(a, times(q, b), -1)
        if fresh:
            z3 = self.z3
            bz, rz = self.term(b), self.term(r)
            self.side.append(z3.Implies(bz > 0, z3.And(rz >= 0, rz < bz)))
        return q if e.op == "floordiv" else r

    def _choice(self, e: Expr) -> Poly:
        fresh = e not in self.opaque
        v = self._atom(e)
        if fresh:
            z3 = self.z3
            t = self.term(v)
            if e.op == "where":
                a, b = self.term(self.poly(e.args[1])), self.term(self.poly(e.args[2]))
                c = self.formula(e.args[0])
                self.side.append(z3.If(c, t == a, t == b))
            else:
                a, b = self.term(self.poly(e.args[0])), self.term(self.poly(e.args[1]))
                first = a <= b if e.op == "min" else a >= b
                self.side.append(z3.If(first, t == a, t == b))
        return v

    # ---- z3 terms

    def atom(self, name: str) -> Any:
        """The integer of one atom."""
        if name not in self.atoms:
            self.atoms[name] = self.z3.Int(name)
        return self.atoms[name]

    def monomial(self, m: Monomial) -> Any:
        """The integer that stands for a product of atoms."""
        if len(m) == 1:
            return self.atom(m[0])
        if m not in self.products:
            self.products[m] = self.z3.Int("*".join(m))
            self.monomial(m[1:])
        return self.products[m]

    def term(self, p: Poly) -> Any:
        """A linear term for a polynomial."""
        total: Any = self.z3.IntVal(p.get((), 0))
        for m, c in p.items():
            if m:
                total = total + c * self.monomial(m)
        return total

    def formula(self, e: Expr) -> Any:
        """A boolean expression; what is not understood becomes an unknown boolean."""
        z3 = self.z3
        if e.op in ("lt", "le", "gt", "ge", "eq", "ne") and all(is_int(a.dtype) for a in e.args):
            a, b = (self.term(self.poly(x)) for x in e.args)
            return {"lt": a < b, "le": a <= b, "gt": a > b, "ge": a >= b, "eq": a == b, "ne": a != b}[e.op]
        if e.op in ("and", "or"):
            parts = [self.formula(a) for a in e.args]
            return z3.And(*parts) if e.op == "and" else z3.Or(*parts)
        if e.op == "not":
            return z3.Not(self.formula(e.args[0]))
        if e.op == "const":
            return z3.BoolVal(bool(e.attr))
        return z3.Bool(f"?{self._atom(e)}")

    def lemmas(self) -> list[Any]:
        """What multiplication by a positive factor preserves, for the products that occur."""
        z3, out = self.z3, []
        splits: list[tuple[Any, Any, Any, Monomial]] = []
        for m, p in list(self.products.items()):
            for n, name in enumerate(m):
                if name in m[:n]:
                    continue
                rest = m[:n] + m[n + 1 :]
                splits.append((self.atom(name), self.monomial(rest), p, rest))
                if len(rest) > 1 or rest[0] != name:
                    splits.append((self.monomial(rest), self.atom(name), p, (name,)))
        for f, x, p, _ in splits:
            out.append(z3.Implies(f == 0, p == 0))
            signs = (z3.Implies(x < 0, p + f <= 0), z3.Implies(x == 0, p == 0), z3.Implies(x > 0, p >= f))
            out.append(z3.Implies(f > 0, z3.And(*signs)))
        for (f, x, p, _), (g, y, q, _) in itertools.combinations(splits, 2):
            if f.eq(g) and not p.eq(q):
                lower = z3.Implies(x < y, p + f <= q)
                upper = z3.Implies(x > y, q + f <= p)
                out.append(z3.Implies(f > 0, z3.And(lower, upper, z3.Implies(x == y, p == q))))
        return out


def plus(a: Poly, b: Poly, sign: int) -> Poly:
    """a + sign*b."""
    out = dict(a)
    for m, c in b.items():
        out[m] = out.get(m, 0) + sign * c
    return {m: c for m, c in out.items() if c}


def times(a: Poly, b: Poly) -> Poly:
    """a * b."""
    out: Poly = {}
    for m, c in a.items():
        for n, d in b.items():
            k = tuple(sorted(m + n))
            out[k] = out.get(k, 0) + c * d
    return {m: c for m, c in out.items() if c}


@lru_cache(maxsize=200_000)
def implied(facts: tuple[Expr, ...], goal: Expr) -> bool:
    """Do `facts` imply `goal` for all integers?  False also when the solver gives up."""
    try:
        lin = Linear()
    except ImportError:
        return False
    hyps = [lin.formula(f) for f in facts]
    target = lin.formula(goal)
    for nonlinear in (False, True):
        if nonlinear and not lin.products:
            return False
        solver = lin.z3.SolverFor("QF_LIA") if not nonlinear else lin.z3.Solver()
        solver.set("timeout", TIMEOUT_MS)
        solver.add(*hyps, *lin.side, *lin.lemmas(), lin.z3.Not(target))
        if nonlinear:  # the products' meaning, in case the lemmas were not enough
            for m, p in lin.products.items():
                value = lin.atom(m[0])
                for name in m[1:]:
                    value = value * lin.atom(name)
                solver.add(p == value)
        if solver.check() == lin.z3.unsat:
            return True
    return False
