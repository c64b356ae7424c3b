"""The random numbers: known answers of the generator, moments of the distributions, any number of threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

ALL = (1 << 64) - 1


@pytest.fixture(scope="module")
def k(load: Any) -> Any:
    """The random spec."""
    return load("foundation/random")


@pytest.mark.parametrize(
    ("key", "stream", "block", "words"),
    [  # philox4x32 10 of Random123's kat_vectors
        (0, 0, 0, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        (ALL, ALL, ALL, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (0x299F31D0A4093822, 0x0370734413198A2E, 0x85A308D3243F6A88, "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_known_answers(k: Any, key: int, stream: int, block: int, words: str) -> None:
    got = [k.philox(key, stream, block, half) for half in (0, 1)]
    assert " ".join(f"{g & 0xFFFFFFFF:08x} {g >> 32:08x}" for g in got) == words


def test_words_of_a_block_are_used_once(k: Any) -> None:
    c = np.arange(64, dtype=np.uint64)
    small = k.random_u32(5, 6, c)
    large = k.random_u64(5, 6, c[:32])
    np.testing.assert_array_equal(small.view(np.uint64), large)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_uniform(k: Any, dtype: type) -> None:
    n = 1 << 18
    x = k.uniform(1, 2, 0.0, 1.0, out=np.empty(n, dtype))
    assert x.min() >= 0 and x.max() < 1
    assert abs(x.mean() - 0.5) < 5 / np.sqrt(12 * n)
    counts = np.histogram(x, 64, (0, 1))[0]
    chi = np.sum((counts - n / 64) ** 2) / (n / 64)
    assert chi < 63 + 6 * np.sqrt(2 * 63)
    y = k.uniform(1, 2, -3.0, 5.0, out=np.empty(n, dtype))
    np.testing.assert_allclose(y, -3 + 8 * x, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_normal(k: Any, dtype: type) -> None:
    n = 1 << 18
    x = k.normal(1, 2, 0.0, 1.0, out=np.empty(n, dtype)).astype(np.float64)
    for power, moment, spread in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs(np.mean(x**power) - moment) < 5 * np.sqrt(spread / n)
    assert 4 < np.abs(x).max() < 7
    assert abs(np.corrcoef(x[::2], x[1::2])[0, 1]) < 5 / np.sqrt(n / 2)
    other = k.normal(1, 3, 0.0, 1.0, out=np.empty(n, dtype))
    assert abs(np.corrcoef(x, other)[0, 1]) < 5 / np.sqrt(n)
    scaled = k.normal(1, 2, 4.0, 0.5, out=np.empty(n, dtype))
    np.testing.assert_allclose(scaled, 4 + 0.5 * x, rtol=1e-5, atol=1e-5)


def test_both_precisions_have_the_same_law(k: Any) -> None:
    n = 1 << 16
    small = np.sort(k.normal(1, 2, 0.0, 1.0, out=np.empty(n, np.float32)))
    large = np.sort(k.normal(1, 2, 0.0, 1.0, out=np.empty(n, np.float64)))
    middle = slice(n // 100, -n // 100)
    assert np.max(np.abs(small[middle] - large[middle])) < 0.05


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_any_number_of_threads(k: Any, threads: int) -> None:
    for f, numbers in ((k.normal, (0.0, 1.0)), (k.uniform, (0.0, 1.0))):
        one = f(9, 1, *numbers, out=np.empty(10_001, np.float32), threads=1)
        many = f(9, 1, *numbers, out=np.empty(10_001, np.float32), threads=threads)
        np.testing.assert_array_equal(one, many)


def test_whole_numbers_below(k: Any) -> None:
    n = 120_000
    x = k.below(1, 2, np.arange(n, dtype=np.uint64), 12)
    assert x.min() == 0 and x.max() == 11
    chi = np.sum((np.bincount(x, minlength=12) - n / 12) ** 2) / (n / 12)
    assert chi < 11 + 6 * np.sqrt(22)
    large = (1 << 62) + 12345
    y = k.below(1, 2, np.arange(1000, dtype=np.uint64), large)
    bits = k.random_u64(1, 2, np.arange(1000, dtype=np.uint64))
    assert [int(v) for v in y] == [int(b) * large >> 64 for b in bits]
    z = k.integers(1, 2, -5, 6, N=1000)
    assert z.min() == -5 and z.max() == 5


def test_upper_product(k: Any, rng: np.random.Generator) -> None:
    for a, b in rng.integers(0, 1 << 64, (200, 2), dtype=np.uint64):
        assert k.upper_product(int(a), int(b)) == int(a) * int(b) >> 64


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_categorical(k: Any, dtype: type) -> None:
    weight = np.array([0.0, 1.0, 0.0, 3.0, 4.0, 0.0], dtype)
    u = (np.arange(8000) + 0.5) / 8000
    got = np.bincount([k.categorical(weight, float(v)) for v in u], minlength=6)
    np.testing.assert_allclose(got, weight * 1000, atol=1)
    with np.errstate(divide="ignore"):
        logit = np.log(weight)
    same = np.bincount([k.categorical_logits(logit, 1.0, float(v)) for v in u], minlength=6)
    np.testing.assert_allclose(same, got, atol=1)
    assert k.categorical_logits(logit, 0.0, 0.5) == 4
    assert k.categorical(weight, 0.0) == 1 and k.categorical(weight, float(np.nextafter(dtype(1), dtype(0)))) == 4
    with pytest.raises(ValueError):
        k.categorical(weight, 1.0)


def test_permutations_are_equally_likely(k: Any) -> None:
    seen: dict[tuple[int, ...], int] = {}
    for stream in range(2400):
        p = tuple(k.permutation(3, stream, out=np.empty(4, np.int64)).tolist())
        assert sorted(p) == [0, 1, 2, 3]
        seen[p] = seen.get(p, 0) + 1
    assert len(seen) == 24
    assert sum((c - 100) ** 2 / 100 for c in seen.values()) < 23 + 6 * np.sqrt(46)
    x = np.arange(1000)
    k.shuffle(3, 4, x)
    assert sorted(x.tolist()) == list(range(1000)) and x.tolist() != list(range(1000))
