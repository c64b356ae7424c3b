"""Random formulas, each with places where a fault can be planted."""

from __future__ import annotations

from spec_writer import Writer, plus, times


def affine(w: Writer) -> str:
    """y[i] = x[a*i + c], where x is just long enough."""
    a, c = w.number(1, 3), w.number(0, 3)
    length = w.plant(plus(times(a, "N"), c - a + 1), ("bounds", plus(times(a, "N"), c - a)))
    at = plus(times(a, "i"), c)
    return f"def {w.name()}(x: f32[{length}], N: size) -> y[N]:\n    y[i] = {w.value(f'x[{at}]')}\n"


def reversed_axis(w: Writer) -> str:
    """A reversed axis, in one or two dimensions."""
    last = w.plant("N - 1 - i", ("bounds", "N - i"), ("bounds", "N - 2 - i"))
    if w.one(True, False):
        return f"def {w.name()}(x: f32[N]) -> y[N]:\n    y[i] = {w.value(f'x[{last}]')}\n"
    read = w.one(f"x[{last}, j]", f"x[i, j] + x[{last}, j]")
    return f"def {w.name()}(x: f32[N, M]) -> y[N, M]:\n    y[i, j] = {read}\n"


def guarded(w: Writer) -> str:
    """A neighbour, read only where there is one."""
    c = w.number(1, 3)
    if w.one(True, False):
        test, at = w.plant(f"i >= {c}", ("bounds", f"i >= {c - 1}"), ("bounds", f"i > {c} - 2")), f"i - {c}"
    else:
        test, at = w.plant(f"i + {c} < N", ("bounds", f"i + {c} <= N"), ("bounds", f"i + {c - 1} < N")), f"i + {c}"
    choice = w.one(f"where({test}, x[{at}], 0.0)", f"x[{at}] if {test} else x[i]")
    return f"def {w.name()}(x: f32[N]) -> y[N]:\n    y[i] = x[i] + ({choice})\n"


def clamped(w: Writer) -> str:
    """An index that is cut at the edge, or goes round it."""
    c = w.number(1, 3)
    at = w.one(
        lambda: w.plant(f"min(i + {c}, N - 1)", ("bounds", f"min(i + {c}, N)"), ("bounds", f"i + {c}")),
        lambda: w.plant(f"max(i - {c}, 0)", ("bounds", f"max(i - {c}, -1)"), ("bounds", f"i - {c}")),
        lambda: w.plant(f"(i + {c}) % N", ("bounds", f"(i + {c}) % (N + 1)")),
        lambda: w.plant(f"max(0, min(i - {c}, N - 1))", ("bounds", f"max(0, min(i - {c}, N - 1)) + 1")),
    )()
    return f"def {w.name()}(x: f32[N]) -> y[N]:\n    y[i] = {w.value(f'x[{at}]')}\n"


def repeated(w: Writer) -> str:
    """Each element several times, or every so manieth one."""
    c = w.number(2, 4)
    if w.one(True, False):
        size = w.plant(f"{c} * N", ("bounds", f"{c} * N + 1"))
        return f"def {w.name()}(x: f32[N]) -> y[{size}]:\n    y[i] = {w.value(f'x[i // {c}]')}\n"
    size = w.plant(f"(N + {c - 1}) // {c}", ("bounds", f"N // {c} + 1"), ("bounds", f"(N + {c}) // {c}"))
    return f"def {w.name()}(x: f32[N]) -> y[{size}]:\n    y[i] = {w.value(f'x[{c} * i]')}\n"


def symbolic_groups(w: Writer) -> str:
    """Groups of a symbolic size: i // G and i % G."""
    if w.one(True, False):
        asked = w.plant("G >= 1", ("divisor", "G >= 0"))
        return f"def {w.name()}(x: f32[N], G: size) -> y[N]:\n    given({asked})\n    y[i] = {w.value('x[i // G]')}\n"
    at = w.plant("i // G, i % G", ("bounds", "i % G, i // G"), ("bounds", "i // G, i % G + 1"))
    return f"def {w.name()}(x: f32[N, G]) -> y[N * G]:\n    given(G >= 1)\n    y[i] = {w.value(f'x[{at}]')}\n"


def flat(w: Writer) -> str:
    """A matrix in a flat array."""
    at = w.plant("i * M + j", ("bounds", "i * M + j + 1"), ("bounds", "i * N + j"), ("bounds", "(i + 1) * M + j"))
    return f"def {w.name()}(x: f32[N * M], N: size, M: size) -> y[N, M]:\n    y[i, j] = {w.value(f'x[{at}]')}\n"


def flat3(w: Writer) -> str:
    """Three axes in a flat array."""
    at = w.plant("(i * M + j) * K + k", ("bounds", "(i * M + j + 1) * K + k"), ("bounds", "i * M * K + j * M + k"))
    return (
        f"def {w.name()}(x: f32[N * M * K], N: size, M: size, K: size) -> y[N, M, K]:\n"
        f"    y[i, j, k] = {w.value(f'x[{at}]')}\n"
    )


def gather(w: Writer) -> str:
    """Elements at given places."""
    kind = w.one("i32", "i64")
    asked = w.plant(
        "    given(0 <= at[i] < N)\n",
        ("bounds", ""),
        ("bounds", "    given(0 <= at[i])\n"),
        ("bounds", "    given(0 <= at[i] <= N)\n"),
        ("bounds", "    given(at[i] < N)\n"),
    )
    if w.one(True, False):
        return f"def {w.name()}(x: f32[N], at: {kind}[M]) -> y[M]:\n{asked}    y[i] = {w.value('x[at[i]]')}\n"
    return f"def {w.name()}(x: f32[N, C], at: {kind}[M]) -> y[M, C]:\n{asked}    y[i, c] = {w.value('x[at[i], c]')}\n"


def scatter(w: Writer) -> str:
    """Additions at given places."""
    asked = w.plant("    given(0 <= at[i] < K)\n", ("bounds", ""), ("bounds", "    given(0 <= at[i] <= K)\n"))
    row = w.one("", ", c")
    shape = "N, C" if row else "N"
    return (
        f"def {w.name()}(x: f32[{shape}], at: i64[N], K: size) -> y[{shape.replace('N', 'K')}]:\n{asked}"
        f"    y[at[i]{row}] += x[i{row}]\n"
    )


def prefix(w: Writer) -> str:
    """Sums over a range that depends on the index."""
    stop = w.plant("i + 1", ("bounds", "i + 2"), ("bounds", "2 * i + 2"))
    op = w.one("sum", "max", "min")
    return f"def {w.name()}(x: f32[N]) -> y[N]:\n    y[i] = {op}[k:{stop}]({w.value('x[k]')})\n"


def sparse(w: Writer) -> str:
    """Rows given by where they start."""
    rows = w.plant("0 <= row[i] <= E", ("bounds", "0 <= row[i] <= E + 1"), ("bounds", "row[i] <= E"))
    columns = w.plant("0 <= column[e] < C", ("bounds", "0 <= column[e] <= C"), ("bounds", "0 <= column[e]"))
    return (
        f"def {w.name()}(row: i64[M], column: i32[E], value: f32[E], x: f32[C]) -> y[M - 1]:\n"
        f"    given({rows}, {columns})\n"
        "    y[i:M - 1] = sum[e:row[i]:row[i + 1]](value[e] * x[column[e]])\n"
    )


def convolution(w: Writer) -> str:
    """A window over an axis, with a stride."""
    size = w.plant("(H - K) // S + 1", ("bounds", "(H - K) // S + 2"), ("bounds", "H // S + 1"))
    return (
        f"def {w.name()}(x: f32[H], w: f32[K], S: size) -> y[{size}]:\n    given(S >= 1, H >= K)\n"
        f"    y[i] = sum[p]({w.value('x[i * S + p] * w[p]')})\n"
    )


def product(w: Writer) -> str:
    """A product of matrices, one of them shifted or larger than needed."""
    c = w.number(0, 2)
    k = w.plant(plus("K", c), ("bounds", plus("K", c - 1)))
    left = w.one(f"a[i, {plus('k', c)}]", f"a[i, {plus('k', c)}] * 2.0")
    return f"def {w.name()}(a: f32[M, {k}], b: f32[K, N]) -> c[M, N]:\n    c[i, j] = sum[k:K]({left} * b[k, j])\n"


def averages(w: Writer) -> str:
    """Two equations, the second reads the first."""
    at = w.plant("m[i // 2]", ("bounds", "m[i // 2 + 1]"), ("bounds", "m[i]"))
    return (
        f"def {w.name()}(x: f32[2 * N, M], N: size) -> y[2 * N, M]:\n    given(M >= 1)\n"
        f"    m[p:N] = max[j](x[2 * p, j] + x[2 * p + 1, j])\n    y[i, j] = x[i, j] - {at}\n"
    )


FORMULAS = [
    affine, reversed_axis, guarded, clamped, repeated, symbolic_groups, flat, flat3, gather, scatter, prefix, sparse,
    convolution, product, averages,
]  # fmt: skip
