"""`vibee train`: from text to a model's folder."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import time
from dataclasses import replace
from typing import Any

from vibee.runtime import atomic, checkpoint, folder, model, safetensors, shapes, vocabulary
from vibee.runtime.curve import terminal_curve
from vibee.runtime.errors import UserError, one_line, os_error
from vibee.runtime.machine import human_size, require_memory
from vibee.runtime.progress import JsonLog, Progress, can_show, short_count, short_time
from vibee.runtime.shapes import Shape
from vibee.runtime.vocabulary import Vocabulary

from .corpus import Corpus, fit_context, make_corpus, make_vocabulary, read_text
from .kernels import Decoder, Kernels, Trainer, lengths, training_bytes
from .loop import PER_TOKEN, Actions, History, Loop, refuse_divergence
from .model import Tokenizer
from .options import InferOptions
from .settings import Settings, TrainOptions, refuse_nonsense, resumed, scheduled, settle
from .stopping import Stopping

QUICK_BATCHES = 20  # of a validation loss on the way, if the whole held-out text is larger
FINAL_BATCHES = 400  # of the last one
SAMPLE_TOKENS = 160
KINDS = {"char": "characters", "byte": "bytes", "bpe": "byte pairs"}
PRICE_STEPS = 4  # steps that tell how long one takes
CURVE = "loss.png"
SAVED = (folder.WEIGHTS, folder.CONFIG, vocabulary.TOKENIZER, vocabulary.TOKENIZER_CONFIG, checkpoint.STATE, CURVE)


def feed_forward(width: int) -> int:
    """Llama's width of the feed-forward layer: two thirds of four times the width, in whole vectors."""
    return -(-8 * width // 3 // 32) * 32


def make_shape(s: Settings, tokens: int) -> Shape:
    """The shape of the model that settings ask for."""
    if s.arch == "llama":
        return Shape("llama", tokens, s.context, s.layers, s.heads, s.width, G=s.kv_heads, F=feed_forward(s.width))
    return Shape("gpt2", tokens, s.context, s.layers, s.heads, s.width)


def say(text: str) -> None:
    """Print; a reader who has gone away (`| head`), or who knows few characters, must not end a training run."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def program() -> str:
    """How this program was called, for commands that can be copied from its output."""
    return shlex.quote(sys.argv[0]) if getattr(sys, "frozen", False) else "vibee"


def many(count: int, what: str) -> str:
    """1 layer, 2 layers."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def refuse_foreign(out: str) -> None:
    """An error if saving would replace files of somebody else: a folder of ours has weights or a state of ours."""
    ours = any(_is_ours(atomic.current(out, name)) for name in (checkpoint.STATE, folder.WEIGHTS))
    for name in SAVED:
        path = os.path.join(out, name)
        if os.path.isdir(path) or (not ours and os.path.lexists(path)):
            raise UserError(one_line(f"{path}: not written by vibee, and the model would replace it; "
                                     "choose another --out"))  # fmt: skip


def _is_ours(path: str) -> bool:
    """Does a file of tensors begin as those do that vibee writes?  It may be damaged further on."""
    try:
        with atomic.open_file(path) as f:
            return safetensors.CHECKSUM.encode() in f.read(256)
    except OSError:
        return False


def refuse_log(log: str, out: str, files: list[str]) -> None:
    """An error if the log would be written over a file of the model, or over a text that is read."""
    place, name = os.path.split(os.path.realpath(log))
    if place == os.path.realpath(out) and name.removesuffix(".new") in (*SAVED, atomic.JOURNAL):
        raise UserError(one_line(f"--log {log}: a file of the model has this name; choose another one"))
    for file in files:
        text = "/dev/stdin" if file == "standard input" else file
        if os.path.isfile(log) and os.path.exists(text) and os.path.samefile(log, text):
            raise UserError(one_line(f"--log {log}: this is text to learn from; choose another file"))


def try_folder(out: str, sizes: tuple[int, ...]) -> None:
    """Nothing is computed for minutes that could not be kept: files of these sizes are made, and removed again."""
    paths = [os.path.join(out, f"vibee.try{i}") for i in range(len(sizes))]
    try:
        for path, size in zip(paths, sizes, strict=True):
            with open(path, "wb") as f:
                os.posix_fallocate(f.fileno(), 0, size)
    except OSError as e:
        raise os_error(e, "write into", out) from None
    finally:
        for path in paths:
            with contextlib.suppress(OSError):
                os.unlink(path)


class Run:
    """One `vibee train`, from its options to its last line."""

    def __init__(self, options: TrainOptions) -> None:
        self.options = options
        self.settings: Settings
        self.kernels = Kernels(options.threads)
        self.state = checkpoint.load(options.out) if options.resume else None
        self.history = History.from_dict(self.state.info["history"]) if self.state else History()
        places = tuple(options.data or (self.state.info["data"] if self.state else ()))
        self.text = read_text(places)
        if options.log:
            refuse_log(options.log, options.out, self.text.files)
        self.places = tuple(p if p == "-" else os.path.abspath(p) for p in places)
        self.fingerprint = self.text.fingerprint()
        self._settle()
        words = self._vocabulary()
        self.corpus: Corpus = make_corpus(self.kernels, self.text.content, words)
        self.text.content = b""  # the tokens are enough from here on
        if not self.state:
            context = fit_context(self.settings, self.corpus, options.context)
            self.settings = replace(self.settings, context=context)
        self.shape = make_shape(self.settings, len(words))
        self._foresee_memory()
        self.trainer = Trainer(self.kernels, self.shape, self.settings, self.corpus.train, self.corpus.held_out)
        self.decoder: Decoder | None = None

    def _settle(self) -> None:
        o = self.options
        if self.state is None:
            self.settings = settle(o, len(self.text.content))
            refuse_nonsense(self.settings, o)
            return
        if self.state.info["fingerprint"] != self.fingerprint:
            raise UserError("--resume goes on with the text of the first run, and this is another one")
        self.settings = resumed(Settings.from_dict(self.state.info["settings"]), o)
        if self.history.step >= self.settings.steps:
            raise UserError(
                f"this run is finished ({self.history.step} steps); to go on, ask for more: "
                f"--steps {2 * self.history.step} --resume"
            )

    def _vocabulary(self) -> Vocabulary:
        if self.state is None:
            return make_vocabulary(self.kernels, self.text.content, self.settings)
        return vocabulary.read(self.options.out, self.state.info["tokenizer"])

    def _foresee_memory(self) -> None:
        s = self.settings
        self.needed = training_bytes(lengths(self.kernels, self.shape, s.batch, s.context), self.shape.V, s)
        require_memory(self.needed, "this run", "use a smaller --batch, --context, --width, --layers or --vocab-size")

    # ------------------------------------------------------------ actions of the loop

    def evaluate(self, batches: int = QUICK_BATCHES) -> float:
        """Loss on the held-out text: all of it where that takes no more than `batches`, or random batches."""
        s = self.settings
        windows = (len(self.corpus.held_out) - 1) // s.context
        whole = windows <= batches * s.batch or len(self.corpus.held_out) <= s.context
        loss = self.trainer.evaluate(0 if whole else batches)
        refuse_divergence("the validation loss", loss, self.history.step, s.lr)
        return loss

    def sample(self) -> str:
        """A piece of text from the weights as they are."""
        if self.decoder is None:
            self.decoder = Decoder(self.kernels, self.shape, self.trainer.weights)
        decoder, tokenizer = self.decoder, Tokenizer(self.kernels, self.corpus.vocabulary)
        decoder.used = 0
        decoder.feed(tokenizer.encode_start())
        options, found = InferOptions(), []
        for i in range(SAMPLE_TOKENS):
            found.append(decoder.sample(options, self.settings.seed, (self.history.step << 20) + i))
            decoder.feed(found[-1:])
        text = tokenizer.decode(tuple(found)).decode("utf-8", "replace")
        shown = "".join(c if c == "\n" or c.isprintable() else " " for c in text).strip("\n")
        return "\n".join(f"  | {line}" for line in shown.split("\n"))

    def save(self, history: History) -> None:
        """Model and state, replaced together."""
        t, words = self.trainer, self.corpus.vocabulary
        info: dict[str, Any] = {
            "settings": self.settings.to_dict(), "history": history.to_dict(), "data": list(self.places),
            "fingerprint": self.fingerprint, "tokenizer": words.checksum(),
        }  # fmt: skip
        buffers = {"weights": t.weights, "moment1": t.moment1, "moment2": t.moment2}
        files = model.files(self.shape, t.weights, words, self.kernels.transpose)
        checkpoint.save(self.options.out, info, buffers, files)

    # ------------------------------------------------------------ the run

    def try_folder(self) -> None:
        """An error if there is no room for the model and the state: weights, and weights with two moments."""
        size = self.trainer.weights.nbytes
        try_folder(self.options.out, (size, 3 * size))

    def prepare(self) -> None:
        """Weights to begin or to go on with; with --minutes, the number of steps."""
        if self.state:
            for name in ("weights", "moment1", "moment2"):
                self.state.restore(name, getattr(self.trainer, name))
            self.state = None
            return
        if self.options.minutes is not None and self.options.steps is None:
            self._price()
        self.trainer.initialize()

    def _price(self) -> None:
        """A few steps on weights that are thrown away, to see how many fit into the time."""
        self.trainer.initialize()
        self.trainer.steps(0, 1)
        begin = time.monotonic()
        self.trainer.steps(1, PRICE_STEPS)
        each = (time.monotonic() - begin) / PRICE_STEPS
        assert self.options.minutes is not None
        steps = max(10, int(0.95 * 60 * self.options.minutes / each))
        self.settings = scheduled(replace(self.settings, steps=steps), self.options)
        self.trainer.settings = self.settings

    def describe(self) -> str:
        """What is going to be trained on what."""
        s, c = self.settings, self.corpus
        files = self.text.files
        names = ", ".join(files[:3]) + (f" and {len(files) - 3} more" if files[3:] else "")
        lines = [
            f"{names}: {short_count(len(c.train))} tokens to learn from, "
            + ("too few to hold any out" if c.shared else f"{short_count(len(c.held_out))} held out")
            + f"; vocabulary of {len(c.vocabulary)} {KINDS[c.vocabulary.kind]}",
            f"{s.arch}: {many(s.layers, 'layer')}, {many(s.heads, 'head')}, width {s.width}, context {s.context}: "
            f"{short_count(shapes.count(self.shape))} weights; {human_size(self.needed)} of memory; "
            f"{many(self.kernels.threads, 'thread')}, x86-64-{self.kernels.isa}"
            + (", products in bf16" if s.precision == "bf16" else ""),
        ]
        if self.text.skipped:
            lines.append(f"left out: {len(self.text.skipped)} files that are not text")
        if self.history.step:
            lines.append(f"going on at step {self.history.step} of {s.steps}")
        return "\n".join(lines)

    def finish(self, progress: Progress, log: JsonLog | None) -> None:
        """The last validation loss, the last save, the curve."""
        h = self.history
        begin = time.monotonic()
        loss = self.evaluate(FINAL_BATCHES)
        h.seconds += time.monotonic() - begin
        h.validation = [p for p in h.validation if p[0] != h.step] + [(float(h.step), loss)]
        tokens = self.settings.batch * self.settings.context * self.settings.accumulate
        if log:
            log.write(step=h.step, tokens=h.step * tokens, seconds=round(h.seconds, 4), train_loss=h.last_loss,
                      val_loss=loss, lr=None, tokens_per_second=None)  # fmt: skip
        self.save(h)
        progress.update(h.step, validation=loss)
        progress.close()
        write_curve(self.options.out, h)
        out = sys.stdout
        say(terminal_curve(h.train, h.validation, unicode=can_show(out, "⠁"), colour=out.isatty()))
        kind = "loss" if self.corpus.shared else "validation loss"
        say(
            f"{kind} {loss:.4f} after {many(h.step, 'step')} in {short_time(h.seconds)}; "
            f"the model is in {self.options.out}"
        )
        first = self.corpus.vocabulary.decode(self.corpus.train[:12].tolist()).decode("utf-8", "replace").split()
        prompt = first[0] if first and first[0].isalnum() else ""
        say(f'try it: {program()} infer{self._named("--model")} --prompt "{prompt}"')

    def stop(self, progress: Progress) -> None:
        """A save, and how to go on.  Before the first step nothing is there that an older model should give way to."""
        h, total = self.history, self.settings.steps
        if not h.step:
            say("stopped before the first step; nothing was saved")
            return
        self.save(h)
        progress.close()
        again = f"{program()} train --resume{self._named('--out')}"
        say(f"stopped after step {h.step} of {total} and saved; go on with: {again}")

    def _named(self, option: str) -> str:
        """The option that names the folder, where it has not the usual name."""
        out = self.options.out
        return "" if out == "vibee-model" else f" {option} {shlex.quote(out)}"


def write_curve(out: str, history: History) -> None:
    """The picture of the curve."""
    from vibee.runtime.chart import loss_chart

    atomic.write_file(os.path.join(out, CURVE), loss_chart(history.train, history.validation))


def train(options: TrainOptions) -> int:
    """Train; the exit status."""
    if options.data.count("-") > 1:
        raise UserError("- stands for standard input and can be given once")
    if options.resume and "-" in options.data:
        raise UserError("--resume cannot read standard input again; keep the text in a file")
    existed = os.path.isdir(options.out)
    if options.resume and not existed:
        checkpoint.load(options.out)  # says that there is nothing
    stopping = Stopping()
    lock = checkpoint.Lock(options.out)
    try:
        if not options.resume:
            refuse_foreign(options.out)
        return _train(options, stopping)
    finally:
        lock.close()
        if not existed:
            # Nothing was saved if the run failed early; then no empty folder is left behind either.
            with contextlib.suppress(OSError):
                os.rmdir(options.out)


def _train(options: TrainOptions, stopping: Stopping) -> int:
    run = Run(options)
    h = run.history
    run.try_folder()
    log = JsonLog(options.log, h.step) if options.log else None
    run.prepare()
    s = run.settings
    tokens = s.batch * s.context * s.accumulate
    say(run.describe())
    progress = Progress(s.steps, tokens, start=h.step)
    loop = Loop(s, h, Actions(run.trainer.steps, run.evaluate, run.sample, run.save), progress, log, tokens)
    loop.chunk_seconds += PER_TOKEN * len(run.trainer.data)
    if options.minutes is not None:
        loop.deadline = time.monotonic() + 60 * options.minutes
    # Only from here on there is something to finish: what waits for text or for a reader of the log ends at once.
    with stopping:
        loop.run(stopping)
        if stopping.wanted and h.step < s.steps:
            run.stop(progress)
            status = stopping.status
        else:
            run.finish(progress, log)
            status = 0
    if log:
        log.close()
    return status
