"""Model folders: what is written is read, and nothing damaged is ever taken for a model."""

import json
import os
import random

import pytest

from vibee.runtime import atomic, buffers, folder, model, shapes, vocabulary
from vibee.runtime.errors import ModelFileError, UserError
from vibee.runtime.shapes import Shape

SHAPES = [
    Shape("gpt2", V=3, S=2, L=1, H=1, C=2),
    Shape("llama", V=3, S=2, L=1, H=2, C=4, G=1, F=3, theta=500.0),
]


def some_weights(shape):
    flat = buffers.zeros(shapes.count(shape))
    dice = random.Random(7)
    for i in range(len(flat)):
        flat[i] = dice.uniform(-1, 1)
    return flat


def make(path, shape, text=b"abc"):
    flat = some_weights(shape)
    words = vocabulary.of_text(text)
    atomic.make_folder(str(path))
    atomic.write_files(str(path), model.files(shape, flat, words))
    return flat, words


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: s.arch)
@pytest.mark.parametrize("writable", [False, True])
def test_round_trip(tmp_path, shape, writable):
    flat, words = make(tmp_path, shape)
    got = model.load(str(tmp_path), writable)
    assert got.shape == shape
    assert bytes(got.weights) == bytes(flat)
    assert got.vocabulary.tokens == words.tokens
    assert got.weights.format == "f" and (not writable or not got.weights.readonly)
    assert sorted(os.listdir(tmp_path)) == [
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip


def test_llama_is_used_in_place(tmp_path):
    make(tmp_path, SHAPES[1])
    assert model.load(str(tmp_path)).weights.readonly


def test_a_given_transpose_is_used(tmp_path):
    calls = []

    def transpose(source, target, rows, columns):
        calls.append((rows, columns))
        buffers.transpose(source, target, rows, columns)

    flat = some_weights(SHAPES[0])
    files = model.files(SHAPES[0], flat, vocabulary.of_text(b"abc"), transpose)
    atomic.write_files(str(tmp_path), files)
    assert len(calls) == 4
    assert bytes(model.load(str(tmp_path), transpose=transpose).weights) == bytes(flat)
    assert len(calls) == 8


def same(got, shape, flat, words):
    return (
        got.shape == shape
        and bytes(got.weights) == bytes(flat)
        and got.vocabulary.tokens == words.tokens
        and got.vocabulary.kind == words.kind
    )


def check_damage(path, name, content, shape, flat, words):
    """A damaged file gives the documented error in one line, or changes nothing."""
    with open(path / name, "wb") as f:
        f.write(content)
    try:
        got = model.load(str(path))
    except ModelFileError as e:
        text = str(e)
        assert "\n" not in text and str(path) in text and len(text) <= 400
        return 1
    assert same(got, shape, flat, words)
    return 0


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: s.arch)
def test_every_truncation_and_bit_flip(tmp_path, shape, name):
    flat, words = make(tmp_path, shape)
    whole = (tmp_path / name).read_bytes()
    errors = 0
    for n in range(len(whole)):
        errors += check_damage(tmp_path, name, whole[:n], shape, flat, words)
    assert errors >= len(whole) - 1  # only a final line break may be missing
    # Of a large file one bit of every byte, of a small one all.
    bits = range(8) if len(whole) < 1000 else [None]
    dice = random.Random(1)
    for i in range(len(whole)):
        for bit in bits:
            damaged = bytearray(whole)
            damaged[i] ^= 1 << (dice.randrange(8) if bit is None else bit)
            check_damage(tmp_path, name, bytes(damaged), shape, flat, words)


def test_every_flip_in_the_tensors_is_found(tmp_path):
    shape = SHAPES[0]
    flat, words = make(tmp_path, shape)
    whole = (tmp_path / "model.safetensors").read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    for i in range(start, len(whole)):
        damaged = bytearray(whole)
        damaged[i] ^= 1 << (i % 8)
        assert check_damage(tmp_path, "model.safetensors", bytes(damaged), shape, flat, words)


def test_random_garbage(tmp_path):
    shape = SHAPES[1]
    flat, words = make(tmp_path, shape)
    whole = (tmp_path / "model.safetensors").read_bytes()
    dice = random.Random(3)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(dice.randrange(1, 6)):
            at = dice.randrange(len(damaged))
            damaged[at : at + dice.randrange(1, 9)] = dice.randbytes(dice.randrange(9))
        check_damage(tmp_path, "model.safetensors", bytes(damaged), shape, flat, words)


def test_files_of_two_models_do_not_mix(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    make(a, SHAPES[0])
    make(b, SHAPES[1])
    os.replace(b / "config.json", a / "config.json")
    with pytest.raises(ModelFileError, match="does not belong"):
        model.load(str(a))
    make(a, SHAPES[0], b"abc")
    make(b, SHAPES[0], b"abd")
    os.replace(b / "tokenizer.json", a / "tokenizer.json")
    with pytest.raises(ModelFileError, match="not the tokenizer"):
        model.load(str(a))


def test_missing_things(tmp_path):
    with pytest.raises(UserError, match="no such model folder"):
        model.load(str(tmp_path / "nothing"))
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        make(tmp_path, SHAPES[0])
        os.unlink(tmp_path / name)
        with pytest.raises(ModelFileError, match="no such file"):
            model.load(str(tmp_path))


CONFIG_ERRORS = [
    ({"model_type": "mamba"}, "vibee runs gpt2 and llama"),
    ({"model_type": None}, "model_type is missing"),
    ({"n_layer": None}, "n_layer is missing"),
    ({"n_layer": "4"}, "no whole number"),
    ({"n_layer": 4.0}, "no whole number"),
    ({"n_layer": True}, "no whole number"),
    ({"n_layer": -1}, "no size"),
    ({"n_layer": 10**30}, "no size"),
    ({"n_embd": 2**30}, "absurd"),
    ({"n_head": 3}, "not a multiple"),
    ({"architectures": ["LlamaForCausalLM"]}, "architectures"),
    ({"activation_function": "gelu_new"}, "activation_function"),
    ({"layer_norm_epsilon": 1e-6}, "layer_norm_epsilon"),
    ({"layer_norm_epsilon": "x"}, "must be a number"),
    ({"tie_word_embeddings": False}, "tie_word_embeddings"),
    ({"n_inner": 5}, "n_inner"),
]


@pytest.mark.parametrize(("change", "message"), CONFIG_ERRORS)
def test_config_errors(change, message):
    values = {**shapes.config(SHAPES[0]), **change}
    with pytest.raises(ModelFileError, match=message) as e:
        shapes.read_config(json.dumps(values).encode(), "dir/config.json")
    assert str(e.value).startswith("dir/config.json: ") and "\n" not in str(e.value)


LLAMA_ERRORS = [
    ({"num_key_value_heads": 3}, "key-value heads"),
    ({"head_dim": 8}, "head_dim"),
    ({"rope_scaling": {"type": "linear"}}, "rope_scaling"),
    ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}}, "rope_parameters"),
    ({"attention_bias": True}, "attention_bias"),
    ({"rope_theta": 0}, "rope_theta"),
    ({"hidden_size": 2, "head_dim": None}, "rotated"),
]


@pytest.mark.parametrize(("change", "message"), LLAMA_ERRORS)
def test_llama_config_errors(change, message):
    values = {**shapes.config(SHAPES[1]), **change}
    with pytest.raises(ModelFileError, match=message):
        shapes.read_config(json.dumps(values).encode(), "config.json")


def test_a_bias_must_be_zero(tmp_path):
    shape = SHAPES[0]
    flat = some_weights(shape)
    make(tmp_path, shape)
    file = folder.open_weights(str(tmp_path))
    tensors = {k: (t.dtype, t.shape, bytes(t.data)) for k, t in file.tensors.items()}
    name = "transformer.h.0.mlp.c_fc.bias"
    tensors[name] = ("F32", (8,), b"\0\0\x80\x3f" * 8)

    def write(f):
        from vibee.runtime import safetensors

        safetensors.write(f, [(k, d, s, (b,)) for k, (d, s, b) in tensors.items()])

    atomic.write_file(str(tmp_path / "model.safetensors"), write)
    with pytest.raises(ModelFileError, match="not zero"):
        folder.read_weights(folder.open_weights(str(tmp_path)), shape)
    del tensors[name]  # a file without any bias at all is fine
    atomic.write_file(str(tmp_path / "model.safetensors"), write)
    assert bytes(folder.read_weights(folder.open_weights(str(tmp_path)), shape)) == bytes(flat)
    tensors["extra"] = ("F32", (1,), bytes(4))
    atomic.write_file(str(tmp_path / "model.safetensors"), write)
    with pytest.raises(ModelFileError, match="does not belong"):
        folder.read_weights(folder.open_weights(str(tmp_path)), shape)


def test_names_without_the_prefix(tmp_path):
    """Files saved from the bare GPT2Model leave `transformer.` out."""
    shape = SHAPES[0]
    flat, _ = make(tmp_path, shape)
    file = folder.open_weights(str(tmp_path))
    tensors = [
        (k.removeprefix("transformer."), t.dtype, t.shape, (bytes(t.data),)) for k, t in file.tensors.items()
    ]  # fmt: skip

    def write(f):
        from vibee.runtime import safetensors

        safetensors.write(f, tensors)

    atomic.write_file(str(tmp_path / "model.safetensors"), write)
    assert bytes(folder.read_weights(folder.open_weights(str(tmp_path)), shape)) == bytes(flat)
