"""Normal form of a formula: every equation is pointwise, or one reduce or scan at its root.

A nested reduce or scan becomes a temporary over its free index variables; equal ones share a
temporary.  Where it stood under a condition (the branch of a `where`, the right side of an
`and`, a range that depends on other variables) the temporary is evaluated outside of it, so
the condition goes into its body as `where(cond, body, neutral)`; it is left out where the body
is shown to be safe everywhere and the condition would only give the temporary more axes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import replace

from .defs import Equation, Formula, Param
from .expr import Expr, bound_vars, const, free_vars, load, loads, rebuild, show, substitute, var, walk
from .linear import ZERO, Facts, facts_of, normal_index
from .types import DTYPES

Scope = dict[str, tuple[Expr, Expr]]
INFINITY = float("inf")


def neutral(op: str, dtype: str) -> Expr:
    """The value of an empty reduction."""
    kind, bits = DTYPES[dtype].kind, DTYPES[dtype].bits
    if op in ("any", "all"):
        return const(op == "all", "bool")
    if op in ("sum", "prod"):
        return const({"f": float, "b": bool}.get(kind, int)(op == "prod"), dtype)
    low = op in ("max", "argmax")
    if kind == "f":
        return const(-INFINITY if low else INFINITY, dtype)
    if kind == "u":
        return const(0 if low else 2**bits - 1, dtype)
    return const(-(2 ** (bits - 1)) if low else 2 ** (bits - 1) - 1, dtype)


def conjunction(conds: Iterable[Expr]) -> Expr | None:
    """All of `conds`, tested from left to right; None if there are none."""
    out: Expr | None = None
    for c in conds:
        out = c if out is None else Expr("and", (out, c), None, "bool")
    return out


def under(conds: Iterable[Expr], value: Expr, other: Expr) -> Expr:
    """`where(all of conds, value, other)`, or `value` if there are none."""
    c = conjunction(conds)
    return value if c is None else Expr("where", (c, value, other), None, value.dtype, value.span)


def limits_under(conds: Iterable[Expr], limits: Iterable[Expr]) -> tuple[Expr, ...]:
    """The ends of a range, 0 for those that read arrays where not all `conds` hold: the elements need not exist."""
    conds = tuple(conds)
    return tuple(under(conds, e, ZERO) if any(True for _ in loads(e)) else e for e in limits)


_NEGATED = {"lt": "ge", "ge": "lt", "gt": "le", "le": "gt", "eq": "ne", "ne": "eq"}


def negate(c: Expr) -> Expr:
    """The opposite condition (of floats only with `not`: a nan fails both `<` and `>=`)."""
    if c.op == "not":
        return c.args[0]
    if c.op in _NEGATED and (c.op in ("eq", "ne") or DTYPES[c.args[0].dtype].kind in "iu"):
        return replace(c, op=_NEGATED[c.op])
    return Expr("not", (c,), None, "bool", c.span)


def compare(op: str, a: Expr, b: Expr) -> Expr:
    """A comparison of two integers."""
    return Expr(op, (a, b), None, "bool")


def canonical(e: Expr) -> tuple[Expr, tuple[str, ...]]:
    """`e` with its variables numbered in order of appearance, and their names in that order."""
    order: list[str] = []
    for n in walk(e):
        names = bound_vars(n) if n.op == "reduce" else ((n.attr[1],) if n.op == "scan" else ())  # type: ignore[index]
        for v in (str(n.attr),) if n.op == "var" else names:
            if v not in order:
                order.append(v)
    table = {v: f"%{i}" for i, v in enumerate(order)}

    def go(x: Expr) -> Expr:
        if x.op == "var":
            return replace(x, attr=table[str(x.attr)])
        if x.op == "reduce":
            x = replace(x, attr=(x.attr[0], tuple(table[v] for v in x.attr[1])))  # type: ignore[index]
        if x.op == "scan":
            x = replace(x, attr=(x.attr[0], table[x.attr[1]]))  # type: ignore[index]
        return rebuild(x, go)

    return go(e), tuple(order)


# a reduce with its variables numbered, the ranges of those that stay free, the names of what else it reads
Key = tuple[Expr, tuple[tuple[int, tuple[Expr, Expr]], ...], tuple[tuple[int, str], ...]]


class Hoister:
    """Moves nested reduces and scans of one formula into temporaries of their own."""

    def __init__(self, f: Formula) -> None:
        self.f = f
        self.facts = facts_of(f.sizes, f.given)
        self.shapes = {p.name: p.shape for p in [*f.params, *f.outs, *f.temps]}
        self.outputs = {p.name for p in f.outs}
        self.temps: list[Param] = list(f.temps)
        self.out: list[Equation] = []
        self.known: dict[Key, tuple[str, tuple[int, ...]]] = {}
        self.names = {p.name for p in [*f.params, *f.outs, *f.temps]} | set(f.sizes)
        self.binders: set[str] = set()
        for eq in f.equations:
            self.names |= set(eq.vars)
            for e in (*eq.idx, eq.rhs):
                for n in walk(e):
                    self.binders |= set(bound_vars(n))
        self.names |= self.binders

    def fresh(self, stem: str) -> str:
        """A name not used in the formula."""
        name = numbered(stem, self.names)
        self.names.add(name)
        return name

    def run(self) -> Formula:
        """The formula in normal form."""
        for eq in self.f.equations:
            scope: Scope = {v: (ZERO, d) for v, d in zip(eq.vars, eq.dims, strict=True)}
            rhs = eq.rhs
            if rhs.op in ("reduce", "scan") and not eq.accumulate:
                rhs = self.inside(rhs, scope, (), eq.lhs)
            else:
                rhs = self.visit(rhs, scope, (), eq.lhs)
            idx = tuple(self.visit(i, scope, (), eq.lhs) for i in eq.idx)
            self.out.append(replace(eq, rhs=rhs, idx=idx))
            if rhs.op in ("reduce", "scan") and not eq.accumulate and len(set(eq.vars)) == len(eq.vars):
                free = free_vars(rhs) & set(scope)
                if free == set(eq.vars):
                    key, order = self.key(rhs, scope, free)
                    self.known.setdefault(key, (eq.lhs, tuple(order.index(v) for v in eq.vars)))
            if eq.accumulate:
                self.forget(eq.lhs)
        used = live(self.out, self.outputs)
        made = {q.lhs for q in used}
        return replace(self.f, temps=[t for t in self.temps if t.name in made], equations=used)

    def forget(self, array: str) -> None:
        """What was computed of an array, or is kept in it, is another value once something is added to it."""
        for key, (home, _) in list(self.known.items()):
            form, ranges, others = key
            read = {n.attr for e in (form, *(end for _, r in ranges for end in r)) for n in loads(e)}
            if array in {home, *read, *(v for _, v in others)}:
                del self.known[key]

    def key(self, e: Expr, scope: Scope, free: frozenset[str]) -> tuple[Key, tuple[str, ...]]:
        """What equal reduces have in common, and the variables in the order of that form."""
        form, order = canonical(e)
        ranges = tuple((i, scope[v]) for i, v in enumerate(order) if v in free)
        others = tuple((i, v) for i, v in enumerate(order) if v not in free and v not in scope and not _binds(e, v))
        return (form, ranges, others), order

    # ------------------------------------------------------------ the walk

    def inside(self, e: Expr, scope: Scope, guards: tuple[Expr, ...], lhs: str) -> Expr:
        """A reduce or scan that stays: only what is in its body moves."""
        if e.op == "scan":
            return replace(e, args=(self.visit(e.args[0], scope, guards, lhs),))
        args = [self.visit(a, scope, guards, lhs) for a in e.args[1:]]
        ranges = dict(zip(bound_vars(e), zip(args[::2], args[1::2], strict=True), strict=True))
        body = self.visit(e.args[0], {**scope, **ranges}, guards, lhs)
        return replace(e, args=(body, *args))

    def visit(self, e: Expr, scope: Scope, guards: tuple[Expr, ...], lhs: str) -> Expr:
        """`e` without nested reduces; `guards` hold where it is evaluated."""
        if e.op == "scan":
            scope, guards = self.up_to(e.attr[1], scope, guards)  # type: ignore[index]
        if e.op in ("reduce", "scan"):
            return self.hoist(self.inside(e, scope, guards, lhs), scope, guards, lhs)
        if e.op in ("where", "and", "or"):
            first = self.visit(e.args[0], scope, guards, lhs)
            sides = {"where": (first, negate(first)), "and": (first,), "or": (negate(first),)}[e.op]
            rest = (self.visit(a, scope, (*guards, g), lhs) for a, g in zip(e.args[1:], sides, strict=True))
            return replace(e, args=(first, *rest))
        return rebuild(e, lambda a: self.visit(a, scope, guards, lhs))

    def up_to(self, index: str, scope: Scope, guards: tuple[Expr, ...]) -> tuple[Scope, tuple[Expr, ...]]:
        """What holds in the body of a scan along `index`: it takes in all elements up to the one that is wanted, those
        too that a range or condition of the index would leave out."""
        facts = self.facts.within(scope)
        wide = {}
        for v, r in scope.items():
            low, high = box(r, facts) or r
            wide[v] = (low if index in free_vars(r[0]) else r[0], high if index in free_vars(r[1]) else r[1])
        return wide, tuple(g for g in guards if index not in free_vars(g))

    def hoist(self, e: Expr, scope: Scope, guards: tuple[Expr, ...], lhs: str) -> Expr:
        """The temporary that holds `e`, read at the variables of the scope."""
        names = frozenset(scope)
        free = free_vars(e) & names
        facts = self.facts.within(scope)
        boxes = {v: b for v, r in scope.items() if (b := box(r, facts)) is not None}
        box_scope = {**scope, **boxes}
        safe = self.safe(e, box_scope)
        conds = [g for g in (*beyond(scope, boxes), *guards) if free_vars(g) & names <= free or not safe]
        free |= frozenset().union(*map(free_vars, conds)) & names
        if not free <= boxes.keys():  # a range that depends on data
            return self.in_place(e)
        if not (safe and all(self.safe(g, box_scope) for g in conds)):
            conds = [*self.nonempty(boxes[v] for v in boxes if v not in free), *conds]
        if conds:
            op, body = str(e.attr[0]), e.args[0]  # type: ignore[index]
            e = replace(e, args=(under(conds, body, neutral(op, body.dtype)), *limits_under(conds, e.args[1:])))
        return self.share(e, box_scope, free, lhs)

    def nonempty(self, ranges: Iterable[tuple[Expr, Expr]]) -> list[Expr]:
        """Conditions that ranges have elements, without those known: where one has none, nothing is evaluated."""
        return list(dict.fromkeys(compare("lt", *r) for r in ranges if not self.inhabited(r)))

    def inhabited(self, r: tuple[Expr, Expr]) -> bool:
        """True if a range is known to have elements."""
        length = self.facts.normal(Expr("sub", r[::-1], None, "i64"))
        return self.facts.lt(ZERO, length) or (length.op == "var" and length.attr in self.facts.positive)

    def in_place(self, e: Expr) -> Expr:
        """A reduce or scan that stays where it is; the scan as the reduce of all elements up to its index."""
        if e.op == "reduce":
            return e
        op, v = e.attr  # type: ignore[misc]
        own = self.fresh(f"{v}_0")
        end = Expr("add", (var(v), const(1, "i64")), None, "i64")
        return Expr("reduce", (substitute(e.args[0], {v: var(own)}), ZERO, end), (op, (own,)), e.dtype, e.span)

    def share(self, e: Expr, scope: Scope, free: frozenset[str], lhs: str) -> Expr:
        """The temporary over `free` for `e`, made now or before."""
        key, order = self.key(e, scope, free)
        found = self.known.get(key)
        if found is not None:
            array, places = found
            return load(array, tuple(var(order[p]) for p in places), e.dtype, e.span)
        names = [v for v in scope if v in free]
        name = self.fresh(f"{lhs}_{e.attr[0]}")  # type: ignore[index]
        dims = tuple(self.extent(scope[v]) for v in names)
        shift = {v for v in names if scope[v][0] != ZERO}
        # variables of its own: a name must not be bound in one equation and run over an axis in another
        own = {v: self.fresh(f"{v}_0") if v in self.binders else v for v in names}
        at = {v: Expr("add", (var(own[v]), scope[v][0]), None, "i64") if v in shift else var(own[v]) for v in names}
        body = substitute(e, {v: x for v, x in at.items() if x != var(v)})
        self.temps.append(Param(name, "temp", e.dtype, dims, span=e.span))
        self.shapes[name] = dims
        axes = tuple(own[v] for v in names)
        if not shift:
            self.known[key] = (name, tuple(order.index(v) for v in names))
        self.out.append(Equation(name, axes, dims, tuple(map(var, axes)), body, span=e.span))
        idx = tuple(
            normal_index(Expr("sub", (var(v), scope[v][0]), None, "i64")) if v in shift else var(v) for v in names
        )
        return load(name, idx, e.dtype, e.span)

    def extent(self, r: tuple[Expr, Expr]) -> Expr:
        """The length of a range: 0 where its end lies before its start."""
        length = normal_index(Expr("sub", (r[1], r[0]), None, "i64"))
        return length if self.facts.nonneg(length) else Expr("max", (length, ZERO), None, "i64")

    def safe(self, e: Expr, scope: Scope) -> bool:
        """`always_safe` for all variables of the scope."""
        return always_safe(e, self.facts.within(scope), self.shapes, set(self.f.sizes))


def box(r: tuple[Expr, Expr], facts: Facts) -> tuple[Expr, Expr] | None:
    """What a range lies in whatever the variables that it depends on; None if it depends on data."""
    low, high = facts.bound(r[0], upper=False), facts.bound(r[1], upper=True)
    if low is None or high is None or _unbounded(low) or _unbounded(high):
        return None
    return low, high


def beyond(scope: Scope, boxes: Scope) -> list[Expr]:
    """The conditions of ranges that their boxes exceed."""
    out = []
    for v in boxes:
        for op, end in zip(("ge", "lt"), scope[v], strict=True):
            if free_vars(end) & scope.keys():
                out.append(compare(op, var(v), end))
    return out


def always_safe(e: Expr, facts: Facts, shapes: Mapping[str, tuple[Expr, ...]], sizes: set[str]) -> bool:
    """True if `e` may be evaluated for all values of the variables that `facts` knows: reads are
    in bounds and no integer is divided by what may be 0."""
    if e.op == "reduce":
        facts = facts.within(dict(zip(bound_vars(e), zip(e.args[1::2], e.args[2::2], strict=True), strict=True)))
    for n in walk(e):
        if n.op in ("floordiv", "mod"):
            b = n.args[1]
            if not ((b.op == "var" and b.attr in sizes & facts.positive) or (b.op == "const" and b.attr)):
                return False
        if n.op == "reduce" and n is not e:
            return False
    for x in loads(e):
        for i, dim in zip(x.args, shapes[str(x.attr)], strict=True):
            if not (facts.nonneg(i) and facts.lt(i, dim)):
                return False
    return True


def _binds(e: Expr, v: str) -> bool:
    return any(v in bound_vars(n) for n in walk(e))


def _unbounded(e: Expr) -> bool:
    return any(n.op in ("load", "load?", "call", "reduce", "scan") for n in walk(e))


def reads(q: Equation) -> set[str]:
    """Arrays that an equation reads."""
    return {str(x.attr) for e in (q.rhs, *q.idx) for x in loads(e)}


def live(equations: list[Equation], wanted: set[str]) -> list[Equation]:
    """The equations that the `wanted` arrays depend on."""
    out: list[Equation] = []
    need = set(wanted)
    for q in reversed(equations):
        if q.lhs in need:
            out.append(q)
            need |= reads(q)
    return out[::-1]


def fill_sizes(f: Formula) -> Formula:
    """`f` with integer temporaries of rank 0 that are made of sizes and parameters written out:
    an index that uses one is then as plain as one that uses the sizes."""
    values: dict[str, Expr] = {}
    kept: list[Equation] = []
    added_to = {q.lhs for q in f.equations if q.accumulate}
    temps = {p.name for p in f.temps} - added_to

    def go(e: Expr) -> Expr:
        if e.op == "load" and not e.args and e.attr in values:
            return values[str(e.attr)]
        return rebuild(e, go)

    for q in f.equations:
        q = replace(q, rhs=go(q.rhs), idx=tuple(map(go, q.idx)), dims=tuple(map(go, q.dims)))
        plain = all(n.op in ("const", "var", "add", "sub", "mul", "neg", "floordiv", "mod") for n in walk(q.rhs))
        if q.lhs in temps and not q.vars and q.rhs.dtype == "i64" and plain:
            values[q.lhs] = q.rhs
        else:
            kept.append(q)
    return replace(f, equations=kept, temps=[p for p in f.temps if p.name not in values])


def numbered(stem: str, taken: Set[str]) -> str:
    """A name that is not taken: `stem`, `stem2`, ... (`x2x2` for a stem that ends in a digit; loops
    that are made later number theirs `x_2`)."""
    name, k = stem, 1
    while name in taken:
        k += 1
        name = f"{stem}x{k}" if stem[-1].isdigit() else f"{stem}{k}"
    return name


def own_binders(e: Expr, taken: set[str], names: Mapping[str, str] | None = None) -> Expr:
    """`e` with every binder bound once, by a name that is not taken; `taken` grows."""
    names = names or {}
    if e.op == "var":
        return replace(e, attr=names.get(str(e.attr), e.attr)) if e.attr in names else e
    inner = dict(names)
    if e.op == "reduce":
        for v in bound_vars(e):
            inner[v] = numbered(v, taken)
            taken.add(inner[v])
        e = replace(e, attr=(e.attr[0], tuple(inner[v] for v in bound_vars(e))))  # type: ignore[index]
    if e.op == "scan":
        e = replace(e, attr=(e.attr[0], names.get(e.attr[1], e.attr[1])))  # type: ignore[index]
    return rebuild(e, lambda a: own_binders(a, taken, inner))


def unique_binders(f: Formula) -> Formula:
    """`f` with every binder bound once, by a name that no equation runs over."""
    taken = {p.name for p in [*f.params, *f.outs, *f.temps]} | set(f.sizes)
    taken |= {v for q in f.equations for v in q.vars}

    def once(e: Expr) -> Expr:
        return own_binders(e, taken)

    return replace(f, equations=[replace(q, rhs=once(q.rhs), idx=tuple(map(once, q.idx))) for q in f.equations])


def hoist(f: Formula) -> Formula:
    """`f` in normal form (see the module's text); `f` itself is left as it is."""
    return Hoister(unique_binders(fill_sizes(f))).run()


def describe(f: Formula) -> str:
    """The equations of a formula as text, one a line."""
    lines = []
    for q in f.equations:
        left = f"{q.lhs}[{', '.join(map(show, q.idx))}]" if q.idx else q.lhs
        ranges = ", ".join(f"{v}:{show(d)}" for v, d in zip(q.vars, q.dims, strict=True))
        lines.append(f"{left} {'+=' if q.accumulate else '='} {show(q.rhs)}    # {ranges}")
    return "\n".join(lines)
