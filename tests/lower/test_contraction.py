"""Products by register tiles, in copies and in place, and what is none: lowered and run step by step."""

import re

import numpy as np
import pytest

from vibee.api.arrays import NUMPY
from vibee.check import load_text
from vibee.emit import emit_module
from vibee.lower import lower_with_report
from vibee.lower.contraction import TILES, run_of_panels
from vibee.lower.contraction_bf16 import PairTile
from vibee.prove.replay import Machine
from vibee.tree.defs import Alloc, statements

SIZES = {"B": 2, "M": 5, "K": 3, "L": 2, "N": 9}
SHAPES = {
    "a": "MK", "b": "KN", "bt": "NK", "ab": "BMK", "al": "MKL", "bl": "KLN", "t": "M",
}  # fmt: skip


def arrays():
    rng = np.random.default_rng(3)
    out = {n: rng.integers(-3, 4, [SIZES[s] for s in shape]).astype(np.float32) for n, shape in SHAPES.items()}
    return out | {"t": np.arange(SIZES["M"], dtype=np.int32)[::-1] // 2}


A = arrays()
TRIANGLE = np.tril(np.ones((5, 3), np.float32))
# the head's arrays, the equation of c[...], what it is
PRODUCTS = {
    "expressions": ("a bt", "c[i, j] = sum[k]((a[i, k] + 1.0) * (2.0 * bt[j, k]))",
                    lambda: (A["a"] + 1) @ (2 * A["bt"].T)),
    "one factor for all batches": ("ab b", "c[p, i, j] = sum[k](ab[p, i, k] * b[k, j])", lambda: A["ab"] @ A["b"]),
    "two summed axes": ("al bl", "c[i, j] = sum[k, l](al[i, k, l] * bl[k, l, j])",
                        lambda: np.einsum("ikl,klj", A["al"], A["bl"])),
    "a triangle is none": ("a b", "c[i, j] = sum[k:min(i + 1, K)](a[i, k] * b[k, j])",
                           lambda: (A["a"] * TRIANGLE) @ A["b"]),
    "a sum of sums is none": ("a b", "c[i, j] = sum[k](a[i, k] + b[k, j])",
                              lambda: A["a"].sum(1)[:, None] + A["b"].sum(0)),
    "a factor of numbers is none": ("a b", "c[i, j] = sum[k](a[i, k] * f32(j)) + b[0, j]",
                                    lambda: A["a"].sum(1)[:, None] * np.arange(9) + A["b"][0]),
    "rows of a place that data tell": ("a b t", "given(0 <= t[i] < M)\n    c[t[i], j] += sum[k](a[i, k] * b[k, j])",
                                       lambda: scattered()),
    "added to what is there": ("a b", "c[i, j] = a[i, 0]\n    c[i, j] += sum[k](a[i, k] * b[k, j])",
                               lambda: A["a"][:, :1] + A["a"] @ A["b"]),
}  # fmt: skip
SCHEDULES = {"expressions": ("tile(i=8, j=32)",), "two summed axes": ("tile(i=4, k=2)",),
             "added to what is there": ("tile(i=8, j=32)", "pack(a, b)")}  # fmt: skip
CASES = [(n, w) for n in PRODUCTS for w in ("", *SCHEDULES.get(n, ()))]


def scattered():
    c = np.zeros((5, 9), np.float32)
    np.add.at(c, A["t"], A["a"] @ A["b"])
    return c


def result(text: str, given: dict, shape: tuple[int, ...], isa: str = "v2", **sizes: int) -> np.ndarray:
    """The array c of the first definition, its lowered loops run step by step."""
    program = load_text('module("m", version=1)\n\n' + text, "m.vibee")
    program.raise_errors()
    d = next(iter(program.defs.values()))[0]
    p, _ = lower_with_report(program, d, isa)
    shapes = [z for x in d.params if x.name in given for z in zip(x.shape, given[x.name].shape, strict=True)]
    sizes |= {s.attr: n for s, n in shapes if s.op == "var"}
    done = Machine(program.by_key).run(p, sizes, given)
    assert done.fault is None
    assert not done.refused
    return np.array(done.array("c")).reshape(shape)


def head(names: str) -> str:
    kinds = {"t": "i32"}
    return ", ".join(f"{n}: {kinds.get(n, 'f32')}[{', '.join(SHAPES[n])}]" for n in names.split())


@pytest.mark.parametrize(("name", "words"), CASES)
@pytest.mark.slow
def test_tiles_are_the_products_that_are_written(name, words):
    names, equation, expected = PRODUCTS[name]
    want = expected()
    out = "B, M, N" if want.ndim == 3 else "M, N"
    text = f"def f({head(names)}) -> c[{out}]:\n    {equation}\n"
    text += f"    with schedule(cpu): {words}\n" if words else ""
    np.testing.assert_array_equal(result(text, {n: A[n] for n in names.split()}, want.shape), want)


@pytest.mark.slow
@pytest.mark.parametrize("isa", ["v2", "v3", "v4"])
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("a", ["a[i, k]", "a[k, i]"])
@pytest.mark.parametrize("b", ["b[k, j]", "b[j, k]"])
def test_whole_panels_are_copied_on_every_instruction_set(isa, dtype, a, b):
    rng = np.random.default_rng(4)
    # whole tiles of rows and a part of one, whole squares along k and a part of one, a panel and a part of one
    x, y = (rng.integers(-3, 4, size).astype(NUMPY[dtype]) for size in ((17, 19), (19, 35)))
    rows, columns = "MK" if a == "a[i, k]" else "KM", "KN" if b == "b[k, j]" else "NK"
    given = {"a": x if rows == "MK" else x.T.copy(), "b": y if columns == "KN" else y.T.copy()}
    shapes = (f"{n}: {dtype}[{', '.join(s)}]" for n, s in (("a", rows), ("b", columns)))
    text = f"def f({', '.join(shapes)}) -> c[M, N]:\n    c[i, j] = sum[k]({a} * {b})\n"
    np.testing.assert_array_equal(result(text, given, (17, 35), isa), x @ y)


@pytest.mark.parametrize(
    ("head", "a", "expected"),
    [
        ("a: f32[K, M]", "a[k, i]", lambda a, b: a.T @ b),
        ("a: f32[K, M]", "(2.0 * a[k, i])", lambda a, b: 2 * a.T @ b),
        ("a: f32[K, L, M]", "a[k, 1, i]", lambda a, b: a[:, 1].T @ b),
    ],
)
def test_a_block_of_rows_across_the_sum_and_what_is_left(head, a, expected):
    rng = np.random.default_rng(5)
    shape = (3, 2, 53) if "L" in head else (3, 53)
    x, y = (rng.integers(-3, 4, size).astype(np.float32) for size in (shape, (3, 4)))
    text = f"def f({head}, b: f32[K, N]) -> c[M, N]:\n    c[i, j] = sum[k]({a} * b[k, j])\n"
    text = text.replace("    c", "    given(L >= 2)\n    c", 1) if "L" in head else text
    np.testing.assert_array_equal(result(text, {"a": x, "b": y}, (53, 4)), expected(x, y))


def lowered(text: str, isa: str = "v3"):
    """The procedure of the definition f."""
    program = load_text('module("m", version=1)\n\n' + text, "m.vibee")
    program.raise_errors()
    return lower_with_report(program, program.defs["f"][0], isa)[0]


def test_a_panel_stays_in_the_first_cache():
    """The longest runs of k; a word of bf16 holds two numbers."""
    assert {isa: run_of_panels(isa, "f32") for isa in TILES} == {"v2": 512, "v3": 512, "v4": 256}
    assert run_of_panels("v4", "f64") == 256 and run_of_panels("v4", "f32", PairTile.held) == 512


@pytest.mark.parametrize("isa", ["v3", "v4"])
def test_a_whole_tile_that_is_added_to_is_asked_for_before_the_loop_over_k(isa):
    product = "def f(a: f32[M, K], b: f32[K, N]) -> c[M, N]:\n    c[i, j] = sum[k](a[i, k] * b[k, j])\n"
    text = emit_module([lowered(product, isa)])
    asked = re.findall(r"if (.*):\n((?:\s+vb_prefetch\(&c.*, 0\)\n)+)\s+for k_2_k in", text)
    rows, vectors, bits = TILES[isa]
    # where a panel has one vector of columns, and where it has all
    assert [block.count("&c") for _, block in asked] == [rows, rows * vectors]
    assert [when for when, _ in asked] == [
        f"((valid_rows == {rows}) & (wide == {v * bits // 32})) & (k_2_0 > 0)" for v in (1, vectors)
    ]


def test_rows_across_the_sum_are_asked_for_ahead_along_its_axis():
    text = "def f(a: f32[K, 2, M], b: f32[K, N]) -> c[M, N]:\n    c[i, j] = sum[k](a[k, 1, i] * b[k, j])\n"
    asked = [line.strip() for line in emit_module([lowered(text)]).splitlines() if "vb_prefetch(&a" in line]
    assert asked == ["vb_prefetch(&a[((k_2_0 + k_2_k) * 2 + 1) * M + (row_0 + it*6)], 128*M)"] * 2


@pytest.mark.parametrize(
    ("a", "order"),
    [("(2.0 * a[k, i])", ["k_2_k", "it", "ii"]), ("(a[i, k] * r[i])", ["it", "k_2_k", "ii"])],
    ids=["along rows", "along k"],
)
def test_expressions_are_copied_as_memory_runs(a, order):
    text = f"def f(a: f32[K, K], b: f32[K, N], r: f32[K]) -> c[K, N]:\n    c[i, j] = sum[k]({a} * b[k, j])\n"
    copy = emit_module([lowered(text)]).split("if rows == 48:")[1].split("a_block[")[0]
    assert re.findall(r"for (\w+) in", copy) == order


def test_a_diagonal_is_not_asked_for_ahead():
    text = "def f(a: f32[K, K, M], b: f32[K, N]) -> c[M, N]:\n    c[i, j] = sum[k](a[k, k, i] * b[k, j])\n"
    text = emit_module([lowered(text)])
    assert "vb_v4f_loadu(&a" in text and "vb_prefetch(&a" not in text


def test_squares_are_turned_over_in_every_run_of_the_sum():
    rng = np.random.default_rng(8)
    a, b = (rng.integers(-3, 4, size).astype(np.float32) for size in ((7, 25), (17, 25)))
    text = "def f(a: f32[M, K], b: f32[N, K]) -> c[M, N]:\n    c[i, j] = sum[k](a[i, k] * b[j, k])\n"
    text += "    with schedule(cpu): tile(k=9); pack(a, b)\n"
    assert "vb_turn_f32x8(&" in emit_module([lowered(text)])
    np.testing.assert_array_equal(result(text, {"a": a, "b": b}, (7, 17), "v3"), a @ b.T)


@pytest.mark.parametrize(
    ("array", "b", "turned"),
    [
        ("N, K", "b[j, k]", "16, &b[(column_0 + jb*16 + group*8) * K + (k_2_0 + step*8)], K)"),
        ("N, 2, K", "b[j, 1, k]", "16, &b[((column_0 + jb*16 + group*8) * 2 + 1) * K + (k_2_0 + step*8)], 2*K)"),
        ("K, N", "b[k, j]", None),  # along the columns
        ("N, K", "(2.0 * b[j, k])", None),  # computed
        ("K, N", "(2.0 * b[k, j])", None),
        ("2*N, K", "b[2*j, k]", None),  # not one row after the other
        ("N + K", "b[j + k]", None),  # rows that overlap
        ("N, N + K", "b[j, j + k]", None),  # rows that move along
    ],
)
def test_columns_that_lie_along_the_sum_are_turned_in_squares(array, b, turned):
    text = f"def f(a: f32[M, K], b: f32[{array}], N: size) -> c[M, N]:\n    c[i, j] = sum[k](a[i, k] * {b})\n"
    calls = [line for line in emit_module([lowered(text)]).splitlines() if "vb_turn_f32x8(&" in line]
    assert [turned in line for line in calls] == ([True] if turned else [])


@pytest.mark.parametrize(
    ("isa", "head", "a", "words", "copied"),
    [
        ("v2", "a: f32[M, K]", "a[i, k]", "", False),
        ("v3", "a: f32[M, K]", "a[i, k]", "", False),
        ("v3", "a: f64[M, K]", "a[i, k]", "", False),
        ("v3", "a: f32[B, M, K]", "a[1, i, k]", "", False),
        ("v3", "a: f32[M, K]", "a[i, k]", "pack(a, b)", True),  # asked for
        ("v3", "a: f32[M, K]", "(a[i, k] + 1.0)", "", True),  # computed once
        ("v3", "a: f32[K, M]", "a[k, i]", "", True),  # across the sum
        ("v4", "a: f32[M, K]", "a[i, k]", "", True),  # more rows than ways
    ],
)
def test_few_rows_of_an_array_along_the_sum_are_read_where_they_are(isa, head, a, words, copied):
    dtype = "f64" if "f64" in head else "f32"
    text = f"def f({head}, b: {dtype}[K, N]) -> c[M, N]:\n    c[i, j] = sum[k]({a} * b[k, j])\n"
    text = text.replace("    c", "    given(B >= 2)\n    c", 1) if "B" in head else text
    text += f"    with schedule(cpu): {words}\n" if words else ""
    blocks = {s.name for s in statements(lowered(text, isa).body) if isinstance(s, Alloc)}
    assert ("a_block" in blocks, "b_panel" in blocks) == (copied, True)


@pytest.mark.parametrize("array", ["K + N", "N, K + N"])
def test_rows_that_overlap_are_no_squares(array):
    text = f"def f(a: f32[M, K], b: f32[{array}], N: size) -> c[M, N]:\n"
    text += f"    c[i, j] = sum[k](a[i, k] * b[{'j, ' if ',' in array else ''}j + k])\n"
    rng = np.random.default_rng(6)
    a, b = (rng.integers(-3, 4, size).astype(np.float32) for size in ((5, 9), (17, 26) if "," in array else 26))
    rows = np.broadcast_to(b, (17, 26))
    want = a @ np.stack([rows[j, j : j + 9] for j in range(17)], 1)
    np.testing.assert_array_equal(result(text, {"a": a, "b": b}, (5, 17), "v3", N=17), want)


def test_rows_that_move_along_are_copied_across_the_sum():
    text = "def f(a: f32[K, M + K], b: f32[K, N], M: size) -> c[M, N]:\n    c[i, j] = sum[k](a[k, i + k] * b[k, j])\n"
    rng = np.random.default_rng(7)
    a, b = (rng.integers(-3, 4, size).astype(np.float32) for size in ((3, 56), (3, 4)))
    want = np.stack([a[k, k : k + 53] for k in range(3)], 1) @ b
    np.testing.assert_array_equal(result(text, {"a": a, "b": b}, (53, 4), "v3", M=53), want)
