"""Overflow: the arithmetic of i64 stays within 63 bits, or nothing is concluded from it.

        -low(e) <= e <= high(e)      low and high: sums of products of sizes, without negative terms
        every low and high < 2**62   tested on entry, in floats (`fits`)

The bounds of a sum are sums of bounds; those of a scalar are found in the facts about it.  An operation without
bounds wraps around, as the language says of integers; it is marked (`add?`, `sub?`, `mul?`, `neg?`) and its result is
an unknown to the prover.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from vibee.tree.defs import Alloc, Assign, Call, Decl, For, If, Jump, Param, Procedure, Store, View, statements
from vibee.tree.expr import Expr, const, free_vars, loads, rebuild, substitute, var, walk
from vibee.tree.poly import Poly
from vibee.tree.types import is_int

from .counters import FAR, counters, ways
from .facts import Facts, compare, expressions, norm, product
from .magnitude import LIMITS, RULES, UNKNOWN, Bounds, Side, less, most, of_type, one, shift, small, total

ARITHMETIC = ("add", "sub", "mul", "neg")
COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")
LARGEST = 2.0**62
FACTOR = 2**40  # of a product of sizes; with a larger one, the test on entry would refuse ordinary sizes
DEGREE = 8


def index_names(p: Procedure) -> set[str]:
    """Names that indices, ranges and shapes depend on: the test on entry is about these and the sizes."""
    every = [e for s in statements(p.body) for e in expressions(s)]
    out: set[str] = set()
    for s in statements(p.body):
        for e in _places(s):
            out |= free_vars(e)
    for e in [*every, *p.given]:
        for ld in loads(e):
            out |= {n for a in ld.args for n in free_vars(a)}
    values = [(s.name, s.init if isinstance(s, Decl) else s.value)
              for s in statements(p.body) if isinstance(s, (Decl, Assign))]  # fmt: skip
    tied = [free_vars(n) for e in [*every, *p.given] for n in walk(e) if n.op in (*COMPARISONS, "min", "max")
            and all(is_int(a.dtype or "i64") for a in n.args)]  # fmt: skip
    while True:
        more = {n for name, e in values if name in out and e is not None for n in free_vars(e)}
        more |= {n for names in tied if names & out for n in names}
        if more <= out:
            return out
        out |= more


def _places(s: object) -> Iterator[Expr]:
    """Indices, ranges and shapes in a statement."""
    if isinstance(s, For):
        yield from (s.lo, s.hi)
    elif isinstance(s, Store):
        yield from s.idx
    elif isinstance(s, Alloc):
        yield from s.shape
    elif isinstance(s, Call):
        yield from s.sizes.values()
        for v in (*s.args, *s.outs):
            if isinstance(v, View):
                yield from (*v.lead, *(v.part or ()))


@dataclass(slots=True)
class Overflow:
    """Bounds of integer expressions at the place that `facts` are about, and what the test on entry needs."""

    facts: Facts
    atoms: set[str]  # sizes and numbers given: the unknowns of the bounds
    indices: set[str]  # see index_names
    needed: Poly = field(default_factory=dict)
    axes: dict[str, Expr] = field(default_factory=dict)  # of the indices in a condition on elements, while it is read
    busy: set[Expr] = field(default_factory=set)
    cut: set[Expr] = field(default_factory=set)  # the busy ones that an answer was cut short by
    found: dict[Expr, Bounds] = field(default_factory=dict)  # of elements, by `known`
    known: list[Expr] = field(default_factory=list)
    counters: dict[str, Poly] = field(default_factory=dict)  # how far they come
    stepped: set[str] = field(default_factory=set)  # those of which every step is to be made

    def exact(self, e: Expr, note: bool = True) -> Expr:
        """The same expression, with the operations marked that have no bounds."""
        return self.mark(rebuild(e, lambda a: self.exact(a, note)), note)

    def at(self, facts: Facts, e: Expr) -> Expr:
        """The same expression, marked as it is where other facts hold."""
        here, self.facts = self.facts, facts
        e, self.facts = self.exact(e), here
        return e

    def condition(self, c: Expr) -> Expr:
        """A condition of `given`, marked, but not in the indices of elements: those are any that are inside."""
        self.axes = {str(a.attr): n for ld in loads(c) for a, n in zip(ld.args, self.facts.fixed.get(str(ld.attr), ()),
                     strict=False) if a.op == "var" and a.attr not in self.atoms}  # fmt: skip
        out = self._values(c)
        self.axes = {}
        return out

    def _values(self, e: Expr) -> Expr:
        return e if e.op in ("load", "load?") else self.mark(rebuild(e, self._values), True)

    def mark(self, e: Expr, note: bool) -> Expr:
        """An operation whose operands are marked."""
        if e.op not in ARITHMETIC or e.dtype != "i64":
            return e
        size = self.reach(e)
        if size is None or not _testable(size):
            return replace(e, op=e.op + "?")
        if note and set(size) - {()}:
            self.needed = most(self.needed, size) or {}
        return e

    def reach(self, e: Expr) -> Side:
        """How far from 0 the result of an operation may be, on the sides where it may pass 63 bits: adding what is not
        negative makes nothing smaller, taking it away nothing greater."""
        if e.op in ("add", "sub"):
            a, b = map(self.bounds, e.args)
            if e.op == "sub" and b.natural:
                return total(a.low, b.high)
            if e.op == "add" and (a.natural or b.natural):
                return total(a.high, b.high)
        return self.bounds(e).size

    def bounds(self, e: Expr) -> Bounds:
        """What is known of a number."""
        if e.op == "const":
            c = int(e.attr)  # type: ignore[call-overload]
            return Bounds(one(max(0, -c)), one(max(0, c)))
        narrow = of_type(e.dtype)
        if e.op in ("var", "load", "load?"):
            found = self.element(e)
            return Bounds(less(found.low, narrow.low), less(found.high, narrow.high))
        if e.op == "where":
            x, y = (self.bounds(side) for side in e.args[1:])
            return Bounds(most(x.low, y.low), most(x.high, y.high))
        if e.op == "cast":
            (source,) = e.args
            inner = self.bounds(source) if source.dtype in ("i64", "u64", *LIMITS) else UNKNOWN
            if source.dtype == "u64" and e.dtype == "i64":
                return Bounds({}, inner.high) if small(inner.high) else UNKNOWN
            kept = e.dtype == "i64" or (e.dtype == "u64" and inner.natural)
            return inner if kept else narrow
        if e.op == "shr" and e.dtype == "i64" and e.args[1].op == "const":
            left = one(1 << (63 - (int(e.args[1].attr) & 63)))  # type: ignore[call-overload]
            a = self.bounds(e.args[0])
            return Bounds({} if a.natural else less(a.size, left), less(a.size, left))
        if e.op in ("shl", "shr") and e.dtype == "i64":
            return shift(e.op, *map(self.bounds, e.args))
        rule = RULES.get(e.op)
        if e.dtype not in ("i64", "u64") or rule is None or (e.dtype == "u64" and e.op != "mod"):
            return narrow  # the arithmetic of other types wraps around
        return rule(*map(self.bounds, e.args))  # type: ignore[no-any-return, operator]

    def element(self, e: Expr) -> Bounds:
        """The bounds of a scalar or an element, from what it is compared with."""
        e = norm(e)
        if e.op == "var" and e.attr in self.atoms:
            name: Poly = {(str(e.attr),): 1}
            return Bounds({} if e.attr in self.facts.lengths else name, name)
        if e.op == "var" and e.attr in self.axes:
            return Bounds({}, self.bounds(self.axes[str(e.attr)]).high)
        if e in self.busy:
            self.cut.add(e)
            return UNKNOWN
        if self.known is not self.facts.known:
            self.found, self.known = {}, self.facts.known
        if e in self.found:
            return self.found[e]
        self.busy.add(e)
        low: Side = self.counters.get(str(e.attr)) if e.op == "var" else None
        first = low
        high: Side = low
        for op, other in self.compared(e):
            found = self.bounds(other)
            if op in ("lt", "le", "eq") and found.high is not None:
                high = found.high if high == first else less(high, found.high)
            if op in ("gt", "ge", "eq") and found.low is not None:
                low = {} if low == {} or found.natural else found.low if low == first else less(low, found.low)
        self.busy.remove(e)
        self.cut.discard(e)
        if one(FAR) in (low, high):
            self.stepped.add(str(e.attr))
        out = Bounds(low, high)
        if not self.cut and not self.axes:  # else it may be more from another start
            self.found[e] = out
        return out

    def turns(self, s: For) -> Side:
        """How often a loop runs at most, told by sizes; its variable is one that is below its end from here on."""
        lo, hi = self.exact(s.lo, False), self.exact(s.hi, False)
        length = total(self.bounds(lo).size, self.bounds(hi).size)
        self.axes.pop(s.var, None)
        if self.bounds(lo).natural and s.step > 0:
            self.axes[s.var] = hi
        return length

    def compared(self, e: Expr) -> Iterator[tuple[str, Expr]]:
        """What is known of `e` itself: an operator, and what is on its other side."""
        flip = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le", "eq": "eq"}
        for f in self.facts.known:
            if f.op in flip:
                a, b = f.args
                if a == e:
                    yield f.op, b
                if b == e:
                    yield flip[f.op], a
        if e.op in ("load", "load?"):
            for f in self.facts.patterns:
                if f.op not in flip:
                    continue
                places = {str(k.attr) for ld in loads(f) for k in ld.args}  # plain ones (see tested)
                for op, (at, other) in ((f.op, f.args), (flip[f.op], f.args[::-1])):
                    if at.op != "load" or at.attr != e.attr:
                        continue
                    here = {str(k.attr): x for k, x in zip(at.args, e.args, strict=True)}
                    if tuple(substitute(k, here) for k in at.args) != e.args:
                        continue  # x[i, i] is no element off the diagonal
                    if not free_vars(other) & (places - here.keys()):  # else it is about other elements, too
                        yield op, substitute(other, here)

    def statement(self, s: object, note: bool = True) -> object:
        """A statement with its own expressions marked, not those of its blocks."""
        changes: dict[str, object] = {}
        for part in ("value", "init", "lo", "hi", "cond"):
            e = getattr(s, part, None)
            if isinstance(e, Expr):
                changes[part] = self.exact(e, note)
        for part in ("idx", "shape"):
            if getattr(s, part, None):
                changes[part] = tuple(self.exact(e, note) for e in getattr(s, part))
        if isinstance(s, Call):
            changes["args"] = [self._argument(a, note) for a in s.args]
            changes["outs"] = [self._argument(a, note) for a in s.outs]
            changes["sizes"] = {n: self.exact(e, note) for n, e in s.sizes.items()}
        if isinstance(s, For) and abs(s.step) > 1:
            changes["hi"] = self._end(s, changes["hi"], note)  # type: ignore[arg-type]
        if isinstance(s, For) and note:
            if s.parallel and len(s.body) == 1 and isinstance(s.body[0], For) and s.body[0].parallel:
                self.exact(Expr("mul", (s.hi, s.body[0].hi), None, "i64"))  # the two become one loop
        return replace(s, **changes) if changes else s  # type: ignore[type-var]

    def room(self, s: Alloc) -> list[If]:
        """A test before an array is made whose number of elements has no bound."""
        whole = self.exact(product(s.shape))
        if unbounded(whole) is None:
            return []
        small = compare("lt", in_floats(whole), const(LARGEST, "f64"))
        return [If(Expr("not", (small,), None, "bool"), [Jump("fail", s.span)], span=s.span)]

    def _end(self, s: For, hi: Expr, note: bool) -> Expr:
        """Where a range with steps ends: the counter passes it by less than a step."""
        after = self.mark(Expr("add", (hi, const(s.step, "i64")), None, "i64"), note)
        if after.op == "add":
            return hi
        far = const(int(LARGEST) if s.step > 0 else -int(LARGEST), "i64")
        return Expr("min" if s.step > 0 else "max", (hi, far), None, "i64")

    def _argument(self, a: Expr | View, note: bool) -> Expr | View:
        if isinstance(a, Expr):
            return self.exact(a, note)
        part = a.part and (self.exact(a.part[0], note), self.exact(a.part[1], note))
        return replace(a, lead=tuple(self.exact(e, note) for e in a.lead), part=part)

    def claims(self, s: object) -> Iterator[Expr]:
        """The arithmetic in a marked statement that indices depend on."""
        found = list(_places(s)) if not isinstance(s, Store) else [*s.idx]
        for e in expressions(s):
            found += [a for ld in loads(e) for a in ld.args]
        if isinstance(s, (Decl, Assign)) and s.name in self.indices:
            value = s.init if isinstance(s, Decl) else s.value
            found += [value] if value is not None else []
        yield from (e for e in dict.fromkeys(found) if any(n.op.rstrip("?") in ARITHMETIC for n in walk(e)))


def _testable(size: Poly) -> bool:
    """Is a bound a constant below the limit, or one that the test on entry can be about?"""
    if set(size) <= {()}:
        return size.get((), 0) < LARGEST
    return sum(size.values()) <= FACTOR and all(len(m) <= DEGREE for m in size)


def overflow_of(p: Procedure) -> tuple[Procedure, Overflow]:
    """At the start of a procedure, whose `given` is marked, too."""
    indices = index_names(p)
    numbers = {q.name for q in p.params if q.kind == "scalar" and q.dtype == "i64"}
    facts = Facts(p)
    o = Overflow(facts, {*facts.lengths, *(numbers & indices)}, indices)
    given, marked = p.given, [doubted(g) for g in p.given]
    while marked != p.given:  # a condition bounds others only where it is known not to wrap around itself
        p = replace(p, given=marked)
        o.facts = Facts(p)
        marked = [o.condition(g) for g in given]
    # a length that wraps around is what it has become: an array has no more elements
    p = replace(p, params=[_measured(q, o) for q in p.params], outs=[_measured(q, o) for q in p.outs])
    o.facts.fixed = Facts(p).fixed
    begin = counters(p)
    told = ways(p.body, begin, one(1), o.turns)
    o.axes = {}
    for name, start in begin.items():
        way = total(told.get(name, {}), one(start))
        o.counters[name] = way if way is not None and _testable(way) else one(FAR)
    return p, o


def _measured(q: Param, o: Overflow) -> Param:
    """A parameter with its shape marked."""
    return replace(q, shape=tuple(map(o.exact, q.shape)))


def doubted(e: Expr) -> Expr:
    """A condition of which every operation may wrap around, but for those in indices of elements."""
    if e.op in ("load", "load?"):
        return e
    e = rebuild(e, doubted)
    return replace(e, op=e.op + "?") if e.op in ARITHMETIC and e.dtype == "i64" else e


def unbounded(e: Expr) -> Expr | None:
    """The first operation of an expression that may wrap around; arguments of functions are numbers like any other."""
    if e.op.endswith("?") and e.op[:-1] in ARITHMETIC:
        return e
    inside = () if e.op == "call" else e.args
    return next((found for a in inside if (found := unbounded(a)) is not None), None)


def in_floats(e: Expr) -> Expr:
    """A product of integers, computed in floats."""
    if e.op.rstrip("?") == "mul":
        return Expr("mul", tuple(map(in_floats, e.args)), None, "f64")
    return Expr("cast", (e,), "f64", "f64")


def fits(needed: Poly, lengths: Iterable[str]) -> Expr | None:
    """The test on entry: bounds below 2**62, in floats, which do not overflow; None where nothing can."""
    if not needed:
        return None
    natural = set(lengths)
    sum_: Expr | None = None
    for m, c in sorted(needed.items(), key=lambda t: (-len(t[0]), t[0])):
        term: Expr | None = const(float(c), "f64") if c > 1 or not m else None
        for name in m:
            x = in_floats(var(name))
            x = x if name in natural else Expr("abs", (x,), None, "f64")
            term = x if term is None else Expr("mul", (term, x), None, "f64")
        assert term is not None
        sum_ = term if sum_ is None else Expr("add", (sum_, term), None, "f64")
    assert sum_ is not None
    return Expr("lt", (sum_, const(LARGEST, "f64")), None, "bool")
