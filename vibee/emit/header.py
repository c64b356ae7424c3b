"""The C helpers that emitted code may use; a module carries only those that it names.

Those whose name ends with a type are made by `families.py`, for the type that is asked for.
"""

from __future__ import annotations

from vibee.tree.types import DTYPES

from .families import FAMILIES, Helper, vector_name, vector_type

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
        self.used.setdefault(name, vector_type(dtype, width))
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
