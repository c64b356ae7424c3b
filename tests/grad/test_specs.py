"""Every formula of the shipped specs that has a gradient, at small sizes."""

import math
from pathlib import Path

import numpy as np
import pytest
from grad_interp import Interpreter
from grad_numeric import check

from vibee import check as front
from vibee.tree.defs import Formula
from vibee.tree.expr import bound_vars, free_vars, loads, substitute, walk
from vibee.tree.expr import const as number

SPECS = Path(__file__).parents[2] / "specs"
FILES = ["foundation/tensor_ops.vibee", "core/attention.vibee"]
MATH = {"exp": math.exp, "log": math.log, "tanh": math.tanh, "sin": math.sin, "cos": math.cos, "erf": math.erf}


class Functions(dict):
    """Scalar definitions of a program; the elementary functions are Python's."""

    def __init__(self, program):
        super().__init__()
        self.program = program

    def __missing__(self, key):
        base = key.rsplit("_", 1)[0]
        self[key] = MATH[base] if base in MATH else self.program.by_key(key)
        return self[key]


def formulas():
    for file in FILES:
        program = front.load(str(SPECS / file))
        for name in program.own_names:
            for d in program.defs.get(name, []):
                if isinstance(d, Formula) and not d.is_scalar and d.key.endswith("_f64"):
                    yield pytest.param(program, d, id=d.key)


def holds(f, sizes, values):
    """True if the `given` conditions hold, the element-wise ones for all elements."""
    env = Interpreter()
    for g in f.given:
        plain = {k: v for k, v in {**sizes, **values}.items() if np.ndim(v) == 0}
        g = substitute(g, {k: number(v, "i64" if isinstance(v, int) else "f64") for k, v in plain.items()})
        read = next(iter(loads(g)), None)
        if read is None:
            if free_vars(g) or any(bound_vars(n) for n in walk(g)):
                continue
            if not eval(env.text(g, {}), env.globals):
                return False
            continue
        names = {str(a.attr): f"v{k}" for k, a in enumerate(read.args)}
        scope = dict(env.globals, _A=values)
        for at in np.ndindex(np.shape(values[read.attr])):
            scope.update({f"v{k}": i for k, i in enumerate(at)})
            if not eval(env.text(g, names), scope):
                return False
    return True


def inputs(f, rng):
    """Sizes and values that satisfy what is given."""
    for _ in range(3000):
        sizes = {name: int(rng.integers(1, 4)) for name in f.sizes}
        values = {p.name: sizes[p.name] for p in f.params if p.kind == "size"}
        top = int(rng.integers(1, 5))
        for p in f.params:
            if p.kind == "scalar":
                values[p.name] = float(rng.random()) if p.dtype == "f64" else int(rng.integers(0, 4))
        env = Interpreter().globals | {"_S": {**sizes, **values}}
        text = Interpreter().text
        for p in f.params:
            if p.kind != "in":
                continue
            shape = [eval(text(d, {}), env) for d in p.shape]
            if any(n < 0 for n in shape):
                break
            values[p.name] = rng.normal(size=shape) if p.dtype == "f64" else rng.integers(0, top, size=shape)
        else:
            if holds(f, sizes, values):
                return sizes, values
    raise AssertionError("found no inputs")


@pytest.mark.parametrize(("program", "f"), list(formulas()))
def test_formula(program, f):
    rng = np.random.default_rng(3)
    functions = Functions(program)
    for _ in range(2):
        sizes, values = inputs(f, rng)
        check(f, sizes=sizes, functions=functions, lookup=program.by_key, rtol=1e-4, **values)
