"""What is given of numbers and elements, some of it more than it seems: diagonals, sums that bound each other, ends of
types, reductions.  And what calls with several results and with sizes that may be negative make of it."""

from __future__ import annotations

from spec_writer import Writer, head

ELEMENTS = ("x[n]", "x[n]", "x[n]", "g[n, n]", "g[n, n]", "g[n, m]", "x[0]", "g[0, 1]", "g[0, 0]", "z[n]", "k", "k")
HUGE = ("9223372036854775807", "4611686018427387904", "-4611686018427387904", "2147483647", "-2147483648")
PARAMS = "x: i64[N], z: i64[N], g: i64[N, N], k: i64, y: mut[f32[K]]"


def condition(w: Writer) -> str:
    """One condition of `given`."""
    a, b, c = w.one(*ELEMENTS), w.one(*ELEMENTS, "K", "N", "i64(n)"), w.number(-1, 5)
    far = w.one(*HUGE)
    return w.one(
        f"{a} >= 0", f"{a} >= 0", f"{a} < K", f"{a} < K", f"0 <= {a} < K", f"{a} <= {c}", f"{a} <= {b}", f"{a} < {b}",
        f"{a} >= {b}", f"{a} + {b} < K", f"{a} <= {b} - {c}", f"{a} == {b} + {a}", f"{a} == 2 * {b}", f"{a} <= {far}",
        f"{a} >= {far}", f"{a} - {b} >= {far}", f"{a} != {b}", f"{a} * {b} < K", f"{a} >= 0 and {b} < K",
        f"{a} >= 0 or {b} < K", "k <= max[p:N](x[p])", "sum[p:N](x[p]) < K", "max[p:3](p) <= K", "k >= min[p:N](x[p])",
        f"where({a} > 0, {b}, 0) < K", f"abs({a}) < K", f"{a} % 3 == 0", f"{a} // 2 < K", "N >= 2", "K >= 3", "K >= N",
    )  # fmt: skip


def value(w: Writer) -> str:
    """A number of the loop over i."""
    a, b = (w.one("x[i]", "x[i]", "g[i, i]", "g[i, 0]", "g[i, j]", "x[0]", "g[0, 1]", "z[i]", "k", "i") for _ in "ab")
    c = w.one(*HUGE, "1", "2", "K", "N")
    return w.one(
        a, a, a, a, f"{a} + {b}", f"{a} + {a}", f"{a} - {b}", f"2 * {a}", f"{a} + 1", f"{a} - {c}", f"{a} + {c}",
        f"{a} * {b}", f"{a} // 2", f"{a} % max(K, 1)", f"min({a}, {b})", f"max({a}, {b})", f"abs({a})", f"-{a}",
        f"({a} + {c}) - {c}", f"{a} % {c}", f"{a} // {c}",
    )  # fmt: skip


def given_of_elements(w: Writer) -> str:
    """An access at an expression of which some of the bounds follow from what is given."""
    asks = ", ".join(dict.fromkeys(condition(w) for _ in range(w.number(1, 4))))
    v, pad = value(w), "            "
    lines = [f"{pad}v = {v}"] if w.one(True, False) else []
    at = "v" if lines else v
    test = w.one("", f"{at} < K", f"{at} < K", f"{at} >= 0", f"{at} >= 0", f"0 <= {at} < K", f"{at} < K and k >= 0")
    if test:
        lines.append(f"{pad}if {test}:")
        pad += "    "
    lines.append(f"{pad}y[{at}] = 1.0")
    loop = f"    for i in range(N):\n        for j in range({w.one('N', 'i', '1')}):\n"
    return head(w, PARAMS) + f"    given({asks})\n" + loop + "\n".join(lines) + "\n"


def sized_by_difference(w: Writer) -> str:
    """Results, local arrays and parts whose lengths may be negative."""
    c, inner = w.number(0, 3), w.name()
    length = w.one(f"N - {c}", f"N - {c}", "N - M", f"M - N + {c}", "k", f"k - {c}", "N * k", f"{c} - N", "k * k")
    asks = w.one("N >= 1", f"N >= {c}", "N >= M", "k >= 0", "k >= -1", "k <= 3", "N <= M", "0 <= k < N", "k != 0")
    if w.one(True, False):
        text = f"def {inner}(v: f32, S: size) -> r[S]:\n    {w.one('', 'given(S >= 1)')}\n    r[n] = v\n\n"
        made = f"    t = {inner}(1.0, {length})\n"
    else:
        text, made = "", f"    t: f32[{length}]\n"
    at = w.one("0", "i", "i", "n", f"i - {c}", "k", "N - 1 - i")
    test = w.one("", "", f"{at} >= 0", f"0 <= {at} < {length}", f"{at} < {length}", "i < M", "k > 0")
    end = w.one(length, length, length, "N", "M", "k")
    pad = "        "
    lines = [f"{pad}if {test}:", f"{pad}    t[{at}] = x[0]"] if test else [f"{pad}t[{at}] = 2.0"]
    body = made + f"    for i in range({end}):\n" + "\n".join(lines).replace("[n]", "[i]") + "\n"
    params = "x: f32[N], y: f32[M], k: i64, n: i64"
    return text + head(w, params, "s(f32)") + f"    given({asks}, N >= 1)\n" + body + "    s = 1.0\n"


def several_results(w: Writer) -> str:
    """Calls that give an array and a number which says places in it, or in another one."""
    inner, c = w.name(), w.number(0, 2)
    text = (
        f"@procedure\ndef {inner}(x: i64[A], a: i64) -> (q(i64[A]), best(i64)):\n"
        f"    given({w.one('A >= 1', 'x[i] >= 0', '0 <= x[i] < A', 'A >= 1, a >= 0', 'a < A')})\n    best = {c}\n"
        f"    for i in range(A):\n        q[i] = {w.one('x[i]', 'x[A - 1 - i]', 'i', 'a', 'x[i] + a', 'A - i')}\n"
        f"        if x[i] {w.one('>', '<', '!=')} {w.one('a', 'x[best]', 'x[0]', '0')}:\n"
        f"            best = {w.one('i', 'i', 'x[i]', 'i + 1', 'best + 1')}\n\n"
    )
    again = w.one("", "", f"    p, b = {inner}({w.one('p', 'x')}, b)\n", f"    p, k = {inner}(x, k)\n")
    at = w.one("b", "b", "p[0]", "p[i]", "p[b]", "p[i] + b", "k", "x[p[i]]")
    test = w.one("", f"{at} < N", f"0 <= {at} < N", f"{at} >= 0", "0 <= b < N", "b < N")
    asks = w.one("N >= 1", "N >= 1, 0 <= x[i] < N", "N >= 2, x[i] >= 0", "N >= 1, 0 <= n < N", "N >= 1, x[i] <= i")
    pad = "        "
    lines = [f"{pad}if {test}:", f"{pad}    y[{at}] = 1.0"] if test else [f"{pad}y[{at}] = 1.0"]
    body = (
        f"    k: i64 = n\n    p, b = {inner}(x, {w.one('0', 'n', 'k', 'x[0]')})\n{again}"
        "    for i in range(N):\n" + "\n".join(lines) + "\n"
    )
    return text + head(w, "x: i64[N], n: i64, y: mut[f32[N]]") + f"    given({asks})\n" + body


WILD = [given_of_elements, given_of_elements, sized_by_difference, several_results]
