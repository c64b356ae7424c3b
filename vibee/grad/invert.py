"""Solving index maps: for which iterations does `a[idx(iteration)]` touch a given element?

The answer turns the scatter `d_a[idx(v)] += value(v)` into a gather: some iteration variables
are bound to expressions of the element's axes, conditions say when such an iteration exists,
and what stays free is summed over.  Axes whose index cannot be solved (an index read from an
array, a product of two variables) are reported, and the caller keeps a scatter for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..tree.expr import Expr, const, free_vars, loads, substitute, var
from ..tree.linear import ONE, ZERO, Facts, Lin, Range, add, from_lin, linear_in, mul, same, split_multiple, to_lin
from ..tree.normal import compare


@dataclass
class Solution:
    """How the iterations that touch the element `axes` look."""

    binding: dict[str, Expr] = field(default_factory=dict)  # iteration variable -> its value
    guards: list[Expr] = field(default_factory=list)  # when such an iteration exists
    free: dict[str, Range] = field(default_factory=dict)  # variables to sum over
    scattered: dict[int, Expr] = field(default_factory=dict)  # axes not solved, with their index


def _sub(a: Expr, b: Expr) -> Expr:
    return from_lin(add(to_lin(a), to_lin(b), -1))


def _plus(a: Expr, b: Expr) -> Expr:
    return from_lin(add(to_lin(a), to_lin(b)))


def _times(a: Expr, b: Expr) -> Expr:
    return from_lin(mul(to_lin(a), to_lin(b)))


def _op(op: str, a: Expr, b: Expr) -> Expr:
    return Expr(op, (a, b), None, "i64")


class Solver:
    """One index map: `idx[k] == axes[k]` for iteration variables with given ranges."""

    def __init__(
        self,
        axes: list[str],
        dims: tuple[Expr, ...],
        ranges: dict[str, Range],
        facts: Facts,
        fresh: Callable[[str], str],
        inner: set[str],
    ) -> None:
        self.given = ranges
        self.sums = inner  # variables of reductions: those of the equation itself are solved for first
        self.fresh = fresh
        self.base = facts
        self.axis_ranges = {a: (ZERO, d) for a, d in zip(axes, dims, strict=True)}
        self.scattered: set[int] = set()  # axes whose index cannot be solved
        self.start()

    def start(self) -> None:
        """Nothing is solved yet."""
        self.ranges = dict(self.given)
        self.inner = set(self.sums)
        self.open: dict[str, Range] = dict(self.given)
        self.box = boxes(self.given, self.base)
        self.implied: set[str] = set()  # variables whose range follows from other conditions
        self.binding: dict[str, Expr] = {}
        self.guards: list[Expr] = []
        self.pending: list[tuple[Expr, Expr, int]] = []

    def facts(self) -> Facts:
        """What is known of the axes and the variables still open."""
        return self.base.within({**self.axis_ranges, **{v: self.box.get(v, r) for v, r in self.open.items()}})

    def unknowns(self, e: Expr) -> frozenset[str]:
        """The open variables in `e`."""
        return free_vars(e) & set(self.open)

    # ------------------------------------------------------------ the loop

    def solve(self, idx: tuple[Expr, ...]) -> Solution:
        """All axes that can be solved, at once.  An axis that proves too hard on the way has left conditions and
        variables behind that mean nothing without the rest of it: all starts over without that axis."""
        while True:
            self.advance(idx)
            if not self.pending:
                return self.result(idx)
            self.scattered |= {k for _, _, k in self.pending}
            self.start()

    def advance(self, idx: tuple[Expr, ...]) -> None:
        """Solves axis by axis, the simplest equation first, as far as that goes."""
        for v, (lo, hi) in list(self.box.items()):
            if self.open[v] == (lo, hi) and same(hi, _plus(lo, ONE)):
                self.bind(v, lo)  # a range of one element
        axes = enumerate(zip(idx, self.axis_ranges, strict=True))
        self.pending = [(e, var(a), k) for k, (e, a) in axes if k not in self.scattered]
        while self.pending:
            facts = self.facts()
            self.pending = [
                (facts.simplify(substitute(e, self.binding)), substitute(t, self.binding), k)
                for e, t, k in self.pending
            ]
            self.pending.sort(key=lambda c: self.rank(c[0]))
            for i, (e, target, k) in enumerate(self.pending):
                found = self.step(e, target)
                if found is not None:
                    self.pending[i : i + 1] = [(a, t, k) for a, t in found]
                    break
            else:
                break

    def rank(self, e: Expr) -> int:
        """Plain variables first, then what is known anyway, then the rest."""
        if e.op == "var" and e.attr in self.open:
            return 0
        return 1 if not self.unknowns(e) else 2

    def result(self, idx: tuple[Expr, ...]) -> Solution:
        """The solution, with conditions that always hold left out."""
        out = Solution(dict(self.binding))
        out.scattered = {k: substitute(idx[k], self.binding) for k in sorted(self.scattered)}
        ranges = {v: self.bound(r) for v, r in self.open.items()}
        out.guards = [substitute(g, self.binding) for g in self.guards]
        while ranges:
            v = next(v for v in ranges if v in self.box or not limits(ranges, v) & set(ranges))
            if limits(ranges, v) & set(ranges):
                lo, hi = ranges[v]
                out.guards += [compare("ge", var(v), lo), compare("lt", var(v), hi)]
                ranges[v] = self.box[v]
            out.free[v] = ranges.pop(v)
        return out

    def bind(self, u: str, value: Expr, prove: bool = True) -> None:
        """u := value, under the condition that it lies in u's range (kept even where it holds
        for now if `prove` is False: the ranges that say so may be given up)."""
        lo, hi = self.open.pop(u)
        self.binding = {k: substitute(e, {u: value}) for k, e in self.binding.items()}
        self.binding[u] = value
        self.pending = [(e, substitute(t, {u: value}), k) for e, t, k in self.pending]
        if u in self.implied:
            return
        facts = self.facts()
        if not prove or free_vars(lo) & set(self.ranges) or not facts.le(lo, value):
            self.guards.append(compare("ge", value, lo))
        if not prove or free_vars(hi) & set(self.ranges) or not facts.lt(value, hi):
            self.guards.append(compare("lt", value, hi))

    def introduce(self, stem: str, lo: Expr, hi: Expr) -> Expr:
        """A new variable to be solved for or summed over."""
        name = self.fresh(stem)
        self.open[name] = (lo, hi)
        self.ranges[name] = (lo, hi)
        self.box[name] = (lo, hi)
        self.inner.add(name)
        return var(name)

    # ------------------------------------------------------------ one equation

    def step(self, e: Expr, target: Expr) -> list[tuple[Expr, Expr]] | None:
        """Equations that replace `e == target`, or None if it cannot be solved (yet)."""
        if e.op == "var" and e.attr in self.open:
            self.bind(str(e.attr), target)
            return []
        unknown = self.unknowns(e)
        if not unknown:
            self.guards.append(compare("eq", target, e))
            return []
        if any(unknown & free_vars(x) for x in loads(e)):
            return None
        lin = to_lin(e)
        opaque = [x for k in lin for x in k if x.op != "var" and self.unknowns(x)]
        if not opaque:
            return self.affine(lin, target)
        if lin == {(e,): 1}:
            return self.single(e, target)
        plain = [x for x in opaque if self.divided(x)]
        if plain:
            self.digits(plain[0])
            return [(e, target)]
        k = next((k for k in lin if len(k) == 1 and k[0] in opaque and abs(lin[k]) == 1), None)
        if len(opaque) == 1 and k is not None:
            rest = from_lin(add(lin, {k: lin[k]}, -1))
            if not self.unknowns(rest):
                return [(k[0], _sub(target, rest) if lin[k] == 1 else _sub(rest, target))]
        return None

    def before(self, u: str, others: list[str]) -> bool:
        """True if one of the others runs over a range that depends on data and on u: u cannot be made of it."""
        ranges = {v: self.bound(r) for v, r in self.open.items() if v not in self.box}
        todo = [v for v in others if v in ranges]
        seen: set[str] = set()
        while todo:
            names = limits(ranges, todo.pop()) - seen
            seen |= names
            todo += [v for v in names if v in ranges]
        return u in seen

    def bound(self, r: Range) -> Range:
        """A range with the values of the variables that are solved for."""
        return substitute(r[0], self.binding), substitute(r[1], self.binding)

    def affine(self, lin: Lin, target: Expr) -> list[tuple[Expr, Expr]] | None:
        """c*u + rest == target."""
        unknown = [v for v in self.open if any(v in free_vars(x) for k in lin for x in k)]
        radix = self.radix(lin, target) if len(unknown) > 1 else None
        if radix is not None:
            return radix
        choices = []
        for u in unknown:
            parts = linear_in(lin, u)
            if parts is None or set(parts[0]) != {()} or self.before(u, unknown):
                continue
            c = parts[0][()]
            choices.append(((abs(c) != 1, u in self.inner), u, c, from_lin(parts[1])))
        if not choices:
            return None
        _, u, c, rest = min(choices, key=lambda t: t[0])
        value = _sub(target, rest) if c > 0 else _sub(rest, target)
        if abs(c) == 1:
            self.bind(u, value)
            return []
        step = const(abs(c), "i64")
        self.guards.append(compare("eq", _op("mod", value, step), ZERO))
        self.bind(u, _op("floordiv", value, step))
        return []

    def radix(self, lin: Lin, target: Expr) -> list[tuple[Expr, Expr]] | None:
        """A*c + r == target with 0 <= r < c: two equations, A == target // c and r == target % c."""
        facts = self.facts()
        for k in lin:
            atoms = [x for x in k if not self.unknowns(x)]
            if len(atoms) == len(k) or (not atoms and abs(lin[k]) == 1):
                continue
            base: Lin = {tuple(atoms): abs(lin[k])}
            whole, rest = split_multiple(lin, base)
            r, top = from_lin(rest), from_lin(base)
            if not rest or not whole or self.unknowns(from_lin(whole)) & self.unknowns(r):
                continue
            if facts.nonneg(r) and facts.lt(r, top):
                return [(from_lin(whole), _op("floordiv", target, top)), (r, _op("mod", target, top))]
        return None

    def divided(self, x: Expr) -> bool:
        """True for `u // G` and `u % G` of an open variable that starts at 0, G known and no less than 0."""
        if x.op not in ("floordiv", "mod") or x.args[0].op != "var" or not self.divisor(x.args[1]):
            return False
        u = str(x.args[0].attr)
        return u in self.open and u in self.box and self.box[u][0] == ZERO

    def divisor(self, b: Expr) -> bool:
        """True for what may be divided by: known, and no less than 0."""
        return not self.unknowns(b) and self.facts().nonneg(b)

    def digits(self, x: Expr) -> None:
        """u := j*G + r for the u and G of `u // G` or `u % G`."""
        u, g = str(x.args[0].attr), x.args[1]
        whole, rest = split_multiple(to_lin(self.box[u][1]), to_lin(g))
        count = from_lin(whole) if not rest else _plus(self.quotient(_sub(self.box[u][1], ONE), g), ONE)
        end = self.box[u][1]
        if self.base.lin(_op("mod", end, g)) == {}:
            count = from_lin(self.base.lin(_op("floordiv", end, g)))
        elif g.op == "floordiv" and same(g.args[0], end) and self.base.lin(_op("mod", *g.args)) == {}:
            count = g.args[1]  # end // (end // b) is b where b divides end
        j = self.introduce(u, ZERO, count)
        self.implied.add(str(j.attr))  # j <= u // g follows from the range of u
        r = self.introduce(u, ZERO, g)
        self.bind(u, _plus(_times(j, g), r), prove=False)

    def single(self, e: Expr, target: Expr) -> list[tuple[Expr, Expr]] | None:
        """One operation that is no polynomial: // % ^ of something open."""
        if e.op not in ("floordiv", "mod", "xor"):
            return None
        a, b = e.args
        if e.op == "xor":
            if self.unknowns(a) and self.unknowns(b):
                return None
            x, known = (a, b) if self.unknowns(a) else (b, a)
            return [(x, _op("xor", target, known))]
        if not self.divisor(b):
            return None
        if self.divided(e):
            self.digits(e)
            return [(e, target)]
        if e.op == "floordiv":
            r = self.introduce("r", ZERO, b)
            return [(a, _plus(_times(target, b), r))]
        found = self.cyclic(a, b, target)
        return self.wrapped(a, b, target) if found is None else found

    def cyclic(self, a: Expr, b: Expr, target: Expr) -> list[tuple[Expr, Expr]] | None:
        """(u + rest) % b == target with u in [0, b): u is (target - rest) % b."""
        lin, facts = to_lin(a), self.facts()
        for u in self.open:
            parts = linear_in(lin, u)
            if parts is None or set(parts[0]) != {()} or abs(parts[0][()]) != 1 or u not in self.box:
                continue
            lo, hi = self.box[u]
            if lo != ZERO or not facts.le(hi, b):
                continue
            rest = from_lin(parts[1])
            value = _sub(target, rest) if parts[0][()] == 1 else _sub(rest, target)
            self.in_range(target, b)
            self.bind(u, facts.simplify(_op("mod", value, b)))
            return []
        return None

    def wrapped(self, a: Expr, b: Expr, target: Expr) -> list[tuple[Expr, Expr]] | None:
        """a % b == target as a == q*b + target, for all q that a's bounds allow."""
        facts = self.facts()
        low, high = facts.bound(a, upper=False), facts.bound(a, upper=True)
        if low is None or high is None:
            return None
        self.in_range(target, b)
        q = self.introduce("q", self.quotient(low, b), _plus(self.quotient(high, b), ONE))
        return [(a, _plus(_times(q, b), target))]

    def quotient(self, a: Expr, b: Expr) -> Expr:
        """a // b for an end of a range: it stands outside of the conditions that may keep b from being 0."""
        some = b.op == "const" or (b.op == "var" and b.attr in self.base.positive)
        return _op("floordiv", a, b if some else _op("max", b, ONE))

    def in_range(self, e: Expr, end: Expr) -> None:
        """The condition 0 <= e < end, as far as it is not known."""
        facts = self.facts()
        if not facts.nonneg(e):
            self.guards.append(compare("ge", e, ZERO))
        if not facts.lt(e, end):
            self.guards.append(compare("lt", e, end))


def limits(ranges: Mapping[str, Range], v: str) -> frozenset[str]:
    """The variables that the range of `v` depends on."""
    lo, hi = ranges[v]
    return free_vars(lo) | free_vars(hi)


def boxes(ranges: dict[str, Range], facts: Facts) -> dict[str, Range]:
    """Ranges that hold whatever the other variables are; none for those that depend on data."""
    out: dict[str, Range] = {}
    known = facts.within(ranges)
    for v, (lo, hi) in ranges.items():
        low, high = known.bound(lo, upper=False), known.bound(hi, upper=True)
        if low is None or high is None or any(True for e in (low, high) for _ in loads(e)):
            continue
        out[v] = (low, high)
    return out
