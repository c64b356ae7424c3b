"""Products of words of two bf16 by matrix instructions (Intel AMX), where lowering has written the loops for them, and
the turned copies that they need.

Registers 0 to 3 hold sums of 16 x 16, 4 and 5 words of A, 6 and 7 words of B.  They read and write what the loops do
that `vibee.tree.product` describes, and nothing else.
"""

from __future__ import annotations

from vibee.tree.expr import Expr, const, load
from vibee.tree.product import SIDE, Product
from vibee.tree.turn import Turn

from .context import Body, product
from .ops import element, ex

SUMS, A, B = 0, 4, 6  # registers: sums of the first rows and columns first


def emit_product(p: Product, b: Body) -> None:
    """The instructions instead of the loops.

    The parallel loops of a product call nobody: registers have their shape while they run (see `functions.finish`)."""
    use = b.module.header.use
    b.tiles = b.threads == "1"
    if not b.tiles:
        b.line(f"{use('vb_tiles')}()")
    _product(p, b)
    if not b.tiles:
        b.line(f"{use('vb_no_tiles')}()")


def _product(p: Product, b: Body) -> None:
    use = b.module.header.use
    rows, columns = range(p.rows // SIDE), range(len(p.b))
    for n in range(p.rows // SIDE * len(p.b)):
        b.line(f"{use('vb_tile_zero')}({SUMS + n})")
    k = b.declare(p.k, "i64", size=True)
    with b.block(f"for {k.name} in range(0, {ex(p.steps, b, 12)} * {SIDE}, {SIDE})"):
        for n in rows:
            _move("vb_tile_load", A + n, _below(p.a, n, p.k), b)
        for v in columns:
            e = p.b[v]
            at = load(str(e.attr), (*e.args[:-2], Expr("var", (), p.k, "i64"), e.args[-1]), e.dtype)
            _move("vb_tile_load", B + v, at, b)
        for n in rows:
            for v in columns:
                b.line(f"{use('vb_tile_dot2')}({SUMS + n * len(p.b) + v}, {A + n}, {B + v})")
    for n in rows:
        for v in columns:
            _move("vb_tile_store", SUMS + n * len(p.b) + v, _below(p.sums[v], n, ""), b)


def _below(e: Expr, n: int, k: str) -> Expr:
    """The element n tiles below another, at column k if there is one."""
    *lead, row, column = e.args
    row = Expr("add", (row, const(n * SIDE, "i64")), None, "i64") if n else row
    return load(str(e.attr), (*lead, row, Expr("var", (), k, "i64") if k else column), e.dtype)


def _move(how: str, register: int, at: Expr, b: Body) -> None:
    """A tile between a register and memory: 16 rows of 64 bytes, the first at an element."""
    row = ex(b.lookup(str(at.attr)).shape[-1], b, 12)
    b.line(f"{b.module.header.use(how)}({register}, &{element(at, b)[0]}, {row} * 4)")


def emit_turn(t: Turn, b: Body) -> None:
    """A call of the helper that shuffles registers, instead of the loops."""
    row = ex(b.lookup(str(t.to.attr)).shape[-1], b)
    width = ex(product(b.lookup(str(t.source.attr)).shape[t.axis + 1 :]), b)
    turn = b.module.header.use(f"vb_turn_{t.to.dtype}x{t.side}")
    b.line(f"{turn}(&{element(t.to, b)[0]}, {row}, &{element(t.source, b)[0]}, {width})")
