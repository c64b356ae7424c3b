"""Reverse mode over a model's steps: every call becomes a call of its gradient, last one first.

Cotangents are named values like any other.  A value used several times gets a list of
contributions, added in one pass when its own definition is reached.  A contribution that is an
unchanged cotangent (the branches of a sum) costs nothing: it is the same value.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..tree.defs import Definition, Layers, Model, ModelCall, Param, View
from ..tree.expr import Expr, const, var
from ..tree.types import is_float
from .model_forward import ONE, TWO, op, seen
from .model_layout import layout
from .model_rules import bind_sizes, cotangent_dtype, rule
from .model_small import accumulate_step, add_step, fill_step
from .model_steps import Do, Loop, Ref, Value, Work

Parts = dict[str, list[Ref]]  # the contributions to the cotangent of each value


def argument(a: object) -> tuple[str, Ref] | None:
    """The value that an argument of a call is, and how the callee sees it."""
    if isinstance(a, View):
        return a.array, Ref(a.array, a.shape, None, a.lead, a.part)
    if isinstance(a, Expr) and a.op == "load":
        return str(a.attr), Ref(str(a.attr), (), number=True)
    return None


def active_values(m: Model) -> set[str]:
    """The values that depend on a weight through floats: those that have a cotangent."""
    active = {x.name for x in m.weights if is_float(x.dtype)}

    def call(c: ModelCall) -> None:
        names = [found[0] for a in c.args if (found := argument(a))]
        if any(n in active for n in names):
            active.update(n for n in c.outs if is_float(m.values[n].dtype))

    for s in m.body:
        if isinstance(s, ModelCall):
            call(s)
            continue
        before = -1
        while before != len(active):
            before = len(active)
            active.update(c.inner for c in s.carries if {c.init, c.last} & active)
            for c in s.body:
                call(c)
        active.update(c.result for c in s.carries if {c.init, c.last} & active)
    return active


@dataclass(slots=True)
class Site:
    """A call being differentiated.

    `found`: the values that its parameters get.  `given`: the cotangents of its outputs.
    """

    call: ModelCall
    f: Definition
    found: dict[str, tuple[str, Ref]]
    given: dict[str, Ref]


class Backward:
    """The walk back over a model's body."""

    def __init__(self, w: Work) -> None:
        self.w = w
        self.active = active_values(w.model)
        self.made_in: dict[str, str | None] = {}  # cotangents that a step writes, and in which loop
        self.mentions: dict[str, int] = {}  # how many contributions a cotangent is part of
        self.out: list[Do | Loop] = []  # where steps go: the procedure or a loop's body
        self.loop: str | None = None
        self.outer: list[Do | Loop] = []

    def run(self, loss: str) -> None:
        """Appends all steps; `loss` is the output with cotangent 1."""
        w, m = self.w, self.w.model
        self.out = w.steps  # type: ignore[assignment]
        for place in layout(m):
            x = place.weight
            name = f"grad of {x.name}"
            w.values[name] = Value(name, x.dtype, x.shape, "grads", None, place.weight.copies, place.offset)
        parts: Parts = {}
        o = m.param(loss)
        seed = self._new(f"d_{loss}", cotangent_dtype(o.dtype), ())
        self.out.append(fill_step(w, seed, 1.0, cotangent_dtype(o.dtype)))
        self._add(parts, m.results[loss], seed)
        reached: set[str] = set()
        for s in reversed(m.body):
            if isinstance(s, ModelCall):
                self._call(s, parts)
            elif any(parts.get(c.result) for c in s.carries):
                reached |= self._layers(s, parts, reached)
        for place in layout(m):
            x = place.weight
            target = Ref(f"grad of {x.name}", x.shape, const(0, "i64") if x.layered else None)
            if not x.layered:
                self._collect(parts.pop(x.name, []), target, x.dtype)
            elif x.name not in reached:
                assert x.copies is not None
                target.shape = (x.copies, *x.shape)
                self.out.append(fill_step(w, target, 0.0, x.dtype))

    def _new(self, stem: str, dtype: str, shape: tuple[Expr, ...]) -> Ref:
        v = self.w.new(stem, dtype, shape, self.loop)
        self.made_in[v.name] = self.loop
        return Ref(v.name, shape)

    def _add(self, parts: Parts, value: str, term: Ref) -> None:
        parts.setdefault(value, []).append(term)
        self.mentions[term.value] = self.mentions.get(term.value, 0) + 1

    def _dtype(self, value: str) -> str:
        m = self.w.model
        return next((x.dtype for x in m.weights if x.name == value), None) or cotangent_dtype(m.values[value].dtype)

    def _total(self, parts: Parts, value: str) -> Ref | None:
        terms = parts.pop(value, [])
        if len(terms) < 2:
            return terms[0] if terms else None
        dtype = self._dtype(value)
        total = self._new(f"d_{value}", dtype, terms[0].shape)
        self.out.append(add_step(self.w, terms, total, dtype))
        return total

    def _movable(self, r: Ref) -> bool:
        """True for a cotangent that nothing else holds, written in the loop at hand."""
        here = r.value in self.made_in and self.made_in[r.value] == self.loop
        return here and self.mentions.get(r.value) == 1 and r.value not in self.w.same

    def _put(self, terms: list[Ref], target: Ref, dtype: str) -> None:
        """Writes the sum of the terms to a given place: straight from its call if there is only one."""
        if not terms:
            self.out.append(fill_step(self.w, target, 0.0, dtype))
        elif len(terms) == 1 and self._movable(terms[0]):
            self.w.same[terms[0].value] = target
            self.w.values.pop(terms[0].value)
        else:
            self.out.append(add_step(self.w, terms, target, dtype))

    def _collect(self, terms: list[Ref], target: Ref, dtype: str) -> None:
        """The same for a large target: one term is written there and the others are added to it."""
        first = next((t for t in terms if self._movable(t)), None)
        if first is None:
            self._put(terms, target, dtype)
            return
        self._put([first], target, dtype)
        for t in terms:
            if t is not first:
                self.out.append(accumulate_step(self.w, target, t, dtype))

    def _call(self, c: ModelCall, parts: Parts) -> None:
        w = self.w
        f = w.program.by_key(c.fn)
        given = {o.name: t for o, name in zip(f.outs, c.outs, strict=True)
                 if (t := self._total(parts, name)) is not None}  # fmt: skip
        found = {p.name: x for p, a in zip(f.params, c.args, strict=True) if (x := argument(a))}
        wanted = tuple(p.name for p in f.params if p.name in found and found[p.name][0] in self.active
                       and is_float(p.dtype) and p.kind != "size")  # fmt: skip
        if not given or not wanted:
            return
        r = rule(w.program, f, wanted)
        for p, o in r.copies.items():
            if o in given:
                self._add(parts, found[p][0], given[o])
        if not r.fn:
            return
        g = w.program.by_key(r.fn)
        site = Site(c, f, found, given)
        args = [self._argument(site, p, name) for p, name in zip(g.params, r.params, strict=True)]
        shapes = {p.name: x.shape for p, x in zip(g.params, args, strict=True) if isinstance(x, Ref) and not x.number}
        results = []
        for out, name in zip(g.outs, r.outs, strict=True):
            value, ref = found[name[2:]]
            d = self._new(f"d_{value}", out.dtype, ref.shape)
            shapes[out.name] = ref.shape
            results.append(d)
            if name[2:] in wanted:
                self._add(parts, value, d)
        self.out.append(Do(g.key, args, results, bind_sizes(g, shapes, c.sizes), c.span))

    def _argument(self, site: Site, p: Param, name: str) -> Ref | Expr:
        """What the gradient's parameter `p` gets, which stands for `name` of the forward."""
        c, f = site.call, site.f
        if name in site.found:
            return site.found[name][1]
        plain = {q.name: a for q, a in zip(f.params, c.args, strict=True)}
        if name in plain:
            return plain[name]  # type: ignore[no-any-return]
        outs = {o.name: (o, value) for o, value in zip(f.outs, c.outs, strict=True)}
        if name in outs:
            o, value = outs[name]
            return Ref(value, seen(o, c.sizes))
        if name.startswith("d_") and name[2:] in outs:
            o, value = outs[name[2:]]
            if o.name not in site.given:  # nothing depends on this output
                site.given[o.name] = self._new(f"d_{value}", self._dtype(value), self.w.model.values[value].shape)
                self.out.append(fill_step(self.w, site.given[o.name], 0.0, self._dtype(value)))
            d = site.given[o.name]
            if p.kind == "scalar":
                return Ref(d.value, (), d.index, number=True)
            return Ref(d.value, seen(o, c.sizes), d.index)
        return c.sizes[name]

    def _layers(self, s: Layers, parts: Parts, reached: set[str]) -> set[str]:
        """The loop backwards; gives the layered weights whose gradients it writes."""
        w, m = self.w, self.w.model
        two = {}
        for c in s.carries:
            if c.inner not in self.active:
                continue
            p = m.values[c.inner]
            box = w.new(f"d_{c.inner}_layers", cotangent_dtype(p.dtype), p.shape)
            box.copies = TWO
            two[c.inner] = box
            self._put(parts.pop(c.result, []), Ref(box.name, p.shape, op("mod", s.count, TWO)), box.dtype)
        outside, self.out, self.loop = self.out, [], s.var
        local: Parts = {}
        for c in s.carries:
            if c.inner in two:
                box = two[c.inner]
                following = op("mod", op("add", var(s.var), ONE), TWO)
                self._add(local, c.last, Ref(box.name, box.shape, following))
        for call in reversed(s.body):
            self._call(call, local)
        for c in s.carries:
            if c.inner in two:
                box = two[c.inner]
                self._put(local.pop(c.inner, []), Ref(box.name, box.shape, op("mod", var(s.var), TWO)), box.dtype)
        used = {found[0] for call in s.body for a in call.args if (found := argument(a))} | {c.last for c in s.carries}
        layered = {x.name: x for x in m.weights if x.layered and x.name in used}
        for x in layered.values():
            target, terms = Ref(f"grad of {x.name}", x.shape, var(s.var)), local.pop(x.name, [])
            if x.name in reached:  # a later loop has written its share
                self.out += [accumulate_step(w, target, t, x.dtype) for t in terms]
            else:
                self._put(terms, target, x.dtype)
        before: list[Do | Loop] = []
        sums = []
        for value in [v for v in local if v in self.active]:
            dtype, shape = self._dtype(value), w.model_shape(value)
            total = self._total(local, value)
            assert total is not None
            acc = w.new(f"d_{value}", dtype, shape)
            self.made_in[acc.name] = None
            before.append(fill_step(w, Ref(acc.name, shape), 0.0, dtype))
            self.out.append(accumulate_step(w, Ref(acc.name, shape), total, dtype))
            sums.append((value, Ref(acc.name, shape)))
        body, self.out, self.loop = self.out, outside, None
        self.out += before
        self.out.append(Loop(s.var, s.count, body, reverse=True))  # type: ignore[arg-type]
        for value, acc_ref in sums:
            self._add(parts, value, acc_ref)
        for c in s.carries:
            if c.init in self.active:
                box = two[c.inner]
                self._add(parts, c.init, Ref(box.name, box.shape, const(0, "i64")))
        return set(layered)
