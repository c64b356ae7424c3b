"""Rows and elements, on arrays that no cache holds: what counts is memory.

The bound is a copy of as many bytes (a sum for what only reads, the addition of a number for what is changed in
place), the fastest of vibee's and PyTorch's, raced in turn with the rest.  vibee writes to an array that is there;
PyTorch's functions make theirs, so that its process keeps freed memory instead of asking the system for new pages.
numpy's is the plain expression; it has no erf, so its gelu is the approximation by tanh.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .peers import normal, room, spec, threads, torch
from .side import Case, Contestant, Goal, Result, Side

ROWS, COLUMNS = 16384, 1024
EPS = 1e-5
KEEP = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}  # glibc's words for: keep freed memory
STEP: dict[str, Any] = {"step": 10, "lr": 1e-3, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "decay": 0.1}


def np_softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def np_layernorm(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    d = x - x.mean(axis=1, keepdims=True)
    return d / np.sqrt((d * d).mean(axis=1, keepdims=True) + np.float32(EPS)) * w


def np_rmsnorm(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x * x).mean(axis=1, keepdims=True) + np.float32(EPS)) * w


def np_gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(np.float32(0.79788456) * (x + np.float32(0.044715) * x * x * x)))


def np_silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def np_cross_entropy(x: np.ndarray, target: np.ndarray) -> Any:
    m = x.max(axis=1)
    return (m + np.log(np.exp(x - m[:, None]).sum(axis=1)) - x[np.arange(len(x)), target]).mean()


@dataclass(frozen=True)
class Kernel:
    """A kernel of a spec, the same in numpy and in PyTorch, and the floats that it reads and writes for an element."""

    spec: str
    name: str
    numpy: Callable[..., Any]
    torch: Callable[..., Any]
    arguments: str = "x"  # x, b: of all elements; w: of a row; t: a column for each row
    reads: int = 1
    writes: int = 1


def functional(name: str, *more: Any) -> Callable[..., Any]:
    """A function of torch.nn.functional."""
    return lambda t, *given: getattr(t.nn.functional, name)(*given, *more)


KERNELS = {
    "softmax": Kernel("foundation/tensor_ops", "softmax", np_softmax, functional("softmax", 1)),
    "layernorm": Kernel(
        "foundation/tensor_ops", "layernorm", np_layernorm,
        lambda t, x, w: t.nn.functional.layer_norm(x, w.shape, w, None, EPS), "xw",
    ),
    "rmsnorm": Kernel(
        "foundation/tensor_ops", "rmsnorm", np_rmsnorm,
        lambda t, x, w: t.nn.functional.rms_norm(x, w.shape, w, EPS), "xw",
    ),
    "gelu": Kernel("foundation/tensor_ops", "gelu_rows", np_gelu, functional("gelu")),
    "silu": Kernel("foundation/tensor_ops", "silu_rows", np_silu, functional("silu")),
    "swiglu": Kernel(
        "foundation/tensor_ops", "swiglu", lambda a, b: np_silu(a) * b,
        lambda t, a, b: t.nn.functional.silu(a) * b, "xb", reads=2,
    ),
    "cross-entropy": Kernel(
        "foundation/tensor_ops", "cross_entropy", np_cross_entropy,
        lambda t, x, y: t.nn.functional.cross_entropy(x, y.long()), "xt", writes=0,
    ),
}  # fmt: skip


def arguments(kernel: Kernel, rows: int) -> list[np.ndarray]:
    """Arrays for a call."""
    made = {
        "x": lambda: normal(rows, COLUMNS), "b": lambda: normal(rows, COLUMNS, seed=2),
        "w": lambda: normal(COLUMNS, seed=3),
        "t": lambda: np.random.default_rng(4).integers(0, COLUMNS, rows, np.int32),
    }  # fmt: skip
    return [made[a]() for a in kernel.arguments]


def ours(kernel: str, rows: int) -> Callable[[], object]:
    """vibee's."""
    k = KERNELS[kernel]
    f, given, count = getattr(spec(k.spec), k.name), arguments(k, rows), threads()
    if not k.writes:
        return lambda: f(*given, threads=count)
    out = room(rows, COLUMNS)
    return lambda: f(*given, out=out, threads=count)


def numpy_expression(kernel: str, rows: int) -> Callable[[], object]:
    """numpy's."""
    k = KERNELS[kernel]
    given = arguments(k, rows)
    return lambda: k.numpy(*given)


def torch_function(kernel: str, rows: int, compiled: bool) -> Callable[[], object]:
    """PyTorch's."""
    t, k = torch(), KERNELS[kernel]
    given = [t.from_numpy(x) for x in arguments(k, rows)]
    f = t.compile(lambda *xs: k.torch(t, *xs)) if compiled else lambda *xs: k.torch(t, *xs)

    def call() -> object:
        with t.no_grad():
            return f(*given)

    return call


# ---------------------------------------------------------------- the optimiser's step


def state(rows: int) -> list[np.ndarray]:
    """Weights, gradients and moments."""
    w, g, m, v = (normal(1, rows, COLUMNS, seed=i) for i in range(4))
    return [w, g, m, v * v]


def ours_adamw(rows: int) -> Callable[[], object]:
    """vibee's."""
    f, given, count = spec("core/optimizer").adamw, state(rows), threads()

    def call() -> object:
        f(*given, **STEP, threads=count)
        return None

    return call


def numpy_adamw(rows: int) -> Callable[[], object]:
    """numpy's: the formula, in place where that is plain."""
    w, g, m, v = state(rows)
    b1, b2, lr, step = STEP["beta1"], STEP["beta2"], STEP["lr"], STEP["step"]

    def call() -> object:
        m[:] = b1 * m + (1 - b1) * g
        v[:] = b2 * v + (1 - b2) * g * g
        w[:] = w * (1 - lr * STEP["decay"]) - lr * (m / (1 - b1**step)) / (np.sqrt(v / (1 - b2**step)) + STEP["eps"])
        return None

    return call


def torch_adamw(rows: int) -> Callable[[], object]:
    """PyTorch's fused one."""
    t = torch()
    w, g, _, _ = map(t.from_numpy, state(rows))
    w.grad = g
    return t.optim.AdamW([w], lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1, fused=True).step


# ---------------------------------------------------------------- the bound


def ours_copy(count: int) -> Callable[[], object]:
    """`count` floats copied by vibee."""
    f, n, a, b = spec("training/benchmark").copy, threads(), normal(count), room(count)

    def call() -> object:
        f(a, b, threads=n)
        return None

    return call


def torch_copy(count: int) -> Callable[[], object]:
    """The same by PyTorch."""
    t = torch()
    a, b = t.ones(count), t.ones(count)
    return lambda: b.copy_(a) is None or None


def torch_change(count: int) -> Callable[[], object]:
    """`count` floats changed in place by PyTorch."""
    a = torch().ones(count)
    return lambda: a.add_(1.0) is None or None


def ours_sum(count: int) -> Callable[[], object]:
    """`count` floats read by vibee."""
    f, n, a = spec("training/benchmark").total, threads(), normal(count)
    return lambda: f(a, threads=n) is None or None


def torch_sum(count: int) -> Callable[[], object]:
    """The same by PyTorch."""
    a = torch().ones(count)
    return lambda: a.sum() is None or None


def bound(what: str, count: int) -> list[Contestant]:
    """Those who move as many floats and do nothing else."""
    makers = {"vibee": "ours", "torch": "torch"} if what != "change" else {"torch": "torch"}
    return [
        Contestant(f"memory {name}", f"benchmarks.elementwise:{maker}_{what}", {"count": count})
        for name, maker in makers.items()
    ]


# ---------------------------------------------------------------- cases


def race(all_: list[Contestant], same: float) -> Callable[[Side], list[Result]]:
    """How a case is run."""
    return lambda side: side.race(all_, same=same)


def cases(quick: bool) -> Iterator[Case]:
    """The table's part."""
    rows = 256 if quick else ROWS
    goals = [Goal("vibee", "memory", 0.9), Goal("vibee", "numpy", 10.0), Goal("vibee", "torch", 1.0)]
    here = "benchmarks.elementwise"
    for name, k in KERNELS.items():
        given = {"kernel": name, "rows": rows}
        all_ = [
            Contestant("vibee", f"{here}:ours", given), Contestant("numpy", f"{here}:numpy_expression", given),
            *(Contestant(f"torch {how}", f"{here}:torch_function", {**given, "compiled": how == "compiled"}, env=KEEP)
              for how in ("eager", "compiled")),
        ]  # fmt: skip
        moved = bound("copy" if k.writes else "sum", (k.reads + k.writes) * rows * COLUMNS // (1 + k.writes))
        yield Case(f"{name} {rows}x{COLUMNS}", goals, race(all_ + moved, 1e-2))
    all_ = [
        Contestant("vibee", f"{here}:ours_adamw", {"rows": rows}),
        Contestant("numpy", f"{here}:numpy_adamw", {"rows": rows}),
        Contestant("torch fused", f"{here}:torch_adamw", {"rows": rows}),
    ]
    yield Case(f"AdamW {rows}x{COLUMNS}", goals, race(all_ + bound("change", 7 * rows * COLUMNS // 2), 0.0))
