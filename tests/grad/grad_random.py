"""Random formulas: text and inputs from a seed."""

import numpy as np

# the index expressions in reach of a variable of each size
INDEX = {
    "N": [
        *("{n}", "{n}", "{n}", "{n}", "N - 1 - {n}", "({n} + 1) % N", "({n} + s) % N", "t[{n}]"),
        *("{n} // 2", "{n} - {n} % 2", "{n} * S % N", "{n} // S", "-({n} // -2)", "abs({n} - 2) % N"),
    ],
    "D": [
        "{d}",
        "{d}",
        "{d}",
        "D - 1 - {d}",
        "({d} + 2) % D",
        "{d} ^ 1",
        "where({d} < 2, {d} + 2, {d} - 2)",
        "3 - {d}",
    ],
}
UNARY = ["tanh({})", "sin({})", "exp(0.3 * {})", "-{}", "abs({})", "silu({})", "({} * {} + 1.0) ** 0.5"]
BINARY = ["({} + {})", "({} - {})", "({} * {})", "({} * {})", "max({}, {})", "min({}, {})"]


class Writer:
    """Writes one formula."""

    def __init__(self, seed, depth=3):
        self.depth = depth
        self.rng = np.random.default_rng(seed)
        self.arrays = {"a": ("N", "D"), "b": ("D", "N"), "v": ("N",), "w": ("D",), "c": ("N", "N"), "z": ()}
        self.count = 0

    def pick(self, items):
        return items[self.rng.integers(len(items))]

    def fresh(self, size):
        self.count += 1
        return f"{size.lower()}{self.count}"

    def read(self, scope):
        """An element of an array, with indices that the variables of the scope reach."""
        have = {s for _, s in scope}
        names = [a for a, shape in self.arrays.items() if set(shape) <= have]
        name = self.pick(names)
        idx = []
        for size in self.arrays[name]:
            var = self.pick([v for v, s in scope if s == size])
            idx.append(self.pick(INDEX[size]).format(n=var, d=var))
        return f"{name}[{', '.join(idx)}]" if idx else name

    def condition(self, scope, depth):
        if scope and self.rng.random() < 0.6:
            (v, s), (u, r) = self.pick(scope), self.pick(scope)
            if s == r and u != v:
                return self.pick(
                    [f"{v} <= {u}", f"{v} == {u}", f"{v} < {u} + 1", f"{v} + {u} < {s}", f"2 * {v} >= {u}"]
                )
            return self.pick([f"{v} >= 1", f"{v} % 2 == 0", f"{v} < 2", f"2 * {v} + 1 < {s}"])
        return f"{self.read(scope)} > {self.pick([0.0, 0.1])}"

    def expr(self, scope, depth):
        kind = self.rng.random()
        if depth == 0 or kind < 0.15:
            return self.read(scope)
        if kind < 0.3:
            text = self.pick(UNARY)
            return text.format(*[self.expr(scope, depth - 1)] * text.count("{}"))
        if kind < 0.42:
            return (
                f"where({self.condition(scope, depth)}, {self.expr(scope, depth - 1)}, {self.expr(scope, depth - 1)})"
            )
        if kind < 0.62 and depth > 1:
            size = self.pick(["N", "D"])
            v = self.fresh(size)
            outer = [u for u, s in scope if s == size]
            limit = self.pick([size, size, f"{outer[0]} + 1" if outer else size, f"1:{size}"])
            op = self.pick(["sum", "sum", "sum", "max", "min", "prod"])
            body = self.expr([*scope, (v, size)], depth - 1)
            if outer and op in ("sum", "prod") and self.rng.random() < 0.3:
                limit = self.pick([f"{outer[0]} - 1:{outer[0]} + 1", f"{outer[0]} - 2"])
                body = f"where({v} >= 0, {body}, {self.read(scope)})"
            return f"{op}[{v}:{limit}]({body})"
        if kind < 0.68:
            return f"{self.expr(scope, depth - 1)} / ({self.expr(scope, 0)} * {self.expr(scope, 0)} + 1.5)"
        return self.pick(BINARY).format(self.expr(scope, depth - 1), self.expr(scope, depth - 1))

    def text(self):
        lines = []
        for k in range(self.rng.integers(1, 4)):
            shape = self.pick([("N",), ("D",), ("N", "D"), ("D", "N"), (), ("N", "N")])
            scope = [(self.fresh(s), s) for s in shape]
            body = self.expr(scope, self.depth)
            # a temporary's axes are inferred: every variable indexes something directly
            body += "".join(f" + 0.1 * {'v' if s == 'N' else 'w'}[{u}]" for u, s in scope)
            left = f"p{k}[{', '.join(u for u, _ in scope)}]" if scope else f"p{k}"
            if scope and self.rng.random() < 0.15:
                body = f"cumsum[{scope[-1][0]}]({body})"
            lines.append(f"    {left} = {body}")
            if scope and self.rng.random() < 0.3:
                lines.append(self.addition(f"p{k}", shape))
            self.arrays[f"p{k}"] = shape
        ends = [("n", "N"), ("d", "D")]
        lines.append(f"    y[n, d] = {self.expr(ends, self.depth)} + 0.1 * a[n, d]")
        if self.rng.random() < 0.3:
            lines.append(self.addition("y", ("N", "D")))
        arrays = "a: f64[N, D], b: f64[D, N], v: f64[N], w: f64[D], c: f64[N, N], z: f64, t: i32[N]"
        return f"def f({arrays}, s: i64, S: size) -> y[N, D]:\n    given(S >= 1)\n" + "\n".join(lines)

    def addition(self, name, shape):
        """More for an array that is assigned already."""
        scope = [(self.fresh(s), s) for s in shape]
        at = ", ".join(self.pick(INDEX[s]).format(n=u, d=u) for u, s in scope)
        ends = "".join(f" + 0.1 * {'v' if s == 'N' else 'w'}[{u}]" for u, s in scope)
        return f"    {name}[{at}] += {self.expr(scope, 1)}{ends}"

    def values(self):
        n, d = int(self.rng.integers(2, 5)), 4
        r = self.rng.normal
        out = {"a": r(size=(n, d)), "b": r(size=(d, n)), "v": r(size=n), "w": r(size=d), "c": r(size=(n, n))}
        out |= {"z": float(r()), "t": self.rng.integers(n, size=n), "s": int(self.rng.integers(n))}
        return {**out, "S": int(self.rng.integers(1, 4))}
