"""Assignments of procedures: scalars, elements, index equations."""

from __future__ import annotations

from dataclasses import replace

from vibee.tree.defs import Assign, Decl, Equation, Equations, Store
from vibee.tree.expr import Expr, show, var

from .binders import free_names
from .errors import Known, SpecError, count
from .proc_calls import ProcedureCalls
from .scope import Symbol
from .surface import SAssign


class ProcedureAssignments(ProcedureCalls):
    """The part of the procedure checker for `=` and its kin."""

    def assign(self, s: SAssign) -> list:
        """`a = v`, `a, b = f(x)`, `a[i] += v`: the statements that do it."""
        if len(s.targets) > 1:
            if s.value.op != "call":
                raise SpecError(
                    s.span, "several results come from one call, as in a, b = f(x); write other assignments one by one"
                )
            return self.call_into(s.value, s.targets, s.span)
        target = s.targets[0]
        if not s.op and s.value.op == "call" and s.value.attr != ("view",) and not self.is_scalar_call(s.value):
            return self.call_into(s.value, s.targets, s.span)
        value = self.hoist(s.value)
        if s.op and target.op == "load" and any(i.op == "slice" for i in target.args):
            raise SpecError(
                target.span,
                "a part of an array is the target of a whole-array call only; write an equation with an index",
            )
        if target.op == "var":
            return self._scalar(s, target, value)
        sym = self.writable(str(target.attr), target.span)
        if not sym.cell or not sym.shape:
            raise SpecError(target.span, f"'{sym.name}' is a single number; it has no index")
        target = replace(target, args=tuple(i if i.op == "slice" else self.hoist(i) for i in target.args))
        if len(target.args) < len(sym.shape):
            given = [show(a) for a in target.args]
            more = [n for n in "ijklmnopqrst" if n not in given]
            axes = ", ".join(given + more[: len(sym.shape) - len(given)])
            raise SpecError(
                target.span,
                f"'{sym.name}' has {count(len(sym.shape), 'axis')}; write an equation, as in {sym.name}[{axes}] = ...",
            )
        new = self.new_indices(s, target)
        if s.op == "add":
            new = self.summed(value, new)
        if not new:
            return [self._store(s, target, sym, value)]
        return [Equations([self._equation(s, target, sym, value, new)], s.span)]

    def _scalar(self, s: SAssign, target: Expr, value: Expr) -> list:
        name = str(target.attr)
        sym = self.scope.local(name)
        if sym is None:
            if s.op:
                raise self.scope.unknown(name, target.span)
            typed = self.finish(self.check(value))
            made = self.new_local(name, typed.dtype, target.span)
            return [Decl(made.target, typed.dtype, typed, s.span)]
        if sym.broken:
            raise Known()
        if sym.cell and sym.shape:
            return self._fill(s, sym, value)
        if sym.kind != "local":
            what = {"loop": "a loop variable", "size": "a size", "scalar": "a parameter", "index": "an index"}.get(
                sym.kind, "read only"
            )
            raise SpecError(target.span, f"'{name}' is {what} and can't be assigned; declare a local with another name")
        if s.op:
            value = Expr(s.op, (Expr("var", (), name, "", target.span), value), None, "", s.span)
        typed = self.check(value, sym.dtype)
        if not sym.dtype:
            sym.dtype = self.finish(typed).dtype
        return [Assign(sym.target, self.convert(typed, sym.dtype), s.span)]

    def _fill(self, s: SAssign, sym: Symbol, value: Expr) -> list:
        """`row = 0.0`: every element."""
        axes = ", ".join("ijklmn"[: len(sym.shape)])
        if s.op or self.array(value) is not None:
            raise SpecError(s.span, f"'{sym.name}' is an array; write an equation, as in {sym.name}[{axes}] = ...")
        self.writable(sym.name, s.span)
        typed = self.value(value, sym.dtype) if sym.dtype else self.finish(self.check(value))
        sym.dtype = typed.dtype
        names = tuple(self.scope.fresh(n) for n in "ijklmnopqrst"[: len(sym.shape)])
        return [
            Equations([Equation(sym.target, names, sym.shape, tuple(map(var, names)), typed, False, s.span)], s.span)
        ]

    def _store(self, s: SAssign, target: Expr, sym: Symbol, value: Expr) -> Store:
        idx = self.indices(target, sym)
        if s.op:
            value = Expr(s.op, (target, value), None, "", s.span)
        typed = self.check(value, sym.dtype)
        if not sym.dtype:
            sym.dtype = self.finish(typed).dtype
        sym.written = True
        return Store(sym.target, idx, self.convert(typed, sym.dtype), False, s.span)

    def _equation(self, s: SAssign, target: Expr, sym: Symbol, value: Expr, new: list) -> Equation:
        plain = all(
            i.op in ("var", "slice") or not any(n.attr == x[0] for n in free_names(i) for x in new) for i in target.args
        )
        names = [x[0] for x in new]
        marks = [str((i.args[0] if i.op == "slice" else i).attr) for i in target.args]
        if s.op != "add" and (not plain or any(marks.count(n) != 1 for n in names)):
            raise SpecError(
                target.span,
                "a new index stands alone at one axis on the left of '='; use += to add at computed places, or a loop",
            )
        self._reads(s, target, sym, value, names, plain and all(marks.count(n) == 1 for n in names))
        if s.op and s.op != "add":
            bare = replace(target, args=tuple(i.args[0] if i.op == "slice" else i for i in target.args))
            value = Expr(s.op, (bare, value), None, "", s.span)
        dims = self.dims(new, target, value, sym)
        sym.written = True
        return self.equation(sym, new, dims, target, value, s.op == "add", s.span)

    def _reads(self, s: SAssign, target: Expr, sym: Symbol, value: Expr, names: list[str], plain: bool) -> None:
        """The right side may read the written array only at the element that is written, an index nowhere."""
        bare = tuple(i.args[0] if i.op == "slice" else i for i in target.args)
        bound: set[str] = set()

        def go(e: Expr) -> None:
            if e.op == "reduce":
                bound.update(e.attr[1])
            if e.op == "load" and e.attr == sym.name and (not plain or e.args != bare or s.op == "add"):
                raise SpecError(
                    e.span,
                    f"'{sym.name}' is read at other elements while they are written; compute into another array, "
                    f"or use a loop",
                )
            for a in e.args:
                go(a)

        for e in (value, *bare):
            go(e)
