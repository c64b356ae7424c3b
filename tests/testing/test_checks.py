"""What the tests of a spec compare, and what they pass over: each kind of statement, true and false, in one file."""

from dataclasses import replace

import numpy as np
import pytest

from vibee import testing
from vibee.grad import vjp
from vibee.testing import checks
from vibee.testing.draw import Case
from vibee.testing.gradients import Point, has_gradient, wanted
from vibee.testing.numbers import Failure
from vibee.testing.parallel import build
from vibee.tree.expr import Expr

SPEC = """module("checks", version=1)


def never(x: f32[N], k: i64) -> y[N]:
    given(k * k < 0)
    y[i] = x[i]


def none(x: f32[N]) -> y[N]:
    given(N == 0)
    y[i] = x[i]


def whole(n: i64[A, B], k: size) -> m(i64[A, B]):
    m[a, b] = n[a, b] * k
    example(n=[[1, 2]], k=3, m=[[3, 6]])
    example(n=[[]], k=3, m=[[]])
    example(n=[[1, 2]], k=3, m=[[3, 7]])


def root(x: f32[N]) -> y[N]:
    y[i] = sqrt(x[i] + 1.0)
    example(x=[3], y=[2.0001], rel=1e-3)
    example(x=[3], y=[2.0001], rel=1e-6)
    example(x=[inf, -2, 8], y=[inf, nan, 3.001], rel=1e-3)
    example(x=[inf, 8], y=[inf, 77], rel=1e-3)


def beyond(x: f32[N]) -> y[N]:
    y[i] = x[i + i64(where(x[i] > 3e37, 1000, 0))]


@procedure
def endless(x: f32) -> n(f32):
    while n >= 0.0:
        n += 1.0


@procedure
def short(x: f32) -> n(f32):
    n = x * 4.0
    example(x=1, n=4)


def with_square(x: f32) -> y:
    y = x
    y += x * x


def doubled(n: i64[N]) -> m(i64[N]):
    m[i] = 2 * n[i]


@procedure
def added(n: i64[N]) -> m(i64[N]):
    implements(doubled)
    for i in range(N):
        m[i] = n[i] + n[i]


@procedure
def beyond_too(x: f32[N]) -> y(f32[N]):
    implements(beyond)
    for i in range(N):
        y[i] = x[i]


def same(x: f32) -> n:
    n = x


@procedure
def same_at_last(x: f32) -> n(f32):
    implements(same)
    k: i64 = 0
    while k < 1000000:
        k += 1
    n = x
    example(x=2, n=2)


@procedure
def long(x: f32[N]) -> y(f32[N]):
    k: i64 = 0
    while k < 100000:
        k += 1
    for i in range(N):
        y[i] = x[i]


def ranged(x: f32[N]) -> s:
    given(N >= 1)
    s = sum[i:0:max(0, min(N, i64(floor(sqrt(x[0] * x[0] * 3.0) / sqrt(3.0)))))](x[i])


@procedure
def ranged_too(x: f32[N]) -> s(f32):
    implements(ranged)
    given(N >= 1)
    for i in range(max(0, min(N, i64(floor(sqrt(x[0] * x[0] * 3.0) / sqrt(3.0)))))):
        s += x[i]


def kept(n: i64[N], on: bool[N], m: u8[N], u: i8[N], k: i64) -> y(i64[N]):
    given(k > 0, n[i] < k, n[i] >= 0, on[i], m[i] < 1000, u[i] != 0)
    y[i] = n[i] * k if on[i] else i64(m[i]) + i64(u[i])


@procedure
def above(x: f32) -> y(f32):
    gradient(above_gradient)
    if x * 0.3 / 0.3 > x:
        y = x


def above_gradient(x: f32, d_y: f32) -> d_x:
    d_x = d_y if x * 0.3 / 0.3 > x else 0.0


def stopped(x: f32) -> y:
    y = x * 3.0
    derivative(x=0)


def through(x: f32[N]) -> y[N]:
    y[i] = 2.0 * endless(x[i])


def constant(x: f32[N], k: f32[N]) -> y[N]:
    y[i] = 1.0 * x[i] + 0.0 * k[i]
    gradient(constant_gradient)


def constant_gradient(x: f32[N], d_y: f32[N]) -> d_x[N]:
    d_x[i] = d_y[i]


@procedure
def alone(x: f32[N]) -> s(f32):
    gradient(alone_gradient)
    for i in range(N):
        s += 2.0 * x[i]


def alone_gradient(x: f32[N], d_s: f32) -> d_x[N]:
    d_x[i] = 2.0 * d_s


def with_slope(x: f32[N], d_y: f32) -> y[N]:
    y[i] = x[i] * d_y


def small(x: bf16[N], n: u8[N], on: bool[N], u: i8[N]) -> (y(bf16[N]), z(bool[N])):
    given(n[i] < 200, u[i] >= 0)
    y[i] = bf16(f32(x[i]) * f32(n[i] // 2) if on[i] else f32(x[i]))
    z[i] = on[i] and f32(x[i]) * 0.3 > 0.1


def first_has_a_default(k: f32 = 2.0) -> y:
    y = k * k


def within(x: f32) -> y:
    t = x * 2.0
    y = t + x
    then(close(t, y - x, rel=1e-3) or not (abs(x) > 1e-3) or not (abs(x) < 1e3))


def times(x: f32[N, C], w: f32[C]) -> y[N, C]:
    y[n, c] = x[n, c] * w[c]


@procedure
def times_and(x: f32[N, C], w: f32[C]) -> (y(f32[N, C]), rows(i64)):
    implements(times)
    example(x=[[1, 2]], w=[3, 4], y=[[3, 8]])
    for n in range(N):
        rows += 1
        for c in range(C):
            y[n, c] = x[n, c] * w[c]


def total(x: f32[N, C], by: f32) -> s:
    s = sum[n, c](x[n, c] ** 2) * by


def jump(x: f32[N, C]) -> s:
    s = sum[n, c](floor(x[n, c] * 1e3) * x[n, c] * 1e-3 + x[n, c])




@model
def deep(x: f32[N, C], L: size, by: f32 = 0.5) -> loss:
    h = x
    for l in layers(L):
        w: f32[C] = 1.0
        h, rows = times_and(h, w)
    loss = total(h, by)


def cancelled(x: f32[N, C]) -> s:
    s = sum[n, c](x[n, c]) + 1e7 - 1e7


@procedure
def above_all(x: f32[N, C]) -> s(f32):
    for n in range(N):
        for c in range(C):
            if x[n, c] * 0.3 / 0.3 > x[n, c]:
                s += x[n, c]


def more(old: f32[C], x: f32[C]) -> y[C]:
    y[c] = old[c] + x[c]


@procedure
def keep(x: f32[C], cache: mut[f32[C]]) -> y(f32[C]):
    for c in range(C):
        cache[c] += x[c]
        y[c] = cache[c]


def first(x: f32[N, C], w: f32[C]) -> y[C]:
    given(N >= 1)
    y[c] = x[0, c] * w[c]


@model
def kept_values(x: f32[N, C], cache: mut[f32[C]]) -> y[C]:
    given(N >= 2)
    w: f32[C] = 1.0
    h = first(x[1:2], w)
    k = keep(h, cache)
    y = more(k, w)


@model
def rounded_away(x: f32[N, C]) -> loss:
    given(N >= 1)
    w: f32[C] = 1.0
    loss = cancelled(times(x, w))


@model
def unsure(x: f32[N, C]) -> loss:
    given(N >= 1, C >= 1)
    loss = above_all(x)


@model
def stepped(x: f32[N, C]) -> loss:
    given(N >= 1)
    w: f32[C] = 1.0
    loss = jump(times(x, w))
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    file = tmp_path_factory.mktemp("checks") / "checks.vibee"
    file.write_text(SPEC)
    return str(file)


@pytest.fixture(scope="module")
def spec(path):
    return testing.spec(path)


def line(start):
    """The line of a statement."""
    return next(k for k, x in enumerate(SPEC.splitlines(), 1) if x.strip().startswith(start))


def skipped(said):
    return pytest.raises(pytest.skip.Exception, match=said)


# ---------------------------------------------------------------- cases


def test_conditions_that_nothing_satisfies_are_told(spec):
    with pytest.raises(AssertionError, match=r"vibee:\d+: never: no sizes and values were found .* given\(k \* k"):
        testing.agrees(spec["never"])
    with skipped("no sizes and values were found"):
        testing.refusals(spec["never"])


@pytest.mark.slow
def test_cases_without_elements_compare_nothing(spec):
    with skipped("all drawn cases are empty"):
        testing.agrees(spec["none"])


def test_a_seed_is_told_with_the_failure(spec, monkeypatch):
    monkeypatch.setenv("VIBEE_TEST_SEED", "7")
    testing.agrees(spec["root"])
    with pytest.raises(AssertionError, match="--seed 7 repeats it"):
        testing.agrees(broken(spec["root"], monkeypatch))


def broken(subject, monkeypatch):
    """A subject whose kernel gives too much."""
    call = type(subject).call

    def wrong(self, case, isa="", threads=1):
        return {n: x + 1 for n, x in call(self, case, isa, threads).items()}

    monkeypatch.setattr(type(subject), "call", wrong)
    return subject


# ---------------------------------------------------------------- examples


def test_the_search_for_a_smaller_failing_case_ends(spec, monkeypatch):
    monkeypatch.setattr(checks, "SHRINK", -1.0)
    tried = []

    def wrong(case):
        tried.append(case)
        raise AssertionError("wrong")

    with pytest.raises(AssertionError, match="root: wrong"):
        checks.drawn(spec["root"], wrong, spec["root"].d.span)
    assert len(tried) == 1


def test_no_more_cases_are_tried_when_the_oracle_has_taken_its_steps(spec):
    tried = []

    def slow(case):
        tried.append(case)
        spec["root"].steps = -1

    checks.drawn(spec["root"], slow, spec["root"].d.span)
    assert len(tried) == 1


def test_examples(spec):
    for start in ("example(n=[[1, 2]], k=3, m=[[3, 6]])", "example(n=[[]], k=3"):
        testing.example(spec["whole"], line(start))
    with pytest.raises(AssertionError, match=r"whole: m is \[\[3, 6\]\], not \[\[3, 7\]\]"):
        testing.example(spec["whole"], line("example(n=[[1, 2]], k=3, m=[[3, 7]])"))
    testing.example(spec["root"], line("example(x=[3], y=[2.0001], rel=1e-3)"))
    testing.example(spec["root"], line("example(x=[inf, -2, 8]"))
    for start, said in (("example(x=[3], y=[2.0001], rel=1e-6)", r"0\] is 2"), ("example(x=[inf, 8]", r"1\] is 3")):
        with pytest.raises(AssertionError, match=rf"y\[{said}.0, but the example"):
            testing.example(spec["root"], line(start))


def test_examples_of_what_the_oracle_cannot_follow_or_that_leave_results_out(spec):
    testing.example(spec["same_at_last"], line("example(x=2, n=2)"))
    testing.example(spec["times_and"], line("example(x=[[1, 2]], w"))


# ---------------------------------------------------------------- the oracle, and what implements


def test_kernel_and_oracle_refuse_the_same(spec, monkeypatch):
    monkeypatch.setenv("VIBEE_TEST_CASES", "80")
    testing.agrees(spec["beyond"])
    with pytest.raises(AssertionError, match=r"beyond: it is not refused \(v\d\), but has no value: "):
        testing.agrees(unrefused(spec["beyond"], monkeypatch))


def unrefused(subject, monkeypatch):
    """A subject that is never refused."""
    call = type(subject).call

    def always(self, case, isa="", threads=1):
        try:
            return call(self, case, isa, threads)
        except ValueError:
            return {"y": case.arrays["x"]}

    monkeypatch.setattr(type(subject), "call", always)
    return subject


def test_implements_is_compared_where_both_have_values(spec):
    testing.implements(spec["added"])
    testing.implements(spec["beyond_too"])
    with skipped("too many steps"):
        testing.implements(spec["same_at_last"])


@pytest.mark.parametrize("key", ["endless", "long"])
def test_a_procedure_that_may_not_end_is_not_compared(spec, key):
    with skipped("too many steps"):
        testing.agrees(spec[key])


def test_a_formula_that_depends_on_rounding_is_not_compared(spec):
    testing.implements(spec["ranged_too"])


@pytest.mark.parametrize("key", ["long", "kept"])
def test_refusals(spec, key):
    testing.refusals(spec[key])


@pytest.mark.parametrize("key", ["small", "within", "first_has_a_default", "with_square"])
def test_small_types_and_numbers_agree(spec, key):
    testing.agrees(spec[key])
    testing.refusals(spec[key])
    assert repr(spec[key]) == key


def test_a_name_of_the_body_of_a_formula_of_numbers(spec):
    testing.then(spec["within"], line("then(close(t"))


def no_value(self, case, oracle=None):
    raise Failure("no value")


def test_what_is_refused_otherwise_is_told(spec, monkeypatch):
    def fails(self, isa=""):
        def call(**named):
            raise TypeError("no such thing")

        return call

    monkeypatch.setattr(type(spec["root"]), "function", fails)
    monkeypatch.setattr(type(spec["root"]), "expected", no_value)
    with pytest.raises(AssertionError, match="gives TypeError: no such thing"):
        testing.refusals(spec["root"])


# ---------------------------------------------------------------- gradients


def test_a_stated_derivative_of_zero(spec, monkeypatch):
    testing.gradient(spec["stopped"])
    from vibee.api.function import Function

    monkeypatch.setattr(Function, "grad", lambda self, *args: args[0] * 0 + 1)
    with pytest.raises(AssertionError, match="its stated derivative is 0, but its gradient is not"):
        testing.gradient(spec["stopped"])


def test_which_definitions_have_gradients(spec):
    keys = ("root", "whole", "through", "constant", "alone", "endless", "doubled")
    assert [k for k in keys if has_gradient(spec[k])] == ["root", "constant", "alone"]


@pytest.mark.parametrize("key", ["root", "constant", "alone", "with_square", "with_slope"])
def test_gradients_of_formulas_and_procedures(spec, key):
    testing.gradient(spec[key])


NARROW = """module("narrow", version=1)


def narrow(x: f64[N]) -> y(f32[N]):
    y[i] = f32(x[i]) * 2.0


def narrow_wrong(x: f64[N]) -> y(f32[N]):
    y[i] = f32(x[i]) * 2.0
    gradient(narrow_slope)


def narrow_slope(x: f64[N], d_y: f32[N]) -> d_x(f64[N]):
    d_x[i] = f64(d_y[i]) * 2.0001
"""


def test_a_gradient_passes_over_conversions_between_floats(tmp_path):
    file = tmp_path / "narrow.vibee"
    file.write_text(NARROW)
    testing.gradient(testing.spec(str(file))["narrow"])
    with pytest.raises(AssertionError, match=r"the gradient by x is .* but central differences give"):
        testing.gradient(testing.spec(str(file))["narrow_wrong"])


LOCAL = """module("local", version=1)


def squares(x: real) -> y:
    t[i:4] = x * real(i + 1)
    y = sum[i:4](t[i] * t[i])
"""


@pytest.mark.parametrize("wrong", [False, True])
def test_a_gradient_of_numbers_with_loops_is_compared_element_by_element(tmp_path, wrong):
    file = tmp_path / "local.vibee"
    file.write_text(LOCAL)
    subject = testing.spec(str(file))["squares_f32"]
    g = vjp(subject.d, subject.spec.program.by_key)
    assert any(q.vars for q in g.equations)
    if wrong:
        last = g.equations[-1]
        g.equations[-1] = replace(last, rhs=Expr("neg", (last.rhs,), None, "f32"))
    case = Case({}, {}, {"x": np.linspace(-2, 2, 7).astype("f4")})
    point = Point(subject, g, case)
    point.prepare()
    point.oracle = point.oracle.smoothed()
    if not wrong:
        assert point.slopes() == 7
        return
    with pytest.raises(AssertionError, match=r"the gradient by x is .* but central differences give"):
        point.slopes()


def test_a_gradient_that_depends_on_rounding_is_not_compared(spec):
    with skipped("no smooth point was found: a branch depends on rounding"):
        testing.gradient(spec["above"])


PARTS = """
def one_stopped(x: f64, z: f64) -> y:
    y = x * z
    derivative(x=0)


def one_wrong(x: f64, z: f64) -> y:
    y = x * z
    derivative(x=0)
    derivative(z=3 * x)


def inverse_root(x: f32) -> y:
    k = 0x5F3759DF - (bitcast(i32, x) >> 1)
    g = bitcast(f32, k)
    y = g * (1.5 - 0.5 * x * g * g)


def inverse_roots(x: f32[N], z: f32[N]) -> y[N]:
    y[i] = inverse_root(x[i]) * z[i]


def sign(x: f32) -> y:
    y = where(bitcast(i32, x) < 0, -1.0, 1.0) * abs(x)
    derivative(x=2)


def bits_of_whole(x: f32, n: i32) -> y:
    k = f32(bitcast(i32, f32(n)))
    y = x * k
"""


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    path = tmp_path_factory.mktemp("parts") / "parts.vibee"
    path.write_text(PARTS)
    return testing.spec(str(path))


def test_differences_are_taken_by_what_the_derivative_is_a_slope_for(parts):
    taken = {key: [p.name for p in wanted(parts[key])] for key in parts.definitions()}
    assert taken == {
        "one_stopped": ["z"], "one_wrong": ["z"], "inverse_root": [], "inverse_roots": ["z"], "sign": ["x"],
        "bits_of_whole": ["x"],
    }  # fmt: skip


@pytest.mark.parametrize("key", ["one_stopped", "inverse_root", "inverse_roots"])
def test_a_derivative_that_is_no_slope_is_compared_by_its_kernel(parts, key):
    try:
        testing.gradient(parts[key])
    except pytest.skip.Exception as e:
        pytest.fail(f"nothing was compared: {e}")


@pytest.mark.parametrize(("key", "by"), [("one_wrong", "z"), ("sign", "x")])
def test_a_wrong_derivative_beside_one_that_is_no_slope(parts, key, by):
    with pytest.raises(AssertionError, match=f"the gradient by {by} is .* but central differences give"):
        testing.gradient(parts[key])


NUMBERS = """
def mixed(x: f64, n: i64) -> y:
    given(0 <= n, n < 6)
    t[i:6] = x / f64(i + 1)
    y = t[n] * t[2] + max[i](t[i])


def wrong(x: f64) -> y:
    t[i:4] = x / f64(i + 1)
    y = t[1] * t[2] + max[i](t[i])
    gradient(wrong_gradient)


def wrong_gradient(x: f64, d_y: f64) -> d_x:
    t[i:4] = x / f64(i + 1)
    d_x = d_y * sum[i](t[i])
"""


def test_gradients_of_numbers_that_have_arrays_of_their_own(tmp_path):
    path = tmp_path / "numbers.vibee"
    path.write_text(NUMBERS)
    numbers = testing.spec(str(path))
    try:
        testing.gradient(numbers["mixed"])
    except pytest.skip.Exception as e:
        pytest.fail(f"nothing was compared: {e}")
    with pytest.raises(AssertionError, match="central differences"):
        testing.gradient(numbers["wrong"])


# ---------------------------------------------------------------- models


def test_a_model_of_layers(spec):
    testing.model(spec["deep"])


def test_steps_of_a_model_are_passed_over(spec):
    testing.model(spec["stepped"])


def test_a_model_without_slopes_is_told(spec):
    with pytest.raises(AssertionError, match="no point was found where central differences converge"):
        testing.model(spec["rounded_away"])


def test_a_model_with_a_changed_input_has_no_gradient(spec):
    testing.model(spec["kept_values"])


def test_a_model_that_depends_on_rounding_is_not_compared(spec):
    with skipped("nothing could be compared"):
        testing.model(spec["unsure"])


def test_models_are_built_before_their_tests(path, spec):
    build(path, "deep", "")
    functions = spec.library().deep
    assert set(functions._models) == {"f32"}
