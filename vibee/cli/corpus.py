"""The text of a run as tokens: read, tokenized, split into what is learnt and what is held out."""

from __future__ import annotations

from dataclasses import dataclass

from vibee.runtime import data as text_data
from vibee.runtime import vocabulary
from vibee.runtime.errors import UserError
from vibee.runtime.machine import available_memory
from vibee.runtime.sample_text import sample_text
from vibee.runtime.vocabulary import Vocabulary

from .kernels import Kernels
from .model import Tokenizer
from .settings import Settings

HELD_OUT = 10  # one part in ten, the last, is for validation


@dataclass
class Corpus:
    """Tokens to learn from, tokens to check on, and the vocabulary of both."""

    vocabulary: Vocabulary
    train: memoryview
    held_out: memoryview
    shared: bool  # the text was too short to hold anything out


def read_text(places: tuple[str, ...]) -> text_data.Data:
    """The text that a run was given, or the built-in one."""
    if not places:
        return text_data.Data(sample_text(), ["the built-in text"], [])
    # Tokens take four bytes for each byte of a character text, beside the text itself.
    return text_data.read(places, limit=available_memory() // 8)


def make_vocabulary(kernels: Kernels, content: bytes, settings: Settings) -> Vocabulary:
    """The vocabulary that a text asks for; byte pairs are learnt from the part that is trained on."""
    if settings.tokenizer == "char":
        return vocabulary.of_text(content)
    return vocabulary.of_pairs(kernels.learn_pairs(content[: split_place(content)], settings.vocab_size))


def split_place(content: bytes) -> int:
    """Where the held-out text begins, in bytes; never inside of a UTF-8 character."""
    at = len(content) * (HELD_OUT - 1) // HELD_OUT
    while at < len(content) and content[at] & 0xC0 == 0x80:
        at += 1
    return at


def make_corpus(kernels: Kernels, content: bytes, words: Vocabulary) -> Corpus:
    """Tokens of the text; characters are split by number, as nanoGPT does, byte pairs by bytes."""
    tokenizer = Tokenizer(kernels, words)
    if words.kind == "bpe":
        at = split_place(content)
        train, held_out = tokenizer.encode(content[:at]), tokenizer.encode(content[at:])
        if len(held_out) < 2:
            train = tokenizer.encode(content)
    else:
        tokens = tokenizer.encode(content)
        at = int(len(tokens) * (HELD_OUT - 1) / HELD_OUT)
        train, held_out = tokens[:at], tokens[at:]
        if len(held_out) < 2:
            train = tokens
    if len(train) < 2:
        raise UserError(f"the text has {len(train)} token{'s' if len(train) != 1 else ''}; at least 2 are needed")
    shared = len(held_out) < 2
    return Corpus(words, train, train if shared else held_out, shared)


def fit_context(settings: Settings, corpus: Corpus, asked: int | None) -> int:
    """The context, which must be shorter than the text that is learnt."""
    most = len(corpus.train) - 1
    if settings.context <= most:
        return settings.context
    if asked is not None:
        raise UserError(
            f"--context {asked} needs a text of more than {asked} tokens to learn from, and this one has "
            f"{len(corpus.train)}; use --context {most} or less, or more text"
        )
    return most
