"""One pytest module for each definition of a spec, written beside its built kernels."""

from __future__ import annotations

import hashlib
import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from vibee.build.cache import cache_folder
from vibee.tree.defs import Definition, Model, Procedure

from .gradients import has_gradient
from .subject import Spec, spec

HEAD = '''"""{name}: tests generated from {place}.

{source}
"""

import pytest

from vibee import testing

SPEC = testing.spec({path!r})
'''

TEST = '''

@pytest.mark.parametrize("key", {keys})
def test_{name}(key):
    """{doc}"""
    testing.{check}(SPEC[key]{arguments})
'''


class Plan:
    """One test function: the check it calls, for which instances, and what it says."""

    def __init__(self, name: str, check: str, doc: str, **arguments: int) -> None:
        self.name, self.check, self.doc, self.arguments = name, check, doc, arguments
        self.keys: list[str] = []

    def text(self) -> str:
        """The function."""
        keys = "[" + ", ".join(f'"{k}"' for k in self.keys) + "]"
        doc = _quoted(self.doc)
        doc += " " if doc.endswith('"') else ""
        arguments = "".join(f", {n}={x}" for n, x in self.arguments.items())
        return TEST.format(name=self.name, check=self.check, doc=doc, keys=keys, arguments=arguments)


def _quoted(text: str) -> str:
    """A text as it may stand in a docstring."""
    return text.replace("\\", "\\\\").replace('"""', "'''")


def plans(s: Spec, versions: list[Definition]) -> list[Plan]:
    """The tests of a definition, in the order of what they say."""
    found: dict[str, Plan] = {}

    def add(d: Definition, name: str, check: str, doc: str, **arguments: int) -> None:
        found.setdefault(name, Plan(name, check, doc, **arguments)).keys.append(d.key)

    lines = Path(versions[0].span.file).read_text().splitlines()
    for d in versions:
        count: Counter[str] = Counter()  # statements of a kind on a line
        for w in d.laws:
            text, name = lines[w.span.line - 1].strip(), f"{w.kind}_line_{w.span.line}"
            count[name] += 1
            if (nth := count[name]) == 1:
                add(d, name, w.kind, text, line=w.span.line)
            else:
                add(d, f"{name}_{nth}", w.kind, text, line=w.span.line, nth=nth)
        if isinstance(d, Model):
            add(d, "model", "model", "The loss for any number of threads, and its gradient against differences.")
            continue
        add(d, "agrees", "agrees", "Every instruction set and number of threads against the oracle.")
        if isinstance(d, Procedure) and d.implements:
            base = s.program.by_key(d.implements).name
            add(d, "implements", "implements", f"implements({base})")
        if has_gradient(s[d.key]):
            own = getattr(d, "gradient", None)
            of = s.program.by_key(own).name if own else "the derived one"
            add(d, "gradient", "gradient", f"The gradient, {of}, against central differences.")
        if d.params:
            add(d, "refusals", "refusals", "Wrong arguments are refused by name.")
    return list(found.values())


def module_text(s: Spec, name: str, versions: list[Definition], path: str) -> str:
    """The pytest module of one definition."""
    source = "\n\n".join(dict.fromkeys(d.source for d in versions))
    source = textwrap.indent(_quoted(source), "    ")
    head = HEAD.format(name=name, place=f"{_quoted(path)}:{versions[0].span.line}", source=source, path=path)
    return head + "".join(p.text() for p in plans(s, versions))


def folder_of(path: str) -> Path:
    """Where the modules of a spec go: a folder beside the modules that it is built into."""
    name = Path(path).resolve()
    digest = hashlib.sha256(str(name).encode()).hexdigest()[:8]
    stem = re.sub(r"[^\w.-]", "_", name.stem)  # of a backslash or `::` pytest makes something else
    return cache_folder() / f"tests_{stem}_{digest}"


def generate(path: str, only: Iterable[str] = ()) -> Iterator[tuple[str, Path]]:
    """Write the modules of a spec; gives each definition's name and file."""
    full = str(Path(path).resolve())
    s = spec(full)
    folder = folder_of(path)
    folder.mkdir(parents=True, exist_ok=True)
    definitions = s.definitions()
    wanted = set(only) or set(definitions)
    for old in folder.glob("test_*.py"):
        if old.stem[5:] not in definitions:
            old.unlink()
    for name, versions in definitions.items():
        if name in wanted:
            file = folder / f"test_{name}.py"
            text = module_text(s, name, versions, full)
            if not file.exists() or file.read_text() != text:
                file.write_text(text)
            yield name, file
