"""Equality of size expressions: polynomials over sizes, modulo what `given` says.

`a//b` and `a % b` are opaque unless they divide out; `given(a % b == 0)` makes
`(a//b)*b` equal to `a`, and `given(M == N)` makes M and N equal.
"""

from __future__ import annotations

from collections.abc import Iterable

from vibee.tree.expr import Expr, const, free_vars, show, substitute, var
from vibee.tree.types import is_float, is_int

Poly = dict[tuple[str, ...], int]  # sorted atoms of a monomial -> its coefficient


def constant(p: Poly) -> int | None:
    """The number that `p` is, or None."""
    if not p:
        return 0
    return p[()] if set(p) == {()} else None


def add(a: Poly, b: Poly, factor: int = 1) -> Poly:
    """`a + factor*b`."""
    out = dict(a)
    for k, v in b.items():
        out[k] = out.get(k, 0) + factor * v
        if not out[k]:
            del out[k]
    return out


def text(p: Poly) -> str:
    """A canonical spelling."""
    return " + ".join(f"{v}*{'*'.join(k)}" if k else str(v) for k, v in sorted(p.items())) or "0"


NO_SIZES = ("load", "load?", "reduce", "call")


class Facts:
    """What is known about sizes: used to compare shapes."""

    def __init__(self) -> None:
        self.rename: dict[str, Expr] = {}  # in names that are not renamed themselves
        self.others: list[Expr] = []  # equations that rename nothing; they give the rest:
        self.zero: list[Poly] = []
        self.divides: list[tuple[str, Poly, Poly]] = []  # quotient's atom, divisor, dividend
        self.remainder: set[str] = set()

    def learn(self, g: Expr) -> None:
        """Take one condition into account; conditions of other forms change nothing."""
        if g.op == "and":
            self.learn(g.args[0])
            self.learn(g.args[1])
        elif g.op == "eq" and is_int(g.args[0].dtype) and not any(n.op in NO_SIZES for n in _nodes(g)):
            if not any(self._renames(x, y) for x, y in (g.args, g.args[::-1])):
                self.others.append(g)
            self.zero, self.divides, self.remainder = [], [], set()
            for e in self.others:  # those before as well: they may speak of what has another name now
                self._note(*e.args)

    def _renames(self, x: Expr, y: Expr) -> bool:
        """Call the size `x` `y` from now on, if it is a name that `y` is not made of."""
        name, y = str(x.attr), substitute(y, self.rename)
        if x.op != "var" or name in self.rename or name in free_vars(y):
            return False
        self.rename = {n: substitute(e, {name: y}) for n, e in self.rename.items()} | {name: y}
        return True

    def _note(self, a: Expr, b: Expr) -> None:
        for x, y in ((a, b), (b, a)):
            if x.op == "mod" and y.op == "const" and y.attr == 0:
                self._divisible(*x.args)
                return
        self.zero.append(add(self.poly(a), self.poly(b), -1))

    def _divisible(self, a: Expr, b: Expr) -> None:
        pa, pb = self.poly(a), self.poly(b)
        self.divides.append((f"({text(pa)})//({text(pb)})", pb, pa))
        self.remainder.add(f"({text(pa)})%({text(pb)})")

    # ------------------------------------------------------------ normal form

    def poly(self, e: Expr) -> Poly:
        """`e` as a polynomial."""
        if e.op == "const":
            return {(): int(e.attr)} if e.attr else {}
        if e.op == "var":
            name = str(e.attr)
            return self.poly(self.rename[name]) if name in self.rename else {(name,): 1}
        if e.op in ("add", "sub"):
            return self._resolve(add(self.poly(e.args[0]), self.poly(e.args[1]), 1 if e.op == "add" else -1))
        if e.op == "neg":
            return add({}, self.poly(e.args[0]), -1)
        if e.op == "mul":
            return self.mul(self.poly(e.args[0]), self.poly(e.args[1]))
        if e.op == "floordiv":
            return self._quotient(self.poly(e.args[0]), self.poly(e.args[1]))
        if e.op == "mod":
            a, b = self.poly(e.args[0]), self.poly(e.args[1])
            atom = f"({text(a)})%({text(b)})"
            ca, cb = constant(a), constant(b)
            if atom in self.remainder or self._exact(a, b) is not None or self._finer(a, b) is not None:
                return {}
            if ca is not None and cb:
                return {(): ca % cb} if ca % cb else {}
            return {(atom,): 1}
        if e.op == "cast" and e.dtype == "i64" and is_int(e.args[0].dtype):
            return self.poly(e.args[0])
        if e.op in ("min", "max"):
            a, b = (self.poly(x) for x in e.args)
            if text(a) == text(b):
                return a
            d = constant(add(a, b, -1))
            if d is not None:
                return a if (d < 0) == (e.op == "min") else b
        inner = ",".join(show(a) if is_float(a.dtype) else text(self.poly(a)) for a in e.args)
        return {(f"{e.op}:{e.attr}({inner})",): 1}

    def apart(self, a: Expr, b: Expr) -> int | None:
        """`a - b` where that is a number, else None."""
        return constant(add(self.poly(a), self.poly(b), -1))

    def mul(self, a: Poly, b: Poly) -> Poly:
        """The product."""
        out: Poly = {}
        for ka, va in a.items():
            for kb, vb in b.items():
                out = add(out, {tuple(sorted(ka + kb)): va * vb})
        return self._resolve(out)

    def _resolve(self, p: Poly) -> Poly:
        """Replace (a//b)*b by a where it is known to divide."""
        for atom, divisor, dividend in self.divides:
            if len(divisor) != 1:
                continue
            ((need, factor),) = divisor.items()
            for k, v in list(p.items()):
                rest = _without(k, (atom, *need))
                if rest is not None and v % factor == 0:
                    p = add(p, {k: v}, -1)
                    p = add(p, self.mul({rest: v // factor}, dividend))
        return p

    def _exact(self, a: Poly, b: Poly) -> Poly | None:
        """a / b where b is one monomial that divides every term."""
        if len(b) != 1:
            return None
        ((need, factor),) = b.items()
        out: Poly = {}
        for k, v in a.items():
            rest = _without(k, need)
            if rest is None or v % factor:
                return None
            out[rest] = v // factor
        return out

    def _finer(self, a: Poly, b: Poly) -> Poly | None:
        """a / b where a multiple of b is known to divide a: a//b is a//(b*c) times c."""
        for atom, divisor, dividend in self.divides:
            if text(dividend) == text(a) and text(divisor) != text(b):
                factor = self._exact(divisor, b)
                if factor is not None:
                    return self.mul({(atom,): 1}, factor)
        return None

    def _quotient(self, a: Poly, b: Poly) -> Poly:
        ca, cb = constant(a), constant(b)
        if ca is not None and cb:
            return {(): ca // cb} if ca // cb else {}
        exact = self._exact(a, b)
        if exact is None:
            exact = self._finer(a, b)
        return exact if exact is not None else {(f"({text(a)})//({text(b)})",): 1}

    # ------------------------------------------------------------ questions

    def equal(self, a: Expr, b: Expr) -> bool:
        """True if the two sizes are known to be the same."""
        d = add(self.poly(a), self.poly(b), -1)
        if not d:
            return True
        return any(not add(d, z) or not add(d, z, -1) for z in self.zero)

    def number(self, e: Expr) -> int | None:
        """The value of `e` if it is a constant."""
        return constant(self.poly(e))


def _nodes(e: Expr) -> list[Expr]:
    out = [e]
    for a in e.args:
        out += _nodes(a)
    return out


def _without(k: tuple[str, ...], need: tuple[str, ...]) -> tuple[str, ...] | None:
    rest = list(k)
    for n in need:
        if n not in rest:
            return None
        rest.remove(n)
    return tuple(rest)


def minus(a: Expr, b: Expr) -> Expr:
    """`a - b`, simplified where that is one term or b is 0."""
    if b.op == "const" and b.attr == 0:
        return a
    left = Expr("sub", (a, b), None, "i64", a.span)
    terms = Facts().poly(left)
    if len(terms) > 1 or any(not name.isidentifier() or v < 0 for k, v in terms.items() for name in k):
        return left
    for names, factor in terms.items():
        one = [const(factor, "i64", a.span)] if factor != 1 or not names else []
        return product([*one, *map(size, names)])
    return const(0, "i64", a.span)


def product(items: Iterable[Expr]) -> Expr:
    """The product of sizes."""
    out: Expr | None = None
    for i in items:
        out = i if out is None else Expr("mul", (out, i), None, "i64", i.span)
    return out if out is not None else const(1, "i64")


def size(name: str) -> Expr:
    """A symbolic size."""
    return var(name, "i64")


def shape_text(shape: Iterable[Expr]) -> str:
    """`[N, 3 * C]`, for messages."""
    return f"[{', '.join(map(show, shape))}]"
