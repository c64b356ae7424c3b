"""What the bodies of formulas and procedures share: conditions, targets, index equations."""

from __future__ import annotations

from vibee.tree.defs import Demand, Equation, Param
from vibee.tree.expr import Expr, Span, bound_vars, const, show
from vibee.tree.types import is_float

from .binders import Use, free_names
from .calls import CallChecker
from .errors import SpecError
from .fold import computed
from .scope import Scope, Symbol
from .signature import size_expr
from .surface import SAssign, SExpr


class BodyChecker(CallChecker):
    """Base of FormulaChecker and ProcedureChecker."""

    def __init__(self, scope: Scope, params: list[Param], outs: list[Param], sizes: dict[str, tuple]) -> None:
        super().__init__(scope)
        self.params, self.outs, self.sizes = params, outs, sizes
        self.given: list[Expr] = []
        self.obligation: list[Demand] = []
        self.failed = False
        self.closing = False  # inside then(...), where close(a, b) is a condition

    def on_call(self, e: Expr, want: str) -> Expr:
        """As for all expressions; inside then(...) also close(a, b)."""
        if self.closing and e.attr[0] == "close":
            return close(self, e)
        return super().on_call(e, want)

    def report(self, e: SpecError) -> None:
        """Keep a mistake and go on."""
        self.failed = True
        self.scope.errors.add(e)

    # ------------------------------------------------------------ given

    def take_given(self, body: list) -> list:
        """Check all `given(...)` first, wherever they stand; the other statements."""
        rest = []
        for s in body:
            if isinstance(s, SExpr) and s.value.op == "call" and s.value.attr[0] == "given":
                for c in s.value.args:
                    try:
                        if len(s.value.attr) > 1:
                            raise SpecError(c.span, "given takes conditions, as in given(N >= 1, K == 4 * C)")
                        self._condition(c)
                    except SpecError as e:
                        self.report(e)
            else:
                rest.append(s)
        return rest

    def _condition(self, c: Expr) -> None:
        for n in [*free_names(c), *(n for n in nodes(c) if n.op == "load")]:
            sym = self.scope.get(str(n.attr))
            if sym is not None and sym.kind == "out":
                raise SpecError(n.span, f"'{sym.name}' is an output; given speaks of parameters, then(...) of outputs")
        typed = self.elementwise(c)
        self.given.append(typed)
        self.scope.facts.learn(typed)

    def elementwise(self, c: Expr) -> Expr:
        """A condition; names that are new are indices, and it holds for all their values."""
        self.arrays_exist(c)
        self.scope.push()
        try:
            for n in free_names(c):
                name = str(n.attr)
                if self.scope.get(name) is None and name not in ("inf", "nan"):
                    if self.extent(name, self.uses(c, name), n.span) is None:
                        raise self.scope.unknown(name, n.span)
                    self.index_symbol(name, n.span)
            return self.condition(c)
        finally:
            self.scope.pop()

    def oblige(self, demands: list[Demand]) -> None:
        """Conditions of a callee: those about parameters join `given`, others are obligations."""
        names = {p.name for p in self.params} | set(self.sizes)
        arrays = {p.name for p in self.params if p.is_array}
        for o in demands:
            c = o.condition
            known = names.union(*map(bound_vars, nodes(c)))
            own = all(
                n.attr in arrays
                if n.op in ("load", "load?")
                else n.op != "var" or n.attr in known or self._free(c, str(n.attr))
                for n in nodes(c)
            )
            if not own:
                self.obligation.append(o)
            elif c not in self.given:
                self.given.append(c)

    def _free(self, c: Expr, name: str) -> bool:
        """True if `name` in the condition `c` is an index of its own."""
        return self.scope.local(name) is None and any(
            n.op == "load" and any(a.attr == name for a in n.args) for n in nodes(c)
        )

    # ------------------------------------------------------------ index equations

    def new_indices(self, s: SAssign, target: Expr, plain: bool = False) -> list[tuple[str, Expr | None, Span]]:
        """The index names that the left side of an equation brings in, with explicit ranges.  Those of a plain left
        side are new even where the module has a constant of that name."""
        known = self.scope.local if plain else self.scope.get
        out: list[tuple[str, Expr | None, Span]] = []
        for i in target.args:
            if i.op == "slice":
                name = i.args[0]
                if name.op != "var" or i.args[1].op == "none" or self.scope.local(str(name.attr)) is not None:
                    raise SpecError(i.span, "a range on the left is written with a new index, as in y[i:N] = ...")
                out.append((str(name.attr), i.args[1], name.span))
                continue
            for n in free_names(i):
                name_ = str(n.attr)
                if known(name_) is None and name_ not in [o[0] for o in out]:
                    out.append((name_, None, n.span))
        return out

    def summed(self, value: Expr, new: list[tuple[str, Expr | None, Span]]) -> list[tuple[str, Expr | None, Span]]:
        """`+=` adds over every index: those of the right side join those of the left."""
        out = list(new)
        for n in free_names(value):
            name = str(n.attr)
            if (
                self.scope.get(name) is None
                and name not in [o[0] for o in out]
                and any(True for _ in self.uses(value, name))
            ):
                out.append((name, None, n.span))
        return out

    def dims(
        self, new: list[tuple[str, Expr | None, Span]], target: Expr, value: Expr, sym: Symbol | None
    ) -> list[Expr]:
        """The size that each new index runs over."""
        self.arrays_exist(value)
        dims = []
        for name, explicit, span in new:
            if explicit is not None:
                dims.append(size_expr(self, explicit))
                continue
            uses: list[Use] = []
            if sym is not None:
                text = show(target)
                uses += [
                    Use(n, text, False, i.span)
                    for i, n in zip(target.args, sym.shape, strict=False)
                    if i.op == "var" and i.attr == name
                ]
                for i in target.args:
                    uses += self.uses(i, name)
            uses += self.uses(value, name)
            size = self.extent(name, uses, span)
            if size is None:
                raise SpecError(
                    span,
                    f"the range of {name} is unknown: it indexes no axis by itself; write it, as in "
                    f"{target.attr}[{name}:N] = ...",
                )
            dims.append(size)
        return dims

    def equation(
        self,
        sym: Symbol,
        new: list[tuple[str, Expr | None, Span]],
        dims: list[Expr],
        target: Expr,
        value: Expr,
        add: bool,
        span: Span,
    ) -> Equation:
        """Check both sides with the new indices declared; `sym.dtype` may be '' and is then decided here."""
        self.scope.push()
        try:
            for name, _, where in new:
                self.index_symbol(name, where)
            self.equation_vars = tuple(n[0] for n in new)
            plain = [i.args[0] if i.op == "slice" else i for i in target.args]
            idx = self.indices(Expr("load", tuple(plain), target.attr, "", target.span), sym)
            typed = self.check(value, sym.dtype)
            if sym.dtype:
                typed = self.convert(typed, sym.dtype, show(typed))
            else:
                typed = self.finish(typed)
                sym.dtype = typed.dtype
            return Equation(sym.target, tuple(n[0] for n in new), tuple(dims), idx, typed, add, span)
        finally:
            self.equation_vars = ()
            self.scope.pop()


def nodes(e: Expr) -> list[Expr]:
    """Every node of `e`."""
    out = [e]
    for a in e.args:
        out += nodes(a)
    return out


def zero(dtype: str) -> Expr:
    """The zero of a dtype."""
    return const(False if dtype == "bool" else 0 if dtype[0] in "iu" else 0.0, dtype)


def close(checker: CallChecker, e: Expr) -> Expr:
    """`close(a, b, ulp=8)` or `close(a, b, rel=1e-5)`: a condition inside then."""
    _, *keys = e.attr
    if len(e.args) - len(keys) != 2 or len(keys) > 1 or not set(keys) <= {"ulp", "rel"}:
        raise SpecError(e.span, "write close(a, b, ulp=8) or close(a, b, rel=1e-5)")
    a, b = checker.check(e.args[0]), checker.check(e.args[1])
    a, b = checker.same(a, b, e.span)
    a, b = checker.finish(a), checker.finish(b)
    if not is_float(a.dtype):
        raise SpecError(e.span, f"close compares floats, but {show(a)} is {a.dtype}; use ==")
    tolerance: tuple = ()
    for key, value in zip(keys, e.args[2:], strict=True):
        tolerance = (key, tolerated(checker, key, value))
    return Expr("call", (a, b), ("close", *tolerance), "bool", e.span)


def tolerated(checker: CallChecker, key: object, e: Expr) -> float:
    """The number of `ulp=` or `rel=`: a positive one, which can be a constant."""
    x = computed(checker.check(e))
    if x.op != "const" or x.dtype == "bool" or not 0 < x.attr < float("inf"):
        raise SpecError(e.span, f"{key} is a positive number, as in {key}={'8' if key == 'ulp' else '1e-5'}")
    return x.attr  # type: ignore[no-any-return]
