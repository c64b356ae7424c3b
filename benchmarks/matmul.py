"""Matrix products: squares on one thread, and the shapes of two models on all of them.

A layer's three products are y = x w^T forward, and backward d_x = d_y w and d_w = d_y^T x.
PyTorch's are those of MKL, numpy's those of OpenBLAS.  Where the processor has more than vibee's level v3 uses, they
are raced a second time, told to do with AVX2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from vibee.runtime.machine import supported_levels

from .peers import normal, room, spec, threads, torch
from .side import Case, Contestant, Goal, Result, Side

SQUARES = (256, 512, 1024, 2048)
# (rows, inputs, outputs) of the layers of the two models of training.py
SMALL = ((768, 128, 384), (768, 128, 128), (768, 128, 512), (768, 512, 128), (768, 128, 65))
LARGE = ((4096, 384, 1152), (4096, 384, 384), (4096, 384, 1536), (4096, 1536, 384), (4096, 384, 65))
FORMS = {"nn": "a b", "nt": "a b^T", "tn": "a^T b"}
PEERS = {"MKL": "mkl", "OpenBLAS": "openblas"}
AVX2 = {"MKL_ENABLE_INSTRUCTIONS": "AVX2", "OPENBLAS_CORETYPE": "Haswell"}  # their words for: no AVX-512


def operands(form: str, m: int, k: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """a, b and room for the product."""
    a = normal(k, m) if form == "tn" else normal(m, k)
    b = normal(n, k, seed=2) if form == "nt" else normal(k, n, seed=2)
    return a, b, room(m, n)


def ours(form: str, m: int, k: int, n: int) -> Callable[[], object]:
    """vibee's."""
    a, b, c = operands(form, m, k, n)
    name = "matmul" if form == "nn" else f"matmul_{form}"
    f, count = getattr(spec("foundation/tensor_ops"), name), threads()
    return lambda: f(a, b, out=c, threads=count)


def openblas(form: str, m: int, k: int, n: int) -> Callable[[], object]:
    """numpy's."""
    a, b, c = operands(form, m, k, n)
    a, b = a.T if form == "tn" else a, b.T if form == "nt" else b
    return lambda: np.matmul(a, b, out=c)


def mkl(form: str, m: int, k: int, n: int) -> Callable[[], object]:
    """PyTorch's."""
    t = torch()
    a, b, c = map(t.from_numpy, operands(form, m, k, n))
    a, b = a.T if form == "tn" else a, b.T if form == "nt" else b
    return lambda: t.mm(a, b, out=c)


def race(levels: Iterable[str], given: dict[str, Any], count: int) -> Callable[[Side], list[Result]]:
    """One product by all, each level of vibee's beside peers that use no more."""
    all_ = [Contestant(f"vibee {v}", "benchmarks.matmul:ours", given, count, {"VIBEE_ISA": v}) for v in levels]
    for level in levels:
        limit = AVX2 if beyond(level) else {}
        for name, make in PEERS.items():
            all_.append(Contestant(peer(name, level), f"benchmarks.matmul:{make}", given, count, limit))
    return lambda side: side.race(all_, same=1e-3)


def beyond(level: str) -> bool:
    """Has the processor more than this level?"""
    return level == "v3" and "v4" in supported_levels()


def peer(name: str, level: str) -> str:
    """What a peer is called beside vibee's level; not a longer name of the other, which a goal would take for it."""
    return f"AVX2 {name}" if beyond(level) else name


def cases(quick: bool) -> Iterator[Case]:
    """The table's part."""
    levels = [v for v in ("v4", "v3") if v in supported_levels()]
    for n in SQUARES[:2] if quick else SQUARES:
        goals = [Goal(f"vibee {v}", peer(name, v), 1.0) for v in levels for name in PEERS]
        yield Case(f"square {n}, 1 thread", goals, race(levels, {"form": "nn", "m": n, "k": n, "n": n}, 1))
    goals = [Goal(f"vibee {levels[0]}", "MKL", 1.1), Goal(f"vibee {levels[0]}", "OpenBLAS", 1.0)]
    for name, layers in (("128 wide", SMALL), ("384 wide", LARGE)):
        for b, i, o in layers[:1] if quick else layers:
            shapes = {"forward": ("nt", b, i, o), "backward x": ("nn", b, o, i), "backward w": ("tn", o, b, i)}
            for what, (form, m, k, n) in shapes.items():
                work = f"{name}: {what}, {FORMS[form]} {m}x{k}x{n}"
                yield Case(work, goals, race(levels[:1], {"form": form, "m": m, "k": k, "n": n}, 0))
