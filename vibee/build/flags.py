"""Compiler flags: one table for instruction sets, one for platforms."""

from __future__ import annotations

import platform
import sys

# Why each is there: speed without changing what a spec means.  No -ffast-math: inf, nan and
# signed zeros keep their meaning, and sums are added in the order that was lowered.
COMMON = (
    "-O3",
    "-fwrapv",  # integers wrap, as the language says
    "-fno-math-errno",  # sqrt is one instruction
    "-fno-trapping-math",  # both sides of a branch may be computed: loops with `where` vectorise
    "-ffp-contract=fast",  # a*b + c in one rounding where the machine can
    "-fno-thread-jumps",  # the sides of a choice stay one formula, which becomes one vector operation
    "-fno-tree-loop-distribute-patterns",  # short copies stay loops of vectors: a call of memcpy costs more
    "-fno-semantic-interposition",
    "-fno-asynchronous-unwind-tables",  # nothing unwinds kernels: 30 KB of each module of the executable
    "-DNDEBUG",  # asserts of Python's headers would keep the names of files of this machine
    "-w",
)

ISA = {
    "v2": ("-march=x86-64-v2",),
    "v3": ("-march=x86-64-v3",),
    "v4": ("-march=x86-64-v4", "-mprefer-vector-width=512"),
    "native": ("-march=native",),
}

PLATFORM = {
    "linux": (("-fPIC",), ("-shared", "-Wl,-s", "-lm")),
    "darwin": (("-fPIC",), ("-bundle", "-undefined", "dynamic_lookup")),
}

OPENMP = ("-fopenmp",)


def has_levels() -> bool:
    """Is this the architecture that the levels v2 to v4 belong to?"""
    return platform.machine().lower() in ("x86_64", "amd64")


def default_isa() -> str:
    """The level of this processor, or `native` where levels do not exist; VIBEE_ISA forces one."""
    if not has_levels():
        return "native"
    from vibee.runtime.machine import isa_level

    return isa_level()


def compile_flags(isa: str) -> list[str]:
    """Flags that turn C into an object."""
    return [*COMMON, *ISA[isa], *_platform()[0]]


def link_flags() -> list[str]:
    """Flags that turn an object into a module."""
    return list(_platform()[1])


def _platform() -> tuple[tuple[str, ...], tuple[str, ...]]:
    return PLATFORM.get(sys.platform, PLATFORM["linux"])
