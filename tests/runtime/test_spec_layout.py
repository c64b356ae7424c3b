"""The flat array of weights is that of the model's spec: the same names, shapes and order."""

from pathlib import Path

import pytest

from vibee.check.program import load
from vibee.runtime import shapes
from vibee.runtime.shapes import Shape
from vibee.tree.poly import evaluate

SPEC = Path(__file__).parents[2] / "specs" / "core" / "model.vibee"
SHAPES = [
    Shape("gpt2", V=65, S=32, L=3, H=4, C=64),
    Shape("llama", V=65, S=32, L=3, H=4, C=64, G=2, F=172),
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: s.arch)
def test_the_spec_agrees(shape):
    model = load(str(SPEC)).instance(shape.arch, {"real": "f32"})
    sizes = shape.to_dict()
    theirs = []
    for w in model.weights:
        copies = evaluate(w.copies, sizes) if w.copies is not None else 1
        theirs.append((w.name, copies, tuple(evaluate(n, sizes) for n in w.shape)))
    ours = [(w.name, w.copies, (w.rows, w.columns) if w.rows else (w.columns,)) for w in shapes.weights(shape)]
    assert ours == theirs


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: s.arch)
def test_parts_cover_every_weight(shape):
    for w in shapes.weights(shape):
        at = 0
        for _, first, rows, _ in w.parts:
            assert first == at
            at += rows
        assert at == max(1, w.rows)
