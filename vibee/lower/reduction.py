"""Reductions to one number: the loops, and the order in which they add.

A float sum, product, maximum or minimum along an axis that lies contiguously in memory runs
in LANES independent partial results, element k going to lane (k - lo) % LANES; the tail that
does not fill all lanes goes to a separate partial result; partials are then combined pairwise (l with
l + LANES/2, and so on).  The order depends on the sizes alone, never on threads or instruction set.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from vibee.tree.defs import Alloc, Assign, Decl, For, If, Prefetch, Store
from vibee.tree.expr import Expr, always_read, bound_vars, const, free_vars, load, loads, rebuild, substitute, walk
from vibee.tree.normal import neutral
from vibee.tree.stride import stride
from vibee.tree.types import DTYPES, is_float

from .build import Fresh, add, combine, div, extent, i, is_const, local, mul, sub
from .schedule import Plan

LANES = 16
AHEAD = 4096  # bytes between what is read and what is asked for, where a loop runs through memory
REGISTERS = 8  # most vectors of partial results side by side: half of those of AVX2
BLOCKS = 64  # partial results of a parallel reduction, whatever the number of threads


def contiguous_along(body: Expr, name: str) -> bool:
    """Do all reads of `body` stay or move to the next element when `name` grows?"""
    return all(stride(ld.args, name) is not None for ld in loads(body))


def downward(r: Expr, col: str) -> bool:
    """Does the reduction `r` read memory in order along `col` but not along its own last variable?"""
    if r.attr[0] in ("argmax", "argmin", "any", "all"):  # type: ignore[index]
        return False
    along = any(stride(ld.args, col) == 1 for ld in loads(r.args[0]))
    bounds = any(col in free_vars(b) for b in r.args[1:])
    return (
        along and not bounds and contiguous_along(r.args[0], col) and not contiguous_along(r.args[0], bound_vars(r)[-1])
    )


def reduce_ranges(e: Expr) -> list[tuple[str, Expr, Expr]]:
    """(variable, lo, hi) for each variable of a reduce node."""
    return list(zip(bound_vars(e), e.args[1::2], e.args[2::2], strict=True))


def freshen(e: Expr, fresh: Fresh) -> Expr:
    """A reduce node with new names for its variables."""
    names = {v: fresh.own(v) for v in bound_vars(e)}
    sub_ = {v: local(n) for v, n in names.items()}
    # later ranges may use earlier variables, so bounds are renamed too
    args = tuple(substitute(a, sub_) for a in e.args)
    return replace(e, args=args, attr=(e.attr[0], tuple(names[v] for v in bound_vars(e))))  # type: ignore[index]


def nest(ranges: list[tuple[str, Expr, Expr]], body: list) -> list:
    """`body` inside loops over `ranges`, the first outermost."""
    for name, lo, hi in reversed(ranges):
        body = [For(name, lo, hi, body)]
    return body


def reduce_scalar(e: Expr, fresh: Fresh, plan: Plan | None = None) -> tuple[list, Expr]:
    """Statements that compute the reduce node `e`, and the variable that then holds it."""
    e = freshen(e, fresh)
    op = e.attr[0]  # type: ignore[index]
    ranges = reduce_ranges(e)
    last = ranges[-1][0]
    loops = plan.cut_all(ranges) if plan else ranges
    if op in ("argmax", "argmin"):
        return _arg_reduce(op, e.args[0], ranges, loops if len(ranges) == 1 else ranges, fresh)
    along = contiguous_along(e.args[0], last) or (plan is not None and plan.vector([last]) is not None)
    short = _short(ranges[-1]) or (plan is not None and (plan.size(last) or LANES) < LANES)
    if is_float(e.dtype) and along and not short:
        return _lanes(op, e, loops, fresh, plan)
    acc = local(fresh("acc"), e.dtype)
    step = [Assign(str(acc.attr), combine(op, acc, e.args[0]))]
    return [Decl(str(acc.attr), e.dtype, neutral(op, e.dtype)), *nest(loops, step)], acc


def pure(e: Expr, fresh: Fresh) -> tuple[list, Expr]:
    """`e` without reductions: each becomes loops before the statement, which run only where `e` evaluates it."""
    if not _reduces(e):
        return [], e
    if e.op == "reduce":
        loops, value = reduce_scalar(e, fresh)
        return expanded(loops, fresh), value
    if e.op in ("where", "and", "or") and any(map(_reduces, e.args[1:])):
        return _chosen(e, fresh)
    before: list = []

    def one(a: Expr) -> Expr:
        loops, value = pure(a, fresh)
        before.extend(loops)
        return value

    return before, rebuild(e, one)


def _reduces(e: Expr) -> bool:
    return any(n.op == "reduce" for n in walk(e))


def _chosen(e: Expr, fresh: Fresh) -> tuple[list, Expr]:
    before, cond = pure(e.args[0], fresh)
    value = local(fresh("chosen"), e.dtype)
    missing = const(e.op == "or", "bool")
    sides = {"where": e.args[1:], "and": (e.args[1], missing), "or": (missing, e.args[1])}[e.op]
    then, other = ([*loops, Assign(str(value.attr), x)] for loops, x in (pure(side, fresh) for side in sides))
    return [*before, Decl(str(value.attr), e.dtype), If(cond, then, other)], value


def expanded(stmts: list, fresh: Fresh) -> list:
    """Statements without reductions in them: those that stayed where they are, for their ranges depend on data."""
    out: list = []
    for s in stmts:
        changes: dict[str, object] = {}
        for part in ("value", "init", "lo", "hi", "cond"):
            e = getattr(s, part, None)
            if isinstance(e, Expr) and _reduces(e):
                loops, changes[part] = pure(e, fresh)
                out += loops
        for part in ("body", "then", "orelse"):
            if getattr(s, part, None):
                changes[part] = expanded(getattr(s, part), fresh)
        out.append(replace(s, **changes) if changes else s)
    return out


def _short(r: tuple[str, Expr, Expr]) -> bool:
    return is_const(r[1]) and is_const(r[2]) and int(r[2].attr) - int(r[1].attr) < LANES  # type: ignore[call-overload]


def _lanes(op: str, e: Expr, ranges: list, fresh: Fresh, plan: Plan | None) -> tuple[list, Expr]:
    name, lo, hi = ranges[-1]
    lanes, lane, base = fresh("lanes"), fresh("lane"), fresh.part(name, "0")
    fresh.rests.add(name)
    acc = local(fresh("acc"), e.dtype)
    body = e.args[0]
    at = lambda k: load(lanes, (k,), e.dtype)  # noqa: E731 - a name for one indexing form
    whole = add(lo, mul(div(extent(lo, hi, fresh.signed), i(LANES)), i(LANES)))
    in_lane = substitute(body, {name: add(local(base), local(lane))})
    first, step, last = _partials(op, e.dtype, lanes, lane, in_lane, fresh)
    main = For(base, lo, whole, [*soon(body, name, base, plan), *step], step=LANES)
    tail = For(name, whole, hi, [Assign(str(acc.attr), combine(op, acc, body))])
    out = [
        Alloc(lanes, e.dtype, (i(LANES),), zero=False),
        *first,
        Decl(str(acc.attr), e.dtype, neutral(op, e.dtype)),
        *nest(ranges[:-1], [main, tail]),
        *last,
    ]
    half = LANES // 2
    while half:
        out += _folded(op, e.dtype, lanes, lane, half, fresh)
        half //= 2
    out.append(Assign(str(acc.attr), combine(op, at(i(0)), acc)))
    return out, acc


def _folded(op: str, dtype: str, lanes: str, lane: str, half: int, fresh: Fresh) -> list:
    """The first `half` partial results combined with those `half` further on, in vectors where they are as long."""
    bits = DTYPES[dtype].bits
    width = min(half, fresh.bits // bits)
    if width * bits < 128:
        pair = [load(lanes, (n,), dtype) for n in (local(lane), add(local(lane), i(half)))]
        return [For(lane, i(0), i(half), [Store(lanes, (local(lane),), combine(op, *pair))])]
    vec = f"{dtype}x{width}"
    pairs = [[Expr("vload", (i(n),), lanes, vec) for n in (k, k + half)] for k in range(0, half, width)]
    return [Store(lanes, a.args, combine(op, a, b)) for a, b in pairs]


def soon(body: Expr, name: str, base: str, plan: Plan | None) -> list[Prefetch]:
    """What a loop along memory asks for ahead.  LANES elements are at most a line of 64 bytes, but for f64."""
    if plan is None:
        return []
    reads = (ld for ld in always_read(body) if not gathered(ld) and stride(ld.args, name) == 1)
    streams = dict.fromkeys(ld for ld in reads if plan.soon(str(ld.attr)))
    at = (substitute(ld, {name: local(base)}) for ld in streams)
    return [Prefetch(ld, AHEAD * 8 // DTYPES[ld.dtype].bits, len(ld.args) - 1) for ld in at]


def gathered(ld: Expr) -> bool:
    """Do data tell which element is read?  Such a place is often not proved, and then no vectors are read there."""
    return any(True for e in ld.args for _ in loads(e))


def _partials(op: str, dtype: str, lanes: str, lane: str, value: Expr, fresh: Fresh) -> tuple[list, list, list]:
    """The partial results before, in and after the loop over LANES elements; after it they are in `lanes`.

    They are vectors, which stay in registers: `lanes` holds the elements that a step adds, and takes no memory
    where they come in a vector.  Without vectors they are the array `lanes` itself."""
    each = lambda e: For(lane, i(0), i(LANES), [Store(lanes, (local(lane),), e)])  # noqa: E731 - one loop form
    width = fresh.bits // DTYPES[dtype].bits
    if not width:
        return [each(neutral(op, dtype))], [each(combine(op, load(lanes, (local(lane),), dtype), value))], []
    vec = f"{dtype}x{width}"
    parts = [(i(k), local(fresh("part"), vec)) for k in range(0, LANES, width)]
    start = Expr("splat", (neutral(op, dtype),), None, vec)
    take = [Assign(str(v.attr), combine(op, v, Expr("vload", (k,), lanes, vec))) for k, v in parts]
    return (
        [Decl(str(v.attr), vec, start) for _, v in parts],
        [each(value), *take],
        [Store(lanes, (k,), v) for k, v in parts],
    )


def side_by_side(
    op: str, dtype: str, ranges: list, side: int, value: Callable[[Expr], Expr], put: Callable, fresh: Fresh
) -> list:
    """`side` reductions over the same ranges whose partial results are vectors; nothing where vectors do not fit.

    value(n) is what reduction n adds, put(n, total) what is done with its result.  What a step adds is read as vectors
    where it lies side by side in memory; else it stands in an array first, as in `_partials`."""
    width = fresh.bits // DTYPES[dtype].bits
    if not width or side % width or side // width > REGISTERS or not is_float(dtype):
        return []
    vec, terms, beside = f"{dtype}x{width}", fresh("terms"), fresh("beside")
    parts = [(i(k), local(fresh("part"), vec)) for k in range(0, side, width)]
    start = Expr("splat", (neutral(op, dtype),), None, vec)
    every = For(beside, i(0), i(side), [Store(terms, (local(beside),), value(local(beside)))])
    term = value(local(beside))
    there = term.op == "load" and stride(term.args, beside) == 1 and not gathered(term)

    def step(k: Expr, v: Expr) -> Assign:
        found = substitute(term, {beside: k}) if there else load(terms, (k,), dtype)
        return Assign(str(v.attr), combine(op, v, Expr("vload", found.args, found.attr, vec)))

    return [
        Alloc(terms, dtype, (i(side),), zero=False),
        *(Decl(str(v.attr), vec, start) for _, v in parts),
        *nest(ranges, [*([] if there else [every]), *(step(k, v) for k, v in parts)]),
        *(Store(terms, (k,), v) for k, v in parts),
        For(beside, i(0), i(side), [put(local(beside), load(terms, (local(beside),), dtype))]),
    ]


def _arg_reduce(op: str, body: Expr, ranges: list, loops: list, fresh: Fresh) -> tuple[list, Expr]:
    """First position of the extreme value; of several variables, the position is in row-major order."""
    best, place = local(fresh("best"), body.dtype), local(fresh("place"))
    value, seen = local(fresh("value"), body.dtype), local(fresh("seen"), "bool")
    where: Expr = i(0)
    for name, lo, hi in ranges:
        where = add(mul(where, sub(hi, lo)), sub(local(name), lo)) if len(ranges) > 1 else local(name)
    better = Expr("gt" if op == "argmax" else "lt", (value, best), None, "bool")
    first = Expr("not", (seen,), None, "bool")
    take = [
        Assign(str(best.attr), value),
        Assign(str(place.attr), where),
        Assign(str(seen.attr), Expr("const", (), True, "bool")),
    ]
    step = [
        Assign(str(value.attr), body),
        If(Expr("or", (first, better), None, "bool"), take),
    ]
    extreme = neutral("max" if op == "argmax" else "min", body.dtype)
    return [
        Decl(str(best.attr), body.dtype, extreme),
        Decl(str(value.attr), body.dtype, extreme),
        Decl(str(place.attr), "i64", i(0)),
        Decl(str(seen.attr), "bool", Expr("const", (), False, "bool")),
        *nest(loops, step),
    ], place


def reduce_blocks(e: Expr, fresh: Fresh, along: str, plan: Plan | None = None) -> tuple[list, Expr]:
    """A reduction to one number for a whole function: BLOCKS partial results in parallel.

    The range of `along` is cut in BLOCKS equal parts (the last ones may be empty), each
    reduced as `reduce_scalar` does; partial results are combined in the order of the blocks.
    """
    op = e.attr[0]  # type: ignore[index]
    ranges = reduce_ranges(e)
    if op in ("argmax", "argmin", "any", "all"):
        return reduce_scalar(e, fresh, plan)
    at = bound_vars(e).index(along)
    _, lo, hi = ranges[at]
    parts, block, size = fresh("parts"), fresh("block"), fresh("block_size")
    part = local(fresh("total"), e.dtype)
    start = add(lo, mul(local(block), local(size)))
    stop = Expr("min", (add(start, local(size)), hi), None, "i64")
    piece = replace(e, args=(*e.args[: 1 + 2 * at], start, stop, *e.args[3 + 2 * at :]))
    inner, acc = reduce_scalar(piece, fresh, plan)
    result = load(parts, (local(block),), e.dtype)
    return [
        Decl(size, "i64", div(add(extent(lo, hi, fresh.signed), i(BLOCKS - 1)), i(BLOCKS))),
        Alloc(parts, e.dtype, (i(BLOCKS),), zero=False),
        For(block, i(0), i(BLOCKS), [*inner, Store(parts, (local(block),), acc)], parallel=True),
        Decl(str(part.attr), e.dtype, neutral(op, e.dtype)),
        For(block, i(0), i(BLOCKS), [Assign(str(part.attr), combine(op, part, result))]),
    ], part
