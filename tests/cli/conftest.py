"""A stand-in for the generated kernels: the same names and arguments, next to no arithmetic.

The command line moves numbers between files and kernels; whether it does that right can be
seen in milliseconds with a "model" that only counts.  The real kernels have their own tests.
"""

from __future__ import annotations

import types

import pytest

from vibee.runtime import shapes
from vibee.runtime.shapes import Shape


def _shape(arch: str, V: int, S: int, L: int, H: int, C: int, G: int = 0, F: int = 0, **_: object) -> Shape:
    return Shape(arch, V, S, L, H, C, G=G, F=F)


def fake_module() -> types.ModuleType:
    """Kernels whose loss falls with the steps, and whose model repeats the tokens in order."""
    m = types.ModuleType("vibee._kernels.v2")
    m.calls = []  # type: ignore[attr-defined]

    def add(arch: str) -> None:
        def measure(V, S, L, H, C, B, T, threads, G=0, F=0):  # type: ignore[no-untyped-def]
            return shapes.count(_shape(arch, V, S, L, H, C, G, F)), B * T * C, B * T * C, 2 * B * T * C

        def measure_decode(V, S, L, H, C, T, threads, G=0, F=0):  # type: ignore[no-untyped-def]
            return shapes.count(_shape(arch, V, S, L, H, C, G, F)), T * C, 0, 0

        def init(weights: memoryview, key: int, threads: int, **sizes: int) -> None:
            for i in range(len(weights)):
                weights[i] = (key * 31 + i) % 7

        def train(data, w, g, m1, m2, arena, losses, rates, norms, B, T, key, start, peak, threads, **rest):  # type: ignore[no-untyped-def]
            assert len(data) > T
            assert 0 <= min(data) and max(data) < rest["V"]
            m.calls.append(("train", start, len(losses)))  # type: ignore[attr-defined]
            for k in range(len(losses)):
                step = start + k
                w[step % len(w)] = w[step % len(w)] * 0.5 + step
                m1[step % len(w)] += 1.0
                m2[0] += 0.5
                losses[k], rates[k] = 4.0 / (1 + step / 10), peak

        def evaluate(data, w, arena, B, T, batches, key, threads, **rest):  # type: ignore[no-untyped-def]
            assert len(data) >= 2 and (batches == 0 or len(data) > T)
            return 2.0 + 1.0 / (1 + w[0])

        def decode(tokens, keys, values, weights, arena, logits, pos, V, S, threads, **rest):  # type: ignore[no-untyped-def]
            assert 1 <= len(tokens) and pos + len(tokens) <= S
            m.calls.append(("decode", pos, len(tokens)))  # type: ignore[attr-defined]
            for v in range(V):
                logits[0, v] = 0.0
            logits[0, (tokens[-1] + 1) % V] = 50.0

        for name, f in (
            (f"{arch}_sizes_f32", measure), (f"{arch}_decode_sizes_f32", measure_decode), (f"{arch}_init_f32", init),
            (f"train_{arch}", train), (f"evaluate_{arch}", evaluate), (f"{arch}_decode_forward_f32", decode),
            (f"{arch}_decode_bf16_sizes", measure_decode), (f"{arch}_decode_bf16_forward", decode),
        ):  # fmt: skip
            setattr(m, name, f)

    add("gpt2")
    add("llama")

    def sample(logits, history, used, temp, top_k, top_p, min_p, penalty, key, counter, threads):  # type: ignore[no-untyped-def]
        assert 0 <= used <= len(history) and penalty > 0
        values = logits.tolist()
        return values.index(max(values))

    def transpose(x, y, threads):  # type: ignore[no-untyped-def]
        rows, columns = x.shape
        for i in range(rows):
            for j in range(columns):
                y[j, i] = x[i, j]

    def narrow(x, y, threads):  # type: ignore[no-untyped-def]
        assert (x.format, y.format, len(x)) == ("f", "H", len(y))
        m.calls.append(("narrow", len(x)))  # type: ignore[attr-defined]

    m.sample, m.transpose_f32, m.narrow = sample, transpose, narrow  # type: ignore[attr-defined]
    return m


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The stand-in, in the place of the generated kernels."""
    module = fake_module()
    monkeypatch.setattr("vibee.cli.kernels.load_kernels", lambda: module)
    return module
