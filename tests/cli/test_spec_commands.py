"""`vibee check`, `compile`, `verify` and `test`: what each says of right, wrong, refuted and unproved specs."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from vibee.__main__ import guarded
from vibee.prove.linear import TIMEOUT_MS

RIGHT = """module("right", version=1)

def double(x: f32[N]) -> y[N]:
    y[i] = 2 * x[i]

def summed(x: f32[N, C], w: f32[C]) -> y[N]:
    y[n] = sum[c](x[n, c] * w[c])

@model
def plain(x: f32[N, C]) -> y[N]:
    w: f32[C] = 1.0
    y = summed(x, w)
"""
WRONG = "def f(x: f32) -> y:\n    y = z\n"
REFUTED = "def embed(token: i32[N], w: f32[V, C]) -> y[N, C]:\n    y[n, c] = w[token[n], c]\n"
MODEL = """def mean(y: f32[N]) -> e:
    given(N >= 1)
    e = sum[n](y[n]) / f32(N)

@model
def net(x: f32[N]) -> loss:
    loss = mean(x)
"""
UNPROVED = """@procedure
def collatz(start: i64, x: f32[200], y: f32[200]) -> s(f32):
    given(1 <= start, start < 1000)
    n = start
    k: i64 = 0
    while n != 1:
        n = where(n % 2 == 0, n // 2, 3 * n + 1)
        k += 1
        s += x[k] + y[k]
        s *= x[k]
"""


@pytest.fixture
def specs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in, with one spec of each kind."""
    monkeypatch.chdir(tmp_path)
    for name, text in (("right", RIGHT), ("wrong", WRONG), ("refuted", REFUTED), ("unproved", UNPROVED)):
        (tmp_path / f"{name}.vibee").write_text(text)
    return tmp_path


def run(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[str], list[str]]:
    status = guarded(list(words))
    out, err = capfd.readouterr()
    return status, out.splitlines(), err.splitlines()


# ---------------------------------------------------------------- check


def test_check_tells_every_mistake_of_every_file(specs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capfd, "check", "right.vibee", "wrong.vibee", "refuted.vibee")
    assert status == 2 and out == ["right.vibee: 3 definitions, no mistakes"]
    assert [line.partition(" ")[0] for line in err] == ["wrong.vibee:2:9:", "refuted.vibee:2:15:"]
    assert "is outside w[0, 1] with N=1, V=0" in err[1]


def test_check_looks_at_what_is_derived_from_a_model(specs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (specs / "net.vibee").write_text(MODEL)
    status, out, err = run(capfd, "check", "net.vibee")
    assert (status, out, len(err)) == (2, [], 1) and err == run(capfd, "compile", "net.vibee", "--emit", "pyx")[2]
    assert err[0].startswith("net.vibee:7:12: N >= 1 at the call of mean does not hold: ")
    (specs / "net.vibee").write_text(MODEL.replace("loss:\n", "loss:\n    given(N >= 1)\n"))
    assert run(capfd, "check", "net.vibee") == (0, ["net.vibee: 2 definitions, no mistakes"], [])


def test_check_notes_what_is_not_proved_once_for_each_line(specs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capfd, "check", "unproved.vibee")
    assert (status, err) == (0, []) and out == [
        "unproved.vibee: 1 definition, no mistakes",
        "unproved.vibee:6:5: it is not proved that the loop ends; it runs as it is written (note, collatz)",
        "unproved.vibee:9:14: it is not proved that 0 <= k < 200 for axis 0 of x; tested at each access (note, collatz)"
        " (and 1 more)",
        "unproved.vibee:10:14: it is not proved that 0 <= k < 200 for axis 0 of x; tested at each access "
        "(note, collatz)",
    ]


def test_check_without_a_solver_says_that_nothing_is_proved(
    specs: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "z3", None)
    status, out, _ = run(capfd, "check", "refuted.vibee")
    assert status == 0 and out[0] == "refuted.vibee: 1 definition, no mistakes"
    assert "nothing is proved here, since the solver is not installed" in out[1]
    assert run(capfd, "verify", "right.vibee")[2] == [
        "vibee: verify needs the solver: pip install z3-solver, or pip install . in vibee's folder"
    ]


def test_the_time_that_help_names_is_the_one_that_is_taken(specs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert f"[default: {TIMEOUT_MS}]" in " ".join(" ".join(run(capfd, "verify", "--help")[1]).split())


# ---------------------------------------------------------------- compile

STAGES = {
    "tree": ["module right version 1", "model plain(x: f32[N, C]) -> (y[N])"],
    "checked": ["    y[i] = 2.0 * x[i]   for i < N   : f32", "    weight w: f32[C] = 1.0"],
    "lowered": ["procedure double(x: in f32[N]) -> (y: out f32[N])"],
    "pyx": ["# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False"],
}


@pytest.mark.parametrize("stage", STAGES)
def test_compile_shows_every_stage(stage: str, specs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capfd, "compile", "right.vibee", "--emit", stage)
    assert (status, err) == (0, [])
    for line in STAGES[stage]:
        assert line in out


def test_compile_builds_a_module_and_prints_its_path(
    specs: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[tuple[str, str]] = []
    monkeypatch.setattr("vibee.build.build", lambda text, stem: built.append((text, stem)) or (Path("a.so"), "a"))
    assert run(capfd, "compile", "right.vibee") == (0, ["a.so"], [])
    assert built[0][1] == "right" and "def plain_forward(" in built[0][0]


@pytest.mark.parametrize("spec", ["wrong", "refuted"])
def test_compile_refuses_what_is_wrong(spec: str, specs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capfd, "compile", f"{spec}.vibee")
    assert (status, out) == (2, []) and len(err) == 1 and err[0].startswith(f"{spec}.vibee:2:")


def test_compile_needs_cython_for_a_module(
    specs: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "Cython", None)
    status, _, err = run(capfd, "compile", "right.vibee")
    assert status == 2 and len(err) == 1 and "use vibee in a Python environment, or --emit pyx" in err[0]


# ---------------------------------------------------------------- verify


def test_verify_tells_what_is_refuted_and_what_is_open(
    specs: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    status, out, err = run(capfd, "verify", "unproved.vibee", "refuted.vibee")
    assert (status, err) == (1, [])
    table = {line.split()[0]: line.split()[1:5] for line in out[1:3]}
    assert table["embed"][2:] == ["1", "0"] and table["collatz"][2:] == ["0", "4"]
    at = out.index("unproved.vibee:9:14: UNPROVED in collatz: 0 <= k < 200 for axis 0 of x "
                   "(bounds: every read and write is inside its array)")  # fmt: skip
    assert out[at + 1] == "    claim: 0 <= k and k < 200" and out[at + 2].startswith("    known: ")
    assert out[at + 3] == "    so: tested at each access"
    assert "unproved.vibee:6:5: UNPROVED in collatz: the loop ends (ends: a loop ends)" in out
    assert out[-2].startswith("    counterexample, run: refuted.vibee:2:15: w[1, 0] is outside w[0, 1]")
    assert out[-1].startswith("2 definitions, ") and " 1 refuted, 4 unproved, " in out[-1]


def test_verify_cuts_what_fills_pages_and_json_does_not(specs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    name = "k" * 250
    (specs / "unproved.vibee").write_text(UNPROVED.replace("k", name))
    status, out, err = run(capfd, "verify", "unproved.vibee")
    assert (status, err) == (0, []) and max(map(len, out)) < 1700
    (claim,) = {line for line in out if line.startswith("    claim: 0 <= k")}
    assert " ... k" in claim and claim.endswith("k < 200")
    found = json.loads("\n".join(run(capfd, "verify", "unproved.vibee", "--json")[1]))
    (row,) = found["definitions"]
    assert {o["claim"] for o in row["obligations"] if "claim" in o} == {f"0 <= {name} and {name} < 200"}


def test_verify_says_nothing_of_a_file_with_mistakes_but_them(specs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capfd, "verify", "wrong.vibee")
    assert (status, out) == (2, []) and len(err) == 1 and err[0].startswith("wrong.vibee:2:9: ")
    status, out, err = run(capfd, "verify", "wrong.vibee", "right.vibee")
    assert status == 2 and len(err) == 1 and [line.split()[0] for line in out[:2]] == ["definition", "double"]


def test_verify_takes_files_in_order_whatever_process_looks_at_them(
    specs: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also: --json says the same, and 2 comes before 1."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    (specs / "unproved.vibee").unlink()
    status, out, err = run(capfd, "verify", ".", "--json")
    assert status == 2 and len(err) == 1 and err[0].startswith("wrong.vibee:2:9: ")
    found: dict[str, Any] = json.loads("\n".join(out))
    assert [row["definition"] for row in found["definitions"]][:3] == ["embed", "double", "summed"]
    assert (found["REFUTED"], found["UNPROVED"]) == (1, 0)
    first = next(o for o in found["definitions"][0]["obligations"] if o["outcome"] == "REFUTED")
    assert (first["kind"], first["line"], first["column"]) == ("bounds", 2, 15)
    assert "is outside" in first["counterexample"]


def test_verify_tells_conditions_that_nothing_satisfies(specs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (specs / "never.vibee").write_text("def never(x: f32[N]) -> y[N]:\n    given(N > 3, N < 2)\n    y[n] = x[n]\n")
    status, out, err = run(capfd, "verify", "never.vibee")
    assert (status, err) == (1, []) and out[2].startswith("never.vibee:2:11: REFUTED in never: ")
    assert out[3] == "    why: no sizes satisfy N > 3 and N < 2" and out[4].startswith("1 definition, ")


@pytest.mark.parametrize(("path", "message"), [("none.vibee", "there is no such file"), ("empty", "no .vibee file")])
def test_verify_names_what_is_not_there(
    path: str, message: str, specs: Path, capfd: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    (specs / "empty").mkdir()
    status, out, err = run(capfd, "verify", path)
    assert (status, out) == (2, []) and len(err) == 1 and message in err[0]


# ---------------------------------------------------------------- test


def test_test_passes_its_options_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("vibee.testing.command.test_specs", lambda *words: seen.append(words) or 1)
    assert guarded(["test", "a", "b", "-s", "5", "-k", "f,g,", "-v", "-j", "2", "-c", "3", "--isa", "v2"]) == 1
    assert guarded(["test", "a"]) == 1
    assert seen == [(["a", "b"], 5, ["f", "g"], True, 2, 3, "v2"), (["a"], None, [], False, 0, None, None)]


@pytest.mark.parametrize(
    ("missing", "what"), [("hypothesis", "hypothesis is missing"), ("vibee.testing", "it is not in the executable")]
)
def test_test_says_what_it_needs(
    missing: str, what: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in [n for n in sys.modules if n.startswith("vibee.testing")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("vibee.testing", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    status, _, err = run(capfd, "test", "a")
    assert status == 2 and err == [f"vibee test: {what}; in a Python environment: pip install 'vibee[test]'"]
