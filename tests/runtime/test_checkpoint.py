"""The state for resuming: versioned, checksummed, and of this very run."""

import array
import errno
import fcntl
import os
import random
import zlib

import pytest

from vibee.runtime import atomic, buffers, checkpoint, safetensors
from vibee.runtime.errors import ModelFileError, UserError

INFO = {"step": 7, "seed": 2**63, "lr": 1e-3, "options": {"data": ["a", "ü"]}, "loss": [[1, 2.5]]}


def save(folder):
    moments = array.array("f", [1.5, -2.0, 3.25])
    numbers = array.array("Q", [2**64 - 1])
    checkpoint.save(str(folder), INFO, {"m": moments, "n": numbers, "none": b""}, {"config.json": b"{}"})


def test_round_trip(tmp_path):
    assert not checkpoint.exists(str(tmp_path))
    save(tmp_path)
    assert checkpoint.exists(str(tmp_path))
    state = checkpoint.load(str(tmp_path))
    assert state.info == INFO
    target = buffers.zeros(3)
    state.restore("m", target)
    assert list(target) == [1.5, -2.0, 3.25]
    assert state.buffers["n"].tolist() == [2**64 - 1]
    state.restore("none", b"")


def test_buffers_must_fit(tmp_path):
    save(tmp_path)
    state = checkpoint.load(str(tmp_path))
    for name, target in (("m", buffers.zeros(4)), ("m", buffers.zeros(3, "i")), ("q", buffers.zeros(3))):
        with pytest.raises(UserError, match="do not fit this run"):
            state.restore(name, target)


def test_nothing_to_resume_from(tmp_path):
    with pytest.raises(UserError, match="nothing to resume from"):
        checkpoint.load(str(tmp_path))
    with pytest.raises(UserError, match="no such folder"):
        checkpoint.load(str(tmp_path / "x"))


def test_every_truncation_and_bit_flip(tmp_path):
    save(tmp_path)
    path = tmp_path / checkpoint.STATE
    whole = path.read_bytes()
    for n in range(len(whole)):
        path.write_bytes(whole[:n])
        with pytest.raises(ModelFileError):
            checkpoint.load(str(tmp_path))
    dice = random.Random(5)
    for i in range(len(whole)):
        for bit in (dice.randrange(8), dice.randrange(8)):
            damaged = bytearray(whole)
            damaged[i] ^= 1 << bit
            path.write_bytes(damaged)
            try:
                state = checkpoint.load(str(tmp_path))
            except ModelFileError as e:
                assert "\n" not in str(e)
            else:
                assert state.info == INFO
                # A flip in a buffer's name is seen when it is asked for.
                assert [list(b) for b in state.buffers.values()] == [[1.5, -2.0, 3.25], [2**64 - 1], []]


def test_another_version(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "VERSION", 99)
    save(tmp_path)
    monkeypatch.undo()
    with pytest.raises(ModelFileError, match="another version"):
        checkpoint.load(str(tmp_path))


def test_a_model_is_not_a_state(tmp_path):
    atomic.write_file(
        str(tmp_path / checkpoint.STATE), lambda f: safetensors.write(f, [("a", "U8", (1,), (b"x",))])
    )  # fmt: skip
    with pytest.raises(ModelFileError, match="not a training state"):
        checkpoint.load(str(tmp_path))


FORGED = [
    ("{", "F32", "the training state is damaged"),
    ('{"version": 1}', "F16", "'a' has the unexpected dtype F16"),
]


@pytest.mark.parametrize(("info", "dtype", "message"), FORGED)
def test_a_right_checksum_is_not_trusted(tmp_path, info, dtype, message):
    facts = {"vibee_state": info, "vibee_state_crc32": f"{zlib.crc32(info.encode()):08x}"}
    tensors = [("a", dtype, (2,), (bytes(2 * safetensors.ITEM_SIZES[dtype]),))]
    atomic.write_file(str(tmp_path / checkpoint.STATE), lambda f: safetensors.write(f, tensors, facts))
    with pytest.raises(ModelFileError, match=message) as e:
        checkpoint.load(str(tmp_path))
    assert "train again without --resume" in str(e.value)


def test_a_file_system_without_locks_is_no_reason_to_refuse(tmp_path, monkeypatch):
    def none(fd, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    first, second = checkpoint.Lock(str(tmp_path)), checkpoint.Lock(str(tmp_path))
    first.close()
    second.close()


def test_a_folder_that_cannot_be_opened_is_told(tmp_path, monkeypatch):
    def refuse(path, flags):
        raise PermissionError(errno.EACCES, "Permission denied", path)

    with monkeypatch.context() as m:
        m.setattr(os, "open", refuse)
        with pytest.raises(UserError, match=f"cannot open the folder {tmp_path}: permission denied"):
            checkpoint.Lock(str(tmp_path))


def test_one_run_at_a_time(tmp_path):
    folder = str(tmp_path / "m")
    lock = checkpoint.Lock(folder)
    with pytest.raises(UserError, match="another vibee"):
        checkpoint.Lock(folder)
    lock.close()
    lock.close()
    again = checkpoint.Lock(folder)
    again.close()
    assert os.listdir(folder) == []
