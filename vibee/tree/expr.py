"""Expressions: one node type for every stage, so that a rule is a function of (op, args).

`op`       `attr`                      `args`
---------  --------------------------  ------------------------------------------------
const      the number or bool          ()
var        name                        ()      index, size, scalar parameter or local
load       array name                  indices, one per axis
load?      array name                  the same, but not proved in bounds: emitted checked
add sub mul div floordiv mod pow       (a, b)  `div` is for floats, the other two for ints
add? sub? mul? neg?                    i64 without known bounds: the result may have wrapped around
neg not invert abs sqrt floor rint     (a,)
lt le gt ge eq ne and or               (a, b)  dtype bool
min max                                (a, b)
bitand bitor xor shl shr               (a, b)  integers
cast       target dtype                (a,)
bitcast    target dtype                (a,)    same width, the bits kept
where      None                        (cond, a, b)   lazy: only the chosen side is evaluated
dot2       the feature that it needs   (sum, a, b)  sum + both products of the bf16 pairs that the words a, b hold
pairs      along or across             (a, b)  f32 rounded to bf16, two to a word: numbers 2 n and 2 n + 1 of a followed
                                               by b, or number n of a and of b; where there is AMX
has        a processor's feature       ()      dtype bool; known when the code runs
call       (function name, ...)        scalar arguments; attr is the instance name after checking
reduce     (op, (v1, v2, ...))         (body, lo1, hi1, lo2, hi2, ...)  half-open ranges
scan       (op, v)                     (body,)  inclusive, along index v, which stays free

Reduce ops: sum prod max min any all argmax argmin.  Scan ops: sum prod max min.
`dtype` is '' before checking.  `span` never takes part in equality or hashing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import copysign
from operator import is_
from typing import Any


@dataclass(frozen=True, slots=True)
class Span:
    """Where a piece of a spec stands; line and column count from 1."""

    file: str = ""
    line: int = 0
    col: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.col}"


NOWHERE = Span()


class _Found:
    """What was worked out of a node once: its hash, the names and the reads in it.  A tree is compared and searched far
    more often than made, and a node never changes."""

    __slots__ = ("_free", "_hash", "_loads", "_names")
    _hash: int
    _free: frozenset[str]
    _loads: tuple[Expr, ...]
    _names: frozenset[str]


@dataclass(frozen=True, slots=True, eq=False)
class Expr(_Found):
    """One node of an expression; see the table in the module's docstring."""

    op: str
    args: tuple[Expr, ...] = ()
    attr: Any = None
    dtype: str = ""
    span: Span = field(default=NOWHERE, repr=False)

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:
            found = hash((self.op, self.args, self.attr, self.dtype))
            object.__setattr__(self, "_hash", found)
            return found

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Expr):
            return NotImplemented
        if hash(self) != hash(other):
            return False
        if self.op == other.op == "const" and self.attr == 0 and copysign(1, self.attr) != copysign(1, other.attr):
            return False  # 1 / 0.0 and 1 / -0.0 are far apart
        return self.op == other.op and self.attr == other.attr and self.dtype == other.dtype and self.args == other.args


def const(value: int | float | bool, dtype: str, span: Span = NOWHERE) -> Expr:
    """A literal of a known dtype."""
    return Expr("const", (), value, dtype, span)


def var(name: str, dtype: str = "i64", span: Span = NOWHERE) -> Expr:
    """An index, size, scalar parameter or local variable."""
    return Expr("var", (), name, dtype, span)


def load(array: str, idx: tuple[Expr, ...], dtype: str, span: Span = NOWHERE) -> Expr:
    """Element of `array` at `idx`, one index per axis."""
    return Expr("load", idx, array, dtype, span)


def rebuild(e: Expr, f: Callable[[Expr], Expr]) -> Expr:
    """`e` with `f` applied to each direct child."""
    if not e.args:
        return e
    args = tuple(f(a) for a in e.args)
    if all(map(is_, args, e.args)):
        return e
    return Expr(e.op, args, e.attr, e.dtype, e.span)


def walk(e: Expr) -> Iterator[Expr]:
    """Every node of `e`, parents first."""
    yield e
    for a in e.args:
        yield from walk(a)


def bound_vars(e: Expr) -> tuple[str, ...]:
    """The index variables that a reduce node binds (none for any other node)."""
    return e.attr[1] if e.op == "reduce" else ()  # type: ignore[index]


NONE: frozenset[str] = frozenset()


def free_vars(e: Expr) -> frozenset[str]:
    """Names of the variables of `e` that no reduce inside it binds (scans bind nothing)."""
    try:
        return e._free
    except AttributeError:
        pass
    if e.op == "var":
        out = frozenset((str(e.attr),))
    elif e.op == "reduce":
        out = (free_vars(e.args[0]) - frozenset(bound_vars(e))).union(*map(free_vars, e.args[1:]))
    else:
        out = NONE.union(*map(free_vars, e.args))
        if e.op == "scan":
            out |= {e.attr[1]}  # type: ignore[index]
    object.__setattr__(e, "_free", out)
    return out


def names_in(e: Expr) -> frozenset[str]:
    """Scalars and arrays that an expression reads."""
    try:
        return e._names
    except AttributeError:
        pass
    out = free_vars(e).union([str(ld.attr) for ld in loads(e)])
    object.__setattr__(e, "_names", out)
    return out


def substitute(e: Expr, names: Mapping[str, Expr]) -> Expr:
    """`e` with free variables replaced, those that a scan runs along by others.  The caller keeps binder names
    unique (no capture)."""
    if e.op == "var":
        return names.get(str(e.attr), e)
    if e.op == "reduce":
        inner = {k: v for k, v in names.items() if k not in bound_vars(e)}
        return rebuild(e, lambda a: substitute(a, inner))
    if e.op == "scan" and e.attr[1] in names:  # type: ignore[index]
        along = names[e.attr[1]]  # type: ignore[index]
        assert along.op == "var", f"{show(e)} at {show(along)}"
        e = replace(e, attr=(e.attr[0], along.attr))  # type: ignore[index]
    return rebuild(e, lambda a: substitute(a, names))


def rename_arrays(e: Expr, names: Mapping[str, str]) -> Expr:
    """`e` with array names replaced in its loads."""
    if e.op in ("load", "load?") and e.attr in names:
        e = replace(e, attr=names[e.attr])  # type: ignore[index]
    return rebuild(e, lambda a: rename_arrays(a, names))


def loads(e: Expr) -> tuple[Expr, ...]:
    """Every array read in `e`, parents first."""
    try:
        return e._loads
    except AttributeError:
        pass
    out: tuple[Expr, ...] = (e,) if e.op in ("load", "load?") else ()
    for a in e.args:
        out += loads(a)
    object.__setattr__(e, "_loads", out)
    return out


def always_read(e: Expr) -> Iterator[Expr]:
    """The loads that an expression evaluates whatever the data."""
    if e.op == "load":
        yield e
    for a in e.args[:1] if e.op in ("where", "and", "or") else e.args:
        yield from always_read(a)


INFIX = {
    "add": ("+", 10), "sub": ("-", 10), "mul": ("*", 11), "div": ("/", 11), "floordiv": ("//", 11),
    "mod": ("%", 11), "pow": ("**", 13), "lt": ("<", 4), "le": ("<=", 4), "gt": (">", 4),
    "ge": (">=", 4), "eq": ("==", 4), "ne": ("!=", 4), "and": ("and", 2), "or": ("or", 1),
    "bitand": ("&", 8), "bitor": ("|", 6), "xor": ("^", 7), "shl": ("<<", 9), "shr": (">>", 9),
}  # fmt: skip


def show(e: Expr, level: int = 0) -> str:
    """`e` in the language's own notation, for messages, comments and `--emit`."""
    if e.op == "const":
        return str(e.attr)
    if e.op == "var":
        return str(e.attr)
    if e.op in ("load", "load?"):
        return f"{e.attr}[{', '.join(map(show, e.args))}]" if e.args else str(e.attr)
    if e.op.rstrip("?") in INFIX:
        sign, prec = INFIX[e.op.rstrip("?")]
        text = f"{show(e.args[0], prec)} {sign} {show(e.args[1], prec + 1)}"
        return f"({text})" if prec < level else text
    if e.op in ("neg", "neg?"):
        return f"-{show(e.args[0], 12)}"
    if e.op == "not":
        return f"not {show(e.args[0], 3)}"
    if e.op == "invert":
        return f"~{show(e.args[0], 12)}"
    if e.op == "reduce":
        op, names = e.attr  # type: ignore[misc]
        ranges = []
        for n, lo, hi in zip(names, e.args[1::2], e.args[2::2], strict=True):
            if hi.op == "none":
                ranges.append(str(n))
                continue
            zero = lo.op == "none" or (lo.op == "const" and lo.attr == 0)
            ranges.append(f"{n}:{show(hi)}" if zero else f"{n}:{show(lo)}:{show(hi)}")
        return f"{op}[{', '.join(ranges)}]({show(e.args[0])})"
    if e.op == "scan":
        op, name = e.attr  # type: ignore[misc]
        return f"cum{op}[{name}]({show(e.args[0])})"
    if e.op == "slice":
        return ":".join("" if a.op == "none" else show(a) for a in e.args)
    if e.op == "none":
        return ":"
    if e.op == "index":
        return f"{show(e.args[0])}[{', '.join(map(show, e.args[1:]))}]"
    if e.op == "call" and isinstance(e.attr, tuple):
        words = [show(a) for a in e.args]
        named = e.attr[1:]  # keywords of a call that is not checked yet belong to the last arguments
        for k, keyword in enumerate(named, len(words) - len(named)):
            words[k] = f"{keyword}={words[k]}"
        return f"{e.attr[0]}({', '.join(words)})"
    name = e.attr if e.op in ("call", "cast") else f"{e.op}_{e.attr}" if e.attr else e.op
    return f"{name}({', '.join(map(show, e.args))})"
