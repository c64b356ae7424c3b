"""From Cython text to module: the cache, races, missing tools, failures."""

import os
import stat
import subprocess
import sys

import pytest

from vibee.build import BuildError, build, load_extension
from vibee.build.cache import cache_folder
from vibee.build.compiler import find_compiler
from vibee.build.flags import ISA, compile_flags

TEXT = "def answer():\n    return {}\n"


@pytest.fixture(autouse=True)
def private_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_cached_by_content(tmp_path):
    path, name = build(TEXT.format(42), "cached")
    assert load_extension(path, name).answer() == 42
    first = path.stat().st_mtime_ns
    assert build(TEXT.format(42), "cached") == (path, name)
    assert path.stat().st_mtime_ns == first
    other, _ = build(TEXT.format(43), "cached")
    assert other != path
    assert path.parent == tmp_path / "cache" / "vibee"
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not list(path.parent.glob("tmp-*"))


def test_two_processes_at_once(tmp_path):
    code = (
        "from vibee.build import build, load_extension;"
        f"print(load_extension(*build({TEXT.format(7)!r}, 'race')).answer())"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    runs = [subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE) for _ in range(2)]
    assert [r.communicate()[0].strip() for r in runs] == [b"7", b"7"]


def test_unwritable_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    folder = cache_folder()
    assert folder.is_dir() and "nowhere" not in str(folder)


def test_a_folder_that_others_can_write_to_is_not_used(tmp_path):
    shared = tmp_path / "cache" / "vibee"
    shared.mkdir(parents=True)
    shared.chmod(0o777)
    assert cache_folder() != shared


def test_no_compiler(monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(BuildError, match=r"no C compiler found .* sudo apt-get install gcc"):
        find_compiler()
    monkeypatch.setenv("CC", "no-such-cc -m64")
    with pytest.raises(BuildError, match="the C compiler 'no-such-cc' that CC names was not found"):
        find_compiler()


def test_cython_error(tmp_path):
    with pytest.raises(BuildError, match="Cython refused generated code") as e:
        build("cdef int f() nogil:\n    return undefined_name\n", "wrong")
    assert "\n" not in str(e.value)
    assert os.path.exists(str(e.value).rpartition("see ")[2])


def test_c_error():
    text = 'cdef extern from *:\n    """\n    #error no such thing\n    """\n    pass\n'
    with pytest.raises(BuildError, match=r"the C compiler failed: .*no such thing") as e:
        build(text, "wrong_c")
    assert "\n" not in str(e.value)
    assert os.path.exists(str(e.value).rpartition("see ")[2])


def test_flags():
    assert all("-ffast-math" not in compile_flags(isa) and "-fwrapv" in compile_flags(isa) for isa in ISA)
    assert "-mprefer-vector-width=512" in compile_flags("v4")
