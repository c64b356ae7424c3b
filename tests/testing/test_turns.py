"""The first few cases of every definition meet special values, and sizes at the compiler's own blocks."""

import numpy as np
import pytest

from vibee import testing
from vibee.testing import checks
from vibee.testing.blocks import FAR, corners, edges
from vibee.testing.draw import KINDS, Turns, beside, made
from vibee.testing.numbers import Undetermined
from vibee.testing.sizes import Search, special_values

SPEC = """
module("turns", version=1)


def product(a: f32[M, K], b: f32[K, N]) -> c[M, N]:
    c[i, j] = sum[k](a[i, k] * b[k, j]) / 2


def wide(a: f64[M, K], b: f64[K, N]) -> c[M, N]:
    c[i, j] = sum[k](a[i, k] * b[k, j])


def tiled(x: f32[N, D]) -> y[N]:
    y[n] = sum[d](x[n, d])
    with schedule(cpu): parallel(n); tile(n=20, d=64)


@procedure
def twice(a: f32[M, K], b: f32[K, N]) -> c(f32[M, N]):
    for s in range(2):
        c[i, j] = sum[k](a[i, k] * b[k, j])


def scaled(x: f32[N, D], by: f32) -> y[N, D]:
    given(x[n, d] > 0, by >= 0)
    y[n, d] = x[n, d] * by


def shifted(x: f64, by: f64) -> y:
    y = x + by


@procedure
def line(lo: f32, hi: f32) -> y(f32[N]):
    given(lo <= hi)
    for i in range(N):
        y[i] = lo + hi * f32(i)


def low(x: f32[N]) -> y[N]:
    given(-1 <= x[i] <= 1)
    y[i] = x[i]


def none(x: f32[N]) -> y[N]:
    given(2 < x[i], x[i] < 3)
    y[i] = x[i]


def cubed(x: f32[N]) -> s:
    s = sum[i, j, k](x[i] * x[j] * x[k])


def repeated(x: f32[N]) -> s:
    s = sum[i, j:N, k:N](x[i])


def bits(x: i64[N]) -> y(i64[N]):
    y[i] = (x[i] >> 33) + x[i] % 40


def short(a: f32[M, K], b: f32[K, N]) -> c[M, N]:
    given(K >= 9)
    c[i, j] = sum[k:9](a[i, k] * b[k, j])


def over(x: f32[N, M]) -> y[M, N]:
    y[j, i] = x[i, j]


def gram(x: f32[K, N]) -> c[N, N]:
    c[i, j] = sum[k](x[k, i] * x[k, j])


@procedure
def steps(a: f32[M, K], b: f32[K, N]) -> c[M, N]:
    c[i, j] = sum[k](a[i, k] * b[k, j])


@model
def net(x: f32[N, C]) -> y:
    given(N >= 1)
    w: f32[C] = 0.5
    y = dot(x, w)


def dot(x: f32[N, C], w: f32[C]) -> y:
    y = sum[n, c](x[n, c] * w[c])
"""


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    path = tmp_path_factory.mktemp("turns") / "turns.vibee"
    path.write_text(SPEC)
    return testing.spec(str(path))


def around(name, *sizes):
    return {((name, n + k),) for n in sizes for k in (-1, 0, 1)}


def tile(**sizes):
    return tuple(sizes.items())


def test_sizes_around_the_blocks_of_the_compiler(spec):
    product = corners(spec["product"].d, ["v3", "v4"])
    assert product[::4] == [tile(K=17, M=13, N=33)] * 6
    assert set(product) - {product[0]} == {*around("M", 48), *around("K", 256, 384, 512, 768), *around("N", 1024)}
    assert corners(spec["product"].d, ["v3", "v4"], 1200)[0] == tile(K=9, M=7, N=17)
    assert not {c for c in corners(spec["product"].d, ["v3", "v4"], 600) if len(c) > 1}
    assert tile(N=33) in {tuple(c for c in corner if c[0] == "N") for corner in corners(spec["gram"].d, ["v4"])}
    assert corners(spec["steps"].d, ["v3", "v4"])[0] == tile(K=9, M=7, N=17)  # the oracle takes its steps one by one
    assert set(corners(spec["wide"].d, ["v2", "v4"])) >= around("N", 512)
    assert corners(spec["twice"].d, ["v3"]) == corners(spec["product"].d, ["v3"])
    assert set(corners(spec["tiled"].d, ["v4"])) == around("N", 20) | around("D", 64)
    assert corners(spec["scaled"].d, ["v4"]) == [(("N", FAR),), (("D", FAR),)]
    assert corners(spec["shifted"].head, ["v4"]) == [(("N", FAR),)]
    assert set(corners(spec["short"].d, ["v4"])) == around("M", 48) | around("N", 1024) | {tile(M=13, N=33)}
    assert corners(spec["over"].d, ["v3", "v4"]) == [tile(M=17, N=17), (("N", FAR),), (("M", FAR),)]
    assert corners(spec["net"].d, ["v4"]) == []
    assert edges(spec["bits"].d) == [40, 41] and edges(spec["tiled"].d) == []


def test_beside_a_large_size_the_others_are_small():
    prefer = {"M": 0, "K": 130, "N": 7}
    assert beside((("K", 513),), prefer, 40_000) == {"M": 1, "K": 513, "N": 7}
    assert beside((("N", 1025),), prefer, 40_000) == {"M": 1, "K": 5, "N": 1025}
    assert beside((("N", 1025),), prefer, 2000) == {"M": 1, "K": 1, "N": 1025}
    assert beside(tile(M=7, N=17), prefer, 300) == {"M": 7, "K": 2, "N": 17}


def test_turns_meet_every_kind_and_every_corner():
    sizes = [(("N", 1),), (("N", 2),)]
    turns = Turns(KINDS, sizes, start=3)
    met = [turns.next() for _ in range(15)]
    assert [kind for kind, _ in met[:5]] == ["special", "wide", "normal", "whole", "near"]
    assert [corner for _, corner in met if corner] == [sizes[k % 2] for k in (1, 0, 1, 0, 1)]
    turns.failed = True
    assert turns.next() == turns.next() == met[14]
    assert {Turns(("normal", "near"), [], k).next() for k in (0, 1)} == {("normal", None), ("near", None)}


@pytest.mark.parametrize("key", ["product", "wide", "tiled", "twice", "scaled", "shifted", "line", "low"])
def test_four_cases_have_special_values_and_a_large_size(spec, monkeypatch, key):
    monkeypatch.setenv("VIBEE_TEST_CASES", "4")
    subject, cases = spec[key], []
    checks.drawn(subject, cases.append, subject.d.span)
    assert len(cases) == 4 and "special" in {c.kind for c in cases[1:]} and len({c.kind for c in cases}) >= 3
    tried = set(corners(subject.head, checks.levels()))
    assert any(set(corner) <= set(c.sizes.items()) for c in cases for corner in tried)


def floats(case):
    return np.concatenate([x.ravel() for x in (*case.arrays.values(), np.array([*case.numbers.values()]))])


@pytest.mark.parametrize("key", ["scaled", "shifted", "line", "low", "none"])
def test_special_values_are_those_that_given_allows(spec, key):
    head = spec[key].head
    sizes = dict.fromkeys(head.sizes, 5)
    met = [floats(c) for seed in range(60) if (c := made(head, spec[key].oracle(), sizes, "special", seed))]
    assert len(met) == 60
    x = np.concatenate(met)
    tiny = bool(np.any((np.abs(x) < 1e-30) & (x != 0)))
    if key == "none":
        assert np.all((x > 2) & (x < 3))
        return
    assert tiny and (key == "scaled" or np.any(np.signbit(x) & (x == 0)))
    if key == "low":
        assert np.all(np.abs(x) <= 1)
    else:
        assert np.any(x == np.inf) and (key != "shifted" or np.any(np.isnan(x)))


def test_one_number_is_special_at_a_time(spec):
    rng = np.random.default_rng(0)
    chosen = {Search(spec["line"].d, spec["line"].oracle(), {"N": 3}, rng, 100, True).special for _ in range(20)}
    assert chosen == {"lo", "hi"}
    chosen = {Search(spec["scaled"].d, spec["scaled"].oracle(), {}, rng, 100, True).special for _ in range(20)}
    assert chosen == {"by", None}
    assert {x.dtype for x in map(special_values, ("f32", "bf16"))} == {np.dtype("f4")}


@pytest.mark.parametrize("key", ["cubed", "repeated"])
def test_the_oracle_does_not_begin_what_memory_is_too_small_for(spec, key):
    subject = spec[key]
    case = made(subject.head, subject.oracle(), {"N": 1001}, "normal", 1)
    with pytest.raises(Undetermined, match="too many elements"):
        subject.expected(case)
