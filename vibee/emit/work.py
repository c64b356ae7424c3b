"""How much work a parallel loop is, told from sizes: little work is done faster by one thread.

A rough count of machine cycles: upper bounds of the trip counts of loops, times what their innermost
statements cost.  Where sizes do not tell, threads are used.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

from vibee.tree.defs import Alloc, Assign, Call, Comment, Decl, For, If, Jump, Store, While
from vibee.tree.expr import Expr, const, free_vars, walk

from .context import known, plus, times
from .ctypes import vector_of

WORTH_IT = 60_000  # cycles: below this, waking a thread costs more than it brings
PARTS = 8  # costs are in parts of a cycle: this many additions of numbers are one cycle, vectorised
COST = {"div": 4, "sqrt": 4, "mod": 8, "floordiv": 8, "call": 24, "pow": 64, "reduce": 64}


def condition(s: For, sizes: set[str]) -> Expr | bool:
    """When the parallel loop `s` deserves threads: always, never, or a condition on `sizes`."""
    told = s.work is not None and free_vars(s.work) <= sizes
    work = s.work if told else _work([s], dict.fromkeys(sizes))
    if work is None:
        return True
    limit = PARTS * WORTH_IT
    fixed = known(work)
    if fixed is not None:
        return fixed > limit
    return Expr("gt", (work, const(limit, "i64")), None, "bool")


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
                own += _cost(s.value) + 1
                continue
            case Alloc() | Comment() | Jump():
                continue
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
    step = abs(s.step)
    for hi in s.hi.args if s.hi.op == "min" else (s.hi,):
        if hi.op == "add" and s.lo in hi.args:  # from lo to lo + n
            n = hi.args[1] if hi.args[0] == s.lo else hi.args[0]
            found = bound(n, env)
            if found is not None:
                return _divided(found, step)
    upper = bound(s.hi if s.step > 0 else s.lo, env)
    if upper is None:
        return None
    lower = known(s.lo)
    if lower and s.step > 0:
        upper = plus(upper, const(-lower, "i64"))
    return _divided(upper, step)


def _divided(e: Expr, by: int) -> Expr:
    value = known(e)
    if value is not None:
        return const(max(value, 0) // by, "i64")
    return e if by == 1 else Expr("floordiv", (e, const(by, "i64")), None, "i64")


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
            return next(iter(fixed or sides), None)
        return None if len(sides) < 2 else next((b for b in sides if b.op != "const"), sides[0])
    if e.op == "mod":
        return bound(e.args[1], env)
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
