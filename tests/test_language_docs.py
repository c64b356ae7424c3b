"""Every example of docs/language.md is checked, built and run."""

import re
from pathlib import Path

import numpy as np
import pytest

import vibee
from vibee.api.models import ModelFunctions
from vibee.check import load
from vibee.check.parse_expr import RESERVED
from vibee.cli.specs import check_specs

PAGE = Path(__file__).parents[1] / "docs" / "language.md"
BLOCK = re.compile(r"^```([\w-]+)\n(.*?)^```$", re.M | re.S)
BLOCKS = [
    (m.group(1), m.group(2), PAGE.read_text()[: m.start()].count("\n") + 1) for m in BLOCK.finditer(PAGE.read_text())
]
SPECS = [
    (text, BLOCKS[n + 1][1] if BLOCKS[n + 1 : n + 2] and BLOCKS[n + 1][0] == "python" else "", line)
    for n, (kind, text, line) in enumerate(BLOCKS)
    if kind == "vibee"
]
WRONG = [(text, line) for kind, text, line in BLOCKS if kind == "vibee-wrong"]


def test_kinds():
    assert {kind for kind, _, _ in BLOCKS} == {"vibee", "python", "vibee-wrong"}
    assert len(SPECS) > 15
    assert len(WRONG) > 5


@pytest.mark.parametrize(("text", "code", "line"), SPECS, ids=[f"line{s[2]}" for s in SPECS])
def test_example(text, code, line, tmp_path):
    path = tmp_path / f"example_{line}.vibee"
    path.write_text(text)
    assert check_specs([str(path)]) == 0
    if code:
        k = vibee.load(path)
        exec(compile(code, f"language.md:{line}", "exec"), {"k": k, "np": np})
        run_models(k)


def run_models(k):
    """Forward and loss of every model, all sizes 2: a model that cannot run is no example."""
    for m in (getattr(k, name) for name in dir(k)):
        if isinstance(m, ModelFunctions):
            params = m._first.params
            w = m.init(**dict.fromkeys(m._first.sizes, 2))
            inputs = [np.ones((2,) * len(p.shape), "f") for p in params if p.kind == "in"]
            sizes = {p.name: 2 for p in params if p.kind == "size"}
            assert m.forward(w, *inputs, **sizes)[0] == m.loss(w, *inputs, **sizes)


@pytest.mark.parametrize(("text", "line"), WRONG, ids=[f"line{w[1]}" for w in WRONG])
def test_mistakes(text, line, tmp_path):
    path = tmp_path / "wrong.vibee"
    path.write_text(text)
    expected = re.findall(r"^# (\d+:\d+: .*)$", text, re.M)
    assert [f"{e.span.line}:{e.span.col}: {e.message}" for e in load(path).errors] == expected


def test_reserved_words_are_listed():
    words = set(re.findall(r"\w+", PAGE.read_text().split("## Words of the language")[1]))
    types = {"f32", "f64", "bf16", "i8", "u8", "i32", "i64", "u32", "u64", "bool", "real"}
    assert RESERVED - types <= words
