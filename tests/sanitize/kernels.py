"""Every kernel of a spec in one module, built with the compiler's sanitizers.

    python kernels.py memory|races|memory,races FILE [--tamper NAME]

Such a module can be loaded only where the sanitizers' runtime came first, so it is built by one process and called by
another, which `Tool.environment` is for.  Says where each module is in a line of JSON.  Most of the time goes into what
both have in common, up to the Cython text.
"""

# ruff: noqa: E402
from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from team import TEAM

import vibee.build.extension as extension
import vibee.build.flags as flags
import vibee.emit.parallel as parallel
import vibee.emit.work as work
from vibee.api.function import Function
from vibee.api.gradient import gradient_of
from vibee.api.library import Build, Library
from vibee.build.cache import cache_folder
from vibee.check import load
from vibee.emit import called, emit_module
from vibee.emit.parallel import RUN
from vibee.emit.work import WORTH_IT
from vibee.lower.build import map_stmts
from vibee.lower.model import lower_model
from vibee.testing.subject import on_numbers
from vibee.tree.defs import Definition, For, If, Model, Procedure, Store, statements
from vibee.tree.expr import Expr, rebuild

# Integers wrap, as the language says, so -fwrapv stays and overflow of signed integers is none.  What a float
# becomes that does not fit an integer is unspecified, in the language and in C (annex F.4), and not looked for.
COMMON = ("-O1", "-g1", "-fwrapv", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-DNDEBUG", "-w")


@dataclass(frozen=True)
class Tool:
    """Sanitizers: their flags, the libraries that must come first in a process, their settings."""

    name: str
    flags: tuple[str, ...]
    libraries: tuple[str, ...]
    settings: str

    def runtime(self) -> list[str] | str:
        """Where the libraries are, or why there are none."""
        found = []
        command = compiler()
        for name in self.libraries:
            try:
                asked = [*command, f"-print-file-name={name}"]
                path = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
            except OSError as e:
                return f"{command[0]} cannot be run: {e.strerror}"
            if not os.path.isabs(path):
                return f"{command[0]} has no {name}; with Debian's gcc it is part of the package libgcc-12-dev"
            found.append(path)
        return found

    def environment(self, log: Path) -> dict[str, str]:
        """The environment of a process that calls kernels; reports go to files that begin with `log`."""
        libraries = self.runtime()
        assert not isinstance(libraries, str)
        settings = f"log_path={log}:halt_on_error=0:print_summary=0:{self.settings}"
        return {
            **os.environ,
            "LD_PRELOAD": " ".join(libraries),
            "PYTHONMALLOC": "malloc",  # so that every array lies between red zones
            "ASAN_OPTIONS": settings,
            "TSAN_OPTIONS": settings,
            "UBSAN_OPTIONS": f"log_path={log}:halt_on_error=0:print_stacktrace=1",
        }

    def prepare(self) -> None:
        """Build in this way, in this process from here on."""
        flags.COMMON = (*COMMON, *self.flags)
        link: tuple[str, ...] = ("-shared", "-lm", *self.flags)
        if self.name == "races":
            team = cache_folder() / "sanitize_team.o"
            command = [*compiler(), "-O1", "-g1", "-fPIC", *self.flags, "-x", "c", "-c", "-", "-o", str(team)]
            subprocess.run(command, input=TEAM, text=True, check=True)
            link = (*link, "-Wl,-Bsymbolic", str(team))  # in place of OpenMP's own library
        work.WORTH_IT = 0 if self.name == "races" else WORTH_IT  # threads for the smallest loop,
        parallel.RUN = 1 if self.name == "races" else RUN  # and shares of one element: without vectors all are alike
        flags.PLATFORM["linux"] = (("-fPIC",), link)
        extension.load_extension = lambda path, name: None  # type: ignore[assignment,return-value]


MEMORY = Tool(
    "memory",
    ("-fsanitize=address,undefined", "-fsanitize-recover=address", "-fno-omit-frame-pointer"),
    ("libasan.so", "libubsan.so"),
    "detect_leaks=0:allocator_may_return_null=1:max_allocation_size_mb=256:hard_rss_limit_mb=4000",
)
RACES = Tool("races", ("-fsanitize=thread",), ("libtsan.so",), "exitcode=0")
TOOLS = {t.name: t for t in (MEMORY, RACES)}


def compiler() -> list[str]:
    """The C compiler's command."""
    return os.environ.get("CC", "").split() or [shutil.which("cc") or "gcc"]


class Whole(Library):
    """A spec's definitions, their gradients and the parts of its models, in one module."""

    def __init__(self, path: str) -> None:
        program = load(path)
        program.raise_errors()
        self._open(program, flags.default_isa())
        self.definitions = {d.key: d for d in self._every()}
        self.one = Build(self._unit, self._stem, list(self.definitions.values()), self._isa)
        self._builds = dict.fromkeys(self.definitions, self.one)

    def _every(self) -> Iterator[Definition]:
        for name in self._program.own_names:
            for d in self._program.defs.get(name, []):
                if isinstance(d, Model):
                    yield from map(self._unit.add, lower_model(d, self._unit).procedures)
                    continue
                yield d
                try:
                    yield gradient_of(Function(self, d.name, [d]), d)
                except ValueError:
                    continue  # it has none

    def build(self, tamper: str = "") -> dict[str, Any]:
        """Build the module, but leave it alone."""
        procedures = self._unit.reach(self.definitions.values())
        procedures = [tampered(p) if p.name == tamper else p for p in procedures]
        text = emit_module(procedures, wrap=self.definitions, isa=self._unit.isa)
        _, name = extension.build(text, f"{self._stem}_whole", self._isa)
        table = {p.key: p for p in procedures}
        sharing = [key for key, d in self.definitions.items() if on_numbers(d) or shares(table[key], table)]
        return {"modules": [extension.views_module(), name], "kernels": list(self.definitions), "sharing": sharing}

    def take(self, names: list[str]) -> None:
        """Use the modules that another process has built: that of memoryviews, then the kernels."""
        self.one._text = ""  # was made elsewhere
        for name in names:
            self.one._module = extension.load_extension(cache_folder() / f"{name}.so", name)


def shares(p: Procedure, table: dict[str, Procedure]) -> bool:
    """Is there a parallel loop in a procedure, or in one that it calls?"""
    own = any(isinstance(s, For) and s.parallel for s in statements(p.body))
    return own or any(shares(table[key], table) for key in called(p) if key in table)


def tampered(p: Procedure) -> Procedure:
    """A procedure without the tests of its accesses, and with all outer loops that write parallel: to see that it is
    found."""

    def bare(e: Expr) -> Expr:
        e = rebuild(e, bare)
        return replace(e, op="load") if e.op == "load?" else e

    def one(s: Any) -> Any:
        if isinstance(s, Store):
            return replace(s, checked=False, value=bare(s.value), idx=tuple(map(bare, s.idx)))
        return s

    body = [s for s in map_stmts(p.body, one) if not isinstance(s, If)]
    return replace(p, body=[replace(s, parallel=True) if _writes(s) else s for s in body])


def _writes(s: Any) -> bool:
    return isinstance(s, For) and any(isinstance(t, Store) for t in statements(s.body))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("tools")
    parser.add_argument("file")
    parser.add_argument("--tamper", default="")
    options = parser.parse_args()
    whole = Whole(options.file)
    for tool in options.tools.split(","):
        TOOLS[tool].prepare()
        print(json.dumps(whole.build(options.tamper)))
