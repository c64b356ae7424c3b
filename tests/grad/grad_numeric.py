"""Comparing a derived gradient with central differences."""

import math

import numpy as np
from grad_interp import Interpreter, outputs
from grad_mini import formula
from grad_types import verify

from vibee.grad import needs, vjp
from vibee.tree.normal import describe, hoist

EXP = formula("""
def exp(x: f64) -> y:
    derivative(x=y)
    y = x
""")
FUNCTIONS = {
    "exp_f64": math.exp,
    "log_f64": math.log,
    "tanh_f64": math.tanh,
    "sin_f64": math.sin,
}
SCALARS = {
    "exp_f64": EXP,
    "log_f64": formula("def log(x: f64) -> y:\n    derivative(x=1.0 / x)\n    y = x"),
    "tanh_f64": formula("def tanh(x: f64) -> y:\n    derivative(x=1.0 - y * y)\n    y = x"),
    "sin_f64": formula("def sin(x: f64) -> y:\n    derivative(x=sin(x + 1.5707963267948966))\n    y = x"),
    "silu_f64": formula("def silu(x: f64) -> y:\n    s = 1.0 / (1.0 + exp(-x))\n    y = x * s"),
    "mix_f64": formula("def mix(a: f64, b: f64) -> y:\n    derivative(a=b)\n    y = a * b"),
}
FUNCTIONS |= {k: v for k, v in SCALARS.items() if k not in FUNCTIONS}


def check(text, sizes=None, rtol=2e-5, step=1e-6, show=False, functions=FUNCTIONS, lookup=None, **values):
    """The gradient of the formula agrees with differences at `values`; returns it."""
    f = formula(text) if isinstance(text, str) else text
    run = Interpreter(functions)
    base = outputs(run, f, sizes, **values)
    flat = outputs(run, hoist(f), sizes, **values)
    for k, v in base.items():
        np.testing.assert_allclose(flat[k], v, rtol=1e-12, err_msg=f"hoist changed {k}\n{describe(hoist(f))}")
    verify(hoist(f))
    g = vjp(f, lookup or SCALARS.__getitem__)
    verify(g)
    if show:
        print(describe(g))
    rng = np.random.default_rng(0)
    cot = {k: rng.normal(size=v.shape) for k, v in base.items() if v.dtype == np.float64}
    used = needs(g)
    given = {**values, **base, **{f"d_{k}": v for k, v in cot.items()}}
    sized = {p.name for p in g.params if p.kind in ("size", "scalar")}
    arrays = {p.name: p for p in g.params}
    # what is not needed is not given, but sizes are still taken from shapes
    shapes = dict(sizes or {})
    for name, v in given.items():
        if name in arrays:
            for d, n in zip(arrays[name].shape, np.shape(v), strict=True):
                if d.op == "var":
                    shapes[d.attr] = n
    derived = outputs(run, g, shapes, **{k: v for k, v in given.items() if k in used or k in sized})
    floats = [p for p in f.params if p.dtype in ("f32", "f64")]
    for p, d in zip(floats, g.outs, strict=True):
        x = np.array(values[p.name], np.float64)
        want = np.zeros_like(x)
        for at in np.ndindex(x.shape):
            side = []
            for s in (step, -step):
                y = x.copy()
                y[at] += s
                y = y if x.ndim else float(y)
                out = outputs(run, f, sizes, **{**values, p.name: y})
                side.append(sum((cot[k] * out[k]).sum() for k in cot))
            want[at] = (side[0] - side[1]) / (2 * step)
        got = derived[d.name]
        noise = sum(np.abs(cot[k] * base[k]).sum() for k in cot) * 1e-15 / step  # of the differences
        scale = max(1.0, np.abs(want).max(initial=0.0), noise / rtol)
        np.testing.assert_allclose(
            got, want, rtol=rtol, atol=rtol * scale, err_msg=f"d_{p.name} of\n{describe(f)}\nis\n{describe(g)}"
        )
    return g
