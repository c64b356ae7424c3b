"""Arithmetic of sizes: what is said to be equal is equal for all sizes that satisfy the facts."""

from itertools import product

import pytest

from vibee.check import load_text
from vibee.tree.poly import Sizes, evaluate

NAMES = ("A", "B", "N")


def size(given, text):
    """The conditions and the size expression, as a spec has them."""
    sizes = ", ".join(f"{n}: size" for n in NAMES)
    program = load_text(f"def f(x: f32, {sizes}) -> y[{text}]:\n    given({given})\n    y[i] = x", "case.vibee")
    program.raise_errors()
    f = program.by_key("f")
    return f.given, f.outs[0].shape[0]


def holds(given, env):
    """True if the sizes satisfy the conditions."""
    compare = {"eq": int.__eq__, "ge": int.__ge__}
    return all(compare[g.op](*(evaluate(a, env) for a in g.args)) for g in given)


@pytest.mark.parametrize(
    ("given", "one", "other"),
    [
        ("N >= 1", "A * (B + N) - A * B", "N * A"),
        ("N >= 1", "-(A - N) + 2", "2 + N - A"),
        ("N >= 1", "(N - N + 9) // 2", "4"),
        ("N >= 1", "2 * N * A // A", "N + N"),
        ("N >= 1", "(A + B) // (B + A)", "1"),
        ("N >= 1", "(N + A) // 3 + N % 2", "N % 2 + (A + N) // 3"),
        ("N >= 1", "max(A + B, N) - min(A, B)", "-min(A, B) + max(A + B, N)"),
        ("N >= 1", "i32(N) * 2", "i32(N) + i32(N)"),
        ("N == N", "N", "N"),
        ("A == B, B == N", "A + B", "2 * N"),
        ("N % A == 0", "N // A * A * B", "B * N"),
        ("N % (2 * A) == 0", "N // A", "2 * (N // (2 * A))"),
        ("N % (A + B) == 0", "N // (A + B) + 1", "1 + N // (A + B)"),
    ],
)
def test_equal_sizes_have_one_polynomial_and_one_value(given, one, other):
    known, a = size(given, one)
    b = size(given, other)[1]
    sizes = Sizes(known)
    assert sizes.poly(a) == sizes.poly(b)
    for values in product(range(1, 5), repeat=3):
        env = dict(zip(NAMES, values, strict=True))
        if holds(known, env):
            assert evaluate(a, env) == evaluate(b, env) == evaluate(sizes.simplify(a), env)


@pytest.mark.parametrize(("one", "other"), [("N // 2 * 2", "N"), ("N // A", "N // B"), ("A * B", "A + B")])
def test_sizes_that_may_differ_have_two_polynomials(one, other):
    sizes = Sizes(size("N >= 1", one)[0])
    assert sizes.poly(size("N >= 1", one)[1]) != sizes.poly(size("N >= 1", other)[1])


@pytest.mark.parametrize(
    ("given", "same"),
    [("N >= 1", False), ("A >= 0", False), ("A != 0", False), ("A + 1 >= 1", False), ("A >= 1", True), ("A > 0", True),
     ("A == N, N >= 1", True), ("B % A == 0", True), ("B % (2 * A) == 0", True), ("B % (A + N) == 0", False)],
)  # fmt: skip
@pytest.mark.slow
def test_in_emitted_code_a_quotient_is_exact_where_its_divisor_is_known_not_to_be_0(given, same):
    known, quotient = size(given, "B * A // A")
    sizes = Sizes(known, emitted=True)
    assert (sizes.poly(quotient) == sizes.poly(size(given, "B")[1])) is same


def test_in_emitted_code_sums_of_i32_are_no_sums():
    sum_, apart = size("N >= 1", "i64(i32(A) + i32(B))")[1], size("N >= 1", "i64(i32(A)) + i64(i32(B))")[1]
    assert Sizes().poly(sum_) == Sizes().poly(apart)
    assert Sizes(emitted=True).poly(sum_) != Sizes(emitted=True).poly(apart)
    assert len(Sizes(emitted=True).poly(sum_.args[0])) == 1
