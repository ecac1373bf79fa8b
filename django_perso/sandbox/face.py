"""The avatar's picture: a person whose mouth, eyes and head move, and a backdrop.

A picture is painted at twice its size, and libswscale (in PyAV) shrinks it to smooth
4:2:0 planes. The pictures of a scene are cached and shared by all sessions.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .catalogue import BACKDROPS, MODEL_STYLES
from .looks import (
    BODY,
    BROW,
    COLLAR,
    HAIR_BEHIND,
    LONG_HAIR,
    LOOKS,
    NECK,
    NOSE,
    SHORT_HAIR,
    SKULL,
    THROAT,
    Look,
)
from .paint import Canvas, Point, ellipse, mirrored, mix, moved, padded, path, smooth

Planes = tuple[bytes, bytes, bytes]

OVERSAMPLE = 2
# Encoding takes time per pixel, so large pictures keep their shape, not their size.
MAX_PIXELS = 480 * 360
MAX_SIDE = 640
SIDES = (1, -1)
# shape → (half width, height of the opening, shows teeth, shows the tongue)
MOUTHS = {
    "closed": (0.235, 0.0, False, False),
    "small": (0.21, 0.055, True, False),
    "wide": (0.265, 0.11, True, False),
    "open": (0.225, 0.185, True, True),
    "round": (0.155, 0.16, False, True),
    "pout": (0.115, 0.1, False, False),
}
# state → (how far the lids are open, how far the eyes look to the side)
EYES = {
    "open": (1.0, 0.0),
    "half": (0.5, 0.0),
    "shut": (0.0, 0.0),
    "left": (1.0, -0.045),
    "right": (1.0, 0.045),
}
# Soft circles in the backdrop: x, y, radius, as fractions of the picture
BUBBLES = ((0.16, 0.22, 0.16), (1.12, 0.34, 0.22), (0.98, 0.1, 0.08), (0.3, 0.62, 0.1))


@dataclass(frozen=True)
class Scene:
    """What all pictures of a session have in common until it changes their size."""

    width: int
    height: int
    model: str = "nathalie"
    background: str = "pbi-studio"
    padding_left: float = 0.0
    padding_top: float = 0.0
    padding_height: float = 1.0


@dataclass(frozen=True)
class Pose:
    """What moves. `nod` counts the steps the head has sunk."""

    mouth: str = "closed"
    eyes: str = "open"
    nod: int = 0


def fit(width: int, height: int) -> tuple[int, int]:
    """Return a picture size of the same shape within MAX_PIXELS and MAX_SIDE.

    The sides are even and at least 16.
    """
    factor = min(
        1.0, math.sqrt(MAX_PIXELS / (width * height)), MAX_SIDE / max(width, height)
    )
    return _even(width * factor), _even(height * factor)


def _even(side: float) -> int:
    return max(16, int(side) // 2 * 2)


def scene_of(params: dict[str, Any], width: int, height: int) -> Scene:
    """Return the scene a session's parameters describe."""
    models = {style["name"]: style["model"] for style in MODEL_STYLES}
    return Scene(
        *fit(width, height),
        model=models.get(params["model_style"], "nathalie"),
        background=params["background_image"] or "pbi-studio",
        padding_left=params["padding_left"],
        padding_top=params["padding_top"],
        padding_height=params["padding_height"],
    )


@lru_cache(maxsize=96)
def picture(scene: Scene, pose: Pose) -> Planes:
    """Return the Y, U and V planes of a 4:2:0 picture, with the rows PyAV expects."""
    canvas = _stage(scene).copy()
    look = LOOKS[scene.model]
    _place(canvas, scene, 0.022 * pose.nod)
    _head(canvas, look)
    for side in SIDES:
        _eye(canvas, look, side, *EYES[pose.eyes])
    _mouth(canvas, look, *MOUTHS[pose.mouth])
    _fringe(canvas, look)
    return _shrink(canvas, scene.width, scene.height)


def _shrink(canvas: Canvas, width: int, height: int) -> Planes:
    import av

    large = av.VideoFrame(canvas.width, canvas.height, "yuv444p")
    for plane, content in zip(large.planes, canvas.planes, strict=True):
        plane.update(padded(bytes(content), canvas.width, plane.line_size))
    y, u, v = large.reformat(width, height, "yuv420p", interpolation="AREA").planes
    return bytes(y), bytes(u), bytes(v)


@lru_cache(maxsize=4)
def _stage(scene: Scene) -> Canvas:
    """Paint what does not move: the backdrop, the hair behind and the shoulders."""
    canvas = Canvas(scene.width * OVERSAMPLE, scene.height * OVERSAMPLE)
    _, above, below = BACKDROPS[scene.background]
    canvas.shade(above, below)
    canvas.scale = canvas.height
    for x, y, radius in BUBBLES:
        centre = (x * 0.8 * scene.width / scene.height, y)
        canvas.fill(ellipse(centre, (radius, radius)), "#ffffff", 0.09)
    _place(canvas, scene)
    _shoulders(canvas, LOOKS[scene.model])
    return canvas


def _place(canvas: Canvas, scene: Scene, sink: float = 0.0) -> None:
    """Place the face as the paddings say.

    The middle of the face becomes the origin, and half its height the unit.
    """
    room = min(canvas.height, canvas.width * 1.45)
    canvas.scale = room * 0.25 * max(0.2, min(2.0, scene.padding_height))
    middle = 0.45 if canvas.width > canvas.height else 0.48
    canvas.origin = (
        canvas.width * (0.5 + scene.padding_left),
        canvas.height * (middle + scene.padding_top) + sink * canvas.scale,
    )


def _shoulders(canvas: Canvas, look: Look) -> None:
    if look.long_hair:
        inner = path("0,-1 .55,-.6 .8,.3 .86,1.1 .5,1.6 0,1.6")
        canvas.fill(smooth(mirrored(path(HAIR_BEHIND))), look.hair)
        canvas.fill(smooth(mirrored(inner)), mix(look.hair, "#000000", 0.3))
    canvas.fill(smooth(mirrored(path(BODY))), look.top)
    canvas.fill(smooth(mirrored(path(NECK))), look.skin)
    canvas.fill(smooth(mirrored(path(THROAT))), mix(look.skin, "#7a2f1c", 0.35), 0.55)
    for side in SIDES:
        arm = path("1.12,2.3 1.2,2.9 1.16,4.4 1.3,4.4 1.3,2.9")
        shadow = mix(look.top, "#000000", 0.25)
        canvas.fill(smooth(moved(arm, (0, 0), (side, 1))), shadow, 0.5)
        canvas.fill(smooth(moved(path(COLLAR), (0, 0), (side, 1))), look.collar)


def _head(canvas: Canvas, look: Look) -> None:
    shade = mix(look.skin, "#8a3b22", 0.3)
    if not look.long_hair:
        for side in SIDES:
            canvas.fill(ellipse((side * 0.79, 0.1), (0.13, 0.22)), look.skin)
            canvas.fill(ellipse((side * 0.81, 0.11), (0.07, 0.13)), shade, 0.5)
    canvas.fill(smooth(mirrored(path(SKULL))), look.skin)
    for side in SIDES:
        canvas.glow((side * 0.46, 0.36), (0.26, 0.2), look.lips, 0.26)
    canvas.glow((0, -0.35), (0.5, 0.4), "#ffffff", 0.1)
    canvas.fill(smooth(path(NOSE)), shade, 0.6)
    canvas.glow((0, 0.22), (0.07, 0.1), "#ffffff", 0.2)


def _eye(canvas: Canvas, look: Look, side: int, open_by: float, gaze: float) -> None:
    centre = (side * 0.32, 0.02)
    if open_by:
        _eyeball(canvas, look, centre, open_by, gaze)
    lid = 0.06 - 0.175 * open_by
    lashes = [
        (-0.17, 0.02),
        (-0.09, lid - 0.005),
        (0.03, lid - 0.025),
        (0.15, lid + 0.02 + 0.02 * open_by),
        (0.235, -0.045),
        (0.17, 0.03),
        (0.03, lid + 0.02),
        (-0.09, lid + 0.03),
    ]
    lash_colour = mix(look.hair, "#000000", 0.45)
    canvas.fill(smooth(moved(lashes, centre, (side, 1))), lash_colour)
    canvas.fill(smooth(moved(path(BROW), centre, (side, 1))), look.hair, 0.9)


def _eyeball(
    canvas: Canvas, look: Look, centre: Point, open_by: float, gaze: float
) -> None:
    top = -0.12 * open_by
    bottom = 0.085
    white = mirrored([(0, top), (0.09, top + 0.02), (0.175, 0.015), (0.08, bottom)])
    canvas.fill(smooth(moved(white, centre)), "#fbfaf8")
    iris = [
        (x, max(top + 0.004, min(bottom, y)))
        for x, y in ellipse((0, -0.018), (0.098, 0.104))
    ]
    middle = (centre[0] + gaze, centre[1])
    edge = mix(look.iris, "#000000", 0.35)
    for size, colour in ((1.0, edge), (0.84, look.iris), (0.48, "#17100d")):
        canvas.fill(moved(iris, middle, (size, size)), colour)
    if open_by == 1:
        light = ellipse((0.036, -0.056), (0.029, 0.031))
        reflection = ellipse((-0.034, 0.03), (0.014, 0.014))
        canvas.fill(moved(light, middle), "#ffffff")
        canvas.fill(moved(reflection, middle), "#ffffff", 0.7)


def _mouth(
    canvas: Canvas, look: Look, half: float, gap: float, teeth: bool, tongue: bool
) -> None:
    corner = 0.585 if gap else 0.565  # A closed mouth smiles.
    upper = 0.58 - gap * 0.25
    lower = 0.63 + gap
    dark = mix(look.lips, "#200508", 0.75)
    lips = [
        (0, upper - 0.03),
        (half * 0.45, upper - 0.05),
        (half, corner),
        (half * 0.5, lower + 0.045),
        (0, lower + 0.065),
    ]
    canvas.fill(smooth(mirrored(lips)), look.lips)
    canvas.glow((0, lower + 0.03), (half * 0.5, 0.025), "#ffffff", 0.3, 4)
    if not gap:
        line = [
            (0, 0.604),
            (half * 0.4, 0.614),
            (half * 0.97, corner),
            (half * 0.4, 0.632),
            (0, 0.626),
        ]
        canvas.fill(smooth(mirrored(line)), dark, 0.8)
        return
    opening = [
        (0, upper + 0.02),
        (half * 0.4, upper + 0.012),
        (half * 0.88, corner + 0.01),
        (half * 0.45, lower - 0.005),
        (0, lower + 0.008),
    ]
    inside = smooth(mirrored(opening))
    canvas.fill(inside, dark)
    if tongue:
        tongue_top = 0.6 + gap * 0.55
        tongue_outline = [(x * 0.75, max(y, tongue_top) - 0.008) for x, y in inside]
        canvas.fill(tongue_outline, mix(look.lips, "#e04f5f", 0.4))
    if teeth:
        teeth_bottom = upper + 0.02 + min(0.06, gap * 0.45)
        teeth_outline = [(x * 0.86, min(y, teeth_bottom)) for x, y in inside]
        canvas.fill(teeth_outline, "#fdfbf7")


def _fringe(canvas: Canvas, look: Look) -> None:
    """Paint the hair in front of the face, with a little gloss."""
    locks, glosses = LONG_HAIR if look.long_hair else SHORT_HAIR
    for lock in locks:
        canvas.fill(smooth(path(lock)), look.hair)
    for gloss in glosses:
        canvas.fill(smooth(path(gloss)), mix(look.hair, "#ffffff", 0.28), 0.45)
