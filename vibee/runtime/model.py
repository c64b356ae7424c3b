"""A whole model: its shape, its weights and its vocabulary, loaded from a folder and saved to one."""

from __future__ import annotations

import os

from vibee.runtime import buffers, folder, vocabulary
from vibee.runtime.errors import ModelFileError
from vibee.runtime.shapes import Shape
from vibee.runtime.vocabulary import Vocabulary

TYPE_CHECKING = False
if TYPE_CHECKING:  # the typing module is not worth its start time
    from typing import Any

    from vibee.runtime.atomic import Write

_VOCABULARY = "vibee_tokenizer"


class Model:
    """What `load` found: `weights` is the flat float32 array in the order of the spec."""

    __slots__ = ("shape", "vocabulary", "weights")

    def __init__(self, shape: Shape, weights: memoryview, vocabulary: Vocabulary) -> None:
        self.shape, self.weights, self.vocabulary = shape, weights, vocabulary


def files(
    shape: Shape, weights: Any, words: Vocabulary, transpose: buffers.Transpose = buffers.transpose
) -> dict[str, Write | bytes]:
    """The files of a model, for `checkpoint.save` or `atomic.write_files`."""
    return {
        folder.CONFIG: folder.config_file(shape),
        **vocabulary.tokenizer_files(words, shape.S),
        folder.WEIGHTS: folder.weights_file(shape, weights, {_VOCABULARY: words.checksum()}, transpose),
    }


def load(
    path: str, writable: bool = False, check: bool = True, transpose: buffers.Transpose = buffers.transpose
) -> Model:
    """The model in a folder; ModelFileError if its files are damaged or do not belong together."""
    shape = folder.read_shape(path)
    file = folder.open_weights(path, check)
    words = vocabulary.read(path, file.metadata.get(_VOCABULARY))
    if len(words) > shape.V:
        raise ModelFileError(
            os.path.join(path, vocabulary.TOKENIZER), f"{len(words)} tokens, and config.json says {shape.V}"
        )
    return Model(shape, folder.read_weights(file, shape, writable, transpose), words)
