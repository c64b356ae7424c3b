"""What a model can't say, and what is told of it."""

import pytest

from vibee.check import load_text

PARTS = """
def scaled(x: f32[N, C], w: f32[C]) -> y[N, C]:
    y[n, c] = x[n, c] * w[c]
def summed(x: f32[N, C]) -> e:
    e = sum[n, c](x[n, c] ** 2)
def times(x: f32[N, C], a: f32) -> y[N, C]:
    y[n, c] = x[n, c] * a
def firsts(x: f32[N, C], K: size) -> y[N, K]:
    given(K <= C)
    y[n, k] = x[n, C - 1 - k]
def part(x: f32[N, C], K: size) -> e:
    given(K <= C)
    e = sum[n, k: K](x[n, k])
def best(x: f32[N, C]) -> k(i64):
    k = argmax[c](sum[n](x[n, c]))
@procedure
def ramp(key: u64, stream: u64, step: f32) -> x(f32[N]):
    for n in range(N):
        x[n] = step
@procedure
def bent(x: f32[N, C], w: f32[C]) -> y[N, C]:
    gradient(bent_back)
    for n in range(N):
        for c in range(C):
            y[n, c] = x[n, c] * w[c]
@procedure
def bent_back(d_y: mut[f32[N, C]], x: f32[N, C], w: f32[C]) -> (d_x[N, C], d_w[C]):
    for c in range(C):
        d_w[c] = sum[n](d_y[n, c] * x[n, c])
    for n in range(N):
        for c in range(C):
            d_x[n, c] = d_y[n, c] * w[c]
            d_y[n, c] = 0.0
@procedure
def wide(x: f32[N, C], w: f32[C]) -> y[N, C]:
    gradient(wide_back)
    for n in range(N):
        for c in range(C):
            y[n, c] = x[n, c] * w[c]
@procedure
def wide_back(d_y: f64[N, C], x: f32[N, C]) -> d_w(f32[C]):
    for c in range(C):
        d_w[c] = f32(sum[n](d_y[n, c] * f64(x[n, c])))
@procedure
def meet(x: f32[M, C], w: f32[C]) -> e(f32):
    gradient(meet_back)
    for m in range(M):
        e += sum[c](x[m, c] * w[c])
@procedure
def meet_back(x: f32[M, C], w: f32[C], d_e: f32) -> (d_x(f32[M, C]), d_w(f32[C])):
    for m in range(M):
        for c in range(C):
            d_x[m, c] = d_e * w[c]
            d_w[c] += d_e * x[m, c]
@procedure
def ranked(x: f32[N, C], w: f32[C]) -> (y[N, C], k(i64)):
    gradient(ranked_back)
    for n in range(N):
        for c in range(C):
            y[n, c] = x[n, c] * w[c]
@procedure
def ranked_back(d_y: f32[N, C], x: f32[N, C], d_k: i64) -> d_w(f32[C]):
    for c in range(C):
        d_w[c] = sum[n](d_y[n, c] * x[n, c])
"""
HEAD = """@model
def net(x: f32[N, C], t: f32[K], u: f32[M, N, C], n: i64, L: size) -> (loss(f32), y[N, C]):
    given(K >= 2, C >= 2, N >= 1, M >= 1, L <= C, 0 <= n, n <= C, n <= N)
    w: f32[C] = 1.0
"""
END = ["y = scaled(x, w)", "loss = summed(y)"]
ELEMENTS = "a model works on whole arrays; pick elements in a formula"
NUMBER = "compute it by a formula, or choose another name"
INITIAL = (
    "an initial value is made of sizes and of numbers that the model takes, and {} is neither; write another number"
)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (["h = times(x, w[1])", *END], ELEMENTS),
        (["h = scaled(x, w)", "h = times(h, h[0, 1])", *END], ELEMENTS),
        (["h = times(x, t[1])", *END], ELEMENTS),
        (["h = times(x, t[1] * 2.0)", *END], ELEMENTS),
        (["y: f32[C] = 1.0", *END], "'y' is an output; choose another name for the weight"),
        (["for y in layers(L):", "    h = scaled(x, w)", *END], "'y' is defined already; choose another loop variable"),
        (
            ["h = x", "s = 1.0", "for l in layers(L):", "    s = s * 2.0", "    h = times(h, s)", *END],
            f"'s' is a number, which no loop carries; {NUMBER}",
        ),
        (
            ["h = x", "s = summed(x)", "for l in layers(L):", "    h = times(h, s)", "    s = 1.0", *END],
            f"'s' goes from layer to layer, but ends a layer as a number; {NUMBER}",
        ),
        (
            ["h = bent(x, w)", "y = h", "loss = summed(h)"],
            "bent_back, the gradient of bent, changes 'd_y'; take it without mut, and copy it where it is to change",
        ),
        (
            ["y = scaled(x, w)", "loss = meet(u[0, 0:n], w)"],
            "the shape of d_x, which meet_back gives, is made of sizes, and n is none; declare it as n: size",
        ),
        (
            ["h, k = ranked(x, w)", "y = h", "loss = summed(h)"],
            "ranked_back, the gradient of ranked, has 'd_k' of i64; leave it out: there is none of integers",
        ),
        (
            ["h = wide(x, w)", "y = h", "loss = summed(h)"],
            "wide_back, the gradient of wide, has 'd_y' of f64; make it f32",
        ),
        (
            ["for l in layers(L):", "    k = firsts(x, l)", *END],
            "the shape of a value is made of sizes, and l is none; write a size",
        ),
        (
            ["for l in layers(L):", "    h = scaled(x, w)", "    s = summed(view(h, l + N - l, C))", *END],
            "the shape of a value is made of sizes, and l is none; write a size",
        ),
        (["h = firsts(x, n)", *END], "the shape of a value is made of sizes, and n is none; declare it as n: size"),
        (
            ["for l in layers(n):", "    h = scaled(x, w)", *END],
            "the number of layers is made of sizes, and n is none; declare it as n: size",
        ),
        (["v: f32[n] = 1.0", *END], "a weight's shape is made of sizes, and n is none"),
        (["for l in layers(L):", "    v: f32[C] = 1.0 / f32(l + 1)", *END], INITIAL.format("l")),
        (["s = summed(x)", "v: f32[C] = ramp(s)", *END], INITIAL.format("s")),
        (["v: f32[C] = t[0]", *END], INITIAL.format("t")),
        (
            ["k = best(x)", "h = times(x, part(x, k))", *END],
            "'k' is computed here, and can't be a size of a call; pass it to a procedure as i64",
        ),
        (
            ["k = best(x)", "h = scaled(u[k], w)", *END],
            "'k' is computed here, and can't be a place; pass it to a procedure as i64",
        ),
    ],
)
def test_statements(body, message):
    program = load_text(PARTS + HEAD + "".join(f"    {line}\n" for line in body), "case.vibee")
    assert [e.message for e in program.errors] == [message]


@pytest.mark.parametrize(
    "head", ["net(x: f32[N, C], w: f32[N, C]) -> y[N, C]", "net(x: f32[N, C]) -> (y[N, C], w[N, C])"]
)
def test_another_models_weights_of_a_name_that_is_taken(head):
    base = "@model\ndef base(x: f32[N, C]) -> y[N, C]:\n    w: f32[C] = 1.0\n    y = scaled(x, w)\n"
    own = f"@model\ndef {head}:\n    weights(base)\n    y = x\n    w = x\n"
    program = load_text(PARTS + base + own, "case.vibee")
    assert program.errors[0].message == "'w' is a weight of base; give what has this name here another one"
