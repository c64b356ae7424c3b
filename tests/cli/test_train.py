"""`vibee train` and `vibee infer` with stand-in kernels: files, options, resuming, what goes wrong."""

from __future__ import annotations

import errno
import functools
import io
import json
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vibee.__main__ import guarded
from vibee.cli import infer, loop, train
from vibee.cli.corpus import split_place
from vibee.cli.kernels import Kernels
from vibee.cli.stopping import Stopping
from vibee.runtime import checkpoint, folder, vocabulary
from vibee.runtime.errors import UserError
from vibee.runtime.machine import load_kernels

TEXT = "".join(chr(ord("a") + i % 26) for i in range(600))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernels: types.ModuleType) -> Path:
    """An empty folder to be in, with a text."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT)
    return tmp_path


SMALL = ["--layers", "1", "--heads", "1", "--width", "8", "--context", "8", "--batch", "2"]


def run(*words: str) -> int:
    return guarded(list(words))


def fails(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    """Runs what must fail in one line; gives the line."""
    capfd.readouterr()
    assert run(*words) == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1, err
    assert "Traceback" not in err
    return err


def fails_last(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    """Runs what must fail after some lines of progress; gives the last line."""
    assert run(*words) == 2
    return capfd.readouterr().err.splitlines()[-1]


def weights_of(path: Path) -> bytes:
    file = folder.open_weights(str(path))
    return bytes(folder.read_weights(file, folder.read_shape(str(path))).cast("B"))


def test_a_run_leaves_a_whole_folder(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("train", "text.txt", "--steps", "12", "--log", "log.jsonl", *SMALL) == 0
    names = set(os.listdir(here / "vibee-model"))
    assert {"model.safetensors", "config.json", "tokenizer.json", "training.state", "loss.png"} <= names
    assert (here / "vibee-model" / "loss.png").read_bytes().startswith(b"\x89PNG")
    lines = [json.loads(line) for line in (here / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 12
    assert lines[-1]["val_loss"] is not None
    out = capfd.readouterr().out
    assert "validation loss" in out
    assert "vibee infer --prompt" in out


@pytest.mark.parametrize("arch", ["gpt2", "llama"])
def test_infer_streams_the_prompt_and_what_follows(arch: str, here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("train", "text.txt", "--steps", "3", "--arch", arch, *SMALL) == 0
    capfd.readouterr()
    assert run("infer", "--prompt", "abc", "-n", "20", "--temp", "0", "--stats") == 0
    out, err = capfd.readouterr()
    assert out == "abcdefghijklmnopqrstuvw\n"
    stats = json.loads(err)
    assert set(stats) == {
        "load_ms", "prompt_tokens", "prompt_ms", "first_token_ms", "tokens", "tokens_per_second",
    }  # fmt: skip
    assert (stats["prompt_tokens"], stats["tokens"]) == (3, 20)


def test_infer_keeps_weights_in_bf16_if_it_is_told_to(
    here: Path, kernels: types.ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("train", "text.txt", "--steps", "3", *SMALL) == 0
    capfd.readouterr()
    assert run("infer", "--prompt", "abc", "-n", "5", "--temp", "0", "--precision", "bf16") == 0
    assert capfd.readouterr().out == "abcdefgh\n"
    assert any(call[0] == "narrow" for call in kernels.calls)


def test_a_long_prompt_and_a_long_answer_go_beyond_the_context(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("train", "text.txt", "--steps", "3", *SMALL) == 0
    capfd.readouterr()
    assert run("infer", "--prompt", TEXT[:100], "-n", "30") == 0
    assert capfd.readouterr().out == TEXT[:130] + "\n"


def test_an_empty_prompt_and_no_tokens(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("train", "text.txt", "--steps", "3", *SMALL) == 0
    capfd.readouterr()
    assert run("infer", "--prompt", "", "-n", "0") == 0
    assert run("infer", "--prompt", "", "-n", "2") == 0
    assert capfd.readouterr().out == "\nbc\n"


def stop_in_the_first_chunk(kernels: types.ModuleType) -> None:
    """SIGTERM while the first steps are made."""
    steps = kernels.train_llama

    def stop_once(start: int, **rest: object) -> None:
        steps(start=start, **rest)
        if start == 0:
            os.kill(os.getpid(), signal.SIGTERM)

    kernels.train_llama = stop_once


def test_resume_is_the_run_that_was_never_stopped(
    here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, kernels: types.ModuleType
) -> None:
    assert run("train", "text.txt", "--steps", "40", "--out", "whole", *SMALL) == 0
    stop_in_the_first_chunk(kernels)
    assert run("train", "text.txt", "--steps", "40", "--out", "parts", "--log", "log.jsonl", *SMALL) == 143
    assert "go on with: vibee train --resume --out parts" in capfd.readouterr().out
    assert weights_of(here / "parts") != weights_of(here / "whole")
    assert run("train", "--resume", "--out", "parts", "--log", "log.jsonl") == 0
    assert weights_of(here / "parts") == weights_of(here / "whole")
    steps = [x["step"] for x in map(json.loads, (here / "log.jsonl").read_text().splitlines()) if x["lr"] is not None]
    assert steps == list(range(1, 41))
    assert "this run is finished" in fails(capfd, "train", "--resume", "--out", "parts")
    assert run("train", "--resume", "--out", "parts", "--steps", "45") == 0


def test_resume_refuses_another_run(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "no such folder to resume from" in fails(capfd, "train", "--resume", "--out", "none")
    assert run("train", "text.txt", "--steps", "4", *SMALL) == 0
    assert "--width 16 is not what this run began with (8)" in fails(capfd, "train", "--resume", "--width", "16")
    (here / "other.txt").write_text(TEXT + "x")
    assert "this is another one" in fails(capfd, "train", "other.txt", "--resume", "--steps", "9")
    (here / "text.txt").unlink()
    assert "text.txt: no such file" in fails(capfd, "train", "--resume", "--steps", "9")


SHORT = [
    (b"", "empty; give some text"),
    (b"a", "the text has 1 token; at least 2 are needed"),
]


@pytest.mark.parametrize(("content", "message"), SHORT)
def test_too_little_text(content: bytes, message: str, here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (here / "t").write_bytes(content)
    assert message in fails(capfd, "train", "t", "--steps", "2")
    assert not (here / "vibee-model" / "config.json").exists()


@pytest.mark.parametrize("content", [b"ab", b"aaaa", b"\xff\x00\xfe" * 50, "äöü€𝄞".encode() * 9, b"abc" * 9])
def test_little_or_strange_text_is_learnt(content: bytes, here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (here / "t").write_bytes(content)
    assert run("train", "t", "--steps", "2", "--layers", "1", "--heads", "1", "--width", "8") == 0
    shape = folder.read_shape("vibee-model")
    assert shape.S < max(2, len(content))
    assert run("infer", "--prompt", "", "-n", "3") == 0


def test_a_context_longer_than_the_text_is_told(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (here / "t").write_text("hello world")
    assert "use --context 8 or less" in fails(capfd, "train", "t", "--steps", "2", "--context", "64")


def test_memory_is_foreseen(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    message = fails(capfd, "train", "text.txt", "--layers", "1000", "--width", "4096", "--heads", "4")
    assert "this run needs" in message
    assert "smaller --batch" in message
    message = fails(capfd, "train", "text.txt", "--layers", "1024", "--width", "65536", "--heads", "1024",
                    "--batch", "1048576")  # fmt: skip
    assert "more memory than any machine has" in message
    assert not (here / "vibee-model" / "config.json").exists()


def test_what_cannot_be_read_or_written(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "none.txt: no such file" in fails(capfd, "train", "none.txt")
    (here / "empty").mkdir()
    assert "nothing in this folder" in fails(capfd, "train", "empty")
    assert "a file of that name is in the way" in fails(capfd, "train", "text.txt", "--out", "text.txt")
    assert "write the log" in fails(capfd, "train", "text.txt", "--log", "none/log", *SMALL)
    assert "no such model folder" in fails(capfd, "infer", "--prompt", "a", "--model", "none")
    assert "this folder holds no whole model" in fails(capfd, "infer", "--prompt", "a", "--model", "empty")


def test_an_unknown_character_in_the_prompt(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("train", "text.txt", "--steps", "2", *SMALL) == 0
    assert "had no character 'é'" in fails(capfd, "infer", "--prompt", "é")


def test_damaged_models_are_told_in_one_line(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("train", "text.txt", "--steps", "2", *SMALL) == 0
    model = here / "vibee-model"
    weights = (model / "model.safetensors").read_bytes()
    flipped = bytearray(weights)
    flipped[-5] ^= 16
    for content, message in ((weights[:-40], "cut short"), (bytes(flipped), "damaged"), (b"", "too short")):
        (model / "model.safetensors").write_bytes(content)
        assert message in fails(capfd, "infer", "--prompt", "a")
    (model / "model.safetensors").write_bytes(weights)
    config = json.loads((model / "config.json").read_text())
    for change, message in (({"model_type": "bert"}, "'bert'"), ({"intermediate_size": 16}, "does not belong")):
        (model / "config.json").write_text(json.dumps({**config, **change}))
        assert message in fails(capfd, "infer", "--prompt", "a")


def test_a_validation_that_is_no_number_is_told_and_not_saved(
    here: Path, capfd: pytest.CaptureFixture[str], kernels: types.ModuleType
) -> None:
    assert run("train", "text.txt", "--steps", "4", *SMALL) == 0
    kernels.evaluate_llama = lambda **rest: float("nan")
    message = fails_last(capfd, "train", "--steps", "8", "--resume")
    assert "the validation loss is nan at step 5: the run has diverged; a lower --lr helps (it is 0.002)" in message
    assert "what was saved before stands as it was" in message
    assert checkpoint.load("vibee-model").info["history"]["step"] == 4


def test_a_reader_that_has_gone_does_not_end_a_run(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    turned: list[int] = []
    with monkeypatch.context() as m:
        m.setattr(os, "dup2", lambda _, fd: turned.append(fd))
        m.setattr("sys.stdout", Gone())
        assert run("train", "text.txt", "--steps", "4", *SMALL) == 0
    assert set(turned) == {1} and checkpoint.load("vibee-model").info["history"]["step"] == 4


def test_a_terminal_that_knows_few_characters_does_not_end_a_run(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", shown)
    assert run("train", "text.txt", "--steps", "4", "--out", "mé", *SMALL) == 0
    shown.seek(0)
    assert "the model is in m\\xe9\n" in shown.read()


def test_commands_to_copy_are_quoted(here: Path, capfd: pytest.CaptureFixture[str], kernels: types.ModuleType) -> None:
    assert run("train", "text.txt", "--steps", "4", "--out", "a b", *SMALL) == 0
    assert "vibee infer --model 'a b' --prompt" in capfd.readouterr().out
    stop_in_the_first_chunk(kernels)
    assert run("train", "text.txt", "--steps", "40", "--out", "a b", *SMALL) == 143
    assert "go on with: vibee train --resume --out 'a b'\n" in capfd.readouterr().out


# ---------------------------------------------------------------- what must not be lost


def contents(path: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in path.iterdir() if p.is_file()}


def test_a_log_is_not_written_over_what_is_read(
    here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["train", "text.txt", "--steps", "4", *SMALL]
    (here / "notes").write_text("mine\n")
    os.link("text.txt", "same.txt")
    for log in ("text.txt", "same.txt"):
        assert f"--log {log}: this is text to learn from; choose another file" in fails(capfd, *words, "--log", log)
    with open("text.txt", encoding="utf-8") as f:
        monkeypatch.setattr("sys.stdin", f)
        before = os.dup(0)
        os.dup2(f.fileno(), 0)
        try:
            assert "this is text to learn from" in fails(capfd, "train", "-", "--log", "text.txt")
        finally:
            os.dup2(before, 0)
            os.close(before)
    assert "notes: there is something else" in fails(capfd, *words, "--log", "notes")
    assert (here / "text.txt").read_text() == TEXT
    assert not (here / "vibee-model").exists()
    for name in ("training.state", "config.json.new", "../vibee-model/loss.png", "vibee.commit"):
        log = f"vibee-model/{name}"
        assert f"--log {log}: a file of the model has this name" in fails(capfd, *words, "--log", log)
    assert run(*words, "--log", "vibee-model/log") == 0
    before_ = contents(here / "vibee-model")
    assert "notes: there is something" in fails(capfd, "train", "--resume", "--steps", "9", "--log", "notes")
    assert (here / "notes").read_text() == "mine\n" and contents(here / "vibee-model") == before_


def test_a_finished_model_stands_until_there_is_something_to_save(
    here: Path, capfd: pytest.CaptureFixture[str], kernels: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["train", "text.txt", "--steps", "4", *SMALL]
    assert run(*words) == 0
    before = contents(here / "vibee-model")
    monkeypatch.setattr(Stopping, "wanted", True)
    monkeypatch.setattr(Stopping, "status", 130)
    capfd.readouterr()
    assert run(*words, "--seed", "3") == 130
    assert capfd.readouterr().out.endswith("stopped before the first step; nothing was saved\n")
    assert contents(here / "vibee-model") == before
    monkeypatch.undo()
    monkeypatch.chdir(here)  # undone, too: a test that starts a process needs the folder that it was in
    monkeypatch.setattr("vibee.cli.kernels.load_kernels", lambda: kernels)
    kernels.train_llama = lambda losses, **rest: losses.__setitem__(0, float("nan"))
    assert "the run has diverged" in fails_last(capfd, *words, "--seed", "3")
    assert contents(here / "vibee-model") == before
    assert "the run has diverged" in fails_last(capfd, *words, "--out", "new")
    assert not (here / "new").exists()


@pytest.mark.parametrize("name", train.SAVED)
def test_files_of_others_are_not_replaced(name: str, here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (here / name).write_text("mine")
    words = ["train", "text.txt", "--steps", "4", "--out", ".", *SMALL]
    assert f"{name}: not written by vibee, and the model would replace it; choose another --out" in fails(capfd, *words)
    assert set(contents(here)) == {"text.txt", name} and (here / name).read_text() == "mine"


def test_a_folder_is_known_by_what_vibee_wrote_into_it(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["train", "text.txt", "--steps", "4", *SMALL]
    assert run(*words) == 0
    model = here / "vibee-model"
    assert set(contents(model)) == set(train.SAVED)
    (model / "training.state").write_bytes(b"")
    assert run(*words) == 0
    (model / "model.safetensors").unlink()
    assert run(*words) == 0
    (model / "loss.png").unlink()
    (model / "loss.png").mkdir()
    assert "loss.png: not written by vibee" in fails(capfd, *words)


def test_a_folder_without_room_is_told_before_the_first_step(
    here: Path, capfd: pytest.CaptureFixture[str], kernels: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def full(_: int, offset: int, size: int) -> None:
        sizes.append(size)
        if len(sizes) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    message = fails(capfd, "train", "text.txt", "--steps", "4", *SMALL)
    assert "cannot write into vibee-model: the disk is full" in message
    assert sizes[1] == 3 * sizes[0] > 0 and not kernels.calls and not (here / "vibee-model").exists()


# ---------------------------------------------------------------- Ctrl-C before the first step


@pytest.mark.parametrize("words", [["-"], ["text.txt", "--log", "pipe"]])
def test_what_waits_for_somebody_else_can_be_interrupted(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    os.mkfifo(tmp_path / "pipe")
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    heard = functools.partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    child = subprocess.Popen([sys.executable, "-m", "vibee", "train", *words, *SMALL], cwd=tmp_path, env=env,
                             preexec_fn=heard, stdin=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "vibee-model").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)
        assert child.poll() is None
        child.send_signal(signal.SIGINT)
        assert child.wait(60) == 130
        assert child.stderr is not None and child.stderr.read() == b""
    finally:
        child.kill()
        child.communicate()
    assert not (tmp_path / "vibee-model").exists()


def test_intervals_may_change_when_a_run_goes_on(here: Path) -> None:
    assert run("train", "text.txt", "--steps", "4", *SMALL) == 0
    words = ["--resume", "--steps", "10", "--eval-every", "3", "--sample-every", "0", "--log", "log.jsonl"]
    assert run("train", *words) == 0
    lines = [json.loads(line) for line in (here / "log.jsonl").read_text().splitlines()]
    assert [x["step"] for x in lines if x["val_loss"] is not None] == [6, 9, 10]
    assert run("train", "--resume", "--steps", "13", "--log", "log.jsonl") == 0  # what was said last, stays
    lines = [json.loads(line) for line in (here / "log.jsonl").read_text().splitlines()]
    assert [x["step"] for x in lines if x["val_loss"] is not None] == [6, 9, 10, 12, 13]


def test_what_is_read_and_what_is_not_is_told(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (here / "d").mkdir()
    (here / "d" / "a.txt").write_text(TEXT)
    (here / "d" / "b.bin").write_bytes(b"\0")
    assert run("train", "d", "--steps", "2", *SMALL) == 0
    out = capfd.readouterr().out
    assert "d/a.txt: 540 tokens to learn from, 60 held out; vocabulary of 26 characters" in out
    assert "left out: 1 files that are not text" in out
    assert run("train", "--steps", "2", *SMALL) == 0
    assert "the built-in text: " in capfd.readouterr().out
    assert "- stands for standard input and can be given once" in fails(capfd, "train", "-", "-")


@pytest.fixture
def pairs(kernels: types.ModuleType) -> types.ModuleType:
    """The stand-in with the real kernels for byte pairs."""
    pytest.importorskip("vibee._kernels.table", reason="the kernels are not built (make kernels)")
    for name in ("distinct_words", "train_pairs", "longest_word", "encode_pairs"):
        setattr(kernels, name, getattr(load_kernels(), name))
    return kernels


def test_byte_pairs_are_learnt_from_what_is_trained_on(
    here: Path, capfd: pytest.CaptureFixture[str], pairs: types.ModuleType
) -> None:
    text = "the cat sat on the mat; " * 40 + "ü" * 60 + "zebra " * 9
    (here / "t").write_text(text)
    assert run("train", "t", "--steps", "2", "--tokenizer", "bpe", "--vocab-size", "270", *SMALL) == 0
    assert "vocabulary of 270 byte pairs" in capfd.readouterr().out
    words = vocabulary.read("vibee-model")
    assert b"the" in words.tokens and not any(b"z" in t for t in words.tokens[256:])
    assert run("infer", "--prompt", "the mat", "-n", "0") == 0
    assert capfd.readouterr().out == "the mat\n"
    (here / "t").write_text("ab" * 9)  # what is held out is one token
    assert run("train", "t", "--steps", "2", "--tokenizer", "bpe", "--out", "short", *SMALL[:6]) == 0
    assert "tokens to learn from, too few to hold any out" in capfd.readouterr().out


@given(st.text(alphabet="aü漢𝄞", min_size=1))
def test_what_is_held_out_begins_with_a_character(text: str) -> None:
    content = text.encode()
    at = split_place(content)
    assert content[:at].decode() + content[at:].decode() == text and at >= len(content) * 9 // 10


def test_byte_pairs_of_many_words_there_and_back(pairs: types.ModuleType) -> None:
    kernels = Kernels(1)
    data = b" ".join(b"w%d" % i for i in range(20_000)) + "é漢\n".encode() * 3  # more words than there is room at first
    words = vocabulary.of_pairs(kernels.learn_pairs(data, 300))
    numbers = kernels.encode_pairs(words, data)
    assert len(words) == 300 and len(numbers) < len(data) and words.decode(numbers) == data
    assert list(kernels.encode_pairs(words, b"")) == []
    lacking = vocabulary.Vocabulary("bpe", words.tokens[1:], [])
    with pytest.raises(UserError, match=r"tokenizer\.json lacks some of the 256 bytes"):
        kernels.encode_pairs(lacking, data)


def test_minutes_choose_the_steps(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "CHUNK_SECONDS", 0.01)
    assert run("train", "text.txt", "--minutes", "0.001", *SMALL) == 0
    assert checkpoint.load("vibee-model").info["history"]["step"] >= 1
    assert run("train", "text.txt", "--minutes", "1e-9", "--steps", "5", "--log", "log.jsonl", *SMALL) == 0
    lines = [json.loads(line) for line in (here / "log.jsonl").read_text().splitlines()]
    assert [(x["step"], x["train_loss"]) for x in lines] == [(1, 4.0), (1, 4.0)]


def test_two_runs_cannot_share_a_folder(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from vibee.runtime.checkpoint import Lock

    lock = Lock("vibee-model")
    assert "another vibee is training into this folder" in fails(capfd, "train", "text.txt")
    lock.close()


def test_standard_input_is_data_and_prompt(
    here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open("text.txt", encoding="utf-8") as f:
        monkeypatch.setattr("sys.stdin", f)
        assert run("train", "-", "--steps", "2", *SMALL) == 0
    assert "--resume cannot read standard input again" in fails(capfd, "train", "-", "--resume")
    (here / "prompt").write_text("xyz")
    with open("prompt", encoding="utf-8") as f:
        monkeypatch.setattr("sys.stdin", f)
        capfd.readouterr()
        assert run("infer", "--prompt", "-", "-n", "1", "--temp", "0") == 0
    assert capfd.readouterr().out == "xyza\n"


def test_a_prompt_that_cannot_be_read_is_told(
    here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert "cannot read the prompt: standard input is closed" in fails(capfd, "infer", "--prompt", "-")
    with open("/proc/self/mem", encoding="utf-8") as memory:  # its first byte is not there
        monkeypatch.setattr("sys.stdin", memory)
        assert "cannot read standard input: Input/output error" in fails(capfd, "infer", "--prompt", "-")
    monkeypatch.setattr(infer, "MAX_PROMPT", len(TEXT) - 1)
    with open("text.txt", encoding="utf-8") as text:
        monkeypatch.setattr("sys.stdin", text)
        assert "the prompt is longer than 64 MB" in fails(capfd, "infer", "--prompt", "-")


def test_an_answer_ends_with_one_line_break(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (here / "lines").write_text("a\nb\n" * 50)
    assert run("train", "lines", "--steps", "2", *SMALL) == 0
    capfd.readouterr()
    assert run("infer", "--prompt", "a\n", "-n", "0") == 0
    assert capfd.readouterr().out == "a\n"


@pytest.mark.parametrize(("error", "status", "out"), [(KeyboardInterrupt, 130, "abc\n"), (BrokenPipeError, 0, "abc")])
def test_an_answer_that_is_cut_short_ends_its_line_if_somebody_reads_it(
    here: Path, capfd: pytest.CaptureFixture[str], kernels: types.ModuleType, monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException], status: int, out: str,
) -> None:  # fmt: skip
    assert run("train", "text.txt", "--steps", "2", *SMALL) == 0
    capfd.readouterr()

    def interrupted(**_: object) -> int:
        raise error

    kernels.sample = interrupted
    monkeypatch.setattr(os, "dup2", lambda *_: None)
    assert run("infer", "--prompt", "abc") == status
    assert capfd.readouterr().out == out


# ---------------------------------------------------------------- precision


@pytest.fixture
def seen(here: Path, kernels: types.ModuleType) -> list[int]:
    """The precisions that the stand-in kernels are asked for."""
    found: list[int] = []
    for arch in ("gpt2", "llama"):
        train = getattr(kernels, f"train_{arch}")

        def noted(precision: int, train: object = train, **rest: object) -> None:
            found.append(precision)
            train(**rest)  # type: ignore[operator]

        setattr(kernels, f"train_{arch}", noted)
    return found


@pytest.mark.parametrize("arch", ["gpt2", "llama"])
def test_steps_have_the_precision_that_was_asked_for(
    arch: str, here: Path, seen: list[int], capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "text.txt", "--steps", "3", "--arch", arch, *SMALL]
    assert run(*words) == 0
    assert set(seen) == {0}
    assert "bf16" not in capfd.readouterr().out
    seen.clear()
    assert run(*words, "--precision", "bf16") == 0
    assert set(seen) == {1}
    assert "products in bf16" in capfd.readouterr().out


def test_a_resumed_run_keeps_its_precision(here: Path, seen: list[int], capfd: pytest.CaptureFixture[str]) -> None:
    assert run("train", "text.txt", "--steps", "3", "--precision", "bf16", *SMALL) == 0
    assert checkpoint.load("vibee-model").info["settings"]["precision"] == "bf16"
    seen.clear()
    assert run("train", "--resume", "--steps", "6") == 0
    assert set(seen) == {1}
    told = fails(capfd, "train", "--resume", "--steps", "9", "--precision", "f32")
    assert "--precision f32 is not what this run began with (bf16)" in told


def test_another_precision_is_told(here: Path, seen: list[int], capfd: pytest.CaptureFixture[str]) -> None:
    assert "f16" in fails(capfd, "train", "text.txt", "--precision", "f16")


def test_a_run_in_bf16_learns_as_one_in_f32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the real kernels: other bits, nearly the same losses; the same bits for any number of threads."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT)
    words = ["train", "text.txt", "--steps", "60", "--sample-every", "0", "--layers", "2", "--heads", "2",
             "--width", "32", "--context", "16", "--batch", "8"]  # fmt: skip
    for name, more in (
        ("full", ["-t", "1"]), ("one", ["--precision", "bf16", "-t", "1"]), ("two", ["--precision", "bf16", "-t", "2"]),
    ):  # fmt: skip
        assert run(*words, *more, "--out", name, "--log", f"{name}.jsonl") == 0
    assert weights_of(tmp_path / "one") == weights_of(tmp_path / "two")
    assert weights_of(tmp_path / "one") != weights_of(tmp_path / "full")
    losses = {}
    for name in ("full", "one"):
        lines = [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        losses[name] = [x["train_loss"] for x in lines if x["lr"] is not None]
    assert losses["one"][-1] < 0.8 * losses["one"][0]
    assert max(abs(a - b) for a, b in zip(*losses.values(), strict=True)) < 0.05
