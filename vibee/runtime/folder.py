"""A model's folder: model.safetensors, config.json, tokenizer.json, and how they become our arrays."""

from __future__ import annotations

import os

from vibee.runtime import atomic, buffers, safetensors, shapes
from vibee.runtime.errors import ModelFileError, UserError, os_error
from vibee.runtime.jsontext import dump
from vibee.runtime.shapes import Shape, Weight

TYPE_CHECKING = False
if TYPE_CHECKING:  # the typing module is not worth its start time
    from collections.abc import Iterator
    from typing import Any, BinaryIO

WEIGHTS, CONFIG = "model.safetensors", "config.json"
_LARGEST_TEXT = 256 << 20  # a config or a tokenizer beyond this is none
_ADVICE = "copy the whole folder again or train again"


def weights_file(
    shape: Shape,
    flat: Any,
    facts: dict[str, str] | None = None,
    transpose: buffers.Transpose = buffers.transpose,
) -> atomic.Write:
    """A writer for model.safetensors; `flat` is the float32 array of all weights, in the spec's order.

    `facts` go into the metadata, beside the shape: on reading, config.json has to agree with it.
    """
    view = buffers.typed(memoryview(flat), "f")
    if len(view) != shapes.count(shape):
        raise ValueError(f"{len(view)} weights, and a model of this shape has {shapes.count(shape)}")

    def tensor(weight: Weight, at: int, first: int, rows: int, transposed: bool) -> Iterator[memoryview]:
        """The bytes of a part, made only when it is written."""
        source = view[at + first * weight.columns : at + (first + rows) * weight.columns]
        if not transposed:
            yield source
            return
        turned = buffers.zeros(len(source))
        transpose(source, turned, rows, weight.columns)
        yield turned

    def write(f: BinaryIO) -> None:
        tensors: list[tuple[str, str, tuple[int, ...], Any]] = []
        for name, weight, at, first, rows, transposed in _places(shape):
            dims = (rows, weight.columns)
            if transposed:
                dims = dims[::-1]
            tensors.append((name, "F32", dims if weight.rows else dims[1:],
                            tensor(weight, at, first, rows, transposed)))  # fmt: skip
        tensors += [(name, "F32", (n,), (bytes(4 * n),)) for name, n in shapes.biases(shape)]
        safetensors.write(f, tensors, {"vibee_model": dump(shape.to_dict()), **(facts or {})})

    return write


def config_file(shape: Shape) -> bytes:
    """The content of config.json."""
    return (dump(shapes.config(shape), indent=2) + "\n").encode()


def _places(shape: Shape) -> Iterator[tuple[str, Weight, int, int, int, bool]]:
    """Every tensor of the file: its name, our weight, where that copy begins in the flat array, and its rows."""
    at = 0
    for weight in shapes.weights(shape):
        for layer in range(weight.copies):
            for name, first, rows, transposed in weight.parts:
                yield name.format(l=layer), weight, at, first, rows, transposed
            at += max(1, weight.rows) * weight.columns


def read_text_file(folder: str, name: str) -> tuple[bytes, str]:
    """The content of a small file of a model's folder, and its name for messages."""
    shown = os.path.join(folder, name)
    if not os.path.isdir(folder):
        raise UserError(f"{folder}: no such model folder; train a model first (vibee train) or name one with --model")
    for _ in range(3):
        place = atomic.current(folder, name)
        try:
            with atomic.open_file(place) as f:
                data = f.read(_LARGEST_TEXT + 1)
            break
        except FileNotFoundError:
            # A training run may just have renamed it; where there is no journal it really is missing.
            if place == shown:
                raise ModelFileError(shown, "no such file", "this folder holds no whole model") from None
        except OSError as e:
            raise os_error(e, "read", shown) from None
    else:
        raise ModelFileError(shown, "changes too quickly", "try again")
    if len(data) > _LARGEST_TEXT:
        raise ModelFileError(shown, "absurdly large", _ADVICE)
    return data, shown


def read_shape(folder: str) -> Shape:
    """The shape that config.json describes."""
    data, shown = read_text_file(folder, CONFIG)
    return shapes.read_config(data, shown)


def open_weights(folder: str, check: bool = True) -> safetensors.File:
    """model.safetensors, validated."""
    shown = os.path.join(folder, WEIGHTS)
    for _ in range(3):
        place = atomic.current(folder, WEIGHTS)
        if place == shown or os.path.exists(place):
            return safetensors.read(place, check, shown)
    raise ModelFileError(shown, "changes too quickly", "try again")


def read_weights(
    file: safetensors.File, shape: Shape, writable: bool = True, transpose: buffers.Transpose = buffers.transpose
) -> memoryview:
    """The flat float32 array of all weights, after every tensor was found to fit the shape.

    Without `writable`, a file whose bytes already lie as the kernels want them is used in place.
    """
    said = file.metadata.get("vibee_model")
    if said is not None and said != dump(shape.to_dict()):
        raise ModelFileError(
            os.path.join(os.path.dirname(file.path), CONFIG),
            "does not belong to the model.safetensors beside it", _ADVICE,
        )  # fmt: skip
    found = _named(file, shape)
    places = []
    for place in _places(shape):  # the first tensor that is missing ends it, whatever number of layers is claimed
        name, weight, _, _, rows, transposed = place
        _check(file, found, name, weight, rows, transposed)
        places.append(place)
    _check_rest(file, found, shape, {name for name, *_ in places})
    if not writable:
        data = _in_place(file, found, places)
        if data is not None:
            return buffers.typed(data, "f")
    flat = buffers.zeros(shapes.count(shape))
    for name, weight, at, first, rows, transposed in places:
        tensor = found[name]
        target = flat[at + first * weight.columns : at + (first + rows) * weight.columns]
        source = target
        if transposed:
            source = buffers.typed(tensor.data, "f") if tensor.dtype == "F32" else buffers.zeros(len(target))
        if not transposed or tensor.dtype != "F32":
            try:
                buffers.to_f32(tensor.data, tensor.dtype, source)
            except ValueError as e:
                raise ModelFileError(file.path, f"{name}: {e}", "vibee computes with 32-bit floats") from None
        if transposed:
            transpose(source, target, weight.columns, rows)
    return flat


def _named(file: safetensors.File, shape: Shape) -> dict[str, safetensors.Tensor]:
    """The tensors by their full names; files made from the bare model leave the prefix out."""
    embedding = shapes.embedding_name(shape)
    prefix = embedding.partition(".")[0] + "."
    if embedding in file.tensors or embedding.removeprefix(prefix) not in file.tensors:
        return file.tensors
    return {name if name.startswith("lm_head.") else prefix + name: t for name, t in file.tensors.items()}


def _check(
    file: safetensors.File, found: dict[str, safetensors.Tensor], name: str, weight: Weight, rows: int, transposed: bool
) -> None:
    tensor = found.get(name)
    if tensor is None:
        raise ModelFileError(file.path, f"the tensor {name} is missing", _ADVICE)
    want = ((weight.columns, rows) if transposed else (rows, weight.columns)) if weight.rows else (weight.columns,)
    if tensor.shape != want:
        have = "x".join(map(str, tensor.shape))
        raise ModelFileError(
            file.path, f"{name} is {have}, and config.json asks for {'x'.join(map(str, want))}", _ADVICE
        )
    if tensor.dtype not in ("F32", "BF16", "F16", "F64"):
        raise ModelFileError(file.path, f"{name} has the dtype {tensor.dtype}; vibee reads F32, F16, BF16 and F64")


def _check_rest(
    file: safetensors.File, found: dict[str, safetensors.Tensor], shape: Shape, known: set[str]
) -> None:  # fmt: skip
    """Tensors that we have no place for may be there only if they change nothing."""
    zero = {name for name, _ in shapes.biases(shape)}
    for name, tensor in found.items():
        if name in known:
            continue
        if name == "lm_head.weight":
            if tensor.data != found[shapes.embedding_name(shape)].data:
                raise ModelFileError(file.path, "lm_head.weight differs from the embedding", "vibee runs tied models")
        elif name in zero:
            if tensor.dtype[0] not in "FB" or not buffers.is_zero(tensor.data, safetensors.ITEM_SIZES[tensor.dtype]):
                raise ModelFileError(file.path, f"{name} is not zero; vibee's {shape.arch} has no biases")
        elif not name.endswith((".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq")):
            # Those three are constants that older versions of transformers wrote.
            raise ModelFileError(file.path, f"the tensor {name!r} does not belong to a {shape.arch}", _ADVICE)


def _in_place(
    file: safetensors.File, found: dict[str, safetensors.Tensor], places: list[Any]
) -> memoryview | None:  # fmt: skip
    """The part of the file that is our flat array as it stands, if it is."""
    start = found[places[0][0]].begin
    end = start
    for name, weight, at, first, _, transposed in places:
        tensor = found[name]
        if transposed or tensor.dtype != "F32" or tensor.begin != start + 4 * (at + first * weight.columns):
            return None
        end = tensor.begin + len(tensor.data)
    return file.data[start:end] if file.aligned and start % 64 == 0 else None
