"""Lowering: a checked definition becomes loops over arrays and scalars, every access proved or checked.

    lower_with_report(program, definition, isa) -> Procedure without Equations, reduce or scan

1. normal form: nested reductions become temporaries (vibee.tree.normal)
2. fusion: equations that can share loops do (group)
3. loops: parallel outside, contiguous inside; reductions by lanes, columns or register tiles
4. proof: bounds of every access of the result (vibee.prove)
5. collapse: perfectly nested parallel loops become one
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import replace
from typing import Any

from vibee.prove.bounds import check_bounds
from vibee.prove.demands import demand_obligations
from vibee.prove.domain import domain_obligations
from vibee.prove.facts import conjuncts, guarded, tested
from vibee.prove.report import Obligation, VectorBounds, in_words_of
from vibee.prove.written import check_written
from vibee.tree.defs import Alloc, Assign, Decl, Definition, Equation, For, Formula, If, Jump, Procedure, Store
from vibee.tree.expr import Expr, bound_vars, const, loads, walk
from vibee.tree.normal import hoist

from .build import BITS, Fresh, at_least_zero, div, i, local, map_stmts, mul, not_negative, serial
from .nest import Nests, nest, parallel_nest
from .procedure import Lookup, Statements
from .reduction import pure

__all__ = ["Obligation", "lower_with_report"]


def lower_with_report(
    program: object, d: Definition, isa: str = "v3", thorough: bool = False
) -> tuple[Procedure, list[Obligation]]:
    """The loops, and what had to hold: proved, or what happens instead at run time.

    `thorough`: also where the memory plan of a model puts arguments, which is tested before each call in any case."""
    lookup: Lookup = program.by_key  # type: ignore[attr-defined]
    try:
        p, found = _lower(d, isa, lookup, thorough)
    except VectorBounds:
        p, found = _lower(d, "plain", lookup, thorough)
    asked = [*domain_obligations(d, lookup), *demand_obligations(d, lookup, p.fits)]
    return p, [in_words_of(d, o) for o in [*found, *asked]]


def _lower(d: Definition, isa: str, lookup: Lookup, thorough: bool) -> tuple[Procedure, list[Obligation]]:
    if isinstance(d, Formula):
        d = hoist(d)
    fresh = Fresh(*names_of(d), signed_of(d), BITS.get(isa, 0))
    notes: list[Obligation] = []
    if isinstance(d, Procedure):
        p = replace(d, body=Statements(d, fresh, isa, lookup).body(d.body))
    else:
        assert isinstance(d, Formula)
        p, notes = _formula(d, fresh, isa)
    if d.is_scalar:
        p = replace(p, body=serial(p.body))
    p, found = check_bounds(replace(p, body=[*guards(d, fresh), *p.body]), lookup, thorough)
    p, more = zeroed(p, lookup, fresh, promised=isinstance(d, Procedure))
    return replace(p, body=collapse(p.body, fresh)), notes + found + more


def zeroed(p: Procedure, lookup: Lookup, fresh: Fresh, promised: bool) -> tuple[Procedure, list[Obligation]]:
    """Arrays that are not proved to be written before they are read begin as zeros, which is what the language
    promises of the arrays and outputs of a procedure."""

    def begin(body: list, unsure: Set[str]) -> list:
        return map_stmts(body, lambda s: replace(s, zero=s.name in unsure) if isinstance(s, Alloc) else s)  # type: ignore[type-var]

    zeros = {s.name for s in _all(p.body) if isinstance(s, Alloc) and s.zero}
    found = check_written(replace(p, body=begin(p.body, set())), lookup)
    unsure = {array for array, o in found if not o.proved}
    outs = [t for o in p.outs if o.name in unsure for t in fill(o.name, o.dtype, o.shape, fresh)]
    names = zeros | {o.name for o in p.outs} if promised else zeros
    told = [replace(o, proved=True, what=f"{array} begins as zeros") if array in names & unsure else o
            for array, o in found]  # fmt: skip
    return replace(p, body=[*outs, *begin(p.body, unsure)]), told


def _formula(d: Formula, fresh: Fresh, isa: str) -> tuple[Procedure, list[Obligation]]:
    f = d  # in normal form
    first: set[str] = set()
    zero: list = []
    for e in f.equations:
        out = next((o for o in f.outs if o.name == e.lhs), None)
        if out is not None and e.accumulate and e.lhs not in first:
            zero += fill(out.name, out.dtype, out.shape, fresh)
        first.add(e.lhs)
    nests = Nests(fresh, isa, f.schedule)
    body: list
    if d.is_scalar:
        body = scalar_body(f, fresh)
        if f.schedule:
            nests.schedule.note("the loops are as the compiler chooses: a function of numbers has no schedule", f.span)
    else:
        body = [*zero, *nests.lower(f.equations, {t.name: t for t in f.temps})]
        nests.schedule.finish(f.span)
    common = {k: getattr(f, k) for k in ("name", "key", "params", "outs", "sizes", "given", "laws", "doc", "source")}
    notes = [Obligation("schedule", text, span, False) for text, span in nests.schedule.notes]
    return Procedure(**common, module=f.module, span=f.span, body=body), notes


def scalar_body(f: Formula, fresh: Fresh) -> list:
    """A scalar formula: straight-line assignments, the output a variable like any other; loops where it has arrays."""
    temps = {t.name: t for t in f.temps}
    (result,) = f.outs
    if any(t.shape for t in f.temps):
        n = Nests(fresh, "plain")
        n.blocks = False
        body = n.lower(f.equations, {**temps, result.name: result}, parallel=False)
        return [*body, Assign(result.name, n.scalars[result.name], f.span)]
    n = Nests(fresh, "plain")
    n.scalars = {t: local(t, p.dtype) for t, p in temps.items()}
    n.scalars[f.outs[0].name] = local(f.outs[0].name, f.outs[0].dtype)
    out: list = []
    begun: set[str] = set()  # what has a value, to which `+=` adds
    for e in f.equations:
        stmts, value = pure(n._subst(e.rhs, {}), fresh)
        out += stmts
        if e.lhs in begun:
            value = Expr("add", (n.scalars[e.lhs], value), None, value.dtype)
        if e.lhs in temps and e.lhs not in begun:
            out.append(Decl(e.lhs, temps[e.lhs].dtype, value, e.span))
        else:
            out.append(Assign(e.lhs, value, e.span))
        begun.add(e.lhs)
    return out


def fill(name: str, dtype: str, shape: tuple[Expr, ...], fresh: Fresh) -> list:
    """Zeros in a whole array."""
    axes = [fresh(f"z{n}") for n in range(len(shape))]
    zero = const(False if dtype == "bool" else 0, dtype)
    store = Store(name, tuple(local(a) for a in axes), zero)
    ranges = [(a, s) for a, s in zip(axes, shape, strict=True)]
    # rows among threads, or the elements of a vector; a third axis would cost two divisions for each short row
    outer = min(max(len(ranges) - 1, 1), 2)
    return parallel_nest(ranges[:outer], nest([(a, i(0), s) for a, s in ranges[outer:]], [store]))


def guards(d: Definition, fresh: Fresh) -> list:
    """A caller that breaks `given` gets an error, not undefined behaviour: conditions on sizes and scalars are tested
    on entry, then those on integer elements (they keep gathers in bounds)."""
    if not guarded(d):
        return []
    out: list = []
    if d.is_scalar:  # called in expressions, where nothing can be tested before
        sizes = [Expr("lt", (local(p.name), i(0)), None, "bool") for p in d.params if p.kind == "size"]
        out += [If(c, [Jump("fail", d.span)], span=d.span) for c in sizes]
    shapes = {p.name: p.shape for p in d.params if p.is_array}
    parts = [(c, g.span) for g in d.given for c in with_divisors(g)]
    ranked = [(when, c, span) for c, span in parts if (when := tested(c, d)) is not None]
    for when, c, span in sorted(ranked, key=lambda x: x[0]):
        ranges: dict[str, Expr] = {}
        for ld in loads(c):
            for axis, e in enumerate(ld.args):
                if e.op == "var" and not any(p.name == e.attr for p in d.params) and e.attr not in d.sizes:
                    length = shapes[str(ld.attr)][axis]
                    first = ranges.setdefault(str(e.attr), length)
                    if first != length:  # the front end took them for equal, in whole numbers without an end
                        apart = Expr("ne", (first, length), None, "bool")
                        out.append(If(apart, [Jump("fail", span)], span=span))
        bounds, broken = [(v, i(0), n) for v, n in ranges.items()], Expr("not", (c,), None, "bool")
        if when == 1:
            # a loop that can stop anywhere is no loop of vectors: all elements are looked at
            flag = fresh("broken")
            noted = Expr("bitor", (local(flag, "i32"), Expr("cast", (broken,), "i32", "i32")), None, "i32")
            out += [Decl(flag, "i32", const(0, "i32"), span), *nest(bounds, [Assign(flag, noted, span)])]
            out.append(If(Expr("ne", (local(flag, "i32"), const(0, "i32")), None, "bool"), [Jump("fail", span)]))
        else:
            out += nest(bounds, [If(broken, [Jump("fail", span)])])
    return out


def with_divisors(g: Expr) -> Iterator[Expr]:
    """The parts of a condition; before one that says that a remainder is 0, that its divisor is not: proofs rest on
    it (vibee.tree.poly), and what is computed of a remainder by 0 is 0."""
    for c in conjuncts(g):
        if c.op == "eq" and c.args[0].op == "mod" and c.args[0].args[1].op != "const":
            yield Expr("ne", (c.args[0].args[1], const(0, c.args[0].dtype)), None, "bool")
        yield c


def names_of(d: Definition) -> tuple[set[str], set[str]]:
    """The names that a definition uses: those that are taken, and those of its index variables, binders and
    temporaries, which take them when their loops are made."""
    taken = {p.name for p in [*d.params, *d.outs]} | set(d.sizes) | {"threads", "err", "t"}
    waiting: set[str] = set()
    if isinstance(d, Formula):
        waiting |= {t.name for t in d.temps}
    for s in _all(d.body if isinstance(d, Procedure) else d.equations if isinstance(d, Formula) else []):
        for part in ("name", "var", "array"):
            if isinstance(getattr(s, part, None), str):
                taken.add(getattr(s, part))
        if isinstance(s, Equation):
            waiting |= set(s.vars)
        for e in _expressions(s):
            waiting |= {v for n in walk(e) for v in bound_vars(n)}
    return taken, waiting - taken


def signed_of(d: Definition) -> set[str]:
    """Variables that may hold a negative number: parameters, and what a procedure assigns."""
    names = {p.name for p in d.params if p.kind == "scalar"}
    for s in _all(d.body if isinstance(d, Procedure) else []):
        if isinstance(s, (Decl, Assign)) or (isinstance(s, For) and (s.step < 0 or not not_negative(s.lo, names))):
            names.add(s.var if isinstance(s, For) else s.name)
    return names


def _expressions(s: Any) -> Iterator[Expr]:
    for part in ("value", "init", "lo", "hi", "cond", "rhs"):
        e = getattr(s, part, None)
        if isinstance(e, Expr):
            yield e
    for part in ("idx", "shape"):
        yield from getattr(s, part, None) or ()


def _all(stmts: list) -> Iterator[Any]:
    for s in stmts:
        yield s
        for part in ("body", "then", "orelse", "equations"):
            yield from _all(getattr(s, part, None) or [])


def collapse(stmts: list, fresh: Fresh) -> list:
    """`parallel n: parallel d: body` becomes one parallel loop over n*d iterations.

    Such loops are those of an equation's indices, which begin at 0 and end at sizes: a procedure's parallel loop has
    no other inside."""

    def one(s: object) -> object:
        if not (isinstance(s, For) and s.parallel and len(s.body) == 1):
            return s
        inner = s.body[0]
        if not (isinstance(inner, For) and inner.parallel and inner.step == s.step == 1):
            return s
        at = fresh("at")
        rows, columns = (at_least_zero(e, fresh.signed) for e in (s.hi, inner.hi))  # two negative ones are none
        both = [
            Decl(s.var, "i64", div(local(at), inner.hi)),
            Decl(inner.var, "i64", Expr("mod", (local(at), inner.hi), None, "i64")),
        ]
        return For(at, i(0), mul(rows, columns), [*both, *inner.body], parallel=True, span=s.span, work=s.work)

    return map_stmts(stmts, one)
