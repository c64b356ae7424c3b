"""The entry of the command line, of `python -m vibee` and of the executable.

`infer` spelled plainly runs before typer is imported; everything else goes through the typer
app.  Whatever goes wrong is told in one line; VIBEE_DEBUG=1 shows the traceback instead.
"""

import os

# libgomp reads these when a kernel module is loaded.  Its default lets idle threads spin for
# milliseconds, which on a busy machine costs more than a small model's whole answer.  (The number is
# that of vibee.build.extension, which is no part of the executable.)
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

import sys


def run(args: list[str]) -> int:
    """Carry out one command line and give its exit status."""
    if args and args[0] == "infer":
        from vibee.cli.fast import parse_infer

        options = parse_infer(args[1:])
        if options is not None:
            from vibee.cli.infer import infer

            return infer(options)
    if args == ["--version"]:
        from vibee import __version__

        print(f"vibee {__version__}")
        return 0
    from vibee.cli.app import run_app

    return run_app(args)


def guarded(args: list[str]) -> int:
    """`run`, with every failure turned into one line and an exit status."""
    try:
        return run(args)
    except SystemExit as e:
        return int(e.code or 0)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader went away (`| head`): no error, but nothing more may be written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except BaseException as e:
        if os.environ.get("VIBEE_DEBUG"):
            raise
        from vibee.cli.failures import explain

        complain(f"vibee: {explain(e)}\n")
        return 2


def complain(text: str) -> None:
    """Write all of standard error; where that cannot be, the exit status has to do."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what is left is not tried again at the end of the process


def main() -> None:
    """Run the command line of this process and end it."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us: what is said goes nowhere
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    status = guarded(sys.argv[1:])
    try:
        sys.stdout.flush()
    except OSError as e:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left is not tried again at the end of the process
        if status == 0 and not isinstance(e, BrokenPipeError):
            complain(f"vibee: cannot write the output: {e.strerror}\n")
            status = 2
    complain("")
    if getattr(sys, "frozen", False):
        os._exit(status)  # all is flushed: the interpreter's teardown would only cost time
    sys.exit(status)


if __name__ == "__main__":
    main()
