"""The options of `vibee infer`, with llama.cpp's names and defaults.

A plain class, not a dataclass: importing `dataclasses` costs 5 ms of a cold start.
"""

from __future__ import annotations


class InferOptions:
    """What one `vibee infer` was asked to do."""

    __slots__ = (
        "min_p", "model", "n_predict", "precision", "prompt", "repeat_last_n", "repeat_penalty",
        "seed", "stats", "temp", "threads", "top_k", "top_p",
    )  # fmt: skip

    def __init__(self) -> None:
        self.prompt = ""
        self.model = "vibee-model"
        self.n_predict = 256
        self.temp = 0.8
        self.top_k = 40
        self.top_p = 0.95
        self.min_p = 0.05
        self.repeat_penalty = 1.0
        self.repeat_last_n = 64
        self.seed = -1
        self.precision = "f32"
        self.threads = 0
        self.stats = False


# option -> (attribute, type, smallest, largest); the ranges hold for both parsers
INFER_TABLE: dict[str, tuple[str, type, float, float]] = {
    "n_predict": ("n_predict", int, -1, 2**40),
    "temp": ("temp", float, 0.0, 1e6),
    "top_k": ("top_k", int, 0, 2**31 - 1),
    "top_p": ("top_p", float, 0.0, 1.0),
    "min_p": ("min_p", float, 0.0, 1.0),
    "repeat_penalty": ("repeat_penalty", float, 1e-3, 1e3),
    "repeat_last_n": ("repeat_last_n", int, -1, 2**31 - 1),
    "seed": ("seed", int, -1, 2**64 - 1),
    "threads": ("threads", int, 0, 1024),
}

# In which weights may be kept in memory.
INFER_PRECISIONS = ("f32", "bf16")

INFER_FLAGS: dict[str, str] = {
    "-n": "n_predict", "--n-predict": "n_predict", "--predict": "n_predict",
    "--temp": "temp", "--top-k": "top_k", "--top-p": "top_p", "--min-p": "min_p",
    "--repeat-penalty": "repeat_penalty", "--repeat-last-n": "repeat_last_n",
    "-s": "seed", "--seed": "seed", "-t": "threads", "--threads": "threads",
    "-p": "prompt", "--prompt": "prompt", "-m": "model", "--model": "model", "--precision": "precision",
}  # fmt: skip


def in_range(value: float, low: float, high: float) -> bool:
    """True for a number in [low, high]; a NaN is in no range."""
    return low <= value <= high
