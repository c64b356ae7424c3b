"""The oracle of formulas and procedures: values by numpy, bounds that cover what rounding may decide, and refusals."""

import numpy as np
import pytest

from vibee import testing
from vibee.testing.numbers import Failure, Num, Undetermined
from vibee.testing.oracle import Oracle
from vibee.testing.procedures import over_elements
from vibee.testing.reductions import Space

SPEC = """module("oracle", version=1)


def quotient(a: i64[N], b: i64[N]) -> q(i64[N]):
    q[i] = a[i] // b[i]


def at_quotient(x: f32[N], n: i64, k: i64) -> y:
    y = x[n // k]


def third(x: f32[N]) -> y[N]:
    y[i] = x[i64(floor(x[i] * 0.3))]


def third_sure(c: bool[N], x: f32[N]) -> y(bool[N]):
    y[i] = c[i64(floor(x[i] * 0.3))]


def whole(x: f32[N]) -> k(i64):
    n = i64(floor(sum[i](x[i])))
    k = n + 1 if n > 0 else n


def bits(x: f32[N]) -> b(i32[N]):
    b[i] = bitcast(i32, x[i])


def ragged(n: i64[W], x: f32[K]) -> s:
    s = sum[w, k:0:n[w]](x[k])


def positive(x: f32) -> y:
    y = sqrt(x) if x > 0.0 else 0.0


def multiples(x: f32) -> y:
    y = sum[k:3](x * f32(k))


def powers(x: f32) -> y:
    t[i:4] = x * f32(i)
    y = sum[i](t[i])


def half_f32(x: f32) -> y:
    y = bitcast(f32, bitcast(i32, x) - 0x00800000)


def half_f64(x: f64) -> y:
    y = bitcast(f64, bitcast(i64, x) + 0x0010000000000000)


@procedure
def steps(x: f32) -> n(f32):
    t: f32 = x
    while t > 1.0:
        t = t * 0.5
        n += 1.0


@procedure
def endless(x: f32) -> n(f32):
    while n >= 0.0:
        n += 1.0


def with_powers(x: f32[N]) -> y[N]:
    y[i] = powers(x[i])


def with_steps(x: f32[N]) -> y[N]:
    y[i] = where(x[i] < 100.0, steps(x[i]), endless(x[i]))


def with_all_steps(x: f32[N]) -> y[N]:
    y[i] = sum[k:2](steps(x[i]) * f32(k))


def with_some_steps(x: f32[N]) -> y[N]:
    y[i] = sum[k:2](where(x[i] + f32(k) < 100.0, steps(x[i]), endless(x[i])))


def spread(at: i64[N], to: i64[M]) -> h(i64[1]):
    h[at[i] * to[j]] += 1


def counted(x: f32[N], K: size) -> h(i64[K]):
    h[i % K] += i64(floor(x[i] * 0.3))


def summed(at: i64[N], x: f32[N], K: size) -> h[K]:
    given(0 <= at[i] < K)
    h[at[i]] += x[i]


def put(x: f32[N], K: size) -> h[K]:
    h[i64(floor(x[i] * 0.3))] += 1.0


def large(n: size) -> (y(i8[n, n]), s(i64)):
    y[i, j] = i8(0)
    s = 0


def pairs(n: size) -> s(i64):
    s = sum[i:n, j:n](i * j)


def product(x: f32[N]) -> p:
    p = prod[i](x[i])


def near_all(x: f32[N]) -> (some(bool), every(bool)):
    some = any[i](x[i] * 0.3 > 1.0)
    every = all[i](x[i] * 0.3 > 1.0)


def unsure_range(x: f32[N], c: f32) -> s:
    s = sum[i:0:i64(floor(c * 0.3))](x[i])


def first(x: f32[N], n: i64) -> (place, last):
    place = argmax[i:2:n](x[i])
    last = argmin[i:2:n](x[i])


def first_below(x: f32[N, N]) -> place[N]:
    place[n] = argmax[i:n + 1](x[n, i])


def first_within(x: f32[N], lo: i64[W], hi: i64[W]) -> place[W]:
    place[w] = argmax[i:lo[w]:hi[w]](x[i])


def scans(x: f32[N], n: i64[N]) -> (p[N], s(i64[N])):
    p[i] = cumprod[i](x[i])
    s[i] = cumsum[i](n[i])


def scans_where(x: f64[N, D], c: bool) -> (after[N, D], inside[N, D], same[N, D]):
    after[n, d] = where(d > 0, cumsum[d](where(d > 0, x[n, d - 1], 100.0)), 1.0)
    inside[n, d] = sum[e:d + 1](cumsum[d](sum[k:N](x[k, e] * x[n, d])))
    same[n, d] = where(c, cumsum[d](x[n, d]), 1.0)


@procedure
def half(x: f32) -> y(f32):
    y = x * 0.5
    if y > 1.0:
        return
    y = 1.0


@procedure
def put_at(i: i64, N: size) -> y(f32[N]):
    y[i] = 1.0


@procedure
def found(x: f32[N], v: f32) -> (place(i64), seen(f32)):
    for i in range(N):
        if x[i] < 0.0:
            continue
        if x[i] == v:
            place = i
            return
        seen += 1.0
    place = -1


@procedure
def until(x: f32[N]) -> n(i64):
    for i in range(N):
        if x[i] < 0.0:
            break
        n += 1


@procedure
def total(x: f32[N]) -> (s(f32), t(f32)):
    other: f32 = 0.0
    for i in parallel(N):
        s += x[i]
        other += x[i] * x[i]
    t = other


@procedure
def filled(x: f32[N]) -> y(f32[N]):
    row: f32[N] = 2.0
    for n in range(N):
        row[i] = row[i] * x[n]
    y[i:N - 1] = row[i + 1]


def rooted(x: f32[N]) -> y[N]:
    given(x[n] >= 0.0)
    y[n] = sqrt(x[n])


@procedure
def rooted_row(x: f32[M, N], m: i64) -> y(f32[N]):
    y = rooted(x[m])


@procedure
def rooted_part(x: f32[N], a: i64, b: i64) -> s(f32):
    y: f32[b - a]
    y = rooted(x[a:b])
    s = sum[i](y[i])


@procedure
def rooted_view(x: f32[N], A: size, B: size) -> y(f32[A, B]):
    given(A * B == N)
    y = doubled(view(x, A, B))


def doubled(x: f32[A, B]) -> y[A, B]:
    y[a, b] = x[a, b] * 2.0
"""


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    path = tmp_path_factory.mktemp("oracle") / "oracle.vibee"
    path.write_text(SPEC)
    return testing.spec(str(path))


def num(x, e=0.0):
    """An operand as the oracle takes it: floats in f64, whole numbers as they are."""
    v = np.asarray(x)
    v = v.astype(np.float64) if v.dtype.kind == "f" else v
    return Num(v, np.full(v.shape, e))


def run(spec, name, budget=20_000, e=0.0, **given):
    """All arrays of a definition; arrays by lists, numbers and sizes as they are; floats have the error e."""
    d = spec[name].d
    oracle = Oracle(spec.program.by_key, budget=budget)
    names = {p.name: Num(np.asarray(given[p.name])[()]) for p in d.params if not p.is_array}
    arrays = {p.name: num(given[p.name], e if p.dtype == "f32" else 0.0) for p in d.params if p.is_array}
    sizes = {n: given[n] if w[0] != "arg" else arrays[w[1]].v.shape[w[2]] for n, w in d.sizes.items()}
    return oracle.run(d, {**{n: Num(np.int64(x)) for n, x in sizes.items()}, **names}, arrays)


# ---------------------------------------------------------------- what must be refused


REFUSED = [
    ("quotient", {"a": [7, 1], "b": [2, 0]}, "division by zero"),
    ("at_quotient", {"x": [1.0], "n": 1, "k": 0}, "division by zero"),
    ("at_quotient", {"x": [1.0, 2.0], "n": 4, "k": 2}, "x: index 0 out of bounds"),
    ("third", {"x": [45.0]}, "x: index 0 out of bounds"),
    ("put", {"x": [9.0], "K": 2}, "h: index 0 out of bounds"),
    ("put_at", {"i": 3, "N": 3}, "y: index 0 out of bounds"),
    ("rooted_row", {"x": [[1.0, 4.0]], "m": 1}, "x: index out of bounds"),
    ("rooted_row", {"x": [[1.0, -4.0]], "m": 0}, "given does not hold"),
    ("rooted_part", {"x": [1.0, 4.0], "a": 1, "b": 3}, "x: range out of bounds"),
    ("rooted_view", {"x": [1.0, 4.0, 9.0], "A": 2, "B": 2}, "x: another number of elements"),
]


@pytest.mark.parametrize("name,given,said", REFUSED, ids=[f"{r[0]}: {r[2]}" for r in REFUSED])
def test_what_has_no_value_is_a_failure(spec, name, given, said):
    with pytest.raises(Failure, match=said):
        run(spec, name, **given)


UNDETERMINED = [
    ("unsure_range", {"x": [1.0], "c": 10 / 3}, "range depends on rounding"),
    ("put", {"x": [10 / 3], "K": 2}, "where a value goes depends on rounding"),
    ("large", {"n": 3000}, "too many elements"),
    ("pairs", {"n": 3000}, "too many elements"),
    ("spread", {"at": [0] * 3000, "to": [0] * 3000}, "too many elements"),
    ("endless", {"x": 0.0}, "too many steps"),
    ("steps", {"x": 10 / 3 * 0.3}, "branch depends on rounding"),
]


@pytest.mark.parametrize("name,given,said", UNDETERMINED, ids=[f"{r[0]}: {r[2]}" for r in UNDETERMINED])
def test_what_cannot_be_told_is_undetermined(spec, name, given, said):
    unsure = {n: Num(np.float64(x), 1e-6) for n, x in given.items() if isinstance(x, float) and x}
    d = spec[name].d
    if unsure:
        sizes = {n: Num(np.int64(given.get(n, 1))) for n in d.sizes}
        arrays = {p.name: num(given[p.name]) for p in d.params if p.is_array}
        with pytest.raises(Undetermined, match=said):
            Oracle(spec.program.by_key).run(d, sizes | unsure, arrays)
    else:
        with pytest.raises(Undetermined, match=said):
            run(spec, name, e=1e-6, **given)


# ---------------------------------------------------------------- elements and ranges


def test_an_element_whose_place_depends_on_rounding_is_unknown(spec):
    x = [10 / 3, 2.0]
    y = run(spec, "third", x=x)["y"]
    assert y.v[1] == x[0] and y.e.tolist() == [np.inf, 0.0]
    y = run(spec, "third_sure", c=[True, True], x=x)["y"]
    assert y.e.tolist() == [True, False]


def test_an_array_without_elements_has_none_at_any_place(spec):
    place = spec["unsure_range"].d.equations[0].rhs.args[2]
    with pytest.raises(Failure, match="x: index 0 out of bounds"):
        Oracle(spec.program.by_key).places((place,), (0,), Space({"c": Num(np.float64(10 / 3), 1e-6)}, {}), "x")


def test_bits_of_elements(spec):
    assert run(spec, "bits", x=[1.0, -0.0])["b"].v.tolist() == [0x3F800000, -(2**31)]


def test_a_sum_over_ranges_of_no_rows(spec):
    assert run(spec, "ragged", n=[], x=[1.0])["s"].v == 0
    assert run(spec, "ragged", n=[2, 0, 1], x=[1.0, 2.0])["s"].v == 4


def test_products_of_elements(spec):
    x = np.array([1 / 3, 3.0, 1.7])
    p = run(spec, "product", x=x)["p"]
    assert p.v == np.prod(x) and 0 < p.e < 8 * 2.0**-24 * p.v
    single = np.prod(x.astype("f4"), dtype="f4")
    assert abs(run(spec, "product", x=x.astype("f4").astype(float))["p"].v - single) <= p.e


def test_any_and_all_are_in_doubt_where_an_element_decides_that_is(spec):
    near, above, below = 10 / 3, 4.0, 1.0
    doubts = {}
    for word, x in (("both", [near, near]), ("above", [near, above]), ("below", [near, below]), ("sure", [above])):
        found = run(spec, "near_all", x=x)
        doubts[word] = (bool(found["some"].e), bool(found["every"].e))
    assert doubts == {"both": (True, True), "above": (False, True), "below": (True, False), "sure": (False, False)}


def test_first_places_of_ranges(spec):
    inf = np.inf
    found = run(spec, "first", x=[9.0, 9.0, 1.0, 3.0, 3.0, 7.0], n=5)
    assert (found["place"].v, found["last"].v) == (3, 2)
    empty = run(spec, "first", x=[9.0, 9.0], n=2)
    assert (empty["place"].v, empty["last"].v) == (0, 0)
    x = np.array([[1.0, 9.0, 9.0], [1.0, 2.0, 9.0], [5.0, 2.0, 5.0]])
    assert run(spec, "first_below", x=x)["place"].v.tolist() == [0, 1, 0]
    ranges = {"x": [-inf] * 4, "lo": [3, 2, 1], "hi": [4, 2, 3]}
    assert run(spec, "first_within", **ranges)["place"].v.tolist() == [3, 0, 1]


def test_scans(spec):
    x = np.array([2.0, 1 / 3, 5.0])
    found = run(spec, "scans", x=x, n=[3, -1, 2])
    assert np.array_equal(found["p"].v, np.cumprod(x)) and found["s"].v.tolist() == [3, 2, 4]
    assert 0 < found["p"].e[1] < 8 * 2.0**-24 and not np.any(found["s"].e)


def test_scans_take_in_elements_where_no_value_is_wanted(spec):
    x = np.array([[1.0, 2.0, 3.0]])
    found = run(spec, "scans_where", x=x, c=True)
    assert found["after"].v.tolist() == [[1, 101, 103]]
    assert found["inside"].v.tolist() == [[1, 9, 36]]
    assert found["same"].v.tolist() == [[1, 3, 6]]


def test_scans_are_exact_in_the_precision_of_the_kernel(spec):
    x = np.array([2.0, 1 / 3, 5.0], "f4")
    own = Oracle(spec.program.by_key, track=False)
    found = own.run(spec["scans"].d, {"N": Num(np.int64(3))}, {"x": Num(x), "n": Num(np.array([1, 2, 3]))})
    assert np.array_equal(found["p"].v, np.cumprod(x)) and found["p"].v.dtype == np.float32


# ---------------------------------------------------------------- sums at computed places


def test_another_definition_is_no_version_of_one_whose_name_ends_in_f32(spec):
    oracle = Oracle(spec.program.by_key)
    half, exp = (spec.program.by_key(key) for key in ("half_f32", "exp_f32"))
    assert oracle.twin(half) is half and oracle.twin(exp).key == "exp_f64"
    assert oracle.elementary_value(half, [num([8.0])]).v == 4


def test_whole_numbers_added_have_the_errors_of_all(spec):
    h = run(spec, "counted", x=[10 / 3, 10 / 3, 1.0, 9.0], K=2)["h"]
    assert h.v[1] - h.v[0] == 2 and h.v[0] in (0, 1)
    assert h.e.tolist() == [1, 1]


def test_a_sum_that_is_infinite_is_certain_where_its_terms_are(spec):
    at = [0, 1, 0]
    h = run(spec, "summed", at=at, x=[np.inf, 1.0, 2.0], K=2)["h"]
    assert h.v.tolist() == [np.inf, 1.0] and h.e[0] == 0
    h = run(spec, "summed", at=at, x=[np.inf, 1.0, 2.0], K=2, e=1e-3)["h"]
    assert h.e[0] == np.inf and 1e-3 <= h.e[1] < 2e-3


# ---------------------------------------------------------------- definitions of numbers


def test_a_choice_of_which_no_side_is_needed_has_any_value(spec):
    subject = spec["positive"]
    found = subject.evaluate(subject.oracle(), {}, {"x": num(np.zeros(0))})
    assert found["y"].v.shape == (0,)


def test_definitions_with_loops_are_evaluated_one_element_after_another(spec):
    x = np.array([5.0, 0.5, 2.0])
    assert np.array_equal(run(spec, "with_powers", x=x)["y"].v, 6 * x)
    assert run(spec, "with_all_steps", x=x)["y"].v.tolist() == [3, 0, 1]
    assert np.any(run(spec, "with_powers", x=x, e=1e-3)["y"].e > 6e-3)
    for name in ("powers", "steps", "multiples"):
        subject = spec[name]
        found = subject.evaluate(subject.oracle(), {}, {"x": num(x)})
        want = {"powers": 6 * x, "steps": [3, 0, 1], "multiples": 3 * x}[name]
        assert np.array_equal(next(iter(found.values())).v, want)


def test_only_values_that_are_needed_are_computed(spec):
    """Where a side of a choice is not taken, a loop without end is not run."""
    x = np.array([5.0, 0.5])
    assert run(spec, "with_steps", x=x)["y"].v.tolist() == [3, 0]
    assert run(spec, "with_some_steps", x=x)["y"].v.tolist() == [6, 0]
    with pytest.raises(Undetermined, match="too many steps"):
        run(spec, "with_steps", x=[5.0, 200.0])


# ---------------------------------------------------------------- procedures


def test_a_procedure_of_numbers_and_its_return(spec):
    assert run(spec, "half", x=4.0)["y"].v == 2
    assert run(spec, "half", x=0.5)["y"].v == 1


def test_jumps(spec):
    x = [1.0, -1.0, 3.0, 4.0]
    found = run(spec, "found", x=x, v=3.0)
    assert (found["place"].v, found["seen"].v) == (2, 1)
    found = run(spec, "found", x=x, v=9.0)
    assert (found["place"].v, found["seen"].v) == (-1, 3)
    assert run(spec, "until", x=x)["n"].v == 1


def test_sums_of_a_parallel_loop_may_be_added_in_another_order(spec):
    x = np.random.default_rng(5).standard_normal(40).astype("f4").astype(float)
    found = run(spec, "total", x=x)
    for name, terms in (("s", x), ("t", x * x)):
        orders = [np.random.default_rng(k).permutation(terms).astype("f4") for k in range(20)]
        sums = [np.add.accumulate(o)[-1] for o in orders]
        assert abs(found[name].v - np.sum(terms)) < 1e-12
        assert max(abs(float(y) - found[name].v) for y in sums) <= found[name].e


def test_a_parallel_loop_of_no_turns_adds_nothing(spec):
    found = run(spec, "total", x=[])
    assert (found["s"].v, found["s"].e, found["t"].v, found["t"].e) == (0, 0, 0, 0)


def test_arrays_of_a_procedure(spec):
    y = run(spec, "filled", x=[3.0, 0.5, 4.0])["y"]
    assert y.v.tolist() == [12, 12, 0] and y.e[2] == 0
    assert run(spec, "rooted_part", x=[1.0, 4.0, 9.0], a=1, b=3)["s"].v == 5
    assert run(spec, "rooted_view", x=[1.0, 2.0], A=2, B=1)["y"].v.tolist() == [[2], [4]]


def test_a_condition_about_names_of_the_body_is_not_tried(spec):
    d = spec["rooted"].d
    assert over_elements(Oracle(spec.program.by_key), d.given[0], Space({}, {})) is None
