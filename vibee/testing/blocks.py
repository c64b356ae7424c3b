"""Sizes at which a block ends or another begins: blocks that a definition counts by, and those of the compiler."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

from vibee.lower.build import BITS
from vibee.lower.contraction import DEPTH, REST, ROWS, TILES, run_of_panels, split, tile_columns
from vibee.lower.contraction_shares import columns_at_once
from vibee.lower.transpose import transpose_of
from vibee.tree.defs import Call, Definition, Equation, Equations, For, Formula, Model, Procedure, statements
from vibee.tree.expr import Expr, Span, bound_vars, walk
from vibee.tree.types import DTYPES

from .sizes import MOST

FAR = 1001  # a size beyond every block but those of matrix products

Corner = tuple[tuple[str, int], ...]  # some sizes and their values


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


def limit(d: Definition, most: int) -> int:
    """Elements of the sizes at a corner: the statements of a procedure are carried out one by one."""
    return min(most, 2 * FAR) if isinstance(d, Procedure) else most


def corners(d: Definition, isas: list[str], most: int = MOST) -> list[Corner]:
    """Sizes around the blocks that a definition is lowered to, and every fourth time those just beyond a register tile
    of a matrix product or transpose; without any, each size far beyond the others.  Of so many elements at most."""
    if isinstance(d, Model):
        return []
    most = limit(d, most)
    found: dict[Corner, None] = {}
    tiles: dict[Corner, None] = {}
    for e in _equations(d):
        for extent, block in [*_tiles(e, d), *_products(e, isas)]:
            if extent.op == "var" and extent.attr in d.sizes:
                found |= dict.fromkeys(((str(extent.attr), block + k),) for k in (1, 0, -1))
        for sizes in [*_register_tiles(e, isas), *_squares(e, isas)]:
            named = sorted((str(x.attr), n) for x, n in sizes if x.op == "var" and x.attr in d.sizes)
            tiles[tuple(dict(named).items())] = None  # of a size that is two of them, the larger
    largest = max((t for t in tiles if t and _elements(t) <= most), key=_elements, default=None)
    out: list[Corner] = []
    for n, corner in enumerate(c for c in [*found] or [((n, FAR),) for n in d.sizes] if _elements(c) <= most):
        out += [largest] if largest is not None and n % 3 == 0 else []
        out.append(corner)
    return out


def _elements(corner: Corner) -> int:
    return math.prod(n for _, n in corner)


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
    for row, k, col, dtype in _sides(e):
        yield row, ROWS
        yield col, columns_at_once(dtype)
        yield k, DEPTH
        for isa in isas:
            yield k, run_of_panels(isa, dtype)
            yield k, run_of_panels(isa, dtype) * REST // 2


def _register_tiles(e: Equation, isas: list[str]) -> Iterator[list[tuple[Expr, int]]]:
    """For each matrix product and instruction set: one row, one column and one k more than a register tile has rows,
    columns and numbers in a vector.  So there are whole tiles, panels and vectors, and something beside each."""
    for row, k, col, dtype in _sides(e):
        for isa in isas:
            rows, _, bits = TILES[isa]
            yield [(row, rows + 1), (k, bits // DTYPES[dtype].bits + 1), (col, tile_columns(isa, dtype) + 1)]


def _squares(e: Equation, isas: list[str]) -> Iterator[list[tuple[Expr, int]]]:
    """For each array that is turned over: one row and one column more than a square of registers has."""
    ends = _extents(e)
    for isa in isas:
        t = transpose_of(e, BITS.get(isa, 0))
        if t is not None:
            yield [(ends[t.row], t.side + 1), (ends[t.col], t.side + 1)]


def _sides(e: Equation) -> Iterator[tuple[Expr, Expr, Expr, str]]:
    """Where the rows, the first summed index and the columns of matrix products end, and what they are sums of."""
    for r in walk(e.rhs):
        p = split(replace(e, rhs=r))
        if p is not None:
            ends = _extents(replace(e, rhs=r))
            yield ends[p.row], ends[bound_vars(r)[0]], ends[p.col], r.dtype
