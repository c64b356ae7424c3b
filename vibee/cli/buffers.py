"""Memory for kernels: whole pages, zero-filled, given back when the last view goes.

Anonymous maps are aligned for every vector load, cost nothing until they are touched, and do
not go through the allocator.
"""

from __future__ import annotations

import mmap

from vibee.runtime.errors import OutOfMemoryForeseen
from vibee.runtime.machine import human_size

SIZES = {"f": 4, "d": 8, "i": 4, "q": 8, "B": 1, "b": 1, "H": 2, "Q": 8}
HUGE = 4 << 20  # from this many bytes on, ask for huge pages: fewer misses of the address cache


def buffer(format: str, *shape: int) -> memoryview:
    """A zero-filled C-contiguous array of a format of the buffer protocol."""
    count = 1
    for n in shape:
        count *= n
    size = count * SIZES[format]
    try:
        pages = mmap.mmap(-1, max(size, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if size >= HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
            pages.madvise(mmap.MADV_HUGEPAGE)
    except (OSError, OverflowError, ValueError, MemoryError):
        raise OutOfMemoryForeseen(f"no memory for an array of {human_size(size)}; a smaller model needs less") from None
    flat = memoryview(pages)[:size]
    if len(shape) == 1:
        return flat.cast(format)
    return flat.cast(format, shape=list(shape))


def nbytes(format: str, *shape: int) -> int:
    """What `buffer` would take."""
    count = SIZES[format]
    for n in shape:
        count *= n
    return count
