"""What writes random specs: it chooses, and plants a fault at one place."""

from __future__ import annotations

import random


class Writer:
    """Chooses; `wrong_at` is the place where the fault is planted, counted from 0."""

    def __init__(self, seed: int, wrong_at: int | None = None) -> None:
        self.rng = random.Random(seed)
        self.wrong_at = wrong_at
        self.places = 0
        self.planted: str | None = None
        self.names = 0

    def plant(self, right: str, *wrong: tuple[str, str]) -> str:
        """`right`, or one of the wrong texts, each of which comes with the kind of fault that it makes."""
        chosen = self.rng.choice(wrong)  # drawn in any case, so that all else stays the same
        here, self.places = self.places, self.places + 1
        if here != self.wrong_at:
            return right
        self.planted = chosen[0]
        return chosen[1]

    def one(self, *options):
        """One of some options."""
        return self.rng.choice(options)

    def number(self, low: int, high: int) -> int:
        return self.rng.randint(low, high)

    def name(self) -> str:
        """A new name for a definition."""
        self.names += 1
        return f"f{self.names}"

    def value(self, *reads: str) -> str:
        """A float expression of some elements."""
        text = self.one(*reads)
        for _ in range(self.number(0, 2)):
            text = self.one(f"{text} * 2.0", f"{text} + {self.one(*reads)}", f"max({text}, 0.0)", f"abs({text})")
        return text


def plus(base: str, k: int) -> str:
    """`base + k` without a needless sign."""
    return base if k == 0 else f"{base} + {k}" if k > 0 else f"{base} - {-k}"


def times(k: int, base: str) -> str:
    return base if k == 1 else f"{k} * {base}"


def head(w: Writer, params: str, outs: str = "") -> str:
    """The first line of a procedure."""
    return f"@procedure\ndef {w.name()}({params}){f' -> {outs}' if outs else ''}:\n"


def around(text: str, k: int) -> bool:
    """Is the letter at k part of a longer word?"""
    return text[k - 1 : k].isalnum() or text[k + 1 : k + 2].isalnum()
