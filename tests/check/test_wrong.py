"""Wrong specs: every mistake is a message with a place, whatever the text."""

import random
import re
from dataclasses import replace
from pathlib import Path

import pytest

from vibee.check import load, load_text
from vibee.check.errors import SpecFailure
from vibee.check.modules import specs_root

WRONG = sorted((Path(__file__).parents[1] / "wrong").glob("*.vibee"))
SPECS = sorted(Path(specs_root()).glob("*/*.vibee"))
EXPECT = re.compile(r"# expect: (\d+:\d+: .*)")
SNIPPETS = [
    "(", ")", "[", "]", ":", ",", "=", "+=", "x", "N", "0", "-1", "1.5", "1e999", "sum[i](", "cumsum[n](x[n])",
    "view(x, 1)", "where(", "i8", "real", "mut[", "size", "parallel", "break", "return", "@procedure\n", "@model\n",
    "def f(x: f32) -> y:\n    y = f(x)\n", "given(", "then(", "law(", "example(x=[", "raises(", "\n", "    ", "\t", "*",
    "**", "//", "%", "0x", "'", '"""', "#", "\u00e9", "\u2028", "if ", "else:", "while True:\n        pass\n", "m.P",
    "m.forward(x)", "True", "None", "lambda: 0", "not ",
]  # fmt: skip


def test_there_are_many_cases():
    assert len(WRONG) >= 40


@pytest.mark.parametrize("path", WRONG, ids=[p.stem for p in WRONG])
def test_expected_messages(path):
    expected = EXPECT.findall(path.read_text())
    found = [f"{e.span.line}:{e.span.col}: {e.message}" for e in load(path).errors]
    assert expected
    assert found == expected


def test_errors_name_the_file():
    error = load(WRONG[0]).errors[0]
    assert str(error).startswith(f"{WRONG[0]}:{error.span.line}:{error.span.col}: ")


def only_errors(text: str) -> None:
    """Checking `text` raises nothing, and every mistake has a place and a message."""
    for e in load_text(text, str(Path(specs_root()) / "core" / "case.vibee")).errors:
        assert e.message
        assert e.span.file
        assert e.span.line >= 1
        assert e.span.col >= 1


@pytest.mark.parametrize("path", SPECS, ids=[p.stem for p in SPECS])
@pytest.mark.slow
def test_truncated_specs(path):
    text = path.read_text()
    rng = random.Random(1)
    for _ in range(12):
        only_errors(text[: rng.randrange(len(text))])


@pytest.mark.slow
@pytest.mark.parametrize("path", SPECS, ids=[p.stem for p in SPECS])
def test_mutated_specs(path):
    text = path.read_text()
    rng = random.Random(2)
    lines = text.split("\n")
    words = re.findall(r"\w+|[^\w\s]", text)
    for k in range(40):
        mutated = list(lines)
        for _ in range(rng.randrange(1, 4)):
            n = rng.randrange(len(mutated))
            line = mutated[n]
            at = rng.randrange(len(line) + 1)
            if k % 4 == 0:
                mutated[n] = line[:at] + rng.choice(SNIPPETS) + line[at:]
            elif k % 4 == 1:
                del mutated[n]
            elif k % 4 == 2:
                found = list(re.finditer(r"\w+|[^\w\s]", line))
                if found:
                    m = rng.choice(found)
                    mutated[n] = line[: m.start()] + rng.choice(words) + line[m.end() :]
            else:
                mutated[n], mutated[-n - 1] = mutated[-n - 1], mutated[n]
        only_errors("\n".join(mutated))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\0",
        "\ufeff",
        "x = " + "(" * 500 + "1" + ")" * 500,
        "x = " + "-" * 5000 + "1",
        "x = " + "+".join(["1"] * 20000),
        "def f(x: f32) -> y:\n    y = " + "+".join(["x"] * 3000),
        "def f(x: f32) -> y:\n    y = " + "abs(" * 150 + "x" + ")" * 150,
        "def f(x: f32) -> y:\n    y = " + "(" * 90 + "x" + ")" * 90,
        "def f(x: f32) -> y:\n    y = " + " and ".join(["x > 0"] * 3000),
        "@procedure\ndef f(x: f32) -> y(f32):\n"
        + "".join("    " * (k + 1) + "if x > 0:\n" for k in range(90))
        + "    " * 91
        + "y = x",
        "x = " + "9" * 10000,
        "x = 2 ** 2 ** 2 ** 2 ** 2 ** 2",
        "x = 1 << 1000000000000",
        "x = 1e400 // 1",
        "x = -1 ** 0.5\ny = (-1) ** 0.5\nz = 0 ** -1\nw = 1.0 % 0.0",
        "def f(x: f32[N]) -> y[N]: y[i] = x[i] if x[i] else",
        "def é(x: f32) -> y:\n    y = x + ñ",
        "def f() -> y:\n    y = 1.0",
        "def f(x: f32[N]) -> y[N]:\n    pass",
        "def f(x: f32[N, N, N, N, N, N, N, N, N]) -> y:\n    y = x",
        "@procedure\ndef f():\n    pass",
        "\tdef f(x: f32) -> y:\n y = x",
        "x = '\ud800'",
        "def f(x: f32) -> y:\n    if x > 0:\n        y = x\n" + "    elif x > 1:\n        y = x\n" * 900,
    ],
    ids=range(25),
)
def test_odd_texts(text):
    only_errors(text)


def test_not_a_text(tmp_path):
    path = tmp_path / "a.vibee"
    path.write_bytes(b"x = 1\ny = '\xff'\n")
    (error,) = load(path).errors
    assert (error.span.line, error.span.col) == (2, 6)
    assert "UTF-8" in error.message


def test_no_file(tmp_path):
    assert "is a folder" in load(tmp_path).errors[0].message
    assert "No such file" in load(tmp_path / "missing.vibee").errors[0].message
    assert load("\0").errors


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = '\ud800'", "this is not a text"),
        (
            "def f(x: f32) -> y:\n    if x > 0:\n        y = x\n" + "    elif x > 1:\n        y = x\n" * 900,
            "nested too deeply; name parts of the expression in equations",
        ),
        ("x = " + "-" * 150 + "1", "nested more than 120 levels deep; name a part of it in an equation"),
    ],
)
def test_what_is_no_spec_is_told_in_one_line(text, message):
    (error,) = load_text(text, "case.vibee").errors
    assert error.message.startswith(message) and "\n" not in str(error)


MIXED = """
def right(x: real) -> y:
    y = x

def wrong(x: real) -> y:
    y = z
"""


def test_a_mistake_leaves_the_other_definitions_usable():
    program = load_text(MIXED, "case.vibee")
    assert [e.message.split(";")[0] for e in program.errors] == ["'z' is not defined here"]
    assert [d.key for d in program.defs["right"]] == ["right_f32", "right_f64"] and "wrong" not in program.defs
    assert program.by_key("right_f64") is program.instance("right", {"real": "f64"})


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda p: p.raise_errors(), "case.vibee:6:9: 'z' is not defined here"),
        (lambda p: p.instance("wrong"), "case.vibee:6:9: 'z' is not defined here"),
        (lambda p: p.by_key("wrong_f32"), "case.vibee:6:9: 'z' is not defined here"),
        (lambda p: p.instance("wright"), "case.vibee: there is no definition 'wright'; did you mean"),
    ],
)
def test_what_has_a_mistake_can_not_be_used(ask, message):
    with pytest.raises(SpecFailure) as caught:
        ask(load_text(MIXED, "case.vibee"))
    assert str(caught.value).startswith(message)


def test_no_definition_has_an_unknown_key():
    with pytest.raises(KeyError, match="left"):
        load_text(MIXED, "case.vibee").by_key("left")


def test_a_derived_definition_is_kept_once():
    program = load_text(MIXED, "case.vibee")
    first, again = program.by_key("right_f32"), replace(program.by_key("right_f32"))
    assert program.add(again) is first
    new = replace(first, key="derived")
    assert program.add(new) is new and program.by_key("derived") is new


def test_modules_do_not_import_each_other_in_a_circle(tmp_path):
    (tmp_path / "a.vibee").write_text("from b import g\n\ndef f(x: f32) -> y:\n    y = x\n")
    (tmp_path / "b.vibee").write_text("from a import f\n\ndef g(x: f32) -> y:\n    y = x\n")
    (error,) = load(tmp_path / "a.vibee").errors
    assert str(error) == (f"{tmp_path}/b.vibee:1:1: 'a' imports this module itself; move what both need to a third one")
