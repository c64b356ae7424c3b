"""What the walk through a procedure concludes from conditions, loops, calls and overflow."""

import sys
from dataclasses import replace
from functools import cache

import pytest

from vibee.check import load_text
from vibee.lower.unit import Unit
from vibee.prove import linear, remembered
from vibee.prove.bounds import check_bounds
from vibee.prove.facts import compare
from vibee.prove.linear import MANY, constant_apart, implied, proved_before
from vibee.prove.report import Obligation, VectorBounds
from vibee.prove.verify import PROVED, REFUTED, UNPROVED, verify_program
from vibee.tree.defs import Decl, For, If, Store, statements
from vibee.tree.expr import Expr, const, var


def outcomes(text: str, kind: str, name: str = "f") -> dict[str, str]:
    """What came of each claim of a kind in a definition."""
    program = load_text(text, "case.vibee")
    assert not program.errors, program.errors[0]
    (found,) = [f for f in verify_program(program) if f.definition.name == name]
    return {v.text: v.outcome for v in found.verdicts if v.kind == kind}


def test_after_a_break_the_condition_of_the_loop_may_still_hold() -> None:
    text = """
@procedure
def f(x: f32[N], y: mut[f32[N]]):
    i: i64 = 0
    while i < N:
        if x[i] > 0.0:
            LEAVE
        i += 1
    if i >= 0:
        y[N - 1 - i + N] = 1.0
"""
    place = "0 <= N - 1 - i + N < N for axis 0 of y"
    sure = text.replace("def f(x: f32[N], y: mut[f32[N]]):", "def f(x: f32[N], y: mut[f32[N]]):\n    given(N >= 1)")
    assert outcomes(sure.replace("LEAVE", "break"), "bounds")[place] == REFUTED
    assert outcomes(sure.replace("LEAVE", "x0 = 0"), "bounds")[place] == PROVED


def test_the_right_side_of_or_knows_that_the_left_one_does_not_hold() -> None:
    text = """
@procedure
def f(x: f32[N], i: i64) -> y(bool):
    y = i < 0 or i >= N or x[i] > 0.0
"""
    assert outcomes(text, "bounds") == {"0 <= i < N for axis 0 of x": PROVED}
    assert outcomes(text.replace("i >= N or", "i < N or"), "bounds") != {"0 <= i < N for axis 0 of x": PROVED}


SHARED = """
@procedure
def f(x: f32[N]) -> s(f32):
    t = 0.0
    for i in range(N):
        u = x[i]
        t = u
    s = t
"""


def test_a_parallel_loop_that_sets_a_scalar_from_outside_becomes_serial() -> None:
    unit = Unit(load_text(SHARED, "case.vibee"), "v3")
    p = unit.procedure(unit.program.instance("f"))
    wide = replace(p, body=[replace(s, parallel=True) if isinstance(s, For) else s for s in p.body])
    made, found = check_bounds(wide, unit.by_key)
    assert [o.what for o in found if not o.proved] == ["t is set by several iterations of the loop over i"]
    assert not any(s.parallel for s in statements(made.body) if isinstance(s, For))


def test_what_is_given_of_numbers_is_asked_at_each_call_of_a_function() -> None:
    text = """
@procedure
def third(n: i64) -> y(i64):
    given(n >= 0, n % 3 == 0)
    y = n // 3

@procedure
def plain(n: i64) -> y(i64):
    y = n + 1

@procedure
def f(n: i64) -> y(i64[2]):
    given(n >= 0, n < 1000)
    y[0] = third(3 * n)
    y[1] = plain(n)
"""
    assert outcomes(text, "given") == {
        "n >= 0 at the call of third": PROVED, "n % 3 == 0 at the call of third": PROVED,
        "given can hold: n >= 0, n < 1000": PROVED,
    }  # fmt: skip


def test_a_condition_on_a_sum_is_not_proved_at_a_call() -> None:
    text = """
@procedure
def g(x: i64[N], n: i64) -> y(i64):
    given(sum[i](x[i]) >= 0, n >= 0)
    y = n

@procedure
def f(x: i64[N]) -> y(i64):
    y = g(x, 5)
"""
    assert outcomes(text, "given") == {
        "sum[i:N](x[i]) >= 0 at the call of g": REFUTED, "n >= 0 at the call of g": PROVED,
    }  # fmt: skip


# ---------------------------------------------------------------- loops that end


WHILE = """
@procedure
def f(n: i64, k: i64) -> s(i64):
    given(0 <= n, n < 1000)
    i: i64 = 0
    while i < n:
BODY
"""
STEPS = "".join(f"        if k > {c}:\n            s += 1\n" for c in range(7))


def ends(body: str) -> str:
    (outcome,) = outcomes(WHILE.replace("BODY", body), "ends").values()
    return outcome


def test_a_loop_with_too_many_ways_through_it_is_not_looked_at() -> None:
    assert ends("        i += 1") == PROVED
    assert ends(STEPS + "        i += 1") == UNPROVED
    inner = "".join(f"    {line}\n" for line in STEPS.splitlines())
    assert ends("        if k > 0:\n" + inner + "        i += 1") == UNPROVED


def test_a_way_that_is_never_taken_need_not_end() -> None:
    assert ends("        if i > n:\n            i -= 1\n        else:\n            i += 1") == PROVED
    assert ends("        if i < n:\n            i += 1") == PROVED


SKIPS = "".join(f"        if n % {k} == 1:\n            n += 1\n" for k in range(2, 9))
WHY = "no number is known that each iteration makes smaller, and none below a bound: not "


@pytest.mark.parametrize(
    ("loop", "why"),
    [
        ("while x > 0.5:\n        x = x * 0.5", "no condition that keeps it going compares integers"),
        (f"while n < 9:\n{SKIPS}        n += 1", "an iteration can go more than 64 ways"),
        ("while n != a:\n        n += 1", WHY + "a - n, n - a"),
        ("while n != a and n != b and n != 5:\n        n += 1", WHY + "a - n, n - a, b - n, n - b, ..."),
    ],
)
def test_why_a_loop_is_not_known_to_end(loop: str, why: str) -> None:
    text = (
        f"@procedure\ndef f(y: f32, m: i64, a: i64, b: i64) -> s(i64):\n    x = y\n    n = m\n    {loop}\n    s = n\n"
    )
    (o,) = not_proved(text)
    assert (o.kind, o.why) == ("ends", why)


def test_why_a_condition_at_a_call_is_not_known() -> None:
    callee = "@procedure\ndef g(x: i64[N]) -> y(i64):\n    given(x[n] > n)\n    y = 0\n\n"
    (o,) = not_proved(callee + "@procedure\ndef f(x: i64[N]) -> y(i64):\n    y = g(x)\n")
    assert (o.kind, o.why) == ("given", "it reads what nothing is known of here")


def not_proved(text: str) -> list[Obligation]:
    program = load_text(text, "case.vibee")
    unit = Unit(program, "v3")
    unit.procedure(program.defs["f"][0])
    return unit.open["f"]


RUNS = """
@procedure
def f(x: i32[N], m: i64) -> (length(i64[N]), count(i64)):
    given(0 <= m, m <= 2 ** 20)
    i: i64 = 0
    c: i64 = 0
    while i < N:
        j: i64 = i + 1
        LOOP
        length[c] = j - i
        c += 1
        i = j
    count = c
"""


@pytest.mark.parametrize(
    ("loop", "ending", "inside"),
    [
        ("while j < N and x[j] == x[i]:\n            j += 1", True, True),
        (
            "while j < N and x[j] == x[i]:\n            if x[j] > 2:\n                break\n            j = 1 + j",
            True,
            True,
        ),
        ("for k in range(N):\n            if x[k] > 2 and j < N:\n                j += 1", True, True),
        (
            "while j < N and x[j] == x[i]:\n            j += 1\n            if j > 5:\n                j = 0",
            False,
            False,
        ),
        ("while j > 0 and x[j - 1] == x[i]:\n            j -= 1", False, False),
        ("for k in range(m):\n            i -= 1", True, False),
    ],
)
def test_a_loop_ends_where_one_inside_only_goes_ahead(loop: str, ending: bool, inside: bool) -> None:
    text = RUNS.replace("LOOP", loop)
    assert (set(outcomes(text, "ends").values()) == {PROVED}) == ending
    assert (set(outcomes(text, "bounds").values()) == {PROVED}) == inside


MERGE = """
@procedure
def f(a: i32[N], b: i32[M]) -> (c(i32[N + M])):
    i: i64 = 0
    j: i64 = 0
    k: i64 = 0
    while i < N and j < M:
        if b[j] < a[i]:
            c[k] = b[j]
            STEP
        else:
            c[k] = a[i]
            i += 1
        k += 1
    while i < N:
        c[k] = a[i]
        i += 1
        k += 1
    while j < M:
        c[k] = b[j]
        j += 1
        k += 1
"""


def test_two_places_that_are_counted_together() -> None:
    right = MERGE.replace("STEP", "j += 1")
    assert {*outcomes(right, "ends").values(), *outcomes(right, "bounds").values()} == {PROVED}
    assert outcomes(MERGE.replace("STEP", "k += 0"), "ends") != outcomes(right, "ends")
    assert set(outcomes(MERGE.replace("STEP", "j += 1\n            k += 1"), "bounds").values()) != {PROVED}


def test_a_loop_ends_where_one_of_several_conditions_leaves_it() -> None:
    assert ends("        if k > 3 or s > 5:\n            return\n        i += 1") == PROVED
    assert ends("        if i >= n:\n            return\n        s += 1") != PROVED
    assert ends("        if f64(k) > 0.5:\n            return\n        i += 1") == PROVED


# ---------------------------------------------------------------- overflow


def test_a_range_whose_steps_may_pass_the_last_number_is_cut_short() -> None:
    text = """
@procedure
def f(y: mut[f32[N]], x: i64[M]):
    given(M >= 1)
    for i in range(RANGE):
        if 0 <= i < N:
            y[i] = 1.0
"""
    for wanted, op in (("0, x[0], 3", "min"), ("0, x[0], -3", "max")):
        program = load_text(text.replace("RANGE", wanted), "case.vibee")
        unit = Unit(program, "v3")
        loop = next(s for s in statements(unit.procedure(program.defs["f"][0]).body) if isinstance(s, For))
        assert loop.hi.op == op
        assert abs(loop.hi.args[1].attr) == 2**62


def test_an_array_whose_length_has_no_bound_is_tested_before_it_is_made() -> None:
    text = """
@procedure
def f(x: i64[M]) -> s(f32):
    given(M >= 2)
    t: f32[max(x[0], 0), max(x[1], 0)]
    s = 0.0
"""
    program = load_text(text, "case.vibee")
    body = Unit(program, "v3").procedure(program.defs["f"][0]).body
    tests = [s.cond for s in statements(body) if isinstance(s, If)]
    assert any(c.op == "not" and c.args[0].args[1] == const(2.0**62, "f64") for c in tests)


def test_conditions_that_bound_no_element_say_nothing_of_overflow() -> None:
    text = """
@procedure
def f(x: i64[N], y: mut[f32[N]]):
    given(x[i] != 3, GIVEN)
    for i in range(N):
        if 0 <= x[i] + x[i] < N:
            y[x[i] + x[i]] = 1.0
"""
    found = outcomes(text.replace("GIVEN", "x[i] >= 0"), "overflow")
    assert found["x[i] + x[i] stays within 63 bits"] == UNPROVED
    found = outcomes(text.replace("GIVEN", "x[i] >= 0, x[i] <= N"), "overflow")
    assert found["x[i] + x[i] stays within 63 bits"] == PROVED


# ---------------------------------------------------------------- what is remembered


def test_answers_are_of_one_prover_and_of_one_kind_of_expressions(tmp_path):
    for folder in ("prove", "tree", "lower"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "part.py").write_text("")
    before = list(remembered._decides(tmp_path))
    (tmp_path / "lower" / "part.py").write_text("another")
    assert list(remembered._decides(tmp_path)) == before
    (tmp_path / "tree" / "part.py").write_text("zeros of both signs are equal")
    assert list(remembered._decides(tmp_path)) != before


def test_a_proof_that_cannot_be_kept_is_a_proof(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(remembered, "_file", lambda: tmp_path / "no" / "folder")
    which = remembered.key((), var("x"))
    remembered.remember(which)
    assert remembered.known(which)
    remembered._known().found.discard(which)


def test_expressions_differ_by_a_constant_or_not() -> None:
    i, n = var("i"), var("n")
    later = Expr("add", (i, const(3, "i64")), None, "i64")
    assert constant_apart(i, later) == 3
    assert constant_apart(i, Expr("neg", (n,), None, "i64")) is None
    assert constant_apart(Expr("neg", (i,), None, "i64"), Expr("sub", (const(1, "i64"), i), None, "i64")) == 1


def test_without_a_solver_nothing_is_proved_but_what_is_plain(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "z3", None)
    i, far = var("i"), const(987654321, "i64")
    assert not implied((compare("le", far, i),), compare("lt", const(0, "i64"), i))
    assert not proved_before((compare("le", far, i),), compare("lt", const(0, "i64"), i))
    assert constant_apart(i, i) == 0
    assert constant_apart(i, far) is None


@pytest.mark.usefixtures("asked_anew")
def test_of_very_many_products_only_those_asked_for_have_lemmas() -> None:
    def times(a: str, b: str) -> Expr:
        return Expr("mul", (var(a), var(b)), None, "i64")

    facts = [compare("le", const(0, "i64"), times(f"a{n}", f"b{n}")) for n in range(MANY + 1)]
    facts += [compare("lt", const(0, "i64"), var("f")), compare("lt", var("x"), var("y"))]
    assert implied(tuple(facts), compare("lt", times("f", "x"), times("f", "y")))
    assert not implied(tuple(facts), compare("lt", times("f", "y"), times("f", "x")))
    large = [compare("le", const(3, "i64"), var(name)) for name in ("x", "y")]
    never = (*large, compare("le", times("x", "y"), const(8, "i64")))
    absurd = compare("lt", var("x"), const(0, "i64"))
    assert implied(never, absurd)  # by nonlinear arithmetic
    assert not implied((*never, *facts), absurd)


def test_a_vector_that_may_pass_the_end_is_no_checked_access_but_none() -> None:
    unit = Unit(load_text("def f(x: f32[N]) -> y[N]:\n    y[i] = x[i]\n", "case.vibee"), "v3")
    p = unit.procedure(unit.program.instance("f"))
    zero = (const(0, "i64"),)
    for s in (Store("y", zero, Expr("splat", (const(0.0, "f32"),), None, "f32x8")),
              Decl("v", "f32x8", Expr("vload", zero, "x", "f32x8"))):  # fmt: skip
        with pytest.raises(VectorBounds):
            check_bounds(replace(p, body=[s]), unit.by_key)


@pytest.mark.usefixtures("asked_anew")
def test_what_small_numbers_deny_is_not_asked_for_long(monkeypatch) -> None:
    asked: list[str] = []
    impossible = linear._impossible
    monkeypatch.setattr(linear, "_impossible", lambda kind, claim: asked.append(kind) or impossible(kind, claim))
    n, m = var("n"), var("m")
    area = Expr("mul", (n, m), None, "i64")
    sizes = (compare("le", const(1, "i64"), n), compare("le", const(1, "i64"), m))
    assert not implied(sizes, compare("lt", n, area))  # not for m = 1
    assert "" not in asked  # nonlinear arithmetic was left alone
    assert implied(sizes, compare("le", n, area))


def test_what_another_process_proves_is_known_here(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(remembered, "_file", lambda: tmp_path / "proofs")
    monkeypatch.setattr(remembered, "_known", cache(remembered._Answers))
    which = remembered.key((), var("x"))
    assert not remembered.known(which)
    (tmp_path / "proofs").write_bytes(which + b"half of one")
    assert remembered.known(which)
    assert not remembered.known(remembered.key((), var("y")))


BANDS = """
@procedure
def f(x: f32[N], y: mut[f32[N]], z: mut[f32[N]]):
    for p in parallel((N + 7) // 8):
        for i in range(8 * p, min(8 * p + END, N)):
            BODY
"""


@pytest.mark.parametrize(
    ("end", "body", "proved"),
    [
        ("8", ["y[i] = x[i]"], True),  # one access
        ("8", ["y[i] = x[i]", "if i + 1 < N:", "    z[i] = y[i]"], True),  # all in the band
        ("8", ["y[i] = x[i]", "if i + 1 < N:", "    y[i + 1] = x[i]"], False),  # one outside of it
        ("9", ["y[i] = x[i]", "if i + 1 < N:", "    z[i] = y[i]"], False),  # bands that meet
        ("8", ["z[p] = y[p]", "y[p] = x[i]", "if i + 1 < N:", "    z[p] = y[p]"], True),  # the same row
        ("8", ["s = y[(i + N) % N] + y[i]", "y[i] = s"], True),  # not in a band, but the places are the same
        ("8", ["s = y[N - 1 - i] + y[i]", "if i + 1 < N:", "    y[N - 1 - i] = s"], False),
    ],
)
def test_iterations_that_stay_in_their_bands_do_not_meet(end: str, body: list[str], proved: bool) -> None:
    text = BANDS.replace("END", end).replace("BODY", f"\n{' ' * 12}".join(body))
    assert (set(outcomes(text, "race").values()) == {PROVED}) == proved


def test_parts_that_go_up_with_the_iterations_do_not_meet() -> None:
    text = """
@procedure
def put(y: mut[f32[N]]):
    for n in range(N):
        y[n] = 1.0

@procedure
def f(y: mut[f32[N]], cut: i64):
    given(0 <= cut, cut <= 8)
    for p in parallel(N // 8):
        put(y[8 * p : 8 * p + cut])
        if cut < 4:
            put(y[8 * p + cut : 8 * p + 8])
"""
    assert set(outcomes(text, "race").values()) == {PROVED}
    assert PROVED not in outcomes(text.replace("cut <= 8", "cut <= 9"), "race").values()
