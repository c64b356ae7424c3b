"""Products by matrix instructions: which loops are one, and what is emitted instead of them."""

import re
from dataclasses import replace

import pytest

from vibee.check import load_text
from vibee.emit import emit_module
from vibee.lower import lower_with_report
from vibee.lower.build import serial
from vibee.tree.defs import Assign, For, Store, statements
from vibee.tree.expr import Expr, const, load, var
from vibee.tree.product import Product, product_of
from vibee.tree.turn import Turn, turn_of

ZERO = const(0, "i64")


def made(**changes):
    """A product with two columns of tiles."""
    parts = {
        "r": "r", "rows": 32, "k": "k", "steps": var("steps"), "word": "word", "c": ("c0", "c1"),
        "a": load("A", (var("block"), ZERO), "u32"),
        "b": tuple(load("B", (var("panel"), ZERO, const(n, "i64")), "u32") for n in (0, 16)),
        "sums": tuple(load("S", (ZERO, const(n, "i64")), "f32") for n in (0, 16)),
    }  # fmt: skip
    return Product(**(parts | changes))


def one(n=0):
    """The same with one column."""
    p = made()
    return replace(p, c=p.c[:1], b=p.b[n : n + 1], sums=p.sums[:1])


@pytest.mark.parametrize("p", [made(), made(rows=16), one(), one(1)], ids=["2x2", "1x2", "2x1", "second column"])
def test_the_loops_of_a_product_are_known_again(p):
    assert product_of(p.loops()) == p


WRONG = {
    "eight rows": lambda s: replace(s, hi=const(8, "i64")),
    "rows by the data": lambda s: replace(s, hi=var("n")),
    "in steps": lambda s: replace(s, step=2),
    "in parallel": lambda s: replace(s, parallel=True),
    "nothing inside": lambda s: replace(s, body=[]),
    "no sums": lambda s: replace(s, body=s.body[1:]),
    "no loop": lambda s: replace(s, body=[*s.body[:3], *s.body[4:]]),
    "not stored": lambda s: replace(s, body=s.body[:4]),
    "stored twice": lambda s: replace(s, body=[*s.body, s.body[-1]]),
    "from one on": lambda s: changed(s, lo=const(1, "i64")),
    "words that are no whole tiles": lambda s: changed(s, hi=var("steps")),
    "a word more": lambda s: changed(s, body=[*s.body[3].body, s.body[3].body[0]]),
    "the sum of something else": lambda s: changed(s, body=[*s.body[3].body[:2], Assign("c1", var("c0", "f32x16"))]),
    "a word that is checked": lambda s: changed(s, body=[checked(s.body[3].body[0]), *s.body[3].body[1:]]),
    "a number as a word": lambda s: changed(s, body=[Assign("word", const(1, "u32")), *s.body[3].body[1:]]),
    "stored by another order": lambda s: replace(s, body=[*s.body[:4], s.body[5], s.body[4]]),
    "stored in a number": lambda s: replace(s, body=[*s.body[:5], Store("S", (), var("c1", "f32x16"))]),
}  # fmt: skip


def changed(s, **parts):
    """A product with another loop along k."""
    return replace(s, body=[*s.body[:3], replace(s.body[3], **parts), *s.body[4:]])


def checked(take):
    return replace(take, value=replace(take.value, args=(replace(take.value.args[0], op="load?"),)))


@pytest.mark.parametrize("how", WRONG)
def test_other_loops_are_none(how):
    assert product_of(WRONG[how](made().loops())) is None


@pytest.mark.parametrize(
    "p",
    [
        made(a=load("A", (var("r"), ZERO), "u32")),
        made(steps=var("k")),
        made(steps=load("n", (ZERO,), "i64")),
        made(b=(load("B", (var("r"), ZERO, ZERO), "u32"), made().b[1])),
        made(sums=(load("A", (ZERO, ZERO), "f32"), made().sums[1])),
        made(c=("c0", "c0")),
        made(word="c1"),
    ],
    ids=["rows twice as far", "its own end", "an end that data tell", "B by rows", "into A", "one sum", "one name"],
)
def test_loops_that_change_what_they_depend_on_are_none(p):
    assert product_of(p.loops()) is None


SPEC = """module("m", version=1)

def f(x: bf16[N, C], w: bf16[O, C]) -> y[N, O]:
    y[n, o] = sum[c](f32(x[n, c]) * f32(w[o, c]))

def turned(x: bf16[C, N], w: bf16[C, O]) -> y[N, O]:
    y[n, o] = sum[c](f32(x[c, n]) * f32(w[c, o]))

def g(x: bf16[N, C, D], w: bf16[C, D, O]) -> y[N, O]:
    y[n, o] = sum[c, d](f32(x[n, c, d]) * f32(w[c, d, o]))
"""


def lowered(name):
    program = load_text(SPEC, "m.vibee")
    p, report = lower_with_report(program, program.by_key(name), "v4")
    assert all(o.proved for o in report)
    return p


@pytest.mark.slow
def test_instructions_stand_for_the_loops_where_the_processor_has_them():
    p = lowered("f")
    found = [s for s in statements(p.body) if isinstance(s, For) and product_of(s)]
    assert [len(product_of(s).c) for s in found] == [1, 2]
    text = emit_module([p])
    assert "if vb_has_amx_bf16():" in text
    dots = re.findall(r"^ +vb_tile_dot2\((.*)\)$", text, re.M)
    assert dots == ["0, 4, 6", "1, 5, 6", "0, 4, 6", "1, 4, 7", "2, 5, 6", "3, 5, 7"]
    assert len(re.findall(r"^ +vb_tiles\(\)$", text, re.M)) == len(re.findall(r"^ +vb_no_tiles\(\)$", text, re.M)) == 1


def test_outside_of_parallel_loops_registers_have_their_shape_for_one_product():
    """What a function calls between two products may have products of its own."""
    p = lowered("f")
    text = emit_module([replace(p, body=serial(p.body))])
    lines = [line.strip() for line in text.splitlines()]
    begins, ends = ([n for n, line in enumerate(lines) if line == f"{name}()"] for name in ("vb_tiles", "vb_no_tiles"))
    assert len(begins) == len(ends) == 2
    assert [lines[n + 1] for n in begins] == ["vb_tile_zero(0)"] * 2
    assert all("vb_tile_store" in lines[n - 1] for n in ends)


def test_loops_stay_where_something_is_not_proved():
    p = lowered("f")

    def doubtful(s):
        if isinstance(s, For) and product_of(s):
            at = next(n for n, x in enumerate(s.body) if isinstance(x, For))
            take, *dots = s.body[at].body
            return replace(s, body=[*s.body[:at], replace(s.body[at], body=[checked(take), *dots]), *s.body[at + 1 :]])
        parts = {k: [doubtful(x) for x in getattr(s, k)] for k in ("body", "then", "orelse") if getattr(s, k, None)}
        return replace(s, **parts) if parts else s

    text = emit_module([replace(p, body=[doubtful(s) for s in p.body])])
    assert "vb_tile" not in text
    assert "vb_in(" in text


def test_two_summed_axes_have_none():
    assert "has_amx" not in emit_module([lowered("g")])


def test_what_a_sum_starts_from_is_zero():
    s = made().loops()
    other = Expr("splat", (const(1.0, "f32"),), None, "f32x16")
    assert product_of(replace(s, body=[replace(s.body[0], init=other), *s.body[1:]])) is None


# ---------------------------------------------------------------- blocks turned over

AT = load("T", (var("panel"), var("row"), var("column")), "u32")
WORDS = load("words", (ZERO, var("start")), "u32")
BETWEEN = load("W", (var("first"), var("batch"), ZERO), "f32")


def turn(**changes):
    """A turn of an array of words."""
    parts = {"r": "r", "c": "c", "side": 16, "to": AT, "source": WORDS, "axis": 0}
    return Turn(**(parts | changes))


@pytest.mark.parametrize(
    "t",
    [turn(), turn(side=4), turn(source=BETWEEN, to=replace(AT, dtype="f32"))],
    ids=["16 x 16", "4 x 4", "with an axis between"],
)
def test_the_loops_of_a_turn_are_known_again(t):
    assert turn_of(t.loops()) == t


def put(s, **parts):
    """A turn with another store."""
    return replace(s, body=[replace(s.body[0], body=[replace(s.body[0].body[0], **parts)])])


NO_TURN = {
    "other numbers of rows and columns": lambda s: replace(s, hi=const(8, "i64")),
    "three rows": lambda s: turn(side=3).loops(),
    "as many rows as n": lambda s: replace(s, hi=var("n")),
    "in parallel": lambda s: replace(s, parallel=True),
    "two loops inside": lambda s: replace(s, body=s.body * 2),
    "stored twice": lambda s: replace(s, body=[replace(s.body[0], body=s.body[0].body * 2)]),
    "no loop inside": lambda s: s.body[0],
    "not turned": lambda s: put(s, value=load("words", (var("r"), var("c")), "u32")),
    "along two axes": lambda s: put(s, value=load("words", (var("c"), var("c"), var("r")), "u32")),
    "a word that is checked": lambda s: put(s, value=replace(s.body[0].body[0].value, op="load?")),
    "a number": lambda s: put(s, value=const(1, "u32")),
    "stored in a row": lambda s: put(s, idx=(var("r"),)),
    "nothing in it": lambda s: replace(s, body=[]),
}


@pytest.mark.parametrize("how", NO_TURN)
def test_other_loops_are_no_turn(how):
    assert turn_of(NO_TURN[how](turn().loops())) is None


@pytest.mark.parametrize(
    "t",
    [
        turn(to=load("T", (var("r"), var("row"), var("column")), "u32")),
        turn(to=load("T", (load("n", (ZERO,), "i64"), var("column")), "u32")),
        turn(source=load("words", (ZERO, load("n", (ZERO,), "i64")), "u32")),
        turn(to=load("words", AT.args, "u32")),
        turn(c="r"),
    ],
    ids=["a place that goes on", "a place that data tell", "a source that data tell", "in itself", "one name"],
)
def test_loops_that_change_their_own_place_are_no_turn(t):
    assert turn_of(t.loops()) is None


def test_rows_of_a_that_lie_across_k_are_copied_in_blocks_and_turned():
    p = lowered("turned")
    assert sum(turn_of(s) is not None for s in statements(p.body) if isinstance(s, For)) == 1
    assert len(re.findall(r"^ +vb_turn_u32x16\(&a_block", emit_module([p]), re.M)) == 1
    assert "vb_turn_u32x16(&" not in emit_module([lowered("f")])
