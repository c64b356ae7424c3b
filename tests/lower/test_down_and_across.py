"""Reductions down the rows, arrays turned over, products that are added, and zeros that nobody sees: the same numbers
on every instruction set, in the loops that are meant."""

import numpy as np
import pytest

from vibee.check import load_text
from vibee.lower import lower_with_report
from vibee.prove.replay import Machine
from vibee.tree.defs import Alloc, Decl, statements
from vibee.tree.listing import definition
from vibee.tree.turn import turn_of

ISAS = ("plain", "v2", "v3", "v4")


def lowered(text, isa="v4"):
    """The first definition's loops, all of which are proved, and the program."""
    program = load_text('module("m", version=1)\n\n' + text, "m.vibee")
    program.raise_errors()
    d = next(iter(program.defs.values()))[0]
    p, report = lower_with_report(program, d, isa)
    assert [o.what for o in report if not o.proved] == []
    return p, program


def result(text, given, sizes, out, shape, isa):
    """What the loops compute, step by step."""
    p, program = lowered(text, isa)
    done = Machine(program.by_key).run(p, sizes, given)
    assert done.fault is None
    assert not done.refused
    return np.array(done.array(out), np.float32).reshape(shape)


def vectors(p):
    """Vectors that stay in registers."""
    return [s.name for s in statements(p.body) if isinstance(s, Decl) and "x" in s.dtype]


# ---------------------------------------------------------------- down the rows

SPREAD = """def spread(x: f32[N, M]) -> v[M]:
    mu[j] = sum[i](x[i, j]) / 4.0
    v[j] = max[i](x[i, j] - mu[j])
"""


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("m", [3, 64, 70, 128])
def test_columns_of_whole_and_part_blocks_are_reduced_side_by_side(isa, m):
    x = np.random.default_rng(4).integers(-9, 9, (4, m)).astype(np.float32)
    v = result(SPREAD, {"x": x}, {"N": 4, "M": m}, "v", m, isa)
    np.testing.assert_array_equal(v, (x - x.mean(0)).max(0))


def test_a_reduction_down_the_rows_does_not_share_the_loop_along_its_results():
    p, _ = lowered(SPREAD)
    assert len(vectors(p)) == 2 * 4  # 64 sums and 64 maxima, in vectors of 16
    text = definition(p)
    assert "mu_sum[j_block * 64 + beside] = terms[beside]" in text


def test_one_dimension_around_them_is_still_shared():
    text = definition(
        lowered("""def f(x: f32[B, N, M]) -> v[B, M]:
    mu[b, j] = sum[i](x[b, i, j])
    v[b, j] = sum[i](x[b, i, j] * mu[b, j])
""")[0]
    )
    assert text.count("for b in parallel") == 1
    assert text.count("in parallel") == 1


def test_few_columns_and_their_number_known_have_as_many_vectors():
    p, _ = lowered("def f(x: f32[N, 32]) -> v[32]:\n    v[j] = sum[i](x[i, j])\n")
    assert len(vectors(p)) == 2
    p, _ = lowered("def f(x: f32[N, 20]) -> v[20]:\n    v[j] = sum[i](x[i, j])\n")
    assert vectors(p) == []


# ---------------------------------------------------------------- turned over

TURNS = {
    "a matrix": ("x: f32[N, M]", "y[M, N]", "y[j, i] = x[i, j]", lambda x: x.T),
    "two of three axes": ("x: f32[K, N, M]", "y[K, M, N]", "y[k, j, i] = x[k, i, j]",
                          lambda x: x.transpose(0, 2, 1)),
    "the first": ("x: f32[N, K, M]", "y[K, M, N]", "y[k, j, i] = x[i, k, j]", lambda x: x.transpose(1, 2, 0)),
}  # fmt: skip


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", TURNS)
@pytest.mark.parametrize(("n", "m"), [(16, 16), (19, 33), (3, 20), (20, 3)])
def test_arrays_are_turned_over_in_squares_and_at_their_edges(isa, name, n, m):
    params, out, equation, expected = TURNS[name]
    sizes = {"N": n, "M": m, "K": 2} if "K" in params else {"N": n, "M": m}
    shape = [sizes[s] for s in params[params.index("[") + 1 : -1].split(", ")]
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    text = f"def turn({params}) -> {out}:\n    {equation}\n"
    y = result(text, {"x": x}, sizes, "y", expected(x).shape, isa)
    np.testing.assert_array_equal(y, expected(x))
    squares = [s for s in statements(lowered(text, isa)[0].body) if turn_of(s) is not None]
    assert len(squares) == (isa != "plain")


@pytest.mark.parametrize(
    ("params", "out", "equation"),
    [
        ("x: f32[N, M]", "y[N, M]", "y[i, j] = x[i, j]"),
        ("x: f32[N, M]", "y[M, N]", "y[j, i] = x[i, j] + 1.0"),
        ("x: f32[N, M], t: i64[N]", "y[M, N]", "given(0 <= t[i] < N)\n    y[j, i] = x[t[i], j]"),
        ("x: f32[N, N]", "y[N]", "y[i] = x[i, i]"),
        ("x: f32[N, 2 * M], M: size", "y[M, N]", "y[j, i] = x[i, 2 * j]"),
        ("x: f32[2 * N, M], N: size", "y[M, N]", "y[j, i] = x[2 * i, j]"),
        ("x: f32[N + M, M], N: size", "y[M, N]", "y[j, i] = x[i + j, j]"),
        ("x: f32[N, M]", "y[M, 2, N]", "y[j, p, i] = x[i, j]"),
        ("x: f32[N, 3]", "y[3, N]", "y[j, i] = x[i, j]"),
        ("x: i32[N, M]", "y(i32[M, N])", "y[j, i] = x[i, j]"),
    ],
)
def test_what_is_no_transpose_or_too_short_has_no_squares(params, out, equation):
    p, _ = lowered(f"def f({params}) -> {out}:\n    {equation}\n")
    assert not [s for s in statements(p.body) if turn_of(s) is not None]


def test_a_schedule_has_its_own_loops():
    p, _ = lowered("def f(x: f32[N, M]) -> y[M, N]:\n    with schedule(cpu): simd(j)\n    y[j, i] = x[i, j]\n")
    assert not [s for s in statements(p.body) if turn_of(s) is not None]


# ---------------------------------------------------------------- added by their tile

ADDED = """@procedure
def steps(a: f32[T, 4, 8], b: f32[T, 8, 32]) -> y(f32[2, 4, 32]):
    for n in parallel(2):
        for t in range(T):
            y[n, i, j] += sum[k](a[t, i, k] * b[t, k, j])
"""


@pytest.mark.parametrize("isa", ISAS)
def test_a_product_that_is_added_is_added_where_it_belongs(isa):
    rng = np.random.default_rng(5)
    a, b = (rng.integers(-3, 4, s).astype(np.float32) for s in ((3, 4, 8), (3, 8, 32)))
    y = result(ADDED, {"a": a, "b": b}, {"T": 3}, "y", (2, 4, 32), isa)
    np.testing.assert_array_equal(y, np.broadcast_to((a @ b).sum(0), y.shape))
    own = [s.name for s in statements(lowered(ADDED, isa)[0].body) if isinstance(s, Alloc) and len(s.shape) == 2]
    assert own == ([] if isa != "plain" else ["y_sum"])


@pytest.mark.parametrize(
    "equation", ["y[n, j, i] += sum[k](a[t, i, k] * b[t, k, j])", "y[n, i, j] += 2.0 * sum[k](a[t, i, k] * b[t, k, j])"]
)
def test_what_is_added_otherwise_is_added_afterwards(equation):
    text = ADDED.replace("y[n, i, j] += sum[k](a[t, i, k] * b[t, k, j])", equation)
    text = text.replace("f32[2, 4, 32]", "f32[2, 32, 4]") if "j, i" in equation else text
    assert "y_sum" in [s.name for s in statements(lowered(text)[0].body) if isinstance(s, Alloc)]


def test_a_product_that_data_place_is_added_afterwards():
    text = ADDED.replace("b: f32[T, 8, 32]", "b: f32[T, 8, 32], p: i64[4]").replace("y[n, i, j] +=", "y[n, p[i], j] +=")
    text = text.replace("    for n in parallel", "    given(0 <= p[i] < 4)\n    for n in parallel")
    assert "y_sum" in [s.name for s in statements(lowered(text)[0].body) if isinstance(s, Alloc)]


# ---------------------------------------------------------------- zeros that nobody sees


def test_an_array_that_is_written_before_it_is_read_does_not_begin_as_zeros():
    p, _ = lowered("""@procedure
def f(x: f32[N]) -> y(f32[N]):
    a: f32[N]
    b: f32[N]
    for n in range(N):
        a[n] = x[n]
        b[n] += x[n]
    y[n] = a[n] + b[n]
""")
    assert {s.name: s.zero for s in statements(p.body) if isinstance(s, Alloc)} == {"a": False, "b": True}
