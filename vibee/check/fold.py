"""Arithmetic of literals, done while checking: the value of a constant expression."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from vibee.prove.values import FIT, constant
from vibee.tree.expr import NOWHERE, Expr
from vibee.tree.types import DTYPES, FLOAT_LITERAL, INT_LITERAL

from .errors import SpecError

MAX_BITS = 128  # no literal needs more; keeps 10**10**10 from taking all memory

FUNCTIONS: dict[str, Callable] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b, "floordiv": lambda a, b: a // b, "mod": lambda a, b: a % b,
    "lt": lambda a, b: a < b, "le": lambda a, b: a <= b, "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b, "eq": lambda a, b: a == b, "ne": lambda a, b: a != b,
    "bitand": lambda a, b: a & b, "bitor": lambda a, b: a | b, "xor": lambda a, b: a ^ b,
    "shr": lambda a, b: a >> b, "min": min, "max": max, "neg": lambda a: -a, "abs": abs,
    "invert": lambda a: ~a, "sqrt": math.sqrt, "floor": lambda a: _whole(math.floor, a),
    "rint": lambda a: _whole(round, a),
}  # fmt: skip
LARGEST = {"f32": "3.4e38", "bf16": "3.39e38"}
COMPARISONS = frozenset(["lt", "le", "gt", "ge", "eq", "ne"])
JOINED: dict[str, Callable] = {"and": all, "or": any, "not": lambda values: not values[0]}
BROKEN = Expr("const", (), None, "", NOWHERE)  # in place of a constant that has a mistake


class Single(float):
    """A number of f32, which shows as it was written: 0.1, not 0.10000000149011612."""

    written: float

    def __repr__(self) -> str:
        return repr(self.written)


def is_literal(e: Expr) -> bool:
    """True for a number that has no type of its own yet."""
    return e.op == "const" and e.dtype in (INT_LITERAL, FLOAT_LITERAL)


def _power(a: float, b: float) -> float:
    if isinstance(a, int) and isinstance(b, int) and b >= 0 and a.bit_length() * b > MAX_BITS:
        raise OverflowError
    return a**b


def _shift(a: int, b: int) -> int:
    if b > MAX_BITS:
        raise OverflowError
    return a << b


def _whole(rounded: Callable[[float], int], a: float) -> float:
    """As a float, which has a zero of either sign, and infinities that are whole already."""
    return math.copysign(rounded(a), a) if math.isfinite(a) else a


def fold(e: Expr) -> Expr:
    """A node over literals as one literal; raises SpecError for values that don't exist."""
    values = [a.attr for a in e.args]
    if FLOAT_LITERAL in (a.dtype for a in e.args):
        if e.op in ("floordiv", "mod"):
            sign, x = "//" if e.op == "floordiv" else "%", next(v for v in values if isinstance(v, float))
            raise SpecError(e.span, f"{sign} is for integers and {x} is a float; use floor(x / y)")
        values = [float(v) for v in values]  # as the operator would: max(3, 2.5) is 3.0
    f = {"pow": _power, "shl": _shift}.get(e.op) or FUNCTIONS[e.op]
    try:
        value = f(*values)
        if isinstance(value, int) and value.bit_length() > MAX_BITS:
            raise OverflowError
    except ZeroDivisionError:
        raise SpecError(e.span, "this divides by zero; the divisor is a constant") from None
    except (OverflowError, ValueError):
        raise SpecError(e.span, "this constant has no value that fits a number type") from None
    if isinstance(value, complex):
        raise SpecError(e.span, "the root of a negative constant is not a number; take the root of its absolute value")
    dtype = "bool" if e.op in COMPARISONS else FLOAT_LITERAL if isinstance(value, float) else INT_LITERAL
    return Expr("const", (), value, dtype, e.span)


def bounds(dtype: str) -> tuple[int, int]:
    """Least and greatest value of an integer type."""
    d = DTYPES[dtype]
    return (-(1 << (d.bits - 1)), (1 << (d.bits - 1)) - 1) if d.kind == "i" else (0, (1 << d.bits) - 1)


def _rounded(value: float, dtype: str) -> float:
    """The nearest number of f32 or bf16: what a conversion of it to f64 or i64 starts from."""
    if dtype == "bf16":
        return float(constant(value, dtype))
    single = Single(constant(value, dtype))
    single.written = value
    return single


def typed(e: Expr, dtype: str) -> Expr:
    """The literal `e` as a constant of `dtype`; it must fit."""
    value = e.attr
    kind = DTYPES[dtype].kind if dtype in DTYPES else "f"
    if dtype == FLOAT_LITERAL or kind == "f":
        number = float(value)
        if dtype in LARGEST and math.isfinite(number):
            number = _rounded(number, dtype)
            if math.isinf(number):
                most = f"the largest {dtype} is about {LARGEST[dtype]}"
                raise SpecError(e.span, f"{value} is too large for {dtype}; {most}")
        return Expr("const", (), number, dtype, e.span)
    lo, hi = bounds(dtype)
    if not lo <= value <= hi:
        raise SpecError(e.span, f"{value} does not fit in {dtype}, which holds {lo} to {hi}")
    return Expr("const", (), value, dtype, e.span)


def wrapped(e: Expr, dtype: str) -> Expr:
    """An explicit conversion of a literal: integers wrap, floats are cut."""
    value = e.attr
    kind = DTYPES[dtype].kind
    if kind == "f":
        return typed(e, dtype)
    if kind == "b":
        return Expr("const", (), bool(value), dtype, e.span)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise SpecError(e.span, f"{value} is no {dtype}; convert a finite number")
        value = int(value)
    hi = bounds(dtype)[1]
    n = int(value) & ((1 << DTYPES[dtype].bits) - 1)
    return Expr("const", (), n - (1 << DTYPES[dtype].bits) if n > hi else n, dtype, e.span)


def computed(e: Expr) -> Expr:
    """Arithmetic of constants, with types of their own or without, as one constant; anything else as it is."""
    args = tuple(map(computed, e.args))
    if not args or any(a.op != "const" for a in args):
        return e
    if e.op == "where":
        return args[1] if args[0].attr else args[2]
    if e.op == "cast":
        return wrapped(args[0], e.dtype)
    if e.op in JOINED:
        return Expr("const", (), JOINED[e.op]([a.attr for a in args]), "bool", e.span)
    if e.op not in FUNCTIONS and e.op != "shl":
        return e
    numbers = [replace(a, dtype=FLOAT_LITERAL if isinstance(a.attr, float) else INT_LITERAL) for a in args]
    if e.op in ("shl", "shr") and e.dtype in DTYPES:
        numbers[1] = replace(numbers[1], attr=numbers[1].attr & (DTYPES[e.dtype].bits - 1))
    found = fold(replace(e, args=tuple(numbers)))
    if e.op in COMPARISONS or e.dtype not in DTYPES:
        return found
    if DTYPES[e.dtype].kind == "f":
        return typed(found, e.dtype)
    return replace(found, attr=FIT[e.dtype](found.attr), dtype=e.dtype)
