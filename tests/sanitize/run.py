"""Call every kernel of specs with drawn arguments, built with the compiler's sanitizers.

    python tests/sanitize/run.py [FILE.vibee ...] [--tool memory|races] [--count N] [--seed 0]

memory: arguments good and bad, under the address and undefined-behaviour sanitizers.  Each call must end in a result,
or in an error that names an argument.  races: good arguments with 1, 2, 3 and 7 threads under the thread sanitizer, in
every parallel loop however small; all must give the same bits.  Ends with 1 if a call did otherwise or a sanitizer said
anything, with 2 if the compiler has no sanitizers.
"""

# ruff: noqa: E402
from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from kernels import TOOLS, Tool

ROOT = HERE.parents[1]
ALARM = -signal.SIGALRM, -signal.SIGPROF  # a call that took too long
COUNT = {"memory": 40, "races": 8}  # drawn calls of a kernel


@dataclass
class Tally:
    """What became of the calls of one file."""

    kernels: int = 0
    results: int = 0
    refused: int = 0
    endless: int = 0  # calls that were given up: their numbers ask for rounds without end
    faults: list[str] = field(default_factory=list)
    idle: list[str] = field(default_factory=list)  # kernels of which no call gave a result

    def add(self, said: dict[str, Any]) -> None:
        """One kernel."""
        self.kernels += 1
        self.results += said["result"]
        self.refused += said["refused"]
        self.faults += said["faults"]
        if not said["result"]:
            self.idle.append(said["key"])


def build(file: Path, tools: list[Tool], tamper: str = "") -> list[dict[str, Any]]:
    """Build a file's kernels in a process of its own: what it says of the module for each tool."""
    command = [sys.executable, HERE / "kernels.py", ",".join(t.name for t in tools), file, "--tamper", tamper]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode:
        raise SystemExit(f"{file}: {built.stderr.strip().splitlines()[-1]}")
    return [json.loads(line) for line in built.stdout.splitlines()[-len(tools) :]]


def fuzz(file: Path, tool: Tool, module: dict[str, Any], count: int, seed: int) -> Tally:
    """Call a file's kernels, in processes of their own."""
    todo = module["sharing"] if tool.name == "races" else module["kernels"]
    tally, attempt, again = Tally(), 0, 0
    with tempfile.TemporaryDirectory(prefix="vibee-sanitize-") as folder:
        while todo:
            log = Path(folder) / f"report{attempt}"
            attempt += 1
            arguments = [tool.name, file, ",".join(module["modules"]), count, seed + again, log, *todo]
            current, code, said = _child(list(map(str, arguments)), tool.environment(log), log, tally)
            if code == 0:
                break
            note = log.with_suffix(".call")
            call = note.read_text() if note.exists() else ""
            if code in ALARM:
                tally.endless += 1
            else:
                report = "".join(f.read_text(errors="replace") for f in sorted(Path(folder).glob(log.name + ".[0-9]*")))
                tally.faults.append(f"{call}\nthe process ended with {code}\n{report or said}")
            if current is None:
                break
            again = (again + 1) % 3  # other calls of the same kernel, and after three of those the next one
            todo = todo[todo.index(current) + (again == 0) :]
    return tally


def _child(arguments: list[str], environment: dict[str, str], log: Path, tally: Tally) -> tuple[str | None, int, str]:
    """One process: what it was at, how it ended, what it said."""
    errors, current = log.with_suffix(".stderr"), None
    with errors.open("w") as err:
        command = [sys.executable, str(HERE / "child.py"), *arguments]
        p = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=err, text=True)
        assert p.stdout is not None
        for line in p.stdout:
            if line.startswith("{"):
                said = json.loads(line)
                current = said.get("begins", current)
                if "begins" not in said:
                    tally.add(said)
        code = p.wait()
    return current, code, errors.read_text(errors="replace")[-3000:]


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, help="spec files (default: all of specs/)")
    parser.add_argument("--tool", choices=TOOLS, action="append", help="only this one")
    parser.add_argument("--count", type=int, default=0, help="drawn calls of each kernel")
    parser.add_argument("--seed", type=int, default=0, help="draws something else")
    parser.add_argument("--tamper", default="", help="take the tests out of this definition, make its loops parallel")
    options = parser.parse_args()
    tools = [TOOLS[name] for name in options.tool or TOOLS]
    for tool in tools:
        why = tool.runtime()
        if isinstance(why, str):
            print(f"the compiler's sanitizers are needed: {why}", file=sys.stderr)
            return 2
    bad = 0
    for file in options.files or sorted((ROOT / "specs").rglob("*.vibee")):
        start = time.monotonic()
        modules = build(file, tools, options.tamper)
        print(f"{file.name}: built in {time.monotonic() - start:.0f} s", flush=True)
        for tool, module in zip(tools, modules, strict=True):
            start = time.monotonic()
            t = fuzz(file, tool, module, options.count or COUNT[tool.name], options.seed)
            bad += len(t.faults)
            print(
                f"{file.name}, {tool.name}: {t.kernels} kernels, {t.results + t.refused} calls: {t.results} results, "
                f"{t.refused} refused, {t.endless} given up, {len(t.faults)} faults ({time.monotonic() - start:.0f} s)",
                flush=True,
            )
            for fault in t.faults:
                print(f"  FAULT {fault}", flush=True)
            if t.idle:
                print(f"  no call gave a result: {', '.join(t.idle)}", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
