"""The work of a definition: floating-point operations, and bytes of its arrays, as expressions in its sizes.

An addition, subtraction, multiplication, division, square root, maximum or minimum of floats is one operation; signs,
roundings, casts, comparisons and arithmetic on integers are none.  A call counts what it calls, so that exp is the
operations of its polynomial.  What is written is counted, as in a formula's normal form, and not what tiles and
vectors add to it.

Each array counts once for what is read of it and once for what is written, never more elements than it has.

Where data decide, the count is from above: the dearer branch, every iteration in spite of `break`, the longest range.
A loop that only data end (`while`, a range read from an array) makes a count unknown, unless there is nothing to count
in it.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from vibee.tree.defs import (
    Alloc,
    Assign,
    Call,
    Decl,
    Definition,
    Equation,
    Equations,
    For,
    Formula,
    If,
    Jump,
    Param,
    Procedure,
    Store,
    View,
    While,
)  # fmt: skip
from vibee.tree.expr import Expr, free_vars, substitute, var, walk
from vibee.tree.normal import hoist
from vibee.tree.poly import Sizes
from vibee.tree.types import DTYPES, is_float, is_int

from .build import add, div, i, is_const, ix, mul, sub
from .tally import Count, Tally, constant, larger, plus, repeated

OPERATIONS = {"add", "sub", "mul", "div", "sqrt", "max", "min", "pow"}
COMBINED = {"sum", "prod", "max", "min", "argmax", "argmin"}
UNKNOWN = var("?")


@dataclass(slots=True)
class Work:
    """What one call does; `reads` and `writes` count accesses to elements of array parameters.

    `bound`: it may do fewer operations, by more than what a `where` leaves out."""

    flops: Expr | None
    reads: dict[str, Expr | None]
    writes: dict[str, Expr | None]
    bound: bool

    def loose(self, d: Definition) -> bool:
        """Is it not told how much of an array is touched, so that `moved` only says how much that can be?"""
        read = [self.reads.get(p.name, i(0)) for p in d.params]
        return None in [*read, *(self.writes.get(p.name, i(0)) for p in d.params)]


def work(d: Definition, by_key: Callable[[str], Definition], known: dict[str, Work] | None = None) -> Work:
    """What one call of a checked definition does; `known` remembers what is called more than once."""
    known = {} if known is None else known
    if d.key not in known:
        known[d.key] = _Walk(d, by_key, known).run()
    return known[d.key]


def moved(d: Definition, w: Work) -> Expr:
    """Bytes of the arrays of `d`: what is read of each, what is written to each."""
    sizes, total = Sizes(d.given), i(0)
    for p in [*d.params, *d.outs]:
        if not p.is_array:
            continue
        whole = i(1)
        for e in p.shape:
            whole = mul(whole, e)
        written = w.writes.get(p.name, i(0)) if p.kind == "mut" else i(0) if p.kind == "in" else None
        read = w.reads.get(p.name, i(0)) if p.kind != "out" else i(0)
        for accesses in (read, written):
            part = _at_most(whole, accesses, sizes)
            total = add(total, mul(i(DTYPES[p.dtype].bits // 8), part))
    return sizes.simplify(total)


def _at_most(whole: Expr, accesses: Expr | None, sizes: Sizes) -> Expr:
    """Elements that so many accesses can touch.  Where every product in `whole` divides one in `accesses`, that is
    all of them, for no size that is used is 0."""
    if accesses is None or is_const(accesses, 0):
        return whole if accesses is None else i(0)
    left = [Counter(m) for m, c in sizes.poly(accesses).items() if c > 0]
    for m, c in sizes.poly(whole).items():
        found = next((other for other in left if not Counter(m) - other), None)
        if c != 1 or found is None:
            return ix("min", whole, accesses)
        left.remove(found)
    return whole


class _Walk:
    """Counts through the statements or equations of one definition."""

    def __init__(self, d: Definition, by_key: Callable[[str], Definition], known: dict[str, Work]) -> None:
        self.d, self.by_key, self.known = d, by_key, known
        self.sizes = Sizes(d.given)
        self.shapes = {p.name: p.shape for p in [*d.params, *d.outs] if p.is_array}
        values = Counter(_assigned(d.body if isinstance(d, Procedure) else []))
        self.changed = {name for name, times in values.items() if times > 1}
        # what index expressions are made of: sizes and numbers stand for themselves
        plain = [*d.sizes, *(p.name for p in d.params if p.kind in ("size", "scalar"))]
        self.env: dict[str, Expr] = {name: var(name) for name in plain}
        self.loops: dict[str, Expr] = {}  # counters from 0, and how often they go round
        self.made = 0
        self.bound = False

    def run(self) -> Work:
        """The counts in sizes and numbers."""
        d = self.d
        if isinstance(d, Procedure):
            t = self.body(d.body)
        else:
            assert isinstance(d, Formula)
            t = self.equations(hoist(d).equations)
        arrays = {p.name for p in [*d.params, *d.outs] if p.is_array}
        reads, writes = ({k: self.expr(n) for k, n in x.items() if k in arrays} for x in (t.reads, t.writes))
        return Work(self.expr(t.flops), reads, writes, self.bound)

    def expr(self, p: Count) -> Expr | None:
        """A count as an expression."""
        if p is None:
            return None
        below = math.lcm(*(c.denominator for c in p.values())) if p else 1
        top = self.sizes.simplify(self.sizes.expr({m: int(c * below) for m, c in p.items() if c}))
        return div(top, i(below))

    # ------------------------------------------------------------ index arithmetic

    def resolve(self, e: Expr) -> Expr:
        """An index expression in sizes, numbers and counters; what is none of these becomes UNKNOWN."""
        names = {n: self.env.get(n, UNKNOWN) for n in free_vars(e)}
        return substitute(e, names)

    def count(self, e: Expr) -> tuple[Count, bool]:
        """The value of a resolved expression, and whether that is exact: it is for a polynomial in counters, else it
        is a bound from above."""
        exact = self.told(e)
        if exact:
            atoms = [self.sizes.atoms[a] for m in self.sizes.poly(e) for a in m if a in self.sizes.atoms]
            exact = not any(map(self.moves, atoms))
        found = e if exact else self.edge(e, True)
        return None if found is None else {m: Fraction(c) for m, c in self.sizes.poly(found).items()}, exact

    def told(self, e: Expr) -> bool:
        """Is an expression made of sizes, numbers and counters alone?"""
        return all(n.op not in ("load", "load?", "call", "reduce") and n != UNKNOWN for n in walk(e))

    def moves(self, e: Expr) -> bool:
        """Does an expression change from iteration to iteration?"""
        return not self.loops.keys().isdisjoint(free_vars(e))

    def edge(self, e: Expr, up: bool) -> Expr | None:
        """A bound of an expression from above or below, without counters."""
        if not self.moves(e):
            return e if self.told(e) else self.parts(e, up)
        if e.op == "var":
            return self.edge(sub(self.loops[str(e.attr)], i(1)), True) if up else i(0)
        return self.parts(e, up)

    def parts(self, e: Expr, up: bool) -> Expr | None:
        """`edge`, from bounds of the operands."""
        if e.op in ("cast", "neg"):
            inner = self.edge(e.args[0], up if e.op == "cast" else not up)
            return inner if e.op == "cast" or inner is None else sub(i(0), inner)
        if e.op == "sub" and e.args[0].op == "min" and up:  # the shift of a range goes inside
            least = [self.sizes.simplify(sub(a, e.args[1])) if self.told(a) else a for a in e.args[0].args]
            return self.edge(Expr("min", tuple(least), None, "i64"), up)
        if e.op == "mod":
            b = self.edge(e.args[1], True)
            return i(0) if not up else None if b is None else sub(b, i(1))
        if e.op not in ("add", "sub", "mul", "floordiv", "min", "max", "where"):
            return None
        sides = e.args[-2:]
        a, b = self.edge(sides[0], up), self.edge(sides[1], up != (e.op in ("sub", "floordiv")))
        if e.op == ("min" if up else "max") and (a is None or b is None):
            return a or b  # either of them is a bound
        if e.op == "floordiv" and up and b is None:
            return a
        if a is None or b is None:
            return None
        op = e.op if e.op != "where" else "max" if up else "min"
        return ix(op, a, b)

    def loop(self, name: str, lo: Expr, hi: Expr, step: int, inside: Callable[[], Tally]) -> Tally:
        """`inside` for name = lo, lo + step, ... before hi."""
        span = sub(hi, lo) if step > 0 else sub(lo, hi)
        trips = self.resolve(span if abs(step) == 1 else div(add(span, i(abs(step) - 1)), i(abs(step))))
        n, exact = self.count(trips)
        self.made += 1
        counter = f"%{self.made}"
        before = self.env.get(name)
        self.env[name] = add(self.resolve(lo), mul(i(step), var(counter)))
        self.loops[counter] = trips
        once = inside()
        t = once.map(repeated(counter, n))
        self.bound |= bool(once.flops) and not exact
        del self.loops[counter]
        self.env[name] = UNKNOWN if before is None else before
        return t

    # ------------------------------------------------------------ expressions

    def value(self, e: Expr) -> Tally:
        """What the evaluation of an expression does."""
        t, todo, own, reads = Tally(), [e], 0, Counter[str]()
        while todo:
            n = todo.pop()
            if n.op == "reduce":
                t.add(self.reduction(n))
                continue
            if n.op == "where":
                t.add(self.value(n.args[0])).add(self.choice(n.args[0], *(self.value(a) for a in n.args[1:])))
                continue
            if n.op == "call":
                f = self.by_key(str(n.attr[0] if isinstance(n.attr, tuple) else n.attr))
                names = {p.name: a for p, a in zip(f.params, n.args, strict=True)}
                t.flops = plus(t.flops, self.called(f, names))
            elif n.op in ("load", "load?"):
                reads[str(n.attr)] += 1
            elif n.op in OPERATIONS or n.op == "scan":
                own += is_float(n.dtype)
            todo += n.args
        counts: dict[str, Count] = {k: constant(c) for k, c in reads.items()}
        return t.add(Tally(constant(own), counts))

    def reduction(self, e: Expr) -> Tally:
        """The body for every value of the indices, and what combines them."""
        op, names = e.attr  # type: ignore[misc]
        ranges = list(zip(names, e.args[1::2], e.args[2::2], strict=True))
        one = op in COMBINED and is_float(e.args[0].dtype)

        def level(k: int) -> Tally:
            if k == len(ranges):
                return self.value(e.args[0]).add(Tally(constant(int(one))))
            name, lo, hi = ranges[k]
            return self.loop(name, lo, hi, 1, lambda: level(k + 1))

        return level(0)

    def choice(self, cond: Expr, a: Tally, b: Tally) -> Tally:
        """One of two: which, if sizes and numbers tell; else the dearer, and the accesses of both."""
        flops = larger(a.flops, b.flops)
        if flops is not None and a.flops != b.flops and self.settled(cond):
            cond = self.resolve(cond)
            x, y = self.expr(a.flops), self.expr(b.flops)
            if x is not None and y is not None and not self.moves(x) and not self.moves(y):
                both = self.sizes.poly(Expr("where", (cond, x, y), None, "i64"))
                flops = {m: Fraction(c) for m, c in both.items()}
        t = Tally({}, a.reads, a.writes).add(Tally({}, b.reads, b.writes))
        t.flops = flops
        return t

    def settled(self, cond: Expr) -> bool:
        """Is a condition the same throughout a call, by sizes and whole numbers alone?"""
        cond, numbers = self.resolve(cond), {p.name for p in self.d.params if not is_int(p.dtype)}
        mapped = not self.d.sizes and not any(self.shapes.values())  # over arrays: each element has its own numbers
        return self.told(cond) and not self.moves(cond) and not mapped and not free_vars(cond) & numbers

    def called(self, f: Definition, names: Mapping[str, Expr]) -> Count:
        """The operations of something that is called, its sizes and numbers put in."""
        w = work(f, self.by_key, self.known)
        found, exact = self.put(w.flops, names)
        self.bound |= bool(found) and (w.bound or not exact)
        return found

    def put(self, count: Expr | None, names: Mapping[str, Expr]) -> tuple[Count, bool]:
        """`count` of an expression in the names of what is called."""
        return (None, True) if count is None else self.count(self.resolve(substitute(count, names)))

    # ------------------------------------------------------------ statements

    def equations(self, found: list[Equation]) -> Tally:
        """Equations in normal form, one after the other."""
        return functools.reduce(Tally.add, (self.equation(q, 0) for q in found), Tally())

    def equation(self, q: Equation, k: int) -> Tally:
        """One equation, its indices from the k-th on still to run."""
        if k < len(q.vars):
            return self.loop(q.vars[k], i(0), q.dims[k], 1, lambda: self.equation(q, k + 1))
        t = self.value(q.rhs).add(self.stored(q.lhs, q.idx))
        if q.accumulate:
            t.add(Tally(constant(int(is_float(q.rhs.dtype))), {q.lhs: constant(1)}))
        return t

    def stored(self, array: str, idx: tuple[Expr, ...]) -> Tally:
        """One element written."""
        return functools.reduce(Tally.add, map(self.value, idx), Tally(writes={array: constant(1)}))

    def body(self, statements: list) -> Tally:
        """Statements, one after the other; what they declare ends with them."""
        saved, t = dict(self.env), Tally()
        for s in statements:
            t.add(self.statement(s))
        self.env = saved
        return t

    def statement(self, s: object) -> Tally:
        """One statement."""
        match s:
            case Decl(init=Expr() as e) | Assign(value=e):
                if isinstance(s, Decl):
                    self.env[s.name] = UNKNOWN if s.name in self.changed or is_float(s.dtype) else self.resolve(e)
                return self.value(e)
            case Alloc():
                self.shapes[s.name] = s.shape
                return Tally()
            case Store():
                return self.value(s.value).add(self.stored(s.array, s.idx))
            case Equations():
                return self.equations(self.normal(s.equations))
            case For():
                ends = self.value(s.lo).add(self.value(s.hi))
                return ends.add(self.loop(s.var, s.lo, s.hi, s.step, lambda: self.body(s.body)))
            case While():
                n = constant(64) if _shrinks(s) else None
                self.bound = True
                return self.value(s.cond).add(self.body(s.body)).map(repeated("", n))
            case If():
                then, other = self.body(s.then), self.body(s.orelse)
                self.bound |= then.flops != other.flops and not self.settled(s.cond)
                return self.value(s.cond).add(self.choice(s.cond, then, other))
            case Jump():
                self.bound = True
                return Tally()
        assert isinstance(s, Call)
        return self.call(s)

    def normal(self, found: list[Equation]) -> list[Equation]:
        """Equations of a procedure without nested reductions, as they are lowered."""
        written = {q.lhs for q in found}
        arrays = [Param(a, "out" if a in written else "in", "f32", p) for a, p in self.shapes.items()]
        ins, outs = ([p for p in arrays if p.kind == kind] for kind in ("in", "out"))
        return hoist(
            Formula("", "", ins, outs, dict(self.d.sizes), list(self.d.given), equations=found)
        ).equations  # fmt: skip

    def call(self, s: Call) -> Tally:
        """A call as a statement: the work of the callee on parts of arrays."""
        f = self.by_key(s.fn)
        w = work(f, self.by_key, self.known)
        names = dict(s.sizes) | {p.name: a for p, a in zip(f.params, s.args, strict=True) if isinstance(a, Expr)}
        t = Tally(self.called(f, names))
        for p, a in zip([*f.params, *f.outs], [*s.args, *s.outs], strict=True):
            if isinstance(a, View):
                more = Tally()
                for mine, counts in ((more.reads, w.reads), (more.writes, w.writes)):
                    if p.name in counts:
                        mine[a.array], _ = self.put(counts[p.name], names)
                t.add(more)
            else:
                t.add(self.value(a))
        return t


def _shrinks(s: While) -> bool:
    """Does a loop run while an integer is positive, and divide it each time?  At most 64 times, then."""
    if s.cond.op != "gt" or s.cond.args[0].op != "var" or not is_const(s.cond.args[1], 0):
        return False
    name = s.cond.args[0]
    values = [t.value for t in _nested(s.body) if isinstance(t, Assign) and t.name == name.attr]
    always = any(isinstance(t, Assign) and t.name == name.attr for t in s.body)
    return always and all(
        e.op in ("floordiv", "shr") and e.args[0] == name and e.args[1].op == "const"
        and e.args[1].attr > (e.op == "floordiv") for e in values
    )  # fmt: skip


def _nested(statements: list) -> list:
    """Every statement, those inside others too."""
    out = list(statements)
    for s in statements:
        for part in ("body", "then", "orelse"):
            out += _nested(getattr(s, part, None) or [])
    return out


def _assigned(statements: list) -> list[str]:
    """Names of numbers that get a value, once for each place where they do."""
    out = []
    for s in _nested(statements):
        if isinstance(s, Decl | Assign):
            out.append(s.name)
        elif isinstance(s, Call):
            out += [str(o.attr) for o in s.outs if isinstance(o, Expr)]
    return out
