"""A file's text to its surface form (`surface.RawFile`).  Python's `ast` reads it; nothing is executed."""

from __future__ import annotations

import ast
import os
import re
import warnings

from vibee.tree.expr import Expr, Span

from .errors import Errors, SpecError, suggest
from .parse_expr import BINARY, RESERVED, ExprParser, reserved
from .parse_sig import SignatureParser
from .surface import (
    RawConst,
    RawDef,
    RawFile,
    RawImport,
    SAssign,
    SExpr,
    SFor,
    SIf,
    SJump,
    SLocal,
    SSchedule,
    SWhile,
)

KINDS = ("procedure", "model")


def read_text(path: str, errors: Errors) -> str | None:
    """The text of `path`; None after a reported mistake."""
    where = Span(path)
    try:
        with open(path, "rb") as f:
            data = f.read()
    except IsADirectoryError:
        errors.add(SpecError(where, "is a folder; give a .vibee file"))
        return None
    except (OSError, ValueError) as e:
        errors.add(
            SpecError(where, f"can't be read: {getattr(e, 'strerror', None) or e}; give the path of a .vibee file")
        )
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, e.start) + 1
        col = e.start - (data.rfind(b"\n", 0, e.start) + 1) + 1
        message = f"byte 0x{data[e.start]:02x} is not UTF-8 text; save the file as UTF-8"
        errors.add(SpecError(Span(path, line, col), message))
        return None


def parse(text: str, path: str, errors: Errors) -> RawFile:
    """The surface form of `text`; mistakes go to `errors`, and what has one is left out or marked broken."""
    out = RawFile(path)
    tree = _syntax(text, path, errors)
    if tree is None:
        return out
    return FileParser(text, path, errors).file(tree, out)


def _syntax(text: str, path: str, errors: Errors) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text, path)
    except SyntaxError as e:
        line, col = e.lineno or 1, e.offset or 1
        message = f"this is not Python syntax: {e.msg}; a .vibee file is written in Python's syntax"
        errors.add(SpecError(Span(path, max(line, 1), max(col, 1)), message))
    except (RecursionError, MemoryError):
        errors.add(SpecError(Span(path, 1, 1), "nested too deeply; name parts of the expression in equations"))
    except ValueError as e:  # null bytes, numbers of absurd length
        errors.add(SpecError(Span(path, 1, 1), f"this is not a text: {e}; save the file as UTF-8 text"))
    return None


class FileParser(SignatureParser, ExprParser):
    """Parses one file."""

    def __init__(self, text: str, path: str, errors: Errors) -> None:
        super().__init__(path, re.split(r"\r\n|\r|\n", text))
        self.text = text
        self.errors = errors
        self.broken = False
        self.named = False  # module("name") has been read

    # ------------------------------------------------------------ module level

    def file(self, tree: ast.Module, out: RawFile) -> RawFile:
        """All statements of the file."""
        out.module = os.path.splitext(os.path.basename(self.path))[0]
        for k, node in enumerate(tree.body):
            try:
                self._top(node, k, out)
            except SpecError as e:
                self.errors.add(e)
            except RecursionError:
                self.errors.add(self.fail(node, "nested too deeply; name parts of the expression in equations"))
        for d in out.defs:
            d.module, d.file = out.module, self.path
        return out

    def _top(self, node: ast.stmt, k: int, out: RawFile) -> None:
        match node:
            case ast.Expr(value=ast.Constant(value=str() as doc)) if k == 0:
                out.doc = doc
            case ast.Expr(value=ast.Call(func=ast.Name(id="module")) as call):
                self._module(call, out)
            case ast.ImportFrom():
                if node.level or not node.module:
                    raise self.fail(node, "write the module's path, as in: from foundation.math import exp")
                if any(n.name == "*" for n in node.names):
                    raise self.fail(node, "import * is not part of the language; name what is used")
                names = [(n.name, n.asname or n.name, self.span(n)) for n in node.names]
                for n in node.names:
                    if (n.asname or n.name) in RESERVED:
                        self.errors.add(self.fail(n, reserved(n.asname or n.name)))
                out.imports.append(RawImport(node.module, names, self.span(node)))
            case ast.Import():
                raise self.fail(node, "write the names that are used, as in: from foundation.math import exp")
            case ast.Assign(targets=[ast.Name(id=name)]):
                self._fresh(node, name)
                out.consts.append(RawConst(name, self.expr(node.value), self.span(node)))
            case ast.FunctionDef():
                out.defs.append(self._definition(node))
            case ast.Pass():
                pass
            case ast.ClassDef() | ast.AsyncFunctionDef():
                raise self.fail(node, "only definitions (def), constants and imports stand in a spec")
            case _:
                raise self.fail(
                    node, "a spec holds definitions (def), constants (NAME = number) and imports; this is none"
                )

    def _module(self, call: ast.Call, out: RawFile) -> None:
        args = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        if len(args) != 1 or len(call.args) != 1:
            raise self.fail(call, 'write module("name", version=1)')
        if not args[0].isidentifier():
            raise self.fail(call, f"'{args[0]}' is not a name; a module's name has letters, digits and '_'")
        if self.named:
            raise self.fail(call, "module stands twice; a file has one name")
        out.module, self.named = args[0], True
        for k in call.keywords:
            if k.arg != "version" or not isinstance(k.value, ast.Constant):
                raise self.fail(call, 'module takes a name and version=NUMBER, as in module("name", version=1)')
            out.version = str(k.value.value)

    def _fresh(self, node: ast.AST, name: str) -> None:
        if name in RESERVED:
            raise self.fail(node, reserved(name))

    # ------------------------------------------------------------ definitions

    def _definition(self, node: ast.FunctionDef) -> RawDef:
        self.broken = False
        kind = "formula"
        for d in node.decorator_list:
            name = d.id if isinstance(d, ast.Name) else ""
            if name not in KINDS:
                self._report(d, f"the decorators are @procedure and @model{suggest(name, KINDS)}")
            else:
                kind = name
        name = node.name
        if name in RESERVED:
            self._report(node, reserved(name))
        params, outs = self.signature(node)
        doc = ast.get_docstring(node) or ""
        body = self._block(node.body[1:] if doc or _is_doc(node.body[0]) else node.body)
        first = node.decorator_list[0].lineno if node.decorator_list else node.lineno
        source = "\n".join(self.lines[first - 1 : node.end_lineno])
        names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} | {p.name for p in params}
        return RawDef(kind, name, params, outs, body, doc, source, self.span(node), "real" in names, names, self.broken)

    def _report(self, node: ast.AST, message: str) -> None:
        self.errors.add(self.fail(node, message))
        self.broken = True

    # ------------------------------------------------------------ statements

    def _block(self, nodes: list[ast.stmt]) -> list:
        out: list = []
        for node in nodes:
            try:
                out += self._statement(node)
            except SpecError as e:
                self.errors.add(e)
                self.broken = True
        return out

    def _statement(self, node: ast.stmt) -> list:
        span = self.span(node)
        match node:
            case ast.Assign():
                if len(node.targets) != 1:
                    raise self.fail(node, "one '=' a statement; write a = x and b = x on two lines")
                targets = node.targets[0].elts if isinstance(node.targets[0], ast.Tuple) else node.targets
                return [SAssign([self._target(t) for t in targets], self.expr(node.value), "", span)]
            case ast.AugAssign():
                if type(node.op) not in BINARY:
                    raise self.fail(node, "'@=' is not an operator here; write the sum")
                return [SAssign([self._target(node.target)], self.expr(node.value), BINARY[type(node.op)], span)]
            case ast.AnnAssign():
                if not isinstance(node.target, ast.Name):
                    raise self.fail(node, "only a name can be declared with a type, as in best: f32 = 0.0")
                self._fresh(node, node.target.id)
                value = self.expr(node.value) if node.value else None
                return [SLocal(node.target.id, self.type(node.annotation), value, span)]
            case ast.For():
                if not isinstance(node.target, ast.Name):
                    raise self.fail(node, "a loop has one variable, as in: for i in range(N)")
                if node.orelse:
                    self._report(node.orelse[0], "a loop has no else; test a flag after the loop")
                self._fresh(node, node.target.id)
                return [SFor(node.target.id, self.expr(node.iter), self._block(node.body), span)]
            case ast.While():
                if node.orelse:
                    self._report(node.orelse[0], "a loop has no else; test a flag after the loop")
                return [SWhile(self.expr(node.test), self._block(node.body), span)]
            case ast.If():
                return [SIf(self.expr(node.test), self._block(node.body), self._block(node.orelse), span)]
            case ast.Break():
                return [SJump("break", span)]
            case ast.Continue():
                return [SJump("continue", span)]
            case ast.Return():
                if node.value is not None:
                    raise self.fail(node, "return takes no value: outputs are assigned by their names")
                return [SJump("return", span)]
            case ast.Pass():
                return []
            case ast.With():
                return [self._schedule(node)]
            case ast.Expr(value=ast.Call()):
                return [SExpr(self.expr(node.value), span)]
            case ast.Expr(value=ast.Constant(value=str())):
                raise self.fail(node, "a text stands only first in a definition, as its description; write a # comment")
            case ast.Expr():
                raise self.fail(node, "this computes a value and drops it; assign it, as in y[n] = ...")
            case ast.FunctionDef() | ast.ClassDef():
                raise self.fail(node, "definitions stand at the left margin, not inside each other")
        what = type(node).__name__.lower()
        what = {"delete": "del", "asyncfunctiondef": "async", "asyncfor": "async", "asyncwith": "async"}.get(what, what)
        raise self.fail(node, f"'{what}' is not a statement of the language")

    def _target(self, node: ast.AST) -> Expr:
        if not isinstance(node, (ast.Name, ast.Subscript)):
            raise self.fail(node, "only a name or an element can be assigned, as in y = ... or y[i] = ...")
        out = self.expr(node)
        if out.op == "index":
            raise self.fail(node, "only a name or an element can be assigned, as in y = ... or y[i] = ...")
        self._fresh(node, str(out.attr))
        return out

    def _schedule(self, node: ast.With) -> SSchedule:
        how = "write: with schedule(cpu): parallel(n); simd(d)"
        context = node.items[0].context_expr
        if len(node.items) != 1 or node.items[0].optional_vars is not None:
            raise self.fail(node, how)
        match context:
            case ast.Call(func=ast.Name(id="schedule"), args=[ast.Name(id=target)], keywords=[]):
                pass
            case _:
                raise self.fail(node, how)
        items = []
        for s in node.body:
            if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Call)):
                raise self.fail(s, how)
            item = self.expr(s.value)
            if item.op != "call":
                raise self.fail(s, how)
            items.append(item)
        return SSchedule(target, items, self.span(node))


def _is_doc(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
