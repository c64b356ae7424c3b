"""What is given of the elements of several arrays, some of which are written, and what calls ask of them."""

from __future__ import annotations

import re

from spec_writer import Writer, around, head

SIZES = {"x": "N", "y": "M", "z": "N"}


def parameters(t: str, changed: str) -> str:
    """The arrays, those that are changed among them, and the target."""
    arrays = (f"{a}: mut[{t}[{n}]]" if a in changed else f"{a}: {t}[{n}]" for a, n in SIZES.items())
    return ", ".join([*arrays, "a: mut[f32[K]]"])


def asks_of(w: Writer, count: int) -> list[str]:
    """Conditions on elements of x, y and z."""
    c = w.number(0, 5)
    return [w.one(
        "x[i] >= 0", "y[j] >= 0", "x[i] < K", "y[j] < K", "y[j] <= K", "x[i] <= i", "x[i] >= i", "y[j] <= j",
        "x[i] < y[j]",
        "x[i] >= y[j]", "x[i] <= z[i]", "x[i] + z[i] < K", "x[i] % 2 == 0", "x[i] != y[j]", "0 <= x[i] < K",
        "0 <= y[j] < N",
        "0 <= z[i] <= i", "x[i] == z[i]", f"x[i] <= {c}", f"y[j] >= {-c}", "x[i] < y[j] + z[i]", "z[i] < M",
        "2 * x[i] <= K",
        "x[0] >= 0", "x[i] * z[i] >= 0",
    ) for _ in range(count)]  # fmt: skip


class Elements:
    """Statements over the arrays x, y and z, the target a, and the index n of a loop."""

    def __init__(self, w: Writer) -> None:
        self.w = w
        self.type = w.one("i64", "i64", "i64", "i32")
        self.changed = w.one("", "", "x", "y", "xz")

    def at(self) -> str:
        """A place, inside or not."""
        return self.w.one("n", "n", "n", "n", "0", "k", "n + 1", "N - 1", "M - 1", "n // 2", "k + n")

    def read(self) -> str:
        """An element as an i64."""
        e = f"{self.w.one(*'xxxyyz')}[{self.at()}]"
        return f"i64({e})" if self.type != "i64" else e

    def value(self) -> str:
        """A place in a."""
        w, e = self.w, self.read()
        return w.one(e, e, f"{e} + {e}", f"{e} + {self.read()}", f"{e} - {self.read()}", f"{e} // 2 * 2 - {e}",
                     f"{e} - 1",
                     f"2 * {e}", f"{e} % max(K, 1)", f"min({e}, K - 1)", f"{self.read()} - {e}")  # fmt: skip

    def test(self) -> str:
        """Something that is known."""
        w, e = self.w, self.read()
        return w.one(f"{e} >= 0", f"{e} < K", f"{e} < 5", f"{e} < {self.read()}", f"{e} >= {self.read()}", "n < M",
                     "n < N",
                     f"0 <= {e} and {e} < K", "0 <= k and k < N", "k < M")  # fmt: skip

    def access(self, pad: str) -> list[str]:
        """An access under some tests; either end of it may be left to what is given."""
        w, e = self.w, self.value()
        lines = []
        for _ in range(w.number(0, 2)):
            lines.append(f"{pad}if {self.test()}:")
            pad += "    "
        if w.one(True, False):
            lines.append(f"{pad}v = {e}")
            e = "v"
        store = w.one(f"a[{e}] = 1.0", f"a[{e}] = 1.0", f"a[{e}] += a[0]")
        test = w.one(f"{e} < K", f"{e} < K", f"{e} >= 0", f"0 <= {e} and {e} < K", "")
        return [*lines, *([f"{pad}if {test}:", f"{pad}    {store}"] if test else [f"{pad}{store}"])]

    def write(self, pad: str) -> list[str]:
        """An element changes."""
        w = self.w
        value = w.one("1", "-1", "0", f"{self.type}(n)", f"{w.one(*self.changed)}[{self.at()}] + 1")
        return [f"{pad}{w.one(*self.changed)}[{self.at()}] = {value}"]

    def whole(self) -> str:
        """A procedure."""
        w, lines = self.w, []
        params = parameters(self.type, self.changed)
        for _ in range(w.number(1, 2)):
            lines += self.write("        ") if self.changed and w.one(True, True, False) else []
            lines += self.access("        ")
        k = f"    k: i64 = {w.one('0', '1', 'N - 1', 'N + 5', 'M')}\n" if "k" in "".join(lines) else ""
        loop = f"    for n in range({w.one('N', 'N', 'M', 'K', 'min(N, M)', '3', '1, N')}):\n"
        asks = asks_of(w, w.number(1, 3)) + [w.one("N >= 1", "N >= 1, K >= 1", "M >= N", "N >= 0")]
        given = f"    given({', '.join(asks)})\n"
        return head(w, params) + given + k + loop + "\n".join(lines) + "\n"


def elements(w: Writer) -> str:
    """Accesses at places that `given` says something of."""
    return Elements(w).whole()


# what is given, what is tested, and the place of an access that rests on both; E is x[P], Z is z[P], F is y[Q]
RESTING = (
    ("x[i] % 2 == 0", "E // 2 * 2 - E < K", "E // 2 * 2 - E"), ("x[i] >= 0", "E < K", "E"), ("x[i] < K", "E >= 0", "E"),
    ("x[i] <= i", "P - E < K", "P - E"), ("x[i] >= i", "E - P < K", "E - P"), ("x[i] <= 3", "3 - E < K", "3 - E"),
    ("x[i] < y[j]", "F - E <= K", "F - E - 1"), ("x[i] < y[j]", "E >= 0 and F <= K", "F - 1"),
    ("x[i] <= z[i]", "Z - E < K", "Z - E"), ("x[i] == z[i]", "Z - E < K", "Z - E"),
    ("x[i] >= y[j]", "E < 5 and F > 0 and F + F < K", "F + F"), ("x[i] >= y[j]", "E < K and F >= 0", "F"),
    ("y[j] >= 0, x[i] < K", "F <= E", "F"), ("x[i] + z[i] < K", "E + Z >= 0", "E + Z"),
    ("x[i] >= 0, z[i] >= 0", "E + Z < K", "E + Z"), ("0 <= y[j] < N, 0 <= x[i] < K", "Q < M", "x[F]"),
    ("x[i] * z[i] >= 0", "E * Z < K", "E * Z"), ("x[i] % 3 == 0", "E - E // 3 * 3 < K", "E - E // 3 * 3"),
)  # fmt: skip


def resting(w: Writer) -> str:
    """An access that rests on what is given of elements, which may be others, outside, or written before."""
    t = w.one("i64", "i64", "i64", "i32")
    given, test, at = w.one(*RESTING)
    given = re.sub(r"[xyz]\[.\]", r"i64(\g<0>)", given) if t == "i32" else given
    p, q = w.one("n", "n", "n", "0", "k", "n + 1"), w.one("n", "n", "0", "k", "n + 1")
    table = {"E": f"x[{p}]", "Z": f"z[{w.one(p, p, '0', 'n')}]", "F": f"y[{q}]", "P": p, "Q": q}
    if t == "i32":
        table |= {name: f"i64({table[name]})" for name in "EZF"}
    test, at = ("".join(table.get(c, c) for c in text) for text in (test, at))
    changed = w.one("", "", "x", "y", "z")
    write = [f"{changed}[{w.one(p, q, '0')}] = {w.one('0', '1', '-1', f'{t}(n)')}"] if changed else []
    inside = [f"if {c}:" for c in test.split(" and ")] if w.one(True, False) else [f"if {test}:"]
    held = w.one(True, False, False)  # the element is read once
    first = [f"v = {table['F']}"] if held else []
    lines = [*first, *inside]
    lines = [line.replace(table["F"], "v") if held and n else line for n, line in enumerate(lines)]
    lines.append(f"a[{at.replace(table['F'], 'v') if held else at}] = 1.0")
    lines = [*write, *lines] if w.one(True, True, False) else [*lines, *write]
    text, pad = "", "        "
    for line in lines:
        text += f"{pad}{line}\n"
        pad += "    " if line.endswith(":") else ""
    stop = w.one("N", "M", "K", "min(N, M)", "3")
    asks = w.one("N >= 1", "N >= 1, K >= 1", "M == N", "N >= 0", "M >= 1")
    body = f"    k: i64 = {w.one('0', 'N - 1', 'N + 5', 'M', '-1')}\n    for n in range({stop}):\n{text}"
    k, n = w.one("kn", "kn", "in", "ij", "ki", "ji")  # names that `given` has for any element
    body = "".join({"k": k, "n": n}.get(c, c) if not around(body, at) else c for at, c in enumerate(body))
    return head(w, parameters(t, changed)) + f"    given({given}, {asks})\n{body}"


def of_places(w: Writer, array: str, i: str) -> str:
    """A condition on the elements of an array and their places."""
    c = w.number(0, 5)
    e = f"{array}[{i}]"
    return w.one(f"{e} <= {i}", f"{e} >= {i}", f"{e} <= {c}", f"{e} >= {c}", f"0 <= {e} <= {i}",
                 f"{e} + {i} >= {c}", f"{e} < N",
                 f"{e} <= {i} + {c}", f"{e} != {i}", f"{e} <= 2 * {i}")  # fmt: skip


def at_calls(w: Writer) -> str:
    """A callee that asks something of elements and their places, and a caller that knows something of them."""
    inner, t = w.name(), w.one("i64", "i64", "i32")
    kind = f"mut[{t}[N]]" if w.one(True, False, False) else f"{t}[N]"
    asks = [of_places(w, "x", "i") for _ in range(w.number(1, 2))]
    text = f"@procedure\ndef {inner}(x: {t}[N]) -> y(i64):\n    given({', '.join(asks)})\n    y = 1\n\n"
    known = w.one(*asks, of_places(w, "x", "i"), of_places(w, "x", "i")).replace("x[", "data[")
    known = known.replace("i", "j") if w.one(True, False) else known
    low, high = w.one("0", "0", "1", "5"), w.one("N", "3", "min(N, 3)")
    j = w.one("i", "j", "k")
    part = w.one("data", "data", "data", "data[1:]", f"data[{j}:]", "data[:N // 2]", f"data[{j}:{j} + 1]")
    write = f"        data[{w.one(j, '0')}] = {w.one('0', '1', f'{t}({j})')}\n" if kind.startswith("mut") else ""
    after = w.one(True, False)
    call = f"        y = {inner}({part})\n"
    return (text + head(w, f"data: {kind}", "y(i64)") + f"    given({known}, N >= {w.one(0, 1, 3)})\n"
            f"    for {j} in range({low}, {high}):\n" + (call + write if after else write + call))  # fmt: skip


WILD = [elements, resting, resting, at_calls]
