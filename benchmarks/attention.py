"""Causal attention, forward and backward, from packed rows of queries, keys and values to the gradient of the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from .peers import normal, room, spec, threads, torch
from .side import Case, Contestant, Goal, Result, Side

# (batch, context, heads, depth); the first two are those of the models of training.py
SHAPES = (
    (12, 64, 4, 32), (16, 256, 6, 64), (4, 512, 8, 64), (4, 512, 8, 128), (1, 1024, 8, 64), (1, 1024, 8, 128),
    (1, 2048, 8, 64), (1, 4096, 8, 32), (1, 4096, 8, 64), (1, 4096, 4, 128),
)  # fmt: skip


def ours(batch: int, context: int, heads: int, depth: int) -> Callable[[], object]:
    """vibee's."""
    s, count = spec("core/attention"), threads()
    x, d_y = normal(batch, context, 3 * heads, depth), normal(batch, context, heads, depth, seed=2)
    y, lse, d_x = room(*d_y.shape), room(batch, heads, context), room(*x.shape)
    d_lse = np.zeros_like(lse)

    def call() -> object:
        s.flash(x, heads, heads, out=(y, lse), threads=count)
        s.flash_backward(x, heads, heads, y, lse, d_y, d_lse, out=d_x, threads=count)
        return y, d_x

    return call


def sdpa(batch: int, context: int, heads: int, depth: int) -> Callable[[], object]:
    """PyTorch's scaled_dot_product_attention, its inputs parts of one array as in nanoGPT."""
    t = torch()
    x = t.from_numpy(normal(batch, context, 3 * heads, depth)).requires_grad_()
    d_y = t.from_numpy(normal(batch, context, heads, depth, seed=2)).transpose(1, 2)

    def call() -> object:
        x.grad = None
        q, k, v = (part.transpose(1, 2) for part in x.split(heads, dim=2))
        y = t.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        y.backward(d_y)
        return y.transpose(1, 2), x.grad

    return call


def race(shape: tuple[int, int, int, int]) -> Callable[[Side], list[Result]]:
    """One shape by both."""
    given = dict(zip(("batch", "context", "heads", "depth"), shape, strict=True))
    makers = {"vibee": "ours", "torch": "sdpa"}
    all_ = [Contestant(name, f"benchmarks.attention:{make}", given) for name, make in makers.items()]
    return lambda side: side.race(all_, same=1e-2)


def cases(quick: bool) -> Iterator[Case]:
    """The table's part."""
    for shape in SHAPES[:2] if quick else SHAPES:
        b, t, h, d = shape
        yield Case(f"context {t}, batch {b}, {h} heads of {d}", [Goal("vibee", "torch", 1.3)], race(shape))
