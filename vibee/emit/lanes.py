"""Loops along memory, in vectors: each lane does for one element what the loop does, in the same order.

    for v in range(lo, hi):                 if hi - lo >= 8:
        y[..., v] = f(x[..., v], c)   ->        for base in range(lo, hi, 8):
                                                    v = min(base, hi - 8)
                                                    y[..., v : v + 8] = f of vectors(x[..., v : v + 8], c in each lane)
                                            else: as it was

So the last vector computes some elements again.  Where the loop reads y, what is left over is done one by one instead.

The C compiler makes vectors of such a loop as well.  But of `min` and `max` it makes a comparison and a choice where
the processor has one instruction, and it computes what follows from a choice on both of its sides: on a Zen 3 exp of
eight numbers takes 9.8 cycles so, and 7.6 here.  A loop with anything that has no form in vectors below, or that might
read what another lane writes, is left as it is.
"""

from __future__ import annotations

from dataclasses import replace

from vibee.tree.defs import Assign, Comment, Decl, For, Procedure, Store
from vibee.tree.expr import Expr, always_read, free_vars, loads, names_in, substitute, walk
from vibee.tree.stride import stride
from vibee.tree.types import DTYPES

from .context import Body, Local, Module, i64, known
from .ctypes import mangle, native
from .ops import ex, folded, nonnegative

# Of a vector register, by instruction set.  Only where the result was compared with what the C compiler makes: others
# leave it to that.
BITS = {"v3": 256}
UNROLLED = 4  # vectors that stand side by side where the number of elements is known

ARITHMETIC = {"add", "sub", "neg"}
REAL = {"mul", "div", "abs", "sqrt", "floor", "rint", "min", "max"}  # of floats
WHOLE = {"bitand", "bitor", "xor", "invert"}  # of integers
COMPARED = {"lt", "le", "gt", "ge", "eq", "ne"}
LOGIC = {"and": "bitand", "or": "bitor", "not": "invert"}  # of masks: all bits of a lane, or none
CONVERTED = {"f32", "i32"}  # into each other, by every processor of a level: not so 64 bits, nor what has no sign


class NoLanes(Exception):
    """Something that has no form in vectors."""


class Lanes:
    """The form in vectors of expressions whose elements have `bits` bits, as `count` lanes.

    `var` is the variable that grows from lane to lane, `names` are scalars that differ between lanes."""

    def __init__(self, module: Module, bits: int, var: str = "") -> None:
        self.module, self.bits, self.var = module, bits, var
        self.count = module.bits // bits
        self.names: set[str] = set()
        self.read: set[Expr] = set()  # what is read for every element

    def type(self, dtype: str) -> str:
        """The vector type of a number's type; a truth is a mask."""
        if dtype == "bool":
            return f"i{self.bits}x{self.count}"
        if dtype == "bf16" or DTYPES[dtype].bits != self.bits:
            raise NoLanes
        return f"{dtype}x{self.count}"

    def same(self, e: Expr) -> bool:
        """Has a value no part that differs between lanes?"""
        return self.names.isdisjoint(names_in(e)) and self.var not in free_vars(e)

    def __call__(self, e: Expr) -> Expr:
        """The vector of an expression's values; NoLanes where there is no such form."""
        e = folded(e)
        if e.op == "const" or (e.op not in COMPARED and e.op not in LOGIC and self.same(e)):
            if e.dtype == "bool" or any(n.op in ("load?", "floordiv", "mod") for n in walk(e)):
                raise NoLanes
            return Expr("splat", (e,), None, self.type(e.dtype))
        if e.op == "load":
            if not self.along(e.args) or e.dtype == "bool":
                raise NoLanes
            return Expr("vload", e.args, e.attr, self.type(e.dtype))
        if e.op == "var" and e.attr in self.names:
            return Expr("var", (), e.attr, self.type(e.dtype))
        if not e.args:
            raise NoLanes  # the variable as a number
        if e.op == "call":
            return self._call(e)
        return self._operation(e)

    def along(self, idx: tuple[Expr, ...]) -> bool:
        """Does each lane access the next element?"""
        return stride(idx, self.var) == 1 and all(self.names.isdisjoint(names_in(e)) for e in idx)

    def _may_run(self, e: Expr) -> bool:
        """May a side be evaluated that is not chosen: is there what it reads, and does what it calls end soon?"""
        called = (n for n in walk(e) if n.op == "call")
        return self.read.issuperset(loads(e)) and all(lanes_of(self.module, _called(n), self.bits) for n in called)

    def _operation(self, e: Expr) -> Expr:
        op, args = e.op, e.args
        if op in ("shl", "shr") and args[1].op == "const":
            return Expr(op, (self(args[0]), args[1]), None, self.type(e.dtype))
        if op in ("where", "and", "or") and not all(self._may_run(a) for a in args[1:]):
            raise NoLanes
        vectors = tuple(self(a) for a in args)
        made = Expr(op, vectors, None, self.type(e.dtype))
        if op in LOGIC:
            return replace(made, op=LOGIC[op])
        kind = DTYPES[args[-1].dtype].kind
        if op in ("cast", "bitcast"):
            if e.dtype == "bool" or kind == "b" or (op == "cast" and {args[0].dtype, e.dtype} != CONVERTED):
                raise NoLanes
            return replace(made, attr=made.dtype)
        fits = op in ARITHMETIC or op == "where" or op in COMPARED or op in (REAL if kind == "f" else WHOLE)
        if not fits or (kind == "b" and op not in COMPARED):
            raise NoLanes
        return made

    def _call(self, e: Expr) -> Expr:
        name = lanes_of(self.module, _called(e), self.bits)
        if not name:
            raise NoLanes
        return Expr("lanes", tuple(self(a) for a in e.args), name, self.type(e.dtype))


def _called(e: Expr) -> str:
    return str(e.attr[0] if isinstance(e.attr, tuple) else e.attr)


def emit_lanes(s: For, b: Body) -> bool:
    """The loop in vectors, if it has such a form."""
    from .statements import emit_body

    puts = [t for t in s.body if not isinstance(t, Comment)]
    found = _form(puts, s.var, b.module) if s.step == 1 and b.module.bits else None
    if found is None or any(loads(e) or not _steady(e) for e in (s.lo, s.hi)):
        return False
    count, body = found
    lo, hi = known(s.lo), known(s.hi)
    whole = lo is not None and hi is not None and (hi - lo) % count == 0
    if whole and lo < hi <= lo + UNROLLED * count:  # type: ignore[operator]
        for at in range(lo, hi, count):  # type: ignore[arg-type]
            emit_body([_at(t, s.var, i64(at)) for t in body], b)
        return True
    v = b.declare(s.var, "i64", size=True)
    begin, end = ex(s.lo, b), ex(s.hi, b)
    last, start = ex(s.hi, b, 10), "" if lo == 0 else f"{ex(s.lo, b, 10)} + "
    extent = last if lo == 0 else f"{last} - {ex(s.lo, b, 11)}"
    if whole:
        _run(f"for {v.name} in range({begin}, {end}, {count})", body, v, s, b)
        return True
    if _in_place(puts):
        with b.block(f"if {end} > {ex(s.lo, b, 5)}"):  # far below, the difference would wrap around
            rest = f"{start}({extent}) // {count} * {count}"
            _run(f"for {v.name} in range({begin}, {rest}, {count})", body, v, s, b)
            _one_by_one(rest, v, s, b)
        return True
    with b.block(f"if {extent} >= {count}"):
        base, least = b.fresh(f"vb_{v.name}"), b.module.header.use("vb_min_i64")
        b.decls[base] = v.ctype
        place = f"{v.name} = {least}({base}, {last} - {count})"
        _run(f"for {base} in range({begin}, {end}, {count})", body, v, s, b, place)
    with b.block("else"):
        _one_by_one(begin, v, s, b)
    return True


def _run(head: str, body: list, v: Local, s: For, b: Body, before: str = "", after: str = "") -> None:
    """A loop with the variable of another."""
    from .statements import emit_body

    with b.block(head):
        if before:
            b.line(before)
        b.env[s.var] = replace(v, nonnegative=nonnegative(s.lo, b))
        emit_body(body, b)
        if after:
            b.line(after)


def _one_by_one(start: str, v: Local, s: For, b: Body) -> None:
    """The loop from `start` on, shorter than a vector: the C compiler makes none of it, which would only cost size."""
    b.line(f"{v.name} = {start}")
    step = f"{v.name} = {b.module.header.use('vb_step')}({v.name} + 1)"
    _run(f"while {v.name} < {ex(s.hi, b, 5)}", s.body, v, s, b, after=step)


def _steady(e: Expr) -> bool:
    """Can a limit be evaluated again, without a test of a divisor?"""
    return all(n.op != "call" and (n.op not in ("floordiv", "mod") or known(n.args[1])) for n in walk(e))


def _in_place(puts: list) -> bool:
    """Does the loop read what it writes, so that an element may not be computed twice?"""
    written = {t.array for t in puts if isinstance(t, Store)}
    return any(ld.attr in written for t in puts for ld in loads(t.value if isinstance(t, Store) else t.init))


def _form(puts: list, var: str, module: Module) -> tuple[int, list] | None:
    """How many lanes the statements of a loop have, and their form in vectors; None where they have none."""
    stores = {t.array: t for t in puts if isinstance(t, Store)}
    if not stores or not all(_plain(t) for t in puts) or len(stores) < sum(isinstance(t, Store) for t in puts):
        return None
    lanes = Lanes(module, DTYPES[next(iter(stores.values())).value.dtype].bits, var)
    try:
        return lanes.count, [_vector(t, lanes, stores) for t in puts]
    except NoLanes:
        return None


def _plain(t: object) -> bool:
    """Is a statement a number of its own for each element, or a store of floats at a place that no array decides?"""
    if not isinstance(t, Store):
        return isinstance(t, Decl) and t.init is not None
    return not t.checked and t.value.dtype in ("f32", "f64") and not any(loads(e) for e in t.idx)


def _vector(t: Decl | Store, lanes: Lanes, stores: dict[str, Store]) -> Decl | Store:
    value = t.init if isinstance(t, Decl) else t.value
    assert value is not None
    for ld in loads(value):
        if ld.attr in stores and ld.args != stores[str(ld.attr)].idx:
            raise NoLanes  # another lane may write it
    lanes.read |= set(always_read(value))  # not what is read where a choice says so
    if isinstance(t, Store):
        if not lanes.along(t.idx):
            raise NoLanes
        return replace(t, value=lanes(value))
    lanes.names.add(t.name)
    return replace(t, dtype=lanes.type(t.dtype), init=lanes(value))


def _at(t: Decl | Store, var: str, place: Expr) -> Decl | Store:
    """A statement in vectors at a known place."""
    if isinstance(t, Decl):
        return replace(t, init=substitute(t.init, {var: place}))  # type: ignore[arg-type]
    idx = tuple(substitute(e, {var: place}) for e in t.idx)
    return replace(t, idx=idx, value=substitute(t.value, {var: place}))


def lanes_of(module: Module, key: str, bits: int) -> str:
    """The function of vectors that does in each lane what a function of numbers does; '' where there is none."""
    p = module.procedures.get(key)
    name = f"vb_x{module.bits // bits}_{native(key)}"
    if name not in module.lanes:
        module.lanes[name] = ""
        if p is not None and p.is_scalar and key not in module.fallible:
            try:
                module.chunks.append(_function(p, name, Lanes(module, bits)))
                module.lanes[name] = name
            except NoLanes:
                pass
    return module.lanes[name]


def _function(p: Procedure, name: str, lanes: Lanes) -> str:
    from .functions import finish

    b = Body(lanes.module, native(p.key), scalar=True)
    params = []
    for q in p.params:
        dtype = lanes.type(q.dtype)
        b.env[q.name] = Local("scalar", mangle(q.name), dtype, b.ctype(dtype))
        params.append(f"{b.ctype(dtype)} {mangle(q.name)}")
    result = b.declare(p.outs[0].name, lanes.type(p.outs[0].dtype))
    b.line(f"{result.name} = {result.ctype}_splat(0)")  # it may be added to
    b.result = result.name
    lanes.names |= {q.name for q in (*p.params, p.outs[0])}
    for s in p.body:
        value = s.init if isinstance(s, Decl) else s.value if isinstance(s, Assign) else None
        if value is None or value.dtype == "bool" or loads(value):
            raise NoLanes
        lanes.names.add(s.name)
        local = b.declare(s.name, lanes.type(value.dtype))
        b.line(f"{local.name} = {ex(lanes(value), b)}")
    return finish(b, f"cdef inline {result.ctype} {name}({', '.join(params)}) noexcept nogil", [f"# {p.key} in lanes"])
