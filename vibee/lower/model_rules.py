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
from ..tree.types import DTYPES, is_float
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


def suffixed(program: Registry, key: str, addition: str) -> str:
    """The key of something derived: `name_addition_f32` for the key `name_f32`."""
    for end in ("_f32", "_f64"):
        if key.endswith(end):
            return program.derived_key(f"{key[: -len(end)]}_{addition}{end}")
    return program.derived_key(f"{key}_{addition}")


def rule(program: Registry, f: Definition, wanted: tuple[str, ...]) -> Rule:
    """The gradient of `f` for the parameters `wanted`."""
    own = own_gradient(f)
    if own is not None:
        g = program.by_key(own)
        return Rule(own, [p.name for p in g.params], [p.name for p in g.outs])
    base = formula_of(program, f)
    assert base is not None, f"{f.name} has no gradient"
    full = vjp(base, program.by_key)
    names = {p.name: q.name for p, q in zip(f.params, base.params, strict=False)}
    wanted = tuple(p for p in wanted if p in names)  # what the formula has not changes nothing
    roles = Roles(base, full, f)
    copies: dict[str, str] = {}
    outs = []
    for p in wanted:
        d = roles.out_of[names[p]]
        source = passes(full, d)
        if source in roles.cotangent_of:
            copies[p] = roles.cotangent_of[source]
        else:
            outs.append(d)
    if not outs:
        return Rule("", copies=copies)
    # by places: names that are joined may be those of other parameters, and `f` has names of its own
    places = "_".join(str(k) for k, p in enumerate(f.params) if p.name in wanted and p.name not in copies)
    g = program.add(prune(full, tuple(outs), suffixed(program, full.key, places)))
    return Rule(g.key, [roles.role(p.name) for p in g.params], [roles.role(o) for o in outs], copies)


class Roles:
    """What the parameters and outputs of a derived gradient stand for, in the names of the forward `f`."""

    def __init__(self, base: Formula, full: Formula, f: Definition) -> None:
        # `f` has the parameters and outputs of `base` in the same places, and maybe others after them
        same = [*zip(f.params, base.params, strict=False), *zip(f.outs, base.outs, strict=False)]
        back = {q.name: p.name for p, q in same}
        for p, q in same:
            back |= {str(b.attr): str(a.attr) for a, b in zip(p.shape, q.shape, strict=True) if a.op == b.op == "var"}
        real = [p.name for p in base.params if is_float(p.dtype) and p.kind != "size"]
        self.out_of = dict(zip(real, (o.name for o in full.outs), strict=True))
        cotangents = [back[o.name] for o in base.outs if is_float(o.dtype)]
        last = full.params[len(full.params) - len(cotangents) :]
        self.cotangent_of: dict[str | None, str] = {p.name: o for p, o in zip(last, cotangents, strict=True)}
        self.names = back | {d: f"d_{back[p]}" for p, d in self.out_of.items()}
        self.names |= {str(d): f"d_{o}" for d, o in self.cotangent_of.items()}

    def role(self, name: str) -> str:
        """`p` or an output of the forward, `d_p` for a cotangent."""
        return self.names.get(name, name)


def bind_sizes(g: Definition, shapes: dict[str, tuple[Expr, ...]], known: dict[str, Expr]) -> dict[str, Expr]:
    """The callee's free sizes in terms of the caller's, from the shapes of the arguments.

    `shapes`: by the callee's own parameter and output names.
    """
    found: dict[str, Expr] = {}
    for p in (*g.params, *g.outs):
        actual = shapes.get(p.name)
        if actual is not None and len(actual) == len(p.shape):
            for pattern, e in zip(p.shape, actual, strict=True):
                if pattern.op == "var":
                    found.setdefault(str(pattern.attr), e)
    found = known | found
    return {k: found[k] for k in g.sizes if k in found}


def cotangent_dtype(dtype: str) -> str:
    """Cotangents are not rounded: that of a bf16 value is f32."""
    return DTYPES[dtype].arith
