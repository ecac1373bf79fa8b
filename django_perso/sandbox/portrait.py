"""A small still picture (SVG) of a person, so that avatars can be chosen by sight.

It has the outlines and colors of the moving face, less shading, and a transparent
background. It shows what `face` shows in a wide picture without paddings, cut to a
square: four units wide and high (a unit is half a face), the middle of the face at 50 %
of the width and 45 % of the height.
"""

from collections.abc import Iterable
from urllib.parse import quote

from .looks import COLLAR, LONG_HAIR, LOOKS, SHORT_HAIR, SKULL, Look
from .paint import Point, mirrored, mix, path

# Steps of the picture's grid per unit.
GRID = 100
# These outlines differ from the moving face to save characters: hidden parts are left
# out, the shadow of the chin lies on the neck only, and thin shapes are lines.
HAIR_BEHIND = "0,-1.2 .5,-1.1 .96,0 1.03,.9 .9,1.5 0,1.8"
BODY = "0,1.3 1,1.56 1.5,1.86 1.76,2.5 1.7,3 0,3"
NECK = "0,.8 .36,.8 .39,1.15 .62,1.42 0,2.2"
THROAT = "0,1.02 .2,.98 .35,.89 .35,1.1 0,1.3"
LID = ".155,.035 .23,-.085 .35,-.115 .55,-.035"
BROW = ".135,-.255 .32,-.315 .52,-.245"
NOSE = "-.11,.31 0,.36 .11,.31"
SMILE = "-.225,.565 0,.62 .225,.565"
LIPS = "0,.55 .106,.53 .235,.565 .118,.675 0,.695"


def portrait(model: str) -> str:
    """Return the picture of a person as a data: URL."""
    look = LOOKS[model]
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="-200,-180,400,400"'
        ' fill="none" stroke-linecap="round" stroke-width="4">'
        f"{_body(look)}{_face(look)}"
        f'<g id="a">{_side(look)}</g><use href="#a" transform="scale(-1,1)"/>'
        f"{_in_front(look)}</svg>"
    )
    return "data:image/svg+xml," + quote(svg, safe="/:=,")


def _body(look: Look) -> str:
    behind = _fill(look.hair, mirrored(path(HAIR_BEHIND))) if look.long_hair else ""
    ears = "" if look.long_hair else _line(look.skin, "M-78,0v17M78,0v17", 28)
    return behind + ears + _fill(look.top, mirrored(path(BODY)))


def _face(look: Look) -> str:
    return (
        _fill(look.skin, mirrored(path(NECK)), mirrored(path(SKULL)))
        + _fill(mix(look.skin, "#7a2f1c", 0.2), mirrored(path(THROAT)))
        + _line(mix(look.skin, "#8a3b22", 0.25), _curve(path(NOSE), closed=False))
        + _fill(look.lips, mirrored(path(LIPS)))
        + _line(mix(look.lips, "#200508", 0.45), _curve(path(SMILE), closed=False))
    )


def _side(look: Look) -> str:
    """Draw what is on the right and, mirrored, on the left."""
    return (
        _fill(look.collar, path(COLLAR))
        + _line(mix(look.skin, look.lips, 0.14), "M44,36h5", 34)
        + _line("#fff", "M25,2h15", 16)
        + _line(mix(look.iris, "#000000", 0.1), "M32,0h0", 19)
        + _line("#17100d", "M32,0h0", 9)
        + _line(mix(look.hair, "#000000", 0.45), _curve(path(LID), closed=False))
        + _line(look.hair, _curve(path(BROW), closed=False))
    )


def _in_front(look: Look) -> str:
    """Draw the light in the eyes and the hair in front of the face."""
    locks, glosses = LONG_HAIR if look.long_hair else SHORT_HAIR
    return (
        _line("#fff", "M-28-5h0M36-5h0")
        + _fill(look.hair, *map(path, locks))
        + _fill(mix(look.hair, "#ffffff", 0.13), *map(path, glosses))
    )


def _fill(colour: str, *outlines: Iterable[Point]) -> str:
    curves = "".join(_curve(outline, closed=True) for outline in outlines)
    return f'<path fill="{colour}" d="{curves}"/>'


def _line(colour: str, curve: str, width: int | None = None) -> str:
    stroke_width = f' stroke-width="{width}"' if width else ""
    return f'<path stroke="{colour}" d="{curve}"{stroke_width}/>'


def _curve(points: Iterable[Point], closed: bool) -> str:
    """Draw the smooth curve of `paint.smooth`.

    From its second part on, `s` continues the slope of the part before.
    """
    grid = [(round(GRID * x), round(GRID * y)) for x, y in points]
    around = [grid[-1], *grid, *grid[:2]] if closed else [grid[0], *grid, grid[-1]]
    numbers: list[int] = []
    for before, start, end, after in zip(
        around, around[1:], around[2:], around[3:], strict=False
    ):
        if not numbers:
            numbers += [round((end[axis] - before[axis]) / 6) for axis in (0, 1)]
        for axis in (0, 1):
            slope = round((after[axis] - start[axis]) / 6)
            numbers.append(end[axis] - start[axis] - slope)
        numbers += [end[axis] - start[axis] for axis in (0, 1)]
    return f"M{_joined(grid[0])}c{_joined(numbers[:6])}s{_joined(numbers[6:])}"


def _joined(numbers: Iterable[int]) -> str:
    return ",".join(map(str, numbers)).replace(",-", "-")
