"""A microphone for tests of the widget, and what the sandbox hears of it."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.servers import SandboxServer
from tests.support.widget import Avatar

from .site import Site

# A microphone that is silent until the test speaks: `speak(level)`, from 0 to 1.
# `window.devices` are the tracks the page was given, `window.asked` what it asked for.
MICROPHONE = """
window.devices = [];
window.asked = [];
navigator.mediaDevices.getUserMedia = async (constraints) => {
  window.asked.push(constraints.audio);
  const context = new AudioContext();
  await context.resume();
  const tone = new OscillatorNode(context, { frequency: 220 });
  const gain = new GainNode(context, { gain: 0 });
  const output = context.createMediaStreamDestination();
  tone.connect(gain).connect(output);
  tone.start();
  const [track] = output.stream.getAudioTracks();
  const id = constraints.audio.deviceId?.exact ?? "built-in";
  track.getSettings = () => ({ deviceId: id });
  window.devices.push(track);
  window.speak = (level) => { gain.gain.value = level; };
  // By the clock of the sound: a busy page must not make a sound longer.
  window.say = (sounds, level) => {
    let at = context.currentTime + 0.02;
    for (const [ms, pause] of sounds) {
      gain.gain.setValueAtTime(level, at);
      gain.gain.setValueAtTime(0, at + ms / 1000);
      at += (ms + pause) / 1000;
    }
    const remaining = (at - context.currentTime) * 1000;
    return new Promise((done) => setTimeout(done, remaining));
  };
  window.hearAvatar = (level, seconds) => {
    const stream = document.querySelector("perso-avatar").shadowRoot
      .querySelector("video").srcObject;
    const delay = new DelayNode(context, { delayTime: seconds, maxDelayTime: 1 });
    const echo = new GainNode(context, { gain: level });
    context.createMediaStreamSource(stream).connect(delay);
    delay.connect(echo).connect(output);
    return (changed) => { delay.delayTime.value = changed; };
  };
  return output.stream;
};
navigator.mediaDevices.enumerateDevices = async () =>
  ["built-in", "headset"].map((deviceId) =>
    ({ deviceId, kind: "audioinput", label: `The ${deviceId}` }));
"""

Talk = Callable[..., Avatar]


@pytest.fixture
def talk(site: Site, page: Any) -> Talk:
    """`talk("click")` opens a live conversation in which the visitor talks that way."""

    def open_page(way: str, attributes: str = "") -> Avatar:
        site.voice = way
        site.attributes = attributes
        page.add_init_script(MICROPHONE)
        page.goto(site.url)
        avatar = Avatar(page)
        avatar.start()
        return avatar

    return open_page


def listen(avatar: Avatar) -> None:
    """Press the button, and wait until speech begins a turn."""
    avatar.part("talk").click()
    avatar.wait_for(activity="listening")
    avatar.page.wait_for_timeout(600)  # the noise is measured first


def begin_to_speak(avatar: Avatar) -> None:
    """Make a sound that goes on, and wait until it is recorded."""
    listen(avatar)
    avatar.page.evaluate("speak(0.3)")
    avatar.wait_for(activity="recording")


def say(page: Any, *sounds: tuple[int, int], level: float = 0.3) -> None:
    """Make sounds: each for so many milliseconds, followed by a pause."""
    page.evaluate("([sounds, level]) => say(sounds, level)", [sounds, level])


def heard(sandbox: SandboxServer) -> dict[str, Any]:
    """Return what the sandbox has heard in its newest session."""
    heard: dict[str, Any] = sandbox.ledger()["sessions"][-1]["heard"]
    return heard


def spoken(site: Site) -> list[dict[str, Any]]:
    """Return the logged lines of the visitor."""
    return [row["d"] for row in site.rows if row["d"].get("role") == "visitor"]
