"""Preconditions in a wrapper: tested before the native code runs, with a message that says where."""

from __future__ import annotations

from dataclasses import replace

from vibee.tree.defs import Procedure
from vibee.tree.expr import Expr, bound_vars, const, free_vars, loads, rebuild, show, var
from vibee.tree.normal import neutral

from .context import Body
from .ops import ex

STEP = {"sum": "add", "prod": "mul", "max": "max", "min": "min", "any": "or", "all": "and"}


def said(g: Expr) -> str:
    """A condition inside an f-string."""
    return show(g).replace("{", "{{").replace("}", "}}").replace('"', "'")


def large(p: Procedure, b: Body) -> None:
    """Raise where sizes are so large that the arithmetic of indices could pass 63 bits."""
    assert p.fits is not None
    at = ", ".join(f"{n} = {{{b.env[n].name}}}" for n in sorted(free_vars(p.fits)))
    with b.block(f"if not ({ex(p.fits, b)})"):
        b.line(f'raise ValueError(f"{p.name}: too large: with {at}, indices could pass 63 bits")')


def condition(p: Procedure, g: Expr, b: Body) -> None:
    """Raise where a precondition does not hold; one over elements is tested for all of them."""
    ranges: dict[str, Expr] = {}
    free = free_vars(g)
    for ld in loads(g):
        for axis, k in enumerate(ld.args):
            if k.op == "var" and k.attr not in b.env and k.attr in free:
                ranges.setdefault(str(k.attr), b.env[str(ld.attr)].shape[axis])
    saved, depth = dict(b.env), b.indent
    for n, hi in ranges.items():
        index = b.declare(n, "i64", size=True)
        b.env[n] = replace(index, nonnegative=True)
        b.line(f"for {index.name} in range({ex(hi, b)}):")
        b.indent += 1
    at = "".join(f", {n} = {{{b.env[n].name}}}" for n in [*ranges, *sorted(free - set(ranges))])
    tested = _reduced(_guarded(g, ranges, b), b)
    with b.block(f"if not ({ex(tested, b)})"):
        b.line(f'raise ValueError(f"{p.name}: given {said(g)} does not hold{at.replace(", ", " at ", 1)}")')
    b.env, b.indent = saved, depth
    if any(n.op == "load?" for n in loads(_guarded(g, ranges, b))):
        with b.block("if err != 0"):
            b.line(f'raise vb_failure("{p.name}", err)')


def _guarded(e: Expr, ranges: dict[str, Expr], b: Body) -> Expr:
    """Reads whose indices do not just run over their axes are checked."""
    e = rebuild(e, lambda a: _guarded(a, ranges, b))
    if e.op != "load":
        return e
    plain = all(
        k.op == "var" and ranges.get(str(k.attr)) == s for k, s in zip(e.args, b.env[str(e.attr)].shape, strict=True)
    )
    return e if plain else replace(e, op="load?")


def _reduced(e: Expr, b: Body) -> Expr:
    """The expression with each reduction computed before it into a variable."""
    if e.op != "reduce":
        return rebuild(e, lambda a: _reduced(a, b))
    op, names = e.attr[0], bound_vars(e)  # type: ignore[index]
    bounds = [_reduced(a, b) for a in e.args[1:]]
    kind = e.args[0].dtype if op in ("argmax", "argmin") else e.dtype
    out = b.declare(b.fresh("found"), kind)
    acc = var(out.name, kind)
    place = None
    b.line(f"{out.name} = {ex(neutral(op, kind), b)}")
    if op in ("argmax", "argmin"):
        place = b.declare(b.fresh("place"), "i64")
        b.line(f"{place.name} = -1")
    saved, depth = dict(b.env), b.indent
    for n, lo, hi in zip(names, bounds[::2], bounds[1::2], strict=True):
        index = b.declare(n, "i64", size=True)
        b.line(f"for {index.name} in range({ex(lo, b)}, {ex(hi, b)}):")
        b.indent += 1
    body = _reduced(e.args[0], b)
    if place is None:
        b.line(f"{out.name} = {ex(Expr(STEP[op], (acc, body), None, kind), b)}")
    else:
        better = Expr("gt" if op == "argmax" else "lt", (body, acc), None, "bool")
        with b.block(f"if {place.name} < 0 or {ex(better, b)}"):
            b.line(f"{out.name} = {ex(body, b)}")
            b.line(f"{place.name} = {ex(var(names[0]), b)}")
    b.env, b.indent = saved, depth
    b.env[out.name] = out
    if place is None:
        return acc
    b.env[place.name] = place
    return Expr("max", (var(place.name), const(0, "i64")), None, "i64")
