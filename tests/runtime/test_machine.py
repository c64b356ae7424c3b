"""What the machine has, from the kernel's own files."""

import os
import sys
import types

import pytest

from vibee.runtime import machine
from vibee.runtime.errors import OutOfMemoryForeseen, UserError

V2 = {"fpu", "cx16", "lahf_lm", "popcnt", "pni", "ssse3", "sse4_1", "sse4_2"}
V3 = V2 | {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"}
V4 = V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}


def test_levels():
    assert machine.supported_levels({"fpu"}) == []
    assert machine.supported_levels(V2) == ["v2"]
    assert machine.supported_levels(V3) == ["v2", "v3"]
    assert machine.supported_levels(V3 - {"bmi2"}) == ["v2"]
    assert machine.supported_levels(V4) == ["v2", "v3", "v4"]
    assert machine.supported_levels(V4 - {"sse4_1"}) == []
    assert machine.processor_flags("model\t: 1\nflags\t\t: a b\nflags\t: c") == {"a", "b"}
    assert machine.processor_flags("nothing") == set()
    assert machine.processor_name("processor: 0\nmodel name\t: Some CPU @ 2 GHz\nmodel name: b") == "Some CPU @ 2 GHz"
    assert machine.processor_name("nothing") == "unknown processor"


def test_forced_levels():
    assert machine.isa_level({}, V4) == "v4"
    assert machine.isa_level({"VIBEE_ISA": ""}, V3) == "v3"
    assert machine.isa_level({"VIBEE_ISA": "v2"}, V4) == "v2"
    with pytest.raises(UserError, match="does not have x86-64-v4; its best level is v3"):
        machine.isa_level({"VIBEE_ISA": "v4"}, V3)
    with pytest.raises(UserError, match="not a level; use one of v2, v3, v4"):
        machine.isa_level({"VIBEE_ISA": "avx"}, V3)
    with pytest.raises(UserError, match="older than"):
        machine.isa_level({}, set())


def test_the_best_module_that_exists(monkeypatch):
    monkeypatch.setitem(sys.modules, "some_kernels", types.ModuleType("some_kernels"))
    sys.modules["some_kernels"].__path__ = []
    low, high = types.ModuleType("some_kernels.v2"), types.ModuleType("some_kernels.v3")
    monkeypatch.setitem(sys.modules, "some_kernels.v2", low)
    monkeypatch.setattr(machine, "processor_flags", lambda: V4)
    monkeypatch.delenv("VIBEE_ISA", raising=False)
    assert machine.load_kernels("some_kernels") is low
    monkeypatch.setitem(sys.modules, "some_kernels.v3", high)
    assert machine.load_kernels("some_kernels") is high
    monkeypatch.setenv("VIBEE_ISA", "v2")
    assert machine.load_kernels("some_kernels") is low
    monkeypatch.setenv("VIBEE_ISA", "v4")
    with pytest.raises(UserError, match="v4 are not built"):
        machine.load_kernels("some_kernels")
    with pytest.raises(UserError, match="not built"):
        machine.load_kernels("no_such_package")


def test_a_module_that_lacks_something_is_not_taken_for_one_that_was_not_built(tmp_path, monkeypatch):
    package = tmp_path / "lacking_kernels"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(machine, "processor_flags", lambda: V4)
    monkeypatch.delenv("VIBEE_ISA", raising=False)
    with pytest.raises(UserError, match="kernels for x86-64-v4 are not built"):
        machine.load_kernels("lacking_kernels")
    (package / "v3.py").write_text("import vibee_no_such_module\n")
    with pytest.raises(ModuleNotFoundError, match="vibee_no_such_module"):
        machine.load_kernels("lacking_kernels")


def test_memory_limits_of_groups(monkeypatch):
    files = {
        "/proc/self/cgroup": "4:memory:/box/me\n1:cpu,cpuacct:/box\n0::/v2\n",
        "/proc/meminfo": "MemTotal: 100 kB\nMemAvailable:  8000000 kB\n",
    }

    def read(path, size=0):
        return files.get(path, "")

    monkeypatch.setattr(machine, "_text", read)
    assert machine.available_memory(read=read) == 8_192_000_000
    files["/sys/fs/cgroup/memory/box/memory.limit_in_bytes"] = "5000000000\n"
    files["/sys/fs/cgroup/memory/box/memory.usage_in_bytes"] = "3000000000\n"
    files["/sys/fs/cgroup/memory/box/memory.stat"] = "cache 1\ntotal_inactive_file 1000000000\n"
    assert machine.available_memory(read=read) == 3_000_000_000
    files["/sys/fs/cgroup/unified/v2/memory.max"] = "max\n"
    files["/sys/fs/cgroup/unified/v2/memory.current"] = "1\n"
    assert machine.available_memory(read=read) == 3_000_000_000
    files["/sys/fs/cgroup/v2/memory.max"] = "200\n"
    files["/sys/fs/cgroup/v2/memory.current"] = "300\n"
    assert machine.available_memory(read=read) == 0


def test_the_limit_of_the_address_space_counts(monkeypatch):
    limits = "Limit  Soft Limit  Hard Limit  Units\nMax address space  {}  unlimited  bytes\n"
    files = {"/proc/meminfo": "MemAvailable: 8000000 kB\n", "/proc/self/statm": "100 50 1 1 0 1 0\n"}
    monkeypatch.setattr(machine, "_text", lambda path, size=0: files.get(path, ""))
    used = 100 * os.sysconf("SC_PAGE_SIZE")
    for limit, left in (("unlimited", 8_192_000_000), (str(used + 5), 5), ("7", 0)):
        files["/proc/self/limits"] = limits.format(limit)
        assert machine.available_memory(read=machine._text) == left


def test_a_file_of_the_kernel_that_cannot_be_read_says_nothing():
    assert machine._text("/proc/self/mem") == ""  # it can be opened, but has no first byte
    assert machine._text("/proc/none") == ""


def test_processor_quota(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    files = {"/proc/self/cgroup": "0::/a\n"}

    def read(path, size=0):
        return files.get(path, "")

    monkeypatch.setattr(machine, "_text", read)
    assert machine.available_processors(read) == 8
    files["/sys/fs/cgroup/a/cpu.max"] = "250000 100000\n"
    assert machine.available_processors(read) == 3
    files["/sys/fs/cgroup/a/cpu.max"] = "max 100000\n"
    assert machine.available_processors(read) == 8
    files["/sys/fs/cgroup/cpu.max"] = "50000 100000\n"
    assert machine.available_processors(read) == 1


def test_this_machine():
    assert 1 <= machine.available_processors() <= (os.cpu_count() or 1)
    assert machine.available_memory() > 1 << 20


def test_memory_is_foreseen():
    machine.require_memory(100, "training", "use less", available=100)
    with pytest.raises(OutOfMemoryForeseen) as e:
        machine.require_memory(5_300_000_000, "training this model", "use a smaller --batch", available=2_000_000_000)
    assert str(e.value) == "training this model needs 5.3 GB of memory and 2.0 GB are free; use a smaller --batch"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (3.2e6, "3.2 MB"), (250e6, "250 MB"), (1e12, "1.0 TB"), (1500, "1.5 KB")],
)
def test_human_size(count, text):
    assert machine.human_size(count) == text
