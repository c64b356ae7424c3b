"""Formulas from spec text without the checker: a few lines of it, for f64 and i64 only."""

import ast

from vibee.tree.defs import Equation, Formula, Param
from vibee.tree.expr import Expr, const, load, var, walk
from vibee.tree.normal import negate  # noqa: F401  (re-exported for the tests)

BIN = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div", ast.FloorDiv: "floordiv", ast.Mod: "mod",
    ast.BitXor: "xor", ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge", ast.Eq: "eq", ast.NotEq: "ne",
}  # fmt: skip
REDUCES = ("sum", "prod", "max", "min", "any", "all", "argmax", "argmin")
FLOATS = ("f32", "f64", "bf16")


class Mini:
    def __init__(self, text):
        self.fn = ast.parse(text).body[0]
        self.arrays, self.ranges, self.scalars, self.sizes = {}, {}, {}, {}

    def size(self, n):
        e = self.expr(n)
        for v in walk(e):
            assert v.op != "var" or v.attr in self.sizes, v
        return e

    def param(self, name, n, kind):
        shape = ()
        if isinstance(n, ast.Subscript):
            dims = n.slice.elts if isinstance(n.slice, ast.Tuple) else [n.slice]
            for k, d in enumerate(dims):
                if isinstance(d, ast.Name):
                    self.sizes.setdefault(d.id, ("arg", name, k))
            shape, n = tuple(self.size(d) for d in dims), n.value
        dtype = n.id if kind != "out" else "f64"
        if dtype == "size":
            self.sizes[name] = ("param", name)
            return Param(name, "size", "i64")
        if kind == "in" and not shape:
            self.scalars[name] = dtype
            return Param(name, "scalar", dtype)
        p = Param(name, kind, dtype, shape)
        self.arrays[name] = p
        return p

    def build(self):
        fn = self.fn
        params = [self.param(a.arg, a.annotation, "in") for a in fn.args.args]
        rets = fn.returns.elts if isinstance(fn.returns, ast.Tuple) else [fn.returns]
        outs = [self.param((r.value if isinstance(r, ast.Subscript) else r).id, r, "out") for r in rets]
        f = Formula(fn.name, fn.name + "_f64", params, outs, self.sizes)
        for s in fn.body:
            if isinstance(s, ast.Expr):
                if s.value.func.id == "given":
                    f.given += [self.expr(a) for a in s.value.args]
                else:
                    f.derivative |= {k.arg: self.expr(k.value) for k in s.value.keywords}
            else:
                f.equations.append(self.equation(s, f))
        return f

    def equation(self, s, f):
        target = s.target if isinstance(s, ast.AugAssign) else s.targets[0]
        idx, name = [], target
        if isinstance(target, ast.Subscript):
            idx = target.slice.elts if isinstance(target.slice, ast.Tuple) else [target.slice]
            name = target.value
        name = name.id
        self.ranges = {}
        if isinstance(s, ast.AugAssign):
            index = tuple(self.expr(i) for i in idx)
            rhs = self.expr(s.value)
            names = tuple(self.ranges)
            return Equation(name, names, tuple(self.ranges[v] for v in names), index, rhs, True)
        names = tuple(i.id for i in idx)
        if name in self.arrays:
            self.ranges = dict(zip(names, self.arrays[name].shape, strict=True))
        self.pending = set(names)
        rhs = self.expr(s.value)
        dims = tuple(self.ranges[v] for v in names)
        if name not in self.arrays:
            self.arrays[name] = Param(name, "temp", rhs.dtype, dims)
            f.temps.append(self.arrays[name])
        self.arrays[name].dtype = rhs.dtype
        return Equation(name, names, dims, tuple(map(var, names)), rhs)

    def expr(self, n):
        if isinstance(n, ast.Constant):
            if isinstance(n.value, bool):
                return const(n.value, "bool")
            return const(n.value, "i64" if isinstance(n.value, int) else "f64")
        if isinstance(n, ast.Name):
            if n.id in self.arrays:
                return load(n.id, (), self.arrays[n.id].dtype)
            return var(n.id, self.scalars.get(n.id, "i64"))
        if isinstance(n, ast.BinOp):
            if isinstance(n.op, ast.Pow):
                a = self.expr(n.left)
                return Expr("sqrt", (a,), None, a.dtype) if n.right.value == 0.5 else Expr("mul", (a, a), None, a.dtype)
            return self.both(BIN[type(n.op)], n.left, n.right)
        if isinstance(n, ast.Compare):
            parts = [n.left, *n.comparators]
            tests = [self.both(BIN[type(o)], a, b, "bool") for o, a, b in zip(n.ops, parts, parts[1:], strict=False)]
            out = tests[0]
            for t in tests[1:]:
                out = Expr("and", (out, t), None, "bool")
            return out
        if isinstance(n, ast.BoolOp):
            args = [self.expr(v) for v in n.values]
            out = args[0]
            for a in args[1:]:
                out = Expr("and" if isinstance(n.op, ast.And) else "or", (out, a), None, "bool")
            return out
        if isinstance(n, ast.UnaryOp):
            a = self.expr(n.operand)
            return Expr("neg" if isinstance(n.op, ast.USub) else "not", (a,), None, a.dtype)
        if isinstance(n, ast.IfExp):
            return self.where(n.test, n.body, n.orelse)
        if isinstance(n, ast.Subscript):
            p = self.arrays[n.value.id]
            idx = n.slice.elts if isinstance(n.slice, ast.Tuple) else [n.slice]
            for i, d in zip(idx, p.shape, strict=True):
                if isinstance(i, ast.Name) and i.id not in self.sizes:
                    self.ranges.setdefault(i.id, d)
            e = load(p.name, tuple(self.expr(i) for i in idx), p.dtype)
            return Expr("cast", (e,), "i64", "i64") if p.dtype == "i32" else e
        return self.call(n)

    def both(self, op, a, b, dtype=None):
        a, b = self.expr(a), self.expr(b)
        if a.dtype != b.dtype:  # a literal takes the other type
            if a.op == "const":
                a = const(float(a.attr), b.dtype)
            else:
                assert b.op == "const", (op, a, b)
                b = const(float(b.attr), a.dtype)
        return Expr(op, (a, b), None, dtype or a.dtype)

    def where(self, c, a, b):
        c = self.expr(c)
        ab = self.both("where", a, b)
        return Expr("where", (c, *ab.args), None, ab.dtype)

    def call(self, n):
        f = n.func
        if isinstance(f, ast.Subscript):
            if f.value.id.startswith("cum"):
                body = self.expr(n.args[0])
                return Expr("scan", (body,), (f.value.id[3:], f.slice.id), body.dtype)
            names, limits = [], {}
            for b in f.slice.elts if isinstance(f.slice, ast.Tuple) else [f.slice]:
                if isinstance(b, ast.Slice):
                    names.append(b.lower.id)
                    hi = self.expr(b.step or b.upper)
                    limits[b.lower.id] = (self.expr(b.upper) if b.step else const(0, "i64"), hi)
                else:
                    names.append(b.id)
            body = self.expr(n.args[0])
            flat = [e for v in names for e in limits.get(v, (const(0, "i64"), self.ranges.get(v)))]
            for v in names:
                self.ranges.pop(v, None)
            kind = f.value.id
            dtype = "i64" if kind.startswith("arg") else body.dtype
            return Expr("reduce", (body, *flat), (kind, tuple(names)), dtype)
        name = f.id
        if name == "where":
            return self.where(*n.args)
        if name in ("min", "max"):
            return self.both(name, *n.args)
        args = tuple(self.expr(a) for a in n.args)
        if name in ("sqrt", "abs", "floor", "rint"):
            return Expr(name, args, None, args[0].dtype)
        if name in ("f64", "i64", "f32"):
            return Expr("cast", args, name, name)
        return Expr("call", args, name + "_f64", "f64")


def formula(text):
    """The formula that `text` writes."""
    return Mini(text).build()
