"""Files of a program: where imports are found, and what a name means in each file."""

from __future__ import annotations

import importlib
import os
import sys
from dataclasses import dataclass, field
from functools import lru_cache

from vibee.tree.expr import Span
from vibee.tree.types import REAL

from .errors import Errors, SpecError, suggest
from .parse import parse, read_text
from .surface import RawConst, RawDef, RawFile

EVERYWHERE = os.path.join("foundation", "math.vibee")  # its definitions need no import


@lru_cache(maxsize=1)
def specs_root() -> str:
    """The folder of vibee's own specs: inside the installed package or the executable, or of the checkout."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    inside = os.path.join(package, "specs")
    if getattr(sys, "frozen", False):
        importlib.import_module("vibee._specs")  # unpacks them there (packaging/onefile.spec)
    return inside if os.path.isdir(inside) else os.path.join(os.path.dirname(package), "specs")


@dataclass(slots=True, eq=False)
class Module:
    """One file: its text's surface form and what its imports mean."""

    path: str
    raw: RawFile
    own: dict[str, list[RawDef]] = field(default_factory=dict)
    consts: dict[str, RawConst] = field(default_factory=dict)
    imported: dict[str, tuple[Module, str]] = field(default_factory=dict)


class Modules:
    """All files of a program."""

    def __init__(self, log: Errors) -> None:
        self.log = log
        self._by_path: dict[str, Module] = {}
        self._home: dict[int, Module] = {}
        self._prelude: Module | None = None
        self._loading: list[str] = []

    def all(self) -> list[Module]:
        """Every file read so far."""
        return list(self._by_path.values())

    def home(self, raw: RawDef) -> Module:
        """The module in which a definition stands."""
        return self._home[id(raw)]

    def root(self, path: str, text: str | None) -> Module:
        """The loaded file itself."""
        return self._read(path, text)

    def _read(self, path: str, text: str | None = None) -> Module:
        real = os.path.realpath(path) if text is None and "\0" not in path else path
        if real in self._by_path:
            return self._by_path[real]
        source = read_text(path, self.log) if text is None else text
        module = Module(real, RawFile(path) if source is None else parse(source, path, self.log))
        self._by_path[real] = module
        for d in module.raw.defs:
            module.own.setdefault(d.name, []).append(d)
            self._home[id(d)] = module
        for c in module.raw.consts:
            module.consts.setdefault(c.name, c)
        self._loading.append(real)
        for imp in module.raw.imports:
            self._import(module, path, imp.module, imp.names, imp.span)
        self._loading.pop()
        return module

    def adopt(self, raw: RawDef, module: Module) -> None:
        """Make a definition that was not written (made from a template) part of `module`."""
        module.own.setdefault(raw.name, []).append(raw)
        self._home[id(raw)] = module

    # ------------------------------------------------------------ imports

    def _import(self, module: Module, path: str, name: str, names: list[tuple[str, str, Span]], span: Span) -> None:
        relative = os.path.join(*name.split(".")) + ".vibee"
        places = [os.path.join(os.path.dirname(path) or ".", relative), os.path.join(specs_root(), relative)]
        found = next((p for p in places if os.path.isfile(p)), None)
        if found is None:
            hint = suggest(name, self._known_modules())
            self.log.add(
                SpecError(
                    span,
                    f"there is no module "
                    f"'{name}'{hint or '; it is looked for beside this file and in vibee' + chr(39) + 's specs'}",
                )
            )
            for written, alias, _ in names:
                module.imported[alias] = (Module("", RawFile("")), written)
            return
        if os.path.realpath(found) in self._loading:
            self.log.add(SpecError(span, f"'{name}' imports this module itself; move what both need to a third one"))
            return
        other = self._read(found)
        for written, alias, where in names:
            known = [*other.own, *other.consts]
            if written not in known:
                self.log.add(SpecError(where, f"'{name}' has no '{written}'{suggest(written, known)}"))
            elif alias in module.own or alias in module.consts or alias in module.imported:
                self.log.add(
                    SpecError(
                        where,
                        f"'{alias}' is defined twice, here and in '{name}'; write: import {written} as other_name",
                    )
                )
            module.imported[alias] = (other, written)

    def _known_modules(self) -> list[str]:
        out = []
        root = specs_root()
        for folder, _, files in os.walk(root):
            for f in files:
                if f.endswith(".vibee"):
                    out.append(os.path.relpath(os.path.join(folder, f), root)[: -len(".vibee")].replace(os.sep, "."))
        return out

    def prelude(self) -> Module | None:
        """The module whose definitions are in scope everywhere; None where it is missing."""
        path = os.path.join(specs_root(), EVERYWHERE)
        if self._prelude is None and os.path.isfile(path):
            self._prelude = self._read(path)
        return self._prelude

    # ------------------------------------------------------------ what a name means

    def find(self, module: Module, name: str) -> list[RawDef]:
        """The definitions called `name`: the file's own, imported ones, those in scope everywhere."""
        if name in module.own:
            return module.own[name]
        if name in module.imported:
            other, written = module.imported[name]
            return other.own.get(written, [])
        base = self.prelude()
        return base.own.get(name, []) if base is not None and base is not module else []

    def constant(self, module: Module, name: str) -> tuple[Module, RawConst] | None:
        """The constant called `name` and its file."""
        if name in module.consts:
            return module, module.consts[name]
        if name in module.imported:
            other, written = module.imported[name]
            return (other, other.consts[written]) if written in other.consts else None
        if name in module.own:
            return None
        base = self.prelude()
        return (base, base.consts[name]) if base is not None and name in base.consts else None

    def callable_names(self, module: Module) -> list[str]:
        """Names of all definitions in scope."""
        base = self.prelude()
        return [*module.own, *module.imported, *(base.own if base is not None else [])]

    def constant_names(self, module: Module) -> list[str]:
        """Names of all constants in scope."""
        base = self.prelude()
        imported = [a for a, (other, written) in module.imported.items() if written in other.consts]
        return [*module.consts, *imported, *(base.consts if base is not None else [])]

    # ------------------------------------------------------------ duplicates

    def check_names(self, module: Module) -> None:
        """Report names that stand twice in the file."""
        for c in module.raw.consts:
            if module.consts[c.name] is not c:
                self.log.add(
                    SpecError(
                        c.span,
                        f"'{c.name}' is defined twice (line {module.consts[c.name].span.line}); choose another name",
                    )
                )
            if c.name in module.own:
                d = module.own[c.name][0]
                self.log.add(
                    SpecError(
                        max(c.span, d.span, key=lambda s: s.line),
                        f"'{c.name}' is a constant and a definition; choose another name",
                    )
                )
        for name, versions in module.own.items():
            first = next((d for d in versions if d.uses_real), None)
            seen: dict[tuple, RawDef] = {}
            for d in versions:
                again = next((seen[heads] for heads in _heads(d) if heads in seen), None)
                if d.uses_real and d is not first:
                    what = f"(line {first.span.line}); a definition with 'real' has both float versions already"  # type: ignore[union-attr]
                    self.log.add(SpecError(d.span, f"'{name}' is defined twice {what}"))
                elif again is not None:
                    what = f"for the same types (line {again.span.line}); choose another name"
                    self.log.add(SpecError(d.span, f"'{name}' is defined twice {what}"))
                for heads in _heads(d):
                    seen.setdefault(heads, d)


def _heads(d: RawDef) -> list[tuple]:
    """Types and ranks of the parameters: of both instances, if it has 'real'."""
    choices = ("f32", "f64") if d.uses_real else ("",)
    return [
        tuple((t if p.type.base == REAL else p.type.base, len(p.type.shape or ())) for p in d.params) for t in choices
    ]
