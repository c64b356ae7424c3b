"""Running Cython and the C compiler, and saying in one line what they did not like."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sysconfig
import threading
from pathlib import Path

from .errors import BuildError
from .flags import OPENMP, compile_flags, link_flags

_cython = threading.Lock()  # Cython's compiler keeps global state

# Scalar functions of a spec must disappear into the loops that call them, or those are not vectorised.
_INLINE = re.compile(r"^static CYTHON_INLINE (?=[\w ]+? __pyx_f_\w*_c_\w+\()", re.MULTILINE)

# The folder where the text happened to be compiled: no part of a module.
_PATH = re.compile(r'"[^"\n]*/(\w+\.pyx)"')

# A wrapper runs once per call: made small, which halves the time of the C compiler.  What it calls
# must then be kept out of it, and be told apart from code that is rarely run.
_WRAPPER = re.compile(r"^static (?=PyObject \*__pyx_p[fw]_)", re.MULTILINE)
_WRAPPED = r"^static (?=void __pyx_f_\w*?_c_(?:{names})\()"


def find_compiler() -> list[str]:
    """The C compiler's command: $CC, or the first of cc, gcc, clang on the PATH."""
    asked = os.environ.get("CC", "").strip()
    if asked:
        command = shlex.split(asked)
        if shutil.which(command[0]) is None:
            raise BuildError(f"the C compiler {command[0]!r} that CC names was not found")
        return command
    for name in ("cc", "gcc", "clang"):
        if path := shutil.which(name):
            return [path]
    raise BuildError("no C compiler found (cc, gcc or clang); on Debian: sudo apt-get install gcc libc6-dev")


def cythonize(pyx: Path, module: str, *, shared: str | None) -> Path:
    """Cython text -> C text beside it.  `shared` names the module that holds the code for memoryviews."""
    try:
        from Cython.Compiler.Main import CompilationOptions, compile_single
    except ImportError as e:
        raise BuildError("Cython is not installed: pip install cython") from e
    c = pyx.with_suffix(".c")
    extra = {"shared_utility_qualified_name": shared} if shared else {}
    with _cython:
        options = CompilationOptions(
            language_level=3, output_file=str(c), use_listing_file=1, errors_to_stderr=0, **extra
        )
        result = compile_single(str(pyx), options, module)
    if result.num_errors:
        listing = pyx.with_suffix(".lis")
        text = listing.read_text(errors="replace") if listing.exists() else ""
        found = re.search(r"^[^\n]*\.pyx:\d+:\d+: (.*)$", text, re.MULTILINE)
        what = found.group(1) if found else "no message"
        raise BuildError(f"internal error: Cython refused generated code ({what}); see {listing}")
    c.write_text(_attributes(c.read_text(), re.findall(r"^def (\w+)\(", pyx.read_text(), re.MULTILINE)))
    return c


def _attributes(text: str, wrapped: list[str]) -> str:
    """The C text with what Cython cannot say: what to inline, what to make fast, what to make small."""
    text = _PATH.sub(r'"\1"', text)
    text = _INLINE.sub("static inline __attribute__((always_inline)) ", text)
    text = _WRAPPER.sub("static __attribute__((cold)) ", text)
    names = "|".join(map(re.escape, wrapped))
    pattern = re.compile(_WRAPPED.format(names=names), re.MULTILINE)
    return pattern.sub("static __attribute__((hot, noinline)) ", text)


def shared_views(c: Path) -> None:
    """Write the C text of the module that holds Cython's memoryview code, once for all others."""
    try:
        from Cython.Build.SharedModule import generate_shared_module
        from Cython.Compiler.Main import CompilationOptions
    except ImportError as e:
        raise BuildError("Cython 3.1 or newer is needed: pip install --upgrade cython") from e
    with _cython:
        generate_shared_module(CompilationOptions(shared_c_file_path=str(c)))


def compile_c(c: Path, so: Path, isa: str, log: Path, *, optimize: bool = True) -> None:
    """C text -> module, with OpenMP if the compiler has it; `log` keeps the whole output if it fails."""
    command = find_compiler()
    flags = compile_flags(isa)
    if not optimize:
        flags = ["-O1" if f == "-O3" else f for f in flags]
    include = sysconfig.get_paths()["include"]
    if not Path(include, "Python.h").exists():
        raise BuildError(f"Python.h is not in {include}; on Debian: sudo apt-get install python3-dev")
    base = [*command, *flags, f"-I{include}"]
    result = _run([*base, *OPENMP, str(c), "-o", str(so), *link_flags()])
    if result.returncode and re.search(r"openmp|omp\.h|gomp|libomp", result.stdout, re.IGNORECASE):
        result = _run([*base, str(c), "-o", str(so), *link_flags()])  # serial
    if result.returncode:
        log.write_text(shlex.join(base) + "\n" + result.stdout)
        lines = [line for line in result.stdout.splitlines() if "error" in line.lower()]
        first = lines[0].strip() if lines else result.stdout.strip().splitlines()[-1:] or ["no message"]
        raise BuildError(f"the C compiler failed: {first if isinstance(first, str) else first[0]}; see {log}")


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "LC_ALL": "C"}
    try:
        return subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=env, check=False
        )
    except OSError as e:
        raise BuildError(f"the C compiler {command[0]!r} cannot be run: {e.strerror}") from e
