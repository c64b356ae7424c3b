"""Memory for numbers."""

import mmap

import pytest

from vibee.runtime import buffers

LARGE = buffers._LARGE // 4  # f32


@pytest.fixture
def advice(monkeypatch):
    """What memory was asked for, and whether the system has large pages."""
    asked = []

    class Memory(mmap.mmap):
        refuses = False

        def madvise(self, option):
            asked.append((len(self), option))
            if Memory.refuses:
                raise OSError("no large pages")

    monkeypatch.setattr(mmap, "mmap", Memory)
    return asked, Memory


def test_elements_are_zeros_of_their_size_and_can_be_written():
    for kind, size in buffers._SIZES.items():
        a = buffers.zeros(5, kind)
        assert (a.format, len(a), a.nbytes) == (kind, 5, 5 * size)
        a[4] = 1
        assert a.tolist() == [0, 0, 0, 0, 1]
    assert len(buffers.zeros(0)) == 0


def test_only_large_arrays_ask_for_large_pages(advice):
    asked, _ = advice
    buffers.zeros(LARGE - 1)
    assert asked == []
    assert len(buffers.zeros(LARGE)) == LARGE
    assert asked == [(buffers._LARGE, mmap.MADV_HUGEPAGE)]


def test_a_system_without_large_pages_gives_small_ones(advice):
    asked, memory = advice
    memory.refuses = True
    a = buffers.zeros(LARGE)
    assert len(asked) == 1
    assert a[LARGE - 1] == 0


def test_more_than_there_is_is_refused_with_its_size():
    with pytest.raises(MemoryError, match=f"no memory for {1 << 62} bytes"):
        buffers.zeros(1 << 60)
    with pytest.raises(MemoryError, match="no memory for"):
        buffers.zeros(1 << 63)
