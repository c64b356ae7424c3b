"""What is known at a place of lowered code: sizes, loop ranges, conditions, `given`, scalars of known value.

A fact is an expression over scalars and array elements.  It is dropped as soon as a variable or an array in it
may have changed.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import replace
from typing import Any

from vibee.tree.defs import (
    Alloc,
    Assign,
    Call,
    Decl,
    Definition,
    Equations,
    For,
    Formula,
    Jump,
    Store,
    View,
    While,
    statements,
)
from vibee.tree.expr import Expr, const, free_vars, loads, names_in, rebuild, substitute, var, walk
from vibee.tree.normal import hoist
from vibee.tree.poly import Sizes, add
from vibee.tree.types import is_int

from .linear import implied, proved_before

ZERO = const(0, "i64")
CONSTANTS = {"lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge, "eq": operator.eq,
             "ne": operator.ne}  # fmt: skip
FLIP = {"lt": "ge", "le": "gt", "gt": "le", "ge": "lt", "eq": "ne", "ne": "eq"}


def compare(op: str, a: Expr, b: Expr) -> Expr:
    """A comparison as an expression."""
    return Expr(op, (a, b), None, "bool")


def conjunction(a: Expr, b: Expr) -> Expr:
    """a and b."""
    return Expr("and", (a, b), None, "bool")


def disjunction(a: Expr, b: Expr) -> Expr:
    """a or b."""
    return Expr("or", (a, b), None, "bool")


def conjuncts(e: Expr) -> Iterable[Expr]:
    """The parts of a condition that all hold."""
    if e.op == "and":
        for a in e.args:
            yield from conjuncts(a)
    elif e.op == "not" and e.args[0].op == "or":
        for a in e.args[0].args:
            yield from conjuncts(opposite(a))
    else:
        yield e


def opposite(e: Expr) -> Expr:
    """not e.  For integers only: `not a < b` is `a >= b` unless one is a NaN."""
    if e.op in FLIP and not any(a.dtype[:1] == "f" or a.dtype == "bf16" for a in e.args):
        return replace(e, op=FLIP[e.op])
    return e.args[0] if e.op == "not" else Expr("not", (e,), None, "bool")


def expressions(s: Any) -> Iterator[Expr]:
    """The expressions of one statement, not those of its blocks."""
    for part in ("value", "init", "lo", "hi", "cond"):
        e = getattr(s, part, None)
        if isinstance(e, Expr):
            yield e
    for part in ("idx", "shape"):
        yield from getattr(s, part, None) or ()
    if isinstance(s, Call):
        yield from (a for a in s.args if isinstance(a, Expr))


def norm(e: Expr) -> Expr:
    """The one element of an array without axes is a scalar too, `name[]`."""
    if all(ld.args for ld in loads(e)):
        return e
    if e.op in ("load", "load?") and not e.args:
        return var(f"{e.attr}[]", e.dtype)
    return rebuild(e, norm)


def changed(stmts: list) -> set[str]:
    """Scalars and arrays that statements may change."""
    out: set[str] = set()
    for s in statements(stmts):
        if isinstance(s, (Assign, Decl)):
            out.add(s.name)
        elif isinstance(s, For):
            out.add(s.var)
        elif isinstance(s, Store):
            out |= {s.array} if s.idx else {s.array, f"{s.array}[]"}
        elif isinstance(s, Call):
            # An argument may be one that the callee changes.
            out |= {n for v in [*s.args, *s.outs] if isinstance(v, View) for n in (v.array, f"{v.array}[]")}
            out |= {n for o in s.outs if isinstance(o, Expr) for n in (str(o.attr), f"{o.attr}[]")}
        elif isinstance(s, Equations):
            out |= {n for e in s.equations for n in (e.lhs, f"{e.lhs}[]")}
    return out


def plus(a: Expr, b: Expr) -> Expr:
    """a + b."""
    return Expr("add", (a, b), None, "i64")


def product(shape: tuple[Expr, ...]) -> Expr:
    """Elements of a shape."""
    one = out = const(1, "i64")
    for e in shape:
        out = e if out == one else Expr("mul", (out, e), None, "i64")
    return out


def guarded(d: Definition) -> bool:
    """Is `given` tested on entry?  A function of numbers without arrays has nothing that depends on it."""
    if not d.is_scalar:
        return True
    if isinstance(d, Formula):
        return any(t.shape for t in hoist(d).temps)
    return any(isinstance(s, Alloc) for s in statements(getattr(d, "body", [])))


def tested(c: Expr, d: Definition) -> int | None:
    """When a condition of `given` is tested on entry: 0 first, if it reads no element; 1, if it reads those of integer
    arrays, one after the other; 2 last, if it reads them where other elements say.  None: not at all, since the places
    of no elements can depend on it that are not tested themselves."""
    reads = list(loads(c))
    arrays = {p.name: p for p in d.params if p.is_array}
    if any(n.op in ("reduce", "scan") for n in walk(c)) or any(str(ld.attr) not in arrays for ld in reads):
        return None
    if any(not is_int(arrays[str(ld.attr)].dtype) for ld in reads):
        return None
    numbers = {*d.sizes, *(p.name for p in d.params)}
    plain = all(a.op == "var" and a.attr not in numbers for ld in reads for a in ld.args)
    return 0 if not reads else 1 if plain else 2


def leaves(body: list) -> bool:
    """Does a block never reach its end?"""
    return bool(body) and isinstance(body[-1], Jump)


def width(dtype: str) -> int:
    """Elements in a value: 1, or the lanes of a vector type such as f32x16."""
    return int(dtype.split("x")[1]) if "x" in dtype else 1


class Facts:
    """The facts at a place; `saved` gives them to a branch and takes them back."""

    def __init__(self, d: Definition) -> None:
        self.fixed = {p.name: p.shape for p in d.params if p.kind == "in"}
        parts = [c for g in d.given for c in conjuncts(g)]
        plain = [c for c in parts if tested(c, d) == 0]
        self.sizes = Sizes(plain, emitted=True)
        self.known: list[Expr] = []
        self.renamed = 0  # scalars that have changed so far: what one held before has a name of its own
        self.patterns: list[Expr] = []  # about every element of a read-only array; they are tested before all else
        self.promised: list[Expr] = []  # the same, and what only those who call from outside are held to
        self.lengths = {*d.sizes, *(p.name for p in d.params if p.kind == "size")}
        for s in sorted(self.lengths):
            self.known.append(compare("ge", var(s), ZERO))
        self.known += plain
        for c in parts:
            reads = {str(ld.attr) for ld in loads(c)}
            if reads and reads <= set(self.fixed):
                self.promised.append(c)
                if tested(c, d) == 1:
                    self.patterns.append(c)

    def copy(self) -> Facts:
        """The same facts, to go another way from here."""
        other = copy(self)
        other.known = list(self.known)
        return other

    def assume(self, e: Expr) -> None:
        """A condition holds from here on."""
        self.known = [*self.known, *conjuncts(norm(e))]

    def drop(self, names: set[str]) -> None:
        """Forget what is known of what may have changed."""
        if names:
            self.known = [f for f in self.known if not (names_in(f) & names)]

    def know(self, name: str, dtype: str, value: Expr) -> None:
        """The scalar `name` holds `value` from here on; what was known of it is known of what it held before."""
        value = norm(value)
        self.renamed += 1
        before = {name: var(f"{name}#{self.renamed}", dtype)}
        self.known = [substitute(f, before) if name in free_vars(f) else f for f in self.known]
        if dtype == "i64" and all(ld.attr in self.fixed for ld in loads(value)):
            self.known = [*self.known, compare("eq", var(name), substitute(value, before))]

    def enter(self, s: For | While, kept: Iterable[Expr] = ()) -> None:
        """Facts at the start of any iteration, of a `while` before its condition; `kept` holds at the start of each."""
        moved = changed([s])
        self.drop(moved)
        self.known = [*self.known, *kept]
        if isinstance(s, For):
            self.known = [*self.known, *range_facts(s, moved - {s.var})]

    def prove(self, goal: Expr) -> bool:
        """Do the facts imply the goal?"""
        goal = norm(goal)
        if goal in self.known or self.plain(goal):
            return True
        near, every = self.about(goal, near=True), self.about(goal)
        if len(near) == len(every) or proved_before(every, goal):
            return implied(every, goal)
        if implied(near, goal):
            return True
        return implied(every, goal)

    def plain(self, goal: Expr) -> bool:
        """Is a comparison true of any numbers, or a sum of products of what is not negative?"""
        if goal.op not in ("le", "lt", "ge", "gt", "eq", "ne"):
            return False
        a, b = goal.args if goal.op in ("le", "lt", "eq", "ne") else goal.args[::-1]
        if a.op == b.op == "const":
            return bool(CONSTANTS[goal.op](*(x.attr for x in goal.args)))
        if not all(x.dtype in ("i64", "") for x in (a, b)):
            return False
        rest = add(self.sizes.poly(b), self.sizes.poly(a), -1)
        if goal.op == "eq":
            return not rest
        if goal.op == "ne" or (goal.op in ("lt", "gt") and rest.get((), 0) < 1):
            return False
        return all(c > 0 and all(map(self.natural, m)) for m, c in rest.items() if m) and rest.get((), 0) >= 0

    def natural(self, name: str) -> bool:
        """Is the name that of a size, or known to be no negative number?"""
        v = var(name)
        for f in self.known:
            if f.op in ("ge", "gt") and f.args[0] == v and f.args[1].op == "const" and int(f.args[1].attr) >= 0:  # type: ignore[call-overload]
                return True
            if f.op in ("le", "lt") and f.args[1] == v and f.args[0].op == "const" and int(f.args[0].attr) >= 0:  # type: ignore[call-overload]
                return True
        what = self.sizes.atoms.get(name)
        if what is None or what.op not in ("floordiv", "mod"):
            return False
        above, below = compare("le", ZERO, what.args[0]), compare("lt", ZERO, what.args[1])
        return self.plain(above) and (self.plain(below) or self.prove(below))

    def about(self, goal: Expr, near: bool = False) -> tuple[Expr, ...]:
        """The facts that can matter for the goal; with `near`, those that probably do."""
        facts = [*self.known, *self.instances([goal, *self.known])]
        return tuple(relevant(facts, goal, self.lengths if near else None))

    def instances(self, texts: list[Expr]) -> list[Expr]:
        """Facts about elements, for the elements that are read in `texts`: those inside their array."""
        if not self.patterns:
            return []
        out: list[Expr] = []
        wanted = dict.fromkeys(n for f in texts for n in walk(f) if n.op in ("load", "load?") and n.attr in self.fixed)
        for pattern in self.patterns:
            for want in wanted:
                for at in loads(pattern):
                    if at.attr == want.attr and all(a.op == "var" for a in at.args):
                        table = {str(a.attr): b for a, b in zip(at.args, want.args, strict=True)}
                        out.append(self._instance(pattern, table))
        return out

    def _instance(self, pattern: Expr, table: dict[str, Expr]) -> Expr:
        """A fact about elements at given places: a read that is not proved to be inside gives 0, whatever is given of
        elements."""
        places = [(substitute(k, table), size) for ld in loads(pattern) for k, size in
                  zip(ld.args, self.fixed[str(ld.attr)], strict=True)]  # fmt: skip
        outside = [opposite(compare(op, *sides)) for b, size in dict.fromkeys(places)
                   for op, sides in (("le", (ZERO, b)), ("lt", (b, size)))]  # fmt: skip
        return Expr("or", (*outside, substitute(pattern, table)), None, "bool")


def range_facts(s: For, moved: set[str]) -> list[Expr]:
    """lo <= v < hi, and v - lo a multiple of the step."""
    v = var(s.var)
    up = s.step > 0
    facts = [compare("le" if up else "ge", s.lo, v), compare("lt" if up else "gt", v, s.hi)]
    if abs(s.step) > 1:
        step = const(abs(s.step), "i64")
        away = Expr("sub", (v, s.lo), None, "i64")
        facts.append(compare("eq", Expr("mod", (away, step), None, "i64"), ZERO))
    return [f for f in facts if not (names_in(f) & moved)]


def relevant(facts: list[Expr], goal: Expr, sizes: set[str] | None = None) -> list[Expr]:
    """Facts that share variables with the goal, directly or through other facts.

    With `sizes`, only the near ones: those linked by other names than sizes, and those about sizes in them alone."""
    names = names_in(goal)
    chosen: list[Expr] = []
    left = [(f, names_in(f)) for f in dict.fromkeys(facts)]
    while True:
        by = names - (sizes or set())
        near: list[tuple[Expr, frozenset[str]]] = []
        far: list[tuple[Expr, frozenset[str]]] = []
        for x in left:
            (far if x[1] and by.isdisjoint(x[1]) else near).append(x)
        if not near:
            break
        chosen += [f for f, _ in near]
        left = far
        names = names.union(*(own for _, own in near))
    return chosen + ([f for f, own in left if own <= names] if sizes else [])
