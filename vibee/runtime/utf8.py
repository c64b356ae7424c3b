"""Bytes that arrive in pieces, shown as text without ever cutting a character."""

from __future__ import annotations

from _codecs import utf_8_decode


class TextStream:
    """An incremental UTF-8 decoder: bytes in, whole characters out.

    A piece of a character waits for the rest of it; bytes that can be no character come out as
    U+FFFD, an unfinished character only when the stream is closed.
    """

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> str:
        """The characters that are complete now."""
        data = self._rest + data
        text, used = utf_8_decode(data, "replace", False)
        self._rest = data[used:]
        return text

    def close(self) -> str:
        """What is left, with U+FFFD for an unfinished character."""
        text, _ = utf_8_decode(self._rest, "replace", True)
        self._rest = b""
        return text
