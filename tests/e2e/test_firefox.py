"""The demo page in a real Firefox, with its default preferences for WebRTC."""

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support import sound
from tests.support.firefox import Firefox

pytestmark = pytest.mark.browser

AVATAR = "document.querySelector('perso-avatar')"
CHAT = "SELECT data FROM django_perso_transcriptentry WHERE kind = 'chat' ORDER BY id"
TOOLS = "SELECT data FROM django_perso_transcriptentry WHERE kind = 'tool' ORDER BY id"
ENDS = "SELECT ended_by, is_complete FROM django_perso_conversation"

# A microphone that plays a sound file once, from the moment the page asks for it.
MICROPHONE = """navigator.mediaDevices.getUserMedia = async () => {
  const file = Uint8Array.from(atob("FILE"), (byte) => byte.charCodeAt(0));
  const context = new AudioContext();
  const buffer = await context.decodeAudioData(file.buffer);
  const player = new AudioBufferSourceNode(context, { buffer });
  const output = context.createMediaStreamDestination();
  player.connect(output);
  player.start();
  return output.stream;
}"""


def part(name: str) -> str:
    """Return the JavaScript that finds a part of the avatar."""
    return f"{AVATAR}.shadowRoot.querySelector('[part~={name}]')"


def test_conversation_with_a_tool_in_firefox(
    example_server: Any, firefox: Firefox
) -> None:
    site = example_server(PERSO_SDK_URL="", PERSO_SDK_INTEGRITY="")
    firefox.open(site.url)
    firefox.wait_until(f"{part('start')}?.checkVisibility()")
    firefox.click(part("start"))
    firefox.wait_until(f"['live', 'error'].includes({AVATAR}.dataset.state)")
    assert firefox.evaluate(f"{AVATAR}.dataset.state") == "live"
    firefox.wait_until(f"{part('video')}.videoWidth > 0")
    firefox.wait_until(f"{part('video')}.currentTime > 0.3")

    firefox.evaluate(f"{AVATAR}.send('What is 12 squared?')")
    firefox.wait_until(f"{AVATAR}.shadowRoot.textContent.includes('144')")
    firefox.wait_until(f"{AVATAR}.dataset.log === 'saved'")
    stored = [json.loads(data) for (data,) in site.rows(CHAT)]
    lines = [(entry["role"], entry["text"]) for entry in stored]
    assert ("visitor", "What is 12 squared?") in lines
    assert any(role == "avatar" and "144" in text for role, text in lines)
    called, answered = [json.loads(data) for (data,) in site.rows(TOOLS)]
    assert (called["name"], called["phase"]) == ("get_square_number", "called")
    assert called["arguments"] == {"number": 12}
    assert (answered["phase"], answered["result"]) == ("answered", {"result": 144})

    firefox.click(part("end"))
    firefox.wait_until(f"{AVATAR}.dataset.state === 'ended'")
    deadline = time.monotonic() + 10
    while site.rows(ENDS) != [("visitor", 1)]:
        assert time.monotonic() < deadline, site.rows(ENDS)
        time.sleep(0.1)


@pytest.mark.slow
def test_visitor_talks_hands_free_in_firefox(
    example_server: Any, sandbox_server: Any, firefox: Firefox, tmp_path: Path
) -> None:
    sandbox = sandbox_server()
    site = example_server(
        PERSO_INTERACTIVE_API_SERVER=sandbox.url,
        PERSO_SDK_URL=f"{sandbox.url}/perso-interactive-sdk.js",
        PERSO_SDK_INTEGRITY="",
    )
    first_seconds = 1.2
    second_seconds = 1.6
    pause = sound.silence(1.5)
    parts = [
        *(sound.silence(2), sound.sentence(first_seconds), pause),
        *(sound.cough(), pause, sound.sentence(second_seconds)),
    ]
    file = sound.write(tmp_path / "microphone.wav", parts).read_bytes()
    firefox.open(site.url)
    firefox.evaluate(MICROPHONE.replace("FILE", base64.b64encode(file).decode()))
    firefox.evaluate(f"{AVATAR}.setAttribute('voice', 'hands-free')")
    firefox.wait_until(f"{part('start')}?.checkVisibility()")
    firefox.click(part("start"))
    firefox.wait_until(f"{part('talk')}?.checkVisibility()")
    firefox.click(part("talk"))
    firefox.wait_until(
        f"{AVATAR}.shadowRoot.querySelectorAll('[part~=message-visitor]').length === 2"
    )
    firefox.wait_until(f"{AVATAR}.dataset.log === 'saved'")

    stored = [json.loads(data) for (data,) in site.rows(CHAT)]
    spoken = [entry for entry in stored if entry["role"] == "visitor"]
    assert [entry["via"] for entry in spoken] == ["voice", "voice"]
    heard = sandbox.ledger()["sessions"][-1]["heard"]
    first, second = heard["recordings"]
    assert first["sound_seconds"] == pytest.approx(first_seconds, abs=0.15)
    assert second["sound_seconds"] == pytest.approx(second_seconds, abs=0.15)
    assert heard["between"]["peak"] < 0.01
