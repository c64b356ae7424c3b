"""Size expressions and conditions on sizes, with numbers put in."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from vibee.tree.expr import Expr

FAR = 256  # bits: a size of more of them is too large all the same


BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv,
    "floordiv": operator.floordiv, "mod": operator.mod, "lt": operator.lt, "le": operator.le, "gt": operator.gt,
    "ge": operator.ge, "eq": operator.eq, "ne": operator.ne, "bitand": operator.and_, "bitor": operator.or_,
    "xor": operator.xor, "shl": lambda a, b: a << min(b % 64 if b < 0 else b, FAR),
    "shr": lambda a, b: a >> min(b % 64 if b < 0 else b, FAR),
    "min": lambda a, b: b if b < a else a,
    "max": lambda a, b: b if b > a else a,
}  # fmt: skip


class Unknown(Exception):
    """The expression is about more than sizes and numbers."""


def value(e: Expr, names: Mapping[str, object]) -> object:
    """The value of an expression; raises Unknown where it reads arrays or calls anything."""
    match e.op:
        case "const":
            return e.attr
        case "var" if str(e.attr) in names:
            return names[str(e.attr)]
        case "and":
            return all(value(a, names) for a in e.args)
        case "or":
            return any(value(a, names) for a in e.args)
        case "not":
            return not value(e.args[0], names)
        case "neg":
            return -value(e.args[0], names)  # type: ignore[operator]
        case "where":
            return value(e.args[1 if value(e.args[0], names) else 2], names)
        case "cast":
            x = value(e.args[0], names)
            return float(x) if str(e.attr) in ("f32", "f64") else int(x)  # type: ignore[call-overload,arg-type]
    if e.op in BINARY:
        a, b = (value(x, names) for x in e.args)
        return BINARY[e.op](a, b)
    raise Unknown


def size(e: Expr, names: Mapping[str, object]) -> int:
    """A size; a division by zero in it makes it 0 (the checks of the generated code tell why)."""
    try:
        return int(value(e, names))  # type: ignore[call-overload,no-any-return]
    except ZeroDivisionError:
        return 0
