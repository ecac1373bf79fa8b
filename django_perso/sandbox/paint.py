"""A small painter: outlines are filled as scanlines into the planes of a YUV 4:4:4 picture. Knows no face."""

import math
from collections.abc import Iterable
from functools import lru_cache

Point = tuple[float, float]
Outline = list[Point]


class Canvas:
    """Three planes and a way from drawing units to pixels."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.planes = [bytearray(width * height) for _ in range(3)]
        self.origin: Point = (0.0, 0.0)
        self.scale = 1.0

    def copy(self) -> "Canvas":
        """The same picture, to be painted on."""
        twin = Canvas(0, 0)
        twin.__dict__.update(
            self.__dict__, planes=[bytearray(plane) for plane in self.planes]
        )
        return twin

    def fill(self, outline: Iterable[Point], colour: str, alpha: float = 1.0) -> None:
        """Fill a closed outline, given in drawing units; overlapping parts of one outline cancel out."""
        (ox, oy), scale = self.origin, self.scale
        points = [(ox + x * scale, oy + y * scale) for x, y in outline]
        crossings: dict[int, list[float]] = {}
        for start, end in zip(points, points[1:] + points[:1], strict=True):
            (x0, y0), (x1, y1) = sorted((start, end), key=lambda point: point[1])
            slope = (x1 - x0) / (y1 - y0) if y1 > y0 else 0.0
            for row in range(
                max(0, math.ceil(y0 - 0.5)), min(self.height, math.ceil(y1 - 0.5))
            ):
                crossings.setdefault(row, []).append(x0 + (row + 0.5 - y0) * slope)
        self._spans(crossings, colour, alpha)

    def _spans(
        self, crossings: dict[int, list[float]], colour: str, alpha: float
    ) -> None:
        parts = yuv(colour)
        tables = [_blend(part, round(alpha * 100)) for part in parts]
        for row, xs in crossings.items():
            xs.sort()
            base = row * self.width
            for x0, x1 in zip(xs[::2], xs[1::2], strict=True):
                a, b = base + max(0, round(x0)), base + min(self.width, round(x1))
                if b <= a:
                    continue
                for plane, part, table in zip(self.planes, parts, tables, strict=True):
                    plane[a:b] = (
                        bytes((part,)) * (b - a)
                        if alpha >= 1
                        else plane[a:b].translate(table)
                    )

    def glow(
        self, centre: Point, radii: Point, colour: str, strength: float, steps: int = 7
    ) -> None:
        """A soft spot: faint ellipses inside one another."""
        for step in range(1, steps + 1):
            grow = step / steps
            self.fill(
                ellipse(centre, (radii[0] * grow, radii[1] * grow)),
                colour,
                strength / steps,
            )

    def shade(self, above: str, below: str) -> None:
        """Cover everything, one colour turning into the other from top to bottom."""
        for row in range(self.height):
            for plane, part in zip(
                self.planes, yuv(mix(above, below, row / self.height)), strict=True
            ):
                plane[row * self.width : (row + 1) * self.width] = (
                    bytes((part,)) * self.width
                )


@lru_cache(maxsize=256)
def yuv(colour: str) -> tuple[int, int, int]:
    """#rrggbb as BT.601 limited-range Y, U, V."""
    r, g, b = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    y = 16 + 0.257 * r + 0.504 * g + 0.098 * b
    u = 128 - 0.148 * r - 0.291 * g + 0.439 * b
    v = 128 + 0.439 * r - 0.368 * g - 0.071 * b
    return round(y), round(u), round(v)


@lru_cache(maxsize=512)
def _blend(part: int, percent: int) -> bytes:
    """A table mixing `percent` of one value into any other, rounded towards it so that faint layers show."""
    return bytes(
        old + (math.ceil if part > old else math.floor)((part - old) * percent / 100)
        for old in range(256)
    )


def mix(colour: str, other: str, share: float) -> str:
    """A colour on the way from one to another."""
    pairs = ((int(colour[i : i + 2], 16), int(other[i : i + 2], 16)) for i in (1, 3, 5))
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def ellipse(centre: Point, radii: Point, corners: int = 48) -> Outline:
    """The outline of an ellipse."""
    turns = [2 * math.pi * corner / corners for corner in range(corners)]
    return [
        (centre[0] + radii[0] * math.cos(turn), centre[1] + radii[1] * math.sin(turn))
        for turn in turns
    ]


@lru_cache(maxsize=128)
def path(points: str) -> tuple[Point, ...]:
    """Points written as in SVG: "x,y x,y …"."""
    pairs = (pair.split(",") for pair in points.split())
    return tuple((float(x), float(y)) for x, y in pairs)


def moved(points: Iterable[Point], centre: Point, stretch: Point = (1, 1)) -> Outline:
    """Points stretched around the origin and moved to a centre."""
    return [(centre[0] + x * stretch[0], centre[1] + y * stretch[1]) for x, y in points]


def mirrored(right: Iterable[Point]) -> Outline:
    """A whole outline from its right half, which goes from top to bottom."""
    half = list(right)
    return half + [(-x, y) for x, y in reversed(half) if x]


def smooth(points: Iterable[Point]) -> Outline:
    """A soft closed outline through the points (Catmull-Rom)."""
    corners = list(points)
    outline = []
    for i in range(len(corners)):
        (ax, ay), (bx, by), (cx, cy), (dx, dy) = (
            corners[(i + k) % len(corners)] for k in (-1, 0, 1, 2)
        )
        for t in (step / 10 for step in range(10)):
            outline.append((_spline(ax, bx, cx, dx, t), _spline(ay, by, cy, dy, t)))
    return outline


def _spline(a: float, b: float, c: float, d: float, t: float) -> float:
    return b + 0.5 * t * (
        c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a))
    )


def padded(content: bytes, width: int, line_size: int) -> bytes:
    """The rows of a plane, each padded to `line_size`."""
    pad = bytes(line_size - width)
    return (
        b"".join(content[at : at + width] + pad for at in range(0, len(content), width))
        if pad
        else content
    )
