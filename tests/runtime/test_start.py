"""What generating may import: every module is paid for by each start of the executable."""

import subprocess
import sys

LOAD = """
import sys
from vibee.runtime import model, machine, utf8
m = model.load(sys.argv[1])
machine.isa_level(); machine.available_processors()
from vibee.runtime.vocabulary import encode_single
encode_single(m.vocabulary, b"ab")
print(" ".join(sys.modules))
"""
HEAVY = {
    "argparse", "array", "collections", "collections.abc", "contextlib", "dataclasses", "enum", "functools",
    "inspect", "json", "logging", "numpy", "pathlib", "re", "tempfile", "threading", "typing",
}  # fmt: skip


def test_loading_a_model_imports_little(tmp_path):
    from vibee.runtime import atomic, buffers, model, shapes, vocabulary
    from vibee.runtime.shapes import Shape

    shape = Shape("gpt2", V=3, S=2, L=2, H=1, C=2)
    words = vocabulary.of_text(b"abc")
    atomic.write_files(str(tmp_path), model.files(shape, buffers.zeros(shapes.count(shape)), words))
    # -S: without `site`, whose imports depend on what is installed
    path = [p for p in sys.path if p]
    code = f"import sys; sys.path[:0] = {path!r}\n{LOAD}"
    got = subprocess.run(
        [sys.executable, "-S", "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )  # fmt: skip
    loaded = set(got.stdout.split())
    assert "vibee.runtime.model" in loaded
    assert not loaded & HEAVY
