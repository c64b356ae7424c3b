"""Expressions of lowered code as Python functions of a frame, with every access watched."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from vibee.tree.defs import Definition, Procedure
from vibee.tree.expr import Expr, Span, free_vars, loads, show
from vibee.tree.product import FEATURE
from vibee.tree.types import is_float

from .domain import leaves_domain
from .memory import Array, Region
from .report import named, results
from .values import BINARY, FIT, UNARY, Value, bitcast, cast, constant, dot2, lanes, limits, pairs, shift

Run = Callable[["Frame"], Value]
KINDS = frozenset({"bounds", "race", "unwritten", "divisor", "overflow", "given", "endless", "shape", "overlap"})
STOPS = frozenset({"given", "shape", "overlap", "endless"})  # after these no run can go on


@dataclass(slots=True)
class Fault:
    """What went wrong in a run.

    `sizes`: those of the run.  `numbers`: its other arguments that are no arrays.  `indices`: the loop variables, and
    scalars of the index, where it happened.
    `other`: for a race, the loop variables of the other iteration.  `key`: the procedure that it is the fault of
    (for a race, the one with the parallel loop).  `array`: of a race, the array that the loop's procedure knows.
    `certain`: it is a fault; a loop that has not ended so far need be none.
    """

    kind: str
    span: Span
    text: str
    sizes: dict[str, int]
    indices: dict[str, int] = field(default_factory=dict)
    other: dict[str, int] = field(default_factory=dict)
    key: str = ""
    array: str = ""
    numbers: dict[str, Value] = field(default_factory=dict)
    certain: bool = True

    def __str__(self) -> str:
        return f"{self.span}: {self.told()}"

    def told(self) -> str:
        """What happened, and with which sizes, numbers and indices; two may have one name, one of them in a callee."""
        parts = [*self.sizes.items(), *self.numbers.items(), *self.indices.items()]
        texts = (f"{n}={v:.6g}" if isinstance(v, float) else f"{n}={v}" for n, v in parts)
        at = ", ".join(dict.fromkeys(texts))
        also = ", ".join(f"{n}={v}" for n, v in self.other.items())
        return f"{self.text}{' with ' + at if at else ''}{' and ' + also if also else ''}"


class Found(Exception):
    """A fault, on its way out of the run."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault


class Refused(Exception):
    """A run that cannot be made: the sizes or arguments break `given`, or it is too large."""


@dataclass(slots=True)
class Frame:
    """One activation of a procedure."""

    procedure: Definition
    base: int  # parallel loops that were running when it began
    env: dict[str, Value] = field(default_factory=dict)
    arrays: dict[str, Array] = field(default_factory=dict)
    loops: list[str] = field(default_factory=list)


class Expressions:
    """Makes functions of expressions for one procedure after the other."""

    number: Callable[[Frame, str, list[Value], Span], Value]  # the result of a function of numbers

    def __init__(self, lookup: Callable[[str], Procedure], kinds: frozenset[str], steps: int) -> None:
        self.lookup, self.kinds, self.limit = lookup, kinds, steps
        self.sizes: dict[str, int] = {}
        self.numbers: dict[str, Value] = {}  # the other arguments of the run that are no arrays
        self.regions: list[Region] = []
        self.first: list[Run] = []  # for each region, what its iteration declares at its start
        self.names: set[str] = set()  # arrays of the procedure that is being read
        self.indices: set[str] = set()  # its scalars that indices depend on: their arithmetic must fit 64 bits
        self.shared: list[set[str]] = []  # for each parallel loop around, the outer scalars it assigns
        self.lacks = {FEATURE}  # of the processor's features; tiles of 32 rows make runs on small sizes long
        self.top: Definition | None = None
        self.spoken: dict[str, dict[str, str]] = {}  # how a spec names the locals of its outputs
        self.every: dict[tuple[str, Span], Fault] | None = None  # where all faults are noted instead of the first
        self.checked: Callable[[str], Definition] | None = None  # definitions as they are written, where they are known
        self.outside: dict[Span, tuple[str, dict[str, int]]] = {}  # see note_outside

    # ---- faults

    def found(
        self,
        f: Frame,
        kind: str,
        span: Span,
        text: str,
        more: dict[str, int] | None = None,
        other: dict[str, int] | None = None,
        key: str = "",
        array: str = "",
        certain: bool = True,
    ) -> None:
        """Stop with a fault, if its kind is looked for; or note it and go on as the generated code would."""
        if kind not in self.kinds:
            return
        if f.procedure.key not in self.spoken:
            self.spoken[f.procedure.key] = results(f.procedure)
        names = self.spoken[f.procedure.key]
        text = named(text, names)
        indices = {n: f.env[n] for n in f.loops} | {names.get(n, n): x for n, x in (more or {}).items()}
        where = "" if f.base == 0 and f.procedure is self.top else f" (in {f.procedure.name})"
        fault = Fault(kind, span, text + where, dict(self.sizes), indices, other or {}, key or f.procedure.key, array,
                      self.numbers, certain)  # fmt: skip
        if self.every is None or kind in STOPS:
            raise Found(fault)
        self.note(fault)

    def note(self, fault: Fault) -> None:
        """Keep the first fault of a kind and place, but rather one that is certain."""
        assert self.every is not None
        key = fault.kind, fault.span
        if key not in self.every or (fault.certain and not self.every[key].certain):
            self.every[key] = fault

    # ---- accesses

    def access(self, f: Frame, name: str, at: Sequence[int], run: int, write: bool, e: Expr, span: Span) -> int | None:
        """The place of an element; None if it is outside (and bounds are not looked for)."""
        array = f.arrays[name]
        place = array.place(at, run)
        if place is None:
            last = f"{at[-1]}:{at[-1] + run}" if run > 1 else f"{at[-1]}" if at else ""
            idx = ", ".join([*map(str, at[:-1]), last])
            size = ", ".join(map(str, array.shape))
            known = {n: f.env[n] for a in e.args for n in sorted(free_vars(a)) if n in f.env and n not in self.sizes}
            self.found(f, "bounds", span, f"{name}[{idx}] is outside {name}[{size}]", known)
            return None
        memory = array.memory
        if not write and memory.written.find(0, place, place + run) >= 0:
            first = memory.written.find(0, place, place + run)
            text = f"{name}[{', '.join(map(str, array.index(first)))}] is read before it is written"
            self.found(f, "unwritten", span, text)
        for region in self.regions[memory.depth :]:
            for k in range(place, place + run):
                clash = region.touch((id(memory), k), write)
                if clash is not None:
                    element = f"{name}[{', '.join(map(str, array.index(k)))}]"
                    whose = (n for n, a in region.arrays.items() if a.memory is memory)
                    self.race(f, region, element, clash, write, span, next(whose, name))
        return place

    def race(
        self, f: Frame, region: Region, what: str, clash: tuple[int, bool], write: bool, span: Span, array: str = ""
    ) -> None:
        """Two iterations of a parallel loop touch the same thing, one of them writing."""
        other, wrote = clash
        here, there = ("written" if write else "read"), ("writes" if wrote else "reads")
        text = f"{what} is {here} by an iteration of a parallel loop over {region.var}, and another one {there} it"
        self.found(f, "race", span, text, {region.var: region.now}, self.start_of(f, region, other), region.key, array)

    def start_of(self, f: Frame, region: Region, now: int) -> dict[str, int]:
        """The variables of another iteration: the loop's own, and those that it declares first."""
        k = self.regions.index(region)
        if k < f.base:  # the loop is in a caller
            return {region.var: now}
        other = Frame(f.procedure, f.base, {**f.env, region.var: now}, f.arrays)
        declared = self.first[k](other)  # what the body declares at once, such as both indices of a fused loop
        return {region.var: now, **{n: other.env[n] for n in declared}}

    def scalar(self, f: Frame, name: str, depth: int, write: bool, span: Span) -> None:
        """Touch a scalar that the parallel loop number `depth` of the frame shares."""
        region = self.regions[f.base + depth]
        clash = region.touch((id(f), name), write)
        if clash is not None:
            self.race(f, region, name, clash, write, span)

    # ---- expressions

    def expr(self, e: Expr, span: Span, index: bool = False) -> Run:
        """`e` as a function; `index`: it is index arithmetic, which must fit 64 bits."""
        span = e.span if e.span.line else span
        rule = getattr(self, f"op_{e.op.rstrip('?')}", None)
        if rule is not None:
            return rule(e, span, index)  # type: ignore[no-any-return]
        args = [self.expr(a, span, index) for a in e.args]
        base, op = e.dtype.split("x")[0], e.op.rstrip("?")
        if op in UNARY:
            one, fit, (a,) = UNARY[op], FIT[base], args
            if e.op == "sqrt" and "domain" in self.kinds:
                return self.root(e, a, span)
            return lambda f: fit(one(a(f)))
        if op == "div" and lanes(e.dtype) == 1 and "domain" in self.kinds:
            return self.quotient(e, args[0], args[1], span)
        two, fit, (a, b) = BINARY[op], FIT[base], args
        if lanes(e.dtype) > 1:
            return lambda f: [fit(two(x, y)) for x, y in zip(a(f), b(f), strict=True)]
        if index and e.dtype == "i64":
            return self.exact(e, two, a, b, span)
        if e.op in ("lt", "le", "gt", "ge", "eq", "ne"):
            return lambda f: two(a(f), b(f))
        return lambda f: fit(two(a(f), b(f)))

    def exact(self, e: Expr, two: Callable, a: Run, b: Run, span: Span) -> Run:
        """Index arithmetic: a result beyond 64 bits is a fault."""
        low, high = limits("i64")
        fit = FIT["i64"]

        def run(f: Frame) -> Value:
            value = two(a(f), b(f))
            if low <= value <= high:
                return value
            known = {n: f.env[n] for n in sorted(free_vars(e)) if n in f.env and n not in self.sizes}
            self.found(f, "overflow", span, f"{show(e)} does not fit 64 bits", known)
            return fit(value)

        return run

    # ---- what is outside of its domain is noted; whether that is a fault, the end of the run tells (see replay)

    def root(self, e: Expr, a: Run, span: Span) -> Run:
        """A square root."""

        def run(f: Frame) -> Value:
            x = a(f)
            if x < 0:
                self.note_outside(f, span, f"the root is of {x:.6g}")
            return FIT[e.dtype](UNARY["sqrt"](x))

        return run

    def quotient(self, e: Expr, a: Run, b: Run, span: Span) -> Run:
        """A quotient of floats."""

        def run(f: Frame) -> Value:
            x, y = a(f), b(f)
            if y == 0:
                self.note_outside(f, span, f"the quotient is {x:.6g} / 0")
            return FIT[e.dtype](BINARY["div"](x, y))

        return run

    def note_outside(self, f: Frame, span: Span, text: str) -> None:
        """Keep the first of each place."""
        self.outside.setdefault(span, (text, {n: f.env[n] for n in f.loops}))

    def op_const(self, e: Expr, span: Span, index: bool) -> Run:
        """A literal."""
        value = constant(e.attr, e.dtype)
        return lambda f: value

    def op_var(self, e: Expr, span: Span, index: bool) -> Run:
        """A scalar."""
        name = str(e.attr)
        shared = [depth for depth, names in enumerate(self.shared) if name in names]

        def watched(f: Frame) -> Value:
            for depth in shared:
                self.scalar(f, name, depth, False, span)
            return f.env[name]

        return watched if shared else lambda f: f.env[name]

    def op_load(self, e: Expr, span: Span, index: bool) -> Run:
        """An element."""
        name = str(e.attr)
        idx, run = [self.expr(a, span, True) for a in e.args], lanes(e.dtype)

        def read(f: Frame) -> Value:
            place = self.access(f, name, [k(f) for k in idx], run, False, e, span)
            if place is None:
                return [0.0] * run if run > 1 else FIT[e.dtype](0)
            data = f.arrays[name].memory.data
            return data[place : place + run] if run > 1 else data[place]

        return read

    op_vload = op_load

    def op_splat(self, e: Expr, span: Span, index: bool) -> Run:
        """One number in all lanes."""
        a, run, fit = self.expr(e.args[0], span), lanes(e.dtype), FIT[e.dtype.split("x")[0]]
        return lambda f: [fit(a(f))] * run

    def op_dot2(self, e: Expr, span: Span, index: bool) -> Run:
        """Sums, each with the two products of a pair of words added."""
        total, a, b = (self.expr(x, span) for x in e.args)
        return lambda f: [dot2(*at) for at in zip(total(f), a(f), b(f), strict=True)]

    def op_pairs(self, e: Expr, span: Span, index: bool) -> Run:
        """Words of two rounded numbers."""
        a, b = (self.expr(x, span) for x in e.args)
        return lambda f: pairs(str(e.attr), a(f), b(f))

    def op_has(self, e: Expr, span: Span, index: bool) -> Run:
        """A processor's feature: that of a replay has all but those that it `lacks`."""
        return lambda f: e.attr not in self.lacks

    def op_far(self, e: Expr, span: Span, index: bool) -> Run:
        """Whether stores go around the cache, which changes no value: both sides are replayed, in turn."""
        turn = itertools.cycle((True, False))
        return lambda f: next(turn)

    def op_threads(self, e: Expr, span: Span, index: bool) -> Run:
        """Threads of a call: a replay, which runs one after the other, divides work among three."""
        return lambda f: 3

    def op_where(self, e: Expr, span: Span, index: bool) -> Run:
        """The chosen side only."""
        c, (a, b) = self.expr(e.args[0], span), (self.expr(x, span, index) for x in e.args[1:])
        fit = FIT[e.dtype]
        return lambda f: fit(a(f) if c(f) else b(f))

    def op_and(self, e: Expr, span: Span, index: bool) -> Run:
        """The right side only if it matters."""
        a, b = (self.expr(x, span) for x in e.args)
        return lambda f: bool(a(f) and b(f))

    def op_or(self, e: Expr, span: Span, index: bool) -> Run:
        """The right side only if it matters."""
        a, b = (self.expr(x, span) for x in e.args)
        return lambda f: bool(a(f) or b(f))

    def op_floordiv(self, e: Expr, span: Span, index: bool) -> Run:
        """An integer division or remainder; by 0 it is a fault, or 0."""
        (a, b), two, fit = (self.expr(x, span, index) for x in e.args), BINARY[e.op], FIT[e.dtype]

        def run(f: Frame) -> Value:
            x, y = a(f), b(f)
            if y == 0:
                known = {n: f.env[n] for n in sorted(free_vars(e)) if n in f.env and n not in self.sizes}
                self.found(f, "divisor", span, f"{show(e)} divides by 0", known)
                return 0
            return fit(two(x, y))

        return run

    op_mod = op_floordiv

    def op_shl(self, e: Expr, span: Span, index: bool) -> Run:
        """A shift."""
        (a, b), fit, op = (self.expr(x, span) for x in e.args), FIT[e.dtype], e.op
        return lambda f: fit(shift(op, a(f), b(f), e.dtype))

    op_shr = op_shl

    def op_cast(self, e: Expr, span: Span, index: bool) -> Run:
        """A conversion."""
        a, source, to = self.expr(e.args[0], span, index), e.args[0].dtype, str(e.attr)
        return lambda f: cast(a(f), source, to)

    def op_bitcast(self, e: Expr, span: Span, index: bool) -> Run:
        """The same bits."""
        a, source, to = self.expr(e.args[0], span), e.args[0].dtype, str(e.attr)
        return lambda f: bitcast(a(f), source, to)

    def op_call(self, e: Expr, span: Span, index: bool) -> Run:
        """A function of numbers."""
        key = str(e.attr[0] if isinstance(e.attr, tuple) else e.attr)
        args = [self.expr(a, span) for a in e.args]
        if key == "close":  # of which only this is looked at
            return lambda f: all(a(f) == a(f) for a in args)
        if not is_float(e.dtype) or "domain" not in self.kinds:
            return lambda f: self.number(f, key, [a(f) for a in args], span)

        def run(f: Frame) -> Value:
            values = [a(f) for a in args]
            x = self.number(f, key, values, span)
            outside = math.isnan(x)
            if math.isinf(x) and self.checked is not None:  # a pole, or only too large
                outside = leaves_domain(self.checked(key), values, self.checked)
            if outside and all(map(math.isfinite, values)):
                said = ", ".join(f"{v:.6g}" for v in values)
                self.note_outside(f, span, f"{self.lookup(key).name}({said}) is {x}")
            return x

        return run

    # ---- conditions over elements, and what only they contain

    def op_reduce(self, e: Expr, span: Span, index: bool) -> Run:
        """A reduction (in a condition: lowered code has none)."""
        op, names = e.attr  # type: ignore[misc]
        body, bounds = self.expr(e.args[0], span), [self.expr(a, span, True) for a in e.args[1:]]

        def values(f: Frame, axis: int = 0) -> list[Value]:
            if axis == len(names):
                return [body(f)]
            out = []
            for k in range(bounds[2 * axis](f), bounds[2 * axis + 1](f)):
                f.env[names[axis]] = k
                out += values(f, axis + 1)
            return out

        def run(f: Frame) -> Value:
            saved = dict(f.env)
            found = values(f)
            f.env = saved
            if op in ("argmax", "argmin"):
                best = max if op == "argmax" else min
                return best(range(len(found)), key=found.__getitem__, default=0)
            return _combined(op, found, e.dtype)

        return run

    def condition(self, g: Expr, p: Definition) -> Run | None:
        """A `given` for all values of its free indices; None if it is about names that only the body knows."""
        known = {q.name for q in [*p.params, *p.outs]} | set(p.sizes)
        ranges: dict[str, tuple[str, int]] = {}
        free = free_vars(g) - known
        for ld in loads(g):
            for axis, k in enumerate(ld.args):
                if k.op == "var" and k.attr in free:
                    ranges.setdefault(str(k.attr), (str(ld.attr), axis))
        if free - set(ranges):
            return None
        test = self.expr(g, g.span)

        def run(f: Frame) -> bool:
            axes = [range(f.arrays[a].shape[axis]) for a, axis in ranges.values()]
            for at in itertools.product(*axes):
                f.env.update(zip(ranges, at, strict=True))
                if not test(f):
                    return False
            for n in ranges:
                f.env.pop(n, None)
            return True

        return run


def _combined(op: str, found: list[Value], dtype: str) -> Value:
    fit = FIT[dtype]
    if op in ("any", "all"):
        return any(found) if op == "any" else all(found)
    if not found:
        if op in ("sum", "prod"):
            return fit(int(op == "prod"))
        inf = float("-inf") if op == "max" else float("inf")
        return inf if is_float(dtype) else limits(dtype)[op == "min"]
    total = found[0]
    two = BINARY[{"sum": "add", "prod": "mul"}.get(op, op)]
    for x in found[1:]:
        total = fit(two(total, x))
    return fit(total)
