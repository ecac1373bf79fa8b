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
        site.voice = True
        site.attributes = f'voice="{way}"'
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
