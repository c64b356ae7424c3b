"""The benchmarks' own machinery: turns, gaps, ratios, the page.  None of it asserts a time."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import page, side, table  # noqa: E402
from benchmarks.run import THEMES  # noqa: E402
from benchmarks.side import Case, Contestant, Goal, Result, Side  # noqa: E402


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> Iterator[Side]:
    # the factories below are given to the contestants' processes as a module of their own
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    s = Side(quick=True)
    yield s
    s.close()


def state(pid: int) -> str:
    """R, S, T, Z, or nothing if there is no such process."""
    path = Path(f"/proc/{pid}/stat")
    return path.read_text().rpartition(")")[2].split()[0] if path.exists() else ""


def contestant(name: str, make: str, **given: object) -> Contestant:
    return Contestant(name, f"contestants:{make}", given, threads=1)


def test_a_contestant_that_is_not_here_leaves_a_gap_and_the_others_race(turns: Side) -> None:
    missing, broken, there = turns.race(
        [contestant("a", "missing"), contestant("b", "broken"), contestant("c", "number", x=1.0)]
    )
    assert missing.reason == "it is not here"
    assert broken.reason.startswith("ZeroDivisionError")
    assert there.reason == "" and there.runs == 3 and 0 < there.least <= there.median


def test_a_process_that_dies_leaves_a_gap(turns: Side) -> None:
    dead, there = turns.race([contestant("a", "dies"), contestant("b", "number", x=1.0)])
    assert dead.reason == "the process ended (3)"
    assert there.runs == 3


def test_a_call_that_takes_too_long_leaves_a_gap(turns: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side, "LIMIT", 0.5)
    slow, there = turns.race([contestant("a", "sleeps"), contestant("b", "number", x=1.0)])
    assert slow.reason == "a call takes more than 0.5 s"
    assert there.runs == 3
    assert turns.race([contestant("a", "number", x=1.0)])[0].runs == 3  # in the next row it has a new process


def test_who_waits_is_stopped(turns: Side) -> None:
    worker = turns.worker(contestant("a", "number", x=1.0))
    worker.ask(make="contestants:number", given={"x": 1.0})
    assert any(state(worker.process.pid) == "T" or time.sleep(0.05) for _ in range(200))
    assert "seconds" in worker.ask(time=1)


def test_results_that_differ_are_told(turns: Side) -> None:
    names = [contestant("a", "number", x=1.0), contestant("b", "number", x=1.0), contestant("c", "number", x=1.1)]
    a, b, c = turns.race(names, same=1e-3)
    assert (a.note, b.note, c.note) == ("", "", "its results are not those of a")


def test_a_call_may_tell_its_own_time(turns: Side) -> None:
    (found,) = turns.race([contestant("a", "own_time")])
    assert found.median == found.least == 2000.0


def test_a_goal_is_judged_against_the_best_of_a_name() -> None:
    results = [Result("vibee", 2.0), Result("torch eager", 5.0), Result("torch compiled", 3.0), Result("torchlet", 1.0)]
    found = table.judged(Goal("vibee", "torch", 1.5), results)
    assert (found["ratio"], found["met"], found["against"]) == (1.5, True, "torch compiled")
    assert table.judged(Goal("vibee", "torch", 1.6), results)["met"] is False
    assert table.judged(Goal("vibee", "MKL", 1.0), results)["ratio"] is None
    assert table.judged(Goal("vibee", "torch", 1.0), [Result("vibee", reason="no"), *results[1:]])["met"] is None


def row(work: str, ours: float, theirs: float) -> dict:
    case = Case(work, [Goal("vibee", "torch", 1.0)], lambda s: [])
    return table.record("matmul", case, [Result("vibee", ours, ours, 9), Result("torch", theirs, theirs, 9)])


def test_a_row_that_is_measured_again_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.json"
    for r in (row("a", 1.0, 2.0), row("b", 1.0, 2.0), row("a", 1.0, 3.0)):
        table.merge(path, {}, r)
    found = json.loads(path.read_text())["rows"]
    assert [(r["work"], r["goals"][0]["ratio"]) for r in found] == [("a", 3.0), ("b", 2.0)]


ABOUT = {
    "processor": "P", "processors": 2, "isa": "x86-64-v4", "system": "S", "python": "3", "gcc": "12", "vibee": "0",
    "commit": "c", "numpy": "2", "torch": None, "openblas": "3", "mkl": "none", "quick": False,
}  # fmt: skip


def test_the_page_has_every_row_and_what_is_missed_furthest_first() -> None:
    rows = [row("good", 1.0, 2.0), row("bad", 1.0, 0.9), row("worst", 1.0, 0.5)]
    text = page.page({"about": ABOUT, "rows": rows})
    assert "1 of 3 goals are met, 0 not measured." in text
    assert all(f"| {name} |" in text for name in ("good", "bad", "worst"))
    missed = text.partition("## What is missed")[2]
    assert "good" not in missed and missed.index("worst") < missed.index("bad")


def test_the_page_says_why_there_is_no_number() -> None:
    case = Case("w", [Goal("vibee", "torch", 1.0)], lambda s: [])
    found = table.record("start", case, [Result("vibee", 1.0, 1.0, 9), Result("torch", reason="torch is not here")])
    text = page.page({"about": {**ABOUT, "quick": True}, "rows": [found]})
    assert "torch is not here" in text and "torch - / 1" in text and "A quick run" in text


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("theme", THEMES)
def test_every_theme_has_cases_with_goals_and_a_heading(theme: str, quick: bool) -> None:
    cases = list(importlib.import_module(f"benchmarks.{theme}").cases(quick))
    assert cases and all(c.goals and c.work for c in cases)
    assert len({c.work for c in cases}) == len(cases)
    assert theme in page.NAMES


def test_a_theme_that_there_is_not_is_refused() -> None:
    command = [sys.executable, "-m", "benchmarks.run", "--only", "matmull"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "--only matmull: not one of" in done.stderr


def test_the_page_without_results_is_refused_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.page", "--json", str(tmp_path / "none.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1


@pytest.mark.slow
def test_products_race_from_end_to_end(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    command = [sys.executable, "-m", "benchmarks.run", "--quick", "--only", "matmul/square 256", "--json", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    (found,) = json.loads(path.read_text())["rows"]
    ours = next(r for r in found["results"] if r["name"].startswith("vibee"))
    assert ours["runs"] == 3 and not any(r["note"] for r in found["results"])
    assert "matmul: square 256" in done.stdout


def test_workers_end_with_the_process_that_asks(turns: Side) -> None:
    code = (
        "from benchmarks.side import *; w = Worker(1, {}); w.ask(make='contestants:number', given={'x': 1.0});"
        "print(w.process.pid)"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert any(state(int(done.stdout)) in ("", "Z") or time.sleep(0.05) for _ in range(200))
