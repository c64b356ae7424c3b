"""Every kind of statement as emitted: loops, work memory, checks, calls, parallel bodies."""

import numpy as np
import pytest

from vibee.build import build, load_extension
from vibee.emit import emit_module
from vibee.emit.context import InternalError
from vibee.tree.defs import (
    Alloc,
    Assign,
    Call,
    Comment,
    Decl,
    Equations,
    For,
    If,
    Jump,
    Param,
    Procedure,
    Store,
    View,
    While,
)
from vibee.tree.expr import Expr, Span, const, load, var

N, D, I, J = (var(v) for v in ("N", "D", "i", "j"))  # noqa: E741
HERE = Span("hand.vibee", 7, 1)
ROWS = {"N": ("arg", "x", 0), "D": ("arg", "x", 1)}


def k(value, dtype="i64"):
    return const(value, dtype)


def f(value):
    return const(float(value), "f32")


def op(name, *args, dtype=None):
    compare = name in ("lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not")
    return Expr(name, tuple(args), None, dtype or ("bool" if compare else args[0].dtype), HERE)


def loop(name, hi, *body, lo=0, **more):
    return For(name, k(lo), hi, list(body), **more)


def x(*idx, name="x", dtype="f32"):
    return load(name, idx, dtype)


def matrix(name="x", kind="in"):
    return Param(name, kind, "f32", (N, D))


def proc(name, params, outs, body, sizes=None, **more):
    return Procedure(name, name, params, outs, ROWS if sizes is None else sizes, body=body, span=HERE, **more)


def scale():
    value = op("add", op("mul", x(I, J), var("a", "f32")), f(1e-5))
    body = [loop("i", N, loop("j", D, Store("y", (I, J), value)), parallel=True)]
    return proc("scale", [matrix(), Param("a", "scalar", "f32")], [matrix("y", "out")], body, source="y = x * a + 1e-5")


def triangle():
    """Work memory whose size depends on the loop; break and continue; a scalar output."""
    row = var("i")
    body = [
        Decl("s", "f32", f(0)),
        loop(
            "i",
            N,
            If(op("eq", row, k(2)), [Jump("continue")]),
            If(op("gt", row, k(5)), [Jump("break")]),
            Alloc("w", "f32", (op("add", row, k(5000)),)),
            Store("w", (row,), f(1)),
            loop("j", op("add", row, k(1)), Assign("s", op("add", var("s", "f32"), x(J, name="w")))),
        ),
        Store("total", (), var("s", "f32")),
    ]
    return proc("triangle", [matrix()], [Param("total", "out", "f32")], body)


def gathered():
    """Checked reads and writes, a division, in a parallel loop with memory of its own."""
    t = Expr("cast", (load("t", (I,), "i32"),), "i64", "i64")
    body = [
        loop(
            "i",
            N,
            Alloc("row", "f32", (D,)),
            Store("row", (op("floordiv", t, var("q")),), f(1), checked=True, span=HERE),
            loop("j", D, Store("y", (I, J), op("add", Expr("load?", (t, J), "x", "f32", HERE), x(J, name="row")))),
            parallel=True,
        )
    ]
    params = [matrix(), Param("t", "in", "i32", (N,)), Param("q", "scalar", "i64")]
    return proc("gathered", params, [matrix("y", "out")], body)


def caller():
    """Calls: of rows through views, of parts, with a scalar result in a local."""
    body = [
        Decl("s", "f32"),
        loop(
            "i",
            N,
            Call(
                "scale",
                [View("x", (I,), None, (k(1), D)), f(2)],
                [View("y", (I,), None, (k(1), D))],
                {"N": k(1), "D": D},
            ),
        ),
        Call("triangle", [View("x", (), (k(0), k(2)), (k(2), D))], [View("s")], {"N": k(2), "D": D}),
        Store("y", (k(0), k(0)), var("s", "f32")),
        Decl("n", "i64", k(0)),
        While(op("lt", var("n"), k(3)), [Assign("n", op("add", var("n"), k(1)))]),
        If(op("eq", var("n"), k(3)), [Store("y", (k(0), k(1)), f(3))], [Jump("return")]),
        Comment("the end"),
    ]
    return proc("caller", [matrix()], [matrix("y", "out")], body)


def waiting():
    """A loop that waits for what a call gives."""
    call = Call("gathered", [View("x"), View("t"), var("q")], [View("y")], {"N": N, "D": D})
    params = [matrix(), Param("t", "in", "i32", (N,)), Param("q", "scalar", "i64")]
    return proc("waiting", params, [matrix("y", "out")], [While(op("lt", x(k(0), k(0), name="y"), f(1)), [call])])


def names():
    """Names that mean something in Cython, and one name with two types, in two blocks and in one."""
    body = [
        Decl("w", "i64", k(9)),
        Decl("w", "f32", f(0.5)),
        Decl("half", "f32", op("mul", var("w", "f32"), f(2))),
        Decl("nogil", "f32", f(1)),
        If(op("gt", N, k(0)), [Decl("v", "f32", f(2)), Assign("nogil", var("v", "f32"))]),
        If(op("gt", N, k(0)), [Decl("v", "i64", k(3)), Assign("cdef", op("add", var("cdef"), var("v")))]),
        Store("err", (), op("mul", var("nogil", "f32"), var("half", "f32"))),
        Store("int", (), var("cdef")),
    ]
    outs = [Param("err", "out", "f32"), Param("int", "out", "i64")]
    return proc(
        "names", [matrix("x", "mut"), Param("threads", "scalar", "i64")], outs, [Decl("cdef", "i64", k(1)), *body]
    )


def bounded():
    """Conditions: on sizes, on elements."""
    given = [op("ge", N, k(2)), op("lt", x(I, J), f(10))]
    body = [loop("i", N, loop("j", D, Store("y", (I, J), x(I, J))))]
    return proc("bounded", [matrix()], [matrix("y", "out")], body, given=given)


def chosen():
    """Conditions of arrays in a branch, into elements, a number, and beside another condition."""
    c = [load("c", (k(i),), "bool") for i in range(3)]
    both = Expr("where", (op("gt", var("a", "f64"), const(0.0, "f64")), op("and", c[0], c[1]), c[2]), None, "bool")
    body = [Store("y", (k(0),), both), Store("y", (k(1),), op("or", both, c[1])), Store("z", (), op("not", both))]
    outs = [Param("y", "out", "bool", (k(2),)), Param("z", "out", "bool")]
    return proc("chosen", [Param("c", "in", "bool", (k(3),)), Param("a", "scalar", "f64")], outs, body, {})


@pytest.fixture(scope="module")
def m():
    text = emit_module([caller(), scale(), triangle(), gathered(), waiting(), names(), bounded(), chosen()])
    assert "# hand.vibee, line 7: scale\n#     y = x * a + 1e-5\n" in text
    assert text.index("cdef void c_scale(") < text.index("cdef void c_caller(")
    return load_extension(*build(text, "statements"))


def rows(n, d):
    return np.arange(n * d, dtype="f4").reshape(n, d)


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("n,d", [(0, 3), (1, 1), (3, 0), (5, 9), (300, 257)])
def test_parallel_loop(m, n, d, threads):
    a, y = rows(n, d), np.full((n, d), np.nan, "f4")
    m.scale(a, y, 2.0, threads)
    np.testing.assert_allclose(y, a * 2 + 1e-5, rtol=1e-6)


def test_work_memory_and_jumps(m):
    assert m.triangle(rows(9, 1), 1) == 5.0  # rows 0 1 3 4 5


@pytest.mark.parametrize("threads", [1, 4])
def test_checked_access(m, threads):
    a, y = rows(4, 3), np.zeros((4, 3), "f4")
    m.gathered(a, np.array([0, 1, 2, 0], "i4"), y, 1, threads)
    assert (y == a[[0, 1, 2, 0]] + np.eye(3, dtype="f4")[[0, 1, 2, 0]]).all()
    with pytest.raises(ValueError, match=r"gathered: an index out of range \(hand.vibee:7\)"):
        m.gathered(a, np.array([0, 1, 2, 9], "i4"), y, 9, threads)
    with pytest.raises(ValueError, match=r"gathered: an index out of range \(hand.vibee:7\)"):
        m.gathered(a, np.array([0, 1, 2, -1], "i4"), y, 1, threads)
    with pytest.raises(ValueError, match=r"gathered: a division by zero \(hand.vibee:7\)"):
        m.gathered(a, np.array([0, 1, 2, 0], "i4"), y, 0, threads)


def test_calls(m):
    a, y = rows(4, 3), np.zeros((4, 3), "f4")
    m.caller(a, y, 2)
    want = a * 2 + 1e-5
    want[0, 0], want[0, 1] = 2.0, 3.0
    np.testing.assert_allclose(y, want, rtol=1e-6)


def test_a_loop_does_not_wait_for_a_call_that_failed(m):
    a, y, t = rows(2, 3), np.zeros((2, 3), "f4"), np.array([1, 0], "i4")
    m.waiting(a, t, y, 1, 1)
    assert y[0, 0] == 3
    y[:] = 0
    with pytest.raises(ValueError, match="a division by zero"):
        m.waiting(a, t, y, 0, 1)


def test_conditions_in_branches(m):
    for n in range(16):
        c, a, y = np.array([n & 1, n & 2, n & 4], "?"), float(n & 8), np.zeros(2, "?")
        want = c[0] and c[1] if a > 0 else c[2]
        assert m.chosen(c, y, a, 1) == (not want)
        assert (y == [want, want or c[1]]).all()


def test_names(m):
    assert m.names(rows(1, 1), 4, 1) == (2.0, 4)


def test_wrapper_messages(m):
    a, y = rows(4, 3), np.zeros((4, 3), "f4")
    cases = [
        (lambda: m.scale(a, y[:2], 1.0, 1), r"scale: output y must have shape \[N, D\] = \[4, 3\], got \[2, 3\]"),
        (lambda: m.scale(a, a, 1.0, 1), "scale: y shares memory with x"),
        (lambda: m.bounded(a[:1], y[:1], 1), r"bounded: given N >= 2 does not hold at N = 1"),
        (lambda: m.bounded(a, y, 1), r"bounded: given x\[i, j\] < 10.0 does not hold at i = 3, j = 1"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()


def test_keywords(m):
    a, y = rows(2, 2), np.zeros((2, 2), "f4")
    m.scale(x=memoryview(a), y=memoryview(y), a=1.0, threads=1)
    assert (y == a + np.float32(1e-5)).all()


BROKEN = [
    (Decl("s", "f32", var("t", "f32")), "no variable t"),
    (Decl("s", "f32", var("x", "f32")), "array x used as a number"),
    (Decl("s", "f32", var("r", "f32")), "cell r used as a number"),
    (Decl("s", "f32", Expr("reduce", (x(I, J), N, N), ("sum", ("i",)), "f32")), "reduce in lowered code"),
    (Decl("s", "f32", Expr("call", (f(1),), ("gone",), "f32")), "call of unknown gone"),
    (Call("gone", [], [], {}), "call of unknown gone"),
    (Equations([]), "statement Equations in lowered code"),
    (Assign("x", f(1)), "assignment to array x"),
    (Assign("r", f(1)), "assignment to cell r"),
    (Assign("N", k(1)), "assignment to a size or loop variable N"),
    (loop("i", N, Assign("i", k(1))), "assignment to a size or loop variable i"),
    (loop("i", N, Store("r", (), f(1)), parallel=True), "store to r of the enclosing function"),
    (loop("i", N, Jump("break"), parallel=True), "break out of a parallel loop"),
    (loop("i", N, While(op("lt", N, k(3)), [Jump("return")]), parallel=True), "return out of a parallel loop"),
]


@pytest.mark.parametrize("statement,message", BROKEN)
def test_a_broken_tree_is_a_fault_of_the_compiler(statement, message):
    with pytest.raises(InternalError, match=message):
        emit_module([proc("bad", [matrix()], [Param("r", "out", "f32")], [statement])])


def test_a_parallel_body_may_not_assign_outside():
    body = [Decl("s", "f32", f(0)), loop("i", N, Assign("s", x(I, k(0))), parallel=True)]
    with pytest.raises(InternalError, match="assignment to s of the enclosing function"):
        emit_module([proc("bad", [matrix()], [], body)])


def test_vectors(m):
    v = var("v", "f32x8")
    at = (k(0), k(0))
    body = [
        Decl("v", "f32x8"),
        Assign("v", Expr("vload", at, "x", "f32x8")),
        Assign("v", op("add", op("mul", v, v), Expr("splat", (f(0.5),), None, "f32x8"))),
        Store("y", at, v),
    ]
    ext = load_extension(*build(emit_module([proc("square", [matrix()], [matrix("y", "out")], body)]), "vectors"))
    a, y = rows(1, 9), np.zeros((1, 9), "f4")
    ext.square(a, y, 1)
    assert (y[0, :8] == a[0, :8] ** 2 + 0.5).all() and y[0, 8] == 0
