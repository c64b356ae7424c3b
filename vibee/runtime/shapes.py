"""The two architectures in Hugging Face's terms: sizes, config.json, and the names of the weights.

`config.json` is trusted no more than any other file: every value is checked, and what the
kernels do not compute (another activation, biases, scaled positions) is refused by name.
"""

from __future__ import annotations

from vibee.runtime.errors import ModelFileError
from vibee.runtime.jsontext import JsonError, parse

TYPE_CHECKING = False
if TYPE_CHECKING:  # the typing module is not worth its start time
    from typing import Any

ARCHITECTURES = {"gpt2": "GPT2LMHeadModel", "llama": "LlamaForCausalLM"}
_LARGEST = 1 << 31  # of one size; token numbers are 32-bit
_MOST_WEIGHTS = 1 << 42
_LEAST_EPS = 1e-37  # much less is 0 in 32 bits, and the kernels ask for more than 0
_ADVICE = "restore the file or train again"


class Shape:
    """The sizes of a model, named as in the specs: V tokens, S positions, L layers, H heads, G
    key-value heads, C width, F width of the feed-forward layer; and the numbers theta and eps."""

    __slots__ = ("C", "F", "G", "H", "L", "S", "V", "arch", "eps", "theta")

    def __init__(
        self, arch: str, V: int, S: int, L: int, H: int, C: int,
        G: int = 0, F: int = 0, theta: float = 10000.0, eps: float = 1e-5,
    ) -> None:  # fmt: skip
        self.arch, self.V, self.S, self.L, self.H, self.C = arch, V, S, L, H, C
        self.G, self.F = G or H, F or 4 * C
        self.theta, self.eps = theta, eps

    def to_dict(self) -> dict[str, Any]:
        """Everything that makes the model what it is; equal for equal models."""
        return {name: getattr(self, name) for name in ("arch", "V", "S", "L", "H", "G", "C", "F", "theta", "eps")}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shape) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "Shape(" + ", ".join(f"{k}={v!r}" for k, v in self.to_dict().items()) + ")"


# One tensor of a file: its name ({l}: the layer), its first row and number of rows in our matrix,
# and whether the file has it transposed.
Part = tuple[str, int, int, bool]


class Weight:
    """One of our weights: `copies` (one, or one per layer) of a matrix, or of a vector (rows 0)."""

    __slots__ = ("columns", "copies", "name", "parts", "rows")

    def __init__(self, name: str, copies: int, rows: int, columns: int, *parts: Part) -> None:
        self.name, self.copies, self.rows, self.columns, self.parts = name, copies, rows, columns, parts

    @property
    def size(self) -> int:
        """Elements, all copies together."""
        return self.copies * max(1, self.rows) * self.columns


def _whole(name: str, copies: int, rows: int, columns: int, file_name: str, transposed: bool = False) -> Weight:
    return Weight(name, copies, rows, columns, (file_name, 0, max(1, rows), transposed))


def weights(s: Shape) -> list[Weight]:
    """The weights in the order of the flat array, which is that of the model's spec."""
    if s.arch == "gpt2":
        h = "transformer.h.{l}."
        return [
            _whole("wte", 1, s.V, s.C, "transformer.wte.weight"),
            _whole("wpe", 1, s.S, s.C, "transformer.wpe.weight"),
            _whole("ln_1", s.L, 0, s.C, h + "ln_1.weight"),
            # Hugging Face's Conv1D keeps [inputs, outputs].
            _whole("c_attn", s.L, 3 * s.C, s.C, h + "attn.c_attn.weight", True),
            _whole("attn_proj", s.L, s.C, s.C, h + "attn.c_proj.weight", True),
            _whole("ln_2", s.L, 0, s.C, h + "ln_2.weight"),
            _whole("c_fc", s.L, s.F, s.C, h + "mlp.c_fc.weight", True),
            _whole("mlp_proj", s.L, s.C, s.F, h + "mlp.c_proj.weight", True),
            _whole("ln_f", 1, 0, s.C, "transformer.ln_f.weight"),
        ]
    h = "model.layers.{l}."
    d = s.C // s.H
    q, k = s.H * d, s.G * d
    return [
        _whole("embed_tokens", 1, s.V, s.C, "model.embed_tokens.weight"),
        _whole("input_norm", s.L, 0, s.C, h + "input_layernorm.weight"),
        Weight(
            "qkv_proj", s.L, q + 2 * k, s.C,
            (h + "self_attn.q_proj.weight", 0, q, False),
            (h + "self_attn.k_proj.weight", q, k, False),
            (h + "self_attn.v_proj.weight", q + k, k, False),
        ),
        _whole("o_proj", s.L, s.C, s.C, h + "self_attn.o_proj.weight"),
        _whole("post_norm", s.L, 0, s.C, h + "post_attention_layernorm.weight"),
        _whole("gate_proj", s.L, s.F, s.C, h + "mlp.gate_proj.weight"),
        _whole("up_proj", s.L, s.F, s.C, h + "mlp.up_proj.weight"),
        _whole("down_proj", s.L, s.C, s.F, h + "mlp.down_proj.weight"),
        _whole("norm", 1, 0, s.C, "model.norm.weight"),
    ]  # fmt: skip


def biases(s: Shape) -> list[tuple[str, int]]:
    """Tensors that Hugging Face's class has and our model has not: all zero."""
    if s.arch != "gpt2":
        return []
    found: list[tuple[str, int]] = []
    for layer in range(s.L):
        h = f"transformer.h.{layer}."
        found += [
            (h + "ln_1.bias", s.C), (h + "attn.c_attn.bias", 3 * s.C), (h + "attn.c_proj.bias", s.C),
            (h + "ln_2.bias", s.C), (h + "mlp.c_fc.bias", s.F), (h + "mlp.c_proj.bias", s.C),
        ]  # fmt: skip
    return [*found, ("transformer.ln_f.bias", s.C)]


def embedding_name(s: Shape) -> str:
    """The tensor that the output layer shares."""
    return weights(s)[0].parts[0][0]


def count(s: Shape) -> int:
    """Number of weights."""
    return sum(w.size for w in weights(s))


def config(s: Shape) -> dict[str, Any]:
    """config.json of a model."""
    common: dict[str, Any] = {
        "architectures": [ARCHITECTURES[s.arch]],
        "model_type": s.arch,
        "vocab_size": s.V,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "bos_token_id": None,
        "eos_token_id": None,
        "use_cache": True,
        "initializer_range": 0.02,
    }
    if s.arch == "gpt2":
        return {
            **common,
            "n_positions": s.S, "n_embd": s.C, "n_layer": s.L, "n_head": s.H, "n_inner": None,
            "activation_function": "gelu", "layer_norm_epsilon": s.eps,
            "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0,
            "scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False,
        }  # fmt: skip
    return {
        **common,
        "max_position_embeddings": s.S, "hidden_size": s.C, "intermediate_size": s.F,
        "num_hidden_layers": s.L, "num_attention_heads": s.H, "num_key_value_heads": s.G, "head_dim": s.C // s.H,
        "hidden_act": "silu", "rms_norm_eps": s.eps, "rope_theta": s.theta, "rope_scaling": None,
        "attention_bias": False, "mlp_bias": False, "attention_dropout": 0.0, "pretraining_tp": 1,
    }  # fmt: skip


class _Reader:
    """Takes checked values out of a config; what is wrong is told with the file's name."""

    def __init__(self, path: str, found: dict[str, Any]) -> None:
        self.path, self.found = path, found

    def fail(self, what: str) -> ModelFileError:
        return ModelFileError(self.path, what, _ADVICE)

    def size(self, key: str, default: int | None = None) -> int:
        value = self.found.get(key)
        if value is None and default is not None:
            return default
        if value is None:
            raise self.fail(f"{key} is missing")
        if type(value) is not int:
            raise self.fail(f"{key} is {str(value)[:40]!r}, which is no whole number")
        if not 1 <= value < _LARGEST:
            raise self.fail(f"{key} is {str(value)[:40]}, which is no size of a model")
        return value

    def number(self, key: str, value: Any, low: float, high: float) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise self.fail(f"{key} is {str(value)[:40]!r}, and must be a number from {low:g} to {high:g}")
        return float(value)

    def only(self, key: str, *allowed: Any) -> None:
        """A key that may be missing, but if it is there has one of these values."""
        if key in self.found and not any(type(self.found[key]) is type(a) and self.found[key] == a for a in allowed):
            value = str(self.found[key])[:40]
            raise self.fail(f"{key} is {value!r}; vibee computes only {' or '.join(map(repr, allowed))}")


def read_config(data: bytes, path: str) -> Shape:
    """The shape that a config.json describes; ModelFileError if vibee cannot run such a model."""
    try:
        found = parse(data)
    except JsonError as e:
        raise ModelFileError(path, f"not valid JSON ({e})", _ADVICE) from None
    if not isinstance(found, dict):
        raise ModelFileError(path, "not a JSON object", _ADVICE)
    r = _Reader(path, found)
    arch = found.get("model_type")
    if arch not in ("gpt2", "llama"):
        said = f"model_type is {str(arch)[:40]!r}" if arch is not None else "model_type is missing"
        raise ModelFileError(path, f"{said}; vibee runs gpt2 and llama", "choose another model")
    classes = found.get("architectures")
    if classes is not None and classes != [ARCHITECTURES[arch]]:
        raise r.fail(f"architectures is {str(classes)[:60]}, and a {arch} is [{ARCHITECTURES[arch]!r}]")
    r.only("tie_word_embeddings", True)
    shape = _gpt2(r) if arch == "gpt2" else _llama(r)
    if shape.C % shape.H:
        raise r.fail(f"the width {shape.C} is not a multiple of the {shape.H} heads")
    if shape.H % shape.G:
        raise r.fail(f"{shape.H} heads are not a multiple of the {shape.G} key-value heads")
    if arch == "llama" and shape.C // shape.H % 2:
        raise r.fail(f"heads of {shape.C // shape.H} elements cannot be rotated in pairs")
    if count(Shape(**{**shape.to_dict(), "L": 1})) * shape.L > _MOST_WEIGHTS:
        raise r.fail("the sizes are absurd: more than 10^12 weights")
    return shape


def _gpt2(r: _Reader) -> Shape:
    r.only("activation_function", "gelu")
    r.only("scale_attn_weights", True)
    r.only("scale_attn_by_inverse_layer_idx", False)
    eps = r.number("layer_norm_epsilon", r.found.get("layer_norm_epsilon", 1e-5), 0.0, 1.0)
    if eps != 1e-5:
        raise r.fail(f"layer_norm_epsilon is {eps!r}; vibee computes only 1e-05")
    shape = Shape("gpt2", r.size("vocab_size"), r.size("n_positions"), r.size("n_layer"), r.size("n_head"),
                  r.size("n_embd"))  # fmt: skip
    if r.size("n_inner", 4 * shape.C) != 4 * shape.C:
        raise r.fail(f"n_inner is {r.found['n_inner']}; vibee computes only 4 * n_embd")
    return shape


def _llama(r: _Reader) -> Shape:
    r.only("hidden_act", "silu")
    r.only("attention_bias", False)
    r.only("mlp_bias", False)
    r.only("rope_scaling", None)
    theta = r.found.get("rope_theta", 10000.0)
    rope = r.found.get("rope_parameters")
    if rope is not None:
        if not isinstance(rope, dict) or rope.get("rope_type", "default") != "default":
            raise r.fail("rope_parameters asks for scaled positions, which vibee does not compute")
        theta = rope.get("rope_theta", theta)
    heads, width = r.size("num_attention_heads"), r.size("hidden_size")
    shape = Shape(
        "llama", r.size("vocab_size"), r.size("max_position_embeddings"), r.size("num_hidden_layers"), heads, width,
        G=r.size("num_key_value_heads", heads), F=r.size("intermediate_size"),
        theta=r.number("rope_theta", theta, 1.0, 1e12),
        eps=r.number("rms_norm_eps", r.found.get("rms_norm_eps", 1e-6), _LEAST_EPS, 1.0),
    )  # fmt: skip
    if width % heads == 0 and r.size("head_dim", width // heads) != width // heads:
        raise r.fail(f"head_dim is {r.found['head_dim']}; vibee computes only hidden_size / num_attention_heads")
    return shape
