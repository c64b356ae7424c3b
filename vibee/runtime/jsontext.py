"""JSON through the C accelerator alone.

`import json` costs 2 ms of a 50 ms cold start, most of it for regular expressions that the C
scanner never uses.  Where the accelerator is missing, `json` itself is used.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:  # the typing module is not worth its start time
    from typing import Any


class JsonError(ValueError):
    """The text is not JSON, or says the same key twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        last = {key: i for i, (key, _) in enumerate(pairs)}
        twice = next(key for i, (key, _) in enumerate(pairs) if last[key] != i)
        raise JsonError(f"the key {twice[:60]!r} stands twice")
    return found


def _constant(text: str) -> float:
    raise JsonError(f"{text} is not allowed")


class _Context:
    """What the C scanner wants to know."""

    strict = True
    object_hook = None
    object_pairs_hook = staticmethod(_object)
    parse_float = float
    parse_int = int
    parse_constant = staticmethod(_constant)


_SPACE = " \t\n\r"


def parse(data: bytes | str) -> Any:
    """The value of a JSON text (UTF-8); JsonError says why it has none."""
    try:
        text = data if isinstance(data, str) else data.decode("utf-8")
    except UnicodeDecodeError as e:
        raise JsonError(f"not UTF-8 at byte {e.start}") from None
    try:
        from _json import make_scanner
    except ImportError:
        return _parse_slowly(text)
    start = len(text) - len(text.lstrip(_SPACE))
    try:
        value, end = make_scanner(_Context)(text, start)  # type: ignore[arg-type]
    except StopIteration as e:
        raise JsonError(f"no value at character {e.value}") from None
    except RecursionError:
        raise JsonError("nested too deeply") from None
    except JsonError:
        raise
    except ValueError as e:
        raise JsonError(str(e)) from None
    if text[end:].strip(_SPACE):
        raise JsonError(f"something follows the end at character {end}")
    return value


def _parse_slowly(text: str) -> Any:
    import json

    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except RecursionError:
        raise JsonError("nested too deeply") from None
    except JsonError:
        raise
    except ValueError as e:
        raise JsonError(str(e)) from None


def quote(text: str) -> str:
    """A JSON string literal."""
    broken = any("\ud800" <= c <= "\udfff" for c in text)  # UTF-8 has no halves of pairs: they are escaped
    try:
        from _json import encode_basestring, encode_basestring_ascii
    except ImportError:
        import json

        return json.dumps(text, ensure_ascii=broken)
    return str(encode_basestring_ascii(text) if broken else encode_basestring(text))


def dump(value: Any, indent: int | None = None, _level: int = 0) -> str:
    """JSON text of dicts, lists, strings, numbers, booleans and None; ValueError for inf and nan."""
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        if value - value != 0.0:
            raise ValueError("JSON has no inf and no nan")
        return float.__repr__(value)
    if isinstance(value, dict):
        items = [f"{quote(str(k))}: {dump(v, indent, _level + 1)}" for k, v in value.items()]
        opening, closing = "{", "}"
    elif isinstance(value, (list, tuple)):
        items = [dump(v, indent, _level + 1) for v in value]
        opening, closing = "[", "]"
    else:
        raise TypeError(f"{type(value).__name__} has no JSON form")
    if not items:
        return opening + closing
    if indent is None:
        return opening + ", ".join(items) + closing
    gap = "\n" + " " * (indent * (_level + 1))
    return opening + gap + ("," + gap).join(items) + "\n" + " " * (indent * _level) + closing
