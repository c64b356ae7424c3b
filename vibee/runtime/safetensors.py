"""The safetensors format: an 8-byte header length, a JSON header, the tensors' bytes.

Reading trusts nothing: the header must be exact JSON, every dtype and shape must match its
bytes, and the tensors must cover the data without gaps.  A file of ours carries a CRC of the
data in its metadata, so that a flipped bit in a weight is found as well.
"""

from __future__ import annotations

import os

from vibee.runtime import atomic
from vibee.runtime.errors import ModelFileError, os_error
from vibee.runtime.jsontext import JsonError, dump, parse

TYPE_CHECKING = False
if TYPE_CHECKING:  # the typing module is not worth its start time
    from collections.abc import Iterable, Sequence
    from typing import Any, BinaryIO

ITEM_SIZES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8,
}  # fmt: skip
MAX_HEADER = 100_000_000
MAX_DIMENSIONS = 64  # what a shape's product costs grows with their square
CHECKSUM = "vibee_crc32"
_CRC_PLACE = "0" * 8
_ADVICE = "copy the file again or train again"


class Tensor:
    """One tensor of a file: its dtype, its shape and its bytes, still in the file's memory."""

    __slots__ = ("begin", "data", "dtype", "name", "shape")

    def __init__(self, name: str, dtype: str, shape: tuple[int, ...], data: memoryview, begin: int) -> None:
        self.name, self.dtype, self.shape, self.data = name, dtype, shape, data
        self.begin = begin  # where in the file's data it is


class File:
    """An open safetensors file: `tensors` by name, and the text metadata."""

    def __init__(
        self, path: str, tensors: dict[str, Tensor], metadata: dict[str, str], whole: memoryview, start: int
    ) -> None:
        self.path, self.tensors, self.metadata = path, tensors, metadata
        self.data = whole[start:]
        self.aligned = start % 64 == 0  # do the tensors begin where vector loads want them?

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]


def read(path: str | os.PathLike[str], check: bool = True, shown: str | None = None) -> File:
    """Open a file; ModelFileError if anything about it is wrong.

    The data is mapped, not copied.  `shown` is the name for messages, if the content waits
    under another one.  With `check` the checksum is verified where the file has one.
    """
    place = os.fspath(path)
    name = shown or place
    data = _map(place, name)
    header, start = _header(data, name)
    metadata = _metadata(header.pop("__metadata__", {}), name)
    tensors = _tensors(header, data[start:], name)
    if check and CHECKSUM in metadata:
        from zlib import crc32

        if f"{crc32(data[start:]):08x}" != metadata[CHECKSUM]:
            raise ModelFileError(name, "the weights are damaged (the checksum differs)", _ADVICE)
    return File(name, tensors, metadata, data, start)


def _map(path: str, name: str) -> memoryview:
    """The bytes of a file, mapped."""
    import mmap

    try:
        with atomic.open_file(path) as f:
            if os.fstat(f.fileno()).st_size < 8:
                raise ModelFileError(name, "too short to be a safetensors file", _ADVICE)
            return memoryview(mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ))
    except FileNotFoundError:
        raise ModelFileError(name, "no such file", "train a model first, or name its folder") from None
    except OSError as e:
        raise os_error(e, "read", name) from None


def _header(data: memoryview, name: str) -> tuple[dict[str, Any], int]:
    """The header and where the data begins."""
    length = int.from_bytes(data[:8], "little")
    if length > MAX_HEADER or length < 2:
        raise ModelFileError(name, "not a safetensors file (its header length is absurd)", _ADVICE)
    if 8 + length > len(data):
        raise ModelFileError(name, "the file is cut short inside its header", _ADVICE)
    try:
        header = parse(bytes(data[8 : 8 + length]))
    except JsonError as e:
        raise ModelFileError(name, f"the header is not valid JSON ({e})", _ADVICE) from None
    if not isinstance(header, dict):
        raise ModelFileError(name, "the header is not a JSON object", _ADVICE)
    return header, 8 + length


def _metadata(found: Any, name: str) -> dict[str, str]:
    if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
        raise ModelFileError(name, "__metadata__ is not a table of texts", _ADVICE)
    return found


def _is_count(x: Any) -> bool:
    return type(x) is int and 0 <= x < 1 << 62


def _tensors(header: dict[str, Any], data: memoryview, name: str) -> dict[str, Tensor]:
    """Every tensor of the header, after its place is found to be right."""
    tensors: dict[str, Tensor] = {}
    places: list[tuple[int, int, str]] = []
    for key, entry in header.items():
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise ModelFileError(name, f"the entry of {key!r} is not dtype, shape and data_offsets", _ADVICE)
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(dtype, str) or dtype not in ITEM_SIZES:
            raise ModelFileError(name, f"{key!r} has the unknown dtype {dtype!r}", _ADVICE)
        if not isinstance(shape, list) or not all(map(_is_count, shape)):
            raise ModelFileError(name, f"{key!r} has a wrong shape", _ADVICE)
        if len(shape) > MAX_DIMENSIONS:
            raise ModelFileError(name, f"{key!r} has {len(shape)} dimensions, more than {MAX_DIMENSIONS}", _ADVICE)
        if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_count, offsets)):
            raise ModelFileError(name, f"{key!r} has wrong data_offsets", _ADVICE)
        size = ITEM_SIZES[dtype]
        for n in shape:
            size *= n
        begin, end = offsets
        if end - begin != size:
            raise ModelFileError(name, f"the bytes of {key!r} do not fit its shape", _ADVICE)
        if end > len(data):
            raise ModelFileError(name, f"the file is cut short: {key!r} lies beyond its end", _ADVICE)
        places.append((begin, end, key))
        tensors[key] = Tensor(key, dtype, tuple(shape), data[begin:end], begin)
    at = 0
    for begin, end, key in sorted(places):
        if begin != at:
            raise ModelFileError(name, f"the bytes before {key!r} overlap or leave a gap", _ADVICE)
        at = end
    if at != len(data):
        raise ModelFileError(name, f"{len(data) - at} bytes follow the last tensor", _ADVICE)
    return tensors


def write(
    f: BinaryIO,
    tensors: Sequence[tuple[str, str, tuple[int, ...], Iterable[Any]]],
    metadata: dict[str, str] | None = None,
) -> None:
    """Write (name, dtype, shape, buffers) tensors to a seekable file, in their order, with a checksum.

    A tensor's bytes are given as an iterable of buffers, so that one that has to be transposed
    is made when it is its turn.  The checksum is patched into the header at the end.
    """
    from zlib import crc32

    header: dict[str, Any] = {"__metadata__": {"format": "pt", CHECKSUM: _CRC_PLACE, **(metadata or {})}}
    at = 0
    for name, dtype, shape, _ in tensors:
        size = ITEM_SIZES[dtype]
        for n in shape:
            size *= n
        if name in header:
            raise ValueError(f"two tensors are named {name}")
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = dump(header).encode()
    # The data begins at a multiple of 64: a mapped tensor is then aligned for vector loads.
    text += b" " * (-(8 + len(text)) % 64)
    f.write(len(text).to_bytes(8, "little"))
    f.write(text)
    crc = 0
    for name, _, _, buffers in tensors:
        begin, end = header[name]["data_offsets"]
        for buffer in buffers:
            view = memoryview(buffer).cast("B")
            crc = crc32(view, crc)
            f.write(view)
            begin += len(view)
        if begin != end:
            raise ValueError(f"the buffers of {name} do not fill its shape")
    f.seek(8 + text.index(_CRC_PLACE.encode(), text.index(CHECKSUM.encode())))
    f.write(f"{crc:08x}".encode())
    f.seek(0, 2)
