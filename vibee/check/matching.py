"""How well arguments suit a definition, and what to say where none fits."""

from __future__ import annotations

from collections.abc import Sequence

from vibee.tree.defs import Definition, Param
from vibee.tree.expr import Expr, Span, show
from vibee.tree.types import DTYPES, FLOAT_LITERAL, INT_LITERAL, is_float, is_int, promote

from .errors import SpecError, count, suggest
from .expr import literal_text
from .sizes import shape_text
from .surface import RawDef
from .views import ArrayArg

Arg = ArrayArg | Expr


def kind_text(a: Arg) -> str:
    """An argument's type for messages."""
    if isinstance(a, ArrayArg):
        return f"{a.dtype}{shape_text(a.shape)}"
    return literal_text(a.dtype)


def head(d: Definition) -> str:
    """`f(x: f32[N, D], n: size)`, for messages."""
    items = []
    for p in d.params:
        t = "size" if p.kind == "size" else p.dtype + (shape_text(p.shape) if p.shape else "")
        items.append(f"{p.name}: {t}")
    return f"{d.name}({', '.join(items)})"


def takes(raw: RawDef, arrays: Sequence[bool | None], keys: Sequence[object]) -> bool:
    """Has `raw` arrays and numbers where a call with the last arguments named `keys` has them (None: either)?"""
    plain = len(arrays) - len(keys)
    passed = {p.name: a for p, a in zip(raw.params, arrays[:plain], strict=False)}
    passed |= dict(zip(map(str, keys), arrays[plain:], strict=True))
    mine = {p.name: p.type.shape is not None for p in raw.params}
    needed = {p.name for p in raw.params if p.default is None}
    fits = all(a is None or mine.get(name) == a for name, a in passed.items())
    return fits and needed <= passed.keys() and len(passed) == len(arrays)


def taste(sig: Definition, want: str, default: str) -> int:
    """Between equally good versions: the one of the wanted type, then of the default float type."""
    dtypes = {p.dtype for p in [*sig.params, *sig.outs]}
    return 0 if want and want in dtypes else 1 if default in dtypes else 2


def mismatch(
    name: str,
    raws: list[RawDef],
    sigs: list[Definition],
    reasons: list[SpecError],
    given: list[Arg],
    span: Span,
) -> SpecError:
    """The error where no version takes the arguments: the one reason, or all heads."""
    if len(raws) == 1 and (len(reasons) == 1 or len({r.message for r in reasons}) == 1):
        return reasons[0]
    if len(raws) == 1:  # the float versions of one definition: the one that got furthest tells most
        floats = {a.dtype for a in given if is_float(a.dtype)}
        for sig, reason in zip(sigs, reasons, strict=False):
            if floats & {p.dtype for p in sig.params}:
                return reason
    kinds = ", ".join(kind_text(a) for a in given)
    return SpecError(span, f"no version of {name} takes ({kinds}); there are {', '.join(map(head, sigs))}")


def match(sig: Definition, given: list[Arg], keys: list[str], span: Span) -> tuple[int, list[Arg | None]]:
    """How well the arguments suit `sig` (0 is exact), and the arguments in its order."""
    plain = len(given) - len(keys)
    ordered: list[Arg | None] = [None] * len(sig.params)
    if plain > len(sig.params):
        raise SpecError(
            span, f"{sig.name} takes {count(len(sig.params), 'argument')}, {len(given)} given; it is {head(sig)}"
        )
    for k in range(plain):
        ordered[k] = given[k]
    names = [p.name for p in sig.params]
    for key, a in zip(keys, given[plain:], strict=True):
        if key not in names:
            raise SpecError(span, f"{sig.name} has no parameter '{key}'{suggest(key, names)}; it is {head(sig)}")
        if ordered[names.index(key)] is not None:
            raise SpecError(span, f"{sig.name} gets '{key}' twice; it is {head(sig)}")
        ordered[names.index(key)] = a
    cost = 0
    for p, arg in zip(sig.params, ordered, strict=True):
        if arg is None:
            if p.default is None:
                raise SpecError(span, f"{sig.name} needs '{p.name}'; it is {head(sig)}")
            continue
        cost += _suits(sig, p, arg)
    return cost, ordered


def _suits(sig: Definition, p: Param, a: Arg) -> int:
    where = f"'{p.name}' of {sig.name}"
    if isinstance(a, ArrayArg):
        if not p.shape:
            raise SpecError(
                a.span, f"{where} is a number, but {a.symbol.name} is an array; index it, as in {a.symbol.name}[i]"
            )
        if a.dtype != p.dtype:
            raise SpecError(a.span, f"{where} is an array of {p.dtype}, but {a.symbol.name} holds {a.dtype}")
        if len(a.shape) != len(p.shape):
            raise SpecError(
                a.span,
                f"{where} has {count(len(p.shape), 'axis')} {shape_text(p.shape)}, but this has {len(a.shape)} "
                f"{shape_text(a.shape)}",
            )
        return 0
    if p.shape:
        raise SpecError(a.span, f"{where} is an array {p.dtype}{shape_text(p.shape)}, but {show(a)} is a number")
    if p.kind == "size":
        if not is_int(a.dtype):
            raise SpecError(a.span, f"{where} is a size, but {show(a)} is {literal_text(a.dtype)}; give an integer")
        return 0
    if a.dtype == p.dtype:
        return 0
    if a.dtype == INT_LITERAL and p.dtype != "bool":
        return 1 if p.dtype == "i64" else 2 if is_int(p.dtype) else 3
    if a.dtype == FLOAT_LITERAL and is_float(p.dtype):
        return 1
    if a.dtype in DTYPES and "bool" not in (a.dtype, p.dtype) and promote(a.dtype, p.dtype) == p.dtype:
        return 2
    hint = f"convert it with {p.dtype}(...)" if p.dtype != "bool" else "compare it, as in x != 0"
    raise SpecError(a.span, f"{where} is {p.dtype}, but {show(a)} is {literal_text(a.dtype)}; {hint}")
