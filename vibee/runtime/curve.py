"""The loss curve: what a terminal can show of it.  `chart.py` draws it as a picture."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:  # the typing module is not worth its start time
    from collections.abc import Sequence

_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # braille: column, then row from the top


def finite(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that can be drawn: finite ones, in order of step."""
    return sorted((float(x), float(y)) for x, y in points if y - y == 0.0)


def smooth(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The mean over a window around each point, a thirtieth of the curve wide.

    It narrows towards the start: a window that only looked back would lag where the loss falls fast.
    """
    n = len(points)
    half = n // 60
    sums = [0.0]
    for _, y in points:
        sums.append(sums[-1] + y)
    out: list[tuple[float, float]] = []
    for i, (x, _) in enumerate(points):
        reach = min(half, i)
        low, high = i - reach, min(n, i + reach + 1)
        out.append((x, (sums[high] - sums[low]) / (high - low)))
    return out


def nice_step(span: float, count: int) -> float:
    """A distance between ticks, 1, 2 or 5 times a power of ten, that gives about `count` of them."""
    if not span > 0:
        return 1.0
    raw = span / max(1, count)
    power = 1.0
    while power * 10 <= raw:
        power *= 10
    while power > raw:
        power /= 10
    for factor in (1, 2, 5):
        if raw <= factor * power:
            return factor * power
    return 10 * power


def limits(values: Sequence[float]) -> tuple[float, float]:
    """The range to show: all values, and never an empty one."""
    low, high = min(values), max(values)
    if high - low < 1e-9 * max(1.0, abs(high)):
        low, high = low - 0.5, high + 0.5
    margin = 0.04 * (high - low)
    return low - margin, high + margin


def thin(points: Sequence[tuple[float, float]], columns: int, low: float, high: float) -> list[float | None]:
    """The mean of the points of each column, None where there is none; the steps lie between `low` and `high`."""
    sums = [0.0] * columns
    counts = [0] * columns
    scale = (columns - 1) / (high - low) if high > low else 0.0
    for x, y in points:
        i = int((x - low) * scale + 0.5)
        sums[i] += y
        counts[i] += 1
    return [s / n if n else None for s, n in zip(sums, counts, strict=True)]


def terminal_curve(
    train: Sequence[tuple[float, float]],
    validation: Sequence[tuple[float, float]] = (),
    width: int = 76,
    height: int = 12,
    unicode: bool = True,
    colour: bool = False,
) -> str:
    """The curve as lines of text; empty if there is nothing to draw."""
    train, validation = finite(train), finite(validation)
    if len(train) + len(validation) < 2:
        return ""
    line = smooth(train)
    low, high = limits([y for _, y in line] + [y for _, y in validation])
    steps = [x for x, _ in line] + [x for x, _ in validation]
    first, last = min(steps), max(steps)
    plot = max(10, width - 9)
    fine_x, fine_y = (2 * plot, 4 * height) if unicode else (plot, height)
    cells = [[0] * plot for _ in range(height)]

    def row_of(y: float) -> int:
        return min(fine_y - 1, max(0, int((high - y) / (high - low) * fine_y)))

    previous: tuple[int, int] | None = None
    for i, y in enumerate(thin(line, fine_x, first, last)):
        if y is None:
            continue
        here = (i, row_of(y))
        for x, r in _between(previous or here, here):
            if unicode:
                cells[r // 4][x // 2] |= _DOTS[x % 2][r % 4]
            else:
                cells[r][x] = 1
        previous = here
    marks: set[tuple[int, int]] = set()
    for step, y in validation:
        column = int((step - first) / (last - first) * (plot - 1) + 0.5) if last > first else 0
        marks.add((row_of(y) * height // fine_y, column))
    return "\n".join(_rows(cells, marks, (low, high), (first, last), plot, unicode, colour, bool(train)))


def _between(a: tuple[int, int], b: tuple[int, int]) -> list[tuple[int, int]]:
    """The grid points of a straight line."""
    n = max(abs(b[0] - a[0]), abs(b[1] - a[1]), 1)
    return [(a[0] + (b[0] - a[0]) * i // n, a[1] + (b[1] - a[1]) * i // n) for i in range(1, n + 1)] + [a]


def _label(value: float) -> str:
    """A loss in six characters."""
    text = f"{value:6.3f}"
    return text if len(text) == 6 else f"{value:6.0e}".replace("e+", "e")[:6]


def _rows(
    cells: list[list[int]],
    marks: set[tuple[int, int]],
    loss: tuple[float, float],
    step: tuple[float, float],
    plot: int,
    unicode: bool,
    colour: bool,
    has_train: bool,
) -> list[str]:
    height = len(cells)
    dot, mark, edge, corner, floor = ("•", "●", "┤", "└", "─") if unicode else (".", "o", "|", "+", "-")
    paint, unpaint = ("\x1b[33m", "\x1b[0m") if colour else ("", "")
    lines: list[str] = []
    for r, row in enumerate(cells):
        value = loss[1] - (r + 0.5) / height * (loss[1] - loss[0])
        label = _label(value) if r % 3 == 0 or r == height - 1 else " " * 6
        text = ""
        for c, bits in enumerate(row):
            if (r, c) in marks:
                text += paint + mark + unpaint
            elif not bits:
                text += " "
            else:
                text += chr(0x2800 + bits) if unicode else dot
        lines.append(f"{label} {edge}{text}".rstrip())
    lines.append(" " * 7 + corner + floor * plot)
    left, right = f"{step[0]:.0f}", f"{step[1]:.0f}"
    legend = ("training loss" if has_train else "") + (f"   {paint}{mark}{unpaint} validation loss" if marks else "")
    visible = len(legend) - (len(paint) + len(unpaint) if marks else 0)
    gap = plot - len(left) - len(right) - visible
    middle = " " * (gap // 2) + legend + " " * (gap - gap // 2) if gap >= 2 else " " * (gap + visible)
    lines.append(" " * 8 + left + middle + right)
    return lines
