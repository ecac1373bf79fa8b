"""The demo page in a real Firefox, with its default preferences for WebRTC."""

import json
from typing import Any

import pytest

from tests.support.firefox import Firefox

pytestmark = pytest.mark.browser

AVATAR = "document.querySelector('perso-avatar')"
CHAT = "SELECT data FROM django_perso_transcriptentry WHERE kind = 'chat' ORDER BY id"


def part(name: str) -> str:
    """Return the JavaScript that finds a part of the avatar."""
    return f"{AVATAR}.shadowRoot.querySelector('[part~={name}]')"


def test_avatar_talks_in_firefox(example_server: Any, firefox: Firefox) -> None:
    site = example_server(PERSO_SDK_URL="", PERSO_SDK_INTEGRITY="")
    firefox.open(site.url)
    firefox.wait_until(f"{part('start')}?.checkVisibility()")
    firefox.evaluate(f"{part('start')}.click()")
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
