"""Calls: which version of a definition is meant, and how its parameters and sizes are bound."""

from __future__ import annotations

from dataclasses import dataclass, field

from vibee.tree.defs import Definition, Demand, Param, View
from vibee.tree.expr import Expr, Span, const, rebuild, show, substitute
from vibee.tree.types import INT_LITERAL

from .binders import BinderChecker
from .errors import Known, SpecError, count, suggest
from .matching import Arg, match, mismatch, takes, taste
from .parse_expr import RESERVED
from .scope import Symbol
from .sizes import minus, product, shape_text
from .surface import RawDef
from .views import ArrayArg, Move

STATEMENTS = ("given", "then", "law", "example", "raises", "close", "derivative", "implements", "gradient", "weights")


@dataclass(slots=True)
class Bound:
    """A call resolved: the checked callee, one argument per parameter, and its sizes in the caller's terms."""

    callee: Definition
    args: list[Arg]
    sizes: dict[str, Expr]
    span: Span
    out_shapes: list[tuple[Expr, ...]] = field(default_factory=list)


class CallChecker(BinderChecker):
    """Adds calls to the expression checker."""

    # ------------------------------------------------------------ looking up

    def versions(self, name: str, span: Span) -> list[RawDef]:
        """The definitions called `name`, or an error."""
        found = self.scope.program.find(self.scope.module, name)
        if found:
            return found
        sym = self.scope.get(name)
        if sym is not None:
            raise SpecError(span, f"'{name}' can't be called; index it with brackets, as in {name}[i]")
        if name in self.scope.module.imported:
            raise Known()  # the import has a mistake
        if name in STATEMENTS:
            raise SpecError(span, f"{name}(...) is a statement of its own; it has no value")
        known = set(self.scope.program.callable_names(self.scope.module)) | RESERVED
        hint = suggest(name, known) or "; define it in this file, or import it with: from module import name"
        raise SpecError(span, f"there is no definition '{name}'{hint}")

    def is_scalar_call(self, e: Expr) -> bool:
        """True if the surface call `e` is of a definition from numbers to one number."""
        return self.scope.program.is_scalar(self.meant(e)[0])

    def meant(self, e: Expr) -> list[RawDef]:
        """The versions of what the surface call `e` names; where some take whole arrays and others numbers, those
        that take arrays where `e` has them, if there are any."""
        name, *keys = e.attr
        raws = self.versions(str(name), e.span)
        if len({self.scope.program.is_scalar(raw) for raw in raws}) == 1:
            return raws
        arrays = [self.is_array(a) for a in e.args]
        return [raw for raw in raws if takes(raw, arrays, keys)] or raws

    def is_array(self, e: Expr) -> bool:
        """Is the surface expression `e` a whole array, or a part of one?"""
        if e.op == "call":
            return e.attr == ("view",) or any(o.shape for o in self.meant(e)[0].outs[:1])
        sym = self.scope.get(str(e.attr)) if e.op in ("var", "load") else None
        if sym is None or not sym.cell or not sym.shape:
            return False
        return len(e.args) < len(sym.shape) or any(i.op == "slice" for i in e.args)

    # ------------------------------------------------------------ whole-array calls inside expressions

    def array_call(self, e: Expr) -> list[Symbol]:
        """Make the whole-array call `e` before the current statement; symbols of its outputs."""
        raise SpecError(e.span, f"{e.attr[0]} takes or gives whole arrays; it can't be called here")

    def one_result(self, e: Expr) -> Symbol:
        """The only output of the whole-array call `e`."""
        outs = self.array_call(e)
        if len(outs) != 1:
            names = ", ".join("abcdefgh"[: len(outs)])
            raise SpecError(
                e.span, f"{e.attr[0]} has {len(outs)} outputs; take them apart first, as in {names} = {e.attr[0]}(...)"
            )
        return outs[0]

    def hoist(self, e: Expr) -> Expr:
        """The surface expression `e` with whole-array calls made before it and replaced by their results."""
        if e.op == "index":
            base = e.args[0]
            if base.op != "call" or base.attr == ("view",) or self.is_scalar_call(base):
                raise SpecError(e.span, "only arrays and calls that give arrays can be indexed")
            sym = self.one_result(base)
            return Expr("load", tuple(self.hoist(a) for a in e.args[1:]), sym.name, "", e.span)
        if e.op == "call" and e.attr != ("view",) and not self.is_scalar_call(e):
            return Expr("var", (), self.one_result(e).name, "", e.span)
        return rebuild(e, self.hoist)

    # ------------------------------------------------------------ scalar calls

    def on_call(self, e: Expr, want: str) -> Expr:
        """`f(a, b)` where f maps numbers to a number."""
        name = str(e.attr[0])
        if name == "view":
            raise SpecError(e.span, "view(...) is an array; it can only be an argument of a whole-array call")
        bound = self.bind(e, want) if self.is_scalar_call(e) else None
        if bound is None or not bound.callee.is_scalar:
            raise SpecError(
                e.span,
                f"{name} takes or gives whole arrays; it can't stand inside this expression: call it in a "
                f"statement before",
            )
        args = tuple(a for a in bound.args if isinstance(a, Expr))
        return Expr("call", args, (bound.callee.key,), bound.callee.outs[0].dtype, e.span)

    # ------------------------------------------------------------ arguments

    def argument(self, e: Expr) -> Arg:
        """One argument: an array or part of one, or a number (its literals untyped still)."""
        array = self.array(e)
        return array if array is not None else self.check(e)

    def array(self, e: Expr) -> ArrayArg | None:
        """The array that the surface expression `e` denotes; None if it is a number."""
        if e.op == "var":
            sym = self.scope.get(str(e.attr))
            if sym is None or sym.broken or not sym.cell or not sym.shape:
                return None
            self._typed(sym, e.span)
            return ArrayArg(sym, View(sym.target, (), None, sym.shape, e.span), sym.dtype, sym.shape, e.span)
        if e.op == "load":
            sym = self.scope.need(str(e.attr), e.span)
            if not sym.cell or not sym.shape:
                return None
            if len(e.args) == len(sym.shape) and all(i.op != "slice" for i in e.args):
                return None
            self._typed(sym, e.span)
            return self._part(e, sym)
        if e.op == "call" and e.attr == ("view",):
            return self._view(e)
        return None

    def _typed(self, sym: Symbol, span: Span) -> None:
        if not sym.dtype:
            raise SpecError(
                span,
                f"'{sym.name}' is used before anything gives it a type; write it in the head, as in "
                f"{sym.name}(f32[...])",
            )

    def _part(self, e: Expr, sym: Symbol) -> ArrayArg:
        if len(e.args) > len(sym.shape):
            raise SpecError(
                e.span, f"'{sym.name}' has {count(len(sym.shape), 'axis')}, but {count(len(e.args), 'index')} given"
            )
        lead: list[Expr] = []
        part: tuple[Expr, Expr] | None = None
        shape = list(sym.shape[len(e.args) :])
        front: list[Expr] = []
        for k, i in enumerate(e.args):
            size = sym.shape[k]
            if i.op != "slice":
                if front or part is not None:
                    raise SpecError(
                        i.span, "after a range only whole axes can follow: a part of an array is contiguous"
                    )
                x = self.index(i)
                if x.op == "const" and int(x.attr) < 0:
                    x = minus(size, const(-int(x.attr), "i64", i.span))
                lead.append(x)
                continue
            lo, hi = (
                self._bound(b, size, other) for b, other in zip(i.args, (const(0, "i64", i.span), size), strict=True)
            )
            whole = lo.op == "const" and lo.attr == 0 and hi == size
            if not whole and (front or part is not None):
                raise SpecError(i.span, "after a range only whole axes can follow: a part of an array is contiguous")
            if not whole:
                part = (lo, hi)
            front.append(minus(hi, lo))
        seen = (*front, *shape)
        return ArrayArg(sym, View(sym.target, tuple(lead), part, seen, e.span), sym.dtype, seen, e.span)

    def _bound(self, e: Expr, size: Expr, missing: Expr) -> Expr:
        if e.op == "none":
            return missing
        x = self.index(e)
        if x.op == "const" and int(x.attr) < 0:
            return minus(size, const(-int(x.attr), "i64", e.span))
        return x

    def _view(self, e: Expr) -> ArrayArg:
        if len(e.args) < 2:
            raise SpecError(e.span, "view takes an array and its new shape, as in view(x, N, C)")
        base = self.array(e.args[0])
        if base is None:
            raise SpecError(
                e.args[0].span, f"{show(e.args[0])} is not an array; view shows an array with another shape"
            )
        shape = tuple(self.index(a) for a in e.args[1:])
        if not self.scope.facts.equal(product(shape), product(base.shape)):
            raise SpecError(
                e.span, f"view{shape_text(shape)} has not as many elements as "
                    f"{show(e.args[0])}{shape_text(base.shape)}; "
                "if they are equal, say so, as in given(C % H == 0)"
            )  # fmt: skip
        view = View(base.view.array, base.view.lead, base.view.part, shape, e.span)
        return ArrayArg(base.symbol, view, base.dtype, shape, e.span)

    # ------------------------------------------------------------ binding

    def bind(
        self,
        e: Expr,
        want: str = "",
        args: list[Arg] | None = None,
        targets: list[tuple[Expr, ...] | None] | None = None,
    ) -> Bound:
        """Resolve the surface call `e`: pick the version, convert numbers, bind the sizes.

        `targets`: shapes of the arrays that receive the outputs, for sizes that only an output has."""
        name, *keys = e.attr
        raws = self.versions(str(name), e.span)
        given = args if args is not None else [self.argument(self.hoist(a)) for a in e.args]
        found: list[tuple[int, RawDef, dict[str, str], list[Arg | None], Definition]] = []
        reasons: list[SpecError] = []
        signatures: list[Definition] = []
        for raw in raws:
            for types in self.scope.program.type_choices(raw):
                sig = self.scope.program.signature(raw, types)
                if sig is None:
                    raise Known()
                signatures.append(sig)
                try:
                    cost, ordered = match(sig, given, [str(k) for k in keys], e.span)
                    found.append((cost, raw, types, ordered, sig))
                except SpecError as error:
                    reasons.append(error)
        if not found:
            raise mismatch(str(name), raws, signatures, reasons, given, e.span)
        best = min(f[0] for f in found)
        ties = [f for f in found if f[0] == best]
        cost, raw, types, ordered, sig = min(ties, key=lambda f: taste(f[4], want, self.scope.float_default))
        callee = self.scope.program.instantiate(raw, types, e.span)
        return self._complete(callee, ordered, e.span, targets or [])

    def _complete(
        self, callee: Definition, ordered: list[Arg | None], span: Span, targets: list[tuple[Expr, ...] | None]
    ) -> Bound:
        """Sizes bound and checked, numbers converted."""
        sizes: dict[str, Expr] = {}
        args: list[Arg] = []
        for p, a in zip(callee.params, ordered, strict=True):
            if a is None:
                assert p.default is not None
                args.append(p.default)
            elif isinstance(a, ArrayArg):
                args.append(a)
            elif p.kind == "size":
                args.append(self.index_of(a))
            else:
                args.append(self.convert(a, p.dtype))
            if p.kind == "size":
                last = args[-1]
                assert isinstance(last, Expr)
                sizes[p.name] = last
        for p, bound in zip(callee.params, args, strict=True):
            if isinstance(bound, ArrayArg):
                for s, n in zip(p.shape, bound.shape, strict=True):
                    if s.op == "var" and s.attr not in sizes:
                        sizes[str(s.attr)] = n
        for name, how in callee.sizes.items():
            if how[0] != "out" or name in sizes:
                continue
            k = [o.name for o in callee.outs].index(how[1])
            shape = targets[k] if k < len(targets) else None
            if shape is None or len(shape) != len(callee.outs[k].shape):
                raise SpecError(
                    span, f"the size {name} of {callee.name}'s result comes from the array that receives it; "
                        f"declare that first, "
                    f"as in {how[1]}: {callee.outs[k].dtype or 'f32'}[...]"
                )  # fmt: skip
            sizes[name] = shape[how[2]]
        for p, bound in zip(callee.params, args, strict=True):
            if not isinstance(bound, ArrayArg):
                continue
            for axis, (s, n) in enumerate(zip(p.shape, bound.shape, strict=True)):
                need = substitute(s, sizes)
                if not self.scope.facts.equal(need, n):
                    known = "" if s == need else f" (its {show(s)})"
                    raise SpecError(
                        bound.span, f"axis {axis} of '{p.name}' of {callee.name} must be {show(need)}{known}, but "
                            f"here it is {show(n)}; "
                        f"if they are equal, say so, as in given({show(need, 5)} == {show(n, 5)})"
                    )  # fmt: skip
        shapes = [tuple(substitute(s, sizes) for s in o.shape) for o in callee.outs]
        return Bound(callee, args, sizes, span, shapes)

    def index_of(self, a: Expr) -> Expr:
        """A typed integer as i64."""
        if a.dtype == "i64" or a.dtype == INT_LITERAL:
            return self.convert(a, "i64")
        return Expr("cast", (a,), "i64", "i64", a.span)

    # ------------------------------------------------------------ memory

    def disjoint(self, a: View, b: View) -> bool:
        """True if two parts of one array are known not to overlap."""
        for x, y in zip(a.lead, b.lead, strict=False):
            d = self.scope.facts.number(Expr("sub", (x, y), None, "i64"))
            if d:
                return True
            if d is None:
                return False
        if a.part and b.part and len(a.lead) == len(b.lead):
            for (_, end), (start, _) in ((a.part, b.part), (b.part, a.part)):
                d = self.scope.facts.number(Expr("sub", (start, end), None, "i64"))
                if d is not None and d >= 0:
                    return True
        return False

    def given_twice(self, a: ArrayArg, p: Param, bound: Bound) -> None:
        """A mut argument must not overlap another argument."""
        for other, q in zip(bound.args, bound.callee.params, strict=True):
            if q is p or not isinstance(other, ArrayArg) or other.view.array != a.view.array:
                continue
            if not self.disjoint(a.view, other.view):
                raise SpecError(
                    a.span,
                    f"'{a.symbol.name}' is given twice to {bound.callee.name}, which changes '{p.name}'; give two "
                    f"arrays",
                )

    # ------------------------------------------------------------ obligations

    def obligations(self, bound: Bound) -> list[Demand]:
        """The callee's `given` in the caller's terms, without what is plainly true."""
        names: dict[str, Expr] = dict(bound.sizes)
        arrays: dict[str, ArrayArg] = {}
        for p, a in zip(bound.callee.params, bound.args, strict=True):
            if isinstance(a, ArrayArg):
                arrays[p.name] = a
            else:
                names[p.name] = a
        shapes = {p.name: p.shape for p in bound.callee.params}
        out = []
        for g in bound.callee.given:
            e = Move(dict(names), arrays, self.scope.facts, self.scope.fresh).condition(g, shapes)
            if not self._evident(e):
                out.append(Demand(e, bound.callee.name, bound.span))
        return out

    def _evident(self, e: Expr) -> bool:
        """True for a condition over constants that holds, or an equality of equal sizes."""
        if e.op == "and":
            return self._evident(e.args[0]) and self._evident(e.args[1])
        if e.op == "eq" and e.args[0].dtype == "i64":
            return self.scope.facts.equal(*e.args)
        if e.op in ("ge", "gt", "le", "lt") and e.args[0].dtype == "i64":
            d = self.scope.facts.number(Expr("sub", e.args, None, "i64"))
            return d is not None and {"ge": d >= 0, "gt": d > 0, "le": d <= 0, "lt": d < 0}[e.op]
        return False
