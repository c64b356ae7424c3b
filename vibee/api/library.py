"""A loaded spec: its definitions as attributes, and the modules they are built into."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from vibee.build import build, load_extension
from vibee.build.flags import ISA, default_isa
from vibee.check import SpecFailure
from vibee.emit import emit_module
from vibee.emit.ctypes import exported
from vibee.lower.unit import Unit
from vibee.prove.verify import refuse
from vibee.runtime.machine import LEVELS, supported_levels
from vibee.tree.defs import Definition, Formula, Model, Procedure

from .errors import SpecError
from .memo import remembered


class Build:
    """Some definitions in one module, built when first used."""

    def __init__(self, unit: Unit, stem: str, definitions: list[Definition], isa: str) -> None:
        self.unit, self.stem, self.definitions, self.isa = unit, stem, definitions, isa
        self._lock = threading.Lock()
        self._text: str | None = None
        self._module: ModuleType | None = None

    @property
    def text(self) -> str:
        """The Cython text."""
        with self._lock:
            if self._text is None:
                wrap = [d.key for d in self.definitions]
                made = functools.partial(self._emitted, wrap)
                self._text = remembered(self.unit.program, self.isa, self.stem, wrap, made)
            return self._text

    def _emitted(self, wrap: list[str]) -> str:
        procedures = self.unit.reach(self.definitions)
        try:
            refuse(self.unit, [self.unit.by_key(p.key) for p in procedures])
        except SpecFailure as e:
            raise SpecError(map(str, e.errors)) from None
        return emit_module(procedures, wrap=wrap, isa=self.unit.isa)

    @property
    def module(self) -> ModuleType:
        """The imported module."""
        text = self.text
        with self._lock:
            if self._module is None:
                self._module = load_extension(*build(text, self.stem, self.isa))
            return self._module


class Library:
    """The definitions of one spec, as attributes."""

    def __init__(self, program: Any, isa: str | None = None) -> None:
        if isa is not None and isa not in ISA:
            raise ValueError(f"isa must be one of {', '.join(ISA)}, got {isa!r}")
        if isa in LEVELS and isa not in supported_levels():
            raise ValueError(f"this processor does not have x86-64-{isa}")
        self._open(program, isa or default_isa())
        names = [n for n in program.own_names if program.defs.get(n)]
        plain = {n: [d for d in program.defs[n] if type(d) in PLAIN] for n in names}
        # One module for f32 and everything without a type variable, built at once, so that whatever
        # is wrong is told by `load`; one for f64 when it is first asked for.
        groups: dict[str, list[Definition]] = {}
        for definitions in plain.values():
            for d in definitions:
                groups.setdefault(_group(d, definitions), []).append(d)
        builds = {
            g: Build(self._unit, self._stem + ("" if g == "main" else f"_{g}"), ds, self._isa)
            for g, ds in groups.items()
        }
        for g, ds in groups.items():
            for d in ds:
                self._builds[d.key] = builds[g]
        if "main" in builds:
            _ = builds["main"].module
        self._functions |= {n: HANDLERS[type(program.defs[n][0])](self, n, program.defs[n]) for n in names}

    def _open(self, program: Any, isa: str) -> None:
        """A program of which nothing is built yet."""
        self._program, self._isa = program, isa
        self._stem, self._unit = Path(program.path).stem, Unit(program, isa)
        self._builds: dict[str, Build] = {}
        self._native: dict[str, Callable[..., Any]] = {}  # what was called before, by its key
        self._gradients: dict[str, Definition] = {}  # derived, by the key of what they are the gradient of
        self._functions: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        functions = self.__dict__.get("_functions", {})
        if name in functions:
            return functions[name]
        raise AttributeError(f"{self.__dict__.get('_stem', 'spec')} has no definition '{name}'")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._functions]

    def __repr__(self) -> str:
        return f"<vibee spec {self._program.path}: {', '.join(self._functions)}>"

    def _function(self, d: Definition) -> Callable[..., Any]:
        """The native function of an instance."""
        if d.key not in self._native:
            self._native[d.key] = getattr(self._build_of(d).module, exported(d.key))
        return self._native[d.key]

    def _mapped(self, d: Definition) -> Callable[..., Any]:
        """The native function that applies an instance to every element of arrays."""
        return getattr(self._build_of(d).module, f"{d.key}_map")  # type: ignore[no-any-return]

    def _text(self, d: Definition) -> str:
        """The Cython text of the module that an instance is in."""
        return self._build_of(d).text

    def _unproved(self, definitions: list[Definition]) -> list[str]:
        """What the prover left open in some instances, with its places."""
        out: dict[str, None] = {}
        for d in definitions:
            self._unit.procedure(d)
            out |= {str(o): None for o in self._unit.open[d.key]}
        return list(out)

    def _build_of(self, d: Definition) -> Build:
        if d.key not in self._builds:
            self._unit.add(d)
            self._builds[d.key] = Build(self._unit, f"{self._stem}_{d.name}", [d], self._isa)
        return self._builds[d.key]


def _group(d: Definition, versions: list[Definition]) -> str:
    """`f64` for the second instance of a definition with a type variable, else `main`."""
    twin = d.key.endswith("_f64") and any(v.key == d.key[:-3] + "f32" and v.source == d.source for v in versions)
    return "f64" if twin else "main"


PLAIN: tuple[type, ...] = (Formula, Procedure)


def _function(library: Library, name: str, definitions: list[Definition]) -> object:
    from .function import Function

    return Function(library, name, definitions)


def _model(library: Library, name: str, definitions: list[Definition]) -> object:
    from .models import ModelFunctions

    return ModelFunctions(library, name, definitions)


# What stands for a definition in a library, by its class.
HANDLERS: dict[type, Callable[[Library, str, list[Definition]], object]] = {
    Formula: _function,
    Procedure: _function,
    Model: _model,
}
