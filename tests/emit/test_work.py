"""When a parallel loop deserves threads, told from sizes."""

from vibee.emit.work import bound, deserving
from vibee.tree.defs import Decl, For, If, Jump, Store, While
from vibee.tree.expr import Expr, const, load, show, var

N, M, I, J, Q = (var(v) for v in "NMijq")  # noqa: E741
SIZES = {"N", "M"}
STORE = Store("y", (I,), const(1.0, "f32x16"))
ELEMENT = Store("y", (I,), const(1.0, "f32"))


def k(value):
    return const(value, "i64")


def op(name, *args):
    return Expr(name, args, None, "i64")


def loop(name, hi, *body, lo=None, step=1):
    return For(name, lo or k(0), hi, list(body), step)


def told(s):
    found = deserving(s, SIZES)
    return found if isinstance(found, bool) else show(found)


def test_a_loop_of_known_length_deserves_threads_always_or_never():
    assert told(loop("i", k(10), STORE)) is False
    assert told(loop("i", k(10**6), STORE)) is True
    assert told(loop("i", k(10), Jump("continue"), STORE)) is False  # a jump costs nothing


def test_a_loop_over_a_size_deserves_them_by_its_work():
    assert told(loop("i", N, loop("j", M, STORE))) == "N * M"
    assert told(loop("i", N, STORE, step=4)) == "(N + 3) // 4"
    assert told(loop("i", N, STORE, lo=k(2))) == "N + -2"


def test_an_element_that_is_stored_is_more_work_than_one_that_is_computed():
    total = Expr("add", (load("a", (I,), "f32"), load("b", (I,), "f32")), None, "f32")
    assert told(loop("i", N, ELEMENT)) == "N * 6"
    assert told(loop("i", N, Store("y", (I,), total))) == "N * 9"
    assert told(loop("i", k(98304), Store("y", (I,), total))) is True  # a layer of a small model: it takes 50 us


def test_a_loop_in_few_large_steps_has_at_least_one():
    block = loop("j", M, STORE, STORE)
    assert told(loop("i", k(100), block, step=512)) == "M * 2"
    assert told(loop("i", N, block, step=512)) == "(N + 511) // 512 * (M * 2)"
    # the whole steps of a cut range are what they are multiples of
    assert told(loop("i", op("mul", op("floordiv", N, k(8)), k(8)), block, step=8)) == "N // 8 * (M * 2)"


def test_a_part_is_no_longer_than_it_says():
    blocks = loop("j", op("add", I, k(16)), STORE, lo=I)
    assert told(loop("i", N, blocks)) == "N * 16"
    cut = loop("j", op("min", op("add", I, k(16)), N), STORE, lo=I)
    assert told(loop("i", N, cut)) == "N * 16"
    # a part whose length is not told is at most what it is cut to
    cut = loop("j", op("min", op("add", I, Q), k(100)), STORE, lo=I)
    assert told(loop("i", N, cut)) == "N * 100"


def test_a_sum_in_blocks_is_as_much_work_as_its_blocks():
    first = op("mul", I, Q)
    end = op("min", op("add", first, N), M)
    whole = op("add", first, op("mul", op("floordiv", op("sub", end, first), k(16)), k(16)))
    parts = loop("j", whole, STORE, lo=first, step=16), loop("j", end, STORE, lo=whole)
    assert told(loop("i", k(64), *parts)) == "64 * (N // 16 + N)"


def test_where_sizes_do_not_tell_threads_are_used():
    t = load("t", (I,), "i64")
    for inner in (loop("j", t, STORE), While(Expr("lt", (t, N), None, "bool"), [STORE]), loop("j", Q, STORE)):
        assert told(loop("i", N, inner)) is True
        assert told(loop("i", N, If(Expr("lt", (t, N), None, "bool"), [inner]))) is True
    assert told(loop("i", N, Decl("q", "i64", t), loop("j", Q, STORE))) is True
    assert told(loop("i", N, Decl("q", "i64", M), loop("j", Q, STORE))) == "N * M"


def test_bounds_of_what_is_not_told():
    env = {"N": None, "i": k(7)}
    assert bound(op("add", Q, N), env) is None and bound(op("add", N, Q), env) is None
    assert bound(op("mul", N, Q), env) is None
    assert show(bound(op("sub", N, Q), env)) == "N"  # what is taken away is not below 0
    assert show(bound(op("floordiv", N, Q), env)) == "N"
    assert bound(op("add", I, k(3)), env) == k(10)
    # of several bounds the smallest number, where there is one; of what is at most the largest
    assert bound(op("min", op("min", N, k(9)), op("min", k(4), I)), env) == k(4)
    assert bound(op("mod", Q, k(6)), env) == k(6) and bound(op("max", N, Q), env) is None
    assert show(bound(op("min", N, Q), env)) == "N"
    assert bound(op("max", k(3), I), env) == k(7) and show(bound(op("max", k(3), N), env)) == "N"
