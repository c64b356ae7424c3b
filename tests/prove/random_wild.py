"""Random procedures that may or may not be right: whether there is a fault only a run can tell."""

from __future__ import annotations

from spec_writer import Writer, head


def nested(w: Writer) -> str:
    """Nested loops and indices at random: whether there is a fault only a run can tell."""
    n = w.number(1, 3)
    names, lines = [], []
    pad = "    "
    for depth, v in enumerate("ijk"[:n]):
        word = "parallel" if depth == 0 and w.one(True, True, False) else "range"
        outer = [f"{names[-1]} + 1", names[-1], f"{names[-1]} * 2"] if names else []
        low = w.one("0", "0", "0", "1", *outer[:1])
        high = w.one("N", "N", "M", "N - 1", "2 * N", "N // 2", "T", "min(N, M)", "N - T", *outer)
        lines.append(f"{pad}for {v} in {word}({high if low == '0' else f'{low}, {high}'}):")
        names.append(v)
        pad += "    "
    size = w.one("N", "N + 1", "N * M", "2 * N", "N + M", "N * T", "N * M * T + 2 * N")
    for _ in range(w.number(1, 2)):
        here = pad
        at = term(w, names)
        if w.one(True, False):
            lines.append(f"{pad}if {term(w, names)} {w.one('<', '<=', '!=', '>=')} {w.one('N', 'M', 'N - 1', '0')}:")
            here += "    "
        if w.one(True, False):
            lines.append(f"{here}if 0 <= {at} and {at} < {size}:")
            here += "    "
        target = w.one(f"y[{at}]", f"y[{at}]", element(w, names))
        lines.append(f"{here}{target} = {w.value(w.one('1.0', '0.5', target, f'x[{names[0]}, 0]', element(w, names)))}")
    asks = w.one("N >= 1", "N == M", "M >= N", "N >= 2, M >= 1", "N % T == 0", "N * T <= M", "N >= 0")
    arrays = {"y": f"f32[{size}]", "z": "f32[N, M]"}
    results = w.one("", "", "y", "z", "yz")
    params = ", ".join(["x: f32[N, M]", *(f"{a}: mut[{t}]" for a, t in arrays.items() if a not in results), "T: size"])
    outs = ", ".join(f"{a}({t})" for a, t in arrays.items() if a in results)
    return (
        head(w, params, f"({outs})" if len(results) > 1 else outs)
        + f"    given(T >= 1, {asks})\n"
        + "\n".join(lines)
        + "\n"
    )


def term(w: Writer, names: list[str]) -> str:
    """An integer expression of the loop variables."""
    v, u = w.one(*names), w.one(*names)
    c = w.number(1, 3)
    return w.one(
        v, v, v, f"{v} + {c}", f"{v} - {c}", f"{c} * {v}", f"{v} // {c + 1}", f"{v} % {c + 1}", f"N - 1 - {v}",
        f"{v} * M + {u}", f"{v} * T + {u}", f"{v} + {u}", f"{v} % T", f"{v} // T", f"min({v} + {c}, N - 1)",
        f"{v} * 2 + {u} % 2", f"max({v} - {c}, 0)", f"{v} - {u}", f"{v} * ({v} + 1) // 2 + {u}",
    )  # fmt: skip


def element(w: Writer, names: list[str]) -> str:
    """An element of a matrix."""
    return f"z[{w.one(*names, term(w, names))}, {w.one(*names, term(w, names))}]"


# ---------------------------------------------------------------- state: what was known may no longer hold

HELPERS = """@procedure
def f8(at: mut[i64[A]]):
    for j in range(A):
        at[j] += 1

@procedure
def f9(y: mut[f32[A]], k: i64):
    given(0 <= k, k < A)
    y[k] = 1.0

"""


class Stateful:
    """Statements over the scalars k and l, the indices in the array `at` and the array y."""

    def __init__(self, w: Writer) -> None:
        self.w = w
        self.vars = ["k", "l"]
        self.loops = 0
        self.inside = 0  # loops that break and continue may leave
        self.left = w.number(3, 7)  # statements to go

    def whole(self) -> str:
        """A procedure."""
        w = self.w
        y = w.one(True, True, False)  # given, or a result
        params = f"at: {w.one('mut[i64[M]]', 'mut[i64[M]]', 'i64[M]')}, {'y: mut[f32[N]]' if y else 'N: size'}, a: i64"
        asks = w.one(
            "0 <= at[m], at[m] < N", "0 <= at[m], at[m] < N, M == N", "0 <= a, a < N", "N >= 1, M >= 1", "M >= N"
        )
        lines = [f"    given({asks})", "    k: i64 = 0", f"    l: i64 = {w.one('0', 'a', 'N')}"]
        self.fixed = "at: i64" in params
        while self.left > 0:
            lines += self.statement("    ")
        text = head(w, params, "" if y else "y(f32[N])") + "\n".join(lines) + "\n"
        return (HELPERS if "f8(" in text or "f9(" in text else "") + text

    def number(self) -> str:
        """An integer."""
        w = self.w
        v, u, c = w.one(*self.vars), w.one(*self.vars, "a"), w.number(1, 2)
        return w.one(
            v, v, v, u, str(c - 1), f"{v} + {c}", f"{v} - {c}", f"{v} + {u}", "N - 1", f"{v} // 2", f"{v} % max(N, 1)",
            f"max({v}, 0)", f"min({v}, N - 1)", f"{v} * {u}", f"{v} // {u}", f"{v} % {u}", f"{v} * {c + 1}",
        )  # fmt: skip

    def test(self) -> str:
        """A condition."""
        w = self.w
        a, b = self.number(), w.one("N", "M", "N - 1", "0", self.number())
        one = f"{a} {w.one('<', '<=', '>', '>=', '==', '!=')} {b}"
        return w.one(one, one, f"0 <= {a} and {a} < {w.one('N', 'M')}", f"not ({one})", f"{one} or {self.number()} < 0")

    def block(self, pad: str) -> list[str]:
        out = self.statement(pad)
        while self.left > 0 and self.w.one(True, False):
            out += self.statement(pad)
        return out

    def statement(self, pad: str) -> list[str]:
        """One statement, with what belongs to it."""
        w = self.w
        self.left -= 1
        kinds = ["store", "store", "set", "set", "index", "element", "call"]
        if len(pad) < 16:
            kinds += ["if", "if", "for", "while"]
        if self.inside and not self.fixed:
            kinds.append("jump")
        return getattr(self, f"a_{w.one(*kinds)}")(pad)

    def guarded(self, pad: str, at: str, size: str, then: str) -> list[str]:
        """An access, or a test and an access.  The test may be a little wrong, and something may change between."""
        w, deeper = self.w, pad + "    "
        if w.one(True, False, False, False):
            return [f"{pad}{then}"]
        between = self.statement(deeper) if self.left > 0 and w.number(0, 2) == 0 else []
        if w.one(True, False, False):  # the other way round
            end = w.one(size, size, size, f"{size} + 1", f"{size} - 1")
            test = w.one(
                f"{at} < 0 or {at} >= {end}", f"not ({at} >= 0) or {at} > {end} - 1", f"not (0 <= {at} < {end})"
            )
            return [f"{pad}if {test}:", *self.a_set(deeper), f"{pad}else:", *between, f"{deeper}{then}"]
        low = w.one("0", "0", "0", "0", "-1", "1")
        test = w.one(f"{low} <= {at} and {at} < {size}", f"{at} >= {low} and {at} < {size}", f"{low} <= {at} < {size}")
        if w.number(0, 7) == 0:
            test = f"{low} <= {at} <= {size}"
        return [f"{pad}if {test}:", *between, f"{deeper}{then}"]

    def a_store(self, pad: str) -> list[str]:
        at = self.number()
        return self.guarded(pad, at, "N", f"y[{at}] {self.w.one('=', '+=')} 1.0")

    def a_set(self, pad: str) -> list[str]:
        v = self.w.one("k", "l")
        return [f"{pad}{v} {self.w.one('=', '=', '+=', '-=')} {self.number()}"]

    def a_index(self, pad: str) -> list[str]:
        """Something with the array of indices."""
        w, at = self.w, self.number()
        use = w.one(f"k = at[{at}]", f"y[at[{at}]] = 2.0", f"at[{at}] = {self.number()}")
        if self.fixed and use.startswith("at"):
            use = f"y[at[{at}]] = 3.0"
        return self.guarded(pad, at, "M", use)

    def a_element(self, pad: str) -> list[str]:
        """A use of an element that was tested before, and may have changed since."""
        w, v = self.w, self.w.one(*self.vars)
        use = w.one(f"y[at[{v}]] = 4.0", f"f9(y, at[{v}])")
        deeper = pad + "    "
        changes = ["f8(at)", f"at[{v}] = {self.number()}", f"at[{self.number()}] = N"] if not self.fixed else []
        change = w.one("", "", f"{w.one('k', 'l')} = {self.number()}", *changes)
        lines = [f"{pad}if 0 <= {v} and {v} < M:", f"{deeper}if 0 <= at[{v}] and at[{v}] < N:"]
        return [*lines, *([f"{deeper}    {change}"] if change else []), f"{deeper}    {use}"]

    def a_call(self, pad: str) -> list[str]:
        w, at = self.w, self.number()
        if w.one(True, False) and not self.fixed:
            return [f"{pad}f8(at)"]
        return self.guarded(pad, at, "N", w.one(f"f9(y, {at})", f"f9(y[{at}:], 0)", f"f9(y[:{at}], {self.number()})"))

    def a_if(self, pad: str) -> list[str]:
        out = [f"{pad}if {self.test()}:", *self.block(pad + "    ")]
        return [*out, f"{pad}else:", *self.block(pad + "    ")] if self.w.one(True, False) else out

    def a_for(self, pad: str) -> list[str]:
        w = self.w
        v = "ijpq"[self.loops % 4] + ("" if self.loops < 4 else "2")
        self.loops += 1
        low, high = w.one("0, ", "0, ", "k, ", "1, "), w.one("N", "M", "N - 1", "k", "min(N, M)", self.number())
        self.vars.append(v)
        self.inside += 1
        body = self.block(pad + "    ")
        self.inside -= 1
        self.vars.remove(v)
        return [f"{pad}for {v} in {w.one('range', 'range', 'range', 'parallel')}({low}{high}):", *body]

    def a_while(self, pad: str) -> list[str]:
        w = self.w
        v = w.one("k", "l")
        test = w.one(f"{v} < N", f"{v} < M", f"{v} <= N", f"{v} < N and {self.test()}")
        self.inside += 1
        body = self.block(pad + "    ")
        self.inside -= 1
        return [f"{pad}while {test}:", *body, f"{pad}    {v} += {w.one('1', '1', '2')}"]

    def a_jump(self, pad: str) -> list[str]:
        return [f"{pad}if {self.test()}:", f"{pad}    {self.w.one('break', 'continue')}"]


def stateful(w: Writer) -> str:
    """Scalars and indices that change under way."""
    return Stateful(w).whole()


def floats(w: Writer) -> str:
    """Places that depend on comparisons of floats, which a nan answers in its own way."""
    opposite = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}

    def test() -> tuple[str, str]:
        """A comparison, and what would be its opposite but for nan."""
        a, b, op = w.one("t", "u", "x[j]"), w.one("0.0", "1.0", "t", "u"), w.one(*opposite)
        text, other = f"{a} {op} {b}", f"{a} {opposite[op]} {b}"
        return (f"not {text}", text) if w.one(True, False, False) else (text, other)

    first, second = test()
    other = w.one(second, second, test()[0])
    place = w.one("j", f"where({w.one(first, second)}, j, j + N)", f"where({w.one(first, second)}, j + N, j)")
    known = w.one("t > 0.0", "not t <= 0.0", "t >= u", "t == t", "x[i] >= 0.0", "not x[i] < 0.0", "x[i] <= t")
    body = [
        f"if {first}:", f"    y[{place}] = 1.0", f"elif {other}:", f"    y[{w.one('j', place, 'N + j')}] = 2.0",
        "else:", f"    y[{w.one('j', 'N + j', 'N + j')}] = 3.0",
    ]  # fmt: skip
    return (
        head(w, "x: f32[N], y: mut[f32[N]], t: f32, u: f32")
        + f"    given(N >= 1, {known})\n    for j in range(N):\n"
        + "\n".join(f"        {line}" for line in body) + "\n"
    )  # fmt: skip


WILD = [nested, stateful, floats]
