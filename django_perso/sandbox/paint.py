"""A small painter: outlines are filled as scanlines into the planes of a YUV 4:4:4 picture. Knows no face."""

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache

Point = tuple[float, float]


class Canvas:
    """Three planes and a way from drawing units to pixels."""

    def __init__(self, width: int, height: int, planes: Sequence[bytearray] | None = None) -> None:
        self.width, self.height = width, height
        self.planes = [bytearray(plane) for plane in planes or [bytes(width * height)] * 3]
        self.origin: Point = (0.0, 0.0)
        self.scale = 1.0

    def fill(self, outline: Iterable[Point], colour: str, alpha: float = 1.0) -> None:
        """Fill a closed outline, given in drawing units; overlapping parts of one outline cancel out."""
        (ox, oy), scale = self.origin, self.scale
        points = [(ox + x * scale, oy + y * scale) for x, y in outline]
        crossings: dict[int, list[float]] = {}
        for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
            if y0 > y1:
                x0, y0, x1, y1 = x1, y1, x0, y0
            first, last = max(0, math.ceil(y0 - 0.5)), min(self.height, math.ceil(y1 - 0.5))
            slope = (x1 - x0) / (y1 - y0) if y1 > y0 else 0.0
            for row in range(first, last):
                crossings.setdefault(row, []).append(x0 + (row + 0.5 - y0) * slope)
        self._spans(crossings, colour, alpha)

    def _spans(self, crossings: dict[int, list[float]], colour: str, alpha: float) -> None:
        parts = yuv(colour)
        tables = [_blend(part, round(alpha * 100)) for part in parts]
        for row, xs in crossings.items():
            xs.sort()
            base = row * self.width
            for x0, x1 in zip(xs[::2], xs[1::2], strict=False):
                a, b = base + max(0, round(x0)), base + min(self.width, round(x1))
                if b <= a:
                    continue
                for plane, part, table in zip(self.planes, parts, tables, strict=True):
                    plane[a:b] = bytes((part,)) * (b - a) if alpha >= 1 else plane[a:b].translate(table)

    def glow(self, centre: Point, radii: Point, colour: str, strength: float, steps: int = 12) -> None:
        """A soft spot: `steps` faint ellipses inside one another."""
        for step in range(1, steps + 1):
            grow = step / steps
            self.fill(ellipse(centre, (radii[0] * grow, radii[1] * grow)), colour, strength / steps)


@lru_cache(maxsize=256)
def yuv(colour: str) -> tuple[int, int, int]:
    """#rrggbb as BT.601 limited-range Y, U, V."""
    r, g, b = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    y = 16 + 0.257 * r + 0.504 * g + 0.098 * b
    return round(y), round(128 - 0.148 * r - 0.291 * g + 0.439 * b), round(128 + 0.439 * r - 0.368 * g - 0.071 * b)


@lru_cache(maxsize=512)
def _blend(part: int, percent: int) -> bytes:
    """A table that mixes `percent` of one value into any other."""
    # Never stand still short of the target, or faint layers would add up to nothing.
    return bytes(
        old + (math.ceil if part > old else math.floor)((part - old) * percent / 100) for old in range(256)
    )


def mix(colour: str, other: str, share: float) -> str:
    """A colour on the way from one to another."""
    pairs = ((int(colour[i : i + 2], 16), int(other[i : i + 2], 16)) for i in (1, 3, 5))
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def ellipse(centre: Point, radii: Point, corners: int = 48) -> list[Point]:
    """The outline of an ellipse."""
    turn = 2 * math.pi / corners
    return [(centre[0] + radii[0] * math.cos(i * turn), centre[1] + radii[1] * math.sin(i * turn)) for i in range(corners)]


def smooth(*points: Point) -> list[Point]:
    """A soft closed outline through the points (Catmull-Rom)."""
    outline = []
    for i in range(len(points)):
        p0, p1, p2, p3 = (points[(i + k) % len(points)] for k in (-1, 0, 1, 2))
        for step in range(10):
            t = step / 10
            outline.append((_spline(p0[0], p1[0], p2[0], p3[0], t), _spline(p0[1], p1[1], p2[1], p3[1], t)))
    return outline


def _spline(a: float, b: float, c: float, d: float, t: float) -> float:
    return b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))


def mirrored(*points: Point) -> list[Point]:
    """A soft outline from its right half, given from top to bottom."""
    return smooth(*points, *((-x, y) for x, y in reversed(points) if x != 0))


def padded(content: bytes, width: int, line_size: int) -> bytes:
    """The rows of a plane, each padded to `line_size`."""
    pad = bytes(line_size - width)
    return b"".join(content[at : at + width] + pad for at in range(0, len(content), width)) if pad else content
