"""Gradients where iterations, values or conditions have to be told apart: several values of one array, indices that
are solved in part, ranges that begin below 0 or are empty, divisors of either sign, nan and infinity."""

import math

import numpy as np
import pytest
from grad_interp import Interpreter, outputs
from grad_numeric import check
from grad_types import verify
from test_specs import Functions

from vibee.check.program import Program
from vibee.grad import GradError, cotangents, needs, vjp

NAN, INF = math.nan, math.inf


def loaded(body):
    program = Program("here.vibee", 'module("here", version=1)\nfrom foundation.math import exp\n' + body)
    assert not program.errors, program.errors
    return program, program.instance("f", {})


def differences(head, *lines, **values):
    """The gradient of `def f{head}` agrees with differences at `values`; returns it."""
    program, f = loaded(f"def f{head}:\n" + "".join(f"    {line}\n" for line in lines))
    sizes = {p.name: values[p.name] for p in f.params if p.kind == "size"}
    return check(f, sizes=sizes, functions=Functions(program), lookup=program.by_key, **values)


def gradient(head, *lines, **values):
    """The values of the gradient of `def f{head}` for cotangents of 1, one alone not in a list."""
    program, f = loaded(f"def f{head}:\n" + "".join(f"    {line}\n" for line in lines))
    g = vjp(f, program.by_key)
    verify(g)
    run = Interpreter(Functions(program))
    shapes = [(p.shape, np.shape(values[p.name])) for p in f.params if p.name in values]
    sizes = {str(d.attr): n for dims, shape in shapes for d, n in zip(dims, shape, strict=True) if d.op == "var"}
    base = outputs(run, f, sizes, **values)
    ones = {name: np.ones_like(base[o]) for o, name in cotangents(f, g).items()}
    given = {k: v for k, v in {**values, **base, **ones}.items() if k in needs(g)}
    found = [d.tolist() for d in outputs(run, g, sizes, **given).values()]
    return found if len(found) > 1 else found[0]


# ---------------------------------------------------------------- values of one array


def test_an_array_that_is_added_to_was_another_value_before(normal):
    g = differences(
        "(b: f64[V], x: f64[N], t: i64[N]) -> y[V]",
        "given(0 <= t[n] < V)", "y[v] = exp(b[v])", "y[t[n]] += x[n]",
        b=normal(4), x=normal(5), t=np.array([0, 1, 1, 3, 0]),
    )  # fmt: skip
    assert [q.lhs for q in g.equations] == ["y_was", "d_b", "d_x"] and "y" not in needs(g)


def test_so_is_a_temporary(normal):
    differences(
        "(b: f64[N], x: f64[N]) -> y[N]",
        "z[i] = exp(b[i])", "z[i] += x[i]", "y[i] = z[i] * z[i]",
        b=normal(4), x=normal(4),
    )  # fmt: skip


@pytest.mark.parametrize("scan", ["cumprod", "cummax"])
def test_so_is_the_result_of_a_scan(scan, normal):
    differences("(x: f64[N], u: f64[N]) -> y[N]", f"y[i] = {scan}[i](x[i])", "y[i] += u[i]", x=normal(5), u=normal(5))


def test_so_is_a_sum_that_is_used_again(normal):
    differences(
        "(x: f64[N], a: f64, b: f64) -> (s, z)",
        "s = sum[i](x[i])", "s += b", "z = sum[i](a * x[i])",
        x=normal(4), a=0.3, b=0.7,
    )  # fmt: skip


def test_readers_in_between_have_their_share(normal):
    differences(
        "(x: f64[N], i0: f64) -> (y[N], s)",
        "y[i] += x[i]", "y[i] += x[i] ** 2", "s = i0 * sum[i](y[i])", "y[i] += s * x[i]", "y[i] += s * s",
        x=normal(4), i0=0.7,
    )  # fmt: skip


def test_what_is_only_added_up_is_one_value(normal):
    g = differences(
        "(x: f64[N]) -> (z[N], y[N])",
        "z[i] += x[i]", "z[i] += x[i] ** 2", "y[i] = z[i] * z[i]",
        x=normal(4),
    )  # fmt: skip
    assert [q.lhs for q in g.equations] == ["d_z2", "d_x"] and needs(g) == {"x", "z", "d_z", "d_y"}


# ---------------------------------------------------------------- indices solved in part


@pytest.mark.parametrize(
    "rhs",
    [
        "x[(i * S) % N]",
        "x[abs(i - 2) // 2]",
        "x[min(i, 3) // 2]",
        "sum[j:i + 1](x[i * j // 5])",
        "where(i * S % M < N, x[i * S % M], 0.0)",
        "sum[k:2, j:4](where(i * k * 4 + j < N, x[i * k * 4 + j], 0.0))",
    ],
)
def test_what_was_begun_on_an_index_that_stays_leaves_nothing_behind(rhs, normal):
    differences(
        "(x: f64[N], S: size, M: size) -> y[N]", "given(N >= 5, M >= 1)", f"y[i] = {rhs}", x=normal(5), S=3, M=4
    )


def test_other_axes_are_solved_though(normal):
    g = differences(
        "(x: f64[N, D], S: size) -> y[N, D]",
        "given(N >= 1)", "y[i, d] = x[i * S % N, D - 1 - d]",
        x=normal(5, 3), S=3,
    )  # fmt: skip
    (q,) = g.equations
    assert q.accumulate and q.idx[1].op == "var"


RAGGED = "(x: f64[K], w: f64[M], row: i64[M]) -> y[M - 1]", "given(0 <= row[i] <= K, M >= 1)"


@pytest.mark.parametrize(
    "body",
    [
        "x[e] * w[i // 2]",
        "where(e + i < K, x[e + i], 0.0) * w[i]",
        "where(e + i // 2 < K, x[e + i // 2], 0.0) * w[i]",
        "x[e] * cumsum[i](w[i] * x[e])",
        "sum[g:e:row[i + 1]](where(g + i + e < K, x[g + i + e], 0.0)) * w[i]",
    ],
)
def test_a_range_that_depends_on_data_and_on_a_derived_index(body, normal):
    line = f"y[i:M - 1] = sum[e:row[i]:row[i + 1]]({body})"
    differences(*RAGGED, line, x=normal(6), w=normal(4), row=np.array([0, 2, 5, 6]))


def test_an_index_over_such_a_range_that_cannot_be_solved():
    program, f = loaded(
        "def f(x: f64[K], row: i64[M], t: i64[K]) -> y[M - 1]:\n    given(0 <= row[i] <= K, 0 <= t[k] < K, M >= 1)\n"
        "    y[i:M - 1] = sum[e:row[i]:row[i + 1]](x[t[e]])\n"
    )
    with pytest.raises(GradError, match="the range of `e` depends on data"):
        vjp(f, program.by_key)


# ---------------------------------------------------------------- ranges


@pytest.mark.parametrize(
    "rhs",
    [
        "sum[k:i - 1:i + 1](x[t[abs(k)]])",
        "sum[k:i - 3:i - 1](sum[g:k - 1:k + 3](x[t[abs(k + g) % N]]))",
        "sum[k:N - 9](x[t[k]]) + x[t[i]]",
        "sum[k:i - 2](x[i])",
        "sum[k:N - 9](x[i]) + x[i]",
        "sum[k:i - 2](where((i - 3) * i < N, x[(i - 3) * i] * x[k], 0.0))",
        "sum[k:i + 1](x[k // 2] * x[-(k // -2)])",
    ],
)
def test_ranges_that_begin_or_end_below_zero(rhs, normal):
    differences(
        "(x: f64[N], t: i64[N]) -> y[N]",
        "given(N >= 2, 0 <= t[q] < N)", f"y[i:N] = {rhs}",
        x=normal(5), t=np.array([3, 1, 1, 4, 0]),
    )  # fmt: skip


def test_a_factor_taken_out_of_a_sum_of_nothing_leaves_zero():
    m = np.array([[False, False], [True, False]])
    d_x, d_s = gradient(
        "(x: f64[N, K], s: f64[N], m: bool[N, K]) -> y[N, K]",
        "y[i, k] = where(m[i, k], x[i, k] / s[i], 0.0)",
        x=np.array([[1.0, 2], [3, 4]]), s=np.array([0.0, 2]), m=m,
    )  # fmt: skip
    assert d_x == [[0, 0], [0.5, 0]] and d_s == [0, -0.75]


@pytest.mark.parametrize(("body", "d_s"), [("x[k] / s[i]", [0, -0.25, -1 / 3]), ("x[i] / s[i]", [0, -0.5, -2 / 3])])
def test_so_where_the_range_is_empty(body, d_s):
    x, s = np.array([1.0, 2, 3]), np.array([0.0, 2, 3])
    _, found = gradient("(x: f64[N], s: f64[N]) -> y[N]", f"y[i] = sum[k:i]({body})", x=x, s=s)
    assert np.allclose(found, d_s)


def test_a_factor_of_a_sum_that_is_never_empty_stands_alone(normal):
    g = differences("(x: f64[N], s: f64[N]) -> y[N]", "y[i] = sum[k:i + 1](x[k] / s[i])", x=normal(3), s=normal(3))
    assert not any(q.rhs.op == "where" for q in g.equations)


# ---------------------------------------------------------------- divisors


@pytest.mark.parametrize(
    "rhs",
    [
        "x[-(i // -2)]",
        "x[-(i % -2)]",
        "where(0 <= i // s < N, x[i // s], 0.0)",
        "where(0 <= (i + s) // s < N, x[(i + s) // s], 0.0)",
        "where(0 <= -(i % s) < N, x[-(i % s)], 0.0)",
    ],
)
def test_negative_divisors(rhs, normal):
    differences(
        "(x: f64[N], s: i64) -> y[N]", "given(N >= 2, s <= -1)", f"y[i] = {rhs}", x=normal(5), s=-3
    )  # fmt: skip


@pytest.mark.parametrize("rhs", ["x[i % K]", "where((i + 1) // K < N, x[(i + 1) // K], 0.0)", "x[i // K]"])
@pytest.mark.parametrize("K", [0, 2])
def test_a_divisor_that_a_condition_keeps_from_being_zero(rhs, K, normal):
    differences("(x: f64[N], K: size) -> y[N]", f"y[i] = where(K > 0, {rhs}, 0.0)", x=normal(5), K=K)


# ---------------------------------------------------------------- nan and infinity


@pytest.mark.parametrize(("op", "sign"), [("max", 1), ("min", -1)])
def test_the_larger_of_two_has_the_adjoint_where_one_is_nan_too(op, sign):
    a, b = np.array([1, 1, NAN, NAN, 1, 2]), np.array([1, NAN, 1, NAN, 2, 1])
    d_a, d_b = gradient("(a: f64[N], b: f64[N]) -> y[N]", f"y[i] = {op}(a[i], b[i])", a=sign * a, b=sign * b)
    assert d_a == [1, 1, 1, 1, 0, 1] and d_b == [0, 0, 0, 0, 1, 0]


@pytest.mark.parametrize(("op", "sign"), [("max", 1), ("min", -1)])
@pytest.mark.parametrize(
    ("x", "d_x"), [([NAN, 1, 2], [0, 0, 1]), ([NAN, NAN], [0, 0]), ([1, NAN, 0], [1, 0, 0]), ([-INF, -INF], [1, 0])]
)
def test_an_extreme_passes_over_nan(op, sign, x, d_x):
    x = sign * np.array(x)
    assert gradient("(x: f64[N]) -> y", f"y = {op}[i](x[i])", x=x) == d_x
    runs = gradient("(x: f64[N]) -> y[N]", f"y[i] = cum{op}[i](x[i])", x=x)
    assert sum(runs) <= len(x) and not any(d for d, v in zip(runs, x, strict=True) if math.isnan(v))


def test_a_constant_that_no_float_holds_is_infinite():
    assert gradient("(x: f64[N]) -> y[N]", "y[i] = x[i] * 1e200 * 1e200", x=np.ones(2)) == [INF, INF]
    assert gradient("(x: f64[N]) -> y[N]", "y[i] = -x[i] * 1e200 * 1e200", x=np.ones(2)) == [-INF, -INF]


@pytest.mark.parametrize(("factor", "d_x"), [("f64(f32(inf))", [INF, 0]), ("f64(f32(0.5))", [0.5, 0])])
def test_a_constant_that_is_converted(factor, d_x):
    line = f"y[i] = where(x[i] > 0, x[i] * {factor}, 1.0)"
    assert gradient("(x: f64[N]) -> y[N]", line, x=np.array([1.0, -1])) == d_x


# ---------------------------------------------------------------- names


def test_the_name_of_a_cotangent():
    program, f = loaded("def f(x: f64[N], d_y: f64) -> (k(i64), y[N]):\n    k = 1\n    y[i] = x[i] * d_y\n")
    assert cotangents(f, vjp(f, program.by_key)) == {"y": "d_y_"}


@pytest.mark.parametrize("names", ["k", "k, k2"])
@pytest.mark.parametrize("p", ["x", "k3"])
def test_the_indices_of_a_stated_derivative_are_its_own(names, p, normal):
    """Neither an argument's index nor a parameter is taken for one of them."""
    last = names.split(", ")[-1]
    ranges = ", ".join(f"{k}:{n}" for k, n in zip(names.split(", "), (3, 1), strict=False))
    cube = f"def cube({p}: f64) -> y:\n    y = {p} * {p} * {p}\n    derivative({p}=sum[{ranges}]({p} * {p}))\n"
    program, f = loaded(f"{cube}def f(x: f64[N]) -> y[N]:\n    y[{last}] = cube(x[{last}] * x[0])\n    given(N >= 1)\n")
    check(f, functions=Functions(program), lookup=program.by_key, x=normal(5))


def test_scans_in_scans(normal):
    differences("(x: f64[N, M]) -> y[N, M]", "y[i, j] = cumsum[i](cumsum[j](x[i, j] * x[i, j]))", x=normal(3, 4))


@pytest.mark.parametrize("K", [0, 1, 3])
def test_a_part_of_a_difference_that_a_condition_leaves_out_does_not_cancel(normal, K):
    differences(
        "(x: f64[N], K: size) -> v",
        "given(N >= 1)", "m = sum[i](x[i]) / f64(N)", "v = sum[i](m * (x[i] - where(i < K, m, 0.0)))",
        x=normal(3), K=K,
    )  # fmt: skip
