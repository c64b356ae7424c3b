"""Parameters, outputs and types of a definition."""

from __future__ import annotations

import ast

from vibee.tree.expr import Expr
from vibee.tree.types import DTYPES, REAL

from .errors import Errors, SpecError, suggest
from .parse_expr import RESERVED, ExprParser, reserved
from .surface import RawOut, RawParam, RawType

TYPE_WORDS = (*DTYPES, REAL, "size", "model")
ALIASES = {
    "float": "f32", "float32": "f32", "float64": "f64", "double": "f64", "bfloat16": "bf16", "int": "i64",
    "int8": "i8", "int32": "i32", "int64": "i64", "uint8": "u8", "uint32": "u32", "uint64": "u64", "byte": "u8",
}  # fmt: skip


class SignatureParser(ExprParser):
    """The part of the file parser that reads `def f(x: f32[N], n: size) -> (y[N], s(f64))`."""

    errors: Errors
    broken: bool

    def type(self, node: ast.AST) -> RawType:
        """`f32`, `f32[N, D]`, `mut[f32[N]]`, `size`, `model`."""
        span = self.span(node)
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            if node.value.id == "mut":
                inner = self.type(node.slice)
                if inner.shape is None or inner.mut:
                    raise self.fail(node, "mut holds an array type, as in mut[f32[N]]")
                return RawType(inner.base, inner.shape, True, span)
            base = self._base(node.value)
            if base in ("size", "model"):
                raise self.fail(node, f"{base} takes no brackets")
            return RawType(base, self._shape(node.slice), False, span)
        if isinstance(node, ast.Name):
            return RawType(self._base(node), None, False, span)
        raise self.fail(node, "a type is written as f32, f32[N, D], mut[f32[N]] or size")

    def _base(self, node: ast.Name) -> str:
        if node.id not in TYPE_WORDS:
            alias = f"; did you mean '{ALIASES[node.id]}'?" if node.id in ALIASES else ""
            hint = alias or suggest(node.id, TYPE_WORDS) or f"; known are {', '.join(TYPE_WORDS)}"
            raise self.fail(node, f"'{node.id}' is not a type{hint}")
        return node.id

    def _shape(self, node: ast.AST) -> tuple[Expr, ...]:
        items = node.elts if isinstance(node, ast.Tuple) else [node]
        if not items:
            raise self.fail(node, "an array has at least one axis; write f32 for a single number")
        for i in items:
            if isinstance(i, ast.Slice):
                raise self.fail(i, "a shape holds sizes, not ranges, as in f32[N, D]")
        return tuple(self.expr(i) for i in items)

    # ------------------------------------------------------------ the whole

    def signature(self, node: ast.FunctionDef) -> tuple[list[RawParam], list[RawOut]]:
        """Parameters and outputs; mistakes are reported and mark the definition broken."""
        params: list[RawParam] = []
        a = node.args
        if a.vararg or a.kwarg or a.kwonlyargs or a.posonlyargs:
            self._bad(node, "'*', '**' and '/' are not part of the language; name every parameter")
        defaults: list[ast.expr | None] = [None] * (len(a.args) - len(a.defaults))
        for arg, default in zip(a.args, [*defaults, *a.defaults], strict=False):
            try:
                params.append(self._param(arg, default))
            except SpecError as e:
                self.errors.add(e)
                self.broken = True
        outs: list[RawOut] = []
        match node.returns:
            case None | ast.Constant(value=None):
                items = []
            case ast.Tuple(elts=items):
                pass
            case alone:
                items = [alone]
        if not items and not node.decorator_list:
            self._bad(node, f"'{node.name}' has no output; write def {node.name}(...) -> y[N]")
        for item in items:
            try:
                outs.append(self._out(item))
            except SpecError as e:
                self.errors.add(e)
                self.broken = True
        seen: set[str] = set()
        both: list[RawParam | RawOut] = [*params, *outs]
        for p in both:
            if p.name in seen:
                self.errors.add(
                    SpecError(p.span, f"'{p.name}' stands twice; give each parameter and output its own name")
                )
                self.broken = True
            seen.add(p.name)
        return params, outs

    def _bad(self, node: ast.AST, message: str) -> None:
        self.errors.add(self.fail(node, message))
        self.broken = True

    def _name(self, node: ast.AST, name: str) -> str:
        if name in RESERVED:
            raise self.fail(node, reserved(name))
        return name

    def _param(self, arg: ast.arg, default: ast.expr | None) -> RawParam:
        self._name(arg, arg.arg)
        if arg.annotation is None:
            raise self.fail(
                arg, f"'{arg.arg}' has no type; write {arg.arg}: f32[N] for an array, {arg.arg}: f32 for a number"
            )
        t = self.type(arg.annotation)
        value = self.expr(default) if default is not None else None
        if value is not None and t.shape is not None:
            raise self.fail(arg, f"'{arg.arg}' is an array; only numbers have defaults")
        return RawParam(arg.arg, t, value, self.span(arg))

    def _out(self, node: ast.AST) -> RawOut:
        span = self.span(node)
        match node:
            case ast.Name(id=name):
                return RawOut(self._out_name(node, name), "", (), span)
            case ast.Subscript(value=ast.Name(id=name)):
                return RawOut(self._out_name(node, name), "", self._shape(node.slice), span)
            case ast.Call(func=ast.Name(id=name), args=[inner], keywords=[]):
                t = self.type(inner)
                if t.mut or t.base in ("size", "model"):
                    raise self.fail(inner, "an output's type is written as f32 or f32[N, D]")
                return RawOut(self._out_name(node, name), t.base, t.shape or (), span)
        raise self.fail(node, "an output is written as y[N, D], y(f32[N, D]), s or s(f32)")

    def _out_name(self, node: ast.AST, name: str) -> str:
        if name in TYPE_WORDS:
            raise self.fail(node, f"an output needs a name: write y({name}) for a number or y({name}[N]) for an array")
        return self._name(node, name)
