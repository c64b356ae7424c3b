"""A folder that dist/vibee trained, read by transformers: the same tokens, logits and greedy text."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from vibee.cli.kernels import Decoder, Kernels
from vibee.cli.model import load_model

VIBEE = Path(__file__).resolve().parents[2] / "dist" / "vibee"
pytestmark = [
    pytest.mark.dist,
    pytest.mark.slow,
    pytest.mark.skipif(not VIBEE.exists(), reason="dist/vibee is not built (make dist)"),
]
TEXT = "".join(f"On day {i} the café sold {i * 7 % 100} cups – “well done”, said Zoë.\n" for i in range(2000))
CASES = [("gpt2", "char"), ("llama", "char"), ("gpt2", "bpe"), ("llama", "bpe")]
SMALL = ["--layers", "2", "--heads", "4", "--width", "64", "--context", "64", "--batch", "8", "--steps", "150"]


@pytest.mark.parametrize(("arch", "tokenizer"), CASES)
def test_logits_and_greedy_text(arch: str, tokenizer: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    (tmp_path / "text.txt").write_text(TEXT)
    extra = ["--kv-heads", "2"] if arch == "llama" else []
    extra += ["--vocab-size", "400"] if tokenizer == "bpe" else []
    words = [VIBEE, "train", "text.txt", "--arch", arch, "--tokenizer", tokenizer, *SMALL, *extra]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr

    place = tmp_path / "vibee-model"
    theirs = transformers.AutoModelForCausalLM.from_pretrained(place)
    words_to_ids = transformers.AutoTokenizer.from_pretrained(place)
    prompt = "On day 12 the café"
    ids = words_to_ids(prompt, return_tensors="pt").input_ids
    kernels = Kernels(1)
    ours = load_model(kernels, str(place))
    assert list(ours.tokenizer.encode(prompt.encode())) == ids[0].tolist()

    with torch.no_grad():
        wanted = theirs(ids).logits[0, -1]
    decoder = Decoder(kernels, ours.shape, ours.weights)
    decoder.feed(ids[0].tolist())
    found = torch.tensor(list(decoder.logits))
    assert (found - wanted).abs().max() < 1e-4 * max(1.0, float(wanted.abs().max()))

    answer = theirs.generate(ids, max_new_tokens=30, do_sample=False, pad_token_id=0)
    text = words_to_ids.decode(answer[0])
    words = [VIBEE, "infer", "--prompt", prompt, "-n", "30", "--temp", "0"]
    said = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert said.returncode == 0, said.stderr
    assert said.stdout.rstrip("\n") == text.rstrip("\n")
