"""Expressions: names resolved, dtypes filled in, conversions made explicit.

While checking, a number without a type of its own has dtype 'int' or 'float'; an operand, a
target or `finish` gives it one.
"""

from __future__ import annotations

from dataclasses import replace

from vibee.tree.expr import Expr, Span, const, show, var
from vibee.tree.types import DTYPES, FLOAT_LITERAL, INT_LITERAL, is_float, is_int, promote

from . import fold
from .errors import SpecError, count
from .scope import WHAT, Scope, Symbol

LITERALS = (INT_LITERAL, FLOAT_LITERAL)
NAMED = {"inf": float("inf"), "nan": float("nan")}
SMALL = ("i8", "u8")  # they compute as i32
BOOLEAN = {"bitand": "and", "bitor": "or", "xor": "ne"}


def literal_text(dtype: str) -> str:
    """A dtype for messages."""
    return {INT_LITERAL: "an integer", FLOAT_LITERAL: "a float"}.get(dtype, dtype)


class ExprChecker:
    """Checks expressions against a Scope.  Base of the checkers of formulas, procedures and models."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.equation_vars: tuple[str, ...] = ()  # indices that a scan may run along

    # ------------------------------------------------------------ entry points

    def value(self, e: Expr, want: str = "") -> Expr:
        """`e` typed; with `want`, converted to it where the language converts by itself."""
        out = self.check(e, want)
        return self.convert(out, want) if want else self.finish(out)

    def condition(self, e: Expr) -> Expr:
        """`e` as a bool."""
        out = self.check(e)
        if out.dtype != "bool":
            raise SpecError(
                e.span,
                f"{show(out)} is {literal_text(out.dtype)}, not a condition; compare it, as in {show(out, 5)} != 0",
            )
        return out

    def index(self, e: Expr) -> Expr:
        """`e` as an i64 index or size."""
        out = self.check(e, "i64")
        if not is_int(out.dtype):
            raise SpecError(
                e.span, f"{show(out)} is {literal_text(out.dtype)}; an index is an integer, as in i64({show(out)})"
            )
        if out.dtype in LITERALS or out.dtype == "i64":
            return self.convert(out, "i64")
        return Expr("cast", (out,), "i64", "i64", e.span)

    def finish(self, e: Expr, want: str = "") -> Expr:
        """`e` with a type of its own: literals take `want` if it suits them, else their default."""
        return self.adapt(e, self.scope.default(e.dtype, want)) if e.dtype in LITERALS else e

    # ------------------------------------------------------------ conversions

    def adapt(self, e: Expr, dtype: str) -> Expr:
        """Give the untyped literals of `e` the type `dtype`."""
        if e.dtype not in LITERALS or e.dtype == dtype:
            return e
        if e.op == "const":
            return fold.typed(e, dtype)
        return replace(e, args=tuple(self.adapt(a, dtype) for a in e.args), dtype=dtype)

    def convert(self, e: Expr, dtype: str, what: str = "") -> Expr:
        """`e` as a `dtype`, if that needs no explicit cast."""
        if e.dtype == dtype:
            return e
        if (e.dtype == INT_LITERAL and dtype != "bool") or (e.dtype == FLOAT_LITERAL and is_float(dtype)):
            return self.adapt(e, dtype)
        if e.dtype in DTYPES and dtype in DTYPES and e.dtype != "bool" and promote(e.dtype, dtype) == dtype:
            return Expr("cast", (e,), dtype, dtype, e.span)
        whole = what or show(e)
        hint = f"convert it with {dtype}(...)" if dtype != "bool" else "compare it, as in x != 0"
        raise SpecError(e.span, f"{whole} is {literal_text(e.dtype)}, but {literal_text(dtype)} is needed; {hint}")

    def same(self, a: Expr, b: Expr, span: Span) -> tuple[Expr, Expr]:
        """Both operands in the type in which they combine."""
        common = promote(a.dtype, b.dtype)
        if common is None:
            if "bool" in (a.dtype, b.dtype):
                raise self.no_number(a if a.dtype == "bool" else b)
            types = [self.scope.default(x.dtype) for x in (b, a)]
            wider = max(types, key=lambda t: (is_float(t), DTYPES[t].bits))  # the other one fits in it, or nearly
            hint = f"convert one, as in {wider}(...)"
            raise SpecError(
                span, f"{show(a)} is {literal_text(a.dtype)} and {show(b)} is {literal_text(b.dtype)}; {hint}"
            )
        return self.to(a, common), self.to(b, common)

    def to(self, e: Expr, dtype: str) -> Expr:
        """`e` in `dtype`, which `promote` found."""
        if e.dtype in LITERALS:
            return self.adapt(e, dtype)
        return e if e.dtype == dtype else Expr("cast", (e,), dtype, dtype, e.span)

    def arith(self, e: Expr) -> Expr:
        """`e` in the type its arithmetic happens in; it must be a number."""
        if e.dtype == "bool":
            raise self.no_number(e)
        return e if e.dtype in LITERALS else self.to(e, DTYPES[e.dtype].arith)

    def no_number(self, e: Expr) -> SpecError:
        """The error for a condition that stands where a number should."""
        return SpecError(
            e.span,
            f"{show(e)} is a condition, not a number; use where({show(e)}, a, b) or a cast, as in f32({show(e)})",
        )

    # ------------------------------------------------------------ dispatch

    def check(self, e: Expr, want: str = "") -> Expr:
        """`e` typed, literals left untyped.  `want` is a hint for literals and overloads."""
        method = getattr(self, f"on_{e.op}", None)
        if method is not None:
            return method(e, want)
        if e.op in (
            "add",
            "sub",
            "mul",
            "div",
            "floordiv",
            "mod",
            "min",
            "max",
            "bitand",
            "bitor",
            "xor",
            "shl",
            "shr",
        ):
            return self.binary(e, want)
        if e.op in fold.COMPARISONS:
            return self.compare(e)
        raise SpecError(e.span, "this can't stand here; compute it in an equation or a statement before")

    def on_const(self, e: Expr, want: str) -> Expr:
        """A literal."""
        kind = "bool" if isinstance(e.attr, bool) else INT_LITERAL if isinstance(e.attr, int) else FLOAT_LITERAL
        if e.dtype:
            return e
        if kind == INT_LITERAL and int(e.attr).bit_length() > 64:
            raise SpecError(e.span, "this number does not fit in 64 bits; the largest u64 is 18446744073709551615")
        return replace(e, dtype=kind)

    def on_var(self, e: Expr, want: str) -> Expr:
        """A name."""
        name = str(e.attr)
        if name in NAMED and self.scope.local(name) is None:
            return const(NAMED[name], FLOAT_LITERAL, e.span)
        return self.read(self.scope.need(name, e.span), e.span)

    def read(self, sym: Symbol, span: Span) -> Expr:
        """The value of a scalar symbol."""
        if sym.kind == "const" and sym.value is not None:
            return replace(sym.value, span=span)
        if sym.cell and sym.shape:
            axes = ", ".join("ijklmn"[: len(sym.shape)]) if len(sym.shape) <= 6 else "..."
            raise SpecError(
                span, f"'{sym.name}' is an array of rank {len(sym.shape)}; index it, as in {sym.name}[{axes}]"
            )
        if not sym.dtype:
            raise SpecError(
                span,
                f"'{sym.name}' is read before anything gives it a type; write its type in the head, as in "
                f"{sym.name}(f32)",
            )
        if sym.cell:
            return Expr("load", (), sym.target, sym.dtype, span)
        return var(sym.target, sym.dtype, span)

    def on_load(self, e: Expr, want: str) -> Expr:
        """`x[i, j]`."""
        sym = self.scope.need(str(e.attr), e.span)
        if not sym.cell or not sym.shape:
            raise SpecError(e.span, f"'{sym.name}' is {WHAT[sym.kind]}, a single number; it has no index")
        if not sym.dtype:
            raise SpecError(
                e.span,
                f"'{sym.name}' is read before anything gives it a type; write it in the head, as in "
                f"{sym.name}(f32[...])",
            )
        return Expr("load", self.indices(e, sym), sym.target, sym.dtype, e.span)

    def indices(self, e: Expr, sym: Symbol) -> tuple[Expr, ...]:
        """The indices of `e` into `sym`, one per axis; a negative constant counts from the end."""
        if len(e.args) != len(sym.shape):
            raise SpecError(
                e.span,
                f"'{sym.name}' has {count(len(sym.shape), 'axis')}, but {count(len(e.args), 'index')} given; give "
                f"one per axis",
            )
        out = []
        for i, n in zip(e.args, sym.shape, strict=True):
            if i.op == "slice":
                raise SpecError(
                    i.span, "a range a:b is an array; it can only be an argument or target of a whole-array call"
                )
            if i.op == "var" and self.scope.is_new(str(i.attr)):
                raise SpecError(
                    i.span,
                    f"'{i.attr}' is not an index here; write it on the left side, or run over it, as in "
                    f"sum[{i.attr}](...)",
                )
            x = self.index(i)
            if x.op == "const" and int(x.attr) < 0:
                x = Expr("sub", (n, const(-int(x.attr), "i64", i.span)), None, "i64", i.span)
            out.append(x)
        return tuple(out)

    # ------------------------------------------------------------ operators

    def binary(self, e: Expr, want: str = "") -> Expr:
        """Arithmetic, bit operations, min and max of two."""
        a, b = self.check(e.args[0], want), self.check(e.args[1], want)
        if a.dtype == b.dtype == "bool" and e.op in BOOLEAN:
            return Expr(BOOLEAN[e.op], (a, b), None, "bool", e.span)
        for x in (a, b):
            if x.dtype == "bool":
                raise self.no_number(x)
            if e.op in ("bitand", "bitor", "xor", "shl", "shr") and not is_int(x.dtype):
                raise SpecError(
                    x.span,
                    f"{show(x)} is {literal_text(x.dtype)}; bit operations are for integers, as in bitcast(u32, x)",
                )
        if fold.is_literal(a) and fold.is_literal(b):
            return fold.fold(replace(e, args=(a, b)))
        a, b = self.same(a, b, e.span)
        if e.op == "div" and not is_float(a.dtype):
            raise SpecError(
                e.span,
                f"/ is for floats and {show(a)} is {literal_text(a.dtype)}; write // to round down, or convert, "
                f"as in f32(x) / f32(y)",
            )
        if e.op in ("floordiv", "mod") and not is_int(a.dtype):
            raise SpecError(
                e.span,
                f"{'//' if e.op == 'floordiv' else '%'} is for integers and {show(a)} is {a.dtype}; use floor(x / y)",
            )
        return Expr(e.op, (a, b), None, a.dtype, e.span)

    def compare(self, e: Expr) -> Expr:
        """`a < b` and the like."""
        a, b = self.check(e.args[0]), self.check(e.args[1])
        if fold.is_literal(a) and fold.is_literal(b):
            return fold.fold(replace(e, args=(a, b)))
        if "bool" in (a.dtype, b.dtype) and (a.dtype != b.dtype or e.op not in ("eq", "ne")):
            raise self.no_number(a if a.dtype == "bool" else b)
        a, b = self.same(a, b, e.span)
        if a.dtype in LITERALS:
            default = self.scope.default(a.dtype)
            a, b = self.adapt(a, default), self.adapt(b, default)
        return Expr(e.op, (a, b), None, "bool", e.span)

    def on_and(self, e: Expr, want: str) -> Expr:
        """`a and b`."""
        return Expr(e.op, (self.condition(e.args[0]), self.condition(e.args[1])), None, "bool", e.span)

    on_or = on_and

    def on_not(self, e: Expr, want: str) -> Expr:
        """`not a`."""
        return Expr("not", (self.condition(e.args[0]),), None, "bool", e.span)

    def on_invert(self, e: Expr, want: str) -> Expr:
        """`~a`: all bits flipped; of a condition, its opposite."""
        a = self.check(e.args[0], want)
        if a.dtype == "bool":
            return Expr("not", (a,), None, "bool", e.span)
        if not is_int(a.dtype):
            raise SpecError(e.span, f"{show(a)} is {literal_text(a.dtype)}; ~ is for integers and conditions")
        return self.unary(e, a)

    def on_neg(self, e: Expr, want: str) -> Expr:
        """`-a`, `abs(a)`."""
        return self.unary(e, self.arith(self.check(e.args[0], want)))

    on_abs = on_neg

    def on_sqrt(self, e: Expr, want: str) -> Expr:
        """`sqrt`, `floor`, `rint`: of floats."""
        a = self.check(e.args[0], want)
        if a.dtype != INT_LITERAL and not is_float(a.dtype):
            raise SpecError(
                e.span,
                f"{e.op} is for floats and {show(a)} is {literal_text(a.dtype)}; convert it, as in {e.op}(f32(x))",
            )
        if a.dtype == INT_LITERAL:
            a = self.adapt(a, FLOAT_LITERAL)
        return self.unary(e, self.arith(a))

    on_floor = on_rint = on_sqrt

    def unary(self, e: Expr, a: Expr) -> Expr:
        """The node, folded if it is over a literal."""
        if fold.is_literal(a):
            return fold.fold(replace(e, args=(a,)))
        a = self.to(a, DTYPES[a.dtype].arith) if a.dtype in DTYPES else a
        return Expr(e.op, (a,), None, a.dtype, e.span)

    def on_where(self, e: Expr, want: str) -> Expr:
        """`where(c, a, b)`."""
        c = self.condition(e.args[0])
        a, b = self.check(e.args[1], want), self.check(e.args[2], want)
        if (a.dtype == "bool") != (b.dtype == "bool"):
            raise self.no_number(a if a.dtype == "bool" else b)
        small = a.dtype if a.dtype in SMALL else b.dtype
        if small in SMALL and all(x.dtype in (small, INT_LITERAL) for x in (a, b)):  # choosing computes nothing
            a, b = self.convert(a, small), self.convert(b, small)
        else:
            a, b = self.same(a, b, e.span)
        return Expr("where", (c, a, b), None, a.dtype, e.span)

    def on_cast(self, e: Expr, want: str) -> Expr:
        """`f32(x)`."""
        target = self.scope.dtype(str(e.attr))
        hint = target if is_float(target) or e.args[0].op == "const" else ""
        a = self.check(e.args[0], hint)
        if fold.is_literal(a):
            return fold.wrapped(a, target)
        a = self.finish(a, target)
        if target == "bool" and a.dtype == "bf16":
            a = self.to(a, "f32")  # its zeros have two signs
        if target == "bool":
            return (
                a
                if a.dtype == "bool"
                else Expr("ne", (a, fold.typed(const(0, INT_LITERAL, e.span), a.dtype)), None, "bool", e.span)
            )
        return a if a.dtype == target else Expr("cast", (a,), target, target, e.span)

    def on_bitcast(self, e: Expr, want: str) -> Expr:
        """`bitcast(i32, x)`."""
        target = self.scope.dtype(str(e.attr))
        a = self.check(e.args[0])
        if a.dtype in LITERALS:
            raise SpecError(e.span, "a literal has no bits of its own; give it a type, as in bitcast(u32, f32(1.0))")
        if "bool" in (a.dtype, target) or DTYPES[a.dtype].bits != DTYPES[target].bits:
            raise SpecError(
                e.span, f"{show(a)} is {a.dtype}, which has not the width of {target}; bitcast keeps all bits"
            )
        return Expr("bitcast", (a,), target, target, e.span)

    # ------------------------------------------------------------ things that belong elsewhere

    def on_str(self, e: Expr, want: str) -> Expr:
        """A text is no value."""
        raise SpecError(e.span, "a text is not a value here; write a number")

    def on_list(self, e: Expr, want: str) -> Expr:
        """A list is no value."""
        raise SpecError(e.span, "a list is not a value here; write numbers and array elements")

    def on_attr(self, e: Expr, want: str) -> Expr:
        """`m.P`: models have parts, nothing else."""
        raise SpecError(
            e.span,
            f"only models (m: model) have parts as '.{e.attr}'; a size is a name (N), a transpose y[i, j] = x[j, i]",
        )

    def on_mcall(self, e: Expr, want: str) -> Expr:
        """`m.forward(...)`: models have parts, nothing else."""
        raise SpecError(
            e.span,
            f"only models (m: model) have parts as '.{e.attr[0]}(...)'; call a definition by its name, as in f(x)",
        )
