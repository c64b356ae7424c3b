"""A few mutants whose fate is known: the judge must neither miss what dies nor count what means the same."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent

SPEC = '''"""A mean, by definition and by a loop."""
module("small", version=1)


def mean(x: f32[N, D]) -> y[N]:
    given(D >= 1)
    y[n] = sum[d](x[n, d]) / f32(D)
    example(x=[[1, 2, 6], [0, 0, 3]], y=[3, 1])
    with schedule(cpu): parallel(n); simd(d)


@procedure
def mean_loop(x: f32[N, D]) -> y[N]:
    implements(mean)
    given(D >= 1)
    for n in parallel(N):
        s: f32 = 0.0
        for d in range(D):
            s += x[n, d]
        y[n] = s / f32(D)


def loose(x: f32[N]) -> y[N]:
    y[i] = x[i] * 2.0
'''

CASES = [
    # the definition, a part of the edit, what becomes of it
    ("mean", "/ -> *", "killed by tests"),
    ("mean", "sum -> max", "killed by tests"),
    ("mean", "x[n, d]) / f32(D)   with   n -> d", "refused"),
    ("mean", "n -> n + 1", "killed by tests"),
    ("mean", "with schedule(cpu): parallel(n); simd(d) -> nothing", "equivalent"),
    ("mean_loop", "+ -> -", "killed by tests"),
    ("mean_loop", "D -> D - 1", "killed by tests"),
    ("loose", "i -> i + 1", "killed by the prover"),
    ("loose", "2.0 -> 1.0", "survived"),
]

CHILD = """
import json, sys
sys.path.insert(0, {here!r})
from pathlib import Path
from tempfile import TemporaryDirectory
import judge
from edits import Source, edits

source = Source(Path({spec!r}).read_text())
found = edits(source)
out = []
with TemporaryDirectory() as folder:
    judge.prepare(folder)
    known = {{}}
    for name, part, _ in {cases!r}:
        if name not in known:
            known[name] = judge.original(source, name, Path(folder), "small")
        e = next(e for e in found if e.definition == name and part in e.what)
        out.append(judge.judge(known[name], e).outcome)
print(json.dumps(out))
"""


def test_sample(tmp_path):
    (tmp_path / "small.vibee").write_text(SPEC)
    code = CHILD.format(here=str(HERE), spec=str(tmp_path / "small.vibee"), cases=CASES)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    import json

    got = json.loads(done.stdout.splitlines()[-1])
    assert got == [c[2] for c in CASES], list(zip(CASES, got, strict=True))


@pytest.mark.parametrize("work", ["time.sleep(60)", "sum(iter(int, 1))"])
def test_no_end(work):
    code = f"import sys, time; sys.path.insert(0, {str(HERE)!r}); import judge; " \
        f"print(judge.apart(lambda: {work}, 0.5).outcome)"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "killed by time", done.stderr


def test_rules_are_there(monkeypatch):
    """Each change of the compiler has one place in it, and one name."""
    monkeypatch.syspath_prepend(str(HERE))
    from compiler import SAME, TABLE

    for file, old, new, what in TABLE:
        assert old != new
        assert (HERE.parents[1] / "vibee" / file).read_text().count(old) == 1, f"{file}: {what}"
    names = [what for *_, what in TABLE]
    assert len(set(names)) == len(names) and set(SAME) <= set(names)


@pytest.mark.parametrize("file", sorted((HERE.parents[1] / "specs").rglob("*.vibee")), ids=lambda f: f.stem)
def test_edits_change_one_definition(file, monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))
    from edits import Source, edits

    source = Source(file.read_text())
    found = edits(source)
    assert len(found) > 20
    for e in found[:: max(len(found) // 40, 1)]:
        assert e.apply(source.text) != source.text
        assert source.text[: e.start].count("\n") + 1 == e.line
