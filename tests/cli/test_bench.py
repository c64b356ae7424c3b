"""`vibee bench`: sizes and values by rule, kernels in processes of their own, specs compiled on the spot."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest

from vibee.__main__ import guarded
from vibee.build.describe import describe
from vibee.check import load_text
from vibee.cli import bench_specs
from vibee.cli.bench import described
from vibee.cli.bench_specs import spec_files
from vibee.cli.cases import FILLS, Case, Kernel, choose, fill
from vibee.cli.measure import Bench, isolated, row
from vibee.cli.peers import PEERS, check_peers, peer_call
from vibee.runtime import model
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


def describe_text(text: str) -> dict[str, dict[str, Any]]:
    program = load_text(text, "areas.vibee")
    program.raise_errors()
    found = [versions[0] for versions in program.defs.values()]
    return describe(found, program.by_key)


def kernels_of(text: str) -> dict[str, Kernel]:
    return {x["name"]: Kernel(**x) for x in describe_text(text).values()}


def chosen(name: str, run: dict[str, Any] | None = None, most: int = 1 << 20) -> Case:
    case = choose(kernels_of(SPEC)[name], run or {}, most, 1e9)
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


def test_arrays_without_elements_are_not_measured() -> None:
    text = "def f(x: f32[N]) -> y[N // 4]:\n    y[i] = x[4 * i]\n"
    case = choose(kernels_of(text)["f"], {}, 8, 1e9)
    assert case is not None and case.names["N"] == 4


def test_the_search_for_sizes_ends() -> None:
    text = "def f(x: f32[A, B, C, D]) -> y:\n    given(A + B + C + D == 3)\n    y = sum[a, b, c, d](x[a, b, c, d])\n"
    assert choose(kernels_of(text)["f"], {}, 1 << 20, 1e9, largest=1) is None


def test_sizes_that_cannot_be_found_are_none() -> None:
    never = 'module("n", version=1)\n\ndef f(x: real[N]) -> y[N]:\n    given(N * N == 3)\n    y[i] = x[i]\n'
    assert choose(kernels_of(never)["f"], {}, 1 << 20, 1e9) is None


def test_multiples_that_a_condition_asks_for_are_found() -> None:
    text = 'module("n", version=1)\n\ndef f(x: real[N]) -> y[N]:\n    given(N % 7 == 0, N >= 7)\n    y[i] = x[i]\n'
    case = choose(kernels_of(text)["f"], {}, 1 << 16, 1e9)
    assert case is not None and case.names["N"] % 7 == 0


@pytest.mark.parametrize("order", ["scattered", "rising", "least"])
def test_values_of_indices_stay_in_their_range(order: str) -> None:
    case = chosen("gather")
    values = fill(case, order)["t"].tolist()
    assert 0 <= min(values) and max(values) < case.names["V"]


CONDITIONS = [
    ("x: f64", "y", "x >= 2.0, x < 3.0", lambda v: 2 <= min(v["x"]) and max(v["x"]) < 3),
    ("x: f64[N], z: f64[N]", "y[N]", "x[n] + z[n] <= 1.0, x[n] + z[n] > 0.5",
     lambda v: all(0.5 < a + b <= 1 for a, b in zip(v["x"], v["z"], strict=True))),
    ("x: i32[N], z: i32[N], M: size", "y(i32[N])", "0 <= x[n], 0 <= z[n], x[n] + z[n] + 1 < M, M >= 9",
     lambda v: all(0 <= a + b < v["M"] - 1 for a, b in zip(v["x"], v["z"], strict=True))),
    ("x: i32[N], M: size, K: size", "y(i32[N])", "K <= x[n], x[n] - K < M, x[n] - x[n] == 0, M >= 1",
     lambda v: all(v["K"] <= a < v["M"] + v["K"] for a in v["x"])),
    ("x: f64[N], z: f64[M]", "y[N]", "N == M, N == 3 or N == 5", lambda v: v["N"] == v["M"] in (3, 5)),
    ("x: f64[N], K: i64, p: bool", "y[N]", "K > N // 2, K < N, p", lambda v: v["N"] // 2 < v["K"] < v["N"] and v["p"]),
    ("x: f64[N], K: f64", "y[N]", "f64(N) / K > 3.5, K < 0.3", lambda v: v["N"] / v["K"] > 3.5 and v["K"] < 0.3),
    ("x: f64[N]", "y[N]", "2 > 1, N > 1", lambda v: v["N"] > 1),
    ("x: u8[N]", "y(u8[N])", "N >= 2000", lambda v: bytes(v["x"]).isascii() and b" the " in bytes(v["x"])),
]  # fmt: skip


@pytest.mark.parametrize(("params", "out", "given", "holds"), CONDITIONS, ids=[c[2] for c in CONDITIONS])
def test_sizes_numbers_and_values_satisfy_what_is_given(params: str, out: str, given: str, holds: Any) -> None:
    i = "[n]" if "[N]" in out else ""
    text = f"def f({params}) -> {out}:\n    given({given})\n    y{i} = x{i}\n"
    case = choose(kernels_of(text)["f"], {}, 1 << 16, 1e9)
    assert case is not None
    tried = [{name: x.tolist() for name, x in fill(case, order).items()} for order in FILLS]
    assert any(holds({**case.names, **values}) for values in tried)


def test_a_condition_that_cannot_be_computed_does_not_hold() -> None:
    text = "def f(x: f64[N], K: i64) -> y[N]:\n    given(N % K == 0, K < 1)\n    y[n] = x[n]\n"
    case = choose(kernels_of(text)["f"], {}, 1 << 16, 1e9)
    assert case is not None and case.names["K"] < 0  # not 0, by which nothing is divided


def test_a_definition_of_numbers_is_measured_over_an_array() -> None:
    case = chosen("gauss")
    assert case.kernel.function == "gauss_f32_map"
    assert case.flops is not None and case.flops >= 10 * case.names["n"]
    assert case.bytes == 8 * case.names["n"]


# ---------------------------------------------------------------- processes

LONG = 120  # seconds: where lines are counted, a process that ends writes down all that its parent ever ran


def test_a_job_answers_from_its_own_process() -> None:
    assert isolated(lambda: {"pid": os.getpid()}, LONG)["pid"] != os.getpid()


def test_a_job_that_never_ends_is_ended() -> None:
    begin = time.monotonic()
    assert "did not end" in isolated(lambda: time.sleep(60) or {}, 0.2)["reason"]
    assert time.monotonic() - begin < 30


def test_a_job_that_crashes_is_told() -> None:
    def crash() -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGTERM)
        return {}

    assert "signal 15" in isolated(crash, LONG)["reason"]


def test_an_error_of_a_job_is_one_line() -> None:
    def fail() -> dict[str, Any]:
        raise ValueError("two\nlines")

    assert isolated(fail, LONG)["reason"] == "two lines"


def test_a_job_without_memory_is_tried_with_smaller_sizes() -> None:
    def fail() -> dict[str, Any]:
        raise MemoryError

    found = isolated(fail, LONG)
    assert "out of memory" in found["reason"] and found["smaller"] > 0


# ---------------------------------------------------------------- the kernels of this program


BUILT = ROOT / "vibee" / "_kernels" / "table.py"


@pytest.mark.skipif(not BUILT.exists(), reason="the kernels are not built (make kernels)")
def test_every_native_function_is_described_and_gets_sizes() -> None:
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


# ---------------------------------------------------------------- gradients, models, and jobs that fail

DERIVED = """
def by_rows(row: i64[M], column: i32[E], x: f64[C]) -> y[M - 1]:
    given(0 <= row[i] <= E, 0 <= column[e] < C)
    y[i:M - 1] = sum[e:row[i]:row[i + 1]](x[column[e]])

def summed(x: f32[N, C], w: f32[C]) -> y[N]:
    y[n] = sum[c](x[n, c] * w[c])

@model
def plain(x: f32[N, C]) -> y[N]:
    w: f32[C] = 1.0
    y = summed(x, w)
"""


def test_what_is_measured_of_a_spec_is_all_that_follows_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []
    monkeypatch.setattr("vibee.build.build", lambda text, stem, isa: built.append(text) or (Path("a.so"), stem))
    monkeypatch.setattr("vibee.build.load_extension", lambda path, name: types.ModuleType(name))
    program = load_text(DERIVED, "derived.vibee")
    program.raise_errors()
    module, table = bench_specs.compiled(program)
    assert module.__name__ == "bench_derived"
    assert set(table) == {"by_rows", "summed", "summed_grad", "plain_sizes", "plain_init", "plain_forward"}
    assert all(f"def {name}(" in built[0] for name in table)


def test_a_kernel_without_sizes_has_a_row_that_says_so() -> None:
    never = 'module("n", version=1)\n\ndef f(x: real[N]) -> y[N]:\n    given(N * N == 3)\n    y[i] = x[i]\n'
    found = row(kernels_of(never)["f"], {}, Bench(types.ModuleType("none"), {}, 1, True))
    assert found == {"name": "f", "sizes": {}, "reason": "no sizes of the general rule satisfy its conditions"}


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time enough for a kernel on a machine that has much else to do."""
    monkeypatch.setattr(Bench, "patience", 60.0)


@pytest.mark.usefixtures("patient")
def test_a_kernel_that_takes_too_much_gets_smaller_sizes() -> None:
    module = types.ModuleType("native")

    def gather_f32(w: memoryview, t: memoryview, y: memoryview, threads: int) -> None:
        if w.nbytes > 1 << 14:
            raise MemoryError("no memory for 1 bytes")

    module.gather_f32 = gather_f32  # type: ignore[attr-defined]
    kernel = kernels_of(SPEC)["gather"]
    bench = Bench(module, {}, 1, True, top={"gflops": 1.0, "gbytes": 1.0})
    found = row(kernel, {}, bench)
    assert "reason" not in found, found
    assert found["microseconds"] > 0 and 4 * found["sizes"]["V"] * found["sizes"]["C"] <= 1 << 14


# ---------------------------------------------------------------- peers


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A stand-in for torch, on numpy's arrays."""
    np = pytest.importorskip("numpy")
    module = types.ModuleType("torch")

    class Tensor:
        def __init__(self, x: Any) -> None:
            self.x = x

        def split(self, sizes: tuple[int, ...], dim: int) -> list[Tensor]:
            return [Tensor(part) for part in np.split(self.x, np.cumsum(sizes)[:-1], axis=dim)]

        def transpose(self, a: int, b: int) -> Tensor:
            return Tensor(np.swapaxes(self.x, a, b))

    def attention(q: Tensor, k: Tensor, v: Tensor, is_causal: bool, enable_gqa: bool) -> Any:
        assert is_causal and enable_gqa == (q.x.shape[1] != k.x.shape[1])
        keys, values = (np.repeat(part.x, q.x.shape[1] // part.x.shape[1], axis=1) for part in (k, v))
        scores = q.x @ keys.swapaxes(2, 3) / np.sqrt(q.x.shape[-1])
        scores = np.where(np.tril(np.ones(scores.shape[-2:], bool)), scores, -np.inf)
        e = np.exp(scores - scores.max(axis=-1, keepdims=True))
        return (e / e.sum(axis=-1, keepdims=True) @ values).swapaxes(1, 2)

    module.from_numpy = Tensor  # type: ignore[attr-defined]
    module.no_grad = contextlib.nullcontext  # type: ignore[attr-defined]
    module.threads = []  # type: ignore[attr-defined]
    module.set_num_threads = module.threads.append  # type: ignore[attr-defined]
    functions = types.SimpleNamespace(scaled_dot_product_attention=attention)
    module.nn = types.SimpleNamespace(functional=functions)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", module)
    return module


@pytest.mark.skipif(not BUILT.exists(), reason="the kernels are not built (make kernels)")
@pytest.mark.parametrize("name", [*(n for n, found in PEERS.items() if "numpy" in found), "attention.flash"])
def test_what_a_peer_is_measured_on_is_the_same_work(name: str, torch: types.ModuleType) -> None:
    np = pytest.importorskip("numpy")
    from vibee.runtime.machine import load_kernels

    kernel = next(k for k in described().values() if f"{k.module}.{k.name}" == name and not k.wide)
    case = choose(kernel, {}, 1 << 15, 1e6)
    assert case is not None
    arrays = fill(case, "scattered")
    numbers = {n: case.names[n] for n, _, _ in kernel.numbers}
    getattr(load_kernels(), kernel.function)(*arrays.values(), *numbers.values(), 1)
    place = next(a[0] for a in kernel.arrays if a[0] in ("y", "c")) if name != "tensor_ops.embedding" else "x"
    want = np.array(arrays[place])
    np.asarray(arrays[place])[...] = 0
    peer = "torch" if name == "attention.flash" else "numpy"
    call = peer_call(peer, name, arrays, numbers, 3)
    assert call is not None
    found = call()
    np.testing.assert_allclose(np.asarray(arrays[place]) if found is None else found, want, rtol=1e-4, atol=1e-5)
    assert torch.threads == ([3] if peer == "torch" else [])


def test_work_that_a_peer_has_not_is_not_measured() -> None:
    assert peer_call("numpy", "tensor_ops.cross_entropy", {}, {}, 1) is None
    assert peer_call("numpy", "areas.gauss", {}, {}, 1) is None


@pytest.mark.parametrize(("frozen", "where"), [(False, "install it in"), (True, "the executable has no Python")])
def test_a_peer_that_is_not_here_is_told(frozen: bool, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", frozen, raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match=f"--vs torch: torch is not here; {where}"):
        check_peers(["numpy", "torch"])


# ---------------------------------------------------------------- this program


@pytest.fixture
def program(kernels: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Stand-ins: kernels that take no time, one of which is described, and a clock that goes by itself."""
    text = "def softmax(x: f32[N, D]) -> y[N, D]:\n    y[n, d] = exp(x[n, d])\n"
    (found,) = describe_text(text).values()
    for name in ("peak_48_f32", "peak_96_f32", "peak_256_f32", "triad_f32", "softmax"):
        setattr(kernels, name, lambda *_, **__: None)
    monkeypatch.setitem(sys.modules, "vibee._kernels.table", types.SimpleNamespace(TABLE={"softmax": found}))
    clock = itertools.count()
    monkeypatch.setattr("vibee.cli.bench.time", types.SimpleNamespace(perf_counter=lambda: next(clock) / 10))
    monkeypatch.setattr("vibee.cli.bench.subprocess", types.SimpleNamespace(run=cold, DEVNULL=subprocess.DEVNULL))
    return kernels


def cold(command: list[str], check: bool, stdout: int, env: dict[str, str]) -> None:
    """A start of `vibee infer`: the model that it is given is whole."""
    assert command[:7] == [sys.executable, "-m", "vibee", "infer", "--prompt", "a", "-n"] and check
    assert env["PYINSTALLER_RESET_ENVIRONMENT"] == "1"
    found = model.load(command[command.index("--model") + 1])
    assert (found.shape.L, found.shape.C, found.shape.S) == (4, 128, 64) and len(found.vocabulary) == found.shape.V


@pytest.mark.usefixtures("patient")
def test_the_program_itself_is_measured_as_a_whole(
    program: types.ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    assert guarded(["bench", "--quick", "--json", "-t", "1"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["not_measured"] == []
    assert [r["name"] for r in found["kernels"]] == ["softmax"]
    assert found["training"]["step_milliseconds"] > 0 and found["generation"]["tokens_per_second"] > 0
    assert found["cold_start"] == {"milliseconds": pytest.approx(100.0)}
    assert guarded(["bench", "--quick", "-t", "1"]) == 0
    table = capfd.readouterr().out.splitlines()
    assert table[-1] == "cold start (infer, one token): 100.0 ms"
    assert [line.partition(":")[0] for line in table[-3:-1]] == [
        "training (nanoGPT's CPU recipe)", "generation (the same model)",
    ]  # fmt: skip
    assert any(line.startswith("softmax ") for line in table)


def test_without_limits_of_the_machine_there_is_nothing_to_compare_with(
    program: types.ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: object) -> None:
        raise ValueError("no such thing")

    program.triad_f32 = fail
    assert guarded(["bench", "--quick", "-t", "1"]) == 2
    assert "vibee: the machine's own limits could not be measured: no such thing" in capfd.readouterr().err


@pytest.mark.parametrize("table", [None, types.SimpleNamespace(TABLE={"f": {"old": 1}})])
def test_kernels_that_are_not_described_are_to_be_made(table: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vibee._kernels.table", table)
    with pytest.raises(UserError, match=r"the kernels are not described, .* run `make kernels`"):
        described()


def test_without_cython_specs_cannot_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "Cython", None)
    with pytest.raises(UserError, match="bench of a spec needs Cython and a C compiler"):
        bench_specs.programs(["a.vibee"])
