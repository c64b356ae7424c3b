"""`stream(y)`: large results are written around the cache, line by line, and no value changes."""

import re

import numpy as np
import pytest

import vibee
from vibee.check import load, load_text
from vibee.check.modules import specs_root
from vibee.emit import emit_module
from vibee.emit.header import FAR
from vibee.lower import lower_with_report
from vibee.prove.replay import Machine
from vibee.runtime.machine import LEVELS, supported_levels
from vibee.tree.listing import definition

SPEC = """module("streamed", version=1)


def scaled(x: f32[N, D], a: f32) -> y[N, D]:
    y[n, d] = x[n, d] * a + 1.0
    with schedule(cpu): parallel(n); simd(d); stream(y)


def doubled(x: f64[N]) -> y(f64[N]):
    y[n] = x[n] * 2.0
    with schedule(cpu): tile(n=96); stream(y)


def shares(x: f32[N, D]) -> (y[N, D], s[N]):
    s[n] = sum[d](x[n, d])
    y[n, d] = x[n, d] / s[n]
    with schedule(cpu): parallel(n); simd(d); prefetch(x); stream(y, s)

"""
REFUSED = {
    "whole": "(x: i32[N, D]) -> y(i32[N, D]):\n    y[n, d] = x[n, d] + 1",
    "turned": "(x: f32[N, D]) -> y[D, N]:\n    y[d, n] = x[n, d] + 1.0",
    "transposed": "(x: f32[N, D]) -> y[D, N]:\n    y[d, n] = x[n, d]",
    "shared": "(x: f32[N]) -> y[N]:\n    y[n] = x[n] * 2.0",
    "short": "(x: f32[N, 8]) -> y[N, 8]:\n    y[n, d] = x[n, d] * 2.0",
    "again": "(x: f32[N, D]) -> (y[N, D], s[N]):\n    y[n, d] = x[n, d] * 2.0\n    s[n] = sum[d](y[n, d])",
    "product": "(a: f32[M, K], b: f32[K, N]) -> y[M, N]:\n    y[m, n] = sum[k](a[m, k] * b[k, n])",
    "unrolled": "(x: f32[N, D]) -> y[N, D]:\n    y[n, d] = x[n, d] * 2.0",
}
WORDS = {"turned": "simd(d); stream(y)", "unrolled": "unroll(d); stream(y)"}
NOTE = (
    "y is not streamed: that serves floats that a loop of one thread, which does nothing else, writes one after the "
    "other along memory, no sums of products, and nothing that the same loops read"
)
LEVELS_HERE = [isa for isa in LEVELS if isa in supported_levels()]


def lowered(name, isa="v3", text=SPEC):
    program = load_text(text)
    assert not program.errors
    procedure, report = lower_with_report(program, program.defs[name][0], isa)
    return procedure, [o.what for o in report if not getattr(o, "proved", False)]


@pytest.fixture(params=LEVELS_HERE)
def spec(request, tmp_path):
    """The spec, and its functions with every array so large that it is streamed."""
    path = tmp_path / "streamed.vibee"
    path.write_text(SPEC)
    library = vibee.load(path, isa=request.param)
    module = library._builds["scaled"].module

    def streamed(name, *given, **more):
        before = module.vb_around(0)
        try:
            return getattr(library, name)(*given, **more)
        finally:
            assert module.vb_around(before) == 0

    return library, streamed


SHAPES = [(0, 5), (3, 0), (1, 1), (5, 15), (5, 16), (7, 17), (4, 48), (33, 100), (64, 1024), (3, 5000)]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_no_value_changes(spec, n, d, threads):
    library, streamed = spec
    x = np.random.default_rng(1).standard_normal((n, d), dtype=np.float32)
    room = np.empty(n * d + 32, np.float32)
    line = -room.ctypes.data % 64 // 4
    for start in (line, line + 1, line + 8):  # where lines of memory begin elsewhere, rows are stored as always
        y, s = room[start : start + n * d].reshape(n, d), np.empty(n, np.float32)
        assert streamed("scaled", x, 3.0, out=y, threads=threads) is y
        assert np.array_equal(y, library.scaled(x, 3.0, threads=threads))
        streamed("shares", x, out=(y, s), threads=threads)
        want = library.shares(x, threads=threads)
        assert np.array_equal(y, want[0], equal_nan=True)
        assert np.array_equal(s, want[1])
    wide = x.ravel().astype("f8")
    assert np.array_equal(streamed("doubled", wide, threads=threads), wide * 2)


def test_what_specs_stream_is_streamed():
    program = load(f"{specs_root()}/foundation/tensor_ops.vibee")
    asked = [d for ds in program.defs.values() for d in ds if "stream" in getattr(d, "schedule", {})]
    assert {"softmax_f32", "rmsnorm_f64"} <= {d.key for d in asked}
    for d in asked:
        procedure, report = lower_with_report(program, d, "v4")
        assert "  # around the cache" in definition(procedure), d.key
        assert all("stream" not in o.what for o in report)


def test_a_large_array_has_the_rows_of_small_ones():
    spec = vibee.load(f"{specs_root()}/foundation/tensor_ops.vibee")
    columns = 1000  # of the rows, which do not all begin with a line of memory, some go around the cache
    x = np.random.default_rng(3).standard_normal((FAR // 4 // columns + 8, columns), dtype=np.float32)
    y = spec.softmax(x, threads=2)
    assert y.nbytes >= FAR
    for rows in (slice(0, 7), slice(4000, 4003), slice(-3, None)):
        assert np.array_equal(y[rows], spec.softmax(x[rows].copy()))


def test_lines_are_written_and_the_rest_is_not():
    text = definition(lowered("scaled")[0])
    (test,) = re.findall(r"if (far.*):", text)
    assert test == "far_y(n, 0)"
    assert re.findall(r"y\[n, .*\] = vload_line\((\d+)\)  # around the cache", text) == ["0", "8"]
    assert text.count("    y[n, d] = ") == 2  # what is left beside whole lines, and all where nothing is streamed


def test_lines_that_ask_for_what_is_ahead_are_vectors_on_both_sides():
    text = definition(lowered("shares")[0])
    lines = re.findall(r"y\[n, .*\] = vload_line(?:_\d)?\(\d+\)(.*)", text)
    assert lines == ["  # around the cache"] * 2 + [""] * 2
    assert len(re.findall("prefetch x", text)) == 2


def test_a_fence_ends_each_function_that_streams():
    text = emit_module([lowered("scaled")[0]])
    assert text.count("vb_fence()\n") == 1
    assert text.index("vb_stream_f32x8(&y") < text.index("    vb_fence()\n") < text.index("c_scaled(")
    assert "vb_fence" not in emit_module([lowered("whole", text=refused("whole"))[0]])


def test_a_fence_stands_before_a_loop_of_threads_that_may_read_what_was_streamed():
    text = """def sums(x: f32[K, N, D]) -> (y[N, D], s[K]):
    y[n, d] = sum[k](x[k, n, d])
    s[k] = sum[n, d](y[n, d] * x[k, n, d])
    with schedule(cpu): parallel(k); simd(d); stream(y)
"""
    body = emit_module([lowered("sums", text=text)[0]]).split("cdef void c_sums(")[1].split("\ncdef ")[0]
    found = re.findall(r"vb_stream|vb_fence|prange", body)
    assert " ".join(found).startswith("vb_stream")
    assert " ".join(found).count("vb_fence prange") == found.count("prange") > 0
    assert found[-1] == "vb_fence"


def refused(name):
    return f"def {name}{REFUSED[name]}\n    with schedule(cpu): {WORDS.get(name, 'stream(y)')}\n"


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_streamed_is_noted(name):
    p, notes = lowered(name, text=refused(name))
    assert notes == [NOTE]
    assert "far" not in definition(p)


def test_a_transpose_that_is_not_streamed_is_turned_in_registers():
    assert re.search(r"for r in range\(0, 8\)", definition(lowered("transposed", text=refused("transposed"))[0]))


@pytest.mark.parametrize("isa", ["v2", "v3", "v4"])
def test_both_sides_are_replayed(isa):
    program = load_text(SPEC)
    p, _ = lowered("scaled", isa)
    x = np.arange(3 * 37, dtype=np.float32)
    done = Machine(program.by_key).run(p, {"N": 3, "D": 37}, {"x": x.tolist(), "a": 2.0})
    assert done.fault is None
    assert np.array_equal(np.array(done.array("y"), np.float32), x * 2 + 1)
