"""The avatar's picture and voice."""

import io

import pytest

from django_perso.sandbox import face, voice
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


def test_longer_text_takes_longer() -> None:
    texts = ["", "Hi", "Hello, how are you?"]
    durations = [voice.speak(text).duration for text in texts]
    assert 0 < durations[0] < durations[1] < durations[2]
    assert 1000 < durations[2] < 3000


def test_mouth_follows_loudness() -> None:
    utterance = voice.speak("ma, ma.")
    frames = [
        (max(memoryview(sound).cast("h")), shape) for sound, shape in utterance.frames
    ]
    assert all(len(sound) == 2 * voice.FRAME for sound, _ in utterance.frames)
    assert any(shape == "open" and peak > 5000 for peak, shape in frames)
    assert {shape for peak, shape in frames if peak == 0} == {"closed"}


@pytest.mark.parametrize("text", ["Grüße", "안녕하세요", "你好", "12"])
def test_every_script_is_spoken(text: str) -> None:
    assert {shape for _, shape in voice.speak(text).frames} - {"closed"}


def test_very_long_text_is_cut() -> None:
    longest = voice.speak("a" * voice.MAX_CHARACTERS)
    longer = voice.speak("a" * (2 * voice.MAX_CHARACTERS))
    assert longer.duration == longest.duration


def test_play_accepts_sound_files_only() -> None:
    spoken = voice.speak("Good morning")
    played = voice.play(voice.wav(spoken), "again")
    assert played.text == "again"
    assert abs(played.duration - spoken.duration) <= 40
    assert {"closed", "open"} <= {shape for _, shape in played.frames}
    for wrong in (b"", b"no sound at all", io.BytesIO(voice.wav(spoken)).read(20)):
        with pytest.raises(ValueError, match="not an audio file"):
            voice.play(wrong, "")
