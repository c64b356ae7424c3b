"""Loop nests: a group of equations becomes parallel outer loops and serial inner ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from vibee.tree.defs import Alloc, Assign, Comment, Decl, Equation, For, Param, Store
from vibee.tree.expr import Expr, load, loads, rebuild, show, substitute
from vibee.tree.normal import neutral

from .build import Fresh, add, at_least_zero, ceil_div, combine, i, local, mul, sub
from .contraction import in_place, is_contraction, lower_contraction
from .direct import Direct, direct_parts
from .group import Group, fuse, local_temps, rename
from .reduction import contiguous_along, freshen, nest, reduce_blocks, reduce_ranges, reduce_scalar, stride
from .share import share_rows

COLUMNS = 64  # accumulators side by side when a reduction runs down the rows


class Nests:
    """Lowers equations; one instance per function, so that names stay unique in it."""

    def __init__(self, fresh: Fresh, isa: str) -> None:
        self.fresh, self.isa = fresh, isa
        self.parallel = True
        self.scalars: dict[str, Expr] = {}  # rank-0 temporaries, kept in variables

    def lower(self, equations: list[Equation], temps: dict[str, Param], parallel: bool = True) -> list:
        """Statements that evaluate `equations`; `temps` are the arrays that belong to them."""
        self.parallel = parallel
        groups = fuse(equations)
        out: list = []
        kept: dict[str, set[str]] = {}
        for n, g in enumerate(groups):
            kept[str(n)] = local_temps(g, groups, set(temps))
        inner = set().union(*kept.values()) if kept else set()
        self.scalars |= {t: local(self.fresh.own(t), p.dtype) for t, p in temps.items() if not p.shape}
        for name, p in temps.items():
            if name not in inner and p.shape:
                self.fresh.reserved.discard(name)  # it keeps its name
                scattered = any(e.accumulate and e.lhs == name for e in equations)
                out.append(Alloc(name, p.dtype, p.shape, zero=scattered))
        for n, g in enumerate(groups):
            for e in g.equations:
                out.append(Comment(equation_text(e)))
            out += self._group(g, kept[str(n)], temps)
        return out if parallel else serial(out)

    # ---- one group

    def _group(self, g: Group, mine: set[str], temps: dict[str, Param]) -> list:
        g.equations = [replace(e, rhs=self._subst(e.rhs, {})) for e in g.equations]
        e = g.equations[0]
        if is_contraction(e) and self.isa != "plain":
            if self.parallel:
                return lower_contraction(e, self.isa, self.fresh, self._alone(e))
            if direct_parts(e):
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
        """One equation: its last variable goes innermost where memory likes that better."""
        e = self._renamed(e)
        if e.rhs.op == "reduce":
            if self._downward(e.rhs, e.vars[-1]):
                return self._columns(e, parallel=True)
            body = self._element(e, {})
            return parallel_nest(list(zip(e.vars, e.dims, strict=True)), body)
        body = self._element(e, {})
        if len(e.vars) > 1:
            body = [For(e.vars[-1], i(0), e.dims[-1], body)]
            return parallel_nest(list(zip(e.vars[:-1], e.dims[:-1], strict=True)), body)
        return parallel_nest([(e.vars[0], e.dims[0])], body)

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
        body: list = []
        for e in g.equations:
            inner = {v: self.fresh.own(v) for v in e.vars[p:]}
            e = rename(e, dict(zip(e.vars[:p], names, strict=True)) | inner)
            body += self._inner(e, p, table)
        flat = all(len(e.vars) == p and e.rhs.op != "reduce" for e in g.equations)
        if flat and p > 1:
            body = [For(names[-1], i(0), dims[-1], [*decls, *body])]
            return parallel_nest(list(zip(names[:-1], dims[:-1], strict=True)), body)
        return parallel_nest(list(zip(names, dims, strict=True)), [*decls, *body])

    def _renamed(self, e: Equation) -> Equation:
        """Fresh names for an equation's variables."""
        return rename(e, {v: self.fresh.own(v) for v in e.vars})

    def _inner(self, e: Equation, p: int, table: dict) -> list:
        """An equation inside shared loops: loops over what remains of its variables."""
        rest = list(zip(e.vars[p:], (i(0) for _ in e.dims[p:]), e.dims[p:], strict=True))
        if rest and e.rhs.op == "reduce" and self._downward(self._subst(e.rhs, table), e.vars[-1]):
            return self._columns(e, parallel=False, outer=p, table=table)
        return nest(rest, self._element(e, table))

    def _element(self, e: Equation, table: dict) -> list:
        """One element of an equation, at its variables."""
        rhs = self._subst(e.rhs, table)
        if rhs.op == "reduce":
            stmts, value = reduce_scalar(rhs, self.fresh)
            return [*stmts, self._put(e, value, table)]
        return [self._put(e, rhs, table)]

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

    def _downward(self, r: Expr, col: str) -> bool:
        """Does the reduction read memory in order along `col` but not along its own last variable?"""
        if r.attr[0] in ("argmax", "argmin", "any", "all"):  # type: ignore[index]
            return False
        along = any(stride(ld.args, col) == 1 for ld in loads(r.args[0]))
        last = r.attr[1][-1]  # type: ignore[index]
        bounds = any(col in str(show(b)) for b in r.args[1:])
        return along and not bounds and contiguous_along(r.args[0], col) and not contiguous_along(r.args[0], last)

    def _columns(self, e: Equation, parallel: bool, outer: int = 0, table: dict | None = None) -> list:
        """Reduce down the rows with COLUMNS accumulators side by side, each in plain order of k."""
        table = table or {}
        r = freshen(self._subst(e.rhs, table), self.fresh)
        op, col, dim = r.attr[0], e.vars[-1], e.dims[-1]  # type: ignore[index]
        block, c, acc = self.fresh(f"{col}_block"), self.fresh(f"{col}_c"), self.fresh("acc")
        count = self.fresh(f"{col}_count")
        at = load(acc, (local(c),), r.dtype)
        here = add(mul(local(block), i(COLUMNS)), local(c))
        where = {col: here}
        each = lambda s: For(c, i(0), local(count), [s])  # noqa: E731 - one loop form, three bodies
        value = substitute(r.args[0], where)
        put = self._put(replace(e, idx=tuple(substitute(x, where) for x in e.idx)), at, table)
        body = [
            Decl(count, "i64", Expr("min", (i(COLUMNS), sub(dim, mul(local(block), i(COLUMNS)))), None, "i64")),
            Alloc(acc, r.dtype, (i(COLUMNS),), zero=False),
            each(Store(acc, (local(c),), neutral(op, r.dtype))),
            *nest(reduce_ranges(r), [each(Store(acc, (local(c),), combine(op, at, value)))]),
            each(put),
        ]
        blocks = ceil_div(dim, COLUMNS)
        front = list(zip(e.vars[outer:-1], e.dims[outer:-1], strict=True))
        if parallel:
            return parallel_nest([*front, (block, blocks)], body)
        return nest([(v, i(0), d) for v, d in [*front, (block, blocks)]], body)

    def _scalar(self, e: Equation) -> list:
        rhs = self._subst(e.rhs, {})
        stmts: list = []
        if rhs.op == "reduce":
            stmts, rhs = reduce_blocks(rhs, self.fresh)
        elif rhs.op == "scan":
            rhs = rhs.args[0]
        if e.lhs in self.scalars:
            name = str(self.scalars[e.lhs].attr)
            return [*stmts, Decl(name, rhs.dtype, rhs, e.span)]
        return [*stmts, Store(e.lhs, (), rhs, span=e.span)]

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
        loop = [Decl(str(acc.attr), acc.dtype, neutral(op, acc.dtype)), For(along, i(0), dim[along], step)]
        return parallel_nest([(v, dim[v]) for v in e.vars if v != along], loop)

    def _scatter(self, e: Equation) -> list:
        """`+=`: in parallel over columns that every contribution keeps apart, serial otherwise."""
        e = self._renamed(e)
        rhs = self._subst(e.rhs, {})
        pre: list = []
        if rhs.op == "reduce":
            pre, rhs = reduce_scalar(rhs, self.fresh)
        plain = [v for v in e.vars if any(x.op == "var" and x.attr == v for x in e.idx)]
        old = load(e.lhs, e.idx, rhs.dtype)
        put = [*pre, Store(e.lhs, e.idx, Expr("add", (old, rhs), None, rhs.dtype), span=e.span)]
        dim = dict(zip(e.vars, e.dims, strict=True))
        if not plain:
            return nest([(v, i(0), dim[v]) for v in e.vars], put)
        col = plain[-1]
        block, c, count = self.fresh(f"{col}_block"), self.fresh(f"{col}_c"), self.fresh(f"{col}_count")
        here = {col: add(mul(local(block), i(COLUMNS)), local(c))}
        body = [For(c, i(0), local(count), [subst_stmt(s, here) for s in put])]
        width = Expr("min", (i(COLUMNS), sub(dim[col], mul(local(block), i(COLUMNS)))), None, "i64")
        rows = nest([(v, i(0), dim[v]) for v in e.vars if v != col], body)
        return parallel_nest([(block, ceil_div(dim[col], COLUMNS))], [Decl(count, "i64", width), *rows])


def parallel_nest(ranges: list[tuple[str, Expr]], body: list) -> list:
    """Perfectly nested parallel loops (no loops: the body alone)."""
    for name, hi in reversed(ranges):
        body = [For(name, i(0), at_least_zero(hi), body, parallel=True)]
    return body


def equation_text(e: Equation) -> str:
    """The equation in the spec's notation."""
    sign = "+=" if e.accumulate else "="
    return f"{e.lhs}[{', '.join(map(show, e.idx))}] {sign} {show(e.rhs)}" if e.idx else f"{e.lhs} {sign} {show(e.rhs)}"


def map_stmts(stmts: list, f: Callable[[object], object]) -> list:
    """Every statement, innermost first, replaced by f(statement)."""
    out = []
    for s in stmts:
        for part in ("body", "then", "orelse"):
            if getattr(s, part, None):
                s = replace(s, **{part: map_stmts(getattr(s, part), f)})
        out.append(f(s))
    return out


def serial(stmts: list) -> list:
    """The same statements without parallel loops (inside a loop that is parallel already)."""
    return map_stmts(stmts, lambda s: replace(s, parallel=False) if isinstance(s, For) and s.parallel else s)  # type: ignore[type-var]


def subst_stmt(s: object, names: dict[str, Expr]) -> object:
    """A statement with variables replaced in its expressions."""

    def one(t: object) -> object:
        changes: dict[str, object] = {}
        for part in ("value", "init", "lo", "hi", "cond"):
            e = getattr(t, part, None)
            if isinstance(e, Expr):
                changes[part] = substitute(e, names)
        if isinstance(t, Store):
            changes["idx"] = tuple(substitute(x, names) for x in t.idx)
        if isinstance(t, Alloc):
            changes["shape"] = tuple(substitute(x, names) for x in t.shape)
        return replace(t, **changes) if changes else t  # type: ignore[type-var]

    return map_stmts([s], one)[0]
