"""Vocabularies: every text comes back, and Hugging Face's classes read the same from tokenizer.json."""

import json
import re
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vibee.runtime import atomic, vocabulary
from vibee.runtime.errors import ModelFileError
from vibee.runtime.vocabulary import WORDS, Vocabulary, of_pairs, of_text

TEXTS = [
    "hello world\n",
    " \n\t a  b ' s\r\n é漢字 🎉 <|endoftext|> it's , . n't  ",
    "x",
    "\x00\x01\x7f\x80\xa0\xad \u2028\ufeff\U0010ffff",
    "  leading and trailing  ",
]


def words_of(data):
    """The words of the tokenizer's spec, by Python's own expressions on characters."""
    return re.findall(WORDS, data.decode(), re.DOTALL)


def learn(text, count):
    """Byte pairs the slow and plain way."""
    words = [list(w.encode()) for w in words_of(text)]
    merges = []
    while len(merges) < count:
        pairs = Counter(p for w in words for p in pairwise(w))
        if not pairs:
            break
        best = max(pairs, key=lambda p: (pairs[p], p))
        merges.append(best)
        words = [join(w, best, 255 + len(merges)) for w in words]
    return merges


def join(word, pair, made):
    out, i = [], 0
    while i < len(word):
        if tuple(word[i : i + 2]) == pair:
            out.append(made)
            i += 2
        else:
            out.append(word[i])
            i += 1
    return out


def encode(words, data):
    """Merges applied by rank, the plain way."""
    out = []
    for word in words_of(data):
        tokens = [words.tokens.index(bytes([b])) for b in word.encode()]
        for left, right, made in words.merges:
            tokens = join(tokens, (left, right), made)
        out += tokens
    return out


@given(st.text())
def test_characters(text):
    data = text.encode()
    words = of_text(data)
    numbers, missing = vocabulary.encode_single(words, data)
    assert words.kind == "char" and missing == "" and len(words) == len(set(text))
    assert numbers.format == "i" and words.decode(numbers) == data
    assert words.characters() == sorted(set(text))
    if words.tokens:
        again = vocabulary.parse_tokenizer(vocabulary.tokenizer_files(words, 8)["tokenizer.json"], "t")
        assert again.tokens == words.tokens and again.kind == "char" and again.checksum() == words.checksum()


@given(st.binary(min_size=1).map(lambda b: b + b"\xff"))
def test_bytes(data):
    words = of_text(data)
    numbers, missing = vocabulary.encode_single(words, data)
    assert words.kind == "byte" and missing == "" and words.decode(numbers) == data
    again = vocabulary.parse_tokenizer(vocabulary.tokenizer_files(words, 8)["tokenizer.json"], "t")
    assert again.tokens == words.tokens and again.kind == "byte"


def test_what_the_vocabulary_lacks():
    words = of_text(b"abc ")
    numbers, missing = vocabulary.encode_single(words, "cab zu é".encode())
    assert numbers.tolist() == [3, 1, 2, 0, 0] and missing == "uzé"
    numbers, missing = vocabulary.encode_single(of_text(b"ab\xff"), b"aXb\xffY")
    assert numbers.tolist() == [0, 1, 2] and missing == "0x58 0x59"
    numbers, missing = vocabulary.encode_single(of_text(b"\xff"), b"XY")
    assert numbers.tolist() == [] and missing == "0x58 0x59"
    assert words.decode([0, 99, -1]) == b" \xef\xbf\xbd\xef\xbf\xbd"


@given(st.text())
def test_words_are_the_whole_text(text):
    assert "".join(words_of(text.encode())) == text


def test_merges_to_the_same_bytes():
    # (a, a) = 256, (256, a) = 257 "aaa", (a, 256) = 258 "aaa" again, (258, b) = 259
    words = of_pairs([(97, 97), (256, 97), (97, 256), (258, 98)])
    assert words.tokens[256:] == [b"aa", b"aaa", b"aaab"]
    assert words.merges == [(97, 97, 256), (256, 97, 257), (97, 256, 257), (257, 98, 258)]
    with pytest.raises(ValueError, match="do not exist yet"):
        of_pairs([(97, 256)])


def test_byte_pairs_there_and_back():
    data = "\n".join(TEXTS * 3).encode()
    words = of_pairs(learn(data, 40))
    again = vocabulary.parse_tokenizer(vocabulary.tokenizer_files(words, 8)["tokenizer.json"], "t")
    assert (again.kind, again.tokens, again.merges) == ("bpe", words.tokens, words.merges)
    assert words.decode(encode(words, data)) == data


def changed(edit, words=None):
    content = json.loads(vocabulary.tokenizer_files(words or of_text(b"abc"), 8)["tokenizer.json"])
    edit(content)
    return json.dumps(content).encode()


WRONG = [
    (lambda t: t.pop("model"), "no model"),
    (lambda t: t["model"].update(type="Unigram"), "vibee reads BPE"),
    (lambda t: t.update(normalizer={"type": "NFC"}), "normalizers"),
    (lambda t: t.update(added_tokens=[{"id": 0}]), "special tokens"),
    (lambda t: t.update(post_processor={"type": "RobertaProcessing"}), "post-processors"),
    (lambda t: t.update(post_processor=[1]), "post-processor"),
    (lambda t: t.update(pre_tokenizer={"type": "Whitespace"}), "pre-tokenizer"),
    (lambda t: t.update(decoder=None), "decoder"),
    (lambda t: t["model"].update(vocab={}), "empty"),
    (lambda t: t["model"].update(vocab=[]), "empty"),
    (lambda t: t["model"].update(vocab={"a": 1}), "numbered"),
    (lambda t: t["model"].update(vocab={"a": 0, "b": 0}), "numbered"),
    (lambda t: t["model"].update(vocab={"a": True, "b": 1}), "numbered"),
    (lambda t: t["model"].update(vocab={"ab": 0}), "not one character"),
    (lambda t: t["model"].update(vocab={"\ud800": 0}), "surrogate"),
    (lambda t: t["model"].update(merges=[["a", "b"]]), "merges"),
    (lambda t: t["model"].update(merges=None), "merges"),
    (lambda t: t["model"].update(byte_fallback=True), "options"),
    (lambda t: t["model"].update(unk_token="a"), "options"),
]


@pytest.mark.parametrize(("edit", "message"), WRONG)
def test_wrong_tokenizers(edit, message):
    with pytest.raises(ModelFileError, match=message) as e:
        vocabulary.parse_tokenizer(changed(edit), "dir/tokenizer.json")
    assert str(e.value).startswith("dir/tokenizer.json: ") and "\n" not in str(e.value)


def test_a_tokenizer_is_json():
    with pytest.raises(ModelFileError, match="t: not valid JSON"):
        vocabulary.parse_tokenizer(b"{", "t")


PAIRS = of_pairs([(97, 98), (256, 99)])


def test_other_merges_have_another_checksum():
    same = Vocabulary("bpe", PAIRS.tokens, PAIRS.merges)
    assert same.checksum() == PAIRS.checksum()
    assert Vocabulary("bpe", PAIRS.tokens, PAIRS.merges[:1]).checksum() != PAIRS.checksum()


WRONG_PAIRS = [
    (lambda t: t["model"]["vocab"].update({"漢": len(t["model"]["vocab"])}), "stands for no byte"),
    (lambda t: t["model"]["vocab"].update({"": len(t["model"]["vocab"])}), "wrong length"),
    (lambda t: t["model"]["merges"].append("a"), "merge 2 is not two tokens"),
    (lambda t: t["model"]["merges"].append(["a", 1]), "merge 2 is not two tokens"),
    (lambda t: t["model"]["merges"].append("x y"), "merge 2 is of tokens"),
    (lambda t: t["model"]["merges"].append(["a", "b"]), r"t: merge 2 \(a b\) stands twice; restore"),
]


@pytest.mark.parametrize(("edit", "message"), WRONG_PAIRS)
def test_wrong_pairs(edit, message):
    with pytest.raises(ModelFileError, match=message):
        vocabulary.parse_tokenizer(changed(edit, PAIRS), "t")


# ---------------------------------------------------------------- the same by Hugging Face's code


def theirs(words: Vocabulary):
    tokenizers = pytest.importorskip("tokenizers")
    return tokenizers.Tokenizer.from_str(vocabulary.tokenizer_files(words, 8)["tokenizer.json"].decode())


@pytest.mark.parametrize("text", TEXTS)
def test_tokenizers_package_on_characters(text):
    words = of_text(text.encode())
    other = theirs(words)
    numbers = vocabulary.encode_single(words, text.encode())[0].tolist()
    assert other.encode(text).ids == numbers and other.decode(numbers) == text
    mixed = "Zq" + text + "ß"
    assert other.encode(mixed).ids == vocabulary.encode_single(words, mixed.encode())[0].tolist()


def test_tokenizers_package_on_bytes():
    words = of_text(bytes(range(256)))
    other = theirs(words)
    for text in TEXTS:
        numbers = vocabulary.encode_single(words, text.encode())[0].tolist()
        assert other.encode(text).ids == numbers and other.decode(numbers) == text


LEARNT = of_pairs(learn(("\n".join(TEXTS) + "the theme of them, 1234 12 !!! ... they're\n" * 3).encode(), 60))


@settings(max_examples=200, deadline=None)
@given(
    st.text(alphabet=st.sampled_from("the m'12!. \n\t\réß漢\xa0\x85\u2028\x1f\x7f"), max_size=30) | st.text(max_size=30)
)
def test_tokenizers_package_on_byte_pairs(text):
    other = theirs(LEARNT)
    numbers = encode(LEARNT, text.encode())
    assert other.encode(text).ids == numbers
    assert other.decode(numbers) == text


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["char", "byte", "bpe"])
def test_auto_tokenizer(tmp_path, kind):
    transformers = pytest.importorskip("transformers")
    from vibee.runtime import folder
    from vibee.runtime.shapes import Shape

    text = TEXTS[1] + TEXTS[4]
    words = {"char": of_text(text.encode()), "byte": of_text(bytes(range(256))), "bpe": LEARNT}[kind]
    shape = Shape("gpt2", len(words), 512, 1, 1, 4)
    files = {**vocabulary.tokenizer_files(words, 512), folder.CONFIG: folder.config_file(shape)}
    atomic.write_files(str(tmp_path), files)
    other = transformers.AutoTokenizer.from_pretrained(tmp_path)
    own = encode(words, text.encode()) if kind == "bpe" else vocabulary.encode_single(words, text.encode())[0].tolist()
    assert other(text)["input_ids"] == own and other.decode(own) == text and len(other) == len(words)
    other.save_pretrained(tmp_path / "saved")
    again = vocabulary.read(str(tmp_path / "saved"), words.checksum())
    assert again.tokens == words.tokens and again.merges == words.merges
