"""Products of numbers rounded to bf16: what they mean on every instruction set, and where pairs are used."""

import os
import subprocess
import sys

import numpy as np
import pytest

from vibee.api.library import Library
from vibee.build import build
from vibee.check import load, load_text
from vibee.emit import emit_module
from vibee.lower import lower_with_report
from vibee.prove.replay import Machine
from vibee.runtime.machine import supported_levels
from vibee.tree.expr import walk
from vibee.tree.product import FEATURE

SPEC = '''
module("pairs", version=1)

def nt(x: f32[N, C], w: f32[O, C]) -> y[N, O]:
    """rows with rows"""
    y[n, o] = sum[c](f32(bf16(x[n, c])) * f32(bf16(w[o, c])))

def nn(x: f32[N, C], w: f32[C, O]) -> y[N, O]:
    """rows with columns"""
    y[n, o] = sum[c](f32(bf16(x[n, c])) * f32(bf16(w[c, o])))

def tn(x: f32[C, N], w: f32[C, O]) -> y[N, O]:
    """columns with columns"""
    y[n, o] = sum[c](f32(bf16(x[c, n])) * f32(bf16(w[c, o])))

def stored(x: bf16[N, C], w: bf16[O, C]) -> y[N, O]:
    """what is bf16 already"""
    y[n, o] = sum[c](f32(x[n, c]) * f32(w[o, c]))

def batched(x: f32[B, N, C], w: f32[B, C, O]) -> y[B, N, O]:
    """a product for each b"""
    y[b, n, o] = sum[c](f32(bf16(x[b, n, c])) * f32(bf16(w[b, c, o])))

def two(x: f32[N, C, D], w: f32[C, D, O]) -> y[N, O]:
    """two summed axes"""
    y[n, o] = sum[c, d](f32(bf16(x[n, c, d])) * f32(bf16(w[c, d, o])))

def more(x: f32[C, N], w: f32[O, C], base: f32[N, O]) -> y[N, O]:
    """onto what is there, in short runs, by columns of x"""
    y[n, o] = base[n, o]
    y[n, o] += sum[c:1:C](f32(bf16(2.0 * x[c, n])) * f32(bf16(w[o, c] - 1.0)))
    with schedule(cpu): tile(c=7); pack(x, w)

def half(x: f32[N, C], w: f32[O, C]) -> y[N, O]:
    """only one factor is rounded"""
    y[n, o] = sum[c](f32(bf16(x[n, c])) * w[o, c])
'''

ISAS = [isa for isa in ("v2", "v3", "v4") if isa in supported_levels()]
SIZES = [(1, 1, 1), (5, 7, 3), (4, 32, 1), (12, 32, 2), (13, 33, 5), (50, 65, 512), (31, 3, 513), (49, 40, 1027),
         (4, 4, 0), (0, 3, 2), (6, 0, 4)]  # fmt: skip


@pytest.fixture(scope="module")
def file(kept):
    return kept("pairs.vibee", SPEC)


@pytest.fixture(scope="module")
def libraries(file, quickly):
    program = load(file)
    program.raise_errors()
    with quickly():
        return {isa: Library(program, isa) for isa in ISAS}


def rounded(x):
    """To the nearest bf16, ties to even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16).astype(np.uint32).view(np.float32)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def near(got, subscripts, x, w, base=0.0):
    """Is it the sum of the exact products of the rounded numbers, but for the rounding of f32 sums?"""
    a, b = rounded(x).astype(float), rounded(w).astype(float)
    want = np.einsum(subscripts, a, b) + base
    mass = np.einsum(subscripts, abs(a), abs(b)) + np.abs(base)
    assert got.shape == want.shape
    assert np.all(np.abs(got - want) <= 2.0**-24 * (x.size + 8) * mass)


@pytest.mark.slow
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("n", "o", "c"), SIZES)
def test_sums_are_those_of_exact_products_of_the_rounded_numbers(libraries, isa, n, o, c):
    k, x, w = libraries[isa], draw(n, c), draw(o, c, seed=1)
    xt, wt = x.T.copy(), w.T.copy()
    for f, a, b in ((k.nt, x, w), (k.nn, x, wt), (k.tn, xt, wt)):
        got = f(a, b, threads=1)
        near(got, "nc,oc->no", x, w)
        for threads in (2, 5):
            assert f(a, b, threads=threads).tobytes() == got.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("isa", ISAS)
def test_every_form_of_the_product_means_the_same(libraries, isa):
    k = libraries[isa]
    x, w = draw(3, 14, 9), draw(3, 9, 33, seed=1)
    near(k.batched(x, w), "bnc,bco->bno", x, w)
    x, w = draw(14, 3, 9), draw(3, 9, 33, seed=1)
    near(k.two(x, w), "ncd,cdo->no", x, w)
    x, w, base = draw(14, 23), draw(35, 23, seed=1), draw(14, 35, seed=2)
    near(k.more(x.T.copy(), w, base), "nc,oc->no", 2 * x[:, 1:], w[:, 1:] - 1, base)
    stored = [(rounded(a).view(np.uint32) >> 16).astype(np.uint16) for a in (x, w)]
    near(k.stored(*stored), "nc,oc->no", x, w)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.slow
def test_infinities_and_nan_stay(libraries, isa):
    x, w = draw(13, 6), draw(33, 6, seed=1)
    x[2, 3], x[5, 5], w[7, 0] = np.nan, np.inf, -np.inf
    got = libraries[isa].nt(x, w)
    with np.errstate(invalid="ignore"):
        want = rounded(np.where(np.isnan(x), 0, x)).astype(float) @ rounded(w).astype(float).T
    want[2] = np.nan
    assert np.array_equal(np.isnan(got), np.isnan(want))
    infinite = np.isinf(want)
    assert np.array_equal(got[infinite], want[infinite])


@pytest.mark.parametrize("without", ["VIBEE_NO_BF16", "VIBEE_NO_AMX"])
def test_a_processor_without_the_instruction_computes_the_same(file, without):
    """Within rounding: the halves are multiplied one after the other."""
    code = (
        "import sys, numpy as np, vibee\n"
        "x, w = np.load(sys.argv[2]), np.load(sys.argv[3])\n"
        "np.save(sys.argv[4], vibee.load(sys.argv[1]).nt(x, w))\n"
    )
    x, w = draw(29, 131), draw(66, 131, seed=1)
    names = [str(file.parent / f"{n}.npy") for n in ("x", "w", "y")]
    for name, a in zip(names, (x, w), strict=False):
        np.save(name, a)
    env = {**os.environ, without: "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code, str(file), *names], check=True, env=env)
    near(np.load(names[2]), "nc,oc->no", x, w)


def uses(isa, name):
    program = load_text(SPEC, "pairs.vibee")
    p, report = lower_with_report(program, program.by_key(name), isa)
    assert all(o.proved for o in report)
    found = []

    def visit(stmts):
        for s in stmts:
            for part in ("value", "init", "cond"):
                e = getattr(s, part, None)
                found.extend(n.op for n in walk(e)) if e is not None else None
            for part in ("body", "then", "orelse"):
                visit(getattr(s, part, None) or [])

    visit(p.body)
    return {"dot2", "has"} <= set(found)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nt", "nn", "tn", "stored", "batched", "two", "more"])
def test_pairs_are_used_where_they_can_be_and_every_access_is_proved(name):
    assert uses("v4", name)
    assert not uses("v3", name)


def test_pairs_are_compiled_on_a_processor_that_has_no_instruction_for_them():
    program = load_text(SPEC, "pairs.vibee")
    p, _ = lower_with_report(program, program.by_key("nt"), "v4")
    text = emit_module([p])
    assert "if vb_has_avx512bf16():" in text
    assert "vb_dot2_avx512bf16(" in text
    assert "vb_dot2(" in text
    path, _ = build(text, "pairs_v4", "v4")
    assert path.exists()


def test_a_factor_that_is_not_rounded_has_no_pairs():
    assert not uses("v4", "half")


@pytest.mark.parametrize("lacks", [set(), {FEATURE}])
@pytest.mark.parametrize("name", ["nt", "tn"])
@pytest.mark.parametrize(("n", "o", "c"), [(5, 6, 3), (33, 33, 35)])  # less than a vector of pairs, and more
def test_a_replay_computes_what_the_kernel_does(name, lacks, n, o, c):
    program = load_text(SPEC, "pairs.vibee")
    p, _ = lower_with_report(program, program.by_key(name), "v4")
    x, w = draw(n, c), draw(o, c, seed=1)
    given = (x, w) if name == "nt" else (x.T.copy(), w.T.copy())
    machine = Machine(program.by_key)
    machine.lacks = lacks
    result = machine.run(p, {"N": n, "C": c, "O": o}, dict(zip(("x", "w"), given, strict=True)))
    assert result.fault is None
    assert not result.refused
    near(np.array(result.array("y")).reshape(n, o), "nc,oc->no", x, w)
