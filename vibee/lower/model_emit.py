"""From steps on named values to a procedure: lifetimes, the memory plan, addresses, statements."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ..tree.defs import Alloc, Call, Decl, For, Param, Procedure, View
from ..tree.expr import Expr, const, free_vars, load, var
from .model_forward import ONE, op
from .model_layout import layout, weights_length
from .model_rules import suffixed
from .model_steps import Do, Loop, Ref, Value, Work
from .plan import Buffer, Plan, make_plan, times

ZERO = const(0, "i64")


@dataclass(slots=True)
class Span:
    """When a value is in use, and in which loops."""

    first: int
    last: int
    loops: set[int | None] = field(default_factory=set)


@dataclass(slots=True)
class Lives:
    """The uses of every value on the line of time of a procedure."""

    spans: dict[str, Span] = field(default_factory=dict)
    extent: dict[int, tuple[int, int]] = field(default_factory=dict)  # of loops, by their place in the steps


def lives(w: Work) -> Lives:
    """Walks the steps in order; a step is one moment, a loop's body is one stretch."""
    out = Lives()
    now = 0

    def touch(d: Do, loop: int | None) -> None:
        for r in d.refs():
            name = w.resolve(r).value
            span = out.spans.setdefault(name, Span(now, now))
            span.last = now
            span.loops.add(loop)

    for k, s in enumerate(w.steps):
        if isinstance(s, Do):
            now += 1
            touch(s, None)
            continue
        start = now + 1
        for d in s.steps:
            now += 1
            touch(d, k)
        out.extent[k] = (start, max(start, now))
    return out


def stack(w: Work, found: Lives) -> None:
    """A value of a layer loop that is used outside of that loop is kept for every layer."""
    for name, span in found.spans.items():
        v = w.values[name]
        if v.loop is not None and v.copies is None and len(span.loops) > 1:
            # another loop may have a variable of that name, and another count
            loops = [s for k in span.loops if k is not None and isinstance(s := w.steps[k], Loop)]
            v.copies = next(s.count for s in loops if s.var == v.loop)


def buffers(w: Work, found: Lives) -> list[Buffer]:
    """What the arena must hold, with lifetimes."""
    out = []
    for name, span in found.spans.items():
        v = w.values[name]
        if v.home != "arena":
            continue
        first, last = span.first, span.last
        private = v.loop is not None and v.copies is None
        for loop in span.loops:
            if loop is not None and not private:
                first, last = min(first, found.extent[loop][0]), max(last, found.extent[loop][1])
        out.append(Buffer(name, times(w.sizes.numel(v.shape), v.copies, w.sizes), first, last))
    return out


class Writer:
    """Turns the steps of a planned work into statements."""

    def __init__(self, w: Work, plan: Plan, arena: str, names: dict[str, str]) -> None:
        self.w, self.plan, self.arena, self.names = w, plan, arena, names
        self.slots: list[str] = []
        self.offsets: dict[str, str] = {}  # of parameters, by their value's name
        self.locals: dict[str, str] = {}  # the arrays of values that are not in the arena
        self.taken = {p.name for p in (*w.model.params, *w.model.outs)} | set(names.values()) | {arena}
        self.taken |= set(w.model.sizes) | loop_variables(w)

    def _name(self, stem: str) -> str:
        while stem in self.taken:
            stem += "_"
        self.taken.add(stem)
        return stem

    def statements(self) -> list:
        """The whole body."""
        body: list = []
        at: Expr = ZERO
        for k, size in enumerate(self.plan.sizes):
            name = self._name(f"at_{k}")
            body.append(Decl(name, "i64", at))
            self.slots.append(name)
            at = op("add", var(name), size)
        for place in layout(self.w.model):
            name = self._name(f"off_{place.weight.name}")
            body.append(Decl(name, "i64", place.offset))
            self.offsets[place.weight.name] = name
        used = {self.w.resolve(r).value for d in every(self.w) for r in d.refs()}
        for v in self.w.values.values():
            if v.home == "local" and v.name in used:
                n = self.w.sizes.expr(times(self.w.sizes.numel(v.shape), v.copies, self.w.sizes))
                self.locals[v.name] = self._name(v.name.replace(" ", "_"))
                body.append(Alloc(self.locals[v.name], v.dtype, (n,), zero=False))
        for s in self.w.steps:
            body.append(self._call(s, None) if isinstance(s, Do) else self._loop(s))
        return body

    def _loop(self, s: Loop) -> For:
        calls: list = [self._call(d, s.var) for d in s.steps]
        if not s.reverse:
            return For(s.var, ZERO, s.count, calls)
        back = self._name(f"{s.var}_back")
        here = op("sub", op("sub", s.count, ONE), var(back))
        return For(back, ZERO, s.count, [Decl(s.var, "i64", here), *calls])

    def _base(self, v: Value, r: Ref, loop: str | None) -> tuple[str, Expr]:
        """The array that holds a value, and the position of its first element there."""
        size = self.w.sizes.expr(self.w.sizes.numel(v.shape))
        if v.home == "arena":
            array, at = self.arena, var(self.slots[self.plan.slot_of[v.name]])
        elif v.home == "local":
            array, at = self.locals[v.name], ZERO
        else:
            assert v.offset is not None
            array = self.names[v.home]
            known = self.offsets.get(v.name.removeprefix("grad of "))
            at = var(known) if known else v.offset
        index = r.index
        if index is None and v.copies is not None:
            index = var(loop or "")
        if index is not None and not (index.op == "const" and index.attr == 0):
            at = op("add", at, op("mul", index, size))
        return array, at

    def view(self, r: Ref, loop: str | None) -> View | Expr:
        """An argument of a call."""
        r = self.w.resolve(r)
        v = self.w.values[r.value]
        if v.home == "param":
            return load(v.name, (), v.dtype) if r.number else View(v.name, r.lead, r.part, r.shape)
        array, at = self._base(v, r, loop)
        if r.number:
            return load(array, (at,), v.dtype)
        n = self.w.sizes.expr(self.w.sizes.numel(r.shape))
        return View(array, (), (at, op("add", at, n)), r.shape)

    def _call(self, d: Do, loop: str | None) -> Call:
        args = [self.view(a, loop) if isinstance(a, Ref) else a for a in d.args]
        return Call(d.fn, args, [self.view(o, loop) for o in d.outs], d.sizes, d.span)


@dataclass(slots=True)
class Planned:
    """A model's procedure with the plan that it follows."""

    procedure: Procedure
    plan: Plan
    arena: Expr  # its length
    work: Work


def finish(w: Work, what: str, outs: list[Param], doc: str, grads: bool = False) -> Planned:
    """The procedure `<model>_<what>(weights, inputs..., arena, sizes...) -> outs[, grads]`."""
    m = w.model
    found = lives(w)
    stack(w, found)
    plan = make_plan(buffers(w, found), w.sizes)
    total: Expr = ZERO
    for size in plan.sizes:
        total = size if total is ZERO else op("add", total, size)
    names = {p.name for p in (*m.params, *m.outs)} | set(m.sizes) | loop_variables(w)
    flat, flat_grads, arena, room_name, length = (
        free_name(x, names) for x in ("weights", "grads", "arena", "arena_size", "weights_size")
    )
    taken = {"weights": flat, "grads": flat_grads, "sizes": length, "room": room_name}
    body = Writer(w, plan, arena, taken).statements()
    if grads:
        outs = [*outs, Param(flat_grads, "out", w.dtype, (var(length),))]
    sizes = {**m.sizes, length: ("arg", flat, 0), room_name: ("arg", arena, 0)}
    weights, memory = var(length), var(room_name)
    given = [
        *m.given,
        Expr("eq", (weights, weights_length(m)), None, "bool"),
        Expr("ge", (memory, total), None, "bool"),
    ]
    # A number that only initial weights depend on is no argument here.
    used = {n for d in every(w) for a in d.args if isinstance(a, Expr) for n in free_vars(a)}
    used |= {n for g in given for n in free_vars(g)}
    numbers = [p for p in m.params if p.kind == "scalar" and p.default is not None and p.name in used]
    params = [
        Param(flat, "in", m.weights_dtype, (var(length),)),
        *(p for p in m.params if p.kind != "size" and p.default is None),
        Param(arena, "mut", w.dtype, (var(room_name),)),
        *(p for p in m.params if p.kind == "size"),
        *numbers,
    ]
    p = Procedure(f"{m.name}_{what}", suffixed(w.program, m.key, what), params, outs, sizes, given, doc=doc,
                  module=m.module, span=m.span, body=body)  # fmt: skip
    return Planned(p, plan, total, w)


def loop_variables(w: Work) -> set[str]:
    """The names of all layer loops' variables."""
    return {s.var for s in w.steps if isinstance(s, Loop)}


def every(w: Work) -> Iterator[Do]:
    """The steps of a work, those in loops too."""
    for s in w.steps:
        yield from [s] if isinstance(s, Do) else s.steps


def free_name(name: str, taken: set[str]) -> str:
    """A name that is not taken yet."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name
