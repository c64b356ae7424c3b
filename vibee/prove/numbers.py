"""A function of numbers, evaluated at numbers as its equations say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

from vibee.tree.defs import Definition, Formula
from vibee.tree.expr import Expr
from vibee.tree.types import is_float

from .values import BINARY, FIT, UNARY, Value, bitcast, cast, constant, shift


class Unknown(Exception):
    """What is no formula of numbers cannot be evaluated here."""


def evaluated(f: Definition, args: Sequence[Value], lookup: Callable[[str], Definition], exact: bool = False) -> Value:
    """f(args); raises Unknown.

    With `exact` also where a product of floats is rounded: the processor may round it together with a sum."""
    if not isinstance(f, Formula) or not f.is_scalar:
        raise Unknown
    env = {p.name: FIT[p.dtype](a) for p, a in zip(f.params, args, strict=False)}
    if len(env) < len(f.params):
        raise Unknown
    for eq in f.equations:
        env[eq.lhs] = value(eq.rhs, env, lookup, exact)
    return env[f.outs[0].name]


def value(e: Expr, env: Mapping[str, Value], lookup: Callable[[str], Definition], exact: bool = False) -> Value:
    """An expression of numbers whose names have values; raises Unknown."""

    def of(a: Expr) -> Value:
        return value(a, env, lookup, exact)

    if e.op == "const":
        return constant(e.attr, e.dtype)
    if e.op in ("var", "load") and not e.args:
        if e.attr not in env:
            raise Unknown
        return env[str(e.attr)]
    if e.op == "where":
        return of(e.args[1] if of(e.args[0]) else e.args[2])
    if e.op in ("and", "or"):
        first = of(e.args[0])
        return of(e.args[1]) if bool(first) == (e.op == "and") else first
    if e.op == "call":
        key = str(e.attr[0] if isinstance(e.attr, tuple) else e.attr)
        return evaluated(lookup(key), [of(a) for a in e.args], lookup, exact)
    if e.op in ("cast", "bitcast"):
        convert = cast if e.op == "cast" else bitcast
        return convert(of(e.args[0]), e.args[0].dtype, str(e.attr))
    try:
        if e.op in ("shl", "shr"):
            return FIT[e.dtype](shift(e.op, of(e.args[0]), of(e.args[1]), e.dtype))
        if e.op in BINARY:
            a, b = of(e.args[0]), of(e.args[1])
            found = FIT[e.dtype](BINARY[e.op](a, b))
            if exact and e.op == "mul" and is_float(e.dtype) and Fraction(a) * Fraction(b) != Fraction(found):
                raise Unknown
            return found
        if e.op in UNARY:
            return FIT[e.dtype](UNARY[e.op](of(e.args[0])))
    except (ArithmeticError, ValueError):
        raise Unknown from None
    raise Unknown
