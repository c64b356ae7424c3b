"""The language models' flat weights in PyTorch's and Hugging Face's terms: what the tests compare with."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

SIZES = {
    "gpt2": {"V": 29, "S": 40, "L": 3, "H": 4, "C": 28},
    "llama": {"V": 29, "S": 40, "L": 3, "H": 6, "G": 2, "C": 36, "F": 50},
}


def shapes(arch: str, s: dict[str, int]) -> dict[str, tuple[int, ...]]:
    """The weights in the order of the spec; a layered one has L in front."""
    L, C = s["L"], s["C"]
    if arch == "gpt2":
        return {
            "wte": (s["V"], C), "wpe": (s["S"], C), "ln_1": (L, C), "c_attn": (L, 3 * C, C), "attn_proj": (L, C, C),
            "ln_2": (L, C), "c_fc": (L, 4 * C, C), "mlp_proj": (L, C, 4 * C), "ln_f": (C,),
        }  # fmt: skip
    F, rows = s["F"], (s["H"] + 2 * s["G"]) * (C // s["H"])
    return {
        "embed_tokens": (s["V"], C), "input_norm": (L, C), "qkv_proj": (L, rows, C), "o_proj": (L, C, C),
        "post_norm": (L, C), "gate_proj": (L, F, C), "up_proj": (L, F, C), "down_proj": (L, C, F), "norm": (C,),
    }  # fmt: skip


def parts(arch: str, s: dict[str, int], flat: np.ndarray) -> dict[str, np.ndarray]:
    """Views of the flat array by name."""
    found, at = {}, 0
    for name, shape in shapes(arch, s).items():
        size = math.prod(shape)
        found[name] = flat[at : at + size].reshape(shape)
        at += size
    assert at == flat.size
    return found


def length(arch: str, s: dict[str, int]) -> int:
    """Elements of the flat array."""
    return sum(math.prod(x) for x in shapes(arch, s).values())


def random_weights(arch: str, s: dict[str, int], rng: np.random.Generator, dtype: Any = np.float32) -> np.ndarray:
    """Weights that are large enough for every gradient to matter."""
    flat = np.zeros(length(arch, s), dtype)
    for w in parts(arch, s, flat).values():
        w[...] = rng.normal(size=w.shape) * (0.5 / math.sqrt(w.shape[-1]) if w.ndim > 1 else 0.1)
    for name, w in parts(arch, s, flat).items():
        if name.startswith("ln") or "norm" in name:
            w[...] = 1 + 0.1 * rng.normal(size=w.shape)
        elif name in ("wte", "wpe", "embed_tokens"):
            w[...] = rng.normal(size=w.shape)
    return flat


def hugging_face(arch: str, s: dict[str, int]) -> Any:
    """A `transformers` model with the spec's architecture."""
    import transformers

    common = {"bos_token_id": None, "eos_token_id": None, "attn_implementation": "eager"}
    if arch == "gpt2":
        config = transformers.GPT2Config(
            vocab_size=s["V"], n_positions=s["S"], n_embd=s["C"], n_layer=s["L"], n_head=s["H"],
            activation_function="gelu", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, **common,
        )  # fmt: skip
        return transformers.GPT2LMHeadModel(config).eval()
    config = transformers.LlamaConfig(
        vocab_size=s["V"], max_position_embeddings=s["S"], hidden_size=s["C"], num_hidden_layers=s["L"],
        num_attention_heads=s["H"], num_key_value_heads=s["G"], intermediate_size=s["F"], rms_norm_eps=1e-5,
        tie_word_embeddings=True, rope_theta=10000.0, **common,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config).eval()


def tensors(arch: str, s: dict[str, int], model: Any) -> dict[str, list[list[tuple[Any, bool]]]]:
    """For each weight, per copy, the model's parameters it is made of (rows one after the other), and whether
    each is stored transposed."""
    if arch == "gpt2":
        t = model.transformer
        h = t.h
        return {
            "wte": [[(t.wte.weight, False)]], "wpe": [[(t.wpe.weight, False)]],
            "ln_1": [[(b.ln_1.weight, False)] for b in h], "c_attn": [[(b.attn.c_attn.weight, True)] for b in h],
            "attn_proj": [[(b.attn.c_proj.weight, True)] for b in h], "ln_2": [[(b.ln_2.weight, False)] for b in h],
            "c_fc": [[(b.mlp.c_fc.weight, True)] for b in h], "mlp_proj": [[(b.mlp.c_proj.weight, True)] for b in h],
            "ln_f": [[(t.ln_f.weight, False)]],
        }  # fmt: skip
    t = model.model
    h = t.layers
    return {
        "embed_tokens": [[(t.embed_tokens.weight, False)]],
        "input_norm": [[(b.input_layernorm.weight, False)] for b in h],
        "qkv_proj": [[(p.weight, False) for p in (a.q_proj, a.k_proj, a.v_proj)] for a in (b.self_attn for b in h)],
        "o_proj": [[(b.self_attn.o_proj.weight, False)] for b in h],
        "post_norm": [[(b.post_attention_layernorm.weight, False)] for b in h],
        "gate_proj": [[(b.mlp.gate_proj.weight, False)] for b in h],
        "up_proj": [[(b.mlp.up_proj.weight, False)] for b in h],
        "down_proj": [[(b.mlp.down_proj.weight, False)] for b in h],
        "norm": [[(t.norm.weight, False)]],
    }


def fill(arch: str, s: dict[str, int], model: Any, flat: np.ndarray) -> None:
    """Copies the flat weights into the model."""
    import torch

    ours = parts(arch, s, flat)
    with torch.no_grad():
        for name, copies in tensors(arch, s, model).items():
            layered = ours[name].ndim == copies[0][0][0].ndim + 1
            whole = ours[name] if layered else ours[name][None]
            for one, pieces in zip(whole, copies, strict=True):
                at = 0
                for tensor, transposed in pieces:
                    rows = tensor.shape[1] if transposed else tensor.shape[0]
                    piece = one[at : at + rows]
                    tensor.copy_(torch.from_numpy(np.ascontiguousarray(piece.T if transposed else piece)))
                    at += rows


def gradients(arch: str, s: dict[str, int], model: Any) -> dict[str, np.ndarray]:
    """The model's gradients in the spec's shapes."""
    found = {}
    for name, copies in tensors(arch, s, model).items():
        rows = [
            np.concatenate([p.grad.numpy().T if transposed else p.grad.numpy() for p, transposed in pieces])
            for pieces in copies
        ]
        shape = shapes(arch, s)[name]
        found[name] = np.stack(rows).reshape(shape)
    return found
