"""What visitors are told before Start, and the text that they have to agree to."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.widget import Avatar

from .site import Site

pytestmark = pytest.mark.browser

Open = Callable[[], Avatar]

NOTICE = "You will be talking with an AI. The conversation is stored."
TEXT = "We store what you say for 30 days.\nNobody else reads it."
PHONE = {"width": 375, "height": 667}
# The parts of the active element and of the host around it.
FOCUSED = "element => element.shadowRoot.activeElement?.getAttribute('part')"


def focused(talk: Avatar) -> Any:
    """Return the part that has the focus."""
    return talk.element.evaluate(FOCUSED)


@pytest.fixture
def _asks(site: Site, page: Any, console_errors: list[str]) -> Iterator[None]:
    """The site asks for consent; browsers report such an answer as an error."""
    site.consent_text = TEXT
    yield
    reports = [text for text in console_errors if "403 (Forbidden)" in text]
    assert console_errors == reports
    console_errors.clear()


asks = pytest.mark.usefixtures("_asks")


def open_question(talk: Avatar) -> None:
    """Press Start, and wait for the question."""
    talk.part("start").click()
    talk.wait_for(state="consent")


# --- the notice


def test_notice_is_shown_and_describes_start(avatar: Open) -> None:
    talk = avatar()
    start = talk.element.get_by_role("button", name="Start conversation")
    start.wait_for()
    assert talk.part("hint").is_visible()
    assert talk.part("hint").inner_text().strip() == NOTICE
    snapshot = talk.element.aria_snapshot()
    assert f"paragraph: {NOTICE}" in snapshot
    described_by = start.get_attribute("aria-describedby")
    assert talk.part("hint").get_attribute("id") == described_by


@pytest.mark.parametrize("width", [320, 375, 1100])
def test_notice_fits_into_the_first_screen(
    site: Site, avatar: Open, page: Any, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 667})
    site.attributes = 'privacy-url="/privacy/"'
    talk = avatar()
    talk.part("hint").wait_for()
    assert talk.part("stage").evaluate(
        "stage => stage.scrollHeight <= stage.clientHeight"
    )


def test_privacy_link_opens_another_page(site: Site, avatar: Open, page: Any) -> None:
    site.attributes = 'privacy-url="/privacy/"'
    page.context.route("**/privacy/", lambda route: route.fulfill(body="Privacy"))
    talk = avatar()
    link = talk.element.get_by_role("link", name="Privacy")
    with page.context.expect_page() as opened:
        link.click()
    assert opened.value.url == f"{site.url}privacy/"
    assert opened.value.evaluate("window.opener") is None
    assert page.url == site.url


def test_privacy_link_is_absent_without_a_url(avatar: Open) -> None:
    talk = avatar()
    talk.part("hint").wait_for()
    assert talk.element.get_by_role("link").count() == 0


def test_privacy_link_keeps_the_focus_while_words_load(
    site: Site, avatar: Open, page: Any
) -> None:
    page.route("**/words/", lambda route: route.fulfill(json={"Cancel": "Abbrechen"}))
    site.attributes = 'privacy-url="/privacy/" data-words-url="/words/"'
    talk = avatar()
    talk.part("privacy").focus()
    talk.element.locator("[part=cancel]:text('Abbrechen')").wait_for(state="attached")
    assert focused(talk) == "privacy"


# --- the question


@asks
def test_start_asks_for_consent_and_pays_nothing(site: Site, avatar: Open) -> None:
    talk = avatar()
    open_question(talk)
    dialog = talk.element.get_by_role("dialog", name="Before you start")
    assert dialog.is_visible()
    assert talk.part("consent-text").inner_text() == TEXT
    assert not talk.part("stage").is_visible()
    assert not talk.part("chat").is_visible()
    assert (len(site.starts), site.paid) == (1, 0)


@asks
def test_agreement_starts_and_is_remembered(
    site: Site, avatar: Open, page: Any
) -> None:
    talk = avatar()
    open_question(talk)
    talk.part("agree").click()
    talk.wait_for(state="live")
    assert talk.part("consent").count() == 0
    talk.end()
    page.reload()
    talk.start()
    given = {"preset": "guide", "consent": site.consent_hash}
    assert site.starts == [{"preset": "guide"}, given, given]
    assert site.paid == 2


@asks
@pytest.mark.parametrize("how", ["button", "Escape", "stop"])
def test_visitor_who_does_not_agree_is_back_at_start(
    site: Site, avatar: Open, page: Any, how: str
) -> None:
    talk = avatar()
    open_question(talk)
    if how == "button":
        talk.element.get_by_role("button", name="Not now").click()
    elif how == "Escape":
        page.keyboard.press("Escape")
    else:
        talk.element.evaluate("element => element.stop()")
    talk.wait_for(state="idle")
    assert talk.part("hint").is_visible()
    assert focused(talk) == "start"
    assert (len(site.starts), site.paid) == (1, 0)
    open_question(talk)
