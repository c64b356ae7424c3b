"""The gradient of one call in a model: which definition computes it, and what it is given.

A definition with a `gradient` of its own uses that one, matched by name: its parameters are any
of the forward's parameters and outputs and `d_<output>`; its outputs are `d_<parameter>`.
Otherwise the derived gradient of the formula (or of the formula that a procedure implements).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..grad import vjp
from ..tree.defs import Definition, Formula, Procedure
from ..tree.expr import Expr
from ..tree.poly import Sizes, unify
from ..tree.types import is_float
from .model_prune import passes, prune
from .model_steps import Registry


@dataclass(slots=True)
class Rule:
    """How to differentiate a call for the parameters asked for.

    `fn`: the definition to call, or '' if there is nothing to compute.  `copies[p]`: the output
    whose cotangent is that of parameter p, unchanged.
    """

    fn: str
    params: list[str] = field(default_factory=list)
    outs: list[str] = field(default_factory=list)
    copies: dict[str, str] = field(default_factory=dict)


def own_gradient(f: Definition) -> str | None:
    """Key of the gradient that the spec itself gives for a definition."""
    return getattr(f, "gradient", None)


def formula_of(program: Registry, f: Definition) -> Formula | None:
    """The formula whose gradient can be derived for `f`: itself, or the one it implements."""
    if isinstance(f, Procedure) and f.implements:
        f = program.by_key(f.implements)
    return f if isinstance(f, Formula) else None


def differentiable(program: Registry, f: Definition) -> bool:
    """True if calls of `f` have a gradient."""
    return own_gradient(f) is not None or formula_of(program, f) is not None


def suffixed(key: str, name: str, addition: str) -> str:
    """`name_addition_f32` for the key `name_f32`."""
    for end in ("_f32", "_f64"):
        if key.endswith(end):
            return f"{key[: -len(end)]}_{addition}{end}"
    return f"{key}_{addition}"


def rule(program: Registry, f: Definition, wanted: tuple[str, ...]) -> Rule:
    """The gradient of `f` for the parameters `wanted`."""
    own = own_gradient(f)
    if own is not None:
        g = program.by_key(own)
        return Rule(own, [p.name for p in g.params], [p.name for p in g.outs])
    base = formula_of(program, f)
    assert base is not None, f"{f.name} has no gradient"
    full = vjp(base)
    names = {p.name: q.name for p, q in zip(f.params, base.params, strict=False)}
    if {q.name for q in base.params} <= {p.name for p in f.params}:
        names = {p.name: p.name for p in f.params}
    back = {q: p for p, q in names.items()}
    copies: dict[str, str] = {}
    outs = []
    for p in wanted:
        source = passes(full, f"d_{names[p]}")
        if source is not None and source.startswith("d_") and source[2:] in {o.name for o in base.outs}:
            copies[p] = source[2:]
        else:
            outs.append(f"d_{names[p]}")
    if not outs:
        return Rule("", copies=copies)
    short = "_".join(o[2:] for o in outs)
    g = prune(full, tuple(outs), suffixed(full.key, full.name, short))
    g = program.add(g)  # type: ignore[assignment]
    return Rule(g.key, [back.get(p.name, p.name) for p in g.params], [f"d_{back[o[2:]]}" for o in outs], copies)


def bind_sizes(g: Definition, shapes: dict[str, tuple[Expr, ...]], known: dict[str, Expr],
               sizes: Sizes) -> dict[str, Expr]:  # fmt: skip
    """The callee's free sizes in terms of the caller's, from the shapes of the arguments.

    `shapes`: by the callee's own parameter and output names.
    """
    found = {k: v for k, v in known.items() if k in g.sizes}
    for p in (*g.params, *g.outs):
        actual = shapes.get(p.name)
        if actual is not None and len(actual) == len(p.shape):
            for pattern, e in zip(p.shape, actual, strict=True):
                unify(pattern, e, found, sizes)
    return {k: found[k] for k in g.sizes if k in found}


def is_real(dtype: str) -> bool:
    """True for the dtypes that have derivatives."""
    return is_float(dtype) and dtype != "bf16"
