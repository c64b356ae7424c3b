"""Procedures: statements with locals, loops, element stores, index equations and whole-array calls."""

from __future__ import annotations

from dataclasses import replace

from vibee.tree.defs import (
    Assign,
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
from vibee.tree.expr import Expr, const, show, substitute, var

from . import laws
from .binders import free_names, unique_binders
from .body import zero
from .errors import Known, SpecError, count, suggest
from .proc_calls import ProcedureCalls
from .scope import Scope, Symbol
from .signature import fill
from .statements import binders_of, each, exprs_of, map_exprs, parallel_writes
from .surface import SAssign, SExpr, SFor, SIf, SJump, SLocal, SSchedule, SWhile


class ProcedureChecker(ProcedureCalls):
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
                out.laws.append(laws.law(self, s))
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
                    out.implements = laws.implements_of(self, s.value)
                elif word == "gradient":
                    out.gradient = laws.gradient_of(self, s.value)
                elif word == "derivative":
                    raise SpecError(s.span, "derivative is for formulas; name a procedure instead: gradient(name)")
                elif word in laws.PROPERTIES:
                    self.later.append(s.value)
                elif isinstance(s, SSchedule):
                    raise SpecError(s.span, "a procedure is its own schedule; write its loops as they should run")
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

    def _spoil(self, s: object) -> None:
        names = (
            [s.name] if isinstance(s, SLocal) else [str(t.attr) for t in s.targets] if isinstance(s, SAssign) else []
        )
        for name in names:
            sym = self.scope.local(name)
            if sym is None:
                self.scope.tables[-1][name] = Symbol(name, "local", "", (), broken=True)
            elif not sym.dtype:
                sym.broken = True

    def statement(self, s: SLocal | SAssign | SFor | SWhile | SIf | SJump | SExpr) -> list:
        """One statement; what must run before it is in `self.pending`."""
        match s:
            case SLocal():
                return self._local(s)
            case SAssign():
                return self._assign(s)
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

    # ------------------------------------------------------------ assignments

    def _assign(self, s: SAssign) -> list:
        if len(s.targets) > 1:
            if s.op or s.value.op != "call":
                raise SpecError(
                    s.span, "several results come from one call, as in a, b = f(x); write other assignments one by one"
                )
            return self.call_into(s.value, s.targets, s.span)
        target = s.targets[0]
        if not s.op and s.value.op == "call" and s.value.attr != ("view",) and not self.is_scalar_call(s.value):
            return self.call_into(s.value, s.targets, s.span)
        value = self.hoist(s.value)
        if s.op and target.op == "load" and any(i.op == "slice" for i in target.args):
            raise SpecError(
                target.span,
                "a part of an array is the target of a whole-array call only; write an equation with an index",
            )
        if target.op == "var":
            return self._scalar(s, target, value)
        sym = self.writable(str(target.attr), target.span)
        if not sym.cell or not sym.shape:
            raise SpecError(target.span, f"'{sym.name}' is a single number; it has no index")
        target = replace(target, args=tuple(i if i.op == "slice" else self.hoist(i) for i in target.args))
        if len(target.args) < len(sym.shape) and self.array(target) is not None:
            axes = ", ".join([show(a) for a in target.args] + list("ijklmn")[: len(sym.shape) - len(target.args)])
            raise SpecError(
                target.span,
                f"'{sym.name}' has {count(len(sym.shape), 'axis')}; write an equation, as in {sym.name}[{axes}] = ...",
            )
        new = self.new_indices(s, target)
        if not new:
            return [self._store(s, target, sym, value)]
        return [Equations([self._equation(s, target, sym, value, new)], s.span)]

    def _scalar(self, s: SAssign, target: Expr, value: Expr) -> list:
        name = str(target.attr)
        sym = self.scope.local(name)
        if sym is None:
            if s.op:
                raise self.scope.unknown(name, target.span)
            if self.scope.gone.get(name):
                raise self.scope.unknown(name, target.span)
            typed = self.finish(self.check(value))
            made = self.new_local(name, typed.dtype, target.span)
            return [Decl(made.target, typed.dtype, typed, s.span)]
        if sym.broken:
            raise Known()
        if sym.cell and sym.shape:
            return self._fill(s, sym, value)
        if sym.kind != "local":
            what = {"loop": "a loop variable", "size": "a size", "scalar": "a parameter", "index": "an index"}.get(
                sym.kind, "read only"
            )
            raise SpecError(target.span, f"'{name}' is {what} and can't be assigned; declare a local with another name")
        if s.op:
            value = Expr(s.op, (Expr("var", (), name, "", target.span), value), None, "", s.span)
        typed = self.check(value, sym.dtype)
        if not sym.dtype:
            sym.dtype = self.finish(typed).dtype
        return [Assign(sym.target, self.convert(typed, sym.dtype), s.span)]

    def _fill(self, s: SAssign, sym: Symbol, value: Expr) -> list:
        """`row = 0.0`: every element."""
        axes = ", ".join("ijklmn"[: len(sym.shape)])
        if s.op or self.array(value) is not None:
            raise SpecError(s.span, f"'{sym.name}' is an array; write an equation, as in {sym.name}[{axes}] = ...")
        self.writable(sym.name, s.span)
        typed = self.value(value, sym.dtype) if sym.dtype else self.finish(self.check(value))
        sym.dtype = typed.dtype
        names = tuple(self.scope.fresh(n) for n in "ijklmnopqrst"[: len(sym.shape)])
        return [
            Equations([Equation(sym.target, names, sym.shape, tuple(map(var, names)), typed, False, s.span)], s.span)
        ]

    def _store(self, s: SAssign, target: Expr, sym: Symbol, value: Expr) -> Store:
        idx = self.indices(target, sym)
        if s.op:
            value = Expr(s.op, (target, value), None, "", s.span)
        typed = self.check(value, sym.dtype)
        if not sym.dtype:
            sym.dtype = self.finish(typed).dtype
        sym.written = True
        return Store(sym.target, idx, self.convert(typed, sym.dtype), False, s.span)

    def _equation(self, s: SAssign, target: Expr, sym: Symbol, value: Expr, new: list) -> Equation:
        plain = all(
            i.op in ("var", "slice") or not any(n.attr == x[0] for n in free_names(i) for x in new) for i in target.args
        )
        names = [x[0] for x in new]
        marks = [str((i.args[0] if i.op == "slice" else i).attr) for i in target.args]
        if s.op != "add" and (not plain or any(marks.count(n) != 1 for n in names)):
            raise SpecError(
                target.span,
                "a new index stands alone at one axis on the left of '='; use += to add at computed places, or a loop",
            )
        self._reads(s, target, sym, value, names, plain and all(marks.count(n) == 1 for n in names))
        if s.op and s.op != "add":
            bare = replace(target, args=tuple(i.args[0] if i.op == "slice" else i for i in target.args))
            value = Expr(s.op, (bare, value), None, "", s.span)
        if s.op == "add":
            for n in free_names(value):
                extra = str(n.attr)
                if self.scope.get(extra) is None and extra not in names and any(True for _ in self.uses(value, extra)):
                    new.append((extra, None, n.span))
                    names.append(extra)
        dims = self.dims(new, target, value, sym)
        if not plain:
            pass
        elif s.op != "add":
            for (n, explicit, span), d in zip(new, dims, strict=True):
                axis = sym.shape[marks.index(n)]
                if explicit is None and not self.scope.facts.equal(d, axis):
                    raise SpecError(span, f"{n} must run over all of {show(axis)}, but here it runs over {show(d)}")
        sym.written = True
        return self.equation(sym, new, dims, target, value, s.op == "add", s.span)

    def _reads(self, s: SAssign, target: Expr, sym: Symbol, value: Expr, names: list[str], plain: bool) -> None:
        """The right side may read the written array only at the element that is written."""
        bare = tuple(i.args[0] if i.op == "slice" else i for i in target.args)
        bound: set[str] = set()

        def go(e: Expr) -> None:
            if e.op == "reduce":
                bound.update(e.attr[1])
            if e.op == "load" and e.attr == sym.name and (not plain or e.args != bare or s.op == "add"):
                raise SpecError(
                    e.span,
                    f"'{sym.name}' is read at other elements while they are written; compute into another array, "
                    f"or use a loop",
                )
            for a in e.args:
                go(a)

        go(value)

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
