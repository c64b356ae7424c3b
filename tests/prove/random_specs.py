"""Random specs, about half of them with one planted fault: `spec(seed)` gives (text, kind of the fault or None).

Every family writes one definition.  Where it could go wrong it says so by `w.plant(right, (kind, wrong), ...)`:
a planted spec takes a wrong alternative at exactly one of those places.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from random_formulas import FORMULAS
from random_procedures import CALLS, PROCEDURES
from spec_writer import Writer, head

FAMILIES = [*FORMULAS, *PROCEDURES, *CALLS]
UNKNOWN = "unknown"  # what is said of a wild spec


def wild(w: Writer) -> str:
    """Nested loops and indices at random: whether there is a fault only a run can tell."""
    n = w.number(1, 3)
    names, lines = [], []
    pad = "    "
    for depth, v in enumerate("ijk"[:n]):
        word = "parallel" if depth == 0 and w.one(True, True, False) else "range"
        outer = [f"{names[-1]} + 1", names[-1], f"{names[-1]} * 2"] if names else []
        low = w.one("0", "0", "0", "1", *outer[:1])
        high = w.one("N", "N", "M", "N - 1", "2 * N", "N // 2", "T", "min(N, M)", "N - T", *outer)
        lines.append(f"{pad}for {v} in {word}({high if low == '0' else f'{low}, {high}'}):")
        names.append(v)
        pad += "    "
    size = w.one("N", "N + 1", "N * M", "2 * N", "N + M", "N * T", "N * M * T + 2 * N")
    for _ in range(w.number(1, 2)):
        here = pad
        at = term(w, names)
        if w.one(True, False):
            lines.append(f"{pad}if {term(w, names)} {w.one('<', '<=', '!=', '>=')} {w.one('N', 'M', 'N - 1', '0')}:")
            here += "    "
        if w.one(True, False):
            lines.append(f"{here}if 0 <= {at} and {at} < {size}:")
            here += "    "
        target = w.one(f"y[{at}]", f"y[{at}]", element(w, names))
        lines.append(f"{here}{target} = {w.value(w.one('1.0', '0.5', target, f'x[{names[0]}, 0]', element(w, names)))}")
    asks = w.one("N >= 1", "N == M", "M >= N", "N >= 2, M >= 1", "N % T == 0", "N * T <= M", "N >= 0")
    params = f"x: f32[N, M], y: mut[f32[{size}]], z: mut[f32[N, M]], T: size"
    return head(w, params) + f"    given(T >= 1, {asks})\n" + "\n".join(lines) + "\n"


def term(w: Writer, names: list[str]) -> str:
    """An integer expression of the loop variables."""
    v, u = w.one(*names), w.one(*names)
    c = w.number(1, 3)
    return w.one(
        v, v, v, f"{v} + {c}", f"{v} - {c}", f"{c} * {v}", f"{v} // {c + 1}", f"{v} % {c + 1}", f"N - 1 - {v}",
        f"{v} * M + {u}", f"{v} * T + {u}", f"{v} + {u}", f"{v} % T", f"{v} // T", f"min({v} + {c}, N - 1)",
        f"{v} * 2 + {u} % 2", f"max({v} - {c}, 0)", f"{v} - {u}", f"{v} * ({v} + 1) // 2 + {u}",
    )  # fmt: skip


def element(w: Writer, names: list[str]) -> str:
    """An element of a matrix."""
    return f"z[{w.one(*names, term(w, names))}, {w.one(*names, term(w, names))}]"


def family(write: Callable[[Writer], str], seed: int, planted: bool) -> tuple[str, str | None]:
    """One spec of a family."""
    w = Writer(seed)
    text = write(w)
    if write is wild:
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
        write = wild if rng.random() < 0.4 else rng.choice(FAMILIES)
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
    table |= {f"f{k}": f"{'gh'[n]}{k}" for k in range(1, 4)}
    if rng.random() < 0.3:
        table["f32"] = "f64"
    return re.sub(r"\b[A-Za-z]\w*", lambda m: table.get(m[0], m[0]), text)
