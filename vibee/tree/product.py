"""A product of two blocks of words of two bf16, as loops: what a processor's matrix instructions do.

    for r in range(0, R):
        c[v] = splat(0)                                           for each v
        for k in range(0, 16 * steps):
            a = splat(A[..., first + r, k])
            c[v] = dot2(c[v], a, vload(B[..., k, column[v]]))     for each v
        S[..., r, place[v]] = c[v]                                for each v

Lowering writes these loops, the prover sees loops like any others, and emission knows them again by their form.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .defs import Assign, Decl, For, Store
from .expr import Expr, const, free_vars, load, loads, var

SIDE = 16  # rows, words along k and columns of one instruction
FEATURE = "amx_bf16"
SUMS, WORDS = f"f32x{SIDE}", f"u32x{SIDE}"


@dataclass(frozen=True, slots=True)
class Product:
    """The parts of the loops.  `a`, `b` and `sums` are the loads of the elements at r = k = 0."""

    r: str
    rows: int
    k: str
    steps: Expr
    word: str
    c: tuple[str, ...]
    a: Expr
    b: tuple[Expr, ...]
    sums: tuple[Expr, ...]

    def loops(self) -> For:
        """The loops."""
        r, k = var(self.r, "i64"), var(self.k, "i64")
        *lead, first, _ = self.a.args
        row = Expr("add", (first, r), None, "i64")
        step = [Assign(self.word, Expr("splat", (load(str(self.a.attr), (*lead, row, k), "u32"),), None, WORDS))]
        for name, b in zip(self.c, self.b, strict=True):
            there = Expr("vload", (*b.args[:-2], k, b.args[-1]), b.attr, WORDS)
            sum_ = Expr("dot2", (var(name, SUMS), var(self.word, WORDS), there), FEATURE, SUMS)
            step.append(Assign(name, sum_))
        return For(
            self.r, const(0, "i64"), const(self.rows, "i64"),
            [
                *(Decl(name, SUMS, Expr("splat", (const(0.0, "f32"),), None, SUMS)) for name in self.c),
                Decl(self.word, WORDS, Expr("splat", (const(0, "u32"),), None, WORDS)),
                For(self.k, const(0, "i64"), Expr("mul", (self.steps, const(SIDE, "i64")), None, "i64"), step),
                *(
                    Store(str(s.attr), (*s.args[:-2], r, s.args[-1]), var(name, SUMS))
                    for name, s in zip(self.c, self.sums, strict=True)
                ),
            ],
        )  # fmt: skip


def product_of(s: For) -> Product | None:
    """The product that a loop is, if it has the form above; whatever else it is, None."""
    at = next((n for n, x in enumerate(s.body) if isinstance(x, For)), 0)
    rows = s.hi.attr if s.hi.op == "const" else 0
    if not at or rows not in (SIDE, 2 * SIDE):
        return None
    last, inner, puts = s.body[at - 1], s.body[at], s.body[at + 1 :]
    if len(inner.body) != len(puts) + 1 or len(puts) not in (1, 2):
        return None
    try:
        take, *dots = inner.body
        heads = [d.value.args[2] for d in dots]
        a = take.value.args[0]
        *lead, row, _ = a.args
        zero = const(0, "i64")
        found = Product(
            s.var, int(rows), inner.var, inner.hi.args[0], last.name, tuple(d.name for d in dots),
            load(a.attr, (*lead, row.args[0], zero), "u32"),
            tuple(load(str(b.attr), (*b.args[:-2], zero, b.args[-1]), "u32") for b in heads),
            tuple(load(p.array, (*p.idx[:-2], zero, p.idx[-1]), "f32") for p in puts),
        )  # fmt: skip
    except (AttributeError, IndexError, ValueError):
        return None
    return found if found.loops() == s and _separate(found) else None


def _separate(p: Product) -> bool:
    """Is what the loops change nothing that their indices or factors depend on?"""
    changed = {p.r, p.k, p.word, *p.c}
    fixed: Iterable[Expr] = (p.steps, *p.a.args, *(x for e in (*p.b, *p.sums) for x in e.args))
    still = all(not free_vars(e) & changed and not [*loads(e)] for e in fixed)
    return still and not {e.attr for e in p.sums} & {e.attr for e in (p.a, *p.b)} and len(changed) == len(p.c) + 3
