"""An interpreter of formulas, as plain as can be: the oracle of these tests (float64, loops)."""

import itertools
import math

import numpy as np

from vibee.tree.defs import Formula
from vibee.tree.expr import Expr, bound_vars

NP = {"f32": np.float64, "f64": np.float64, "bf16": np.float64, "i64": np.int64, "i32": np.int32, "bool": np.bool_}
NP |= {"i8": np.int8, "u8": np.uint8, "u32": np.uint32, "u64": np.uint64}
OPS = {
    "add": "({} + {})", "sub": "({} - {})", "mul": "({} * {})", "floordiv": "({} // {})", "mod": "({} % {})",
    "pow": "({} ** {})", "lt": "({} < {})", "le": "({} <= {})", "gt": "({} > {})", "ge": "({} >= {})",
    "eq": "({} == {})", "ne": "({} != {})", "and": "({} and {})", "or": "({} or {})", "xor": "({} ^ {})",
    "bitand": "({} & {})", "bitor": "({} | {})", "shl": "({} << {})", "shr": "({} >> {})", "neg": "(-{})",
    "not": "(not {})", "abs": "abs({})", "sqrt": "_sqrt({})", "floor": "_floor({})", "rint": "_rint({})",
    "min": "min({}, {})", "max": "max({}, {})", "div": "_div({}, {})", "where": "({1} if {0} else {2})",
}  # fmt: skip


def _div(a, b):
    with np.errstate(all="ignore"):
        return float(np.float64(a) / np.float64(b))


def _element(array, name, *idx):
    for i, n in zip(idx, array.shape, strict=True):
        if not 0 <= i < n:
            raise IndexError(f"{name}{list(idx)} of shape {array.shape}")
    return array[idx].item()


def _reduce(op, values):
    """`values` yields (value, index of the first variable)."""
    if op in ("argmax", "argmin"):
        best, at = None, 0
        for v, i in values:
            if best is None or (v > best if op == "argmax" else v < best):
                best, at = v, i
        return at
    values = [v for v, _ in values]
    empty = {"max": -math.inf, "min": math.inf}
    if op in empty:
        return (max if op == "max" else min)(values, default=empty[op])
    return {"sum": sum, "prod": math.prod, "any": any, "all": all}[op](values)


class Interpreter:
    """Runs formulas; `functions` are the scalar definitions by key (formulas or Python functions)."""

    def __init__(self, functions=None):
        self.functions = {} if functions is None else functions
        self.bound = itertools.count()  # numbers the variables that reductions and scans bind
        self.globals = {"_div": _div, "_e": _element, "_r": _reduce, "_scan": self.scan, "_call": self.call}
        self.globals |= {"_sqrt": lambda x: math.sqrt(x) if x >= 0 else math.nan, "_floor": math.floor}
        self.globals |= {"_rint": np.rint, "inf": math.inf, "nan": math.nan, "_A": {}}

    def call(self, key, *args):
        f = self.functions[key]
        if not isinstance(f, Formula):
            return f(*args)
        return self.run(f, **dict(zip([p.name for p in f.params], args, strict=True)))[f.outs[0].name].item()

    def scan(self, op, at, body):
        values = [body(i) for i in range(at + 1)]
        return _reduce(op, [(v, 0) for v in values])

    def text(self, e: Expr, names: dict) -> str:
        """The expression in Python."""
        if e.op == "const":
            return repr(e.attr)
        if e.op == "var":
            return names.get(e.attr, f"_S[{e.attr!r}]")
        if e.op in ("load", "load?"):
            idx = "".join(f", {self.text(a, names)}" for a in e.args)
            return f"_e(_A[{e.attr!r}], {e.attr!r}{idx})"
        if e.op == "cast":
            kind = {np.float64: "float", np.bool_: "bool"}.get(NP[str(e.attr)], "int")
            return f"{kind}({self.text(e.args[0], names)})"
        if e.op == "call":
            key = e.attr[0] if isinstance(e.attr, tuple) else e.attr
            return f"_call({key!r}, {', '.join(self.text(a, names) for a in e.args)})"
        if e.op == "reduce":
            inner = dict(names)
            fors = []
            for v, lo, hi in zip(bound_vars(e), e.args[1::2], e.args[2::2], strict=True):
                lo, hi = self.text(lo, inner), self.text(hi, inner)
                inner[v] = f"b{next(self.bound)}_"
                fors.append(f"for {inner[v]} in range({lo}, {hi})")
            first = inner[bound_vars(e)[0]]
            return f"_r({e.attr[0]!r}, (({self.text(e.args[0], inner)}, {first}) {' '.join(fors)}))"
        if e.op == "scan":
            op, v = e.attr
            inner = {**names, v: f"b{next(self.bound)}_"}
            return f"_scan({op!r}, {names[v]}, lambda {inner[v]}: {self.text(e.args[0], inner)})"
        return OPS[e.op].format(*(self.text(a, names) for a in e.args))

    def run(self, f: Formula, sizes=None, **values):
        """All arrays of the formula by name."""
        arrays = {}
        scalars = dict(sizes or {})
        for p in f.params:
            if p.name not in values:
                if p.kind == "scalar":
                    scalars[p.name] = p.default.attr
                continue
            if p.kind in ("size", "scalar"):
                scalars[p.name] = values[p.name]
                continue
            arrays[p.name] = np.asarray(values[p.name], NP[p.dtype])
            assert arrays[p.name].ndim == len(p.shape), p.name
            for d, n in zip(p.shape, arrays[p.name].shape, strict=True):
                if d.op == "var":
                    assert scalars.setdefault(d.attr, n) == n, (f.name, p.name, d.attr)
        env = dict(self.globals, _A=arrays, _S=scalars)

        def size(e):
            return eval(self.text(e, {}), env)

        for p in [*f.outs, *f.temps]:
            arrays[p.name] = np.zeros([size(d) for d in p.shape], NP[p.dtype])
        for q in f.equations:
            names = {v: f"v{k}_" for k, v in enumerate(q.vars)}
            left = f"({''.join(self.text(i, names) + ',' for i in q.idx)})"
            lines = [f"_t = _A[{q.lhs!r}]"]
            pad = ""
            for v, d in zip(q.vars, q.dims, strict=True):
                lines.append(f"{pad}for {names[v]} in range({size(d)}):")
                pad += " "
            lines.append(f"{pad}_i = {left}")
            lines.append(f"{pad}assert all(0 <= a < b for a, b in zip(_i, _t.shape)), ({q.lhs!r}, _i, _t.shape)")
            lines.append(f"{pad}_t[_i] {'+=' if q.accumulate else '='} {self.text(q.rhs, names)}")
            exec("\n".join(lines), env)
        return arrays


def outputs(interpreter, f, sizes=None, **values):
    """The outputs of a formula."""
    arrays = interpreter.run(f, sizes, **values)
    return {p.name: arrays[p.name] for p in f.outs}
