"""The generated kernels as the command line uses them: the only module that knows their names.

Everything here moves numbers between Python and whole procedures; nothing is computed.
"""

from __future__ import annotations

from vibee.runtime.buffers import zeros
from vibee.runtime.errors import OutOfMemoryForeseen, UserError
from vibee.runtime.machine import available_processors, load_kernels

TYPE_CHECKING = False
if TYPE_CHECKING:  # the typing module is not worth its start time
    from collections.abc import Callable, Sequence
    from types import ModuleType
    from typing import Any

    from vibee.runtime.shapes import Shape
    from vibee.runtime.vocabulary import Vocabulary

    from .options import InferOptions
    from .settings import Settings

# What the trainer's spec calls its update rules.
RULES = {"sgd": 0, "adamw": 1, "lion": 2, "muon": 3}
COSINE = 0
PREFILL = 128  # tokens of a prompt that are evaluated at once
_TOO_MANY = 1 << 56  # elements: beyond this the kernels' own arithmetic on sizes could overflow
_SIZES = {"gpt2": ("V", "S", "L", "H", "C"), "llama": ("V", "S", "L", "H", "G", "C", "F")}


class Kernels:
    """The module for this processor, and the number of threads."""

    def __init__(self, threads: int = 0) -> None:
        self.module: ModuleType = load_kernels()
        self.threads = threads or available_processors()

    @property
    def isa(self) -> str:
        """v2, v3 or v4."""
        return self.module.__name__.rpartition(".")[2]

    def find(self, *names: str) -> Callable[..., Any]:
        """The first of these functions that there is."""
        for name in names:
            f = getattr(self.module, name, None)
            if f is not None:
                return f  # type: ignore[no-any-return]
        raise UserError(f"the kernels have no {names[0]}: they were built from other specs; run `make kernels`")

    def learn_pairs(self, data: bytes, tokens: int) -> list[tuple[int, int]]:
        """The merges of a byte-pair vocabulary of up to `tokens` tokens."""
        room = 1 << 14
        while True:
            start, length, weight = (zeros(room, "q") for _ in range(3))
            count, total = self.find("distinct_words")(
                text=data, start=start, length=length, weight=weight, H=room, threads=self.threads
            )
            if count >= 0:
                break
            room *= 4
        most = tokens - 256
        merges = zeros(2 * most, "i")
        made = self.find("train_pairs")(
            text=data, start=start[:count], length=length[:count], weight=weight[:count], merge=view(merges, most, 2),
            M=most, U=total, C=total + 2 * most + 512, least=2, threads=self.threads,
        )  # fmt: skip
        return [(merges[2 * i], merges[2 * i + 1]) for i in range(made)]

    def encode_pairs(self, vocabulary: Vocabulary, data: bytes) -> memoryview:
        """The tokens of a text by its vocabulary's byte pairs."""
        if not data:
            return zeros(0, "i")
        single = {token: i for i, token in enumerate(vocabulary.tokens) if len(token) == 1}
        if any(bytes((b,)) not in single for b in range(256)):
            raise UserError("tokenizer.json lacks some of the 256 bytes, so it cannot encode every text")
        bytes_ = zeros(256, "i")
        for b in range(256):
            bytes_[b] = single[bytes((b,))]
        merges = zeros(3 * (len(vocabulary.merges) + 1), "i")
        for i, merge in enumerate(vocabulary.merges):
            merges[3 * i], merges[3 * i + 1], merges[3 * i + 2] = merge
        longest = self.find("longest_word")(text=data, threads=self.threads)
        found = zeros(len(data), "i")
        count = self.find("encode_pairs")(
            text=data, byte_token=bytes_, merge=view(merges, len(vocabulary.merges) + 1, 3)[:-1], token=found,
            L=longest, threads=self.threads,
        )  # fmt: skip
        return found[:count]


def sizes_of(shape: Shape) -> dict[str, int]:
    """The sizes that a model's procedures take."""
    return {name: getattr(shape, name) for name in _SIZES[shape.arch]}


def numbers_of(shape: Shape) -> dict[str, float]:
    """The numbers beside the sizes."""
    return {"theta": shape.theta, "eps": shape.eps} if shape.arch == "llama" else {}


class Lengths:
    """Elements of a model's flat array of weights, and of the arenas that its procedures work in."""

    def __init__(self, kernels: Kernels, name: str, shape: Shape, **sizes: int) -> None:
        f = kernels.find(f"{name}_sizes_f32")
        given = {**sizes_of(shape), **sizes}
        # A size that no length depends on is no argument.
        wanted = f.__code__.co_varnames[: f.__code__.co_argcount]
        found = f(**{k: v for k, v in given.items() if k in wanted}, threads=1)
        self.weights, self.forward, self.loss, self.gradient = found


def lengths(kernels: Kernels, shape: Shape, batch: int, context: int) -> Lengths:
    """The lengths for a batch; an error if they are absurd."""
    largest = max(batch * context, shape.V) * max(shape.C, shape.F, shape.V, context * shape.H) * 16 * shape.L
    if largest > _TOO_MANY:
        raise OutOfMemoryForeseen("a model of this size needs more memory than any machine has; make it smaller")
    return Lengths(kernels, shape.arch, shape, B=batch, T=context)


def view(flat: memoryview, *shape: int) -> memoryview:
    """The same elements with another shape."""
    return flat.cast("B").cast(flat.format, shape=list(shape))  # type: ignore[call-overload,no-any-return]


class Decoder:
    """A model that is fed tokens and says what may follow; it keeps what it has seen in a cache."""

    def __init__(self, kernels: Kernels, shape: Shape, weights: memoryview) -> None:
        self.kernels, self.shape, self.weights = kernels, shape, weights
        self.step_fn = kernels.find(f"{shape.arch}_decode_forward_f32")
        self.sample_fn = kernels.find("sample", "sample_f32")
        self.sizes = {**sizes_of(shape), **numbers_of(shape)}
        cache = shape.L * shape.G * shape.S * (shape.C // shape.H)
        dims = (shape.L, shape.G, shape.S, shape.C // shape.H)
        self.keys, self.values = view(zeros(cache), *dims), view(zeros(cache), *dims)
        self.prefill = min(PREFILL, shape.S)
        self.arenas: dict[int, memoryview] = {}  # by the number of tokens evaluated at once
        self.logits = zeros(shape.V)
        self.tokens = zeros(shape.S, "i")  # what is in the cache
        self.used = 0

    def feed(self, tokens: Sequence[int]) -> None:
        """Take in tokens.  When the context is full, its later half is kept and evaluated anew."""
        room = self.shape.S
        rest = tokens[max(0, len(tokens) - room) :]
        while len(rest):
            if self.used == room:
                kept = self.tokens[room - room // 2 :].tolist() if room > 1 else []
                self.used = 0
                rest = [*kept, *rest][-room:]
            part = rest[: min(self.prefill, room - self.used)]
            rest = rest[len(part) :]
            self._evaluate(part)

    def _arena(self, count: int) -> memoryview:
        """Work memory for `count` tokens."""
        if count not in self.arenas:
            found = Lengths(self.kernels, f"{self.shape.arch}_decode", self.shape, T=count)
            self.arenas = {1: self.arenas[1]} if 1 in self.arenas else {}
            self.arenas[count] = zeros(found.forward)
        return self.arenas[count]

    def _evaluate(self, part: Sequence[int]) -> None:
        end = self.used + len(part)
        for i, token in enumerate(part):
            self.tokens[self.used + i] = token
        self.step_fn(
            tokens=self.tokens[self.used : end], keys=self.keys, values=self.values, weights=self.weights,
            arena=self._arena(len(part)), logits=view(self.logits, 1, self.shape.V), pos=self.used, **self.sizes,
            threads=self.kernels.threads,
        )  # fmt: skip
        self.used = end

    def sample(self, options: InferOptions, seed: int, counter: int) -> int:
        """The next token, drawn from the last logits."""
        last = self.shape.S if options.repeat_last_n < 0 else options.repeat_last_n
        token = self.sample_fn(
            logits=self.logits, history=self.tokens[: self.used], used=min(last, self.used), temp=options.temp,
            top_k=options.top_k, top_p=options.top_p, min_p=options.min_p, penalty=options.repeat_penalty,
            key=seed, counter=counter, threads=1,
        )  # fmt: skip
        return int(token)


class Trainer:
    """The memory of a training run and the procedures that work on it."""

    def __init__(
        self, kernels: Kernels, shape: Shape, settings: Settings, data: memoryview, held_out: memoryview
    ) -> None:
        self.kernels, self.shape, self.settings = kernels, shape, settings
        self.data, self.held_out = data, held_out
        self.lengths = lengths(kernels, shape, settings.batch, settings.context)
        self.weights, self.gradient, self.moment1, self.moment2 = (zeros(self.lengths.weights) for _ in range(4))
        self.arena = zeros(max(self.lengths.gradient, self.lengths.loss))
        self.sizes = {**sizes_of(shape), **numbers_of(shape)}
        self.train_fn = kernels.find(f"train_{shape.arch}")
        self.evaluate_fn = kernels.find(f"evaluate_{shape.arch}")

    def initialize(self) -> None:
        """Initial weights, and moments of zero."""
        init = self.kernels.find(f"{self.shape.arch}_init_f32")
        wanted = {"V", "S", "L", "C", "H", "G", "F"}
        init(weights=self.weights, key=self.settings.seed, **{k: v for k, v in self.sizes.items() if k in wanted},
             threads=self.kernels.threads)  # fmt: skip
        for moment in (self.moment1, self.moment2):
            moment.cast("B")[:] = bytes(moment.nbytes)

    def steps(self, first: int, count: int) -> tuple[list[float], list[float]]:
        """`count` optimizer steps; their losses and learning rates."""
        s = self.settings
        losses, rates, norms = zeros(count), zeros(count), zeros(count)
        self.train_fn(
            data=self.data, w=self.weights, g=self.gradient, m1=self.moment1, m2=self.moment2,
            arena=self.arena[: self.lengths.gradient], losses=losses, rates=rates, norms=norms, B=s.batch,
            T=s.context, key=s.seed, start=first, accumulate=s.accumulate, rule=RULES[s.optimizer], shape=COSINE,
            warmup=s.warmup, steps=s.steps, decay_steps=0, peak=s.lr, least=s.min_lr, beta1=s.beta1, beta2=s.beta2,
            decay=s.weight_decay, limit=s.clip, **self.sizes, threads=self.kernels.threads,
        )  # fmt: skip
        return [float(x) for x in losses], [float(x) for x in rates]

    def evaluate(self, batches: int) -> float:
        """Mean loss on the held-out text: of random batches, or of all of it if `batches` is 0."""
        s = self.settings
        loss = self.evaluate_fn(
            data=self.held_out, w=self.weights, arena=self.arena[: self.lengths.loss], B=s.batch, T=s.context,
            batches=batches,
            key=s.seed + 1, **self.sizes, threads=self.kernels.threads,
        )  # fmt: skip
        return float(loss)


def training_bytes(found: Lengths, tokens: int, settings: Settings) -> int:
    """Memory that a run's arrays take: weights, gradients, two moments, sums, the arena, a batch and its logits."""
    return 4 * (5 * found.weights + max(found.gradient, found.loss)) + 4 * settings.batch * settings.context * (
        tokens + 2
    )
