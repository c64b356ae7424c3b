"""Helpers that are made for a type: of numbers, and of vectors of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vibee.tree.types import DTYPES

from .ctypes import vector_of


@dataclass(frozen=True, slots=True)
class Helper:
    """One helper: its C text, its declaration for Cython and what it needs before it."""

    c: str
    declaration: str
    needs: tuple[str, ...] = ()


def _floordiv(d: str) -> Helper:
    t = DTYPES[d].ctype
    if DTYPES[d].kind == "u":
        body = "return a / b;"
    else:
        # b == -1 apart: the machine's division traps on the lowest number
        body = (
            f"if (b == -1) return ({t})(0 - a);\n    {t} q = a / b; return ({t})(q - ((a % b != 0) & ((a ^ b) < 0)));"
        )
    text = f"""
static inline {t} vb_floordiv_{d}({t} a, {t} b, int *err, int place) {{
    if (b == 0) {{ vb_zero(err, place); return 0; }}
    {body}
}}"""
    return Helper(text, f"{t} vb_floordiv_{d}({t}, {t}, int*, int) noexcept nogil", ("vb_zero",))


def _mod(d: str) -> Helper:
    t = DTYPES[d].ctype
    if DTYPES[d].kind == "u":
        body = "return a % b;"
    else:
        body = f"if (b == -1) return 0;\n    {t} r = a % b; return ({t})(r != 0 && (r ^ b) < 0 ? r + b : r);"
    text = f"""
static inline {t} vb_mod_{d}({t} a, {t} b, int *err, int place) {{
    if (b == 0) {{ vb_zero(err, place); return 0; }}
    {body}
}}"""
    return Helper(text, f"{t} vb_mod_{d}({t}, {t}, int*, int) noexcept nogil", ("vb_zero",))


def _minmax(op: str, sign: str) -> Callable[[str], Helper]:
    def make(d: str) -> Helper:
        if (vector := vector_of(d)) is not None:
            return _vector_minmax(op, sign, *vector)
        t = DTYPES[d].ctype
        # a unless b is beyond it: a NaN in b is passed over, one in a stays; one machine instruction
        text = f"\nstatic inline {t} vb_{op}_{d}({t} a, {t} b) {{ return b {sign} a ? b : a; }}"
        return Helper(text, f"{t} vb_{op}_{d}({t}, {t}) noexcept nogil")

    return make


# The instruction that compares and chooses, which gcc does not find by itself: what it needs, and what gcc calls it.
CHOOSING = {16: ("__SSE2__", "{}"), 32: ("__AVX__", "{}256"), 64: ("__AVX512F__", "{}512_mask")}


def _vector_minmax(op: str, sign: str, element: str, width: int) -> Helper:
    """Of floats: no others are reduced in vectors."""
    d, v = f"{element}x{width}", vector_name(element, width)
    needs, name = CHOOSING[width * DTYPES[element].bits // 8]
    name = name.format(f"{op}p{'s' if element == 'f32' else 'd'}")
    more = ", a, -1, 4" if name.endswith("mask") else ""  # of no lane the old value, and rounding as it is set
    text = f"""
static inline {v} vb_{op}_{d}({v} a, {v} b) {{
#if defined({needs}) && !defined(__clang__)
    return __builtin_ia32_{name}(b, a{more});  /* a where one is a NaN or both are equal */
#else
    __typeof__(b {sign} a) m = b {sign} a;
    return ({v})(((__typeof__(m))b & m) | ((__typeof__(m))a & ~m));
#endif
}}"""
    return Helper(text, f"{v} vb_{op}_{d}({v}, {v}) noexcept nogil")


# Of 32 bytes of floats, which the C compiler has no operator for: what gcc calls the instruction, and what comes after
# the number.
INSTRUCTIONS = {
    "sqrt": ("sqrtp{}256", ""), "floor": ("roundp{}256", ", 9"), "rint": ("roundp{}256", ", 12"),
}  # fmt: skip


def _in_lanes(op: str) -> Callable[[str], Helper]:
    """A function of floats, of one or in each lane of a vector."""

    def make(d: str) -> Helper:
        if (vector := vector_of(d)) is None:
            return _libm(op)(d)
        element, width = vector
        v = vector_name(element, width)
        name, more = INSTRUCTIONS[op]
        name, end = name.format("s" if element == "f32" else "d"), "f" if element == "f32" else ""
        text = f"""
static inline {v} vb_{op}_{d}({v} a) {{
#if defined(__AVX__) && !defined(__clang__)
    return __builtin_ia32_{name}(a{more});
#else
    for (int i = 0; i < {width}; i++) a[i] = __builtin_{op}{end}(a[i]);
    return a;
#endif
}}"""
        return Helper(text, f"{v} vb_{op}_{d}({v}) noexcept nogil")

    return make


def _mask(d: str) -> tuple[str, str]:
    """The types of a vector and of the mask that chooses among its lanes."""
    element, width = vector_of(d) or ("", 0)
    return vector_name(element, width), vector_name(f"i{DTYPES[element].bits}", width)


def _compared(op: str, sign: str) -> Callable[[str], Helper]:
    def make(d: str) -> Helper:
        v, m = _mask(d)
        text = f"\nstatic inline {m} vb_{op}_{d}({v} a, {v} b) {{ return ({m})(a {sign} b); }}"
        return Helper(text, f"{m} vb_{op}_{d}({v}, {v}) noexcept nogil")

    return make


def _where(d: str) -> Helper:
    v, m = _mask(d)
    element, _ = vector_of(d) or ("", 0)
    t, end = ("float", "s") if DTYPES[element].bits == 32 else ("double", "d")
    text = f"""
static inline {v} vb_where_{d}({m} which, {v} a, {v} b) {{
#if defined(__AVX__) && !defined(__clang__)
    typedef {t} lanes __attribute__((vector_size(32)));
    return ({v})__builtin_ia32_blendvp{end}256((lanes)b, (lanes)a, (lanes)which);
#else
    return ({v})((({m})a & which) | (({m})b & ~which));
#endif
}}"""
    return Helper(text, f"{v} vb_where_{d}({m}, {v}, {v}) noexcept nogil")


def _to(pair: str) -> Helper:
    a, b = (vector_name(*(vector_of(d) or ("", 0))) for d in pair.split("_"))
    text = f"\nstatic inline {a} vb_to_{pair}({b} x) {{ return __builtin_convertvector(x, {a}); }}"
    return Helper(text, f"{a} vb_to_{pair}({b}) noexcept nogil")


def _turn(d: str) -> Helper:
    element, side = vector_of(d) or ("", 0)
    t, bits = DTYPES[element].ctype, DTYPES[element].bits
    each = f'_Pragma("GCC unroll {side}") for (int i = 0; i < {side}; i++)'
    changes = []
    for s in reversed([1 << n for n in range(side.bit_length() - 1)]):
        low, high = [], []
        for lane in range(side):
            low.append(str(side + lane - s if lane & s else lane))
            high.append(str(side + lane if lane & s else lane + s))
        changes.append(f"""
    {each} if (!(i & {s})) {{
        lanes a = v[i], b = v[i + {s}];
        v[i] = VB_LANES(which, a, b, {", ".join(low)});
        v[i + {s}] = VB_LANES(which, a, b, {", ".join(high)});
    }}""")
    text = f"""
/* {side} x {side} numbers turned over, rows `row` and `width` numbers apart: parts of two registers, half as wide as
   they are and narrower each time, change places (Eklundh, "A Fast Computer Method for Matrix Transposing", 1972). */
static inline void vb_turn_{d}({t} *to, int64_t row, const {t} *from, int64_t width) {{
    typedef {t} lanes __attribute__((vector_size({side * bits // 8})));
    typedef int{bits}_t which __attribute__((vector_size({side * bits // 8}), unused));
    lanes v[{side}];
    {each} memcpy(&v[i], from + i * width, sizeof v[i]);{"".join(changes)}
    {each} memcpy(to + i * row, &v[i], sizeof v[i]);
}}"""
    return Helper(text, f"void vb_turn_{d}({t}*, int64_t, const {t}*, int64_t) noexcept nogil", ("vb_lanes",))


def _abs(d: str) -> Helper:
    if (vector := vector_of(d)) is not None:
        v, m = _mask(d)
        most = f"(({m}){{}} + {'0x7FFFFFFF' if vector[0] == 'f32' else '0x7FFFFFFFFFFFFFFF'})"
        text = f"\nstatic inline {v} vb_abs_{d}({v} a) {{ return ({v})(({m})a & {most}); }}"
        return Helper(text, f"{v} vb_abs_{d}({v}) noexcept nogil")
    t = DTYPES[d].ctype
    if DTYPES[d].kind == "f":
        body = "__builtin_fabsf(a)" if d == "f32" else "__builtin_fabs(a)"
    else:
        body = f"({t})(a < 0 ? 0 - a : a)" if DTYPES[d].kind == "i" else "a"
    return Helper(f"\nstatic inline {t} vb_abs_{d}({t} a) {{ return {body}; }}", f"{t} vb_abs_{d}({t}) noexcept nogil")


def _libm(name: str, params: int = 1) -> Callable[[str], Helper]:
    def make(d: str) -> Helper:
        t, end = DTYPES[d].ctype, "f" if d == "f32" else ""
        names = ["a", "b"][:params]
        typed = ", ".join(f"{t} {n}" for n in names)
        text = f"\nstatic inline {t} vb_{name}_{d}({typed}) {{ return __builtin_{name}{end}({', '.join(names)}); }}"
        return Helper(text, f"{t} vb_{name}_{d}({', '.join([t] * params)}) noexcept nogil")

    return make


def _intpow(d: str) -> Helper:
    t = DTYPES[d].ctype
    text = f"""
static inline {t} vb_ipow_{d}({t} a, {t} n) {{
    {t} r = 1;
    for (; n > 0; n >>= 1, a *= a) if (n & 1) r *= a;
    return r;
}}"""
    return Helper(text, f"{t} vb_ipow_{d}({t}, {t}) noexcept nogil")


def _stream(d: str) -> Helper:
    element, width = vector_of(d) or ("", 0)
    t, v = DTYPES[element].ctype, vector_name(element, width)
    text = f"""
/* A vector stored around the cache; p is a multiple of its size. */
static inline void vb_stream_{d}({t} *p, {v} x) {{
#if defined __AVX512F__
    __asm__ ("vmovntps %1, %0" : "=m"(*({v} *)p) : "v"(x));
#elif defined __AVX__
    __asm__ ("vmovntps %1, %0" : "=m"(*({v} *)p) : "x"(x));
#elif defined __x86_64__
    __asm__ ("movntps %1, %0" : "=m"(*({v} *)p) : "x"(x));
#else
    {v}_storeu(p, x);
#endif
}}"""
    return Helper(text, f"void vb_stream_{d}({t}*, {v}) noexcept nogil")


def _bits(pair: str) -> Helper:
    to, source = pair.split("_")
    if vector_of(to):
        a, b = (vector_name(*(vector_of(d) or ("", 0))) for d in (to, source))
        text = f"\nstatic inline {a} vb_bits_{pair}({b} x) {{ return ({a})x; }}"
        return Helper(text, f"{a} vb_bits_{pair}({b}) noexcept nogil")
    a, b = DTYPES[to].ctype, DTYPES[source].ctype
    text = f"\nstatic inline {a} vb_bits_{pair}({b} x) {{ {a} y; memcpy(&y, &x, sizeof y); return y; }}"
    return Helper(text, f"{a} vb_bits_{pair}({b}) noexcept nogil")


FAMILIES: dict[str, Callable[[str], Helper]] = {
    "vb_floordiv": _floordiv, "vb_mod": _mod, "vb_min": _minmax("min", "<"), "vb_max": _minmax("max", ">"),
    "vb_abs": _abs, **{f"vb_{op}": _in_lanes(op) for op in INSTRUCTIONS}, "vb_where": _where, "vb_to": _to,
    "vb_lt": _compared("lt", "<"), "vb_le": _compared("le", "<="), "vb_gt": _compared("gt", ">"),
    "vb_ge": _compared("ge", ">="), "vb_eq": _compared("eq", "=="), "vb_ne": _compared("ne", "!="),
    "vb_turn": _turn, "vb_stream": _stream, "vb_pow": _libm("pow", 2), "vb_ipow": _intpow, "vb_bits": _bits,
}  # fmt: skip


def vector_name(dtype: str, width: int) -> str:
    """The typedef of a vector of `width` elements, such as vb_v16f."""
    return f"vb_v{width}{ {'f32': 'f', 'f64': 'd'}.get(dtype, dtype) }"


def vector_type(dtype: str, width: int) -> Helper:
    """A GCC vector type.  Cython is told that it is a number, so that + and * are written as such."""
    t, v = DTYPES[dtype].ctype, vector_name(dtype, width)
    size, align = width * DTYPES[dtype].bits // 8, DTYPES[dtype].bits // 8
    text = f"""
typedef {t} {v} __attribute__((vector_size({size}), aligned({align}), may_alias));
static inline {v} {v}_loadu(const {t} *p) {{ return *(const {v} *)p; }}
static inline void {v}_storeu({t} *p, {v} x) {{ *({v} *)p = x; }}
static inline {v} {v}_splat({t} x) {{ return x - ({v}){{}}; }}"""
    declaration = "\n".join(
        (
            f"ctypedef {t} {v}",
            f"{v} {v}_loadu(const {t}*) noexcept nogil",
            f"void {v}_storeu({t}*, {v}) noexcept nogil",
            f"{v} {v}_splat({t}) noexcept nogil",
        )
    )
    return Helper(text, declaration)
