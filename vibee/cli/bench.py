"""`vibee bench`: what this machine can do, and how near to it the kernels come."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from vibee.runtime import model, vocabulary
from vibee.runtime.atomic import write_files
from vibee.runtime.buffers import zeros
from vibee.runtime.errors import UserError
from vibee.runtime.jsontext import dump
from vibee.runtime.sample_text import sample_text

from .cases import Case, all_cases
from .corpus import make_corpus
from .kernels import Decoder, Kernels, Trainer, view
from .options import InferOptions
from .settings import NANOGPT_CPU
from .train import make_shape


class Clock:
    """Measures calls: the median of several rounds, each long enough for the clock."""

    def __init__(self, quick: bool) -> None:
        self.rounds, self.seconds = (5, 0.02) if quick else (9, 0.08)

    def __call__(self, f: Callable[[], object]) -> float:
        """Seconds of one call."""
        f()
        begin = time.perf_counter()
        f()
        once = max(time.perf_counter() - begin, 1e-7)
        calls = max(1, math.ceil(self.seconds / once))
        times = []
        for _ in range(self.rounds):
            begin = time.perf_counter()
            for _ in range(calls):
                f()
            times.append((time.perf_counter() - begin) / calls)
        return sorted(times)[len(times) // 2]


def processor_name() -> str:
    """What the processor calls itself."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as f:
            for line in f:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return "unknown processor"


def arguments(case: Case) -> dict[str, Any]:
    """Arrays for a case, filled with small numbers that repeat."""
    made: dict[str, Any] = {}
    for name, shape in case.arrays.items():
        count = math.prod(shape)
        top = case.integers.get(name)
        flat = zeros(count, "i" if top else "f")
        pattern = [(i * 7919) % top for i in range(1021)] if top else [((i * 7919) % 1021) / 1021 for i in range(1021)]
        piece = zeros(1021, "i" if top else "f")
        for i, x in enumerate(pattern):
            piece[i] = x  # type: ignore[call-overload]
        for at in range(0, count, 1021):
            size = min(1021, count - at)
            flat[at : at + size] = piece[:size]
        made[name] = flat if len(shape) == 1 else view(flat, *shape)
    return made


def roof(kernels: Kernels, clock: Clock, quick: bool) -> dict[str, float]:
    """Peak GFLOP/s of multiply-adds, and GB/s of memory, both with all threads."""
    parts, rounds = kernels.threads, 20_000 if quick else 200_000
    flops = 0.0
    for chains in (48, 96, 256):
        out = view(zeros(parts * chains), parts, chains)
        peak = partial(kernels.find(f"peak_{chains}_f32"), y=out, rounds=rounds, T=parts, a=0.5, b=1.0)
        flops = max(flops, 2.0 * chains * rounds * parts / clock(partial(peak, threads=kernels.threads)))
    n = (8 if quick else 32) << 20
    a, b, c = (zeros(n) for _ in range(3))
    triad = kernels.find("triad_f32")
    memory = clock(lambda: triad(a=a, b=b, c=c, s=0.5, threads=kernels.threads))
    return {"gflops": flops / 1e9, "gbytes": 12.0 * n / memory / 1e9}


def measure_case(case: Case, kernels: Kernels, clock: Clock, top: dict[str, float], peers: list[str]) -> dict[str, Any]:
    """One row of the table."""
    args = arguments(case)
    f = kernels.find(case.function, case.function.removesuffix("_f32"))
    seconds = clock(lambda: f(**args, **case.numbers, threads=kernels.threads))
    bound = max(case.flops / (top["gflops"] * 1e9) if top["gflops"] else 0.0, case.bytes / (top["gbytes"] * 1e9))
    row: dict[str, Any] = {
        "name": case.name, "microseconds": seconds * 1e6, "gflops": case.flops / seconds / 1e9,
        "gbytes": case.bytes / seconds / 1e9, "share_of_roof": bound / seconds,
    }  # fmt: skip
    for peer in peers:
        other = peer_call(peer, case, args, kernels.threads)
        row[f"{peer}_microseconds"] = clock(other) * 1e6 if other else None
    return row


def peer_call(peer: str, case: Case, args: dict[str, Any], threads: int) -> Callable[[], object] | None:
    """The same work done by another library, on the same memory."""
    import numpy as np

    arrays = {k: np.asarray(v) for k, v in args.items()}
    if peer == "numpy":
        f = case.numpy
        return (lambda: f(np, arrays)) if f else None
    import torch

    torch.set_num_threads(threads)
    g = case.torch
    tensors = {k: torch.from_numpy(v) for k, v in arrays.items()}

    def call() -> object:
        with torch.no_grad():
            return g(torch, tensors) if g else None

    return call if g else None


def check_peers(peers: list[str]) -> None:
    """Refuse libraries that are not known or not here."""
    for peer in peers:
        if peer not in ("numpy", "torch"):
            raise UserError(f"--vs {peer}: not one of numpy, torch")
        try:
            __import__("numpy")
            __import__(peer)
        except ImportError:
            where = "the executable has no Python packages; use" if getattr(sys, "frozen", False) else "install it in"
            raise UserError(f"--vs {peer}: {peer} is not here; {where} a Python environment") from None


def training(kernels: Kernels, quick: bool) -> dict[str, float]:
    """Tokens per second of nanoGPT's CPU recipe, forward, backward and update."""
    content = sample_text()
    corpus = make_corpus(kernels, content, vocabulary.of_text(content))
    s = replace(NANOGPT_CPU, steps=10**6)
    trainer = Trainer(kernels, make_shape(s, len(corpus.vocabulary)), s, corpus.train, corpus.held_out)
    trainer.initialize()
    trainer.steps(0, 2)
    count, done = 4, 2
    begin = time.perf_counter()
    limit = 1.0 if quick else 8.0
    while time.perf_counter() - begin < limit:
        trainer.steps(done, count)
        done += count
    each = (time.perf_counter() - begin) / (done - 2)
    return {"step_milliseconds": each * 1e3, "tokens_per_second": s.batch * s.context / each}


def small_model(kernels: Kernels, path: str) -> None:
    """A model with the recipe's shape and its initial weights, on the disk."""
    content = sample_text(20_000)
    words = vocabulary.of_text(content)
    corpus = make_corpus(kernels, content, words)
    shape = make_shape(NANOGPT_CPU, len(words))
    trainer = Trainer(kernels, shape, NANOGPT_CPU, corpus.train, corpus.held_out)
    trainer.initialize()
    write_files(path, model.files(shape, trainer.weights, words, kernels.transpose))


def generation(kernels: Kernels, path: str, quick: bool) -> dict[str, float]:
    """Tokens per second, one after the other."""
    from .model import load_model

    found = load_model(kernels, path)
    decoder = Decoder(kernels, found.shape, found.weights)
    decoder.feed(found.tokenizer.encode_start())
    options, made = InferOptions(), 0
    begin = time.perf_counter()
    limit = 0.5 if quick else 3.0
    while time.perf_counter() - begin < limit:
        decoder.feed((decoder.sample(options, 1, made),))
        made += 1
    return {"tokens_per_second": made / (time.perf_counter() - begin)}


def cold_start(path: str, quick: bool) -> dict[str, float]:
    """Milliseconds of a whole `vibee infer` of one token: the median."""
    own = [sys.executable] if getattr(sys, "frozen", False) else [sys.executable, "-m", "vibee"]
    command = [*own, "infer", "--prompt", "a", "-n", "1", "--model", path]
    env = {k: v for k, v in os.environ.items() if not k.startswith(("_PYI", "_MEI"))}
    env["PYINSTALLER_RESET_ENVIRONMENT"] = "1"
    times = []
    for _ in range(6 if quick else 21):
        begin = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=env)
        times.append((time.perf_counter() - begin) * 1e3)
    return {"milliseconds": sorted(times[1:])[len(times[1:]) // 2]}


def bench(as_json: bool, quick: bool, peers: list[str], threads: int) -> int:
    """Measure and show."""
    check_peers(peers)
    kernels = Kernels(threads)
    clock = Clock(quick)
    result: dict[str, Any] = {
        "processor": processor_name(), "threads": kernels.threads, "isa": f"x86-64-{kernels.isa}", "quick": quick,
    }  # fmt: skip
    show = _Table(result, peers, as_json)
    result["roof"] = roof(kernels, clock, quick)
    show.roof(result["roof"])
    result["kernels"] = []
    for case in all_cases(quick):
        row = measure_case(case, kernels, clock, result["roof"], peers)
        result["kernels"].append(row)
        show.row(row)
    result["training"] = training(kernels, quick)
    show.line("training (nanoGPT's CPU recipe)", "{tokens_per_second:,.0f} tokens/s, {step_milliseconds:.1f} ms a step",
              result["training"])  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="vibee-bench-") as path:
        small_model(kernels, path)
        result["generation"] = generation(kernels, path, quick)
        show.line("generation (the same model)", "{tokens_per_second:,.0f} tokens/s", result["generation"])
        result["cold_start"] = cold_start(path, quick)
        show.line("cold start (infer, one token)", "{milliseconds:.1f} ms", result["cold_start"])
    if as_json:
        print(dump(result, indent=2))
    return 0


class _Table:
    """The table for people, line by line as it is measured."""

    def __init__(self, head: dict[str, Any], peers: list[str], silent: bool) -> None:
        self.peers, self.silent = peers, silent
        self._print(f"{head['processor']}, {head['threads']} threads, {head['isa']}")

    def _print(self, text: str) -> None:
        if not self.silent:
            print(text, flush=True)

    def roof(self, top: dict[str, float]) -> None:
        """The machine's own limits, and the head of the table."""
        self._print(f"peak: {top['gflops']:,.0f} GFLOP/s (multiply-add), {top['gbytes']:.1f} GB/s (memory)\n")
        peers = "".join(f"{p:>12}" for p in self.peers)
        self._print(f"{'kernel':34}{'us':>10}{'GFLOP/s':>10}{'GB/s':>8}{'roof':>7}{peers}")

    def row(self, row: dict[str, Any]) -> None:
        """One kernel; a peer's column says how many times as long it takes."""
        cells = ""
        for p in self.peers:
            other = row[f"{p}_microseconds"]
            cells += f"{'-':>12}" if other is None else f"{other / row['microseconds']:>11.2f}x"
        self._print(
            f"{row['name']:34}{row['microseconds']:>10.1f}{row['gflops']:>10.1f}{row['gbytes']:>8.1f}"
            f"{row['share_of_roof']:>7.0%}{cells}"
        )

    def line(self, what: str, text: str, values: dict[str, float]) -> None:
        """A measurement of the whole."""
        self._print(f"{what}: {text.format(**values)}")
