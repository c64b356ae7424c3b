"""Calls like one before take a short way: with the same results, and the same words about what is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vibee
from vibee.api.again import kinds

SPEC = '''
def scaled(x: real[N, D], by: real, more: real = 0.5) -> y[N, D]:
    """x times by, plus more."""
    given(D >= 1)
    y[n, d] = x[n, d] * by + more
    example(x=[[1, 2]], by=2, y=[[2.5, 4.5]])


def numbers_first(k: i32, x: f32[N], up: bool) -> (y(f32[N]), total(f32)):
    """x shifted up or down by k, and its sum."""
    y[n] = x[n] + where(up, f32(k), -f32(k))
    total = sum[n](y[n])
    example(k=1, x=[1, 2], up=True, y=[2, 3], total=5)


def longer(x: f32[N]) -> y(f32[N + 1]):
    """x and a zero."""
    y[n] = where(n < N, x[min(n, N - 1)], 0.0)
    given(N >= 1)
    example(x=[1], y=[1, 0])


def positive(x: f32[N]) -> y(bool[N]):
    """Which are above zero."""
    y[n] = x[n] > 0
    example(x=[1, -1], y=[True, False])


def near(x: f32[N], k: i64) -> y(f32[N]):
    """x and k, whose square is small: as a whole number, not in 64 bits."""
    given(k * k < 100)
    y[n] = x[n] + f32(k)
    example(x=[1], k=2, y=[3])


@procedure
def counted(count: mut[i64[N]], at: i64[M]):
    """One more at each place."""
    given(0 <= at[m] < N)
    for m in range(M):
        count[at[m]] += 1
    example(counted(count=[0, 0], at=[1, 1]), count=[0, 2])
'''


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path: Path = tmp_path_factory.mktemp("again") / "again.vibee"
    path.write_text(SPEC)
    return vibee.load(str(path))


X = np.array([[1, 2], [3, 4]], np.float32)


def known(f: Any) -> int:
    """For how many kinds of arguments the short way is known."""
    return sum(a is not None for a in f._again.values())


def test_the_second_call_gives_what_the_first_did(spec: Any) -> None:
    for x in (X, X.astype(np.float64)):
        for more in ((), (0.25,)):
            first, second = (spec.scaled(x, 2.0, *more, threads=1) for _ in range(2))
            assert first.dtype == second.dtype == x.dtype
            assert np.array_equal(first, second)
            assert np.array_equal(first, x * 2 + (more[0] if more else 0.5))
    assert known(spec.scaled) == 4


def test_results_are_written_where_they_are_wanted(spec: Any) -> None:
    for _ in range(2):
        y = np.empty_like(X)
        assert spec.scaled(X, 3, out=y) is y
        assert np.array_equal(y, X * 3 + 0.5)
        assert spec.scaled(X, 3, out=(y,)) is y


def test_arrays_and_numbers_go_where_they_belong(spec: Any) -> None:
    for k in (1, 2):
        y, total = spec.numbers_first(k, X[0], True)
        assert np.array_equal(y, X[0] + k)
        assert total == y.sum()
        y, total = spec.numbers_first(k, X[0], False)
        assert np.array_equal(y, X[0] - k)


def test_what_has_to_be_looked_at_each_time(spec: Any) -> None:
    """Shapes that are computed, bools, numbers of other types, arrays that are views or cannot be written."""
    for _ in range(2):
        assert spec.longer(X[0]).tolist() == [1, 2, 0]
        assert spec.positive(X[0]).tolist() == [True, True]
        assert spec.scaled(X, np.float32(2)).tolist() == (X * 2 + 0.5).tolist()
    assert known(spec.longer) == known(spec.positive) == 0
    fixed = X.copy()
    fixed.flags.writeable = False
    assert kinds((fixed,), ()) is kinds((X.T,), ()) is kinds(([1.0],), ()) is None
    assert np.array_equal(spec.scaled(fixed, 2.0), X * 2 + 0.5)


def test_conditions_on_whole_numbers_do_not_wrap_around_in_a_later_call(spec: Any) -> None:
    for k in (1, 2**32, 2, 2**32):
        if k < 10:
            assert spec.near(X[0], k).tolist() == [1 + k, 2 + k]
        else:
            with pytest.raises(ValueError, match=r"k \* k < 100"):
                spec.near(X[0], k)
    assert known(spec.near) == 0


WRONG: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("scaled", (np.empty((2, 0), np.float32), 2.0), {}, "given D >= 1"),
    ("scaled", (X[0].copy(), 2.0), {}, "must have 2 axes"),
    ("scaled", (X, 10**400), {}, "must be a number"),
    ("scaled", (X, 2.0), {"out": np.empty((3, 2), np.float32)}, "shape"),
    ("scaled", (X, 2.0), {"out": X}, "shares memory"),
    ("scaled", (X, 2.0), {"threads": 0}, "threads must be"),
    ("numbers_first", (2**40, X[0].copy(), True), {}, "must be i32"),
    ("numbers_first", (1, X[0].copy(), 2), {}, "must be a bool"),
]


@pytest.mark.parametrize(("name", "args", "more", "words"), WRONG)
def test_what_is_wrong_is_said_as_in_a_first_call(
    spec: Any, name: str, args: tuple[Any, ...], more: dict[str, Any], words: str
) -> None:
    f = getattr(spec, name)
    right = {"scaled": (X, 2.0), "numbers_first": (1, X[0].copy(), True)}[name]
    said = []
    for before in (False, True):
        f._again.clear()
        if before:
            f(*right)
            f(X, 2) if name == "scaled" else None
            f(X, 2.0, out=X.copy()) if name == "scaled" else None
        with pytest.raises(ValueError, match=words) as e:
            f(*args, **more)
        said.append(str(e.value))
        assert e.value.__context__ is None or e.value.__suppress_context__
    assert said[0] == said[1]


def test_what_fails_on_its_way_is_not_done_twice(spec: Any) -> None:
    cells, at = np.zeros(2, np.int64), np.array([1, 1])
    for count in (2, 4):
        spec.counted(cells, at)
        assert cells.tolist() == [0, count]
    ((like, was),) = spec.counted._again.items()

    def failing(*args: Any) -> None:
        was.native(*args)
        raise ValueError("on its way")

    spec.counted._again[like] = replace(was, native=failing)
    with pytest.raises(ValueError, match="on its way"):
        spec.counted(cells, at)
    assert cells.tolist() == [0, 6]
    spec.counted._again.clear()
