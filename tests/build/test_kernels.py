"""Kernels are generated again when a file that they follow from has changed, and not otherwise."""

import pytest

from vibee.build import kernels

SPEC = "def double(x: f32[N]) -> y[N]:\n    y[i] = x[i] * {}\n"


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Builds from a small spec without a C compiler; gives what was lowered, and compiled, in one run."""
    done = []
    collect = kernels.collect

    def lower(roots, isa):
        done.append(f"lower {isa}")
        return collect(roots, isa)

    def compile_c(c, so, isa, log):
        done.append(f"compile {isa}")
        so.write_bytes(c.read_bytes())

    monkeypatch.setattr(kernels, "collect", lower)
    monkeypatch.setattr(kernels, "cythonize", lambda pyx, module, shared: pyx)
    monkeypatch.setattr(kernels, "compile_c", compile_c)
    spec, out = tmp_path / "specs" / "small.vibee", tmp_path / "out"
    spec.parent.mkdir()

    def run(factor, isas=("v2", "v3")):
        done.clear()
        if factor is not None:
            spec.write_text(SPEC.format(factor))
        paths = kernels.build_kernels([(spec, ["*"])], isas, out, jobs=1)
        assert all(p.exists() for p in paths)
        return list(done)

    return run


def test_what_is_up_to_date_stays(made, tmp_path):
    both = ["lower v2", "lower v3", "compile v2", "compile v3"]
    assert made(2.0) == both
    assert made(2.0) == []
    assert made(None, isas=("v3",)) == []
    assert made(3.0) == both
    assert b"3.0" in (tmp_path / "out" / "v3.so").read_bytes()


def test_the_same_text_is_not_compiled_again(made, tmp_path):
    made(2.0)
    (tmp_path / "specs" / "other.vibee").write_text("# could be imported\n")
    assert made(None) == ["lower v2", "lower v3"]
    assert made(None) == []


def test_a_lost_module_is_made_again(made, tmp_path):
    made(2.0)
    (tmp_path / "out" / "v2.so").unlink()
    assert made(None) == ["lower v2", "lower v3", "compile v2"]
