"""How much work a parallel loop is, told from sizes: little work is done faster by one thread.

A rough count of machine cycles: upper bounds of the trip counts of loops, times what their innermost
statements cost.  Where sizes do not tell, threads are used.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

from vibee.tree.defs import Alloc, Assign, Call, Comment, Decl, For, If, Jump, Prefetch, Store, While
from vibee.tree.expr import Expr, const, free_vars, walk

from .context import known, plus, times
from .ctypes import vector_of

WORTH_IT = 60_000  # cycles: below this, waking a thread costs more than it brings
PARTS = 8  # costs are in parts of a cycle: this many additions of numbers are one cycle, vectorised
STORE = 6  # of an element: loops near the limit store hundreds of KB, which are in no near cache
EACH = 58  # of a function of numbers that is called with arrays, for an element, whatever it computes
COST = {"div": 4, "sqrt": 4, "mod": 8, "floordiv": 8, "call": 24, "pow": 64, "reduce": 64}


def limit() -> int:
    """The work, in parts of a cycle, above which a loop deserves threads."""
    return PARTS * WORTH_IT


def deserving(s: For, sizes: set[str]) -> Expr | bool:
    """Does the parallel loop `s` deserve threads: always, never, or where this work, told from `sizes`, is enough?"""
    told = s.work is not None and free_vars(s.work) <= sizes
    work = s.work if told else _work([s], dict.fromkeys(sizes))
    if work is None:
        return True
    fixed = known(work)
    return work if fixed is None else fixed > limit()


def _work(statements: list, names: Mapping[str, Expr | None]) -> Expr | None:
    """The cost of statements; None where a trip count is not told by sizes."""
    loops: list[Expr] = []
    own = 0  # what stands beside loops counts only where there are none
    env = dict(names)
    for s in statements:
        inner: Expr | None = None
        match s:
            case While() | Call():
                return None
            case Decl() | Assign():
                value = s.init if isinstance(s, Decl) else s.value
                own += _cost(value) if value is not None else 0
                upper = bound(value, env) if value is not None and value.dtype == "i64" else None
                env.pop(s.name, None)
                if upper is not None:
                    env[s.name] = upper
                continue
            case Store():
                own += _cost(s.value) + (1 if vector_of(s.value.dtype) else STORE)
                continue
            case Alloc() | Comment() | Jump() | Prefetch():
                continue
            case If(cond=Expr(op="far")):  # both sides do the same
                inner = _work(s.orelse, env)
            case If():
                inner = _work([*s.then, *s.orelse], env)
            case _:  # a loop
                trips, last = _trips(s, env), bound(s.hi, env)
                inside = dict(env)
                inside.pop(s.var, None)
                if last is not None:
                    inside[s.var] = last
                inner = _work(s.body, inside)
                inner = None if inner is None or trips is None else times(trips, inner)
        if inner is None:
            return None
        if inner.op == "const":
            own += int(inner.attr)  # type: ignore[call-overload]
        else:
            loops.append(inner)
    if not loops:
        return const(own, "i64")
    return reduce(plus, loops)


def _cost(e: Expr) -> int:
    """What an expression costs, in parts of a cycle."""
    # a vector operation does the work of many numbers, but still two of them make a cycle
    vector = PARTS // 4 if vector_of(e.dtype) else 1
    return sum(COST.get(n.op, 1) * vector for n in walk(e) if n.op not in ("const", "var"))


def _trips(s: For, env: Mapping[str, Expr | None]) -> Expr | None:
    """At most how often the loop runs."""
    lo, hi = (s.lo, s.hi) if s.step > 0 else (s.hi, s.lo)
    part = _part(lo, hi, env)
    if part is not None:
        return _divided(part, abs(s.step))
    upper = bound(hi, env)
    if upper is None:
        return None
    lower = known(s.lo)
    if lower and s.step > 0:
        upper = plus(upper, const(-lower, "i64"))
    return _divided(upper, abs(s.step))


def _part(lo: Expr, hi: Expr, env: Mapping[str, Expr | None]) -> Expr | None:
    """At most hi - lo where both start at the same place: from x or x + r to x + n."""
    start = lo.args[0] if lo.op == "add" else lo
    for e in hi.args if hi.op == "min" else (hi,):
        for x in (lo, start):
            if e.op == "add" and x in e.args:
                n = e.args[1] if e.args[0] == x else e.args[0]
                found = bound(n, env)
                if found is not None:
                    return found
    return None


def _divided(e: Expr, by: int) -> Expr:
    """e / by, rounded up: the last step may be a part of one."""
    value = known(e)
    if value is not None:
        return const(-(-max(value, 0) // by), "i64")
    if by == 1:
        return e
    if e.op == "mul" and e.args[1].op == "const" and e.args[1].attr == by:
        return e.args[0]
    return Expr("floordiv", (plus(e, const(by - 1, "i64")), const(by, "i64")), None, "i64")


def bound(e: Expr, env: Mapping[str, Expr | None]) -> Expr | None:
    """An upper bound of a size expression in names of `env` that stand for themselves."""
    if e.op == "const":
        return e
    if e.op == "var":
        name = str(e.attr)
        return None if name not in env else env[name] or e
    if e.op in ("min", "max"):
        sides: list[Expr] = [b for a in e.args if (b := bound(a, env)) is not None]
        fixed = [b for b in sides if b.op == "const"]
        if e.op == "min":
            return min(fixed, key=known, default=next(iter(sides), None))  # type: ignore[arg-type]
        if len(sides) < 2:
            return None
        return next((b for b in sides if b.op != "const"), None) or max(fixed, key=known)  # type: ignore[arg-type]
    if e.op == "mod":
        return bound(e.args[1], env)
    if e.op == "sub" and (part := _part(e.args[1], e.args[0], env)) is not None:
        return part
    if e.op in ("add", "sub", "mul", "floordiv"):
        a, b = (bound(x, env) for x in e.args)
        if a is None:
            return None
        if e.op in ("sub", "floordiv") and (b is None or b.op != "const" or not b.attr):
            return a  # what is taken away or divided by only makes it less
        if b is None:
            return None
        found = Expr(e.op, (a, b), None, "i64")
        value = known(found)
        return found if value is None else const(value, "i64")
    return None
