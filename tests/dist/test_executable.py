"""dist/vibee as a stranger's machine sees it: no Python, no environment, folders that cannot be written."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from functools import partial
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VIBEE = ROOT / "dist" / "vibee"

pytestmark = [
    pytest.mark.dist,
    pytest.mark.skipif(not VIBEE.exists(), reason="dist/vibee is not built (make dist)"),
]

TEXT = "".join(f"the quick brown fox number {i} jumps over the lazy dog\n" for i in range(300))
SMALL = ["--layers", "2", "--heads", "2", "--width", "32", "--context", "32", "--batch", "4"]


def vibee(*words: object, cwd: Path, env: dict[str, str] | None = None, **rest: object) -> subprocess.CompletedProcess:
    command = [str(VIBEE), *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=env or {}, capture_output=True, text=True, timeout=300, **rest)  # type: ignore[call-overload]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text and a model trained on it."""
    here = tmp_path_factory.mktemp("trained")
    (here / "text.txt").write_text(TEXT)
    done = vibee("train", "text.txt", "--steps", "60", "--log", "log.jsonl", *SMALL, cwd=here)
    assert done.returncode == 0, done.stderr
    return here


def one_line(done: subprocess.CompletedProcess) -> str:
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_it_is_under_ten_million_bytes() -> None:
    assert VIBEE.stat().st_size < 10_000_000


def test_it_learns(trained: Path) -> None:
    lines = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    first = next(x["train_loss"] for x in lines)
    assert lines[-1]["val_loss"] < first - 0.5


@pytest.mark.parametrize("isa", ["v2", "v3", "v4"])
def test_every_instruction_set_that_the_machine_has(isa: str, trained: Path) -> None:
    words = ["infer", "--prompt", "the ", "-n", "40", "--temp", "0"]
    done = vibee(*words, cwd=trained, env={"VIBEE_ISA": isa})
    if done.returncode == 2 and "does not have" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("the ")
    assert len(done.stdout) == 45
    assert done.stdout == vibee(*words, cwd=trained, env={"VIBEE_ISA": isa}).stdout


def test_weights_may_be_kept_in_bf16(trained: Path) -> None:
    words = ["infer", "--prompt", "the ", "-n", "40", "--temp", "0", "--precision"]
    full, half = (vibee(*words, kind, cwd=trained) for kind in ("f32", "bf16"))
    assert half.returncode == 0, half.stderr
    assert half.stdout.startswith("the ") and len(half.stdout) == 45
    assert half.stdout[:12] == full.stdout[:12]  # likely letters stay likely


def test_from_a_read_only_folder_with_an_empty_environment(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "vibee-model", tmp_path / "m")
    for path in [*(tmp_path / "m").iterdir(), tmp_path / "m", tmp_path]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        done = vibee("infer", "--model", "m", "--prompt", "the ", "-n", "5", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    finally:
        tmp_path.chmod(0o755)
        (tmp_path / "m").chmod(0o755)


def test_seeds_and_threads(trained: Path) -> None:
    def text(*words: str) -> str:
        return vibee("infer", "--prompt", "the ", "-n", "60", *words, cwd=trained).stdout

    assert text("--seed", "1") == text("--seed", "1", "-t", "1")
    assert text("--seed", "1") != text("--seed", "2")


def test_the_same_weights_for_any_number_of_threads_and_after_a_stop(trained: Path, tmp_path: Path) -> None:
    shutil.copy(trained / "text.txt", tmp_path)
    words = ["train", "text.txt", "--steps", "400", "--eval-every", "100", "--sample-every", "0", *SMALL]
    assert vibee(*words, "--out", "one", "-t", "1", cwd=tmp_path).returncode == 0
    process = subprocess.Popen([VIBEE, *words, "--out", "two"], cwd=tmp_path, env={}, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True)  # fmt: skip
    deadline = time.monotonic() + 60
    while not (tmp_path / "two" / "training.state").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    if process.returncode:  # a fast machine may have been through
        assert process.returncode == 143
        assert f"go on with: {VIBEE} train --resume --out two" in out
        assert vibee("train", "--resume", "--out", "two", cwd=tmp_path).returncode == 0
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two


def test_a_kill_leaves_a_readable_checkpoint(trained: Path, tmp_path: Path) -> None:
    shutil.copy(trained / "text.txt", tmp_path)
    words = ["train", "text.txt", "--steps", "100000", "--eval-every", "1", "--sample-every", "0", *SMALL]
    for delay in (0.3, 0.55, 0.8):
        process = subprocess.Popen([VIBEE, *words], cwd=tmp_path, env={}, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
        deadline = time.monotonic() + 60
        while not (tmp_path / "vibee-model" / "config.json").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        done = vibee("infer", "--prompt", "the ", "-n", "1", cwd=tmp_path)
        assert done.returncode == 0, done.stderr


def test_head_ends_it_quietly(trained: Path) -> None:
    done = subprocess.run(
        f"{VIBEE} infer --prompt a -n 2000 --seed 1 | head -c 10; echo; echo ${{PIPESTATUS[0]}}",
        shell=True, executable="/bin/bash", cwd=trained, env={"PATH": os.environ["PATH"]}, capture_output=True,
        text=True, timeout=120,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.endswith("\n0\n")


def test_interrupting_infer_says_nothing(trained: Path) -> None:
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a job in the background has it ignored
    process = subprocess.Popen([VIBEE, "infer", "--prompt", "a", "-n", "-1"], cwd=trained, env={},
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=heard)  # fmt: skip
    assert process.stdout is not None
    process.stdout.read(200)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == b""


def test_the_prompt_may_come_from_a_pipe(trained: Path) -> None:
    done = vibee("infer", "--prompt", "-", "-n", "1", "--temp", "0", cwd=trained, input="the quick")
    assert done.stdout.startswith("the quick")


def test_a_full_disk_is_told_in_one_line(trained: Path) -> None:
    assert "cannot write the output" in one_line(
        subprocess.run(f"{VIBEE} infer --prompt a -n 5 > /dev/full", shell=True, cwd=trained, capture_output=True,
                       text=True, timeout=60)
    )  # fmt: skip


MISTAKES = [
    (["train", "none.txt"], "none.txt: no such file"),
    (["train", "--layers", "0"], "not in the range"),
    (["train", "text.txt", "--width", "60000", "--layers", "1000", "--heads", "1"], "memory"),
    (["infer", "--prompt", "é"], "had no character"),
    (["infer", "--prompt", "a", "--model", "none"], "no such model folder"),
    (["bench", "--vs", "numpy"], "Python environment"),
    (["check", "none.vibee"], "none.vibee"),
    (["no-such-command"], "No such command"),
]


@pytest.mark.parametrize(("words", "message"), MISTAKES, ids=[" ".join(w) for w, _ in MISTAKES])
def test_mistakes_are_one_line(words: list[str], message: str, trained: Path) -> None:
    assert message in one_line(vibee(*words, cwd=trained))


def test_specs_can_be_checked_and_compiled_to_cython(trained: Path) -> None:
    (trained / "mean.vibee").write_text(
        'module("mean", version=1)\n\ndef row_mean(x: real[N, D]) -> y[N]:\n'
        '    """Means."""\n    given(D >= 1)\n    y[n] = sum[d](x[n, d]) / real(D)\n'
    )
    assert "no mistakes" in vibee("check", "mean.vibee", cwd=trained).stdout
    for stage, expected in (("tree", "row_mean"), ("checked", "row_mean_f32"), ("lowered", "for"), ("pyx", "cdef")):
        assert expected in vibee("compile", "mean.vibee", "--emit", stage, cwd=trained).stdout
    assert "Python environment" in one_line(vibee("compile", "mean.vibee", "--emit", "so", cwd=trained))


def test_nothing_is_left_in_the_temporary_folder(trained: Path, tmp_path: Path) -> None:
    done = vibee("infer", "--prompt", "a", "-n", "1", cwd=trained, env={"TMPDIR": str(tmp_path)})
    assert done.returncode == 0
    assert list(tmp_path.iterdir()) == []
