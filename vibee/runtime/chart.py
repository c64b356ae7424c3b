"""The loss curve as a picture."""

from __future__ import annotations

from vibee.runtime.curve import finite, limits, nice_step, smooth
from vibee.runtime.progress import short_count
from vibee.runtime.raster import Canvas

TYPE_CHECKING = False
if TYPE_CHECKING:  # the typing module is not worth its start time
    from collections.abc import Sequence

_INK, _GREY, _GRID = (38, 43, 51), (107, 114, 128), (232, 234, 238)
_TRAIN, _BAND, _VALIDATION = (37, 99, 200), (205, 221, 246), (226, 103, 24)
_WIDTH, _HEIGHT = 1200, 720
_LEFT, _RIGHT, _TOP, _BOTTOM = 104, 40, 104, 92


def loss_chart(
    train: Sequence[tuple[float, float]],
    validation: Sequence[tuple[float, float]] = (),
    title: str = "training and validation loss",
) -> bytes:
    """A PNG picture of (step, loss) points: single batches as a band, their mean and validation as lines."""
    train, validation = finite(train), finite(validation)
    picture = Canvas(_WIDTH, _HEIGHT)
    picture.text(_LEFT, 52, title, 19, _INK, weight=1.15)
    if not train and not validation:
        picture.text(_WIDTH / 2, _HEIGHT / 2, "no losses yet", 17, _GREY, anchor=0.5)
        return picture.png()
    mean = smooth(train)
    steps = [x for x, _ in train] + [x for x, _ in validation]
    first, last = min(steps), max(steps)
    if last <= first:
        last = first + 1
    low, high = limits([y for _, y in mean] + [y for _, y in validation])
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            _LEFT + (x - first) / (last - first) * (right - _LEFT),
            bottom - (min(max(y, low), high) - low) / (high - low) * (bottom - _TOP),
        )

    _axes(picture, first, last, low, high)
    _band(picture, train, place, bottom)
    if len(mean) > 1:
        picture.line(_columns([place(x, y) for x, y in mean]), _TRAIN, 2.6)
    elif mean:
        picture.dot(*place(*mean[0]), 4.5, _TRAIN)
    marks = [place(x, y) for x, y in validation]
    if len(marks) > 1:
        picture.line(marks, _VALIDATION, 2.6)
    for x, y in marks if len(marks) <= 60 else ():
        picture.dot(x, y, 6.2, (255, 255, 255))
        picture.dot(x, y, 4.6, _VALIDATION)
    _legend(picture, mean, validation)
    return picture.png()


def _axes(picture: Canvas, first: float, last: float, low: float, high: float) -> None:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    step = nice_step(high - low, 6)
    digits = max(0, -_exponent(step))
    i = -int(-low // step) - 1
    while i * step <= high:
        if i * step >= low:
            y = int(bottom - (i * step - low) / (high - low) * (bottom - _TOP) + 0.5)
            picture.fill(_LEFT, y, right, y + 1, _GRID)
            picture.text(_LEFT - 14, y + 6, f"{i * step:.{digits}f}", 12.5, _GREY, anchor=1.0)
        i += 1
    step = max(1.0, nice_step(last - first, 8))
    i = -int(-first // step) - 1
    while i * step <= last:
        if i * step >= first:
            x = int(_LEFT + (i * step - first) / (last - first) * (right - _LEFT) + 0.5)
            picture.fill(x, _TOP, x + 1, bottom, _GRID)
            picture.fill(x, bottom, x + 1, bottom + 7, _GREY)
            label = f"{i * step:.0f}" if last < 100_000 else short_count(i * step)
            picture.text(x, bottom + 29, label, 12.5, _GREY, anchor=0.5)
        i += 1
    picture.fill(_LEFT, bottom, right + 1, bottom + 1, _GREY)
    picture.fill(_LEFT, _TOP, _LEFT + 1, bottom, _GREY)
    picture.text((_LEFT + right) / 2, bottom + 65, "step", 14, _INK, anchor=0.5)
    picture.text(_LEFT, _TOP - 16, "loss", 14, _INK, anchor=0.5)


def _exponent(step: float) -> int:
    """The power of ten of a tick distance."""
    exponent = 0
    while step < 0.999:
        step *= 10
        exponent -= 1
    return exponent


def _band(picture: Canvas, train: Sequence[tuple[float, float]], place: object, bottom: int) -> None:
    """From the smallest to the largest loss of each column of pixels."""
    spans: dict[int, tuple[float, float]] = {}
    for point in train:
        x, y = place(*point)  # type: ignore[operator]
        column = int(x + 0.5)
        low, high = spans.get(column, (y, y))
        spans[column] = (min(low, y), max(high, y))
    columns = sorted(spans)
    for i, column in enumerate(columns):
        near = [spans[c] for c in columns[max(0, i - 3) : i + 4]]
        low, high = min(s[0] for s in near), max(s[1] for s in near)
        following = columns[i + 1] if i + 1 < len(columns) else column + 1
        picture.fill(column, int(low), min(following, column + 12), min(bottom, int(high) + 1), _BAND)


def _columns(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most one point for each column of pixels: more cannot be seen and only cost time."""
    out: list[tuple[float, float]] = []
    i = 0
    while i < len(points):
        j = i
        while j < len(points) and int(points[j][0]) == int(points[i][0]):
            j += 1
        n = j - i
        out.append((sum(p[0] for p in points[i:j]) / n, sum(p[1] for p in points[i:j]) / n))
        i = j
    return [points[0], *out, points[-1]]


def _legend(
    picture: Canvas, mean: Sequence[tuple[float, float]], validation: Sequence[tuple[float, float]]
) -> None:  # fmt: skip
    x = float(_WIDTH - _RIGHT)
    entries = []
    if validation:
        step, best = min(validation, key=lambda p: p[1])
        entries.append((f"validation  {validation[-1][1]:.4f}", _VALIDATION))
        if best < validation[-1][1]:
            entries[-1] = (f"validation  {validation[-1][1]:.4f}, best {best:.4f} at step {step:.0f}", _VALIDATION)
    if mean:
        entries.append((f"training  {mean[-1][1]:.4f}", _TRAIN))
    for text, colour in entries:
        x -= picture.text(x, _TOP - 16, text, 13, _INK, anchor=1.0) + 12
        picture.line([(x - 24, _TOP - 21), (x, _TOP - 21)], colour, 3)
        if colour == _VALIDATION:
            picture.dot(x - 12, _TOP - 21, 4.6, colour)
        x -= 56
