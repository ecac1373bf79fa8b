"""The example site as a new user finds it: home page, demo page, limits and admin."""

from typing import Any

import pytest

from tests.support.admin import open_first
from tests.support.widget import Avatar

pytestmark = pytest.mark.browser


def test_question_before_start_shows_a_hint_on_a_phone(
    example_server: Any, new_context: Any
) -> None:
    page = new_context(
        viewport={"width": 390, "height": 664}, has_touch=True, is_mobile=True
    ).new_page()
    page.goto(example_server().url)
    page.add_style_tag(content=".tries { margin-bottom: 800px }")
    page.get_by_role("button", name="What is 12 squared?").tap()
    hint = (
        page.get_by_role("status")
        .filter(has_text="Start the conversation first")
        .bounding_box()
    )
    assert 0 <= hint["y"] <= 664 - hint["height"]


def test_presets_of_the_sandbox_allow_many_starts(
    example_server: Any,
) -> None:
    starts = example_server().rows(
        "SELECT slug, starts_per_hour FROM django_perso_sessionpreset"
    )
    assert sorted(starts) == [("default", 200), ("second", 200)]


def test_visitors_of_the_example_talk_by_click(example_server: Any) -> None:
    ways = example_server().rows(
        "SELECT slug, voice FROM django_perso_sessionpreset WHERE stt_type != ''"
    )
    assert sorted(ways) == [("default", "click"), ("second", "click")]


def test_demo_page_requests_no_missing_file(example_server: Any, page: Any) -> None:
    site = example_server()
    missing: list[str] = []
    page.on(
        "response", lambda answer: missing.extend([] if answer.ok else [answer.url])
    )
    page.goto(f"{site.url}/perso/demo/")
    page.set_viewport_size({"width": 320, "height": 640})
    page.wait_for_load_state("networkidle")
    assert missing == []
    icon = page.locator("link[rel=icon]").evaluate("link => link.href")
    assert page.request.get(icon).ok
    assert (
        page.locator("code").first.evaluate("code => code.getClientRects().length") == 1
    )


def test_conversation_is_followed_without_redis(
    example_server: Any, page: Any, new_context: Any
) -> None:
    site = example_server()
    page.goto(site.url)
    avatar = Avatar(page)
    avatar.start()
    admin = new_context().new_page()
    open_first(admin, site)
    admin.locator(".perso-following[data-state=live]").wait_for()
    avatar.ask("What is 12 squared?", "144")
    admin.locator(".perso-chat").filter(has_text="What is 12 squared?").wait_for(
        timeout=5000
    )
    card = admin.locator(".perso-tool")
    card.filter(has_text="answered").wait_for(timeout=5000)
    assert card.count() == 1
    avatar.end()
    admin.locator(".perso-following[data-state=over]").wait_for()
    end = admin.locator(".perso-state").last
    assert "ended by the visitor · closed normally" in end.inner_text()
    assert end.inner_text().count("ended") == 1
