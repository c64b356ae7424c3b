"""Size expressions as polynomials over size names, so that B*T equals T*B and 3*C - C equals 2*C.

Divisions stay atoms, unless a `given` says that they are exact: with C % H == 0 known,
H * (C // H) is C.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .expr import Expr, const, show, var
from .types import is_int

Mono = tuple[str, ...]  # the atoms of a product, sorted; () is the constant term
Poly = dict[Mono, int]  # coefficient of each product; no zero coefficients
WHOLE = ("i64", "")  # types whose arithmetic is that of whole numbers ('' before checking)


def _clean(p: Poly) -> Poly:
    return {m: c for m, c in p.items() if c}


def add(a: Poly, b: Poly, sign: int = 1) -> Poly:
    """a + sign * b."""
    out = dict(a)
    for m, c in b.items():
        out[m] = out.get(m, 0) + sign * c
    return _clean(out)


def mul(a: Poly, b: Poly) -> Poly:
    """a * b, without using any fact."""
    out: Poly = {}
    for m, c in a.items():
        for n, d in b.items():
            key = tuple(sorted(m + n))
            out[key] = out.get(key, 0) + c * d
    return _clean(out)


def _without(m: Mono, n: Mono) -> Mono | None:
    """The product m / n, or None where n is no factor of m."""
    rest = list(m)
    for a in n:
        if a not in rest:
            return None
        rest.remove(a)
    return tuple(rest)


def kept(e: Expr) -> bool:
    """Does a conversion to i64 give the number itself, and is it no arithmetic that may have wrapped around?"""
    return e.dtype in WHOLE or (e.op in ("var", "const") and e.dtype in ("i8", "u8", "i32", "u32"))


def divide(p: Poly, q: Poly) -> Poly | None:
    """p / q where q is a single product that divides every term of p exactly."""
    if len(q) != 1:
        return {(): 1} if p == q and p else None
    ((n, d),) = q.items()
    out: Poly = {}
    for m, c in p.items():
        rest = _without(m, n)
        if rest is None or c % d:
            return None
        out[rest] = c // d
    return out


class Sizes:
    """Size arithmetic under the facts that a definition's `given` states about its sizes.

    In shapes no divisor is 0 and nothing wraps around.  In the `emitted` code x // 0 is 0, so that A * B // B is A only
    where B is known not to be 0; and sums of i32 may wrap, so that i64(i + j) is no i64(i) + i64(j)."""

    def __init__(self, given: Iterable[Expr] = (), emitted: bool = False) -> None:
        self.emitted = emitted
        self.divisors: set[str] = set()  # names that are not 0, or `given` would not hold
        self.atoms: dict[str, Expr] = {}  # what an atom that is no name stands for
        self.exact: list[tuple[str, Poly, Poly]] = []  # atom p // q, p, q with q * atom == p
        self.same: dict[str, str] = {}
        for fact in given:
            self._learn(fact)

    def _learn(self, e: Expr) -> None:
        if e.op == "and":
            for a in e.args:
                self._learn(a)
        elif e.op == "eq" and e.args[0].op == "mod" and e.args[1].op == "const" and e.args[1].attr == 0:
            quotient = Expr("floordiv", e.args[0].args, None, "i64")
            p, q = self.poly(e.args[0].args[0]), self.poly(e.args[0].args[1])
            self.divisors |= {a for m in q for a in m if len(q) == 1}
            if divide(p, q) is None and len(q) == 1:
                self.exact.append((self._atom(quotient), p, q))
        elif e.op == "eq" and all(a.op == "var" for a in e.args):
            old, new = (self.same.get(str(x.attr), str(x.attr)) for x in e.args)
            if old != new:
                self.same = {k: (new if v == old else v) for k, v in self.same.items()} | {old: new}
        elif e.op in ("ge", "gt") and e.args[0].op == "var" and e.args[1].op == "const" and is_int(e.args[1].dtype):
            if int(e.args[1].attr) >= (e.op == "ge"):  # type: ignore[call-overload]
                self.divisors.add(self.same.get(str(e.args[0].attr), str(e.args[0].attr)))

    def _atom(self, e: Expr) -> str:
        if e.op in ("floordiv", "mod"):
            e = Expr(e.op, tuple(self.expr(self.poly(a)) for a in e.args), None, "i64")
        text = show(e, 99) if e.dtype in WHOLE else f"{e.dtype} {show(e, 99)}"
        self.atoms[text] = e
        return text

    def poly(self, e: Expr) -> Poly:
        """The polynomial of an integer expression; what is no polynomial becomes an atom."""
        if e.op == "const":
            return _clean({(): int(e.attr)})  # type: ignore[call-overload]
        if e.op == "var":
            name = str(e.attr)
            return {(self.same.get(name, name),): 1}
        if e.op == "cast" and e.attr == "i64" and (not self.emitted or kept(e.args[0])):
            return self.poly(e.args[0])
        if e.dtype not in WHOLE and self.emitted:
            return {(self._atom(e),): 1}
        if e.op in ("add", "sub", "mul"):
            a, b = self.poly(e.args[0]), self.poly(e.args[1])
            return self._reduce(mul(a, b)) if e.op == "mul" else add(a, b, 1 if e.op == "add" else -1)
        if e.op == "neg":
            return add({}, self.poly(e.args[0]), -1)
        if e.op == "floordiv":
            p, q = self.poly(e.args[0]), self.poly(e.args[1])
            if set(p) <= {()} and set(q) == {()}:
                return _clean({(): p.get((), 0) // q[()]})
            quotient = divide(p, q)
            if quotient is not None and (not self.emitted or self._divides(q)):
                return quotient
            for atom, top, bottom in self.exact:  # p % (k*q) == 0 makes p//q equal to k*(p//(k*q))
                rest = divide(bottom, q)
                if top == p and rest is not None and bottom != q:
                    return mul(rest, {(atom,): 1})
        return {(self._atom(e),): 1}

    def _divides(self, q: Poly) -> bool:
        """Is a product not 0, and no negative constant?"""
        return len(q) == 1 and all(c > 0 and set(m) <= self.divisors for m, c in q.items())

    def _reduce(self, p: Poly) -> Poly:
        """p with every q * (p // q) that is known to be exact replaced by p."""
        for atom, top, bottom in self.exact:
            ((factor, times),) = bottom.items()
            for m, c in p.items():
                rest = _without(m, (atom, *factor))
                if rest is not None and c % times == 0:
                    others = {k: v for k, v in p.items() if k != m}
                    return self._reduce(add(others, mul({rest: c // times}, top)))
        return p

    def at_most(self, a: Poly, b: Poly) -> bool:
        """True if a <= b for all sizes >= 0; False where that cannot be told."""
        return all(c > 0 for c in add(b, a, -1).values())

    def numel(self, shape: tuple[Expr, ...]) -> Poly:
        """Number of elements of an array of this shape."""
        out: Poly = {(): 1}
        for e in shape:
            out = self._reduce(mul(out, self.poly(e)))
        return out

    def expr(self, p: Poly) -> Expr:
        """The polynomial as an expression again, terms in a fixed order."""
        total: Expr | None = None
        for m, c in sorted(p.items(), key=lambda t: (-len(t[0]), t[0])):
            term: Expr | None = None if abs(c) == 1 and m else const(abs(c), "i64")
            for a in m:
                e = self.atoms.get(a) or var(a)
                term = e if term is None else Expr("mul", (term, e), None, "i64")
            assert term is not None
            if total is None:
                total = term if c > 0 else Expr("neg", (term,), None, "i64")
            else:
                total = Expr("add" if c > 0 else "sub", (total, term), None, "i64")
        return total if total is not None else const(0, "i64")

    def simplify(self, e: Expr) -> Expr:
        """The same number, written as a sum of products."""
        return self.expr(self.poly(e))


def evaluate(e: Expr, sizes: Mapping[str, int]) -> int:
    """The number that a size expression stands for."""
    if e.op == "const":
        return int(e.attr)  # type: ignore[call-overload]
    if e.op == "var":
        return sizes[str(e.attr)]
    a = [evaluate(x, sizes) for x in e.args]
    if e.op == "neg":
        return -a[0]
    if e.op == "cast":
        return a[0]
    x, y = a
    if e.op == "floordiv":
        return x // y
    if e.op == "mod":
        return x % y
    table = {"add": x + y, "sub": x - y, "mul": x * y, "max": max(x, y), "min": min(x, y)}
    return table[e.op]
