"""Models: whole-array statements to `tree.defs.Model`, every value assigned once."""

from __future__ import annotations

from vibee.tree.defs import Carry, Formula, Layers, Model, ModelCall, Param, Procedure, View
from vibee.tree.expr import Expr, Span, const, loads

from . import laws
from .calls import Arg, ArrayArg, Bound
from .errors import Known, SpecError, count
from .model_weights import Place, WeightChecker
from .scope import Symbol
from .sizes import shape_text
from .surface import SAssign, SExpr, SFor, SLocal

__all__ = ["ModelChecker", "instantiate"]

PARTS = ("init", "sizes", "forward", "loss", "gradient")  # what is derived from a model
NUMBER = "compute it by a formula, or choose another name"


def instantiate(program, module, made) -> None:  # type: ignore[no-untyped-def]
    """`name = template(model)`: a procedure made for a model."""
    from .model_template import make

    make(program, module, made)


class ModelChecker(WeightChecker):
    """Checks the statements of one model."""

    def run(self) -> Model:
        """The checked model; `failed` tells whether mistakes were reported."""
        self._names_of_parts()
        rest = self.take_given(self.scope.raw.body)
        self.model.given = self.given
        for o in self.outs:  # from here on they are values like all others
            for table in self.scope.tables:
                table.pop(o.name, None)
        for s in rest:
            self._guarded(s)
        for o in self.outs:
            try:
                self._output(o)
            except SpecError as e:
                self.report(e)
        for case in self.calls:
            try:
                self.model.laws += filter(None, [laws.law(self, case)])
            except SpecError as e:
                self.report(e)
        if not self.failed:
            from .model_gradients import differentiable

            differentiable(self)
        return self.model

    def _names_of_parts(self) -> None:
        """What is derived from the model has names of its own in the file that is made of it."""
        for part in PARTS:
            for d in self.scope.module.own.get(f"{self.model.name}_{part}", []):
                what = f"'{d.name}' is what is derived from the model {self.model.name}"
                self.report(SpecError(d.span, f"{what}; choose another name"))

    # ------------------------------------------------------------ statements

    def _guarded(self, s: object) -> None:
        try:
            self._statement(s)
        except SpecError as e:
            self.report(e)
            names = [s.name] if isinstance(s, SLocal) else []
            names += [str(t.attr) for t in getattr(s, "targets", []) if t.op == "var"]
            for name in names:
                if self.scope.local(name) is None:
                    self.scope.tables[-1][name] = Symbol(name, "temp", "", (), e.span, broken=True)

    def _statement(self, s: object) -> None:
        if isinstance(s, SLocal):
            self.weight(s)
        elif isinstance(s, SAssign):
            self._assign(s)
        elif isinstance(s, SFor):
            self._layers(s)
        elif isinstance(s, SExpr) and s.value.op == "call":
            name = s.value.attr[0]  # type: ignore[index]
            if name == "weights":
                self.weights_of(s.value)
            elif name in ("example", "raises"):
                self.calls.append(s.value)
            elif name == "given":  # those of the model itself are taken out before
                raise SpecError(s.span, "given(...) stands at the top level of the model, in no loop")
            elif name in ("then", "law"):
                raise SpecError(s.span, f"a model has no {name}(...); state it for the formulas that the model calls")
            else:
                self._call_statement(s.value)
        else:
            raise SpecError(
                s.span,  # type: ignore[attr-defined]
                "a model has weights (w: real[N] = 0.0), whole-array calls and a loop over layers; "
                "write a @procedure for anything else and call it",
            )

    def _assign(self, s: SAssign) -> None:
        names = []
        for t in s.targets:
            if t.op != "var":
                raise SpecError(t.span, f"a model assigns whole arrays; write {t.attr} = f(...) with a formula f")
            names.append(str(t.attr))
            self._may_assign(str(t.attr), t.span)
        value = s.value
        if s.op:
            value = Expr(s.op, (s.targets[0], s.value), None, "", s.span)
        if len(names) == 1:
            got = [self.result(value, names[0])]
        else:
            if value.op != "call" or value.attr == ("view",) or self.is_scalar_call(value):
                raise SpecError(value.span, f"{len(names)} names need a call with as many outputs")
            got = self.call(value, names)
            if len(got) != len(names):
                raise SpecError(
                    value.span,
                    f"{_called(value)} has {count(len(got), 'output')}, but the left side has "
                    f"{count(len(names), 'name')}",
                )
        for name, v, t in zip(names, got, s.targets, strict=True):
            self._bind(name, v, t.span)

    def _may_assign(self, name: str, span: Span) -> None:
        if name in self.reserved or any(w.name == name for w in self.model.weights):
            what = "a parameter" if name in self.reserved else "a weight"
            raise SpecError(span, f"'{name}' is {what}; give the result another name")

    def _bind(self, name: str, v: Arg, span: Span) -> None:
        """`name` means `v` from here on."""
        if isinstance(v, ArrayArg):
            self.scope.tables[-1][name] = Symbol(name, "temp", v.dtype, v.shape, span, v.view.array)
        elif v.op == "load":
            self.scope.tables[-1][name] = Symbol(name, "temp", v.dtype, (), span, str(v.attr))
        else:
            self.scope.tables[-1][name] = Symbol(name, "const", v.dtype, (), span, name, v)

    def _call_statement(self, e: Expr) -> None:
        if _called(e) == "view" or self.is_scalar_call(e):
            raise SpecError(e.span, "this computes a value and drops it; assign it to a name")
        got = self.call(e, [])
        if got:
            raise SpecError(e.span, f"the output of {_called(e)} is dropped; assign it, as in y = {_called(e)}(...)")

    # ------------------------------------------------------------ layers

    def _layers(self, s: SFor) -> None:
        it = s.iter
        if it.op != "call" or it.attr != ("layers",) or len(it.args) != 1:
            raise SpecError(s.span, "a model's loop is: for l in layers(L)")
        if self.place.layers is not None:
            raise SpecError(s.span, "a loop over layers can't stand in another one; write one loop")
        count = self._count(it.args[0])
        if self.scope.local(s.var) is not None or any(o.name == s.var for o in self.outs):
            raise SpecError(s.span, f"'{s.var}' is defined already; choose another loop variable")
        loop = Layers(s.var, count, [], [], s.span)
        outer, self.place = self.place, Place(loop.body, loop)
        self.scope.push()
        self.scope.declare(Symbol(s.var, "loop", "i64", (), s.span))
        for w in self.shared:
            if w.copies is not None and self.scope.facts.equal(w.copies, count):
                self.scope.tables[-1][w.name] = Symbol(w.name, "in", w.dtype, w.shape, w.span, w.name)
        targets = [t for x in s.body if isinstance(x, SAssign) for t in x.targets if t.op == "var"]
        inner: dict[str, Symbol] = {}
        for name, span in _first(targets).items():
            before = self.scope.local(name)
            if before is not None and before.kind == "const":
                self.report(SpecError(span, f"'{name}' is a number, which no loop carries; {NUMBER}"))
            if before is None or before.kind != "temp" or before.broken:
                continue
            value = self.new_value(f"{name}_in", before.dtype, before.shape)
            sym = Symbol(name, "temp", before.dtype, before.shape, before.span, value)
            inner[name] = before
            loop.carries.append(Carry(before.target, sym.target, "", ""))
            self.scope.tables[-1][name] = sym
        for x in s.body:
            self._guarded(x)
        ends = {name: self.scope.tables[-1][name] for name in inner}
        self.scope.pop()
        self.place = outer
        for carry, (name, before) in zip(loop.carries, inner.items(), strict=True):
            end = ends[name]
            if end.kind == "const":
                raise SpecError(end.span, f"'{name}' goes from layer to layer, but ends a layer as a number; {NUMBER}")
            if end.dtype != before.dtype or not self.same_shape(end.shape, before.shape):
                first, last = f"{before.dtype}{shape_text(before.shape)}", f"{end.dtype}{shape_text(end.shape)}"
                raise SpecError(
                    end.span,
                    f"'{name}' goes from layer to layer as {first}, but ends a layer as {last}; "
                    "give it the same type and shape, or another name",
                )
            carry.last = end.target
            carry.result = self.new_value(f"{name}_out", before.dtype, before.shape)
            self.scope.tables[-1][name] = Symbol(name, "temp", before.dtype, before.shape, end.span, carry.result)
        self.place.body.append(loop)

    def _count(self, e: Expr) -> Expr:
        """How many layers there are: none where the number would be negative."""
        count = self.index(e)
        self.of_sizes("the number of layers", (count,), e.span)
        p = self.scope.facts.poly(count)
        if all(v > 0 for v in p.values()) and {n for m in p for n in m} <= set(self.model.sizes):
            return count
        return Expr("max", (count, const(0, "i64", e.span)), None, "i64", e.span)

    def same_shape(self, a: tuple[Expr, ...], b: tuple[Expr, ...]) -> bool:
        """True for shapes that are equal axis by axis."""
        return len(a) == len(b) and all(self.scope.facts.equal(x, y) for x, y in zip(a, b, strict=True))

    # ------------------------------------------------------------ calls

    def new_value(self, name: str, dtype: str, shape: tuple[Expr, ...]) -> str:
        """A fresh value; `name` itself if nothing else has it.

        Not that of an output, which may be assigned again: only what it is at the end has its memory."""
        taken = self.model.values.keys() | self.reserved | {w.name for w in self.model.weights} | self.later
        taken |= {o.name for o in self.outs}
        sym = self.scope.local(name)
        if sym is not None and sym.kind != "temp":
            taken |= {name}
        stem = name
        while name in taken:
            name = self.scope.fresh(stem)
            stem = stem if name not in taken else name
        self.model.values[name] = Param(name, "temp", dtype, shape)
        return name

    def call(self, e: Expr, names: list[str]) -> list[Arg]:
        """The outputs of a whole-array call, added as a statement."""
        bound = self.bind(e)
        return self.emit(bound, names or [f"{bound.callee.name}_{o.name}" for o in bound.callee.outs])

    def emit(self, bound: Bound, names: list[str]) -> list[Arg]:
        """The statement for a resolved call, and its outputs."""
        f = bound.callee
        if not isinstance(f, (Formula, Procedure)):
            raise SpecError(bound.span, f"{f.name} is a model; a model calls formulas and procedures")
        for e in bound.sizes.values():
            self._no_values("a size of a call", e, bound.span)
        args: list = []
        for p, a in zip(f.params, bound.args, strict=True):
            if not isinstance(a, ArrayArg):
                args.append(self._value_or_number(a))
                continue
            given = self._input(a.view.array)
            if p.kind == "mut" and (given is None or given.kind != "mut"):
                how = "that can only be an input declared mut, as in cache: mut[f32[N]]"
                raise SpecError(a.span, f"{f.name} writes to '{p.name}'; {how}")
            if p.kind == "mut":
                self.given_twice(a, p, bound)
            if (a.view.lead or a.view.part is not None) and given is None:
                how = f"write a formula that takes the whole of {a.symbol.name}"
                raise SpecError(a.span, f"only inputs can be passed in parts; {how}")
            for e in (*a.view.lead, *(a.view.part or ())):
                self._no_values("a place", e, a.span)
            if given is None:
                self.of_sizes("the shape of a value", a.shape, a.span)
            args.append(View(a.view.array, a.view.lead, a.view.part, a.shape, a.span))
        outs: list[Arg] = []
        made = []
        for k, (o, shape) in enumerate(zip(f.outs, bound.out_shapes, strict=True)):
            self.of_sizes("the shape of a value", shape, bound.span)
            name = self.new_value(names[k] if k < len(names) else f"{f.name}_{o.name}", o.dtype, shape)
            made.append(name)
            if shape:
                sym = Symbol(name, "temp", o.dtype, shape, bound.span, name)
                outs.append(ArrayArg(sym, View(name, (), None, shape, bound.span), o.dtype, shape, bound.span))
            else:
                outs.append(Expr("load", (), name, o.dtype, bound.span))
        self.place.body.append(ModelCall(f.key, args, made, dict(bound.sizes), bound.span))
        return outs

    def _value_or_number(self, a: Expr) -> Expr:
        """A number for a call: a value as it is, or arithmetic of what the model takes."""
        if a.op == "cast" and a.args[0].op == "load" and not a.args[0].args:
            return self.converted(a)
        if a.args and any(True for _ in loads(a)):
            raise SpecError(a.span, "a model works on whole arrays; pick elements in a formula")
        return a

    def _no_values(self, what: str, e: Expr, span: Span) -> None:
        """Where a call reads and writes is known before it: no call computes it."""
        made = [str(n.attr) for n in loads(e) if n.attr in self.model.values]
        if made:
            raise SpecError(span, f"'{made[0]}' is computed here, and can't be {what}; pass it to a procedure as i64")

    def _input(self, name: str) -> Param | None:
        return next((p for p in self.model.params if p.name == name), None)

    # ------------------------------------------------------------ the end

    def _output(self, o: Param) -> None:
        sym = self.scope.local(o.name)
        if sym is None:
            raise SpecError(o.span, f"the output '{o.name}' is never assigned; write {o.name} = ...")
        if sym.broken:
            raise Known()
        if sym.kind == "const":
            raise SpecError(sym.span, f"the output '{o.name}' is made of numbers only; compute it by a formula")
        want = o.dtype or sym.dtype
        shape = tuple(o.shape)
        if want != sym.dtype or not self.same_shape(sym.shape, shape):
            raise SpecError(
                sym.span,
                f"the output '{o.name}' is {want}{shape_text(shape) if shape else ''} in the head, but "
                f"{sym.dtype}{shape_text(sym.shape) if sym.shape else ''} here; make them equal",
            )
        o.dtype = sym.dtype
        self.model.results[o.name] = sym.target


def _first(targets: list[Expr]) -> dict[str, Span]:
    """The names that are assigned, and where each is first."""
    places: dict[str, Span] = {}
    for t in targets:
        places.setdefault(str(t.attr), t.span)
    return places


def _called(e: Expr) -> str:
    """The name of a surface call."""
    return str(e.attr[0])  # type: ignore[index]
