"""`vibee bench`: what this machine can do, and how near to it the kernels come."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from typing import Any

from vibee.runtime import model, vocabulary
from vibee.runtime.atomic import write_files
from vibee.runtime.errors import UserError
from vibee.runtime.jsontext import dump
from vibee.runtime.machine import available_processors, isa_level, processor_name
from vibee.runtime.sample_text import sample_text

from . import bench_specs
from .cases import Kernel
from .corpus import make_corpus
from .kernels import Decoder, Kernels, Trainer
from .measure import Bench, isolated, roof, rows
from .options import InferOptions
from .peers import check_peers
from .settings import NANOGPT_CPU
from .train import make_shape


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


def described() -> dict[str, Kernel]:
    """What the kernels of this program are."""
    try:
        from vibee._kernels.table import TABLE

        return {key: Kernel(**x) for key, x in TABLE.items()}
    except (ImportError, TypeError):
        raise UserError("the kernels are not described, or as in an older version; run `make kernels`") from None


def bench(specs: list[str], as_json: bool, quick: bool, peers: list[str], threads: int) -> int:
    """Measure and show: this program, or what the specs define."""
    check_peers(peers)
    programs = bench_specs.programs(specs) if specs else []
    own = {} if programs else described()
    threads = threads or available_processors()
    result: dict[str, Any] = {
        "processor": processor_name(), "threads": threads, "isa": f"x86-64-{isa_level()}", "quick": quick, "roof": {},
        "kernels": [], "not_measured": [],
    }  # fmt: skip
    show = _Table(result, peers, as_json)
    if programs:
        limits, _ = bench_specs.compiled(bench_specs.of_the_machine())
    else:
        limits = Kernels(threads).module
    result["roof"] = isolated(partial(roof, limits, threads, quick), 120.0)
    if "reason" in result["roof"]:
        raise UserError(f"the machine's own limits could not be measured: {result['roof']['reason']}")
    show.roof(result["roof"])
    for module, table in map(bench_specs.compiled, programs) if programs else [(limits, own)]:
        for row in rows(Bench(module, table, threads, quick, peers, result["roof"])):
            result["not_measured" if "reason" in row else "kernels"].append(row)
            show.row(row)
    if not programs:
        whole(Kernels(threads), result, show, quick)
    if as_json:
        print(dump(result, indent=2))
    return 0


def whole(kernels: Kernels, result: dict[str, Any], show: _Table, quick: bool) -> None:
    """What kernels make together: training, generation, the start of the program."""
    result["training"] = training(kernels, quick)
    show.line("training (nanoGPT's CPU recipe)", "{tokens_per_second:,.0f} tokens/s, {step_milliseconds:.1f} ms a step",
              result["training"])  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="vibee-bench-") as path:
        small_model(kernels, path)
        result["generation"] = generation(kernels, path, quick)
        show.line("generation (the same model)", "{tokens_per_second:,.0f} tokens/s", result["generation"])
        result["cold_start"] = cold_start(path, quick)
        show.line("cold start (infer, one token)", "{milliseconds:.1f} ms", result["cold_start"])


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
        peers = "".join(f"{p:>10}" for p in self.peers)
        self._print(f"{'kernel':26}{'us':>11}{'GFLOP/s':>9}{'GB/s':>9}{'roof':>7}{peers}  sizes")

    def row(self, row: dict[str, Any]) -> None:
        """One kernel; a peer's column says how many times as long it takes."""
        if "reason" in row:
            self._print(f"{row['name']:26} not measured: {row['reason']}")
            return
        cells = ""
        for p in self.peers:
            other = row[f"{p}_microseconds"]
            cells += f"{'-':>10}" if other is None else f"{other / row['microseconds']:>9.2f}x"
        rate, share = row["gflops"], row["share_of_roof"]
        most = "<" if row["flops_at_most"] and row["flops"] else ""
        flops = "?" if rate is None else f"{most}{rate:.1f}" if row["flops"] else "-"
        moved = f"{'<' if row['bytes_at_most'] else ''}{row['gbytes']:.1f}"
        part = "?" if share is None else f"{most}{share:.0%}"
        sizes = " ".join(f"{n}={size}" for n, size in row["sizes"].items())
        self._print(f"{row['name']:26}{row['microseconds']:>11.1f}{flops:>9}{moved:>9}{part:>7}{cells}  {sizes}")

    def line(self, what: str, text: str, values: dict[str, float]) -> None:
        """A measurement of the whole."""
        self._print(f"{what}: {text.format(**values)}")
