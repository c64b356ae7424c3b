"""The vector-Jacobian product of a function: derived, or the spec's own gradient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vibee.tree.defs import Definition, Formula, Procedure
from vibee.tree.types import is_float

from . import arrays

if TYPE_CHECKING:
    from .function import Function


def gradient_of(f: Function, d: Definition) -> Definition:
    """The definition that computes the gradient of `d`."""
    by_key = f._library._unit.by_key
    own = getattr(d, "gradient", None)
    if own:
        return by_key(own)
    base = d
    if isinstance(d, Procedure) and d.implements:
        base = by_key(d.implements)
    if not isinstance(base, Formula):
        raise ValueError(f"{f.__name__} has no gradient: a procedure needs implements(formula) or gradient(procedure)")
    known = f._library._gradients
    if base.key in known:
        return known[base.key]
    from vibee.grad import GradError, vjp

    try:
        unit, g = f._library._unit, vjp(base, by_key)
        return known.setdefault(base.key, unit.add(replace(g, key=unit.derived_key(g.key))))
    except GradError as e:
        raise ValueError(f"{f.__name__} has no gradient: {e}; it can state one with gradient(name)") from None


def spelled(d: Definition) -> dict[str, str]:
    """What the caller names the cotangent of each output: `d_<out>`, with `_` behind it where that is a parameter."""
    taken = {p.name for p in d.params}
    out: dict[str, str] = {}
    for o in d.outs:
        name = f"d_{o.name}"
        while name in taken:
            name += "_"
        taken.add(name)
        out[o.name] = name
    return out


def passed(d: Definition, g: Definition, given: Mapping[str, Any]) -> dict[str, Any]:
    """The cotangents `given` for outputs of `d`, by the names that its gradient `g` has for them."""
    from vibee.grad import cotangents

    stated = getattr(d, "gradient", None)
    names = {o.name: f"d_{o.name}" for o in d.outs} if stated else cotangents(d, g)
    return {names[o]: x for o, x in given.items() if o in names}


def gradient(f: Function, args: tuple[Any, ...], named: dict[str, Any], threads: int) -> Any:
    """Gradients by the real parameters, in their order; one alone is not in a tuple."""
    from .function import Function

    fn = f.__name__
    first = f.definitions[0]
    names = spelled(first)
    cotangents = {o: named.pop(k) for o, k in names.items() if k in named}
    real = [o.name for o in first.outs if is_float(o.dtype)]
    positional = [p for p in first.params if p.name not in named]
    count = len(positional)
    missing = [o for o in real if o not in cotangents]
    if len(args) <= count and missing and any(p.default is not None for p in positional):
        # defaults left out: the last arguments are the cotangents, but for what has to be given before them
        least = sum(p.default is None for p in positional)
        count = max(len(args) - len(missing), min(len(args), least))
    values = f.bind(args[:count], named)
    rest = args[count:]
    if rest and cotangents and not missing:
        raise ValueError(f"{fn}.grad: argument {names[next(iter(cotangents))]} is given twice")
    if len(rest) > len(missing):
        raise ValueError(f"{fn}.grad: {len(rest)} cotangents, but there are {len(missing)} real outputs")
    for o, x in zip(missing, rest, strict=False):
        cotangents[o] = x
    for o in real:
        if o not in cotangents:
            if len(real) > 1 or first.param(o).shape:
                raise ValueError(f"{fn}.grad: the cotangent {names[o]} is missing")
            cotangents[o] = 1.0
    d = f.choose(values)
    if not real or not any(is_float(p.dtype) for p in d.params):
        raise ValueError(f"{fn} has no gradient: none of its {'parameters' if real else 'outputs'} is a float")
    g = gradient_of(f, d)
    run = Function(f._library, f"{fn}.grad", [g])
    cotangents = passed(d, g, cotangents)
    if _elementwise(d, values, cotangents):
        return _mapped(run, g, f, values, cotangents, threads)
    bound = dict(values)
    needed = {p.name for p in g.params}
    outs = [o.name for o in d.outs]
    if needed & set(outs):
        back = f.run(d, values, None, threads)
        bound.update(zip(outs, back if len(outs) > 1 else (back,), strict=True))
    bound.update(cotangents)
    for p in d.params:
        if p.name not in bound and p.default is not None:
            bound[p.name] = p.default.attr
    chosen = {p.name: bound[p.name] for p in g.params if p.name in bound}
    run.choose(run.bind((), dict(chosen)))
    return run.run(g, run.bind((), chosen), None, threads)


def _elementwise(d: Definition, values: dict[str, Any], cotangents: dict[str, Any]) -> bool:
    numbers = all(p.kind == "scalar" for p in d.params) and not d.sizes
    return numbers and any(map(arrays.spread, [*values.values(), *cotangents.values()]))


def _mapped(run: Function, g: Definition, f: Function, values: dict[str, Any], cotangents: dict[str, Any],
            threads: int) -> Any:  # fmt: skip
    bound = {**values, **cotangents}
    outs = [o.name for o in f.definitions[0].outs]
    if any(p.name in outs for p in g.params):
        y = f._map(dict(values), None, threads) if any(map(arrays.spread, values.values())) else f(**values)
        bound.update(zip(outs, y if len(outs) > 1 else (y,), strict=True))
    return run._map({p.name: bound[p.name] for p in g.params if p.name in bound}, None, threads)
