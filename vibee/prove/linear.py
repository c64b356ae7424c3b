"""Integer facts for a solver: polynomials over atoms, products linearised, then QF_LIA.

Symbolic sizes multiply (`b*T + t`), and solvers of nonlinear arithmetic are slow and moody.
Every product of atoms becomes one fresh integer, with lemmas that say what multiplication by a
positive factor preserves:      f > 0 and x < y   =>   f*x + f <= f*y
and likewise for a distance of at most one and of two (an iteration, the next one, the end), which is
all that bounds of tiled and flattened indices need.  Division and remainder by b > 0 become
a = q*b + r, 0 <= r < b.

Integers here have no end.  The arithmetic of i64 that is emitted stays within 63 bits (vibee.prove.overflow);
that of other types may wrap around, so its results are unknowns.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from vibee.tree.expr import Expr
from vibee.tree.types import is_int

from . import remembered

Monomial = tuple[str, ...]
Poly = dict[Monomial, int]
TIMEOUT_MS = 800  # some twice what the slowest proof in specs/ takes
STEPS = 6000  # of the solver, for a millisecond: what is proved does not depend on how busy the machine is
LATE = 500  # times the timeout after which a question is given up on all the same
PATIENCE = 3  # times as long for numbers that satisfy something
HURRY = 2  # times less to see whether numbers up to FEW deny it
FEW = 2
SMALL = 4
MANY = 40  # products beyond which lemmas about all pairs, and nonlinear arithmetic, are not tried

RANGES = {"u8": (0, 255), "i8": (-128, 127), "i32": (-(2**31), 2**31 - 1), "u32": (0, 2**32 - 1)}

_names: dict[Expr, str] = {}  # of what is no polynomial


@dataclass(slots=True)
class Piece:
    """A condition for the solver, what is known of its atoms, and the products in it."""

    formula: Any
    side: list[Any] = field(default_factory=list)
    products: dict[Monomial, None] = field(default_factory=dict)


@lru_cache(maxsize=100_000)
def piece(e: Expr) -> Piece:
    """The translation of one condition; the same expression has the same atoms everywhere."""
    t = Translation()
    f = t.formula(e)
    return Piece(f, t.side, t.products)


class Translation:
    """Translates integer and boolean expressions to z3, collecting side conditions."""

    def __init__(self) -> None:
        import z3

        self.z3 = z3
        self.products: dict[Monomial, None] = {}
        self.side: list[Any] = []
        self.seen: set[str] = set()  # atoms whose side conditions are there already

    # ---- polynomials

    def poly(self, e: Expr) -> Poly:
        """`e` as a polynomial over atoms."""
        if e.op == "const" and isinstance(e.attr, int):
            return {(): int(e.attr)} if e.attr else {}
        if e.op == "var":
            return {(str(e.attr),): 1}
        if e.op in ("min", "max", "where") and is_int(e.dtype or "i64"):
            return self._choice(e)
        if e.dtype not in ("i64", "") and e.op in ("add", "sub", "neg", "mul"):
            return self._atom(e)[0]
        if e.op in ("add", "sub"):
            return plus(self.poly(e.args[0]), self.poly(e.args[1]), 1 if e.op == "add" else -1)
        if e.op == "neg":
            return plus({}, self.poly(e.args[0]), -1)
        if e.op == "mul":
            return times(self.poly(e.args[0]), self.poly(e.args[1]))
        if e.op in ("floordiv", "mod"):
            return self._divide(e)
        if e.op == "cast" and e.dtype in ("i32", "i64") and keeps(e.args[0], e.dtype):
            return self.poly(e.args[0])
        return self._atom(e)[0]

    def _atom(self, e: Expr) -> tuple[Poly, bool]:
        """The unknown that stands for an expression, and whether it is met for the first time here."""
        name = _names.setdefault(e, f"@{len(_names)}")
        fresh = name not in self.seen
        self.seen.add(name)
        if fresh and e.dtype in RANGES:
            x = integer((name,))
            self.side += [x >= RANGES[e.dtype][0], x <= RANGES[e.dtype][1]]
        return {(name,): 1}, fresh

    def _divide(self, e: Expr) -> Poly:
        a, b = self.poly(e.args[0]), self.poly(e.args[1])
        q, fresh = self._atom(Expr("floordiv", e.args, None, "i64"))
        r, _ = self._atom(Expr("mod", e.args, None, "i64"))  # a name of its own: products with it have lemmas
        if fresh:
            z3 = self.z3
            bz, rz = self.term(b), self.term(r)
            self.side.append(z3.Implies(bz > 0, z3.And(rz >= 0, rz < bz)))
            # x // 0 and x % 0 are 0 in the emitted code, after an error was noted; the least number // -1 wraps around
            least = RANGES.get(e.dtype, (-(2**63), 0))[0]
            plain = z3.Or(bz > 0, bz < -1, z3.And(bz == -1, self.term(a) > least))
            self.side.append(z3.Implies(plain, rz == self.term(plus(a, times(q, b), -1))))
        return q if e.op == "floordiv" else r

    def _choice(self, e: Expr) -> Poly:
        v, fresh = self._atom(e)
        if fresh:
            z3 = self.z3
            t = self.term(v)
            if e.op == "where":
                a, b = self.term(self.poly(e.args[1])), self.term(self.poly(e.args[2]))
                first = self.formula(e.args[0])
            else:
                a, b = self.term(self.poly(e.args[0])), self.term(self.poly(e.args[1]))
                first = a <= b if e.op == "min" else a >= b
            self.side.append(z3.If(first, t == a, t == b))
        return v

    # ---- z3 terms

    def term(self, p: Poly) -> Any:
        """A linear term for a polynomial."""
        total: Any = self.z3.IntVal(p.get((), 0))
        for m, c in p.items():
            if m:
                if len(m) > 1:
                    self.products[m] = None
                total = total + c * integer(m)
        return total

    def formula(self, e: Expr) -> Any:
        """A boolean expression; what is not understood becomes an unknown boolean."""
        z3 = self.z3
        if e.op in ("lt", "le", "gt", "ge", "eq", "ne") and all(is_int(a.dtype or "i64") for a in e.args):
            a, b = (self.term(self.poly(x)) for x in e.args)
            return {"lt": a < b, "le": a <= b, "gt": a > b, "ge": a >= b, "eq": a == b, "ne": a != b}[e.op]
        if e.op in ("and", "or"):
            parts = [self.formula(a) for a in e.args]
            return z3.And(*parts) if e.op == "and" else z3.Or(*parts)
        if e.op == "not":
            return z3.Not(self.formula(e.args[0]))
        if e.op == "const":
            return z3.BoolVal(bool(e.attr))
        return z3.Bool("?" + _names.setdefault(e, f"@{len(_names)}"))


def keeps(a: Expr, to: str) -> bool:
    """Does a cast keep the value?  A u64 does only where it is a remainder by a constant of 63 bits."""
    if a.dtype == "u64" and a.op == "mod" and to == "i64":
        return a.args[1].op == "const" and int(a.args[1].attr) <= 2**63  # type: ignore[call-overload]
    wider = {"i32": ("i8", "u8"), "i64": ("i8", "u8", "i32", "u32")}
    return a.dtype == to or a.dtype in wider.get(to, ())


@lru_cache(maxsize=100_000)
def integer(m: Monomial) -> Any:
    """The integer that stands for an atom or a product of atoms."""
    import z3

    return z3.Int("*".join(m))


# ---- lemmas about products


@lru_cache(maxsize=100_000)
def splits(m: Monomial) -> tuple[tuple[Monomial, Monomial], ...]:
    """A product as f * x, in every way that takes one atom out."""
    out: list[tuple[Monomial, Monomial]] = []
    for n, name in enumerate(m):
        if name in m[:n]:
            continue
        rest = m[:n] + m[n + 1 :]
        out.append(((name,), rest))
        if rest != (name,):
            out.append((rest, (name,)))
    return tuple(out)


@lru_cache(maxsize=100_000)
def signs(m: Monomial) -> tuple[Any, ...]:
    """A product with a positive factor has the other one's sign, and is at least as far from zero."""
    import z3

    out, p = [], integer(m)
    for a, b in splits(m):
        f, x = integer(a), integer(b)
        out.append(z3.Implies(f == 0, p == 0))
        parts = (z3.Implies(x < 0, p + f <= 0), z3.Implies(x == 0, p == 0), z3.Implies(x > 0, p >= f),
                 z3.Implies(x <= 1, p <= f))  # fmt: skip
        out.append(z3.Implies(f > 0, z3.And(*parts)))
    return tuple(out)


def in_common(m: Monomial, n: Monomial) -> Iterator[tuple[Any, Any, Any]]:
    """Two products as f * x and f * y, in every way."""
    for (a, b), (c, d) in itertools.product(splits(m), splits(n)):
        if a == c:
            yield integer(a), integer(b), integer(d)


@lru_cache(maxsize=400_000)
def order(m: Monomial, n: Monomial) -> tuple[Any, ...]:
    """What multiplication by a positive factor preserves, where two products have a factor in common."""
    import z3

    out, p, q = [], integer(m), integer(n)
    for f, x, y in in_common(m, n):
        lower, upper = z3.Implies(x < y, p + f <= q), z3.Implies(x > y, q + f <= p)
        out.append(z3.Implies(f > 0, z3.And(lower, upper, z3.Implies(x == y, p == q))))
    return tuple(out)


@lru_cache(maxsize=400_000)
def distance(m: Monomial, n: Monomial) -> tuple[Any, ...]:
    """The same for a distance of at most one and of at least two."""
    import z3

    out, p, q = [], integer(m), integer(n)
    for f, x, y in in_common(m, n):
        for low, high, first, last in ((x, y, p, q), (y, x, q, p)):
            near = z3.Implies(low + 1 >= high, first + f >= last)
            far = z3.Implies(low + 1 < high, first + 2 * f <= last)
            out.append(z3.Implies(f > 0, z3.And(near, far)))
    return tuple(out)


@lru_cache(maxsize=100_000)
def meaning(m: Monomial) -> Any:
    """A product as what it is: no longer linear."""
    value = integer(m[:1])
    for name in m[1:]:
        value = value * integer((name,))
    return integer(m) == value


def with_parts(products: Iterable[Monomial]) -> dict[Monomial, None]:
    """The products and their own tails: a product of three is one of two, times one."""
    return {m[n:]: None for m in products for n in range(len(m) - 1)}


# ---- polynomials


def constant_apart(a: Expr, b: Expr) -> int | None:
    """b - a where that is a constant."""
    if not solver():
        return 0 if a == b else None
    t = Translation()
    rest = plus(t.poly(b), t.poly(a), -1)
    return rest.get((), 0) if set(rest) <= {()} else None


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


# ---- the question


def solver() -> bool:
    """Is there a solver?  In the one-file executable there is none."""
    try:
        import z3  # noqa: F401
    except ImportError:
        return False
    return True


@lru_cache(maxsize=200_000)
def implied(facts: tuple[Expr, ...], goal: Expr) -> bool:
    """Do `facts` imply `goal` for all integers?  False also when the solver gives up."""
    if not solver():
        return False
    key = remembered.key(facts, goal)
    if remembered.known(key):
        return True
    failed = remembered.failed(key, STEPS * TIMEOUT_MS)
    if remembered.known(failed):
        return False
    answer = any(_impossible(kind, claim) for kind, claim in _attempts(facts, goal))
    remembered.remember(key if answer else failed)
    return answer


def proved_before(facts: tuple[Expr, ...], goal: Expr) -> bool:
    """Is the answer known to be yes?"""
    return solver() and remembered.known(remembered.key(facts, goal))


def _attempts(facts: tuple[Expr, ...], goal: Expr) -> Iterable[tuple[str, list[Any]]]:
    """Claims that are impossible only if the goal follows, each stronger and slower than the one before."""
    import z3

    wanted = piece(goal)
    pieces = [wanted, *map(piece, facts)]
    products = with_parts(m for p in pieces for m in p.products)
    claim = [z3.Not(wanted.formula), *(p.formula for p in pieces[1:]), *(x for p in pieces for x in p.side)]
    claim += [x for m in products for x in signs(m)]
    yield "QF_LIA", claim
    asked = with_parts(wanted.products)
    if not products:
        return
    if asked:
        yield "QF_LIA", claim + [x for m in asked for n in products if m != n for x in order(m, n)]
    if _happens([*claim, *map(meaning, products)], {name for m in products for name in m}):
        return
    if len(products) <= MANY:
        claim += [x for m, n in itertools.combinations(products, 2) for x in order(m, n)]
        if asked.keys() != products.keys():
            yield "QF_LIA", claim
        yield "QF_LIA", claim + [x for m, n in itertools.combinations(products, 2) for x in distance(m, n)]
        yield "", claim + [meaning(m) for m in products]


@contextmanager
def limit(milliseconds: int) -> Iterator[None]:
    """Time for one question, while the context lasts."""
    global TIMEOUT_MS
    before, TIMEOUT_MS = TIMEOUT_MS, milliseconds
    try:
        yield
    finally:
        TIMEOUT_MS = before


def _limited(solver: Any, milliseconds: int) -> None:
    """Give a solver the steps of so much time."""
    solver.set("rlimit", STEPS * milliseconds)
    solver.set("timeout", LATE * milliseconds)


def _impossible(kind: str, claim: list[Any]) -> bool:
    """No numbers satisfy the claim."""
    import z3

    solver = z3.SolverFor(kind) if kind else z3.Solver()
    _limited(solver, TIMEOUT_MS)
    solver.add(*claim)
    return bool(solver.check() == z3.unsat)


def _happens(claim: list[Any], names: Iterable[str]) -> bool:
    """Do small numbers satisfy a claim?  Then nothing proves the contrary, and asking for it takes longest."""
    import z3

    solver = z3.Solver()
    _limited(solver, max(1, TIMEOUT_MS // HURRY))  # 0 would be no limit
    solver.add(*claim, *(x for n in sorted(names) for x in (integer((n,)) >= 0, integer((n,)) <= FEW)))
    return bool(solver.check() == z3.sat)


def satisfiable(facts: Iterable[Expr], more: Iterable[Expr] = ()) -> dict[str, int] | None:
    """Numbers for the variables that satisfy the facts, as the solver sees them; None if there are none."""
    import z3

    pieces = [piece(f) for f in (*facts, *more)]
    products = with_parts(m for p in pieces for m in p.products)
    names = sorted({name for m in products for name in m})
    claim = [*(p.formula for p in pieces), *(x for p in pieces for x in p.side), *map(meaning, products)]
    small = [x for n in names for x in (integer((n,)) >= 0, integer((n,)) <= SMALL)]
    for extra in (small, []):  # small numbers are found sooner
        solver = z3.Solver()
        _limited(solver, PATIENCE * TIMEOUT_MS)
        solver.add(*claim, *extra)
        if solver.check() == z3.sat:
            break
    else:
        return None
    model = solver.model()
    return {str(x): model[x].as_long() for x in model.decls() if model[x] is not None and z3.is_int_value(model[x])}
