"""The start of the executable, `dist/vibee infer --prompt a -n 1`, as its user waits for it; and where the time goes.

The phases are seen from outside, by the folder that it unpacks itself into and by what it writes:

| phase | ends when |
| --- | --- |
| boot loader | it makes its folder |
| unpacking | the last library is written there |
| Python and imports | the kernels are written there |
| kernels and model | the prompt is shown: the model is read |
| the token | it is shown |
| clearing up | the process has ended |
"""

from __future__ import annotations

import ctypes
import os
import select
import statistics
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from .cold_start import make_model
from .side import ROOT, Case, Goal, Result, Side, fixed

LIMIT = 60.0
PHASES = ("boot loader", "unpacking", "Python and imports", "kernels and model", "the token", "clearing up")
IN_CLOSE_WRITE, IN_CREATE = 0x8, 0x100


class Watch:
    """What happens in a folder, and in those that are made in it (inotify)."""

    def __init__(self, folder: str) -> None:
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.fd = self.libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self.root = self._add(folder)
        self.folder = folder

    def _add(self, path: str) -> int:
        return int(self.libc.inotify_add_watch(self.fd, os.fsencode(path), IN_CREATE | IN_CLOSE_WRITE))

    def read(self) -> list[tuple[str, bool]]:
        """(name, a folder was made) of what happened: folders made, files written."""
        try:
            data = os.read(self.fd, 1 << 16)
        except BlockingIOError:
            return []
        found, at = [], 0
        while at < len(data):
            watch, mask, _, length = struct.unpack_from("iIII", data, at)
            name = data[at + 16 : at + 16 + length].rstrip(b"\0").decode()
            at += 16 + length
            if watch == self.root and mask & IN_CREATE:
                self._add(os.path.join(self.folder, name))
                found.append((name, True))
            elif mask & IN_CLOSE_WRITE:
                found.append((name, False))
        return found

    def close(self) -> None:
        """End it."""
        os.close(self.fd)


def one(command: list[str], folder: str) -> list[float]:
    """The times, in milliseconds from the start, at which the phases of one run end."""
    watch = Watch(folder)
    begin = time.perf_counter()
    process = subprocess.Popen(command, env={"TMPDIR": folder}, cwd="/", stdout=subprocess.PIPE)
    assert process.stdout is not None
    out = process.stdout.fileno()
    made = unpacked = kernels = begin
    shown: list[float] = []
    done = False
    while not done:
        ready, _, _ = select.select([watch.fd, out], [], [])
        now = time.perf_counter()
        for name, folder_made in watch.read() if watch.fd in ready else []:
            if folder_made:
                made = unpacked = now
            elif "._kernels." in name:
                kernels = now
            elif not name.endswith(".so"):  # a module that Python imports is unpacked under such a name
                unpacked = now
        if out in ready:
            data = os.read(out, 4096)
            done = not data
            if data:
                shown.append(now)
    process.wait()
    end = time.perf_counter()
    watch.close()
    return [(t - begin) * 1e3 for t in (made, unpacked, kernels, shown[0], shown[-1], end)]


def run(side: Side) -> list[Result]:
    """The whole, without anybody watching; then the phases."""
    vibee = ROOT / "dist" / "vibee"
    results = [Result("vibee"), fixed("limit", LIMIT)]
    if not vibee.exists():
        results[0].reason = "dist/vibee is not built (make dist)"
        return results
    count = 5 if side.quick else 30
    with tempfile.TemporaryDirectory() as temp:
        model, scratch = Path(temp) / "model", Path(temp) / "scratch"
        scratch.mkdir()
        make_model(vibee, model)
        command = [str(vibee), "infer", "--prompt", "a", "-n", "1", "--model", str(model)]
        whole, phases = [], []
        for _ in range(count + 2):
            begin = time.perf_counter()
            subprocess.run(command, check=True, env={}, cwd="/", stdout=subprocess.DEVNULL)
            whole.append((time.perf_counter() - begin) * 1e3)
            phases.append(one(command, str(scratch)))
    del whole[:2], phases[:2]  # the first runs bring the file into the page cache
    results[0] = Result("vibee", statistics.median(whole), min(whole), len(whole), 1)
    results[0].note = f"{vibee.stat().st_size:,} bytes"
    for i, name in enumerate(PHASES):
        times = [p[i] - (p[i - 1] if i else 0.0) for p in phases]
        results.append(Result(f"- {name}", statistics.median(times), min(times), len(times), 1))
    return results


def cases(quick: bool) -> Iterator[Case]:
    """The table's part."""
    yield Case("infer --prompt a -n 1, 0.8M weights", [Goal("vibee", "limit", 1.0)], run)
