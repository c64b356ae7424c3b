"""Both parsers of `vibee infer` agree, and mistakes are one line with exit status 2."""

from __future__ import annotations

import contextlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vibee.__main__ import guarded
from vibee.cli import infer as infer_module
from vibee.cli.app import run_app
from vibee.cli.fast import parse_infer
from vibee.cli.options import INFER_TABLE, InferOptions


def values(options: InferOptions) -> dict[str, object]:
    return {name: getattr(options, name) for name in InferOptions.__slots__}


def by_typer(words: list[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, object] | None:
    """What typer makes of the words, or None if it refuses them."""
    seen: list[InferOptions] = []
    monkeypatch.setattr(infer_module, "infer", lambda options: seen.append(options) or 0)
    with contextlib.redirect_stderr(io.StringIO()):
        run_app(["infer", *words])
    return values(seen[0]) if seen else None


PLAIN = [
    ["--prompt", "a"],
    ["-p", "a b", "-n", "5", "--temp", "0"],
    ["--prompt=-x", "--seed", "7", "--stats", "-t", "2"],
    ["--prompt", "-", "-m", "dir", "--top-k", "3", "--top-p", "0.5", "--min-p", "0"],
    ["--prompt", "", "--repeat-penalty", "1.1", "--repeat-last-n", "-1", "--n-predict", "-1"],
]


@pytest.mark.parametrize("words", PLAIN, ids=" ".join)
def test_fast_and_typer_agree(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    fast = parse_infer(words)
    assert fast is not None
    assert values(fast) == by_typer(words, monkeypatch)


UNUSUAL = [
    [], ["--help"], ["a"], ["--prompt"], ["--prompt", "a", "-n", "x"], ["--prompt", "a", "--temp", "-1"],
    ["--prompt", "a", "--temp", "nan"], ["--prompt", "a", "--top-p", "1.5"], ["--prompt", "-n"], ["-n", "5"],
    ["--prompt", "a", "--no-such"], ["--prompt", "a", "-n5"],
]  # fmt: skip


@pytest.mark.parametrize("words", UNUSUAL, ids=" ".join)
def test_fast_leaves_the_unusual_to_typer(words: list[str]) -> None:
    assert parse_infer(words) is None


WORDS = st.sampled_from([
    "-n", "--temp", "--prompt", "-p", "--stats", "5", "-1", "0.5", "x", "-", "--seed=3", "--top-k=0", "-t", "1e3", "",
    "--precision=bf16",
])  # fmt: skip


@given(st.lists(WORDS, max_size=7))
def test_whatever_fast_accepts_typer_accepts(words: list[str]) -> None:
    fast = parse_infer(words)
    if fast is not None:
        with pytest.MonkeyPatch.context() as patch:
            assert by_typer(words, patch) == values(fast)


WRONG = [
    (["train", "--layers", "0"], "'--layers': 0 is not in the range"),
    (["train", "--batch", "-3"], "'--batch': -3 is not in the range"),
    (["train", "--width", "9" * 40], "'--width'"),
    (["train", "--arch", "bert"], "'--arch': 'bert' is not one of"),
    (["train", "--lr", "x"], "'--lr': 'x' is not a valid float"),
    (["train", "--lr", "nan"], "'--lr': nan is not a number"),
    (["train", "--init-std", "nan"], "'--init-std': nan is not a number"),
    (["train", "--resume", "--minutes", "nan"], "'--minutes': nan is not a number"),
    (["train", "--no-such-option"], "No such option"),
    (["infer"], "Missing option '-p' / '--prompt'"),
    (["infer", "--prompt", "a", "--temp", "-1"], "'--temp': -1.0 is not in the range"),
    (["infer", "--prompt", "a", "--temp", "nan"], "--temp"),
    (["infer", "--prompt", "a", "--precision", "int8"], "'--precision': 'int8' is not one of"),
    (["infer", "--prompt"], "requires an argument"),
    (["no-such-command"], "No such command"),
    (["compile"], "Missing argument 'FILE'"),
    (["check"], "Missing argument 'FILE"),
]


@pytest.mark.parametrize(("words", "expected"), WRONG, ids=lambda x: " ".join(x) if isinstance(x, list) else "")
def test_a_mistake_is_one_line(words: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert expected in err
    assert err.count("\n") == 1


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(["--help"]) == 0
    text = capsys.readouterr().out
    for name in ("train", "infer", "bench", "compile", "check", "--version"):
        assert name in text


@pytest.mark.parametrize("command", ["train", "infer", "bench", "compile", "check"])
def test_every_option_is_explained(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert "Usage: vibee " + command in text


def test_defaults_are_those_of_the_issue() -> None:
    o = InferOptions()
    assert (o.temp, o.top_k, o.top_p, o.min_p, o.repeat_penalty) == (0.8, 40, 0.95, 0.05, 1.0)
    assert set(INFER_TABLE) <= set(InferOptions.__slots__)
