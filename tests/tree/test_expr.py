"""Trees of expressions: what is equal, and how names are replaced."""

import pickle
from dataclasses import replace

from vibee.tree.expr import Expr, Span, const, load, rename_arrays, show, var


def test_arrays_are_renamed_in_indices_and_sums_too():
    inner = load("t", (var("k"),), "i64")
    body = Expr("mul", (load("x", (inner,), "f32"), load("y", (var("x"),), "f32")), None, "f32")
    e = Expr("reduce", (body, const(0, "i64"), load("t", (const(0, "i64"),), "i64")), ("sum", ("k",)), "f32")
    assert show(rename_arrays(e, {"t": "u", "x": "t"})) == "sum[k:u[0]](t[u[k]] * y[x])"


def test_nodes_are_equal_by_what_they_say_not_by_where_they_stand():
    a, b = (Expr("add", (var("i"), const(1, "i64")), None, "i64", Span("m.vibee", n, 1)) for n in (1, 2))
    assert a == b
    assert hash(a) == hash(b)
    assert {a, b} == {a}
    different = [replace(a, op="sub"), replace(a, dtype="f32"), replace(a, args=a.args[::-1]), replace(a, attr=0)]
    assert all(a != c for c in different)
    assert a != "i + 1"
    assert var("i") != "i"


def test_zeros_of_both_signs_are_two_literals():
    plus, minus = const(0.0, "f32"), const(-0.0, "f32")
    assert plus != minus and plus == const(0.0, "f32") and minus == const(-0.0, "f32")
    assert hash(plus) == hash(minus)  # so that the comparison has to tell them apart


def test_a_copy_in_another_process_has_a_hash_of_its_own():
    """Names have other hashes there, so that of a node does not travel."""
    a = Expr("mul", (var("i"), var("n")), None, "i64")
    assert hash(a) == a._hash
    copy = pickle.loads(pickle.dumps(a))
    assert not hasattr(copy, "_hash")
    assert copy == a
