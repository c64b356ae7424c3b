"""A picture in memory: rectangles, smooth lines, text; written as PNG with zlib alone."""

from __future__ import annotations

from vibee.runtime.strokes import lay_out

TYPE_CHECKING = False
if TYPE_CHECKING:  # the typing module is not worth its start time
    from collections.abc import Sequence

    Colour = tuple[int, int, int]


class Canvas:
    """An RGB picture; coordinates are pixels from the upper left corner."""

    def __init__(self, width: int, height: int, background: Colour = (255, 255, 255)) -> None:
        self.width, self.height = width, height
        self.pixels = bytearray(bytes(background) * (width * height))

    def fill(self, x0: int, y0: int, x1: int, y1: int, colour: Colour) -> None:
        """A rectangle [x0, x1) x [y0, y1)."""
        x0, x1 = max(0, x0), min(self.width, x1)
        row = bytes(colour) * max(0, x1 - x0)
        for y in range(max(0, y0), min(self.height, y1)):
            at = 3 * (y * self.width + x0)
            self.pixels[at : at + len(row)] = row

    def blend(self, coverage: dict[int, float], colour: Colour) -> None:
        """Lay a colour over pixels, each covered by a share of 0 to 1."""
        p = self.pixels
        red, green, blue = colour
        for i, share in coverage.items():
            at = 3 * i
            p[at] += int((red - p[at]) * share)
            p[at + 1] += int((green - p[at + 1]) * share)
            p[at + 2] += int((blue - p[at + 2]) * share)

    def line(self, points: Sequence[tuple[float, float]], colour: Colour, width: float) -> None:
        """A polyline with round ends and smooth edges."""
        coverage: dict[int, float] = {}
        self._cover(points, width, coverage)
        self.blend(coverage, colour)

    def dot(self, x: float, y: float, radius: float, colour: Colour) -> None:
        """A filled circle."""
        self.line([(x, y), (x, y)], colour, 2 * radius)

    def _cover(self, points: Sequence[tuple[float, float]], width: float, coverage: dict[int, float]) -> None:
        """How much of each pixel lies within half a width of the polyline.

        The largest share counts, so that joints are not darker than the rest.
        """
        reach = width / 2 + 0.5
        for i in range(1, len(points)):
            (ax, ay), (bx, by) = points[i - 1], points[i]
            dx, dy = bx - ax, by - ay
            square = dx * dx + dy * dy
            top = max(0, int(min(ay, by) - reach))
            bottom = min(self.height - 1, int(max(ay, by) + reach + 1))
            for y in range(top, bottom + 1):
                low, high = min(ax, bx), max(ax, bx)
                if dy and square > 16:
                    # Of a long line only the part near this row matters.
                    slack = reach * (square**0.5) / abs(dy) + reach
                    middle = ax + (y - ay) * dx / dy
                    low, high = max(low, middle - slack), min(high, middle + slack)
                for x in range(max(0, int(low - reach)), min(self.width - 1, int(high + reach + 1)) + 1):
                    t = ((x - ax) * dx + (y - ay) * dy) / square if square else 0.0
                    t = 0.0 if t < 0 else 1.0 if t > 1 else t
                    ex, ey = x - ax - t * dx, y - ay - t * dy
                    share = reach - (ex * ex + ey * ey) ** 0.5
                    if share > 0:
                        pixel = y * self.width + x
                        share = min(1.0, share)
                        if share > coverage.get(pixel, 0.0):
                            coverage[pixel] = share

    def text(
        self, x: float, y: float, text: str, size: float, colour: Colour, anchor: float = 0.0, weight: float = 1.0
    ) -> float:
        """A line of text: `size` is the height of its digits, y the baseline, anchor 0 left, 0.5 centred, 1 right.

        The width of what was written is returned.
        """
        scale = size / 7
        strokes, width = lay_out(text)
        coverage: dict[int, float] = {}
        for stroke in strokes:
            places = [(x + (px - anchor * width) * scale, y - py * scale) for px, py in stroke]
            pen = weight * max(1.2, size / 8)
            if abs(stroke[0][1] - stroke[-1][1]) < 0.2 and len(stroke) == 2 and stroke[0][0] == stroke[1][0]:
                pen *= 1.4  # the dot of an i, a full stop
            self._cover(places, pen, coverage)
        self.blend(coverage, colour)
        return width * scale

    def png(self) -> bytes:
        """The picture as a PNG file."""
        from zlib import compress, crc32

        def chunk(kind: bytes, data: bytes) -> bytes:
            return len(data).to_bytes(4, "big") + kind + data + crc32(kind + data).to_bytes(4, "big")

        step = 3 * self.width
        # Filter 2 stores the difference to the row above, which for a chart is mostly zeros.
        rows = []
        above = bytes(step)
        for at in range(0, len(self.pixels), step):
            row = bytes(self.pixels[at : at + step])
            rows.append(b"\0" + row if row != above else b"\2" + bytes(step))
            above = row
        head = self.width.to_bytes(4, "big") + self.height.to_bytes(4, "big") + bytes((8, 2, 0, 0, 0))
        return (
            b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", head)
            + chunk(b"IDAT", compress(b"".join(rows), 9))
            + chunk(b"IEND", b"")
        )
