"""A trained model as `infer` and the trainer's samples use it: shape, weights, tokenizer."""

from __future__ import annotations

from vibee.runtime import model, vocabulary
from vibee.runtime.errors import UserError, one_line

from .kernels import Kernels

TYPE_CHECKING = False
if TYPE_CHECKING:  # the typing module is not worth its start time
    from vibee.runtime.shapes import Shape
    from vibee.runtime.vocabulary import Vocabulary


class Tokenizer:
    """Bytes to tokens and back."""

    def __init__(self, kernels: Kernels, vocabulary: Vocabulary) -> None:
        self.kernels, self.vocabulary = kernels, vocabulary

    def encode(self, data: bytes) -> memoryview:
        """Token numbers of a text; what the vocabulary lacks is an error, not a silent gap."""
        if self.vocabulary.kind == "bpe":
            return self.kernels.encode_pairs(self.vocabulary, data)
        numbers, unknown = vocabulary.encode_single(self.vocabulary, data)
        if unknown:
            what = "byte" if self.vocabulary.kind == "byte" else "character"
            names = unknown if what == "byte" else " ".join(repr(c) for c in unknown[:10])
            raise UserError(one_line(f"this model's text had no {what} {names}; it can only go on from what it knows"))
        return numbers

    def encode_start(self) -> tuple[int, ...]:
        """What to go on from where nothing is given: a line break if there is one."""
        try:
            return (self.vocabulary.tokens.index(b"\n"),)
        except ValueError:
            return (0,)

    def decode(self, numbers: tuple[int, ...]) -> bytes:
        """The bytes of tokens."""
        return self.vocabulary.decode(numbers)


class Model:
    """What is needed to generate."""

    def __init__(self, shape: Shape, weights: memoryview, tokenizer: Tokenizer) -> None:
        self.shape, self.weights, self.tokenizer = shape, weights, tokenizer


def load_model(kernels: Kernels, path: str) -> Model:
    """The model of a folder, every file checked."""
    found = model.load(path, transpose=kernels.transpose)
    return Model(found.shape, found.weights, Tokenizer(kernels, found.vocabulary))
