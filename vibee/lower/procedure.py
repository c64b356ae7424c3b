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
    Equation,
    Equations,
    For,
    Formula,
    If,
    Param,
    Procedure,
    Store,
    While,
    statements,
)
from vibee.tree.expr import Expr, Span, free_vars, load, loads, rebuild, walk
from vibee.tree.normal import hoist, neutral

from .build import Fresh, add, at_least_zero, combine, div, i, local, mul, sub
from .nest import Nests
from .reduction import BLOCKS, reduce_scalar

ACCUMULATE = {"add": "sum", "mul": "prod", "max": "max", "min": "min", "or": "any", "and": "all"}


Lookup = Callable[[str], Definition]


class Statements:
    """Lowers the statements of one procedure."""

    def __init__(self, p: Procedure, fresh: Fresh, isa: str, lookup: Lookup) -> None:
        self.p, self.fresh, self.lookup = p, fresh, lookup
        self.nests = Nests(fresh, isa)
        self.notes: list[tuple[str, Span]] = []

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
            pre, init = self.pure(s.init) if s.init is not None else ([], None)
            return [*pre, replace(s, init=init)]
        if isinstance(s, Assign):
            pre, value = self.pure(s.value)
            return [*pre, replace(s, value=value)]
        if isinstance(s, Store):
            pre, value = self.pure(s.value)
            return [*pre, replace(s, value=value)]
        if isinstance(s, If):
            pre, cond = self.pure(s.cond)
            return [*pre, replace(s, cond=cond, then=self.body(s.then, inside), orelse=self.body(s.orelse, inside))]
        if isinstance(s, While):
            return self.loop_while(s, inside)
        if isinstance(s, For):
            return self.loop_for(s, inside)
        return [s]

    def pure(self, e: Expr) -> tuple[list, Expr]:
        """`e` without reductions: each becomes loops before the statement."""
        if e.op == "reduce":
            return reduce_scalar(e, self.fresh)
        pre: list = []

        def one(a: Expr) -> Expr:
            more, value = self.pure(a)
            pre.extend(more)
            return value

        return pre, rebuild(e, one) if any(n.op == "reduce" for n in walk(e)) else e

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
        eqs: list[Equation] = []
        for e in normal.equations:
            if any(ld.attr == e.lhs and ld.args != e.idx for ld in loads(e.rhs)):
                # the right side is read as it was before: through a copy
                name = self.fresh(f"{e.lhs}_new")
                plain = tuple(local(v) for v in e.vars)
                temps[name] = Param(name, "temp", e.rhs.dtype, e.dims)
                eqs.append(replace(e, lhs=name, idx=plain, accumulate=False))
                e = replace(e, rhs=load(name, plain, e.rhs.dtype))
            eqs.append(e)
        return self.nests.lower(eqs, temps, parallel=not inside)

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
        from vibee.tree.defs import Jump

        pre, cond = self.pure(s.cond)
        body = self.body(s.body, inside)
        if not pre:
            return [replace(s, cond=cond, body=body)]
        stop = If(Expr("not", (cond,), None, "bool"), [Jump("break", s.span)])
        return [While(Expr("const", (), True, "bool"), [*pre, stop, *body], s.span)]

    def loop_for(self, s: For, inside: bool) -> list:
        """`for`: parallel if its iterations are shown to be separate."""
        pre, lo = self.pure(s.lo)
        more, hi = self.pure(s.hi)
        pre += more
        if not s.parallel or inside:
            return [*pre, replace(s, lo=lo, hi=hi, parallel=False, body=self.body(s.body, inside))]
        clash = conflict(s)
        if clash:
            self.notes.append((f"the loop over {s.var} runs serially: {clash}", s.span))
            return [*pre, replace(s, lo=lo, hi=hi, parallel=False, body=self.body(s.body, inside))]
        sums = reductions(s)
        if sums:
            return [*pre, *self.parallel_sums(replace(s, lo=lo, hi=hi), sums)]
        return [*pre, replace(s, lo=lo, hi=hi, body=self.body(s.body, inside=True))]

    def parallel_sums(self, s: For, sums: dict[str, tuple[str, str, bool]]) -> list:
        """BLOCKS equal parts of the range, each with its own partial results, combined in order."""
        block, size = self.fresh("block"), self.fresh("block_size")
        start = add(s.lo, mul(local(block), local(size)))
        stop = Expr("min", (add(start, local(size)), s.hi), None, "i64")
        before: list = [Decl(size, "i64", div(add(at_least_zero(sub(s.hi, s.lo)), i(BLOCKS - 1)), i(BLOCKS)))]
        first: list = []
        last: list = []
        after: list = []
        body = s.body
        for name, (op, dtype, stored) in sums.items():
            part, parts = self.fresh(f"{name}_part"), self.fresh(f"{name}_parts")
            body = [renamed(t, name, part, dtype, stored) for t in body]
            before.append(Alloc(parts, dtype, (i(BLOCKS),), zero=False))
            first.append(Decl(part, dtype, neutral(op, dtype)))
            last.append(Store(parts, (local(block),), local(part, dtype)))
            whole = load(name, (), dtype) if stored else local(name, dtype)
            total = combine(op, whole, load(parts, (local(block),), dtype))
            after.append(Store(name, (), total) if stored else Assign(name, total))
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


# ---------------------------------------------------------------- separate iterations


def _own(s: For) -> set[str]:
    """Names declared inside the loop: private to an iteration."""
    return {t.name for t in statements(s.body) if isinstance(t, (Decl, Alloc))} | {
        t.var for t in statements(s.body) if isinstance(t, For)
    }


def reductions(s: For) -> dict[str, tuple[str, str, bool]]:
    """Outer scalars that the loop accumulates: name -> (operation, dtype, is a stored output)."""
    own, out = _own(s), {}
    for t in statements(s.body):
        stored = isinstance(t, Store) and not t.idx
        if (isinstance(t, Assign) or stored) and (t.array if stored else t.name) not in own:  # type: ignore[union-attr]
            name = t.array if stored else t.name  # type: ignore[union-attr]
            if t.value.op in ACCUMULATE:  # type: ignore[union-attr]
                out[name] = (ACCUMULATE[t.value.op], t.value.dtype, stored)  # type: ignore[union-attr]
    return out


def _reads_scalar(e: Expr, name: str) -> bool:
    return name in free_vars(e) or any(ld.attr == name for ld in loads(e))


def conflict(s: For) -> str | None:
    """Why iterations share a scalar in a way that is no sum of parts, or None if they do not.

    Whether they share elements of arrays, the prover decides on the lowered loop (vibee.prove.races)."""
    own = _own(s)
    sums = reductions(s)
    for t in statements(s.body):
        stored = isinstance(t, Store) and not t.idx
        if isinstance(t, Assign) or stored:
            name = t.array if stored else t.name  # type: ignore[union-attr]
            if name not in own and (name not in sums or not _is_step(t.value, name)):  # type: ignore[union-attr]
                return f"{name} is written by every iteration"
    for name in sums:
        if sum(_mentions(t, name) for t in statements(s.body)) != sum(_updates(t, name) for t in statements(s.body)):
            return f"{name} is read while it is being accumulated"
    return None


def _is_step(value: Expr, name: str) -> bool:
    if value.op not in ACCUMULATE or len(value.args) != 2:
        return False
    me = [(a.op == "var" and a.attr == name) or (a.op == "load" and a.attr == name) for a in value.args]
    return sum(me) == 1 and not _reads_scalar(value.args[1 if me[0] else 0], name)


def _mentions(t: object, name: str) -> int:
    exprs = [
        getattr(t, part) for part in ("value", "init", "lo", "hi", "cond") if isinstance(getattr(t, part, None), Expr)
    ]
    if isinstance(t, Equations):
        exprs += [q.rhs for q in t.equations]
    if isinstance(t, Call):
        exprs += [a for a in t.args if isinstance(a, Expr)]
    return sum(_reads_scalar(e, name) for e in exprs)


def _updates(t: object, name: str) -> int:
    stored = isinstance(t, Store) and not t.idx and t.array == name
    return int(stored or (isinstance(t, Assign) and t.name == name))


def renamed(t: object, old: str, new: str, dtype: str, stored: bool) -> object:
    """A statement in which the scalar `old` is the local `new`."""

    def go(e: Expr) -> Expr:
        if (e.op == "var" and e.attr == old) or (stored and e.op == "load" and e.attr == old):
            return local(new, dtype)
        return rebuild(e, go)

    changes: dict[str, object] = {}
    for part in ("value", "init", "lo", "hi", "cond"):
        e = getattr(t, part, None)
        if isinstance(e, Expr):
            changes[part] = go(e)
    for part in ("body", "then", "orelse"):
        inner = getattr(t, part, None)
        if inner:
            changes[part] = [renamed(x, old, new, dtype, stored) for x in inner]
    if isinstance(t, Assign) and t.name == old:
        changes["name"] = new
    if stored and isinstance(t, Store) and t.array == old:
        return Assign(new, changes["value"], t.span)  # type: ignore[arg-type]
    return replace(t, **changes) if changes else t  # type: ignore[type-var]
