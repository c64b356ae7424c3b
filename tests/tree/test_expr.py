"""Trees of expressions: names are replaced wherever they stand."""

from vibee.tree.expr import Expr, const, load, rename_arrays, show, var


def test_arrays_are_renamed_in_indices_and_sums_too():
    inner = load("t", (var("k"),), "i64")
    body = Expr("mul", (load("x", (inner,), "f32"), load("y", (var("x"),), "f32")), None, "f32")
    e = Expr("reduce", (body, const(0, "i64"), load("t", (const(0, "i64"),), "i64")), ("sum", ("k",)), "f32")
    assert show(rename_arrays(e, {"t": "u", "x": "t"})) == "sum[k:u[0]](t[u[k]] * y[x])"
