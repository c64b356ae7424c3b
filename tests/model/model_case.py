"""Models run by the slow interpreter, and finite differences."""

from __future__ import annotations

import numpy as np
from model_interp import Interp

from vibee.check import load_text
from vibee.lower.model import lower_model
from vibee.lower.model_layout import weights_length
from vibee.lower.plan import overlaps
from vibee.tree.poly import evaluate


class Case:
    """One model of a spec, in f64, with an arena that is full of NaN before each run."""

    def __init__(self, text: str, name: str, **sizes: int) -> None:
        program = load_text(text, "case.vibee")
        program.raise_errors()
        self.model = program.instance(name, {"real": "f64"})
        self.program = program
        self.lowered = lower_model(self.model, self.program)
        for p in self.lowered.procedures:
            self.program.add(p)
        self.sizes = sizes
        self.count = evaluate(weights_length(self.model), sizes)
        self.interp = Interp(self.program)

    def run(self, part: str, weights: np.ndarray, **given) -> list[np.ndarray]:
        """The outputs of one derived procedure."""
        planned = getattr(self.lowered, part)
        assert not overlaps(planned.plan, self.sizes, planned.work.sizes)
        p = planned.procedure
        arena = np.full(evaluate(planned.arena, self.sizes), np.nan)
        flat, room = p.params[0], next(q for q in reversed(p.params) if q.kind == "mut")
        env = {**self.sizes, **given, flat.name: weights, room.name: arena}
        sizes = self.sizes | {str(q.shape[0].attr): len(env[q.name]) for q in (flat, room)}
        args = [env[q.name] if q.name in env or not q.default else q.default.attr for q in p.params]
        outs = [np.full([self.interp.eval(e, sizes) for e in o.shape], np.nan) for o in p.outs]
        self.interp.call(p.key, args, outs, sizes)
        return outs

    def loss(self, weights: np.ndarray, **given) -> float:
        return self.run("loss", weights, **given)[0].item()

    def check(self, seed: int = 0, tolerance: float = 1e-6, **given) -> np.ndarray:
        """The gradient, compared with central differences."""
        rng = np.random.default_rng(seed)
        w = rng.normal(size=self.count) * 0.6
        loss, grads = self.run("gradient", w, **given)
        assert np.isfinite(grads).all(), "a weight's gradient is not written"
        assert loss.item() == self.loss(w, **given)
        assert loss.item() == self.run("forward", w, **given)[0].item()
        h = 1e-6
        for i in range(self.count):
            up, down = w.copy(), w.copy()
            up[i] += h
            down[i] -= h
            want = (self.loss(up, **given) - self.loss(down, **given)) / (2 * h)
            assert abs(grads[i] - want) <= tolerance * max(1.0, abs(want)), (i, grads[i], want)
        return grads
