"""Schedules: every word changes the loops as it says, and no schedule changes what a formula means."""

import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

import vibee
from vibee.check import load_text
from vibee.grad import vjp
from vibee.lower import lower_with_report
from vibee.lower.build import Fresh
from vibee.lower.schedule import Schedule, unroll
from vibee.tree.defs import Decl, For
from vibee.tree.expr import NOWHERE, const, var
from vibee.tree.listing import definition

FORMULAS = {
    "matmul": """(a: f32[M, K], b: f32[K, N]) -> c[M, N]:
    c[i, j] = sum[k](a[i, k] * b[k, j])""",
    "matmul_nt": """(a: f32[M, K], b: f32[N, K]) -> c[M, N]:
    c[i, j] = sum[k](a[i, k] * b[j, k])""",
    "batched": """(a: f32[B, M, K], b: f32[B, K, N]) -> c[B, M, N]:
    c[p, i, j] = sum[k](a[p, i, k] * b[p, k, j])""",
    "softmax": """(x: f32[N, D]) -> y[N, D]:
    m[n] = max[d](x[n, d])
    e[n, d] = 1.0 / (1.0 + (x[n, d] - m[n]) ** 2)
    s[n] = sum[d](e[n, d])
    y[n, d] = e[n, d] / s[n]""",
    "conv": """(x: f32[H, W], f: f32[3, 3], P: size, Q: size) -> y[P, Q]:
    given(H == 2 * P + 1, W == 2 * Q + 1)
    y[p, q] = sum[r, s](x[2 * p + r, 2 * q + s] * f[r, s])""",
    "total": """(x: f32[N, D]) -> s:
    s = sum[n, d](x[n, d])""",
    "triangle": """(x: f32[N, N]) -> y[N]:
    y[i] = sum[j:i + 1](x[i, j])""",
    "masked": """(x: f32[N, D]) -> y[N, D]:
    y[i, j] = where(j <= i, x[i, j] + x[i, 0], 0.0)""",
    "transpose": """(x: f32[R, C]) -> y[C, R]:
    y[c, r] = x[r, c]""",
    "rows": """(x: f32[N, D]) -> y[N]:
    y[n] = sum[d](x[n, d])""",
    "columns": """(x: f32[N, D]) -> (y[D], z[D]):
    y[d] = sum[n](x[n, d])
    z[d] = max[n](x[n, d])""",
    "scan": """(x: f32[N, D]) -> y[N, D]:
    y[n, d] = cumsum[d](x[n, d])""",
    "scatter": """(x: f32[N, C], t: i32[N], V: size) -> y[V, C]:
    given(0 <= t[n] < V)
    y[t[n], c] += x[n, c]""",
    "best": """(x: f32[N, D]) -> y(i64[N]):
    given(D >= 1)
    y[n] = argmax[d](x[n, d])""",
    "whole": """(x: i32[N, D]) -> (y[N], z):
    y[n] = sum[d](x[n, d])
    z = sum[n, d](x[n, d])""",
    "short": """(x: f32[N, 4]) -> y[N]:
    y[n] = sum[k:4](x[n, k])""",
}

NOTED = FORMULAS | {
    "unused": """(x: f32[N], u: f32[M]) -> y[N]:
    v[m] = u[m] * 2.0
    y[n] = x[n]""",
    "bilinear": """(a: f32[M, K, L], b: f32[K, L, N]) -> c[M, N]:
    c[i, j] = sum[k, l](a[i, k, l] * b[k, l, j])""",
    "ragged": """(x: f32[N, D], t: i32[N]) -> y[N]:
    given(0 <= t[n] <= D, D <= N)
    y[n] = sum[d:t[n]](sum[e:t[d]](x[n, e]))""",
    "swapped": """(x: f32[N, N]) -> (s[N], q[N, N]):
    s[j] = sum[d](x[j, d])
    q[i, j] = x[i, j] * s[i]""",
    "number": """(a: f32) -> s:
    s = sum[i:4](a * f32(i))""",
}

SCHEDULES = {
    "matmul": (
        "parallel(i)", "parallel(j)", "parallel(k)", "parallel(i, j)", "simd(i)", "simd(j)", "simd(k)", "unroll(k)",
        "tile(i=8, j=32, k=384); pack(a, b); parallel(i); simd(j)", "tile(i=8, j=32)", "tile(i=5, j=7, k=3)",
        "tile(j=64, k=16); pack(a, b); parallel(j)", "pack(a)", "pack(a, b); unroll(k)", "tile(k=3); simd(k)",
        "tile(i=4, j=16, k=8); simd(j); parallel(i, j)",
    ),
    "matmul_nt": ("simd(j)", "tile(i=8, j=8, k=32)", "pack(a, b); tile(k=7)", "simd(k); unroll(k); parallel(j)"),
    "batched": ("parallel(p)", "parallel(i)", "parallel(p, i)", "tile(p=2, i=3)", "tile(p=2, i=13); pack(a, b)"),
    "softmax": (
        "parallel(n); simd(d)", "parallel(d)", "simd(n)", "tile(n=8, d=16)", "unroll(d)", "parallel(n, d)",
        "tile(n=3); parallel(n); simd(d); unroll(d)", "unroll(n)",
    ),
    "conv": ("parallel(p)", "simd(q)", "simd(s)", "simd(r)", "tile(p=8, q=32)", "unroll(r, s)", "parallel(r)",
             "tile(p=2, q=5, r=2); simd(q)"),
    "total": ("parallel(n)", "parallel(d)", "simd(n)", "tile(n=8, d=32)", "unroll(d)",
              "tile(d=5); simd(d); parallel(n)", "parallel(n); simd(n)", "parallel(d); prefetch(x)"),
    "triangle": ("parallel(i)", "parallel(j)", "simd(j)", "simd(i)", "tile(i=8, j=8)", "unroll(j)", "tile(j=5)"),
    "masked": ("parallel(j)", "simd(i)", "tile(i=8, j=8)", "unroll(j)", "tile(j=7); simd(i); parallel(j)",
               "parallel(i, j); simd(j)", "unroll(i, j)"),
    "transpose": ("tile(c=8, r=8); parallel(c)", "simd(c)", "parallel(r); simd(r)", "unroll(r); tile(r=16)"),
    "rows": ("parallel(d)", "simd(n)", "tile(n=4, d=20)", "parallel(n, d)", "unroll(d)", "tile(d=5)",
             "prefetch(x)", "prefetch(x); unroll(d); tile(n=3)"),
    "columns": ("simd(n)", "parallel(n)", "parallel(d); simd(d); tile(d=16)", "tile(n=3)", "unroll(n)", "unroll(d)"),
    "scan": ("parallel(n)", "tile(n=4, d=8)", "unroll(d)", "simd(n)"),
    "scatter": ("parallel(c)", "parallel(n)", "tile(c=8, n=3)", "simd(n)", "unroll(c)", "simd(c)"),
    "best": ("parallel(n)", "parallel(d)", "tile(n=2, d=7)", "unroll(d)", "simd(d)"),
    "whole": ("parallel(d)", "simd(d)", "simd(n)", "tile(n=3, d=5)", "unroll(d)"),
    "short": ("unroll(k)", "simd(n); unroll(k)", "simd(k)"),
}  # fmt: skip


def written() -> str:
    parts = ['module("scheduled", version=1)\n']
    for name, text in FORMULAS.items():
        parts.append(f"def {name}{text}\n")
        for n, words in enumerate(SCHEDULES[name]):
            parts.append(f"def {name}_{n}{text}\n    with schedule(cpu): {words}\n")
    return "\n".join(parts)


@pytest.fixture(scope="module")
def k(kept, quickly):
    path = kept("scheduled.vibee", written())
    with quickly():
        return vibee.load(path)


# ---------------------------------------------------------------- the same results

TRIPLES = [(0, 3, 2), (3, 0, 2), (2, 3, 0), (1, 1, 1), (2, 31, 3), (7, 32, 8), (8, 33, 13), (13, 65, 385), (49, 17, 2)]
PAIRS = [(0, 3), (3, 0), (1, 1), (2, 7), (7, 8), (8, 9), (9, 31), (13, 64), (65, 17), (3, 521)]


def whole(*shape, seed=0):
    """Small whole numbers: their sums are exact in f32, whatever the order."""
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)


def soft(x):
    e = 1 / (1 + (x - x.max(1, keepdims=True)) ** 2) if x.shape[1] else x
    return e / e.sum(1, keepdims=True)


def strided(x, f, p, q):
    out = np.zeros((p, q), np.float32)
    for r in range(3):
        for s in range(3):
            out += x[r : r + 2 * p - 1 : 2, s : s + 2 * q - 1 : 2] * f[r, s] if p and q else 0
    return out


def scattered(x, t, v):
    out = np.zeros((v, x.shape[1]), np.float32)
    np.add.at(out, t, x)
    return out


def cases(name):
    """(arguments, sizes, the result of numpy) for each size."""
    if name in ("matmul", "matmul_nt", "batched"):
        for m, n, k in TRIPLES:
            a, b = whole(m, k), whole(k, n, seed=1)
            if name == "batched":
                a, b = whole(3, m, k), whole(3, k, n, seed=1)
                yield (a, b), {}, a @ b
            else:
                yield (a, b if name == "matmul" else np.ascontiguousarray(b.T)), {}, a @ b
        return
    for n, d in PAIRS:
        x = whole(n, d)
        t = np.random.default_rng(3).integers(0, 5, n).astype(np.int32)
        square, four = whole(n, n), whole(n, 4)
        f = whole(3, 3, seed=2)
        if name == "softmax":
            yield (x,), {}, soft(x)
        elif name == "conv":
            x = whole(2 * n + 1, 2 * d + 1)
            yield (x, f), {"P": n, "Q": d}, strided(x, f, n, d)
        elif name == "total":
            yield (x,), {}, x.sum()
        elif name == "triangle":
            yield (square,), {}, np.tril(square).sum(1)
        elif name == "masked":
            if d:
                yield (x,), {}, np.tril(x + x[:, :1])
        elif name == "transpose":
            yield (x,), {}, x.T
        elif name == "rows":
            yield (x,), {}, x.sum(1)
        elif name == "columns":
            yield (x,), {}, (x.sum(0), x.max(0, initial=-np.inf))
        elif name == "scan":
            yield (x,), {}, x.cumsum(1)
        elif name == "scatter":
            yield (x, t), {"V": 5}, scattered(x, t, 5)
        elif name == "best":
            if d:
                yield (x,), {}, x.argmax(1)
        elif name == "whole":
            yield (x.astype(np.int32),), {}, (x.sum(1), x.sum())
        else:
            yield (four,), {}, four.sum(1)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMULAS)
def test_results_are_the_same(k, name):
    for arguments, sizes, want in cases(name):
        want = want if isinstance(want, tuple) else (want,)
        for n in ["", *(f"_{n}" for n in range(len(SCHEDULES[name])))]:
            for threads in (1, 2):
                got = getattr(k, name + n)(*arguments, **sizes, threads=threads)
                for g, w in zip(got if isinstance(got, tuple) else (got,), want, strict=True):
                    if name == "softmax":
                        np.testing.assert_allclose(g, w, rtol=1e-5, err_msg=name + n)
                    else:
                        np.testing.assert_array_equal(g, w, err_msg=name + n)


LARGE = {
    "matmul": ((150, 70), (70, 90)),
    "matmul_nt": ((150, 70), (90, 70)),
    "batched": ((3, 60, 70), (3, 70, 50)),
    "conv": ((401, 401), (3, 3)),
    "triangle": ((400, 400),),
}


@pytest.mark.parametrize("name", [n for n in FORMULAS if n not in ("whole", "short", "scatter", "best")])
@pytest.mark.slow
def test_results_do_not_depend_on_threads(k, name):
    rng = np.random.default_rng(5)
    arguments = [rng.standard_normal(s).astype(np.float32) for s in LARGE.get(name, ((300, 700),))]
    sizes = {"P": 200, "Q": 200} if name == "conv" else {}
    for n in range(len(SCHEDULES[name])):
        f = getattr(k, f"{name}_{n}")
        first = f(*arguments, **sizes, threads=1)
        for threads in (2, 3):
            again = f(*arguments, **sizes, threads=threads)
            for a, b in zip(*(r if isinstance(r, tuple) else (r,) for r in (first, again)), strict=True):
                np.testing.assert_array_equal(a, b, err_msg=f.source)


# ---------------------------------------------------------------- the asked loops


def notes_and_text(name, words, isa="v3"):
    program = load_text(f"def f{NOTED[name]}\n    with schedule(cpu): {words}\n", "case.vibee")
    assert not program.errors
    procedure, notes = lower_with_report(program, program.by_key("f"), isa)
    return unproved(notes), definition(procedure)


def unproved(report):
    """What a report says of a procedure beyond what was proved."""
    return [o.what for o in report if not getattr(o, "proved", False)]


def loops(name, words):
    """The loops of a formula, in order: how deep, `for`'s variable, parallel or range, and its ends."""
    notes, text = notes_and_text(name, words)
    assert not notes
    found = re.findall(r"^( *)for (\w+) in (parallel|range)\((.*)\):$", text, re.M)
    return [(len(pad) // 4, var, kind, ends) for pad, var, kind, ends in found]


def test_parallel_are_exactly_the_named_loops():
    assert loops("masked", "parallel(j)") == [(1, "j", "parallel", "0, D"), (2, "i", "range", "0, N")]
    assert loops("masked", "parallel(i)") == [(1, "i", "parallel", "0, N"), (2, "j", "range", "0, D")]
    assert loops("masked", "parallel(i, j)")[0][2:] == ("parallel", "0, N * D")
    assert [x for x in loops("batched", "parallel(i)") if x[1] == "ib"] == [(4, "ib", "parallel", "0, (M + 47) // 48")]
    kinds = [x[2] for x in loops("softmax", "parallel(d)")]
    assert kinds[0] == "range" and kinds.count("parallel") == 4  # two reductions in blocks, two loops over d


def test_a_parallel_sum_has_fixed_blocks():
    for words, cut in (("parallel(n)", "N"), ("parallel(d)", "D")):
        assert (1, "block", "parallel", "0, 64") in loops("total", words)
        assert f"block_size: i64 = ({cut} + 63) // 64" in notes_and_text("total", words)[1]
    assert [x[2] for x in loops("rows", "parallel(d)")][:2] == ["range", "parallel"]


def test_the_simd_loop_is_the_innermost():
    assert [x[1] for x in loops("masked", "simd(i)")] == ["j", "i"]
    assert [x[1] for x in loops("transpose", "simd(c)")] == ["r", "c"]
    # sums of several rows side by side: the loop over d runs around that over n
    nests = [x[:2] for x in loops("rows", "simd(n)")]
    assert nests[1:3] == [(3, "d"), (4, "beside")]
    assert nests[5:7] == [(3, "d"), (4, "n_c")]
    nests = loops("matmul", "simd(i)")
    assert {a[1] for a, b in pairwise([*nests, (0,)]) if b[0] <= a[0]} == {"beside", "i_c"}
    # along the summed index: lanes, even where it does not lie contiguously
    assert {"n_0", "lane"} <= {x[1] for x in loops("columns", "simd(n)")}
    assert "lane" not in {x[1] for x in loops("columns", "parallel(d)")}
    assert [x[1:] for x in loops("masked", "parallel(i, j); simd(j)")][1] == (
        "j", "range", "j_block * 512, min(j_block * 512 + 512, D)",
    )  # fmt: skip


def test_tiles_are_blocks():
    assert loops("transpose", "tile(c=8, r=32); parallel(c)") == [
        (1, "c_block", "parallel", "0, (C + 7) // 8"),
        (2, "r_block", "range", "0, (R + 31) // 32"),
        (3, "c", "range", "c_block * 8, min(c_block * 8 + 8, C)"),
        (4, "r", "range", "r_block * 32, min(r_block * 32 + 32, R)"),
    ]
    sums = loops("matmul", "tile(i=8, j=32, k=16)")
    assert [x[1] for x in sums if x[0] == 2 or x[1] == "k_block"] == ["i", "k_block"]
    assert (1, "at", "parallel", "0, (M + 7) // 8 * ((N + 31) // 32)") in sums
    assert "panel" not in notes_and_text("matmul", "tile(i=8, j=32, k=16)")[1]


def test_tiles_of_packed_products_are_whole_register_tiles():
    text = notes_and_text("matmul", "tile(i=8, j=50, k=384); pack(a, b)", "v3")[1]
    assert "for ib in parallel(0, (M + 11) // 12):" in text  # 8 rows become two tiles of 6
    assert "for j_block in range(0, ((N + 15) // 16 + 3) // 4):" in text  # 50 columns become four panels of 16
    assert "for k_0 in range(0, K, 384):" in text
    assert "if M < 4" not in text and "if M < 4" in notes_and_text("matmul", "simd(j)")[1]


def test_threads_share_the_steps_of_an_unrolled_loop(tmp_path):
    path = tmp_path / "steps.vibee"
    path.write_text("""module("steps", version=1)


def twice(x: f32[N, D]) -> y[N, D]:
    y[n, d] = 2.0 * x[n, d]
    with schedule(cpu): parallel(n); unroll(n)
""")
    k = vibee.load(path)
    for rows in (1, 4, 13):
        x = whole(rows, 700)
        assert np.array_equal(k.twice(x, threads=3), 2 * x)


def test_unrolled_loops():
    text = notes_and_text("masked", "unroll(j)")[1]
    assert "for j in range(0, D // 4 * 4, 4):" in text and "for j in range(D // 4 * 4, D):" in text
    assert "y[i, j + 3] =" in text
    text = notes_and_text("short", "unroll(k)")[1]
    assert "for k" not in text and "x[n, 3]" in text
    text = notes_and_text("matmul", "unroll(k)")[1]
    assert "for k_2_k in range(0, k_2_run // 4 * 4, 4):" in text
    text = notes_and_text("matmul_nt", "unroll(k)")[1]  # lanes for few rows, register tiles for more
    assert "for k_0 in range(0, K // 16 * 16 // 64 * 64, 64):" in text
    assert "for k_2_k in range(0, k_2_run // 4 * 4, 4):" in text


def test_the_innermost_index_of_loops_that_would_be_shared():
    """Rows that vectors run along end the sharing; copies of an unrolled loop have arrays of their own."""
    text = notes_and_text("softmax", "simd(n)")[1]
    assert text.count("in parallel(0, (N + 63) // 64)") == 2 and text.count("for n_4 in range(0, N)") == 1
    assert notes_and_text("softmax", "unroll(n)")[1].count("e: f32[D]") == 4 + 1
    text = notes_and_text("matmul_nt", "simd(k); parallel(j)")[1]
    assert "for j in parallel(0, N)" in text and "lanes[lane] = a[i, k_0 + lane] * b[j, k_0 + lane]" in text


def test_without_vectors_partial_sums_are_an_array():
    text = notes_and_text("rows", "simd(d)", "plain")[1]
    assert "lanes[lane] = 0.0" in text and "lanes[lane] = lanes[lane] + x[n, d_0 + lane]" in text


def test_sums_through_memory_ask_for_what_comes_next():
    """Where the schedule says so; with few rows, the second factor of a product without saying."""
    asked = lambda name, words: re.findall(r"prefetch [abx]\[.*", notes_and_text(name, words)[1])  # noqa: E731 - one form
    assert asked("rows", "prefetch(x)") == ["prefetch x[n, d_0] + 1024 along axis 1"]
    assert asked("rows", "prefetch(x); simd(n)") == asked("rows", "parallel(n)") == []
    assert asked("matmul_nt", "parallel(j)") == ["prefetch b[j, k_0] + 1024 along axis 1"]
    assert asked("matmul_nt", "pack(a, b)") == asked("matmul", "parallel(i)") == []


def test_of_the_loops_over_a_row_the_one_that_does_most_asks():
    text = notes_and_text("softmax", "parallel(n); prefetch(x)")[1]
    assert re.findall("prefetch .*", text) == ["prefetch x[n, d_0] + 1024 along axis 1"]
    lines = [line.strip() for line in text.splitlines()]
    at = next(n for n, line in enumerate(lines) if line.startswith("prefetch"))
    assert lines[at + 2].startswith("e[d_0 + ")  # no sum: 16 elements at a time
    assert lines[at + 3].startswith("for d in range(D // 16 * 16, D)")


def test_what_data_may_leave_out_is_not_prefetched():
    text = """(x: f32[N, D], w: f32[V, D], t: i32[N]) -> (y[N], z[N]):
    given(0 <= t[n] < V, N <= V)
    y[n] = sum[d](where(x[n, d] > 0.0, w[n, d], 0.0))
    z[n] = sum[d](w[t[n], d] * x[n, d])
    with schedule(cpu): prefetch(x, w)"""
    program = load_text(f'module("case", version=1)\n\n\ndef f{text}\n', "case.vibee")
    p, report = lower_with_report(program, program.by_key("f"))
    found = re.findall("prefetch .*", definition(p))
    assert found == ["prefetch x[n, d_0] + 1024 along axis 1"]
    assert unproved(report) == [
        "w is not prefetched: that serves a float sum, product, maximum or minimum whose last index runs along memory"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("turn,isa", list(enumerate(["v2", "v3", "v4", "plain"])))
def test_every_access_is_proved(turn, isa):
    """No schedule leaves a check: all that a report holds are notes on loops.  Every fourth definition a level."""
    program = load_text(written(), "case.vibee")
    assert not program.errors
    for d in [d for versions in program.defs.values() for d in versions][turn::4]:
        p, report = lower_with_report(program, d, isa)
        assert "# checked" not in definition(p), d.name
        assert all(text.startswith("the loop") for text in unproved(report)), d.name
        assert d.schedule or not unproved(report)


def test_a_derived_gradient_has_no_schedule():
    program = load_text(written(), "case.vibee")
    texts = []
    for name in ("matmul", "matmul_8"):
        g = vjp(program.by_key(name), program.by_key)
        assert not g.schedule
        texts.append(definition(lower_with_report(program, g)[0]).replace(f"{name}_grad", "grad"))
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    "name,words,note",
    [
        ("rows", "parallel(n, d)", "the loop over d runs serially: it stands inside the parallel loop over n"),
        ("scatter", "parallel(n)",
         "the loop over n runs serially: its contributions to y may fall on the same element"),
        ("best", "parallel(d)", "the loop over d runs serially: argmax is found in one pass"),
        ("best", "simd(d)", "the loop over d has no vectors: argmax takes the first place"),
        ("best", "simd(n)", "the loop over n is not the innermost: argmax runs inside it"),
        ("scan", "simd(n)", "the loop over n is not the innermost: the running sum along d is"),
        ("triangle", "simd(i)", "the loop over i is not the innermost: the range of the reduction depends on it"),
        ("matmul", "pack(a, b); unroll(i)",
         "the loop over i is not unrolled: a register tile has several rows and columns in one step already"),
        ("matmul", "pack(a)", "the loops copy b too: a register tile reads both factors in panels"),
        ("rows", "pack(x)", "the loops read x where it lies: copies serve sums of products such as "
         "sum[k](a[i, k] * b[k, j]), with vectors along j and threads over i or j"),
        ("matmul", "pack(a, b); parallel(i, j)",
         "the loop over j runs serially: it stands inside the parallel loop over i"),
        ("matmul", "simd(j); parallel(k)",
         "the loop over k runs serially: sums along j lie side by side, and each runs over k"),
        ("total", "parallel(n, d)",
         "the loop over d runs serially: threads take parts of one index of a reduction"),
        ("whole", "prefetch(x)", "x is not prefetched: that serves a float sum, product, maximum or minimum whose last "
         "index runs along memory"),
        ("unused", "parallel(m)", "the loop over m is not there: no output depends on it"),
        ("swapped", "unroll(i)", "the loop over i is not unrolled: it has no loop of its own here"),
        ("bilinear", "tile(i=8, l=2)",
         "the loop over l is not cut in blocks: register tiles have blocks of rows, columns and one summed index"),
        ("number", "unroll(i)", "the loops are as the compiler chooses: a function of numbers has no schedule"),
        ("ragged", "parallel(e)", "the loop over e is left as it is: its range depends on data"),
        ("batched", "tile(p=2); pack(a, b)",
         "the loop over p is not cut in blocks: register tiles have blocks of rows, columns and one summed index"),
    ],
)  # fmt: skip
def test_what_is_not_followed_is_noted(name, words, note):
    assert notes_and_text(name, words)[0] == [note]


def test_what_is_followed_is_not_noted():
    assert notes_and_text("swapped", "parallel(j)")[0] == []  # the second j stands in the first, which is parallel


def test_a_note_is_said_once():
    schedule = Schedule({}, Fresh(set(), set(), set(), 0))
    for _ in range(2):
        schedule.note("the loop over i is not there", NOWHERE)
    assert schedule.notes == [("the loop over i is not there", NOWHERE)]


def test_an_index_whose_loop_has_another_number_is_there():
    schedule = Schedule({"parallel": ("i", "j_1")}, Fresh(set(), set(), set(), 0))
    schedule.met = {"j_2"}
    schedule.finish(NOWHERE)
    assert [text for text, _ in schedule.notes] == ["the loop over i is not there: no output depends on it"]


def test_a_long_loop_of_known_length_is_unrolled_by_four():
    loop = For("k", const(0, "i64"), const(18, "i64"), [Decl("x", "i64", var("k"))])
    whole, rest = unroll(loop, set())
    assert (whole.step, len(whole.body)) == (4, 4)
    assert rest.lo == whole.hi
    assert len(unroll(replace(loop, hi=const(16, "i64")), set())) == 16


def test_tiles_of_what_is_no_plain_product_or_triangle(tmp_path):
    path = tmp_path / "tiled.vibee"
    path.write_text(
        """module("tiled", version=1)

def moved(a: f32[M, K], b: f32[K, N]) -> c[M, N]:
    c[i, j] = sum[k]((a[i, k] + 1.0) * b[k, j])
    with schedule(cpu): tile(i=8, j=32)

def wedge(x: f32[N, N]) -> s:
    s = sum[n, d:n + 1](x[n, d])
    with schedule(cpu): tile(n=4, d=3)

def longer(x: f32[N, 40]) -> y[N]:
    y[n] = sum[k:40](x[n, k])
    with schedule(cpu): unroll(k)
"""
    )
    k = vibee.load(path)
    a, b, x = whole(13, 9), whole(9, 41, seed=1), whole(21, 21, seed=2)
    np.testing.assert_array_equal(k.moved(a, b), (a + 1) @ b)
    assert k.wedge(x) == np.tril(x).sum()
    np.testing.assert_array_equal(k.longer(whole(5, 40)), whole(5, 40).sum(1))


def test_ranges_that_end_before_they_start(tmp_path):
    path = tmp_path / "ranges.vibee"
    path.write_text(
        """module("ranges", version=1)

def plain(x: f32[N, D], n: i64) -> y[N]:
    y[i] = sum[k:n](where(0 <= k < D, x[i, k], 1.0))

def cut(x: f32[N, D], n: i64) -> y[N]:
    y[i] = sum[k:n](where(0 <= k < D, x[i, k], 1.0))
    with schedule(cpu): unroll(k); tile(k=16); parallel(k)
"""
    )
    k = vibee.load(path)
    x = whole(3, 20)
    for n in (-100, -17, -3, -1, 0, 1, 16, 17, 20):
        for f in (k.plain, k.cut):
            np.testing.assert_array_equal(f(x, n), x[:, : max(n, 0)].sum(1))
