"""Memory for numbers: page-aligned, zeroed, and given to the kernels through the buffer protocol."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:  # the typing module is not worth its start time
    from collections.abc import Callable

    Transpose = Callable[[memoryview, memoryview, int, int], object]

_LARGE = 1 << 22  # bytes, as numpy's
_PIECE = 1 << 14  # numbers converted at once
_SIZES = {"f": 4, "d": 8, "b": 1, "B": 1, "h": 2, "H": 2, "i": 4, "I": 4, "q": 8, "Q": 8}


def zeros(count: int, kind: str = "f") -> memoryview:
    """`count` zeroed elements of a struct format; pages are only taken when they are written to.

    Large arrays ask for large pages: the processor reads ahead within a page, and looks up fewer of them."""
    import mmap

    size = count * _SIZES[kind]
    try:
        room = mmap.mmap(-1, max(1, size), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, OverflowError):
        raise MemoryError(f"no memory for {size} bytes") from None
    if size >= _LARGE and hasattr(mmap, "MADV_HUGEPAGE"):
        try:  # noqa: SIM105 - contextlib is not worth its start time
            room.madvise(mmap.MADV_HUGEPAGE)
        except OSError:  # a system without them
            pass
    return typed(memoryview(room)[:size], kind)


def typed(data: memoryview, kind: str) -> memoryview:
    """The same bytes as elements of a struct format."""
    return data.cast("B").cast(kind)  # type: ignore[call-overload, no-any-return]


def transpose(source: memoryview, target: memoryview, rows: int, columns: int) -> None:
    """target[columns, rows] = source[rows, columns] transposed; both are flat views of 32-bit elements.

    Strided slices, 3 to 8 ns an element; a generated kernel with the same arguments may stand in for it.
    """
    if rows <= columns:
        for i in range(rows):
            target[i::rows] = source[i * columns : (i + 1) * columns]
    else:
        for j in range(columns):
            target[j * rows : (j + 1) * rows] = source[j::columns]


def to_f32(data: memoryview, dtype: str, target: memoryview) -> None:
    """Copy the bytes of a tensor of a floating type into 32-bit elements."""
    if dtype == "F32":
        target.cast("B")[:] = data
    elif dtype == "BF16":
        # The upper half of a 32-bit float; the lower half stays zero.
        typed(target, "H")[1::2] = typed(data, "H")
        typed(target, "H")[0::2] = typed(zeros(len(target), "H"), "H")
    else:
        from struct import pack_into, unpack_from

        code, size = {"F16": ("e", 2), "F64": ("d", 8)}[dtype]
        out = target.cast("B")
        for at in range(0, len(target), _PIECE):
            n = min(_PIECE, len(target) - at)
            try:
                pack_into(f"<{n}f", out, 4 * at, *unpack_from(f"<{n}{code}", data, size * at))
            except OverflowError:
                raise ValueError("a number is too large for 32 bits") from None


def is_zero(data: memoryview, size: int) -> bool:
    """Are all numbers, floats of `size` bytes, 0 or -0?"""
    found = data.tobytes()
    signs = found[size - 1 :: size].count(0x80)  # of a -0, the one bit that is set
    return found.count(0) + signs == len(found)
