"""The memory plan: what lives at the same time never shares an element."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vibee.check import load, load_text
from vibee.check.modules import specs_root
from vibee.lower.model import lower_model
from vibee.lower.model_small import accumulate_step
from vibee.lower.model_steps import Do, Loop, Ref, Work
from vibee.lower.plan import ALIGN, Buffer, make_plan, overlaps
from vibee.lower.unit import Unit
from vibee.prove.plan import Uses, plan_obligations
from vibee.tree.expr import Expr, const, var
from vibee.tree.poly import Sizes, evaluate

NAMES = ("A", "B", "C")
products = st.lists(st.sampled_from(NAMES), max_size=3).map(lambda m: tuple(sorted(m)))
polys = st.dictionaries(products, st.integers(1, 5), min_size=1, max_size=3)
spans = st.tuples(st.integers(0, 12), st.integers(0, 5)).map(lambda t: (t[0], t[0] + t[1]))


@given(st.lists(st.tuples(polys, spans), min_size=1, max_size=14), st.lists(st.integers(0, 40), min_size=3, max_size=3))
@settings(max_examples=200, deadline=None)
def test_random_lifetimes(values: list, numbers: list[int]) -> None:
    sizes = Sizes()
    buffers = [Buffer(f"v{k}", p, first, last) for k, (p, (first, last)) in enumerate(values)]
    plan = make_plan(buffers, sizes)
    env = dict(zip(NAMES, numbers, strict=True))
    assert overlaps(plan, env, sizes) == []
    offsets, total = plan.evaluate(env)
    assert all(x % ALIGN == 0 for x in offsets.values())
    assert total <= sum(-(-evaluate(sizes.expr(p), env) // ALIGN) * ALIGN for p, _ in values)


def test_memory_is_used_again() -> None:
    sizes = Sizes()
    n = {("A",): 1}
    plan = make_plan([Buffer(f"v{k}", n, k, k + 1) for k in range(10)], sizes)
    assert len(plan.slots) == 2


def test_the_check_sees_an_overlap() -> None:
    sizes = Sizes()
    plan = make_plan([Buffer("a", {("A",): 1}, 0, 1), Buffer("b", {("A",): 1}, 2, 3)], sizes)
    plan.slots[0].buffers[1].first = 1
    assert overlaps(plan, {"A": 3}, sizes) == [("b", "a")]
    plan.sizes[0] = const(0, "i64")
    assert ("a", "the end of the arena") in overlaps(plan, {"A": 3}, sizes)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt2_decode", "llama_decode"])
def test_shipped_models(name: str) -> None:
    program = load(f"{specs_root()}/core/model.vibee")
    program.raise_errors()
    low = lower_model(program.instance(name, {"real": "f32"}), program)
    rng = random.Random(1)
    for _ in range(40):
        h, g = rng.choice([(1, 1), (4, 2), (6, 3), (8, 1)])
        sizes = {"V": rng.randint(1, 200), "S": 64, "L": rng.randint(0, 6), "H": h, "G": g,
                 "C": 2 * h * rng.randint(1, 9), "F": rng.randint(1, 70), "B": rng.randint(1, 5),
                 "T": rng.randint(1, 33)}  # fmt: skip
        for p in low.planned:
            assert overlaps(p.plan, sizes, p.work.sizes) == []


SMALL = """
def scaled(x: f32[N, C], w: f32[C]) -> y[N, C]:
    y[n, c] = x[n, c] * w[c]

def summed(x: f32[N, C]) -> e:
    e = sum[n, c](x[n, c] ** 2)

@model
def net(x: f32[N, C], L: size) -> (loss):
    h = x
    for l in layers(L):
        w: f32[C] = 1.0
        h = scaled(h, w)
    loss = summed(h)
"""


def test_the_plan_of_a_model_is_proved_and_a_wrong_one_is_not() -> None:
    program = load_text(SMALL, "case.vibee")
    program.raise_errors()
    plans = lower_model(program.by_key("net"), Unit(program, "v3")).planned
    for planned in plans:
        assert all(o.proved for o in plan_obligations(planned))
    steps = [p for p in plans if p.plan.slots]
    assert steps
    whole = steps[-1].plan.sizes[0]
    steps[-1].plan.sizes[0] = const(0, "i64")
    texts = [o.what for o in plan_obligations(steps[-1]) if not o.proved]
    assert any("fits into slot 0" in t for t in texts)
    assert any("slot 1 begins where the one before it ends" in t for t in texts)
    steps[-1].plan.sizes[0] = whole
    first, second = (slot.buffers for slot in steps[-1].plan.slots[:2])
    first += second  # in use at the same time
    texts = [o.what for o in plan_obligations(steps[-1]) if not o.proved]
    assert any("are in use at different times" in t for t in texts)


def first(w: Work) -> Do:
    """The first call in the loop backwards."""
    return next(s for s in w.steps if isinstance(s, Loop) and s.reverse).steps[0]


def another_copy(w: Work) -> None:
    w.values["layers of h_in"].copies = var("L")


def a_copy_before_the_first(w: Work) -> None:
    cotangent = first(w).args[2]
    assert isinstance(cotangent, Ref)
    cotangent.index = const(-1, "i64")


def another_shape(w: Work) -> None:
    first(w).outs[0].shape = (var("N"), var("N"))


def a_weight_written(w: Work) -> None:
    first(w).outs[0] = Ref("w", (var("C"),))


def a_weight_changed(w: Work) -> None:
    weight = Ref("w", (var("C"),), const(0, "i64"))
    w.steps.append(accumulate_step(w, weight, weight, "f32"))


def an_input_written(w: Work) -> None:
    first(w).outs[0] = Ref("x", (var("N"), var("C")))


def written_later(w: Work) -> None:
    w.steps.append(w.steps.pop(0))


def written_twice(w: Work) -> None:
    w.steps.append(w.steps[0])


@pytest.mark.parametrize(("change", "open_claims"), [
    (another_copy, "there is a copy l + 1 of layers of h_in, which has L"),
    (a_copy_before_the_first, "there is a copy -1 of "),
    (another_shape, "is seen whole: "),
    (a_weight_written, "w may be written"),
    (a_weight_changed, "w may be written"),
    (an_input_written, "x may be written"),
    (written_later, "layers of h_in is written before it is read"),
    (written_twice, "copy 0 of layers of h_in has one definition"),
])  # fmt: skip
def test_steps_that_use_values_wrongly_are_not_proved(change: Callable[[Work], None], open_claims: str) -> None:
    program = load_text(SMALL, "case.vibee")
    planned = lower_model(program.by_key("net"), Unit(program, "v3")).planned[-1]
    change(planned.work)
    texts = [o.what for o in Uses(planned).run() if not o.proved]
    assert any(open_claims in t for t in texts), texts


def size(text: str) -> Expr:
    """A size expression from Python's syntax."""
    import ast

    names = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.FloorDiv: "floordiv", ast.Mod: "mod"}

    def go(n: ast.AST) -> Expr:
        if isinstance(n, ast.BinOp):
            return Expr(names[type(n.op)], (go(n.left), go(n.right)), None, "i64")
        if isinstance(n, ast.Compare):
            return Expr("eq", (go(n.left), go(n.comparators[0])), None, "bool")
        return var(n.id) if isinstance(n, ast.Name) else const(n.value, "i64")  # type: ignore[attr-defined]

    return go(ast.parse(text, mode="eval").body)


@pytest.mark.parametrize("a, b, facts", [
    ("B * T", "T * B", []), ("3 * C - C", "2 * C", []), ("H * (C // H)", "C", ["C % H == 0"]),
    ("(H // G) * G * (C // H)", "C", ["C % H == 0", "H % G == 0"]),
    ("2 * (C // (2 * H))", "C // H", ["C % (2 * H) == 0"]),
    ("2 * H * (C // (2 * H)) * T", "T * C", ["C % (2 * H) == 0"]), ("6 * C // (2 * C)", "3", []),
    ("M * N", "N * N", ["M == N"]), ("(B + 1) * (T - 1)", "B * T + T - B - 1", []),
])  # fmt: skip
def test_equal_sizes(a: str, b: str, facts: list[str]) -> None:
    sizes = Sizes(map(size, facts))
    assert sizes.poly(size(a)) == sizes.poly(size(b)) != sizes.poly(size(f"{b} + 1"))
    if facts:
        assert Sizes().poly(size(a)) != Sizes().poly(size(b))
