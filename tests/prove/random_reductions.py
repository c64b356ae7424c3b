"""Reductions and scans of integers and under conditions, as places and where a `then` claims a number."""

from __future__ import annotations

from spec_writer import Writer

ASKED = (
    "x[i] >= 0",
    "x[i] >= 0",
    "x[i] >= 1",
    "0 <= x[i] <= 3",
    "x[i] <= 0",
    "x[i] != 0",
    "N >= 1",
    "N <= 3, x[i] >= 0",
)


def term(w: Writer, v: str) -> str:
    """What is reduced."""
    e, c = f"x[{v}]", w.number(0, 2)
    return w.one(e, e, e, f"{e} * {e}", f"{e} + {c}", f"abs({e})", f"max({e}, {c})", f"where({e} > {c}, {e}, {c})",
                 f"where({v} > 0, {e}, {w.one(0, 1)})", f"where({e} >= 0, {e}, -{e})", f"{e} % 2",
                 f"{e} & 3")  # fmt: skip


def reduced(w: Writer, v: str) -> str:
    """A number made of all elements, or of those before i, or of some."""
    op = w.one("sum", "sum", "prod", "max", "min")
    bounds = w.one(v, f"{v}:N", f"{v}:{w.one('1', '2', 'N - 1')}", f"{v}:1:N")
    return f"{op}[{bounds}]({term(w, v)})"


def domains(w: Writer) -> str:
    """Roots and quotients of what was summed or multiplied up."""
    t = w.one("i32", "i32", "i64", "u32", "i8", "f32", "f64")
    f = "f64" if t == "f64" else "f32"
    if w.one(True, True, False):
        first = f"    c[i] = {w.one('cumprod', 'cumprod', 'cumsum', 'cummax', 'cummin')}[i]({term(w, 'i')})\n"
    else:
        first = f"    c[i:N] = {reduced(w, 'k')}\n"
    e = f"{f}(c[i])" if t not in ("f32", "f64") else "c[i]"
    last = w.one(f"sqrt({e})", f"sqrt({e})", f"1.0 / ({e} + 1.0)", f"1.0 / {e}", f"sqrt({e} * 2.0)", f"log({e} + 1.0)")
    then = w.one("y[i] >= 0", "abs(y[i]) < inf")
    text = f"def {w.name()}(x: {t}[N]) -> y({f}[N]):\n    given({w.one(*ASKED)})\n{first}"
    return text + f"    y[i] = {last}\n    then({then})\n"


def places(w: Writer) -> str:
    """Elements at places that were counted, summed up or found."""
    t = w.one("i32", "i64", "i64", "u8")
    scan = w.one("cumsum", "cumprod", "cummax")
    c = w.one(f"{scan}[i]({term(w, 'i')})", f"{scan}[i]({term(w, 'i')})", "")
    if c:
        first, e = f"    c[i] = {c}\n", "c[i]" if t == "i64" else "i64(c[i])"
    else:
        op = w.one("argmax", "argmin", "max", "sum")
        bounds = w.one("k", "k:i", "k:N", "k:i + 1", "k:N // 2")
        first, e = f"    c[i:N] = {op}[{bounds}]({w.one('x[k]', 'x[k]', 'where(x[k] > 0, x[k], 0)')})\n", "i64(c[i])"
    at = w.one(e, f"{e} - 1", f"min({e}, N - 1)", f"max({e}, 0)", f"{e} % N")
    test = w.one(f"{at} < N", f"0 <= {at} and {at} < N", f"{at} >= 0", "")
    value = f"where({test}, v[{at}], 0.0)" if test else f"v[{at}]"
    asks = w.one(*ASKED, "x[i] < N", "0 <= x[i] < N", "N >= 1, x[i] >= 0")
    return f"def {w.name()}(x: {t}[N], v: f32[N]) -> y[N]:\n    given({asks})\n{first}    y[i] = {value}\n"


def under_conditions(w: Writer) -> str:
    """Elements beside those that are there, read under a condition inside of a reduction."""
    c = w.number(0, 1)
    at = w.one("i - k", "k - i", "k + i", "2 * k", "at[k]", "k // 2", "at[k] + i", "M - 1 - k", "i * M + k")
    test = w.one(f"{at} >= {c} - 1", f"{at} >= 0", f"{at} < N", f"0 <= {at} and {at} < N", f"0 <= {at} < N + {c}",
    "k <= i", "x[i] > 0.0",
                 f"k <= i and {at} < N", f"not ({at} < 0) and {at} < N", f"{at} < 0 or {at} < N")  # fmt: skip
    bounds = w.one("k:M", "k:M", "k:i + 1", "k:i:N", "k:at[i]", "k:i:min(i + 3, N)")
    op = w.one("sum", "max", "min", "sum")
    other = w.one("0.0", "x[i]", "x[0]")
    asks = w.one("0 <= at[j]", "at[j] < N", "0 <= at[j] < N", "N >= 1", "M <= N", "at[j] <= j", "0 <= at[j] <= M")
    asks += ", N == M" if "at[i]" in bounds else ""
    return (f"def {w.name()}(x: f32[N], at: {w.one('i64', 'i32')}[M]) -> y[N]:\n    given({asks})\n"
            f"    y[i] = {op}[{bounds}](where({test}, x[{at}], {other}))\n")  # fmt: skip


WILD = [domains, domains, places, under_conditions]
