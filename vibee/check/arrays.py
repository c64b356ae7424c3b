"""Whole-array expressions of laws: names and ranks, elementwise operators, calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vibee.tree.expr import Expr, show

from .errors import SpecError, count
from .matching import takes

if TYPE_CHECKING:
    from .calls import CallChecker


class ArrayTyper:
    """The rank of a whole-array expression; a name that is new stands for any number or array."""

    def __init__(self, checker: CallChecker) -> None:
        self.checker = checker
        self.program = checker.scope.program

    def rank(self, e: Expr) -> int | None:
        """The number of axes of `e`, None where any will do."""
        if e.op == "const":
            return 0
        if e.op == "var":
            sym = self.checker.scope.get(str(e.attr))
            return len(sym.shape) if sym is not None else None
        if e.op == "call":
            return self._call(e)
        if e.op in ("load", "index", "slice", "str", "list", "attr", "mcall", "reduce", "scan"):
            raise SpecError(e.span, "a law compares whole arrays, as in f(x + c); use then(...) for elements")
        ranks = [self.rank(a) for a in e.args]
        known = [r for r in ranks if r]
        if len(set(known)) > 1:
            raise SpecError(
                e.span,
                f"{show(e)} combines arrays of {known[0]} and {count(known[1], 'axis')}; both need the same shape",
            )
        return known[0] if known else None if None in ranks else 0

    def _call(self, e: Expr) -> int | None:
        name, *keys = e.attr
        versions = self.checker.versions(str(name), e.span)
        ranks = [self.rank(a) for a in e.args]
        arrays = [None if r is None else r > 0 for r in ranks]
        raw = next((v for v in versions if takes(v, arrays, keys)), versions[0])
        sig = self.program.signature(raw, self.checker.scope.types if raw.uses_real else {})
        if sig is None:
            return None
        if len(e.args) > len(sig.params):
            raise SpecError(e.span, f"{name} takes {count(len(sig.params), 'argument')}, {len(e.args)} given")
        names = [p.name for p in sig.params]
        for k, (a, r) in enumerate(zip(e.args, ranks, strict=True)):
            key = k - (len(e.args) - len(keys))
            if key >= 0 and keys[key] not in names:
                raise SpecError(a.span, f"{name} has no parameter '{keys[key]}'")
            p = sig.params[names.index(keys[key]) if key >= 0 else k]
            if r is not None and r != len(p.shape) and not (sig.is_scalar and r):
                raise SpecError(
                    a.span, f"'{p.name}' of {name} has {count(len(p.shape), 'axis')}, but {show(a)} has {r}"
                )
        missing = [p.name for p in sig.params[len(e.args) - len(keys) :] if p.default is None and p.name not in keys]
        if missing:
            raise SpecError(e.span, f"{name} needs a value for '{missing[0]}'")
        if sig.is_scalar:
            return max((r for r in ranks if r is not None), default=None)
        return len(sig.outs[0].shape) if len(sig.outs) == 1 else None
