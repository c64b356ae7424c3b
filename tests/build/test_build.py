"""From Cython text to module: the cache, races, missing tools, failures."""

import os
import stat
import subprocess
import sys

import pytest

from vibee.build import BuildError, build, extension, load_extension
from vibee.build.cache import cache_folder
from vibee.build.compiler import compile_c, cythonize, find_compiler, shared_views
from vibee.build.flags import ISA, compile_flags, default_isa, link_flags

TEXT = "def answer():\n    return {}\n"


@pytest.fixture(autouse=True)
def private_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_cached_by_content(tmp_path):
    path, name = build(TEXT.format(42), "cached")
    module = load_extension(path, name)
    assert module.answer() == 42 and load_extension(path, name) is module
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


def test_without_a_home_the_folder_is_a_private_one(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "no/absolute/path")
    folder = cache_folder()
    assert folder.is_dir() and folder.is_absolute() and folder == cache_folder()


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
    monkeypatch.setenv("CC", f"{sys.executable} -m64 '-DA=b c'")
    assert find_compiler() == [sys.executable, "-m64", "-DA=b c"]
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


COMPILERS = [
    ("echo 'x.c:1: error: no such thing'; echo more; exit 1", "C compiler failed: x.c:1: error: no such thing; see "),
    ("echo sorry; exit 1", "the C compiler failed: sorry; see "),
    ("exit 1", "the C compiler failed: no message; see "),
    (None, "the C compiler '.*/cc' cannot be run: Exec format error"),
]  # fmt: skip


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    """Makes a shell script the C compiler; None is a file that cannot be run."""

    def use(script):
        path = tmp_path / "cc"
        path.write_bytes(b"\x7fELF" if script is None else f"#!/bin/sh\n{script}\n".encode())
        path.chmod(0o755)
        monkeypatch.setenv("CC", str(path))

    return use


@pytest.mark.parametrize(("script", "message"), COMPILERS)
def test_what_a_compiler_says_is_told_in_one_line(compiler, tmp_path, script, message):
    compiler(script)
    with pytest.raises(BuildError, match=message) as e:
        compile_c(tmp_path / "x.c", tmp_path / "x.so", "v2", tmp_path / "x.log")
    assert "\n" not in str(e.value)
    assert script is None or "-march=x86-64-v2" in (tmp_path / "x.log").read_text()


def test_a_compiler_without_openmp_makes_serial_modules(compiler, tmp_path):
    refuse = "case \"$*\" in *-fopenmp*) echo \"error: unsupported option '-fopenmp'\"; exit 1;; esac"
    compiler(f'{refuse}\nwhile [ "$1" != -o ]; do shift; done; echo serial > "$2"')
    compile_c(tmp_path / "x.c", tmp_path / "x.so", "v2", tmp_path / "x.log")
    assert (tmp_path / "x.so").read_text() == "serial\n"


def test_without_the_headers_of_python_the_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"include": str(tmp_path)})
    with pytest.raises(BuildError, match=r"Python\.h is not in .*; on Debian: sudo apt-get install python3-dev"):
        compile_c(tmp_path / "x.c", tmp_path / "x.so", "v2", tmp_path / "x.log")


WITHOUT = [
    ("Cython", lambda path: build("", "none"), "Cython is not installed: pip install cython"),
    ("Cython.Compiler.Main", lambda path: cythonize(path, "none", shared=None), "Cython is not installed"),
    ("Cython.Build.SharedModule", shared_views, "Cython 3.1 or newer is needed: pip install --upgrade cython"),
]


@pytest.mark.parametrize(("missing", "act", "message"), WITHOUT, ids=[m for m, _, _ in WITHOUT])
def test_without_cython_it_is_asked_for(tmp_path, monkeypatch, missing, act, message):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(BuildError, match=message):
        act(tmp_path / "x.pyx")


def test_a_damaged_module_is_told_and_forgotten(tmp_path):
    path = tmp_path / "vibee_damaged.so"
    path.write_bytes(b"no module")
    with pytest.raises(BuildError, match=r"vibee_damaged\.so cannot be imported: "):
        load_extension(path, "vibee_damaged")
    assert "vibee_damaged" not in sys.modules


@pytest.mark.parametrize("asked", [None, "77"])
def test_how_threads_wait_is_said_only_while_a_module_is_loaded(tmp_path, monkeypatch, asked):
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    if asked:
        monkeypatch.setenv("GOMP_SPINCOUNT", asked)
    with pytest.raises(BuildError):
        load_extension(tmp_path / "none.so", "vibee_none")
    assert os.environ.get("GOMP_SPINCOUNT") == asked


def test_what_a_user_says_about_waiting_threads_stays_said(monkeypatch):
    monkeypatch.setenv("GOMP_SPINCOUNT", "77")
    assert load_extension(*build(TEXT.format(77), "waiting")).answer() == 77
    assert os.environ["GOMP_SPINCOUNT"] == "77"


def test_what_modules_share_is_built_once_and_then_found(monkeypatch):
    name = extension.views_module()
    assert extension.views_module() == name
    monkeypatch.delitem(sys.modules, name, raising=False)  # as in a new process
    loaded = []
    monkeypatch.setattr(extension, "load_extension", lambda path, name: loaded.append(path.exists()))
    (cache_folder() / f"{name}.so").touch()
    monkeypatch.setattr(extension, "compile_c", None)
    assert extension.views_module() == name and loaded == [True]


def test_other_machines_and_systems_have_their_own_flags(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert default_isa() == "native" and "-march=native" in compile_flags(default_isa())
    monkeypatch.setattr("sys.platform", "darwin")
    assert "-bundle" in link_flags()


def test_flags():
    assert all("-ffast-math" not in compile_flags(isa) and "-fwrapv" in compile_flags(isa) for isa in ISA)
    assert "-mprefer-vector-width=512" in compile_flags("v4")
