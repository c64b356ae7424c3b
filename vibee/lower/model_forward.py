"""A model's body as steps on named values: storage of carried values, of outputs and of weights."""

from __future__ import annotations

from ..tree.defs import Layers, Model, ModelCall, Param, View
from ..tree.expr import Expr, const, substitute, var
from .model_layout import layout
from .model_small import add_step
from .model_steps import Do, Loop, Ref, Value, Work


def op(name: str, a: Expr, b: Expr) -> Expr:
    """Integer arithmetic on sizes."""
    return Expr(name, (a, b), None, "i64")


ONE = const(1, "i64")
TWO = const(2, "i64")


def declare(w: Work, outs: list[Param]) -> None:
    """Values for the model's inputs and weights, and for the outputs that are asked for."""
    for p in w.model.params:
        if p.shape or p.kind in ("in", "mut"):
            w.values[p.name] = Value(p.name, p.dtype, p.shape, "param")
    for place in layout(w.model):
        x = place.weight
        w.values[x.name] = Value(x.name, x.dtype, x.shape, "weights", None, x.copies, place.offset)
    for p in outs:
        w.values[p.name] = Value(p.name, p.dtype, p.shape, "param")


def _uses(items: list, out: dict[str, int]) -> dict[str, int]:
    """How often each value is read."""
    for s in items:
        if isinstance(s, ModelCall):
            for a in s.args:
                name = a.array if isinstance(a, View) else a.attr if isinstance(a, Expr) and a.op == "load" else None
                if name is not None:
                    out[str(name)] = out.get(str(name), 0) + 1
        else:
            _uses(s.body, out)
            for c in s.carries:
                out[c.init] = out.get(c.init, 0) + 1
                out[c.last] = out.get(c.last, 0) + 1
    return out


def seen(p: Param, sizes: dict[str, Expr]) -> tuple[Expr, ...]:
    """The shape of a callee's parameter in the caller's terms."""
    return tuple(substitute(e, sizes) for e in p.shape)


def forward(w: Work, outs: list[Param], keep: bool) -> None:
    """The steps of the model's body; with `keep`, carried values of all layers stay available."""
    declare(w, outs)
    Forward(w, outs, keep).run()


class Forward:
    """The walk over a model's body."""

    def __init__(self, w: Work, outs: list[Param], keep: bool) -> None:
        self.w, self.outs, self.keep = w, outs, keep
        self.written: set[str] = set()  # values that calls outside of layer loops define
        self.inside: set[str] = set()  # the same inside of the loop at hand

    def run(self) -> None:
        """Appends all steps to the work."""
        w, m = self.w, self.w.model
        direct = self._outputs(m)
        for i, s in enumerate(m.body):
            if isinstance(s, Layers):
                self._layers(s, _uses(m.body[i + 1 :], dict.fromkeys(m.results.values(), 1)))
            else:
                w.steps.append(self._call(s, None))
                self.written |= set(s.outs)
        for o in self.outs:
            if o.name not in direct:
                value = Ref(m.results[o.name], o.shape)
                w.steps.append(add_step(w, [value], Ref(o.name, o.shape), o.dtype))

    def _outputs(self, m: Model) -> set[str]:
        """Outputs whose values are written straight into them."""
        calls = {n for s in m.body if isinstance(s, ModelCall) for n in s.outs}
        carried = {c.init for s in m.body if isinstance(s, Layers) for c in s.carries}
        direct: set[str] = set()
        taken: set[str] = set()
        for o in self.outs:
            value = m.results[o.name]
            if value in calls and value not in taken and value not in carried:
                direct.add(o.name)
                taken.add(value)
                self.w.same[value] = Ref(o.name, o.shape)  # no value has the name of an output
        return direct

    def _call(self, c: ModelCall, loop: str | None) -> Do:
        w = self.w
        args: list[Ref | Expr] = []
        for a in c.args:
            if isinstance(a, View):
                args.append(Ref(a.array, a.shape, None, a.lead, a.part))
            elif isinstance(a, Expr) and a.op == "load":
                args.append(Ref(str(a.attr), (), number=True))
            else:
                args.append(a)
        outs = []
        f = w.program.by_key(c.fn)
        for name, o in zip(c.outs, f.outs, strict=True):
            p = w.model.values[name]
            assert name not in w.values, f"two values are called {name}"
            if name not in w.same:
                home = "arena" if p.dtype == w.dtype else "local"
                w.values[name] = Value(name, p.dtype, p.shape, home, loop)
            outs.append(Ref(name, seen(o, c.sizes)))
        return Do(c.fn, args, outs, c.sizes, c.span)

    def _layers(self, s: Layers, later: dict[str, int]) -> None:
        w = self.w
        here = _uses([s], {})
        inside = {n for c in s.body for n in c.outs}
        lasts: set[str] = set()
        copies: list[Do] = []
        for c in s.carries:
            p = w.model.values[c.inner]
            count = op("add", s.count, ONE) if self.keep else TWO
            home = "arena" if p.dtype == w.dtype else "local"
            box = f"layers of {c.inner}"  # no value of the model has such a name
            w.values[box] = Value(box, p.dtype, p.shape, home, None, count)

            def at(e: Expr, box: str = box, shape: tuple[Expr, ...] = p.shape) -> Ref:
                return Ref(box, shape, e if self.keep else op("mod", e, TWO))

            alone = c.init in self.written and here[c.init] == 1 and c.init not in later and c.init not in w.same
            if alone:
                w.same[c.init] = at(const(0, "i64"))
                w.values.pop(c.init, None)
            else:
                w.steps.append(add_step(w, [Ref(c.init, p.shape)], at(const(0, "i64")), p.dtype))
            w.same[c.inner] = at(var(s.var))
            following = at(op("add", var(s.var), ONE))
            if c.last in inside and c.last not in lasts:
                w.same[c.last] = following
                lasts.add(c.last)
            else:
                copies.append(add_step(w, [Ref(c.last, p.shape)], following, p.dtype))
            w.same[c.result] = at(s.count)
        body = [self._call(c, s.var) for c in s.body]
        w.steps.append(Loop(s.var, s.count, body + copies))
