"""A visitor talks to the avatar, which the sandbox measures."""

from collections.abc import Callable
from typing import Any

import pytest

from django_perso.sandbox.hearing import USUAL_TEXT
from tests.support.servers import SandboxServer
from tests.support.widget import Avatar

from .site import Site

pytestmark = pytest.mark.browser

Open = Callable[[], Avatar]

# A microphone that is silent until the test speaks: `speak(level)`, from 0 to 1.
MICROPHONE = """
navigator.mediaDevices.getUserMedia = async (constraints) => {
  window.asked = constraints;
  const context = new AudioContext();
  await context.resume();
  const tone = new OscillatorNode(context, { frequency: 220 });
  const gain = new GainNode(context, { gain: 0 });
  const output = context.createMediaStreamDestination();
  tone.connect(gain).connect(output);
  tone.start();
  window.device = output.stream.getAudioTracks()[0];
  window.speak = (level) => { gain.gain.value = level; };
  return output.stream;
};
"""
SAY = """async ([sounds, level]) => {
  const wait = (ms) => new Promise((done) => setTimeout(done, ms));
  for (const [ms, pause] of sounds) {
    speak(level);
    await wait(ms);
    speak(0);
    await wait(pause);
  }
}"""


@pytest.fixture
def talk(site: Site, page: Any) -> Callable[[str], Avatar]:
    """`talk("click")` opens a live conversation in which the visitor talks that way."""

    def open_page(way: str) -> Avatar:
        site.voice = way
        page.add_init_script(MICROPHONE)
        page.goto(site.url)
        avatar = Avatar(page)
        avatar.start()
        return avatar

    return open_page


def say(page: Any, *sounds: tuple[int, int], level: float = 0.3) -> None:
    """Make sounds: each for so many milliseconds, followed by a pause."""
    page.evaluate(SAY, [sounds, level])


def heard(sandbox: SandboxServer) -> dict[str, Any]:
    """Return what the sandbox has heard in its newest session."""
    heard: dict[str, Any] = sandbox.ledger()["sessions"][-1]["heard"]
    return heard


def test_sentence_after_a_click_is_one_turn(
    site: Site, sandbox: SandboxServer, talk: Any, page: Any
) -> None:
    avatar = talk("click")
    avatar.part("talk").click()
    avatar.wait_for(activity="listening")
    page.wait_for_timeout(600)
    say(page, (1200, 0))
    avatar.part("message-visitor").get_by_text(USUAL_TEXT).wait_for()
    (recording,) = heard(sandbox)["recordings"]
    assert recording["sound_seconds"] == pytest.approx(1.2, abs=0.15)
    assert heard(sandbox)["between"]["peak"] < 0.01
    (row,) = [row["d"] for row in site.rows if row["d"].get("role") == "visitor"]
    assert row["via"] == "voice"
    assert 1000 < row["spoken_ms"] < 2500


def test_button_that_is_held_records_at_once(
    sandbox: SandboxServer, talk: Any, page: Any
) -> None:
    avatar = talk("hold")
    button = avatar.part("talk")
    button.focus()
    page.keyboard.down("Space")  # asks for the microphone
    avatar.wait_for(activity="recording")
    say(page, (1000, 100))
    page.keyboard.up("Space")
    avatar.part("message-visitor").get_by_text(USUAL_TEXT).wait_for()
    (recording,) = heard(sandbox)["recordings"]
    assert recording["sound_seconds"] == pytest.approx(1, abs=0.15)
    assert heard(sandbox)["between"]["peak"] < 0.01


def test_five_sentences_are_five_turns_and_coughs_are_none(
    sandbox: SandboxServer, talk: Any, page: Any
) -> None:
    avatar = talk("hands-free")
    avatar.part("talk").click()
    avatar.wait_for(activity="listening")
    page.wait_for_timeout(600)
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


def test_speech_over_the_avatar_interrupts_it(
    site: Site, sandbox: SandboxServer, talk: Any, page: Any
) -> None:
    site.intro = "There is much to tell about this house and its garden. " * 8
    avatar = talk("hands-free")
    avatar.part("talk").click()
    avatar.wait_for(activity="speaking")
    page.wait_for_timeout(600)
    volume = "avatar => avatar.shadowRoot.querySelector('video').volume"
    say(page, (150, 100))
    assert avatar.element.evaluate(volume) < 0.2
    page.wait_for_timeout(800)
    assert avatar.element.evaluate(volume) == 1  # it was a cough
    assert heard(sandbox)["recordings"] == []
    say(page, (1000, 0))
    avatar.part("message-visitor").wait_for()
    assert "interrupted" in site.states


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        ("NotFoundError", "No microphone was found."),
        ("NotReadableError", "Another program is using the microphone."),
        ("NotAllowedError", "The microphone is blocked."),
        ("TypeError", "The microphone does not work."),
    ],
)
def test_missing_microphone_is_explained(
    talk: Any, page: Any, failure: str, words: str
) -> None:
    avatar = talk("click")
    page.evaluate(
        """(name) => {
          navigator.mediaDevices.getUserMedia = async () => {
            throw new DOMException("no", name);
          };
        }""",
        failure,
    )
    avatar.part("talk").click()
    avatar.part("error").get_by_text(words).wait_for()
    avatar.ask("What is your name?")  # typing works


def test_silence_after_a_press_is_not_understood(
    sandbox: SandboxServer, talk: Any, page: Any
) -> None:
    avatar = talk("hold")
    avatar.part("talk").focus()
    page.keyboard.down("Space")
    avatar.wait_for(activity="recording")
    page.wait_for_timeout(400)
    page.keyboard.up("Space")
    avatar.part("error").get_by_text("I did not catch that.").wait_for()


def test_microphone_is_let_go_at_the_end(talk: Any, page: Any) -> None:
    avatar = talk("click")
    avatar.part("talk").click()
    avatar.wait_for(activity="listening")
    assert page.evaluate("window.device.readyState") == "live"
    avatar.part("end").click()
    avatar.wait_for(state="ended")
    assert page.evaluate("window.device.readyState") == "ended"


def test_avatar_that_cannot_hear_is_explained(
    sandbox: SandboxServer, talk: Any, page: Any
) -> None:
    sandbox.set_faults(exchange={"sendonly": True})
    avatar = talk("click")
    avatar.part("talk").click()
    avatar.part("error").get_by_text("This avatar cannot hear you.").wait_for()
    assert page.evaluate("window.device.readyState") == "ended"


def test_preset_without_voice_has_no_button(site: Site, avatar: Open) -> None:
    talk = avatar()
    talk.start()
    assert not talk.part("talk").is_visible()
