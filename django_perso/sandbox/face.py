"""The avatar's picture: a drawn person in front of a backdrop, whose mouth, eyes and head move.

Shapes are filled as scanlines into YUV 4:4:4 planes at twice the size; libswscale (inside PyAV) makes the smooth
small 4:2:0 picture of it. One picture per pose is drawn and then kept, for all sessions that show the same scene.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

from .catalogue import BACKDROPS, MODEL_STYLES
from .paint import Canvas, Point, ellipse, mirrored, mix, padded, smooth, yuv

Planes = tuple[bytes, bytes, bytes]

OVERSAMPLE = 2
# Encoding costs by the pixel: a session asking for 1080×1920 gets its shape, not its size.
MAX_PIXELS = 480 * 360
MAX_SIDE = 640


@dataclass(frozen=True)
class Look:
    """The colours of a person."""

    skin: str
    hair: str
    top: str
    collar: str
    iris: str
    lips: str
    long_hair: bool = True


LOOKS = {
    "nathalie": Look("#f6cdb4", "#5b3426", "#2f6f8f", "#f4f6f8", "#4f7f6a", "#cf6a6a"),
    "minseo": Look("#fbd9c0", "#2a2230", "#e58f7b", "#fff4ea", "#4a3328", "#d8716f"),
    "amara": Look("#a8693f", "#231815", "#6b4fa0", "#f2e9d8", "#3b2417", "#9c4a45"),
    "leo": Look("#eebd98", "#3d2b1f", "#3f7d5c", "#f4f6f8", "#3f6b94", "#c0736a", long_hair=False),
}


@dataclass(frozen=True)
class Scene:
    """What stays the same while a session looks at one size: picture size, person, backdrop and placing."""

    width: int
    height: int
    model: str = "nathalie"
    background: str = "pbi-studio"
    padding_left: float = 0.0
    padding_top: float = 0.0
    padding_height: float = 1.0


@dataclass(frozen=True)
class Pose:
    """What moves. `nod` is how far the head has sunk, in steps."""

    mouth: str = "closed"
    eyes: str = "open"
    nod: int = 0


def fit(width: int, height: int) -> tuple[int, int]:
    """The picture size for a wish: the same shape, at most MAX_PIXELS and MAX_SIDE, even sides of at least 16."""
    shrink = min(1.0, math.sqrt(MAX_PIXELS / (width * height)), MAX_SIDE / max(width, height))
    return max(16, int(width * shrink) // 2 * 2), max(16, int(height * shrink) // 2 * 2)


def scene_of(params: dict[str, object], width: int, height: int) -> Scene:
    """The scene that a session's parameters ask for."""
    model = next((str(s["model"]) for s in MODEL_STYLES if s["name"] == params.get("model_style")), "nathalie")
    background = params.get("background_image")
    paddings = [params.get(name) for name in ("padding_left", "padding_top", "padding_height")]
    left, top, scale = (float(value) if isinstance(value, int | float) else default for value, default in zip(paddings, (0, 0, 1), strict=True))
    return Scene(*fit(width, height), model, background if isinstance(background, str) else "pbi-studio", left, top, scale)


@lru_cache(maxsize=96)
def picture(scene: Scene, pose: Pose) -> Planes:
    """The scene in a pose, as the Y, U and V planes of a 4:2:0 picture, their rows padded as PyAV pads them."""
    canvas = _stage(scene)
    canvas = Canvas(canvas.width, canvas.height, canvas.planes)
    look = LOOKS.get(scene.model, LOOKS["nathalie"])
    _place(canvas, scene, 0.022 * pose.nod)
    _head(canvas, look)
    _eyes(canvas, look, pose.eyes)
    _mouth(canvas, look, pose.mouth)
    _fringe(canvas, look)
    return _shrink(canvas, scene.width, scene.height)


def _shrink(canvas: Canvas, width: int, height: int) -> Planes:
    import av

    large = av.VideoFrame(canvas.width, canvas.height, "yuv444p")
    for plane, content in zip(large.planes, canvas.planes, strict=True):
        plane.update(padded(bytes(content), canvas.width, plane.line_size))
    small = large.reformat(width, height, "yuv420p", interpolation="AREA")
    y, u, v = (bytes(plane) for plane in small.planes)
    return y, u, v


@lru_cache(maxsize=4)
def _stage(scene: Scene) -> Canvas:
    """Everything that stands still: the backdrop, the hair behind, the shoulders."""
    canvas = Canvas(scene.width * OVERSAMPLE, scene.height * OVERSAMPLE)
    _, above, below = BACKDROPS.get(scene.background, BACKDROPS["pbi-studio"])
    for row in range(canvas.height):
        for plane, part in zip(canvas.planes, yuv(mix(above, below, row / canvas.height)), strict=True):
            plane[row * canvas.width : (row + 1) * canvas.width] = bytes((part,)) * canvas.width
    canvas.scale = canvas.height
    for x, y, radius in ((0.16, 0.22, 0.16), (1.12, 0.34, 0.22), (0.98, 0.1, 0.08), (0.3, 0.62, 0.1)):
        canvas.fill(ellipse((x * canvas.width / canvas.height * 0.8, y), (radius, radius)), "#ffffff", 0.09)
    _place(canvas, scene)
    _shoulders(canvas, LOOKS.get(scene.model, LOOKS["nathalie"]))
    return canvas


def _place(canvas: Canvas, scene: Scene, sink: float = 0.0) -> None:
    """Put the middle of the face where the paddings want it; a unit is half the height of the face."""
    room = min(canvas.height, canvas.width * 1.25)
    canvas.scale = room * 0.25 * max(0.2, min(2.0, scene.padding_height))
    middle = max(0.43 * canvas.height, canvas.scale * 1.45) if canvas.height < 1.2 * canvas.width else 0.45 * canvas.height
    canvas.origin = (
        canvas.width * (0.5 + scene.padding_left),
        middle + canvas.height * scene.padding_top + sink * canvas.scale,
    )


def _shoulders(canvas: Canvas, look: Look) -> None:
    if look.long_hair:
        canvas.fill(mirrored((0, -1.24), (0.55, -1.12), (0.93, -0.6), (1.0, 0.1), (1.04, 0.8), (0.98, 1.35), (0.6, 1.75), (0, 1.8)), look.hair)
        canvas.fill(mirrored((0, -1.0), (0.55, -0.6), (0.8, 0.3), (0.86, 1.1), (0.5, 1.6), (0, 1.6)), mix(look.hair, "#000000", 0.3))
    body = mirrored((0, 1.3), (0.42, 1.34), (1.0, 1.56), (1.52, 1.86), (1.78, 2.5), (1.9, 4.2), (0, 4.6))
    canvas.fill(body, look.top)
    shade = mix(look.top, "#000000", 0.25)
    canvas.fill(smooth((1.12, 2.3), (1.2, 2.9), (1.16, 4.4), (1.3, 4.4), (1.3, 2.9)), shade, 0.5)
    canvas.fill(smooth((-1.12, 2.3), (-1.2, 2.9), (-1.16, 4.4), (-1.3, 4.4), (-1.3, 2.9)), shade, 0.5)
    neck = [(-0.36, 0.6), (0.36, 0.6), *smooth((0.36, 0.7), (0.4, 1.25), (0.62, 1.42), (0, 2.05), (-0.62, 1.42), (-0.4, 1.25), (-0.36, 0.7))]
    canvas.fill([(-0.62, 1.36), (0.62, 1.36), (0.06, 2.2), (-0.06, 2.2)], look.skin)
    canvas.fill(neck[2:], look.skin)
    canvas.fill(mirrored((0, 0.6), (0.37, 0.75), (0.36, 1.08), (0, 1.3)), mix(look.skin, "#7a2f1c", 0.35), 0.55)
    for side in (1, -1):
        canvas.fill(smooth((side * 0.4, 1.2), (side * 0.66, 1.34), (side * 0.6, 1.62), (side * 0.06, 2.24), (side * 0.2, 1.8), (side * 0.46, 1.42)), look.collar)


def _head(canvas: Canvas, look: Look) -> None:
    shade = mix(look.skin, "#8a3b22", 0.3)
    for side in (1, -1):
        canvas.fill(ellipse((side * 0.79, 0.1), (0.13, 0.22)), look.skin)
        canvas.fill(ellipse((side * 0.81, 0.11), (0.07, 0.13)), shade, 0.5)
    canvas.fill(mirrored((0, -1.0), (0.46, -0.92), (0.75, -0.5), (0.79, 0.0), (0.71, 0.44), (0.47, 0.82), (0.2, 0.99), (0, 1.02)), look.skin)
    for side in (1, -1):
        canvas.glow((side * 0.46, 0.36), (0.26, 0.2), look.lips, 0.42)
    canvas.glow((0, -0.35), (0.5, 0.4), "#ffffff", 0.16)
    canvas.fill(smooth((0.0, 0.3), (0.09, 0.31), (0.1, 0.25), (0.13, 0.31), (0.06, 0.37), (-0.06, 0.37), (-0.12, 0.31), (-0.05, 0.33)), shade, 0.6)
    canvas.glow((0, 0.22), (0.07, 0.1), "#ffffff", 0.25)


def _eyes(canvas: Canvas, look: Look, eyes: str) -> None:
    line = mix(look.hair, "#000000", 0.45)
    gaze = {"left": -0.045, "right": 0.045}.get(eyes, 0.0)
    open_by = {"half": 0.5, "shut": 0.0}.get(eyes, 1.0)
    for side in (1, -1):
        x, y = side * 0.32, 0.02
        if open_by:
            _eye(canvas, look, (x, y), open_by, gaze)
        lid = y - 0.115 * open_by + 0.06 * (1 - open_by)
        canvas.fill(smooth((x - side * 0.17, y + 0.02), (x - side * 0.09, lid - 0.005), (x + side * 0.03, lid - 0.025), (x + side * 0.15, lid + 0.02 + 0.02 * open_by), (x + side * 0.235, y - 0.045), (x + side * 0.17, y + 0.03), (x + side * 0.03, lid + 0.02), (x - side * 0.09, lid + 0.03)), line)
        canvas.fill(smooth((x - side * 0.19, y - 0.27), (x, y - 0.345), (x + side * 0.2, y - 0.28), (x + side * 0.21, y - 0.265), (x, y - 0.3), (x - side * 0.18, y - 0.225)), look.hair, 0.9)


def _eye(canvas: Canvas, look: Look, centre: Point, open_by: float, gaze: float) -> None:
    x, y = centre
    top, bottom = y - 0.12 * open_by, y + 0.085
    canvas.fill(smooth((x - 0.175, y + 0.015), (x - 0.09, top + 0.02), (x, top), (x + 0.09, top + 0.02), (x + 0.175, y + 0.015), (x + 0.08, bottom), (x - 0.08, bottom)), "#fbfaf8")
    iris = [(px, max(top + 0.004, min(bottom, py))) for px, py in ellipse((x + gaze, y - 0.018), (0.098, 0.104))]
    canvas.fill(iris, mix(look.iris, "#000000", 0.35))
    canvas.fill([(x + gaze + (px - x - gaze) * 0.84, y + (py - y) * 0.84) for px, py in iris], look.iris)
    canvas.fill([(x + gaze + (px - x - gaze) * 0.48, y + (py - y) * 0.48) for px, py in iris], "#17100d")
    if open_by == 1:
        canvas.fill(ellipse((x + gaze + 0.036, y - 0.056), (0.029, 0.031)), "#ffffff")
        canvas.fill(ellipse((x + gaze - 0.034, y + 0.03), (0.014, 0.014)), "#ffffff", 0.7)


# shape → (half width, height of the opening, whether teeth show, whether the tongue does)
MOUTHS = {
    "closed": (0.235, 0.0, False, False),
    "small": (0.21, 0.06, True, False),
    "wide": (0.265, 0.12, True, False),
    "open": (0.235, 0.235, True, True),
    "round": (0.165, 0.2, False, True),
    "pout": (0.115, 0.11, False, False),
}


def _mouth(canvas: Canvas, look: Look, mouth: str) -> None:
    half, gap, teeth, tongue = MOUTHS[mouth]
    y = 0.6
    upper, lower = y - 0.02 - gap * 0.25, y + 0.03 + gap
    smile = 0.035 if mouth == "closed" else 0.015
    lips = smooth((-half, y - smile), (-half * 0.45, upper - 0.05), (0, upper - 0.03), (half * 0.45, upper - 0.05), (half, y - smile), (half * 0.5, lower + 0.045), (0, lower + 0.065), (-half * 0.5, lower + 0.045))
    canvas.fill(lips, look.lips)
    canvas.glow((0, lower + 0.03), (half * 0.5, 0.025), "#ffffff", 0.3, 4)
    dark = mix(look.lips, "#200508", 0.75)
    if not gap:
        canvas.fill(smooth((-half * 0.97, y - smile), (-half * 0.4, y + 0.014), (0, y + 0.004), (half * 0.4, y + 0.014), (half * 0.97, y - smile), (half * 0.4, y + 0.032), (0, y + 0.026), (-half * 0.4, y + 0.032)), dark, 0.8)
        return
    inside = smooth((-half * 0.88, y - smile + 0.01), (-half * 0.4, upper + 0.012), (0, upper + 0.02), (half * 0.4, upper + 0.012), (half * 0.88, y - smile + 0.01), (half * 0.45, lower - 0.005), (0, lower + 0.008), (-half * 0.45, lower - 0.005))
    canvas.fill(inside, dark)
    if tongue:
        canvas.fill([(px * 0.75, max(py, y + gap * 0.55) - 0.008) for px, py in inside], mix(look.lips, "#e04f5f", 0.4))
    if teeth:
        canvas.fill([(px * 0.86, min(py, upper + 0.02 + min(0.06, gap * 0.45))) for px, py in inside], "#fdfbf7")


def _fringe(canvas: Canvas, look: Look) -> None:
    gloss = mix(look.hair, "#ffffff", 0.28)
    if look.long_hair:
        canvas.fill(smooth((0.2, -1.2), (0.62, -1.1), (0.93, -0.62), (1.0, 0.1), (0.99, 0.75), (0.86, 0.9), (0.83, 0.35), (0.79, -0.2), (0.62, -0.55), (0.3, -0.86)), look.hair)
        canvas.fill(smooth((0.28, -1.2), (-0.3, -1.22), (-0.78, -0.95), (-0.98, -0.4), (-1.0, 0.3), (-0.97, 0.8), (-0.85, 0.88), (-0.83, 0.3), (-0.76, -0.22), (-0.45, -0.52), (0.05, -0.72), (0.3, -0.92)), look.hair)
        canvas.fill(smooth((-0.55, -0.98), (-0.78, -0.62), (-0.7, -0.6), (-0.4, -0.9), (0.0, -1.08), (-0.3, -1.1)), gloss, 0.5)
        canvas.fill(smooth((0.55, -0.95), (0.8, -0.55), (0.74, -0.5), (0.45, -0.86)), gloss, 0.4)
    else:
        canvas.fill(smooth((-0.8, 0.02), (-0.9, -0.5), (-0.72, -1.0), (-0.2, -1.28), (0.4, -1.26), (0.82, -0.95), (0.9, -0.45), (0.81, 0.02), (0.74, -0.35), (0.55, -0.62), (0.1, -0.66), (-0.35, -0.56), (-0.66, -0.62), (-0.74, -0.35)), look.hair)
        canvas.fill(smooth((-0.5, -0.95), (-0.1, -1.12), (0.4, -1.08), (0.0, -0.98)), gloss, 0.5)
