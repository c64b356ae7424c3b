"""Questions to the solver: what is implied holds for all small numbers, and what the lemmas are for is implied."""

import itertools

import pytest

from vibee.check import load_text
from vibee.prove import linear
from vibee.prove.linear import implied, satisfiable

pytestmark = pytest.mark.usefixtures("asked_anew")

HEAD = "(a: i64, b: i64, c: i64, m: i64, n: i64, k: i32, h: u64, x: i32[4], z: u32[4], t: bool) -> y(f32)"
NUMBERS = (-3, -2, -1, 0, 1, 2, 3)
# facts; what follows
IMPLIED = [
    ("a < b", "a + 1 <= b"),
    ("a < b, b < c", "a < c and not (c <= a)"),
    ("a < b or a == b", "a <= b"),
    ("a != b, a >= b", "a > b"),
    ("a == -b", "a + b == 0"),
    ("a <= b", "min(a, b) == a and max(a, b) == b"),
    ("a >= 0", "where(a < 5, a, 5) <= a"),
    ("n > 0", "0 <= a % n and a % n < n"),
    ("n > 0", "a // n * n <= a and a < a // n * n + n"),
    ("a % 2 == 1, b % 2 == 1", "(a + b) % 2 == 0"),
    ("0 <= a, a < m, 0 <= b, b < n", "a * n + b < m * n"),
    ("0 <= a, a < m, 0 <= b, b < n, 0 <= c, c < k", "(a * n + b) * i64(k) + c < m * n * i64(k)"),
    ("a * b > 0, a > 0", "b > 0"),
    ("m >= 1, n >= 1", "n <= n * m"),
    ("a >= 2", "a * a >= a + a"),
    ("a + 2 <= c, m > 0", "a * m + m + m <= c * m"),
    ("c <= a + 1, m > 0", "c * m <= a * m + m"),
    ("a * b == c, a * b > 3", "c > 2"),
    ("a > b", "i64(x[0]) <= 2147483647"),
    ("a > b", "i64(h % u64(8)) == i64(h % u64(8))"),
    ("a > b", "i64(z[1]) >= 0"),
    ("a <= b", "min(a, b) + min(a, b) == a + a"),
    ("k > 5", "i64(k) + a > a"),
    ("a < b, True", "b > a"),
]
# what does not follow; or only where integers of 32 bits had no end
OPEN = [
    ("a < b", "a + 2 <= b"),
    ("m >= 0", "n <= n * m"),
    ("a * b > 4", "b > 0"),
    ("n >= 0", "a // n * n <= a - 1"),
    ("k >= 0", "k + k >= k"),
    ("a > b", "i64(h) >= 0"),
    ("a * b == c", "a * c >= b"),
    ("a < b", "t"),
]


def conditions(text: str) -> list:
    program = load_text(f'module("m", version=1)\n\ndef f{HEAD}:\n    given({text})\n    y = 0.0\n', "m.vibee")
    program.raise_errors()
    return list(program.by_key("f").given)


def value(text: str, **numbers: int) -> bool:
    """A condition of numbers, as Python has it."""

    def same(x):
        return x

    names = {"i64": same, "u64": same, "where": lambda c, x, y: x if c else y, "x": [5], "z": [6, 7], **numbers}
    return bool(eval(f"({text})", {"min": min, "max": max}, names))


def found(facts: str, goal: str) -> bool:
    *known, asked = conditions(f"{facts}, {goal}")
    return implied(tuple(known), asked)


@pytest.mark.parametrize(("facts", "goal"), IMPLIED)
def test_what_is_implied_holds(facts: str, goal: str) -> None:
    assert found(facts, goal)
    names = [x for x in "abcmnkh" if x in {w.strip("()") for w in f"{facts} {goal}".replace(",", " ").split()}]
    for numbers in itertools.product(NUMBERS, repeat=min(len(names), 4)):
        given = dict.fromkeys("abcmnkh", 2) | dict(zip(names, numbers, strict=False))
        if all(value(f, **given) for f in facts.split(", ")) and (given["n"] or "n" not in goal):
            assert value(goal, **given)


@pytest.mark.parametrize(("facts", "goal"), OPEN)
def test_what_does_not_follow_is_not_implied(facts: str, goal: str) -> None:
    assert not found(facts, goal)


def test_a_question_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the answer was yes or no; with more steps what failed is asked again."""
    yes, no = conditions("a < b, a <= b"), conditions("a < b, a + 3 <= b")
    assert implied((yes[0],), yes[1])
    assert not implied((no[0],), no[1])
    asked = []
    monkeypatch.setattr(linear, "_impossible", lambda *claim: asked.append(claim) or True)
    implied.cache_clear()
    assert implied((yes[0],), yes[1])
    assert not implied((no[0],), no[1])
    assert not asked
    implied.cache_clear()
    usual = linear.TIMEOUT_MS
    with linear.limit(usual + 1):
        assert implied((no[0],), no[1])
    assert len(asked) == 1
    assert usual == linear.TIMEOUT_MS


def test_numbers_that_satisfy_conditions_are_found_where_there_are_any() -> None:
    numbers = satisfiable(conditions("m * n > 20, m > 0, n > 0"))
    assert numbers is not None
    assert numbers["m"] * numbers["n"] > 20
    small = satisfiable(conditions("m * n > 3, m > 0"))
    assert small is not None
    assert max(small["m"], small["n"]) <= linear.SMALL
    assert satisfiable(conditions("a < b"), conditions("b < a")) is None
