"""Mutants of specs: one small edit of one definition each, found in the text by Python's own parser."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

Def = ast.FunctionDef

OPERATORS = {
    ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "+"), ast.Div: ("/", "*"), ast.FloorDiv: ("//", "%"),
    ast.Mod: ("%", "//"), ast.BitAnd: ("&", "|"), ast.BitOr: ("|", "&"), ast.BitXor: ("^", "|"),
    ast.LShift: ("<<", ">>"), ast.RShift: (">>", "<<"), ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"), ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.And: ("and", "or"), ast.Or: ("or", "and"),
}  # fmt: skip
WORDS = {"min": "max", "max": "min", "floor": "rint", "rint": "floor", "sin": "cos", "exp": "abs", "log": "abs",
         "tanh": "abs", "sqrt": "abs", "abs": "floor"}  # fmt: skip
BINDERS = {"sum": "max", "prod": "sum", "max": "min", "min": "max", "argmax": "argmin", "argmin": "argmax",
           "any": "all", "all": "any", "cumsum": "cummax", "cummax": "cummin", "cumprod": "cumsum"}  # fmt: skip
PROPERTIES = {"example", "then", "law", "raises", "implements", "gradient"}
UNEQUAL = (ast.Sub, ast.Div, ast.FloorDiv, ast.Mod, ast.LShift, ast.RShift)


@dataclass(frozen=True)
class Edit:
    """One change: a part of the file's text and what stands there instead."""

    kind: str
    definition: str
    line: int
    start: int
    end: int
    new: str
    what: str

    def apply(self, text: str) -> str:
        """The text with the change."""
        return text[: self.start] + self.new + text[self.end :]


@dataclass
class Source:
    """A spec's text with its definitions."""

    text: str
    defs: list[Def] = field(default_factory=list)
    made: list[ast.Assign] = field(default_factory=list)  # `name = procedure(model)`
    starts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        body = ast.parse(self.text).body
        self.defs = [d for d in body if isinstance(d, Def)]
        self.made = [s for s in body if isinstance(s, ast.Assign) and isinstance(s.value, ast.Call)]
        self.lines = self.text.splitlines(keepends=True)
        at = 0
        for line in self.lines:
            self.starts.append(at)
            at += len(line)

    def at(self, line: int, column: int) -> int:
        """The place in the text of a line and a column in bytes."""
        return self.starts[line - 1] + len(self.lines[line - 1].encode()[:column].decode())

    def span(self, node: ast.AST) -> tuple[int, int]:
        """Where a node begins and ends."""
        return self.at(node.lineno, node.col_offset), self.at(node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]

    def part(self, node: ast.AST) -> str:
        """A node's text."""
        a, b = self.span(node)
        return self.text[a:b]

    def only(self, wanted: set[str]) -> str:
        """The text with just some definitions; the others are empty lines, so that lines keep their numbers."""
        lines = list(self.lines)
        for d in self.defs:
            if d.name not in wanted:
                first = min([d.lineno, *(x.lineno for x in d.decorator_list)])
                for n in range(first - 1, d.end_lineno or first):
                    lines[n] = "\n"
        for s in self.made:
            names = _names(s.value)
            if names & {d.name for d in self.defs} - wanted:
                for n in range(s.lineno - 1, s.end_lineno or s.lineno):
                    lines[n] = "\n"
        return "".join(lines)

    def around(self, name: str) -> tuple[set[str], set[str]]:
        """The definitions that mention a definition, what is made from it too, and those that are needed to check all
        of them."""
        words: dict[str, set[str]] = {}
        for d in self.defs:
            words[d.name] = words.get(d.name, set()) | _names(d)
        for s in self.made:
            words |= {t.id: _names(s.value) for t in s.targets if isinstance(t, ast.Name)}
        users = {n for n, w in words.items() if name in w} | {name}
        needed, todo = set(), list(users)
        while todo:
            n = todo.pop()
            if n not in needed:
                needed.add(n)
                todo += [w for w in words[n] if w in words]
        return users, needed


def _names(e: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(e) if isinstance(n, ast.Name)}


def _arrays(e: ast.AST) -> Iterator[ast.Subscript]:
    for n in ast.walk(e):
        if isinstance(n, ast.Subscript) and isinstance(n.value, ast.Name) and n.value.id not in BINDERS:
            yield n


def _short(text: str) -> str:
    text = " ".join(text.split())
    return (text if len(text) < 60 else text[:57] + "...") or "nothing"


class Finder:
    """All edits of one definition."""

    def __init__(self, source: Source, d: Def, gradients: set[str]) -> None:
        self.source, self.d = source, d
        self.gradient = d.name in gradients  # it is the gradient that another definition states
        self.found: list[Edit] = []
        self.indices = sorted({n.id for s in _arrays(d) for n in ast.walk(s.slice) if isinstance(n, ast.Name)})
        self.binders = {id(n.func) for n in ast.walk(d) if isinstance(n, ast.Call)}

    def run(self) -> list[Edit]:
        """Every edit, in the order of the text."""
        for s in self.d.body:
            self.statement(s)
        for n in ast.walk(self.d.args):
            if isinstance(n, ast.Constant) and any(n is x for x in self.d.args.defaults):
                self.constant(n, "constant")
        unique = {(e.start, e.end, e.new): e for e in self.found}
        return sorted(unique.values(), key=lambda e: (e.start, e.kind, e.new))

    def add(self, kind: str, start: int, end: int, new: str) -> None:
        """Note an edit."""
        text = self.source.text
        line = text.count("\n", 0, start) + 1
        if text[start:end] != new:
            kind = "gradient" if self.gradient and kind not in ("schedule", "given") else kind
            row = text.splitlines()[line - 1].strip()
            what = f"{row}   with   {_short(text[start:end])} -> {_short(new)}"
            self.found.append(Edit(kind, self.d.name, line, start, end, new, what))

    def replace(self, kind: str, node: ast.AST, new: str) -> None:
        """Another text for a node."""
        self.add(kind, *self.source.span(node), new)

    # ------------------------------------------------------------ statements

    def statement(self, s: ast.stmt) -> None:
        """Edits of a statement and of what is in it."""
        call = s.value if isinstance(s, ast.Expr) and isinstance(s.value, ast.Call) else None
        name = call.func.id if call and isinstance(call.func, ast.Name) else ""
        if name in PROPERTIES or (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant)):
            return
        if isinstance(s, ast.With):
            self.schedule(s)
            return
        if call and name == "given":
            self.given(s, call)
            return
        if call and name == "derivative":
            for k in call.keywords:
                self.expression(k.value, "derivative")
            return
        if isinstance(s, (ast.AugAssign, ast.Break, ast.Continue)) or (call and name):
            self.replace("dropped statement", s, "pass")
        if isinstance(s, ast.AugAssign) and isinstance(s.op, (ast.Add, ast.Sub)):
            a, b = self.source.span(s.target)[1], self.source.span(s.value)[0]
            at = self.source.text.index("=", a, b) - 1
            self.add("operator", at, at + 1, "-" if isinstance(s.op, ast.Add) else "+")
        for part in ast.iter_child_nodes(s):
            if isinstance(part, ast.stmt):
                self.statement(part)
            elif isinstance(part, ast.expr) and not (isinstance(s, ast.AnnAssign) and part is s.annotation):
                self.expression(part)

    def schedule(self, s: ast.With) -> None:
        """Edits that must change nothing but speed."""
        self.replace("schedule", s, "pass" if len(self.d.body) == 1 else "")
        for x in s.body:
            if isinstance(x, ast.Expr) and isinstance(x.value, ast.Call):
                for n in [*x.value.args, *(k.value for k in x.value.keywords)]:
                    if isinstance(n, ast.Constant) and isinstance(n.value, int):
                        self.replace("schedule", n, str(n.value + 1))
                    elif isinstance(n, ast.Name):
                        for other in self.indices:
                            if other != n.id and other.islower():
                                self.replace("schedule", n, other)

    def given(self, s: ast.stmt, call: ast.Call) -> None:
        """One condition less; comparisons changed."""
        if len(call.args) == 1:
            self.replace("given", s, "")
        for n in range(len(call.args)):
            if len(call.args) > 1:
                kept = [self.source.part(b) for m, b in enumerate(call.args) if m != n]
                self.replace("given", s, f"given({', '.join(kept)})")

    # ------------------------------------------------------------ expressions

    def expression(self, e: ast.expr, kind: str = "") -> None:
        """Edits of an expression and of its parts."""
        for n in ast.walk(e):
            handler = getattr(self, f"on_{type(n).__name__}", None)
            if handler:
                handler(n, kind)

    def between(self, kind: str, left: ast.AST, right: ast.AST, op: object) -> None:
        """Another operator between two operands."""
        old, new = OPERATORS.get(type(op), ("", ""))
        a, b = self.source.span(left)[1], self.source.span(right)[0]
        found = re.search(re.escape(old), self.source.text[a:b]) if old else None
        if found:
            self.add(kind, a + found.start(), a + found.end(), new)

    def on_BinOp(self, n: ast.BinOp, kind: str) -> None:
        self.between(kind or "operator", n.left, n.right, n.op)
        left, right = self.source.part(n.left), self.source.part(n.right)
        if isinstance(n.op, (ast.Add, ast.Sub, ast.Mult, ast.Div)):
            self.replace(kind or "dropped term", n, f"({left})")
            self.replace(kind or "dropped term", n, f"({right})")
        if isinstance(n.op, UNEQUAL) and left != right:
            self.replace(kind or "swapped operands", n, f"(({right}) {OPERATORS[type(n.op)][0]} ({left}))")

    def on_BoolOp(self, n: ast.BoolOp, kind: str) -> None:
        self.between(kind or "operator", n.values[0], n.values[1], n.op)
        self.replace(kind or "dropped term", n, f"({self.source.part(n.values[0])})")

    def on_Compare(self, n: ast.Compare, kind: str) -> None:
        self.between(kind or "operator", n.left, n.comparators[0], n.ops[0])

    def on_UnaryOp(self, n: ast.UnaryOp, kind: str) -> None:
        self.replace(kind or "operator", n, f"({self.source.part(n.operand)})")

    def on_IfExp(self, n: ast.IfExp, kind: str) -> None:
        a, c, b = (self.source.part(x) for x in (n.body, n.test, n.orelse))
        self.replace(kind or "swapped operands", n, f"(({b}) if {c} else ({a}))")

    def on_Call(self, n: ast.Call, kind: str) -> None:
        f = n.func
        if isinstance(f, ast.Subscript) and isinstance(f.value, ast.Name) and f.value.id in BINDERS:
            self.replace(kind or "binder", f.value, BINDERS[f.value.id])
            self.ranges(f)
        if not isinstance(f, ast.Name):
            return
        if f.id in WORDS:
            self.replace(kind or "operator", f, WORDS[f.id])
        if f.id == "where" and len(n.args) == 3:
            c, a, b = map(self.source.part, n.args)
            self.replace(kind or "swapped operands", n, f"where({c}, {b}, {a})")
        if f.id in ("range", "parallel") and n.args:
            stop = n.args[0] if len(n.args) == 1 else n.args[1]
            self.replace("bound", stop, f"{self.source.part(stop)} - 1")
            if f.id == "parallel":
                self.replace("schedule", f, "range")
            if len(n.args) > 1:
                self.replace("bound", n.args[0], f"{self.source.part(n.args[0])} + 1")

    def ranges(self, f: ast.Subscript) -> None:
        """The range of a binder."""
        parts = f.slice.elts if isinstance(f.slice, ast.Tuple) else [f.slice]
        for p in parts:
            if isinstance(p, ast.Slice) and (p.step or p.upper):
                last = p.step or p.upper
                self.replace("binder", last, f"{self.source.part(last)} - 1")
                if p.step and p.upper:
                    self.replace("binder", p.upper, f"{self.source.part(p.upper)} + 1")

    def on_Subscript(self, n: ast.Subscript, kind: str) -> None:
        if id(n) in self.binders or not isinstance(n.value, ast.Name) or isinstance(n.ctx, ast.Store):
            return
        parts = n.slice.elts if isinstance(n.slice, ast.Tuple) else [n.slice]
        for p in parts:
            if isinstance(p, ast.Slice):
                continue
            self.replace(kind or "index", p, f"{self.source.part(p)} + 1")
            if isinstance(p, ast.Name):
                others = [x for x in self.indices if x != p.id and x.islower()]
                for other in others[:2]:
                    self.replace(kind or "index", p, other)
        if len(parts) > 1 and not any(isinstance(p, ast.Slice) for p in parts):
            a, b, *rest = map(self.source.part, parts)
            if a != b:
                start, end = self.source.span(parts[0])[0], self.source.span(parts[-1])[1]
                self.add(kind or "index", start, end, ", ".join([b, a, *rest]))

    def on_Constant(self, n: ast.Constant, kind: str) -> None:
        self.constant(n, kind or "constant")

    def constant(self, n: ast.Constant, kind: str) -> None:
        """Another number."""
        if isinstance(n.value, bool):
            self.replace(kind, n, str(not n.value))
        elif isinstance(n.value, int):
            self.replace(kind, n, str(n.value + 1))
        elif isinstance(n.value, float):
            self.replace(kind, n, repr(n.value / 2) if n.value else "1.0")


def edits(source: Source) -> list[Edit]:
    """Every edit of a spec."""
    gradients = set()
    for n in ast.walk(ast.parse(source.text)):
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == "gradient" and n.args:
            gradients |= {x.id for x in n.args if isinstance(x, ast.Name)}
    return [e for d in source.defs for e in Finder(source, d, gradients).run()]
