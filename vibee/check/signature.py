"""The head of a definition: parameters, outputs and sizes, declared in its scope."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from vibee.tree.defs import Definition, Param
from vibee.tree.expr import Expr, show, var
from vibee.tree.types import DTYPES

from .binders import free_names
from .calls import CallChecker
from .errors import Known, SpecError, suggest
from .scope import Scope, Symbol
from .surface import RawDef, RawOut, RawParam

T = TypeVar("T")
SIZE_OPS = ("const", "var", "add", "sub", "mul", "floordiv", "mod", "min", "max", "neg", "cast")


class Head:
    """Builds params, outs and sizes of one definition."""

    def __init__(self, scope: Scope, raw: RawDef) -> None:
        self.scope = scope
        self.raw = raw
        self.checker = CallChecker(scope)
        self.failed = False
        self.taken = {p.name for p in raw.params} | {o.name for o in raw.outs}
        self.sizes: dict[str, tuple] = {}

    def build(self) -> tuple[list[Param], list[Param], dict[str, tuple]]:
        """All of it; raises Known after reported mistakes."""
        scope, raw = self.scope, self.raw
        scope.set_float_default([p.type.base for p in raw.params if p.type.base in DTYPES])
        for p in raw.params:
            if p.type.base == "size":
                self.sizes[p.name] = ("param", p.name)
                scope.declare(Symbol(p.name, "size", "i64", (), p.span))
            elif p.type.shape is None:
                scope.declare(Symbol(p.name, "scalar", scope.dtype(p.type.base), (), p.span))
        for p in raw.params:
            for axis, s in enumerate(p.type.shape or ()):
                self._tried(self._bare, p.name, axis, s)
        params = [x for p in raw.params if (x := self._tried(self._param, p)) is not None]
        outs = [x for o in raw.outs if (x := self._tried(self._out, o)) is not None]
        if self.failed:
            raise Known()
        return params, outs, self.sizes

    def _tried(self, f: Callable[..., T], *args: Any) -> T | None:
        try:
            return f(*args)
        except SpecError as e:
            self.scope.errors.add(e)
            self.failed = True
            return None

    def _bare(self, array: str, axis: int, s: Expr) -> None:
        """A name alone in a shape is a size that the argument's shape tells."""
        if s.op != "var" or self.scope.get(str(s.attr)) is not None:
            return
        name = str(s.attr)
        if name in self.taken:
            return
        self.sizes[name] = ("arg", array, axis)
        self.scope.declare(Symbol(name, "size", "i64", (), s.span))

    def shape(self, shape: tuple[Expr, ...]) -> tuple[Expr, ...]:
        """A shape's entries as typed size expressions."""
        return tuple(size_expr(self.checker, s) for s in shape)

    def _param(self, p: RawParam) -> Param:
        t = p.type
        if t.base == "model":
            raise SpecError(p.span, "a model can't be a parameter of this; only a procedure takes m: model")
        if t.base == "size":
            return Param(p.name, "size", "i64", (), self._default(p, "i64"), p.span)
        dtype = self.scope.dtype(t.base)
        if t.shape is None:
            return Param(p.name, "scalar", dtype, (), self._default(p, dtype), p.span)
        if t.mut and self.raw.kind == "formula":
            raise SpecError(
                p.span, f"'{p.name}' can't be mut: a formula changes nothing; make it an output, or write a @procedure"
            )
        kind = "mut" if t.mut else "in"
        shape = self.shape(t.shape)
        self.scope.declare(Symbol(p.name, kind, dtype, shape, p.span, written=True))
        return Param(p.name, kind, dtype, shape, None, p.span)

    def _default(self, p: RawParam, dtype: str) -> Expr | None:
        """The value of a parameter that is left out: a constant, so that a call needs nothing else to know it."""
        if p.default is None:
            return None
        size = p.type.base == "size"
        default = self.checker.index(p.default) if size else self.checker.value(p.default, dtype)
        if default.op != "const":
            raise SpecError(p.default.span, f"the default of '{p.name}' must be a constant")
        if size and int(default.attr) < 0:
            raise SpecError(p.default.span, f"a size is at least 0, but the default of '{p.name}' is {default.attr}")
        return default

    def _out(self, o: RawOut) -> Param:
        for axis, s in enumerate(o.shape):
            if s.op == "var" and self.scope.get(str(s.attr)) is None:
                if self.raw.kind == "procedure" and s.attr not in self.taken:
                    self.sizes[str(s.attr)] = ("out", o.name, axis)  # the caller's array tells
                    self.scope.declare(Symbol(str(s.attr), "size", "i64", (), s.span))
                    continue
                hint = suggest(str(s.attr), [*self.sizes])
                raise SpecError(
                    s.span,
                    f"the size {s.attr} of '{o.name}' is unknown: no parameter has "
                    f"it{hint or f'; add a parameter {s.attr}: size'}",
                )
        shape = self.shape(o.shape)
        dtype = self.scope.dtype(o.dtype) if o.dtype else ""
        self.scope.declare(Symbol(o.name, "out", dtype, shape, o.span))
        return Param(o.name, "out", dtype, shape, None, o.span)


def size_nodes(e: Expr) -> Iterator[Expr]:
    """Parts of a size expression; what a cast converts is no part."""
    yield e
    for a in e.args:
        yield from size_nodes(a)


def unknown_size(checker: CallChecker, s: Expr) -> SpecError:
    """The error for a size that no parameter tells."""
    hint = suggest(str(s.attr), checker.scope.names())
    return SpecError(s.span, f"the size {s.attr} is unknown{hint or f'; add a parameter {s.attr}: size'}")


def size_expr(checker: CallChecker, s: Expr) -> Expr:
    """The surface expression `s` as a size: constants, sizes and integer arithmetic of them."""
    if s.op == "var":
        sym = checker.scope.get(str(s.attr))
        if sym is None:
            raise unknown_size(checker, s)
        if sym.kind == "size":
            return var(sym.name, "i64", s.span)
    for n in free_names(s):
        if checker.scope.get(str(n.attr)) is None:
            raise unknown_size(checker, n)
    out = checker.index(s)
    for n in size_nodes(out):
        name = str(n.attr)
        if (
            n.op == "var"
            and (sym := checker.scope.local(name)) is not None
            and sym.kind not in ("size", "loop", "local")
        ):
            raise SpecError(n.span, f"'{name}' is not a size; declare it as {name}: size")
        if n.op not in SIZE_OPS:
            raise SpecError(n.span, f"{show(n)} can't stand in a shape; a shape holds sizes, as in [N, 3 * C]")
    if out.op == "const" and int(out.attr) < 1:
        raise SpecError(s.span, f"a size is at least 1, but this is {out.attr}")
    return out


def build(scope: Scope, raw: RawDef) -> tuple[list[Param], list[Param], dict[str, tuple]]:
    """Params, outs and sizes of `raw`, declared in `scope`; raises Known after reported mistakes."""
    return Head(scope, raw).build()


def fill(d: Definition, raw: RawDef) -> Definition:
    """What every kind of definition keeps of its text."""
    d.doc, d.source, d.module, d.span = raw.doc, raw.source, raw.module, raw.span
    return d
