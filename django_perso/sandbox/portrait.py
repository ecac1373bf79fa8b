"""A person as a small still picture (SVG), so that avatars can be chosen by looking at them.

The outlines and colours of the moving face, with less shading. The background is transparent. The picture is
what `face` shows of a person in a wide frame without paddings, cut to a square: four units wide and high (a
unit is half a face), the middle of the face at 50 % of the width and 45 % of the height.
"""

from collections.abc import Iterable
from urllib.parse import quote

from .looks import BODY, COLLAR, HAIR_BEHIND, LONG_HAIR, LOOKS, NECK, SHORT_HAIR, SKULL, THROAT, Look
from .paint import Point, mirrored, mix, path

# Steps of the picture's grid per unit
GRID = 100
# What `face` paints as thin shapes is drawn as lines here, which takes fewer characters.
LID = ".16,.03 .24,-.08 .35,-.11 .53,-.04"
BROW = ".14,-.245 .32,-.31 .52,-.24"
NOSE = "-.11,.31 -.07,.35 .07,.35 .11,.31"
SMILE = "-.22,.57 -.1,.614 .1,.614 .22,.57"
WHITE = ".16,.03 .32,-.1 .49,.03 .32,.105"
LIPS = "0,.55 .106,.53 .235,.565 .118,.675 0,.695"


def portrait(model: str) -> str:
    """The picture of a person as a data: URL."""
    look = LOOKS[model]
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="-200,-180,400,400" stroke-linecap="round">'
        f"{_shoulders(look)}{_head(look)}{_eyes(look)}{_hair(look)}</svg>"
    )
    return "data:image/svg+xml," + quote(svg, safe="/:=,")


def _shoulders(look: Look) -> str:
    behind = _fill(look.hair, mirrored(path(HAIR_BEHIND))) if look.long_hair else ""
    return (
        behind
        + _fill(look.top, mirrored(path(BODY)))
        + _fill(look.skin, mirrored(path(NECK)))
        + _fill(mix(look.skin, "#7a2f1c", 0.2), mirrored(path(THROAT)))
        + _fill(look.collar, *_pair(COLLAR))
    )


def _head(look: Look) -> str:
    shade = mix(look.skin, "#8a3b22", 0.25)
    ears = "" if look.long_hair else _line(look.skin, 32, *_pair(".77,.05 .76,.16"))
    return (
        ears
        + _fill(look.skin, mirrored(path(SKULL)))
        + _line(mix(look.skin, look.lips, 0.14), 36, *_pair(".43,.36 .48,.36"))
        + _line(shade, 4, path(NOSE))
        + _fill(look.lips, mirrored(path(LIPS)))
        + _line(mix(look.lips, "#200508", 0.6), 2, path(SMILE))
    )


def _eyes(look: Look) -> str:
    return (
        _fill("#fbfaf8", *_pair(WHITE))
        + _line(mix(look.iris, "#000000", 0.15), 19, *_pair(".32,0 .32,.01"))
        + _line("#17100d", 9, *_pair(".32,0 .32,.01"))
        + _line(mix(look.hair, "#000000", 0.45), 4, *_pair(LID))
        + _line(look.hair, 5, *_pair(BROW))
        + _line("#ffffff", 5, path("-.28,-.05 -.28,-.05"), path(".36,-.05 .36,-.05"))
    )


def _hair(look: Look) -> str:
    locks, glosses = LONG_HAIR if look.long_hair else SHORT_HAIR
    return _fill(look.hair, *map(path, locks)) + _fill(mix(look.hair, "#ffffff", 0.13), *map(path, glosses))


def _pair(right: str) -> list[list[Point]]:
    """An outline on the right, and its mirror image on the left."""
    return [[(side * x, y) for x, y in path(right)] for side in (1, -1)]


def _fill(colour: str, *outlines: Iterable[Point]) -> str:
    curves = "".join(_curve(list(outline), closed=True) for outline in outlines)
    return f'<path fill="{colour}" d="{curves}"/>'


def _line(colour: str, width: int, *lines: Iterable[Point]) -> str:
    curves = "".join(_curve(list(line), closed=False) for line in lines)
    return f'<path fill="none" stroke="{colour}" stroke-width="{width}" d="{curves}"/>'


def _curve(corners: list[Point], closed: bool) -> str:
    """The soft curve that `paint.smooth` draws. After the first step, `s` takes over the slope."""
    grid = [(round(GRID * x), round(GRID * y)) for x, y in corners]
    around = [grid[-1], *grid, grid[0], grid[1]] if closed else [grid[0], *grid, grid[-1]]
    numbers: list[int] = []
    for before, start, end, after in zip(around, around[1:], around[2:], around[3:], strict=False):
        if not numbers:
            numbers += ((end[0] - before[0]) // 6, (end[1] - before[1]) // 6)
        numbers += (round(end[k] - (after[k] - start[k]) / 6) - start[k] for k in (0, 1))
        numbers += (end[0] - start[0], end[1] - start[1])
    steps = f"M{_joined(grid[0])}c{_joined(numbers[:6])}"
    return steps + (f"s{_joined(numbers[6:])}" if numbers[6:] else "")


def _joined(numbers: Iterable[int]) -> str:
    return ",".join(map(str, numbers)).replace(",-", "-")
