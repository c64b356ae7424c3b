"""What is read as the text to train on, and what is said when there is none."""

import io
import os

import pytest

from vibee.runtime import data
from vibee.runtime.errors import UserError


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_files_and_folders_in_order(tmp_path):
    put(tmp_path / "d" / "b.txt", b"bee")
    put(tmp_path / "d" / "a" / "z.md", b"zed\n")
    put(tmp_path / "d" / "a" / "y.bin", b"\0\1\2")
    put(tmp_path / "d" / "a" / "empty", b"")
    put(tmp_path / "d" / ".git" / "x", b"hidden")
    put(tmp_path / "d" / ".hidden", b"hidden")
    put(tmp_path / "raw", b"\0\xff")
    got = data.read([str(tmp_path / "raw"), str(tmp_path / "d")])
    assert got.content == b"\0\xff\nbee\nzed\n"
    assert [os.path.basename(f) for f in got.files] == ["raw", "b.txt", "z.md"]
    assert [os.path.basename(f) for f in got.skipped] == ["y.bin"]


def test_standard_input():
    got = data.read(["-"], stdin=io.BytesIO(b"abc"))
    assert got.content == b"abc" and got.files == ["standard input"]


def test_fingerprint_sees_every_change():
    one = data.Data(b"hello", [], []).fingerprint()
    assert one == data.Data(b"hello", [], []).fingerprint()
    assert one not in (data.Data(x, [], []).fingerprint() for x in (b"hellp", b"hello ", b"", b"ehllo"))


def test_loops_of_links_end(tmp_path):
    put(tmp_path / "d" / "a", b"text")
    os.symlink(tmp_path / "d", tmp_path / "d" / "loop")
    assert data.read([str(tmp_path / "d")]).content == b"text"


def message(*places, **more):
    with pytest.raises(UserError) as e:
        data.read([str(p) for p in places], **more)
    assert "\n" not in str(e.value)
    return str(e.value)


def test_errors(tmp_path):
    assert "no such file" in message(tmp_path / "nothing")
    put(tmp_path / "empty", b"")
    assert "empty" in message(tmp_path / "empty")
    (tmp_path / "void").mkdir()
    assert "nothing in this folder" in message(tmp_path / "void")
    put(tmp_path / "bin" / "x", b"\0")
    assert "1 files were not text" in message(tmp_path / "bin")
    assert "standard input: empty" in message("-", stdin=io.BytesIO())
    assert "not a file name" in message("a\0b")
    put(tmp_path / "file", b"x")
    assert "cannot read" in message(tmp_path / "file" / "y")
    assert "cannot read" in message("a\nb" * 300)


def test_too_much_text(tmp_path):
    put(tmp_path / "x", b"1234567890")
    assert "more text than fits" in message(tmp_path / "x", limit=9)
    assert "more text than fits" in message(tmp_path / "x", tmp_path / "x", limit=15)
    assert "more text than fits" in message("/dev/zero", limit=1 << 22)
    assert data.read([str(tmp_path / "x")], limit=10).content == b"1234567890"


def test_standard_input_that_cannot_be_read(monkeypatch):
    closed = io.BytesIO()
    closed.close()
    assert message("-", stdin=closed) == "cannot read standard input: I/O operation on closed file."
    monkeypatch.setattr("sys.stdin", None)
    assert message("-") == "cannot read standard input: it is closed"


def test_a_file_of_a_folder_that_cannot_be_read_is_told(tmp_path):
    (tmp_path / "memory").symlink_to("/proc/self/mem")  # its first byte is not there
    assert message(tmp_path) == f"cannot read {tmp_path}/memory: Input/output error"


def test_a_folder_that_cannot_be_listed_is_told(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert message(tmp_path) == f"cannot read the folder {tmp_path}: permission denied"


def test_an_unreadable_folder(tmp_path):
    put(tmp_path / "d" / "a", b"x")
    os.chmod(tmp_path / "d", 0)
    if os.getuid():
        assert "permission denied" in message(tmp_path / "d")
        os.chmod(tmp_path / "d", 0o755)
        return
    # root may read everything: a child asks as nobody
    child = os.fork()
    if child == 0:
        try:
            os.setgid(65534)
            os.setuid(65534)
            data.read([str(tmp_path / "d")])
        except UserError as e:
            os._exit(3 if "permission denied" in str(e) else 4)
        finally:
            os._exit(5)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
