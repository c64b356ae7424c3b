"""`vibee bench`: sizes and values by rule, kernels in processes of their own, specs compiled on the spot."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from vibee.build.describe import describe
from vibee.check import load_text
from vibee.cli.bench_specs import spec_files
from vibee.cli.cases import Case, Kernel, choose, fill
from vibee.cli.measure import isolated
from vibee.runtime.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
SPEC = '''module("areas", version=1)

def square_sum(x: real[M], N: size) -> s:
    """Given an N by N table in one row."""
    given(M == N * N, N >= 3)
    s = sum[i](x[i] * x[i])

def gather(w: real[V, C], t: i32[N]) -> y[N, C]:
    """Rows by number."""
    given(0 <= t[n] < V)
    y[n, c] = w[t[n], c]

def gauss(x: real) -> y:
    """The bell curve."""
    y = exp(-x * x)

@procedure
def spread(start: i64[R], x: real[E]) -> y(real[R]):
    """Sums of segments."""
    given(R >= 2, 0 <= start[r] <= E, sum[r:R - 1](where(start[r] > start[r + 1], 1, 0)) == 0)
    for r in range(R - 1):
        for e in range(start[r], start[r + 1]):
            y[r] += x[e]

@procedure
def endless(x: i64[N]) -> s(i64):
    """Never ends."""
    while s >= 0:
        s = 1 - s

@procedure
def nothing(x: i32[N]) -> s(i64):
    """No values satisfy its conditions."""
    given(x[n] > 5, x[n] < 3)
    s = 1
'''


def kernels(text: str) -> dict[str, Kernel]:
    program = load_text(text, "areas.vibee")
    program.raise_errors()
    found = [versions[0] for versions in program.defs.values()]
    return {x["name"]: Kernel(**x) for x in describe(found, program.by_key).values()}


def chosen(name: str, run: dict[str, Any] | None = None, most: int = 1 << 20) -> Case:
    case = choose(kernels(SPEC)[name], run or {}, most, 1e9)
    assert case is not None
    return case


# ---------------------------------------------------------------- sizes and values


def test_sizes_satisfy_conditions_and_stay_below_the_limit() -> None:
    case = chosen("square_sum")
    assert case.names["M"] == case.names["N"] ** 2
    assert 1 << 17 < case.memory() <= 1 << 20
    assert list(case.shown) == ["N"]  # M follows
    assert case.flops == 2 * case.names["M"]


def test_sizes_that_are_chosen_by_hand_are_taken() -> None:
    case = chosen("gather", {"V": 7, "t": [2, 2]})
    assert case.names["V"] == 7
    arrays = fill(case, "scattered")
    assert set(arrays["t"].tolist()) == {2}


def test_sizes_that_cannot_be_found_are_none() -> None:
    never = 'module("n", version=1)\n\ndef f(x: real[N]) -> y[N]:\n    given(N * N == 3)\n    y[i] = x[i]\n'
    assert choose(kernels(never)["f"], {}, 1 << 20, 1e9) is None


def test_multiples_that_a_condition_asks_for_are_found() -> None:
    text = 'module("n", version=1)\n\ndef f(x: real[N]) -> y[N]:\n    given(N % 7 == 0, N >= 7)\n    y[i] = x[i]\n'
    case = choose(kernels(text)["f"], {}, 1 << 16, 1e9)
    assert case is not None and case.names["N"] % 7 == 0


@pytest.mark.parametrize("order", ["scattered", "rising", "least"])
def test_values_of_indices_stay_in_their_range(order: str) -> None:
    case = chosen("gather")
    values = fill(case, order)["t"].tolist()
    assert 0 <= min(values) and max(values) < case.names["V"]


def test_a_definition_of_numbers_is_measured_over_an_array() -> None:
    case = chosen("gauss")
    assert case.kernel.function == "gauss_f32_map"
    assert case.flops is not None and case.flops >= 10 * case.names["n"]
    assert case.bytes == 8 * case.names["n"]


# ---------------------------------------------------------------- processes


def test_a_job_answers_from_its_own_process() -> None:
    assert isolated(lambda: {"pid": os.getpid()}, 10)["pid"] != os.getpid()


def test_a_job_that_never_ends_is_ended() -> None:
    begin = time.monotonic()
    assert "did not end" in isolated(lambda: time.sleep(60) or {}, 0.2)["reason"]
    assert time.monotonic() - begin < 30


def test_a_job_that_crashes_is_told() -> None:
    def crash() -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGTERM)
        return {}

    assert "signal 15" in isolated(crash, 10)["reason"]


def test_an_error_of_a_job_is_one_line() -> None:
    def fail() -> dict[str, Any]:
        raise ValueError("two\nlines")

    assert isolated(fail, 10)["reason"] == "two lines"


# ---------------------------------------------------------------- the kernels of this program


BUILT = ROOT / "vibee" / "_kernels" / "table.py"


@pytest.mark.skipif(not BUILT.exists(), reason="the kernels are not built (make kernels)")
def test_every_native_function_is_described_and_gets_sizes() -> None:
    from vibee.cli.bench import described
    from vibee.runtime.machine import load_kernels

    native = {n for n, f in vars(load_kernels()).items() if callable(f) and not n.startswith(("vb_", "__"))}
    table = described()
    assert {k.function for k in table.values()} == {n for n in native if f"{n}_map" not in native}
    for k in table.values():
        for run in k.runs or [{}]:
            case = choose(k, run, 4 << 20, 1e8)
            assert case is not None, k.name
            assert set(run) <= {*case.names, *case.ranges}, k.name


# ---------------------------------------------------------------- the command


def vibee(*words: str, **environment: str) -> subprocess.CompletedProcess:
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run([sys.executable, "-m", "vibee", *words], env=env, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("specs")
    (folder / "areas.vibee").write_text(SPEC)
    done = vibee("bench", "--quick", "--json", "--vs", "numpy", str(folder))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def test_every_definition_and_gradient_of_a_spec_has_a_row(measured: dict[str, Any]) -> None:
    names = {row["name"] for row in measured["kernels"]}
    assert names == {"square_sum", "square_sum_grad", "gather", "gather_grad", "gauss", "gauss_grad", "spread"}
    assert all(row["microseconds"] > 0 for row in measured["kernels"])


def test_what_is_not_measured_has_a_reason(measured: dict[str, Any]) -> None:
    reasons = {row["name"]: row["reason"] for row in measured["not_measured"]}
    assert "did not end" in reasons["endless"]
    assert "given x[n]" in reasons["nothing"]
    assert len(reasons) == 2


def test_what_sizes_do_not_tell_is_not_made_up(measured: dict[str, Any]) -> None:
    rows = {row["name"]: row for row in measured["kernels"]}
    assert rows["spread"]["gflops"] is None and rows["spread"]["share_of_roof"] is None
    row = rows["square_sum"]
    assert row["flops"] == 2 * row["sizes"]["N"] ** 2
    assert row["gflops"] == pytest.approx(row["flops"] / row["microseconds"] / 1e3)
    top = measured["roof"]
    least = max(row["flops"] / top["gflops"], row["bytes"] / top["gbytes"]) / 1e3
    assert row["share_of_roof"] == pytest.approx(least / row["microseconds"])
    assert row["numpy_microseconds"] is None  # numpy's expression for it is not known


def test_the_specs_of_a_folder_are_found_in_order(tmp_path: Path) -> None:
    for name in ("b.vibee", "a.vibee", "c.txt"):
        (tmp_path / name).write_text("")
    assert [Path(p).name for p in spec_files([str(tmp_path)])] == ["a.vibee", "b.vibee"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none.vibee"], "none.vibee"),
        ([str(ROOT / "docs")], "no .vibee file"),
        ([str(ROOT / "tests" / "wrong" / "rank.vibee")], "rank.vibee:4:12"),
        (["--vs", "scipy"], "not one of numpy, torch"),
    ],
)
def test_mistakes_are_one_line(words: list[str], message: str) -> None:
    done = vibee("bench", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1 and message in done.stderr


def test_without_a_compiler_a_spec_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "areas.vibee").write_text(SPEC)
    done = vibee("bench", str(tmp_path / "areas.vibee"), CC="no-such-compiler", XDG_CACHE_HOME=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["vibee: the C compiler 'no-such-compiler' that CC names was not found"]


def test_a_folder_without_specs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no"):
        spec_files([str(tmp_path)])
