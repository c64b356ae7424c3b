"""Parallel loops: the body becomes a function of its own, run over equal parts of the range.

Pointers and scalars go into it by value, so that the C compiler sees `restrict` parameters and
loop-invariant numbers, whatever OpenMP does with the variables of the enclosing function.

The C compiler makes a vector loop of a body that has no loop of its own, and another of what is left over, which may
round in another way: a product and a sum become one operation in one of them and two in the other.  So that no element
changes from one to the other with the number of threads, shares of such a loop begin at whole runs of elements, and
none is shorter than a run.
"""

from __future__ import annotations

from dataclasses import replace

from vibee.tree.defs import Call, For, If, Jump, While, statements
from vibee.tree.expr import Expr, var

from .context import Body, InternalError, Local
from .ops import ex
from .work import deserving

RUN = 64  # iterations: a multiple of what any vector loop does at once
LO, HI = var("first of the share"), var("end of the share")  # parameters of the function of a body
SHARE = {str(e.attr): Local("scalar", name, "i64", "Py_ssize_t") for e, name in ((LO, "lo"), (HI, "hi"))}


def outline(s: For, b: Body) -> None:
    """Emit the loop's body as a function, and the call of it here."""
    from .functions import assigned_names, finish, pointer_of
    from .statements import emit_body, hoist

    name = f"{b.name}_p{b.children}"
    b.children += 1
    _check_jumps(s.body, name)
    c = b.child(name)
    c.assigned = assigned_names([s])  # its own variable, too: an earlier loop may have had one of that name
    hoist([For(s.var, s.lo, s.hi, s.body)], c)
    c.env |= SHARE
    emit_body([replace(s, lo=LO, hi=HI, parallel=False)], c)
    order = [v.name for v in b.env.values()]
    captured = sorted(c.captured.values(), key=lambda v: (v.kind == "scalar", order.index(v.name)))
    params = ["Py_ssize_t lo", "Py_ssize_t hi", *(f"{pointer_of(v, b.module)} {v.name}" for v in captured), "int* err"]
    b.module.chunks.append(finish(c, f"cdef void {name}({', '.join(params)}) noexcept nogil", []))

    rest = [*(v.name for v in captured), b.err]
    lo, hi = ex(s.lo, b), ex(s.hi, b)
    test = _worth_it(s, b)
    t, n = "vb_t", "vb_n"
    b.decls[t] = b.decls[n] = "Py_ssize_t"
    count, unit = _minus(hi, lo, s), s.step
    if s.step > 1:
        count = f"({count} + {s.step - 1}) // {s.step}"
    elif not any(isinstance(x, (For, While, Call)) for x in statements(s.body)):
        count, unit = f"({count}) // {RUN}", RUN
    b.line(f"{n} = {count}")
    part = [_at(lo, s.lo, share(n, x), unit) for x in (t, f"({t} + 1)")]
    if s.step > 1:
        part[1] = f"{b.module.header.use('vb_min_i64')}({part[1]}, {hi})"
    elif unit == RUN:
        part[1] = f"{hi} if {t} == threads - 1 else {part[1]}"
    if b.around:
        b.line(f"{b.module.header.use('vb_fence')}()")  # the others may read it
    team = f"for {t} in prange(threads, num_threads=threads, schedule='static')"
    with b.block(f"if threads > 1 and {n} > 1{test}"), b.block(team):
        b.line(f"{name}({', '.join([*part, *rest])})")
    with b.block("else"):
        b.line(f"{name}({', '.join([lo, hi, *rest])})")


def share(n: str, t: str) -> str:
    """n * t // threads, without a product that could be too large."""
    return f"{n} // threads*{t} + {n} % threads*{t} // threads"


def _minus(hi: str, lo: str, s: For) -> str:
    """The length of a range: from numbers far apart, an empty one could wrap around to a long one."""
    return hi if s.lo.op == "const" and s.lo.attr == 0 else f"(({hi}) - ({lo}) if ({hi}) > ({lo}) else 0)"


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
    """` and <work> > <limit>`, where the work can be told from sizes; nothing where it cannot."""
    from .functions import assigned_names

    sizes = {n for n, v in b.env.items() if v.kind == "scalar" and v.dtype == "i64"} - assigned_names([s])
    work = deserving(s, sizes)
    if isinstance(work, bool):
        return "" if work else " and False"
    return f" and {ex(work, b, 5)} > {b.module.header.use('vb_worth')}"
