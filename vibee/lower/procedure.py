"""Procedures: index equations inside them become loops, parallel sums become blocks of partial sums."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from vibee.tree.defs import (
    Alloc,
    Assign,
    Call,
    Decl,
    Definition,
    Equations,
    For,
    Formula,
    If,
    Jump,
    Param,
    Procedure,
    Store,
    View,
    While,
    statements,
)
from vibee.tree.expr import Expr, load, loads, rebuild
from vibee.tree.normal import hoist, neutral

from .build import Fresh, add, combine, div, extent, i, local, mul
from .nest import Nests
from .reduction import BLOCKS, pure

ACCUMULATE = {"add": "sum", "sub": "sum", "mul": "prod", "max": "max", "min": "min"}


Lookup = Callable[[str], Definition]


class Statements:
    """Lowers the statements of one procedure."""

    def __init__(self, p: Procedure, fresh: Fresh, isa: str, lookup: Lookup) -> None:
        self.p, self.fresh, self.lookup = p, fresh, lookup
        self.nests = Nests(fresh, isa)

    def body(self, stmts: list, inside: bool = False) -> list:
        """Lowered statements; `inside` a parallel loop everything else is serial."""
        out: list = []
        for s in stmts:
            out += self.stmt(s, inside)
        return out

    def stmt(self, s: object, inside: bool) -> list:
        """One statement as lowered statements."""
        if isinstance(s, Equations):
            return self.equations(s, inside)
        if isinstance(s, Decl):
            pre, init = pure(s.init, self.fresh) if s.init is not None else ([], None)
            return [*pre, replace(s, init=init)]
        if isinstance(s, Assign):
            pre, value = pure(s.value, self.fresh)
            return [*pre, replace(s, value=value)]
        if isinstance(s, Store):
            pre, value = pure(s.value, self.fresh)
            found = [pure(i, self.fresh) for i in s.idx]
            return [*pre, *(t for p, _ in found for t in p), replace(s, idx=tuple(i for _, i in found), value=value)]
        if isinstance(s, If):
            pre, cond = pure(s.cond, self.fresh)
            return [*pre, replace(s, cond=cond, then=self.body(s.then, inside), orelse=self.body(s.orelse, inside))]
        if isinstance(s, While):
            return self.loop_while(s, inside)
        if isinstance(s, For):
            return self.loop_for(s, inside)
        if isinstance(s, Call):
            return self.call(s)
        return [s]

    def call(self, s: Call) -> list:
        """A call: reductions in its numbers, and in the places and shapes of its arrays, are evaluated before it, each
        once, so that what says where an array ends and how long it is stays one expression."""
        before: list = []
        done: dict[Expr, Expr] = {}

        def one(e: Expr) -> Expr:
            if e not in done:
                loops, done[e] = pure(e, self.fresh)
                before.extend(loops)
            return done[e]

        def go(a: View | Expr) -> View | Expr:
            if isinstance(a, Expr):
                return one(a)
            part = (one(a.part[0]), one(a.part[1])) if a.part else None
            return replace(a, lead=tuple(map(one, a.lead)), part=part, shape=tuple(map(one, a.shape)))

        sizes = {n: one(e) for n, e in s.sizes.items()}
        called = replace(s, args=[go(a) for a in s.args], outs=[go(a) for a in s.outs], sizes=sizes)
        return [*before, called]

    def equations(self, s: Equations, inside: bool) -> list:
        """Index equations where they stand: the arrays already exist, only new temporaries do not."""
        written = {e.lhs for e in s.equations}
        arrays = [Param(a, "out" if a in written else "in", "f32", p) for a, p in self.shapes().items()]
        outs = [q for q in arrays if q.kind == "out"]
        f = Formula(
            "",
            "",
            [q for q in arrays if q.kind == "in"],
            outs,
            dict(self.p.sizes),
            list(self.p.given),
            equations=s.equations,
        )
        normal = hoist(f)
        temps = {}
        for t in normal.temps:
            name = self.fresh(t.name)
            temps[name] = replace(t, name=name)
            if name != t.name:
                normal = _renamed_temp(normal, t.name, name)
        return self.nests.lower(normal.equations, temps, parallel=not inside)

    def shapes(self) -> dict[str, tuple[Expr, ...]]:
        """Shapes of all arrays that the procedure names."""
        out = {q.name: q.shape for q in [*self.p.params, *self.p.outs] if q.is_array}

        def visit(stmts: list) -> None:
            for s in stmts:
                if isinstance(s, Alloc):
                    out[s.name] = s.shape
                for part in ("body", "then", "orelse"):
                    visit(getattr(s, part, None) or [])

        visit(self.p.body)
        return out

    def loop_while(self, s: While, inside: bool) -> list:
        """`while`: a condition with reductions is evaluated inside the loop."""
        pre, cond = pure(s.cond, self.fresh)
        body = self.body(s.body, inside)
        if not pre:
            return [replace(s, cond=cond, body=body)]
        stop = If(Expr("not", (cond,), None, "bool"), [Jump("break", s.span)])
        return [While(Expr("const", (), True, "bool"), [*pre, stop, *body], s.span)]

    def loop_for(self, s: For, inside: bool) -> list:
        """`for`: a parallel one with sums in blocks.  Whether its iterations are separate, the prover decides on what
        becomes of it (vibee.prove.races)."""
        pre, lo = pure(s.lo, self.fresh)
        more, hi = pure(s.hi, self.fresh)
        pre += more
        if s.parallel and not inside:
            lo, hi = (self.held(e, pre) for e in (lo, hi))
        if not s.parallel or inside:
            return [*pre, replace(s, lo=lo, hi=hi, parallel=False, body=self.body(s.body, inside))]
        sums = reductions(s)
        if sums:
            return [*pre, *self.parallel_sums(replace(s, lo=lo, hi=hi), sums)]
        return [*pre, replace(s, lo=lo, hi=hi, body=self.body(s.body, inside=True))]

    def held(self, e: Expr, before: list) -> Expr:
        """An end of a range as it is when the loop begins: threads that ask later may see elements changed."""
        if not loads(e):
            return e
        name = self.fresh("end")
        self.fresh.signed.add(name)
        before.append(Decl(name, "i64", e, e.span))
        return local(name)

    def parallel_sums(self, s: For, sums: dict[str, tuple[str, str]]) -> list:
        """BLOCKS equal parts of the range, each with its own partial results, combined in order."""
        block, size = self.fresh("block"), self.fresh("block_size")
        start = add(s.lo, mul(local(block), local(size)))
        stop = Expr("min", (add(start, local(size)), s.hi), None, "i64")
        before: list = [Decl(size, "i64", div(add(extent(s.lo, s.hi, self.fresh.signed), i(BLOCKS - 1)), i(BLOCKS)))]
        first: list = []
        last: list = []
        after: list = []
        body = s.body
        for name, (op, dtype) in sums.items():
            part, parts = self.fresh(f"{name}_part"), self.fresh(f"{name}_parts")
            body = [renamed(t, name, part, dtype) for t in body]
            before.append(Alloc(parts, dtype, (i(BLOCKS),), zero=False))
            first.append(Decl(part, dtype, neutral(op, dtype)))
            last.append(Store(parts, (local(block),), local(part, dtype)))
            whole = local(name, dtype)
            total = combine(op, whole, load(parts, (local(block),), dtype))
            after.append(Assign(name, total))
        inner = For(s.var, start, stop, self.body(body, inside=True), s.step)
        return [
            *before,
            For(block, i(0), i(BLOCKS), [*first, inner, *last], parallel=True, span=s.span),
            For(block, i(0), i(BLOCKS), after),
        ]


def _renamed_temp(f: Formula, old: str, new: str) -> Formula:
    from vibee.tree.expr import rename_arrays

    eqs = [
        replace(
            e,
            lhs=new if e.lhs == old else e.lhs,
            rhs=rename_arrays(e.rhs, {old: new}),
            idx=tuple(rename_arrays(x, {old: new}) for x in e.idx),
        )
        for e in f.equations
    ]
    return replace(f, equations=eqs)


def reductions(s: For) -> dict[str, tuple[str, str]]:
    """Outer scalars that a parallel loop accumulates: name -> (operation, dtype).  Nothing else is done with an outer
    scalar there: the check lets no other assignment through."""
    own = {t.name for t in statements(s.body) if isinstance(t, Decl)}
    return {
        t.name: (ACCUMULATE[t.value.op], t.value.dtype)
        for t in statements(s.body)
        if isinstance(t, Assign) and t.name not in own
    }


def renamed(t: object, old: str, new: str, dtype: str) -> object:
    """A statement in which the scalar `old` is the local `new`."""

    def go(e: Expr) -> Expr:
        if e.op == "var" and e.attr == old:
            return local(new, dtype)
        return rebuild(e, go)

    changes: dict[str, object] = {}
    for part in ("value", "init", "lo", "hi", "cond", "at"):
        e = getattr(t, part, None)
        if isinstance(e, Expr):
            changes[part] = go(e)
    for part in ("body", "then", "orelse"):
        inner = getattr(t, part, None)
        if inner:
            changes[part] = [renamed(x, old, new, dtype) for x in inner]
    if isinstance(t, Assign) and t.name == old:
        changes["name"] = new
    return replace(t, **changes) if changes else t  # type: ignore[type-var]
