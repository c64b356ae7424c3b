"""Reductions, scans, and the ranges of index variables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from vibee.tree.expr import Expr, Span, const, show

from .errors import SpecError
from .expr import literal_text
from .powers import PowerChecker
from .scope import WHAT, Symbol


@dataclass(slots=True)
class Use:
    """An index variable standing alone at an axis: the axis' size, and whether a `where` guards it."""

    size: Expr
    text: str
    guarded: bool
    span: Span


def raw_bound(e: Expr) -> tuple[str, ...]:
    """The names that a surface node binds."""
    return e.attr[1] if e.op == "reduce" else ()


def free_names(e: Expr, bound: frozenset[str] = frozenset()) -> Iterator[Expr]:
    """The `var` nodes of a surface expression that no reduce inside it binds, in order."""
    if e.op == "var":
        if str(e.attr) not in bound:
            yield e
        return
    if e.op == "scan" and e.attr[1] not in bound:
        yield Expr("var", (), e.attr[1], "", e.span)
    names = raw_bound(e)
    for k, a in enumerate(e.args):  # bounds may use the names to the left of their own
        yield from free_names(a, bound | set(names[: (k - 1) // 2] if k else names))


class BinderChecker(PowerChecker):
    """Adds reduce and scan to the expression checker."""

    # ------------------------------------------------------------ ranges

    def uses(self, e: Expr, name: str, guarded: bool = False) -> Iterator[Use]:
        """Where `name` directly indexes an axis in the surface expression `e`."""
        if e.op == "load":
            sym = self.scope.get(str(e.attr))
            if sym is not None and sym.cell and len(sym.shape) == len(e.args):
                for i, size in zip(e.args, sym.shape, strict=True):
                    if i.op == "var" and i.attr == name:
                        yield Use(size, show(e), guarded, i.span)
        if name in raw_bound(e):
            for a in e.args[1:]:
                yield from self.uses(a, name, guarded)
            return
        for k, a in enumerate(e.args):
            yield from self.uses(a, name, guarded or (e.op == "where" and k > 0))

    def extent(self, name: str, uses: Iterable[Use], span: Span) -> Expr | None:
        """The size that an index runs over; None if no axis tells.  All unguarded uses must agree."""
        found: Use | None = None
        guarded: list[Use] = []
        for u in uses:
            if u.guarded:
                guarded.append(u)
            elif found is None:
                found = u
            elif not self.scope.facts.equal(found.size, u.size):
                a, b = show(found.size), show(u.size)
                apart = self.scope.facts.apart(found.size, u.size)
                least = a if apart is not None and apart < 0 else b
                how = f"make them equal, as in given({a} == {b})"
                if apart is not None:
                    how = f"write the range where {name} is new, as in [{name}:{least}]"
                raise SpecError(u.span, f"{name} runs over {a} in {found.text} but over {b} in {u.text}; {how}")
        for u in guarded if found is None else []:
            found = found or u
            if not self.scope.facts.equal(found.size, u.size):  # no branch tells more than another
                a, b = show(found.size), show(u.size)
                how = f"write the range where {name} is new, as in [{name}:{a}]"
                raise SpecError(u.span, f"{name} runs over {a} in {found.text} but over {b} in {u.text}; {how}")
        return found.size if found else None

    def arrays_exist(self, e: Expr) -> None:
        """Report an unknown array before what its unknown axes would lead to."""
        if e.op == "load":
            self.scope.need(str(e.attr), e.span)
        for a in e.args:
            self.arrays_exist(a)

    def index_symbol(self, name: str, span: Span) -> Symbol:
        """A new index variable in the innermost table."""
        old = self.scope.local(name)
        if old is not None:
            raise SpecError(span, f"'{name}' is {WHAT[old.kind]} already; an index needs a name of its own")
        return self.scope.declare(Symbol(name, "index", "i64", (), span))

    # ------------------------------------------------------------ reduce and scan

    def on_reduce(self, e: Expr, want: str) -> Expr:
        """`sum[k](...)`, `max[i:N, j:a:b](...)`."""
        op, names = e.attr
        body = e.args[0]
        self.arrays_exist(body)
        for k in range(1, len(names)):  # a bound that uses an index to its left: nested reductions
            bounds = e.args[1 + 2 * k : 3 + 2 * k]
            if any(n.attr in names[:k] for b in bounds for n in free_names(b)):
                inner = replace(e, attr=(op, names[k:]), args=(body, *e.args[1 + 2 * k :]))
                return self.on_reduce(replace(e, attr=(op, names[:k]), args=(inner, *e.args[1 : 1 + 2 * k])), want)
        ranges: list[Expr] = []
        self.scope.push()
        try:
            for k, name in enumerate(names):
                lo, hi = e.args[1 + 2 * k], e.args[2 + 2 * k]
                if hi.op == "none":
                    size = self.extent(name, self.uses(body, name), e.span)
                    if size is None:
                        raise SpecError(
                            e.span,
                            f"the range of {name} is unknown: it indexes no axis by itself; write it, as in "
                            f"{op}[{name}:N](...)",
                        )
                    ranges += [const(0, "i64", e.span), size]
                else:
                    ranges += [self.index(lo), self.index(hi)]
                self.index_symbol(name, e.span)
            typed = self.check(body, want if op not in ("any", "all", "argmax", "argmin") else "")
        finally:
            self.scope.pop()
        if op in ("any", "all"):
            if typed.dtype != "bool":
                raise SpecError(
                    body.span,
                    f"{show(typed)} is {literal_text(typed.dtype)}; {op} takes a condition, as in {op}[i](x[i] > 0)",
                )
            dtype = "bool"
        else:
            typed = self.arith(typed)
            dtype = typed.dtype
            if op in ("argmax", "argmin"):
                typed, dtype = self.finish(typed), "i64"
        return Expr("reduce", (typed, *ranges), (op, names), dtype, e.span)

    def on_scan(self, e: Expr, want: str) -> Expr:
        """`cumsum[n](x[n])`."""
        op, name = e.attr
        if name not in self.equation_vars:
            known = (
                f"the indices are {', '.join(self.equation_vars)}"
                if self.equation_vars
                else "there is no equation with indices here"
            )
            raise SpecError(e.span, f"cum{op}[{name}] runs along an index of the equation's left side; {known}")
        body = self.finish(self.arith(self.check(e.args[0], want)), want)
        return Expr("scan", (body,), (op, name), body.dtype, e.span)


def unique_binders(exprs: list[Expr], taken: set[str]) -> list[Expr]:
    """The typed `exprs` with every binder's variable different from all others and from `taken`."""
    used = set(taken)
    done: dict[tuple[Expr, tuple[tuple[str, str], ...]], Expr] = {}

    def fresh(name: str) -> str:
        out, k = name, 0
        while out in used:
            k += 1
            out = f"{name}_{k}"
        used.add(out)
        return out

    def go(e: Expr, names: dict[str, str]) -> Expr:
        if e.op == "var":
            new = names.get(str(e.attr))
            return replace(e, attr=new) if new else e
        if e.op == "reduce":
            again = (e, tuple(sorted(names.items())))  # equal parts of one expression stay equal
            if again in done:
                return done[again]
            op, bound = e.attr
            inner = dict(names)
            ranges: list[Expr] = []
            fresh_names: list[str] = []
            for k, b in enumerate(bound):
                ranges += [go(e.args[1 + 2 * k], names), go(e.args[2 + 2 * k], names)]
                fresh_names.append(fresh(b))
                inner[b] = fresh_names[-1]
            done[again] = replace(e, attr=(op, tuple(fresh_names)), args=(go(e.args[0], inner), *ranges))
            return done[again]
        if e.op == "scan":
            op, name = e.attr
            return replace(e, attr=(op, names.get(name, name)), args=tuple(go(a, names) for a in e.args))
        return replace(e, args=tuple(go(a, names) for a in e.args)) if e.args else e

    out = []
    for e in exprs:
        done.clear()
        out.append(go(e, {}))
    return out
