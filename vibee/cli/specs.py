"""`vibee check` and `vibee compile`: the compiler, from the command line."""

from __future__ import annotations

import sys

from vibee.runtime.errors import UserError


def check_specs(files: list[str]) -> int:
    """Every mistake of every file on standard error; 2 if there is one."""
    from vibee.check import load

    mistakes = 0
    for path in files:
        program = load(path)
        for error in program.errors:
            print(error, file=sys.stderr)
        mistakes += len(program.errors)
        if not program.errors:
            refuted, notes = _proofs(program)
            for line in refuted:
                print(line, file=sys.stderr)
            mistakes += len(refuted)
            count = len(program.own_names)
            if not refuted:
                print(f"{path}: {count} definition{'s' if count != 1 else ''}, no mistakes")
            for note in notes:
                print(note)
    return 2 if mistakes else 0


def _proofs(program) -> tuple[list[str], list[str]]:  # type: ignore[no-untyped-def]
    """What a counterexample refutes, and what is not proved, so that it runs with checks or serially."""
    from vibee.prove.linear import solver

    if not solver():
        return [], [f"{program.path}: note: nothing is proved here, since the solver is not installed (pip install .)"]
    from vibee.check import SpecFailure
    from vibee.lower.unit import Unit
    from vibee.prove.verify import refuse

    unit = Unit(program, "v3")
    try:
        own = _own(program, unit)
        refuse(unit, own)
    except SpecFailure as e:
        return list(map(str, e.errors)), []
    found: dict[tuple[str, int], dict[str, None]] = {}  # the texts, each once
    for d in own:
        for o in unit.open[d.key]:
            found.setdefault((d.name, o.span.line), {})[str(o)] = None
    return [], [
        f"{next(iter(texts))} (note, {name})" + (f" (and {len(texts) - 1} more)" if len(texts) > 1 else "")
        for (name, _), texts in sorted(found.items(), key=lambda item: item[0][1])
    ]


def compile_spec(path: str, stage: str) -> int:
    """Show a stage of the compilation, or build the module."""
    from vibee.check import SpecFailure, load

    program = load(path)
    try:
        program.raise_errors()
        text = {"tree": _tree, "checked": _checked, "lowered": _lowered, "pyx": _pyx, "so": _so}[stage](program)
    except SpecFailure as e:
        for error in e.errors:
            print(error, file=sys.stderr)
        return 2
    print(text.rstrip("\n"))
    return 0


def _tree(program) -> str:  # type: ignore[no-untyped-def]
    """What was parsed, in the language's own notation."""
    from vibee.check.dump import tree_text

    return tree_text(program.module.raw)


def _checked(program) -> str:  # type: ignore[no-untyped-def]
    """The checked definitions, every expression typed, casts written out."""
    from vibee.tree.listing import definition

    return "\n\n".join(definition(d) for versions in program.defs.values() for d in versions)


def _own(program, unit) -> list:  # type: ignore[no-untyped-def, type-arg]
    """A spec's own definitions, with the procedures derived from a model in its place."""
    from vibee.lower.model import lower_model
    from vibee.tree.defs import Model

    own: list = []
    for versions in program.defs.values():
        for d in versions:
            own += [unit.add(p) for p in lower_model(d, unit).procedures] if isinstance(d, Model) else [d]
    return own


def _procedures(program, safe: bool = False) -> tuple[list, list[str]]:  # type: ignore[no-untyped-def]
    """The lowered procedures of a spec and of what it calls, and the names of its own; `safe`: an error if a
    counterexample refutes one."""
    from vibee.lower.unit import Unit
    from vibee.runtime.machine import isa_level

    unit = Unit(program, isa_level())
    own = _own(program, unit)
    found = unit.reach(own)
    if safe:
        from vibee.prove.verify import refuse

        refuse(unit, [unit.by_key(p.key) for p in found])
    return found, [d.key for d in own]


def _lowered(program) -> str:  # type: ignore[no-untyped-def]
    """The procedures of plain loops that are emitted: the spec's own, then what they call."""
    from vibee.tree.listing import definition

    found, own = _procedures(program)
    return "\n\n".join(definition(p) for p in sorted(found, key=lambda p: p.key not in own))


def _pyx(program) -> str:  # type: ignore[no-untyped-def]
    """The Cython text."""
    from vibee.emit import emit_module
    from vibee.runtime.machine import isa_level

    found, own = _procedures(program, safe=True)
    return str(emit_module(found, wrap=own, isa=isa_level()))


def _so(program) -> str:  # type: ignore[no-untyped-def]
    """The path of the built module."""
    try:
        import Cython  # noqa: F401

        from vibee.build import build
    except ImportError:
        raise UserError(
            "building needs Cython and a C compiler, which the executable does not have; "
            "use vibee in a Python environment, or --emit pyx"
        ) from None
    path, _ = build(_pyx(program), program.module.raw.module or "spec")
    return str(path)
