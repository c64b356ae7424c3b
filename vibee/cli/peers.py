"""The same work by numpy and torch, for `vibee bench --vs`: by module and definition, on arrays by argument name."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from vibee.runtime.errors import UserError

Peer = Callable[[Any, dict[str, Any]], object]


def _softmax(np: Any, v: Any) -> Any:
    e = np.exp(v["x"] - v["x"].max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _layernorm(np: Any, v: Any) -> Any:
    x = v["x"] - v["x"].mean(axis=1, keepdims=True)
    return x / np.sqrt((x * x).mean(axis=1, keepdims=True) + v["eps"]) * v["w"]


def _rmsnorm(np: Any, v: Any) -> Any:
    return v["x"] / np.sqrt((v["x"] * v["x"]).mean(axis=1, keepdims=True) + v["eps"]) * v["w"]


def _attention(torch: Any, v: Any) -> Any:
    q, k, w = (part.transpose(1, 2) for part in v["x"].split((v["H"], v["G"], v["G"]), dim=2))
    return torch.nn.functional.scaled_dot_product_attention(q, k, w, is_causal=True, enable_gqa=v["H"] != v["G"])


PEERS: dict[str, dict[str, Peer]] = {
    "tensor_ops.matmul": {
        "numpy": lambda np, v: np.matmul(v["a"], v["b"], out=v["c"]),
        "torch": lambda t, v: t.matmul(v["a"], v["b"], out=v["c"]),
    },
    "tensor_ops.linear": {
        "numpy": lambda np, v: np.matmul(v["x"], v["w"].T, out=v["y"]),
        "torch": lambda t, v: t.nn.functional.linear(v["x"], v["w"]),
    },
    "tensor_ops.softmax": {"numpy": _softmax, "torch": lambda t, v: t.softmax(v["x"], 1)},
    "tensor_ops.layernorm": {
        "numpy": _layernorm,
        "torch": lambda t, v: t.nn.functional.layer_norm(v["x"], v["w"].shape, v["w"], eps=v["eps"]),
    },
    "tensor_ops.rmsnorm": {
        "numpy": _rmsnorm,
        "torch": lambda t, v: t.nn.functional.rms_norm(v["x"], v["w"].shape, v["w"], v["eps"]),
    },
    "tensor_ops.gelu_rows": {"torch": lambda t, v: t.nn.functional.gelu(v["x"])},
    "tensor_ops.silu_rows": {
        "numpy": lambda np, v: v["x"] / (1 + np.exp(-v["x"])),
        "torch": lambda t, v: t.nn.functional.silu(v["x"]),
    },
    "tensor_ops.cross_entropy": {"torch": lambda t, v: t.nn.functional.cross_entropy(v["x"], v["target"].long())},
    "tensor_ops.embedding": {
        "numpy": lambda np, v: np.take(v["w"], v["tokens"], axis=0, out=v["x"]),
        "torch": lambda t, v: t.nn.functional.embedding(v["tokens"], v["w"]),
    },
    "tensor_ops.transpose": {
        "numpy": lambda np, v: np.copyto(v["y"], v["x"].T),
        "torch": lambda t, v: v["y"].copy_(v["x"].T),
    },
    "attention.flash": {"torch": _attention},
}


def check_peers(peers: list[str]) -> None:
    """Refuse libraries that are not known or not here."""
    for peer in peers:
        if peer not in ("numpy", "torch"):
            raise UserError(f"--vs {peer}: not one of numpy, torch")
        try:
            __import__("numpy")
            __import__(peer)
        except ImportError:
            where = "the executable has no Python packages; use" if getattr(sys, "frozen", False) else "install it in"
            raise UserError(f"--vs {peer}: {peer} is not here; {where} a Python environment") from None


def peer_call(
    peer: str, name: str, arrays: dict[str, memoryview], numbers: dict[str, Any], threads: int
) -> Callable[[], object] | None:
    """The same work done by another library, on the same memory."""
    f = PEERS.get(name, {}).get(peer)
    if f is None:
        return None
    import numpy as np

    found = {k: np.asarray(v) for k, v in arrays.items()}
    if peer == "numpy":
        return lambda: f(np, {**found, **numbers})
    import torch

    torch.set_num_threads(threads)
    tensors = {k: torch.from_numpy(v) for k, v in found.items()}

    def call() -> object:
        with torch.no_grad():
            return f(torch, {**tensors, **numbers})

    return call
