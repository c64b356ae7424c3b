"""What this machine has: processors, memory, and the instruction set the kernels may use."""

from __future__ import annotations

import os

from vibee.runtime.errors import OutOfMemoryForeseen, UserError

TYPE_CHECKING = False
if TYPE_CHECKING:  # the typing module is not worth its start time
    from collections.abc import Callable
    from types import ModuleType

LEVELS = ("v2", "v3", "v4")  # of x86-64, weakest first

# What Linux calls the features of each level in /proc/cpuinfo; a level includes those before it.
_FEATURES = {
    "v2": "cx16 lahf_lm popcnt pni ssse3 sse4_1 sse4_2",
    "v3": "avx avx2 bmi1 bmi2 f16c fma abm movbe xsave",
    "v4": "avx512f avx512bw avx512cd avx512dq avx512vl",
}
_UNLIMITED = 1 << 60  # cgroup v1 says "no limit" with a number near 2^63


def _text(path: str, size: int = 1 << 16) -> str:
    """The first bytes of a small file of the kernel's; empty if there is none."""
    try:
        fd = os.open(path, os.O_RDONLY)
        try:
            return os.read(fd, size).decode("latin-1")
        finally:
            os.close(fd)
    except OSError:
        return ""


def _first_processor(name: str, cpuinfo: str | None) -> str:
    """What the kernel says of the first processor under a name; empty if it says nothing."""
    # One short read: the file has a section per processor, and the kernel writes only what is asked for.
    text = _text("/proc/cpuinfo", 16384) if cpuinfo is None else cpuinfo
    for line in text.split("\n"):
        if line.startswith(name):
            return line.partition(":")[2].strip()
    return ""


def processor_flags(cpuinfo: str | None = None) -> set[str]:
    """The features of the first processor."""
    return set(_first_processor("flags", cpuinfo).split())


def processor_name(cpuinfo: str | None = None) -> str:
    """What the processor calls itself."""
    return _first_processor("model name", cpuinfo) or "unknown processor"


def supported_levels(flags: set[str] | None = None) -> list[str]:
    """The levels that this processor has, weakest first."""
    have = processor_flags() if flags is None else flags
    levels = []
    for level in LEVELS:
        if not have.issuperset(_FEATURES[level].split()):
            break
        levels.append(level)
    return levels


def isa_level(environ: dict[str, str] | None = None, flags: set[str] | None = None) -> str:
    """The level to use: the best that the processor has, or the one that VIBEE_ISA asks for."""
    levels = supported_levels(flags)
    asked = (os.environ if environ is None else environ).get("VIBEE_ISA", "")
    if asked:
        if asked not in LEVELS:
            raise UserError(f"VIBEE_ISA={asked[:20]!r} is not a level; use one of {', '.join(LEVELS)}")
        if asked not in levels:
            best = f"its best level is {levels[-1]}" if levels else "it has none of the levels"
            raise UserError(f"VIBEE_ISA={asked}: this processor does not have x86-64-{asked}; {best}")
        return asked
    if not levels:
        raise UserError("this processor is older than x86-64-v2 (no SSE4.2); vibee has no kernels for it")
    return levels[-1]


def load_kernels(package: str = "vibee._kernels") -> ModuleType:
    """The generated kernels for this processor: the best level that was built and can run."""
    best = isa_level()
    forced = bool(os.environ.get("VIBEE_ISA"))
    for level in reversed(LEVELS[: LEVELS.index(best) + 1]):
        name = f"{package}.{level}"
        try:
            return __import__(name, fromlist=["*"])
        except ModuleNotFoundError as e:
            if e.name not in (name, package):
                raise
            if forced or e.name == package:
                break
    raise UserError(f"the kernels for x86-64-{best} are not built; run: python -m vibee.build.kernels")


def _cgroup_folders(controller: str, proc: str) -> list[str]:
    """Where the limits of this process may stand: its own control group and the ones above, v2 and v1."""
    folders: list[str] = []
    for line in _text(f"{proc}/self/cgroup").split("\n"):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not path:
            continue
        if controllers == "":
            root = "/sys/fs/cgroup"
            # A mixed machine mounts v2 beside the v1 controllers.
            roots = [root, root + "/unified"]
        elif controller in controllers.split(","):
            roots = [f"/sys/fs/cgroup/{controllers}", f"/sys/fs/cgroup/{controller}"]
        else:
            continue
        while True:
            folders.extend(root + path.rstrip("/") for root in roots)
            if path in ("/", ""):
                break
            path = path.rpartition("/")[0] or "/"
    return list(dict.fromkeys(folders))


def _number(text: str) -> int | None:
    word = text.strip()
    return int(word) if word.isascii() and word.isdigit() else None


def available_memory(proc: str = "/proc", read: Callable[[str], str] = _text) -> int:
    """Bytes that a new program may use without swapping or being killed."""
    available = _UNLIMITED
    for line in read(f"{proc}/meminfo").split("\n"):
        if line.startswith("MemAvailable:"):
            available = int(line.split()[1]) * 1024
    for folder in _cgroup_folders("memory", proc):
        for limit_name, used_name in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            limit = _number(read(f"{folder}/{limit_name}"))
            used = _number(read(f"{folder}/{used_name}"))
            if limit is None or used is None or limit >= _UNLIMITED:
                continue
            # The page cache counts as used, but is given back when memory is needed.
            cache = 0
            for line in read(f"{folder}/memory.stat").split("\n"):
                key, _, value = line.partition(" ")
                if key in ("inactive_file", "total_inactive_file"):
                    cache = max(cache, _number(value) or 0)
            available = min(available, max(0, limit - used + cache))
    address_space = _address_space_left()
    return min(available, address_space)


def _address_space_left() -> int:
    """What `ulimit -v` leaves; a huge number without a limit."""
    for line in _text("/proc/self/limits").split("\n"):
        if line.startswith("Max address space"):
            limit = _number(line.split()[3])
            used = _number(_text("/proc/self/statm").partition(" ")[0])
            if limit is not None and used is not None:
                return max(0, limit - used * os.sysconf("SC_PAGE_SIZE"))
    return _UNLIMITED


def available_processors(read: Callable[[str], str] = _text) -> int:
    """Processors that this process may really use: its affinity, cut by the control group's quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for folder in _cgroup_folders("cpu", "/proc"):
        quota, period = _number(read(f"{folder}/cpu.cfs_quota_us")), _number(read(f"{folder}/cpu.cfs_period_us"))
        words = read(f"{folder}/cpu.max").split()
        if len(words) == 2:
            quota, period = _number(words[0]), _number(words[1])
        if quota and period:
            # Rounded up: half a processor still is one thread.
            count = min(count, max(1, -(-quota // period)))
    return max(1, count)


def human_size(count: float) -> str:
    """A number of bytes as people say it: 3.2 MB."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if abs(count) < 999.5:
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 99.5 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def require_memory(needed: int, doing: str, advice: str, available: int | None = None) -> None:
    """An error, before any work is done, if this machine cannot hold what is needed."""
    have = available_memory() if available is None else available
    if needed > have:
        raise OutOfMemoryForeseen(
            f"{doing} needs {human_size(needed)} of memory and {human_size(have)} are free; {advice}"
        )
