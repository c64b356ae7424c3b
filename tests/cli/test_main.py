"""The entry of the command line: what becomes of every way in which a command can end."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from vibee import __version__
from vibee.__main__ import guarded
from vibee.cli.failures import explain
from vibee.runtime.errors import ModelFileError

ROOT = Path(__file__).resolve().parents[2]
MAIN = "import sys, vibee.__main__ as m; "


def python(*words: str, **more: object) -> subprocess.CompletedProcess:
    env = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"} | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *words], env=env, stderr=subprocess.PIPE, timeout=300, **more)  # type: ignore[call-overload,no-any-return]


# ---------------------------------------------------------------- how a command ends


@pytest.mark.parametrize("words", [["--version"], ["--version", "train"]])
def test_the_version_is_told_wherever_it_is_asked_for(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(words) == 0
    assert capsys.readouterr().out == f"vibee {__version__}\n"


def test_without_a_command_the_commands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded([]) == 2
    out, err = capsys.readouterr()
    assert "infer" in out and "compile" in out and err == ""


ENDS = [
    (KeyboardInterrupt(), 130, ""),
    (BrokenPipeError(), 0, ""),
    (SystemExit(3), 3, ""),
    (SystemExit(), 0, ""),
    (ModelFileError("a", "damaged", "train again"), 2, "vibee: a: damaged; train again\n"),
    (KeyError("x"), 2, "vibee: internal error: KeyError: 'x' (VIBEE_DEBUG=1 shows where)\n"),
]


@pytest.mark.parametrize(("error", "status", "said"), ENDS, ids=[type(e[0]).__name__ for e in ENDS])
@pytest.mark.parametrize("words", [["infer", "--prompt", "a"], ["infer", "--prompt", "a", "-n5"], ["check", "a"]])
def test_a_command_ends_alike_through_either_parser(
    error: BaseException, status: int, said: str, words: list[str], monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def fail(_: object) -> int:
        raise error

    turned: list[int] = []
    monkeypatch.setattr("vibee.cli.infer.infer", fail)
    monkeypatch.setattr("vibee.cli.specs.check_specs", fail)
    monkeypatch.setattr(os, "dup2", lambda _, fd: turned.append(fd))
    assert guarded(words) == status
    assert capfd.readouterr() == ("", said)
    assert turned == ([1] if isinstance(error, BrokenPipeError) else [])  # nothing more may be written


def test_the_place_of_an_error_is_shown_to_who_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> int:
        raise KeyError("x")

    monkeypatch.setattr("vibee.cli.specs.check_specs", fail)
    monkeypatch.setenv("VIBEE_DEBUG", "1")
    with pytest.raises(KeyError):
        guarded(["check", "a"])


# ---------------------------------------------------------------- how a process ends


def closed() -> int:
    """The end of a pipe whose reader has gone."""
    read, write = os.pipe()
    os.close(read)
    return write


def test_a_reader_that_has_gone_is_no_error() -> None:
    done = python("-m", "vibee", "--version", stdout=closed())
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_full_disk_is_an_error() -> None:
    with open("/dev/full", "wb") as full:
        done = python("-m", "vibee", "--version", stdout=full)
        assert (done.returncode, done.stderr) == (2, b"vibee: cannot write the output: No space left on device\n")
        again = python("-c", MAIN + "m.run = lambda words: print('x') or 3; m.main()", stdout=full)
        assert (again.returncode, again.stderr) == (3, b"")  # the command has said what is wrong


@pytest.mark.parametrize("words", [["train", "nosuch"], ["infer", "-m", "nosuch", "--prompt", "x"], ["train", "--no"]])
def test_an_error_that_cannot_be_told_has_its_status(words: list[str], tmp_path: Path) -> None:
    env = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"} | {"PYTHONPATH": str(ROOT)}
    with open("/dev/full", "wb") as full:
        done = subprocess.run([sys.executable, "-m", "vibee", *words], env=env, cwd=tmp_path, stderr=full, timeout=300)
        assert done.returncode == 2
        code = "import sys, vibee.__main__ as m; m.run = lambda words: sys.stderr.write('x') and 3; m.main()"
        assert subprocess.run([sys.executable, "-c", code], env=env, stderr=full, timeout=300).returncode == 3


def test_closed_streams_are_as_if_nobody_read_them() -> None:
    done = python("-m", "vibee", "--version", preexec_fn=lambda: os.close(1))
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_executable_ends_with_the_status_of_the_command() -> None:
    code = MAIN + "sys.frozen = True; m.run = lambda words: print('all of it') or 5; m.main()"
    done = python("-c", code, stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout, done.stderr) == (5, b"all of it\n", b"")


# ---------------------------------------------------------------- what is said

EXPLAINED = [
    (MemoryError(), "out of memory; a smaller --batch, --width or --context needs less"),
    (MemoryError("no memory for 8 bytes"), "no memory for 8 bytes"),
    (FileNotFoundError(errno.ENOENT, "No such file", "a"), "a: No such file"),
    (FileNotFoundError(errno.ENOENT, "No such file", b"\xff"), "\udcff: No such file"),
    (OSError(errno.ENOSPC, "No space left on device"), "cannot write the output: No space left on device"),
    (OSError(errno.EINVAL, "Invalid argument"), "Invalid argument"),
    (OSError(), "OSError"),
    (ValueError("two\n  lines"), "two lines"),
    (RuntimeError(), "RuntimeError"),
    (KeyError("x"), "internal error: KeyError: 'x' (VIBEE_DEBUG=1 shows where)"),
]


@pytest.mark.parametrize(("error", "text"), EXPLAINED, ids=[repr(e[0]) for e in EXPLAINED])
def test_every_exception_is_one_line(error: BaseException, text: str) -> None:
    assert explain(error) == text


def test_functions_that_the_kernels_lack_are_named(kernels: types.ModuleType) -> None:
    from vibee.cli.kernels import Kernels
    from vibee.runtime.errors import UserError

    with pytest.raises(UserError, match=r"the kernels have no nothing: .* run `make kernels`"):
        Kernels().find("nothing")
