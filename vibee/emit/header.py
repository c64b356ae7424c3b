"""The C helpers that emitted code may use; a module carries only those that it names.

Each helper is (C text, Cython declaration, helpers it needs).  `NAME_<dtype>` families are
made for the dtype that is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vibee.tree.types import DTYPES

from .ctypes import vector_of

SIGNED = {"i8": "u8", "i32": "u32", "i64": "u64"}


@dataclass(frozen=True, slots=True)
class Helper:
    """One helper: its C text, its declaration for Cython and what it needs before it."""

    c: str
    declaration: str
    needs: tuple[str, ...] = ()


NOTE = """
/* What went wrong, unless something has before; several threads may say so at once. */
static inline void vb_note(int *err, int what) {
    int nothing = 0;
    if (err) __atomic_compare_exchange_n(err, &nothing, what, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}"""

FAILED = """
/* Has anything gone wrong? */
static inline int vb_failed(int *err) { return __atomic_load_n(err, __ATOMIC_RELAXED) != 0; }"""

THREADS = """
/* As many threads as are asked for, but not more than this machine could have a use for: a process
   that cannot get them is ended by OpenMP. */
#ifdef _OPENMP
#include <omp.h>
static inline int vb_threads(int asked) {
    if (asked <= 64) return asked < 1 ? 1 : asked;
    int most = 2 * omp_get_num_procs();
    return asked < most ? asked : most < 64 ? 64 : most;
}
#else
static inline int vb_threads(int asked) { (void)asked; return 1; }
#endif"""

IN = """
/* Is 0 <= i < n?  If not, the place in the spec is noted (the first one stays). */
static inline int vb_in(int64_t i, int64_t n, int *err, int place) {
    if (__builtin_expect((uint64_t)i < (uint64_t)n, 1)) return 1;
    vb_note(err, place);
    return 0;
}"""

ZERO = """
/* A division by zero. */
static inline void vb_zero(int *err, int place) {
    vb_note(err, place | (1 << 17));
}"""

FAIL = """
/* A condition of `given` that does not hold. */
static inline void vb_fail(int *err, int place) {
    vb_note(err, place | (2 << 17));
}"""

LARGE = """
/* Sizes for which the arithmetic of indices may pass 63 bits. */
static inline void vb_large(int *err, int place) {
    vb_note(err, place | (3 << 17));
}"""

ALLOC = """
/* Aligned work memory; a failure is noted as -1. */
static inline void *vb_alloc(int64_t count, size_t width, int *err) {
    void *p = NULL;
    size_t n = count > 0 ? (size_t)count : 1;
    if (n <= (SIZE_MAX / 2 - 64) / width) p = aligned_alloc(64, (n * width + 63) / 64 * 64);
    if (!p) vb_note(err, -1);
    return p;
}"""

STEP = """
/* The compiler does not look through it: a loop of steps stays one, and takes its time. */
static inline int64_t vb_step(int64_t n) { __asm__ volatile("" : "+r"(n)); return n; }"""

PREFETCH = """
/* What lies so many bytes after p will be read soon.  There may be no memory. */
static inline void vb_prefetch(const void *p, int64_t ahead) {
    __builtin_prefetch((const void *)((uintptr_t)p + (uintptr_t)ahead));
}"""

FAR = 32 << 20  # bytes: more than the last cache of most processors

LARGE_ARRAY = """
/* Is an array so large that it is written around the cache, and does a line of memory begin at p? */
static inline int vb_far(const void *p, int64_t count, size_t width, int64_t from) {
    return count >= from / (int64_t)width && ((uintptr_t)p & 63) == 0;
}"""

FENCE = """
/* What was stored around the cache is there for whoever is told of it. */
static inline void vb_fence(void) {
#if defined __x86_64__
    __asm__ volatile("sfence" ::: "memory");
#endif
}"""

OVERLAP = """
static inline int vb_overlap(const void *a, int64_t na, const void *b, int64_t nb) {
    return na > 0 && nb > 0 && (const char *)a < (const char *)b + nb && (const char *)b < (const char *)a + na;
}"""

BF16 = """
static inline float vb_f32_of_bf16(uint16_t b) {
    uint32_t u = (uint32_t)b << 16; float f; memcpy(&f, &u, 4); return f;
}"""

TO_BF16 = """
/* Nearest bfloat16, ties to even; a NaN stays a NaN. */
static inline uint16_t vb_bf16_of_f32(float f) {
    uint32_t u; memcpy(&u, &f, 4);
    uint32_t rounded = (u + 0x7FFF + ((u >> 16) & 1)) >> 16;
    return (uint16_t)((u & 0x7FFFFFFF) > 0x7F800000 ? (u >> 16) | 0x40 : rounded);
}"""


def asked_once(feature: str, question: str) -> str:
    """A function that says whether the processor has a feature, and asks when it is first called."""
    return f"""
static inline int vb_has_{feature}(void) {{
    static int known;
    int found = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (!found) {{
        found = {question} ? 1 : -1;
        __atomic_store_n(&known, found, __ATOMIC_RELAXED);
    }}
    return found > 0;
}}"""


HAS_BF16 = """
/* Has this processor AVX512-BF16, and may it be used?  Asked once. */""" + asked_once(
    "avx512bf16", '__builtin_cpu_supports("avx512bf16") && !getenv("VIBEE_NO_BF16")'
)

DOT2 = """
/* sum + the products of the lower and of the upper bf16 of each word. */
static inline vb_v16f vb_dot2(vb_v16f sum, vb_v16u32 a, vb_v16u32 b) {
    sum += (vb_v16f)(a << 16) * (vb_v16f)(b << 16);
    return sum + (vb_v16f)(a & 0xFFFF0000U) * (vb_v16f)(b & 0xFFFF0000U);
}"""

DOT2_AVX512BF16 = """
/* The same in one instruction.  Assembly, since the function around it is compiled for processors that may lack the
   instruction: it asks first. */
static inline vb_v16f vb_dot2_avx512bf16(vb_v16f sum, vb_v16u32 a, vb_v16u32 b) {
    __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
}"""

PAIRS = """
/* Two vectors rounded to bf16, two numbers to a word.  Assembly, as above. */
typedef uint16_t vb_v32u16 __attribute__((vector_size(64)));
static inline vb_v16u32 vb_pairs_along(vb_v16f a, vb_v16f b) {
    vb_v16u32 words;
    __asm__("vcvtne2ps2bf16 %1, %2, %0" : "=v"(words) : "v"(a), "v"(b));
    return words;
}
static inline vb_v16u32 vb_pairs_across(vb_v16f a, vb_v16f b) {
    vb_v32u16 halves = (vb_v32u16)vb_pairs_along(a, b);
    return (vb_v16u32)VB_LANES(vb_v32u16, halves, halves, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23, 8, 24,
                               9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}"""

HAS_AMX_BF16 = """
/* Has this processor AMX with products of bf16, and does the system let this process use it?  Asked once. */
#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
static inline int vb_may_use_tiles(void) {
    unsigned a, b, c, d, low, high;
    if (!__get_cpuid_count(1, 0, &a, &b, &c, &d) || !(c >> 27 & 1)) return 0;         /* XGETBV */
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d >> 22 & 5) != 5) return 0;     /* AMX-BF16, AMX-TILE */
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    if ((low >> 17 & 3) != 3) return 0;                                               /* tiles are saved */
    if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a >> 5 & 1)) return 0;          /* AVX512-BF16 */
    return syscall(SYS_arch_prctl, 0x1023, 18) == 0;                                  /* and given to who asks */
}
#else
static inline int vb_may_use_tiles(void) { return 0; }
#endif""" + asked_once("amx_bf16", '!getenv("VIBEE_NO_BF16") && !getenv("VIBEE_NO_AMX") && vb_may_use_tiles()')

TILES = """
/* All registers for tiles are 16 rows of 64 bytes, until there are none again.  Assembly, as for vdpbf16ps. */
static inline void vb_tiles(void) {
    struct { uint8_t palette, start, zero[14]; uint16_t bytes[16]; uint8_t rows[16]; } shape = {1, 0, {0}, {0}, {0}};
    if (!vb_has_amx_bf16()) return;
    for (int t = 0; t < 8; t++) { shape.bytes[t] = 64; shape.rows[t] = 16; }
    __asm__ volatile("ldtilecfg %0" :: "m"(shape));
}
static inline void vb_no_tiles(void) { if (vb_has_amx_bf16()) __asm__ volatile("tilerelease"); }
#define vb_tile_zero(t) __asm__ volatile("tilezero %%tmm%c0" :: "i"(t))
#define vb_tile_load(t, p, row) \\
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" :: "r"(p), "r"((int64_t)(row)), "i"(t) : "memory")
#define vb_tile_store(t, p, row) \\
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" :: "r"(p), "r"((int64_t)(row)), "i"(t) : "memory")
#define vb_tile_dot2(c, a, b) __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" :: "i"(c), "i"(a), "i"(b))"""

LANES = """
/* Some lanes of two vectors: those of the second are counted on from those of the first.  gcc takes their numbers as a
   vector of type t. */
#ifdef __clang__
#define VB_LANES(t, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define VB_LANES(t, a, b, ...) __builtin_shuffle(a, b, (t){__VA_ARGS__})
#endif"""

ROUNDED = """
/* The bfloat16 nearest to a number, as a float: the same as to bfloat16 and back, in lanes of one width. */
static inline float vb_rounded_bf16(float f) {
    uint32_t u; memcpy(&u, &f, 4);
    u = (f != f ? u | 0x400000 : u + 0x7FFF + ((u >> 16) & 1)) & 0xFFFF0000;
    memcpy(&f, &u, 4); return f;
}"""

FIXED = {
    "vb_note": Helper(NOTE, ""),
    "vb_failed": Helper(FAILED, "bint vb_failed(int*) noexcept nogil"),
    "vb_worth": Helper("", ""),  # a variable of the module, which tests change
    "vb_threads": Helper(THREADS, "int vb_threads(int) noexcept nogil"),
    "vb_in": Helper(IN, "bint vb_in(int64_t, int64_t, int*, int) noexcept nogil", ("vb_note",)),
    "vb_zero": Helper(ZERO, "", ("vb_note",)),
    "vb_large": Helper(LARGE, "void vb_large(int*, int) noexcept nogil", ("vb_note",)),
    "vb_fail": Helper(FAIL, "void vb_fail(int*, int) noexcept nogil", ("vb_note",)),
    "vb_alloc": Helper(ALLOC, "void* vb_alloc(int64_t, size_t, int*) noexcept nogil", ("vb_note",)),
    "free": Helper("", "void free(void*) noexcept nogil"),
    "memset": Helper("", "void* memset(void*, int, size_t) noexcept nogil"),
    "vb_step": Helper(STEP, "int64_t vb_step(int64_t) noexcept nogil"),
    "vb_prefetch": Helper(PREFETCH, "void vb_prefetch(const void*, int64_t) noexcept nogil"),
    "vb_far": Helper(LARGE_ARRAY, "bint vb_far(const void*, int64_t, size_t, int64_t) noexcept nogil"),
    "vb_far_from": Helper("", ""),  # the same
    "vb_fence": Helper(FENCE, "void vb_fence() noexcept nogil"),
    "vb_overlap": Helper(OVERLAP, "bint vb_overlap(const void*, int64_t, const void*, int64_t) noexcept nogil"),
    "vb_f32_of_bf16": Helper(BF16, "float vb_f32_of_bf16(uint16_t) noexcept nogil"),
    "vb_bf16_of_f32": Helper(TO_BF16, "uint16_t vb_bf16_of_f32(float) noexcept nogil"),
    "vb_rounded_bf16": Helper(ROUNDED, "float vb_rounded_bf16(float) noexcept nogil"),
    "vb_has_avx512bf16": Helper(HAS_BF16, "bint vb_has_avx512bf16() noexcept nogil"),
    "vb_has_amx_bf16": Helper(HAS_AMX_BF16, "bint vb_has_amx_bf16() noexcept nogil"),
    "vb_tiles": Helper(TILES, "void vb_tiles() noexcept nogil", ("vb_has_amx_bf16",)),
    "vb_no_tiles": Helper("", "void vb_no_tiles() noexcept nogil", ("vb_tiles",)),
    "vb_tile_zero": Helper("", "void vb_tile_zero(int) noexcept nogil", ("vb_tiles",)),
    "vb_tile_load": Helper("", "void vb_tile_load(int, const void*, int64_t) noexcept nogil", ("vb_tiles",)),
    "vb_tile_store": Helper("", "void vb_tile_store(int, void*, int64_t) noexcept nogil", ("vb_tiles",)),
    "vb_tile_dot2": Helper("", "void vb_tile_dot2(int, int, int) noexcept nogil", ("vb_tiles",)),
    "vb_lanes": Helper(LANES, ""),
    "vb_dot2": Helper(DOT2, "vb_v16f vb_dot2(vb_v16f, vb_v16u32, vb_v16u32) noexcept nogil"),
    "vb_dot2_avx512bf16": Helper(
        DOT2_AVX512BF16, "vb_v16f vb_dot2_avx512bf16(vb_v16f, vb_v16u32, vb_v16u32) noexcept nogil"
    ),
    "vb_pairs_along": Helper(PAIRS, "vb_v16u32 vb_pairs_along(vb_v16f, vb_v16f) noexcept nogil", ("vb_lanes",)),
    "vb_pairs_across": Helper("", "vb_v16u32 vb_pairs_across(vb_v16f, vb_v16f) noexcept nogil", ("vb_pairs_along",)),
    "vb_inf_f32": Helper("#define vb_inf_f32 __builtin_inff()", "const float vb_inf_f32"),
    "vb_inf_f64": Helper("#define vb_inf_f64 __builtin_inf()", "const double vb_inf_f64"),
    "vb_nan_f32": Helper('#define vb_nan_f32 __builtin_nanf("")', "const float vb_nan_f32"),
    "vb_nan_f64": Helper('#define vb_nan_f64 __builtin_nan("")', "const double vb_nan_f64"),
}  # fmt: skip


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


def _vector(dtype: str, width: int) -> Helper:
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


class Header:
    """The helpers a module uses, each once, in an order that C accepts."""

    def __init__(self) -> None:
        self.used: dict[str, Helper] = {}
        self.pointers: dict[str, tuple[str, bool]] = {}

    def use(self, name: str) -> str:
        """Note that `name` is used; returns it."""
        if name in self.used:
            return name
        helper = FIXED.get(name)
        if helper is None:
            family, _, dtype = name.rpartition("_")
            for pairs in ("vb_bits", "vb_to"):
                if family.startswith(pairs + "_"):
                    family, dtype = pairs, name.removeprefix(pairs + "_")
            helper = FAMILIES[family](dtype)
        for need in helper.needs:
            self.use(need)
        self.used[name] = helper
        return name

    def vector(self, dtype: str, width: int) -> str:
        """Note that a vector type is used; returns its name."""
        name = vector_name(dtype, width)
        self.used.setdefault(name, _vector(dtype, width))
        return name

    def pointer(self, dtype: str, const: bool) -> str:
        """Note that a pointer typedef is used; returns its name."""
        name = dtype + ("c" if const else "p")
        self.pointers[name] = (DTYPES[dtype].ctype, const)
        return name

    def text(self) -> str:
        """The `cdef extern` block."""
        c = ["#include <stdint.h>", "#include <stddef.h>", "#include <stdlib.h>", "#include <string.h>"]
        declared = []
        for name, (t, const) in self.pointers.items():
            c.append(f"typedef {'const ' if const else ''}{t} *__restrict {name};")
            declared.append(f"ctypedef {'const ' if const else ''}{t}* {name}")
        c += [h.c.strip("\n") for h in self.used.values() if h.c]
        declared += [line for h in self.used.values() for line in h.declaration.splitlines()]
        inside = "\n".join("    " + line if line else "" for block in c for line in block.splitlines())
        below = "\n".join("    " + line for line in declared) or "    pass"
        return f'cdef extern from *:\n    """\n{inside}\n    """\n{below}\n'
