"""Random procedures and calls, each with places where a fault can be planted."""

from __future__ import annotations

from spec_writer import Writer, head, plus


def loop(w: Writer) -> str:
    """A plain loop with an offset."""
    c = w.number(0, 2)
    word = w.one("range", "parallel")
    stop = w.plant(plus("N", -c), ("bounds", plus("N", 1 - c)))
    start = w.one("0, ", "1, ")
    at = plus("i", c)
    body = f"        y[i] = {w.value(f'x[{at}]')}\n"
    return head(w, "x: f32[N], y: mut[f32[N]]") + f"    for i in {word}({start}{stop}):\n{body}"


def backwards(w: Writer) -> str:
    """A loop from the end."""
    start, stop = w.plant("N - 1, -1", ("bounds", "N, -1"), ("bounds", "N - 1, -2")).split(", ")
    return head(w, "x: mut[f32[N]]") + (f"    for i in range({start}, {stop}, -1):\n        x[i] = {w.value('x[i]')}\n")


def tiled(w: Writer) -> str:
    """Tiles of a constant or symbolic size, with an edge."""
    t = w.one("2", "3", "4", "T")
    word = w.one("range", "parallel")
    params = f"x: f32[N], y: mut[f32[N]]{', T: size' if t == 'T' else ''}"
    text = head(w, params) + ("    given(T >= 1)\n" if t == "T" else "")
    tiles = f"(N + {t} - 1) // {t}"
    if w.one(True, False):
        test = w.plant(f"i * {t} + j < N", ("bounds", f"i * {t} + j <= N"), ("bounds", f"i * {t} < N"))
        return text + (
            f"    for i in {word}({tiles}):\n        for j in range({t}):\n            if {test}:\n"
            f"                y[i * {t} + j] = {w.value(f'x[i * {t} + j]')}\n"
        )
    stop = w.plant(f"min(i * {t} + {t}, N)", ("bounds", f"i * {t} + {t}"), ("bounds", f"min(i * {t} + {t}, N + 1)"))
    if stop.startswith("i") and t == "T":
        stop = "i * T + T + 1"
    return text + f"    for i in {word}({tiles}):\n        for j in range(i * {t}, {stop}):\n            y[j] = x[j]\n"


def whole_tiles(w: Writer) -> str:
    """Tiles that fit, as `given` says."""
    word = w.one("range", "parallel")
    asked = w.plant("given(T >= 1, N % T == 0)", ("bounds", "given(T >= 1)"))
    count = "N // T" if "%" in asked else "(N + T - 1) // T"
    stop = w.plant("T", ("bounds", "T + 1"))
    return head(w, "x: f32[N], y: mut[f32[N]], T: size") + (
        f"    {asked}\n    for i in {word}({count}):\n        for j in range({stop}):\n"
        "            y[i * T + j] = x[i * T + j]\n"
    )


def strided(w: Writer) -> str:
    """Every iteration writes its own few elements."""
    s = w.number(2, 3)
    second = w.plant(plus(f"{s} * i", s - 1), ("race", plus(f"{s} * i", s)))
    return head(w, f"x: f32[N], y: mut[f32[{s} * N + 1]]") + (
        f"    for i in parallel(N):\n        y[{s} * i] = {w.value('x[i]')}\n        y[{second}] = {w.value('x[i]')}\n"
    )


def neighbours(w: Writer) -> str:
    """Reads beside what is written, from another array or from the same one."""
    source = w.plant("x", ("race", "y"))
    return head(w, "x: f32[N], y: mut[f32[N]]") + (
        f"    for i in parallel({w.one('1', '0')}, N - 1):\n        y[i] = x[i] + {source}[i + 1]\n"
    )


def accumulated(w: Writer) -> str:
    """Sums in a parallel loop."""
    target = w.plant("s", ("race", "y[0]"), ("race", "y[i // 2]"), ("race", "y[i % 2]"))
    text = head(w, "x: f32[N], y: mut[f32[N]]", "s(f32)") + "    given(N >= 2)\n    for i in parallel(N):\n"
    return text + f"        {target} += x[i]\n" + ("        y[i] = 0.0\n" if target == "s" else "")


def flat_rows(w: Writer) -> str:
    """Rows of a flat array, written in parallel."""
    stop = w.plant("M", ("race", "M + 1"))
    extra = " + 1"
    at = w.plant("i * M + j", ("race", "i + j"), ("race", "i * (M - 1) + j"))
    asked = "    given(M >= 2, N >= 2)\n"
    return head(w, f"x: f32[N, M], y: mut[f32[N * M{extra}]]") + (
        f"{asked}    for i in parallel(N):\n        for j in range({stop}):\n            y[{at}] = x[i, 0]\n"
    )


def flat_tiles(w: Writer) -> str:
    """Tiles of a flat matrix in parallel: two axes, two tiles."""
    at = w.plant("(i * 2 + p) * M + j", ("race", "(i + p) * M + j"), ("race", "(i * 2 + p) * M // 2 + j"))
    return head(w, "y: mut[f32[2 * N * M]], N: size, M: size") + (
        "    given(N >= 2, M >= 2)\n    for i in parallel(N):\n        for p in range(2):\n"
        f"            for j in range(M):\n                y[{at}] = 1.0\n"
    )


def two_parallel(w: Writer) -> str:
    """A row and its transpose."""
    target = w.plant("y[i, j]", ("race", "y[j, i % 2]"), ("race", "y[0, j]"))
    return head(w, "x: f32[N, M], y: mut[f32[N, M]]") + (
        "    given(N >= 2, M == N)\n    for i in parallel(N):\n        for j in range(M):\n"
        f"            {target} = {w.value('x[i, j]', 'x[j, i]')}\n"
    )


def triangle(w: Writer) -> str:
    """Below the diagonal."""
    stop = w.plant("i + 1", ("bounds", "i + 2"))
    word = w.one("range", "parallel")
    return head(w, "x: f32[N], y: mut[f32[N, N]]") + (
        f"    for i in {word}(N):\n        for j in range({stop}):\n            y[i, j] = {w.value('x[j]', 'x[i]')}\n"
    )


def packed_triangle(w: Writer) -> str:
    """Rows of growing length, one after the other."""
    stop = w.plant("i + 1", ("bounds", "i + 2"))
    return head(w, "x: f32[N], y: mut[f32[N * (N + 1) // 2]]") + (
        f"    for i in {w.one('range', 'range', 'parallel')}(N):\n        for j in range({stop}):\n"
        "            y[i * (i + 1) // 2 + j] = x[i]\n"
    )


def scattered(w: Writer) -> str:
    """Writes at given places: in order, or (wrongly) in parallel."""
    word = w.plant("range", ("race", "parallel"))
    return head(w, "x: f32[M], at: i64[M], y: mut[f32[N]]") + (
        f"    given(0 <= at[i] < N)\n    for i in {word}(M):\n        y[at[i]] = {w.value('x[i]')}\n"
    )


def histogram(w: Writer) -> str:
    """Counts by remainder."""
    word = w.plant("range", ("race", "parallel"))
    asked = w.plant("    given(K >= 1)\n", ("divisor", ""))
    if word == "parallel":
        asked = "    given(K >= 1)\n"
    return head(w, "N: size, K: size, y: mut[i64[K]]") + (
        f"{asked}    for i in {word}(N):\n        y[{w.one('i', '(3 * i + 1)')} % K] += 1\n"
    )


def scratch(w: Writer) -> str:
    """A local array in every iteration."""
    c = w.number(1, 3)
    size = w.plant(plus("M", c), ("bounds", plus("M", c - 1)))
    return head(w, "x: f32[N, M]", "y(f32[N, M])") + (
        f"    for i in {w.one('range', 'parallel')}(N):\n        t: f32[{size}]\n        for j in range(M):\n"
        f"            t[{plus('j', c)}] = x[i, j]\n        for j in range(M):\n"
        f"            y[i, j] = t[j] + t[{plus('j', c)}]\n"
    )


def shared_scratch(w: Writer) -> str:
    """A local array outside of the loop that uses it."""
    inside = w.plant("        t: f32[M]\n", ("race", ""))
    outside = "" if inside else "    t: f32[M]\n"
    return head(w, "x: f32[N, M]", "y(f32[N])") + (
        f"    given(M >= 1)\n{outside}    for i in parallel(N):\n{inside}        for j in range(M):\n"
        "            t[j] = x[i, j] * 2.0\n        y[i] = t[M - 1]\n"
    )


def partial(w: Writer) -> str:
    """An output written here and there; the rest is zero."""
    s = w.number(2, 3)
    stop = w.plant("N", ("bounds", f"N + {s}"))
    return head(w, "x: f32[N]", "y(f32[N])") + (
        f"    for i in range(0, {stop}, {s}):\n        y[i] = {w.value('x[i]')}\n"
    )


def counted(w: Writer) -> str:
    """A while loop with a counter."""
    test = w.plant("k < N", ("bounds", "k <= N"))
    step = w.plant("k += 1", ("endless", "k += 0"))
    order = w.one(True, False)
    body = f"        x[k] = {w.value('x[k]')}\n"
    skip = "        if x[k] > 0.0:\n            x[k] = 0.0\n" if order else ""
    return head(w, "x: mut[f32[N]]") + f"    k = 0\n    while {test}:\n{skip}{body}        {step}\n"


def branched(w: Writer) -> str:
    """A while loop whose counter moves in every branch, or not."""
    other = w.plant("k += 1", ("endless", "x[k] = 0.0"), ("endless", "k = k"))
    return head(w, "x: mut[f32[N]]") + (
        "    k: i64 = 0\n    while k < N:\n        if x[k] > 0.0:\n            k += "
        f"{w.one('1', '2')}\n        else:\n            {other}\n"
    )


def downwards(w: Writer) -> str:
    """A while loop that halves or counts down."""
    if w.one(True, False):
        step = w.plant("k = k // 2", ("endless", "k = (k + 1) // 2"))
        return head(w, "n: i64", "s(i64)") + f"    k = n\n    while k > 0:\n        {step}\n        s += 1\n"
    by = w.number(2, 3)
    test = w.plant("k > 0", ("endless", "k != 0"))
    return head(w, "n: i64", "s(i64)") + (
        f"    given(n >= 0)\n    k = n\n    while {test}:\n        k -= {by}\n        s += 1\n"
    )


def bisection(w: Writer) -> str:
    """The place of a value in a sorted array."""
    low = w.plant("lo = mid + 1", ("endless", "lo = mid"))
    top = w.plant("N", ("bounds", "N + 1"))
    return head(w, "x: f32[N], v: f32", "at(i64)") + (
        f"    lo: i64 = 0\n    hi: i64 = {top}\n    while lo < hi:\n        mid = (lo + hi) // 2\n"
        f"        if x[mid] < v:\n            {low}\n        else:\n            hi = mid\n    at = lo\n"
    )


def ring(w: Writer) -> str:
    """A ring buffer: a counter modulo its size."""
    wrap = w.plant("if k == K:\n            k = 0", ("bounds", "if k > K:\n            k = 0"))
    asked = w.plant("given(K >= 1)", ("bounds", "given(K >= 0)"))
    return head(w, "x: f32[N], K: size, y: mut[f32[K]]") + (
        f"    {asked}\n    k: i64 = 0\n    for i in range(N):\n        y[k] = x[i]\n        k += 1\n        {wrap}\n"
    )


def remainder(w: Writer) -> str:
    """Division and remainder by a number."""
    asked = w.plant("given(k >= 1, k <= N)", ("divisor", "given(0 <= k <= N)"), ("bounds", "given(k >= 1)"))
    return head(w, "x: f32[N], k: i64", "y(f32[N])") + (
        f"    {asked}\n    for i in range(N):\n        y[i] = x[k - 1 - i % k]\n"
    )


# ---------------------------------------------------------------- calls


def rows(w: Writer) -> str:
    """A procedure for every row, in parallel."""
    inside = w.one("for j in range(M):\n        y[j] = x[j] * 2.0", "for j in parallel(M):\n        y[j] = x[j] + 1.0")
    row = w.name()
    text = f"@procedure\ndef {row}(x: f32[M], y: mut[f32[M]]):\n    {inside}\n\n"
    call = w.plant(
        f"{row}(x[i], y[i])",
        ("race", f"{row}(x[i], y[0])"),
        ("race", f"{row}(x[i], y[i // 2])"),
        ("bounds", f"{row}(x[i + 1], y[i])"),
        ("bounds", f"{row}(x[i], y[i - 1])"),
    )
    return (
        text
        + head(w, "x: f32[N, M], y: mut[f32[N, M]]")
        + f"    given(M >= 1)\n    for i in parallel(N):\n        {call}\n"
    )


def results(w: Writer) -> str:
    """A formula's number for every row."""
    inner = w.name()
    text = f"def {inner}(x: f32[M]) -> s:\n    given(M >= 1)\n    s = {w.one('sum', 'max')}[j](x[j])\n\n"
    c = w.number(1, 2)
    asked = w.plant(f"    given(M >= {c + 1})\n", ("given", f"    given(M >= {c})\n"), ("bounds", ""))
    return (
        text
        + head(w, "x: f32[N, M]", "y(f32[N])")
        + (f"{asked}    for i in {w.one('range', 'parallel')}(N):\n        y[i] = {inner}(x[i, {c}:])\n")
    )


def pieces(w: Writer) -> str:
    """Parts of an array of a length that a loop tells."""
    inner = w.name()
    least = w.number(0, 1)
    text = f"@procedure\ndef {inner}(x: mut[f32[M]]):\n    given(M >= {least})\n    x = 0.0\n\n"
    if w.one(True, False):
        part = w.plant(f"x[:{plus('i', least)}]", ("bounds", f"x[:{plus('i', least + 2)}]"))
        return (
            text + head(w, "x: mut[f32[N]]") + (f"    given(N >= 1)\n    for i in range(N):\n        {inner}({part})\n")
        )
    test = w.plant(f"if 0 <= k and k + {least} <= N:", ("bounds", f"if k + {least} <= N:"))
    return text + head(w, "x: mut[f32[N]], k: i64") + f"    {test}\n        {inner}(x[k:])\n"


def blocks(w: Writer) -> str:
    """Equal pieces of a flat array, in parallel."""
    inner = w.name()
    text = f"@procedure\ndef {inner}(x: mut[f32[M]], v: f32):\n    x = v\n\n"
    part = w.plant("x[i * M:i * M + M]", ("race", "x[i * M:i * M + M + 1]"), ("bounds", "x[i * M + 2:i * M + M + 2]"))
    return (
        text
        + head(w, "x: mut[f32[N * M + 1]], N: size, M: size")
        + (f"    given(M >= 1)\n    for i in parallel(N):\n        {inner}({part}, f32(i))\n")
    )


def asked(w: Writer) -> str:
    """A callee with conditions."""
    inner = w.name()
    c = w.number(1, 3)
    text = f"@procedure\ndef {inner}(x: f32[M], k: i64) -> s(f32):\n    given(0 <= k < M, M >= {c})\n    s = x[k]\n\n"
    here = w.plant(f"given(M >= {c})", ("given", f"given(M >= {c - 1})"))
    k = w.plant("j", ("given", "j + 1"), ("given", "j - 1"))
    return (
        text
        + head(w, "x: f32[N, M]", "y(f32[N, M])")
        + (
            f"    {here}\n    for i in range(N):\n        for j in range(max(M, 1)):\n"
            f"            t = {inner}(x[i], {k})\n"
            "            y[i, min(j, M - 1)] = t\n"
        )
    )


def numbers(w: Writer) -> str:
    """A function of numbers with a condition."""
    inner = w.name()
    text = f"@procedure\ndef {inner}(n: i64, k: i64) -> q(i64):\n    given(k >= 1)\n    q = n // k\n\n"
    divisor = w.plant("i + 1", ("given", "i"))
    return text + head(w, "N: size", "y(i64[N])") + f"    for i in range(N):\n        y[i] = {inner}(N, {divisor})\n"


def views(w: Writer) -> str:
    """A flat array seen as a matrix."""
    inner = w.name()
    text = f"def {inner}(x: f32[A, B]) -> y[A]:\n    y[a] = sum[b](x[a, b])\n\n"
    shape = w.plant("N, M", ("shape", "N, M + 1"), ("shape", "M, M"), ("shape", "N, N"))
    return (
        text
        + head(w, "x: f32[N * M], N: size, M: size", f"y(f32[{shape.split(',')[0]}])")
        + (f"    y = {inner}(view(x, {shape}))\n")
    )


def sized(w: Writer) -> str:
    """Arrays that must have one size."""
    inner = w.name()
    text = f"@procedure\ndef {inner}(x: f32[A], y: mut[f32[A]]):\n    for a in parallel(A):\n        y[a] = x[a]\n\n"
    known = w.plant("given(N == M)", ("shape", "given(N >= 0)"))
    return text + head(w, "x: f32[N], y: mut[f32[M]]") + f"    {known}\n    {inner}(x, y)\n"


PROCEDURES = [
    loop, backwards, tiled, whole_tiles, strided, neighbours, accumulated, flat_rows, flat_tiles, two_parallel,
    triangle, packed_triangle, scattered, histogram, scratch, shared_scratch, partial, counted, branched, downwards,
    bisection, ring, remainder,
]  # fmt: skip
CALLS = [rows, results, pieces, blocks, asked, numbers, views, sized]
