"""Which interval each number of a definition lies in, and what is known of functions of numbers.

No order of statements is looked at: a name has one interval for all its values.  The intervals grow until every
assignment stays inside (Cousot and Cousot 1977).  What `then` says of a function of numbers counts as known: its tests
try it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

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
    Procedure,
    Store,
    While,
)
from vibee.tree.expr import NOWHERE, Expr, Span, const, free_vars, load, loads, rebuild, substitute, var, walk
from vibee.tree.types import is_float, is_int

from . import intervals
from .facts import FLIP, changed, conjuncts, names_in
from .intervals import ANY, Interval, compared, converted, folded, holds, of_type
from .linear import keeps
from .numbers import Unknown, evaluated, value

Lookup = Callable[[str], Definition]
Known = tuple[Expr, ...]  # conditions that hold at a place
SWAP = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le", "eq": "eq", "ne": "ne"}
ROUNDS = 40
PATIENT = 3  # rounds before a bound that still moves is given up
PASSES_NAN = ("add", "sub", "mul", "div", "neg", "abs", "sqrt")


@dataclass(frozen=True, slots=True)
class Event:
    """An expression that is evaluated, and the name that gets its value ('' for none)."""

    target: str
    value: Expr | Interval
    known: Known
    span: Span


def sides(c: Expr) -> Iterator[tuple[str, Expr, Expr]]:
    """A comparison as its left side sees it, and as its right side does; nothing for other conditions."""
    if c.op in SWAP:
        a, b = c.args
        yield c.op, a, b
        yield SWAP[c.op], b, a


def bounds(c: Expr) -> Iterator[tuple[str, Expr, Expr]]:
    """The sides of a comparison that holds, and where it bounds |x|, what it says of x.  |x| of an integer may wrap."""
    for op, me, other in sides(c):
        yield op, me, other
        if me.op == "abs" and op in ("lt", "le") and is_float(me.dtype):
            yield op, me.args[0], other
            yield SWAP[op], me.args[0], Expr("neg", (other,), None, other.dtype)


def negated(c: Expr) -> Expr:
    """not c."""
    return Expr("not", (c,), None, "bool")


def events(stmts: list, known: Known = ()) -> Iterator[Event]:
    """Everything that statements evaluate, with the conditions around it that stay true."""
    for s in stmts:
        if isinstance(s, (Decl, Assign)):
            start = s.init if isinstance(s, Decl) else s.value
            assert start is not None  # only lowered code declares without a value
            yield Event(s.name, start, known, s.span)
        elif isinstance(s, Alloc):
            yield Event(s.name, const(0, s.dtype), known, s.span)
        elif isinstance(s, Store):
            yield from (Event("", e, known, s.span) for e in s.idx)
            yield Event(s.array, s.value, known, s.span)
        elif isinstance(s, Equations):
            yield from events(s.equations, known)
        elif isinstance(s, Equation):
            rhs = s.rhs
            if s.accumulate:
                rhs = Expr("add", (load(s.lhs, s.idx, rhs.dtype), rhs), None, rhs.dtype, s.span)
            for v, n in zip(s.vars, s.dims, strict=True):
                yield from (Event(v, e, known, s.span) for e in (const(0, "i64"), n))
            yield Event(s.lhs, rhs, known, s.span)
        elif isinstance(s, For):
            yield from (Event(s.var, e, known, s.span) for e in (s.lo, s.hi))
            yield from events(s.body, _kept(known, s.body))
        elif isinstance(s, While):
            yield Event("", s.cond, known, s.span)
            yield from events(s.body, _kept((*known, s.cond), s.body))
        elif isinstance(s, If):
            yield Event("", s.cond, known, s.span)
            for body, c in ((s.then, s.cond), (s.orelse, negated(s.cond))):
                yield from events(body, _kept((*known, c), body))
        elif isinstance(s, Call):
            yield from (Event("", a, known, s.span) for a in s.args if isinstance(a, Expr))
            for name in changed([s]):
                yield Event(name, ANY, known, s.span)


def _kept(known: Known, body: list) -> Known:
    moved = changed(body)
    return tuple(p for c in known for p in conjuncts(c) if not names_in(p) & moved)


@dataclass(slots=True)
class Ranges:
    """The intervals of the names of one definition."""

    d: Definition
    lookup: Lookup
    env: dict[str, Interval] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    equations: dict[str, Equation] = field(default_factory=dict)  # of a formula: what a temporary is
    seen: dict[tuple, Ranges] = field(default_factory=dict)  # the insides of calls, by function and arguments

    # ---- the whole definition

    def settle(self) -> Ranges:
        """Grow the intervals until every assignment stays inside."""
        body = self.d.body if isinstance(self.d, Procedure) else self.d.equations if isinstance(self.d, Formula) else []
        self.equations = told(body)
        self._begin()
        self.events = list(events(body))
        for n in range(ROUNDS):
            moved = False
            for e in self.events:
                if e.target:
                    new = e.value if isinstance(e.value, Interval) else self.of(e.value, e.known)
                    old = self.env.get(e.target)
                    grown = new.join(old)
                    if grown != old:
                        self.env[e.target] = grown if old is None or n < PATIENT else _widened(old, grown)
                        moved = True
            if not moved:
                return self
        self.env = {}
        return self

    def _begin(self) -> None:
        """Parameters hold what is given of them; outputs begin as zeros."""
        for n in self.d.sizes:
            self.env.setdefault(n, Interval(0, math.inf, False))
        for p in self.d.params:
            self.env.setdefault(p.name, Interval(0, math.inf, False) if p.kind == "size" else of_type(p.dtype))
        for g in self.d.given:
            for c in conjuncts(g):
                self._given(c)
        if not isinstance(self.d, Formula):
            for o in self.d.outs:
                self.env[o.name] = Interval(0, 0, False)
        accumulated = [e for e in getattr(self.d, "equations", []) if e.accumulate]
        for e in accumulated:
            self.env.setdefault(e.lhs, Interval(0, 0, False))

    def _given(self, c: Expr) -> None:
        for op, me, other in bounds(c):
            me = me.args[0] if me.op == "cast" and is_int(me.args[0].dtype) and keeps(me.args[0], me.dtype) else me
            if me.op in ("var", "load") and me.attr in self.env and not any(True for _ in loads(other)):
                free = all(a.op == "var" and a.attr not in self.env for a in me.args)
                if not free or len(set(me.args)) < len(me.args):
                    continue  # it is not about every element
                name = str(me.attr)
                if free_vars(other) <= set(self.env):
                    self.env[name] = self.env[name].meet(compared(op, self.of(other, ()), me.dtype))

    # ---- expressions

    def of(self, e: Expr, known: Known) -> Interval:
        """The interval of an expression at a place."""
        found = self._rule(e, known)
        for c in known:
            for part in conjuncts(c):
                found = self._narrowed(found, part, e)
        return found.meet(of_type(e.dtype)) if is_int(e.dtype) else found

    def _narrowed(self, found: Interval, c: Expr, e: Expr) -> Interval:
        """With what a condition says of the expression itself.  A comparison that does not hold may have met a nan."""
        holds_not = c.op == "not"
        c = c.args[0] if holds_not else c
        for op, me, other in sides(c) if holds_not else bounds(c):
            if me == e:
                limit = self._rule(other, ())
                if not holds_not:
                    found = found.meet(compared(op, limit, e.dtype))
                elif not limit.nan:
                    found = found.meet(replace(compared(FLIP[op], limit, e.dtype), nan=True))
        return found

    def _rule(self, e: Expr, known: Known) -> Interval:
        if e.op == "const":
            return intervals.literal(e)
        if e.op in ("var", "load", "load?"):
            return self.env.get(str(e.attr), of_type(e.dtype))
        if e.op == "where":
            c, a, b = e.args
            if self.sure(c, known):
                return self.of(a, (*known, c))
            return self.of(a, (*known, c)).join(self.of(b, (*known, negated(c))))
        if e.op == "cast":
            return converted(self.of(e.args[0], known), e.args[0].dtype, e.dtype)
        if e.op == "call":
            return self.call(e, known)
        if e.op == "reduce":
            return self._reduced(e, known)
        if e.op == "scan":
            found = folded(e.attr[0], self.of(e.args[0], earlier(e, known)), True, e.dtype)  # type: ignore[index]
            return replace(found, nan=is_float(e.dtype))
        if e.op == "mul" and e.args[0] == e.args[1]:
            return intervals.square(self.of(e.args[0], known), e.dtype)
        args = [self.of(a, known) for a in e.args]
        if e.op in intervals.BINARY:
            return intervals.BINARY[e.op](args[0], args[1], e.dtype)
        return intervals.UNARY[e.op](args[0], e.dtype) if e.op in intervals.UNARY else of_type(e.dtype)

    def _reduced(self, e: Expr, known: Known) -> Interval:
        op, names = e.attr  # type: ignore[misc]
        some = True
        for v, lo, hi in zip(names, e.args[1::2], e.args[2::2], strict=True):
            a, b = self.of(lo, known), self.of(hi, known)
            self.env[v] = Interval(a.low, max(b.high, a.low), False)
            some = some and b.low > a.high
        inside = self.of(e.args[0], known)
        found = folded(op, inside, some, e.dtype)
        return found.meet(self._peak(e, known)) if op == "sum" and some and inside.low >= 0 else found

    def true(self, c: Expr, known: Known = ()) -> bool:
        """Does a condition hold, but for numbers that are nan?"""
        if c in known or (c.op == "const" and c.attr is True):
            return True
        if c.op in ("and", "or"):
            return (all if c.op == "and" else any)(self.true(a, known) for a in c.args)
        if c.op == "not" and c.args[0].op in FLIP:
            c = replace(c.args[0], op=FLIP[c.args[0].op])
        return c.op in SWAP and holds(c.op, *(self.of(a, known) for a in c.args))

    def sure(self, c: Expr, known: Known = ()) -> bool:
        """Does a condition hold, also of numbers that are nan?"""
        if c in known:
            return True
        if c.op in ("and", "or"):
            return (all if c.op == "and" else any)(self.sure(a, known) for a in c.args)
        compares = c.args[0] if c.op == "not" else c
        of_nan = (compares.op == "ne") != (c.op == "not")
        return self.true(c, known) and (of_nan or not any(self.of(a, known).nan for a in compares.args))

    # ---- the largest term of a sum

    def _peak(self, e: Expr, known: Known) -> Interval:
        """A sum of f(x[i] - max[j](x[j])) over the same range has a term f(0), or one that is nan."""
        (name, *more), body = e.attr[1], self.expanded(e.args[0])  # type: ignore[index]
        for n in walk(body) if not more else ():
            if n.op != "sub":
                continue
            top = self.expanded(n.args[1])
            if top.op != "reduce" or top.attr[0] != "max" or len(top.attr[1]) != 1 or top.args[1:] != e.args[1:]:  # type: ignore[index]
                continue
            same = substitute(top.args[0], {top.attr[1][0]: var(name)}) == n.args[0]  # type: ignore[index]
            same = same and name not in free_vars(top)  # one maximum for all terms
            # a product, also one in a temporary, may become one operation with the subtraction: not rounded by itself
            read = top.args[0].op == "load" and top.args[0].attr not in self.equations
            if same and read and self._passes(body, n):
                zero = const(0.0, n.dtype)
                return Interval(self.of(_put(body, n, zero), known).low, math.inf)
        return ANY

    def _passes(self, e: Expr, inner: Expr) -> bool:
        """Is an expression nan where a part of it is?"""
        if e == inner:
            return True
        on_way = [a for a in e.args if inner in walk(a)]
        if e.op == "call":
            try:
                args = [math.nan if a in on_way else value(a, {}, self.lookup) for a in e.args]
                if not math.isnan(evaluated(self.lookup(_key(e)), args, self.lookup)):
                    return False
            except Unknown:
                return False
        elif e.op not in PASSES_NAN:
            return False
        return all(self._passes(a, inner) for a in on_way)

    def expanded(self, e: Expr) -> Expr:
        """An element of a temporary as what it is; a function that gives its argument as that."""
        while True:
            if e.op == "load" and e.attr in self.equations:
                eq = self.equations[str(e.attr)]
                e = substitute(eq.rhs, dict(zip(eq.vars, e.args, strict=True)))
            elif e.op == "call" and len(e.args) == 1 and _gives_its_argument(self.lookup(_key(e))):
                e = e.args[0]
            else:
                return e

    # ---- functions of numbers

    def inside(self, e: Expr, known: Known) -> Ranges:
        """The intervals inside of a function of numbers that is called with these arguments."""
        f = self.lookup(_key(e))
        args = {p.name: self.of(a, known) for p, a in zip(f.params, e.args, strict=False)}
        call = (f.key, *args.values())
        if call not in self.seen:
            self.seen[call] = Ranges(f, self.lookup, args, seen=self.seen).settle()
        return self.seen[call]

    def call(self, e: Expr, known: Known) -> Interval:
        """What a function of numbers gives."""
        if e.attr[0] == "close":  # type: ignore[index]
            return of_type("bool")
        f = self.lookup(_key(e))
        args = [self.of(a, known) for a in e.args]
        if all(a.low == a.high and not a.nan for a in args) and args:
            try:
                x = evaluated(f, [float(a.low) if is_float(p.dtype) else int(a.low) for p, a in
                                  zip(f.params, args, strict=False)], self.lookup, exact=True)  # fmt: skip
                if is_float(e.dtype) and math.isfinite(x):
                    return Interval(x - abs(x) * 1e-6, x + abs(x) * 1e-6, False)
            except Unknown:
                pass
        within = self.inside(e, known)
        found = within.env.get(f.outs[0].name, of_type(e.dtype))
        for law in f.laws:
            for c in law.args if law.kind == "then" else ():
                for part in conjuncts(c):
                    found = within.promised(found, part)
        return found

    def promised(self, found: Interval, c: Expr) -> Interval:
        """With what a `then` says of the output."""
        if c.op == "where" and c.args[2] == const(True, "bool"):
            sure = not any(self.env.get(n, ANY).nan for n in free_vars(c.args[0]))
            if not (self.true(c.args[0]) and sure):
                return found
            for part in conjuncts(c.args[1]):
                found = self.promised(found, part)
            return found
        for op, me, other in bounds(c):
            if me.op in ("var", "load") and str(me.attr).removesuffix("_value") == self.d.outs[0].name:
                found = found.meet(replace(compared(op, self.of(other, ()), me.dtype), nan=True))
        return found


def earlier(scan: Expr, known: Known) -> Known:
    """What is known inside of a running value: it takes in earlier elements that a condition around it leaves out."""
    return tuple(c for k in known for c in conjuncts(k) if scan.attr[1] not in free_vars(c))  # type: ignore[index]


def told(body: list) -> dict[str, Equation]:
    """The equations that say all of what a temporary is, to be put where it is read: none that reads what is added to
    after it, since that has become another number, and no running value, which has no meaning at one place."""
    found = [e for e in body if isinstance(e, Equation)]
    more = {e.lhs for e in found if e.accumulate}
    out: dict[str, Equation] = {}
    later: set[str] = set()
    for e in reversed(found):
        later |= {e.lhs} & more
        if e.lhs not in more and not names_in(e.rhs) & later and not any(n.op == "scan" for n in walk(e.rhs)):
            out[e.lhs] = e
    return out


def _key(e: Expr) -> str:
    return str(e.attr[0] if isinstance(e.attr, tuple) else e.attr)


def _put(e: Expr, old: Expr, new: Expr) -> Expr:
    return new if e == old else rebuild(e, lambda a: _put(a, old, new))


def _gives_its_argument(f: Definition) -> bool:
    if not isinstance(f, Formula) or not f.is_scalar or len(f.equations) != 1:
        return False
    return f.equations[0].rhs == var(f.params[0].name, f.params[0].dtype, NOWHERE)


def _widened(old: Interval, new: Interval) -> Interval:
    """Bounds that moved, given up."""
    low = old.low if new.low >= old.low else 0 if new.low >= 0 else -math.inf
    high = old.high if new.high <= old.high else 0 if new.high <= 0 else math.inf
    return Interval(low, high, new.nan)
