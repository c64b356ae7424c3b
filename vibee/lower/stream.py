"""Stores around the cache: what `stream(y)` asks for.

    for v in range(lo, hi):                  if far(y[..., lo]):
        y[..., v] = value(v)        ->           for base in range(lo, whole, 16):
                                                     for lane in range(0, 16):
                                                         line[lane] = value(base + lane)
                                                     y[..., base + k] = line[k] as a vector       for each vector
                                                 for v in range(whole, hi):
                                                     y[..., v] = value(v)
                                             else: as it was, but for lines that ask for what is ahead: by vectors, too

A store fetches its line of memory first, to change a part of it.  One that goes around the cache writes whole lines,
and fetches none; but whoever reads the array next must wait for memory.  So `far` tells, when the loop runs, whether
the array is larger than caches are, and a line begins where the loop does.
"""

from __future__ import annotations

from dataclasses import replace

from vibee.tree.defs import Alloc, For, If, Prefetch, Store
from vibee.tree.expr import Expr, loads, substitute
from vibee.tree.stride import stride
from vibee.tree.types import DTYPES

from .build import add, div, extent, i, is_const, local, mul
from .reduction import LANES
from .schedule import Plan


def streams(stmts: list, plan: Plan) -> list:
    """The statements of a nest; loops along the memory of an array that the plan streams write it line by line."""
    if not plan.stream or not plan.fresh.bits:
        return stmts
    out: list = []
    for s in stmts:
        made = _streamed(s, plan) if isinstance(s, For) and not s.parallel else None
        if made is not None:
            out.append(made)
            continue
        parts = {part: streams(found, plan) for part in ("body", "then", "orelse") if (found := getattr(s, part, None))}
        out.append(replace(s, **parts) if parts else s)
    return out


def _streamed(s: For, plan: Plan) -> If | None:
    """A loop that writes floats of a streamed array, one after the other, and nothing else; None for any other."""
    *asked, last = s.body or [None]
    fresh = plan.fresh
    if s.step == LANES and _is_line(last, plan) and all(isinstance(a, Prefetch) for a in asked):
        put = last.body[0]
        first = tuple(substitute(e, {last.var: i(0), s.var: s.lo}) for e in put.idx)
        steps = [replace(s, body=[*asked, *_line(last, plan)])]
        s = replace(s, body=[*asked, *_line(last, plan, around=False)])
    elif s.step == 1 and not asked and _serves(last, s.var, plan) and _is_long(s, plan):
        put, base, lane = last, fresh.part(s.var, "0"), fresh("lane")
        first = tuple(substitute(e, {s.var: s.lo}) for e in put.idx)
        fresh.rests.add(s.var)
        whole = add(s.lo, mul(div(extent(s.lo, s.hi, fresh.signed), i(LANES)), i(LANES)))
        at = {s.var: add(local(base), local(lane))}
        there = replace(put, idx=tuple(substitute(e, at) for e in put.idx), value=substitute(put.value, at))
        line = _line(For(lane, i(0), i(LANES), [there]), plan)
        steps = [For(base, s.lo, whole, line, step=LANES), replace(s, lo=whole)]
    else:
        return None
    plan.schedule.streamed.add(put.array)
    return If(Expr("far", first, put.array, "bool"), steps, [s])


def _serves(put: object, var: str, plan: Plan) -> bool:
    """Is a statement a store to a streamed array, at the next element when `var` grows?"""
    return (
        isinstance(put, Store)
        and put.array in plan.stream
        and put.value.dtype in ("f32", "f64")
        and stride(put.idx, var) == 1
        and all(ld.attr != put.array for ld in loads(put.value))  # `+=` does, which no equation shows
    )


def _is_long(s: For, plan: Plan) -> bool:
    """May a loop have a line: is it neither known to be shorter nor what another loop has left?"""
    short = is_const(s.lo) and is_const(s.hi) and int(s.hi.attr) - int(s.lo.attr) < LANES  # type: ignore[call-overload]
    return not short and s.var not in plan.fresh.rests and plan.base(s.var) not in plan.unroll


def _is_line(s: object, plan: Plan) -> bool:
    """Is a statement a loop over the elements of a line?"""
    if not isinstance(s, For) or len(s.body) != 1 or not (is_const(s.lo, 0) and is_const(s.hi, LANES)):
        return False
    return _serves(s.body[0], s.var, plan)


def _line(s: For, plan: Plan, *, around: bool = True) -> list:
    """A loop over the elements of a line: made in vectors, which are stored."""
    (put,) = s.body
    line, dtype = plan.fresh("line"), put.value.dtype
    width = plan.fresh.bits // DTYPES[dtype].bits
    vectors = [
        Store(
            put.array, tuple(substitute(e, {s.var: i(k)}) for e in put.idx),
            Expr("vload", (i(k),), line, f"{dtype}x{width}"), span=put.span, around=around,
        )
        for k in range(0, LANES, width)
    ]  # fmt: skip
    made = replace(s, body=[Store(line, (local(s.var),), put.value, span=put.span)])
    return [Alloc(line, dtype, (i(LANES),), zero=False), made, *vectors]
