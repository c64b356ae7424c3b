"""How far the f32 functions of specs/foundation/math.vibee are from exact, in units in the last place.

python tests/specs/ulp.py            # a million arguments and the edges, seconds
python tests/specs/ulp.py --all      # all 2**32 arguments, minutes for each function
python tests/specs/ulp.py --all exp log

The reference is numpy in f64; numpy has no erf, so that one is measured against the spec's own f64
version, which test_math.py holds to exact values.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SPEC = Path(__file__).resolve().parents[2] / "specs" / "foundation" / "math.vibee"
CHUNK = 1 << 17
TINY = 2.0**-126

# The bound that the spec promises for each function.
BOUNDS = {
    "exp": 1.5, "exp2": 1.5, "expm1": 2.0, "log": 1.5, "log2": 2.0, "log10": 1.0, "log1p": 1.0, "tanh": 2.5,
    "sigmoid": 2.5, "softplus": 2.0, "erf": 1.5, "sin": 0.6, "cos": 0.6, "atan": 0.6,
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


def references(k: Any) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """The exact functions, to f64."""
    return {
        "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "log": np.log, "log2": np.log2, "log10": np.log10,
        "log1p": np.log1p, "tanh": np.tanh, "sin": np.sin, "cos": np.cos, "atan": np.arctan,
        "sigmoid": lambda x: np.where(x > 0, 1 / (1 + np.exp(-x)), np.exp(x) / (1 + np.exp(x))),
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


def everything() -> Iterator[np.ndarray]:
    """All f32 numbers."""
    for start in range(0, 1 << 32, CHUNK):
        yield np.arange(start, start + CHUNK, dtype=np.uint64).astype(np.uint32).view(np.float32)


def measure(k: Any, name: str, parts: Iterator[np.ndarray]) -> Result:
    """The worst error of a function over arguments that come in parts."""
    reference, f = references(k)[name], getattr(k, name)
    worst = Result(0.0, 0.0, 0.0, 0.0, 0.0, 0)
    for x in parts:
        with np.errstate(all="ignore"):
            want = reference(x.astype(np.float64))
        worst = worst.worse(compare(x, f(x, threads=1), want))
    return worst


def main() -> int:
    """Print a line for each function; 1 if one breaks its bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("functions", nargs="*", default=list(BOUNDS), help="which functions [default: all of them]")
    parser.add_argument("--all", action="store_true", help="all 2**32 arguments")
    parser.add_argument("--isa", help="v2, v3 or v4 [default: this machine's]")
    options = parser.parse_args()
    import vibee

    load: Any = vibee.load
    k = load(SPEC, isa=options.isa)
    failed = 0
    for name in options.functions:
        begin = time.perf_counter()
        r = measure(k, name, everything() if options.all else iter([sample()]))
        good = r.ulps <= BOUNDS[name] and r.tiny <= TINY and not r.wrong
        failed += not good
        print(
            f"{name:9} {r.ulps:6.3f} ulp at {r.at:<15.9g} (bound {BOUNDS[name]}), tiny results off by {r.tiny:.2g},"
            f" {r.wrong} of the wrong kind{f' (first at {r.wrong_at!r})' if r.wrong else ''},"
            f" {time.perf_counter() - begin:.0f} s {'ok' if good else 'FAILED'}",
            flush=True,
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
