"""Saving: at any moment, killed or out of space, a folder holds one whole set of files."""

import os
import signal
import subprocess
import sys
import time

import pytest

from vibee.runtime import atomic, checkpoint
from vibee.runtime.errors import ModelFileError, UserError


def fill(folder, a, b):
    atomic.write_files(str(folder), {"a": a, "b": b})


def content(folder):
    found = []
    for name in ("a", "b"):
        with open(atomic.current(str(folder), name), "rb") as f:
            found.append(f.read())
    return found


class Stopped(BaseException):
    pass


def test_stopped_at_every_system_call(tmp_path, monkeypatch):
    """The save is cut off at its nth call that changes the folder, as if the process had died there."""
    outcomes = []
    for stop_at in range(1, 40):
        folder = tmp_path / str(stop_at)
        folder.mkdir()
        fill(folder, b"old a", b"old b")
        calls = 0
        dead = False

        def counted(real, stop_at=stop_at):
            def call(*args, **kwargs):
                nonlocal calls, dead
                if dead:
                    raise Stopped  # not even the cleaning up happens after a kill
                calls += 1
                if calls == stop_at:
                    dead = True
                    raise Stopped
                return real(*args, **kwargs)

            return call

        with monkeypatch.context() as m:
            for name in ("fsync", "replace", "unlink"):
                m.setattr(os, name, counted(getattr(os, name)))
            try:
                fill(folder, b"new a", b"new b")
                finished = True
            except Stopped:
                finished = False
        got = content(folder)
        assert got in ([b"old a", b"old b"], [b"new a", b"new b"])
        outcomes.append(got[0])
        fill(folder, b"next a", b"next b")
        assert content(folder) == [b"next a", b"next b"]
        assert sorted(os.listdir(folder)) == ["a", "b"]
        if finished:
            break
    assert finished and set(outcomes) == {b"old a", b"new a"}
    assert outcomes == sorted(outcomes, reverse=True)  # from some moment on it is the new set


def test_files_that_go_away(tmp_path):
    fill(tmp_path, b"1", b"2")
    atomic.write_files(str(tmp_path), {"a": b"3"}, remove=["b", "c"])
    assert os.listdir(tmp_path) == ["a"]


def test_a_writer_that_fails_changes_nothing(tmp_path):
    fill(tmp_path, b"1", b"2")

    def write(f):
        f.write(b"half")
        raise OSError(28, "No space left on device")

    for act in (
        lambda: atomic.write_files(str(tmp_path), {"a": b"x", "b": write}),
        lambda: atomic.write_file(str(tmp_path / "a"), write),
    ):
        with pytest.raises(UserError, match="disk is full"):
            act()
        assert content(tmp_path) == [b"1", b"2"] and sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_a_damaged_journal_is_an_error(tmp_path):
    fill(tmp_path, b"1", b"2")
    good = b"vibee commit 1\na\nb\nend\n"
    for n in range(len(good)):
        (tmp_path / atomic.JOURNAL).write_bytes(good[:n])
        with pytest.raises(ModelFileError, match="not a journal"):
            atomic.current(str(tmp_path), "a")
    (tmp_path / atomic.JOURNAL).write_bytes(b"vibee commit 1\n../a\nend\n")
    with pytest.raises(ModelFileError, match="not a journal"):
        atomic.finish(str(tmp_path))


def test_an_interruption_after_the_journal_leaves_the_new_set(tmp_path, monkeypatch):
    fill(tmp_path, b"1", b"2")
    replace = os.replace

    def interrupted(source, target):
        replace(source, target)
        raise KeyboardInterrupt

    with monkeypatch.context() as m:
        m.setattr(os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fill(tmp_path, b"3", b"4")
    assert content(tmp_path) == [b"3", b"4"]


def test_an_interruption_before_the_journal_leaves_the_old_set(tmp_path):
    fill(tmp_path, b"1", b"2")

    def write(f):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path, b"3", write)
    assert content(tmp_path) == [b"1", b"2"] and sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_a_file_that_a_journal_removes_is_gone_before_it_is_removed(tmp_path):
    fill(tmp_path, b"1", b"2")
    (tmp_path / "a.new").write_bytes(b"3")
    (tmp_path / atomic.JOURNAL).write_bytes(b"vibee commit 1\na\n-b\nend\n")
    assert not os.path.exists(atomic.current(str(tmp_path), "b"))
    assert (tmp_path / "b").exists()
    atomic.finish(str(tmp_path))
    assert os.listdir(tmp_path) == ["a"] and (tmp_path / "a").read_bytes() == b"3"


def test_a_journal_that_cannot_be_read_or_carried_out_is_an_error(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a.new").write_bytes(b"")
    (tmp_path / atomic.JOURNAL).write_bytes(b"vibee commit 1\na\nend\n")
    with pytest.raises(UserError, match=f"cannot write {tmp_path}/a: Is a directory"):
        atomic.finish(str(tmp_path))
    (tmp_path / atomic.JOURNAL).unlink()
    (tmp_path / atomic.JOURNAL).mkdir()
    with pytest.raises(UserError, match=r"cannot read .*vibee\.commit: Is a directory"):
        atomic.current(str(tmp_path), "a")


def test_a_folder_in_the_place_of_a_file_is_named_and_changes_nothing(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").mkdir()
    with pytest.raises(UserError, match=f"cannot write {tmp_path}/b: a folder is in its place; move it away or"):
        fill(tmp_path, b"2", b"3")
    assert sorted(os.listdir(tmp_path)) == ["a", "b"] and (tmp_path / "a").read_bytes() == b"1"


def test_a_file_system_that_cannot_sync_folders_is_good_enough(tmp_path, monkeypatch):
    sync = os.fsync

    def only_files(fd):
        if os.path.isdir(f"/proc/self/fd/{fd}"):
            raise OSError(22, "Invalid argument")
        sync(fd)

    monkeypatch.setattr(os, "fsync", only_files)
    fill(tmp_path, b"1", b"2")
    assert content(tmp_path) == [b"1", b"2"]


def test_folders_that_cannot_be(tmp_path):
    with pytest.raises(UserError, match=r"cannot create the folder .*xxx"):
        atomic.make_folder(str(tmp_path / ("x" * 256)))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="in the way"):
        atomic.make_folder(str(tmp_path / "file"))
    with pytest.raises(UserError, match="part of the path is a file"):
        atomic.make_folder(str(tmp_path / "file" / "x"))


SAVER = """
import sys
from vibee.runtime import checkpoint, model, vocabulary, buffers, shapes
from vibee.runtime.shapes import Shape
folder = sys.argv[1]
step = int(sys.argv[2])
words = vocabulary.of_text(b"abc")
while True:
    step += 1
    # another architecture every time: mixed files would be noticed
    s = Shape("gpt2", 3, 16, 1, 2, 16 + 16 * (step % 3)) if step % 2 else Shape("llama", 3, 8, 1, 2, 32, F=step % 5 + 1)
    flat = buffers.zeros(shapes.count(s))
    for i in range(len(flat)):
        flat[i] = step
    checkpoint.save(folder, {"step": step}, {"weights": flat}, model.files(s, flat, words))
    print(step, flush=True)
"""


def test_kill_nine_in_a_loop(tmp_path):
    """A process that saves all the time is killed again and again; what it leaves is always whole."""
    from vibee.runtime import model

    folder = str(tmp_path / "model")
    step = 0
    for delay in (0.0003 + 0.0017 * (i % 12) for i in range(25)):
        saver = subprocess.Popen([sys.executable, "-c", SAVER, folder, str(step)], stdout=subprocess.PIPE)
        saved = int(saver.stdout.readline())
        time.sleep(delay)  # into one of the next saves
        os.kill(saver.pid, signal.SIGKILL)
        saver.wait()
        saver.stdout.close()
        state = checkpoint.load(folder)
        step = state.info["step"]
        assert step >= saved
        assert set(state.buffers["weights"]) == {float(step)}
        found = model.load(folder)
        assert bytes(found.weights) == bytes(state.buffers["weights"])
        assert found.shape.arch == ("gpt2" if step % 2 else "llama")


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 256 KB; only root may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], capture_output=True, check=False
    )  # fmt: skip
    if done.returncode:
        pytest.skip("mounting a small file system is not allowed here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)  # -l: a mapped file may still be open


def test_a_full_disk(tiny_disk):
    folder = str(tiny_disk / "model")
    checkpoint.save(folder, {"step": 1}, {"w": bytes(50_000)}, {"x": b"old"})
    before = sorted(os.listdir(folder))
    with pytest.raises(UserError, match="the disk is full") as e:
        checkpoint.save(folder, {"step": 2}, {"w": bytes(300_000)}, {"x": b"new"})
    assert "\n" not in str(e.value)
    assert sorted(os.listdir(folder)) == before
    state = checkpoint.load(folder)
    assert state.info == {"step": 1} and len(state.buffers["w"]) == 50_000
    with open(os.path.join(folder, "x"), "rb") as f:
        assert f.read() == b"old"
    checkpoint.save(folder, {"step": 3}, {"w": bytes(60_000)}, {"x": b"new"})  # there is room again
    assert checkpoint.load(folder).info["step"] == 3
