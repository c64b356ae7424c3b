"""Formulas: index equations, with calls of other formulas inlined."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from vibee.tree.defs import Equation, Formula, Param
from vibee.tree.expr import Expr, Span, show

from . import laws, schedule
from .binders import unique_binders
from .body import BodyChecker
from .calls import Bound
from .errors import Known, SpecError, count
from .expr import literal_text
from .inline import inline
from .scope import Scope, Symbol
from .signature import fill
from .sizes import shape_text
from .surface import SAssign, SExpr, SFor, SIf, SJump, SLocal, SSchedule, SWhile


class FormulaChecker(BodyChecker):
    """Checks the body of one formula instance."""

    def __init__(self, scope: Scope, params: list[Param], outs: list[Param], sizes: dict[str, tuple]) -> None:
        super().__init__(scope, params, outs, sizes)
        self.temps: list[Param] = []
        self.equations: list[Equation] = []
        self.gradient: str | None = None

    def run(self) -> Formula:
        """The checked formula; `failed` tells whether mistakes were reported."""
        raw, scope = self.scope.raw, self.scope
        out = Formula(raw.name, scope.program.key(raw, scope.types), self.params, self.outs, self.sizes)
        fill(out, raw)
        late: list[SExpr | SSchedule] = []
        for s in self.take_given(raw.body):
            try:
                if self._late(s):
                    late.append(s)
                else:
                    self.statement(s)
            except SpecError as e:
                self.report(e)
                self._spoil(s)
        self._finish_outs()
        out.given, out.obligations, out.temps, out.equations = self.given, self.obligation, self.temps, self.equations
        written = {v for q in self.equations for v in [*q.vars, *_binders(q.rhs)]}
        if not self.failed:
            self._rename()
            scope.program.body_done(raw, scope.types, out)
        for s in late:
            try:
                self._property(s, out, written)
            except SpecError as e:
                self.report(e)
        out.gradient = self.gradient
        return out

    def _rename(self) -> None:
        """Every binder gets a variable of its own."""
        taken = {v for q in self.equations for v in q.vars} | set(self.sizes)
        taken |= {p.name for p in [*self.params, *self.outs, *self.temps]}
        for q, rhs in zip(self.equations, unique_binders([q.rhs for q in self.equations], taken), strict=True):
            q.rhs = rhs

    def _late(self, s: object) -> bool:
        return isinstance(s, SSchedule) or (
            isinstance(s, SExpr) and s.value.op == "call" and s.value.attr[0] in laws.PROPERTIES
        )

    def _property(self, s: SExpr | SSchedule, out: Formula, written: set[str]) -> None:
        if isinstance(s, SSchedule):
            arrays = {p.name for p in [*self.params, *self.outs, *self.temps]}
            for mistake in schedule.take(s, out.schedule, written, arrays, self.equations):
                self.report(mistake)
            return
        word = s.value.attr[0]
        if word == "gradient":
            laws.once(self.gradient, s.value, word)
            self.gradient = laws.gradient_of(self, s.value)
        elif word == "derivative":
            laws.derivative(self, s.value, out)
        elif word == "implements":
            raise SpecError(s.span, "a formula implements nothing; a @procedure does, as in implements(formula)")
        else:
            out.laws += filter(None, [laws.law(self, s.value)])

    def _spoil(self, s: Any) -> None:
        """After a mistake in an equation, what it defines is not reported again."""
        names = (
            [str(t.attr) for t in s.targets] if isinstance(s, SAssign) else [s.name] if isinstance(s, SLocal) else []
        )
        for name in names:
            sym = self.scope.local(name)
            if sym is None:
                self.scope.tables[0][name] = Symbol(name, "temp", "", (), s.span, name, broken=True)
            elif sym.kind == "out":
                sym.broken = sym.written = True

    def _finish_outs(self) -> None:
        for o in self.outs:
            sym = self.scope.need(o.name, o.span) if not self.scope.tables[0][o.name].broken else None
            if sym is None:
                continue
            if not sym.written and not self.failed:
                left = f"{o.name}[{', '.join('ijklmn'[: len(o.shape)])}]" if o.shape else o.name
                self.report(SpecError(o.span, f"the output '{o.name}' is never computed; write {left} = ..."))
            o.dtype = sym.dtype

    # ------------------------------------------------------------ statements

    def statement(self, s: Any) -> None:
        """One equation or call."""
        match s:
            case SAssign():
                self._assign(s)
            case SLocal():
                raise SpecError(
                    s.span, f"a formula has no locals; write an equation, as in {s.name} = ... or {s.name}[i] = ..."
                )
            case SExpr():
                name = s.value.attr[0] if s.value.op == "call" else ""
                raise SpecError(
                    s.span, f"the result of {name or 'this call'} is dropped; assign it, as in y = {name or 'f'}(...)"
                )
            case _:
                word = s.kind if isinstance(s, SJump) else {SFor: "for", SWhile: "while", SIf: "if"}[type(s)]
                raise SpecError(
                    s.span,
                    f"a formula holds equations, no '{word}'; use sum[i](...), where(...), or mark it @procedure",
                )

    def _assign(self, s: SAssign) -> None:
        if s.op not in ("", "add"):
            raise SpecError(s.span, "an equation has = or += on its left side only")
        if len(s.targets) > 1:
            self._several(s)
            return
        target = s.targets[0]
        if target.op == "var":
            self._name(s, target)
        else:
            self._indexed(s, target)

    def _several(self, s: SAssign) -> None:
        if s.op or any(t.op != "var" for t in s.targets) or s.value.op != "call" or self.is_scalar_call(s.value):
            raise SpecError(s.span, "several results come from one whole-array call, as in a, b = f(x)")
        names = [str(t.attr) for t in s.targets]
        for k, t in enumerate(s.targets):
            if t.attr in names[:k]:
                raise SpecError(
                    t.span, f"two results of {s.value.attr[0]} go to '{t.attr}'; give each a place of its own"
                )
        self.call(s.value, names, s.span)

    def _name(self, s: SAssign, target: Expr) -> None:
        """`p = f(x)` or the scalar equation `t = ...`."""
        name = str(target.attr)
        if not s.op and s.value.op == "call" and s.value.attr != ("view",) and not self.is_scalar_call(s.value):
            self.call(s.value, [name], s.span)
            return
        value = self.hoist(s.value)
        sym = self._target(name, target.span, s.op == "add")
        if sym is not None and sym.shape:
            axes = ", ".join("ijklmn"[: len(sym.shape)])
            raise SpecError(
                s.span, f"'{name}' is an array; write its equation with indices, as in {name}[{axes}] = ..."
            )
        new = []
        if s.op:
            new = self.summed(value, [])
        dims = self.dims(new, target, value, None)
        made = sym or Symbol(name, "temp", "", (), target.span, name)
        self._no_self(value, name, bool(s.op))
        eq = self.equation(made, new, dims, Expr("load", (), name, "", target.span), value, bool(s.op), s.span)
        self._define(made, eq, sym is None)

    def _indexed(self, s: SAssign, target: Expr) -> None:
        name = str(target.attr)
        value = self.hoist(s.value)
        target = replace(target, args=tuple(self.hoist(a) for a in target.args))
        sym = self._target(name, target.span, s.op == "add")
        for e in (value, *(target.args if s.op else ())):
            self._no_self(e, name, bool(s.op))
        if sym is not None and not sym.shape:
            raise SpecError(target.span, f"'{name}' is a single number; write {name} = ...")
        if sym is not None and len(target.args) != len(sym.shape):
            raise SpecError(
                target.span,
                f"'{name}' has {count(len(sym.shape), 'axis')} {shape_text(sym.shape)}, but "
                f"{count(len(target.args), 'index')} given",
            )
        if not s.op:
            self._plain(target)
        new = self.new_indices(s, target, plain=not s.op)
        if s.op:
            new = self.summed(value, new)
        dims = self.dims(new, target, value, sym)
        if sym is None:
            if s.op:
                raise SpecError(
                    target.span, f"the shape of '{name}' is unknown: make it an output, or write first {name}[i:N] = 0"
                )
            made = Symbol(name, "temp", "", tuple(dims), target.span, name)
        else:
            made = sym
            if not s.op:
                for (n, _, span), d, size in zip(new, dims, sym.shape, strict=True):
                    if not self.scope.facts.equal(d, size):
                        raise SpecError(
                            span,
                            f"{n} must run over all of {show(size)}, but here it runs over {show(d)}; use "
                            f"where(...) for parts",
                        )
        eq = self.equation(made, new, dims, target, value, bool(s.op), s.span)
        self._define(made, eq, sym is None)

    def _plain(self, target: Expr) -> None:
        """The left side of `=` has distinct new names."""
        seen = set()
        for i in target.args:
            n = i.args[0] if i.op == "slice" else i
            old = self.scope.local(str(n.attr)) if n.op == "var" else None
            if n.op != "var" or old is not None:
                raise SpecError(
                    i.span,
                    f"the left side has new index names, not {show(n)}; give every element by one equation with "
                    f"where(...), or use +=",
                )
            if n.attr in seen:
                raise SpecError(
                    i.span,
                    f"{n.attr} stands twice on the left; use two names, and where({n.attr} == j, ..., 0) for a "
                    f"diagonal",
                )
            seen.add(n.attr)

    def _no_self(self, value: Expr, name: str, add: bool) -> None:
        for n in _surface(value):
            if n.op in ("load", "var") and n.attr == name:
                sym = self.scope.local(name)
                if add and sym is not None:
                    raise SpecError(
                        n.span,
                        f"'{name}' is read while the same equation adds to it; compute that part in an equation before",
                    )
                raise SpecError(
                    n.span,
                    f"'{name}' is defined by itself; use a scan such as cumsum[n](...), or a @procedure with a loop",
                )

    def _target(self, name: str, span: Span, add: bool) -> Symbol | None:
        """The symbol to define: an output, or None for a new temporary."""
        sym = self.scope.local(name)
        if sym is None:
            return None
        if sym.broken:
            raise Known()
        if sym.kind not in ("out", "temp"):
            raise SpecError(
                span, f"'{name}' is a parameter or size; a formula changes nothing: give the result a name of its own"
            )
        if sym.written and not add:
            raise SpecError(span, f"'{name}' is defined already; each name has one equation (only += may follow)")
        return sym

    def _define(self, sym: Symbol, eq: Equation, new: bool) -> None:
        sym.written = True
        self.equations.append(eq)
        if new:
            self.scope.declare(sym)
            self.temps.append(Param(sym.target, "temp", sym.dtype, sym.shape, None, sym.span))

    # ------------------------------------------------------------ calls

    def read(self, sym: Symbol, span: Span) -> Expr:
        """As for all expressions, but an output can be read only after its equation."""
        if sym.kind == "out" and not sym.written:
            raise SpecError(span, f"'{sym.name}' is read before its equation; move this line below it")
        return super().read(sym, span)

    def on_load(self, e: Expr, want: str) -> Expr:
        """As for all expressions, but an output can be read only after its equation."""
        sym = self.scope.local(str(e.attr))
        if sym is not None and sym.kind == "out" and not sym.written:
            raise SpecError(e.span, f"'{sym.name}' is read before its equation; move this line below it")
        return super().on_load(e, want)

    def array_call(self, e: Expr) -> list[Symbol]:
        """Inline a call that stands inside an expression; its outputs become temporaries."""
        return self.call(e, None, e.span)

    def call(self, e: Expr, names: list[str] | None, span: Span) -> list[Symbol]:
        """`a, b = f(x, y)`: the equations of f with its names replaced."""
        bound = self.bind(e)
        if not isinstance(bound.callee, Formula):
            raise SpecError(
                span,
                f"{bound.callee.name} is a procedure or model; a formula can only call formulas: mark this one "
                f"@procedure",
            )
        if names is not None and len(names) != len(bound.callee.outs):
            raise SpecError(
                span,
                f"{bound.callee.name} has {count(len(bound.callee.outs), 'output')}, but the left side has "
                f"{count(len(names), 'name')}",
            )
        targets = [self._out_symbol(bound, k, names[k] if names else None, span) for k in range(len(bound.callee.outs))]
        self.oblige(self.obligations(bound))
        temps, equations = inline(self, bound, [t.target for t in targets], span)
        self.temps += temps
        self.equations += equations
        for t in targets:
            t.written = True
        return targets

    def _out_symbol(self, bound: Bound, k: int, name: str | None, span: Span) -> Symbol:
        out, shape = bound.callee.outs[k], bound.out_shapes[k]
        sym = self._target(name, span, False) if name is not None else None
        if sym is None:
            fresh = name or self.scope.fresh(f"{bound.callee.name}_{out.name}")
            sym = Symbol(fresh, "temp", out.dtype, shape, span, fresh)
            self.scope.tables[0][fresh] = sym
            self.temps.append(Param(fresh, "temp", out.dtype, shape, None, span))
            return sym
        if len(sym.shape) != len(shape) or not all(map(self.scope.facts.equal, sym.shape, shape)):
            raise SpecError(
                span,
                f"'{sym.name}' has the shape {shape_text(sym.shape)}, but {bound.callee.name} gives "
                f"{shape_text(shape)}",
            )
        if sym.dtype and sym.dtype != out.dtype:
            raise SpecError(
                span, f"'{sym.name}' is {sym.dtype}, but {bound.callee.name} gives {literal_text(out.dtype)}"
            )
        sym.dtype = out.dtype
        return sym


def _binders(e: Expr) -> list[str]:
    out = list(e.attr[1]) if e.op == "reduce" else []
    for a in e.args:
        out += _binders(a)
    return out


def _surface(e: Expr) -> list[Expr]:
    out = [e]
    for a in e.args:
        out += _surface(a)
    return out
