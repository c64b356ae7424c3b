"""Locals, writable targets and whole-array calls of procedures."""

from __future__ import annotations

import re

from vibee.tree.defs import Alloc, Assign, Call, Decl, Demand, Formula, Param, View
from vibee.tree.expr import Expr, Span, free_vars, show, var

from .body import BodyChecker, zero
from .calls import ArrayArg, Bound
from .errors import Known, SpecError, count
from .scope import Scope, Symbol
from .signature import SIZE_OPS, size_nodes
from .sizes import shape_text


class ProcedureCalls(BodyChecker):
    """The part of the procedure checker that deals with arrays as wholes."""

    def __init__(self, scope: Scope, params: list[Param], outs: list[Param], sizes: dict[str, tuple]) -> None:
        super().__init__(scope, params, outs, sizes)
        self.pending: list = []  # statements to run before the current one
        self.reassigned: set[str] = set()
        self.all_locals: set[str] = set()
        self.loop_names: set[str] = set()
        self.shown: dict[str, str] = {}  # a local's name in the tree -> as written

    def report(self, e: SpecError) -> None:
        """Keep a mistake and go on; locals are called as they are written."""
        message = e.message
        for target, name in self.shown.items():
            if target != name:
                message = re.sub(rf"\b{re.escape(target)}\b", name, message)
        super().report(e if message == e.message else SpecError(e.span, message))

    # ------------------------------------------------------------ locals

    def _target_name(self, name: str) -> str:
        """The tree's name for a local: as written, unless an earlier block used it."""
        taken = name in self.all_locals or name in self.shown or name in self.loop_names
        target = self.scope.fresh(name) if taken else name
        self.all_locals.add(target)
        self.shown[target] = name
        return target

    def new_local(self, name: str, dtype: str, span: Span) -> Symbol:
        """Declare a scalar local."""
        sym = self.scope.declare(Symbol(name, "local", dtype, (), span, "-", written=True))
        sym.target = self._target_name(name)
        return sym

    def new_array(self, name: str, dtype: str, shape: tuple[Expr, ...], span: Span) -> Symbol:
        """Declare a local array and allocate it before the current statement."""
        sym = self.scope.declare(Symbol(name, "temp", dtype, shape, span, "-", written=True))
        sym.target = self._target_name(name)
        self.pending.append(Alloc(sym.target, dtype, shape, True, span))
        return sym

    def fixed_size(self, e: Expr) -> Expr:
        """A size of a local array; a variable that changes later is copied, so that the size stays."""
        return self.fixed(self.index(self.hoist(e)), e.span)

    def fixed(self, size: Expr, span: Span) -> Expr:
        """As `fixed_size`, of a typed size."""
        if size.op == "const" and int(size.attr) < 1:
            raise SpecError(span, f"a size is at least 1, but this is {size.attr}")
        changing = {self.shown.get(n, n) for n in free_vars(size)} & self.reassigned
        if not changing and all(n.op in SIZE_OPS for n in size_nodes(size)):
            return size
        name = self.scope.fresh("size")
        self.all_locals.add(name)
        self.pending.append(Decl(name, "i64", size, span))
        return var(name, "i64", span)

    def writable(self, name: str, span: Span) -> Symbol:
        """The symbol of an array that may be written."""
        sym = self.scope.need(name, span)
        if sym.kind == "in":
            raise SpecError(span, f"'{name}' is read only; declare it as mut[...] to change it in place")
        return sym

    # ------------------------------------------------------------ calls

    def array_call(self, e: Expr) -> list[Symbol]:
        """A call inside an expression: made before the statement, into new locals."""
        bound = self.bind(e)
        syms, outs = [], []
        for o, shape in zip(bound.callee.outs, bound.out_shapes, strict=True):
            name = self.scope.fresh(f"{bound.callee.name}_{o.name}")
            sym, out = self._receive(name, o, shape, e.span)
            syms.append(sym)
            outs.append(out)
        self._emit(bound, outs, e.span)
        return syms

    def _receive(self, name: str, o: Param, shape: tuple[Expr, ...], span: Span) -> tuple[Symbol, View | Expr]:
        """A new local for an output of a call."""
        if o.shape:
            fixed = tuple(self.fixed(s, span) for s in shape)
            sym = self.new_array(name, o.dtype, fixed, span)
            return sym, View(sym.target, (), None, fixed, span)
        sym = self.new_local(name, o.dtype, span)
        self.pending.append(Decl(sym.target, o.dtype, zero(o.dtype), span))
        return sym, var(sym.target, o.dtype, span)

    def call_statement(self, e: Expr, span: Span) -> list:
        """`f(x, y)`: a call for what it does to its mut arguments."""
        if e.op != "call":
            self.check(e)
            raise SpecError(span, "this can't stand as a statement")
        name = str(e.attr[0])
        raws = self.meant(e)
        if raws[0].outs:
            raise SpecError(
                span,
                f"the result of {name} is dropped; assign it, as in {', '.join(o.name for o in raws[0].outs)} = "
                f"{name}(...)",
            )
        return self._emit(self.bind(e), [], span, False)

    def call_into(self, e: Expr, targets: list[Expr], span: Span) -> list:
        """`a, b = f(x)`: into new locals, whole arrays, parts of arrays, or scalars."""
        bound = self.bind(e, targets=[self._shape(t) for t in targets])
        outs = bound.callee.outs
        if len(outs) != len(targets):
            raise SpecError(
                span,
                f"{bound.callee.name} has {count(len(outs), 'output')}, but the left side has "
                f"{count(len(targets), 'target')}",
            )
        places: list[View | Expr] = []
        after: list = []
        for t, o, shape in zip(targets, outs, bound.out_shapes, strict=True):
            place = self._place(t, o, shape, bound, after)
            self._two_places(place, places, t, bound)
            places.append(place)
        return [*self._emit(bound, places, span, False), *after]

    def _two_places(self, place: View | Expr, earlier: list[View | Expr], t: Expr, bound: Bound) -> None:
        """Results of one call must not overlap: the call may write them in any order."""
        for other in earlier:
            if isinstance(place, View) and isinstance(other, View):
                meet = place.array == other.array and not self.disjoint(place, other)
            else:
                meet = place == other
            if meet:
                raise SpecError(
                    t.span, f"two results of {bound.callee.name} go to '{t.attr}'; give each a place of its own"
                )

    def _shape(self, t: Expr) -> tuple[Expr, ...] | None:
        """The shape of an array that exists already."""
        sym = self.scope.local(str(t.attr))
        if sym is None or sym.broken or not sym.cell or not sym.shape or not sym.dtype:
            return sym.shape if sym is not None and t.op == "var" and sym.shape else None
        place = self.array(t)
        return place.shape if place is not None else None

    def _place(self, t: Expr, o: Param, shape: tuple[Expr, ...], bound: Bound, after: list) -> View | Expr:
        name = str(t.attr)
        sym = self.scope.local(name)
        if sym is None:
            if t.op != "var":
                raise self.scope.unknown(name, t.span)
            return self._receive(name, o, shape, t.span)[1]
        if sym.broken:
            raise Known()
        if not o.shape and t.op == "var" and not sym.shape:
            if sym.kind != "local":
                raise SpecError(t.span, f"'{name}' can't be assigned; choose another name")
            sym.dtype = sym.dtype or o.dtype
            if sym.dtype == o.dtype:
                return var(sym.target, o.dtype, t.span)
            made, place = self._receive(self.scope.fresh(name), o, shape, t.span)
            after.append(Assign(sym.target, self.convert(var(made.target, o.dtype, t.span), sym.dtype), t.span))
            return place
        self.writable(name, t.span)
        if not sym.cell or not sym.shape:
            raise SpecError(
                t.span, f"'{name}' is a single number, but {bound.callee.name} gives {o.dtype}{shape_text(shape)}"
            )
        sym.dtype = sym.dtype or o.dtype
        place_ = self._element(t, sym) if not o.shape else self.array(t)
        if place_ is None:
            raise SpecError(
                t.span, f"{show(t)} is one element, but {bound.callee.name} gives {o.dtype}{shape_text(shape)}"
            )
        if place_.dtype != o.dtype:
            raise SpecError(t.span, f"'{name}' holds {place_.dtype}, but {bound.callee.name} gives {o.dtype}")
        if len(place_.shape) != len(shape) or not all(map(self.scope.facts.equal, place_.shape, shape)):
            raise SpecError(
                t.span,
                f"{show(t)} has the shape {shape_text(place_.shape)}, but {bound.callee.name} gives "
                f"{shape_text(shape)}",
            )
        sym.written = True
        self._apart(place_, bound)
        return place_.view

    def _element(self, t: Expr, sym: Symbol) -> ArrayArg:
        if t.op != "load":
            raise SpecError(t.span, f"'{sym.name}' is an array, but one number is assigned; index it")
        idx = self.indices(t, sym)
        return ArrayArg(sym, View(sym.target, idx, None, (), t.span), sym.dtype, (), t.span)

    def _apart(self, place: ArrayArg, bound: Bound) -> None:
        """A call's results must not overlap what it reads."""
        for a in bound.args:
            if isinstance(a, ArrayArg) and a.view.array == place.view.array and not self.disjoint(a.view, place.view):
                raise SpecError(
                    place.span,
                    f"{bound.callee.name} reads '{place.symbol.name}' while it writes it; assign to another array "
                    f"and copy it back",
                )

    def _emit(self, bound: Bound, outs: list, span: Span, before: bool = True) -> list:
        """The Call statement, with its obligations kept; `before` puts it ahead of the current statement."""
        callee = bound.callee
        args: list = []
        for p, a in zip(callee.params, bound.args, strict=True):
            if isinstance(a, ArrayArg):
                if p.kind == "mut":
                    self.writable(a.symbol.name, a.span)
                    a.symbol.written = True
                    self.given_twice(a, p, bound)
                args.append(a.view)
            else:
                args.append(a)
        self.oblige(self.obligations(bound))
        call = Call(callee.key, args, outs, dict(bound.sizes), span)
        if not isinstance(callee, Formula) and callee.is_scalar:
            raise SpecError(
                span,
                f"this version of {callee.name} gives a number and another one takes arrays; give them two names",
            )
        if before:
            self.pending.append(call)
            return []
        return [call]

    def oblige(self, demands: list[Demand]) -> None:
        """What a procedure calls may not be reached, so that conditions stay obligations."""
        self.obligation += [o for o in demands if o.condition not in self.given]
