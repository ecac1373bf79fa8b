"""A visitor talks to the avatar, which the sandbox measures."""

from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from django_perso.sandbox.hearing import USUAL_TEXT
from tests.support import sound
from tests.support.sdk import SdkFile
from tests.support.servers import SandboxServer
from tests.support.widget import Avatar

from .microphone import Talk, heard, listen, say, spoken
from .site import Site

pytestmark = pytest.mark.browser

VOLUME = "avatar => avatar.shadowRoot.querySelector('video').volume"
LONG_INTRO = "There is much to tell about our opening hours and all our avatars. "


def test_sentence_after_a_click_is_one_turn(
    site: Site, sandbox: SandboxServer, talk: Talk, page: Any
) -> None:
    avatar = talk("click")
    listen(avatar)
    say(page, (1200, 0))
    avatar.part("message-visitor").get_by_text(USUAL_TEXT).wait_for()
    (recording,) = heard(sandbox)["recordings"]
    assert recording["sound_seconds"] == pytest.approx(1.2, abs=0.15)
    assert heard(sandbox)["between"]["peak"] < 0.01
    assert avatar.part("talk").get_attribute("aria-pressed") == "false"
    page.wait_for_function(
        "document.querySelector('perso-avatar').dataset.log=='saved'"
    )
    (line,) = spoken(site)
    assert line["via"] == "voice"
    assert line["spoken_ms"] == pytest.approx(1200, abs=150)


def test_button_that_is_held_records_at_once(
    sandbox: SandboxServer, talk: Talk, page: Any
) -> None:
    avatar = talk("hold")
    avatar.part("talk").focus()
    page.keyboard.down("Space")  # asks for the microphone
    avatar.wait_for(activity="recording")
    say(page, (1000, 100))
    page.keyboard.up("Space")
    avatar.part("message-visitor").get_by_text(USUAL_TEXT).wait_for()
    (recording,) = heard(sandbox)["recordings"]
    assert recording["sound_seconds"] == pytest.approx(1, abs=0.15)
    assert heard(sandbox)["between"]["peak"] < 0.01


def test_held_button_of_a_mouse_ends_the_turn_when_released(
    sandbox: SandboxServer, talk: Talk, page: Any
) -> None:
    avatar = talk("hold")
    avatar.part("talk").hover()
    page.mouse.down()
    avatar.wait_for(activity="recording")
    say(page, (600, 100))
    page.mouse.up()
    avatar.part("message-visitor").wait_for()
    assert len(heard(sandbox)["recordings"]) == 1


@pytest.mark.slow
def test_five_sentences_are_five_turns_and_coughs_are_none(
    sandbox: SandboxServer, talk: Talk, page: Any
) -> None:
    avatar = talk("hands-free")
    listen(avatar)
    sentence = (900, 700), (700, 1500)  # with a pause inside
    cough = (150, 1500)
    say(page, *sentence, cough, *sentence, *sentence, cough, *sentence, *sentence)
    avatar.part("message-visitor").nth(4).wait_for()
    page.wait_for_timeout(1500)
    recordings = heard(sandbox)["recordings"]
    assert len(recordings) == 5
    for recording in recordings:
        assert recording["sound_seconds"] == pytest.approx(1.6, abs=0.15)
    assert avatar.part("message-visitor").count() == 5
    assert heard(sandbox)["between"]["peak"] < 0.01


@pytest.mark.parametrize(
    "kind",
    [
        "clear",
        pytest.param("noisy", marks=pytest.mark.slow),
        pytest.param("clicking", marks=pytest.mark.slow),
    ],
)
def test_speech_of_a_real_device_is_found(
    site: Site,
    sandbox: SandboxServer,
    sdk: SdkFile | None,
    browser: Any,
    chromium: dict[str, Any],
    tmp_path: Path,
    kind: str,
) -> None:
    """The browser's own processing of sound is part of this test."""
    lengths = 1.6, 2.2
    parts = [sound.silence(2)]
    for seconds in lengths:
        parts += [sound.sentence(seconds), sound.silence(1.5)]
        parts += [sound.cough(), sound.silence(1.5)]
    whole = list(chain(*parts))
    length = len(whole) / sound.RATE
    if kind == "noisy":
        whole = sound.mixed(whole, sound.noise(length, 0.01))
    if kind == "clicking":
        whole = sound.mixed(whole, sound.clicks(length))
    file = sound.write(tmp_path / "microphone.wav", [whole])
    site.voice = "hands-free"
    flags = [
        *chromium["args"],
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={file}%noloop",
    ]
    with browser.browser_type.launch(**{**chromium, "args": flags}) as other:
        page = other.new_page()
        if sdk:
            sdk.serve(page)
        page.goto(site.url)
        avatar = Avatar(page)
        avatar.start()
        avatar.part("talk").click()
        page.wait_for_timeout(1000 * length)
        recordings = heard(sandbox)["recordings"]
        assert avatar.part("message-visitor").count() == len(lengths)
    assert len(recordings) == len(lengths)
    for recording, seconds in zip(recordings, lengths, strict=True):
        assert recording["sound_seconds"] == pytest.approx(seconds, abs=0.5)
    assert heard(sandbox)["between"]["peak"] < 0.01


# --- over the avatar ------------------------------------------------------------------


def test_speech_over_the_avatar_interrupts_it(
    site: Site, sandbox: SandboxServer, talk: Talk, page: Any
) -> None:
    site.intro = LONG_INTRO * 8
    avatar = talk("hands-free")
    avatar.part("talk").click()
    avatar.wait_for(activity="speaking")
    page.wait_for_timeout(1000)
    say(page, (150, 100))
    assert avatar.element.evaluate(VOLUME) < 0.2
    page.wait_for_timeout(800)
    assert avatar.element.evaluate(VOLUME) == 1  # it was a cough
    assert heard(sandbox)["recordings"] == []
    assert "interrupted" not in site.states
    say(page, (1000, 0))
    avatar.part("message-visitor").wait_for()
    assert "interrupted" in site.states
    assert avatar.element.evaluate(VOLUME) == 1


def test_click_over_the_avatar_silences_it(site: Site, talk: Talk) -> None:
    site.intro = LONG_INTRO * 4
    avatar = talk("click")
    avatar.wait_for(activity="speaking")
    avatar.part("talk").click()
    avatar.wait_for(activity="listening")


@pytest.mark.parametrize("seconds", [0.02, pytest.param(0.25, marks=pytest.mark.slow)])
def test_avatar_does_not_hear_itself(
    site: Site, sandbox: SandboxServer, talk: Talk, page: Any, seconds: float
) -> None:
    site.intro = LONG_INTRO * 6
    avatar = talk("hands-free")
    avatar.wait_for(activity="speaking")
    avatar.part("talk").click()
    page.wait_for_function("Boolean(window.hearAvatar)")
    page.evaluate("seconds => { hearAvatar(0.5, seconds); }", seconds)
    page.wait_for_timeout(8000)
    assert heard(sandbox)["recordings"] == []
    assert "interrupted" not in site.states
    assert avatar.element.get_attribute("data-activity") == "speaking"
    say(page, (1200, 0))
    avatar.part("message-visitor").wait_for()
    assert len(heard(sandbox)["recordings"]) == 1
