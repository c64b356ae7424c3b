"""The kernels of the executable: one module for each instruction set, all definitions merged in it.

    python -m vibee.build.kernels [--isa v3] [--jobs 2]

`specs/kernels.toml` names the roots; whatever they call goes in too.  The result is
vibee/_kernels/v2.so, v3.so and v4.so, with the Cython text they were made from beside them, and table.py, which
describes every function to `vibee bench`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from vibee.check import SpecFailure
from vibee.check.modules import specs_root
from vibee.tree.defs import Definition, Model, Procedure

from .compiler import compile_c, cythonize
from .describe import describe
from .errors import BuildError
from .flags import compile_flags, link_flags
from .sources import compiler_digest, files_digest

ISAS = ("v2", "v3", "v4")
ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "vibee" / "_kernels"
LIST = Path(specs_root()) / "kernels.toml"

Roots = list[tuple[Path, list[str]]]


def read_roots(path: Path) -> Roots:
    """The spec files and the names in them ("*" is every definition), from `[roots]` of a TOML file."""
    table = tomllib.loads(path.read_text()).get("roots", {})
    return [(path.parent / file, list(names)) for file, names in table.items()]


def instances(program: Any, names: Sequence[str] = ("*",)) -> Iterable[Definition]:
    """The instances to build: f32 where a definition has a type variable."""
    defs = program.defs
    for name in defs if list(names) == ["*"] else names:
        if name not in defs:
            raise BuildError(f"{Path(program.path).name} has no definition '{name}' (named in {LIST.name})")
        versions = defs[name]
        for d in versions:
            twin = d.key.endswith("_f64") and any(
                v.key == d.key[:-3] + "f32" and v.source == d.source for v in versions
            )
            if not twin:
                yield d


def _procedures(d: Definition, part: str, unit: Any) -> list[Definition]:
    """What is emitted of a root: of a model, the procedures derived from it, or the one that is named."""
    if not isinstance(d, Model):
        return [d]
    from vibee.lower.model import lower_model

    found = [p for p in lower_model(d, unit).procedures if part in ("", p.name.removeprefix(f"{d.name}_"))]
    if not found:
        raise BuildError(f"the model {d.name} has no {part} (named in {LIST.name})")
    return [unit.add(p) for p in found]


def collect(roots: Roots, isa: str) -> tuple[dict[str, Procedure], dict[str, dict[str, Any]]]:
    """Every lowered procedure that is needed, and the descriptions of the roots."""
    from vibee.check import load
    from vibee.lower.unit import Unit

    found: dict[str, Procedure] = {}
    table: dict[str, dict[str, Any]] = {}
    for file, names in roots:
        program = load(file)
        program.raise_errors()
        unit = Unit(program, isa)
        definitions: list[Definition] = []
        for name, _, part in (n.partition(".") for n in names):
            for d in instances(program, [name]):
                definitions += _procedures(d, part, unit)
        for p in unit.reach(definitions):
            other = found.setdefault(p.key, p)
            if (other.source, other.span.line) != (p.source, p.span.line):
                raise BuildError(f"{file.name}: '{p.key}' is also in {other.span.file or 'another file'}; rename one")
        table |= describe(definitions, unit.by_key)
    return found, table


def _digest(text: str, isa: str) -> str:
    flags = [*compile_flags(isa), *link_flags(), sys.version, os.environ.get("CC", "")]
    return hashlib.sha256("\0".join([text, *flags]).encode()).hexdigest()


def _sources(roots: Roots) -> str:
    """A digest of all files that kernels can follow from: the compiler, and specs beside the roots and vibee's own."""
    folders = {Path(specs_root()).resolve(), *(file.parent.resolve() for file, _ in roots)}
    files = [f for folder in folders for ending in ("vibee", "toml") for f in folder.rglob(f"*.{ending}")]
    return files_digest(files) + compiler_digest("build") + repr([(str(file), names) for file, names in roots])


def build_kernels(roots: Roots, isas: Sequence[str] = ISAS, out: Path = OUT, *, jobs: int = 0) -> list[Path]:
    """Generate and compile the merged module for each instruction set; what is up to date stays."""
    out.mkdir(parents=True, exist_ok=True)
    state_file = out / "kernels.json"
    state = json.loads(state_file.read_text()) if state_file.exists() else {}
    made_from = {f"{isa} from": _digest(_sources(roots), isa) for isa in isas}
    modules = [out / f"{isa}.so" for isa in isas]
    if made_from.items() <= state.items() and all(f.exists() for f in [*modules, out / "table.py"]):
        return modules
    tasks = [(roots, isa, out, state.get(isa, "")) for isa in isas]
    jobs = jobs or min(len(isas), os.cpu_count() or 1)
    if jobs == 1:
        digests = [_build(*t) for t in tasks]
    else:
        with ProcessPoolExecutor(jobs) as pool:
            digests = list(pool.map(_build, *zip(*tasks, strict=True)))
    state.update(dict(zip(isas, digests, strict=True)) | made_from)
    state_file.write_text(json.dumps(state, indent=1) + "\n")
    return modules


def _build(roots: Roots, isa: str, out: Path, before: str) -> str:
    """Generates one module, and compiles it unless that was done with the text of this digest; gives the digest."""
    from vibee.emit import emit_module

    found, table = collect(roots, isa)
    text = emit_module(found.values(), wrap=table, isa=isa)
    _write_table(table, out / "table.py")
    digest = _digest(text, isa)
    if digest == before and (out / f"{isa}.so").exists():
        return digest
    with tempfile.TemporaryDirectory(prefix="tmp-", dir=out) as work:
        pyx = Path(work) / f"{isa}.pyx"
        pyx.write_text(text)
        os.replace(_copy(pyx), out / f"{isa}.pyx")
        c = cythonize(pyx, f"vibee._kernels.{isa}", shared=None)
        compile_c(c, Path(work) / f"{isa}.so", isa, out / f"{isa}.log")
        os.replace(Path(work) / f"{isa}.so", out / f"{isa}.so")
    return digest


def _write_table(table: dict[str, dict[str, Any]], path: Path) -> None:
    """The descriptions as a module, for `vibee bench`: it is the same for every instruction set."""
    lines = [f"    {key!r}: {described!r},\n" for key, described in table.items()]
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_text(f'"""What the kernels are; generated."""\n\nTABLE = {{\n{"".join(lines)}}}\n')
    os.replace(temporary, path)


def _copy(path: Path) -> Path:
    other = path.with_suffix(".text")
    other.write_bytes(path.read_bytes())
    return other


def main(argv: list[str] | None = None) -> int:
    """The command line of `python -m vibee.build.kernels`."""
    parser = argparse.ArgumentParser(description="Generate and compile the kernels of the executable.")
    parser.add_argument("--isa", choices=ISAS, action="append", help="only this instruction set (may be repeated)")
    parser.add_argument("--roots", type=Path, default=LIST, help="the list of definitions")
    parser.add_argument("--out", type=Path, default=OUT, help="where the modules go")
    parser.add_argument("--jobs", type=int, default=0, help="modules at once")
    options = parser.parse_args(argv)
    try:
        for path in build_kernels(read_roots(options.roots), options.isa or ISAS, options.out, jobs=options.jobs):
            print(f"{path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}  {path.stat().st_size:,} bytes")
    except (BuildError, SpecFailure, OSError) as e:
        print(e, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
