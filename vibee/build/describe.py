"""What `vibee bench` has to know of a kernel, as plain data: its arguments, what they must satisfy, and its work.

Expressions are text in the language's notation, which Python reads too.  The result is stored beside the kernels of
the executable, where there is no compiler to ask.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from vibee.check.modules import specs_root
from vibee.emit.ctypes import exported
from vibee.lower.build import add, div, i, ix, mul, sub
from vibee.lower.cost import Work, moved, work
from vibee.tree.defs import Definition, Param
from vibee.tree.expr import Expr, const, free_vars, load, rebuild, show, var, walk
from vibee.tree.types import DTYPES, is_float, is_int

LENGTH = "n"  # of the arrays over which a definition of numbers is mapped
_FLIPPED = {"le": "ge", "ge": "le", "lt": "gt", "gt": "lt", "eq": "eq"}

Bounds = dict[str, tuple[list[str], list[str]]]


def describe(definitions: Iterable[Definition], by_key: Callable[[str], Definition]) -> dict[str, dict[str, Any]]:
    """The descriptions of some definitions, by their instance names."""
    known: dict[str, Work] = {}
    chosen = chosen_sizes()
    out = {}
    for d in definitions:
        numbers = not any(q.shape for q in [*d.params, *d.outs]) and not d.sizes
        out[d.key] = {
            "function": f"{d.key}_map" if numbers else exported(d.key),
            **(_mapped if numbers else _plain)(d, work(d, by_key, known)),
            "runs": chosen.get(d.module, {}).get(d.name, []),
        }
    return out


def chosen_sizes() -> dict[str, Any]:
    """Sizes that are better known than those of the general rule: specs/bench.toml, by module and definition."""
    path = Path(specs_root()) / "bench.toml"
    return tomllib.loads(path.read_text()) if path.exists() else {}


def _plain(d: Definition, w: Work) -> dict[str, Any]:
    buffers = [q for q in [*d.params, *d.outs] if q.shape]
    cells = [q for q in d.params if q.is_array and not q.shape]
    numbers = [*cells, *(q for q in d.params if not q.is_array)]  # in the wrapper's order
    names = [*d.sizes, *(q.name for q in numbers if q.name not in d.sizes)]
    told = [g for g in d.given if _told(g, names)]
    return {
        "name": d.name,
        "label": d.key.removesuffix("_f32"),
        "module": d.module,
        "sizes": list(d.sizes),
        "numbers": [(q.name, q.dtype, _default(q)) for q in numbers],
        "arrays": _arrays(buffers, [tuple(map(show, q.shape)) for q in buffers], _bounds(d.given, names)),
        "given": list(dict.fromkeys(map(show, told))),
        "hints": _hints(told, names),
        "flops": None if w.flops is None else show(w.flops),
        "bound": w.bound,
        "bytes": show(moved(d, w)),
        "loose": w.loose(d),
        "wide": _wide(d),
    }


def _mapped(d: Definition, w: Work) -> dict[str, Any]:
    """A definition of numbers, as the function that works on arrays of them."""
    work_on = [*d.params, *d.outs]
    names = {q.name for q in d.params}
    facts = [_elements(g, names) for g in d.given]
    told = w.flops is not None and not free_vars(w.flops)
    return {
        "name": d.name,
        "label": d.key.removesuffix("_f32"),
        "module": d.module,
        "sizes": [LENGTH],
        "numbers": [],
        "arrays": _arrays(work_on, [(LENGTH,)] * len(work_on), _bounds(facts, [])),
        "given": [],
        "hints": {},
        "flops": show(mul(w.flops, var(LENGTH))) if told and w.flops is not None else None,
        "bound": w.bound,
        "bytes": show(mul(i(sum(DTYPES[q.dtype].bits // 8 for q in work_on)), var(LENGTH))),
        "loose": False,
        "wide": _wide(d),
    }


def _arrays(found: list[Param], shapes: list[tuple[str, ...]], bounds: Bounds) -> list[tuple]:
    """Name, element type, shape, and the least and the largest value, for each array."""
    out = []
    for q, shape in zip(found, shapes, strict=True):
        low, high = bounds.get(q.name, ([], [])) if q.kind != "out" else ([], [])
        out.append((q.name, q.dtype, shape, _tightest("max", low), _tightest("min", high)))
    return out


def _tightest(op: str, texts: list[str]) -> str:
    return f"{op}({', '.join(texts)})" if len(texts) > 1 else texts[0] if texts else ""


def _default(q: Param) -> Any:
    return q.default.attr if q.default is not None and q.default.op == "const" else None


def _wide(d: Definition) -> bool:
    """Is the arithmetic that of f64?  Told by the arrays, or by the numbers where no array is of floats."""
    floats = [q for q in [*d.params, *d.outs] if is_float(q.dtype)]
    arrays = [q for q in floats if q.shape] or floats
    return any(q.dtype == "f64" for q in arrays)


# ---------------------------------------------------------------- conditions


def _told(g: Expr, names: Iterable[str]) -> bool:
    """Is a condition about sizes and numbers alone?"""
    plain = all(n.op not in ("load", "load?", "call", "reduce", "scan", "bitcast") for n in walk(g))
    return plain and free_vars(g) <= set(names)


def _elements(g: Expr, names: set[str]) -> Expr:
    """A condition on numbers as one on the elements of arrays."""
    if g.op == "var" and g.attr in names:
        return load(str(g.attr), (), g.dtype)
    return rebuild(g, lambda a: _elements(a, names))


def _comparisons(facts: Iterable[Expr]) -> Iterable[tuple[str, Expr, Expr]]:
    """Every comparison that must hold, both ways round."""
    for g in facts:
        if g.op == "and":
            yield from _comparisons(g.args)
        elif g.op in _FLIPPED:
            yield g.op, g.args[0], g.args[1]
            yield _FLIPPED[g.op], g.args[1], g.args[0]


def _hints(told: list[Expr], names: list[str]) -> dict[str, list[tuple[str, bool]]]:
    """Values to try for a name that stands alone on one side of a comparison; True where nothing else will do."""
    out: dict[str, list[tuple[str, bool]]] = {}
    tied: set[str] = set()
    for op, a, b in _comparisons(told):
        if a.op != "var" or not is_int(a.dtype) or not is_int(b.dtype) or a.attr in free_vars(b):
            continue
        name = str(a.attr)
        # of two sizes that are equal, the later one follows
        if op == "eq" and (name in tied or free_vars(b) & tied or _earlier(name, b, names)):
            continue
        value = {"gt": add(b, i(1)), "lt": sub(b, i(1))}.get(op, b)
        follows = op == "eq" or (op == "ge" and any(n.op == "mul" for n in walk(b)))
        if follows:
            tied.add(name)
        out.setdefault(name, []).append((show(value), follows))
    return out


def _earlier(name: str, b: Expr, names: list[str]) -> bool:
    return b.op == "var" and names.index(name) < names.index(str(b.attr))


def _bounds(facts: list[Expr], names: list[str]) -> Bounds:
    """The least and the largest values of elements, from conditions on single elements and on sums of them."""
    out: Bounds = {}
    for op, a, b in _comparisons(facts):
        arrays, rest = _terms(a)
        if not arrays or not _told(b, names) or not _told(rest, names):
            continue
        whole = is_int(arrays[0].dtype)
        limit = sub(b, rest) if whole else b if rest == i(0) else Expr("sub", (b, rest), None, b.dtype)
        if len(arrays) > 1:
            limit = div(limit, i(len(arrays))) if whole else ix("mul", limit, const(1 / len(arrays), "f64"))
        if whole and op in ("lt", "gt"):
            limit = add(limit, i(-1 if op == "lt" else 1))
        for x in arrays:
            low, high = out.setdefault(str(x.attr), ([], []))
            if op in ("ge", "gt", "eq"):
                low.append(show(limit))
            if op in ("le", "lt", "eq"):
                high.append(show(limit))
    return out


def _terms(e: Expr) -> tuple[list[Expr], Expr]:
    """A sum of elements and of other things: the elements, and the sum of the rest."""
    if e.op == "cast":
        return _terms(e.args[0])
    if e.op == "load":
        return [e], i(0)
    if e.op in ("add", "sub"):
        (a, x), (b, y) = _terms(e.args[0]), _terms(e.args[1])
        if e.op == "add" or not b:
            return [*a, *b], add(x, y) if e.op == "add" else sub(x, y)
    return [], e
