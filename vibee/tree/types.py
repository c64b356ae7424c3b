"""The element types of the language and how they combine: one table, no kernel knows it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DType:
    """One element type: its spelling, its storage and how the emitter writes it."""

    name: str  # spelling in a spec
    kind: str  # 'f' float, 'i' signed, 'u' unsigned, 'b' bool
    bits: int  # storage width
    ctype: str  # Cython type of one stored element
    format: str  # buffer-protocol format character
    arith: str  # the type its arithmetic happens in


DTYPES: dict[str, DType] = {
    d.name: d
    for d in (
        DType("f32", "f", 32, "float", "f", "f32"),
        DType("f64", "f", 64, "double", "d", "f64"),
        DType("bf16", "f", 16, "uint16_t", "H", "f32"),
        DType("i8", "i", 8, "int8_t", "b", "i32"),
        DType("u8", "u", 8, "uint8_t", "B", "i32"),
        DType("i32", "i", 32, "int32_t", "i", "i32"),
        DType("i64", "i", 64, "int64_t", "q", "i64"),
        DType("u32", "u", 32, "uint32_t", "I", "u32"),
        DType("u64", "u", 64, "uint64_t", "Q", "u64"),
        DType("bool", "b", 8, "uint8_t", "?", "bool"),
    )
}

REAL = "real"  # the one type variable: a definition that uses it exists once per entry here
REAL_INSTANCES = ("f32", "f64")

# Literals have no type of their own until an operand or a target gives them one.
INT_LITERAL = "int"
FLOAT_LITERAL = "float"


def is_float(dtype: str) -> bool:
    """True for f32, f64, bf16 and an untyped float literal."""
    return dtype == FLOAT_LITERAL or (dtype in DTYPES and DTYPES[dtype].kind == "f")


def is_int(dtype: str) -> bool:
    """True for the integer types and an untyped integer literal."""
    return dtype == INT_LITERAL or (dtype in DTYPES and DTYPES[dtype].kind in "iu")


def promote(a: str, b: str) -> str | None:
    """The type in which `a op b` is computed, or None where an explicit cast is due.

    Literals take the other operand's type; integers widen when no value is lost;
    floats of different width never mix silently.
    """
    if a == b:
        return a if a in (INT_LITERAL, FLOAT_LITERAL) else DTYPES[a].arith
    for x, y in ((a, b), (b, a)):
        if x == INT_LITERAL:
            return y if y == FLOAT_LITERAL else (None if y == "bool" else DTYPES[y].arith)
        if x == FLOAT_LITERAL:
            return DTYPES[y].arith if is_float(y) else None
    da, db = DTYPES[DTYPES[a].arith], DTYPES[DTYPES[b].arith]
    if da.name == db.name:
        return da.name
    if {da.kind, db.kind} == {"i"}:
        return da.name if da.bits > db.bits else db.name
    if {da.kind, db.kind} == {"u"}:
        return da.name if da.bits > db.bits else db.name
    if {da.name, db.name} == {"u32", "i64"}:
        return "i64"
    return None
