"""The weights of a model: their shapes, their initial values, and those of another model."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from vibee.tree.defs import Carry, Layers, Model, Param, Weight
from vibee.tree.expr import Expr, Span, const, free_vars, loads
from vibee.tree.types import REAL, is_float

from .body import BodyChecker
from .calls import Arg
from .errors import SpecError, listed, suggest
from .model_whole import WholeArrays
from .scope import Scope, Symbol
from .signature import fill
from .surface import RawDef, SFor, SLocal


@dataclass(slots=True)
class Place:
    """Where statements go: the model or a layer loop's body."""

    body: list
    layers: Layers | None = None
    carried: dict[str, Carry] = field(default_factory=dict)


class WeightChecker(WholeArrays, BodyChecker):
    """Checks the weights of one model; ModelChecker does the rest."""

    def __init__(self, scope: Scope, params: list[Param], outs: list[Param], sizes: dict[str, tuple]) -> None:
        super().__init__(scope, params, outs, sizes)
        raw = scope.raw
        self.model = Model(raw.name, scope.program.key(raw, scope.types), params, outs, sizes)
        fill(self.model, raw)
        self.place = Place(self.model.body)
        self.calls: list[Expr] = []  # what it says of calls of itself
        self.shared: list[Weight] = []  # another model's layered weights, visible in the layer loop
        self.reserved = {p.name for p in params} | set(sizes)
        self.later = {s.name for s in _declarations(scope.raw.body)}  # weights: no value has the name of one

    def weight(self, s: SLocal) -> None:
        """`w: real[C] = 0.0`, one per layer if it stands in a loop."""
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
        if any(o.name == s.name for o in self.outs):
            raise SpecError(s.span, f"'{s.name}' is an output; choose another name for the weight")
        shape = tuple(self.index(e) for e in s.type.shape)
        bad = self._no_sizes(shape)
        if bad:
            raise SpecError(s.type.span, f"a weight's shape is made of sizes, and {listed(bad)} is none")
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
            return self._settled(self.value(e, dtype))
        supplied: list[Arg] = [const(0, "u64", e.span), const(0, "u64", e.span)]
        bound = self.bind(e, dtype, [*supplied, *(self.check(a) for a in e.args)], [(const(1, "i64", e.span),)])
        f = bound.callee
        right = len(f.outs) == 1 and len(f.outs[0].shape) == 1 and f.outs[0].dtype == dtype
        if not right or [p.dtype for p in f.params[:2]] != ["u64", "u64"]:
            how = f"that takes a procedure (key: u64, stream: u64, ...numbers) -> x({dtype}[N])"
            raise SpecError(e.span, f"{f.name} can't give initial values; {how}")
        numbers = tuple(self._settled(a) for a in bound.args[2:] if isinstance(a, Expr))
        return Expr("call", numbers, f.key, dtype, e.span)

    def _settled(self, e: Expr) -> Expr:
        """A number that is there before the model runs, and the same for all layers."""
        numbers = {p.name for p in self.model.params if p.kind == "scalar"}
        bad = {str(n.attr) for n in loads(e)} | free_vars(e) - numbers - set(self.model.sizes)
        if bad:
            what = f"an initial value is made of sizes and of numbers that the model takes, and {min(bad)} is neither"
            raise SpecError(e.span, f"{what}; write another number")
        return e

    def of_sizes(self, what: str, shape: tuple[Expr, ...], span: Span) -> None:
        """Memory is planned before the model runs: nothing else says how large anything is."""
        bad = self._no_sizes(shape)
        if bad:
            how = f"declare it as {bad[0]}: size" if bad[0] in self.reserved else "write a size"
            raise SpecError(span, f"{what} is made of sizes, and {listed(bad)} is none; {how}")

    def _no_sizes(self, shape: tuple[Expr, ...]) -> list[str]:
        names = {n for e in shape for n in free_vars(e) | {str(x.attr) for x in loads(e)}}
        return sorted(names - set(self.model.sizes))

    def weights_of(self, e: Expr) -> None:
        """`weights(other)`: they are those of another model."""
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
            if self.scope.local(w.name) is not None or any(o.name == w.name for o in self.outs):
                raise SpecError(e.span, f"'{w.name}' is a weight of {name}; give what has this name here another one")
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


def _declarations(body: list) -> list[SLocal]:
    """The weights that statements declare, those in loops too."""
    inside = [x for s in body if isinstance(s, SFor) for x in _declarations(s.body)]
    return [s for s in body if isinstance(s, SLocal)] + inside
