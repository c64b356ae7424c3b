"""What a training run is asked to do, and what that comes to for a given text."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from vibee.runtime.errors import UserError


@dataclass(frozen=True)
class TrainOptions:
    """The words of one `vibee train`; None where nothing was said."""

    data: tuple[str, ...] = ()
    out: str = "vibee-model"
    preset: str | None = None
    arch: str | None = None
    tokenizer: str | None = None
    vocab_size: int | None = None
    layers: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    width: int | None = None
    context: int | None = None
    batch: int | None = None
    accumulate: int | None = None
    steps: int | None = None
    minutes: float | None = None
    lr: float | None = None
    optimizer: str | None = None
    precision: str | None = None
    init_std: float | None = None
    seed: int | None = None
    threads: int = 0
    resume: bool = False
    eval_every: int | None = None
    sample_every: int | None = None
    log: str | None = None


@dataclass(frozen=True)
class Settings:
    """Every number of a run, decided.  Kept with the checkpoint: a resumed run is the same run."""

    arch: str = "gpt2"
    tokenizer: str = "char"
    vocab_size: int = 0  # 0: as many as the text has
    layers: int = 4
    heads: int = 4
    kv_heads: int = 4
    width: int = 128
    context: int = 64
    batch: int = 12
    accumulate: int = 1
    steps: int = 2000
    lr: float = 1e-3
    min_lr: float = 1e-4
    warmup: int = 100
    optimizer: str = "adamw"
    beta1: float = 0.9
    beta2: float = 0.99
    weight_decay: float = 0.1
    clip: float = 1.0
    precision: str = "f32"  # of products with weights, in the steps
    init_std: float = 0.0  # of the initial weights; 0: by width
    seed: int = 1
    eval_every: int = 250
    sample_every: int = 500

    def to_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return asdict(self)

    @staticmethod
    def from_dict(found: dict[str, Any]) -> Settings:
        """From a checkpoint; what an older version did not write has its default."""
        known = {f.name for f in fields(Settings)}
        return Settings(**{k: v for k, v in found.items() if k in known})


# nanoGPT's published CPU recipe: python train.py config/train_shakespeare_char.py --device=cpu
# --compile=False --eval_iters=20 --log_interval=1 --block_size=64 --batch_size=12 --n_layer=4
# --n_head=4 --n_embd=128 --max_iters=2000 --lr_decay_iters=2000 --dropout=0.0
NANOGPT_CPU = Settings()

# Each has its own scale: the sign-like updates of lion are about ten times those of adamw.
DEFAULT_LR = {"adamw": 1e-3, "lion": 1e-4, "muon": 2e-2, "sgd": 1e-1}


def adamw_lr(width: int) -> float:
    """adamw's rate falls as the width grows (Yang et al. 2022, arXiv:2203.03466)."""
    return min(2e-3, 0.4 / width)


# bytes of text up to which a shape is used: (layers, heads, width, context, batch, steps)
SHAPES = (
    (20_000, (2, 2, 64, 32, 16, 400)),
    (200_000, (3, 4, 96, 64, 12, 1000)),
    (4_000_000, (4, 4, 128, 64, 12, 1200)),
    (50_000_000, (6, 6, 192, 128, 16, 5000)),
    (1 << 62, (8, 8, 256, 256, 16, 20000)),
)
BPE_FROM = 4_000_000  # bytes of text from which byte pairs are worth their larger vocabulary


def for_text(size: int) -> Settings:
    """Defaults for a text of `size` bytes, chosen so that training takes minutes on two cores."""
    shape = next(s for limit, s in SHAPES if size <= limit)
    layers, heads, width, context, batch, steps = shape
    bpe = size > BPE_FROM
    vocab = (1024 if size < 50_000_000 else 4096) if bpe else 0
    return Settings(
        arch="llama", tokenizer="bpe" if bpe else "char", vocab_size=vocab, layers=layers, heads=heads, kv_heads=heads,
        width=width, context=context, batch=batch, steps=steps, sample_every=500,
    )  # fmt: skip


def settle(options: TrainOptions, size: int) -> Settings:
    """The settings of a new run on a text of `size` bytes."""
    base = NANOGPT_CPU if options.preset == "nanogpt-cpu" else for_text(size)
    said = {
        name: getattr(options, name)
        for name in (
            "arch", "tokenizer", "vocab_size", "layers", "heads", "kv_heads", "width", "context", "batch",
            "accumulate", "steps", "lr", "optimizer", "precision", "init_std", "seed", "eval_every", "sample_every",
        )
        if getattr(options, name) is not None
    }  # fmt: skip
    chosen = replace(base, **said)
    fill: dict[str, Any] = {}
    if options.heads is None and chosen.width % chosen.heads:
        # Only the width was said: the most heads up to the usual number that divide it.
        fill["heads"] = next(h for h in range(chosen.heads, 0, -1) if chosen.width % h == 0)
    if options.arch is None and chosen.width // fill.get("heads", chosen.heads) % 2:
        fill["arch"] = "gpt2"  # llama rotates pairs of a head's columns
    if options.lr is None:
        by_width = chosen.optimizer == "adamw" and options.preset is None
        fill["lr"] = adamw_lr(chosen.width) if by_width else DEFAULT_LR[chosen.optimizer]
    if chosen.optimizer == "muon":
        fill["beta1"] = 0.95
    if options.kv_heads is None:
        fill["kv_heads"] = fill.get("heads", chosen.heads)
    if chosen.tokenizer == "bpe" and chosen.vocab_size == 0:
        fill["vocab_size"] = 1024
    chosen = replace(chosen, **fill)
    return scheduled(chosen, options)


def scheduled(settings: Settings, options: TrainOptions) -> Settings:
    """What follows from the number of steps and the peak rate: warm-up, floor, intervals."""
    steps = settings.steps
    return replace(
        settings,
        min_lr=settings.lr / 10,
        warmup=min(100, max(1, steps // 10)),
        eval_every=options.eval_every if options.eval_every is not None else min(250, max(1, steps // 4)),
        sample_every=options.sample_every if options.sample_every is not None else min(500, max(1, steps // 2)),
    )


# What a run that goes on cannot change.
FIXED = ("arch", "tokenizer", "vocab_size", "layers", "heads", "kv_heads", "width", "context", "batch", "accumulate",
         "lr", "optimizer", "precision", "init_std", "seed")  # fmt: skip


def resumed(first: Settings, options: TrainOptions) -> Settings:
    """The settings of a run that goes on: those it began with, but for steps and intervals that are said anew."""
    if options.preset is not None:
        raise UserError(f"--preset {options.preset} is for a new run; leave it out to resume, or train anew without "
                        "--resume")  # fmt: skip
    for name in FIXED:
        said = getattr(options, name)
        if said is not None and said != getattr(first, name):
            raise UserError(
                f"--{name.replace('_', '-')} {said} is not what this run began with ({getattr(first, name)}); leave it "
                "out to resume, or train anew without --resume"
            )
    refuse_no_time(options)
    names = ("steps", "eval_every", "sample_every")
    s = replace(first, **{name: getattr(options, name) for name in names if getattr(options, name) is not None})
    if s.steps == first.steps:
        return s
    return scheduled(s, TrainOptions(eval_every=s.eval_every, sample_every=s.sample_every))


def refuse_nonsense(s: Settings, options: TrainOptions) -> None:
    """Combinations that no single option's range excludes."""
    if s.width % s.heads:
        fits = [h for h in range(1, s.width + 1) if s.width % h == 0 and h <= 2 * s.heads]
        raise UserError(
            f"--width {s.width} is not a multiple of --heads {s.heads}; heads that fit: {', '.join(map(str, fits))}"
        )
    if options.kv_heads is not None and s.arch != "llama":
        raise UserError("--kv-heads is for --arch llama; gpt2 has as many key-value heads as heads")
    if s.heads % s.kv_heads:
        raise UserError(f"--heads {s.heads} is not a multiple of --kv-heads {s.kv_heads}")
    if s.arch == "llama" and (s.width // s.heads) % 2:
        raise UserError(
            f"--arch llama rotates pairs: --width {s.width} / --heads {s.heads} = {s.width // s.heads} is odd; "
            f"try --width {s.width + s.heads}"
        )
    if options.vocab_size is not None and s.tokenizer == "char":
        raise UserError("--vocab-size is for --tokenizer bpe; characters have as many entries as the text needs")
    if not s.lr > 0:
        raise UserError("--lr must be more than 0")
    refuse_no_time(options)


def refuse_no_time(options: TrainOptions) -> None:
    """No minutes at all are not what anybody wants."""
    if options.minutes is not None and not options.minutes > 0:
        raise UserError("--minutes must be more than 0")
