"""Procedures: statements with locals, loops, element stores, index equations and whole-array calls."""

from __future__ import annotations

from typing import Any

from vibee.tree.defs import (
    Decl,
    Equation,
    Equations,
    For,
    If,
    Jump,
    Param,
    Procedure,
    Store,
    While,
)
from vibee.tree.expr import Expr, const, substitute, var

from . import laws
from .assignments import ProcedureAssignments
from .binders import unique_binders
from .body import zero
from .errors import SpecError, suggest
from .scope import Scope, Symbol
from .signature import fill
from .statements import binders_of, each, exprs_of, map_exprs, parallel_writes
from .surface import SAssign, SExpr, SFor, SIf, SJump, SLocal, SSchedule, SWhile

SCHEDULE = "a procedure is its own schedule; write its loops as they should run"
MOST_STEP = 2**31  # of a range: its counter passes the end by less than that


class ProcedureChecker(ProcedureAssignments):
    """Checks the body of one procedure instance."""

    def __init__(self, scope: Scope, params: list[Param], outs: list[Param], sizes: dict[str, tuple]) -> None:
        super().__init__(scope, params, outs, sizes)
        self.loops: list[str] = []  # kinds of the loops around the current statement
        self.results: dict[str, Symbol] = {}  # scalar outputs: the locals that hold them until the end

    def run(self) -> Procedure:
        """The checked procedure; `failed` tells whether mistakes were reported."""
        raw, scope = self.scope.raw, self.scope
        out = Procedure(raw.name, scope.program.key(raw, scope.types), self.params, self.outs, self.sizes)
        fill(out, raw)
        self.reassigned = _reassigned(raw.body)
        self._scalar_results(out.is_scalar)
        body = self.block(self._settings(self.take_given(raw.body), out), False)
        for o in self.outs:
            o.dtype = scope.tables[0][o.name].dtype
            if not o.dtype and not self.failed:
                self.report(
                    SpecError(
                        o.span, f"the output '{o.name}' is never computed; assign it, or give its type: {o.name}(f32)"
                    )
                )
        if not self.failed:
            scope.program.body_done(raw, scope.types, out)
        for s in self.later:
            try:
                out.laws += filter(None, [laws.law(self, s)])
            except SpecError as e:
                self.report(e)
        if not self.failed:
            if self.results:
                body = self._deliver(body)
            self._apart_from_locals(body)
            names = {p.name for p in [*self.params, *self.outs]} | set(self.sizes) | self.all_locals
            taken = names | binders_of(body)
            fresh = iter(unique_binders(exprs_of(body), taken))
            map_exprs(body, lambda e: next(fresh))
        out.body, out.given, out.obligations = body, self.given, self.obligation
        return out

    def _apart_from_locals(self, body: list) -> None:
        """Indices of equations that share their name with a local get another one."""
        for s in each(body):
            if not isinstance(s, Equations):
                continue
            for q in s.equations:
                names = {v: self.scope.fresh(v) for v in q.vars if v in self.all_locals}
                if names:
                    new = {v: var(n) for v, n in names.items()}
                    q.vars = tuple(names.get(v, v) for v in q.vars)
                    q.idx = tuple(substitute(i, new) for i in q.idx)
                    q.rhs = substitute(q.rhs, new)

    def _settings(self, body: list, out: Procedure) -> list:
        """Take out implements, gradient, laws and schedules; the statements that are left."""
        rest = []
        self.later: list[Expr] = []
        for s in body:
            word = s.value.attr[0] if isinstance(s, SExpr) and s.value.op == "call" else ""
            try:
                if word == "implements":
                    laws.once(out.implements, s.value, word)
                    out.implements = laws.implements_of(self, s.value)
                elif word == "gradient":
                    laws.once(out.gradient, s.value, word)
                    out.gradient = laws.gradient_of(self, s.value)
                elif word == "derivative":
                    raise SpecError(s.span, "derivative is for formulas; name a procedure instead: gradient(name)")
                elif word in laws.PROPERTIES:
                    self.later.append(s.value)
                elif isinstance(s, SSchedule):
                    raise SpecError(s.span, SCHEDULE)
                else:
                    rest.append(s)
            except SpecError as e:
                self.report(e)
        return rest

    # ------------------------------------------------------------ scalar outputs

    def _scalar_results(self, scalar: bool) -> None:
        """Outputs that are one number live in a local; `_deliver` stores them at the end."""
        for o in self.outs:
            if o.shape:
                continue
            sym = self.scope.tables[0][o.name]
            sym.kind, sym.written = "local", True
            if not scalar:
                sym.target = self.scope.fresh(f"{o.name}_value")
                self.results[o.name] = sym
            self.all_locals.add(sym.target)
            self.shown[sym.target] = o.name
            self.reassigned.add(o.name)

    def _deliver(self, body: list) -> list:
        def stores() -> list:
            return [Store(n, (), var(s.target, s.dtype, s.span), False, s.span) for n, s in self.results.items()]

        def go(block: list) -> list:
            out: list = []
            for s in block:
                if isinstance(s, (For, While)):
                    s.body = go(s.body)
                elif isinstance(s, If):
                    s.then, s.orelse = go(s.then), go(s.orelse)
                elif isinstance(s, Jump) and s.kind == "return":
                    out += stores()
                out.append(s)
            return out

        first = [Decl(s.target, s.dtype, zero(s.dtype), s.span) for s in self.results.values()]
        ends = bool(body) and isinstance(body[-1], Jump)
        return [*first, *go(body), *([] if ends else stores())]

    # ------------------------------------------------------------ blocks

    def block(self, body: list, nested: bool = True) -> list:
        """The statements of a block; `nested` opens a scope of its own."""
        outer = self.pending
        out: list = []
        if nested:
            self.scope.push()
        try:
            for s in body:
                self.pending = []
                try:
                    made = self.statement(s)
                    out += [*self.pending, *made]
                except SpecError as e:
                    self.report(e)
                    self._spoil(s)
        finally:
            if nested:
                self.scope.pop()
            self.pending = outer
        return out

    def _spoil(self, s: Any) -> None:
        names = (
            [s.name] if isinstance(s, SLocal) else [str(t.attr) for t in s.targets] if isinstance(s, SAssign) else []
        )
        for name in names:
            sym = self.scope.local(name)
            if sym is None:
                self.scope.tables[-1][name] = Symbol(name, "local", "", (), s.span, broken=True)
            elif not sym.dtype:
                sym.broken = True

    def statement(self, s: SLocal | SAssign | SFor | SWhile | SIf | SJump | SExpr | SSchedule) -> list:
        """One statement; what must run before it is in `self.pending`."""
        match s:
            case SLocal():
                return self._local(s)
            case SAssign():
                return self.assign(s)
            case SFor():
                return self._for(s)
            case SWhile():
                cond = self.condition(self._no_calls(s.cond))
                return [While(cond, self._loop("while", s.body), s.span)]
            case SIf():
                cond = self.condition(self.hoist(s.cond))
                before, self.pending = self.pending, []
                made = If(cond, self.block(s.then), self.block(s.orelse), s.span)
                self.pending = before
                return [made]
            case SJump():
                return self._jump(s)
            case SSchedule():
                raise SpecError(s.span, SCHEDULE)
        word = s.value.attr[0] if s.value.op == "call" else ""
        if word == "given" or word in laws.PROPERTIES:  # those of the definition itself are taken out before
            raise SpecError(s.span, f"{word}(...) stands at the top level of the definition, in no loop or if")
        return self.call_statement(s.value, s.span)

    def _no_calls(self, e: Expr) -> Expr:
        before = len(self.pending)
        out = self.hoist(e)
        if len(self.pending) > before:
            raise SpecError(
                e.span, "a loop's condition can't call definitions of whole arrays; compute it at the end of the body"
            )
        return out

    # ------------------------------------------------------------ locals

    def _local(self, s: SLocal) -> list:
        t = s.type
        if t.mut or t.base in ("size", "model"):
            raise SpecError(t.span, "a local is written as best: f32 = 0.0 or row: f32[N]")
        dtype = self.scope.dtype(t.base)
        if t.shape is None:
            value = self.value(self.hoist(s.value), dtype) if s.value is not None else zero(dtype)
            sym = self.new_local(s.name, dtype, s.span)
            return [Decl(sym.target, dtype, value, s.span)]
        shape = tuple(self.fixed_size(x) for x in t.shape)
        if s.value is not None:
            if s.value.op == "call" and s.value.attr != ("view",) and not self.is_scalar_call(s.value):
                sym = self.new_array(s.name, dtype, shape, s.span)
                return self.call_into(s.value, [Expr("var", (), s.name, "", s.span)], s.span)
            fill_ = self.value(s.value, dtype)
            sym = self.new_array(s.name, dtype, shape, s.span)
            names = tuple(self.scope.fresh(f"i{k}") for k in range(len(shape)))
            eq = Equation(sym.target, names, shape, tuple(var(n) for n in names), fill_, False, s.span)
            return [Equations([eq], s.span)]
        self.new_array(s.name, dtype, shape, s.span)
        return []

    # ------------------------------------------------------------ loops and jumps

    def _loop(self, kind: str, body: list) -> list:
        before, self.pending = self.pending, []
        self.loops.append(kind)
        try:
            return self.block(body)
        finally:
            self.loops.pop()
            self.pending = before

    def _for(self, s: SFor) -> list:
        how = "a loop is written: for i in range(N), range(a, b), range(a, b, step), parallel(N) or parallel(a, b)"
        if s.iter.op != "call" or s.iter.attr[0] not in ("range", "parallel"):
            word = s.iter.attr[0] if s.iter.op == "call" else ""
            raise SpecError(s.iter.span, how + (suggest(str(word), ("range", "parallel")) if word else ""))
        word, *keys = s.iter.attr
        args = s.iter.args
        if keys or not 1 <= len(args) <= (3 if word == "range" else 2):
            raise SpecError(s.iter.span, how)
        bounds = [self.index(self.hoist(a)) for a in args]
        step = 1
        if len(bounds) == 3:
            if bounds[2].op != "const" or not bounds[2].attr:
                raise SpecError(args[2].span, "the step of a range is a constant, not 0; use while for other steps")
            step = int(bounds[2].attr)
            if abs(step) > MOST_STEP:
                raise SpecError(args[2].span, f"the step of a range is at most {MOST_STEP}; use while for other steps")
        lo, hi = (const(0, "i64", s.span), bounds[0]) if len(bounds) == 1 else (bounds[0], bounds[1])
        if word == "parallel" and "parallel" in self.loops:
            raise SpecError(s.span, "a parallel loop stands inside another; one of them is enough: use range here")
        self.scope.push()
        try:
            old = self.scope.local(s.var)
            if old is not None:
                raise SpecError(
                    s.span,
                    f"'{s.var}' is in use already (line {old.span.line}); choose another name for the loop's variable",
                )
            target = s.var if s.var not in self.all_locals else self.scope.fresh(s.var)
            self.loop_names.add(target)
            self.scope.declare(Symbol(s.var, "loop", "i64", (), s.span, target))
            body = self._loop(str(word), s.body)
        finally:
            self.scope.pop()
        made = For(target, lo, hi, body, step, word == "parallel", s.span)
        if made.parallel:
            for e in parallel_writes(made, self.shown):
                self.report(e)
        return [made]

    def _jump(self, s: SJump) -> list:
        if s.kind in ("break", "continue") and not self.loops:
            raise SpecError(s.span, f"{s.kind} stands outside of a loop")
        if "parallel" in self.loops:
            inner = self.loops[len(self.loops) - self.loops[::-1].index("parallel") - 1 :]
            if s.kind == "return" or (s.kind == "break" and len(inner) == 1):
                raise SpecError(
                    s.span,
                    f"{s.kind} can't leave a parallel loop: its iterations run in any order; use a flag, or range",
                )
        return [Jump(s.kind, s.span)]


def _reassigned(body: list) -> set[str]:
    """Scalars that are assigned more than where they are declared."""
    seen: set[str] = set()
    again: set[str] = set()

    def go(block: list) -> None:
        for s in block:
            if isinstance(s, SAssign):
                for t in s.targets:
                    if t.op == "var":
                        (again if s.op or t.attr in seen else seen).add(str(t.attr))
            elif isinstance(s, SLocal):
                (again if s.name in seen else seen).add(s.name)
            elif isinstance(s, (SFor, SWhile)):
                go(s.body)
            elif isinstance(s, SIf):
                go(s.then)
                go(s.orelse)

    go(body)
    return again
