"""Counts under way: sums of products of sizes and loop counters, with fractions as factors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

from vibee.tree.poly import Mono

Poly = dict[Mono, Fraction]
Count = Poly | None  # None: sizes do not tell


def constant(value: int) -> Poly:
    """A number that depends on nothing."""
    return {(): Fraction(value)} if value else {}


@dataclass(slots=True)
class Tally:
    """A count under way, in names of sizes, of numbers and of the loops around."""

    flops: Count = field(default_factory=dict)
    reads: dict[str, Count] = field(default_factory=dict)
    writes: dict[str, Count] = field(default_factory=dict)

    def add(self, other: Tally) -> Tally:
        """This and then the other."""
        self.flops = plus(self.flops, other.flops)
        for mine, more in ((self.reads, other.reads), (self.writes, other.writes)):
            for name, n in more.items():
                mine[name] = plus(mine.get(name, {}), n)
        return self

    def map(self, f: Callable[[Count], Count]) -> Tally:
        """Every count changed by `f`."""
        reads, writes = ({k: f(n) for k, n in table.items()} for table in (self.reads, self.writes))
        return Tally(f(self.flops), reads, writes)


def plus(a: Count, b: Count) -> Count:
    """a + b."""
    if a is None or b is None:
        return None
    out = dict(a)
    for m, c in b.items():
        out[m] = out.get(m, Fraction(0)) + c
    return out


def times(a: Poly, b: Poly) -> Poly:
    """a * b."""
    out: Poly = {}
    for m, c in a.items():
        for n, d in b.items():
            key = tuple(sorted(m + n))
            out[key] = out.get(key, Fraction(0)) + c * d
    return {m: c for m, c in out.items() if c}


def larger(a: Count, b: Count) -> Count:
    """No less than either, for what is counted is never negative."""
    if a is None or b is None:
        return None
    return {m: max(a.get(m, Fraction(0)), b.get(m, Fraction(0))) for m in a | b}


def repeated(counter: str, n: Count) -> Callable[[Count], Count]:
    """The sum of a count over counter = 0 ... n-1: exact up to squares of the counter."""

    def total(p: Count) -> Count:
        if not p:
            return p
        if n is None:
            return None
        less = plus(n, constant(-1)) or {}
        sums: list[Poly] = [n, scaled(times(n, less), 2)]
        sums.append(scaled(times(sums[1], plus(n, less) or {}), 3))
        out: Count = {}
        for m, c in p.items():
            power = m.count(counter)
            while len(sums) <= power:
                sums.append(times(sums[-1], n))
            rest = tuple(a for a in m if a != counter)
            out = plus(out, times({rest: c}, sums[power]))
        return out

    return total


def scaled(p: Poly, by: int) -> Poly:
    """p / by."""
    return {m: c / by for m, c in p.items()}
