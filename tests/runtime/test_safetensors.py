"""The safetensors format: ours reads theirs, theirs reads ours, nothing wrong is accepted."""

import io
import json

import pytest

from vibee.runtime import safetensors
from vibee.runtime.errors import ModelFileError


def raw(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def read(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    return safetensors.read(path)


def test_a_file_of_another_writer(tmp_path):
    header = {"b": entry("I64", [1], 4, 12), "a": entry("BF16", [2, 1], 0, 4), "e": entry("F32", [0, 7], 12, 12)}
    file = read(tmp_path, raw(header, bytes(range(12))))
    assert bytes(file["a"].data) == bytes(range(4)) and file["a"].shape == (2, 1)
    assert file["b"].dtype == "I64" and bytes(file["b"].data) == bytes(range(4, 12))
    assert bytes(file["e"].data) == b""
    assert file.metadata == {}


WRONG = [
    (b"", "too short"),
    (b"1234567", "too short"),
    (raw({}, length=10**12), "absurd"),
    (raw({}, length=100), "inside its header"),
    (raw(b"{}}"), "not valid JSON"),
    (raw(b"\xff\xff\xff"), "not UTF-8"),
    (raw(b"[1]"), "not a JSON object"),
    (raw(b"{} x"), "not valid JSON"),
    (raw(b"[" * 100_000), "not valid JSON"),
    (raw(b'{"a": NaN}'), "not valid JSON"),
    (raw(b'{"a": 1, "a": 2}'), "stands twice"),
    (raw({"a": 1}), "not dtype"),
    (raw({"a": {"dtype": "F32"}}), "not dtype"),
    (raw({"a": entry("F31", [1], 0, 4)}, bytes(4)), "unknown dtype"),
    (raw({"a": entry(["F32"], [1], 0, 4)}, bytes(4)), "unknown dtype"),
    (raw({"a": entry("F32", [-1], 0, 4)}, bytes(4)), "wrong shape"),
    (raw({"a": entry("F32", [True], 0, 4)}, bytes(4)), "wrong shape"),
    (raw({"a": entry("F32", [1.0], 0, 4)}, bytes(4)), "wrong shape"),
    (raw({"a": entry("F32", 1, 0, 4)}, bytes(4)), "wrong shape"),
    (raw({"a": entry("F32", [10**30], 0, 4)}, bytes(4)), "wrong shape"),
    (raw({"a": entry("F32", [(1 << 62) - 1] * 150_000, 0, 4)}, bytes(4)), "has 150000 dimensions, more than 64"),
    (raw({"a": entry("F32", [1] * 65, 0, 4)}, bytes(4)), "has 65 dimensions, more than 64"),
    (raw({"a": entry("F32", [2], 0, 4)}, bytes(4)), "do not fit"),
    (raw({"a": entry("F32", [1], 4, 0)}, bytes(4)), "do not fit"),
    (raw({"a": entry("F32", [1], -4, 0)}, bytes(4)), "wrong data_offsets"),
    (raw({"a": entry("F32", [1], 0, 4)}, bytes(3)), "cut short"),
    (raw({"a": entry("F32", [1], 0, 4)}, bytes(5)), "follow the last"),
    (raw({"a": entry("F32", [1], 4, 8)}, bytes(8)), "gap"),
    (raw({"a": entry("F32", [1], 0, 4), "b": entry("F32", [1], 2, 6)}, bytes(6)), "overlap"),
    (raw({"__metadata__": {"a": 1}}), "table of texts"),
    (raw({"__metadata__": []}), "table of texts"),
]


@pytest.mark.parametrize(("content", "message"), WRONG, ids=lambda x: x if isinstance(x, str) else "")
def test_wrong_files(tmp_path, content, message):
    with pytest.raises(ModelFileError, match=message) as e:
        read(tmp_path, content)
    assert str(e.value).startswith(str(tmp_path / "x.safetensors") + ": ") and "\n" not in str(e.value)


def test_a_hostile_name_stays_in_one_line(tmp_path):
    with pytest.raises(ModelFileError) as e:
        read(tmp_path, raw({"a\n\x1b[31m" * 200: 1}))
    assert "\n" not in str(e.value) and "\x1b" not in str(e.value) and len(str(e.value)) <= 400


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(ModelFileError, match="no such file"):
        safetensors.read(tmp_path / "nothing")
    with pytest.raises(Exception, match="directory"):
        safetensors.read(tmp_path)


def test_written_data_is_aligned_and_checked(tmp_path):
    path = tmp_path / "x"
    with open(path, "wb") as f:
        safetensors.write(f, [("a", "F32", (3,), (bytes(4), bytes(8))), ("b", "U8", (2,), (b"xy",))], {"k": "v"})
    file = safetensors.read(path)
    assert file.aligned and file.metadata["format"] == "pt" and file.metadata["k"] == "v"
    assert safetensors.CHECKSUM in file.metadata
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="checksum"):
        safetensors.read(path)
    assert bytes(safetensors.read(path, check=False)["b"].data) == b"xx"


def test_wrong_writes():
    with pytest.raises(ValueError, match="do not fill"):
        safetensors.write(io.BytesIO(), [("a", "F32", (3,), (bytes(8),))])
    with pytest.raises(ValueError, match="two tensors"):
        safetensors.write(io.BytesIO(), [("a", "U8", (1,), (b"x",)), ("a", "U8", (1,), (b"y",))])


def test_the_safetensors_package_agrees(tmp_path):
    theirs = pytest.importorskip("safetensors.numpy")
    numpy = pytest.importorskip("numpy")
    arrays = {
        "x": numpy.arange(6, dtype=numpy.float32).reshape(2, 3),
        "y": numpy.arange(3, dtype=numpy.int64),
        "z": numpy.array(2.5, dtype=numpy.float32),
    }
    theirs.save_file(arrays, tmp_path / "a", metadata={"format": "pt"})
    file = safetensors.read(tmp_path / "a")
    for name, array in arrays.items():
        assert bytes(file[name].data) == array.tobytes() and file[name].shape == array.shape
    with open(tmp_path / "b", "wb") as f:
        safetensors.write(f, [(n, t.dtype, t.shape, (t.data,)) for n, t in file.tensors.items()])
    for name, array in theirs.load_file(tmp_path / "b").items():
        assert (array == arrays[name]).all() and array.dtype == arrays[name].dtype
