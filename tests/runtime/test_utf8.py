"""Streaming never cuts a character."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vibee.runtime.utf8 import TextStream


@given(st.text(), st.integers(1, 5))
def test_any_cut_gives_the_same_text(text, size):
    stream = TextStream()
    data = text.encode("utf-8", "surrogatepass") if all(not 0xD800 <= ord(c) < 0xE000 for c in text) else b"x"
    pieces = [stream.feed(data[i : i + size]) for i in range(0, len(data), size)]
    assert "�" in text or not any("�" in p for p in pieces)
    assert "".join(pieces) + stream.close() == data.decode()


@given(st.lists(st.binary(max_size=6)))
def test_any_bytes_as_the_decoder_shows_them_in_one_piece(pieces):
    stream = TextStream()
    got = "".join(stream.feed(p) for p in pieces) + stream.close()
    assert got == b"".join(pieces).decode("utf-8", "replace")


def test_waits_for_the_rest():
    stream = TextStream()
    euro = "€".encode()
    assert stream.feed(euro[:1]) == "" and stream.feed(euro[1:2]) == "" and stream.feed(euro[2:] + b"a") == "€a"
    assert stream.feed(euro[:2]) == "" and stream.close() == "�" and stream.close() == ""


@pytest.mark.parametrize("data", [b"\xff", b"\xc3(", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80"])
def test_impossible_bytes(data):
    stream = TextStream()
    assert "�" in stream.feed(data) + stream.close()
