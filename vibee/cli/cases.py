"""What `vibee bench` measures: kernels with arguments, the work that they do, and the same with numpy and torch.

Sizes are those of nanoGPT's CPU recipe (768 tokens, width 128), and larger ones that do not fit into a cache.
`flops` counts additions and multiplications, and a function such as exp as one; `bytes` counts every array once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Shapes = dict[str, tuple[int, ...]]


@dataclass
class Case:
    """One measurement.  `arrays` by argument name; an `i` before the shape says whole numbers below `top`."""

    name: str
    function: str
    arrays: Shapes
    flops: float
    numbers: dict[str, float]
    integers: dict[str, int]  # argument -> numbers below this
    numpy: Callable[..., Any] | None = None
    torch: Callable[..., Any] | None = None

    @property
    def bytes(self) -> float:
        """Bytes of all arrays."""
        total = 0
        for shape in self.arrays.values():
            size = 4
            for n in shape:
                size *= n
            total += size
        return float(total)


def case(
    name: str, function: str, arrays: Shapes, flops: float, numpy: Callable[..., Any] | None = None,
    torch: Callable[..., Any] | None = None, integers: dict[str, int] | None = None, **numbers: float,
) -> Case:  # fmt: skip
    """A case, its numbers as keywords."""
    return Case(name, function, arrays, flops, numbers, integers or {}, numpy, torch)


def _product(m: int, n: int, k: int) -> Case:
    return case(
        f"matmul {m}x{n}x{k}", "matmul_f32", {"a": (m, k), "b": (k, n), "c": (m, n)}, 2.0 * m * n * k,
        lambda np, v: np.matmul(v["a"], v["b"], out=v["c"]), lambda t, v: t.matmul(v["a"], v["b"], out=v["c"]),
    )  # fmt: skip


def _linear(n: int, c: int, o: int) -> Case:
    return case(
        f"linear {n}x{c} to {o}", "linear_f32", {"x": (n, c), "w": (o, c), "y": (n, o)}, 2.0 * n * c * o,
        lambda np, v: np.matmul(v["x"], v["w"].T, out=v["y"]),
        lambda t, v: t.nn.functional.linear(v["x"], v["w"]),
    )  # fmt: skip


def _rows(name: str, function: str, n: int, d: int, per_element: float, **rest: Any) -> Case:
    weights = {"w": (d,)} if "norm" in function else {}
    return case(f"{name} {n}x{d}", function, {"x": (n, d), **weights, "y": (n, d)}, per_element * n * d, **rest)


def _softmax(np: Any, v: Any) -> Any:
    e = np.exp(v["x"] - v["x"].max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _layernorm(np: Any, v: Any) -> Any:
    x = v["x"] - v["x"].mean(axis=1, keepdims=True)
    return x / np.sqrt((x * x).mean(axis=1, keepdims=True) + 1e-5) * v["w"]


def _rmsnorm(np: Any, v: Any) -> Any:
    return v["x"] / np.sqrt((v["x"] * v["x"]).mean(axis=1, keepdims=True) + 1e-5) * v["w"]


def _attention(b: int, t: int, h: int, d: int) -> list[Case]:
    """Causal attention, forward and backward; half of the scores count."""
    work = 2.0 * b * h * t * t * d
    packed, plain, sums = (b, t, 3 * h, d), (b, t, h, d), (b, h, t)

    def torch_forward(torch: Any, v: Any) -> Any:
        q, k, w = (part.transpose(1, 2) for part in v["x"].split(h, dim=2))
        return torch.nn.functional.scaled_dot_product_attention(q, k, w, is_causal=True)

    return [
        case(f"attention {b}x{t}x{h}x{d}", "flash_f32", {"x": packed, "y": plain, "lse": sums}, work,
             torch=torch_forward, H=h, G=h),
        case(f"attention backward {b}x{t}x{h}x{d}", "flash_backward_f32",
             {"x": packed, "y": plain, "lse": sums, "d_y": plain, "d_lse": sums, "d_x": packed}, 2.5 * work, H=h, G=h),
    ]  # fmt: skip


def all_cases(quick: bool) -> list[Case]:
    """What is measured; with `quick`, without the large ones."""
    adamw: Shapes = {"w": (1, 800, 1000), "g": (1, 800, 1000), "m": (1, 800, 1000), "v": (1, 800, 1000)}
    cases = [
        _product(512, 512, 512),
        _linear(768, 128, 512),
        _linear(768, 512, 128),
        _linear(1, 768, 3072),
        _rows("softmax", "softmax_f32", 768, 65, 5, numpy=_softmax, torch=lambda t, v: t.softmax(v["x"], 1)),
        _rows("layernorm", "layernorm_f32", 768, 128, 8, numpy=_layernorm,
              torch=lambda t, v: t.nn.functional.layer_norm(v["x"], v["w"].shape, v["w"]), eps=1e-5),
        _rows("rmsnorm", "rmsnorm_f32", 768, 128, 4, numpy=_rmsnorm,
              torch=lambda t, v: t.nn.functional.rms_norm(v["x"], v["w"].shape, v["w"], 1e-5), eps=1e-5),
        _rows("gelu", "gelu_rows_f32", 768, 512, 5, torch=lambda t, v: t.nn.functional.gelu(v["x"])),
        _rows("silu", "silu_rows_f32", 768, 512, 4, numpy=lambda np, v: v["x"] / (1 + np.exp(-v["x"])),
              torch=lambda t, v: t.nn.functional.silu(v["x"])),
        case("cross-entropy 768x65", "cross_entropy_f32", {"x": (768, 65), "target": (768,)}, 4.0 * 768 * 65,
             integers={"target": 65},
             torch=lambda t, v: t.nn.functional.cross_entropy(v["x"], v["target"].long())),
        case("embedding 12x64x128", "embedding_f32", {"tokens": (12, 64), "w": (65, 128), "x": (12, 64, 128)}, 0.0,
             integers={"tokens": 65}, numpy=lambda np, v: np.take(v["w"], v["tokens"], axis=0, out=v["x"]),
             torch=lambda t, v: t.nn.functional.embedding(v["tokens"], v["w"])),
        *_attention(12, 64, 4, 32),
        case("adamw 800000", "adamw_f32", adamw, 14.0 * 800_000, step=10, lr=1e-3, beta1=0.9, beta2=0.99, eps=1e-8,
             decay=0.1),
    ]  # fmt: skip
    if not quick:
        cases += [
            _product(1024, 1024, 1024),
            _linear(4096, 768, 3072),
            _rows("softmax", "softmax_f32", 4096, 1024, 5, numpy=_softmax, torch=lambda t, v: t.softmax(v["x"], 1)),
            _rows("layernorm", "layernorm_f32", 4096, 768, 8, numpy=_layernorm,
                  torch=lambda t, v: t.nn.functional.layer_norm(v["x"], v["w"].shape, v["w"]), eps=1e-5),
            *_attention(4, 512, 8, 64),
        ]  # fmt: skip
    return cases
