"""Sizes at which a block ends or another begins: blocks that a definition counts by, and those of the compiler."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

from vibee.lower.contraction import DEPTH, ROWS, TILES, split
from vibee.lower.contraction_shares import PANELS
from vibee.tree.defs import Call, Definition, Equation, Equations, For, Formula, Model, Procedure, statements
from vibee.tree.expr import Expr, Span, bound_vars, walk
from vibee.tree.types import DTYPES

FAR = 1001  # a size beyond every block but those of matrix products

Corner = tuple[str, int]  # a size and its value


def edges(d: Definition) -> list[int]:
    """Sizes at the numbers that a definition counts by, such as the length of its blocks, and one beyond."""
    body = d.body if isinstance(d, Procedure) else d.equations if isinstance(d, Formula) else []
    found = {n for n in _integers(body) if 16 <= n <= 1024}
    return sorted({n + k for n in found for k in (0, 1)}) if d.sizes else []


def _integers(x: Any) -> Iterator[int]:
    """The whole numbers of statements and expressions; not those of bits, and not what is passed on."""
    if isinstance(x, Expr) and x.op == "const" and x.dtype in ("i64", "i32"):
        yield x.attr  # type: ignore[misc]
    elif isinstance(x, For):
        yield x.step
    if isinstance(x, Call) or (isinstance(x, Expr) and x.op in ("shl", "shr", "bitand", "bitor", "xor")):
        return
    if isinstance(x, (list, tuple)):
        for part in x:
            yield from _integers(part)
    elif is_dataclass(x) and not isinstance(x, Span):
        for f in fields(x):
            yield from _integers(getattr(x, f.name))


def corners(d: Definition, isas: list[str]) -> list[Corner]:
    """Sizes around the blocks that a definition is lowered to; without any, each size far beyond the others."""
    if isinstance(d, Model):
        return []
    found: dict[Corner, None] = {}
    for e in _equations(d):
        for extent, block in [*_tiles(e, d), *_products(e, isas)]:
            if extent.op == "var" and extent.attr in d.sizes:
                found |= dict.fromkeys((str(extent.attr), block + k) for k in (1, 0, -1))
    return [*found] or [(n, FAR) for n in d.sizes]


def _equations(d: Definition) -> list[Equation]:
    if isinstance(d, Formula):
        return d.equations
    body = d.body if isinstance(d, Procedure) else []
    return [e for s in statements(body) if isinstance(s, Equations) for e in s.equations]


def _extents(e: Equation) -> dict[str, Expr]:
    """Where the indices of an equation and of its sums end."""
    found = dict(zip(e.vars, e.dims, strict=True))
    for r in walk(e.rhs):
        if r.op == "reduce":
            found |= dict(zip(bound_vars(r), r.args[2::2], strict=True))
    return found


def _tiles(e: Equation, d: Definition) -> list[tuple[Expr, int]]:
    """The blocks that a schedule asks for."""
    tile = dict(getattr(d, "schedule", {}).get("tile", {}))
    return [(end, tile[v]) for v, end in _extents(e).items() if v in tile]


def _products(e: Equation, isas: list[str]) -> Iterator[tuple[Expr, int]]:
    """The blocks of matrix products: rows of A, runs of k, and columns of B of each instruction set."""
    for r in walk(e.rhs):
        p = split(replace(e, rhs=r))
        if p is None:
            continue
        ends = _extents(replace(e, rhs=r))
        yield ends[p.row], ROWS
        yield ends[bound_vars(r)[0]], DEPTH
        for isa in isas:
            _, vectors, bits = TILES[isa]
            yield ends[p.col], PANELS * vectors * bits // DTYPES[r.dtype].bits
