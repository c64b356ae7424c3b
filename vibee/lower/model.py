"""Model -> procedures: initial weights, forward, gradient, each with one plan of memory."""

from __future__ import annotations

from dataclasses import dataclass

from ..tree.defs import Call, Model, Param, Procedure, View
from ..tree.expr import Expr, const, free_vars, var
from ..tree.poly import Sizes
from ..tree.types import is_float
from .model_backward import Backward
from .model_emit import Planned, finish
from .model_forward import declare, forward, op
from .model_layout import gaps, layout, weights_length
from .model_small import fill
from .model_steps import Registry, Work


@dataclass(slots=True)
class Lowered:
    """All that is derived from a model; `gradient` is None for a model without a loss."""

    model: Model
    init: Procedure
    forward: Planned
    gradient: Planned | None

    @property
    def arena(self) -> Expr:
        """A: elements of the arena that is enough for both."""
        if self.gradient is None:
            return self.forward.arena
        return Expr("max", (self.forward.arena, self.gradient.arena), None, "i64")

    @property
    def procedures(self) -> list[Procedure]:
        """What is emitted."""
        return [self.init, self.forward.procedure] + ([self.gradient.procedure] if self.gradient else [])


def loss_of(m: Model) -> str | None:
    """The output that is differentiated: the first one that is a float number."""
    if any(p.kind == "mut" for p in m.params):
        return None
    return next((o.name for o in m.outs if not o.shape and is_float(o.dtype)), None)


def model_dtype(m: Model) -> str:
    """The dtype of the weights and of the arena."""
    return m.weights[0].dtype if m.weights else "f32"


def _work(m: Model, program: Registry) -> Work:
    w = Work(m, program, Sizes(m.given), model_dtype(m))
    declare(w)
    return w


def lower_model(m: Model, program: Registry) -> Lowered:
    """The procedures of a model; definitions that they need are added to the program."""
    w = _work(m, program)
    forward(w, keep=False)
    ahead = finish(w, "forward", list(m.outs), f"The outputs of {m.name} for given weights; derived.")
    back = None
    loss = loss_of(m)
    if loss is not None and m.weights:
        w = _work(m, program)
        forward(w, keep=True)
        Backward(w).run(loss)
        grads = Param("grads", "out", w.dtype, (weights_length(m),))
        while any(p.name == grads.name for p in (*m.params, *m.outs)):
            grads.name += "_"
        back = finish(w, "gradient", [*m.outs, grads], f"The gradient of {m.name} by every weight; derived.")
    return Lowered(m, _init(m, program), ahead, back)


def _init(m: Model, program: Registry) -> Procedure:
    dtype = model_dtype(m)
    names: set[str] = set()
    for e in [weights_length(m)] + [a for x in m.weights if x.init is not None for a in x.init.args]:
        names |= free_vars(e)
    by_name = {p.name: p for p in m.params}
    key = "key" if "key" not in names else "key_"
    params = [Param(key, "scalar", "u64")]
    params += [by_name[n] if n in by_name else Param(n, "size", "i64") for n in [*m.sizes] if n in names]
    params += [p for p in m.params if p.kind == "scalar" and p.name in names]
    flat = "weights" if "weights" not in names else "weights_"
    body: list = []

    def part(lo: Expr, n: Expr) -> View:
        return View(flat, (), (lo, op("add", lo, n)), (n,))

    places = layout(m)
    for stream, p in enumerate(places):
        target = part(p.offset, p.total)
        x = p.weight.init if p.weight.init is not None else const(0.0, dtype)
        if x.op == "call":
            f = program.by_key(str(x.attr))
            args = [var(key, "u64"), const(stream, "u64"), *x.args]
            body.append(Call(f.key, args, [target], dict.fromkeys(f.sizes, p.total), p.weight.span))
        else:
            body.append(Call(fill(program, dtype), [x], [target], {"N": p.total}, p.weight.span))
    for lo, hi in gaps(places):
        body.append(Call(fill(program, dtype), [const(0.0, dtype)], [part(lo, op("sub", hi, lo))],
                         {"N": op("sub", hi, lo)}))  # fmt: skip
    sizes = {p.name: ("param", p.name) for p in params if p.kind == "size"}
    return Procedure(f"{m.name}_init", f"{m.key}_init", params, [Param(flat, "out", dtype, (weights_length(m),))],
                     sizes, [], doc=f"Initial weights of {m.name}; derived.", module=m.module, span=m.span,
                     body=body)  # fmt: skip
