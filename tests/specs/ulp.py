"""How far the f32 functions of specs/foundation/math.vibee are from exact, in units in the last place, and whether
conversions to small types give what they should.

python tests/specs/ulp.py            # a million arguments and the edges, seconds
python tests/specs/ulp.py --all      # all 2**32 arguments, minutes for each function
python tests/specs/ulp.py --all --isa v3,v4 exp log to_bf16

The reference is numpy in f64; numpy has no erf, so that one is measured against the spec's own f64
version, which test_math.py holds to exact values.  Conversions have to be exact.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
SPEC = ROOT / "specs" / "foundation" / "math.vibee"
CHUNK = 1 << 17
TINY = 2.0**-126

# The bound that the spec promises for each function.
BOUNDS = {
    "exp": 2.0, "exp2": 1.5, "expm1": 2.0, "log": 1.5, "log2": 2.0, "log10": 1.0, "log1p": 1.0, "tanh": 2.5,
    "sigmoid": 3.0, "softplus": 2.0, "erf": 1.5, "sin": 0.6, "cos": 0.6, "atan": 0.6,
}  # fmt: skip


@dataclass
class Result:
    """The worst argument that was seen."""

    ulps: float
    at: float
    got: float
    want: float
    tiny: float  # the largest error where the exact result is below the least normal number
    wrong: int  # results that are nan, infinite or neither where the exact one is not
    wrong_at: float = float("nan")

    def worse(self, other: Result) -> Result:
        """Both together."""
        base = self if self.ulps >= other.ulps else other
        at = self.wrong_at if self.wrong else other.wrong_at
        return Result(base.ulps, base.at, base.got, base.want, max(self.tiny, other.tiny), self.wrong + other.wrong, at)


NOTHING = Result(0.5, 0.0, 0.0, 0.0, 0.0, 0)  # the nearest number is within half a unit


def references(k: Any) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """The exact functions, to f64."""
    return {
        "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "log": np.log, "log2": np.log2, "log10": np.log10,
        "log1p": np.log1p, "tanh": np.tanh, "sin": np.sin, "cos": np.cos, "atan": np.arctan,
        "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
        "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
        "erf": lambda x: k.erf(x),
    }  # fmt: skip


def compare(x: np.ndarray, got: np.ndarray, want: np.ndarray) -> Result:
    """Errors in units of the last place of the rounded exact result."""
    with np.errstate(all="ignore"):
        nearest = want.astype(np.float32)
        unit = (nearest.view(np.uint32) & 0x7F800000).view(np.float32).astype(np.float64) * 2.0**-23
        error = np.abs(got.astype(np.float64) - want)
        usual = np.isfinite(nearest)
        wrong = ~usual & ~((np.isnan(got) & np.isnan(nearest)) | (got == nearest)) | (usual & ~np.isfinite(got))
        small = usual & (np.abs(want) < TINY)
        ulps = np.where(usual & ~small & ~wrong, error / np.where(unit > 0, unit, 1), 0.0)
    i = int(np.argmax(ulps))
    first = float(x[np.argmax(wrong)]) if wrong.any() else float("nan")
    return Result(
        float(ulps[i]), float(x[i]), float(got[i]), float(want[i]),
        float(np.max(np.where(small & ~wrong, error, 0.0))), int(wrong.sum()), first,
    )  # fmt: skip


def sample(count: int = 1_000_000) -> np.ndarray:
    """Random bits, the ends of every binade, and the places where functions overflow or vanish."""
    rng = np.random.default_rng(3)
    ends = [(e << 23) + m & 0xFFFFFFFF for e in range(512) for m in (-1, 0, 1)]
    places = [88.72283, 88.7228394, 87.33654, 87.3365479, 103.98, 128.0, 126.0, 9.01, 3.92, 1.0, np.pi, 1e5, np.inf]
    near = np.array([*places, *(-p for p in places)], np.float32).view(np.uint32).astype(np.int64)
    near = (near[:, None] + np.arange(-50, 51)).ravel() & 0xFFFFFFFF
    turns = (np.arange(1, 20000) * (np.pi / 2)).astype(np.float32)
    usual = rng.uniform(-30, 30, count // 4).astype(np.float32)
    bits = np.concatenate([rng.integers(0, 1 << 32, count), ends, near]).astype(np.uint32)
    return np.concatenate([bits.view(np.float32), turns, usual])


# ---------------------------------------------------------------- conversions

CAST_NAMES = ("from_bf16", "to_bf16", "from_i8", "to_i8")
CASTS = """
def from_bf16(x: bf16[N]) -> y(f32[N]):
    y[n] = f32(x[n])


def to_bf16(x: f32[N]) -> y(bf16[N]):
    y[n] = bf16(x[n])


def from_i8(x: i8[N]) -> y(f32[N]):
    y[n] = f32(x[n])


def to_i8(x: f32[N]) -> y(i8[N]):
    y[n] = i8(x[n])
"""


def nearest_bf16(x: np.ndarray) -> np.ndarray:
    """The nearest 16-bit float, of two equally near ones the even one, by distances in f64; nan has many forms."""
    low = (np.abs(x).view(np.uint32) >> 16).astype(np.uint16)
    with np.errstate(invalid="ignore"):
        a, b = (((low.astype(np.uint32) + k) << 16).view(np.float32).astype(np.float64) for k in (0, 1))
        b = np.where(np.isinf(b) & np.isfinite(a), 2.0**128, b)  # where the next number would be
        down, up = np.abs(x) - a, b - np.abs(x)
        near = np.where((up < down) | ((up == down) & (low & 1 == 1)), low + 1, low)
    near = np.where(np.isinf(x), low, near)
    return np.where(np.isnan(x), 0x7FC0, near | np.signbit(x).astype(np.uint16) << 15).astype(np.uint16)


def halfway_bf16(x: np.ndarray) -> np.ndarray:
    """The same by bits, as is quick enough for all numbers: between two 16-bit floats values grow evenly with the low
    16 bits, so that 0x8000 is half way.  `borders` has every such place, where the two are compared."""
    bits = x.view(np.uint32)
    high, low = (bits >> 16).astype(np.uint16), bits.astype(np.uint16)
    return high + ((low > 0x8000) | ((low == 0x8000) & (high & 1 == 1)))


def wrong_casts(k: Any, name: str, x: np.ndarray) -> np.ndarray:
    """Where a conversion is wrong; `x` are f32 numbers, of which those from small types take the bits."""
    bits = x.view(np.uint32)
    if name == "from_bf16":
        given = (bits >> 16).astype(np.uint16)
        return k.from_bf16(given, threads=1).view(np.uint32) != given.astype(np.uint32) << 16
    if name == "from_i8":
        small = bits.astype(np.uint8).view(np.int8)
        return k.from_i8(small, threads=1) != small.astype(np.float64)
    if name == "to_i8":
        fits = (x > -129) & (x < 128)
        return fits & (k.to_i8(x, threads=1) != np.trunc(np.where(fits, x, 0)))
    got, nan = k.to_bf16(x, threads=1), np.isnan(x)
    wrong = got != halfway_bf16(x)
    if len(x) != CHUNK:  # not all numbers, but a choice of them
        wrong |= got != nearest_bf16(x)
    return np.where(nan, (got & 0x7FFF) <= 0x7F80, wrong)


def borders() -> np.ndarray:
    """All 16-bit floats, the places half way between two, and their neighbours; whole numbers and theirs."""
    shorts = np.arange(1 << 16, dtype=np.int64) << 16
    near = (shorts[:, None] + np.array([0, 1, -1, 0x7FFF, 0x8000, 0x8001])).ravel() & 0xFFFFFFFF
    whole = np.arange(-130, 131).astype(np.float32).view(np.uint32).astype(np.int64)
    small = (whole[:, None] + np.arange(-3, 4)).ravel() & 0xFFFFFFFF
    return np.concatenate([near, small, np.arange(256)]).astype(np.uint32).view(np.float32)


def load_casts(isa: str | None = None) -> Any:
    """The conversions, compiled."""
    import vibee

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "casts.vibee"
        path.write_text(CASTS)
        return vibee.load(path, isa=isa)


# ---------------------------------------------------------------- measuring


def everything() -> Iterator[np.ndarray]:
    """All f32 numbers."""
    for start in range(0, 1 << 32, CHUNK):
        yield np.arange(start, start + CHUNK, dtype=np.uint64).astype(np.uint32).view(np.float32)


def measure(ks: list[Any], name: str, parts: Iterator[np.ndarray]) -> list[Result]:
    """The worst error of a function over arguments that come in parts, for each library."""
    reference = references(ks[-1])[name]
    worst = [NOTHING for _ in ks]
    for x in parts:
        with np.errstate(all="ignore"):
            want = reference(x.astype(np.float64))
            nearest = want.astype(np.float32)
        got, found = np.empty(0, np.float32), NOTHING
        for n, k in enumerate(ks):
            before, got = got, getattr(k, name)(x, threads=1)
            if not np.array_equal(before.view(np.uint32), got.view(np.uint32)):  # most instruction sets agree
                # what is the nearest number is within half an ulp, and any nan is as good as another
                other = np.flatnonzero((got != nearest) & ((got == got) | (nearest == nearest)))
                found = compare(x[other], got[other], want[other]) if len(other) else NOTHING
            worst[n] = worst[n].worse(found)
    return worst


def count_wrong(ks: list[Any], name: str, parts: Iterator[np.ndarray]) -> list[int]:
    """How many arguments a conversion gets wrong, for each library."""
    wrong = [0] * len(ks)
    for x in parts:
        wrong = [n + int(np.count_nonzero(wrong_casts(k, name, x))) for n, k in zip(wrong, ks, strict=True)]
    return wrong


def main() -> int:
    """Print a line for each function and instruction set; 1 if one breaks its bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("functions", nargs="*", default=[*BOUNDS, *CAST_NAMES], help="which [default: all of them]")
    parser.add_argument("--all", action="store_true", help="all 2**32 arguments")
    parser.add_argument("--isa", default="", help="some of v2,v3,v4 [default: this machine's]")
    options = parser.parse_args()
    isas = options.isa.split(",") if options.isa else [None]
    import vibee

    math, casts = ([f(isa) for isa in isas] for f in (lambda isa: vibee.load(SPEC, isa=isa), load_casts))
    failed = 0
    for name in options.functions:
        begin = time.perf_counter()
        if name in CAST_NAMES:
            whole = options.all and name.startswith("to_")  # from a small type, the borders are all there is
            counts = count_wrong(casts, name, everything() if whole else iter([sample(), borders()]))
            lines = [(n == 0, f"{n} wrong") for n in counts]
        else:
            found = measure(math, name, everything() if options.all else iter([sample()]))
            lines = [(r.ulps <= BOUNDS[name] and r.tiny <= TINY and not r.wrong, said(r, BOUNDS[name])) for r in found]
        seconds = (time.perf_counter() - begin) / len(lines)
        for isa, (good, text) in zip(isas, lines, strict=True):
            failed += not good
            print(f"{name:9} {isa or '':3} {text}, {seconds:.0f} s {'ok' if good else 'FAILED'}", flush=True)
    return 1 if failed else 0


def said(r: Result, bound: float) -> str:
    """A result in words."""
    first = f" (first at {r.wrong_at!r})" if r.wrong else ""
    return (
        f"{r.ulps:6.3f} ulp at {r.at:<15.9g} (bound {bound}), tiny results off by {r.tiny:.2g},"
        f" {r.wrong} of the wrong kind{first}"
    )


if __name__ == "__main__":
    sys.exit(main())
