"""`vibee verify` on specs that have nothing, mistakes, or what can never hold."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from vibee.__main__ import guarded

NEVER = "def never(x: f32[N], k: i64) -> y[N]:\n    given(CONDITIONS)\n    y[n] = x[n]\n"
LATE = "@procedure\ndef late(n: i64) -> s(i64):\n    s = n\n    while s != 0:\n        s -= 2\n"
RIGHT = "def double(x: f32[N]) -> y[N]:\n    y[n] = 2 * x[n]\n"
WRONG = "def f(x: f32) -> y:\n    y = z\n"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in; one process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    return tmp_path


def run(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[str], list[str]]:
    status = guarded(list(words))
    out, err = capfd.readouterr()
    return status, out.splitlines(), err.splitlines()


@pytest.mark.parametrize(("conditions", "why"), [
    ("N > 4, N < 3", "no sizes satisfy N > 4 and N < 3"),
    ("N >= 1, N < 0", "no sizes satisfy N >= 1 and N < 0"),
    ("k > 4, N < k, N > k", "no numbers satisfy N < k and N > k"),
    ("N * N == 2 * N + 5, N > 3, N < 4", "no sizes satisfy N > 3 and N < 4"),
])  # fmt: skip
def test_what_nothing_satisfies_is_an_error(conditions: str, why: str, capfd: pytest.CaptureFixture[str]) -> None:
    Path("never.vibee").write_text(NEVER.replace("CONDITIONS", conditions))
    status, out, err = run(capfd, "verify", "never.vibee")
    assert (status, err, out[3]) == (1, [], f"    why: {why}")
    assert out[2] == (f"never.vibee:2:11: REFUTED in never: given can hold: {conditions} "
                      "(given: what is given can hold, and holds at every call)")  # fmt: skip
    assert out[4].startswith("1 definition, ") and " 1 refuted, 0 unproved, " in out[4]
    for command in ("check", "compile"):
        assert run(capfd, command, "never.vibee") == (2, [], [f"never.vibee:2:11: {why}"])
    found = json.loads("\n".join(run(capfd, "verify", "never.vibee", "--json")[1]))
    (o,) = (o for o in found["definitions"][0]["obligations"] if o["outcome"] == "REFUTED")
    assert (o["kind"], o["why"], "counterexample" in o) == ("given", why, False)


@pytest.mark.parametrize("conditions", ["k * k < 0", "N >= 0"])
def test_what_holds_of_numbers_that_wrap_around_can_hold(conditions: str, capfd: pytest.CaptureFixture[str]) -> None:
    Path("never.vibee").write_text(NEVER.replace("CONDITIONS", conditions))
    assert run(capfd, "verify", "never.vibee")[0] == 0


def test_what_the_solver_gives_up_on_is_not_refuted(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vibee.prove.verify.satisfiable", lambda conditions: None)
    Path("never.vibee").write_text(NEVER.replace("CONDITIONS", "N > 2"))
    status, out, err = run(capfd, "verify", "never.vibee")
    assert (status, err) == (0, []) and " UNPROVED in never: given can hold: N > 2 " in out[2]
    assert out[3].startswith("    why: the solver finds no numbers that satisfy all of it, and no proof that ")


def test_a_loop_that_a_run_does_not_end_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    Path("late.vibee").write_text(LATE)
    status, out, err = run(capfd, "verify", "late.vibee")
    assert (status, err) == (0, [])
    assert out[2:6] == [
        "late.vibee:4:5: UNPROVED in late: the loop ends (ends: a loop ends)",
        "    example, run: late.vibee:4:5: while s != 0 has not ended after 20000 iterations with n=1",
        "    why: no number is known that each iteration makes smaller, and none below a bound: not 0 - s, s - 0",
        "    so: it runs as it is written",
    ]
    found = json.loads("\n".join(run(capfd, "verify", "late.vibee", "--json")[1]))
    (o,) = (o for o in found["definitions"][0]["obligations"] if o["outcome"] == "UNPROVED")
    assert "20000 iterations with n=1" in o["example"] and o["why"].endswith("s - 0")
    assert run(capfd, "check", "late.vibee")[0] == 0


def test_a_loop_that_comes_back_is_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    Path("late.vibee").write_text(LATE.replace("s -= 2", "s = 3 - s"))
    said = "late.vibee:4:5: while s != 0 never ends: all is as it was 2 iterations before with n=1"
    assert run(capfd, "verify", "late.vibee")[1][3] == f"    counterexample, run: {said}"
    assert run(capfd, "check", "late.vibee") == (2, [], [said])


def test_json_has_the_mistakes(capfd: pytest.CaptureFixture[str]) -> None:
    Path("wrong.vibee").write_text(WRONG)
    Path("right.vibee").write_text(RIGHT)
    status, out, err = run(capfd, "verify", "wrong.vibee", "right.vibee", "--json")
    found = json.loads("\n".join(out))
    (mistake,) = found["mistakes"]
    assert status == 2 and len(err) == 1 and [d["definition"] for d in found["definitions"]] == ["double"]
    assert (mistake["file"], mistake["line"], mistake["column"]) == ("wrong.vibee", 2, 9)
    assert err == [f"wrong.vibee:2:9: {mistake['message']}"]


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_spec_without_definitions(options: tuple[str, ...], capfd: pytest.CaptureFixture[str]) -> None:
    Path("empty.vibee").write_text("# nothing\n")
    status, out, err = run(capfd, "verify", "empty.vibee", *options)
    assert (status, err) == (2, ["vibee verify: no definitions"])
    assert not out or json.loads("\n".join(out))["definitions"] == []
