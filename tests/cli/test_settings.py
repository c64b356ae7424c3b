"""The numbers of a run: the published recipe to the letter, and defaults that hold together for any text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vibee.cli.settings import Settings, TrainOptions, refuse_nonsense, resumed, settle
from vibee.runtime.errors import UserError


def test_the_preset_is_nanogpts_recipe() -> None:
    s = settle(TrainOptions(preset="nanogpt-cpu"), 1_115_394)
    assert (s.arch, s.tokenizer, s.layers, s.heads, s.width, s.context, s.batch) == ("gpt2", "char", 4, 4, 128, 64, 12)
    assert (s.steps, s.optimizer, s.lr, s.min_lr, s.warmup) == (2000, "adamw", 1e-3, 1e-4, 100)
    assert (s.beta1, s.beta2, s.weight_decay, s.clip) == (0.9, 0.99, 0.1, 1.0)
    assert (s.accumulate, s.eval_every) == (1, 250)


@given(st.integers(1, 10**12))
def test_defaults_hold_together_for_any_text(size: int) -> None:
    s = settle(TrainOptions(), size)
    refuse_nonsense(s, TrainOptions())
    assert 0 < s.warmup < s.steps
    assert 0 < s.min_lr < s.lr
    assert 1 <= s.eval_every <= s.steps


def test_llama_is_the_default_where_its_heads_have_pairs_of_columns() -> None:
    assert settle(TrainOptions(), 10**6).arch == "llama"
    assert settle(TrainOptions(width=33), 10**6).arch == "gpt2"
    assert settle(TrainOptions(width=36, heads=4), 10**6).arch == "gpt2"
    assert settle(TrainOptions(arch="gpt2"), 10**6).arch == "gpt2"


def test_the_rate_of_adamw_falls_with_the_width_but_in_the_preset() -> None:
    rates = [settle(TrainOptions(width=w), 10**6).lr for w in (128, 256, 384, 512)]
    assert rates == sorted(rates, reverse=True)
    assert len(set(rates)) > 2
    assert settle(TrainOptions(optimizer="muon"), 10**6).lr == settle(TrainOptions(optimizer="muon", width=512), 1).lr
    assert settle(TrainOptions(preset="nanogpt-cpu", width=512), 10**6).lr == 1e-3


def test_byte_pairs_alone_bring_a_vocabulary() -> None:
    assert settle(TrainOptions(tokenizer="bpe"), 10_000).vocab_size == 1024
    assert settle(TrainOptions(tokenizer="bpe", vocab_size=300), 10_000).vocab_size == 300


@given(st.integers(1, 4096))
def test_a_width_alone_brings_heads_that_divide_it(width: int) -> None:
    s = settle(TrainOptions(width=width), 10**6)
    assert s.width == width
    assert width % s.heads == 0
    assert s.heads % s.kv_heads == 0


def test_settings_survive_a_checkpoint() -> None:
    s = settle(TrainOptions(arch="llama", heads=4, kv_heads=2, width=64, steps=7, optimizer="muon"), 5)
    assert Settings.from_dict(s.to_dict()) == s
    assert Settings.from_dict({**s.to_dict(), "unknown": 1}) == s


NONSENSE = [
    (TrainOptions(width=100, heads=3), "--width 100 is not a multiple of --heads 3"),
    (TrainOptions(arch="gpt2", kv_heads=2), "--kv-heads is for --arch llama"),
    (TrainOptions(arch="llama", heads=4, kv_heads=3, width=128), "--heads 4 is not a multiple of --kv-heads 3"),
    (TrainOptions(arch="llama", heads=4, width=36), "36 / --heads 4 = 9 is odd; try --width 40"),
    (TrainOptions(vocab_size=512, tokenizer="char"), "--vocab-size is for --tokenizer bpe"),
    (TrainOptions(lr=0.0), "--lr must be more than 0"),
    (TrainOptions(lr=float("nan")), "--lr must be more than 0"),
    (TrainOptions(minutes=0.0), "--minutes must be more than 0"),
]


@pytest.mark.parametrize(("options", "message"), NONSENSE, ids=[m for _, m in NONSENSE])
def test_nonsense_is_refused_in_words(options: TrainOptions, message: str) -> None:
    with pytest.raises(UserError) as e:
        refuse_nonsense(settle(options, 10**6), options)
    assert message in str(e.value)


def test_a_run_that_goes_on_keeps_what_is_not_said_anew() -> None:
    first = settle(TrainOptions(steps=400, eval_every=7, sample_every=0), 10**6)
    assert resumed(first, TrainOptions()) == first
    longer = resumed(first, TrainOptions(steps=2000))
    assert (longer.steps, longer.warmup, longer.eval_every, longer.sample_every) == (2000, 100, 7, 0)
    other = resumed(first, TrainOptions(sample_every=9))
    assert (other.steps, other.eval_every, other.sample_every) == (400, 7, 9)


@pytest.mark.parametrize(("options", "message"), [
    (TrainOptions(preset="nanogpt-cpu"), "--preset nanogpt-cpu is for a new run"),
    (TrainOptions(kv_heads=1), "--kv-heads 1 is not what this run began with (4)"),
    (TrainOptions(minutes=0.0), "--minutes must be more than 0"),
])  # fmt: skip
def test_a_run_that_goes_on_refuses_what_it_cannot_change(options: TrainOptions, message: str) -> None:
    with pytest.raises(UserError) as e:
        resumed(settle(TrainOptions(), 10**6), options)
    assert message in str(e.value)


def test_initial_deviation():
    """--init-std is nanoGPT's 0.02 where it is asked for, and by width (0) where it is not."""
    assert settle(TrainOptions(preset="nanogpt-cpu"), 1_000_000).init_std == 0
    assert settle(TrainOptions(preset="nanogpt-cpu", init_std=0.02), 1_000_000).init_std == 0.02
