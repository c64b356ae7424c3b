"""What is derived from a model has names of its own, whatever the definitions of a spec are called."""

from dataclasses import replace

import numpy as np
import pytest
from model_case import Case

from vibee.check import load, load_text
from vibee.lower.model import lower_model
from vibee.lower.unit import Unit

PARTS = """
def scaled(x: real[N, C], w: real[C]) -> y[N, C]:
    y[n, c] = x[n, c] * w[c]
def summed(x: real[N, C]) -> e:
    e = sum[n, c](x[n, c] ** 2)
def lin(x: real[N, C], w: real[O, C]) -> y[N, O]:
    y[n, o] = sum[c](x[n, c] * w[o, c])
"""
X = np.random.default_rng(1).normal(size=(2, 2))

RENAMED = """
@procedure
def renamed(w: real[C, O], x: real[N, O]) -> out[C, N]:
    implements(lin)
    for n in range(C):
        for o in range(N):
            out[n, o] = sum[c](w[n, c] * x[o, c])
@model
def net(x: real[C, C], z: real[C, C]) -> (loss(real)):
    a: real[C, C] = 1.0
    w: real[C, C] = 1.0
    loss = summed(lin(x, w) + renamed(a, z))
"""

JOINED = """
def tri(a: real[C], b: real[C], a_b: real[C]) -> y[C]:
    y[c] = a[c] * b[c] * a_b[c]
def total(x: real[C]) -> e:
    e = sum[c](x[c])
@model
def net(x: real[C], z: real[C]) -> (loss(real)):
    u: real[C] = 1.0
    v: real[C] = 1.0
    loss = total(tri(u, v, x) + tri(x, z, u))
"""


def test_gradients_of_one_formula_by_parameters_of_the_same_name():
    Case(PARTS + RENAMED, "net", C=2).check(x=X, z=X + 1)


def test_gradients_by_parameters_whose_names_join_to_another_one():
    Case(JOINED, "net", C=2).check(x=X[0], z=X[1])


OWN = """
def lin_grad_1(x: real[N, C], d_y: real[N, O]) -> d_w[O, C]:
    d_w[o, c] = sum[n](x[n, c] * d_y[n, o]) * 7.0
def vb_add2(x0: real[N], x1: real[N]) -> y[N]:
    y[n] = x0[n] - x1[n]
def vb_fill(x0: real[N]) -> y[N]:
    y[n] = x0[n]
def net_each1(x: real[N, C]) -> y[N, C]:
    y[n, c] = x[n, c] * 5.0
@model
def net(x: real[N, C]) -> (loss(real)):
    w: real[C, C] = 1.0
    h = lin(x, w)
    loss = summed(h + x * 2.0) + summed(lin(h, w)) + summed(net_each1(x))
"""


def test_definitions_of_a_spec_that_have_the_names_of_derived_ones():
    case = Case(PARTS + OWN, "net", N=2, C=2)
    case.check(x=X)
    assert {"lin_grad_1_f64_", "vb_add2_f64_", "vb_fill_f64_"} <= case.program.keys.keys()
    assert case.program.by_key("lin_grad_1_f64").name == "lin_grad_1"


def test_two_different_definitions_of_one_key_are_noticed():
    program = load_text(PARTS, "case.vibee")
    first = program.by_key("summed_f32")
    other = replace(program.by_key("scaled_f32"), key=first.key)
    for registry in (program, Unit(program, "v3")):
        assert registry.add(first) is registry.add(replace(first)) is first
        with pytest.raises(AssertionError, match="two definitions are called summed_f32"):
            registry.add(other)


@pytest.mark.parametrize("part", ["init", "sizes", "forward", "loss", "gradient"])
def test_a_definition_with_the_name_of_a_part_of_a_model_is_refused(part):
    own = f"def net_{part}(x: f32[N]) -> e:\n    e = sum[n](x[n])\n"
    program = load_text(PARTS + own + "@model\ndef net(x: real[N]) -> y[N]:\n    y = x\n", "case.vibee")
    assert [str(e) for e in program.errors] == [
        f"case.vibee:8:1: 'net_{part}' is what is derived from the model net; choose another name"
    ]


def test_a_definition_of_that_name_in_another_file_stays_itself(tmp_path):
    model = "@model\ndef net(x: f32[N, C]) -> (loss(f32)):\n    w: f32[C] = 1.0\n    loss = summed(scaled(x, w))\n"
    (tmp_path / "nets.vibee").write_text(PARTS + model)
    (tmp_path / "own.vibee").write_text("from nets import net\ndef net_loss(x: f32) -> y:\n    y = x\n")
    program = load(tmp_path / "own.vibee")
    program.raise_errors()
    unit = Unit(program, "v3")
    for _ in range(2):  # the same keys each time
        parts = [unit.add(p) for p in lower_model(program.instance("net"), unit).procedures]
        assert [p.key for p in parts] == ["net_sizes", "net_init", "net_forward", "net_loss_", "net_gradient"]
    assert unit.by_key("net_loss").module == "own"


def test_an_expression_means_the_functions_of_its_own_file(tmp_path):
    net = "def bend(x: f32) -> y:\n    y = x {}\n@model\ndef {}(x: f32[N]) -> y[N]:\n    y = bend(x) + x\n"
    (tmp_path / "first.vibee").write_text(net.format("* 2.0", "one"))
    (tmp_path / "second.vibee").write_text("from first import one\n" + net.format("* 3.0", "two"))
    program = load(tmp_path / "second.vibee")
    program.raise_errors()
    calls = [program.instance(name).body[0].fn for name in ("one", "two")]
    assert calls[0] != calls[1]
