"""`then` and `law`: properties of what the kernels give, on drawn sizes and values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from vibee.api.arrays import NUMPY
from vibee.api.function import Function
from vibee.tree.defs import Definition, Law, Param
from vibee.tree.expr import Expr, free_vars, show, walk
from vibee.tree.types import DTYPES, FLOAT_LITERAL, INT_LITERAL, REAL, is_float, is_int, promote

from .checks import drawn
from .draw import Case
from .gradients import SHARP
from .numbers import HIGH, OWN, UNIT, Failure, Num, Undetermined, nearest_bf16
from .oracle import Oracle, Space
from .procedures import over_elements
from .subject import Subject, as_floats, compare, levels, on_numbers

ORDINARY = ("normal", "whole", "near", "wide")
UNFIT = 100  # what an argument of another type costs a version, against 1 to 3 for a literal


# ---------------------------------------------------------------- then


def then(subject: Subject, line: int, nth: int = 1) -> None:
    """The conditions of a `then` on what the kernels give, for all values of their indices."""
    law = subject.line("then", line, nth)
    held = 0

    def check(case: Case) -> None:
        nonlocal held
        try:
            subject.expected(case)
        except Failure:
            return
        except Undetermined as e:
            if "steps" in str(e):
                return
        for isa in levels():
            back = subject.call(case, isa)
            if case.kind == "special" and any(x.dtype.kind == "f" and np.isnan(x).any() for x in back.values()):
                return
            for c in law.args:
                held += holds(subject, case, c, back)

    drawn(subject, check, law.span)
    if not held:
        pytest.skip("nothing could be compared: all drawn cases are empty")


def holds(subject: Subject, case: Case, c: Expr, back: Mapping[str, np.ndarray]) -> int:
    """How many index values a condition holds for; AssertionError where it fails."""
    oracle = subject.oracle()
    names, arrays = subject.inputs(case, oracle)
    for n, x in back.items():
        v = x.astype(oracle.a.dtype(subject.head.param(n).dtype))
        arrays[n] = Num(v, np.zeros(v.shape, bool if v.dtype == bool else float))
    for n in {str(x.attr) for x in walk(c) if x.op == "load"} - set(arrays):
        arrays[n] = subject.everything(case, oracle)[n]  # a temporary, as far as it is known
    if subject.mapped:
        if not all(x.v.size for x in arrays.values()):
            return 0  # a `where` of which neither side is needed has no shape
        found: Num | None = oracle.value(c, Space({**names, **arrays}, arrays))
    else:
        rank0 = {n: x for n, x in arrays.items() if x.v.ndim == 0}
        rank0 |= {f"{n}_value": x for n, x in rank0.items()}  # as the bodies of procedures call an output
        found = over_elements(oracle, c, Space({**names, **rank0}, arrays))
    if found is None:
        pytest.skip(f"{show(c)} is about names that only the body knows")
    failed = ~np.logical_or(found.v, found.e)
    if np.any(failed):
        at = np.argwhere(failed)[0].tolist()
        inside = ", ".join(f"{n} = {_short(a.v)}" for n, a in arrays.items() if any(x.attr == n for x in walk(c)))
        raise AssertionError(
            f"{show(c)} does not hold" + (f" at {at}" if at else "") + (f", where {inside}" if inside else "")
        )
    return int(np.size(found.v))


def _short(x: Any) -> str:
    text = np.array2string(
        np.asarray(x, float) if np.asarray(x).dtype.kind == "f" else np.asarray(x), threshold=12, precision=9
    )
    return " ".join(text.split())


# ---------------------------------------------------------------- law


def law(subject: Subject, line: int, nth: int = 1) -> None:
    """Two whole-array expressions that are equal: the kernels' results within what rounding can do to them, and equal
    in higher precision; or as far as `rel` or `ulp` says."""
    w: Law = subject.line("law", line, nth)
    settings = dict(w.args[2:])
    compared = 0

    def check(case: Case) -> None:
        nonlocal compared
        rng = np.random.default_rng(case.seed + 1)
        oracle = subject.oracle()
        sides = Sides(subject, case, rng)
        try:
            exact = [sides.high(e, oracle) for e in w.args[:2]]
        except Failure:
            return
        except Undetermined as e:
            if "steps" in str(e):
                return
            exact = []
        left, right = np.broadcast_arrays(*(sides.kernel(e) for e in w.args[:2]))
        compared += equal(left, right, exact, settings, sides.dtype)

    drawn(subject, check, w.span, kinds=ORDINARY)
    if not compared:
        pytest.skip("nothing could be compared: all drawn cases are empty")


def equal(left: np.ndarray, right: np.ndarray, exact: list[Num], settings: Mapping[str, float], dtype: str) -> int:
    """How many elements agree; AssertionError for one that does not."""
    real = left.dtype.kind == "f"
    if real and not exact and not settings:
        return 0
    share = settings.get("rel", settings.get("ulp", 0.0) * 2 * UNIT[dtype])
    bound: Any = 0.0
    if exact:
        a, b = exact
        bound = np.asarray(a.e) + np.asarray(b.e)
        sharp = np.maximum(bound * SHARP[dtype], room(share, a.v, b.v)) if real else bound
        high, other = np.broadcast_arrays(a.v, b.v)
        compare("the left side", high, Num(other, sharp), "the right side, in higher precision,")
    if real:
        bound = np.maximum(bound, room(share, left, right))
        right = right.astype(np.longdouble)
    return compare("the left side", left, Num(right, bound), "the right side")


def room(share: float, *sides: Any) -> float:
    """How far sides may differ of which a share of the greatest size is allowed."""
    sizes = [np.abs(x[np.isfinite(x)]) for x in map(np.asarray, sides)]
    return share * max(float(np.max(x, initial=0.0)) for x in sizes)


class Sides:
    """The two sides of a law with values for its names: those of the case, new ones drawn when first met."""

    def __init__(self, subject: Subject, case: Case, rng: np.random.Generator) -> None:
        self.subject, self.case, self.rng = subject, case, rng
        types = [p.dtype for p in [*subject.d.params, *subject.d.outs]]
        floats = [t for t in types if is_float(t)]
        self.dtype = "f64" if "f64" in floats and "f32" not in floats else "f32" if floats else "f64"
        self.whole = not floats  # then new names are whole too
        self.least = 0 if {"u32", "u64"} & set(types) else -9
        self.values: dict[str, Any] = {**case.sizes, **case.numbers, **case.arrays}
        self.types = {p.name: p.dtype for p in subject.d.params if p.kind != "size"}  # as declared: bf16 is kept as f32

    # ------------------------------------------------------------ by the kernels

    def kernel(self, e: Expr) -> Any:
        """A whole-array expression by the kernels, with numpy between them."""
        return self._kernel_call(e) if e.op == "call" else self._by_numpy(e, self.kernel)

    def _by_numpy(self, e: Expr, value: Callable[[Expr], Any]) -> Any:
        """What is no call; literals and numbers are Python's, which take the type of what stands beside them."""
        if e.op == "const":
            return e.attr
        if e.op == "var":
            return self.named(str(e.attr))
        args = [value(a) for a in e.args]
        with np.errstate(all="ignore"):
            if e.op == "cast":
                return converted(np.asarray(args[0]), self.type(e))
            if e.op == "bitcast":
                return np.asarray(args[0]).view(NUMPY[self.type(e)])
            return NUMPY_OPS[e.op](*(args if e.op == "where" else map(widened, args)))

    def _kernel_call(self, e: Expr) -> np.ndarray:
        d = self.callee(e)
        bound = self.bound(d, e, self.kernel)
        named: dict[str, Any] = {}
        for p in d.params:
            if p.name in bound:
                x = Subject._raw(p, np.asarray(bound[p.name]))
                named[p.name] = np.ascontiguousarray(x) if p.shape or x.ndim else x.item()
        back = Function(self.subject.spec.library(), d.name, [d])(**named)
        o = d.outs[0]
        return as_floats(o.dtype, np.asarray(back, NUMPY[o.dtype] if np.ndim(back) or o.dtype != "bf16" else "f4"))

    def type(self, e: Expr) -> str:
        """The type that a conversion makes."""
        return self.dtype if e.attr == REAL else str(e.attr)

    def _new(self, e: Expr) -> bool:
        return e.op == "var" and str(e.attr) not in self.values and str(e.attr) not in ("inf", "nan")

    def named(self, name: str) -> Any:
        """The value of a name; a new one is a number, where nothing has floats a whole one as Python's are."""
        if name in ("inf", "nan"):
            return float(name)
        if name not in self.values:
            number = self.rng.integers(self.least, 10) if self.whole else self.rng.standard_normal() * 3
            self.values[name] = self.number(number)
        return self.values[name]

    def number(self, x: Any) -> Any:
        """A number of the type of new names."""
        return int(x) if self.whole else NUMPY[self.dtype].type(x)

    def callee(self, e: Expr) -> Definition:
        """The definition that a call means: the version that suits the arguments' types best, of equal ones that under
        test or the one of its float type."""
        program, own = self.subject.spec.program, self.subject.d
        name = str(e.attr[0])  # type: ignore[index]
        found = [own] if own.name == name else []
        for raw in program.find(program.module, name):
            for types in program.type_choices(raw):
                found.append(program.instantiate(raw, types))

        def rank(d: Definition) -> tuple[int, bool, bool]:
            floats = {p.dtype for p in d.params if is_float(p.dtype)}
            return self._cost(d, e), d is not own, floats != {self.dtype}

        return min(found, key=rank)

    def _cost(self, d: Definition, e: Expr) -> int:
        """How far the types of a call's arguments are from those of a definition."""
        order = self.order(d, e)
        needed = {p.name for p in d.params if p.default is None}
        if len(order) < len(e.args) or not needed <= set(order) <= {p.name for p in d.params}:
            return UNFIT * (len(e.args) + 1)
        cost = 0
        for name, a in zip(order, e.args, strict=True):
            want = d.param(name).dtype
            have = want if self._new(a) else self.type_of(a)
            if have != want:
                literal = 1 if is_float(have) or want == "i64" else 2 if is_int(want) else 3
                cost += literal if have in (INT_LITERAL, FLOAT_LITERAL) and promote(have, want) else UNFIT
        return cost

    def type_of(self, e: Expr) -> str:
        """The type of an argument, that of a literal left open."""
        if e.op == "call":
            return self.callee(e).outs[0].dtype
        if e.op == "cast":
            return self.type(e)
        if e.op == "var" and e.attr in self.types:
            return self.types[str(e.attr)]
        x = self.like(e)
        words = {bool: "bool", int: INT_LITERAL, float: FLOAT_LITERAL}
        return words.get(type(x)) or next(n for n, t in NUMPY.items() if t == x.dtype)

    def like(self, e: Expr) -> Any:
        """Something of the type that `kernel` gives; no kernel is called and no name drawn."""
        if e.op == "call":
            return np.ones((), OWN[self.callee(e).outs[0].dtype])[()]
        return self.number(1) if self._new(e) else self._by_numpy(e, self.like)

    @staticmethod
    def order(d: Definition, e: Expr) -> list[str]:
        """The parameters that a call's arguments are for."""
        _, *keys = e.attr  # type: ignore[misc]
        return [*(p.name for p in d.params[: len(e.args) - len(keys)]), *map(str, keys)]

    def bound(self, d: Definition, e: Expr, value: Callable[[Expr], Any]) -> dict[str, Any]:
        """The values of arguments by parameter; a new name that stands for an array gets one of a fitting shape."""
        order = self.order(d, e)
        out = {name: value(a) for name, a in zip(order, e.args, strict=True) if not self._new(a)}
        known = {n: np.asarray(x.v if isinstance(x, Num) else x) for n, x in out.items()}
        sizes = {n: known[w[1]].shape[w[2]] for n, w in d.sizes.items() if w[0] == "arg" and w[1] in known}
        sizes |= {n: int(known[n]) for n, w in d.sizes.items() if w[0] == "param" and n in known}
        for name, a in zip(order, e.args, strict=True):
            if name not in out:
                if self._new(a):
                    self.values[str(a.attr)] = self.fresh(d.param(name), sizes)
                    self.types[str(a.attr)] = d.param(name).dtype
                out[name] = value(a)
        return out

    def fresh(self, p: Param, sizes: dict[str, int]) -> Any:
        """A value for a new name that is an argument."""
        for n in [p.name] if p.kind == "size" else sorted(v for e in p.shape for v in free_vars(e)):
            sizes.setdefault(n, int(self.rng.integers(1, 9)))
        if p.kind == "size":
            return sizes[p.name]
        oracle = self.subject.oracle()
        space = Space({n: Num(np.int64(k)) for n, k in sizes.items()}, {})
        shape = tuple(int(oracle.whole(e, space).v) for e in p.shape)
        x = self.rng.standard_normal(shape) * 3 if is_float(p.dtype) else self.rng.integers(0, 3, shape)
        return converted(np.asarray(x), p.dtype)[()]

    # ------------------------------------------------------------ in higher precision

    def high(self, e: Expr, oracle: Oracle) -> Num:
        """The same by the oracle, with the error that the kernels can make."""
        if e.op == "const":
            word = "bool" if isinstance(e.attr, bool) else self.dtype if isinstance(e.attr, float) else "i64"
            return oracle.a.const(e.attr, word)
        if e.op == "var":
            x = np.asarray(self.named(str(e.attr)))
            return Num(
                x.astype(oracle.a.dtype("f64" if x.dtype == np.float64 else "f32")) if x.dtype.kind == "f" else x
            )
        if e.op == "call":
            d = self.callee(e)
            return self._high_call(d, self.bound(d, e, lambda a: self.high(a, oracle)), oracle)
        return self._high_operator(e, [self.high(a, oracle) for a in e.args], oracle)

    def _high_operator(self, e: Expr, args: list[Num], oracle: Oracle) -> Num:
        if e.op == "cast":
            return oracle.a.cast(args[0], kind(args[0]), self.type(e))
        if e.op == "bitcast":
            return oracle.a.bitcast(args[0], kind(args[0]), self.type(e))
        if e.op in ("and", "or", "not"):
            return oracle.a.apply(e.op, "bool", args, "bool")
        chosen, args = (args[0], args[1:]) if e.op == "where" else (None, args)
        kinds = {kind(a) if chosen is not None else DTYPES[kind(a)].arith for a in args}  # choosing computes nothing
        common = next((k for k in ("f64", "f32") if k in kinds), "")
        if not common:  # whole numbers beside those of another type are literals and sizes, which take it
            common = next(iter(kinds - {"i64"}), "i64") if e.op not in ("div", "sqrt") else self.dtype
        args = [oracle.a.cast(a, kind(a), common) for a in args]
        if chosen is not None:
            return oracle.a.where(chosen, args[0], args[1], common)
        return oracle.a.apply(e.op, common, args, common)

    def _high_call(self, d: Definition, bound: dict[str, Num], oracle: Oracle) -> Num:
        callee = self.subject.spec[d.key]
        for p in d.params:
            if p.name in bound:
                x = bound[p.name]
                dtype = p.dtype if p.kind != "size" else "i64"
                if x.v.dtype != oracle.a.dtype(dtype):
                    bound[p.name] = Num(np.asarray(x.v).astype(oracle.a.dtype(dtype)), x.e)
            else:
                bound[p.name] = oracle.value(p.default, Space({}, {}))  # type: ignore[arg-type]
        whole = {}
        if on_numbers(d):
            shape = np.broadcast_shapes((1,), *(np.shape(x.v) for x in bound.values()))
            for n, x in bound.items():
                whole[n] = Num(np.broadcast_to(x.v, shape), np.broadcast_to(x.e, shape))
            out = callee.evaluate(oracle, {}, whole)[d.outs[0].name]
            scalar = all(np.ndim(bound[p.name].v) == 0 for p in d.params)
            return Num(out.v[0], out.e[0]) if scalar else out
        arrays = {p.name: bound[p.name] for p in d.params if p.is_array}
        arrays = {n: Num(x.v, np.broadcast_to(np.asarray(x.e, float), np.shape(x.v))) for n, x in arrays.items()}
        names = {
            n: Num(np.int64(arrays[w[1]].v.shape[w[2]] if w[0] == "arg" else bound[n].v)) for n, w in d.sizes.items()
        }
        names |= {p.name: bound[p.name] for p in d.params if not p.is_array and p.kind != "size"}
        return callee.evaluate(oracle, names, arrays)[d.outs[0].name]


NUMPY_OPS: dict[str, Any] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "neg": np.negative, "abs": np.abs,
    "pow": np.power, "floordiv": np.floor_divide, "mod": np.mod, "sqrt": np.sqrt, "min": np.minimum, "max": np.maximum,
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal,
    "and": np.logical_and, "or": np.logical_or, "not": np.logical_not, "where": np.where, "floor": np.floor,
    "rint": np.rint, "bitand": np.bitwise_and, "bitor": np.bitwise_or, "xor": np.bitwise_xor,
    "shl": np.left_shift, "shr": np.right_shift, "invert": np.invert,
}  # fmt: skip


def kind(x: Num) -> str:
    """The type of a number in higher precision, where f32 and bf16 are one."""
    v = np.asarray(x.v)
    if v.dtype.kind == "f":
        return "f64" if v.dtype == HIGH["f64"] else "f32"
    return next(n for n, t in OWN.items() if t == v.dtype)


def widened(x: Any) -> Any:
    """A number as arithmetic takes it: i8 and u8 in i32; Python's as it is."""
    return x.astype(np.int32) if getattr(x, "dtype", None) in (np.dtype("i1"), np.dtype("u1")) else x


def converted(x: np.ndarray, dtype: str) -> np.ndarray:
    """Numbers as another type; bfloat16 as f32."""
    return np.asarray(nearest_bf16(x)) if dtype == "bf16" else x.astype(NUMPY[dtype])
