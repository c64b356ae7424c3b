"""Parts of arrays at calls, at places that elements and quotients say."""

from __future__ import annotations

from spec_writer import Writer, head


def place(w: Writer, v: str) -> str:
    """An end of a part."""
    c = w.number(0, 2)
    return w.one(f"lo[{v}]", f"lo[{v}]", f"lo[{v} + 1]", f"lo[{c}]", f"lo[lo[{v}]]", f"k % {w.one('m', 'M', '3')}",
                 f"{v}", f"{v} + {c}",
                 "k", "N // 2", f"{v} // {w.one('m', 'k', '2')}", f"min(k, lo[{v}])", "N", f"N - {v}",
                 f"lo[{v}] + {c}")  # fmt: skip


def parts(w: Writer) -> str:
    """A callee gets a part of an array; tests around the call are right or not."""
    inner = w.name()
    asks = w.one("", "", "    given(S >= 1)\n", "    given(S <= 2)\n")
    text = f"@procedure\ndef {inner}(y: mut[f32[S]]):\n{asks}    for j in range(S):\n"
    text += f"        y[j] = {w.one('1.0', 'y[S - 1 - j]')}\n\n"
    low, high = place(w, "i"), place(w, "i")
    two = w.one(True, False, False)
    array = "y[i]" if two and w.one(True, False) else "y"
    shape = "N, M" if two else "N"
    if two and array == "y":  # the part is a row
        text = text.replace("y[S - 1 - j]", "1.0").replace("y[j]", "y[j, 0]").replace("f32[S]", "f32[S, M]")
        text = (
            text.replace("given(", "given(M >= 1, ") if asks else text.replace("    for", "    given(M >= 1)\n    for")
        )
    part = w.one(f"[{low}:{high}]", f"[{low}:{high}]", f"[{low}:]", f"[:{high}]", f"[{low}:{low} + 1]")
    whole = f"{array[:-1]}, {part[1:]}" if array.endswith("]") else f"{array}{part}"
    if two and array == "y[i]" and w.one(True, False):
        whole = f"y[{low}]"
    changed = w.one(True, False, False)
    lines, pad = [], "        "
    for _ in range(w.number(0, 2)):
        lines.append(f"{pad}if {test(w, low, high)}:")
        pad += "    "
    if changed and w.one(True, False):
        lines.append(f"{pad}lo[{w.one('i', '0')}] = {w.one('0', 'k', '1')}")
    lines.append(f"{pad}{inner}({whole})")
    known = w.one(
        "M >= 1",
        "0 <= lo[j] <= N",
        "0 <= lo[j] < N",
        "0 <= lo[j] < M",
        "lo[j] <= j",
        "m >= 1, M >= 2",
        "0 <= k < M",
        "k >= 1",
    )
    order = w.one("", "", ", M <= N", ", N >= 1", ", M == N")
    params = f"y: mut[f32[{shape}]], lo: {'mut[i64[M]]' if changed else 'i64[M]'}, k: i64, m: i64"
    return (text + head(w, params) + f"    given({known}{order})\n"
            f"    for i in range({w.one('M', 'M', 'M - 1', 'N', '2')}):\n" + "\n".join(lines) + "\n")  # fmt: skip


def test(w: Writer, low: str, high: str) -> str:
    """A condition around a call."""
    return w.one(f"0 <= {low} and {high} <= N", f"{low} <= {high}",
                 f"0 <= {low} and {low} <= {high} and {high} <= N", "i < M",
                 f"0 <= {low} and {low} < N", f"{high} <= N", "m != 0", "0 <= k and k < M", "k >= 1",
                 f"{low} < M")  # fmt: skip


WILD = [parts]
