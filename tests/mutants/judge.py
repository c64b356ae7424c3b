"""One mutant of a spec: refused, killed by the prover or by the tests that its spec generates, equivalent, or alive.

The formula is the oracle of its own kernel, so that a mutated formula cannot be found by comparing the two.  It dies
by what the spec says besides: example, then, law, raises, implements, gradient and derivative, and by the proofs.

The tests are run twice.  First with the oracle in the place of the kernel (that they agree is what the tests of the
unchanged compiler are for), which takes a tenth of a second and no C compiler; what survives, again with kernels.
"""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import resource
import select
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edits import Edit, Source

from vibee import testing
from vibee.api.arrays import NUMPY
from vibee.api.library import Build
from vibee.build import flags
from vibee.check import load, modules
from vibee.check.errors import Errors
from vibee.check.surface import RawFile
from vibee.grad import GradError, vjp
from vibee.lower.model import lower_model
from vibee.lower.unit import Unit
from vibee.prove import refute
from vibee.prove.verify import REFUTED, verify
from vibee.testing import checks, gradients, laws
from vibee.testing.draw import KINDS, made
from vibee.testing.generate import plans
from vibee.testing.numbers import Failure, Undetermined
from vibee.testing.subject import Spec, Subject, as_floats
from vibee.tree import listing
from vibee.tree.defs import Definition, Formula, Model

DRAWN = "the same values on drawn cases"  # why a mutant is called equivalent, by evidence and not by proof
REFUSED, PROVER, TESTS, TIME, EQUIVALENT, ALIVE = (
    "refused", "killed by the prover", "killed by tests", "killed by time", "equivalent", "survived",
)  # fmt: skip
QUICK = ("example", "then", "law", "implements", "gradient")  # what the oracle can stand in for
KERNELS = ("raises", "agrees", "refusals")  # what survivors are tried with in addition, compiled
LIMIT = 120.0  # seconds of the processor for one mutant, at least
TIMES = 30  # or so many times what the tests and proofs take without a change; most goes into building a survivor
DRAWS = 24  # cases on which a mutant and its original are compared


@dataclass
class Verdict:
    """What came of one mutant."""

    outcome: str
    why: str = ""
    seconds: float = 0.0


@dataclass
class Original:
    """What is needed of the unchanged spec to judge its mutants."""

    source: Source
    path: Path
    name: str
    users: set[str]
    text: str
    kept: set[str]  # the definitions in the text
    own: set[str]  # its name, and those of what is made from it
    failing: set[str] = field(default_factory=set)  # tests that fail, or cannot be run quickly, without any change
    unproved: int = 0
    limit: float = LIMIT  # seconds of the processor for a mutant


def prepare(cache: str) -> None:
    """What the process does first: a cache of its own, the prelude parsed once, few and small cases, one level."""
    os.environ["XDG_CACHE_HOME"] = cache
    os.environ["VIBEE_ISA"] = "v3"
    real, kept = modules.parse, {}

    def parse(text: str, path: str, errors: Errors) -> RawFile:
        if cache in path:
            return real(text, path, errors)
        if path not in kept:
            kept[path] = real(text, path, errors)
        return kept[path]

    modules.parse = parse
    checks.SHRINK = 0.0
    checks.drawn.__defaults__ = (8, KINDS, 1500)
    checks.STEPS = 20_000
    refute.SECONDS = 1.5
    for m in (checks, laws):
        m.levels = lambda: ["v3"]  # type: ignore[attr-defined]


@contextlib.contextmanager
def by_the_oracle() -> Iterator[None]:
    """Inside, the oracle's values, rounded, stand for those of the kernels, which are not built."""

    def call(self: Subject, case: Any, isa: str = "", threads: int = 1) -> dict[str, np.ndarray]:
        return {n: _rounded(self.head.param(n).dtype, x.v) for n, x in self.expected(case).items()}

    def side(self: laws.Sides, e: Any) -> np.ndarray:
        x = self.high(e, self.subject.oracle()).v
        return np.asarray(x).astype(NUMPY[self.dtype]) if np.asarray(x).dtype.kind == "f" else np.asarray(x)

    spots: list[tuple[Any, str, Any]] = [
        (Subject, "call", call),
        (laws.Sides, "kernel", side),
        (gradients.Point, "kernel", lambda self, f: 1),
        (Build, "module", None),
        (Spec, "gradients", lambda self: self.library()),
    ]
    before = [(o, n, o.__dict__[n]) for o, n, _ in spots]
    for o, n, x in spots:
        setattr(o, n, x)
    try:
        yield
    finally:
        for o, n, x in before:
            setattr(o, n, x)


def _rounded(dtype: str, x: Any) -> np.ndarray:
    with np.errstate(all="ignore"):
        if dtype == "bf16":
            return as_floats("bf16", (np.asarray(x, np.float32).view(np.uint32) >> 16).astype(np.uint16))
        return np.asarray(x).astype(NUMPY[dtype])


# ---------------------------------------------------------------- tests


def subjects(s: Spec, names: set[str]) -> Iterator[tuple[str, list[Definition]]]:
    """The definitions to be tested."""
    for name, versions in s.definitions().items():
        if name in names:
            yield name, versions


def twin(d: Definition, versions: list[Definition]) -> bool:
    """Is it the f64 instance of a definition that is there for f32 too?"""
    return d.key.endswith("_f64") and any(v.key == d.key[:-3] + "f32" and v.source == d.source for v in versions)


def first_failure(s: Spec, o: Original, kinds: tuple[str, ...], names: set[str], each: bool = False) -> list[str]:
    """The first generated test that fails (or each of them), of some kinds; those that fail unchanged do not count.
    f64 versions of what is there for f32 too are tried on examples only."""
    found = []
    twins = {d.key for _, versions in subjects(s, names) for d in versions if twin(d, versions)}
    for name, versions in sorted(subjects(s, names), key=lambda x: x[0] not in o.own):
        todo = [(kinds.index(p.check), p, k) for p in plans(s, versions) if p.check in kinds for k in p.keys
                if p.check == "example" or k not in twins]  # fmt: skip
        for _, p, key in sorted(todo, key=lambda x: x[0]):
            test = f"{name}: {p.name}"
            if test in o.failing:
                continue
            try:
                getattr(testing, p.check)(s[key], **p.arguments)
            except (AssertionError, Failure, Undetermined) as e:
                if each or not isinstance(e, Undetermined):
                    found.append(f"{test}: {str(e).partition(chr(10))[0]}"[:200])
            except pytest.skip.Exception:
                continue
            except Exception as e:
                found.append(f"{test}: {type(e).__name__}: {e}"[:200])
            if found and not each:
                return found
    return found


# ---------------------------------------------------------------- proofs and code


def proofs(program: Any, names: set[str]) -> tuple[str, int]:
    """A refuted obligation, if any, and how many could not be proved."""
    unit, unproved = Unit(program, "v3", thorough=True), 0
    for name, versions in program.defs.items():
        if name not in names:
            continue
        for d in versions:
            if twin(d, versions):
                continue
            parts = [unit.add(p) for p in lower_model(d, unit).procedures] if isinstance(d, Model) else [d]
            for part in parts:
                for v in verify(unit, part):
                    if v.outcome == REFUTED:
                        return f"{v.kind}: {v.text}", unproved
                    unproved += v.outcome != "PROVED"
    return "", unproved


def code(program: Any, names: set[str]) -> str:
    """The lowered loops of definitions and of their derived gradients, without places."""
    unit, out = Unit(program, "v3"), []
    for name, versions in program.defs.items():
        for d in versions if name in names else []:
            if isinstance(d, Model):
                out += [listing.definition(unit.add(p)) for p in lower_model(d, unit).procedures]
                continue
            out.append(listing.definition(unit.procedure(d)))
            if isinstance(d, Formula) and not d.gradient:
                with contextlib.suppress(GradError):
                    out.append(listing.definition(unit.procedure(unit.add(vjp(d, unit.by_key)))))
    return "\n".join(out)


def same_values(a: Spec, b: Spec, names: set[str]) -> bool:
    """Do two versions give the same on many drawn cases, and refuse the same?"""
    compared = 0
    for _, versions in subjects(a, names):
        for d in versions:
            if twin(d, versions):
                continue
            if isinstance(d, Model) or a.oracle.elementary(d):
                return False  # the oracle takes the f64 version of what works on the bits of floats
            x, y = a[d.key], b[d.key]
            if [str(g) for g in x.d.given] != [str(g) for g in y.d.given]:
                return False
            for seed in range(DRAWS):
                rng = np.random.default_rng(seed)
                sizes = {n: int(rng.integers(0, 7)) for n in x.head.sizes}
                case = made(x.head, x.oracle(), sizes, KINDS[seed % len(KINDS)], seed, 0, 1500)
                if case is None:
                    continue
                with np.errstate(all="ignore"):
                    left, right = _values(x, case), _values(y, case)
                if isinstance(left, str) or isinstance(right, str):
                    if left != right:
                        return False
                    continue
                for n, v in left.items():
                    w = right[n]
                    u = np.asarray(v.e).astype(float) + np.asarray(w.e).astype(float)
                    with np.errstate(all="ignore"):
                        equal = (v.v == w.v) | ((v.v != v.v) & (w.v != w.v))
                        if np.shape(v.v) != np.shape(w.v):
                            return False
                        if v.v.dtype.kind == "f":
                            equal |= np.abs(v.v - w.v) <= u * 2.0**-20
                    if not np.all(equal):
                        return False
                    compared += np.size(v.v)
    return compared > 0


def _values(s: Subject, case: Any) -> Any:
    try:
        return s.expected(replace(case))
    except Failure:
        return "refused"
    except Undetermined:
        return "undetermined"


# ---------------------------------------------------------------- one mutant


def original(source: Source, name: str, folder: Path, stem: str) -> Original:
    """The part of a spec that a definition's mutants need, and what already fails in it."""
    users, needed = source.around(name)
    path = folder / f"{stem}.vibee"
    own = {name} | {t.id for s in source.made if s.value.func.id == name for t in s.targets}  # type: ignore[attr-defined]
    o = Original(source, path, name, users, source.only(needed), needed, own)

    def learn() -> Any:
        start = time.process_time()
        path.write_text(o.text)
        s = Spec(str(path))
        with by_the_oracle():
            failing = {": ".join(f.split(": ")[:2]) for f in first_failure(s, o, QUICK, users, each=True)}
        unproved = proofs(s.program, users)[1]
        return failing, unproved, max(LIMIT, TIMES * (time.process_time() - start))

    back = apart(learn, 240.0)
    if isinstance(back, Verdict):
        raise RuntimeError(f"{stem}: {name}: the unchanged spec cannot be judged: {back.why}")
    o.failing, o.unproved, o.limit = back
    return o


def judge(o: Original, e: Edit) -> Verdict:
    """What becomes of a mutant; in a process of its own, with a time limit."""
    start = time.monotonic()
    back = apart(lambda: _judge(o, e), o.limit)
    back.seconds = time.monotonic() - start
    return back


def _judge(o: Original, e: Edit) -> Verdict:
    changed = Source(e.apply(o.source.text)).only(o.kept)
    o.path.write_text(changed)
    program = load(str(o.path))
    if program.errors:
        return Verdict(REFUSED, str(program.errors[0]).rpartition(": ")[2])
    s = Spec(str(o.path))
    with by_the_oracle():
        failed = first_failure(s, o, QUICK, o.users)
    if failed:
        return Verdict(TESTS, failed[0])
    refuted, unproved = proofs(s.program, o.users)
    if refuted or unproved > o.unproved:
        return Verdict(PROVER, refuted or f"{unproved - o.unproved} more that cannot be proved")
    same = _same(o, s, e)
    if same:
        return Verdict(EQUIVALENT, same)
    flags.COMMON = ("-O0", *flags.COMMON[1:])
    checks.drawn.__defaults__ = (12, KINDS, 40_000)
    failed = first_failure(Spec(str(o.path)), replace(o, failing=set()), (*KERNELS, *QUICK), o.own)
    return Verdict(TESTS, failed[0]) if failed else Verdict(ALIVE)


def _same(o: Original, mutant: Spec, e: Edit) -> str:
    """Why a mutant means what the original means, or nothing."""
    path = o.path.with_name(f"{o.path.stem}_original.vibee")
    path.write_text(o.text)
    first = Spec(str(path))
    if code(first.program, o.users) == code(mutant.program, o.users):
        return "the same loops"
    if e.kind == "schedule" and same_values(first, mutant, o.own):
        return "another schedule, the same values"
    if e.kind not in ("derivative", "given") and same_values(first, mutant, o.own):
        return DRAWN
    return ""


def apart(work: Callable[[], Any], limit: float) -> Any:
    """The result of `work`, done in a copy of this process that is ended after `limit` seconds of its processor time
    (or ten times as long, if it waits): what else the machine does must not look like a loop without end."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(limit), math.ceil(limit) + 1))
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        try:
            back = work()
        except BaseException as e:
            back = Verdict(TESTS, f"the compiler broke: {type(e).__name__}: {e}"[:200])
        with os.fdopen(theirs, "wb") as f:
            f.write(pickle.dumps(back))
        os._exit(0)
    os.close(theirs)
    chosen, end, data = ours, time.monotonic() + 10 * limit, b""
    try:
        while True:
            ready, _, _ = select.select([chosen], [], [], max(end - time.monotonic(), 0))
            if not ready:
                os.kill(child, signal.SIGKILL)
                return Verdict(TIME, f"no end after {limit:.0f} s")
            block = os.read(chosen, 1 << 16)
            if not block:
                break
            data += block
    finally:
        os.close(ours)
        status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL):
        return Verdict(TIME, f"no end after {limit:.0f} s")
    return pickle.loads(data) if data else Verdict(TESTS, "the process died")
