"""What proofs rest on is tested on entry of every call: a caller that breaks `given` gets an error, never a write
outside of an array, and so it does where no run on small sizes has shown that it may.

A nan satisfies no comparison but `!=`, in proofs as at run time.
"""

import numpy as np
import pytest

import vibee
from vibee.api import library
from vibee.check import load_text
from vibee.lower.unit import Unit
from vibee.prove.verify import verify_program
from vibee.tree.defs import Store, statements

FAR = 1 << 40
TEXT = f"""
@procedure
def by_floats(x: f32[N]) -> y(f32[N]):
    given(x[i] >= 0.0)
    for j in range(N):
        y[where(x[j] >= 0.0, j, j + {FAR})] = 1.0

@procedure
def lowered(x: f32[N], by: f32) -> y(f32[N]):
    t: f32[N]
    for i in range(N):
        t[i] = x[i] - by
    y = by_floats(t)

@procedure
def of_eight(i: i64) -> y(f32):
    given(0 <= i, i < 8)
    t: f32[8]
    t[i] = 3.0
    y = t[i]

@procedure
def of_two(i: i64) -> y(f32):
    given(0 <= 4 * i, 4 * i < 8)
    t: f32[8]
    t[i] = 3.0
    y = t[i]

@procedure
def many(i: i64[N]) -> (y(f32[N]), z(f32[N])):
    for n in range(N):
        y[n] = of_eight(i[n])
        z[n] = of_two(i[n])

@procedure
def through(x: i64[N], at: i64[M]) -> y(i64):
    given(x[at[i]] >= 0, 0 <= at[i], at[i] < N)
    y = M

@procedure
def inner(x: i64[N], by: i64) -> y(i64):
    at: i64[1]
    at[0] = by
    y = through(x, at)

@procedure
def three_ways(x: f32[N], t: f32) -> y(i64[N]):
    given(not t < 0.0)
    for i in range(N):
        if x[i] < t:
            y[i] = 1
        elif x[i] >= t:
            y[i] = 2
        elif t >= 0.0 or x[i] != x[i]:
            y[i] = 3
        else:
            y[i + {FAR}] = 4
"""


@pytest.fixture(scope="module")
def k(tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.mktemp("given") / "entry.vibee"
    path.write_text(TEXT)
    with pytest.MonkeyPatch.context() as m:
        m.setattr(library, "refuse", lambda unit, definitions: None)
        k = vibee.load(path)
        yield k


def test_a_condition_on_floats_that_an_inner_call_breaks_makes_no_unchecked_write(k) -> None:
    x = np.array([3, 1], "f")
    assert k.lowered(x, 0.5).tolist() == [1, 1]
    for by in (2.0, np.nan):
        with pytest.raises(ValueError, match="lowered: an index out of range"):
            k.lowered(x, by)
    with pytest.raises(ValueError, match=r"given x\[i\] >= 0.0 does not hold"):
        k.by_floats(np.array([np.nan], "f"))


def test_a_function_of_numbers_with_arrays_of_its_own_tests_what_is_given(k) -> None:
    y, z = k.many(np.array([0, 1]))
    assert y.tolist() == z.tolist() == [3, 3]
    for wrong in (8, -1, FAR):
        with pytest.raises(ValueError, match="many: a condition of given that does not hold"):
            k.many(np.array([wrong]))
    with pytest.raises(ValueError, match="many: "):  # 4 * i is 0 in 64 bits
        k.many(np.array([1 << 62]))


def test_a_condition_is_tested_after_those_that_keep_its_own_reads_inside(k) -> None:
    assert k.inner(np.array([5, 6]), 1) == 1
    for by in (2, -1, FAR):
        with pytest.raises(ValueError, match="inner: "):
            k.inner(np.array([5, 6]), by)


def test_a_nan_takes_the_way_that_no_comparison_takes(k) -> None:
    x = np.array([-1, 1, np.nan], "f")
    assert k.three_ways(x, 0.5).tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match="index out of range"):
        k.three_ways(x, np.nan)  # not below 0, and not above


def test_only_what_is_tested_counts_as_known() -> None:
    program = load_text(TEXT, "entry.vibee")
    unit = Unit(program, "v3")
    last = {}
    for name in ("by_floats", "three_ways", "of_eight"):
        (d,) = program.defs[name]
        stores = [s for s in statements(unit.procedure(d).body) if isinstance(s, Store) and s.idx]
        assert not any(s.checked for s in stores[:-1])
        last[name] = stores[-1].checked
    assert last == {"by_floats": True, "three_ways": True, "of_eight": False}


def test_the_report_says_what_is_not_tested() -> None:
    found = {f.definition.name: f.verdicts for f in verify_program(load_text(TEXT, "entry.vibee"))}
    (of_floats,) = [v.obligation for v in found["lowered"] if v.kind == "given"]
    assert of_floats.instead == "not tested: no place depends on it"
    assert {v.obligation.instead for v in found["many"] if v.kind == "given"} == {"tested on entry"}
