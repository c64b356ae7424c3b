"""Checked procedures: statements, locals, calls."""

import pytest

from vibee.check.program import load_text
from vibee.tree.defs import Alloc, Call, Decl, Equations, For, Store
from vibee.tree.expr import show
from vibee.tree.listing import block_lines, definition_lines

PARTS = """
def norm(x: f32[N]) -> s:
    s = sqrt(sum[i](x[i] ** 2))

def twice(x: f32[N]) -> y[N]:
    y[i] = 2 * x[i]

def total(x: i32[N]) -> s:
    s = sum[i](x[i])

@procedure
def move(x: mut[f32[N]], y: f32[N]):
    x[i] = y[i]

@procedure
def noise(key: u64) -> x(f32[N]):
    x = 1.0
"""


def body(checked, head, *statements):
    """The checked statements of a procedure, as text."""
    text = f"{PARTS}\n@procedure\ndef p({head}:\n" + "".join(f"    {s}\n" for s in statements)
    return block_lines(checked(text).by_key("p").body, "")


@pytest.mark.parametrize(
    ("head", "statements", "expected"),
    [
        ("x: f32[N]) -> y(f32[N])", ("y[0] = 1",), ["y[0] = 1.0"]),
        ("x: f32[N]) -> y(f32[N])", ("y[j] = x[j] + y[j]",), ["y[j] = x[j] + y[j]   for j < N   : f32"]),
        ("x: f32[N]) -> y(f32[N])", ("y[j] *= 2",), ["y[j] = y[j] * 2.0   for j < N   : f32"]),
        ("x: f32[N]) -> y(f32[N])", ("y[0] += x[j]",), ["y[0] += x[j]   for j < N   : f32"]),
        ("x: f32[N]) -> y(f32[N])", ("y = 0.5",), ["y[i] = 0.5   for i < N   : f32"]),
        ("x: i8[N]) -> y(i8[N])", ("y[0] = x[1]", "y[1] = i8(x[0] + 1)"), ["y[0] = x[1]", "y[1] = i8(i32(x[0]) + 1)"]),
        ("n: i64) -> y(i64)", ("y = n",), ["y = n"]),
        ("n: i64) -> y", ("y = n",), ["y = n"]),
        (
            "n: i64) -> y(i64[2])",
            ("m = n", "while m > 1:", "    m //= 2", "y[0] = m"),
            ["m: i64 = n", "while m > 1:", "    m = m // 2", "y[0] = m"],
        ),
        ("x: f32[N]) -> s", ("s = x[0]",), ["s_value: f32 = 0.0", "s_value = x[0]", "s[] = s_value"]),
        (
            "x: i32[N]) -> y(i64[2])",
            ("n: i64 = 1", "n = total(x)", "y[0] = n"),
            ["n: i64 = 1", "n_1: i32 = 0", "n_1 = total(x as [N])   with N=N", "n = i64(n_1)", "y[0] = n"],
        ),
        (
            "x: f32[N]) -> y(f32[2])",
            ("y[0] = norm(x[2:2])",),
            ["y[0] as [] = norm(x[2:2] as [0])   with N=0"],
        ),
        (
            "x: f32[N]) -> s(f32)",
            ("s += x[0]",),
            ["s_value: f32 = 0.0", "s_value = s_value + x[0]", "s[] = s_value"],
        ),
        (
            "x: f32[N]) -> s(f32)",
            ("if x[0] > 1:", "    return", "s = 2"),
            [
                "s_value: f32 = 0.0",
                "if x[0] > 1.0:",
                "    s[] = s_value",
                "    return",
                "s_value = 2.0",
                "s[] = s_value",
            ],
        ),
        ("x: f32[N, N]) -> y(f32[N, N])", ("y[0] = twice(x[1])",), ["y[0] as [N] = twice(x[1] as [N])   with N=N"]),
        (
            "x: f32[N]) -> y(f32[N])",
            ("y[1:] = twice(x[:-1])",),
            ["y[1:N] as [N - 1] = twice(x[0:N - 1] as [N - 1])   with N=N - 1"],
        ),
        (
            "x: f32[N, M]) -> y(f32[N * M])",
            ("y = twice(view(x, N * M))",),
            ["y as [N * M] = twice(x as [N * M])   with N=N * M"],
        ),
        ("x: f32[N], y: mut[f32[N]])", ("move(y, x)",), ["move(y as [N], x as [N])   with N=N"]),
        ("x: f32[N]) -> y(f32[2, N])", ("y[1] = noise(3)",), ["y[1] as [N] = noise(3)   with N=N"]),
        (
            "x: f32[N, M]) -> y(f32[N])",
            ("y[2] = norm(x[0])",),
            ["y[2] as [] = norm(x[0] as [M])   with N=M"],
        ),
        (
            "x: f32[N]) -> y(f32[N])",
            ("t = 1 / norm(twice(x))",),
            [
                "twice_y: f32[N] = 0",
                "twice_y as [N] = twice(x as [N])   with N=N",
                "norm_s: f32 = 0.0",
                "norm_s = norm(twice_y as [N])   with N=N",
                "t: f32 = 1.0 / norm_s",
            ],
        ),
        (
            "n: i64) -> y(f32[2])",
            ("k = 1", "k += n", "row: f32[k]", "k = 2", "y[0] = row[0]"),
            ["k: i64 = 1", "k = k + n", "size: i64 = k", "row: f32[size] = 0", "k = 2", "y[0] = row[0]"],
        ),
        (
            "x: f32[N]) -> y(f32[N])",
            ("for i in range(N - 1, -1, -1):", "    y[i] = x[i]"),
            ["for i in range(N - 1, -1, -1):", "    y[i] = x[i]"],
        ),
        (
            "x: f32[N]) -> y(f32[N])",
            (
                "for i in range(N):",
                "    t = x[i]",
                "    y[i] = t",
                "for i in range(N):",
                "    t = 1",
                "    y[i] += f32(t)",
            ),
            [
                "for i in range(0, N):",
                "    t: f32 = x[i]",
                "    y[i] = t",
                "for i in range(0, N):",
                "    t_1: i64 = 1",
                "    y[i] = y[i] + f32(t_1)",
            ],
        ),
    ],
)
def test_statements(checked, head, statements, expected):
    assert body(checked, head, *statements) == expected


def test_parallel_reductions_are_plain_assignments(checked):
    p = checked(
        "@procedure\ndef f(x: f32[N]) -> (s(f32), m(f32)):\n    for i in parallel(N):\n        s -= x[i]\n        "
        "m = max(m, x[i])"
    )
    loop = next(s for s in p.by_key("f").body if isinstance(s, For))
    assert loop.parallel
    assert [show(a.value) for a in loop.body] == ["s_value - x[i]", "max(m_value, x[i])"]


@pytest.mark.parametrize("op", ["min", "max"])
def test_a_parallel_reduction_says_where_a_nan_goes(op):
    """A nan in the second gives way, one in the first stays, and blocks are combined as the second."""
    text = "@procedure\ndef f(x: TYPE[N]) -> m(TYPE):\n    for i in parallel(N):\n        m = "
    text += f"{op}(x[i], m)"
    assert [str(e) for e in load_text(text.replace("TYPE", "f32"), "case.vibee").errors] == [
        f"case.vibee:4:9: write m = {op}(m, ...) in a parallel loop: there a nan gives way"]  # fmt: skip
    assert not load_text(text.replace("TYPE", "i32"), "case.vibee").errors
    assert not load_text(text.replace("TYPE", "f32").replace("parallel", "range"), "case.vibee").errors


def test_indices_are_apart_from_locals(checked):
    p = checked(
        "@procedure\ndef f(x: f32[N]) -> y(f32[N]):\n    y[i] = cumsum[i](x[i])\n    i = 0.5\n    y[0] = f32(i)\n"
        "    j = 2\n    y[k] = x[k]"
    )
    equations = [q for s in p.by_key("f").body if isinstance(s, Equations) for q in s.equations]
    assert "i" not in {v for q in equations for v in q.vars}
    assert equations[0].rhs.attr == ("sum", *equations[0].vars)
    assert {s.name for s in p.by_key("f").body if isinstance(s, Decl)} == {"i", "j"}


def test_scalar_procedures_in_expressions(checked):
    p = checked(
        "@procedure\ndef steps(n: i64) -> k(i64):\n    m = n\n    while m > 1:\n        m = m // 2\n        k += "
        "1\n\n"
        "def f(n: i64[N]) -> y[N]:\n    y[i] = steps(n[i]) + 1"
    )
    assert show(p.by_key("f").equations[0].rhs) == "steps(n[i]) + 1"
    assert p.by_key("steps").is_scalar


def test_implements_and_gradient(checked):
    p = checked(
        "def f(x: real[N]) -> s:\n    s = sum[i](x[i] ** 2)\n\n"
        "@procedure\ndef g(x: real[N]) -> s(real):\n    implements(f)\n    gradient(dg)\n    for i in range(N):\n "
        "       s += x[i] * x[i]\n\n"
        "@procedure\ndef dg(x: real[N], d_s: real) -> d_x(real[N]):\n    d_x[i] = 2 * x[i] * d_s"
    )
    assert (p.by_key("g_f64").implements, p.by_key("g_f64").gradient) == ("f_f64", "dg_f64")
    assert definition_lines(p.by_key("g_f64"))[2:4] == ["    implements f_f64", "    gradient dg_f64"]


def test_local_arrays(checked):
    p = checked(
        f"{PARTS}\n@procedure\ndef p(x: f32[N]) -> y(f32):\n    a: f32[N, 2] = 1.0\n    b = twice(x)\n    c: "
        f"f32[N] = twice(b)\n    y = a[0, 1] + c[0]"
    )
    kinds = [type(s) for s in p.by_key("p").body]
    assert kinds == [Decl, Alloc, Equations, Alloc, Call, Alloc, Call, kinds[7], Store]


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        (("x = twice(x)",), "twice reads 'x' while it writes it"),
        (("move(x, x)",), "'x' is given twice to move"),
        (("move(x[1:], x[:-1])",), "'x' is given twice to move"),
        (("y = noise(1)",), "the size N of noise's result comes from the array that receives it"),
    ],
)
def test_overlap(mistakes, statements, message):
    text = f"{PARTS}\n@procedure\ndef p(x: mut[f32[N]]):\n" + "".join(f"    {s}\n" for s in statements)
    assert [m for m in mistakes(text) if message in m]


def test_parts_that_do_not_overlap(checked):
    checked(
        f"{PARTS}\n@procedure\ndef p(x: mut[f32[4, N]]):\n    move(x[0], x[1])\n    x[2] = twice(x[3])\n    "
        f"move(x[0, 0:2], x[0, 2:4])"
    )
