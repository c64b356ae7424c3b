"""The prover against runs: random specs, some with a planted fault.  `fuzz.py --count 20000` is the long form."""

import fuzz
import pytest
from brute import machine, search
from owed import missing
from random_specs import FAMILIES, UNKNOWN, family, spec

from vibee.check import load_text
from vibee.lower.unit import Unit

LONG = {"product", "results"}  # to run


@pytest.mark.parametrize("write", [
    pytest.param(f, id=f.__name__, marks=[pytest.mark.slow] if f.__name__ in LONG else []) for f in FAMILIES
])  # fmt: skip
def test_runs_show_the_planted_faults_and_no_others(write):
    shown = 0
    for seed in range(4):
        for planted in (False, True):
            text, kind = family(write, seed, planted)
            assert (kind is not None) == planted
            program = load_text(text, "case.vibee")
            if program.errors:
                assert planted, f"{program.errors[0]}\n{text}"
                continue
            unit = Unit(program, "v3")
            m = machine(unit)
            found = [search(unit, d, m=m) for ds in program.defs.values() for d in ds]
            assert any(f.fault for f in found) == planted, f"{kind}: {[str(f.fault) for f in found]}\n{text}"
            assert all(f.runs for f in found), f"nothing was run of\n{text}"
            shown += planted
    assert shown or write.__name__ in ("views", "sized")  # the front end refuses these faults


def test_a_seed_gives_the_same_spec():
    assert [spec(n) for n in range(50)] == [spec(n) for n in range(50)]
    kinds = {spec(n)[1] for n in range(300)}
    assert {None, UNKNOWN, "bounds", "race", "divisor", "endless", "given"} <= kinds


@pytest.mark.slow
def test_no_fault_is_said_to_be_safe():
    rows, _, wrong = fuzz.fuzz(300, seed=5)
    assert not wrong, "\n".join(f"{w.wrong}\n{spec(w.seed)[0]}" for w in wrong[:5])
    assert rows["planted, not said to be safe"] > 50 and rows["clean, proved"] > 30, rows


def test_a_false_claim_is_noticed(monkeypatch):
    """With a prover that says yes to everything, every fault is one that was said to be safe."""
    honest = fuzz.claims

    def liar(unit, d):
        said = honest(unit, d)
        return [fuzz.Claim(c.kind, c.span, "PROVED", c.text) for c in said]

    monkeypatch.setattr(fuzz, "claims", liar)
    rows, _, wrong = fuzz.fuzz(100)
    assert rows["bounds, said to be safe"] > 10 and rows["race, said to be safe"] > 1
    assert len(wrong) > 15, rows


EVERY_KIND = """
@procedure
def head(x: f32[N], k: i64) -> y(f32):
    given(0 <= k < N)
    y = x[k]

@procedure
def f(x: f32[N]) -> y(f32):
    given(N >= 3, x[n] >= 0)
    k: i64 = 0
    while k < N - 1:
        k += 1
    y = sqrt(x[N - 1 - k] + head(x, k)) / x[2 * k % N]
    then(y >= 0)
"""


def test_what_the_prover_passes_over_is_noticed():
    unit = Unit(load_text(EVERY_KIND, "case.vibee"), "v3")
    (d,) = unit.program.defs["f"]
    unit.procedure(d)
    said = unit.obligations["f"]
    assert missing(unit, d, said) == []
    for kind, least in (("ends", 1), ("given", 2), ("overflow", 2), ("domain", 2)):
        left_out = missing(unit, d, [o for o in said if o.kind != kind])
        assert {k for k, *_ in left_out} == {kind} and len(left_out) >= least


def test_a_spec_of_which_nothing_is_said_is_wrong(monkeypatch):
    monkeypatch.setattr(fuzz, "missing", lambda unit, d, said: [("ends", d.span, "the loop ends")])
    assert fuzz.judge(0).wrong == "nothing is said of ends: the loop ends"
    assert fuzz.said_safe(fuzz.Fault("overflow", fuzz.Span(), "", {}, {}), [])
