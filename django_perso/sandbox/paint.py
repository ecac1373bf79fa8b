"""Fill outlines, line by line, into the planes of a YUV 4:4:4 picture."""

import math
from collections.abc import Iterable
from functools import lru_cache

Point = tuple[float, float]
Outline = list[Point]


class Canvas:
    """Three planes, and how drawing units become pixels."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.planes = [bytearray(width * height) for _ in range(3)]
        self.origin: Point = (0.0, 0.0)
        self.scale = 1.0

    def copy(self) -> "Canvas":
        """Return a copy to paint on."""
        copy = Canvas(self.width, self.height)
        copy.planes = [bytearray(plane) for plane in self.planes]
        copy.origin = self.origin
        copy.scale = self.scale
        return copy

    def fill(self, outline: Iterable[Point], colour: str, alpha: float = 1.0) -> None:
        """Fill a closed outline, given in drawing units.

        Parts of an outline that overlap each other stay empty.
        """
        origin_x, origin_y = self.origin
        points = [
            (origin_x + x * self.scale, origin_y + y * self.scale) for x, y in outline
        ]
        # row → the places where the outline crosses the middle of the row
        crossings: dict[int, list[float]] = {}
        for start, end in zip(points, points[1:] + points[:1], strict=True):
            (x0, y0), (x1, y1) = sorted((start, end), key=lambda point: point[1])
            slope = (x1 - x0) / (y1 - y0) if y1 > y0 else 0.0
            first_row = max(0, math.ceil(y0 - 0.5))
            end_row = min(self.height, math.ceil(y1 - 0.5))
            for row in range(first_row, end_row):
                crossings.setdefault(row, []).append(x0 + (row + 0.5 - y0) * slope)
        self._fill_rows(crossings, colour, alpha)

    def _fill_rows(
        self, crossings: dict[int, list[float]], colour: str, alpha: float
    ) -> None:
        parts = yuv(colour)
        tables = [_blend(part, round(alpha * 100)) for part in parts]
        for row, xs in crossings.items():
            xs.sort()
            row_start = row * self.width
            for x0, x1 in zip(xs[::2], xs[1::2], strict=True):
                start = row_start + max(0, round(x0))
                end = row_start + min(self.width, round(x1))
                if end <= start:
                    continue
                for plane, part, table in zip(self.planes, parts, tables, strict=True):
                    if alpha >= 1:
                        plane[start:end] = bytes((part,)) * (end - start)
                    else:
                        plane[start:end] = plane[start:end].translate(table)

    def glow(
        self, centre: Point, radii: Point, colour: str, strength: float, steps: int = 7
    ) -> None:
        """Paint a soft spot: faint ellipses inside one another."""
        for step in range(1, steps + 1):
            part = step / steps
            spot = ellipse(centre, (radii[0] * part, radii[1] * part))
            self.fill(spot, colour, strength / steps)

    def shade(self, above: str, below: str) -> None:
        """Fill everything with a gradient from top to bottom."""
        for row in range(self.height):
            parts = yuv(mix(above, below, row / self.height))
            start = row * self.width
            for plane, part in zip(self.planes, parts, strict=True):
                plane[start : start + self.width] = bytes((part,)) * self.width


@lru_cache(maxsize=256)
def yuv(colour: str) -> tuple[int, int, int]:
    """Return #rrggbb as Y, U and V of BT.601, limited range."""
    r, g, b = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    y = 16 + 0.257 * r + 0.504 * g + 0.098 * b
    u = 128 - 0.148 * r - 0.291 * g + 0.439 * b
    v = 128 + 0.439 * r - 0.368 * g - 0.071 * b
    return round(y), round(u), round(v)


@lru_cache(maxsize=512)
def _blend(part: int, percent: int) -> bytes:
    """Return a table that mixes `percent` of a value into all other values.

    It rounds towards the value, so that faint layers show.
    """
    table = bytearray()
    for old in range(256):
        step = (part - old) * percent / 100
        table.append(old + (math.ceil(step) if step > 0 else math.floor(step)))
    return bytes(table)


def mix(colour: str, other: str, share: float) -> str:
    """Return the color at `share` of the way to another one."""
    pairs = ((int(colour[i : i + 2], 16), int(other[i : i + 2], 16)) for i in (1, 3, 5))
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def ellipse(centre: Point, radii: Point, corners: int = 48) -> Outline:
    """Return the outline of an ellipse."""
    turns = [2 * math.pi * corner / corners for corner in range(corners)]
    return [
        (centre[0] + radii[0] * math.cos(turn), centre[1] + radii[1] * math.sin(turn))
        for turn in turns
    ]


@lru_cache(maxsize=128)
def path(points: str) -> tuple[Point, ...]:
    """Return points that are written as in SVG, "x,y x,y …"."""
    pairs = (pair.split(",") for pair in points.split())
    return tuple((float(x), float(y)) for x, y in pairs)


def moved(points: Iterable[Point], centre: Point, stretch: Point = (1, 1)) -> Outline:
    """Return points stretched around the origin and moved to a center."""
    return [(centre[0] + x * stretch[0], centre[1] + y * stretch[1]) for x, y in points]


def mirrored(right: Iterable[Point]) -> Outline:
    """Return an outline from its right half, given from top to bottom."""
    half = list(right)
    return half + [(-x, y) for x, y in reversed(half) if x]


def smooth(points: Iterable[Point]) -> Outline:
    """Return a smooth closed outline through the points (Catmull-Rom)."""
    corners = list(points)
    count = len(corners)
    outline = []
    for i in range(count):
        ax, ay = corners[i - 1]
        bx, by = corners[i]
        cx, cy = corners[(i + 1) % count]
        dx, dy = corners[(i + 2) % count]
        for step in range(10):
            t = step / 10
            outline.append((_spline(ax, bx, cx, dx, t), _spline(ay, by, cy, dy, t)))
    return outline


def _spline(a: float, b: float, c: float, d: float, t: float) -> float:
    return b + 0.5 * t * (
        c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a))
    )


def padded(content: bytes, width: int, line_size: int) -> bytes:
    """Return the rows of a plane, each padded to `line_size`."""
    padding = bytes(line_size - width)
    if not padding:
        return content
    starts = range(0, len(content), width)
    return b"".join(content[start : start + width] + padding for start in starts)
