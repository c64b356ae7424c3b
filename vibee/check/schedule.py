"""`with schedule(cpu): parallel(n); tile(i=8, j=32)`: hints for the lowering."""

from __future__ import annotations

from vibee.tree.expr import Expr

from .errors import SpecError, suggest
from .surface import SSchedule

WORDS = {
    "parallel": "indices, as in parallel(n)", "simd": "an index, as in simd(d)", "unroll": "indices, as in unroll(k)",
    "tile": "sizes by index, as in tile(i=8, j=32)", "pack": "arrays, as in pack(a, b)",
}  # fmt: skip
TARGETS = ("cpu",)


def take(s: SSchedule, into: dict[str, object], indices: set[str], arrays: set[str]) -> None:
    """Check one schedule statement and keep its directives."""
    if s.target not in TARGETS:
        raise SpecError(s.span, f"'{s.target}' is not a target{suggest(s.target, TARGETS) or '; known is cpu'}")
    for item in s.items:
        _item(item, into, indices, arrays)


def _item(item: Expr, into: dict[str, object], indices: set[str], arrays: set[str]) -> None:
    word, *keys = item.attr  # type: ignore[misc]
    if word not in WORDS:
        raise SpecError(item.span, f"'{word}' is not a schedule word{suggest(word, WORDS) or ''}; known are {', '.join(WORDS)}")
    if word in into:
        raise SpecError(item.span, f"{word} stands twice in the schedule; write it once")
    known, what = (arrays, "an array") if word == "pack" else (indices, "an index")
    if word == "tile":
        if not keys or len(keys) != len(item.args):
            raise SpecError(item.span, f"tile takes {WORDS[word]}")
        sizes: dict[str, int] = {}
        for key, value in zip(keys, item.args, strict=True):
            _known(str(key), known, what, item)
            if value.op != "const" or isinstance(value.attr, (bool, float)) or not 1 <= int(value.attr) <= 65536:  # type: ignore[call-overload]
                raise SpecError(value.span, f"the tile of {key} is a whole number from 1 to 65536")
            sizes[str(key)] = int(value.attr)  # type: ignore[call-overload]
        into[word] = sizes
        return
    if keys or not item.args or any(a.op != "var" for a in item.args):
        raise SpecError(item.span, f"{word} takes {WORDS[word]}")
    for a in item.args:
        _known(str(a.attr), known, what, a)
    into[word] = tuple(str(a.attr) for a in item.args)


def _known(name: str, known: set[str], what: str, at: Expr) -> None:
    if name not in known:
        raise SpecError(at.span, f"'{name}' is not {what} of this formula{suggest(name, known)}")
