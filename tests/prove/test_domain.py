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


SEEDS = 120


def random_value(rng: random.Random, depth: int) -> str:
    if depth == 0:
        return rng.choice(LEAVES)
    a, b, c = (random_value(rng, depth - 1) for _ in range(3))
    return rng.choice((
        f"({a} + {b})", f"({a} - {b})", f"({a} * {b})", f"({a} / {b})", f"({a} ** 2)", f"sqrt({a})", f"log({a})",
        f"exp({a})", f"max({a}, {b})", f"min({a}, {b})", f"abs({a})", f"tanh({a})", f"where({a} > 0.0, {b}, {c})",
        f"where({a} > {b}, sqrt({a}), {c})", f"where({a} <= 0.0, {b}, log({a}))",
    ))  # fmt: skip


def test_no_run_leaves_a_domain_that_is_proved_to_be_kept() -> None:
    proved = left = refused = 0
    for seed in range(SEEDS):
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
    assert proved > SEEDS // 75
    assert refused < SEEDS // 4
    assert left > SEEDS // 30
