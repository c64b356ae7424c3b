"""One step of training: draw a batch, forward, backward, clip, AdamW.  The models are nanoGPT's."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from .peers import threads, torch
from .side import Case, Contestant, Goal, Result, Side
from .worker import Missing

# layers, heads, width, context, batch
SMALL = {"layers": 4, "heads": 4, "width": 128, "context": 64, "batch": 12}
LARGE = {"layers": 6, "heads": 6, "width": 384, "context": 256, "batch": 16}
TINY = {"layers": 2, "heads": 2, "width": 64, "context": 32, "batch": 4}
STEPS = 2000


def text() -> bytes:
    """What is learnt."""
    from vibee.runtime.sample_text import sample_text

    path = os.environ.get("TEXT")
    return Path(path).read_bytes() if path else sample_text()


# ---------------------------------------------------------------- vibee


def settings(shape: dict[str, int], precision: str = "f32") -> Any:
    """vibee's settings for a shape; the numbers of the recipe are their defaults."""
    from vibee.cli.settings import Settings

    sizes: dict[str, Any] = {**shape, "kv_heads": shape["heads"]}
    found = replace(Settings(), **sizes, steps=STEPS)
    if precision == "f32":
        return found
    if "precision" not in {f.name for f in fields(Settings)}:
        raise Missing("not there yet")
    return replace(found, precision=precision)


def trainer(s: Any) -> Any:
    """vibee's trainer with initial weights, of these settings."""
    import vibee.__main__  # noqa: F401  says how idle threads wait
    from vibee.cli.corpus import make_corpus
    from vibee.cli.kernels import Kernels, Trainer
    from vibee.cli.train import make_shape
    from vibee.runtime import vocabulary

    kernels, content = Kernels(threads()), text()
    corpus = make_corpus(kernels, content, vocabulary.of_text(content))
    found = Trainer(kernels, make_shape(s, len(corpus.vocabulary)), s, corpus.train, corpus.held_out)
    found.initialize()
    return found


class Steps:
    """A step of a trainer's.  A run of several is one call of the kernel, as `vibee train` makes it."""

    def __init__(self, trainer: Any) -> None:
        self.trainer, self.done = trainer, 0

    def __call__(self) -> object:
        """One step."""
        self.seconds(1)
        return None

    def seconds(self, count: int) -> float:
        """What `count` steps take."""
        begin = time.perf_counter()
        self.trainer.steps(self.done, count)
        self.done += count
        return time.perf_counter() - begin


def ours(shape: dict[str, int], precision: str = "f32") -> Steps:
    """A step of vibee's."""
    return Steps(trainer(settings(shape, precision)))


# ---------------------------------------------------------------- PyTorch


def split() -> tuple[Any, Any, int]:
    """Tokens to learn from, tokens held out, and how many different ones there are; as nanoGPT prepares them."""
    t = torch()
    content = text().decode("utf-8")
    number = {c: i for i, c in enumerate(sorted(set(content)))}
    tokens = t.tensor([number[c] for c in content])
    at = int(len(content) * 0.9)
    return tokens[:at], tokens[at:], len(number)


def torch_step(
    shape: dict[str, int], compiled: bool = False, bf16: bool = False, seed: int = 1
) -> Callable[[], object]:
    """A step of PyTorch's."""
    t = torch()
    from .gpt import GPT, Step

    t.manual_seed(seed)
    data, _, tokens = split()
    model = GPT(tokens, shape["context"], shape["layers"], shape["heads"], shape["width"])
    return Step(model, data, shape["batch"], shape["context"], STEPS, compiled, bf16)


# ---------------------------------------------------------------- llm.c


class LlmC:
    """llm.c's train_gpt2, built from a copy of the checkout with our batch, its times read from what it prints."""

    STEPS = 4

    def __init__(self, shape: dict[str, int]) -> None:
        checkout = os.environ.get("LLMC")
        if not checkout:
            raise Missing("LLMC names no checkout of llm.c")
        self.folder = tempfile.TemporaryDirectory()
        here = Path(self.folder.name)
        for name in ("train_gpt2.c", "Makefile", "llmc"):
            (shutil.copytree if name == "llmc" else shutil.copy)(Path(checkout) / name, here / name)
        source = here / "train_gpt2.c"
        content = source.read_text()
        for name, value in (("B", shape["batch"]), ("T", shape["context"])):
            content = re.sub(rf"int {name} = \d+;", f"int {name} = {value};", content)
        content = re.sub(r"step <= \d+", f"step < {self.STEPS}", content)
        source.write_text(content)
        done = subprocess.run(["make", "train_gpt2", "CC=gcc"], cwd=here, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Missing(f"llm.c does not build: {done.stderr.strip().splitlines()[-1:]}")
        self._write(here, shape)

    @staticmethod
    def _write(here: Path, shape: dict[str, int]) -> None:
        """Its model and its data, in its own formats."""
        import numpy as np

        content = text()
        number = {c: i for i, c in enumerate(sorted(set(content)))}
        padded, width, context, layers = 128, shape["width"], shape["context"], shape["layers"]
        header = [20240326, 3, context, len(number), layers, shape["heads"], width, padded]
        weights = (padded + context + 2) * width + layers * (12 * width * width + 13 * width)
        values = 0.02 * np.random.default_rng(1).standard_normal(weights, dtype=np.float32)
        head = struct.pack("256i", *header, *[0] * (256 - len(header)))
        (here / "gpt2_124M.bin").write_bytes(head + values.tobytes())
        folder = here / "dev" / "data" / "tinyshakespeare"
        folder.mkdir(parents=True)
        tokens = np.array([number[c] for c in content], np.uint16)
        for part in ("train", "val"):
            head = struct.pack("256i", 20240520, 1, len(tokens), *[0] * 253)
            (folder / f"tiny_shakespeare_{part}.bin").write_bytes(head + tokens.tobytes())

    def seconds(self, count: int) -> float:
        """Run it, as often as gives `count` steps; the first step, which allocates, does not count."""
        found: list[float] = []
        while len(found) < count:
            done = subprocess.run(["./train_gpt2"], cwd=self.folder.name, capture_output=True, text=True, check=True)
            found += [float(x) / 1e3 for x in re.findall(r"\(took ([\d.]+) ms\)", done.stdout)[1:]]
        return sum(found[:count])

    def __call__(self) -> None:
        """One step."""
        self.seconds(1)


def llm_c(shape: dict[str, int]) -> Callable[[], object]:
    """A step of llm.c's."""
    return LlmC(shape)


# ---------------------------------------------------------------- cases


def race(names: list[str], shape: dict[str, int], rounds: int) -> Callable[[Side], list[Result]]:
    """The contestants of these names."""
    here = "benchmarks.training"
    everyone = {
        "vibee f32": Contestant("vibee f32", f"{here}:ours", {"shape": shape}),
        "vibee bf16": Contestant("vibee bf16", f"{here}:ours", {"shape": shape, "precision": "bf16"}),
        "one thread": Contestant("one thread", f"{here}:ours", {"shape": shape}, threads=1),
        "llm.c": Contestant("llm.c", f"{here}:llm_c", {"shape": shape}),
    }
    for kind in ("f32", "bf16"):
        for how in ("eager", "compiled"):
            given = {"shape": shape, "compiled": how == "compiled", "bf16": kind == "bf16"}
            everyone[f"torch {kind} {how}"] = Contestant(f"torch {kind} {how}", f"{here}:torch_step", given)
    chosen = [c for name, c in everyone.items() if name.startswith(tuple(names))]
    return lambda side: side.race(chosen, rounds=rounds)


def cases(quick: bool) -> Iterator[Case]:
    """The table's part."""
    models = [("tiny", TINY, 9)] if quick else [("nanoGPT's CPU recipe", SMALL, 9), ("6 layers, 384 wide", LARGE, 7)]
    for name, shape, rounds in models:
        large = shape is LARGE
        goals = [Goal("vibee f32", "torch f32", 1.2 if large else 1.4), Goal("vibee f32", "llm.c", 4.0)]
        yield Case(f"{name}, f32", goals[:1] if large else goals,
                   race(["vibee f32", "torch f32", *([] if large else ["llm.c"])], shape, rounds))  # fmt: skip
        goals = [Goal("vibee bf16", "torch bf16", 1.15)] if large else [Goal("vibee bf16", "torch", 2.2)]
        names = ["vibee bf16", "torch bf16"] if large else ["vibee", "torch"]
        yield Case(f"{name}, bf16", goals, race(names, shape, rounds))
        yield Case(f"{name}, two threads against one", [Goal("vibee f32", "one thread", 1.8)],
                   race(["vibee f32", "one thread"], shape, rounds))  # fmt: skip
