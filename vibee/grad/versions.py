"""One name for each value: an array that is added to later holds several values, one after the other.

An adjoint belongs to a value, not to the memory that holds it.  So a value that is assigned, or read before more is
added, has an array of its own, and the next one starts as its copy:

    y[i] = exp(b[i])           y_was[i] = exp(b[i])
    y[t[n]] += x[n]            y[i] = y_was[i]
                               y[t[n]] += x[n]
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from ..tree.defs import Equation, Formula, Param
from ..tree.expr import load, rename_arrays, var
from ..tree.normal import numbered, reads


def versions(f: Formula) -> Formula:
    """`f` with a name of its own for every value that is more than the sum so far."""
    return Versions(f).run()


class Versions:
    """The values of the arrays of one formula, the last ones under the arrays' own names."""

    def __init__(self, f: Formula) -> None:
        self.f = f
        self.arrays = {p.name: p for p in [*f.outs, *f.temps]}
        self.taken = {p.name for p in f.params} | set(self.arrays) | set(f.sizes)
        self.temps: list[Param] = []
        self.now: dict[str, str] = {}  # array -> the name of its value so far

    def run(self) -> Formula:
        """The equations over values."""
        starts = self.starts()
        left = Counter(self.f.equations[k].lhs for k in starts)  # values that are still to come
        out: list[Equation] = []
        for k, q in enumerate(self.f.equations):
            new = replace(q, rhs=rename_arrays(q.rhs, self.now), idx=tuple(rename_arrays(i, self.now) for i in q.idx))
            if k in starts:
                left[q.lhs] -= 1
                before = self.now.pop(q.lhs)
                out.append(self.copy(before, q.lhs, self.name(q.lhs, left[q.lhs])))
            out.append(replace(new, lhs=self.name(q.lhs, left[q.lhs])))
        return replace(self.f, temps=[*self.f.temps, *self.temps], equations=out)

    def starts(self) -> set[int]:
        """The equations that add to a value which was assigned, or read since: with them another one starts."""
        found: set[int] = set()
        done: set[str] = set()  # arrays whose value so far stays as it is
        for k, q in enumerate(self.f.equations):
            done |= reads(q)
            if q.lhs in done:
                found.add(k)
                done.remove(q.lhs)
            if not q.accumulate:
                done.add(q.lhs)
        return found

    def name(self, array: str, left: int) -> str:
        """The name of an array's value so far, with `left` others to come: the array's own for the last."""
        if array not in self.now:
            name = array
            if left:
                name = numbered(f"{array}_was", self.taken)
                self.taken.add(name)
                self.temps.append(replace(self.arrays[array], name=name, kind="temp"))
            self.now[array] = name
        return self.now[array]

    def copy(self, before: str, array: str, name: str) -> Equation:
        """A value starts as the one before it."""
        p = self.arrays[array]
        axes = tuple(numbered(f"i{k}", self.taken) for k in range(len(p.shape)))
        idx = tuple(map(var, axes))
        return Equation(name, axes, p.shape, idx, load(before, idx, p.dtype))
