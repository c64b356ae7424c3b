"""`vibee infer`: a prompt in, text out, token by token.

On the fast path of the executable: what is imported here is paid for by every start.
"""

from __future__ import annotations

import os
import sys
from time import perf_counter

from vibee.runtime import folder
from vibee.runtime.errors import ModelFileError, UserError, os_error
from vibee.runtime.utf8 import TextStream

from .kernels import Decoder, Kernels
from .model import Model, load_model
from .options import InferOptions

TYPE_CHECKING = False
if TYPE_CHECKING:  # the typing module is not worth its start time
    from collections.abc import Iterable

MAX_PROMPT = 64 << 20  # bytes read from standard input


def read_prompt(options: InferOptions) -> bytes:
    """The prompt's bytes, whatever the locale made of them."""
    if options.prompt != "-":
        return os.fsencode(options.prompt)
    if sys.stdin is None:
        raise UserError("cannot read the prompt: standard input is closed")
    try:
        prompt = sys.stdin.buffer.read(MAX_PROMPT + 1)
    except OSError as e:
        raise os_error(e, "read", "standard input") from None
    if len(prompt) > MAX_PROMPT:
        raise UserError("the prompt is longer than 64 MB")
    return prompt


class Output:
    """Standard output, as UTF-8 bytes, each whole character as soon as it is complete."""

    def __init__(self) -> None:
        self.stream = TextStream()
        self.last = ""

    def write(self, data: bytes) -> None:
        """Show what is complete."""
        text = self.stream.feed(data)
        if text:
            self.last = text[-1]
            sys.stdout.buffer.write(text.encode("utf-8", "replace"))
            sys.stdout.buffer.flush()

    def __enter__(self) -> Output:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Finish the line, unless nobody reads it; half a character is left out."""
        if kind is BrokenPipeError:
            return
        if self.last != "\n":
            sys.stdout.buffer.write(b"\n")
        sys.stdout.buffer.flush()


def make_decoder(kernels: Kernels, model: Model, options: InferOptions) -> Decoder:
    """A model ready to go on; an error that names the file if its cache has no place in memory."""
    try:
        return Decoder(kernels, model.shape, model.weights, options.precision)
    except MemoryError as e:
        field = "n_positions" if model.shape.arch == "gpt2" else "max_position_embeddings"
        raise ModelFileError(
            os.path.join(options.model, folder.CONFIG), f"{e}, with {field} {model.shape.S}",
            f"a smaller {field} needs less",
        ) from None  # fmt: skip


def check_logits(logits: Iterable[float], path: str) -> None:
    """What may follow can't be said with inf or nan: the sampler would draw some token all the same."""
    total = sum(logits)
    if total - total != 0.0:
        name = os.path.join(path, folder.WEIGHTS)
        raise ModelFileError(name, "the model computes inf or nan", "copy the whole folder again or train again")


def infer(options: InferOptions) -> int:
    """Generate; the exit status."""
    start = perf_counter()
    prompt = read_prompt(options)
    kernels = Kernels(options.threads)
    model = load_model(kernels, options.model)
    tokenizer = model.tokenizer
    tokens = tokenizer.encode(prompt)
    decoder = make_decoder(kernels, model, options)
    del model  # and with it weights in f32, where they are kept in bf16
    loaded = perf_counter()
    sys.stdout.flush()
    output = Output()
    output.write(prompt)
    made = 0
    seed = options.seed if options.seed >= 0 else int.from_bytes(os.urandom(8), "little")
    with output:
        # A model needs something to go on from: a line break, where nothing was said.
        decoder.feed(tokens or tokenizer.encode_start())
        check_logits(decoder.logits, options.model)
        first = prompted = perf_counter()
        while made != options.n_predict:
            token = decoder.sample(options, seed, made)
            check_logits((decoder.logits[token],), options.model)  # one: all of them, each time, would cost
            made += 1
            output.write(tokenizer.decode((token,)))
            if made == 1:
                first = perf_counter()
            if made != options.n_predict:
                decoder.feed((token,))
    if options.stats:
        ended = perf_counter()
        rate = (made - 1) / (ended - first) if made > 1 and ended > first else 0.0
        sys.stderr.write(
            f'{{"load_ms": {(loaded - start) * 1e3:.3f}, "prompt_tokens": {len(tokens)}, '
            f'"prompt_ms": {(prompted - loaded) * 1e3:.3f}, "first_token_ms": {(first - start) * 1e3:.3f}, '
            f'"tokens": {made}, "tokens_per_second": {rate:.1f}}}\n'
        )
    return 0
