"""Whole-array expressions of a model: `x + view(a, N, C)`, nested calls; each becomes a formula of its own."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from vibee.tree.defs import View
from vibee.tree.expr import Expr, Span, const, rebuild, show, walk

from .calls import Arg, ArrayArg, Bound, CallChecker
from .errors import Known, SpecError
from .scope import Symbol
from .sizes import product, shape_text
from .surface import RawDef, RawOut, RawParam, RawType, SAssign

N, I = "N", "i"  # noqa: E741
VIEW = ("view",)


@dataclass(slots=True)
class Leaves:
    """The arrays and numbers that an expression is made of, in order."""

    arrays: list[ArrayArg] = field(default_factory=list)
    cells: list[Expr] = field(default_factory=list)  # values that are one number
    numbers: list[Expr] = field(default_factory=list)

    def key(self) -> str:
        """Their types."""
        return ",".join([a.dtype for a in self.arrays] + ["/"] + [c.dtype for c in self.cells + self.numbers])


class WholeArrays(CallChecker):
    """Adds expressions over whole arrays to the call checker."""

    def hoist(self, e: Expr) -> Expr:
        """Nested calls stay where they are: `argument` makes them."""
        return e

    def argument(self, e: Expr) -> Arg:
        """One argument of a call: an array, a nested call, an expression of arrays, or a number."""
        if self.has_arrays(e):
            return self.result(e, "")
        found = super().argument(e)
        if isinstance(found, Expr) and found.op != "load" and any(n.op == "load" for n in walk(found)):
            return self.result(e, "")  # made of values: computed by a formula like all others
        return found

    def array(self, e: Expr) -> ArrayArg | None:
        """As for procedures; what is inside of view(...) may be an expression too."""
        if e.op in ("var", "load"):
            sym = self.scope.local(str(e.attr))
            if sym is not None and sym.broken:
                raise Known()
        if e.op in ("var", "load") or (e.op == "call" and e.attr == VIEW):
            return super().array(e)
        got = self.result(e, "") if self.has_arrays(e) else None
        return got if isinstance(got, ArrayArg) else None

    def is_array(self, e: Expr) -> bool:
        """As for procedures; expressions of arrays are arrays too."""
        if e.op in ("var", "load") or (e.op == "call" and (e.attr == VIEW or not self.is_scalar_call(e))):
            return super().is_array(e)
        return any(map(self.is_array, e.args))

    def result(self, e: Expr, name: str) -> Arg:
        """The value of an expression; a new value is called `name` if it isn't ''."""
        if e.op in ("var", "load") or (e.op == "call" and e.attr == VIEW):
            found = super().array(e) if e.op != "call" else self.array(e)
            if found is None:
                return self.finish(self.check(e))
            if not name or not (found.view.lead or found.view.part is not None):
                return found
            return self._formula(e, name)
        if e.op == "call" and not self.is_scalar_call(e):
            got = self.call(e, [name] if name else [])  # type: ignore[attr-defined]
            if len(got) != 1:
                name = str(e.attr[0])  # type: ignore[index]
                raise SpecError(e.span, f"{name} has {len(got)} outputs; assign all of them, as in a, b = {name}(...)")
            return got[0]
        if self.has_arrays(e):
            return self._formula(e, name)
        value = self.finish(self.check(e))
        if any(n.op == "load" for n in walk(value)):
            return self._formula(e, name)
        return value

    def has_arrays(self, e: Expr) -> bool:
        """True if the surface expression contains a whole array or a call that gives one."""
        if e.op == "var":
            sym = self.scope.local(str(e.attr))
            return sym is not None and not sym.broken and sym.cell and bool(sym.shape)
        if e.op == "load":
            sym = self.scope.local(str(e.attr))
            return sym is not None and sym.cell and len(e.args) < len(sym.shape)
        if e.op == "call":
            if e.attr == VIEW:
                return True
            if self.versions(str(e.attr[0]), e.span) and not self.is_scalar_call(e):  # type: ignore[index]
                return True
        return any(self.has_arrays(a) for a in e.args)

    # ------------------------------------------------------------ anonymous formulas

    def _formula(self, e: Expr, name: str) -> Arg:
        leaves = Leaves()
        return self._made(e, self._leaf(e, leaves), leaves, name)

    def converted(self, e: Expr) -> Expr:
        """A value that is one number, cast to the type that a call takes."""
        body = Expr("cast", (Expr("var", (), "c0", "", e.span),), e.dtype, "", e.span)
        made = self._made(e, body, Leaves(cells=[e.args[0]]), "")
        assert isinstance(made, Expr)
        return made

    def _made(self, e: Expr, body: Expr, leaves: Leaves, name: str) -> Arg:
        """A call of the formula for an expression, over all elements of its arrays."""
        shape: tuple[Expr, ...] = leaves.arrays[0].shape if leaves.arrays else ()
        for a in leaves.arrays[1:]:
            if len(a.shape) != len(shape) or not all(map(self.scope.facts.equal, a.shape, shape)):
                raise SpecError(
                    a.span,
                    f"arrays of different shapes meet here: {shape_text(shape)} and {shape_text(a.shape)}; "
                    "give both the same shape by view(...), or write a formula",
                )
        raw = self._raw(e, body, leaves)
        f = self.scope.program.instantiate(raw, {}, e.span)
        count = product(shape)
        args: list[Arg] = [
            replace(a, view=View(a.view.array, a.view.lead, a.view.part, (count,), a.span), shape=(count,))
            for a in leaves.arrays
        ]
        one = const(1, "i64")
        if leaves.arrays:
            args += leaves.cells
        else:
            args += [self._as_array(c, one) for c in leaves.cells]
        args += leaves.numbers
        made = self.emit(Bound(f, args, {N: count}, e.span, [shape]), [name or "each"])  # type: ignore[attr-defined]
        return made[0]

    def _as_array(self, cell: Expr, one: Expr) -> ArrayArg:
        name = str(cell.attr)
        sym = Symbol(name, "temp", cell.dtype, (), cell.span, name)
        return ArrayArg(sym, View(name, (), None, (one,), cell.span), cell.dtype, (one,), cell.span)

    def _leaf(self, e: Expr, leaves: Leaves) -> Expr:
        """The expression with its arrays and numbers replaced by parameters of a formula."""
        if e.op in ("var", "load") or (e.op == "call" and (e.attr == VIEW or not self.is_scalar_call(e))):
            array = self.array(e) if e.op != "call" or e.attr == VIEW else self.result(e, "")
            if isinstance(array, ArrayArg):
                return self._array_leaf(array, leaves, e.span)
            value = array if array is not None else self.finish(self.check(e))
            return self._number(value, leaves, e.span)
        if e.op in ("const", "str", "list", "none"):
            return e
        if e.op in ("cast", "bitcast"):
            e = replace(e, attr=self.scope.dtype(str(e.attr)))
        return rebuild(e, lambda a: self._leaf(a, leaves))

    def _array_leaf(self, a: ArrayArg, leaves: Leaves, span: Span) -> Expr:
        for k, b in enumerate(leaves.arrays):
            if replace(a.view, span=b.view.span, shape=b.view.shape) == b.view:
                return Expr("load", (Expr("var", (), I, "", span),), f"a{k}", "", span)
        leaves.arrays.append(a)
        return Expr("load", (Expr("var", (), I, "", span),), f"a{len(leaves.arrays) - 1}", "", span)

    def _number(self, value: Expr, leaves: Leaves, span: Span) -> Expr:
        if value.op == "const":
            return value
        if value.op == "load" and value.args:
            raise SpecError(span, "a model works on whole arrays; pick elements in a formula")
        kind, into = ("c", leaves.cells) if value.op == "load" else ("s", leaves.numbers)
        if value not in into:
            into.append(value)
        return Expr("var", (), f"{kind}{into.index(value)}", "", span)

    def _raw(self, e: Expr, body: Expr, leaves: Leaves) -> RawDef:
        """The formula `y[i] = body`, made once for each text and types."""
        program = self.scope.program
        made = program.__dict__.setdefault("_whole_formulas", {})
        scalar_only = not leaves.arrays
        text = f"{self.scope.module.path}|{show(body)}|{leaves.key()}|{self.scope.float_default}"
        if text in made:
            return made[text]
        size = Expr("var", (), N, "", e.span)
        index = Expr("var", (), I, "", e.span)
        params = [RawParam(f"a{k}", RawType(a.dtype, (size,)), None, e.span) for k, a in enumerate(leaves.arrays)]
        for k, c in enumerate(leaves.cells):
            params.append(RawParam(f"c{k}", RawType(c.dtype, (size,) if scalar_only else None), None, e.span))
        params += [RawParam(f"s{k}", RawType(c.dtype), None, e.span) for k, c in enumerate(leaves.numbers)]
        if scalar_only:
            body = _indexed(body, index)
        target = Expr("load", (index,), "y", "", e.span)
        number = len(made) + 1
        while f"{self.scope.raw.name}_each{number}" in self.scope.module.own:
            number += 1  # a definition of the spec
        raw = RawDef(
            "formula", f"{self.scope.raw.name}_each{number}", params, [RawOut("y", "", (size,), e.span)],
            [SAssign([target], body, "", e.span)], "An expression of whole arrays in a model.", show(body), e.span,
            names={N, I, "y"}, module=self.scope.raw.module, file=self.scope.raw.file,
        )  # fmt: skip
        program.modules.adopt(raw, self.scope.module)
        made[text] = raw
        return raw


def _indexed(e: Expr, index: Expr) -> Expr:
    if e.op == "var" and str(e.attr).startswith("c"):
        return Expr("load", (index,), e.attr, "", e.span)
    return rebuild(e, lambda a: _indexed(a, index))
