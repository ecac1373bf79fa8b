"""What visitors are told before Start, and the text that they have to agree to."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

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


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1100])
@pytest.mark.usefixtures("_asks")
def test_axe_finds_nothing_before_start_and_in_the_question(
    site: Site, avatar: Open, page: Any, width: int, scheme: str
) -> None:
    page.set_viewport_size({"width": width, "height": 700})
    page.emulate_media(color_scheme=scheme)
    site.attributes = 'privacy-url="/privacy/" theme="auto"'
    site.consent_text = "\n\n".join(["We store what you say for thirty days."] * 50)
    talk = avatar()
    talk.part("start").wait_for()
    page.add_style_tag(content=":root { color-scheme: light dark }")
    for state in ("idle", "consent"):
        found = Axe().run(page, "perso-avatar").response
        problems = [(each["id"], each["nodes"]) for each in found["violations"]]
        assert (state, problems) == (state, [])
        if state == "idle":
            open_question(talk)


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


@asks
def test_changed_text_is_asked_for_again(site: Site, avatar: Open, page: Any) -> None:
    talk = avatar()
    open_question(talk)
    talk.part("agree").click()
    talk.wait_for(state="live")
    talk.end()
    site.consent_text = "We now store it for a year."
    page.reload()
    open_question(talk)
    assert talk.part("consent-text").inner_text() == "We now store it for a year."
    assert site.paid == 1


@asks
def test_text_that_changes_meanwhile_is_asked_for(site: Site, avatar: Open) -> None:
    talk = avatar()
    open_question(talk)
    site.consent_text = "We now store it for a year."
    talk.part("agree").click()
    talk.part("consent-text").filter(has_text="for a year").wait_for()
    assert talk.part("consent").count() == 1
    assert site.paid == 0
    talk.part("agree").click()
    talk.wait_for(state="live")
    assert site.paid == 1


@asks
def test_consent_is_given_by_keyboard_alone(avatar: Open, page: Any) -> None:
    talk = avatar()
    talk.part("start").focus()
    page.keyboard.press("Enter")
    talk.wait_for(state="consent")
    order = [focused(talk)]
    for _ in range(2):
        page.keyboard.press("Tab")
        order.append(focused(talk))
    assert order == ["consent-text", "agree", "decline"]
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    talk.wait_for(state="live")
    assert focused(talk) == "input"


@asks
def test_start_by_script_leaves_the_focus_alone(avatar: Open) -> None:
    talk = avatar()
    talk.element.evaluate("element => { element.start(); }")
    talk.wait_for(state="consent")
    assert talk.page.evaluate("document.activeElement === document.body")
    assert focused(talk) is None


@asks
def test_double_click_on_start_does_not_agree(
    site: Site, avatar: Open, page: Any
) -> None:
    talk = avatar()
    open_question(talk)
    for part in ("agree", "decline"):
        # The second click of a double click, at the place of the first.
        talk.part(part).dispatch_event("click", {"detail": 2})
        assert talk.element.get_attribute("data-state") == "consent"
    page.keyboard.press("Escape")
    talk.part("start").dblclick()
    talk.wait_for(state="consent")
    page.wait_for_timeout(300)
    assert talk.element.get_attribute("data-state") == "consent"
    assert site.paid == 0


@asks
@pytest.mark.parametrize("key", ["Enter", " "])
def test_key_held_on_start_does_not_agree(
    site: Site, avatar: Open, page: Any, key: str
) -> None:
    talk = avatar()
    talk.part("start").focus()
    for _ in range(20):
        page.keyboard.down(key)
        page.wait_for_timeout(30)
    page.keyboard.up(key)
    talk.wait_for(state="consent")
    assert site.paid == 0


@asks
def test_markup_in_the_text_is_shown_as_text(site: Site, avatar: Open) -> None:
    site.consent_text = "<b>Bold</b> <img src=x onerror=alert(1)>\n\nA & B"
    talk = avatar()
    open_question(talk)
    assert talk.part("consent-text").inner_text() == site.consent_text
    assert talk.part("consent-text").locator("*").count() == 0


@asks
@pytest.mark.parametrize(
    ("width", "height"), [(320, 480), (375, 667), (667, 375), (1100, 720)]
)
def test_long_text_scrolls_above_the_buttons(
    site: Site, avatar: Open, page: Any, width: int, height: int
) -> None:
    page.set_viewport_size({"width": width, "height": height})
    site.attributes = 'privacy-url="/privacy/"'
    site.consent_text = "\n\n".join(["We store what you say for thirty days."] * 100)
    talk = avatar()
    open_question(talk)
    text = talk.part("consent-text")
    assert text.evaluate("text => text.scrollHeight > text.clientHeight")
    page.keyboard.press("End")
    page.wait_for_function(
        "text => text.scrollTop > 0 &&"
        " text.scrollHeight - text.scrollTop - text.clientHeight < 2",
        arg=text.element_handle(),
    )
    panel = talk.part("panel").bounding_box()
    assert panel is not None
    for part in ("agree", "decline"):
        box = talk.part(part).bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= 44
        assert 0 <= box["x"] <= box["x"] + box["width"] <= width
        assert panel["y"] <= box["y"]
        assert box["y"] + box["height"] <= panel["y"] + panel["height"]
        assert box["y"] + box["height"] <= height


@asks
def test_blocked_storage_asks_at_each_start(
    site: Site, avatar: Open, page: Any
) -> None:
    page.add_init_script(
        """Object.defineProperty(window, "localStorage", {
          get() { throw new DOMException("denied", "SecurityError"); },
        });"""
    )
    talk = avatar()
    for number in (1, 2):
        open_question(talk)
        talk.part("agree").click()
        talk.wait_for(state="live")
        assert site.paid == number
        talk.end()


@asks
def test_refusal_after_agreement_does_not_ask_again(site: Site, avatar: Open) -> None:
    talk = avatar()
    open_question(talk)
    site.refusal = 403, {"code": "not_allowed", "detail": "Try again."}
    talk.part("agree").click()
    talk.wait_for(state="error")
    site.refusal = None
    talk.part("start").click()
    talk.wait_for(state="live")


@asks
def test_start_of_another_avatar_closes_the_question(site: Site, avatar: Open) -> None:
    site.avatars = 2
    talk = avatar()
    open_question(talk)
    other = talk.page.locator("perso-avatar").nth(1)
    other.locator("[part=start]").click()
    talk.page.locator("perso-avatar[data-state=consent]").nth(0).wait_for()
    talk.wait_for(state="idle")
    assert other.get_attribute("data-state") == "consent"
    assert talk.part("consent").count() == 0


@asks
def test_start_after_not_now_waits_for_nothing(avatar: Open) -> None:
    talk = avatar()
    open_question(talk)
    talk.part("decline").click()
    talk.page.wait_for_timeout(100)
    pressed_at = time.monotonic()
    open_question(talk)
    assert time.monotonic() - pressed_at < 3


@asks
def test_question_sends_its_state_and_no_end(avatar: Open) -> None:
    talk = avatar()
    talk.part("start").wait_for()
    talk.element.evaluate(
        """element => {
          window.heard = [];
          element.addEventListener("perso-state", ({ detail }) => {
            if (heard.at(-1) !== detail.state) heard.push(detail.state);
          });
          element.addEventListener("perso-end", () => heard.push("end"));
        }"""
    )
    open_question(talk)
    talk.part("decline").click()
    talk.wait_for(state="idle")
    heard = talk.page.evaluate("heard")
    assert heard == ["connecting", "consent", "idle"]
