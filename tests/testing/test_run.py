"""The run of generated tests: modules that are written, processes that end, what is counted and printed."""

import ast
import os
import re
import signal
from types import SimpleNamespace

import pytest

from vibee import testing
from vibee.testing import command, generate
from vibee.testing.parallel import Workers
from vibee.testing.record import Record
from vibee.testing.subject import levels

SPEC = """module("run", version=1)


def double(x: f32[N]) -> y[N]:
    y[n] = 2 * x[n]
    example(x=[1, 2], y=[2, 4])


@procedure
def primes() -> p(i64[N]):
    for n in range(N):
        p[n] = 2


@model
def line(x: f32[N], C: size) -> y[N]:
    w: f32[C] = 1.0
    y = double(x)
"""


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(generate, "cache_folder", lambda: tmp_path / "cache")
    file = tmp_path / "run.vibee"
    file.write_text(SPEC)
    return file


REFUSED = """module("refused", version=1)


def first(x: real[N]) -> y:
    y = x[0]


def fine(x: f32[N]) -> y[N]:
    y[n] = x[n]
"""


@pytest.mark.parametrize(("jobs", "only"), [(1, []), (2, []), (2, ["first", "fine"])])
def test_a_spec_that_is_refused_is_told_of_once(path, capfd, jobs, only):
    path.write_text(REFUSED)
    file = path.rename(path.with_name(f"refused_{jobs}_{len(only)}.vibee"))
    assert command.test_specs([str(file)], only=only, jobs=jobs, cases=1) == 2
    out, err = capfd.readouterr()
    assert not out and err.count("\n") == 1 and "refused" in err and ":5:9: " in err and "is outside x[0]" in err


TWO = """def double(x: i64) -> y:
    y = 2 * x
    example(x=1, y=2); example(x=1, y=5)
    then(y == x + x); then(y > 9); then(y % 2 == 0)
"""


def test_statements_of_one_line_are_tested_each(path):
    path.write_text(TWO)
    file = path.rename(path.with_name("two.vibee"))
    text = dict(generate.generate(str(file)))["double"].read_text()
    assert re.findall(r"def test_(\w+_line_\w+)", text) == [
        "example_line_3", "example_line_3_2", "then_line_4", "then_line_4_2", "then_line_4_3",
    ]  # fmt: skip
    assert "testing.then(SPEC[key], line=4)\n" in text and "testing.then(SPEC[key], line=4, nth=3)\n" in text
    double = testing.spec(str(file))["double"]
    testing.example(double, line=3)
    testing.then(double, line=4, nth=3)
    for check, line in ((testing.example, 3), (testing.then, 4)):
        with pytest.raises(AssertionError, match=rf"two.vibee:{line}: double: "):
            check(double, line=line, nth=2)


def test_a_file_may_have_any_name(path):
    file = path.rename(path.with_name('we ird"""\\x::y.vibee'))
    modules = dict(generate.generate(str(file)))
    assert modules["double"].parent.name.startswith("tests_we_ird____x__y_")
    tree = ast.parse(modules["double"].read_text())
    assert ast.get_docstring(tree).startswith("double: tests generated from ") and repr(str(file)) in ast.unparse(tree)


def phase(node, when="call", outcome="passed", longrepr=None, duration=0.5):
    return SimpleNamespace(
        nodeid=node, when=when, duration=duration, outcome=outcome, longrepr=longrepr,
        failed=outcome == "failed", skipped=outcome == "skipped",
    )  # fmt: skip


def crash(text):
    return SimpleNamespace(reprcrash=SimpleNamespace(message=text))


def test_what_came_of_the_tests_is_counted_and_printed(capsys):
    record = Record({"/a/test_double.py": "double", "/a/test_primes.py": "primes"}, live=True)
    record.pytest_runtest_logreport(phase("a/test_double.py::test_agrees[double]", when="setup"))
    record.pytest_runtest_logreport(phase("a/test_double.py::test_agrees[double]"))
    for test, why in (("law", ("f", 1, "no case")), ("then", "no index")):
        record.pytest_runtest_logreport(phase(f"a/test_double.py::test_{test}", outcome="skipped", longrepr=why))
    bad = "AssertionError: run.vibee:4: double: y[0] is 3\n  with N=1\nFailing test case\nmore"
    record.pytest_runtest_logreport(phase("a/test_double.py::test_example", outcome="failed", longrepr=crash(bad)))
    live = capsys.readouterr().out.splitlines()
    assert live[0].split() == ["0.5", "s", "passed", "double:", "test_agrees[double]"] and len(live) == 4
    assert record.seconds["double: test_agrees[double]"] == 1.0
    command.report(record, 2.0, verbose=True)
    assert capsys.readouterr().out.splitlines() == [
        "FAILED double: test_example",
        "  run.vibee:4: double: y[0] is 3",
        "  with N=1",
        "",
        "skipped double: test_law: no case",
        "skipped double: test_then: no index",
        "without a test that ran: primes",
        "2 definitions, 2 tests: 1 passed, 1 failed, 2 had nothing to compare  (2 s)",
    ]


def test_a_name_that_no_definition_has(path, capsys):
    assert command.test_specs([str(path)], only=["treble", "bass"]) == 2
    assert capsys.readouterr().err == "vibee test: no definition is called treble, bass\n"
    path.write_text('"""Nothing yet."""\nmodule("run", version=1)\n')
    assert command.test_specs([str(path.rename(path.with_name("none.vibee")))]) == 2
    assert capsys.readouterr().err == "vibee test: no definitions\n"


def test_one_instruction_set_can_be_asked_for(path, monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(command, "run_modules", lambda *_: seen.append(levels()) or Record({}))
    command.run([path], isa="v2")
    command.run([path])
    assert seen[0] == ["v2"] and "v2" in seen[1]
    monkeypatch.setattr(command, "supported_levels", lambda: ["v2"])
    assert command.test_specs([str(path)], isa="v3") == 2
    assert capsys.readouterr().err == "vibee test: this processor does not have x86-64-v3\n"


def test_a_process_that_dies_is_replaced():
    workers = Workers(1)
    try:
        assert list(workers.map(signal.raise_signal, [(signal.SIGKILL.value,)])) == [None]
        assert list(workers.map(abs, [(-2,), (5,)])) == [2, 5]
    finally:
        workers.close()


def test_modules_are_written_where_they_differ_and_removed_where_the_definition_is_gone(path):
    modules = dict(generate.generate(str(path)))
    assert set(modules) == {"double", "primes", "line"}
    texts = {n: file.read_text() for n, file in modules.items()}
    checks = {n: [x.split("(")[0][4:] for x in t.splitlines() if x.startswith("def ")] for n, t in texts.items()}
    assert checks == {
        "double": ["test_example_line_6", "test_agrees", "test_gradient", "test_refusals"],
        "primes": ["test_agrees"],  # without parameters nothing can be refused
        "line": ["test_model"],
    }
    old = modules["double"].with_name("test_gone.py")
    for file in (*modules.values(), old):
        file.touch()
        os.utime(file, (1, 1))
    modules["primes"].write_text("another text")
    assert dict(generate.generate(str(path))) == modules
    assert not old.exists()
    assert {n for n, file in modules.items() if file.stat().st_mtime == 1} == {"double", "line"}
    assert modules["primes"].read_text() == texts["primes"]
