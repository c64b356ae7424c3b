"""Whether the loss of a model can be differentiated: which calls stand between it and the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vibee.lower.model import loss_of
from vibee.lower.model_backward import active_values, argument
from vibee.lower.model_rules import cotangent_dtype, own_gradient
from vibee.lower.model_rules import differentiable as has_gradient
from vibee.tree.defs import Definition, Layers
from vibee.tree.expr import Expr, Span
from vibee.tree.types import is_float

from .errors import SpecError

if TYPE_CHECKING:
    from .model import ModelChecker


def differentiable(check: ModelChecker) -> None:
    """Reports calls on the way from weights to the loss that have no gradient, or not all of it."""
    m = check.model
    if loss_of(m) is None:
        return
    active = active_values(m)
    for s in m.body:
        for c in s.body if isinstance(s, Layers) else [s]:
            f = check.scope.program.by_key(c.fn)
            found = [(p, argument(a)) for p, a in zip(f.params, c.args, strict=True)]
            used = [(p, x[0]) for p, x in found if x is not None and x[0] in active]
            if not used or not any(is_float(o.dtype) for o in f.outs):
                continue
            if not has_gradient(check.scope.program, f):
                what = f"the loss depends on {used[0][1]} through {f.name}, a procedure without a gradient"
                check.report(SpecError(c.span, f"{what}; say implements(formula) or gradient(procedure) in it"))
            own = own_gradient(f)
            if own is not None:
                g = check.scope.program.by_key(own)
                _serves(check, f, g, [p.name for p, _ in used], c.span)
                _fits(check, g, {f"d_{p.name}": x[1].shape for p, x in found if x is not None}, c.span)


def _serves(check: ModelChecker, f: Definition, g: Definition, used: list[str], span: Span) -> None:
    """Is a gradient that the spec states one that a model can call?"""
    changed = [p.name for p in g.params if p.kind == "mut"]
    if changed:  # others may need it after this call
        what = f"{g.name}, the gradient of {f.name}, changes '{changed[0]}'"
        check.report(SpecError(span, f"{what}; take it without mut, and copy it where it is to change"))
    want = {p.name: p.dtype for p in (*f.params, *f.outs)}
    want |= {f"d_{p.name}": cotangent_dtype(p.dtype) for p in (*f.params, *f.outs) if is_float(p.dtype)}
    wrong = next((p for p in (*g.params, *g.outs) if p.dtype != want.get(p.name)), None)
    if wrong is not None:
        how = f"make it {want[wrong.name]}" if wrong.name in want else "leave it out: there is none of integers"
        check.report(SpecError(span, f"{g.name}, the gradient of {f.name}, has '{wrong.name}' of {wrong.dtype}; {how}"))
    given = {o.name for o in g.outs}
    lost = [name for name in used if f"d_{name}" not in given]
    if lost:
        what = f"the gradient of {f.name} does not give d_{lost[0]}, which the loss needs here"
        check.report(SpecError(span, f"{what}; add that output to it"))


def _fits(check: ModelChecker, g: Definition, shapes: dict[str, tuple[Expr, ...]], span: Span) -> None:
    """What a stated gradient gives has memory of its own, wanted or not."""
    for o in g.outs:
        try:
            check.of_sizes(f"the shape of {o.name}, which {g.name} gives,", shapes.get(o.name, ()), span)
        except SpecError as e:
            check.report(e)
