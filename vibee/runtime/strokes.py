"""A small font made of pen strokes, drawn by the same code as the curves.

A glyph is strokes separated by `;`: a polyline `x y x y ...`, or an arc `@ cx cy rx ry from to`
in degrees.  The baseline is at 0, small letters are 5 high, capitals and digits 7.
"""

from __future__ import annotations

from math import cos, radians, sin

Stroke = list[tuple[float, float]]

_BOWL = "@ 2.3 2.5 2.3 2.5 0 360"
_ARCH = "0 5 0 0; @ 2.2 2.8 2.2 2.2 180 0; 4.4 2.8 4.4 0"
_GLYPHS = {
    "a": f"{_BOWL}; 4.6 5 4.6 0",
    "b": f"{_BOWL}; 0 7.2 0 0",
    "c": "@ 2.4 2.5 2.4 2.5 50 310",
    "d": f"{_BOWL}; 4.6 7.2 4.6 0",
    "e": "0 2.6 4.6 2.6; @ 2.3 2.5 2.3 2.5 2 310",
    "f": "1.3 0 1.3 5.7; @ 2.8 5.7 1.5 1.5 180 75; 0 5 2.9 5",
    "g": f"{_BOWL}; 4.6 5 4.6 0; @ 2.4 0 2.2 2.1 0 -145",
    "h": "0 7.2 0 0; @ 2.2 2.8 2.2 2.2 180 0; 4.4 2.8 4.4 0",
    "i": "0 5 0 0; 0 7 0 7.15",
    "j": "1.2 5 1.2 -1; @ 0 -1 1.2 1.1 0 -90; 1.2 7 1.2 7.15",
    "k": "0 7.2 0 0; 4 5 0 1.7; 1.5 2.95 4.3 0",
    "l": "0 7.2 0 0",
    "m": "0 5 0 0; @ 1.75 3.2 1.75 1.8 180 0; 3.5 3.2 3.5 0; @ 5.25 3.2 1.75 1.8 180 0; 7 3.2 7 0",
    "n": _ARCH,
    "o": _BOWL,
    "p": f"{_BOWL}; 0 5 0 -2.2",
    "q": f"{_BOWL}; 4.6 5 4.6 -2.2",
    "r": "0 5 0 0; @ 2.2 2.8 2.2 2.2 180 65",
    "s": "@ 1.9 3.75 1.7 1.25 35 270; @ 1.9 1.25 1.9 1.25 90 -150",
    "t": "1.2 6.8 1.2 1.5; @ 2.7 1.5 1.5 1.5 180 285; 0 5 2.9 5",
    "u": "0 5 0 2.2; @ 2.2 2.2 2.2 2.2 180 360; 4.4 5 4.4 0",
    "v": "0 5 2.2 0 4.4 5",
    "w": "0 5 1.6 0 3.3 5 5 0 6.6 5",
    "x": "0 5 4.2 0; 4.2 5 0 0",
    "y": "0 5 2.3 0; 4.6 5 2 -1.4; @ 0.7 -1 1.4 1.2 -20 -100",
    "z": "0 5 4 5 0 0 4.2 0",
    "0": "@ 2.3 3.5 2.3 3.5 0 360",
    "1": "0.5 5.6 2.3 7 2.3 0",
    "2": "@ 2.2 4.9 2.1 2.1 165 -36; 3.9 3.66 0.1 0 4.5 0",
    "3": "@ 2.1 5.3 1.9 1.7 150 -90; @ 2.1 1.8 2.3 1.8 90 -150",
    "4": "3.5 0 3.5 7 0 2.1 4.7 2.1",
    "5": "4 7 0.9 7 0.55 3.9; @ 2.1 2.3 2.3 2.3 132 -145",
    "6": "@ 2.3 2.2 2.3 2.2 0 360; @ 4.3 2.2 4.3 4.9 180 100",
    "7": "0 7 4.5 7 1.4 0",
    "8": "@ 2.3 5.3 1.9 1.7 0 360; @ 2.3 1.8 2.3 1.8 0 360",
    "9": "@ 2.3 4.8 2.3 2.2 0 360; @ 0.3 4.8 4.3 4.9 0 -80",
    "M": "0 0 0 7 2.9 2.4 5.8 7 5.8 0",
    "G": "@ 3 3.5 3 3.5 48 360; 6 3.5 3.4 3.5",
    ".": "0 0 0 0.15",
    ",": "0.3 0.15 0.3 0 -0.2 -1.2",
    ":": "0 0 0 0.15; 0 4.2 0 4.35",
    "-": "0 2.5 2.6 2.5",
    "+": "0 2.7 4 2.7; 2 0.7 2 4.7",
    "/": "0 -0.8 3.2 7.6",
    "%": "0.4 0 5.2 7; @ 1.1 5.7 1.1 1.3 0 360; @ 4.5 1.3 1.1 1.3 0 360",
    "=": "0 3.4 3.8 3.4; 0 1.6 3.8 1.6",
    "(": "@ 2.6 2.9 2.6 5 130 230",
    ")": "@ -1.4 2.9 2.6 5 50 -50",
}  # fmt: skip
_GAP = 1.8  # between two letters
_SPACE = 3.0


def _strokes(text: str) -> list[Stroke]:
    found: list[Stroke] = []
    for part in text.split(";"):
        words = part.split()
        if words[0] == "@":
            cx, cy, rx, ry, begin, end = map(float, words[1:])
            n = max(4, int(abs(end - begin) / 12))
            angles = [radians(begin + (end - begin) * i / n) for i in range(n + 1)]
            found.append([(cx + rx * cos(a), cy + ry * sin(a)) for a in angles])
        else:
            values = list(map(float, words))
            found.append(list(zip(values[::2], values[1::2], strict=True)))
    return found


def lay_out(text: str) -> tuple[list[Stroke], float]:
    """The strokes of a line of text that begins at 0, and its width; unknown characters are blanks."""
    pen = 0.0
    out: list[Stroke] = []
    for c in text:
        glyph = _GLYPHS.get(c) or _GLYPHS.get(c.lower())
        if glyph is None:
            pen += _SPACE
            continue
        strokes = _strokes(glyph)
        left = min(x for s in strokes for x, _ in s)
        right = max(x for s in strokes for x, _ in s)
        if c.isdigit():
            # Digits are all equally wide, so that numbers line up.
            left, right = (left + right - 4.6) / 2, (left + right + 4.6) / 2
        out += [[(x - left + pen, y) for x, y in s] for s in strokes]
        pen += right - left + _GAP
    return out, max(0.0, pen - _GAP)
