"""Array arguments: parts of the caller's arrays, seen by the callee in a shape of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vibee.tree.defs import View
from vibee.tree.expr import Expr, Span, free_vars, show

from .evaluate import Expressions, Frame, Refused
from .memory import Array, Memory, count


class Views(Expressions):
    """Makes functions of array arguments."""

    def view(self, v: View | Expr, span: Span) -> Callable[[Frame, str], Array]:
        """What the callee gets for an array argument."""
        name = target(v)
        if not isinstance(v, View):
            return lambda f, n: cell(f, name, n, len(self.regions))
        idx = [self.expr(e, span, True) for e in v.lead]
        part = [self.expr(e, span, True) for e in v.part] if v.part is not None else None
        shape = [self.expr(e, span, True) for e in v.shape]

        def run(f: Frame, n: str) -> Array:
            at = [k(f) for k in idx]
            cut = (part[0](f), part[1](f)) if part is not None else None
            self.inside(f, f.arrays[name], at, cut, v, v.span if v.span.line else span)
            out = part_of(f.arrays[name], n, at, cut, tuple(k(f) for k in shape))
            have = count(rest(f.arrays[name], at, cut))
            if out.size != have:
                text = f"{n}{list(out.shape)} has {out.size} elements, but is made of {have} of {name}"
                self.found(f, "shape", span, text)
                raise Refused(text)
            return out

        return run

    def inside(self, f: Frame, a: Array, at: list[int], cut: tuple[int, int] | None, v: View, span: Span) -> None:
        """A part must lie in its array."""
        ok = all(0 <= k < n for k, n in zip(at, a.shape, strict=False))
        if cut is not None:
            ok = ok and 0 <= cut[0] <= cut[1] <= a.shape[len(at)]
        if ok:
            return
        idx = ", ".join([*map(str, at), *([f"{cut[0]}:{cut[1]}"] if cut is not None else [])])
        exprs = [*v.lead, *(v.part or ())]
        known = {n: f.env[n] for e in exprs for n in sorted(free_vars(e)) if n in f.env and n not in self.sizes}
        text = f"{v.array}[{idx}] is outside {v.array}[{', '.join(map(str, a.shape))}]"
        self.found(f, "bounds", span, text, known)
        raise Refused(text)


def with_values(e: Expr, f: Frame) -> str:
    """A condition of a callee, with the numbers that it is about."""
    values = [f"{n}={f.env[n]}" for n in sorted(free_vars(e)) if n in f.env]
    return f"{show(e)}{' with ' + ', '.join(values) if values else ''}"


def target(v: View | Expr) -> str:
    """The array, or the scalar, that an argument names."""
    return v.array if isinstance(v, View) else str(v.attr)


def cell(f: Frame, name: str, inner: str, depth: int) -> Array:
    """A scalar of the caller as an array without axes."""
    x = f.env[name]
    dtype = "bool" if isinstance(x, bool) else "f64" if isinstance(x, float) else "i64"
    return Array(inner, Memory([x], bytearray(b"\1"), depth), 0, (), dtype)


def rest(a: Array, at: Sequence[int], cut: tuple[int, int] | None) -> tuple[int, ...]:
    """The shape of a part."""
    left = a.shape[len(at) :]
    return left if cut is None else (cut[1] - cut[0], *left[1:])


def part_of(a: Array, name: str, at: Sequence[int], cut: tuple[int, int] | None, shape: tuple[int, ...]) -> Array:
    """A part of an array, with another name and shape."""
    idx = [*at, *([cut[0]] if cut is not None else [])]
    start = 0
    for axis, n in enumerate(a.shape):
        start = start * n + (idx[axis] if axis < len(idx) else 0)
    return Array(name, a.memory, a.offset + start, shape, a.dtype)


def overlap(a: Array, b: Array) -> bool:
    """Do two arrays share elements?"""
    if a.memory is not b.memory or not a.size or not b.size:
        return False
    return a.offset < b.offset + b.size and b.offset < a.offset + a.size
