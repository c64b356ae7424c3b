"""Loop nests: a group of equations becomes parallel outer loops and serial inner ones."""

from __future__ import annotations

from dataclasses import replace

from vibee.tree.defs import Alloc, Assign, Comment, Decl, Equation, For, If, Param, Store
from vibee.tree.expr import Expr, bound_vars, free_vars, load, rebuild, show, substitute
from vibee.tree.normal import neutral

from .ahead import asked_once, in_lanes
from .build import Fresh, add, at_least_zero, ceil_div, combine, i, is_const, local, mul, serial, sub, subst_stmt
from .contraction import is_contraction, lower_contraction, streamed, tiles
from .direct import Direct, added, direct_parts, in_place_tiles
from .group import Group, fuse, in_place, local_temps, refit, rename
from .reduction import (
    downward,
    expanded,
    freshen,
    nest,
    reduce_blocks,
    reduce_ranges,
    reduce_scalar,
    side_by_side,
)
from .schedule import Schedule
from .share import share_rows
from .stream import streams
from .transpose import transpose_of

COLUMNS = 64  # accumulators side by side when a reduction runs down the rows
ONE_PASS = ("argmax", "argmin", "any", "all")


class Nests:
    """Lowers equations; one instance per function, so that names stay unique in it."""

    def __init__(self, fresh: Fresh, isa: str, words: dict[str, object] | None = None) -> None:
        self.fresh, self.isa = fresh, isa
        self.schedule = Schedule(words or {}, fresh)
        self.plan = self.schedule.plan([])
        self.parallel = True
        self.blocks = True  # is a sum to one number made in blocks, for threads?
        self.scalars: dict[str, Expr] = {}  # rank-0 temporaries, kept in variables
        self.begun: set[str] = set()  # numbers that have a value, to which `+=` adds

    def lower(self, equations: list[Equation], temps: dict[str, Param], parallel: bool = True) -> list:
        """Statements that evaluate `equations`; `temps` are the arrays that belong to them."""
        self.parallel = parallel
        if not parallel and self.isa != "plain":
            equations = added(equations, temps)
        groups = refit(fuse(equations), self.schedule)
        out: list = []
        kept: dict[str, set[str]] = {}
        for n, g in enumerate(groups):
            kept[str(n)] = local_temps(g, groups, set(temps))
        inner = set().union(*kept.values()) if kept else set()
        self.scalars |= {t: local(self.fresh.own(t), p.dtype) for t, p in temps.items() if not p.shape}
        defined = {e.lhs for e in equations}
        for name, p in temps.items():
            if name in defined - inner and p.shape:
                self.fresh.reserved.discard(name)  # it keeps its name
                scattered = any(e.accumulate and e.lhs == name for e in equations)
                out.append(Alloc(name, p.dtype, p.shape, zero=scattered))
        for n, g in enumerate(groups):
            for e in g.equations:
                out.append(Comment(equation_text(e)))
            self.plan = self.schedule.plan(g.equations)
            span = g.equations[0].span
            made = self.plan.unrolled(self._group(g, kept[str(n)], temps), span)
            out += streams(expanded(made, self.fresh), self.plan)
        return out if parallel else serial(out)

    # ---- one group

    def _group(self, g: Group, mine: set[str], temps: dict[str, Param]) -> list:
        g.equations = [replace(e, rhs=self._subst(e.rhs, {})) for e in g.equations]
        e = g.equations[0]
        if e.accumulate and e.rhs.op == "reduce":
            return Direct(e, self.isa, self.fresh).lower()
        if is_contraction(e) and self.isa != "plain":
            self.plan.stream = set()  # c is added to
            if self.parallel and tiles(e, self.plan):
                self.plan.prefetch |= streamed(e)
                plain = [] if self.plan.pack else self._alone(e)
                return lower_contraction(e, self.isa, self.fresh, plain, self.plan)
            if self.parallel and in_place_tiles(e, self.plan):
                return Direct(e, self.isa, self.fresh).blocks(self.plan)
            if not self.parallel and direct_parts(e):
                return Direct(e, self.isa, self.fresh).lower()
        if e.accumulate and not in_place(e):
            return self._scatter(e)
        if not e.vars and not e.idx:
            return self._scalar(e)
        if not e.vars:
            return self._element(e, {})
        if e.rhs.op == "scan":
            return self._scan(e)
        if len(g.equations) == 1:
            return self._alone(e)
        return self._fused(g, mine, temps)

    def _alone(self, e: Equation) -> list:
        """One equation: vectors along its last variable, or the one that the schedule names."""
        e = self._renamed(e)
        keep = 1
        if e.rhs.op == "reduce":
            col = self._column(e, e.vars, e.rhs)
            if col is not None:
                return self._columns(e, col)
            keep = 0
        turned = None if self.schedule.words.keys() - {"stream"} else transpose_of(e, self.fresh.bits)
        if turned is not None:
            self.plan.stream = set()  # squares are written in columns
            return [s for loops, body in turned.lower(self.fresh) for s in self.plan.arrange(loops, body)]
        return self.plan.arrange(list(zip(e.vars, e.dims, strict=True)), self._element(e, {}, e.vars), keep)

    def _fused(self, g: Group, mine: set[str], temps: dict[str, Param]) -> list:
        p = g.prefix
        mine = mine | share_rows(g, temps, self.fresh)
        names = [self.fresh.own(v) for v in g.equations[0].vars[:p]]
        dims = g.equations[0].dims[:p]
        table: dict[str, Expr | tuple[str, int]] = {}
        decls: list = []
        for t in sorted(mine):
            shape = temps[t].shape[p:]
            name = self.fresh.own(t)
            if shape:
                decls.append(Alloc(name, temps[t].dtype, shape, zero=False))
                table[t] = (name, p)
            else:
                decls.append(Decl(name, temps[t].dtype))
                table[t] = local(name, temps[t].dtype)
        loops: list[tuple[Equation, list]] = []
        for e in g.equations:
            inner = {v: self.fresh.own(v) for v in e.vars[p:]}
            e = rename(e, dict(zip(e.vars[:p], names, strict=True)) | inner)
            loops.append((e, self._inner(e, p, table)))
        body = [*decls, *asked_once(loops)]
        return self.plan.arrange(list(zip(names, dims, strict=True)), body, int(g.flat))

    def _renamed(self, e: Equation) -> Equation:
        """Fresh names for an equation's variables."""
        return rename(e, {v: self.fresh.own(v) for v in e.vars})

    def _inner(self, e: Equation, p: int, table: dict) -> list:
        """An equation inside shared loops: loops over what remains of its variables."""
        if e.vars[p:] and e.rhs.op == "reduce":
            col = self._column(e, e.vars[p:], self._subst(e.rhs, table))
            if col is not None:
                return self._columns(e, col, p, table)
        inside = self.plan.inside(e.vars[p:], e.vars[:p], e.span)
        rest = list(zip(e.vars[p:], e.dims[p:], strict=True))
        if inside and len(rest) == 1 and e.rhs.op not in ("reduce", "scan") and self.plan.size(rest[0][0]) is None:
            steps = in_lanes(*rest[0], self._element(e, table), self._subst(e.rhs, table), self.fresh, self.plan)
            if steps:
                return steps
        return self.plan.arrange(rest, self._element(e, table, e.vars), inside=inside)

    def _element(self, e: Equation, table: dict, outer: tuple[str, ...] = ()) -> list:
        """One element of an equation, at its variables; `outer` are the loops around it."""
        rhs = self._subst(e.rhs, table)
        if rhs.op == "reduce":
            stmts, value = self._reduced(rhs, e, outer)
            return [*stmts, self._put(e, value, table)]
        return [self._put(e, rhs, table)]

    def _reduced(self, r: Expr, e: Equation, outer: tuple[str, ...], default: bool = False) -> tuple[list, Expr]:
        """A reduction to one number: in blocks if one of its indices is parallel (`default`: if none is named)."""
        r = self.plan.ordered(r, e.span)
        names, op = bound_vars(r), str(r.attr[0])  # type: ignore[index]
        chosen = names[0] if default and not self.plan.parallel else None
        for v in filter(self.plan.asks_parallel, names):
            if op in ONE_PASS:
                self.plan.serial(v, f"{op} is found in one pass", e.span)
            elif self.plan.inside([v], outer, e.span):
                continue
            elif chosen is not None:
                self.plan.serial(v, "threads take parts of one index of a reduction", e.span)
            else:
                chosen = v
        if chosen is None:
            return reduce_scalar(r, self.fresh, self.plan)
        return reduce_blocks(r, self.fresh, chosen, self.plan)

    def _put(self, e: Equation, value: Expr, table: dict) -> Assign | Store:
        target = table.get(e.lhs)
        if isinstance(target, Expr):  # a temporary, assigned once
            return Assign(str(target.attr), value, e.span)
        if e.accumulate:
            value = Expr("add", (load(e.lhs, e.idx, value.dtype), value), None, value.dtype)
        if target:
            return Store(target[0], e.idx[target[1] :], value, span=e.span)
        return Store(e.lhs, e.idx, value, span=e.span)

    def _subst(self, e: Expr, table: dict) -> Expr:
        """Reads of local temporaries become variables or rows."""
        if e.op == "load" and (e.attr in table or e.attr in self.scalars):
            target = table.get(e.attr, self.scalars.get(str(e.attr)))
            if isinstance(target, Expr):
                return target
            name, p = target  # type: ignore[misc]
            return replace(e, attr=name, args=tuple(self._subst(a, table) for a in e.args[p:]))
        return rebuild(e, lambda a: self._subst(a, table))

    # ---- strategies

    def _column(self, e: Equation, names: tuple[str, ...], r: Expr) -> str | None:
        """The variable along which partial results of the reduction `r` lie side by side, if there is one."""
        if self.plan.vector(bound_vars(r)):
            return None
        wanted = self.plan.vector(names)
        if wanted is None and self.plan.outer(bound_vars(r)):
            return None
        if wanted is None:
            return names[-1] if downward(r, names[-1]) else None
        if r.attr[0] in ("argmax", "argmin"):  # type: ignore[index]
            self.plan.not_inner(wanted, f"{r.attr[0]} runs inside it", e.span)  # type: ignore[index]
        elif any(wanted in free_vars(b) for b in r.args[1:]):
            self.plan.not_inner(wanted, "the range of the reduction depends on it", e.span)
        else:
            return wanted
        return None

    def _columns(self, e: Equation, col: str, outer: int = 0, table: dict | None = None) -> list:
        """Reduce down the rows with COLUMNS accumulators side by side, each in plain order of k: in vectors where all
        are there, and else in an array."""
        table = table or {}
        r = freshen(self.plan.ordered(self._subst(e.rhs, table), e.span), self.fresh)
        op, dim = str(r.attr[0]), e.dims[e.vars.index(col)]  # type: ignore[index]
        side = self.plan.size(col) or (max(1, min(COLUMNS, int(dim.attr))) if is_const(dim) else COLUMNS)
        block, c, acc = self.fresh.part(col, "block"), self.fresh.part(col, "c"), self.fresh("acc")
        count = self.fresh(f"{col}_count")
        at = load(acc, (local(c),), r.dtype)
        first = mul(local(block), i(side))
        ranges = self.plan.cut_all(reduce_ranges(r))

        def value(n: Expr) -> Expr:
            return substitute(r.args[0], {col: add(first, n)})

        def put(n: Expr, total: Expr) -> Assign | Store:
            where = {col: add(first, n)}
            return self._put(replace(e, idx=tuple(substitute(x, where) for x in e.idx)), total, table)

        each = lambda s: For(c, i(0), local(count), [s])  # noqa: E731 - one loop form, three bodies
        some = [
            Alloc(acc, r.dtype, (i(side),), zero=False),
            each(Store(acc, (local(c),), neutral(op, r.dtype))),
            *nest(ranges, [each(Store(acc, (local(c),), combine(op, at, value(local(c)))))]),
            each(put(local(c), at)),
        ]
        every = side_by_side(op, r.dtype, ranges, side, value, put, self.fresh)
        body = [
            Decl(count, "i64", Expr("min", (i(side), sub(dim, mul(local(block), i(side)))), None, "i64")),
            *([If(Expr("eq", (local(count), i(side)), None, "bool"), every, some)] if every else some),
        ]
        loops = [(v, d) for v, d in zip(e.vars[outer:], e.dims[outer:], strict=True) if v != col]
        inside = outer > 0 and self.plan.inside(e.vars[outer:], e.vars[:outer], e.span)
        for v in bound_vars(r):
            why = f"sums along {self.plan.base(col)} lie side by side, and each runs over {self.plan.base(v)}"
            self.plan.serial(v, why, e.span)
        return self.plan.arrange([*loops, (block, ceil_div(dim, side))], body, inside=inside)

    def _scalar(self, e: Equation) -> list:
        rhs = self._subst(e.rhs, {})
        stmts: list = []
        if rhs.op == "reduce":
            stmts, rhs = self._reduced(rhs, e, (), default=self.blocks)
        target = self.scalars.get(e.lhs)
        again = e.lhs in self.begun
        if again:  # only += comes back to a number
            old = load(e.lhs, (), rhs.dtype) if target is None else target
            rhs = Expr("add", (old, rhs), None, rhs.dtype)
        self.begun.add(e.lhs)
        if target is None:
            return [*stmts, Store(e.lhs, (), rhs, span=e.span)]
        name = str(target.attr)
        return [*stmts, Assign(name, rhs, e.span) if again else Decl(name, rhs.dtype, rhs, e.span)]

    def _scan(self, e: Equation) -> list:
        """A running reduction: serial along its own variable, parallel over the others."""
        op, along = str(e.rhs.attr[0]), str(e.rhs.attr[1])  # type: ignore[index]
        names = {v: self.fresh.own(v) for v in e.vars}
        e = rename(e, names)
        along = names[along]
        acc = local(self.fresh("acc"), e.rhs.dtype)
        body = self._subst(e.rhs.args[0], {})
        step = [Assign(str(acc.attr), combine(op, acc, body)), Store(e.lhs, e.idx, acc, span=e.span)]
        dim = dict(zip(e.vars, e.dims, strict=True))
        run = nest(self.plan.cut_all([(along, i(0), dim[along])]), step)
        self.plan.serial(along, "each element of a running sum needs the one before", e.span)
        wanted, base = self.plan.vector(e.vars), self.plan.base(along)
        if wanted is not None:
            self.plan.not_inner(wanted, f"the running sum along {base} is", e.span)
        loop = [Decl(str(acc.attr), acc.dtype, neutral(op, acc.dtype)), *run]
        return self.plan.arrange([(v, dim[v]) for v in e.vars if v != along], loop)

    def _scatter(self, e: Equation) -> list:
        """`+=`: in parallel over columns that every contribution keeps apart, serial otherwise."""
        e = self._renamed(e)
        rhs = self._subst(e.rhs, {})
        plain = [v for v in e.vars if any(x.op == "var" and x.attr == v for x in e.idx)]
        old = load(e.lhs, e.idx, rhs.dtype)
        put = [Store(e.lhs, e.idx, Expr("add", (old, rhs), None, rhs.dtype), span=e.span)]
        ranges = [(v, i(0), d) for v, d in zip(e.vars, e.dims, strict=True)]
        col = next((v for v in plain[::-1] if self.plan.splits(v, False)), plain[-1] if plain else None)
        for v in e.vars:
            if v != col:
                self.plan.serial(v, f"its contributions to {e.lhs} may fall on the same element", e.span)
        inner = lambda r: self.plan.vector([r[0]]) is not None  # noqa: E731 - a name for a key
        if col is None:
            return nest(sorted(self.plan.cut_all(ranges), key=inner), put)
        side, dim = self.plan.size(col) or COLUMNS, dict(zip(e.vars, e.dims, strict=True))[col]
        block, c, count = self.fresh.part(col, "block"), self.fresh.part(col, "c"), self.fresh(f"{col}_count")
        here = {col: add(mul(local(block), i(side)), local(c))}
        width = Expr("min", (i(side), sub(dim, mul(local(block), i(side)))), None, "i64")
        rows = [*self.plan.cut_all([r for r in ranges if r[0] != col]), (c, i(0), local(count))]
        body = nest(sorted(rows, key=inner), [subst_stmt(s, here) for s in put])
        return self.plan.arrange([(block, ceil_div(dim, side))], [Decl(count, "i64", width), *body])


def parallel_nest(ranges: list[tuple[str, Expr]], body: list) -> list:
    """Perfectly nested parallel loops (no loops: the body alone)."""
    for name, hi in reversed(ranges):
        body = [For(name, i(0), at_least_zero(hi), body, parallel=True)]
    return body


def equation_text(e: Equation) -> str:
    """The equation in the spec's notation."""
    sign = "+=" if e.accumulate else "="
    return f"{e.lhs}[{', '.join(map(show, e.idx))}] {sign} {show(e.rhs)}" if e.idx else f"{e.lhs} {sign} {show(e.rhs)}"
