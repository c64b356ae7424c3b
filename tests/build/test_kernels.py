"""Kernels are generated again when a file that they follow from has changed, and not otherwise."""

import runpy
import sys

import pytest

from vibee.build import kernels
from vibee.check import load_text

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
    both = ["lower v2", "compile v2", "lower v3", "compile v3"]
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
    assert made(None) == ["lower v2", "compile v2", "lower v3"]


def test_of_a_definition_for_any_number_type_the_one_for_f32_is_built():
    program = load_text("def f(x: real[N]) -> y[N]:\n    y[n] = x[n]\n\ndef g_f64(x: f64) -> y:\n    y = x\n", "m.vibee")
    program.raise_errors()
    assert len(program.defs["f"]) == 2
    assert [d.key for d in kernels.instances(program)] == ["f_f32", "g_f64"]


MODEL = """
def summed(x: f32[N, C], w: f32[C]) -> y[N]:
    y[n] = sum[c](x[n, c] * w[c])

@model
def plain(x: f32[N, C]) -> y[N]:
    w: f32[C] = 1.0
    y = summed(x, w)
"""


@pytest.fixture
def listed(made, tmp_path, monkeypatch, capsys):
    """Runs the command on a list of roots; gives its status and what it says."""
    monkeypatch.setattr(kernels, "ROOT", tmp_path)

    def run(table, **specs):
        for name, text in specs.items():
            (tmp_path / f"{name}.vibee").write_text(text)
        (tmp_path / "list.toml").write_text("[roots]\n" + table)
        out = str(tmp_path / "out")
        status = kernels.main(["--roots", str(tmp_path / "list.toml"), "--out", out, "--isa", "v2", "--jobs", "1"])
        return status, *capsys.readouterr()

    return run


def test_the_command_builds_what_the_list_names(listed, tmp_path):
    table = '"a.vibee" = ["double"]\n"b.vibee" = ["*"]\n'
    status, out, _ = listed(table, a=SPEC.format(2.0), b=MODEL)
    text = (tmp_path / "out" / "v2.so").read_text()
    assert status == 0 and out == f"out/v2.so  {len(text.encode()):,} bytes\n"
    assert all(f"def {name}(" in text for name in ("double", "plain_forward", "plain_init"))
    described = {}
    exec((tmp_path / "out" / "table.py").read_text(), described)
    assert {"double", "plain_forward"} <= set(described["TABLE"])


def test_the_list_may_name_one_of_the_procedures_of_a_model(listed, tmp_path):
    assert listed('"b.vibee" = ["plain.init", "plain.sizes"]\n', b=MODEL)[0] == 0
    text = (tmp_path / "out" / "v2.so").read_text()
    assert "def plain_init(" in text and "plain_forward" not in text


MISTAKES = [
    ('"a.vibee" = ["triple"]', {}, "a.vibee has no definition 'triple' (named in kernels.toml)"),
    ('"a.vibee" = ["*"]\n"b.vibee" = ["*"]', {}, "b.vibee: 'double' is also in "),
    ('"a.vibee" = ["*"]', {"a": "def f(x: f32) -> y:\n    y = z\n"}, "a.vibee:2:"),
    ('"none.vibee" = ["*"]', {}, "none.vibee"),
    ('"b.vibee" = ["plain.slope"]', {"b": MODEL}, "the model plain has no slope (named in kernels.toml)"),
]


@pytest.mark.parametrize(("table", "specs", "message"), MISTAKES)
def test_a_mistake_in_the_list_is_one_line(listed, table, specs, message):
    status, out, err = listed(table, **{"a": SPEC.format(2.0), "b": "\n\n" + SPEC.format(3.0), **specs})
    assert (status, out) == (1, "") and message in err and len(err.splitlines()) == 1


def test_the_module_is_a_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["vibee.build.kernels", "--help"])
    monkeypatch.delitem(sys.modules, "vibee.build.kernels")
    with pytest.raises(SystemExit) as e:
        runpy.run_module("vibee.build.kernels", run_name="__main__")
    assert e.value.code == 0 and "--roots" in capsys.readouterr().out


def test_modules_are_made_side_by_side_and_a_mistake_is_told_once(tmp_path, monkeypatch, capsys):
    spec, rows, out = tmp_path / "a.vibee", tmp_path / "list.toml", tmp_path / "out"
    rows.write_text('[roots]\n"a.vibee" = ["*"]\n')
    spec.write_text("def double(x: f32[N]) -> y[N]:\n    y[i] = z[i]\n")
    command = ["--roots", str(rows), "--out", str(out), "--isa", "v2", "--isa", "v3", "--jobs", "2"]
    assert kernels.main(command) == 1
    wrong = capsys.readouterr().err
    assert wrong.count("\n") == 1 and wrong.startswith(f"{spec}:2:12: ")
    spec.write_text(SPEC.format(2.0))
    assert kernels.main(command) == 0
    assert {p.name for p in out.iterdir()} >= {"v2.so", "v3.so", "table.py", "kernels.json"}
