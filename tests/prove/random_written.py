"""Outputs that are written under conditions and by loops, whose numbers and elements change between them."""

from __future__ import annotations

from spec_writer import Writer, head

OPPOSITE = {">": "<=", "<=": ">", "==": "!=", "!=": "==", "<": ">=", ">=": "<"}


class Outputs:
    """Statements that write the two elements of y, and change k and x[0], which say where and whether."""

    def __init__(self, w: Writer) -> None:
        self.w = w
        self.left = w.number(1, 4)
        self.names = 0

    def number(self) -> str:
        """0 or 1."""
        return self.w.one("0", "1", "k", "k", "n", "1 - k", "1 - n")

    def test(self) -> tuple[str, str]:
        """A condition and its opposite."""
        w = self.w
        a, op, b = w.one("k", "n", "x[0]", "k"), w.one(*OPPOSITE), w.one("0", "1", "n")
        return f"{a} {op} {b}", f"{a} {OPPOSITE[op]} {b}"

    def all(self, pad: str) -> list[str]:
        """The whole of y."""
        self.names += 1
        i = f"i{self.names}"
        return [
            f"{pad}for {i} in range({self.w.one('2', 'N', '2', 'N', '1, -1, -1', '0, N, -1')}):",
            f"{pad}    y[{i}] = 1.0",
        ]

    def ahead(self, pad: str) -> list[str]:
        """A `while` whose condition reads one element after the other."""
        self.names += 1
        j = f"j{self.names}"
        return [f"{pad}{j}: i64 = {self.number()}", f"{pad}while {j} >= 0 and {j} < 2 and y[{j}] > 0.0:",
                f"{pad}    {j} {self.w.one('+', '-')}= 1", f"{pad}s += f32({j})"]  # fmt: skip

    def pairs(self, pad: str) -> list[str]:
        """One loop over a product, whose quotient or remainder says where."""
        w = self.w
        self.names += 1
        p, rows, count = f"p{self.names}", w.one("1", "N", "k", "n"), w.one("N", "2", "n + 1", "k")
        by = w.one(count, count, "2")
        at = w.one(f"{p} % ({by})", f"{p} % ({by})", f"({p} // ({by})) * ({p} % ({by}))", f"1 - {p} % ({by})")
        return [f"{pad}for {p} in range({rows} * ({count})):", f"{pad}    y[{at}] = 5.0",
                *w.one([], [], self.change(pad + "    "))]  # fmt: skip

    def change(self, pad: str) -> list[str]:
        """What a condition or a place may have been made of is something else."""
        w = self.w
        line = w.one(f"k = {self.number()}", f"k = {self.number()}", f"x[0] = {self.number()}", "s += 1.0")
        return [pad + line] if w.one(True, False) else [f"{pad}if {self.test()[0]}:", f"{pad}    {line}"]

    def block(self, pad: str) -> list[str]:
        """One or two statements."""
        return [line for _ in range(self.w.number(1, 2)) for line in self.statement(pad)]

    def statement(self, pad: str) -> list[str]:
        """A statement, or two that write what one alone does not, and a change between."""
        w, deeper = self.w, pad + "    "
        self.left -= 1
        kind = w.one("two", "two", "both", "both", "if", "loop", "pairs", "change", "write", "read", "read", "ahead")
        if kind == "if" and self.left > 0:
            return [f"{pad}if {self.test()[0]}:", *self.block(deeper), *w.one([], [f"{pad}else:", *self.block(deeper)])]
        if kind == "loop":
            self.names += 1
            i, low = f"i{self.names}", w.one("0", "k", "n")
            read = [f"{deeper}if {i} > {w.one('0', low)}:", f"{deeper}    s += y[{w.one('0', low)}]"]
            run = w.one(f"{low}, 2", f"{low}, N", f"1, {low} - 1, -1", f"{low}, 2, -1")
            return [f"{pad}for {i} in range({run}):", *w.one([], read), f"{deeper}y[{i}] = 2.0",
                    *w.one([], self.change(deeper))]  # fmt: skip
        if kind == "pairs":
            return self.pairs(pad)
        if kind == "ahead":
            return self.ahead(pad)
        if kind == "two":
            yes, no = self.test()
            return [f"{pad}if {yes}:", *self.all(deeper), *self.change(pad), f"{pad}if {no}:", *self.all(deeper)]
        if kind == "both":
            a = w.one("k", "k", "n")
            return [f"{pad}y[{a}] = 3.0", *self.change(pad), f"{pad}y[1 - {a}] = 3.0"]
        if kind == "change":
            return self.change(pad)
        return [f"{pad}y[{self.number()}] = 4.0" if kind == "write" else f"{pad}s += y[{self.number()}]"]

    def whole(self) -> str:
        """A procedure."""
        w = self.w
        lines = []
        while self.left > 0:
            lines += self.statement("    ")
        start = w.one(["    k: i64 = n"], ["    k: i64 = 1", "    k = 0"], ["    k: i64 = 0"])
        first = head(w, "x: mut[i64[1]], n: i64, N: size", "(y(f32[2]), s(f32))")
        return first + "\n".join(["    given(N == 2, 0 <= n < 2)", *start, "    s = 0.0", *lines, ""])


def outputs(w: Writer) -> str:
    """Whether every element is there when it is read, and at the end, is for the prover to say."""
    return Outputs(w).whole()


WILD = [outputs]
