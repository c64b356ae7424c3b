"""Lowered procedures written by hand, for tests of the emitter alone."""

from __future__ import annotations

from vibee.tree.defs import Alloc, Assign, Decl, For, Param, Procedure, Store
from vibee.tree.expr import Expr, Span, const, load, var

HERE = Span("hand.vibee", 7, 1)
N, D = var("N"), var("D")
n, d = var("n"), var("d")


def c(value, dtype="f32"):
    return const(value, dtype)


def op(name, *args, dtype=None, attr=None):
    if dtype is None:
        dtype = "bool" if name in ("lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not") else args[0].dtype
    return Expr(name, tuple(args), attr, dtype, HERE)


def proc(name, params, outs, body, sizes, **more):
    return Procedure(name, f"{name}_f32", params, outs, sizes, body=body, span=HERE, **more)


def scale():
    """y = x * a + 1e-5, rows in parallel."""
    x = load("x", (n, d), "f32")
    value = op("add", op("mul", x, var("a", "f32")), c(1e-5))
    body = [For("n", c(0, "i64"), N, [For("d", c(0, "i64"), D, [Store("y", (n, d), value)])], parallel=True)]
    params = [Param("x", "in", "f32", (N, D)), Param("a", "scalar", "f32")]
    source = "def scale(x: f32[N, D], a: f32) -> y[N, D]:\n    y[n, d] = x[n, d] * a + 1e-5"
    outs = [Param("y", "out", "f32", (N, D))]
    return proc("scale", params, outs, body, {"N": ("arg", "x", 0), "D": ("arg", "x", 1)}, source=source)


def row_sum():
    """y[n] = sum[d](x[n, d]) in 16 lanes, as lowering writes it."""
    i64 = lambda v: c(v, "i64")  # noqa: E731
    lane, d0 = var("lane"), var("d_0")
    at = lambda k: load("lanes", (k,), "f32")  # noqa: E731
    whole = op("mul", op("floordiv", D, i64(16)), i64(16))
    step = Store("lanes", (lane,), op("add", at(lane), load("x", (n, op("add", d0, lane)), "f32")))
    fold = []
    half = 8
    while half:
        pair = op("add", at(lane), at(op("add", lane, i64(half))))
        fold.append(For("lane", i64(0), i64(half), [Store("lanes", (lane,), pair)]))
        half //= 2
    row = [
        Alloc("lanes", "f32", (i64(16),), zero=False),
        For("lane", i64(0), i64(16), [Store("lanes", (lane,), c(0.0))]),
        Decl("acc", "f32", c(0.0)),
        For("d_0", i64(0), whole, [For("lane", i64(0), i64(16), [step])], step=16),
        For("d", whole, D, [Assign("acc", op("add", var("acc", "f32"), load("x", (n, d), "f32")))]),
        *fold,
        Store("y", (n,), op("add", at(i64(0)), var("acc", "f32"))),
    ]
    body = [For("n", i64(0), N, row, parallel=True)]
    sizes = {"N": ("arg", "x", 0), "D": ("arg", "x", 1)}
    return proc("row_sum", [Param("x", "in", "f32", (N, D))], [Param("y", "out", "f32", (N,))], body, sizes)
