"""Parallel loops: the body becomes a function of its own, run over equal parts of the range.

Pointers and scalars go into it by value, so that the C compiler sees `restrict` parameters and
loop-invariant numbers, whatever OpenMP does with the variables of the enclosing function.
"""

from __future__ import annotations

from vibee.tree.defs import Call, For, If, Jump, While
from vibee.tree.expr import Expr, free_vars, walk

from .context import Body, InternalError, Local, product
from .ops import ex

# Fewer element operations than this are done before a second thread has woken up.
SMALL_WORK = 32768


def outline(s: For, b: Body) -> None:
    """Emit the loop's body as a function, and the call of it here."""
    from .functions import assigned_names, finish, pointer_of
    from .statements import emit_body, hoist

    name = f"{b.name}_p{b.children}"
    b.children += 1
    _check_jumps(s.body, name)
    c = b.child(name)
    c.assigned = assigned_names(s.body)
    hoist([For(s.var, s.lo, s.hi, s.body)], c)
    var = c.declare(s.var, "i64", size=True)
    step = f", {s.step}" if s.step != 1 else ""
    with c.block(f"for {var.name} in range(lo, hi{step})"):
        emit_body(s.body, c)
    order = [v.name for v in b.env.values()]
    captured = sorted(c.captured.values(), key=lambda v: (v.kind == "scalar", order.index(v.name)))
    params = ["Py_ssize_t lo", "Py_ssize_t hi", *(f"{pointer_of(v, b.module)} {v.name}" for v in captured), "int* err"]
    b.module.chunks.append(finish(c, f"cdef void {name}({', '.join(params)}) noexcept nogil", []))

    # looked up again here, so that an outlined function that encloses this one captures them too
    rest = [_passed(v, b) for v in captured] + [b.err]
    lo, hi = ex(s.lo, b), ex(s.hi, b)
    test = _worth_it(s, b)
    t, n = "vb_t", "vb_n"
    b.decls[t] = b.decls[n] = "Py_ssize_t"
    if s.step == 1:
        b.line(f"{n} = {_minus(hi, lo, s)}")
        part = [_at(lo, s.lo, f"{n}*{t} // threads", 1), _at(lo, s.lo, f"{n}*({t} + 1) // threads", 1)]
    else:
        b.line(f"{n} = ({_minus(hi, lo, s)} + {s.step - 1}) // {s.step}")
        part = [_at(lo, s.lo, f"{n}*{t} // threads", s.step), _at(lo, s.lo, f"{n}*({t} + 1) // threads", s.step)]
        part[1] = f"{b.module.header.use('vb_min_i64')}({part[1]}, {hi})"
    team = f"for {t} in prange(threads, num_threads=threads, schedule='static')"
    with b.block(f"if threads > 1 and {n} > 1{test}"), b.block(team):
        b.line(f"{name}({', '.join([*part, *rest])})")
    with b.block("else"):
        b.line(f"{name}({', '.join([lo, hi, *rest])})")


def _passed(v: Local, b: Body) -> str:
    for local in b.env.values():
        if local.name == v.name and local.outer:
            b.captured.setdefault(v.name, local)
    return v.name


def _minus(hi: str, lo: str, s: For) -> str:
    return hi if s.lo.op == "const" and s.lo.attr == 0 else f"({hi}) - ({lo})"


def _at(lo: str, lo_expr: Expr, offset: str, step: int) -> str:
    text = offset if step == 1 else f"{step} * ({offset})"
    return text if lo_expr.op == "const" and lo_expr.attr == 0 else f"({lo}) + {text}"


def _check_jumps(statements: list, name: str, *, nested: bool = False) -> None:
    """A parallel loop has no order, so nothing may leave it early."""
    for s in statements:
        match s:
            case Jump(kind="return"):
                raise InternalError(f"{name}: return out of a parallel loop")
            case Jump(kind="break") if not nested:
                raise InternalError(f"{name}: break out of a parallel loop")
            case If():
                _check_jumps(s.then, name, nested=nested)
                _check_jumps(s.orelse, name, nested=nested)
            case For() | While():
                _check_jumps(s.body, name, nested=True)


def _worth_it(s: For, b: Body) -> str:
    """` and work > SMALL_WORK`, where the work can be told from sizes; nothing where it cannot."""
    from .functions import assigned_names

    sizes = {n for n, v in b.env.items() if v.kind == "scalar"} - assigned_names([s])
    work = estimate([s], sizes)
    if work is None:
        return ""
    if work.op == "const":
        return "" if int(work.attr) > SMALL_WORK else " and False"  # type: ignore[call-overload]
    return f" and {ex(work, b)} > {SMALL_WORK}"


def estimate(statements: list, sizes: set[str]) -> Expr | None:
    """Element operations of the deepest loop nest; None where sizes do not tell."""
    work = _deepest(statements, sizes)
    return None if work is None else product(work)


def _deepest(statements: list, sizes: set[str]) -> list[Expr] | None:
    best: list[Expr] = []
    for s in statements:
        inner: list[Expr] | None = []
        match s:
            case While() | Call():
                return None
            case If():
                inner = _deepest([*s.then, *s.orelse], sizes)
            case For():
                inner = _deepest(s.body, sizes)
                trips = _trips(s, sizes)
                inner = None if inner is None or trips is None else [trips, *inner]
        if inner is None:
            return None
        if len(inner) > len(best):
            best = inner
    return best


def _trips(s: For, sizes: set[str]) -> Expr | None:
    """How often the loop runs: its upper bound is enough for a decision; None if it is not a size."""
    if any(n not in sizes for e in (s.lo, s.hi) for n in free_vars(e)):
        return None
    nodes = [n for e in (s.lo, s.hi) for n in walk(e)]
    if any(n.op in ("load", "load?", "call", "where") for n in nodes):
        return None
    if any(n.op in ("floordiv", "mod") and n.args[1].op != "const" for n in nodes):
        return None
    if s.lo.op == "const" and s.hi.op == "const":
        span = int(s.hi.attr) - int(s.lo.attr)  # type: ignore[call-overload]
        return Expr("const", (), max(span, 0) // s.step, "i64")
    trips = s.hi if s.lo.op == "const" and s.lo.attr == 0 else Expr("sub", (s.hi, s.lo), None, "i64")
    if s.step == 1:
        return trips
    if trips.op == "mul" and trips.args[1].op == "const" and trips.args[1].attr == s.step:
        return trips.args[0]
    return Expr("floordiv", (trips, Expr("const", (), s.step, "i64")), None, "i64")
