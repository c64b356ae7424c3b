"""Random specs, about half of them with one planted fault: `spec(seed)` gives (text, kind of the fault or None).

Every family writes one definition.  Where it could go wrong it says so by `w.plant(right, (kind, wrong), ...)`:
a planted spec takes a wrong alternative at exactly one of those places.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import random_elements
import random_endings
import random_given
import random_integers
import random_parts
import random_reductions
import random_wild
import random_written
from random_formulas import FORMULAS
from random_procedures import CALLS, PROCEDURES
from spec_writer import Writer

WILD = [
    *random_wild.WILD, *random_wild.WILD, *random_integers.WILD, *random_elements.WILD, *random_parts.WILD,
    *random_endings.WILD, *random_reductions.WILD, *random_written.WILD, *random_written.WILD,
    *random_given.WILD,
]  # fmt: skip
FAMILIES = [*FORMULAS, *PROCEDURES, *CALLS]
UNKNOWN = "unknown"  # what is said of a wild spec


def family(write: Callable[[Writer], str], seed: int, planted: bool) -> tuple[str, str | None]:
    """One spec of a family."""
    w = Writer(seed)
    text = write(w)
    if write in WILD:
        return text, UNKNOWN
    if planted and w.places:
        w = Writer(seed, random.Random(seed).randrange(w.places))
        text = write(w)
    return text, w.planted


def spec(seed: int) -> tuple[str, str | None]:
    """A spec of one or two definitions, and the kind of fault that is planted in it (or UNKNOWN)."""
    rng = random.Random(seed)
    parts = []
    for n in range(rng.choice((1, 1, 2))):
        write = rng.choice(WILD if rng.random() < 0.5 else FAMILIES)
        text, kind = family(write, rng.randrange(1 << 30), rng.random() < 0.5 and not any(k for _, k in parts))
        parts.append((renamed(text, rng, n), kind))
    kinds = {k for _, k in parts if k}
    known = kinds - {UNKNOWN}
    text = "\n".join(text for text, _ in parts)
    return text, known.pop() if known else UNKNOWN if kinds else None


def renamed(text: str, rng: random.Random, n: int) -> str:
    """The same definitions under other names, with other names of sizes, another float type, harmless conditions."""
    names = rng.sample("ABCDEFGHKLMNPQRSTUVW", 20)
    table = dict(zip("ABCEGHKMNST", names, strict=False)) if rng.random() < 0.5 else {}
    table |= {f"f{k}": f"{'gh'[n]}{k}" for k in range(1, 10)}
    if rng.random() < 0.3:
        table["f32"] = "f64"
    return re.sub(r"\b[A-Za-z]\w*", lambda m: table.get(m[0], m[0]), text)
