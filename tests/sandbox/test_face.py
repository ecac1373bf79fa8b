"""The picture and the voice: sizes, a mouth that moves, and sound that goes with it."""

import io

import pytest

from django_perso.sandbox import face, voice
from django_perso.sandbox.face import EYES, MOUTHS, Pose, Scene, fit, picture, scene_of
from django_perso.sandbox.looks import LOOKS
from django_perso.sandbox.paint import Canvas, mix, yuv

SCENE = Scene(160, 120)


def changed_rows(one: Pose, other: Pose) -> set[int]:
    """The rows of the picture in which two poses differ visibly."""
    a = picture(SCENE, one)[0]
    b = picture(SCENE, other)[0]
    row = len(a) // SCENE.height
    return {at // row for at in range(len(a)) if abs(a[at] - b[at]) > 12}


@pytest.mark.parametrize(
    ("wish", "size"),
    [
        ((480, 360), (480, 360)),
        ((1080, 1920), (310, 554)),
        ((1920, 1080), (554, 310)),
        ((101, 75), (100, 74)),
        ((5000, 10), (640, 16)),
    ],
)
def test_the_picture_has_the_shape_wished_for_even_sides_and_few_pixels(
    wish: tuple[int, int], size: tuple[int, int]
) -> None:
    assert fit(*wish) == size
    assert size[0] * size[1] <= face.MAX_PIXELS


def test_the_planes_have_the_size_of_the_picture() -> None:
    y, u, v = picture(SCENE, Pose())
    assert len(y) >= 160 * 120
    assert len(u) == len(v) >= 80 * 60
    assert 60 < sum(y) / len(y) < 220


def test_an_open_mouth_changes_the_lower_half_of_the_face_only() -> None:
    rows = changed_rows(Pose("closed"), Pose("open"))
    assert rows
    assert min(rows) > SCENE.height * 0.5
    assert max(rows) < SCENE.height * 0.8


def test_closed_eyes_change_the_middle_of_the_face_only() -> None:
    rows = changed_rows(Pose(eyes="open"), Pose(eyes="shut"))
    assert rows
    assert SCENE.height * 0.25 < min(rows) <= max(rows) < SCENE.height * 0.55


def test_all_poses_of_all_people_are_different_pictures() -> None:
    poses = [
        Pose(mouth, eyes, nod) for mouth in MOUTHS for eyes in EYES for nod in (0, 1)
    ]
    assert len({picture(Scene(96, 72), pose) for pose in poses}) == len(poses)
    assert len({picture(Scene(96, 72, model), Pose()) for model in LOOKS}) == len(LOOKS)


def test_the_parameters_of_a_session_choose_person_backdrop_and_place() -> None:
    params = {
        "model_style": "leo-front-casual-nodded_loop",
        "background_image": "pbi-night",
        "padding_left": 0.2,
        "padding_top": 0.1,
        "padding_height": 1.5,
    }
    scene = scene_of(params, 320, 240)
    assert scene == Scene(320, 240, "leo", "pbi-night", 0.2, 0.1, 1.5)
    assert picture(scene, Pose()) != picture(
        Scene(320, 240, "leo", "pbi-night"), Pose()
    )


def test_paint_covers_blends_and_stays_inside_the_canvas() -> None:
    canvas = Canvas(10, 10)
    canvas.fill([(-5, 2), (20, 2), (20, 5), (-5, 5)], "#ffffff")
    assert canvas.planes[0] == bytes(20) + bytes([yuv("#ffffff")[0]]) * 30 + bytes(50)
    canvas.fill([(0, 0), (10, 0), (10, 10), (0, 10)], "#000000", 0.5)
    assert canvas.planes[0][25] == round((235 + 16) / 2 - 0.5)
    assert mix("#000000", "#ff8000", 0.5) == "#804000"


def test_a_longer_text_takes_longer_and_every_text_takes_some_time() -> None:
    assert (
        0
        < voice.speak("").duration
        < voice.speak("Hi").duration
        < voice.speak("Hello, how are you?").duration
    )
    assert 1000 < voice.speak("Hello, how are you?").duration < 3000


def test_the_mouth_is_open_where_the_sound_is_loud_and_closed_where_it_is_silent() -> (
    None
):
    utterance = voice.speak("ma, ma.")
    loudness = {
        sound: max(memoryview(sound).cast("h")) for sound, _ in utterance.frames
    }
    assert all(len(sound) == 2 * voice.FRAME for sound, _ in utterance.frames)
    assert any(
        shape == "open" and loudness[sound] > 5000 for sound, shape in utterance.frames
    )
    assert all(
        shape == "closed" for sound, shape in utterance.frames if loudness[sound] == 0
    )


@pytest.mark.parametrize("text", ["Grüße", "안녕하세요", "你好", "12"])
def test_every_script_has_a_voice(text: str) -> None:
    assert {shape for _, shape in voice.speak(text).frames} - {"closed"}


def test_a_very_long_text_is_cut() -> None:
    assert (
        voice.speak("a" * (2 * voice.MAX_CHARACTERS)).duration
        == voice.speak("a" * voice.MAX_CHARACTERS).duration
    )


def test_an_uploaded_sound_is_played_as_it_is_and_other_bytes_are_refused() -> None:
    spoken = voice.speak("Good morning")
    played = voice.play(voice.wav(spoken), "again")
    assert played.text == "again"
    assert abs(played.duration - spoken.duration) <= 40
    assert {"closed", "open"} <= {shape for _, shape in played.frames}
    for wrong in (b"", b"no sound at all", io.BytesIO(voice.wav(spoken)).read(20)):
        with pytest.raises(ValueError, match="not a sound file"):
            voice.play(wrong, "")
