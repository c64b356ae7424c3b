"""Laws and `then`: operators between arrays, numbers and calls mean the same by numpy and in higher precision."""

import pytest

from vibee import testing

SPEC = """module("laws", version=1)


def clip(x: f32[N]) -> y[N]:
    y[i] = max(0, x[i])
    law("where", clip(x), where(x > 0.0, x, 0.0))
    law("choice", clip(x), x if x > 0.0 and not x > inf else 0.0)
    law("or", clip(x), where(x <= 0.0 or x > inf, 0.0, x))
    law("chain", 0 <= N < N + 1, True)
    law("conditions", clip(x) >= 0.0, True)
    law("number first", True, clip(x) >= 0.0)
    law("wider", clip(x), f32(f64(clip(x))))
    law("whole", clip(f32(i64(floor(x)))), floor(clip(x)))
    law("bits", clip(x), bitcast(f32, bitcast(i32, clip(x))))
    law("sizes", clip(x * N), N * clip(x), rel=1e-5)
    law("another array", clip(z) * 2.0, clip(z * 2.0))
    law("another number", clip(x) + c, c + clip(x))
    law("near", clip(x) * 1.01, clip(x), rel=0.02)
    law("false", clip(x) * 1.01, clip(x), rel=0.005)
    law("false", where(x > 0.0, x, 0.0), x)
    law("false", clip(x) > 0.0, True)
    then(y[i] > x[i] - 1.0, y[i] > x[i])


def digits(n: i64[N], k: i64) -> d(i64[N]):
    given(k >= 2)
    d[i] = n[i] % k
    law("whole", digits(n, k) + n // k * k, n)
    law("bits", digits(n, 2), n & 1)
    law("not", (~n) + 1, -n)
    law("parts", f64(digits(n, k)) / f64(k) < 1.0, True)
    law("quotients", digits(n, k) / k < 1.0, True)
    law("false", n // 2 * 2, n)
    law("false", digits(n, k) > 0, n > 0)


def mixed(x: bf16[N], k: size) -> y[N]:
    y[i] = f32(x[i]) * f32(k)
    law("another size", mixed(x, m) * k, mixed(x, k) * m, rel=1e-3)
    law("another array", mixed(x=w, k=1) + 0.0, mixed(w, 1))
    law("rounded", mixed(x, 1), f32(bf16(mixed(x, 1))))


def weighted(x: f32[N + 1], n: i64[N], on: bool) -> y[N]:
    y[i] = x[i + 1] * f32(n[i]) if on else 0.0
    law("twice", weighted(x=z, n=k, on=c), weighted(z, k, c))


def square(x: real) -> y:
    y = x * x
    law("even", square(-x), square(x))
    law("number", square(3.0), 9.0)
    law("named", square(c), square(-c))
    law("sums", square(square(x) + c) >= 0.0, True)
    law("false", square(x + 1e-6), square(x))
    then(y >= 0)
    then(y > x)


def steep(x: f32, by: f32 = 2.0) -> y:
    y = by * x
    law("default", steep(x), steep(x, 2.0))


def parts(x: f32[N]) -> y[N]:
    half[i] = x[i] * 0.5
    y[i] = half[i] + half[i]
    then(close(y[i], 2.0 * half[i], ulp=8))


def none(x: f32[N]) -> y[N]:
    given(N == 0)
    y[i] = x[i]
    law("nothing", none(x), x)
    then(y[i] > x[i])


def refused(x: f32[N]) -> y[N]:
    y[i] = x[i + i64(where(x[i] > 3e37, 1000, 0))]
    law("no value", refused(x * 0.0 + 1e38), x)


def beyond(x: f32[N]) -> y[N]:
    y[i] = x[i + i64(where(x[i] > 3e37, 1000, 0))]
    then(y[i] == x[i])


@procedure
def above(x: f32) -> n(f32):
    if x * 0.3 / 0.3 > x:
        n = 1.0
    then(n >= 0.0)
    law("near", above(x), above(x), rel=1.0)


@procedure
def above_unsure(x: f32) -> n(f32):
    if sigmoid(x) + 1.0 > sigmoid(x) + 1.0:
        n = 1.0
    law("never", above_unsure(x), above_unsure(x))


def added(a: f32[N], b: f32[N]) -> y[N]:
    y[i] = a[i] + b[i]
    law("new twice", added(z, z), z * 2.0)
    law("others", added(a, steep(a, 2)), steep(a) + a)


def half(x: f64) -> y:
    y = x / 2.0


def half(x: i64) -> y:
    y = x // 2


def half(x: f32, by: f32) -> y:
    y = x / by


def half(a: bf16) -> y:
    y = a * 0.5


def short(x: f64) -> y(bf16):
    y = bf16(x)


def halves(n: i64[N], r: bf16[N], k: i64, s: f64) -> (y[N], x[N], z[N]):
    y[i] = half(n[i])
    x[i] = half(r[i])
    z[i] = half(s)
    law("whole", half(n) * 2 + (n & 1), n)
    law("sums", half(n // 4 + n // 4), n // 4)
    law("of halves", half(half(n) * 1.0), half(n) / 2)
    law("named", half(x=n), half(n))
    law("literals", half(3), 1)
    law("literals", half(3.0), 1.5)
    law("number", half(s) * 2.0, s)
    law("sizes", half(N), N // 2)
    law("conditions", half(i64(n > k)), 0)
    law("converted", half(f64(n)) * 2.0, f64(n))
    law("as declared", half(r), f32(r) * 0.5)
    law("of a call", half(short(s)), half(bf16(s)))
    law("new", half(c) * 2.0 + q, c + q)
    law("new", half(q * 4.0), q * 2.0)
    law("false", half(n), n / 2)


def inverse(x: u8[N]) -> y(u8[N]):
    y[i] = u8(255 - x[i])
    law("sum", inverse(x) + x + 1, 256)
    law("choice", inverse(where(x > 7, x, 9)), 255 - where(x > 7, x, 9))
    law("new", inverse(x) * c - 300, c * (255 - x) - 300)
    law("false", inverse(x) + x + 1, 0)


def negative(x: i8[N]) -> y(i32[N]):
    y[i] = -x[i]
    law("difference", negative(x) - x, -2 * x)
    law("magnitude", negative(i8(x * 0 - 128)), abs(i8(x * 0 - 128)))


def total(x: i64[N]) -> s:
    s = sum[i](x[i])
    law("scale", total(x * c), c * total(x))
    law("false", total(x * c), abs(c) * total(x))


def total_bits(x: u32[N]) -> s:
    s = sum[i](x[i])
    law("scale", total_bits(x * c), c * total_bits(x))


def third(x: f32[N]) -> y[N]:
    y[i] = x[min(max(i64(floor(x[0] * 0.3)), 0), N - 1)]
    given(N >= 1)
    then(y[i] <= max[j](x[j]))


@procedure
def endless(x: f32) -> n(f32):
    while n >= 0.0:
        n += 1.0
    then(n >= 0.0)
    law("no end", endless(x), x)


@procedure
def sum_while(x: f32[N]) -> (s(f32), n(i64)):
    while n < N and s < 10.0 / 3.0:
        s += abs(x[n]) * 0.3
        n += 1
    then(n <= N, s >= 0.0)


@procedure
def local(x: f32[N]) -> s(f32):
    half: f32 = 0.0
    for i in range(N):
        half += 0.5 * abs(x[i])
    s = half + half
    then(s >= half)


@procedure
def pairs(x: f32[N]) -> y(f32[N]):
    t: f32[N] = 0.0
    for i in range(N):
        t[i] = x[i]
        y[i] = t[i] + t[i]
    then(close(y[i], 2.0 * x[i], ulp=2))
"""


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    path = tmp_path_factory.mktemp("laws") / "laws.vibee"
    path.write_text(SPEC)
    return testing.spec(str(path))


FALSE = ('law("false"', "then(y > x)", "then(y[i] > x[i] - 1.0, y[i] > x[i])")
NEVER = ("none", "refused", "endless", "above_unsure")  # no case can be compared


def statements(false=False, never=False):
    """The word, the instance and the line of every law and `then`."""
    name, versions = "", [""]
    for k, line in enumerate(SPEC.splitlines(), 1):
        if line.startswith("def "):
            name = line[4:].split("(")[0]
            versions = ["_f32", "_f64"] if "real" in line else [""]
        word = line.strip().split("(")[0]
        wanted = line.strip().startswith(FALSE) == false and (name in NEVER) == never
        if word in ("law", "then") and wanted:
            yield from ((word, name + v, k) for v in versions)


@pytest.mark.parametrize("word,key,line", list(statements()))
def test_what_holds_passes(spec, word, key, line):
    getattr(testing, word)(spec[key], line)


@pytest.mark.parametrize("word,key,line", list(statements(false=True)))
def test_what_does_not_hold_is_told(spec, word, key, line):
    said = "the left side" if word == "law" else "does not hold"
    with pytest.raises(AssertionError, match=rf"laws.vibee:{line}: {key}: .*{said}.*\n  with .*seed \d+"):
        getattr(testing, word)(spec[key], line)


@pytest.mark.parametrize("word,key,line", list(statements(never=True)))
def test_what_cannot_be_compared_is_skipped(spec, word, key, line):
    with pytest.raises(pytest.skip.Exception, match="nothing could be compared"):
        getattr(testing, word)(spec[key], line)


def test_numbers_that_are_no_numbers_say_nothing(spec, monkeypatch):
    """Many cases, those with infinities and nan too: refused ones and results that are nan are passed over."""
    monkeypatch.setenv("VIBEE_TEST_CASES", "80")
    for word, key, line in statements():
        if word == "then" and key in ("beyond", "square_f32"):
            testing.then(spec[key], line)
