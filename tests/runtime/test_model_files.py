"""Model folders: what is written is read, and nothing damaged is ever taken for a model."""

import json
import os
import random
import struct
import types

import pytest

from vibee.__main__ import guarded
from vibee.cli import infer
from vibee.runtime import atomic, buffers, folder, model, safetensors, shapes, vocabulary
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


def test_an_equal_shape_is_equal_and_shows_how_it_is_made():
    for shape in SHAPES:
        assert eval(repr(shape)) == shape
    assert SHAPES[0] != SHAPES[1]


def test_weights_must_be_those_of_the_shape():
    with pytest.raises(ValueError, match="3 weights, and a model of this shape has"):
        folder.weights_file(SHAPES[0], buffers.zeros(3))


def test_no_memory_is_told():
    with pytest.raises(MemoryError, match=f"no memory for {4 << 62} bytes"):
        buffers.zeros(1 << 62)


def test_a_file_that_is_renamed_meanwhile_is_found(tmp_path, monkeypatch):
    """A training run may move a file from its new name to its own between two looks at the journal."""
    flat, words = make(tmp_path, SHAPES[1])
    current, seen = atomic.current, set()

    def late(path, name):
        place = current(path, name)
        return place if name in seen else seen.add(name) or place + ".new"

    monkeypatch.setattr(atomic, "current", late)
    assert same(model.load(str(tmp_path)), SHAPES[1], flat, words)
    monkeypatch.setattr(atomic, "current", lambda path, name: current(path, name) + ".new")
    for act in (folder.read_shape, folder.open_weights):
        with pytest.raises(ModelFileError, match="changes too quickly; try again"):
            act(str(tmp_path))


def test_a_small_file_is_a_file_and_small(tmp_path, monkeypatch):
    make(tmp_path, SHAPES[0])
    with monkeypatch.context() as m:
        m.setattr(folder, "_LARGEST_TEXT", 10)
        with pytest.raises(ModelFileError, match=r"config\.json: absurdly large"):
            folder.read_shape(str(tmp_path))
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").mkdir()
    with pytest.raises(UserError, match=r"cannot read .*config\.json: Is a directory"):
        folder.read_shape(str(tmp_path))


def test_a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for(tmp_path):
    for name in ("config.json", "tokenizer.json", "model.safetensors", atomic.JOURNAL):
        make(tmp_path / name, SHAPES[0])
        (tmp_path / name / name).unlink(missing_ok=True)
        os.mkfifo(tmp_path / name / name)
        with pytest.raises(UserError, match=f"cannot read .*{name}: a pipe or a device is in its place; put the file"):
            model.load(str(tmp_path / name))


class Decoder:
    """The parts of a decoder that `infer` uses: what it may say next are these logits, one list after the other."""

    def __init__(self, *rows):
        self.rows = list(rows)

    def __call__(self, kernels, shape, weights, precision):
        return self

    def feed(self, tokens):
        self.logits = self.rows.pop(0)

    def sample(self, options, seed, made):
        return 1


@pytest.fixture
def inferred(tmp_path, monkeypatch, capfd):
    """What `infer` says with such a decoder: its exit status, output and error."""

    def run(decoder, shape=SHAPES[0]):
        make(tmp_path, shape)
        monkeypatch.setattr(infer, "Kernels", lambda threads: types.SimpleNamespace(transpose=buffers.transpose))
        monkeypatch.setattr(infer, "Decoder", decoder)
        return guarded(["infer", "--model", str(tmp_path), "--prompt", "a", "-n", "3"]), *capfd.readouterr()

    return run


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("rows", "out"), [(([0.0, 0.0, NAN],), "a\n"), (([-INF, 0.0, 0.0],), "a\n"), (([0.0] * 3, [0.0, NAN, 0.0]), "ab\n")]
)
def test_infer_says_that_a_model_computes_no_numbers(inferred, tmp_path, rows, out):
    advice = "copy the whole folder again or train again"
    message = f"vibee: {tmp_path}/model.safetensors: the model computes inf or nan; {advice}\n"
    assert inferred(Decoder(*rows)) == (2, out, message)
    assert inferred(Decoder(*[[0.0] * 3] * 3)) == (0, "abbb\n", "")


@pytest.mark.parametrize(("shape", "field"), [(SHAPES[0], "n_positions"), (SHAPES[1], "max_position_embeddings")])
def test_infer_names_the_field_that_needs_too_much_memory(inferred, tmp_path, shape, field):
    message = f"no memory for {1 << 62} bytes, with {field} 2; a smaller {field} needs less"
    status, out, err = inferred(lambda *_: buffers.zeros(1 << 60), shape)
    assert (status, out, err) == (2, "", f"vibee: {tmp_path}/config.json: {message}\n")


def test_a_vocabulary_is_no_larger_than_the_model(tmp_path):
    shape = SHAPES[1]
    files = model.files(shape, some_weights(shape), vocabulary.of_text(b"abcd"))
    atomic.write_files(str(tmp_path), files)
    with pytest.raises(ModelFileError, match=r"tokenizer\.json: 4 tokens, and config.json says 3"):
        model.load(str(tmp_path))


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
    ({"layer_norm_epsilon": 1.0000001e-5}, "is 1.0000001e-05; vibee computes only 1e-05"),
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


def test_a_config_is_an_object():
    for text, message in ((b"[1]", "not a JSON object"), (b"{", "not valid JSON")):
        with pytest.raises(ModelFileError, match=message):
            shapes.read_config(text, "config.json")


LLAMA_ERRORS = [
    ({"num_key_value_heads": 3}, "key-value heads"),
    ({"head_dim": 8}, "head_dim"),
    ({"rope_scaling": {"type": "linear"}}, "rope_scaling"),
    ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}}, "rope_parameters"),
    ({"attention_bias": True}, "attention_bias"),
    ({"rope_theta": 0}, "rope_theta"),
    ({"rms_norm_eps": 0}, "rms_norm_eps is '0', and must be a number from 1e-37 to 1"),
    ({"rms_norm_eps": 1e-50}, "rms_norm_eps is '1e-50', and must be a number from 1e-37 to 1"),
    ({"hidden_size": 2, "head_dim": None}, "rotated"),
]


def test_a_llamas_positions_may_stand_in_either_place():
    values = {**shapes.config(SHAPES[1]), "rope_theta": None, "rope_parameters": {"rope_theta": 500.0}}
    assert shapes.read_config(json.dumps(values).encode(), "config.json") == SHAPES[1]


@pytest.mark.parametrize(("change", "message"), LLAMA_ERRORS)
def test_llama_config_errors(change, message):
    values = {**shapes.config(SHAPES[1]), **change}
    with pytest.raises(ModelFileError, match=message):
        shapes.read_config(json.dumps(values).encode(), "config.json")


@pytest.fixture
def theirs(tmp_path):
    """Reads a model's weights from a file as other programs write it: with these tensors changed, none is removed."""

    def read(shape, changes=None, rename=lambda name: name):
        flat, _ = make(tmp_path, shape)
        file = folder.open_weights(str(tmp_path))
        tensors = {k: (t.dtype, t.shape, bytes(t.data)) for k, t in file.tensors.items()}
        for name, change in (changes or {}).items():
            tensors.pop(name, None)
            if change is not None:
                tensors[name] = change
        found = [(rename(k), d, s, (b,)) for k, (d, s, b) in tensors.items()]
        atomic.write_file(str(tmp_path / "model.safetensors"), lambda f: safetensors.write(f, found))
        return folder.read_weights(folder.open_weights(str(tmp_path)), shape), flat

    return read


ONES = ("F32", (8,), b"\0\0\x80\x3f" * 8)
TENSOR_ERRORS = [
    ("transformer.h.0.mlp.c_fc.bias", ONES, "c_fc.bias is not zero; vibee's gpt2 has no biases"),
    ("transformer.wpe.weight", None, "the tensor transformer.wpe.weight is missing"),
    ("transformer.wpe.weight", ONES, "wpe.weight is 8, and config.json asks for 2x2"),
    ("transformer.wpe.weight", ("I32", (2, 2), bytes(16)), "has the dtype I32; vibee reads F32, F16, BF16 and F64"),
    ("transformer.wpe.weight", ("F64", (2, 2), b"\0" * 31 + b"\x7f"), "wpe.weight: a number is too large for 32 bits"),
    ("lm_head.weight", ("F32", (3, 2), bytes(24)), "lm_head.weight differs from the embedding; vibee runs tied"),
    ("extra", ONES, "the tensor 'extra' does not belong to a gpt2"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "change", "message"), TENSOR_ERRORS)
def test_tensors_that_are_not_the_models_are_refused(theirs, name, change, message):
    with pytest.raises(ModelFileError, match=message):
        theirs(SHAPES[0], {name: change})


def test_the_first_missing_tensor_ends_the_check(tmp_path):
    """The number of layers is only a claim: what it asks for is not made before it is found."""
    make(tmp_path, SHAPES[1])
    file = folder.open_weights(str(tmp_path))
    file.metadata.pop("vibee_model")
    claimed = Shape(**{**SHAPES[1].to_dict(), "L": 1 << 30})
    with pytest.raises(ModelFileError, match=r"the tensor model\.layers\.1\.input_layernorm\.weight is missing"):
        folder.read_weights(file, claimed)


@pytest.mark.parametrize(("dtype", "zero"), [("F32", b"\0\0\0\x80"), ("F16", b"\0\x80"), ("F64", b"\0" * 7 + b"\x80")])
def test_a_bias_of_minus_zero_is_zero(theirs, dtype, zero):
    name = "transformer.h.0.mlp.c_fc.bias"
    got, flat = theirs(SHAPES[0], {name: (dtype, (8,), 8 * zero)})
    assert bytes(got) == bytes(flat)
    with pytest.raises(ModelFileError, match=r"c_fc\.bias is not zero"):
        theirs(SHAPES[0], {name: (dtype, (8,), 8 * zero[::-1])})  # the least number above 0


def test_what_changes_nothing_may_be_missing_or_there(theirs):
    got, flat = theirs(SHAPES[0], {name: None for name, _ in shapes.biases(SHAPES[0])})
    assert bytes(got) == bytes(flat)
    embedding = ("F32", (3, 2), bytes(some_weights(SHAPES[0])[:6]))
    got, flat = theirs(SHAPES[0], {"lm_head.weight": embedding, "transformer.h.0.attn.bias": ONES})
    assert bytes(got) == bytes(flat)


@pytest.mark.parametrize(("dtype", "code"), [("F16", "e"), ("F64", "d"), ("BF16", None)])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: s.arch)
def test_other_floating_types_are_read(theirs, shape, dtype, code):
    """The embedding, which is kept as it is, and a matrix that a gpt2's file has transposed."""
    numbers = [0.5, -2.0, 0.0, 1.0, -0.25, 96.0]
    if code:
        data = struct.pack(f"<6{code}", *numbers)
    else:
        data = b"".join(struct.pack("<f", x)[2:] for x in numbers)
    if shape.arch == "llama":
        got, flat = theirs(shape, {"model.norm.weight": (dtype, (4,), data[: len(data) // 6 * 4])})
        assert got[-4:].tolist() == numbers[:4] and bytes(got[:-4]) == bytes(flat[:-4])
        return
    got, flat = theirs(shape, {"transformer.wte.weight": (dtype, (3, 2), data)})
    assert got[:6].tolist() == numbers and bytes(got[6:]) == bytes(flat[6:])
    place = len(flat) - 2 - 16 - 16 - 2 - 4  # of attn_proj, 2 by 2
    square = data[: len(data) // 6 * 4]
    got, flat = theirs(shape, {"transformer.h.0.attn.c_proj.weight": (dtype, (2, 2), square)})
    assert got[place : place + 4].tolist() == [0.5, 0.0, -2.0, 1.0]
    assert bytes(got[:place]) == bytes(flat[:place]) and bytes(got[place + 4 :]) == bytes(flat[place + 4 :])


def test_names_without_the_prefix(theirs):
    """Files saved from the bare GPT2Model leave `transformer.` out."""
    got, flat = theirs(SHAPES[0], rename=lambda name: name.removeprefix("transformer."))
    assert bytes(got) == bytes(flat)
