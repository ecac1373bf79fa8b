"""The avatar's voice, in real words and without them."""

import io
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from django_perso.sandbox import voice
from django_perso.sandbox.espeak import voice_for


@pytest.fixture
def real_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """The voice of a new process in which eSpeak NG is installed."""
    monkeypatch.setattr(voice, "_reader", voice.Reader())


@pytest.fixture
def letters(real_words: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The voice of a new process in which eSpeak NG is missing."""
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)


@pytest.fixture(params=["real_words", "letters"])
def each_voice(request: pytest.FixtureRequest) -> None:
    """Run a test with either voice."""
    request.getfixturevalue(request.param)


def durations(*texts: str) -> list[int]:
    return [voice.speak(text).duration for text in texts]


@pytest.mark.usefixtures("each_voice")
def test_longer_text_takes_longer() -> None:
    empty, short, long = durations("", "Hi", "Hello, how are you?")
    assert 0 < empty < short < long
    assert 1000 < long < 3000


@pytest.mark.usefixtures("each_voice")
def test_mouth_follows_loudness() -> None:
    utterance = voice.speak("ma, ma.")
    frames = [
        (max(memoryview(sound).cast("h")), shape) for sound, shape in utterance.frames
    ]
    assert all(len(sound) == 2 * voice.FRAME for sound, _ in utterance.frames)
    assert any(shape == "open" and peak > 5000 for peak, shape in frames)
    assert {shape for peak, shape in frames if peak == 0} == {"closed"}


@pytest.mark.parametrize("text", ["Grüße", "안녕하세요", "你好", "12"])
@pytest.mark.usefixtures("each_voice")
def test_every_script_is_spoken(text: str) -> None:
    assert {shape for _, shape in voice.speak(text).frames} - {"closed"}


@pytest.mark.usefixtures("each_voice")
def test_very_long_text_is_cut() -> None:
    longest = voice.speak("a" * voice.MAX_CHARACTERS)
    longer = voice.speak("a" * (2 * voice.MAX_CHARACTERS))
    assert longer.duration == longest.duration


@pytest.mark.usefixtures("each_voice")
def test_play_accepts_sound_files_only() -> None:
    spoken = voice.speak("Good morning")
    played = voice.play(voice.wav(spoken), "again")
    assert played.text == "again"
    assert abs(played.duration - spoken.duration) <= 40
    assert {"closed", "open"} <= {shape for _, shape in played.frames}
    for wrong in (b"", b"no sound at all", io.BytesIO(voice.wav(spoken)).read(20)):
        with pytest.raises(ValueError, match="not an audio file"):
            voice.play(wrong, "")


@pytest.mark.usefixtures("real_words")
def test_words_that_sound_alike_take_equally_long() -> None:
    assert len(set(durations("right", "write"))) == 1
    assert len(set(durations("night", "knight"))) == 1
    forty_two, in_words = durations("42", "forty-two")
    assert abs(forty_two - in_words) <= 40


@pytest.mark.usefixtures("letters")
def test_missing_espeak_is_no_trouble(caplog: pytest.LogCaptureFixture) -> None:
    night, knight = durations("night", "knight")
    assert night < knight
    assert caplog.messages == []


@pytest.mark.parametrize("function", ["get_library_path", "get_data_path"])
def test_broken_espeak_is_logged_once(function: str, tmp_path: Path) -> None:
    # In a process of its own, since the library keeps data that it has loaded.
    script = f"""
import espeakng_loader
from django_perso.sandbox import voice
espeakng_loader.{function} = lambda: {str(tmp_path)!r}
print(voice.speak("night").duration < voice.speak("knight").duration)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )
    assert done.stdout == "True\n"
    assert done.stderr.count("The avatar cannot speak real words: ") == 1


@pytest.mark.usefixtures("real_words")
def test_threads_speak_at_the_same_time() -> None:
    texts = ["Hello there.", "How can I help you today?", "안녕하세요", "No."] * 5
    with ThreadPoolExecutor(8) as pool:
        spoken = list(pool.map(voice.speak, texts))
    assert [utterance.text for utterance in spoken] == texts
    assert [utterance.duration for utterance in spoken] == durations(*texts)


@pytest.mark.parametrize("text", ["", " ", "\0", "\ud800", "😀", "<b>&</b>", "..."])
@pytest.mark.usefixtures("real_words")
def test_odd_texts_are_read(text: str, caplog: pytest.LogCaptureFixture) -> None:
    assert 0 < voice.speak(text).duration < 5000
    assert caplog.messages == []


@pytest.mark.usefixtures("real_words")
def test_reading_of_long_numbers_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django_perso.sandbox.espeak.MAX_SECONDS", 3)
    assert 3000 <= voice.speak("7 8 9 " * 100).duration < 4000


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Hello", "en"),
        ("안녕하세요", "ko"),
        ("日本語です", "ja"),
        ("你好", "cmn"),
        ("", "en"),
    ],
)
def test_letters_decide_the_language(text: str, language: str) -> None:
    assert voice_for(text).startswith(language)
