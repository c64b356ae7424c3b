"""Generated tests must fail for specs that are wrong: one right file, and one mistake at a time put into it."""

import re
import subprocess
import sys

import numpy as np
import pytest

from vibee import testing
from vibee.testing.numbers import Failure

RIGHT = '''"""Weighted sums of squares, by definition and by blocks."""
module("right", version=1)

BLOCK = 8


def energy(x: real[N, D], w: real[D]) -> e[N]:
    given(D >= 1)
    e[n] = sum[d](w[d] * x[n, d] ** 2) / real(D)
    then(e[n] >= min[d](w[d]) * sum[k](x[n, k] ** 2) / real(D) - 1e-3 * (1 + max[d](abs(w[d])) * sum[d](x[n, d] ** 2)))
    law("even", energy(-x, w), energy(x, w))
    example(x=[[1, 2]], w=[2, 1], e=[3])
    raises("D >= 1", x=[[]], w=[])


@procedure
def energy_blocks(x: real[N, D], w: real[D]) -> (e[N], last(real[N])):
    implements(energy)
    gradient(energy_gradient)
    given(D >= 1)
    for n in parallel(N):
        s: real = 0.0
        for lo in range(0, D, BLOCK):
            hi: i64 = min(lo + BLOCK, D)
            s += sum[d:lo:hi](w[d] * x[n, d] * x[n, d])
        e[n] = s / real(D)
        last[n] = x[n, D - 1]


@procedure
def energy_gradient(x: real[N, D], w: real[D], d_e: real[N], d_last: real[N]) -> (d_x(real[N, D]), d_w(real[D])):
    given(D >= 1)
    for n in range(N):
        for d in range(D):
            d_x[n, d] = 2 * w[d] * x[n, d] * d_e[n] / real(D)
            d_w[d] += x[n, d] * x[n, d] * d_e[n] / real(D)
        d_x[n, D - 1] += d_last[n]


def soft(x: real) -> y:
    y = sqrt(x * x + 1.0)
    derivative(x=x / y)


@procedure
def halve(x: mut[f32[N]], n: i64):
    given(0 <= n, n <= N)
    for i in range(n):
        x[i] = x[i] / 2.0
    example(halve(x=[4, 3, 1], n=2), x=[2, 1.5, 1])


@procedure
def count_up(lo: i64) -> x(i64[N]):
    given(lo < 9)
    for i in range(N):
        x[i] = lo + i
    raises("lo < 9", lo=9, N=2)


@procedure
def counted(key: u64, stream: u64, by: real) -> x(real[N]):
    for i in range(N):
        x[i] = by * real(i64(key) + i)


def dot(x: real[N, C], w: real[C]) -> y:
    y = sum[n, c](x[n, c] * w[c])


@model
def line(x: real[N, C], by: real = 2.0) -> y:
    given(N >= 1)
    w: real[C] = counted(by)
    y = dot(x, w)
    example(weights=line.init(3), x=[[1, 10]], y=86)
    raises("N >= 1", x=[])


@procedure
def descend(m: model, x: f32[N, C], w: mut[f32[m.P]], g: mut[f32[m.P]], arena: mut[f32[m.A]]):
    loss: f32 = 0.0
    loss, g = m.gradient(w, x, arena)
    for i in range(m.P):
        w[i] -= g[i]
    example(descend_line(x=[[1, 10]], w=m.init(3), g=0, arena=0), w=[5, -2])


descend_line = descend(line)


def pick(x: f32[N], place: i32[M]) -> y[M]:
    given(0 <= place[m] < N)
    y[m] = x[place[m]]
'''

DECIDED = """if s * nan > 0:
            e[n] = s / real(D)
        else:
            e[n] = nan"""

SLOPE = """    y = sum[n, c](x[n, c] * w[c])
    gradient(dot_gradient)


def dot_gradient(x: real[N, C], w: real[C], d_y: real) -> d_w[C]:
    d_w[c] = 1.01 * d_y * sum[n](x[n, c])
"""

MISTAKES = [
    # what is wrong, the check that must find it, the definition, old text, new text, a part of the message
    ("a block too short", "implements", "energy_blocks_f32", "min(lo + BLOCK, D)", "min(lo + BLOCK - 1, D)", "energy"),
    ("a wrong bound", "implements", "energy_blocks_f64", "range(0, D, BLOCK)", "range(0, D - 1, BLOCK)", "energy"),
    ("nan", "implements", "energy_blocks_f32", "s += sum", "s += nan * sum", "e[0] is nan"),
    ("nan by a branch", "implements", "energy_blocks_f64", "e[n] = s / real(D)", DECIDED, "e[0] is nan"),
    ("nan in a gradient", "gradient", "energy_blocks_f32", "= 2 * w[d]", "= nan * w[d]", "d_x[0, 0] is nan"),
    ("a wrong step", "model", "line_f64", "    y = sum[n, c](x[n, c] * w[c])\n", SLOPE, "central differences"),
    ("a dropped term", "gradient", "energy_blocks_f32", "d_x[n, D - 1] += d_last[n]", "pass", "central differences"),
    ("a wrong factor", "gradient", "energy_blocks_f64", "= 2 * w[d]", "= 2.0001 * w[d]", "central differences"),
    ("a wrong derivative", "gradient", "soft_f32", "derivative(x=x / y)", "derivative(x=x / (y + 1e-5))", "central"),
    ("a false example", "example", "energy_f32", "e=[3]", "e=[3.0001]", "the example"),
    ("an example without end", "example", "energy_f64", "e=[3]", "e=[inf]", "the example"),
    ("an example that is no number", "example", "energy_f32", "e=[3]", "e=[nan], ulp=9", "the example"),
    ("a false change", "example", "halve", "x=[2, 1.5, 1]", "x=[2, 1.5, 0.5]", "the example"),
    ("a false size", "raises", "count_up", "lo=9, N=2", "lo=8, N=2", "must be refused"),
    ("a false model", "example", "line_f32", "y=86", "y=84", "the example"),
    ("a condition less", "raises", "line_f64", "    given(N >= 1)\n    w:", "    w:", "must be refused"),
    ("a false start", "example", "line_f64", "counted(by)", "counted(by / 2)", "the example"),
    ("a false step", "example", "descend_line", "w=[5, -2]", "w=[5, 2]", "the example"),
    ("a false law", "law", "energy_f32", "energy(-x, w), energy(x, w)", "energy(x + 1e-3, w), energy(x, w)", "left"),
    ("a false then", "then", "energy_f32", "then(e[n] >= min[d](w[d])", "then(e[n] >= max[d](w[d])", "does not hold"),
    ("a false raises", "raises", "energy_f32", 'raises("D >= 1", x=[[]]', 'raises("N >= 7", x=[[]]', "refused with"),
]


def line_of(text, word, key):
    """The first line of a kind in a definition, or in the procedure over models that it is made from."""
    lines = text.splitlines()
    name = re.sub("_line$|_f32$|_f64$", "", key)
    start = next(k for k, line in enumerate(lines) if line.startswith(f"def {name}("))
    return next(k for k, line in enumerate(lines, 1) if k > start and line.strip().startswith(f"{word}("))


@pytest.fixture(scope="module")
def right(tmp_path_factory):
    path = tmp_path_factory.mktemp("right") / "right.vibee"
    path.write_text(RIGHT)
    return testing.spec(str(path))


@pytest.mark.parametrize("key", ["energy_f32", "energy_blocks_f64", "energy_gradient_f32", "soft_f64", "pick"])
def test_right_agrees(right, key):
    testing.agrees(right[key])
    testing.refusals(right[key])


@pytest.mark.parametrize("check,key", sorted({(m[1], m[2]) for m in MISTAKES}))
def test_right_passes(right, check, key):
    stated = check in ("example", "law", "then", "raises")
    getattr(testing, check)(right[key], **({"line": line_of(RIGHT, check, key)} if stated else {}))


@pytest.mark.parametrize("what,check,key,old,new,said", MISTAKES, ids=[m[0] for m in MISTAKES])
def test_mistake_is_found(tmp_path, what, check, key, old, new, said):
    assert old in RIGHT
    path = tmp_path / "wrong.vibee"
    text = RIGHT.replace(old, new, 1)
    path.write_text(text)
    subject = testing.spec(str(path))[key]
    stated = check in ("example", "law", "then", "raises")
    with pytest.raises(AssertionError) as e:
        getattr(testing, check)(subject, **({"line": line_of(text, check, key)} if stated else {}))
    message = str(e.value)
    assert said in message
    line = line_of(text, check, key) if stated else subject.d.span.line
    assert f"wrong.vibee:{line}" in message
    if check not in ("example", "raises"):  # those say the values themselves
        assert re.search(r"\n  with .*\b(N|C)=\d+.*seed \d+", message), message


def test_a_wrong_kernel_is_found(right, monkeypatch):
    subject = right["pick"]
    call = type(subject).call

    def wrong(self, case, isa="", threads=1):
        return {
            n: np.where(x == np.max(x, initial=-np.inf), x + 1, x) for n, x in call(self, case, isa, threads).items()
        }

    monkeypatch.setattr(type(subject), "call", wrong)
    with pytest.raises(AssertionError, match=r"right.vibee:\d+: pick: y\[.*\n  with .*M=\d+.*seed \d+"):
        testing.agrees(subject)


def test_a_procedure_that_is_refused_where_its_formula_has_a_value(right, monkeypatch):
    subject = right["energy_blocks_f64"]

    def refused(self, case, oracle=None):
        if self is subject:
            raise Failure("x: index 1 out of bounds")
        return expected(self, case, oracle)

    expected = type(subject).expected
    monkeypatch.setattr(type(subject), "expected", refused)
    with pytest.raises(AssertionError, match=r"it is refused \(x: index 1 out of bounds\), but energy has a value"):
        testing.implements(subject)


def test_what_is_not_refused_is_told(right, monkeypatch):
    subject = right["pick"]
    monkeypatch.setattr(type(subject), "function", lambda self, isa="": lambda **named: None)
    with pytest.raises(AssertionError, match=r"right.vibee:\d+: pick: .* is not refused.*\n  with .*M=\d+.*seed \d+"):
        testing.refusals(subject)


def test_command(tmp_path):
    (tmp_path / "right.vibee").write_text(RIGHT)
    (tmp_path / "wrong.vibee").write_text(RIGHT.replace("e=[3]", "e=[4]"))
    (tmp_path / "mistake.vibee").write_text(RIGHT.replace("x[place[m]]", "x[plaice[m]]"))

    def run(*words):
        command = [sys.executable, "-m", "vibee", "test", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)

    good = run(str(tmp_path / "right.vibee"), "--only", "energy", "--jobs", "1")
    assert good.returncode == 0, good.stdout + good.stderr
    assert good.stdout.startswith("1 definition, 14 tests: 14 passed, 0 failed")
    bad = run(str(tmp_path / "wrong.vibee"), "--only", "energy,pick")
    assert (
        bad.returncode == 1
        and "2 failed" in bad.stdout
        and f"wrong.vibee:{line_of(RIGHT, 'example', 'energy')}" in bad.stdout
    )
    for words in ([str(tmp_path / "none.vibee")], [str(tmp_path / "mistake.vibee")]):
        refused = run(*words)
        assert refused.returncode == 2 and refused.stderr.count("\n") == 1 and not refused.stdout, refused
