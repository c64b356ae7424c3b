"""Kernels of any specs for `vibee bench SPEC`: compiled on the spot, with their derived gradients."""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import Any

from vibee.runtime.errors import UserError

from .cases import Kernel


def spec_files(paths: list[str]) -> list[str]:
    """The specs that are meant; a folder stands for all in it."""
    out: list[str] = []
    for path in paths:
        if not os.path.isdir(path):
            out.append(path)
            continue
        found = [os.path.join(at, name) for at, _, names in os.walk(path) for name in names if name.endswith(".vibee")]
        if not found:
            raise UserError(f"{path}: there is no .vibee file in this folder")
        out += sorted(found)
    return out


def programs(paths: list[str]) -> list[Any]:
    """The checked specs; every mistake in them is told, a line each, and the run ends."""
    from vibee.check import load

    try:
        import Cython  # noqa: F401

        import vibee.build  # noqa: F401
    except ImportError:
        raise UserError(
            "bench of a spec needs Cython and a C compiler, which the executable does not have; "
            "use vibee in a Python environment"
        ) from None
    found = [load(path) for path in spec_files(paths)]
    mistakes = [error for program in found for error in program.errors]
    for error in mistakes:
        print(error, file=sys.stderr)
    if mistakes:
        raise SystemExit(2)
    return found


def of_the_machine() -> Any:
    """The spec whose kernels measure the machine's limits."""
    from vibee.check import load
    from vibee.check.modules import specs_root

    return load(os.path.join(specs_root(), "training", "benchmark.vibee"))


def compiled(program: Any) -> tuple[ModuleType, dict[str, Kernel]]:
    """The built module of a spec with all its definitions and gradients, and their descriptions."""
    from vibee.build import build, load_extension
    from vibee.build.describe import describe
    from vibee.build.flags import default_isa
    from vibee.build.kernels import instances
    from vibee.emit import emit_module
    from vibee.lower.unit import Unit

    isa = default_isa()
    unit = Unit(program, isa)
    found = [d for f in instances(program) for d in _derived(f, unit)]
    text = emit_module(unit.reach(found), wrap=[d.key for d in found], isa=unit.isa)
    module = load_extension(*build(text, f"bench_{program.module.raw.module or 'spec'}", isa))
    return module, {key: Kernel(**x) for key, x in describe(found, unit.by_key).items()}


def _derived(d: Any, unit: Any) -> list[Any]:
    """What is measured for a definition: itself and its gradient, or a model's procedures."""
    from vibee.grad import GradError, vjp
    from vibee.lower.model import lower_model
    from vibee.tree.defs import Formula, Model
    from vibee.tree.types import is_float

    if isinstance(d, Model):
        return [unit.add(p) for p in lower_model(d, unit).procedures]
    if not isinstance(d, Formula) or d.gradient:
        return [d]
    try:
        gradient = vjp(d, unit.by_key)
    except GradError:
        return [d]  # it has none
    return [d, unit.add(gradient)] if any(is_float(o.dtype) for o in gradient.outs) else [d]
