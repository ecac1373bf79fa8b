"""The style sheets and scripts of the guides do what the guides say."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.docs.pages import marked_block
from tests.support.widget import Avatar

from .site import Site

pytestmark = pytest.mark.browser

Open = Callable[[], Avatar]

LONG = "There is much to tell about this house, its people and its garden. " * 40


def test_hidden_log_takes_no_space(site: Site, avatar: Open, page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    css = marked_block("how-to/styling", "test_hidden_log_takes_no_space")
    site.body = f"<style>{css}</style>"
    site.intro = LONG
    talk = avatar()
    talk.start()
    height = page.evaluate("document.documentElement.scrollHeight")
    talk.part("message-avatar").wait_for()
    log = talk.part("log").bounding_box()
    assert log
    assert (log["width"], log["height"]) == (1, 1)
    assert page.evaluate("document.documentElement.scrollHeight") == height
    assert LONG.strip() in talk.part("log").inner_text()  # for screen readers


def test_avatar_in_a_template_waits_for_consent(site: Site, page: Any) -> None:
    whole = site.page()
    start = whole.index("<perso-avatar")
    site.avatars = 0
    script = marked_block(
        "how-to/privacy", "test_avatar_in_a_template_waits_for_consent"
    )
    site.body = (
        '<button id="agree">I agree</button>'
        f'<template id="avatar">{whole[start:]}</template>'
        f'<script type="module">{script}</script>'
    )
    page.goto(site.url)
    page.mouse.move(100, 100)
    page.evaluate("new Promise((done) => setTimeout(done, 300))")
    assert not any("style" in path for path in site.requests)
    page.get_by_text("I agree").click()
    talk = Avatar(page)
    talk.start()
