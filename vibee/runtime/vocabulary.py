"""Vocabularies and tokenizer.json: characters, bytes, and byte pairs, as Hugging Face's classes read them.

Characters are a BPE model without merges and without a pre-tokenizer: every character stands
for itself, and one that is not in the vocabulary is left out, there as here.  Text that is no
UTF-8 gets the bytes that occur in it.  Byte pairs use the usual printable alphabet for bytes.
"""

from __future__ import annotations

from vibee.runtime import folder
from vibee.runtime.buffers import typed, zeros
from vibee.runtime.errors import ModelFileError
from vibee.runtime.jsontext import JsonError, dump, parse

TYPE_CHECKING = False
if TYPE_CHECKING:  # the typing module is not worth its start time
    from collections.abc import Sequence
    from typing import Any

TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
KINDS = ("char", "byte", "bpe")
_ADVICE = "restore the file or train again"

_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
# The words of specs/foundation/tokenizer.vibee: a letter is one of ASCII or any character beyond, a
# space may stand before letters, digits or other signs, and of a run of spaces the last stays with
# what follows.  All classes are of ASCII, so bytes and characters are cut alike.
_SPACES, _DIGITS = "\\t-\\r ", "0-9"
_SIGNS = "\\x00-\\x08\\x0E-\\x1F!-/:-@\\[-`{-\\x7F"
WORDS = f" ?[^{_SPACES}{_DIGITS}{_SIGNS}]+| ?[{_DIGITS}]+| ?[{_SIGNS}]+|[{_SPACES}]+(?![^{_SPACES}])|[{_SPACES}]+"

# How each kind cuts text before the model sees it, and how it puts tokens together again.
_PRE_TOKENIZER: dict[str, Any] = {
    "char": None,
    "byte": _BYTE_LEVEL,
    "bpe": {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": WORDS}, "behavior": "Isolated", "invert": False},
            _BYTE_LEVEL,
        ],
    },
}
_DECODER: dict[str, Any] = {"char": {"type": "Fuse"}, "byte": _BYTE_LEVEL, "bpe": _BYTE_LEVEL}


def byte_alphabet() -> list[str]:
    """The printable character that stands for each byte, as in GPT-2: itself, or one from U+0100 on."""
    table: list[str] = []
    extra = 0
    for byte in range(256):
        if 33 <= byte <= 126 or 161 <= byte <= 172 or byte >= 174:
            table.append(chr(byte))
        else:
            table.append(chr(256 + extra))
            extra += 1
    return table


class Vocabulary:
    """Tokens by number.  `tokens` are their bytes; `merges` (byte pairs only) the two parts, and the result."""

    __slots__ = ("kind", "merges", "tokens")

    def __init__(self, kind: str, tokens: list[bytes], merges: Sequence[tuple[int, int, int]] = ()) -> None:
        self.kind, self.tokens, self.merges = kind, tokens, list(merges)

    def __len__(self) -> int:
        return len(self.tokens)

    def checksum(self) -> str:
        """What is kept in model.safetensors: weights mean nothing with another vocabulary."""
        from zlib import crc32

        crc = crc32(self.kind.encode())
        for token in self.tokens:
            crc = crc32(len(token).to_bytes(4, "little") + token, crc)
        for merge in self.merges:
            crc = crc32(b"".join(i.to_bytes(4, "little") for i in merge), crc)
        return f"{crc:08x}"

    def decode(self, numbers: Sequence[int]) -> bytes:
        """The bytes of tokens; a number outside of the vocabulary is a replacement character."""
        tokens, n = self.tokens, len(self.tokens)
        return b"".join(tokens[i] if 0 <= i < n else b"\xef\xbf\xbd" for i in numbers)

    def characters(self) -> list[str]:
        """The characters of a character vocabulary."""
        return [t.decode() for t in self.tokens]


def of_text(data: bytes) -> Vocabulary:
    """The characters of a text in the order of their code points; its bytes if it is no UTF-8."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return Vocabulary("byte", [bytes([b]) for b in sorted(set(data))])
    return Vocabulary("char", [c.encode() for c in sorted(set(text))])


def of_pairs(merges: Sequence[tuple[int, int]]) -> Vocabulary:
    """Byte pairs as they were learnt: tokens 0 to 255 are the bytes, merge i makes 256 + i.

    Two merges may arrive at the same bytes; tokenizer.json knows a token only once, so the later
    one makes the earlier token, and the numbers behind it move up.
    """
    tokens = [bytes([b]) for b in range(256)]
    places = {token: i for i, token in enumerate(tokens)}
    renumbered = list(range(256))
    pairs: dict[tuple[int, int], int] = {}
    for left, right in merges:
        if not (0 <= left < len(renumbered) and 0 <= right < len(renumbered)):
            raise ValueError("a merge of tokens that do not exist yet")
        a, b = renumbered[left], renumbered[right]
        token = tokens[a] + tokens[b]
        if token not in places:
            places[token] = len(tokens)
            tokens.append(token)
        renumbered.append(places[token])
        pairs.setdefault((a, b), places[token])
    return Vocabulary("bpe", tokens, [(a, b, made) for (a, b), made in pairs.items()])


def encode_single(vocabulary: Vocabulary, data: bytes) -> tuple[memoryview, str]:
    """Token numbers (32-bit) of characters or bytes, and what was left out because the vocabulary lacks it.

    `str.translate` and `bytes.translate` do the work; byte pairs are encoded by a generated kernel.
    """
    if vocabulary.kind == "byte":
        known = b"".join(vocabulary.tokens)
        missing = bytes(sorted(set(data).difference(known)))
        table = bytearray(256)
        for i, byte in enumerate(known):
            table[byte] = i
        small = data.translate(bytes(table), missing)
        numbers = zeros(len(small), "i")
        if small:
            typed(numbers, "B")[0::4] = memoryview(small)
        return numbers, " ".join(f"0x{b:02x}" for b in missing)
    from _codecs import utf_32_le_encode

    text = data.decode("utf-8", "replace")
    places: dict[int, int | None] = {ord(c): i for i, c in enumerate(vocabulary.characters())}
    unknown = sorted(c for c in set(text) if ord(c) not in places)
    places.update((ord(c), None) for c in unknown)
    # A string whose code points are the token numbers: in UTF-32 it is the array.
    coded, _ = utf_32_le_encode(text.translate(places), "surrogatepass")
    numbers = zeros(len(coded) // 4, "i")
    if coded:
        typed(numbers, "B")[:] = memoryview(coded)
    return numbers, "".join(unknown)


def tokenizer_files(vocabulary: Vocabulary, context: int) -> dict[str, bytes]:
    """tokenizer.json and tokenizer_config.json."""
    alphabet = byte_alphabet()

    def spell(token: bytes) -> str:
        return token.decode() if vocabulary.kind == "char" else "".join(alphabet[b] for b in token)

    names = [spell(t) for t in vocabulary.tokens]
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": {name: i for i, name in enumerate(names)},
        "merges": [f"{names[a]} {names[b]}" for a, b, _ in vocabulary.merges],
    }
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": _PRE_TOKENIZER[vocabulary.kind],
        "post_processor": None,
        "decoder": _DECODER[vocabulary.kind],
        "model": model,
    }
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": context,
        "bos_token": None,
        "eos_token": None,
        "unk_token": None,
    }
    return {
        TOKENIZER: (dump(content, indent=1) + "\n").encode(),
        TOKENIZER_CONFIG: (dump(config, indent=2) + "\n").encode(),
    }


def read(path: str, expected_checksum: str | None = None) -> Vocabulary:
    """The vocabulary of a model's folder; with a checksum, only the one the model was trained with."""
    data, shown = folder.read_text_file(path, TOKENIZER)
    vocabulary = parse_tokenizer(data, shown)
    if expected_checksum is not None and vocabulary.checksum() != expected_checksum:
        raise ModelFileError(shown, "not the tokenizer that the model beside it was trained with", _ADVICE)
    return vocabulary


def parse_tokenizer(data: bytes, shown: str) -> Vocabulary:
    """The vocabulary in the text of a tokenizer.json."""

    def fail(what: str) -> ModelFileError:
        return ModelFileError(shown, what, _ADVICE)

    try:
        found = parse(data)
    except JsonError as e:
        raise fail(f"not valid JSON ({e})") from None
    if not isinstance(found, dict) or not isinstance(found.get("model"), dict):
        raise fail("not a tokenizer: it has no model")
    model = found["model"]
    if model.get("type") != "BPE":
        raise fail(f"a tokenizer of type {str(model.get('type'))[:40]!r}; vibee reads BPE")
    post = found.get("post_processor") or {}
    # A template without special tokens, which transformers adds on saving, changes nothing.
    if not isinstance(post, dict):
        raise fail("its post-processor is not an object")
    changes = post.get("special_tokens") or (post and "special_tokens" not in post)
    if found.get("added_tokens") or found.get("normalizer") or (changes and post.get("type") != "ByteLevel"):
        raise fail("special tokens, normalizers and post-processors are not among what vibee does")
    if any(model.get(k) for k in ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix")):
        raise fail("its model has options that vibee does not compute")
    if model.get("byte_fallback") or model.get("ignore_merges"):
        raise fail("its model has options that vibee does not compute")
    pre, merges = found.get("pre_tokenizer"), model.get("merges")
    kind = next((k for k in KINDS if _same(pre, _PRE_TOKENIZER[k])), None)
    if kind is None:
        raise fail("its pre-tokenizer is not one that vibee computes")
    if not _same(found.get("decoder"), _DECODER[kind]):
        raise fail("its decoder is not one that vibee computes")
    names = _names(model.get("vocab"), fail)
    if not isinstance(merges, list) or (kind != "bpe" and merges):
        raise fail("its merges are not a list" if not isinstance(merges, list) else "merges of single characters")
    if kind == "char":
        if any(len(name) != 1 for name in names):
            raise fail("a token of a character vocabulary is not one character")
        try:
            return Vocabulary(kind, [name.encode() for name in names])
        except UnicodeEncodeError:
            raise fail("a token is half of a surrogate pair") from None
    values = {c: b for b, c in enumerate(byte_alphabet())}
    try:
        tokens = [bytes(values[c] for c in name) for name in names]
    except KeyError:
        raise fail("a token has a character that stands for no byte") from None
    if b"" in tokens or (kind == "byte" and any(len(t) != 1 for t in tokens)):
        raise fail("a token of the vocabulary has the wrong length")
    return Vocabulary(kind, tokens, _merges(merges, names, fail))


def _same(found: Any, want: Any) -> bool:
    """Do these describe the same step?  Some writers leave defaults out or add to them."""
    if isinstance(want, list):
        return (
            isinstance(found, list) and len(found) == len(want) and all(map(_same, found, want))
        )  # fmt: skip
    if not isinstance(found, dict) or not isinstance(want, dict):
        return type(found) is type(want) and found == want
    if want.get("type") == "ByteLevel":
        # `trim_offsets` is about positions only.
        found = {"use_regex": True, **found, "trim_offsets": True}
    return all(_same(found.get(k), v) for k, v in want.items())


def _names(vocab: Any, fail: Any) -> list[str]:
    """The tokens' spellings by number, which must be 0, 1, 2, ..."""
    if not isinstance(vocab, dict) or not vocab:
        raise fail("its vocabulary is empty")
    names: list[str | None] = [None] * len(vocab)
    for name, i in vocab.items():
        if type(i) is not int or not 0 <= i < len(names) or names[i] is not None:
            raise fail(f"the tokens are not numbered from 0 to {len(vocab) - 1}")
        names[i] = name
    return [n for n in names if n is not None]


def _merges(merges: list[Any], names: list[str], fail: Any) -> list[tuple[int, int, int]]:
    """The merges as numbers."""
    numbers = {name: i for i, name in enumerate(names)}
    out: list[tuple[int, int, int]] = []
    seen: set[tuple[int, int]] = set()
    for i, merge in enumerate(merges):
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(p, str) for p in parts):
            raise fail(f"merge {i} is not two tokens")
        left, right = numbers.get(parts[0]), numbers.get(parts[1])
        result = numbers.get(parts[0] + parts[1])
        if left is None or right is None or result is None:
            raise fail(f"merge {i} is of tokens that are not in the vocabulary")
        if (left, right) in seen:  # which of the two ranks counts, readers do not agree on
            raise fail(f"merge {i} ({parts[0]} {parts[1]}) stands twice")
        seen.add((left, right))
        out.append((left, right, result))
    return out
