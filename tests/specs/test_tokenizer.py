"""Byte pairs against a plain implementation and against Hugging Face's tokenizers; any bytes come back."""

from __future__ import annotations

import itertools
import json
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# What tokenizer.json says of the spec's words.
REGEX = (
    r" ?(?:[A-Za-z]|[^\x00-\x7F])+| ?[0-9]+| ?[\x00-\x08\x0E-\x1F!-/:-@\[-`{-\x7F]+"
    r"|[\t-\r ]+(?![^\t-\r ])|[\t-\r ]+"
)
ODD = " \t\n\r\x0b\x0cabZ019.,!'\"_-\x00\x7f\x1f@[`{é日\u00a0\u2003\U0001f600x"
TEXT = Path(__file__).resolve().parents[2] / "docs" / "language.md"
BYTES = np.arange(256, dtype=np.int32)


@pytest.fixture(scope="module")
def k(load: Any) -> Any:
    """The tokenizer spec."""
    return load("foundation/tokenizer")


def array(text: bytes) -> np.ndarray:
    """Bytes as an array of their own."""
    return np.frombuffer(bytearray(text), np.uint8)


def words(k: Any, text: bytes) -> list[bytes]:
    """The words of a text, cut by the spec."""
    a, i, out = array(text), 0, []
    while i < len(a):
        j = k.word_end(a, i)
        assert j > i
        out.append(text[i:j])
        i = j
    return out


def train(k: Any, text: bytes, count: int, room: int | None = None, least: int = 2) -> Any:
    """Merges learned from a text; None if the room for pairs is too small."""
    a = array(text)
    start, length, weight, found, total = k.distinct_words(a, H=len(a) + 1)
    start, length, weight = start[:found], length[:found], weight[:found]
    merge, made = k.train_pairs(
        a, start, length, weight, M=count, U=total, C=room or total + 2 * count + 512, least=least
    )
    return merge[:made] if made >= 0 else None


def encode(k: Any, text: bytes, merge: np.ndarray) -> list[int]:
    """The tokens of a text."""
    a = array(text)
    full = np.column_stack([merge, 256 + np.arange(len(merge))]).astype(np.int32).reshape(-1, 3)
    token, count = k.encode_pairs(a, BYTES, np.ascontiguousarray(full), L=max(1, k.longest_word(a)))
    return token[:count].tolist()


def decode(k: Any, token: list[int], merge: np.ndarray) -> bytes:
    """The text of tokens."""
    t = np.array(token, np.int32)
    offset = k.token_offsets(merge)
    table = k.token_bytes(merge, offset, B=int(offset[-1]))
    return k.decode_pairs(t, offset, table, N=k.decoded_length(t, offset)).tobytes()


def plain_merges(cut: list[bytes], count: int) -> list[tuple[int, int]]:
    """Byte pairs learned the slow way: count everything anew for each merge; of equals any."""
    weights = Counter(cut)
    parts = {w: list(w) for w in weights}
    merges: list[tuple[int, int]] = []
    for i in range(count):
        pairs: Counter[tuple[int, int]] = Counter()
        for w, s in parts.items():
            for p in itertools.pairwise(s):
                pairs[p] += weights[w]
        if not pairs or max(pairs.values()) < 2:
            break
        best = max(pairs, key=lambda p: pairs[p])
        merges.append(best)
        for w, s in parts.items():
            parts[w] = joined(s, best, 256 + i)
    return merges


def joined(s: list[int], pair: tuple[int, int], token: int) -> list[int]:
    """`s` with every `pair` replaced, from the left."""
    out: list[int] = []
    i = 0
    while i < len(s):
        if tuple(s[i : i + 2]) == pair:
            out.append(token)
            i += 2
        else:
            out.append(s[i])
            i += 1
    return out


def hugging_face(merge: np.ndarray) -> Any:
    """The same tokenizer as tokenizer.json says it."""
    tokenizers = pytest.importorskip("tokenizers")
    alphabet, extra = [], 0
    for b in range(256):
        printable = 33 <= b <= 126 or 161 <= b <= 172 or b >= 174
        alphabet.append(chr(b if printable else 256 + extra))
        extra += not printable
    names = list(alphabet)
    for left, right in merge.tolist():
        names.append(names[left] + names[right])
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": REGEX}, "behavior": "Isolated", "invert": False}
    return tokenizers.Tokenizer.from_str(
        json.dumps(
            {
                "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
                "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]}, "post_processor": None,
                "decoder": level,
                "model": {
                    "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                    "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                    "vocab": {n: i for i, n in enumerate(names)},
                    "merges": [f"{names[a]} {names[b]}" for a, b in merge.tolist()],
                },
            }
        )
    )  # fmt: skip


def test_symbols_by_table(k: Any, rng: np.random.Generator) -> None:
    text = rng.choice(np.array([5, 9, 200, 1_000_000], np.int32), 500)
    table, count = k.symbol_table(text, K=1_114_112)
    assert count == 4
    token = k.encode_symbols(text, table)
    symbol = k.table_symbols(table, C=count)
    np.testing.assert_array_equal(symbol, [5, 9, 200, 1_000_000])
    np.testing.assert_array_equal(k.decode_symbols(token, symbol), text)
    assert k.encode_symbols(np.array([6], np.int32), table)[0] == -1
    with pytest.raises(ValueError):
        k.symbol_table(text, K=100)


def test_words(k: Any) -> None:
    got = words(k, b"Ein  Wort,\n\n und 12x \t\n")
    assert got == [b"Ein", b" ", b" Wort", b",", b"\n\n", b" und", b" 12", b"x", b" \t\n"]
    draw = random.Random(1)
    for _ in range(200):
        text = bytes(draw.randrange(256) for _ in range(draw.randrange(40)))
        assert b"".join(words(k, text)) == text


def test_words_are_those_of_the_expression(k: Any) -> None:
    hf = hugging_face(np.zeros((0, 2), np.int32))
    names = dict(hf.get_vocab())
    draw = random.Random(2)
    for _ in range(1000):
        text = "".join(draw.choice(ODD) for _ in range(draw.randrange(1, 30)))
        want = [bytes(names[c] for c in w) for w, _ in hf.pre_tokenizer.pre_tokenize_str(text)]
        assert words(k, text.encode()) == want


def test_distinct_words(k: Any) -> None:
    text = TEXT.read_bytes()
    a = array(text)
    start, length, weight, count, total = k.distinct_words(a, H=len(a))
    got = {text[s : s + n]: w for s, n, w in zip(start[:count], length[:count], weight[:count], strict=True)}
    assert got == Counter(words(k, text)) and total == sum(map(len, got))
    assert k.distinct_words(a, H=10)[3] == -1
    assert k.distinct_words(a, H=int(count))[3] == count


def test_training_takes_a_most_frequent_pair_each_time(k: Any) -> None:
    cut = words(k, TEXT.read_bytes())
    merge = train(k, TEXT.read_bytes(), 300)
    assert len(merge) == 300
    weights = Counter(cut)
    parts = {w: list(w) for w in weights}
    for i, pair in enumerate(map(tuple, merge.tolist())):
        pairs: Counter[tuple[int, int]] = Counter()
        for w, s in parts.items():
            for p in itertools.pairwise(s):
                pairs[p] += weights[w]
        assert pairs[pair] == max(pairs.values()), i
        for w, s in parts.items():
            parts[w] = joined(s, pair, 256 + i)


def test_room_changes_nothing(k: Any) -> None:
    text = TEXT.read_bytes()
    merge = train(k, text, 200)
    sizes = [r for r in (1500, 2000, 3000, 4000, 6000, 8000, 100_000) if train(k, text, 200, r) is not None]
    assert len(sizes) >= 3
    for room in sizes:
        np.testing.assert_array_equal(train(k, text, 200, room), merge)
    assert train(k, text, 200, 100) is None


@pytest.mark.parametrize("text", [b"", b"a", b"aaaaaaaaaaaaaaa aaaa aaab", b"abababababab" * 40, bytes(range(256)) * 3])
def test_degenerate_texts(k: Any, text: bytes) -> None:
    merge = train(k, text, 50)
    assert len(merge) <= len(plain_merges(words(k, text), 50)) + 2
    assert decode(k, encode(k, text, merge), merge) == text


def test_encoding_is_that_of_hugging_face(k: Any) -> None:
    text = TEXT.read_text()
    merge = train(k, text.encode(), 400)
    hf = hugging_face(merge)
    assert encode(k, text.encode(), merge) == hf.encode(text).ids
    draw = random.Random(4)
    for _ in range(500):
        part = "".join(draw.choice("the e  ininghaa" + ODD) for _ in range(draw.randrange(1, 60)))
        token = encode(k, part.encode(), merge)
        assert token == hf.encode(part).ids
        assert decode(k, token, merge).decode() == part == hf.decode(token)


def test_any_bytes_come_back(k: Any) -> None:
    merge = train(k, TEXT.read_bytes(), 100)
    draw = random.Random(5)
    for n in (0, 1, 2, 100, 5000):
        text = bytes(draw.randrange(256) for _ in range(n))
        assert decode(k, encode(k, text, merge), merge) == text


def test_long_words_are_quick(k: Any) -> None:
    text = b"ab" * 150_000
    begin = time.perf_counter()
    merge = train(k, text, 12)
    token = encode(k, text, merge)
    assert time.perf_counter() - begin < 5
    assert decode(k, token, merge) == text and len(token) < 300


def test_a_megabyte_takes_seconds(k: Any) -> None:
    draw = random.Random(6)
    stems = ["".join(draw.choice("etaoinshrdlu") for _ in range(draw.randrange(2, 9))) for _ in range(6000)]
    text = " ".join(draw.choice(stems) for _ in range(170_000)).encode()
    begin = time.perf_counter()
    merge = train(k, text, 768, 1 << 18)
    token = encode(k, text, merge)
    assert time.perf_counter() - begin < 10
    assert len(merge) == 768 and len(token) < len(text) / 2
    assert decode(k, token, merge) == text


def test_wrong_arguments(k: Any) -> None:
    with pytest.raises(ValueError):
        k.word_end(array(b"abc"), 3)
    with pytest.raises(ValueError):
        k.encode_pairs(array(b"abc"), -BYTES, np.zeros((0, 3), np.int32), L=3)
    assert k.encode_pairs(array(b"abcdefgh"), BYTES, np.zeros((0, 3), np.int32), L=3)[1] == -1
