"""Replay finds each kind of fault where it happens, and computes what the generated code computes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from brute import inner, machine, search

from vibee.check import load, load_text
from vibee.lower.unit import Unit
from vibee.prove.facts import compare
from vibee.prove.memory import new
from vibee.prove.replay import Machine, replay
from vibee.tree.defs import Alloc, Call, For, Model, Procedure, Store, View
from vibee.tree.expr import const, var
from vibee.tree.expr import load as element

SPECS = Path(__file__).parents[2] / "specs"


def unit_of(text: str, isa: str = "v3") -> Unit:
    program = load_text(text, "case.vibee")
    assert not program.errors, "\n".join(map(str, program.errors))
    return Unit(program, isa)


def run(text: str, sizes: dict, arguments: dict | None = None, name: str | None = None, **options):
    """The result of the last definition of a text (or the one called `name`)."""
    unit = unit_of(text)
    defs = [d for ds in unit.program.defs.values() for d in ds]
    d = next(d for d in defs if d.name == name) if name else defs[-1]
    m = machine(unit, **options)
    return m.run(m.lookup(d.key), sizes, arguments)


def fault(text: str, sizes: dict, arguments: dict | None = None, **options):
    return run(text, sizes, arguments, **options).fault


# ---------------------------------------------------------------- faults


FAULTS = {
    "bounds": (
        "def f(x: f32[N]) -> y[N]:\n    y[i] = x[i + 1]\n",
        {"N": 2}, {}, "case.vibee:2:12: x[2] is outside x[2] with N=2, i=1",
    ),
    "below": (
        "@procedure\ndef f(x: mut[f32[N]]):\n    for i in range(N):\n        x[i - 1] = 0.0\n",
        {"N": 2}, {}, "case.vibee:4:9: x[-1] is outside x[2] with N=2, i=0",
    ),
    "gather": (
        "def f(x: f32[N], at: i64[M]) -> y[M]:\n    y[i] = x[at[i]]\n",
        {"N": 2, "M": 2}, {"at": [1, 5]}, "case.vibee:2:12: x[5] is outside x[2] with N=2, M=2, i=1",
    ),
    "race": (
        "@procedure\ndef f(x: f32[N], y: mut[f32[N]]):\n    for i in parallel(N):\n        y[i // 2] = x[i]\n",
        {"N": 2}, {}, "and another one writes it with N=2, i=1 and i=0",
    ),
    "race with a reader": (
        "@procedure\ndef f(y: mut[f32[N]]):\n    for i in parallel(N - 1):\n        y[i] = y[i + 1]\n",
        {"N": 3}, {}, "and another one reads it with N=3, i=1 and i=0",
    ),
    "race in a callee": (
        "@procedure\ndef put(y: mut[f32[M]], v: f32):\n    y[0] = v\n\n"
        "@procedure\ndef f(y: mut[f32[N, M]]):\n    given(M >= 1)\n    for i in parallel(N):\n"
        "        put(y[i // 2], 1.0)\n",
        {"N": 2, "M": 1}, {},
        "y[0] is written by an iteration of a parallel loop over i, and another one writes it (in put) with N=2",
    ),
    "divisor": (
        "@procedure\ndef f(x: f32[N], k: i64) -> y(f32[N]):\n    for i in range(N):\n        y[i] = x[i % k]\n",
        {"N": 2}, {"k": 0}, "case.vibee:4:18: i % k divides by 0 with N=2, k=0, i=0",
    ),
    "divisor of a range": (
        "@procedure\ndef f(x: mut[f32[N]], k: i64):\n    for i in range(N // k):\n        x[i] = 0.0\n",
        {"N": 2}, {"k": 0}, "case.vibee:3:20: N // k divides by 0 with N=2, k=0",
    ),
    "overflow": (
        "@procedure\ndef f(x: f32[N], k: i64) -> y(f32[N]):\n    given(N >= 1)\n    for i in range(N):\n"
        "        y[i] = x[(k * (i + 1)) % N]\n",
        {"N": 2}, {"k": 2**62}, "k * (i + 1) does not fit 64 bits with N=2, k=4611686018427387904, i=1",
    ),
    "endless": (
        "@procedure\ndef f(n: i64) -> s(i64):\n    s = n\n    while s != 1:\n        s = s - 2\n",
        {}, {"n": 4}, "case.vibee:4:5: while s != 1 has not ended after 20000 iterations with n=4",
    ),
    "endless, in a circle": (
        "@procedure\ndef f(n: i64, v: f32) -> s(i64):\n    while s >= 0:\n        s = (s + n) % 3\n",
        {}, {"n": 4, "v": 0.5},
        "case.vibee:3:5: while s >= 0 never ends: all is as it was 3 iterations before with n=4, v=0.5",
    ),
    "of a number like one of a callee": (
        "@procedure\ndef put(y: mut[f32[N]]):\n    for k in range(N + 1):\n        y[k] = 0.0\n\n"
        "@procedure\ndef f(y: mut[f32[N]], k: i64):\n    if k > 1:\n        put(y)\n",
        {"N": 1}, {"k": 2}, "y[1] is outside y[1] (in put) with N=1, k=2, k=1",
    ),
    "given": (
        "@procedure\ndef head(x: f32[N]) -> y(f32):\n    given(N >= 2)\n    y = x[1]\n\n"
        "@procedure\ndef f(x: f32[N]) -> y(f32):\n    y = head(x)\n",
        {"N": 1}, {}, "case.vibee:8:5: given N >= 2 with N=1 of head does not hold with N=1",
    ),
    "given of a number": (
        "@procedure\ndef third(n: i64) -> y(i64):\n    given(n % 3 == 0)\n    y = n // 3\n\n"
        "@procedure\ndef f(n: i64) -> y(i64[1]):\n    y[0] = third(n)\n",
        {}, {"n": 4}, "case.vibee:8:12: given n % 3 == 0 with n=4 of third does not hold",
    ),
    "view outside": (
        "@procedure\ndef zero(x: mut[f32[N]]):\n    x = 0.0\n\n"
        "@procedure\ndef f(x: mut[f32[N]], k: i64):\n    zero(x[:k])\n",
        {"N": 2}, {"k": 3}, "case.vibee:7:10: x[0:3] is outside x[2] with N=2, k=3",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_and_named(name):
    text, sizes, arguments, words = FAULTS[name]
    found = fault(text, sizes, arguments)
    assert found is not None and words in str(found)


@pytest.mark.parametrize(
    ("name", "sizes", "arguments"),
    [
        ("bounds", {"N": 0}, {}),
        ("below", {"N": 0}, {}),
        ("gather", {"N": 2, "M": 2}, {"at": [1, 0]}),
        ("race", {"N": 1}, {}),
        ("race with a reader", {"N": 2}, {}),
        ("race in a callee", {"N": 1, "M": 1}, {}),
        ("divisor", {"N": 2}, {"k": 2}),
        ("overflow", {"N": 2}, {"k": 2**61}),
        ("endless", {}, {"n": 5}),
        ("given", {"N": 2}, {}),
        ("given of a number", {}, {"n": 6}),
        ("view outside", {"N": 3}, {"k": 3}),
    ],
)
def test_the_same_code_on_good_values_has_no_fault(name, sizes, arguments):
    result = run(FAULTS[name][0], sizes, arguments)
    assert result.fault is None and not result.refused


# ---------------------------------------------------------------- faults that only a broken compiler would make


EVENS = """
@procedure
def evens(x: f32[N]) -> y(f32[2 * N]):
    for i in range(N):
        y[2 * i] = x[i]
"""
KEPT = """
@procedure
def kept(x: f32[N]) -> y(f32[N]):
    t: f32[N]
    for i in range(1, N):
        t[i] = x[i]
    y[i] = t[i]
"""
ROWS = """
@procedure
def total(x: f32[N, M], y: f32[N]) -> s(f32):
    for i in range(N):
        s += x[i, 0] + y[i]

@procedure
def rows(x: f32[N, M], y: mut[f32[N]]) -> s(f32):
    given(M >= 1)
    s = total(x, y)
"""


def lowered(text: str, name: str) -> tuple[Unit, Procedure]:
    unit = unit_of(text)
    return unit, unit.procedure(unit.program.instance(name))


def changed(stmts: list, kind: type, change) -> list:
    """The statements with `change` made to those of one kind, in place."""
    return [change(s) if isinstance(s, kind) else s for s in stmts]


def test_an_output_that_is_not_written_whole():
    _, p = lowered(EVENS, "evens")
    assert replay(None, p, {"N": 2}) is None
    fill = next(s for s in p.body if isinstance(s, For))
    found = replay(None, replace(p, body=[s for s in p.body if s is not fill]), {"N": 2})
    assert found is not None and (found.kind, found.text) == ("unwritten", "y[1] is never written")


def test_an_element_that_is_read_before_it_is_written():
    _, p = lowered(KEPT, "kept")
    assert replay(None, p, {"N": 2}) is None
    found = replay(None, replace(p, body=changed(p.body, Alloc, lambda s: replace(s, zero=False))), {"N": 2})
    assert found is not None and found.kind == "unwritten"
    assert str(found).startswith("case.vibee:7:12: t[0] is read before it is written with N=2")


def callee_of(unit: Unit):
    return lambda key: unit.procedure(unit.by_key(key))


def test_a_view_with_another_number_of_elements():
    unit, p = lowered(ROWS, "rows")

    def wider(s: Call) -> Call:
        (n, m), v = s.args[0].shape, s.args[0]
        return replace(s, args=[replace(v, shape=(n, m, m)), *s.args[1:]])

    assert replay(callee_of(unit), p, {"N": 2, "M": 2}) is None
    found = replay(callee_of(unit), replace(p, body=changed(p.body, Call, wider)), {"N": 2, "M": 2})
    assert found is not None and found.kind == "shape" and "8 elements, but is made of 4 of x" in found.text


def test_a_view_of_another_shape_than_the_callee_takes():
    unit, p = lowered(ROWS, "rows")

    def turned(s: Call) -> Call:
        v = s.args[0]
        return replace(s, args=[replace(v, shape=v.shape[::-1]), *s.args[1:]])

    found = replay(callee_of(unit), replace(p, body=changed(p.body, Call, turned)), {"N": 2, "M": 3})
    assert found is not None and found.kind == "shape" and "must be x[2, 3], and is x[3, 2]" in found.text


def test_arguments_that_share_memory_where_one_is_written():
    unit, p = lowered(ROWS, "rows")

    def shared(s: Call) -> Call:
        return replace(s, outs=[View("y", (const(0, "i64"),))])

    found = replay(callee_of(unit), replace(p, body=changed(p.body, Call, shared)), {"N": 2, "M": 3})
    assert found is not None and found.kind == "overlap"


def test_a_scalar_that_parallel_iterations_share():
    text = "@procedure\ndef f(x: f32[N]) -> s(f32):\n    t = 0.0\n    for i in range(N):\n        t = x[i]\n    s = t\n"
    _, p = lowered(text, "f")
    assert replay(None, p, {"N": 2}) is None
    found = replay(None, replace(p, body=changed(p.body, For, lambda s: replace(s, parallel=True))), {"N": 2})
    assert found is not None and found.kind == "race" and found.text.startswith("t is written")
    assert (found.indices, found.other) == ({"i": 1}, {"i": 0})


def test_both_indices_of_a_fused_parallel_loop_are_named():
    text = "def f(x: f32[N, M]) -> y[N, M]:\n    y[i, j] = max[k](x[i, k]) + x[i, j]\n"
    _, p = lowered(text, "f")
    loop = next(s for s in inner(p.body) if isinstance(s, For) and s.parallel)
    stores = [s for s in inner([loop]) if isinstance(s, Store) and s.array == "y"]
    for s in stores:
        s.idx = (const(0, "i64"), s.idx[1])
    found = replay(None, p, {"N": 2, "M": 2})
    assert found is not None and found.kind == "race" and found.indices["i"] != found.other["i"]


# ---------------------------------------------------------------- what is looked for, and what cannot run


def test_other_kinds_are_passed_over():
    text = "@procedure\ndef f(x: f32[N], k: i64) -> y(f32):\n    given(N >= 1)\n    y = x[5 // k] + x[7]\n"
    _, p = lowered(text, "f")
    assert replay(None, p, {"N": 2}, {"k": 0}).kind == "divisor"
    assert replay(None, p, {"N": 2}, {"k": 0}, kinds=frozenset({"bounds"})).text == "x[7] is outside x[2]"
    assert replay(None, p, {"N": 2}, {"k": 0}, kinds=frozenset({"race"})) is None


def test_every_fault_of_a_run():
    text = "@procedure\ndef f(x: f32[N], k: i64) -> y(f32):\n    given(N >= 1)\n    y = x[5 // k] + x[7]\n"
    _, p = lowered(text, "f")
    m = Machine(lambda key: p)
    m.every = {}
    m.run(p, {"N": 2}, {"k": 0})
    m.run(p, {"N": 2}, {"k": 1})
    assert sorted((kind, span.col) for kind, span in m.every) == [("bounds", 9), ("bounds", 21), ("divisor", 11)]


DOMAIN = frozenset({"domain"})


@pytest.mark.parametrize(
    ("value", "x", "words"),
    [
        ("sqrt(x[i])", -1.0, "the root is of -1, and y[i] >= 0.0 does not hold with N=1, i=0"),
        ("0.0 / x[i]", 0.0, "the quotient is 0 / 0, and y[i] >= 0.0 does not hold with N=1, i=0"),
        ("log(x[i])", -2.0, "log(-2) is nan, and y[i] >= 0.0 does not hold with N=1, i=0"),
        ("log(x[i])", 0.0, "log(0) is -inf, and y[i] >= 0.0 does not hold with N=1, i=0"),
    ],
)
def test_what_leaves_its_domain_is_a_fault_where_a_then_does_not_hold(value, x, words):
    text = f"def f(x: f32[N]) -> y[N]:\n    y[i] = {value}\n"
    claims = "    then(y[i] >= 0, close(y[i], y[i]))\n"
    assert fault(text, {"N": 1}, {"x": [x]}, kinds=DOMAIN) is None
    assert fault(text + claims, {"N": 1}, {"x": [x]}) is None
    assert fault(text + claims, {"N": 1}, {"x": [4.0]}, kinds=DOMAIN) is None
    assert str(fault(text + claims, {"N": 1}, {"x": [x]}, kinds=DOMAIN)) == f"case.vibee:2:12: {words}"


def test_what_leaves_its_domain_and_is_not_used_is_no_fault():
    text = "def f(x: f32[N]) -> y[N]:\n    y[i] = max(0.0, sqrt(x[i]))\n    then(y[i] >= 0)\n"
    assert fault(text, {"N": 1}, {"x": [-1.0]}, kinds=DOMAIN) is None


@pytest.mark.parametrize(
    ("sizes", "arguments", "words"),
    [
        ({"N": 2}, {}, "given N >= 3 of f does not hold"),
        ({"N": 3}, {"at": [0, 1, 3]}, "at[i] < N of f does not hold"),
        ({"N": 3}, {"at": [0, 1]}, "at needs 3 elements, not 2"),
        ({}, {}, "f needs a value for N"),
        ({"N": 10**7}, {}, "has 10000000 elements"),
    ],
)
def test_what_cannot_be_run_is_no_fault_and_no_proof(sizes, arguments, words):
    text = "def f(x: f32[N], at: i64[N]) -> y[N]:\n    given(N >= 3, 0 <= at[i] < N)\n    y[i] = x[at[i]]\n"
    result = run(text, sizes, arguments)
    assert result.fault is None and words in result.refused


def test_drawn_arguments_keep_given():
    text = """
@procedure
def f(row: i64[M], column: i32[E], k: i64, x: f64[C]) -> y(f64[M]):
    given(M >= 2, E >= 1, C >= 1, 0 <= row[i] <= E, row[0] == 0, 0 <= column[e] < C, 1 <= k <= M)
    y[i] = x[column[0]]
"""
    unit, p = lowered(text, "f")
    for seed in range(10):
        result = Machine(callee_of(unit)).run(p, {"M": 3, "E": 4, "C": 2}, seed=seed)
        assert not result.refused and not result.fault
        assert result.array("row")[0] == 0 and all(0 <= v <= 4 for v in result.array("row"))
        assert all(0 <= v < 2 for v in result.array("column")) and 1 <= result.frame.env["k"] <= 3


# ---------------------------------------------------------------- numbers


def values(text: str, sizes: dict, arguments: dict, out: str, isa: str = "v3") -> np.ndarray:
    unit = unit_of(text, isa)
    d = [d for ds in unit.program.defs.values() for d in ds][-1]
    m = machine(unit)
    result = m.run(m.lookup(d.key), sizes, arguments)
    assert not result.fault and not result.refused, (result.fault, result.refused)
    return np.array(result.array(out)).reshape(result.frame.arrays[out].shape)


@pytest.mark.parametrize("isa", ["v2", "v3", "v4"])
@pytest.mark.slow
def test_tiles_and_vectors(isa):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((13, 5)).astype("f"), rng.standard_normal((5, 37)).astype("f")
    text = "def f(a: f32[M, K], b: f32[K, N]) -> c[M, N]:\n    c[i, j] = sum[k](a[i, k] * b[k, j])\n"
    c = values(text, {"M": 13, "K": 5, "N": 37}, {"a": a, "b": b}, "c", isa)
    assert np.allclose(c, a @ b, atol=1e-5)


def test_integers_wrap_and_divide_downwards():
    text = """
def f(x: i64[N], y: i32[N]) -> (a[N], b[N], c(u8[N]), d[N]):
    a[i] = x[i] * x[i]
    b[i] = y[i] // -3 + y[i] % 4
    c[i] = u8(y[i])
    d[i] = (y[i] << 30) >> 28
"""
    x, y = np.array([3, 2**40, -(2**62)]), np.array([7, -8, 300], "i4")
    args = {"x": x, "y": y}
    assert np.array_equal(values(text, {"N": 3}, args, "a"), x * x)
    assert np.array_equal(values(text, {"N": 3}, args, "b"), y // -3 + y % 4)
    assert np.array_equal(values(text, {"N": 3}, args, "c"), y.astype("u1"))
    assert np.array_equal(values(text, {"N": 3}, args, "d"), (y << 30) >> 28)


def test_functions_of_numbers_compute():
    text = "def f(x: f32[N]) -> y[N]:\n    y[i] = exp(x[i]) + log(abs(x[i]) + 1) + tanh(x[i])\n"
    x = np.linspace(-3, 3, 9, dtype="f")
    assert np.allclose(values(text, {"N": 9}, {"x": x}, "y"), np.exp(x) + np.log(abs(x) + 1) + np.tanh(x), rtol=1e-6)


def test_parallel_sums_and_calls():
    text = """
def norm(x: f64[N]) -> s:
    s = sqrt(sum[i](x[i] ** 2))

@procedure
def f(x: f64[N, M]) -> (lengths(f64[N]), total(f64), longest(f64)):
    for n in parallel(N):
        t = norm(x[n, 1:])
        lengths[n] = t
        total += t
        longest = max(longest, t)
"""
    x = np.random.default_rng(1).standard_normal((5, 4))
    want = np.sqrt((x[:, 1:] ** 2).sum(1))
    sizes = {"N": 5, "M": 4}
    assert np.allclose(values(text, sizes, {"x": x}, "lengths"), want)
    assert np.allclose(values(text, sizes, {"x": x}, "total"), want.sum())
    assert np.allclose(values(text, sizes, {"x": x}, "longest"), want.max())


# ---------------------------------------------------------------- real specs


@pytest.mark.parametrize("path", [
    *(pytest.param(p, marks=pytest.mark.slow) for p in ("foundation/tensor_ops", "core/attention", "core/optimizer")),
    "foundation/random",
])  # fmt: skip
def test_what_the_specs_say_runs_without_fault_where_nothing_is_open(path):
    program = load(str(SPECS / f"{path}.vibee"))
    unit = Unit(program, "v3")
    m = machine(unit, kinds=frozenset({"bounds", "race", "unwritten", "overflow", "overlap", "shape"}))
    runs = 0
    for ds in program.defs.values():
        for d in ds:
            if isinstance(d, Model):
                continue
            unit.procedure(d)
            if not unit.open[d.key]:
                found = search(unit, d, top=3, limit=4, m=m)
                assert found.fault is None, f"{d.key}: {found.fault}"
                runs += found.runs
    assert runs > 20


# ---------------------------------------------------------------- arguments, conditions, and what cannot go on


@pytest.mark.parametrize(
    ("sizes", "arguments", "words"),
    [
        ({"N": 4, "K": 0, "k": 1}, {"m": 1}, "given N % K == 0 of f does not hold"),
        ({"K": 2, "k": 1}, {"N": 4, "m": 1}, ""),
        ({"K": 2, "k": 1}, {"N": -4, "m": 1}, "a size is below 0"),
        ({"N": 4, "K": 2, "k": 1}, {"m": 0}, "given n <= 8 // m of f does not hold"),
        ({"N": 4, "K": 2, "k": 1}, {"m": 2, "n": 9}, "given n <= 8 // m of f does not hold"),
        ({"N": 4, "K": 2, "k": 7}, {"m": 1}, "an axis of z is below 0"),
        ({"N": 4, "K": 2, "k": 0}, {"m": 1}, "the shape of y: 7 // k divides by 0"),
    ],
)
def test_sizes_and_numbers_that_cannot_be_are_refused(sizes, arguments, words):
    text = """
@procedure
def f(x: f32[N], K: size, k: size, m: i64, n: i64) -> (y(f32[7 // k]), z(f32[6 - k])):
    given(N % K == 0, n <= 8 // m)
    z = 1.0
"""
    result = run(text, sizes, arguments)
    assert result.fault is None
    assert (words in result.refused) if words else not result.refused


@pytest.mark.parametrize(
    ("condition", "x", "holds"),
    [
        ("max[i](x[i]) == 3", [1, 3, 2], True),
        ("min[i](x[i]) == 3", [1, 3, 2], False),
        ("prod[i](x[i]) == 6", [1, 3, 2], True),
        ("sum[i](x[i]) == 6", [1, 3, 2], True),
        ("any[i](x[i] == 2)", [1, 3, 2], True),
        ("all[i](x[i] == 2)", [1, 3, 2], False),
        ("all[i:N, j:N](i < j or x[i] >= x[j])", [1, 2, 3], True),
        ("all[i:N, j:N](i < j or x[i] >= x[j])", [1, 3, 2], False),
        ("argmax[i](x[i]) == 1", [1, 3, 2], True),
        ("argmin[i](x[i]) == 1", [1, 3, 2], False),
        ("sum[i](x[i]) == 0 and prod[i](x[i]) == 1", [], True),
        ("max[i](x[i]) < min[i](x[i]) and argmax[i](x[i]) == 0", [], True),
        ("any[i](x[i] == 2) or not all[i](x[i] == 2)", [], False),
        ("max[i](f32(x[i])) == -inf and min[i](f32(x[i])) == inf", [], True),
        ("i64(u8(300)) == 44 and i64(N) == N and (x[0] == x[0] or N >= 0)", [1], True),
    ],
)
def test_conditions_with_reductions_mean_what_they_say(condition, x, holds):
    text = f"@procedure\ndef f(x: i32[N]) -> y(i64):\n    given({condition})\n    y = N\n"
    result = run(text, {"N": len(x)}, {"x": x})
    assert result.fault is None
    assert (not result.refused) is holds, result


def test_a_scalar_that_parallel_iterations_read_and_set():
    text = """
@procedure
def f(x: f32[N]) -> s(f32):
    t = 0.0
    for i in range(N):
        u = t
        t = u + x[i]
    s = t
"""
    _, p = lowered(text, "f")
    found = replay(None, replace(p, body=changed(p.body, For, lambda s: replace(s, parallel=True))), {"N": 2})
    assert found is not None and found.kind == "race" and found.text.startswith("t is read")


def test_a_scalar_that_a_call_sets_in_parallel_iterations():
    text = """
@procedure
def norm(x: f32[M]) -> (s(f32), n(i64)):
    n = M

@procedure
def f(x: f32[N, M]) -> s(f32):
    t: f32 = 0.0
    n: i64 = 0
    for i in range(N):
        t, n = norm(x[i])
    s = t
"""
    unit, p = lowered(text, "f")
    assert replay(callee_of(unit), p, {"N": 2, "M": 1}) is None
    broken = replace(p, body=changed(p.body, For, lambda s: replace(s, parallel=True)))
    found = replay(callee_of(unit), broken, {"N": 2, "M": 1})
    assert found is not None and found.kind == "race" and found.text.startswith("t is written")


@pytest.mark.parametrize("shape", [lambda n, m: (n, m, m), lambda n, m: (m, n)])
def test_after_a_wrong_shape_no_run_goes_on(shape):
    unit, p = lowered(ROWS, "rows")

    def other(s: Call) -> Call:
        return replace(s, args=[replace(s.args[0], shape=shape(*s.args[0].shape)), *s.args[1:]])

    m = Machine(callee_of(unit), frozenset({"bounds"}))
    result = m.run(replace(p, body=changed(p.body, Call, other)), {"N": 2, "M": 3})
    assert result.fault is None and ("elements, but" in result.refused or "must be" in result.refused)


def test_a_vector_lies_inside_of_its_row():
    a = new("a", "f32", (2, 8), 0)
    assert (a.place((1, 0), 8), a.place((1, 1), 8), a.place((2, 0), 8)) == (8, None, None)


def test_a_then_about_what_only_the_body_knows_is_passed_over():
    text = "def f(x: f32[N]) -> y[N]:\n    t[i] = sqrt(x[i])\n    y[i] = t[i]\n    then(y[i] >= 0)\n"
    unit = unit_of(text)
    (d,) = unit.program.defs["f"]
    m = machine(unit, kinds=DOMAIN)
    p = m.lookup(d.key)
    assert m.then(p, compare("ge", element("t", (var("i"),), "f32"), const(0.0, "f32"))) is None
    assert m.then(p, compare("ge", var("k"), const(0, "i64"))) is None


def test_the_version_for_numbers_gives_its_number_where_another_gives_an_array():
    text = (
        "def grow(x: i64, n: size) -> y[n]:\n    y[i:n] = x\n\n"
        "def grow(x: i64, n: f64) -> y(i64):\n    y = x - i64(n)\n\n"
        "@procedure\ndef f(a: i64, y: mut[i64[1]]) -> z(f32[2]):\n"
        "    s: i64 = 7\n    s = grow(a, 2.0)\n    z[s] = 1.0\n    y[0] = grow(s, 2.0)\n    z[y[0]] = 2.0\n"
    )
    assert "z[2] is outside z[2]" in fault(text, {}, {"a": 4, "y": [0]}).text
    assert "z[-1] is outside z[2]" in fault(text, {}, {"a": 3, "y": [0]}).text


def test_the_version_for_numbers_gives_its_number_where_another_takes_arrays():
    text = (
        "def grow(x: i64[N]) -> y[N]:\n    y[i] = x[i] * 2\n\ndef grow(x: i64) -> y(i64):\n    y = x - 2\n\n"
        "@procedure\ndef f(a: i64, y: mut[i64[1]]) -> z(f32[2]):\n"
        "    s: i64 = 7\n    s = grow(a)\n    z[s] = 1.0\n    y[0] = grow(s)\n    z[y[0]] = 2.0\n"
    )
    assert "z[2] is outside z[2]" in fault(text, {}, {"a": 4, "y": [0]}).text
    assert "z[-1] is outside z[2]" in fault(text, {}, {"a": 3, "y": [0]}).text
    assert fault(text.replace("y[0] = grow(s)", "y[0] = grow(s) + 1"), {}, {"a": 3, "y": [9]}) is None


CIRCLES = """
@procedure
def swaps(x: mut[f32[N]], n: i64):
    k: i64 = 0
    while k < n:
        y = x[0]
        x[0] = x[1]
        x[1] = y

@procedure
def turn(x: mut[f32[N]], at: i64) -> s(f32):
    x[at] = -x[at]

@procedure
def calls(x: mut[f32[N]], n: i64) -> s(f32):
    while s < 1.0:
        s = turn(x, 0)

@procedure
def grows(x: mut[f32[N]], n: i64):
    while x[0] < 1.0:
        x[1] += 1.0
"""


@pytest.mark.parametrize(("name", "words"), [
    ("swaps", "while k < n never ends: all is as it was 2 iterations before"),
    ("calls", "never ends: all is as it was 2 iterations before"),  # -0.0 is not 0.0
    ("grows", "while x[0] < 1.0 has not ended after 20000 iterations"),
])  # fmt: skip
def test_a_loop_that_comes_back_to_where_it_was_never_ends(name, words):
    found = run(CIRCLES, {"N": 2}, {"x": [0.0, 0.5], "n": 1}, name).fault
    assert found is not None and words in str(found) and found.certain == ("never" in words)


def test_a_fault_that_is_certain_comes_before_one_that_is_not():
    unit = unit_of(FAULTS["endless"][0].replace("s = s - 2", "s = s - 2 if n > 4 else 1 - s"))
    m = machine(unit)
    m.every = {}
    for n in (6, 2, 4, 8):
        m.run(m.lookup("f"), {}, {"n": n})
    assert [str(f) for f in m.every.values()] == [
        "case.vibee:4:5: while s != 1 never ends: all is as it was 2 iterations before with n=2"
    ]


def test_a_loop_that_does_not_end_is_told_of_whoever_has_it():
    text = (
        "@procedure\ndef one(x: mut[i64[N]]):\n    for i in range(N):\n        x[i] += 1\n\n"
        "@procedure\ndef f(x: mut[i64[N]], n: i64):\n    while n <= 3:\n        one(x)\n"
    )
    found = fault(text, {"N": 9}, {"n": 1})
    assert found is not None and found.key == "f" and not found.certain
    assert str(found) == "case.vibee:8:5: while n <= 3 has not ended after 20000 iterations with N=9, n=1"
