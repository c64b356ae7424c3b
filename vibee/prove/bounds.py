"""Bounds, divisors and calls: what must hold where lowered code reads, writes, divides and calls.

        facts on the way to the access   =>   0 <= index < size of the axis

An access that is not proved becomes a checked one (`load?`, Store.checked): slower, never unsafe.  A parallel
loop whose iterations are not proved separate (vibee.prove.races) becomes a serial one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import reduce

from vibee.tree.defs import (
    Alloc,
    Assign,
    Call,
    Decl,
    Definition,
    For,
    If,
    Jump,
    Procedure,
    Store,
    View,
    While,
    statements,
)
from vibee.tree.expr import Expr, Span, const, free_vars, rebuild, show, substitute, var
from vibee.tree.types import is_int

from .calls import BEFORE, LEFT, TESTED, agreement, apart, call_obligations
from .ends import ending
from .facts import ZERO, Facts, changed, compare, conjunction, conjuncts, disjunction, guarded, leaves, opposite, width
from .invariants import candidates, limits_of
from .overflow import LARGEST, Overflow, fits, in_floats, overflow_of, unbounded
from .races import Access, Scope, separate, whole
from .report import Obligation, VectorBounds

Lookup = Callable[[str], Definition]


@dataclass(slots=True)
class Walk:
    """Goes through a lowered procedure, marks what is not proved, and keeps the obligations."""

    d: Definition
    lookup: Lookup
    facts: Facts
    shapes: dict[str, tuple[Expr, ...]]
    overflow: Overflow
    thorough: bool = False  # also where the memory plan of a model puts arguments
    found: list[Obligation] = field(default_factory=list)
    scopes: list[Scope] = field(default_factory=list)  # of the parallel loops around
    limits: dict[str, list[Expr]] = field(default_factory=dict)  # of scalars (see vibee.prove.invariants)
    jumps: list[list[tuple[str, Facts]]] = field(default_factory=list)  # out of the loops around, with their facts
    silent: int = 0  # trials that are under way
    guard: int = 0  # inside a test of `given`, which a division by zero only makes fail

    # ---- statements

    def stmts(self, body: list) -> list:
        """The same statements, with accesses marked."""
        out: list = []
        for s in body:
            if not isinstance(s, While):  # its condition is evaluated again and again: see `repeat`
                s = self.overflow.statement(s, not self.silent)
            if isinstance(s, Call):
                out += self.views(s)
                s = self.placed(s)
            if isinstance(s, Alloc):
                out += self.overflow.room(s)
            out.append(self.stmt(s))
        return out

    def stmt(self, s: object) -> object:
        """One statement; updates the facts that hold after it."""
        if isinstance(s, While):
            return self.repeat(s)
        if not self.silent:
            self.arithmetic(s)
        if isinstance(s, Decl):
            init = self.expr(s.init, s.span) if s.init is not None else None
            self.own(s.name)
            if s.init is not None:
                self.facts.know(s.name, s.dtype, s.init)
            else:
                self.facts.drop({s.name})
            return replace(s, init=init)
        if isinstance(s, Assign):
            value = self.expr(s.value, s.span)
            self.assigned(s)
            self.facts.know(s.name, s.value.dtype, s.value)
            return replace(s, value=value)
        if isinstance(s, Alloc):
            self.shapes[s.name] = s.shape
            self.own(s.name)
            return replace(s, shape=tuple(self.expr(e, s.span) for e in s.shape))
        if isinstance(s, Store):
            return self.store(s)
        if isinstance(s, If):
            return self.branch(s)
        if isinstance(s, For):
            return self.loop(s)
        if isinstance(s, Call):
            return self.call(s)
        if isinstance(s, Jump) and s.kind in ("break", "continue") and self.jumps:
            self.jumps[-1].append((s.kind, self.facts.copy()))
        return s

    def arithmetic(self, s: object) -> None:
        """What indices depend on stays within 63 bits."""
        for e in self.overflow.claims(s):
            wrong = unbounded(e)
            span = next((x.span for x in (wrong, e) if x is not None and x.span.line), s.span)  # type: ignore[attr-defined]
            what = f"{show(e)} stays within 63 bits"
            self.found.append(Obligation("overflow", what, span, wrong is None, instead="it wraps around"))

    def own(self, name: str) -> None:
        """A scalar or an array that each iteration of the loops around has for itself."""
        if self.scopes:
            self.scopes[-1].own.add(name)

    def assigned(self, s: Assign) -> None:
        """A scalar from outside that several iterations set."""
        for scope in reversed(self.scopes):
            if s.name in scope.own:
                return
            scope.shared.append((s.name, s.span))

    def store(self, s: Store) -> Store:
        """An element, or the lanes of a vector, is written."""
        idx = tuple(self.expr(e, s.span) for e in s.idx)
        run = width(s.value.dtype)
        ok = self.inside(s.array, s.idx, run, s.span)
        if run > 1 and not ok:
            raise VectorBounds(show(s.value))
        value = self.expr(s.value, s.span)
        self.touch(s.array, s.idx, run, True, s.span)
        self.facts.drop({s.array})
        if not s.idx:
            self.facts.know(f"{s.array}[]", s.value.dtype, s.value)
        return replace(s, idx=idx, value=value, checked=not ok)

    def branch(self, s: If) -> If:
        """Facts inside of each side; after it, those that survive both."""
        guard = len(s.then) == 1 and isinstance(s.then[0], Jump) and s.then[0].kind == "fail"
        self.guard += guard
        cond = self.expr(s.cond, s.span)
        self.guard -= guard
        before, moved = self.facts.known, changed([s])
        self.facts.assume(s.cond)
        then = self.stmts(s.then)
        sides = [] if leaves(s.then) else [self.facts.copy()]
        self.facts.known = before
        self.facts.assume(opposite(s.cond))
        orelse = self.stmts(s.orelse)
        sides += [] if leaves(s.orelse) else [self.facts.copy()]
        if len(sides) == 1:
            self.facts.known = sides[0].known
        else:
            both = [c for c in self.likely(s, []) if all(side.prove(c) for side in sides)]
            self.facts.known = before
            self.facts.drop(moved)
            self.facts.known = [*self.facts.known, *both]
        return replace(s, cond=cond, then=then, orelse=orelse)

    def loop(self, s: For) -> For:
        """A counted loop; a parallel one is asked whether its iterations are separate."""
        lo, hi = self.expr(s.lo, s.span), self.expr(s.hi, s.span)
        self.own(s.var)
        kept = [] if s.parallel else self.kept(s)
        before, moved = self.facts.known, changed([s])
        scope = Scope(s, {s.var})
        if s.parallel:
            self.scopes.append(scope)
        self.facts.enter(s, kept)
        self.jumps.append([])
        body = self.stmts(s.body)
        self.left(s, before, moved, kept)
        parallel = s.parallel
        if s.parallel:
            self.scopes.pop()
            if self.scopes:
                self.scopes[-1].own |= scope.own
            clash = separate(scope, self.facts) if not self.silent else []
            self.found += clash
            parallel = all(o.proved for o in clash)
        return replace(s, lo=lo, hi=hi, body=body, parallel=parallel)

    def repeat(self, s: While) -> While:
        """A `while`: what holds at the start of any iteration."""
        kept = self.kept(s)
        before, moved = self.facts.known, changed([s])
        self.facts.enter(s, kept)
        s = replace(s, cond=self.overflow.exact(s.cond, not self.silent))
        if not self.silent:
            self.arithmetic(s)
        cond = self.expr(s.cond, s.span)
        self.facts.assume(s.cond)
        inside = self.facts.copy()
        self.jumps.append([])
        body = self.stmts(s.body)
        if not self.silent:
            self.found.append(ending(replace(s, body=body), inside))
        self.left(s, before, moved, kept)
        if not any(isinstance(t, Jump) and t.kind == "break" for t in statements(s.body)):
            self.facts.assume(opposite(s.cond))
        return replace(s, cond=cond, body=body)

    def left(self, s: For | While, before: list[Expr], moved: set[str], kept: list[Expr]) -> None:
        """After a loop: what it did not change, and what every iteration kept, if a `break` kept it too."""
        breaks = [facts for kind, facts in self.jumps.pop() if kind == "break"]
        own = {s.var} if isinstance(s, For) else set()
        after = [c for c in kept if not free_vars(c) & own and all(facts.prove(c) for facts in breaks)]
        self.facts.known = before
        self.facts.drop(moved)
        self.facts.known = [*self.facts.known, *after]

    # ---- what loops keep

    def likely(self, s: object, counters: list[str]) -> list[Expr]:
        """Conditions that may hold of the scalars that a statement changes and that are not its own."""
        moved = changed([s])
        own = {t.name for t in statements([s]) if isinstance(t, Decl)}
        every = [c for n in sorted(self.limits) for c in candidates(n, self.limits[n], counters if n in moved else [])]
        return [c for c in every if free_vars(c) & moved and not free_vars(c) & own]

    def kept(self, s: For | While) -> list[Expr]:
        """What holds at the start of every iteration (see vibee.prove.invariants)."""
        loop = s if isinstance(s, For) else None
        first = {loop.var: loop.lo} if loop else {}
        after = {loop.var: Expr("add", (var(loop.var), const(loop.step, "i64")), None, "i64")} if loop else {}
        counters = [loop.var] if loop and loop.step == 1 else []
        if isinstance(s, While):
            counters = sorted(free_vars(s.cond) & changed([s]) & self.limits.keys())
        found = [c for c in self.likely(s, counters) if self.facts.prove(substitute(c, first))]
        while found:
            ends = self.trial(s, found)
            still = [c for c in found if all(end.prove(substitute(c, after)) for end in ends)]
            if len(still) == len(found):
                break
            found = still
        return found

    def trial(self, s: For | While, kept: list[Expr]) -> list[Facts]:
        """Facts at every end of an iteration if `kept` holds at its start; nothing is noted."""
        before, scopes, self.scopes = self.facts.known, self.scopes, []
        self.silent += 1
        self.jumps.append([])
        self.facts.enter(s, kept)
        if isinstance(s, While):
            self.facts.assume(self.overflow.exact(s.cond, note=False))
        self.stmts(s.body)
        ends = [facts for kind, facts in self.jumps.pop() if kind == "continue"]
        ends += [] if leaves(s.body) else [self.facts.copy()]
        self.silent -= 1
        self.facts.known, self.scopes = before, scopes
        return ends

    # ---- calls

    def views(self, s: Call) -> list[If]:
        """Tests before a call that its array arguments lie inside their arrays, where that is not plain.

        A test costs nothing beside the call and stays where the solver proves it. The solver is asked for the report,
        and for what is run on small sizes (vibee.prove.verify.refuse); parts that no spec wrote, of a model's memory
        plan, are left to a thorough report."""
        out: list[If] = []
        for v in [*s.args, *s.outs]:
            if not isinstance(v, View):
                continue
            goals, what = within(v, self.shapes[v.array])
            open_ = [g for g in goals if g not in self.facts.known and not self.facts.plain(g)]
            out += [If(self.again(opposite(g), v.span), [Jump("fail", s.span)], span=s.span) for g in open_]
            if goals and (self.thorough or (open_ and v.span.line)):
                place = v.span if v.span.line else s.span
                text = f"{what} for an argument in {v.array}"
                self.claim("bounds", reduce(conjunction, goals), text, place, BEFORE)
        return [*out, *self.sizes_of(s), *self.shapes_of(s)]

    def sizes_of(self, s: Call) -> list[If]:
        """The same for sizes that a call gives, which its proofs take for no negative numbers."""
        out = []
        callee = self.lookup(s.fn)
        given = [a for a, p in zip(s.args, callee.params, strict=True) if p.kind == "size" and isinstance(a, Expr)]
        parts = [v.part for v in (*s.args, *s.outs) if isinstance(v, View) and v.part]
        lengths = [Expr("sub", (hi, lo), None, "i64") for lo, hi in parts]  # lie inside, which is another claim
        for e in dict.fromkeys([*s.sizes.values(), *given]):
            goal = compare("le", ZERO, e)
            if e not in lengths and goal not in self.facts.known and not self.facts.plain(goal):
                out.append(If(self.again(opposite(goal), s.span), [Jump("fail", s.span)], span=s.span))
                text = f"{show(goal)}, a size at the call of {callee.name}"
                self.claim("given", goal, text, s.span, BEFORE)
        return out

    def shapes_of(self, s: Call) -> list[If]:
        """The same for shapes that are not proved to agree, and for parts that may overlap.  Products are compared
        where they do not wrap around."""
        if self.silent:
            return []
        tests: list[Expr] = []
        callee = self.lookup(s.fn)
        for _, goals in agreement(s, callee, self.shapes):
            for g in goals:
                if not self.facts.prove(g):
                    small = [Expr("abs", (in_floats(e),), None, "f64") for e in g.args]
                    tests += [*(compare("lt", e, const(LARGEST, "f64")) for e in small), g]
        for _, ways in apart(s, callee):
            if not any(map(self.facts.prove, ways)):
                tests.append(reduce(disjunction, ways, const(False, "bool")))
        return [If(self.again(opposite(g), s.span), [Jump("fail", s.span)], span=s.span) for g in tests]

    def placed(self, s: Call) -> Call:
        """The call with the reads marked that say where its array arguments lie and how large they are."""

        def view(v: View) -> View:
            part = v.part and (self.expr(v.part[0], v.span), self.expr(v.part[1], v.span))
            return replace(v, lead=tuple(self.expr(e, v.span) for e in v.lead), part=part)

        args = [view(a) if isinstance(a, View) else a for a in s.args]
        outs = [view(a) if isinstance(a, View) else a for a in s.outs]
        return replace(s, args=args, outs=outs, sizes={n: self.again(e, s.span) for n, e in s.sizes.items()})

    def again(self, e: Expr, span: Span) -> Expr:
        """An expression made of parts whose obligations are noted where they are written."""
        found, self.found = self.found, []
        e = self.expr(e, span)
        self.found = found
        return e

    def call(self, s: Call) -> Call:
        """Arguments are evaluated; what the callee asks must hold; scalar targets change."""
        args = [self.expr(a, s.span) if isinstance(a, Expr) else a for a in s.args]
        callee = self.lookup(s.fn)
        if not self.silent:
            self.found += call_obligations(s, self.d, self.lookup, self.overflow, self.shapes)
        for v, p in zip(s.args, callee.params, strict=True):
            if isinstance(v, View):
                self.touch_view(v, p.kind == "mut", s.span)
        for v in s.outs:
            if isinstance(v, View):
                self.touch_view(v, True, s.span)
        self.facts.drop(changed([s]))
        return replace(s, args=args)

    # ---- expressions

    def expr(self, e: Expr, span: Span) -> Expr:
        """The same expression, with unproved reads marked `load?`."""
        span = e.span if e.span.line else span
        if e.op in ("where", "and", "or"):
            first = self.expr(e.args[0], span)
            before = self.facts.known
            if e.op != "or":
                self.facts.assume(e.args[0])
            else:
                self.facts.assume(opposite(e.args[0]))
            second = self.expr(e.args[1], span)
            self.facts.known = before
            if e.op != "where":
                return replace(e, args=(first, second))
            self.facts.assume(opposite(e.args[0]))
            third = self.expr(e.args[2], span)
            self.facts.known = before
            return replace(e, args=(first, second, third))
        new = rebuild(e, lambda a: self.expr(a, span))
        if e.op in ("load", "vload"):
            run = width(e.dtype)
            ok = self.inside(str(e.attr), e.args, run, span)
            self.touch(str(e.attr), e.args, run, False, span)
            if not ok and e.op == "vload":
                raise VectorBounds(show(e))
            return new if ok else replace(new, op="load?")
        if e.op in ("floordiv", "mod") and is_int(e.dtype) and e.args[1].op != "const" and not self.guard:
            goal = compare("ne", e.args[1], const(0, e.args[1].dtype))
            self.claim("divisor", goal, show(goal), span, "tested at each division")
        if e.op == "call":
            self.number(e, span)
        return new

    def number(self, e: Expr, span: Span) -> None:
        """A function of numbers is called: what is given of its arguments."""
        callee = self.lookup(str(e.attr[0]) if isinstance(e.attr, tuple) else str(e.attr))
        table = {p.name: a for p, a in zip(callee.params, e.args, strict=False)}
        for g in callee.given:
            for c in conjuncts(g):
                what = f"{show(c)} at the call of {callee.name}"
                goal = self.overflow.exact(substitute(c, table), not self.silent)
                self.claim("given", goal, what, span, TESTED if guarded(callee) else LEFT)

    def inside(self, array: str, idx: tuple[Expr, ...], run: int, span: Span) -> bool:
        """0 <= idx < shape on every axis (for `run` elements along the last)."""
        ok = True
        for n, (e, size) in enumerate(zip(idx, self.shapes[array], strict=True)):
            extra = run - 1 if n == len(idx) - 1 else 0
            last = Expr("add", (e, const(extra, "i64")), None, "i64") if extra else e
            low, high = compare("le", ZERO, e), compare("lt", last, size)
            goal = conjunction(low, high)
            text = f"0 <= {show(e)} < {show(size)} for axis {n} of {array}"
            ok = self.claim("bounds", goal, text, span, "tested at each access") and ok
        return ok

    def claim(self, kind: str, goal: Expr, what: str, span: Span, instead: str) -> bool:
        """One obligation, decided."""
        if self.silent:
            return True
        proved = all(map(self.facts.prove, conjuncts(goal)))
        facts = () if proved else self.facts.about(goal)
        self.found.append(Obligation(kind, what, span, proved, facts, None if proved else goal, instead))
        return proved

    # ---- accesses, for the parallel loops around

    def touch(self, array: str, idx: tuple[Expr, ...], run: int, write: bool, span: Span) -> None:
        """An element, or `run` of them along the last axis, is read or written."""
        if self.scopes:
            one = const(1, "i64")
            counts = [one] * len(idx)
            if idx:
                counts[-1] = const(run, "i64")
            self.note(Access(array, idx, tuple(counts), write, self.facts.known, span))

    def touch_view(self, v: View, write: bool, span: Span) -> None:
        """A part of an array is given to a callee."""
        if self.scopes:
            start, counts = whole(v, self.shapes[v.array])
            self.note(Access(v.array, start, counts, write, self.facts.known, span))

    def note(self, a: Access) -> None:
        """Every parallel loop around for which the array is not its own hears of the access."""
        for n in reversed(range(len(self.scopes))):
            if a.array in self.scopes[n].own:
                return
            self.scopes[n].accesses.append(a)


def within(v: View, shape: tuple[Expr, ...]) -> tuple[list[Expr], str]:
    """What says that an array argument lies inside its array, and how that is written."""
    said, goals = [], []
    for e, size in zip(v.lead, shape, strict=False):
        said.append(f"{'' if e.op == 'const' else '0 <= '}{show(e)} < {show(size)}")
        goals += [compare("le", ZERO, e), compare("lt", e, size)]
    if v.part is not None:
        (low, high), size = v.part, shape[len(v.lead)]
        chain = [*([] if low.op == "const" else [ZERO]), low, high, *([] if high == size else [size])]
        said.append(" <= ".join(map(show, chain)))
        goals += [compare("le", ZERO, low), compare("le", low, high), compare("le", high, size)]
    return list(dict.fromkeys(goals)), ", ".join(said)


def check_bounds(p: Procedure, lookup: Lookup, thorough: bool = False) -> tuple[Procedure, list[Obligation]]:
    """`p` with every access proved or marked checked, every parallel loop proved or made serial; and what had
    to hold.  `thorough`: the parts of memory that a model's plan gives to calls are asked for, too."""
    p, overflow = overflow_of(p)
    shapes = {q.name: q.shape for q in [*p.params, *p.outs] if q.is_array}
    w = Walk(p, lookup, overflow.facts, shapes, overflow, thorough, limits=limits_of(p))
    body = w.stmts(p.body)
    fit = fits(overflow.needed, overflow.facts.lengths)
    return replace(p, body=body, fits=fit, stepped=frozenset(overflow.stepped)), w.found
