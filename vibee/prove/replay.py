"""Replay: lowered procedures run on small concrete sizes, every access watched.

What a prover calls a counterexample is only a candidate until it has been run; and a prover is tested
by running what it called safe.  So this looks at nothing but what happens: reads and writes outside
an array, elements read before they are written, outputs left unwritten, two iterations of a parallel loop
at one element, divisions by zero, index arithmetic beyond 64 bits, calls that break their callee's `given`,
views of the wrong size, loops that do not end.

Tests that the compiler put in (checked accesses, tests of views and of `given`) are passed over: the fault
is shown where it would happen without them.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from vibee.check.errors import count as times
from vibee.tree.defs import (
    Alloc,
    Assign,
    Call,
    Comment,
    Decl,
    Demand,
    For,
    If,
    Jump,
    Prefetch,
    Procedure,
    Store,
    View,
    While,
    statements,
)
from vibee.tree.expr import Expr, Span, load, loads, rebuild, show, substitute, var, walk

from .demands import demands
from .evaluate import KINDS, Fault, Found, Frame, Refused, Run
from .facts import changed, conjuncts
from .memory import Region, TooLarge, new
from .overflow import index_names
from .report import results
from .values import FIT, Value, lanes
from .views import Views, overlap, target, with_values

__all__ = ["KINDS", "Fault", "Machine", "Refused", "Result", "replay"]

Step = Callable[[Frame], str | None]  # a statement; it gives the jump that it ends with


@dataclass(slots=True)
class Code:
    """A procedure that has been read."""

    body: Step
    given: list[tuple[Expr, Run]]
    shapes: dict[str, list[Run]]


@dataclass(slots=True)
class Result:
    """How a run ended.  `refused`: why there was none, or none to the end (then nothing is known of these
    sizes).  `frame`: the values at the end of one without fault."""

    fault: Fault | None = None
    refused: str = ""
    steps: int = 0
    frame: Frame | None = None

    def array(self, name: str) -> list:
        """The elements of an array at the end, row by row."""
        assert self.frame is not None
        a = self.frame.arrays[name]
        return a.memory.data[a.offset : a.offset + a.size]


class Machine(Views):
    """Runs procedures; what it has read of them it keeps from run to run."""

    def __init__(self, lookup: Callable[[str], Procedure], kinds: frozenset[str] = KINDS, steps: int = 200_000) -> None:
        super().__init__(lookup, kinds, steps)
        self.codes: dict[str, Code] = {}
        self.demanded: dict[str, list[tuple[Demand, Run]]] = {}  # what is given of formulas that are called
        self.odd = False  # are some of the floats that are drawn nan?
        self.attempts = 40  # how often arguments are drawn until `given` holds
        self.steps = 0
        self.whiles: list[list[Any]] = []  # the running while loops: how often, which, and of whom

    def run(
        self, p: Procedure, sizes: dict[str, int], arguments: dict[str, Any] | None = None, seed: int = 0
    ) -> Result:
        """One run.  Sizes that are not needed are left aside; arguments that are not given are drawn."""
        from .draw import arrange

        self.sizes = {n: v for n, v in sizes.items() if n in p.sizes or any(q.name == n for q in p.params)}
        self.regions, self.first, self.whiles, self.steps, self.top = [], [], [], 0, p
        self.outside, self.numbers = {}, {}
        try:
            f = arrange(self, p, self.sizes, arguments or {}, seed)
            self.numbers = {q.name: f.env[q.name] for q in p.params if not q.is_array and q.name not in self.sizes}
            self.enter(p, f)
            self.demands(p, f)
            self.promises(p, f)
        except Found as e:
            if self.every is not None:
                self.note(e.fault)
            return Result(e.fault, steps=self.steps)
        except (Refused, TooLarge) as e:
            return Result(refused=str(e), steps=self.steps)
        return Result(steps=self.steps, frame=f)

    # ---- procedures

    def code(self, p: Procedure) -> Code:
        """A procedure, read once."""
        if p.key not in self.codes:
            saved = self.names, self.shared, self.indices
            self.indices = index_names(p)
            scalar = {p.outs[0].name} if p.is_scalar else set()
            self.names = {q.name for q in [*p.params, *p.outs] if q.is_array} | {
                s.name for s in statements(p.body) if isinstance(s, Alloc)
            }
            self.names -= scalar
            self.shared = []
            given = [(c, k) for g in p.given for c in conjuncts(g) if (k := self.condition(c, p)) is not None]
            arrays = [q for q in [*p.params, *p.outs] if q.name in self.names]
            shapes = {q.name: [self.expr(e, q.span, True) for e in q.shape] for q in arrays}
            self.codes[p.key] = Code(self.block(p.body), given, shapes)
            self.names, self.shared, self.indices = saved
        return self.codes[p.key]

    def holds(self, p: Procedure, f: Frame) -> Expr | None:
        """The first condition of `given` that does not hold."""
        saved = self.kinds, self.every
        self.kinds, self.every = KINDS, None
        try:
            for g, test in self.code(p).given:
                try:
                    if not test(f):
                        return g
                except Found:  # it reads outside of an array, or divides by zero
                    return g
        finally:
            self.kinds, self.every = saved
        return None

    def enter(self, p: Procedure, f: Frame) -> None:
        """Run a body; afterwards every output must be written."""
        self.code(p).body(f)
        for q in p.outs:
            if q.name in f.arrays:
                a = f.arrays[q.name]
                at = a.memory.written.find(0, a.offset, a.offset + a.size)
                if at >= 0:
                    element = f"{q.name}[{', '.join(map(str, a.index(at)))}]"
                    self.found(f, "unwritten", q.span if q.span.line else p.span, f"{element} is never written")

    def demands(self, p: Procedure, f: Frame) -> None:
        """What is given of formulas that were put in place of their calls."""
        if self.checked is not None and p.key not in self.demanded:
            found = demands(self.checked(p.key), self.checked)
            self.demanded[p.key] = [(o, test) for o, c in found if (test := self.then(p, c)) is not None]
        for o, test in self.demanded.get(p.key, ()):
            if not test(f):
                self.found(f, "given", o.span, f"given {show(o.condition)} of {o.callee} does not hold")

    def promises(self, p: Procedure, f: Frame) -> None:
        """What left its domain in a run is a fault where a `then` does not hold at the end."""
        if not self.outside:
            return
        noted, self.outside = self.outside, {}
        for law in p.laws:
            for c in law.args if law.kind == "then" else ():
                test = self.then(p, c)
                if test is not None and not test(f):
                    for span, (text, indices) in noted.items():
                        self.found(f, "domain", span, f"{text}, and {show(c)} does not hold", indices)
                    return

    def then(self, p: Procedure, c: Expr) -> Run | None:
        """A condition on what is there at the end; None where it is about what only the body knows."""
        scalars = {q.name for q in p.outs if not q.shape}
        if p.is_scalar:  # its output is a variable

            def of_variables(e: Expr) -> Expr:
                read = e.op == "load" and e.attr in scalars
                return var(str(e.attr), e.dtype) if read else rebuild(e, of_variables)

            c = of_variables(c)
        else:
            c = substitute(c, {n: load(out, (), "") for n, out in results(p).items()})
        arrays = {q.name for q in [*p.params, *p.outs] if q.is_array}
        if not {str(ld.attr) for ld in loads(c)} <= arrays:
            return None
        saved = self.names, self.shared, self.kinds
        self.names, self.shared, self.kinds = arrays - ({p.outs[0].name} if p.is_scalar else set()), [], KINDS
        test = self.condition(c, p)
        self.names, self.shared, self.kinds = saved
        return test

    def number(self, f: Frame, key: str, args: list[Value], span: Span) -> Value:
        """A call of a function of numbers."""
        p = self.lookup(key)
        out = p.outs[0]
        inner = Frame(p, len(self.regions), {q.name: FIT[q.dtype](a) for q, a in zip(p.params, args, strict=True)})
        inner.env[out.name] = FIT[out.dtype](0)
        broken = self.holds(p, inner)
        if broken is not None:
            self.found(f, "given", span, f"given {with_values(broken, inner)} of {p.name} does not hold")
        self.code(p).body(inner)
        return inner.env[out.name]

    # ---- statements

    def block(self, stmts: list) -> Step:
        """Statements in order."""
        steps = [self.stmt(s) for s in stmts if not isinstance(s, (Comment, Prefetch)) and not _is_test(s)]
        if len(steps) == 1:
            return steps[0]

        def run(f: Frame) -> str | None:
            for step in steps:
                jump = step(f)
                if jump:
                    return jump
            return None

        return run

    def stmt(self, s: Any) -> Step:
        """One statement."""
        return getattr(self, f"do_{type(s).__name__.lower()}")(s)  # type: ignore[no-any-return]

    def do_decl(self, s: Decl) -> Step:
        """A scalar of the block."""
        init = self.expr(s.init, s.span, s.name in self.indices) if s.init is not None else None
        fit = FIT.get(s.dtype, list)
        zero = [0.0] * lanes(s.dtype) if lanes(s.dtype) > 1 else fit(0)

        def run(f: Frame) -> None:
            f.env[s.name] = fit(init(f)) if init is not None else zero

        return run

    def do_assign(self, s: Assign) -> Step:
        """A scalar gets a value."""
        value = self.expr(s.value, s.span, s.name in self.indices)
        shared = [d for d, names in enumerate(self.shared) if s.name in names]

        def run(f: Frame) -> None:
            x = value(f)
            for d in shared:
                self.scalar(f, s.name, d, True, s.span)
            f.env[s.name] = x

        return run

    def do_store(self, s: Store) -> Step:
        """An element gets a value."""
        idx, value, run_ = [self.expr(e, s.span, True) for e in s.idx], self.expr(s.value, s.span), lanes(s.value.dtype)
        at = load(s.array, s.idx, "")

        def run(f: Frame) -> None:
            x = value(f)
            place = self.access(f, s.array, [k(f) for k in idx], run_, True, at, s.span)
            if place is None:
                return
            a = f.arrays[s.array]
            fit = FIT[a.dtype]
            a.memory.data[place : place + run_] = [fit(v) for v in x] if run_ > 1 else [fit(x)]
            a.memory.written[place : place + run_] = b"\1" * run_

        return run

    def do_alloc(self, s: Alloc) -> Step:
        """An array of the block."""
        shape = [self.expr(e, s.span, True) for e in s.shape]

        def run(f: Frame) -> None:
            a = new(s.name, s.dtype, tuple(n(f) for n in shape), len(self.regions))
            if s.zero:
                a.memory.written = bytearray(b"\1") * a.size
            f.arrays[s.name] = a

        return run

    def do_for(self, s: For) -> Step:
        """A loop; the iterations of a parallel one watch each other."""
        lo, hi = self.expr(s.lo, s.span, True), self.expr(s.hi, s.span, True)
        if s.parallel:
            self.shared.append(_assigned(s.body) - _declared(s.body))
        body = self.block(s.body)
        first = self.block(leading := _leading(s.body))
        if s.parallel:
            self.shared.pop()

        def start(other: Frame) -> list[str]:
            first(other)
            return [d.name for d in leading]

        def run(f: Frame) -> str | None:
            span = range(lo(f), hi(f), s.step)
            region = Region(s.var, f.procedure.key, f.arrays)
            if s.parallel:
                self.regions.append(region)
                self.first.append(start)
            f.loops.append(s.var)
            jump = None
            for k in span:
                f.env[s.var] = region.now = k
                self.tick(f)
                jump = body(f)
                if jump in ("break", "return"):
                    break
            f.loops.pop()
            if s.parallel:
                self.regions.pop()
                self.first.pop()
            return jump if jump == "return" else None

        return run

    def do_while(self, s: While) -> Step:
        """A loop that has to end.  Where all that its iterations change is as it was before, it never does; looked back
        for is the last iteration whose number is a power of two."""
        cond, body, state = self.expr(s.cond, s.span), self.block(s.body), _state(s.body)

        def run(f: Frame) -> str | None:
            self.whiles.append([0, s, f])
            jump, kept, back = None, b"", 0
            while cond(f):
                count = self.whiles[-1][0] = self.whiles[-1][0] + 1
                self.tick(f)
                now = state(f)
                if now == kept:
                    same = f"all is as it was {times(count - back, 'iteration')} before"
                    self.found(f, "endless", s.span, f"while {show(s.cond)} never ends: {same}")
                if count & (count - 1) == 0:
                    kept, back = now, count
                jump = body(f)
                if jump in ("break", "return"):
                    break
            self.whiles.pop()
            return jump if jump == "return" else None

        return run

    def tick(self, f: Frame) -> None:
        """Count an iteration; when there are too many, a while loop that is running is to blame."""
        self.steps += 1
        if self.steps <= self.limit:
            return
        if self.whiles and "endless" in self.kinds:
            _, s, frame = max(self.whiles, key=lambda w: w[0])
            text = f"while {show(s.cond)} has not ended after {self.limit} iterations"
            self.found(frame, "endless", s.span, text, certain=False)
        raise Refused(f"more than {self.limit} iterations")

    def do_if(self, s: If) -> Step:
        """A choice."""
        cond, then, orelse = self.expr(s.cond, s.span), self.block(s.then), self.block(s.orelse)
        return lambda f: then(f) if cond(f) else orelse(f)

    def do_jump(self, s: Jump) -> Step:
        """A jump, which the statements around it follow."""
        return lambda f: s.kind

    # ---- calls

    def do_call(self, s: Call) -> Step:
        """A call of a procedure; what its arguments see is the caller's memory."""
        p = self.lookup(s.fn)
        if p.is_scalar:  # the version for numbers of a definition that another one takes arrays for
            value, out = Expr("call", tuple(s.args), s.fn, p.outs[0].dtype, s.span), s.outs[0]
            if isinstance(out, View):
                return self.do_store(Store(out.array, out.lead, value, span=s.span))
            return self.do_assign(Assign(target(out), value, s.span))
        pairs = list(zip([*p.params, *p.outs], [*s.args, *s.outs], strict=True))
        views = {q.name: self.view(a, s.span) for q, a in pairs if q.is_array}
        numbers = {q.name: self.expr(a, s.span, q.kind == "size") for q, a in pairs if not q.is_array}
        sizes = {n: self.expr(e, s.span, True) for n, e in s.sizes.items()}
        back = [(q.name, target(a)) for q, a in pairs if q.is_array and not isinstance(a, View)]
        shared = [set(names) for names in self.shared]

        def run(f: Frame) -> None:
            inner = Frame(p, len(self.regions))
            inner.env = {n: v(f) for n, v in sizes.items()} | {n: v(f) for n, v in numbers.items()}
            for n, v in views.items():
                inner.arrays[n] = v(f, n)
            self.fits(f, p, inner, s)
            self.enter(p, inner)
            for n, name in back:
                f.env[name] = inner.arrays[n].memory.data[0]
                for d, names in enumerate(shared):
                    if name in names:
                        self.scalar(f, name, d, True, s.span)

        return run

    def fits(self, f: Frame, p: Procedure, inner: Frame, s: Call) -> None:
        """Shapes are what the callee takes them for, nothing that it writes overlaps, its `given` holds."""
        for n, want in self.code(p).shapes.items():
            a, shape = inner.arrays[n], tuple(k(inner) for k in want)
            if a.shape != shape:
                text = f"{n} of {p.name} must be {n}{list(shape)}, and is {n}{list(a.shape)}"
                self.found(f, "shape", s.span, text)
                raise Refused(text)
        arrays = [(q, inner.arrays[q.name]) for q in [*p.params, *p.outs] if q.name in inner.arrays]
        for k, (q, a) in enumerate(arrays):
            for r, b in arrays[k + 1 :]:
                if (q.kind != "in" or r.kind != "in") and overlap(a, b):
                    self.found(f, "overlap", s.span, f"{q.name} and {r.name} of {p.name} share memory")
        broken = self.holds(p, inner)
        if broken is not None:
            self.found(f, "given", s.span, f"given {with_values(broken, inner)} of {p.name} does not hold")
        for q in p.outs:
            a = inner.arrays[q.name]
            a.memory.written[a.offset : a.offset + a.size] = bytes(a.size)


# ---------------------------------------------------------------- helpers


def _is_test(s: Any) -> bool:
    """A test that the compiler put in."""
    if isinstance(s, For):
        return bool(s.body) and all(map(_is_test, s.body))
    return isinstance(s, If) and not s.orelse and len(s.then) == 1 and getattr(s.then[0], "kind", "") == "fail"


def _declared(stmts: list) -> set[str]:
    """Scalars that belong to the block."""
    return {s.var if isinstance(s, For) else s.name for s in statements(stmts) if isinstance(s, (Decl, For, Alloc))}


def _assigned(stmts: list) -> set[str]:
    """Scalars that statements change."""
    out = {s.name for s in statements(stmts) if isinstance(s, Assign)}
    return out | {target(o) for s in statements(stmts) if isinstance(s, Call) for o in s.outs}


def _state(stmts: list) -> Callable[[Frame], bytes]:
    """What an iteration of these statements can change, to the bit; what it declares comes later."""
    calls = [s for s in statements(stmts) if isinstance(s, Call)]
    names = sorted(changed(stmts) | {str(a.attr) for s in calls for a in s.args if isinstance(a, Expr)})

    def state(f: Frame) -> bytes:
        scalars = [(n, f.env[n]) for n in names if n in f.env]
        return marshal.dumps((scalars, [f.arrays[n].memory.data for n in names if n in f.arrays]), 2)

    return state


def _leading(stmts: list) -> list[Decl]:
    """The declarations at the start of a body."""
    out: list[Decl] = []
    for s in stmts:
        if not isinstance(s, Decl) or s.init is None or any(True for _ in _reads(s.init)):
            break
        out.append(s)
    return out


def _reads(e: Expr) -> Iterator[Expr]:
    return (n for n in walk(e) if n.op in ("load", "load?", "vload", "call"))


def replay(
    lookup: Callable[[str], Procedure],
    p: Procedure,
    sizes: dict[str, int],
    arguments: dict[str, Any] | None = None,
    seed: int = 0,
    steps: int = 200_000,
    kinds: frozenset[str] = KINDS,
) -> Fault | None:
    """The first fault of a run of a lowered procedure, or None.

    None says that there was no fault, also when there was no run because `given` cannot be kept;
    `Machine.run` tells the two apart.  `kinds`: the faults that are looked for; others are passed over as
    the generated code would (a read outside gives 0).
    """
    return Machine(lookup, kinds, steps).run(p, sizes, arguments, seed).fault
