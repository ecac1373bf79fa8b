"""The demo page in a pseudo-locale: translated, with enough room for every text."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.pseudo import pseudo, write_locale
from tests.support.widget import Avatar

from .texts import cramped, untranslated

pytestmark = pytest.mark.browser

# Said in the conversation, or meant for support: the codes of errors.
DATA = "[part=message-text], [part=captions], [part=code], main code"
SIZES = [(390, 844), (1280, 900)]
TOOL = """document.querySelector("perso-avatar").registerTool("get_square_number", {
  parameters: {
    type: "object",
    properties: { number: { type: "number" } },
    required: ["number"],
  },
  handler: ({ number }) => ({ result: number * number }),
})"""


@pytest.fixture
def site(example_server: Any, tmp_path: Path) -> Any:
    """The example site in the pseudo-locale."""
    return example_server(
        DJANGO_SETTINGS_MODULE="tests.translation.settings",
        PERSO_TEST_LOCALE=str(write_locale(tmp_path / "locale")),
    )


@pytest.fixture
def talk(site: Any, page: Any) -> Avatar:
    """The avatar of the demo page."""
    page.goto(f"{site.url}/perso/demo/")
    avatar = Avatar(page)
    avatar.wait_for(state="idle")
    return avatar


def check(talk: Avatar, pictures: Path, name: str) -> None:
    """Look at the page as it is now, at both widths."""
    page = talk.page
    assert untranslated(page, DATA) == [], name
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(500)  # until the picture has faded in or out
        page.screenshot(path=pictures / f"{name}-{width}.png")
        assert cramped(page) == [], (name, width)
        sideways = "document.documentElement.scrollWidth - innerWidth"
        assert page.evaluate(sideways) <= 0, (name, width)


def test_first_screen_is_translated_before_other_words_load(
    talk: Avatar, pictures: Path
) -> None:
    assert talk.part("start").inner_text() == pseudo("Start conversation")
    check(talk, pictures, "pseudo-idle")


def test_every_state_is_translated_and_has_room(
    site: Any, talk: Avatar, pictures: Path
) -> None:
    page = talk.page
    page.evaluate(TOOL)
    waiting: list[Any] = []

    def hold(route: Any) -> None:
        waiting.append(route)

    page.route("**/perso/sessions/", hold)
    talk.part("start").click()
    talk.wait_for(state="connecting")
    check(talk, pictures, "pseudo-connecting")
    for route in waiting:
        route.continue_()
    page.unroute("**/perso/sessions/")
    talk.wait_for(state="live")
    check(talk, pictures, "pseudo-live")
    talk.ask("What is 12 squared?", "144")
    talk.type("Who are you?")
    talk.wait_for(activity="speaking")
    check(talk, pictures, "pseudo-speaking")
    talk.part("sound").evaluate("button => { button.hidden = false }")
    check(talk, pictures, "pseudo-sound")
    talk.end()
    check(talk, pictures, "pseudo-ended")


@pytest.mark.parametrize(
    ("pattern", "name"),
    [("**/conversation*.js", "modules"), ("**/perso/sessions/", "site_unreachable")],
)
def test_error_is_translated_and_has_room(
    talk: Avatar, pictures: Path, console_errors: list[str], pattern: str, name: str
) -> None:
    talk.page.route(pattern, lambda route: route.abort())
    talk.part("start").click()
    talk.wait_for(state="error")
    assert talk.part("code").inner_text() == name
    check(talk, pictures, f"pseudo-{name}")
    console_errors.clear()


def test_refusal_of_the_site_is_translated(
    site: Any, talk: Avatar, pictures: Path, console_errors: list[str]
) -> None:
    site.execute("UPDATE django_perso_sessionpreset SET is_active = 0")
    talk.part("start").click()
    talk.wait_for(state="error")
    check(talk, pictures, "pseudo-refused")
    console_errors.clear()
