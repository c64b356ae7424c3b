"""Definitions of numbers as Python functions on numpy arrays that round after every operation as their type does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from vibee.tree.defs import Definition, Formula
from vibee.tree.expr import INFIX, Expr
from vibee.tree.types import DTYPES, is_float

from .numbers import INTEGER, OWN

CALLS = {"abs": "abs", "sqrt": "sqrt", "floor": "floor", "rint": "rint"}
LOGIC = {"and": "logical_and", "or": "logical_or"}


class Unable(Exception):
    """The definition is more than straight-line arithmetic."""


def emulated(d: Formula, lookup: Callable[[str], Definition]) -> Callable[..., Any]:
    """The definition's output as a function of arrays of its parameters' types; raises Unable."""
    names: dict[str, Any] = {"np": np, "floordiv": INTEGER["floordiv"], "mod": INTEGER["mod"]}
    names |= {"min": lambda a, b: np.where(b < a, b, a), "max": lambda a, b: np.where(b > a, b, a)}

    def text(e: Expr) -> str:
        if e.op == "const":
            return bound(OWN[e.dtype].type(e.attr))
        if e.op == "var" or (e.op == "load" and not e.args):
            return f"v_{e.attr}"
        if e.op == "call":
            callee = lookup(str(e.attr[0] if isinstance(e.attr, tuple) else e.attr))
            if not isinstance(callee, Formula):
                raise Unable
            return f"{bound(emulated(callee, lookup))}({', '.join(text(a) for a in e.args)})"
        a = [text(x) for x in e.args]
        if e.op == "cast":
            return _cast(e, a[0])
        if e.op == "bitcast":
            return f"{a[0]}.view({bound(OWN[str(e.attr)])})"
        if e.op == "where":
            return f"np.where({', '.join(a)})"
        if e.op in CALLS:
            return f"np.{CALLS[e.op]}({', '.join(a)})"
        if e.op in LOGIC:
            return f"np.{LOGIC[e.op]}({', '.join(a)})"
        if e.op in ("floordiv", "mod", "min", "max"):
            return f"{e.op}({', '.join(a)})"
        if e.op in ("shl", "shr"):
            mask = bound(OWN[e.args[1].dtype].type(DTYPES[e.dtype].bits - 1))
            return f"({a[0]} {INFIX[e.op][0]} ({a[1]} & {mask}))"
        if e.op in ("neg", "not", "invert"):
            return f"({'-' if e.op == 'neg' else '~'}{a[0]})"
        if e.op in INFIX and e.op != "pow":
            return f"({a[0]} {INFIX[e.op][0]} {a[1]})"
        raise Unable

    def bound(x: Any) -> str:
        names[f"k{len(names)}"] = x
        return f"k{len(names) - 1}"

    def _cast(e: Expr, a: str) -> str:
        to = str(e.attr)
        if is_float(e.args[0].dtype) and not is_float(to):
            return f"{a}.astype({bound(np.dtype('i8'))}).astype({bound(OWN[to])})"
        return f"{a}.astype({bound(OWN[to])})"

    lines = [f"def f({', '.join(f'v_{p.name}' for p in d.params)}):"]
    for q in d.equations:
        if q.vars or q.accumulate:
            raise Unable
        lines.append(f"    v_{q.lhs} = np.asarray({text(q.rhs)})")
    lines.append(f"    return v_{d.outs[0].name}")
    exec("\n".join(lines), names)
    return names["f"]  # type: ignore[no-any-return]
