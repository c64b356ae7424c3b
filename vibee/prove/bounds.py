"""Bounds: every read and write of the lowered code, for all sizes that `given` allows.

        facts on the way to the access   =>   0 <= index < size of the axis

Facts come from loop ranges, conditions, `given`, and scalars that hold a known value; a fact is
dropped when a variable in it may have changed.  An access that is not proved becomes a checked one
(`load?`, Store.checked): slower, never unsafe.  The report says which, and where.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from vibee.tree.defs import Alloc, Assign, Call, Decl, Definition, For, If, Jump, Procedure, Store, View, While
from vibee.tree.expr import Expr, Span, const, free_vars, loads, rebuild, show, substitute, var, walk

from .linear import implied


@dataclass(frozen=True, slots=True)
class Open:
    """An obligation that was not proved."""

    what: str
    span: Span


def flatten(e: Expr) -> Iterable[Expr]:
    """The conjuncts of a condition."""
    if e.op == "and":
        for a in e.args:
            yield from flatten(a)
    else:
        yield e


def assigned(stmts: list) -> set[str]:
    """Scalars that statements may change."""
    out: set[str] = set()
    for s in stmts:
        if isinstance(s, (Assign, Decl)):
            out.add(s.name)
        elif isinstance(s, For):
            out |= {s.var} | assigned(s.body)
        elif isinstance(s, While):
            out |= assigned(s.body)
        elif isinstance(s, If):
            out |= assigned(s.then) | assigned(s.orelse)
        elif isinstance(s, Call):
            out |= {o.array for o in s.outs if hasattr(o, "array")} | {o for o in s.outs if isinstance(o, str)}
    return out


class VectorBounds(Exception):
    """A vector access is not proved in bounds: the caller lowers again without vectors."""


class Bounds:
    """Walks a lowered procedure and decides each access."""

    def __init__(self, d: Definition) -> None:
        self.shapes = {p.name: p.shape for p in [*d.params, *d.outs] if p.is_array}
        self.fixed = {p.name for p in d.params if p.kind == "in"}
        self.facts: list[Expr] = []
        self.patterns: list[Expr] = []  # facts about every element of a read-only array
        self.open: list[Open] = []
        for s in [*d.sizes, *(p.name for p in d.params if p.kind == "size")]:
            self.facts.append(Expr("ge", (var(s), const(0, "i64")), None, "bool"))
        for g in d.given:
            for c in flatten(g):
                (self.patterns if any(True for _ in loads(c)) else self.facts).append(c)

    # ---- statements

    def stmts(self, body: list) -> list:
        """The same statements, with accesses marked."""
        out: list = []
        for s in body:
            if isinstance(s, Call):
                out += self.views(s)
            out.append(self.stmt(s))
        return out

    def drop(self, names: set[str]) -> None:
        """Forget what is known of variables that may have changed."""
        if names:
            self.facts = [f for f in self.facts if not (free_vars(f) & names)]

    def stmt(self, s: object) -> object:
        """One statement; updates the facts that hold after it."""
        if isinstance(s, Decl):
            init = self.expr(s.init, s.span) if s.init is not None else None
            self.drop({s.name})
            if init is not None:
                self.know(s.name, s.dtype, init)
            return replace(s, init=init)
        if isinstance(s, Assign):
            value = self.expr(s.value, s.span)
            self.drop({s.name})
            if s.name not in free_vars(value):
                self.know(s.name, value.dtype, value)
            return replace(s, value=value)
        if isinstance(s, Alloc):
            self.shapes[s.name] = s.shape
            return replace(s, shape=tuple(self.expr(e, s.span) for e in s.shape))
        if isinstance(s, Store):
            idx = tuple(self.expr(e, s.span) for e in s.idx)
            run = width(s.value.dtype)
            ok = self.inside(s.array, s.idx, run, s.span)
            if run > 1 and not ok:
                raise VectorBounds(show(s.value))
            return replace(s, idx=idx, value=self.expr(s.value, s.span), checked=not ok)
        if isinstance(s, (For, While, If)):
            return self.block(s)
        if isinstance(s, Call):
            return self.call(s)
        return s

    def views(self, s: Call) -> list[If]:
        """Tests before a call that its array arguments lie inside their arrays, where that is not plain.

        A test costs nothing beside the call, so the solver is not asked.
        """
        out: list[If] = []
        for v in [*s.args, *s.outs]:
            if not isinstance(v, View):
                continue
            shape = self.shapes[v.array]
            wanted = [(const(0, "i64"), e, size, True) for e, size in zip(v.lead, shape, strict=False)]
            if v.part is not None:
                size = shape[len(v.lead)]
                wanted += [(const(0, "i64"), *v.part, False), (v.part[0], v.part[1], size, False)]
            for low, e, high, strict in wanted:
                below = Expr("lt" if strict else "le", (e, high), None, "bool")
                above = Expr("le", (low, e), None, "bool")
                for test in (above, below):
                    if not self.plain(test):
                        out.append(If(opposite(test), [Jump("fail", s.span)], span=s.span))
        return out

    def plain(self, goal: Expr) -> bool:
        """Is a comparison one of the facts, or true of any numbers?"""
        a, b = goal.args
        if a.op == b.op == "const":
            x, y = int(a.attr), int(b.attr)  # type: ignore[call-overload]
            return x < y if goal.op == "lt" else x <= y
        if goal in self.facts or (goal.op == "le" and a == b):
            return True
        return goal.op == "le" and a.op == "const" and int(a.attr) <= 0 and self.counts(b)  # type: ignore[call-overload]

    def counts(self, e: Expr) -> bool:
        """Is an expression made of sizes and constants in a way that cannot be negative?"""
        if e.op == "const":
            return int(e.attr) >= 0  # type: ignore[call-overload]
        if e.op == "var":
            zero = const(0, "i64")
            return any(
                f == Expr("ge", (e, zero), None, "bool") or f == Expr("le", (zero, e), None, "bool") for f in self.facts
            )
        return e.op in ("add", "mul", "floordiv", "max", "min") and all(map(self.counts, e.args))

    def call(self, s: Call) -> Call:
        """Arguments are evaluated; scalar targets change."""
        args = [self.expr(a, s.span) if isinstance(a, Expr) else a for a in s.args]
        self.drop(assigned([s]))
        return replace(s, args=args)

    def block(self, s: For | While | If) -> object:
        """A statement with a body: facts inside, and what survives it."""
        before = list(self.facts)
        changed = assigned([s])
        if isinstance(s, If):
            cond = self.expr(s.cond, s.span)
            self.facts += flatten(s.cond)
            then = self.stmts(s.then)
            self.facts = before + [opposite(s.cond)]
            orelse = self.stmts(s.orelse)
            self.facts = before
            self.drop(changed)
            return replace(s, cond=cond, then=then, orelse=orelse)
        if isinstance(s, For):
            lo, hi = self.expr(s.lo, s.span), self.expr(s.hi, s.span)
            self.drop(changed)
            self.facts += self.range_facts(s, changed - {s.var})
            body = self.stmts(s.body)
            self.facts = before
            self.drop(changed)
            return replace(s, lo=lo, hi=hi, body=body)
        self.drop(changed)
        cond = self.expr(s.cond, s.span)
        self.facts += flatten(s.cond)
        body = self.stmts(s.body)
        self.facts = before
        self.drop(changed)
        return replace(s, cond=cond, body=body)

    def range_facts(self, s: For, changed: set[str]) -> list[Expr]:
        """lo <= v < hi, and v - lo a multiple of the step."""
        v = var(s.var)
        up = s.step > 0
        facts = [
            Expr("le" if up else "ge", (s.lo, v), None, "bool"),
            Expr("lt" if up else "gt", (v, s.hi), None, "bool"),
        ]
        if abs(s.step) > 1:
            step = const(abs(s.step), "i64")
            away = Expr("sub", (v, s.lo), None, "i64")
            facts.append(Expr("eq", (Expr("mod", (away, step), None, "i64"), const(0, "i64")), None, "bool"))
        return [f for f in facts if not (free_vars(f) & changed)]

    def know(self, name: str, dtype: str, value: Expr) -> None:
        """`name` holds `value` from here on."""
        if dtype == "i64" and all(ld.attr in self.fixed for ld in loads(value)):
            self.facts.append(Expr("eq", (var(name), value), None, "bool"))

    # ---- expressions

    def expr(self, e: Expr, span: Span) -> Expr:
        """The same expression, with unproved reads marked `load?`."""
        span = e.span if e.span.line else span
        if e.op == "where":
            cond = self.expr(e.args[0], span)
            before = list(self.facts)
            self.facts += flatten(e.args[0])
            a = self.expr(e.args[1], span)
            self.facts = before + [opposite(e.args[0])]
            b = self.expr(e.args[2], span)
            self.facts = before
            return replace(e, args=(cond, a, b))
        if e.op in ("and", "or"):
            a = self.expr(e.args[0], span)
            before = list(self.facts)
            self.facts += flatten(e.args[0]) if e.op == "and" else [opposite(e.args[0])]
            b = self.expr(e.args[1], span)
            self.facts = before
            return replace(e, args=(a, b))
        new = rebuild(e, lambda a: self.expr(a, span))
        if e.op == "load" and not self.inside(str(e.attr), e.args, 1, span):
            return replace(new, op="load?")
        if e.op == "vload" and not self.inside(str(e.attr), e.args, width(e.dtype), span):
            raise VectorBounds(show(e))
        return new

    def inside(self, array: str, idx: tuple[Expr, ...], run: int, span: Span) -> bool:
        """0 <= idx < shape on every axis (for `run` elements along the last)."""
        ok = True
        shape = self.shapes[array]
        for n, (e, size) in enumerate(zip(idx, shape, strict=True)):
            extra = run - 1 if n == len(idx) - 1 else 0
            if not (self.at_least_zero(e) and self.below(e, size, extra)):
                ok = False
                self.open.append(Open(f"0 <= {show(e)} < {show(size)} for axis {n} of {array}", span))
        return ok

    def at_least_zero(self, e: Expr) -> bool:
        """0 <= e."""
        if e.op == "const":
            return int(e.attr) >= 0  # type: ignore[call-overload]
        zero = const(0, "i64")
        if e.op == "var":
            for f in self.facts:
                if f.op == "le" and f.args[1] == e and f.args[0].op == "const" and int(f.args[0].attr) >= 0:  # type: ignore[call-overload]
                    return True
        return self.prove(Expr("le", (zero, e), None, "bool"))

    def below(self, e: Expr, size: Expr, extra: int) -> bool:
        """e + extra < size."""
        if not extra and Expr("lt", (e, size), None, "bool") in self.facts:
            return True
        last = Expr("add", (e, const(extra, "i64")), None, "i64") if extra else e
        return self.prove(Expr("lt", (last, size), None, "bool"))

    def prove(self, goal: Expr) -> bool:
        """Ask the solver, with the facts that can matter."""
        if goal.op == "lt" and all(a.op == "const" for a in goal.args):
            return int(goal.args[0].attr) < int(goal.args[1].attr)  # type: ignore[call-overload]
        facts = self.facts + self.instances(goal)
        return implied(tuple(sorted(relevant(facts, goal), key=show)), goal)

    def instances(self, goal: Expr) -> list[Expr]:
        """Facts about elements, for the elements that the goal (or a fact about it) reads."""
        out: list[Expr] = []
        wanted = {n for f in [goal, *self.facts] for n in walk(f) if n.op == "load" and n.attr in self.fixed}
        for pattern in self.patterns:
            for want in wanted:
                for at in loads(pattern):
                    if at.attr == want.attr and all(a.op == "var" for a in at.args):
                        table = {str(a.attr): b for a, b in zip(at.args, want.args, strict=True)}
                        out.append(substitute(pattern, table))
        return out


def opposite(e: Expr) -> Expr:
    """not e."""
    flip = {"lt": "ge", "le": "gt", "gt": "le", "ge": "lt", "eq": "ne", "ne": "eq"}
    return replace(e, op=flip[e.op]) if e.op in flip else Expr("not", (e,), None, "bool")


def width(dtype: str) -> int:
    """Elements in a value: 1, or the lanes of a vector type such as f32x16."""
    return int(dtype.split("x")[1]) if "x" in dtype else 1


def relevant(facts: list[Expr], goal: Expr) -> list[Expr]:
    """Facts that share variables with the goal, directly or through other facts."""
    names = free_vars(goal)
    chosen: list[Expr] = []
    left = list(dict.fromkeys(facts))
    grew = True
    while grew:
        grew = False
        for f in list(left):
            if free_vars(f) & names:
                chosen.append(f)
                left.remove(f)
                names |= free_vars(f)
                grew = True
    return chosen


def check_bounds(p: Procedure) -> tuple[Procedure, list[Open]]:
    """`p` with every access proved or marked checked, and the accesses that stayed open."""
    b = Bounds(p)
    body = b.stmts(p.body)
    return replace(p, body=body), b.open
