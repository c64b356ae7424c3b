"""Loops `while` over elements that they change."""

from __future__ import annotations

from spec_writer import Writer, head

HELPER = "@procedure\ndef f8(x: mut[i64[A]]):\n    for j in range(A):\n        x[j] = x[j] + 1\n\n"


class Endings:
    """Statements over the elements of x and the scalar k, which the loop's condition is about, too."""

    def __init__(self, w: Writer) -> None:
        self.w = w
        self.two = w.one(True, True, False)  # elements of x
        self.left = w.number(1, 4)
        self.places = ["0", "1", "k", "(k + 1) % 2"] if self.two else ["0", "k", "(k + 1) % max(N, 1)", "n"]

    def term(self) -> str:
        """A number."""
        w, e = self.w, f"x[{self.w.one(*self.places)}]"
        return w.one(e, e, e, "k", "k", "n", str(w.number(-2, 3)), f"{e} + 1")

    def test(self) -> str:
        """A condition."""
        return f"{self.term()} {self.w.one('<', '<', '<=', '>', '>=', '!=')} {self.term()}"

    def ahead(self, pad: str) -> list[str]:
        """A loop inside, from k on, that says where k is to be."""
        w, j, c = self.w, f"j{self.left}", self.w.one(0, 1, 1, 2)
        step = w.one(f"{j} += {c}", f"{j} += {c}", f"{j} = {j} + {c}", f"{j} -= 1", f"{j} = {self.term()}", "k -= 1")
        body = w.one([step], [step], [f"if {self.test()}:", f"    {step}", f"{j} += 1"])
        if w.one(True, False):
            loop = f"for {j}_ in range({w.one('2', 'n', 'N', 'x[0] % 3')}):".replace("N", "2" if self.two else "N")
        else:
            loop = f"while {j} < {w.one('n', '2', 'x[0]')}{w.one('', f' and {self.test()}')}:"
        lines = [f"{j}: i64 = {w.one('k', 'k', 'n', '0')} + {w.one(0, 1, 1)}", loop, *(f"    {t}" for t in body)]
        return [pad + t for t in [*lines, w.one(f"k = {j}", f"k = {j}", f"k = max(k, {j})")]]

    def change(self, pad: str) -> list[str]:
        """A statement."""
        w, c = self.w, self.w.one(1, 1, 1, 2, 20)
        self.left -= 1
        if w.one(True, False, False, False):
            return self.ahead(pad)
        at = w.one(*self.places)
        if self.left > 0 and w.one(True, False):
            deeper = pad + "    "
            then = [f"{pad}if {self.test()}:", *self.change(deeper), f"{pad}else:"]
            return then + (self.change(deeper) if w.one(True, False) else [deeper + w.one("return", "break", "k += 1")])
        return [pad + w.one(
            f"x[{at}] = x[{at}] + {c}", f"x[{at}] += {c}", f"x[{at}] -= {c}", f"x[{at}] = {self.term()}",
            f"x[{at}] = -100",
            f"k += {c}", f"k -= {c}", f"k = {self.term()}", f"k = {w.one(*self.places)}", "f8(x)", "k = k + 1",
            f"x[{at}] = k",
        )]  # fmt: skip

    def whole(self) -> str:
        """A procedure."""
        w = self.w
        lines = []
        while self.left > 0:
            lines += self.change("        ")
        test = w.one(self.test(), self.test(), f"{self.test()} and {self.test()}")
        start = w.one("0", "0", "1", "n")
        size = "2" if self.two else "N"
        given = w.one("", "", "    given(n >= 0)\n", "    given(0 <= n, n < 2)\n")
        text = head(w, f"x: mut[i64[{size}]], n: i64") + given
        text += f"    k: i64 = {start}\n    while {test}:\n" + "\n".join(lines) + "\n"
        return (HELPER if "f8(" in text else "") + text


def endings(w: Writer) -> str:
    """A loop whose measure may be made of what it changes."""
    return Endings(w).whole()


WILD = [endings]
