"""Small constructors for lowered code: folded index arithmetic, fresh names, neutral elements."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import replace

from vibee.tree.defs import Alloc, For, Store
from vibee.tree.expr import Expr, const, substitute, var

BITS = {"v2": 128, "v3": 256, "v4": 512}  # of a vector register, by instruction set
COMBINE = {"sum": "add", "prod": "mul", "max": "max", "min": "min", "any": "or", "all": "and"}


class Fresh:
    """Names that nothing else in one function has.

    `used` holds every name of the definition.  Those in `reserved` (index variables, binders,
    temporaries) wait for their owner, who asks for them by `own`; nobody else gets them, so that no
    new name is captured by a loop or a temporary that is still to come.
    """

    def __init__(self, used: set[str], reserved: set[str], signed: set[str] | None = None, bits: int = 0) -> None:
        self.used = used | reserved
        self.reserved = set(reserved)
        self.signed = signed or set()  # variables that may be negative; sizes and indices may not
        self.bits = bits  # of a vector register; 0 where vectors are not written
        self.origin: dict[str, str] = {}  # loop variable -> the index that it comes from
        self.parts: set[str] = set()  # loop variables that run over blocks of an index, or within one
        self.rests: set[str] = set()  # loop variables that run over what fills no vector

    def __call__(self, base: str) -> str:
        """`base`, or `base_2`, `base_3`, ..., whichever is new."""
        name, n = base, 1
        while name in self.used:
            n += 1
            name = f"{base}_{n}"
        self.used.add(name)
        return name

    def own(self, name: str) -> str:
        """The name itself for the first who owns it, a new one like it for the others."""
        if name in self.reserved:
            self.reserved.discard(name)
            return name
        new = self(name)
        self.origin[new] = self.origin.get(name, name)
        return new

    def part(self, name: str, suffix: str) -> str:
        """A new variable for a loop over blocks of the index `name`, or within one."""
        new = self(f"{name}_{suffix}")
        self.origin[new] = self.origin.get(name, name)
        self.parts.add(new)
        return new


def i(value: int) -> Expr:
    """An i64 constant."""
    return const(value, "i64")


def is_const(e: Expr, value: int | None = None) -> bool:
    """Is `e` an integer constant (equal to `value`, if given)?"""
    return e.op == "const" and isinstance(e.attr, int) and (value is None or e.attr == value)


def _fold(op: str, a: Expr, b: Expr) -> Expr | None:
    if is_const(a) and is_const(b):
        x, y = int(a.attr), int(b.attr)  # type: ignore[call-overload]
        value = {"add": x + y, "sub": x - y, "mul": x * y, "min": min(x, y), "max": max(x, y)}.get(op)
        if op == "floordiv" and y:
            value = x // y
        return None if value is None else i(value)
    if op in ("add", "sub") and is_const(b, 0):
        return a
    if op == "add" and is_const(a, 0):
        return b
    if op == "mul" and (is_const(a, 0) or is_const(b, 0)):
        return i(0)
    if op in ("mul", "floordiv") and is_const(b, 1):
        return a
    if op == "mul" and is_const(a, 1):
        return b
    return i(0) if op == "sub" and a == b else a if op in ("min", "max") and a == b else None


def ix(op: str, a: Expr, b: Expr) -> Expr:
    """`a op b` in i64, folded where both are known."""
    folded = _fold(op, a, b)
    return folded if folded is not None else Expr(op, (a, b), None, "i64")


def add(a: Expr, b: Expr) -> Expr:
    """a + b in i64."""
    return ix("add", a, b)


def sub(a: Expr, b: Expr) -> Expr:
    """a - b in i64."""
    return ix("sub", a, b)


def mul(a: Expr, b: Expr) -> Expr:
    """a * b in i64."""
    return ix("mul", a, b)


def div(a: Expr, b: Expr) -> Expr:
    """a // b in i64, rounding down."""
    return ix("floordiv", a, b)


def ceil_div(a: Expr, n: int) -> Expr:
    """The least q with q * n >= a."""
    return div(add(a, i(n - 1)), i(n))


def at_least_zero(e: Expr, signed: Set[str] = frozenset()) -> Expr:
    """max(e, 0), dropped where `e` is a size or a constant that cannot be negative."""
    return e if not_negative(e, signed) else ix("max", e, i(0))


def extent(lo: Expr, hi: Expr, signed: Set[str] = frozenset()) -> Expr:
    """How many numbers lo <= v < hi there are.  Where hi may lie far below lo, hi - lo would wrap around."""
    if lo == i(0) or not_negative(hi, signed):
        return at_least_zero(sub(hi, lo), signed)
    return sub(ix("max", hi, lo), lo)


def not_negative(e: Expr, signed: Set[str] = frozenset()) -> bool:
    """Is a size expression plainly at least 0?  (Variables here are sizes, but those of `signed`.)"""
    if e.op == "var":
        return e.attr not in signed
    if e.op == "const":
        return int(e.attr) >= 0  # type: ignore[call-overload]
    return e.op in ("add", "mul", "floordiv", "min", "max") and all(not_negative(a, signed) for a in e.args)


def less(a: Expr, b: Expr) -> Expr:
    """The condition a < b."""
    return Expr("lt", (a, b), None, "bool")


def combine(op: str, a: Expr, b: Expr) -> Expr:
    """One step of a reduction: a `op` b, in the dtype of a."""
    return Expr(COMBINE[op], (a, b), None, a.dtype)


def local(name: str, dtype: str = "i64") -> Expr:
    """A scalar variable of the lowered function."""
    return var(name, dtype)


def map_stmts(stmts: list, f: Callable[[object], object]) -> list:
    """Every statement, innermost first, replaced by f(statement)."""
    out = []
    for s in stmts:
        for part in ("body", "then", "orelse"):
            if getattr(s, part, None):
                s = replace(s, **{part: map_stmts(getattr(s, part), f)})
        out.append(f(s))
    return out


def subst_stmt(s: object, names: dict[str, Expr]) -> object:
    """A statement with variables replaced in its expressions."""

    def one(t: object) -> object:
        changes: dict[str, object] = {}
        for part in ("value", "init", "lo", "hi", "cond", "work", "at"):
            e = getattr(t, part, None)
            if isinstance(e, Expr):
                changes[part] = substitute(e, names)
        if isinstance(t, Store):
            changes["idx"] = tuple(substitute(x, names) for x in t.idx)
        if isinstance(t, Alloc):
            changes["shape"] = tuple(substitute(x, names) for x in t.shape)
        return replace(t, **changes) if changes else t  # type: ignore[type-var]

    return map_stmts([s], one)[0]


def serial(stmts: list) -> list:
    """The same statements without parallel loops (inside a loop that is parallel already)."""
    return map_stmts(stmts, lambda s: replace(s, parallel=False) if isinstance(s, For) and s.parallel else s)  # type: ignore[type-var]
