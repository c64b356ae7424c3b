"""Schedules: every word changes the loops as it says, and no schedule changes what a formula means."""

import re

import numpy as np
import pytest

import vibee
from vibee.check import load_text
from vibee.lower import lower, lower_with_report
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
        "tile(n=3); parallel(n); simd(d); unroll(d)",
    ),
    "conv": ("parallel(p)", "simd(q)", "simd(s)", "simd(r)", "tile(p=8, q=32)", "unroll(r, s)", "parallel(r)",
             "tile(p=2, q=5, r=2); simd(q)"),
    "total": ("parallel(n)", "parallel(d)", "simd(n)", "tile(n=8, d=32)", "unroll(d)", "tile(d=5); simd(d); parallel(n)"),
    "triangle": ("parallel(i)", "parallel(j)", "simd(j)", "simd(i)", "tile(i=8, j=8)", "unroll(j)", "tile(j=5)"),
    "masked": ("parallel(j)", "simd(i)", "tile(i=8, j=8)", "unroll(j)", "tile(j=7); simd(i); parallel(j)",
               "parallel(i, j); simd(j)", "unroll(i, j)"),
    "transpose": ("tile(c=8, r=8); parallel(c)", "simd(c)", "parallel(r); simd(r)", "unroll(r); tile(r=16)"),
    "rows": ("parallel(d)", "simd(n)", "tile(n=4, d=20)", "parallel(n, d)", "unroll(d)", "tile(d=5)"),
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
def k(tmp_path_factory):
    path = tmp_path_factory.mktemp("spec") / "scheduled.vibee"
    path.write_text(written())
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
