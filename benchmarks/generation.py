"""Generation, one token after the other, and the evaluation of a long prompt.

The bound of a model whose weights no cache holds is the time in which memory delivers them: the sum of an array of as
many bytes, the faster of vibee's and PyTorch's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .elementwise import bound
from .peers import threads, torch
from .side import Case, Contestant, Goal, Result, Side, processors

# tokens, context, layers, heads, width
LARGE = {"tokens": 50257, "context": 1024, "layers": 12, "heads": 12, "width": 768}
SMALL = {"tokens": 65, "context": 64, "layers": 4, "heads": 4, "width": 128}
HERE = "benchmarks.generation"


def weights(shape: dict[str, int]) -> int:
    """Their number."""
    c = shape["width"]
    return (shape["tokens"] + shape["context"] + 1) * c + shape["layers"] * (12 * c * c + 2 * c)


# ---------------------------------------------------------------- vibee


def decoder(shape: dict[str, int], count: int, precision: str) -> Any:
    """vibee's, with initial weights kept in `precision`; count: threads, 0 for what vibee chooses."""
    import vibee.__main__  # noqa: F401  says how idle threads wait
    from vibee.cli.kernels import Decoder, Kernels, Lengths, sizes_of
    from vibee.runtime.buffers import zeros
    from vibee.runtime.shapes import Shape

    kernels = Kernels(count)
    s = Shape("gpt2", shape["tokens"], shape["context"], shape["layers"], shape["heads"], shape["width"])
    w = zeros(Lengths(kernels, "gpt2", s, B=1, T=1).weights)
    kernels.find("gpt2_init_f32")(weights=w, key=1, **sizes_of(s), threads=threads())
    return Decoder(kernels, s, w, precision)


def ours(shape: dict[str, int], used: int, tokens: int = 1, count: int = 0, bf16: bool = False) -> Callable[[], object]:
    """`tokens` tokens evaluated after `used` others."""
    d = decoder(shape, count, "bf16" if bf16 else "f32")
    d.feed([i % shape["tokens"] for i in range(used)])
    new = [i % shape["tokens"] for i in range(tokens)]

    def call() -> object:
        d.used = used
        d.feed(new)
        return None

    return call


# ---------------------------------------------------------------- PyTorch


def torch_decode(
    shape: dict[str, int], used: int, tokens: int = 1, compiled: bool = False, bf16: bool = False
) -> Callable[[], object]:
    """The same with a cache of fixed size; compiled, attention is over all of it, with a mask."""
    t = torch()
    from .gpt import GPT, Decoder

    t.manual_seed(1)
    model = GPT(*(shape[k] for k in ("tokens", "context", "layers", "heads", "width")))
    d = Decoder(model.bfloat16() if bf16 else model, shape["context"], compiled)
    for at in range(0, used, 128):
        d(t.arange(at, min(at + 128, used)) % shape["tokens"], at)
    new = t.arange(tokens) % shape["tokens"]
    return lambda: d(new, used) is None or None


# ---------------------------------------------------------------- cases


def race(contestants: list[Contestant]) -> Callable[[Side], list[Result]]:
    """How a case is run."""
    return lambda side: side.race(contestants)


def peers(given: dict[str, Any], kinds: tuple[str, ...]) -> list[Contestant]:
    """PyTorch's contestants."""
    return [
        Contestant(f"torch {kind} {how}", f"{HERE}:torch_decode",
                   {**given, "compiled": how == "compiled", "bf16": kind == "bf16"})
        for kind in kinds for how in ("eager", "compiled")
    ]  # fmt: skip


def cases(quick: bool) -> Iterator[Case]:
    """The table's part."""
    given: dict[str, Any] = {"shape": SMALL, "used": 32}
    small = [Contestant("vibee f32", f"{HERE}:ours", given), *peers(given, ("f32",))]
    small += [
        Contestant(f"threads {n}", f"{HERE}:ours", {**given, "count": n}, threads=n) for n in range(1, processors() + 1)
    ]
    goals = [Goal("vibee f32", "torch", 3.0), Goal("vibee f32", "threads", 0.97)]
    yield Case("a token, 0.8M weights", goals, race(small))
    if quick:
        return
    given = {"shape": LARGE, "used": 128}
    for kind, size in (("f32", 1), ("bf16", 2)):
        all_ = [Contestant(f"vibee {kind}", f"{HERE}:ours", {**given, "bf16": kind == "bf16"})]
        goals = [Goal(f"vibee {kind}", "memory", 0.9), Goal(f"vibee {kind}", f"torch {kind}", 1.2)]
        if kind == "f32":
            all_ += [Contestant(f"threads {n}", f"{HERE}:ours", {**given, "count": n}, threads=n) for n in (1, 2)]
            goals.append(Goal("vibee f32", "threads", 0.97))
        all_ += peers(given, (kind,)) + bound("sum", weights(LARGE) // size)
        yield Case(f"a token, 124M weights, {kind}", goals, race(all_))
    given = {"shape": LARGE, "used": 0, "tokens": 1000}
    all_ = [Contestant("vibee f32", f"{HERE}:ours", given), *peers(given, ("f32",))]
    yield Case("a prompt of 1000 tokens, 124M weights", [Goal("vibee f32", "torch", 1.2)], race(all_))
