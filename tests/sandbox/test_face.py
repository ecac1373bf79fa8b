"""The avatar's picture."""

import pytest

from django_perso.sandbox import face
from django_perso.sandbox.face import EYES, MOUTHS, Pose, Scene, fit, picture, scene_of
from django_perso.sandbox.looks import LOOKS
from django_perso.sandbox.paint import Canvas, mix, yuv

SCENE = Scene(160, 120)


def changed_rows(one: Pose, other: Pose) -> set[int]:
    """Return the rows of the picture in which two poses differ visibly."""
    one_luma = picture(SCENE, one)[0]
    other_luma = picture(SCENE, other)[0]
    line_size = len(one_luma) // SCENE.height
    return {
        position // line_size
        for position in range(len(one_luma))
        if abs(one_luma[position] - other_luma[position]) > 12
    }


@pytest.mark.parametrize(
    ("requested", "size"),
    [
        ((480, 360), (480, 360)),
        ((1080, 1920), (310, 554)),
        ((1920, 1080), (554, 310)),
        ((101, 75), (100, 74)),
        ((5000, 10), (640, 16)),
    ],
)
def test_fit_keeps_shape_and_limits_pixels(
    requested: tuple[int, int], size: tuple[int, int]
) -> None:
    assert fit(*requested) == size
    assert size[0] * size[1] <= face.MAX_PIXELS


def test_planes_have_size_of_picture() -> None:
    y, u, v = picture(SCENE, Pose())
    assert len(y) >= 160 * 120
    assert len(u) == len(v) >= 80 * 60
    assert 60 < sum(y) / len(y) < 220


def test_open_mouth_changes_lower_half_of_face() -> None:
    rows = changed_rows(Pose("closed"), Pose("open"))
    assert rows
    assert min(rows) > SCENE.height * 0.5
    assert max(rows) < SCENE.height * 0.8


def test_closed_eyes_change_middle_of_face() -> None:
    rows = changed_rows(Pose(eyes="open"), Pose(eyes="shut"))
    assert rows
    assert SCENE.height * 0.25 < min(rows) <= max(rows) < SCENE.height * 0.55


def test_all_poses_and_people_look_different() -> None:
    poses = [
        Pose(mouth, eyes, nod) for mouth in MOUTHS for eyes in EYES for nod in (0, 1)
    ]
    assert len({picture(Scene(96, 72), pose) for pose in poses}) == len(poses)
    assert len({picture(Scene(96, 72, model), Pose()) for model in LOOKS}) == len(LOOKS)


def test_scene_follows_session_parameters() -> None:
    params = {
        "model_style": "leo-front-casual-nodded_loop",
        "background_image": "pbi-night",
        "padding_left": 0.2,
        "padding_top": 0.1,
        "padding_height": 1.5,
    }
    scene = scene_of(params, 320, 240)
    assert scene == Scene(320, 240, "leo", "pbi-night", 0.2, 0.1, 1.5)
    without_paddings = Scene(320, 240, "leo", "pbi-night")
    assert picture(scene, Pose()) != picture(without_paddings, Pose())


def test_fill_covers_blends_and_stays_inside() -> None:
    canvas = Canvas(10, 10)
    canvas.fill([(-5, 2), (20, 2), (20, 5), (-5, 5)], "#ffffff")
    assert canvas.planes[0] == bytes(20) + bytes([yuv("#ffffff")[0]]) * 30 + bytes(50)
    canvas.fill([(0, 0), (10, 0), (10, 10), (0, 10)], "#000000", 0.5)
    assert canvas.planes[0][25] == round((235 + 16) / 2 - 0.5)
    assert mix("#000000", "#ff8000", 0.5) == "#804000"
