"""Which version of a definition a statement names, and what a derivative may be made of."""

import pytest

GRADIENTS = """
def slope(x: f32[N], d_e: f32) -> d_x[N]:
    d_x[i] = d_e * x[i]

def slope(x: f64[N], d_e: f64) -> d_x[N]:
    d_x[i] = d_e * x[i]

def slope(x: f64[N, M], d_e: f64) -> d_x[N, M]:
    d_x[i, j] = d_e * x[i, j]

def slope(x: bf16[N], d_e: f32) -> d_x(f32[N]):
    d_x[i] = d_e * f32(x[i])

def generic(x: real[N], d_e: real) -> d_x[N]:
    d_x[i] = d_e * x[i]

"""
ENERGY = "def energy(x: {0}) -> e:\n    e = sum[{1}]({3}(x[{1}])) / 2\n    gradient({2})\n"


@pytest.mark.parametrize(
    ("shape", "index", "name", "form", "key"),
    [
        ("f32[N]", "i", "slope", "", "slope_f32"),
        ("f64[N]", "i", "slope", "", "slope_f64"),
        ("f64[N, M]", "i, j", "slope", "", "case_slope_f64"),
        ("bf16[N]", "i", "slope", "f32", "slope_bf16_f32"),
        ("f32[N]", "i", "generic", "", "generic_f32"),
        ("f64[N]", "i", "generic", "", "generic_f64"),
    ],
)
def test_the_version_that_fits_is_the_gradient(checked, shape, index, name, form, key):
    p = checked(GRADIENTS + ENERGY.format(shape, index, name, form))
    assert p.by_key("energy").gradient == key and p.by_key(key)


def test_a_generic_definition_has_the_gradient_of_its_own_type(checked):
    p = checked(GRADIENTS + ENERGY.format("real[N]", "i", "slope", ""))
    assert [d.gradient for d in p.defs["energy"]] == ["slope_f32", "slope_f64"]


def test_a_gradient_of_no_type_that_fits_is_told(mistakes):
    first = GRADIENTS[: GRADIENTS.index("def slope(x: f64[N],")]
    assert mistakes(first + ENERGY.format("f64[N]", "i", "slope", "")) == [
        "slope has other types than a gradient of energy, which takes some of (x: f64, e: f64, d_e: f64) and gives "
        "some of (d_x: f64); there is slope(x: f32[N], d_e: f32)"
    ]
    text = "@procedure\ndef f(x: bf16[N]) -> s(bf16):\n    gradient(g)\n    s = bf16(0.0)\n\n"
    g = "def g(x: bf16[N], d_s: f32) -> d_x(f64[N]):\n    d_x[i] = f64(d_s)\n"
    assert "(x: bf16, s: bf16, d_s: bf16 or f32) and gives some of (d_x: bf16 or f32)" in mistakes(text + g)[0]


def test_a_mistake_in_the_head_of_a_version_is_told_once(mistakes):
    broken = "def slope(x: f99[N], d_e: f32) -> d_x[N]:\n    d_x[i] = x[i]\n\n"
    (told,) = mistakes(broken + ENERGY.format("f64[N]", "i", "slope", ""))
    assert "f99" in told


NORMS = """
def norm(x: f32[N]) -> s:
    s = sum[i](x[i] * x[i])

def norm(x: f64[N]) -> s:
    s = sum[i](x[i] * x[i])

def one(n: size) -> s(real[n]):
    s[i] = 1.0

@procedure
def f(x: {0}[N]) -> s({0}):
    implements({1})
    s = 0.0

@procedure
def ones(n: size) -> s({0}[n]):
    implements(one)
    s = 1.0
"""


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_a_procedure_implements_the_version_that_fits(checked, dtype):
    p = checked(NORMS.format(dtype, "norm"))
    assert p.by_key("f").implements == f"norm_{dtype}"


def test_a_generic_procedure_implements_the_version_of_its_own_type(checked):
    p = checked(NORMS.format("real", "norm"))
    assert [d.implements for v in ("f", "ones") for d in p.defs[v]] == ["norm_f32", "norm_f64", "one_f32", "one_f64"]


def test_a_procedure_that_implements_no_version_is_told(mistakes):
    assert mistakes(NORMS.format("bf16", "norm").replace("0.0", "bf16(0.0)").replace("= 1.0\n", "= bf16(1.0)\n"))
    assert mistakes(NORMS.format("f32", "ones")) == ["ones is a procedure; a procedure implements a formula"]


@pytest.mark.parametrize(("slope", "name"), [("3 * t", "t"), ("x + sum[k:3](u[k])", "u"), ("t * u[0]", "t")])
def test_a_derivative_is_of_parameters_and_the_output_alone(mistakes, slope, name):
    f = "def f(x: f64) -> y:\n    t = x * x\n    u[k:3] = x\n    y = t * u[1]\n    derivative(x={})\n"
    assert mistakes(f.format(slope)) == [f"'{name}' is a temporary; write the derivative in terms of x and y alone"]
    assert mistakes(f.format("3 * y / x + sum[k:3](x * f64(k)) * 0")) == []
