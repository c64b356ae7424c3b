"""Reverse mode over the equations of a formula: adjoints of arrays from the last to the first.

Every adjoint is a sum of terms over the axes of its array; an index map that reads the array
is solved for its iteration variables, so that an adjoint is a gather wherever that is possible
and a scatter-add only where an index comes from data.  Sums over iteration variables become
temporaries over the axes they depend on, one for each distinct sum; a sum that the forward
equations already hold is read from there.
"""

from __future__ import annotations

from dataclasses import replace

from ..tree.defs import Equation, Formula, Param
from ..tree.expr import Expr, free_vars, load, loads, substitute, var, walk
from ..tree.linear import ZERO, Range, facts_of, from_lin
from ..tree.normal import compare, conjunction, numbered, under
from ..tree.types import is_float
from .invert import Solution, Solver, boxes, limits
from .reuse import Reuse, known_value
from .roots import Roots
from .rules import Chain, GradError, Lookup, Ranges, arith, thaw
from .settle import difference, ordered
from .split import split_where
from .sums import Sums
from .terms import Term, collect, emit


class Reverse:
    """The gradient equations of one formula in normal form."""

    def __init__(self, f: Formula, lookup: Lookup, names: set[str]) -> None:
        self.f = f
        self.names = names
        self.facts = facts_of(f.sizes, f.given)
        self.sizes = set(f.sizes)
        self.arrays = {p.name: p for p in [*f.params, *f.outs, *f.temps] if p.is_array or p.kind == "scalar"}
        self.shapes = {name: p.shape for name, p in self.arrays.items()}
        self.outs = {p.name for p in f.outs}
        self.temps: list[Param] = list(f.temps)
        self.front: list[Equation] = [q for q in f.equations if q.lhs not in self.outs]
        self.back: list[Equation] = []
        self.dense: dict[str, list[Term]] = {}
        self.scatter: dict[str, list[Equation]] = {}
        self.final: dict[str, list[Term] | str] = {}  # the adjoint: terms, or the array that holds it
        self.reserved: dict[str, str] = {}
        self.hints: dict[str, tuple[str, ...]] = {}
        self.found: list[tuple[str, tuple[Expr, ...], list[Term], Ranges]] = []
        self.chain = Chain(lookup, {p.name for p in f.params if p.kind == "scalar" and is_float(p.dtype)}, self.sink)
        self.reuse = Reuse([k for q in f.equations if is_float(q.rhs.dtype) and (k := known_value(q)) is not None])
        self.roots = Roots(self)
        self.sums = Sums(self)
        self.useful = self.all_useful()
        for q in f.equations:
            if not q.accumulate:
                self.hints[q.lhs] = q.vars
            for n in walk(q.rhs):
                if n.op in ("load", "load?") and all(a.op == "var" for a in n.args):
                    axes = tuple(str(a.attr) for a in n.args)
                    if len(set(axes)) == len(axes):
                        self.hints.setdefault(str(n.attr), axes)

    def all_useful(self) -> set[str]:
        """Arrays whose adjoints reach a parameter; what else an equation reads is a constant to it."""
        useful = {p.name for p in self.f.params if p.kind != "size" and is_float(p.dtype)}
        for q in self.f.equations:
            self.found = []
            e = q.rhs.args[0] if q.rhs.op in ("reduce", "scan") else q.rhs
            if is_float(q.rhs.dtype):
                self.chain.push(e, [Term()], {})
            if any(name in useful for name, *_ in self.found):
                useful.add(q.lhs)
        return useful

    def sink(self, name: str, idx: tuple[Expr, ...], adjoint: list[Term], ranges: Ranges) -> None:
        """Collects what the chain rule hands to an array."""
        adjoint = [t.map(thaw) for t in adjoint]
        for conds, parts in split_where(idx):
            self.found.append((name, parts, [t.times(Term(guards=conds)) for t in adjoint], ranges))

    def fresh(self, stem: str) -> str:
        """A new name."""
        name = numbered(stem, self.names)
        self.names.add(name)
        return name

    def axes(self, array: str) -> list[str]:
        """The internal names of an array's axes (no spec can write them)."""
        return [f"{array}.{k}" for k in range(len(self.shapes[array]))]

    def axis_ranges(self, array: str) -> dict[str, Range]:
        """Their ranges."""
        return {a: (ZERO, d) for a, d in zip(self.axes(array), self.shapes[array], strict=True)}

    def dtype(self, array: str) -> str:
        """The type of an array's adjoint."""
        return arith(self.arrays[array].dtype)

    def array_of(self, array: str) -> str:
        """The name of the array that holds an adjoint, should it need one."""
        if array not in self.reserved:
            self.reserved[array] = self.fresh(f"d_{array}")
            self.shapes[self.reserved[array]] = self.shapes[array]
        return self.reserved[array]

    # ------------------------------------------------------------ the walk

    def run(self, cotangents: dict[str, str]) -> None:
        """All equations, last first; `cotangents` names the given adjoint of each output."""
        for out, name in cotangents.items():
            self.shapes[name] = self.shapes[out]
            idx = tuple(map(var, self.axes(out)))
            self.dense[out] = [Term(factors=((load(name, idx, self.dtype(out)), 1),))]
        for q in reversed(self.f.equations):
            if q.lhs in self.useful:
                self.backward(q)

    def adjoint(self, array: str) -> list[Term] | str:
        """The complete adjoint of an array, once every reader has been seen."""
        if array not in self.final:
            self.final[array] = collect(self.dense.pop(array, []))
            if self.scatter.get(array):
                self.materialise(array)
        return self.final[array]

    def materialise(self, array: str) -> str:
        """Equations for an adjoint of its own; returns the array's name."""
        terms = self.final[array]
        if isinstance(terms, str):
            return terms
        name = self.array_of(array)
        self.temps.append(Param(name, "temp", self.dtype(array), self.shapes[array]))
        self.write(name, array, terms)
        self.final[array] = name
        return name

    def write(self, name: str, array: str, terms: list[Term]) -> None:
        """`name` = the adjoint of `array`: the terms, then the scatters."""
        axes = self.axes(array)
        scatters = self.scatter.pop(array, [])
        if terms or not scatters:
            idx = tuple(map(var, axes))
            self.back.append(Equation(name, tuple(axes), self.shapes[array], idx, emit(terms, self.dtype(array))))
        self.back += [replace(q, lhs=name) for q in scatters]

    def backward(self, q: Equation) -> None:
        """What the right side of one equation reads gets its share of the left side's adjoint."""
        adjoint = self.adjoint(q.lhs)
        if not adjoint:
            return
        mark = load(self.array_of(q.lhs), q.idx, self.dtype(q.lhs))
        ranges: Ranges = {v: (ZERO, d) for v, d in zip(q.vars, q.dims, strict=True)}
        self.found = []
        self.roots.push(q, mark, ranges)
        adjoint = self.final[q.lhs]  # a scan may have given it an array
        solved = []
        for array, idx, terms, inner in self.found:
            if array not in self.useful:
                continue
            solved.append((array, *self.invert(array, idx, terms, inner, set(q.vars))))
        whole = isinstance(adjoint, str) or not self.may_inline(adjoint, mark, solved)
        if whole and any(e.attr == mark.attr for _, _, terms in solved for t in terms for e in walked(t)):
            self.materialise(q.lhs)
        for array, solution, terms in solved:
            if not whole:
                assert isinstance(adjoint, list)
                terms = [new for t in terms for new in self.expand(t, str(mark.attr), adjoint, q.lhs)]
            self.contribute(array, solution, terms)

    def may_inline(self, adjoint: list[Term], mark: Expr, solved: list[tuple[str, Solution, list[Term]]]) -> bool:
        """True if every use of an adjoint may repeat its terms instead of reading an array."""
        name = str(mark.attr)
        for array, solution, terms in solved:
            around = set(self.axes(array)) | set(solution.free)
            for t in terms:
                at = [f for f, p in t.factors if f.op == "load" and f.attr == name and p == 1]
                if len(at) != 1 or sum(1 for e in walked(t) if e.op == "load" and e.attr == name) != 1:
                    return False
                if simple(adjoint):
                    continue
                mine = free_vars(at[0])
                if around - mine and mine & set(solution.free):
                    return False
        if simple(adjoint) or len(solved) <= 1:
            return True
        return len(adjoint) == 1 and cheap(adjoint[0])

    def expand(self, t: Term, name: str, adjoint: list[Term], array: str) -> list[Term]:
        """A term with the adjoint's own terms in place of its mark."""
        at = next(f for f, _ in t.factors if f.op == "load" and f.attr == name)
        rest = Term(t.coeff, t.guards, tuple(fp for fp in t.factors if fp[0] != at))
        names = dict(zip(self.axes(array), at.args, strict=True))
        return [rest.times(d.map(lambda e: substitute(e, names))) for d in adjoint]

    # ------------------------------------------------------------ one contribution

    def invert(
        self, array: str, idx: tuple[Expr, ...], terms: list[Term], ranges: Ranges, outer: set[str]
    ) -> tuple[Solution, list[Term]]:
        """The contribution seen from the array's elements."""
        axes = self.axes(array)
        solver = Solver(axes, self.shapes[array], ranges, self.facts, self.fresh, set(ranges) - outer)
        solution = solver.solve(idx)
        limits = tuple(solution.guards)
        out = []
        for t in terms:
            t = t.map(lambda e: substitute(e, solution.binding))
            # plain conditions first: they say that the elements which the others read exist
            both = ordered(limits)[: len(first_plain(limits))] + ordered(t.guards) + limits
            out.append(Term(t.coeff, ordered(tuple(dict.fromkeys(both))), t.factors))
        return solution, out

    def contribute(self, array: str, solution: Solution, terms: list[Term]) -> None:
        """Adds terms to the adjoint of an array."""
        if solution.scattered:
            self.add_scatter(array, solution, terms)
            return
        new = self.sums.over(terms, solution.free, self.axis_ranges(array), self.dtype(array))
        self.dense.setdefault(array, []).extend(new)

    def add_scatter(self, array: str, solution: Solution, terms: list[Term]) -> None:
        """`d_array[..., index from data, ...] += terms`, the solved axes as plain variables."""
        axes, shape = self.axes(array), self.shapes[array]
        terms, loops = self.from_zero(array, solution, terms)
        sums = {v: r for v, r in solution.free.items() if v not in loops}
        plain = {a: (ZERO, d) for k, (a, d) in enumerate(zip(axes, shape, strict=True)) if k not in solution.scattered}
        scope = {**loops, **plain}
        terms = [t.under(self.outside(t, sums, loops)) for t in terms]
        known = self.facts.within(scope)
        for guards, group in by_guards(self.sums.over(terms, sums, scope, self.dtype(array), keep=True)):
            cond = conjunction(guards)
            idx = []
            for k, a in enumerate(axes):
                e = solution.scattered.get(k, var(a))
                if cond is not None and k in solution.scattered:
                    e = Expr("where", (cond, e, ZERO), None, "i64")
                idx.append(known.simplify(e))
            value = under(guards, emit(group, self.dtype(array)), term_zero(self.dtype(array)))
            dims = tuple(self.facts.simplify(hi) for _, hi in scope.values())
            self.scatter.setdefault(array, []).append(
                Equation("", tuple(scope), dims, tuple(idx), value, accumulate=True)
            )

    def from_zero(self, array: str, solution: Solution, terms: list[Term]) -> tuple[list[Term], Ranges]:
        """Makes the variables in scattered indices count from 0; returns the terms, under what then limits these
        variables, and how far each has to count whatever the others are."""
        starts = {v: lo for v, (lo, _) in solution.free.items() if not free_vars(lo) & set(solution.free)}
        terms = self.count_from({v: starts[v] for v in self.boxes(array, solution) if v in starts}, solution, terms)
        box = self.boxes(array, solution)
        terms = self.count_from({v: lo for v, (lo, _) in box.items()}, solution, terms)
        loops: Ranges = {}
        limits: list[Expr] = []
        for v, (low, high) in box.items():
            lo, hi = solution.free[v]
            end = self.length(low, high)
            if (lo, hi) != (ZERO, end):
                limits += [compare("ge", var(v), lo), compare("lt", var(v), hi)]
            loops[v] = (ZERO, end if self.facts.nonneg(end) else Expr("max", (end, ZERO), None, "i64"))
        return [t.under(limits) for t in terms], loops

    def outside(self, t: Term, sums: Ranges, loops: Ranges) -> list[Expr]:
        """What conditions and ranges say whatever the variables are that a term is summed over: where that fails it is
        a sum of nothing, and an element to add it to need not exist."""
        known = self.facts.within(sums)
        inside = [compare("lt", *r) for v, r in sums.items() if limits(sums, v) & set(loops)]
        inside += [g for g in t.guards if free_vars(g) & set(sums)]
        most = [known.bound(from_lin(lin), upper=True) for g in inside if (lin := difference(g)) is not None]
        return [compare("ge", e, ZERO) for e in most if e is not None and not loads(e)]

    def boxes(self, array: str, solution: Solution) -> Ranges:
        """The range of each variable in scattered indices, whatever the other variables are."""
        known = boxes(solution.free, self.facts.within(self.axis_ranges(array)))
        used = set().union(*map(free_vars, solution.scattered.values())) & set(solution.free)
        for v in sorted(used - set(known)):
            raise GradError(f"the range of `{v}` depends on data and so does an index that uses it")
        return {v: known[v] for v in solution.free if v in used}

    def count_from(self, starts: dict[str, Expr], solution: Solution, terms: list[Term]) -> list[Term]:
        """Makes each variable count from its start; returns the terms, changed likewise."""
        names = {v: Expr("add", (var(v), at), None, "i64") for v, at in starts.items() if at != ZERO}
        if not names:
            return terms

        def moved(e: Expr) -> Expr:
            return substitute(e, names)

        solution.scattered = {k: moved(e) for k, e in solution.scattered.items()}
        solution.free = {v: (moved(lo), moved(hi)) for v, (lo, hi) in solution.free.items()}
        for v in names:
            lo, hi = solution.free[v]
            solution.free[v] = (self.length(starts[v], lo), self.length(starts[v], hi))
        return [t.map(moved) for t in terms]

    def length(self, lo: Expr, hi: Expr) -> Expr:
        """hi - lo."""
        return self.facts.simplify(Expr("sub", (hi, lo), None, "i64"))


def by_guards(terms: list[Term]) -> list[tuple[tuple[Expr, ...], list[Term]]]:
    """Terms with the same guards together, the guards taken off."""
    groups: dict[frozenset[Expr], tuple[tuple[Expr, ...], list[Term]]] = {}
    for t in terms:
        groups.setdefault(frozenset(t.guards), (t.guards, []))[1].append(replace(t, guards=()))
    return list(groups.values())


def walked(t: Term) -> list[Expr]:
    """Every node of a term."""
    return [n for e in (*(f for f, _ in t.factors), *t.guards) for n in walk(e)]


def simple(adjoint: list[Term]) -> bool:
    """True for a multiple of one array element: as good as an array of its own."""
    return len(adjoint) == 1 and len(adjoint[0].factors) <= 1 and not adjoint[0].guards


def cheap(t: Term) -> bool:
    """True for a product that costs next to nothing to repeat."""
    leaves = all(f.op in ("load", "var", "const", "cast") for f, _ in t.factors)
    return leaves and sum(abs(p) for _, p in t.factors) <= 3


def first_plain(guards: tuple[Expr, ...]) -> list[Expr]:
    """Conditions on sizes and variables alone."""
    return [g for g in guards if not any(e.op in ("load", "load?") for e in walk(g))]


def term_zero(dtype: str) -> Expr:
    """The constant 0 of a float type."""
    return Expr("const", (), 0.0, dtype)
