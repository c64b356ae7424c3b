"""Integers of every type: what is equal in whole numbers may differ where arithmetic wraps around or divides by 0."""

from __future__ import annotations

from spec_writer import Writer, around, head, plus

TYPES = ("i32", "i32", "u32", "u64", "i64", "i64", "i8", "u8")


def identity(w: Writer, t: str) -> tuple[str, str]:
    """Two i64 expressions of a and b, numbers of type t, that are equal in whole numbers, or nearly so."""
    c, op = w.number(2, 5), w.one("+", "-", "*")
    return w.one(
        (f"i64(a {op} b)", f"i64(a) {op} i64(b)"), (f"i64({c} * a)", f"{c} * i64(a)"),
        (f"i64(a * b + {c})", f"i64(a) * i64(b) + {c}"), (f"i64(a {op} b)", f"i64(a {op} b)"),
        ("i64((a + b) // 2)", "(i64(a) + i64(b)) // 2"), ("i64(a * b) // i64(b)", "i64(a)"),
        ("i64(a // b)", "i64(a) // i64(b)"), ("i64(a % b)", "i64(a) % i64(b)"), (f"i64(a // {c})", f"i64(a) // {c}"),
        (f"i64(a % {c})", f"i64(a) % {c}"), ("i64(-a)", "-i64(a)"), ("i64(abs(a))", "abs(i64(a))"),
        ("i64(a << 1)", "2 * i64(a)"), ("i64(a >> 1)", "i64(a) // 2"), (f"i64(a & {c})", f"i64(a) & {c}"),
        ("i64(max(a, b))", "max(i64(a), i64(b))"), ("i64(i32(a))", "i64(a)"), ("i64(u8(a))", "i64(a)"),
        ("i64(u32(a))", "i64(a)"), ("i64(u64(a))", "i64(a)"), ("i64(u64(a) % u64(b))", "i64(a) % i64(b)"),
        ("i64(a * a)", "abs(i64(a)) * abs(i64(a))"), (f"i64(u64(a) % {w.one(7, 2**63, 2**63 + 1)})", "i64(a)"),
        (f"i64(u64(a) % u64({w.one('b', '-5', 'i64(b)')}))", "0"),
    )  # fmt: skip


def divided(w: Writer) -> tuple[str, str]:
    """Quotients and remainders of the i64 a and b, by what may be 0 or negative."""
    c = w.number(2, 4)
    return w.one(
        ("a * b // b", "a"), (f"(a * b + {c}) // b", f"a + {c} // b"), ("a // b * b + a % b", "a"), ("a // b * b", "a"),
        (f"{c} * a // ({c} * b)", "a // b"), ("(a + b) % b", "a % b"), ("a % b", "a % b"), ("a * b % b", "0"),
        (f"a * b * {c} // (b * {c})", "a"), (f"({c} * a + b) // {c}", f"a + b // {c}"), (f"{c} * a // {c}", "a"),
        (f"a % {c} + a // {c} * {c}", "a"), ("a // (b + 1) * (b + 1)", "a"), ("a % max(b, 1)", "a % b"),
        ("abs(a) // b", "abs(a // b)"), ("-a // b", "-(a // b)"), ("a * a // a", "a"), (f"b * (a // b) // {c}", "a"),
    )  # fmt: skip


SMALL = "-100 < a, a < 100, -100 < b, b < 100"
ASKED = ("", "", "0 <= a, 0 <= b", SMALL, "a == b", "a <= b", "b >= 1", "b != 0",
         "a >= 0, b > 0", "a % 2 == 0", "a < 1000", "a % b == 0")  # fmt: skip


def used(w: Writer, left: str, right: str) -> list[str]:
    """An access at one of two like expressions, or at how far they are apart.  Mostly one end alone is tested, so that
    the other one rests on what is known of them."""
    c = w.one(0, 0, 0, 1)
    apart = w.one(f"{left} - ({right})", f"({right}) - ({left})")
    at = w.one(apart, apart, apart, f"{apart} + {c}", left, left, right, plus(right, c))
    said = at if at.startswith(apart) else w.one(at, left, right)
    upper, lower = f"{said} < N", f"{said} >= 0"
    test = w.one(upper, upper, upper, upper, lower, f"0 <= {said} and {said} < N", f"{said} < N and {right} >= 0")
    if w.one(True, False, False):
        return [f"r = {at}", f"if {test.replace(at, 'r')}:", "    y[r] = 1.0"]
    return [f"if {test}:", f"    y[{at}] = 1.0"]


def integers(w: Writer) -> str:
    """Two numbers of any type."""
    t, asks = w.one(*TYPES), w.one(*ASKED)
    asks = asks.replace("-100 < a, ", "").replace("-100 < b, ", "") if t[0] == "u" else asks
    return pair(w, t, asks, *identity(w, t))


def quotients(w: Writer) -> str:
    """Two i64 and their quotients."""
    return pair(w, "i64", w.one(SMALL, SMALL, SMALL, *ASKED), *divided(w))


def pair(w: Writer, t: str, asks: str, left: str, right: str) -> str:
    """An access that depends on a and b, which are parameters or elements."""
    lines = used(w, left, right)
    if w.one(True, True, False):
        return whole(w, f"a: {t}, b: {t}, y: mut[f32[N]]", asks, lines)
    table = {"a": "x[i]", "b": w.one("x[i]", "z[i]", "z[0]", "x[N - 1]")}
    asks, lines = put(asks, {"a": "x[i]", "b": "z[i]"}), [put(line, table) for line in lines]
    return whole(w, f"x: {t}[N], z: {t}[N], y: mut[f32[N]]", asks, ["for i in range(N):", *("    " + s for s in lines)])


def put(text: str, table: dict[str, str]) -> str:
    """Other text for the names a and b."""
    return "".join(table.get(c, c) if not around(text, k) else c for k, c in enumerate(text))


def whole(w: Writer, params: str, asks: str, lines: list[str]) -> str:
    """A procedure of lines."""
    given = f"    given({asks})\n" if asks else ""
    return head(w, params) + given + "".join(f"    {line}\n" for line in lines)


def counted_by(w: Writer) -> str:
    """Loops with a local of some type that counts, sums up or steps."""
    t = w.one("i32", "u32", "i64", "u64")
    step = w.one("1", "1", "2", "a", "i32(i)" if t == "i32" else "1")
    start = w.one("0", "a", "5")
    k = "k" if t == "i64" else "i64(k)"
    test = w.one(f"{k} < N", f"0 <= {k} and {k} < N", f"{k} >= 0")
    at = w.one(k, k, plus(k, -1), f"{k} % max(N, 1)", f"{k} - {k} // 2")
    change = w.one(f"k = k + {step}", f"k += {step}", f"k = k * {step}", f"k -= {step}")
    order = w.one(True, False)
    body = [f"if {test}:", f"    y[{at}] = 1.0"]
    body = [change, *body] if order else [*body, change]
    lines = [f"k: {t} = {start}", f"for i in range({w.one('N', 'N', 'N + 1', '3')}):", *("    " + s for s in body)]
    return whole(w, f"a: {t}, y: mut[f32[N]]", w.one("", "a >= 0", "0 <= a, a < 10", "a == 1"), lines)


WILD = [integers, quotients, counted_by]
