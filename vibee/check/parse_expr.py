"""Python expressions to `Expr` without dtypes."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from vibee.tree.expr import Expr, Span
from vibee.tree.types import DTYPES, REAL

from .errors import SpecError, suggest

REDUCES = ("sum", "prod", "max", "min", "any", "all", "argmax", "argmin")
SCANS = {"cumsum": "sum", "cumprod": "prod", "cummax": "max", "cummin": "min"}
UNARY = ("abs", "sqrt", "floor", "rint")
CASTS = (*DTYPES, REAL)
MAX_DEPTH = 120

BINARY: dict[type[ast.operator], str] = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div", ast.FloorDiv: "floordiv",
    ast.Mod: "mod", ast.Pow: "pow", ast.LShift: "shl", ast.RShift: "shr", ast.BitOr: "bitor",
    ast.BitXor: "xor", ast.BitAnd: "bitand",
}  # fmt: skip
COMPARE: dict[type[ast.cmpop], str] = {
    ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge", ast.Eq: "eq", ast.NotEq: "ne",
}  # fmt: skip
NOT_HERE = {
    ast.Lambda: "lambda", ast.ListComp: "a comprehension", ast.SetComp: "a comprehension",
    ast.DictComp: "a comprehension", ast.GeneratorExp: "a comprehension", ast.Await: "await",
    ast.Yield: "yield", ast.YieldFrom: "yield", ast.JoinedStr: "an f-string", ast.Dict: "a dict",
    ast.Set: "a set", ast.NamedExpr: "':='", ast.Starred: "'*'",
}  # fmt: skip

# Words with a meaning of their own: no definition, parameter or variable may take them.
RESERVED = frozenset(
    [*REDUCES, *SCANS, *UNARY, *CASTS, "where", "bitcast", "range", "parallel", "layers", "given", "then", "law",
     "example", "raises", "close", "derivative", "schedule", "implements", "gradient", "view", "weights", "module",
     "size", "mut", "model", "procedure", "inf", "nan"]
)  # fmt: skip


def reserved(name: str) -> str:
    """The message for a word of the language in place of a name."""
    return f"'{name}' is a word of the language; choose another name"


class ExprParser:
    """Turns `ast` expressions of one file into `Expr`; raises SpecError at the first mistake."""

    def __init__(self, path: str, lines: Sequence[str]) -> None:
        self.path = path
        self.lines = lines
        self.depth = 0

    def span(self, node: ast.AST) -> Span:
        """The place of `node`; columns count characters, from 1."""
        line: int = getattr(node, "lineno", 1)
        col: int = getattr(node, "col_offset", 0)
        col = len(self.lines[line - 1].encode("utf-8", "replace")[:col].decode("utf-8", "replace"))
        return Span(self.path, line, col + 1)

    def fail(self, node: ast.AST, message: str) -> SpecError:
        """The error to raise at `node`."""
        return SpecError(self.span(node), message)

    def expr(self, node: ast.AST | None) -> Expr:
        """`node` as an Expr; None is an omitted bound."""
        if node is None:
            return Expr("none")
        self.depth += 1
        try:
            if self.depth > MAX_DEPTH:
                raise self.fail(node, f"nested more than {MAX_DEPTH} levels deep; name a part of it in an equation")
            return self._expr(node)
        finally:
            self.depth -= 1

    def _expr(self, node: ast.AST) -> Expr:
        span = self.span(node)
        match node:
            case ast.Constant():
                return self._constant(node, span)
            case ast.Name():
                return Expr("var", (), node.id, "", span)
            case ast.BinOp():
                if type(node.op) not in BINARY:
                    raise self.fail(node, "'@' is not an operator here; write the sum: sum[k](a[i, k] * b[k, j])")
                return Expr(BINARY[type(node.op)], (self.expr(node.left), self.expr(node.right)), None, "", span)
            case ast.UnaryOp():
                if isinstance(node.op, ast.UAdd):
                    return self.expr(node.operand)
                op = {ast.USub: "neg", ast.Not: "not", ast.Invert: "invert"}[type(node.op)]
                return Expr(op, (self.expr(node.operand),), None, "", span)
            case ast.BoolOp():
                op = "and" if isinstance(node.op, ast.And) else "or"
                return self._join(op, [self.expr(v) for v in node.values], span)
            case ast.Compare():
                return self._compare(node, span)
            case ast.IfExp():
                return Expr(
                    "where", (self.expr(node.test), self.expr(node.body), self.expr(node.orelse)), None, "", span
                )
            case ast.Call():
                return self._call(node, span)
            case ast.Subscript():
                return self._subscript(node, span)
            case ast.Attribute():
                return Expr("attr", (self.expr(node.value),), node.attr, "", span)
            case ast.List() | ast.Tuple():
                return Expr("list", tuple(self.expr(x) for x in node.elts), None, "", span)
        what = NOT_HERE.get(type(node), type(node).__name__.lower())
        raise self.fail(node, f"{what} is not part of the language")

    def _constant(self, node: ast.Constant, span: Span) -> Expr:
        if isinstance(node.value, (bool, int, float)):
            return Expr("const", (), node.value, "", span)
        if isinstance(node.value, str):
            return Expr("str", (), node.value, "", span)
        raise self.fail(node, f"{node.value!r} is not a value here; write a number, True or False")

    def _join(self, op: str, parts: list[Expr], span: Span) -> Expr:
        out = parts[0]
        for p in parts[1:]:
            out = Expr(op, (out, p), None, "", span)
        return out

    def _compare(self, node: ast.Compare, span: Span) -> Expr:
        sides = [self.expr(x) for x in [node.left, *node.comparators]]
        parts = []
        for op, a, b in zip(node.ops, sides, sides[1:], strict=False):
            if type(op) not in COMPARE:
                raise self.fail(
                    node, "'in' and 'is' are not part of the language; compare numbers with == or any[i](...)"
                )
            parts.append(Expr(COMPARE[type(op)], (a, b), None, "", span))
        return self._join("and", parts, span)

    # ------------------------------------------------------------ calls

    def _call(self, node: ast.Call, span: Span) -> Expr:
        for a in [*node.args, *(k.value for k in node.keywords if k.arg is None)]:
            if isinstance(a, ast.Starred) or any(k.arg is None for k in node.keywords):
                raise self.fail(a, "'*' and '**' are not part of the language; write the arguments one by one")
        if isinstance(node.func, ast.Subscript):
            return self._binder(node, node.func, span)
        args = [self.expr(a) for a in node.args]
        kwargs = [self.expr(k.value) for k in node.keywords]
        names = tuple(str(k.arg) for k in node.keywords)
        twice = next((k for i, k in enumerate(node.keywords) if k.arg in names[:i]), None)
        if twice is not None:
            raise self.fail(twice, f"argument {twice.arg} is given twice{self._after(node, twice)}")
        if isinstance(node.func, ast.Attribute):
            return Expr("mcall", (self.expr(node.func.value), *args, *kwargs), (node.func.attr, *names), "", span)
        if not isinstance(node.func, ast.Name):
            raise self.fail(node, "only a name can be called, as in f(x)")
        name = node.func.id
        if not names:
            plain = self._operator(node, name, args, span)
            if plain is not None:
                return plain
        elif name in UNARY or name in CASTS or name in ("where", "bitcast", "min", "max"):
            raise self.fail(node, f"{name} takes no named arguments")
        return Expr("call", (*args, *kwargs), (name, *names), "", span)

    @staticmethod
    def _after(node: ast.Call, twice: ast.keyword) -> str:
        """What may be meant by an argument given twice: what an array is after the call, in an example."""
        if isinstance(node.func, ast.Name) and node.func.id == "example":
            return f"; where f changes it, write example(f({twice.arg}=...), {twice.arg}=...): before, then after"
        return ""

    def _operator(self, node: ast.Call, name: str, args: list[Expr], span: Span) -> Expr | None:
        """Calls that are operators: casts, where, min and max of several, abs, sqrt, floor, rint."""

        def count(n: int, how: str) -> None:
            if len(args) != n:
                raise self.fail(node, f"{name} takes {n} argument{'s' * (n > 1)}, as in {how}; {len(args)} given")

        if name in CASTS:
            count(1, f"{name}(x)")
            return Expr("cast", tuple(args), name, "", span)
        if name in UNARY:
            count(1, f"{name}(x)")
            return Expr(name, tuple(args), None, "", span)
        if name == "where":
            count(3, "where(condition, a, b)")
            return Expr("where", tuple(args), None, "", span)
        if name == "bitcast":
            count(2, "bitcast(i32, x)")
            if args[0].op != "var" or args[0].attr not in CASTS:
                raise self.fail(node, "the first argument of bitcast is a type, as in bitcast(i32, x)")
            return Expr("bitcast", (args[1],), args[0].attr, "", span)
        if name in ("min", "max") and len(args) >= 2:
            return self._join(name, args, span)
        if name in REDUCES or name in SCANS:
            raise self.fail(node, f"{name} needs the index it runs over in brackets, as in {name}[i](x[i])")
        return None

    def _binder(self, node: ast.Call, func: ast.Subscript, span: Span) -> Expr:
        if not isinstance(func.value, ast.Name):
            raise self.fail(node, "only a name can be called, as in f(x)")
        op = func.value.id
        if op not in REDUCES and op not in SCANS:
            hint = suggest(op, [*REDUCES, *SCANS]) or f"; known are {', '.join([*REDUCES, *SCANS])}"
            raise self.fail(node, f"'{op}[...](...)' is not a reduction{hint}")
        if len(node.args) != 1 or node.keywords:
            raise self.fail(node, f"{op}[...] takes one expression, as in {op}[i](x[i])")
        names: list[str] = []
        ranges: list[Expr] = []
        items = func.slice.elts if isinstance(func.slice, ast.Tuple) else [func.slice]
        for item in items:
            head = item.lower if isinstance(item, ast.Slice) else item
            if not isinstance(head, ast.Name):
                raise self.fail(
                    item, f"the brackets of {op} hold index names, as in {op}[i] or {op}[i:N] or {op}[i:a:b]"
                )
            names.append(head.id)
            if isinstance(item, ast.Slice) and item.step is not None:
                ranges += [self.expr(item.upper), self.expr(item.step)]
                if item.upper is None:
                    ranges[-2] = Expr("const", (), 0, "", self.span(item))
            elif isinstance(item, ast.Slice) and item.upper is not None:
                ranges += [Expr("const", (), 0, "", self.span(item)), self.expr(item.upper)]
            else:
                ranges += [Expr("none"), Expr("none")]
        if len(set(names)) < len(names):
            raise self.fail(func, f"an index stands twice in the brackets of {op}")
        body = self.expr(node.args[0])
        if op in SCANS:
            if len(names) != 1 or ranges[0].op != "none":
                raise self.fail(func, f"{op} runs along one index of the equation, as in c[n] = {op}[n](x[n])")
            return Expr("scan", (body,), (SCANS[op], names[0]), "", span)
        if op in ("argmax", "argmin") and len(names) != 1:
            raise self.fail(func, f"{op} runs over one index, as in {op}[i](x[i])")
        return Expr("reduce", (body, *ranges), (op, tuple(names)), "", span)

    def _subscript(self, node: ast.Subscript, span: Span) -> Expr:
        items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        idx = tuple(self.item(i) for i in items)
        if isinstance(node.value, ast.Name):
            return Expr("load", idx, node.value.id, "", span)
        if isinstance(node.value, ast.Subscript):
            raise self.fail(node, "write all indices in one pair of brackets, as in x[i, j]")
        return Expr("index", (self.expr(node.value), *idx), None, "", span)

    def item(self, node: ast.AST) -> Expr:
        """One entry between brackets: an expression or a range a:b."""
        if isinstance(node, ast.Slice):
            if node.step is not None:
                raise self.fail(node, "a range in brackets has no step; write a:b")
            return Expr("slice", (self.expr(node.lower), self.expr(node.upper)), None, "", self.span(node))
        return self.expr(node)
