"""Loss curves: in the terminal and as PNG."""

import math
import zlib

import pytest

from vibee.runtime.chart import loss_chart
from vibee.runtime.curve import nice_step, smooth, terminal_curve
from vibee.runtime.raster import Canvas
from vibee.runtime.strokes import lay_out

TRAIN = [(i, 1.6 + 2.6 * math.exp(-i / 150) + 0.05 * math.sin(i * 7)) for i in range(2000)]
VALIDATION = [(i, 1.85 + 2.35 * math.exp(-i / 150)) for i in range(0, 2001, 250)]

ODD = [
    ([], []),
    ([(5, 1.0)], []),
    ([], [(5, 1.0)]),
    ([(0, 1.0), (0, 1.0)], [(0, 1.0)]),
    ([(i, 2.0) for i in range(10)], []),
    ([(i, math.nan) for i in range(10)], [(3, math.inf)]),
    ([(0, math.nan), (1, 1e30), (2, -1e30)], []),
    ([(0, 1.0), (10**9, 0.5)], [(1, 1e-9)]),
]


def parse_png(data):
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, found = 8, {}
    while at < len(data):
        n = int.from_bytes(data[at : at + 4], "big")
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + n]
        assert zlib.crc32(kind + body) == int.from_bytes(data[at + 8 + n : at + 12 + n], "big")
        found[kind] = body
        at += 12 + n
    width, height = (int.from_bytes(found[b"IHDR"][i : i + 4], "big") for i in (0, 4))
    raw = zlib.decompress(found[b"IDAT"])
    assert len(raw) == height * (3 * width + 1)
    return width, height, raw


def test_picture():
    width, height, raw = parse_png(loss_chart(TRAIN, VALIDATION))
    assert (width, height) == (1200, 720)
    assert bytes((37, 99, 200)) in raw and bytes((226, 103, 24)) in raw


def test_the_legend_names_the_best_step_where_it_is_not_the_last(monkeypatch):
    said = []
    monkeypatch.setattr(Canvas, "text", lambda self, x, y, text, *rest, **more: said.append(text) or 0.0)
    loss_chart(TRAIN, [(0, 4.0), (250, 1.5), (500, 1.75)])
    assert "validation  1.7500, best 1.5000 at step 250" in said
    loss_chart(TRAIN, [(0, 4.0), (250, 1.5)])
    assert "validation  1.5000" in said


@pytest.mark.parametrize("case", range(len(ODD)))
def test_odd_curves(case):
    parse_png(loss_chart(*ODD[case]))
    for unicode in (True, False):
        text = terminal_curve(*ODD[case], width=60, unicode=unicode)
        assert all(len(line) <= 60 for line in text.splitlines())
        assert unicode or text.isascii()


def test_terminal_curve():
    text = terminal_curve(TRAIN, VALIDATION, width=76, height=12).splitlines()
    assert len(text) == 14 and all(len(line) <= 76 for line in text)
    assert text[0].strip().startswith("4.") and "●" in text[0]
    assert sum(line.count("●") for line in text) == len(VALIDATION) + 1  # and one in the legend
    assert text[-1].split()[0] == "0" and text[-1].split()[-1] == "2000"
    assert "\x1b[33m" in terminal_curve(TRAIN, VALIDATION, colour=True)


def test_smoothing_keeps_straight_lines_and_ends():
    line = [(i, 2.0 * i) for i in range(100)]
    got = smooth(line)
    assert got[0] == (0, 0.0) and got[50][1] == pytest.approx(100.0)
    assert smooth([]) == [] and smooth([(1, 2.0)]) == [(1, 2.0)]


def test_nice_steps():
    assert [nice_step(x, 5) for x in (10, 1, 0.3, 70, 2600)] == pytest.approx([2, 0.2, 0.1, 20, 1000])
    assert nice_step(0, 5) == 1.0


def test_every_glyph_can_be_drawn():
    picture = Canvas(400, 40)
    width = picture.text(5, 25, "abcdefghijklmnopqrstuvwxyz 0123456789 .,:-+/%=() MG ?ß", 8, (0, 0, 0))
    assert 100 < width < 400
    assert lay_out("1111")[1] == lay_out("8888")[1]  # digits line up
    assert lay_out("")[1] == 0


def test_drawing_outside_is_harmless():
    picture = Canvas(10, 10)
    picture.line([(-50, -50), (60, 60)], (0, 0, 0), 3)
    picture.fill(-5, -5, 3, 3, (1, 2, 3))
    picture.dot(100, 100, 5, (0, 0, 0))
    picture.text(-20, 500, "hello", 12, (0, 0, 0))
    parse_png(picture.png())
