"""Domains of roots, quotients and logarithms: proved, refuted by a run, or neither; and never proved where a run leaves
one."""

import random
import re

import pytest

from vibee.check import load_text
from vibee.lower.unit import Unit
from vibee.prove.refute import machine
from vibee.prove.replay import KINDS
from vibee.prove.verify import PROVED, REFUTED, UNPROVED, refuted, verify_program

ROWS = """
def f(x: f32[N, D], w: f32[N], t: f32, eps: f32 = 1e-5) -> y[N]:
    given(GIVEN)
    y[n] = VALUE
    then(y[n] >= 0)
"""


def outcomes(text: str) -> dict[str, str]:
    """What came of each condition of a text."""
    program = load_text(text, "case.vibee")
    assert not program.errors, program.errors[0]
    verdicts = [v for f in verify_program(program) for v in f.verdicts if v.kind == "domain"]
    return {v.text.partition(" in ")[0]: v.outcome for v in verdicts}


def of_value(value: str, given: str = "D >= 1") -> dict[str, str]:
    return outcomes(ROWS.replace("VALUE", value).replace("GIVEN", given))


@pytest.mark.parametrize(
    ("value", "given"),
    [
        ("sqrt(sum[d](x[n, d] ** 2))", "D >= 0"),
        ("1.0 / sqrt(sum[d](x[n, d] ** 2) / f32(D) + eps)", "D >= 1, eps > 0"),
        ("sqrt(w[n]) + t", "w[i] >= 0"),
        ("t / w[n]", "w[i] > 0"),
        ("log(sum[d](exp(x[n, d] - max[e](x[n, e]))))", "D >= 1"),
        ("log(1.0 + exp(w[n]))", "D >= 1"),
        ("sqrt(max(0.0, w[n]))", "D >= 1"),
        ("sqrt(1.0 - tanh(w[n]))", "D >= 1"),
        ("where(w[n] > 0, log(w[n]), 0.0)", "D >= 1"),
        ("where(w[n] <= 0, 0.0, sqrt(w[n]))", "D >= 1"),
        ("sqrt(abs(w[n])) / (2.0 + abs(t))", "D >= 1"),
        ("softplus(w[n]) / (1.0 + sigmoid(t))", "D >= 1"),
        ("sqrt(w[n] + 2.0) / (t - 2.0)", "abs(w[i]) <= 1.5, 1 >= abs(t)"),
        ("where(abs(w[n]) < 1.0, sqrt(2.0 - w[n]) + sqrt(2.0 + w[n]), 0.0)", "D >= 1"),
    ],
)
def test_signs_prove_it(value: str, given: str) -> None:
    found = of_value(value, given)
    assert found
    assert set(found.values()) == {PROVED}, found


@pytest.mark.parametrize(
    ("value", "given", "condition"),
    [
        ("sqrt(w[n])", "D >= 1", "w[n] >= 0.0"),
        ("log(w[n])", "w[i] <= 2", "w[n] > 0.0"),
        ("log10(w[n])", "w[i] <= 2", "f64(w[n]) > 0.0"),
        ("sqrt(sum[d](x[n, d]))", "D >= 1", "sum[d:D](x[n, d]) >= 0.0"),
        ("0.0 / f32(D)", "D >= 0", "f32(D) != 0.0"),
        ("where(w[n] > 0, 0.0, sqrt(w[n]))", "D >= 1", "w[n] >= 0.0"),
        ("where(abs(w[n]) < 1.0, 0.0, sqrt(1.0 + w[n]))", "D >= 1", "1.0 + w[n] >= 0.0"),
    ],
)
def test_a_run_that_gives_no_number_refutes_it(value: str, given: str, condition: str) -> None:
    assert of_value(value, given) == {condition: REFUTED}
    program = load_text(ROWS.replace("VALUE", value).replace("GIVEN", given), "case.vibee")
    unit = Unit(program, "v3")
    (verdict,) = refuted(unit, program.defs["f"][0])
    assert "does not hold" in str(verdict)


@pytest.mark.parametrize(
    ("value", "given", "condition"),
    [
        ("t / (w[n] * w[n])", "w[i] > 0", "w[n] * w[n] != 0.0"),  # a product of small numbers may be 0
        ("log(w[n] / 2.0)", "w[i] > 0", "w[n] / 2.0 > 0.0"),
        ("sqrt(w[n] - t)", "w[i] >= t + 1", "w[n] - t >= 0.0"),
        ("log(sum[d](exp(x[n, d] - t)))", "D >= 1", "sum[d:D](exp(x[n, d] - t)) > 0.0"),
    ],
)
def test_what_no_run_shows_and_signs_do_not_prove_stays_open(value: str, given: str, condition: str) -> None:
    assert of_value(f"abs({value})", given)[condition] == UNPROVED


def test_only_a_definition_that_claims_a_number_is_asked() -> None:
    text = ROWS.replace("VALUE", "sqrt(w[n])").replace("GIVEN", "D >= 1")
    assert outcomes(text.replace("then(y[n] >= 0)", "")) == {}
    assert outcomes(text.replace("y[n] >= 0", "y[n] != 0")) == {}
    assert outcomes(text.replace("y[n] >= 0", "N >= 0")) == {}
    for claim in ("close(y[n], y[n])", "y[n] == y[n]", "abs(y[n]) < inf"):
        assert outcomes(text.replace("y[n] >= 0", claim)) == {"w[n] >= 0.0": REFUTED}


def test_an_accumulator_keeps_its_sign() -> None:
    text = """
@procedure
def length(x: f32[N], signed: bool) -> s(f32):
    total: f32 = 0.0
    for i in range(N):
        if x[i] != 0:
            total += CHANGE
    s = sqrt(total)
    then(s >= 0)
"""
    assert outcomes(text.replace("CHANGE", "x[i] ** 2")) == {"total >= 0.0": PROVED}
    assert outcomes(text.replace("CHANGE", "abs(x[i]) / 2.0")) == {"total >= 0.0": PROVED}
    assert outcomes(text.replace("CHANGE", "x[i] - 1.0")) == {"total >= 0.0": REFUTED}


# ---------------------------------------------------------------- random formulas

LEAVES = ("x[i]", "x[i]", "abs(x[i])", "t", "0.0", "0.5", "-1.0", "2.0", "1e-3", "f32(N)", "sum[j](x[j] * x[j])",
          "sum[j](exp(x[j] - max[k](x[k])))", "sum[j](abs(x[j]))", "max[j](x[j])", "min[j](x[j])")  # fmt: skip
ODD = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0, 1e-30, -1e-42, 1e30)


def random_value(rng: random.Random, depth: int) -> str:
    if depth == 0:
        return rng.choice(LEAVES)
    a, b, c = (random_value(rng, depth - 1) for _ in range(3))
    return rng.choice((
        f"({a} + {b})", f"({a} - {b})", f"({a} * {b})", f"({a} / {b})", f"({a} ** 2)", f"sqrt({a})", f"log({a})",
        f"exp({a})", f"max({a}, {b})", f"min({a}, {b})", f"abs({a})", f"tanh({a})", f"where({a} > 0.0, {b}, {c})",
        f"where({a} > {b}, sqrt({a}), {c})", f"where({a} <= 0.0, {b}, log({a}))",
    ))  # fmt: skip


@pytest.mark.parametrize(
    ("seeds", "least_proved", "least_left"),
    [(range(20), 2, 5), pytest.param(range(20, 70), 10, 10, marks=pytest.mark.slow)],
)
def test_no_run_leaves_a_domain_that_is_proved_to_be_kept(seeds: range, least_proved: int, least_left: int) -> None:
    proved = left = refused = 0
    for seed in seeds:
        rng = random.Random(seed)
        given = rng.choice(("N >= 1", "N >= 1, t > 0", "x[i] >= 0", "N >= 1, x[i] > 0", "x[i] <= t", "t >= 0.5"))
        text = (f"def f(x: f32[N], t: f32) -> y[N]:\n    given({given})\n    y[i] = {random_value(rng, 3)}\n"
                "    then(y[i] == y[i])\n")  # fmt: skip
        program = load_text(text, "case.vibee")
        if program.errors:  # the front end sees through constants: sqrt(-1.0), 0.5 / 0.0
            assert re.search("this constant has no value|the divisor is a constant", str(program.errors[0])), text
            refused += 1
            continue
        unit = Unit(program, "v3")
        (d,) = program.defs["f"]
        m = machine(unit, kinds=KINDS | {"domain"})
        p = m.lookup(d.key)
        found = [o for o in unit.obligations[d.key] if o.kind == "domain"]
        noted: list[str] = []
        m.note_outside = lambda f, span, what, noted=noted: noted.append(what)  # type: ignore[method-assign]
        for n in (1, 2, 3):
            for _ in range(8):
                m.run(p, {"N": n}, {"x": [rng.choice(ODD) for _ in range(n)], "t": rng.choice(ODD)})
        if found and all(o.proved for o in found):
            proved += 1
            assert not noted, f"{noted[0]}\n{text}"
        left += bool(noted)
    assert proved >= least_proved
    assert refused < len(seeds) // 4
    assert left >= least_left


# ---------------------------------------------------------------- intervals of names


@pytest.mark.parametrize(
    ("value", "given", "condition", "proved"),
    [
        ("sqrt(2.0 + cumsum[n](w[n]))", "w[i] >= 0", "2.0 + cumsum[n](w[n]) >= 0.0", True),
        ("sqrt(cummax[n](w[n] ** 2))", "D >= 1", "cummax[n](w[n] * w[n]) >= 0.0", False),
        ("sqrt(cumprod[n](w[n] ** 2))", "D >= 1", "cumprod[n](w[n] * w[n]) >= 0.0", True),
        ("sqrt(cummin[n](w[n]))", "D >= 1", "cummin[n](w[n]) >= 0.0", False),
        ("sqrt(prod[d](x[n, d] ** 2))", "D >= 1", "prod[d:D](x[n, d] * x[n, d]) >= 0.0", True),
        ("sqrt(w[n])", "w[0] >= 0, N >= 1", "w[n] >= 0.0", False),  # of one element nothing follows for others
        ("sqrt(w[n])", "x[i, 0] >= 0, D >= 1, w[n] >= x[n, 0]", "w[n] >= 0.0", False),
        ("t / w[n]", "w[i] != 0", "w[n] != 0.0", False),
        ("sqrt(w[n])", "w[n] >= f32(n)", "w[n] >= 0.0", False),
    ],
)
def test_intervals_of_scans_and_of_what_is_given(value: str, given: str, condition: str, proved: bool) -> None:
    assert (of_value(value, given)[condition] == PROVED) is proved


@pytest.mark.parametrize(
    ("term", "proved"),
    [
        ("exp(x[n, d] - max[e](x[n, e]))", True),
        ("2.0 * exp(x[n, d] - max[e](x[n, e]))", True),
        ("exp(x[n, d] - min[e](x[n, e]))", False),
        ("exp(x[n, d] - max[e:1](x[n, e]))", False),  # of another range
        ("exp(x[n, d] - max[e](x[n, e] * t))", False),
        ("max(0.0, x[n, d] - max[e](x[n, e]))", False),  # gives 0 for a nan
        ("exp(max(-5.0, x[n, d] - max[e](x[n, e])))", False),  # max may hide a nan
        ("steady(x[n, d] - max[e](x[n, e]))", False),  # 1 for 0, and 0 for a nan
        ("odd(x[n, d] - max[e](x[n, e]))", False),
        ("either(x[n, d] - max[e](x[n, e]), t)", False),  # 0 for a nan, if t is none
        ("scaled(x[n, d] - max[e](x[n, e]), 2.0)", True),
    ],
)
def test_the_greatest_term_of_a_sum(term: str, proved: bool) -> None:
    text = f"""
def steady(v: f32) -> y:
    y = where(v == 0.0, 1.0, 0.0)

@procedure
def odd(v: f32) -> y(f32):
    y = v * v
    then(y >= 0)

def either(v: f32, t: f32) -> y:
    y = where(v >= 0.0, 1.0, where(t == t, 0.0, v))

def scaled(v: f32, by: f32) -> y:
    y = 1.0 + v / by
    then(y >= 0)

def f(x: f32[N, D], t: f32) -> y[N]:
    given(D >= 1)
    y[n] = log(sum[d]({term}))
    then(y[n] < inf)
"""
    (found,) = (v for c, v in outcomes(text).items() if c.startswith("sum["))
    assert (found == PROVED) is proved


PROGRAM = """
def half(v: f32) -> y:
    y = v / 2.0

def part(v: f32) -> y:
    y = where(v > 100.0, sqrt(v), 0.0)
    then(where(v >= 0, y >= 0, True), abs(y) <= 1e30)

def near(v: f32) -> y:
    y = v * v - 3.0
    then(y >= f32(close(v, 1.0)))

def count(n: i64) -> k(i64):
    k = n * n

@procedure
def power(v: f32, n: i64) -> y(f32):
    y = 1.0
    for i in range(n):
        y = y * v
    then(y >= 0)

@procedure
def root(x: f32[N], w: mut[f32[N]]) -> y(f32[N]):
    for i in range(N):
        y[i] = abs(x[i])
        w[i] = -1.0

@procedure
def f(x: f32[N], w: f32[M], k: i64) -> (y(f32[N]), s(f32)):
    given(N >= 1)
    t: f32[N]
    u: f32
    z: f32[N]
    BODY
    then(y[i] >= 0, s >= 0)
"""


@pytest.mark.parametrize(
    ("body", "condition", "proved"),
    [
        ("t[i] = x[i] ** 2\n    s = sqrt(t[0])", "t[0] >= 0.0", True),
        ("t[i] += x[i] ** 2\n    s = sqrt(t[0])", "t[0] >= 0.0", True),
        ("t[i] -= x[i] ** 2\n    s = sqrt(t[0])", "t[0] >= 0.0", False),
        ("s = 1.0 / u", "u != 0.0", False),  # what has no value is 0
        ("while u < 5.0:\n        u += abs(x[0])\n    s = sqrt(u)", "u >= 0.0", True),
        ("while u > -5.0:\n        u -= abs(x[0])\n    s = sqrt(u)", "u >= 0.0", False),
        ("while u > -5.0:\n        s = sqrt(u + 5.0)\n        u -= 0.5", "u + 5.0 >= 0.0", False),
        ("t = root(x, z)\n    s = sqrt(z[0])", "z[0] >= 0.0", False),  # a call may write anything
        ("t = root(x, z)\n    s = sqrt(t[0])", "t[0] >= 0.0", False),
        ("s = sqrt(part(w[0]))", "part(w[0]) >= 0.0", True),
        ("s = sqrt(part(abs(x[0])))", "part(abs(x[0])) >= 0.0", True),
        ("s = sqrt(power(x[0], k))", "power(x[0], k) >= 0.0", True),
        ("s = sqrt(power(2.0, 3))", "power(2.0, 3) >= 0.0", True),
        ("s = sqrt(near(w[0]))", "near(w[0]) >= 0.0", True),
        ("s = sqrt(f32(count(3)))", "f32(count(3)) >= 0.0", True),
        ("for i in range(N):\n        u = abs(x[i])\n        break\n    s = sqrt(u)", "u >= 0.0", True),
        ("s = sqrt(where(not abs(x[0]) < 0.0, 1.0, -1.0))", "where(not abs(x[0]) < 0.0, 1.0, -1.0) >= 0.0", True),
        ("s = sqrt(half(3.0) - 1.25)", "half(3.0) - 1.25 >= 0.0", True),
        ("s = sqrt(half(3.0) - 1.75)", "half(3.0) - 1.75 >= 0.0", False),
    ],
)
def test_intervals_of_what_statements_assign(body: str, condition: str, proved: bool) -> None:
    found = outcomes(PROGRAM.replace("BODY", body))
    assert (found[condition] == PROVED) is proved, found


def test_intervals_that_do_not_settle_say_nothing() -> None:
    last = 50
    body = "".join(f"        t{n} = t{n + 1}\n" for n in range(last)) + f"        t{last} = abs(x[0])\n"
    start = "".join(f"    t{n}: f32 = 0.0\n" for n in range(last + 1))
    text = (f"@procedure\ndef f(x: f32[N]) -> s(f32):\n    given(N >= 1)\n{start}    for i in range(N):\n{body}"
            f"    s = sqrt(t{last})\n    then(s >= 0)\n")  # fmt: skip
    assert outcomes(text) == {f"t{last} >= 0.0": UNPROVED}
    assert outcomes(text.replace("t0 = t1", "pass").replace("range(50)", "range(3)")) != {}


def test_sums_of_parts_of_an_array_begin_at_zero() -> None:
    text = """
def f(x: f32[N], at: i64[N], M: size) -> (y[M], s):
    given(0 <= at[i], at[i] < M, M >= 1)
    y[at[i]] += VALUE
    s = sqrt(y[0])
    then(s >= 0)
"""
    assert outcomes(text.replace("VALUE", "x[i] ** 2")) == {"y[0] >= 0.0": PROVED}
    assert outcomes(text.replace("VALUE", "x[i] ** 2 + 1.0").replace("sqrt(y[0])", "1.0 / y[0]")) == {
        "y[0] != 0.0": UNPROVED}  # fmt: skip


@pytest.mark.parametrize("body", ["power(x[n], 200)", "endless(x[n])"])
def test_an_infinity_of_a_function_without_a_domain_is_no_fault(body: str) -> None:
    text = f"""
@procedure
def power(v: f32, n: i64) -> y(f32):
    y = 1.0
    for i in range(n):
        y = y * v

@procedure
def below(v: f32) -> y(f32):
    for i in range(2):
        y = v

def endless(v: f32) -> y:
    y = where(below(v) < 0.5, 3e38 * (v + 10.0) * 10.0, inf)

def f(x: f32[N]) -> y[N]:
    y[n] = {body} - 1.0
    then(y[n] < inf)
"""
    program = load_text(text, "case.vibee")
    unit = Unit(program, "v3")
    d = program.defs["f"][0]
    m = machine(unit, kinds=frozenset({"domain"}))
    result = m.run(m.lookup(d.key), {"N": 1}, {"x": [4.0]})
    assert result.fault is None
    assert result.array("y") == [float("inf")]


ONE = """
@procedure
def f(x: f64[N], t: f64) -> (s(f64), n(i64)):
    given(N >= 1)
    while n * n * n < N:
        n += 1
    s = x[n] - t
    s = sqrt(s)
    then(s >= 0)
"""


def test_results_that_are_numbers_have_the_names_of_the_spec() -> None:
    program = load_text(ONE, "case.vibee")
    verdicts = [v for f in verify_program(program) for v in f.verdicts]
    said = {(v.kind, v.text): str(v.counterexample) for v in verdicts if v.outcome == REFUTED}
    assert set(said) == {("bounds", "0 <= n < N for axis 0 of x"), ("domain", "s >= 0.0 in sqrt(s)")}
    assert "and s >= 0.0 does not hold" in said["domain", "s >= 0.0 in sqrt(s)"]
    assert said["bounds", "0 <= n < N for axis 0 of x"].endswith("x[1] is outside x[1] with N=1, t=1.37769, n=1")
    assert "_value" not in "".join(map(repr, verdicts))


@pytest.mark.parametrize("head", ["def f(x: f64, t: f64) -> s:", "@procedure\ndef f(x: f64, t: f64) -> s(f64):"])
def test_a_function_of_numbers_that_leaves_a_domain_is_refuted(head: str) -> None:
    text = f"{head}\n    s = sqrt(x - t)\n    then(s >= 0)\n"
    assert outcomes(text) == {"x - t >= 0.0": REFUTED}
    assert outcomes(text.replace("    s =", "    given(x >= t)\n    s =")) != {"x - t >= 0.0": REFUTED}


def test_a_function_that_gives_its_argument_hides_no_domain() -> None:
    text = """
def same(x: f32) -> y:
    y = x

def root(x: f32) -> y:
    y = same(where(x >= 0, sqrt(x), same(nan)))

def f(x: f32[N]) -> y[N]:
    given(x[n] >= 0)
    y[n] = root(x[n])
    then(y[n] >= 0)
"""
    assert outcomes(text) == {"x[n] >= 0.0": PROVED}
    assert outcomes(text.replace("    given(x[n] >= 0)\n", "")) == {"x[n] >= 0.0": REFUTED}


@pytest.mark.parametrize(
    ("value", "condition", "proved"),
    [
        ("where(x[n, 0] > 0, sqrt(cumsum[n](x[n, 0])), 0.0)", "cumsum[n](x[n, 0]) >= 0.0", False),
        ("where(x[n, 0] >= 0, cumsum[n](sqrt(x[n, 0])), 0.0)", "x[n, 0] >= 0.0", False),
        ("where(t >= 0, cumsum[n](sqrt(t)), 0.0)", "t >= 0.0", True),  # says nothing of one element
    ],
)
def test_a_running_value_takes_in_what_conditions_leave_out(value: str, condition: str, proved: bool) -> None:
    assert (of_value(value)[condition] == PROVED) is proved


def test_a_maximum_for_each_term_is_not_the_largest_of_them() -> None:
    text = """
from foundation.math import exp

def f(x: f32[N, N]) -> s:
    given(N >= 1)
    m[n] = max[d](x[n, d])
    s = 1.0 / sum[e](exp(x[e, e] - m[e]))
    then(s < inf)
"""
    assert outcomes(text) == {"sum[e:N](exp(x[e, e] - m[e])) != 0.0": UNPROVED}


def test_the_result_of_a_procedure_of_numbers_is_0_before_it_is_set() -> None:
    text = """
@procedure
def f(x: f64) -> r(f64):
    if x > 1.0:
        r = x
    s: f64 = 1.0 / r
    r = 2.0 + s
    then(r <= 3.0)
"""
    assert outcomes(text) == {"r != 0.0": REFUTED}


def test_functions_that_claim_nothing_are_asked_where_they_are_called() -> None:
    text = """
def inverse(x: f32) -> y:
    y = 1.0 / x

def claimed(x: f32) -> y:
    given(x > 0)
    y = 1.0 / x
    then(y >= 0)

@procedure
def root(x: f32) -> y(f32):
    y = sqrt(x)

def f(x: f32[N], t: f32) -> (y[N], z[N]):
    given(t > 0)
    y[n] = inverse(x[n]) + claimed(t)
    z[n] = root(t) + root(x[n])
    then(y[n] >= 0, z[n] >= 0)
"""
    found = outcomes(text)
    assert {k: v for k, v in found.items() if v != PROVED} == {"x[n] != 0.0": UNPROVED, "x[n] >= 0.0": REFUTED}
    assert found["t >= 0.0"] == PROVED
