"""A slow interpreter of checked definitions, for tests of what is derived from models."""

from __future__ import annotations

import itertools
import math

import numpy as np

from vibee.tree.defs import Alloc, Assign, Call, Decl, Definition, Equations, For, Formula, If, Store, View, While
from vibee.tree.expr import Expr

DTYPES = {"f32": np.float32, "f64": np.float64, "i32": np.int32, "i64": np.int64, "u64": np.uint64, "bool": np.bool_,
          "u32": np.uint32, "i8": np.int8, "u8": np.uint8}  # fmt: skip
BINARY = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lambda a, b: a / b,
    "floordiv": lambda a, b: a // b, "mod": lambda a, b: a % b, "pow": lambda a, b: a**b,
    "lt": lambda a, b: a < b, "le": lambda a, b: a <= b, "gt": lambda a, b: a > b, "ge": lambda a, b: a >= b,
    "eq": lambda a, b: a == b, "ne": lambda a, b: a != b, "min": min, "max": max,
}  # fmt: skip
UNARY = {"neg": lambda a: -a, "abs": abs, "sqrt": math.sqrt, "floor": math.floor, "not": lambda a: not a}
REDUCE = {"sum": sum, "max": max, "min": min, "prod": math.prod, "any": any, "all": all}


class Interp:
    """Runs definitions of one program on numpy arrays."""

    def __init__(self, program) -> None:
        self.program = program

    def call(self, key: str, args: list, outs: list, sizes: dict) -> None:
        """`outs = key(args)`; arrays are written in place."""
        d = self.program.by_key(key)
        env = dict(sizes)
        for p, a in zip((*d.params, *d.outs), (*args, *outs), strict=True):
            env[p.name] = a
        self._check(d, env)
        for g in d.given:
            if all(not n.args or n.op != "load" for n in _walk(g)):
                assert self.eval(g, env), f"{key}: given {g} is broken"
        if isinstance(d, Formula):
            for t in d.temps:
                env[t.name] = np.zeros([self.eval(e, env) for e in t.shape], DTYPES[t.dtype])
            seen = set()
            for e in d.equations:
                if e.accumulate and e.lhs not in seen:
                    env[e.lhs][...] = 0
                seen.add(e.lhs)
                self.equation(e, env)
        else:
            self.block(d.body, env)

    def _check(self, d: Definition, env: dict) -> None:
        for p in (*d.params, *d.outs):
            if p.shape:
                want = tuple(self.eval(e, env) for e in p.shape)
                assert env[p.name].shape == want, f"{d.key}: {p.name} is {env[p.name].shape}, not {want}"

    def equation(self, e, env: dict) -> None:
        dims = [range(self.eval(x, env)) for x in e.dims]
        values = []
        for at in itertools.product(*dims):
            inner = {**env, **dict(zip(e.vars, at, strict=True))}
            values.append((tuple(self.eval(i, inner) for i in e.idx), self.eval(e.rhs, inner)))
        for idx, v in values:
            if e.accumulate:
                env[e.lhs][idx] += v
            else:
                env[e.lhs][idx] = v

    def eval(self, e: Expr, env: dict):
        if e.op == "const":
            return e.attr
        if e.op == "var":
            return env[e.attr]
        if e.op in ("load", "load?"):
            return env[e.attr][tuple(self.eval(a, env) for a in e.args)].item()
        if e.op == "cast":
            return DTYPES[e.dtype](self.eval(e.args[0], env)).item()
        if e.op == "where":
            return self.eval(e.args[1] if self.eval(e.args[0], env) else e.args[2], env)
        if e.op == "and":
            return self.eval(e.args[0], env) and self.eval(e.args[1], env)
        if e.op == "or":
            return self.eval(e.args[0], env) or self.eval(e.args[1], env)
        if e.op == "reduce":
            return self.reduce(e, env)
        if e.op == "call":
            out = np.zeros((), np.float64)
            self.call(e.attr[0], [self.eval(a, env) for a in e.args], [out], {})
            return out.item()
        a = [self.eval(x, env) for x in e.args]
        return BINARY[e.op](*a) if len(a) == 2 else UNARY[e.op](*a)

    def reduce(self, e: Expr, env: dict):
        op, names = e.attr
        terms = []

        def go(k: int, inner: dict) -> None:
            if k == len(names):
                terms.append((inner[names[0]], self.eval(e.args[0], inner)))
                return
            for v in range(self.eval(e.args[1 + 2 * k], inner), self.eval(e.args[2 + 2 * k], inner)):
                go(k + 1, {**inner, names[k]: v})

        go(0, env)
        if op in ("argmax", "argmin"):
            pick = max if op == "argmax" else min
            return pick(terms, key=lambda t: t[1])[0]
        return REDUCE[op](v for _, v in terms)

    def view(self, v: View, env: dict):
        a = env[v.array]
        if v.lead:
            a = a[tuple(self.eval(i, env) for i in v.lead)]
        if v.part is not None:
            lo, hi = (self.eval(x, env) for x in v.part)
            assert 0 <= lo <= hi <= a.shape[0], f"{v.array}[{lo}:{hi}] is outside of {a.shape}"
            a = a[lo:hi]
        return a.reshape([self.eval(x, env) for x in v.shape])

    def block(self, stmts: list, env: dict) -> None:
        for s in stmts:
            if isinstance(s, (Decl, Assign)):
                e = s.init if isinstance(s, Decl) else s.value
                env[s.name] = self.eval(e, env) if e is not None else 0
            elif isinstance(s, Alloc):
                env[s.name] = np.zeros([self.eval(x, env) for x in s.shape], DTYPES[s.dtype])
            elif isinstance(s, Store):
                env[s.array][tuple(self.eval(i, env) for i in s.idx)] = self.eval(s.value, env)
            elif isinstance(s, For):
                for i in range(self.eval(s.lo, env), self.eval(s.hi, env), s.step):
                    env[s.var] = i
                    self.block(s.body, env)
            elif isinstance(s, While):
                while self.eval(s.cond, env):
                    self.block(s.body, env)
            elif isinstance(s, If):
                self.block(s.then if self.eval(s.cond, env) else s.orelse, env)
            elif isinstance(s, Equations):
                for q in s.equations:
                    self.equation(q, env)
            elif isinstance(s, Call):
                args = [self.view(a, env) if isinstance(a, View) else self.eval(a, env) for a in s.args]
                outs = [self.view(a, env) if isinstance(a, View) else np.zeros(()) for a in s.outs]
                self.call(s.fn, args, outs, {k: self.eval(x, env) for k, x in s.sizes.items()})
                for a, value in zip(s.outs, outs, strict=True):
                    if not isinstance(a, View):
                        env[a.attr] = value.item()
            else:
                raise TypeError(type(s))


def _walk(e: Expr):
    yield e
    for a in e.args:
        yield from _walk(a)
