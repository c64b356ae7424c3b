"""Procedures over models: `train_gpt2 = train(gpt2)` writes out `train` for one model and checks the result.

What the template says about its model becomes ordinary text: `m.P` a size expression, `m.gradient(...)` a call of
the derived procedure, a loop over `m.weights` one block per weight.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from vibee.lower.model import Lowered, lower_model
from vibee.lower.model_layout import Place, layout, weights_length
from vibee.tree.defs import Definition, Model
from vibee.tree.expr import Expr, Span, const, free_vars, loads, rebuild, substitute
from vibee.tree.types import REAL

from .errors import Known, SpecError, listed, suggest
from .surface import RawConst, RawDef, RawOut, RawParam, RawType, SExpr, SFor, SIf

if TYPE_CHECKING:
    from .modules import Module
    from .program import Program

NUMBERS = ("P", "A")
BLOCKS = ("body", "then", "orelse")  # the fields of statements that hold statements
FACTS = ("rank", "copies", "rows", "columns", "layered")


def make(program: Program, module: Module, made: RawConst) -> None:
    """Adds the definition `made.name`."""
    e = made.value
    if e.op != "call":
        raise SpecError(made.span, f"write {made.name} = template(model), or a constant")
    name = str(e.attr[0])  # type: ignore[index]
    found = [r for r in program.find(module, name) if any(p.type.base == "model" for p in r.params)]
    if not found:
        hint = suggest(name, program.callable_names(module)) or "; constants are numbers"
        raise SpecError(e.span, f"'{name}' is not a procedure with a parameter m: model{hint}")
    raw = found[0]
    if raw.broken:
        raise Known()
    takers = [p for p in raw.params if p.type.base == "model"]
    if len(e.args) != len(takers) or len(e.attr) > 1:  # type: ignore[arg-type]
        how = f"{name}({', '.join(p.name for p in takers)})"
        raise SpecError(e.span, f"{name} takes {len(takers)} model{'s' * (len(takers) > 1)}, as in {how}")
    out = replace(raw, name=made.name, params=[p for p in raw.params if p.type.base != "model"], names=set(raw.names),
                  doc=raw.doc, source=f"{raw.source}\n\n{made.name} = ...", span=raw.span)  # fmt: skip
    home = program.modules.home(raw)
    for p, a in zip(takers, e.args, strict=True):
        out = Maker(program, module, home, raw).apply(out, p.name, a)
    program.modules.adopt(out, home)
    if home is not module:
        module.own.setdefault(made.name, []).append(out)
    program._made[made.name] = out
    for types in program.type_choices(out):
        program.instantiate(out, types, made.span)


@dataclass(slots=True)
class Meaning:
    """What the parameter `name` of a template stands for."""

    name: str
    model: Model
    lowered: Lowered
    sizes: dict[str, Expr]  # the model's size names -> expressions of the procedure's
    arena: Expr
    calls: dict[str, str]  # part -> the name that it has in the template's module


class Maker:
    """Puts one model in the place of a template's parameter."""

    def __init__(self, program: Program, module: Module, home: Module, template: RawDef) -> None:
        self.program, self.module, self.home, self.template = program, module, home, template

    def apply(self, raw: RawDef, name: str, arg: Expr) -> RawDef:
        """`raw` without the parameter `name`; the model's sizes and numbers with defaults are appended."""
        models = self._models(arg)
        first = models[0]
        done: dict[str, Lowered] = self.program.__dict__.setdefault("_lowered_models", {})
        for m in models:
            if m.key not in done:
                done[m.key] = lower_model(m, self.program)
        lowered = [done[m.key] for m in models]
        used = {p.name for x in lowered[0].planned for p in x.procedure.params}  # not what only initial weights need
        taken = {n for n in raw.names if n != name}
        sizes: dict[str, Expr] = {}
        extra: list[RawParam] = []
        for p in first.params:
            if p.kind != "size" and (p.default is None or p.name not in used):
                continue
            new = p.name
            while new in taken:
                new = f"{first.name}_{new}"
            taken.add(new)
            sizes[p.name] = Expr("var", (), new, "", arg.span)
            base = "size" if p.kind == "size" else REAL if self.template.uses_real else p.dtype
            extra.append(RawParam(new, RawType(base, None, False, arg.span), p.default, arg.span))
        own = {p.name for p in raw.params if p.type.base == "size"}
        own |= {str(s.attr) for p in raw.params for s in p.type.shape or () if s.op == "var"}
        for size in first.sizes:
            if size not in sizes and size in own:
                sizes[size] = Expr("var", (), size, "", arg.span)
        calls = self._adopt(lowered)
        meaning = Meaning(name, first, lowered[0], sizes, lowered[0].arena, calls)
        put = Putter(meaning)
        return replace(
            raw,
            params=[*(put.param(p) for p in raw.params), *extra],
            outs=[replace(o, shape=tuple(map(put.expr, o.shape))) for o in raw.outs],
            body=[*self._given(meaning, put, arg.span), *put.block(raw.body)],
            names=taken,
        )

    def _given(self, meaning: Meaning, put: Putter, span: Span) -> list:
        """What the model asks of its sizes, the procedure asks too."""
        known = meaning.sizes.keys()
        own = [g for g in meaning.model.given if free_vars(g) <= known and not any(True for _ in loads(g))]
        if not own:
            return []
        return [SExpr(Expr("call", tuple(put.size(g, span) for g in own), ("given",), "", span), span)]

    def _models(self, arg: Expr) -> list[Model]:
        """The instances of the model that the template is made for."""
        if arg.op != "var":
            raise SpecError(arg.span, "a model is given by its name")
        raws = [r for r in self.program.find(self.module, str(arg.attr)) if r.kind == "model"]
        if not raws:
            hint = suggest(str(arg.attr), self.program.callable_names(self.module))
            raise SpecError(arg.span, f"there is no model '{arg.attr}'{hint}")
        choices = [{REAL: "f32"}, {REAL: "f64"}] if self.template.uses_real else [{REAL: "f32"}]
        if not raws[0].uses_real:
            choices = [{}]
        out = []
        for types in choices:
            m = self.program.instantiate(raws[0], types, arg.span)
            assert isinstance(m, Model)
            out.append(m)
        return out

    def _adopt(self, lowered: list[Lowered]) -> dict[str, str]:
        """Makes the derived procedures callable in the template's module."""
        names: dict[str, str] = {}
        for low in lowered:
            for p in low.procedures:
                part = p.name.removeprefix(f"{low.model.name}_")
                names[part] = f"{low.model.module}.{low.model.name}.{part}"
                known = self.home.own.get(names[part], [])
                if all(self.program.key(r, {}) != p.key for r in known):
                    adopt(self.program, self.home, names[part], p)
        return names


def adopt(program: Program, module: Module, name: str, d: Definition) -> None:
    """Lets a definition that has no text be called as `name` in `module`."""
    params = [RawParam(p.name, RawType("size" if p.kind == "size" else p.dtype, p.shape or None, p.kind == "mut"))
              for p in d.params]  # fmt: skip
    raw = RawDef("procedure", name, params, [RawOut(o.name, o.dtype, o.shape) for o in d.outs], [], module=d.module)
    program.modules.adopt(raw, module)
    place = program._id(raw, {})
    program._names[place] = d.key
    program._heads[place] = program._whole[place] = program.add(d)


class Putter:
    """Rewrites the text of a template for one meaning of its model parameter."""

    def __init__(self, meaning: Meaning) -> None:
        self.m = meaning

    def param(self, p: RawParam) -> RawParam:
        """A parameter whose shape may speak of the model."""
        if p.type.shape is None:
            return p
        return replace(p, type=replace(p.type, shape=tuple(map(self.expr, p.type.shape))))

    def block(self, stmts: list) -> list:
        """Statements; loops over weights are written out."""
        out: list = []
        for s in stmts:
            if isinstance(s, SFor) and s.iter.op == "attr" and self._mine(s.iter.args[0]):
                if s.iter.attr != "weights":
                    raise SpecError(s.iter.span, f"a loop runs over {self.m.name}.weights, not over its {s.iter.attr}")
                for place in layout(self.m.model):
                    body = _map(s.body, OneWeight(self, s.var, place).expr)
                    out.append(SIf(const(True, "", s.span), self.block(body), [], s.span))
                continue
            changes = {f.name: self.block(getattr(s, f.name)) for f in fields(s) if f.name in BLOCKS}
            out.append(replace(_expressions(s, self.expr), **changes))
        return out

    def _mine(self, e: Expr) -> bool:
        return e.op == "var" and e.attr == self.m.name

    def expr(self, e: Expr) -> Expr:
        """An expression in which the model is written out."""
        if e.op == "attr" and self._mine(e.args[0]):
            if e.attr == "P":
                return self.size(weights_length(self.m.model), e.span)
            if e.attr == "A":
                return self.size(self.m.arena, e.span)
            if e.attr in self.m.sizes:
                return _at(self.m.sizes[str(e.attr)], e.span)
            known = [*NUMBERS, "weights", *self.m.calls]
            hint = suggest(str(e.attr), known)
            raise SpecError(e.span, f"a model has no part '{e.attr}'{hint}; it has {listed(known)}")
        if e.op == "mcall" and self._mine(e.args[0]):
            return self._call(e)
        if self._mine(e):
            raise SpecError(e.span, f"'{e.attr}' is a model; use its parts, as in {e.attr}.gradient(...)")
        return rebuild(e, self.expr)

    def _call(self, e: Expr) -> Expr:
        part, *keys = e.attr  # type: ignore[misc]
        if part not in self.m.calls:
            raise SpecError(e.span, f"the model {self.m.model.name} has no '{part}'; it has {listed(self.m.calls)}")
        args = [self.expr(a) for a in e.args[1:]]
        procedure = next(p for p in self.m.lowered.procedures if p.name == f"{self.m.model.name}_{part}")
        more = [p.name for p in procedure.params if p.name in self.m.sizes and p.name not in keys and not p.is_array]
        return Expr("call", (*args, *(self.m.sizes[n] for n in more)), (self.m.calls[part], *keys, *more), "", e.span)

    def size(self, e: Expr, span: Span) -> Expr:
        """A size of the model in the procedure's names."""
        missing = free_vars(e) - self.m.sizes.keys()
        if missing:
            name = min(missing)
            what = f"this depends on the size {name} of {self.m.model.name}"
            raise SpecError(span, f"{what}; the procedure needs a size of that name, as in {name}: size")
        return _at(substitute(e, self.m.sizes), span)


class OneWeight:
    """Rewrites the body of a loop over weights for one of them."""

    def __init__(self, putter: Putter, name: str, place: Place) -> None:
        self.putter, self.name, self.place = putter, name, place

    def expr(self, e: Expr) -> Expr:
        """`view(flat, w)` and `w.rank` written out."""
        w = self.place.weight
        if e.op == "call" and e.attr == ("view",) and len(e.args) == 2 and self._mine(e.args[1]):
            flat = e.args[0]
            if flat.op != "var":
                what = f"a flat array of {self.putter.m.name}.P elements by its name"
                raise SpecError(flat.span, f"view(flat, {self.name}) takes {what}")
            lo, hi = (self.putter.size(x, e.span) for x in (self.place.offset, self.place.end))
            part = Expr("load", (Expr("slice", (lo, hi), None, "", e.span),), flat.attr, "", e.span)
            return Expr("call", (part, *self._shape(e.span)), ("view",), "", e.span)
        if e.op == "attr" and self._mine(e.args[0]):
            if e.attr == "rank":
                return const(len(w.shape), "", e.span)
            if e.attr == "layered":
                return const(w.layered, "", e.span)
            if e.attr in FACTS:
                return self._shape(e.span)[("copies", "rows", "columns").index(str(e.attr))]
            hint = suggest(str(e.attr), FACTS)
            raise SpecError(e.span, f"a weight has no part '{e.attr}'{hint}; it has {listed(FACTS)}")
        if self._mine(e):
            how = f"view(flat, {e.attr}) is its part of a flat array"
            raise SpecError(e.span, f"'{e.attr}' is a weight's place; {how}")
        return rebuild(e, self.expr)

    def _mine(self, e: Expr) -> bool:
        return e.op == "var" and e.attr == self.name

    def _shape(self, span: Span) -> tuple[Expr, Expr, Expr]:
        w = self.place.weight
        one = const(1, "i64", span)
        rows: Expr = one
        for k, x in enumerate(w.shape[:-1]):
            rows = x if k == 0 else Expr("mul", (rows, x), None, "i64")
        parts = (w.copies or one, rows, w.shape[-1] if w.shape else one)
        copies, rows, columns = (self.putter.size(x, span) for x in parts)
        return copies, rows, columns


def _at(e: Expr, span: Span) -> Expr:
    """An expression at another place of the text."""
    return replace(rebuild(e, lambda a: _at(a, span)), span=span)


def _expressions(s: Any, f: Callable[[Expr], Expr]) -> Any:
    """A surface statement with `f` applied to its own expressions, not to those of its blocks."""

    def go(x: Any) -> Any:
        if isinstance(x, Expr):
            return f(x)
        if isinstance(x, RawType):
            return replace(x, shape=None if x.shape is None else tuple(map(f, x.shape)))
        return x

    changes = {}
    for field in fields(s):
        value = getattr(s, field.name)
        if field.name in BLOCKS:
            continue
        changes[field.name] = [go(x) for x in value] if isinstance(value, list) else go(value)
    return replace(s, **changes)


def _map(stmts: list, f: Callable[[Expr], Expr]) -> list:
    """Surface statements with `f` applied to every expression."""
    out = []
    for s in stmts:
        changes = {x.name: _map(getattr(s, x.name), f) for x in fields(s) if x.name in BLOCKS}
        out.append(replace(_expressions(s, f), **changes))
    return out
