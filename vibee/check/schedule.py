"""`with schedule(cpu): parallel(n); tile(i=8, j=32)`: how loops should run; `vibee.lower.schedule` follows it."""

from __future__ import annotations

from collections.abc import Iterator

from vibee.tree.defs import OF_ARRAYS, Equation
from vibee.tree.expr import Expr, bound_vars, free_vars, walk

from .errors import SpecError, suggest
from .surface import SSchedule

WORDS = {
    "parallel": "indices, as in parallel(n)", "simd": "an index, as in simd(d)", "unroll": "indices, as in unroll(k)",
    "tile": "sizes by index, as in tile(i=8, j=32)", "pack": "arrays, as in pack(a, b)",
    "prefetch": "arrays, as in prefetch(w)", "stream": "arrays, as in stream(y)",
}  # fmt: skip
TARGETS = ("cpu",)


def take(
    s: SSchedule, into: dict[str, object], indices: set[str], arrays: set[str], equations: list[Equation]
) -> Iterator[SpecError]:
    """Check one schedule statement and keep its directives; its mistakes.

    `indices` as written; in `equations` binders were renamed: a word for `d` is one for `d_1` too."""
    if s.target not in TARGETS:
        yield SpecError(s.span, f"'{s.target}' is not a target{suggest(s.target, TARGETS) or '; known is cpu'}")
    for item in s.items:
        try:
            _item(item, into, indices, arrays, equations)
        except SpecError as e:
            yield e


def _item(item: Expr, into: dict[str, object], indices: set[str], arrays: set[str], equations: list[Equation]) -> None:
    word, *keys = item.attr
    nests = [n for q in equations for n in _nests(q)]
    now = {v for n in nests for v in n}
    if word not in WORDS:
        raise SpecError(
            item.span, f"'{word}' is not a schedule word{suggest(word, WORDS) or ''}; known are {', '.join(WORDS)}"
        )
    if word in into:
        raise SpecError(item.span, f"{word} stands twice in the schedule; write it once")
    known, what = (arrays, "an array") if word in OF_ARRAYS else (indices, "an index")
    if word == "tile":
        if not keys or len(keys) != len(item.args):
            raise SpecError(item.span, f"tile takes {WORDS[word]}")
        sizes: dict[str, int] = {}
        for key, value in zip(keys, item.args, strict=True):
            _known(str(key), known, what, item)
            if value.op != "const" or isinstance(value.attr, (bool, float)) or not 1 <= int(value.attr) <= 65536:
                raise SpecError(value.span, f"the tile of {key} is a whole number from 1 to 65536")
            for name in _versions(str(key), now):
                sizes[name] = int(value.attr)
        into[word] = sizes
        return
    if keys or not item.args or any(a.op != "var" for a in item.args):
        raise SpecError(item.span, f"{word} takes {WORDS[word]}")
    for a in item.args:
        _known(str(a.attr), known, what, a)
    if word in ("parallel", "simd"):
        _not_scanned(word, item.args, now, equations)
    if word == "simd":
        _one_innermost(item.args, now, nests)
    names = [str(a.attr) for a in item.args]
    into[word] = tuple(names if word in OF_ARRAYS else dict.fromkeys(v for n in names for v in _versions(n, now)))


def _known(name: str, known: set[str], what: str, at: Expr) -> None:
    if name not in known:
        raise SpecError(at.span, f"'{name}' is not {what} of this formula{suggest(name, known)}")


def _nests(q: Equation) -> Iterator[set[str]]:
    """The indices of each nest of loops that an equation asks for: its own, and one for each reduction in it."""
    yield set(q.vars)
    for n in walk(q.rhs):
        if bound_vars(n):
            yield set(bound_vars(n)) | free_vars(n)


def _not_scanned(word: str, names: tuple[Expr, ...], now: set[str], equations: list[Equation]) -> None:
    for a in names:
        mine = set(_versions(str(a.attr), now))
        found = [q for q in equations if any(mine & n for n in _nests(q))]
        if found and all(q.rhs.op == "scan" and q.rhs.attr[1] in mine for q in found):
            op = f"cum{found[0].rhs.attr[0]}"
            raise SpecError(
                a.span,
                f"the elements of a {op} come one after another along {a.attr}, so there is no {word}({a.attr}); "
                f"name another index",
            )


def _one_innermost(names: tuple[Expr, ...], now: set[str], nests: list[set[str]]) -> None:
    for k, b in enumerate(names):
        for a in names[:k]:
            if any(n & set(_versions(str(a.attr), now)) and n & set(_versions(str(b.attr), now)) for n in nests):
                raise SpecError(
                    b.span,
                    f"one equation runs over both {a.attr} and {b.attr}, and only one of them "
                    f"can be the innermost loop; keep one",
                )


def _versions(name: str, now: set[str]) -> list[str]:
    """The index as written and what its binders were renamed to."""
    renamed = [n for n in now if n.startswith(name + "_") and n[len(name) + 1 :].isdigit()]
    return [n for n in (name, *sorted(renamed)) if n in now]
