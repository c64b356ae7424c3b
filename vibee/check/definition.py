"""Checks one instance of a definition, whatever its kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vibee.tree.defs import Definition

from .errors import Known
from .scope import Scope
from .signature import build, fill
from .surface import RawDef

if TYPE_CHECKING:
    from .modules import Module
    from .program import Program


def check_head(program: Program, module: Module, raw: RawDef, types: dict[str, str]) -> Definition | None:
    """Parameters and outputs only; None after reported mistakes."""
    if raw.broken:
        return None
    scope = Scope(program, module, raw, types)
    try:
        params, outs, sizes = build(scope, raw)
    except Known:
        return None
    return fill(Definition(raw.name, program.key(raw, types), params, outs, sizes), raw)


def check_whole(program: Program, module: Module, raw: RawDef, types: dict[str, str]) -> Definition | None:
    """The definition with its body; None after reported mistakes."""
    from .formula import FormulaChecker
    from .model import ModelChecker
    from .procedure import ProcedureChecker

    if raw.broken:
        return None
    scope = Scope(program, module, raw, types)
    try:
        params, outs, sizes = build(scope, raw)
    except Known:
        return None
    checkers: dict[str, type[FormulaChecker | ProcedureChecker | ModelChecker]]
    checkers = {"formula": FormulaChecker, "procedure": ProcedureChecker, "model": ModelChecker}
    checker = checkers[raw.kind](scope, params, outs, sizes)
    found = checker.run()
    return None if checker.failed else found
