"""The typer application: help texts, option types and ranges.  The work is done elsewhere."""

from __future__ import annotations

import os

os.environ["TYPER_USE_RICH"] = "0"  # plain help texts; rich would double the executable's start

from typing import Annotated, Literal

import typer
from typer import Argument, Option

from .options import INFER_TABLE, InferOptions

app = typer.Typer(
    name="vibee",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="Train, run and benchmark language models on any CPU; compile kernels from .vibee specs.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from vibee import __version__

        print(f"vibee {__version__}")
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool, Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Train, run and benchmark language models on any CPU; compile kernels from .vibee specs."""


@app.command()
def train(
    data: Annotated[
        list[str] | None,
        Argument(metavar="DATA...", help="Text files, folders, or - for standard input. Any bytes will do."),
    ] = None,
    out: Annotated[str, Option(metavar="DIR", help="Folder for the model.")] = "vibee-model",
    preset: Annotated[
        Literal["nanogpt-cpu"] | None, Option(help="A published recipe; other options change single values of it.")
    ] = None,
    arch: Annotated[Literal["gpt2", "llama"] | None, Option(help="Model family. [default: llama]")] = None,
    tokenizer: Annotated[
        Literal["char", "bpe"] | None, Option(help="Characters or byte pairs. [default: by size of the text]")
    ] = None,
    vocab_size: Annotated[
        int | None,
        Option(metavar="N", min=257, max=1_000_000, help="Entries of a byte-pair vocabulary. [default: by size]"),
    ] = None,
    layers: Annotated[
        int | None, Option(metavar="N", min=1, max=1024, help="Layers. [default: by size of the text]")
    ] = None,
    heads: Annotated[int | None, Option(metavar="N", min=1, max=1024, help="Attention heads.")] = None,
    kv_heads: Annotated[
        int | None, Option(metavar="N", min=1, max=1024, help="Key-value heads of a llama. [default: as many as heads]")
    ] = None,
    width: Annotated[int | None, Option(metavar="N", min=1, max=65536, help="Width of the model.")] = None,
    context: Annotated[
        int | None, Option(metavar="N", min=1, max=1_048_576, help="Tokens that the model sees at once.")
    ] = None,
    batch: Annotated[int | None, Option(metavar="N", min=1, max=1_048_576, help="Sequences in one batch.")] = None,
    accumulate: Annotated[
        int | None, Option(metavar="N", min=1, max=65536, help="Batches summed for one step.")
    ] = None,
    steps: Annotated[int | None, Option(metavar="N", min=1, max=2**40, help="Steps in all. [default: by size]")] = None,
    minutes: Annotated[
        float | None, Option(metavar="N", min=0.0, max=1e6, help="Choose the number of steps for about this time.")
    ] = None,
    lr: Annotated[
        float | None, Option(metavar="N", min=0.0, max=100.0, help="Peak learning rate. [default: by width]")
    ] = None,
    optimizer: Annotated[
        Literal["adamw", "lion", "muon", "sgd"] | None, Option(help="How weights are updated. [default: adamw]")
    ] = None,
    precision: Annotated[
        Literal["f32", "bf16"] | None, Option(help="Of products with weights; all else is f32. [default: f32]")
    ] = None,
    init_std: Annotated[
        float | None,
        Option(metavar="N", min=0.0, max=100.0, help="Deviation of initial weights. [default: 0.554 / sqrt(width)]"),
    ] = None,
    seed: Annotated[
        int | None, Option(metavar="N", min=0, max=2**63 - 1, help="Seed of all random numbers. [default: 1]")
    ] = None,
    threads: Annotated[
        int,
        Option(
            "-t",
            "--threads",
            metavar="N",
            min=0,
            max=1024,
            help="Threads; 0 means all. The result is the same for any.",
        ),
    ] = 0,
    resume: Annotated[bool, Option("--resume", help="Go on from the last checkpoint in the output folder.")] = False,
    eval_every: Annotated[
        int | None, Option(metavar="N", min=1, max=2**40, help="Steps between validation losses.")
    ] = None,
    sample_every: Annotated[
        int | None, Option(metavar="N", min=0, max=2**40, help="Steps between samples; 0: none.")
    ] = None,
    log: Annotated[str | None, Option(metavar="FILE", help="Write one JSON object a line.")] = None,
) -> int:
    """Train a model on text. Without DATA: on a small built-in text.

    Ctrl-C stops after the current step and saves; --resume goes on as if it had never stopped.
    """
    from .settings import TrainOptions
    from .train import train as run

    options = TrainOptions(
        data=tuple(data or ()), out=out, preset=preset, arch=arch, tokenizer=tokenizer, vocab_size=vocab_size,
        layers=layers, heads=heads, kv_heads=kv_heads, width=width, context=context, batch=batch,
        accumulate=accumulate, steps=steps, minutes=minutes, lr=lr, optimizer=optimizer, precision=precision,
        init_std=init_std, seed=seed, threads=threads, resume=resume, eval_every=eval_every,
        sample_every=sample_every, log=log,
    )  # fmt: skip
    for name, value in vars(options).items():
        _refuse_nan(name, value)
    return run(options)


def _refuse_nan(name: str, value: object) -> None:
    """typer's ranges let a NaN pass."""
    if isinstance(value, float) and value != value:
        raise typer.BadParameter("nan is not a number", param_hint=f"'--{name.replace('_', '-')}'")


def _bounded(name: str) -> dict[str, float]:
    _, _, low, high = INFER_TABLE[name]
    return {"min": low, "max": high}


@app.command()
def infer(
    prompt: Annotated[
        str, Option("-p", "--prompt", metavar="TEXT", help="Text to go on from; - reads standard input.")
    ],
    model: Annotated[str, Option("-m", "--model", metavar="DIR", help="Folder of a trained model.")] = "vibee-model",
    n_predict: Annotated[
        int,
        Option(
            "-n", "--n-predict", "--predict", metavar="N", **_bounded("n_predict"), help="Tokens; -1: until Ctrl-C."
        ),
    ] = 256,
    temp: Annotated[float, Option(metavar="N", **_bounded("temp"), help="Temperature; 0 is greedy.")] = 0.8,
    top_k: Annotated[int, Option(metavar="N", **_bounded("top_k"), help="Keep the k likeliest tokens; 0: all.")] = 40,
    top_p: Annotated[
        float, Option(metavar="N", **_bounded("top_p"), help="Keep tokens up to this probability; 1: all.")
    ] = 0.95,
    min_p: Annotated[
        float, Option(metavar="N", **_bounded("min_p"), help="Drop tokens under this share of the likeliest; 0: none.")
    ] = 0.05,
    repeat_penalty: Annotated[
        float, Option(metavar="N", **_bounded("repeat_penalty"), help="Make repeated tokens less likely; 1: off.")
    ] = 1.0,
    repeat_last_n: Annotated[
        int,
        Option(metavar="N", **_bounded("repeat_last_n"), help="Tokens that count as repeated; -1: the whole context."),
    ] = 64,
    seed: Annotated[
        int, Option("-s", "--seed", metavar="N", **_bounded("seed"), help="Seed; -1: a new one each time.")
    ] = -1,
    precision: Annotated[
        Literal["f32", "bf16"], Option(help="In which weights are kept in memory; bf16: half of it, and faster.")
    ] = "f32",
    threads: Annotated[int, Option("-t", "--threads", metavar="N", **_bounded("threads"), help="Threads; 0: all.")] = 0,
    stats: Annotated[bool, Option("--stats", help="One line of JSON with times on standard error.")] = False,
) -> int:
    """Generate text that goes on from a prompt."""
    from .infer import infer as run

    options = InferOptions()
    for name, value in (
        ("prompt", prompt), ("model", model), ("n_predict", n_predict), ("temp", temp), ("top_k", top_k),
        ("top_p", top_p), ("min_p", min_p), ("repeat_penalty", repeat_penalty),
        ("repeat_last_n", repeat_last_n), ("seed", seed), ("precision", precision), ("threads", threads),
        ("stats", stats),
    ):  # fmt: skip
        _refuse_nan(name, value)
        setattr(options, name, value)
    return run(options)


@app.command()
def bench(
    specs: Annotated[
        list[str] | None,
        Argument(metavar="SPEC...", help="Measure what .vibee specs, or folders of them, define (needs a compiler)."),
    ] = None,
    json: Annotated[bool, Option("--json", help="JSON for machines instead of a table.")] = False,
    quick: Annotated[bool, Option("--quick", help="A few seconds instead of a minute; less precise.")] = False,
    versus: Annotated[
        str, Option("--vs", metavar="LIST", help="Measure numpy,torch beside (in a Python environment).")
    ] = "",
    threads: Annotated[int, Option("-t", "--threads", metavar="N", min=0, max=1024, help="Threads; 0: all.")] = 0,
) -> int:
    """Measure this machine, every kernel, training and generation; or the kernels of specs."""
    from .bench import bench as run

    return run(specs or [], json, quick, [name for name in versus.split(",") if name], threads)


@app.command(name="compile")
def compile_(
    file: Annotated[str, Argument(metavar="FILE", help="A .vibee spec.")],
    emit: Annotated[
        Literal["tree", "checked", "lowered", "pyx", "so"],
        Option(help="The stage to show; so builds the module and prints its path."),
    ] = "so",
) -> int:
    """Compile a spec, or show a stage on the way."""
    from .specs import compile_spec

    return compile_spec(file, emit)


@app.command()
def check(
    files: Annotated[list[str], Argument(metavar="FILE...", help=".vibee specs.")],
) -> int:
    """Check specs and list every error in them."""
    from .specs import check_specs

    return check_specs(files)


@app.command()
def verify(
    paths: Annotated[list[str], Argument(metavar="FILE|DIR...", help=".vibee specs, or folders of them.")],
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
    timeout: Annotated[
        int | None,
        Option(metavar="MS", min=1, max=600_000, help="Milliseconds for one question to the solver. [default: 800]"),
    ] = None,
    isa: Annotated[Literal["v2", "v3", "v4"], Option(help="The instruction set whose loops are looked at.")] = "v3",
) -> int:
    """Prove specs: what holds for all sizes, what does not (with a counterexample), and what is tested instead."""
    from .verify import verify_specs

    return verify_specs(paths, as_json, timeout, isa)


@app.command()
def test(
    paths: Annotated[list[str], Argument(metavar="FILE|DIR...", help=".vibee specs, or folders of them.")],
    seed: Annotated[
        int | None, Option("-s", "--seed", metavar="N", min=0, help="Seed of what is drawn. [default: always the same]")
    ] = None,
    only: Annotated[str, Option("-k", "--only", metavar="NAMES", help="Only these definitions, as in f,g.")] = "",
    verbose: Annotated[bool, Option("-v", "--verbose", help="Tell what was skipped, and what took long.")] = False,
    jobs: Annotated[
        int, Option("-j", "--jobs", metavar="N", min=0, help="Processes at once. [default: one per processor]")
    ] = 0,
    cases: Annotated[
        int | None, Option("-c", "--cases", metavar="N", min=1, help="Drawn cases of a test. [default: 12]")
    ] = None,
    isa: Annotated[
        Literal["v2", "v3", "v4"] | None, Option(help="Only this instruction set. [default: all of the processor]")
    ] = None,
) -> int:
    """Generate tests from specs, and run them (in a Python environment with pytest and hypothesis)."""
    from .testing import test_specs

    return test_specs(paths, seed, [name for name in only.split(",") if name], verbose, jobs, cases, isa)


def run_app(words: list[str]) -> int:
    """Carry out a command line; a mistake in it is one line and exit status 2."""
    import sys

    from typer._click.exceptions import NoArgsIsHelpError, UsageError

    # Not `app(words)`: that would make a pipe without a reader a failure, and here it is none.
    command = typer.main.get_command(app)
    try:
        with command.make_context("vibee", [*words]) as context:
            return int(command.invoke(context))
    except typer.Exit as e:
        return e.exit_code
    except NoArgsIsHelpError as e:
        print(e.format_message())
        return 2
    except UsageError as e:
        path = e.ctx.command_path if e.ctx else "vibee"
        text = " ".join(e.format_message().split()).rstrip(".")
        print(f"{path}: {text} (see {path} --help)", file=sys.stderr)
        return 2
