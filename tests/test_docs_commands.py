"""Every command and every snippet of the README and of docs/ does what it says, in a quick variant."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
KERNELS = list((ROOT / "vibee" / "_kernels").glob("*.so"))
TEXT = "".join(f"Once {i} sheep went over the hill and came back again\n" for i in range(200))

# What makes a command quick, by its first words.
QUICK = {
    "train": ["--steps", "3", "--layers", "1", "--heads", "1", "--width", "16", "--context", "8"],
    "infer": ["-n", "5"],
    "bench": ["--quick"],
}


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)


def commands(path: Path) -> list[str]:
    """The lines of a page's shell blocks, without comments and output."""
    lines = [line.split("  #")[0].strip() for block in blocks(path, "sh") for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def inline(path: Path) -> list[str]:
    """`vibee ...` in running text and tables."""
    return [c.replace("\\|", "|") for c in re.findall(r"`(vibee [^`]+)`", path.read_text())]


SHELL = [(page.name, c) for page in PAGES for c in commands(page)]
INLINE = sorted({(page.name, c) for page in PAGES for c in inline(page)})


def run(words: list[str], cwd: Path) -> subprocess.CompletedProcess:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-m", "vibee", *words], cwd=cwd, env=env, capture_output=True, text=True,
                          timeout=300)  # fmt: skip


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    (folder / "my-text.txt").write_text(TEXT)
    return folder


@pytest.mark.parametrize(("page", "command"), SHELL, ids=[f"{p}: {c}" for p, c in SHELL])
def test_a_command_of_a_page_runs(page: str, command: str, here: Path) -> None:
    words = shlex.split(command)
    if words[0] == "make":
        done = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return
    if words[0] in ("sudo", "git", "cd", "pip"):
        return
    if words[0] == "python":  # a tool of the tests, which may take hours: its options have to exist
        done = subprocess.run([sys.executable, words[1], "--help"], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert all(w.split("=")[0] in done.stdout for w in words[2:] if w.startswith("--")), command
        return
    assert words[0] in ("vibee", "dist/vibee"), f"{page}: what is {command}?"
    if words[1] in ("train", "infer", "bench") and not KERNELS:
        pytest.skip("the kernels are not built (make kernels)")
    if words[1] == "infer" and not (here / "vibee-model").exists():
        assert run(["train", "my-text.txt", *QUICK["train"]], here).returncode == 0
    done = run([*words[1:], *QUICK.get(words[1], [])], here)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("page", "command"), INLINE, ids=[f"{p}: {c}" for p, c in INLINE])
def test_the_options_that_a_page_names_exist(page: str, command: str, here: Path) -> None:
    words = shlex.split(command)
    if words[1].startswith("-"):
        assert run([words[1]], here).returncode == 0
        return
    if not words[1].islower():
        return  # `vibee COMMAND --help`
    text = run([words[1], "--help"], here).stdout
    assert text.startswith("Usage: vibee"), f"{page}: {command}"
    for option in re.findall(r"(?<!\S)--?[a-z][a-z-]*", command):
        assert option in text, f"{page}: {command}: {option}"


@pytest.mark.skipif(not blocks(ROOT / "README.md", "python"), reason="no Python in the README")
def test_the_first_kernel_of_the_readme(tmp_path: Path) -> None:
    (tmp_path / "mean.vibee").write_text(blocks(ROOT / "README.md", "vibee")[0])
    script = blocks(ROOT / "README.md", "python")[0]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = re.search(r"# (\[.*?\])$", script, re.MULTILINE)
    assert expected is not None
    assert done.stdout.splitlines()[0] == expected[1]


def test_the_pages_link_to_files_that_exist() -> None:
    for page in PAGES:
        text = re.sub(r"^```.*?^```|`[^`]*`", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\(([\w/-]+\.[\w./-]+)(?:#[^)]*)?\)", text):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_architecture_page_names_every_folder_of_the_package() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    for folder in (ROOT / "vibee").iterdir():
        if folder.is_dir() and not folder.name.startswith("__"):
            assert f"`{folder.name}`" in text or f"/{folder.name}" in text or folder.name in text, folder.name
