"""How element types and constants are written in Cython, and which names a spec may not keep."""

from __future__ import annotations

import keyword
import math
import re
import struct

from vibee.tree.types import DTYPES

# Names with a meaning of their own in Cython or in the emitted code: a spec's variable of that
# name gets an underscore.
RESERVED = {
    *keyword.kwlist, *keyword.softkwlist, *(d.ctype for d in DTYPES.values()),
    "cdef", "cpdef", "ctypedef", "cimport", "include", "extern", "inline", "nogil", "gil", "struct", "union",
    "enum", "fused", "packed", "public", "readonly", "api", "volatile", "const", "restrict", "by", "DEF", "IF",
    "ELIF", "ELSE", "NULL", "int", "long", "short", "char", "signed", "unsigned", "bint", "object", "void",
    "complex", "size_t", "ssize_t", "sizeof", "typeof", "self", "range", "prange", "print", "exec", "str", "bytes",
    "list", "tuple", "dict", "set", "bool", "type", "len", "abs", "min", "max", "sum", "any", "all", "err",
    "threads", "lo", "hi", "cython", "noexcept", "except", "register", "namespace", "operator", "template",
    "ValueError", "MemoryError", "PurePath", "VB_FILES", "free", "memset", "super",
    *(f"{d}{access}" for d in DTYPES for access in "pc"),
}  # fmt: skip
# Beside these: what `cimport *` brings from libc.stdint, names of wrappers and C helpers after their vb_, and the
# functions that a module has for arrays of numbers (f_map) and for the bodies of parallel loops (f_p0).
STDINT = re.compile("U?INT.*_(MIN|MAX)|(PTRDIFF|SIG_ATOMIC|SIZE|WCHAR|WINT)_(MIN|MAX)|(u?int.*|wint)_t")
HELPER = re.compile(r"_.*|(arg|def|name|held|stream)_.*|note|failed|failure|threads|in|zero|large|fail|alloc"
                    r"|overlap|result|worth|share|far|far_from|around|fence"
                    rf"|(.*_)?({'|'.join(DTYPES)})|v\d.*|.*_loadu|.*_storeu|.*_splat")  # fmt: skip
BESIDE = re.compile(r".*(_map|_p\d+)")


def mangle(name: str) -> str:
    """The Cython name of a spec's variable; two of them never have one."""
    if not name.isascii():
        return f"vb_name_{name.encode().hex()}"
    stem = name.rstrip("_") or "_"  # `lo_` makes room for `lo`, and `lo__` for `lo_`
    taken = stem in RESERVED or name.startswith(("vb_", "__")) or STDINT.fullmatch(stem)
    return name + "_" if taken else name


def native(key: str) -> str:
    """The name of an instance's native function."""
    return ("n_" if BESIDE.fullmatch(key) else "c_") + key


def exported(key: str) -> str:
    """The name of an instance's Python function."""
    return f"vb_def_{key}" if BESIDE.fullmatch(key) or mangle(key) != key else key


def held(name: str) -> str:
    """The name of an argument as a wrapper passes it on: its memory, or its value where native code takes a pointer."""
    if not name.isascii():
        return f"vb_held_{name.encode().hex()}"
    return f"vb_arg_{name}" if HELPER.fullmatch(name) else f"vb_{name}"


def ctype(dtype: str, *, size: bool = False) -> str:
    """The Cython type of a scalar of `dtype`; `size` asks for the type of sizes and loop variables."""
    if dtype == "bool":
        return "bint"
    if size and dtype == "i64":
        return "Py_ssize_t"
    return DTYPES[dtype].ctype


def vector_of(dtype: str) -> tuple[str, int] | None:
    """(element type, width) of a vector type such as f32x16; None for a number."""
    base, _, width = dtype.partition("x")
    return (base, int(width)) if width.isdigit() and base in DTYPES else None


def bf16_bits(value: float) -> int:
    """The bfloat16 nearest to a number, ties to even, as its 16 bits."""
    try:
        (bits,) = struct.unpack("<I", struct.pack("<f", value))
    except OverflowError:
        bits = 0x7F800000 if value > 0 else 0xFF800000
    if math.isnan(value):
        return 0x7FC0
    return int((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16)


def float_text(value: float, dtype: str) -> str:
    """A float constant whose arithmetic stays in `dtype`."""
    if math.isnan(value):
        return f"vb_nan_{dtype}"
    if math.isinf(value):
        return f"vb_inf_{dtype}" if value > 0 else f"(-vb_inf_{dtype})"
    text = repr(float(value))
    negative = text.startswith("-")
    text = text.removeprefix("-")
    if dtype == "f32":
        text = f"<float>{text}"
    return f"(-{text})" if negative else text


def int_text(value: int, dtype: str) -> str:
    """An integer constant of `dtype`, wrapped to its range."""
    d = DTYPES[dtype]
    value &= (1 << d.bits) - 1
    if d.kind == "i" and value >= 1 << (d.bits - 1):
        value -= 1 << d.bits
    if dtype == "u64":
        return f"{value}ULL"
    if dtype == "u32":
        return f"{value}U"
    if value == -(1 << 63):
        return "(-9223372036854775807LL - 1)"
    if value == -(1 << 31):
        return "(-2147483647 - 1)" if dtype == "i32" else "(-2147483648LL)"
    text = str(value)
    if not -(1 << 31) < value < (1 << 31):
        text += "LL"
    return f"({text})" if value < 0 else text
