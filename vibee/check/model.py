"""Models: whole-array statements to `tree.defs.Model`, every value assigned once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from vibee.tree.defs import Carry, Formula, Layers, Model, ModelCall, Param, Procedure, View, Weight
from vibee.tree.expr import Expr, Span, const, free_vars
from vibee.tree.types import REAL, is_float

from . import laws
from .body import BodyChecker
from .calls import Arg, ArrayArg, Bound
from .errors import Known, SpecError, count, listed, suggest
from .model_whole import WholeArrays
from .scope import Scope, Symbol
from .signature import fill
from .sizes import shape_text
from .surface import RawDef, SAssign, SExpr, SFor, SLocal

__all__ = ["ModelChecker", "instantiate"]


def instantiate(program, module, made) -> None:  # type: ignore[no-untyped-def]
    """`name = template(model)`: a procedure made for a model."""
    from .model_template import make

    make(program, module, made)


@dataclass(slots=True)
class Place:
    """Where statements go: the model or a layer loop's body."""

    body: list
    layers: Layers | None = None
    carried: dict[str, Carry] = field(default_factory=dict)


class ModelChecker(WholeArrays, BodyChecker):
    """Checks the statements of one model."""

    def __init__(self, scope: Scope, params: list[Param], outs: list[Param], sizes: dict[str, tuple]) -> None:
        super().__init__(scope, params, outs, sizes)
        raw = scope.raw
        self.model = Model(raw.name, scope.program.key(raw, scope.types), params, outs, sizes)
        fill(self.model, raw)
        self.place = Place(self.model.body)
        self.calls: list[Expr] = []  # what it says of calls of itself
        self.shared: list[Weight] = []  # another model's layered weights, visible in the layer loop
        self.reserved = {p.name for p in params} | set(sizes)

    # ------------------------------------------------------------ statements

    def run(self) -> Model:
        """The checked model; `failed` tells whether mistakes were reported."""
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
            self._differentiable()
        return self.model

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
            self._weight(s)
        elif isinstance(s, SAssign):
            self._assign(s)
        elif isinstance(s, SFor):
            self._layers(s)
        elif isinstance(s, SExpr) and s.value.op == "call":
            name = s.value.attr[0]  # type: ignore[index]
            if name == "weights":
                self._weights_of(s.value)
            elif name in ("example", "raises"):
                self.calls.append(s.value)
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

    # ------------------------------------------------------------ weights

    def _weight(self, s: SLocal) -> None:
        if s.type.shape is None or s.type.mut:
            raise SpecError(s.span, f"'{s.name}' is no array; a typed name here is a weight, as in w: real[C] = 0.0")
        dtype = self.scope.dtype(s.type.base)
        if not is_float(dtype) or dtype == "bf16":
            raise SpecError(s.type.span, f"a weight is of f32, f64 or real, not {dtype}")
        others = {w.dtype for w in self.model.weights} - {dtype}
        if others:
            raise SpecError(s.type.span, f"the weights before are {listed(others)}; write that here too")
        if self.scope.local(s.name) is not None:
            raise SpecError(s.span, f"'{s.name}' is defined already; choose another name for the weight")
        if any(w.name == s.name for w in self.model.weights):
            raise SpecError(s.span, f"there is a weight '{s.name}' already; choose another name")
        shape = tuple(self.index(e) for e in s.type.shape)
        for e in shape:
            bad = {n for n in free_vars(e) if n not in self.model.sizes}
            if bad:
                raise SpecError(s.type.span, f"a weight's shape is made of sizes, and {listed(sorted(bad))} is none")
        init = self._initial(s, dtype, shape)
        layers = self.place.layers
        w = Weight(s.name, dtype, shape, init, layers is not None, layers.count if layers else None, s.span)
        self.model.weights.append(w)
        self.scope.tables[-1][s.name] = Symbol(s.name, "in", dtype, shape, s.span, s.name)

    def _initial(self, s: SLocal, dtype: str, shape: tuple[Expr, ...]) -> Expr:
        e = s.value
        if e is None:
            how = f"a number or a call, as in {s.name}: real[C] = 0.0"
            raise SpecError(s.span, f"'{s.name}' needs its initial value: {how}")
        if e.op != "call" or self.is_scalar_call(e):
            return self.value(e, dtype)
        supplied: list[Arg] = [const(0, "u64", e.span), const(0, "u64", e.span)]
        bound = self.bind(e, dtype, [*supplied, *(self.check(a) for a in e.args)], [(const(1, "i64", e.span),)])
        f = bound.callee
        right = len(f.outs) == 1 and len(f.outs[0].shape) == 1 and f.outs[0].dtype == dtype
        if not right or [p.dtype for p in f.params[:2]] != ["u64", "u64"]:
            how = f"that takes a procedure (key: u64, stream: u64, ...numbers) -> x({dtype}[N])"
            raise SpecError(e.span, f"{f.name} can't give initial values; {how}")
        return Expr("call", tuple(a for a in bound.args[2:] if isinstance(a, Expr)), f.key, dtype, e.span)

    def _weights_of(self, e: Expr) -> None:
        if not 1 <= len(e.args) <= 2 or any(a.op != "var" for a in e.args) or len(e.attr) != 1:  # type: ignore[arg-type]
            raise SpecError(e.span, "write weights(other_model), or weights(other_model, bf16)")
        name = str(e.args[0].attr)
        found = [r for r in self.scope.program.find(self.scope.module, name) if r.kind == "model"]
        if not found:
            raise SpecError(e.args[0].span, f"there is no model '{name}'{suggest(name, self.scope.names())}")
        if self.model.weights or self.place.layers:
            raise SpecError(e.span, "weights(...) comes first, outside of loops; a model has no weights beside them")
        other = self.scope.program.instantiate(found[0], self._others_types(e, found[0]), e.span)
        assert isinstance(other, Model)
        wide = [w.dtype for w in other.weights if len(e.args) == 2 and w.dtype != "f32"]
        if wide:
            what = f"the weights of {name} are {wide[0]}; only those of f32 can be kept in bf16"
            raise SpecError(e.args[1].span, what)
        for w in other.weights:
            w = replace(w, dtype="bf16") if len(e.args) == 2 else w
            for x in (*w.shape, *([w.copies] if w.copies is not None else [])):
                missing = free_vars(x) - set(self.model.sizes)
                if missing:
                    what = listed(sorted(missing))
                    hint = f"add a parameter {min(missing)}: size"
                    raise SpecError(e.span, f"the weights of {name} depend on {what}; {hint}")
            self.model.weights.append(w)
            if w.layered:
                self.shared.append(w)
            else:
                self.scope.tables[-1][w.name] = Symbol(w.name, "in", w.dtype, w.shape, w.span, w.name)
        self.model.shares = other.key

    def _others_types(self, e: Expr, other: RawDef) -> dict[str, str]:
        """The types of the model whose weights these are; kept in bf16, they are of its f32 instance."""
        if len(e.args) == 1:
            return self.scope.types
        if e.args[1].attr not in ("bf16", "bfloat16"):
            raise SpecError(e.args[1].span, f"weights are kept as they are or in bf16, not in {e.args[1].attr}")
        if self.scope.raw.uses_real:
            raise SpecError(e.span, "a model whose weights are kept in bf16 is of f32; write f32 for real")
        return {REAL: "f32"} if other.uses_real else {}

    # ------------------------------------------------------------ layers

    def _layers(self, s: SFor) -> None:
        it = s.iter
        if it.op != "call" or it.attr != ("layers",) or len(it.args) != 1:
            raise SpecError(s.span, "a model's loop is: for l in layers(L)")
        if self.place.layers is not None:
            raise SpecError(s.span, "a loop over layers can't stand in another one; write one loop")
        count = self.index(it.args[0])
        if self.scope.local(s.var) is not None:
            raise SpecError(s.span, f"'{s.var}' is defined already; choose another loop variable")
        loop = Layers(s.var, count, [], [], s.span)
        outer, self.place = self.place, Place(loop.body, loop)
        self.scope.push()
        self.scope.declare(Symbol(s.var, "loop", "i64", (), s.span))
        for w in self.shared:
            if w.copies is not None and self.scope.facts.equal(w.copies, count):
                self.scope.tables[-1][w.name] = Symbol(w.name, "in", w.dtype, w.shape, w.span, w.name)
        names = dict.fromkeys(str(t.attr) for x in s.body if isinstance(x, SAssign) for t in x.targets if t.op == "var")
        inner: dict[str, Symbol] = {}
        for name in names:
            before = self.scope.local(name)
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

    def same_shape(self, a: tuple[Expr, ...], b: tuple[Expr, ...]) -> bool:
        """True for shapes that are equal axis by axis."""
        return len(a) == len(b) and all(self.scope.facts.equal(x, y) for x, y in zip(a, b, strict=True))

    # ------------------------------------------------------------ calls

    def new_value(self, name: str, dtype: str, shape: tuple[Expr, ...]) -> str:
        """A fresh value; `name` itself if nothing else has it.

        Not that of an output, which may be assigned again: only what it is at the end has its memory."""
        taken = self.model.values.keys() | self.reserved | {w.name for w in self.model.weights}
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
        args: list = []
        for p, a in zip(f.params, bound.args, strict=True):
            if not isinstance(a, ArrayArg):
                args.append(a)
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
            args.append(View(a.view.array, a.view.lead, a.view.part, a.shape, a.span))
        outs: list[Arg] = []
        made = []
        for k, (o, shape) in enumerate(zip(f.outs, bound.out_shapes, strict=True)):
            name = self.new_value(names[k] if k < len(names) else f"{f.name}_{o.name}", o.dtype, shape)
            made.append(name)
            if shape:
                sym = Symbol(name, "temp", o.dtype, shape, bound.span, name)
                outs.append(ArrayArg(sym, View(name, (), None, shape, bound.span), o.dtype, shape, bound.span))
            else:
                outs.append(Expr("load", (), name, o.dtype, bound.span))
        self.place.body.append(ModelCall(f.key, args, made, dict(bound.sizes), bound.span))
        return outs

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

    def _differentiable(self) -> None:
        from vibee.lower.model import loss_of
        from vibee.lower.model_backward import active_values, argument
        from vibee.lower.model_rules import differentiable, own_gradient

        m = self.model
        if loss_of(m) is None:
            return
        active = active_values(m)
        for s in m.body:
            for c in s.body if isinstance(s, Layers) else [s]:
                f = self.scope.program.by_key(c.fn)
                found = [(p, argument(a)) for p, a in zip(f.params, c.args, strict=True)]
                used = [(p, x[0]) for p, x in found if x is not None and x[0] in active]
                if not used or not any(is_float(o.dtype) for o in f.outs):
                    continue
                if not differentiable(self.scope.program, f):
                    what = f"the loss depends on {used[0][1]} through {f.name}, a procedure without a gradient"
                    self.report(SpecError(c.span, f"{what}; say implements(formula) or gradient(procedure) in it"))
                own = own_gradient(f)
                given = {o.name for o in self.scope.program.by_key(own).outs} if own is not None else None
                lost = [p.name for p, _ in used if given is not None and f"d_{p.name}" not in given]
                if lost:
                    what = f"the gradient of {f.name} does not give d_{lost[0]}, which the loss needs here"
                    self.report(SpecError(c.span, f"{what}; add that output to it"))


def _called(e: Expr) -> str:
    """The name of a surface call."""
    return str(e.attr[0])  # type: ignore[index]
