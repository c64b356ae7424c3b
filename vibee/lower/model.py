"""Model -> procedures: sizes, initial weights, forward, loss, gradient; the last three with a plan of memory."""

from __future__ import annotations

from dataclasses import dataclass

from ..tree.defs import Alloc, Call, Model, Param, Procedure, Store, View
from ..tree.expr import Expr, const, free_vars, loads, var
from ..tree.poly import Sizes
from ..tree.types import is_float
from .model_backward import Backward
from .model_emit import Planned, finish, free_name
from .model_forward import forward, op
from .model_layout import layout, weights_length
from .model_rules import suffixed
from .model_small import fill, narrowed
from .model_steps import Registry, Work


@dataclass(slots=True)
class Lowered:
    """All that is derived from a model; `loss` and `gradient` are None for a model without a loss."""

    model: Model
    init: Procedure
    sizes: Procedure
    forward: Planned
    loss: Planned | None
    gradient: Planned | None

    @property
    def arena(self) -> Expr:
        """A: elements of the arena that is enough for all of them."""
        total = self.forward.arena
        for p in (self.loss, self.gradient):
            if p is not None:
                total = Expr("max", (total, p.arena), None, "i64")
        return total

    @property
    def planned(self) -> list[Planned]:
        """The procedures that have a plan of memory."""
        return [p for p in (self.forward, self.loss, self.gradient) if p is not None]

    @property
    def procedures(self) -> list[Procedure]:
        """What is emitted."""
        return [self.sizes, self.init, *(p.procedure for p in self.planned)]


def loss_of(m: Model) -> str | None:
    """The output that is differentiated: the first one that is a float number."""
    if any(p.kind == "mut" for p in m.params) or narrow(m):
        return None
    return next((o.name for o in m.outs if not o.shape and is_float(o.dtype)), None)


def narrow(m: Model) -> bool:
    """Are the weights kept in bf16?"""
    return m.weights_dtype == "bf16"


def model_dtype(m: Model) -> str:
    """The dtype of the arena, and of the weights if they are not kept in another one."""
    return "f32" if narrow(m) else m.weights_dtype


def _work(m: Model, program: Registry) -> Work:
    return Work(m, program, Sizes(m.given), model_dtype(m))


def lower_model(m: Model, program: Registry) -> Lowered:
    """The procedures of a model; definitions that they need are added to the program."""
    w = _work(m, program)
    forward(w, m.outs, keep=False)
    ahead = finish(w, "forward", list(m.outs), f"The outputs of {m.name}; derived.")
    only = back = None
    name = loss_of(m)
    if name is not None:
        loss = m.param(name)
        w = _work(m, program)
        forward(w, [loss], keep=False)
        only = finish(w, "loss", [loss], f"The loss of {m.name}; derived.")
        w = _work(m, program)
        forward(w, [loss], keep=True)
        Backward(w).run(name)
        back = finish(w, "gradient", [loss], f"The loss of {m.name} and its gradient by every weight; derived.", True)
    return Lowered(m, _init(m, program), _sizes(m, program, ahead, only, back), ahead, only, back)


def _sizes(m: Model, program: Registry, *planned: Planned | None) -> Procedure:
    """`<model>_sizes(sizes...) -> (weights, forward, loss, gradient)`: lengths of the arrays to bring."""
    lengths = [weights_length(m), *(p.arena if p is not None else const(0, "i64") for p in planned)]
    names = set().union(*map(free_vars, lengths))
    params = [Param(n, "size", "i64") for n in m.sizes if n in names]
    taken = set(names)
    outs = [Param(free_name(f"{x}_length", taken), "out", "i64") for x in ("weights", "forward", "loss", "gradient")]
    body: list = [Store(o.name, (), e) for o, e in zip(outs, lengths, strict=True)]
    sizes: dict[str, tuple] = {p.name: ("param", p.name) for p in params}
    return Procedure(f"{m.name}_sizes", suffixed(program, m.key, "sizes"), params, outs, sizes, _known(m, params),
                     doc=f"Lengths of the weights of {m.name} and of the arenas; derived.", module=m.module,
                     span=m.span, body=body)  # fmt: skip


def _known(m: Model, params: list[Param]) -> list[Expr]:
    """What is given of these sizes alone."""
    names = {p.name for p in params}
    return [g for g in m.given if free_vars(g) <= names and not any(True for _ in loads(g))]


def _init(m: Model, program: Registry) -> Procedure:
    dtype = model_dtype(m)
    names: set[str] = set()
    for e in [weights_length(m)] + [a for x in m.weights if x.init is not None for a in x.init.args]:
        names |= free_vars(e)
    home = program.by_key(m.shares) if m.shares else m  # whose initial values these are
    by_name = {p.name: p for p in (*home.params, *m.params)}
    key = "key" if "key" not in names else "key_"
    params = [Param(key, "scalar", "u64")]
    own = {p.name for p in m.params if p.kind == "size"}  # all of them: callers pass what they have
    params += [by_name[n] if n in own else Param(n, "size", "i64") for n in m.sizes if n in names | own]
    params += [p for p in home.params if p.kind == "scalar" and p.name in names]
    flat, wide = (free_name(x, set(names)) for x in ("weights", "wide"))
    into = wide if narrow(m) else flat
    total = weights_length(m)
    body: list = [Alloc(wide, dtype, (total,), zero=False)] if narrow(m) else []

    def part(array: str, lo: Expr, n: Expr) -> View:
        return View(array, (), (lo, op("add", lo, n)), (n,))

    places = layout(m)
    for stream, p in enumerate(places):
        target = part(into, p.offset, p.total)
        x = p.weight.init if p.weight.init is not None else const(0.0, dtype)
        if x.op == "call":
            f = program.by_key(str(x.attr))
            args = [var(key, "u64"), const(stream, "u64"), *x.args]
            body.append(Call(f.key, args, [target], dict.fromkeys(f.sizes, p.total), p.weight.span))
        else:
            body.append(Call(fill(program, dtype), [x], [target], {"N": p.total}, p.weight.span))
    if narrow(m):
        whole = [part(array, const(0, "i64"), total) for array in (wide, flat)]
        body.append(Call(narrowed(program, dtype), whole[:1], whole[1:], {"N": total}, m.span))
    sizes = {p.name: ("param", p.name) for p in params if p.kind == "size"}
    out = Param(flat, "out", m.weights_dtype, (total,))
    return Procedure(f"{m.name}_init", suffixed(program, m.key, "init"), params, [out], sizes, _known(m, params),
                     doc=f"Initial weights of {m.name}; derived.", module=m.module, span=m.span,
                     body=body)  # fmt: skip
