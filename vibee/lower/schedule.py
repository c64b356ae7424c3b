"""Schedules: what `with schedule(cpu): ...` asks of each nest of loops, and notes on what it cannot have.

A schedule names indices as the spec writes them.  Lowering renames, cuts and adds loops; `Fresh` remembers
which index each of them comes from, and a `Plan` answers for any of them.  A plan without words gives what
the compiler chooses by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from vibee.tree.defs import OF_ARRAYS, Equation, For, If
from vibee.tree.expr import Expr, Span, bound_vars, loads, walk

from .build import Fresh, add, at_least_zero, ceil_div, div, extent, i, is_const, ix, local, mul, serial, subst_stmt

Range = tuple[str, Expr, Expr]

PIECE = 512  # elements of an index that is both parallel and simd, and not tiled: one piece runs in vectors
UNROLL = 4  # copies of an unrolled loop's body
WHOLE = 16  # a loop of at most so many iterations, known when it is compiled, is written out


class Schedule:
    """The schedule of one formula; `notes` says what was not followed and why."""

    def __init__(self, words: dict[str, object], fresh: Fresh) -> None:
        self.words = words
        self.fresh = fresh
        self.notes: list[tuple[str, Span]] = []
        self.met: set[str] = set()  # indices of the loops, and arrays that were copied
        self.ahead: set[str] = set()  # arrays that are asked for ahead
        self.streamed: set[str] = set()  # arrays that are written around the cache
        self.indices = {str(v) for word, names in words.items() if word not in OF_ARRAYS for v in names}  # type: ignore[attr-defined]

    def base(self, name: str) -> str:
        """The index that a loop variable comes from, as the schedule names it."""
        name = self.fresh.origin.get(name, name)
        return name if name in self.indices else re.sub(r"_0(x\d+)?$", "", name)  # as temporaries name their axes

    def plan(self, equations: Iterable[Equation]) -> Plan:
        """What the schedule asks of the nest of `equations`."""
        here: set[str] = set()
        read: set[str] = set()
        for e in equations:
            read |= {str(ld.attr) for ld in loads(e.rhs)}
            here |= {self.base(v) for v in (*e.vars, *bound_vars(e.rhs))}
            buried = {self.base(v) for n in walk(e.rhs) if n is not e.rhs for v in bound_vars(n)}
            for v in sorted(buried & self.indices):
                self.note(f"the loop over {v} is left as it is: its range depends on data", e.span)
            self.met |= buried
        self.met |= here
        return Plan(self, here, read)

    def note(self, text: str, span: Span) -> None:
        """One thing that was not followed, with the indices as they are written; said once."""
        text = re.sub(r"\b(\w+)_\d+\b", lambda m: m[1] if m[0] in self.indices and m[1] in self.indices else m[0], text)
        if (text, span) not in self.notes:
            self.notes.append((text, span))

    def finish(self, span: Span) -> None:
        """Note the names that no nest has."""
        stems = {re.sub(r"_\d+$", "", v) for v in self.met}
        for v in sorted(self.indices - self.met):
            if re.sub(r"_\d+$", "", v) not in stems:
                self.note(f"the loop over {v} is not there: no output depends on it", span)
        for a in self.words.get("pack", ()):  # type: ignore[attr-defined]
            if a not in self.met:
                self.note(
                    f"the loops read {a} where it lies: copies serve sums of products such as "
                    "sum[k](a[i, k] * b[k, j]), with vectors along j and threads over i or j",
                    span,
                )
        for a in self.words.get("stream", ()):  # type: ignore[attr-defined]
            if a not in self.streamed:
                self.note(
                    f"{a} is not streamed: that serves floats that a loop of one thread, which does nothing else, "
                    "writes one after the other along memory, no sums of products, and nothing that the same loops "
                    "read",
                    span,
                )
        for a in self.words.get("prefetch", ()):  # type: ignore[attr-defined]
            if a not in self.ahead:
                self.note(
                    f"{a} is not prefetched: that serves a float sum, product, maximum or minimum whose "
                    "last index runs along memory",
                    span,
                )


class Plan:
    """What a schedule asks of one nest.  Without any words, the compiler's own choice."""

    def __init__(self, schedule: Schedule, here: set[str], read: set[str]) -> None:
        words = schedule.words
        self.schedule, self.fresh = schedule, schedule.fresh
        self.parallel = set(words.get("parallel", ())) & here  # type: ignore[call-overload]
        self.simd = set(words.get("simd", ())) & here  # type: ignore[call-overload]
        self.tile = {v: n for v, n in dict(words.get("tile", {})).items() if v in here}  # type: ignore[call-overload]
        self.unroll = set(words.get("unroll", ())) & here  # type: ignore[call-overload]
        self.pack = set(words.get("pack", ())) & read  # type: ignore[call-overload]
        self.prefetch = set(words.get("prefetch", ())) & read  # type: ignore[call-overload]
        self.stream = set(words.get("stream", ())) - read  # type: ignore[call-overload]

    def base(self, name: str) -> str:
        """The index that a loop variable comes from."""
        return self.schedule.base(name)

    def splits(self, name: str, default: bool) -> bool:
        """Is the loop over `name` parallel?  `default` where no index of this nest is named."""
        return self.base(name) in self.parallel if self.parallel else default

    def asks_parallel(self, name: str) -> bool:
        """Is the loop over `name` named as parallel?"""
        return self.base(name) in self.parallel

    def vector(self, names: Iterable[str]) -> str | None:
        """The one of `names` that is asked to be innermost."""
        return next((v for v in names if self.base(v) in self.simd), None)

    def size(self, name: str) -> int | None:
        """The asked block of an index; a loop that is a part of it already is not cut again."""
        return None if name in self.fresh.parts else self.tile.get(self.base(name))

    def outer(self, names: Iterable[str]) -> str | None:
        """The first of the enclosing loops that is parallel."""
        return next((v for v in names if self.base(v) in self.parallel), None)

    def serial(self, name: str, why: str, span: Span) -> None:
        """Note that a loop is not parallel, if it was asked to be."""
        if self.base(name) in self.parallel:
            self.schedule.note(f"the loop over {self.base(name)} runs serially: {why}", span)

    def not_inner(self, name: str, why: str, span: Span) -> None:
        """Note that a loop is not the innermost."""
        self.schedule.note(f"the loop over {self.base(name)} is not the innermost: {why}", span)

    def uncut(self, name: str, why: str, span: Span) -> None:
        """Note that a loop is not cut in blocks, if it was asked to be."""
        if self.base(name) in self.tile:
            self.schedule.note(f"the loop over {self.base(name)} is not cut in blocks: {why}", span)

    def copies(self, a: Expr, b: Expr, span: Span) -> None:
        """The factors of a contraction are copied to panels."""
        self.schedule.met |= self.pack
        for factor in (a, b):
            names = [str(ld.attr) for ld in loads(factor)]
            if self.pack and names and not self.pack & set(names):
                self.schedule.note(f"the loops copy {names[0]} too: a register tile reads both factors in panels", span)

    def soon(self, array: str) -> bool:
        """Is an array that a loop runs through asked for ahead?"""
        if array in self.prefetch:
            self.schedule.ahead.add(array)
        return array in self.prefetch

    # ---- loops

    def arrange(self, loops: list[tuple[str, Expr]], body: list, keep: int = 0, inside: str | bool = False) -> list:
        """`body` in loops that may run in any order.

        First those over blocks, then the others as they stand, the simd index innermost; asked parallel ones
        come before all.  With no index named, all are parallel but the last `keep` and those within blocks.
        `inside` a parallel loop (its name, if the schedule asked for it) all are serial.
        """
        outer: list[Range] = []
        inner: list[Range] = []
        for name, dim in loops:
            if name in self.fresh.parts and self.base(name) in self.tile:  # blocks of the asked size
                outer.append((name, i(0), dim))
                continue
            size = self.size(name)
            both = self.vector([name]) and self.base(name) in self.parallel and len(loops) > 1
            if size is None and both and not inside and name not in self.fresh.parts:
                size = PIECE
            block, piece = self.cut((name, i(0), dim), size)
            outer += block
            inner.append(piece)
        inner.sort(key=lambda r: self.vector([r[0]]) is not None)
        ranges = outer + inner
        whole = [r in outer or is_const(r[1], 0) for r in ranges]
        lead = whole.index(False) if False in whole else max(len(ranges) - keep, 1)
        free = {r[0] for n, r in enumerate(ranges) if not inside and whole[n] and self.splits(r[0], n < lead)}
        if self.parallel:
            ranges.sort(key=lambda r: r[0] not in free)
        for name, lo, hi in reversed(ranges):
            ends = at_least_zero(hi) if name in free else hi
            body = [For(name, lo, ends, body, parallel=name in free)]
        return body

    def inside(self, loops: Iterable[str], outer: Iterable[str], span: Span) -> str | bool:
        """Do `loops` stand in a parallel one of `outer`?  Notes those that should be parallel themselves."""
        if not self.parallel:
            return True
        around = self.outer(outer)
        if around is None:
            return False
        for v in loops:
            if self.base(v) != self.base(around):
                self.serial(v, f"it stands inside the parallel loop over {self.base(around)}", span)
        return around

    def cut(self, r: Range, size: int | None) -> tuple[list[Range], Range]:
        """A range as blocks of `size` and the range within one; uncut without a size."""
        name, lo, hi = r
        if size is None:
            return [], r
        block = self.fresh.part(name, "block")
        start = add(lo, mul(local(block), i(size)))
        blocks = ceil_div(extent(lo, hi, self.fresh.signed), size)
        return [(block, i(0), blocks)], (name, start, ix("min", add(start, i(size)), hi))

    def cut_all(self, ranges: list[Range]) -> list[Range]:
        """The ranges of a reduction or scan, cut as asked: all blocks first."""
        outer: list[Range] = []
        inner: list[Range] = []
        for r in ranges:
            block, piece = self.cut(r, self.size(r[0]))
            outer += block
            inner.append(piece)
        return outer + inner

    def ordered(self, e: Expr, span: Span) -> Expr:
        """A reduction with the simd index last, where its order is free."""
        names = bound_vars(e)
        last = self.vector(names)
        if last is None:
            return e
        if e.attr[0] in ("argmax", "argmin"):  # type: ignore[index]
            self.schedule.note(
                f"the loop over {self.base(last)} has no vectors: {e.attr[0]} takes the first place", span
            )  # type: ignore[index]
            return e
        ranges = dict(zip(names, zip(e.args[1::2], e.args[2::2], strict=True), strict=True))
        order = sorted(names, key=lambda v: v == last)
        bounds = [x for v in order for x in ranges[v]]
        return replace(e, args=(e.args[0], *bounds), attr=(e.attr[0], tuple(order)))  # type: ignore[index]

    # ---- unrolling

    def not_unrolled(self, name: str, why: str, span: Span) -> None:
        """Note that a loop is not unrolled, if it was asked to be."""
        if self.base(name) in self.unroll:
            self.schedule.note(f"the loop over {self.base(name)} is not unrolled: {why}", span)

    def unrolled(self, stmts: list, span: Span) -> list:
        """The statements of a nest with the asked loops unrolled; notes on those that have none."""
        done: set[str] = set()
        out = self._unroll(stmts, done)
        for v in sorted(self.unroll - done):
            self.not_unrolled(v, "it has no loop of its own here", span)
        return out

    def _unroll(self, stmts: list, done: set[str]) -> list:
        out: list = []
        for s in stmts:
            if isinstance(s, If):
                s = replace(s, then=self._unroll(s.then, done), orelse=self._unroll(s.orelse, done))
            if not isinstance(s, For):
                out.append(s)
                continue
            name = self.base(s.var)
            innermost = not any(isinstance(t, For) and self.base(t.var) == name for t in nested(s.body))
            s = replace(s, body=self._unroll(s.body, done))
            if name in self.unroll and innermost and s.var not in self.fresh.rests:
                done.add(name)
                out += unroll(s, self.fresh.signed)
            else:
                out.append(s)
        return out


def unroll(s: For, signed: set[str]) -> list:
    """UNROLL iterations at a time, then what is left; a short loop of known length is written out."""
    if is_const(s.lo) and is_const(s.hi) and not s.parallel:
        values = range(int(s.lo.attr), int(s.hi.attr), s.step)  # type: ignore[call-overload]
        if len(values) <= WHOLE:
            return [t for v in values for t in moved(s, i(v))]
    run = UNROLL * s.step
    whole = add(s.lo, mul(div(extent(s.lo, s.hi, signed), i(run)), i(run)))
    copies = [t for k in range(UNROLL) for t in moved(s, add(local(s.var), i(k * s.step)))]
    if s.parallel:
        copies = serial(copies)
    return [replace(s, hi=whole, body=copies, step=run), replace(s, lo=whole, parallel=False)]


def moved(s: For, at: Expr) -> list:
    """The body of a loop at another value of its variable."""
    return [subst_stmt(t, {s.var: at}) for t in s.body]


def nested(stmts: list) -> Iterable[object]:
    """Every statement in `stmts`."""
    for s in stmts:
        yield s
        for part in ("body", "then", "orelse"):
            yield from nested(getattr(s, part, None) or [])
