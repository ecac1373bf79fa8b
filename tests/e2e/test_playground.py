"""The playground in a browser: try settings, compare two avatars, save one."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.admin import LISTEN, SIDEWAYS, keep_pictures, log_in
from tests.support.widget import WATCHED

pytestmark = pytest.mark.browser

PLAYGROUND = "/admin/django_perso/sessionpreset/playground/"
SESSIONS = """
SELECT conversation.id, conversation.preset_id, conversation.is_trial,
    session.status, session.params
FROM django_perso_conversation AS conversation
JOIN django_perso_persosession AS session ON session.conversation_id = conversation.id
ORDER BY conversation.is_trial"""
CHAT = """
SELECT conversation_id, data FROM django_perso_transcriptentry
WHERE kind = 'chat' ORDER BY id"""


@pytest.fixture
def site(example_server: Any, sdk: Any) -> Any:
    """The example site, with a strict security policy if the SDK is the stand-in.

    The policy would forbid the published address of the SDK.
    """
    return example_server(
        **({} if sdk else {"DJANGO_SETTINGS_MODULE": "tests.admin_site.settings"})
    )


def enter(site: Any, context: Any) -> Any:
    """Log in and open the playground."""
    context.add_init_script(LISTEN)
    page = context.new_page()
    log_in(page, site, PLAYGROUND)
    page.locator("perso-avatar[data-state=idle]").first.wait_for()
    return page


class Column:
    """An avatar of the page, with its settings."""

    def __init__(self, page: Any, prefix: str) -> None:
        self.page = page
        self.prefix = prefix
        self.section = page.locator(f"[data-perso-column={prefix}]")

    def part(self, name: str) -> Any:
        return self.section.locator(f"perso-avatar [part~={name}]")

    def wait_for(self, **attributes: str) -> None:
        chosen = "".join(
            f'[data-{name}="{value}"]' for name, value in attributes.items()
        )
        self.section.locator(f"perso-avatar{chosen}").wait_for()

    def wait_live(self) -> None:
        self.wait_for(state="live")
        assert self.part("video").evaluate(WATCHED), "the picture does not move"

    def field(self, name: str) -> Any:
        return self.section.locator(f"[name={self.prefix}-{name}]")

    def fact(self, name: str) -> Any:
        return self.section.locator(f"[data-perso-fact={name}]")

    def unfold(self, title: str) -> None:
        """Open a group of settings."""
        self.section.locator("summary", has_text=title).click()

    def wait_for_answer(self, text: str) -> None:
        self.part("message-avatar").filter(has_text=text).last.wait_for()


def change_settings(column: Column) -> None:
    """Turn the column's preset into its own settings, and sync the lists of its key."""
    column.section.get_by_role("button", name="Change settings").click()
    own = column.page.locator(f"#perso-{column.prefix}-own")
    own.wait_for()
    column.wait_for(state="idle")
    assert -1 < own.bounding_box()["y"] < 400  # the page has scrolled to the settings
    column.section.get_by_role("button", name="Sync").click()
    column.page.get_by_text("Perso answered in").wait_for()
    column.section.get_by_role("button", name="Sync (last synced").wait_for()
    column.wait_for(state="idle")
    assert column.page.evaluate("scrollY") == 0  # where the message is


def test_settings_are_tried_in_the_playground(site: Any, new_context: Any) -> None:
    page = enter(site, new_context())
    page.goto(site.url)
    page.get_by_role("link", name="Playground").click()
    a = Column(page, "a")
    change_settings(a)
    a.section.locator("[name=a-model_style]").nth(1).check(force=True)
    style = a.section.locator("[name=a-model_style]:checked").get_attribute("value")
    a.field("tts_type").select_option(index=2)
    voice = a.field("tts_type").input_value()
    a.unfold("Intro, knowledge and tools")
    a.field("has_intro").uncheck()
    a.unfold("Framing")
    a.section.get_by_label("Padding left", exact=True).fill("0.2")
    slider = a.section.get_by_label("Padding left, slider")
    assert slider.input_value() == "0.2"
    slider.fill("-0.3")
    assert a.field("padding_left").input_value() == "-0.3"
    a.section.get_by_label("landscape").check()
    a.section.get_by_label("get_square_number").check()
    a.part("start").click()
    a.wait_live()
    assert a.part("panel").get_attribute("data-shape") == "landscape"
    a.part("input").fill("What is 12 squared?")
    a.part("input").press("Enter")
    a.wait_for_answer("144")
    assert a.fact("first").inner_text().endswith(" ms")
    a.section.get_by_label("Text to say").fill(
        "This line is as long as it needs to be. " * 6
    )
    a.section.get_by_role("button", name="Say", exact=True).click()
    a.wait_for(activity="speaking")
    a.section.get_by_role("button", name="Interrupt").last.click()
    a.wait_for(activity="ready")
    a.part("end").click()
    a.fact("reason").filter(has_text="GRACEFUL_TERMINATION").wait_for()
    assert a.fact("how").inner_text() == "you"
    ((_, preset, is_trial, status, params),) = site.rows(SESSIONS)
    sent = json.loads(params)
    assert (preset, is_trial, status) == (None, 1, "ended")
    assert (sent["model_style"], sent["tts_type"], sent["padding_left"]) == (
        style,
        voice,
        -0.3,
    )
    assert page.evaluate("window.reports ?? []") == []


def test_two_avatars_are_compared_and_one_saved(
    site: Any, new_context: Any, pictures: Path
) -> None:
    page = enter(site, new_context(viewport={"width": 1280, "height": 1240}))
    page.get_by_role("button", name="Compare with a second avatar").click()
    ask = page.get_by_role("button", name="Ask", exact=True)
    assert ask.is_disabled()  # no avatar is live
    a = Column(page, "a")
    b = Column(page, "b")
    change_settings(b)
    b.field("model_style").last.check(force=True)
    b.unfold("Framing")
    b.field("padding_height").fill("1.5")
    page.get_by_role("button", name="Start both").click()
    for column in (a, b):
        column.wait_live()
    page.get_by_label("Ask both").fill("What is 12 squared?")
    ask.click()
    for column in (a, b):
        column.wait_for_answer("144")
        assert column.part("message-visitor").count() == 1
        column.wait_for(state="live", activity="ready", log="saved")
    page.screenshot(path=pictures / "playground.png")
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate(SIDEWAYS) == 0
    box_of_a = a.section.bounding_box()
    box_of_b = b.section.bounding_box()
    assert box_of_b["y"] >= box_of_a["y"] + box_of_a["height"]
    page.set_viewport_size({"width": 1280, "height": 1000})
    assert page.evaluate(SIDEWAYS) == 0
    page.get_by_role("button", name="Stop both").click()
    for column in (a, b):
        column.fact("reason").filter(has_text="GRACEFUL_TERMINATION").wait_for()
    assert ask.is_disabled()
    saved, tested = site.rows(SESSIONS)
    assert (saved[1] is not None, saved[2], tested[1], tested[2]) == (True, 0, None, 1)
    questions = [stream for stream, data in site.rows(CHAT) if "What is 12" in data]
    assert sorted(questions) == sorted([saved[0], tested[0]])
    style = b.section.locator("[name=b-model_style]:checked").get_attribute("value")
    b.section.get_by_role("link", name="Save as preset").click()
    page.fill("[name=name]", "The better one")
    page.click("[name=_save]")
    page.goto(f"{site.url}/admin/django_perso/sessionpreset/")
    page.get_by_role("link", name="The better one").first.wait_for()
    saved_preset = site.rows(
        "SELECT model_style, padding_height FROM django_perso_sessionpreset "
        "WHERE name = 'The better one'"
    )
    assert saved_preset == [(style, 1.5)]
    assert page.evaluate("window.reports ?? []") == []


def test_both_avatars_talk_and_the_way_is_saved(
    site: Any, new_context: Any, pictures: Path, console_errors: list[str]
) -> None:
    page = enter(site, new_context(viewport={"width": 1280, "height": 1000}))
    page.get_by_role("button", name="Compare with a second avatar").click()
    a = Column(page, "a")
    b = Column(page, "b")
    change_settings(b)
    b.unfold("Speech recognition and pronunciation")
    assert b.field("voice").input_value() == "click"  # as the example's presets
    b.field("voice").select_option("hold")
    b.field("stt_type").select_option("")
    b.part("start").click()
    b.part("error").filter(has_text="Talking requires speech recognition.").wait_for()
    console_errors.clear()  # the browser reports the refused start
    b.field("stt_type").select_option("default")
    page.get_by_role("button", name="Start both").click()
    for column in (a, b):
        column.wait_live()
        assert column.part("talk").is_visible()
    keep_pictures(page, pictures, "playground-voice")
    page.get_by_role("button", name="Stop both").click()
    for column in (a, b):
        column.wait_for(state="ended")
        assert not column.part("talk").is_visible()
    b.section.get_by_role("link", name="Save as preset").click()
    page.fill("[name=name]", "The one to hold")
    page.click("[name=_save]")
    page.get_by_text("was added successfully").wait_for()
    assert site.rows(
        "SELECT voice, stt_type FROM django_perso_sessionpreset "
        "WHERE name = 'The one to hold'"
    ) == [("hold", "default")]
    page.goto(site.url + PLAYGROUND)
    change_settings(a)
    a.unfold("Speech recognition and pronunciation")
    a.field("voice").select_option("off")
    a.part("start").click()
    a.wait_live()
    assert not a.part("talk").is_visible()
    assert page.evaluate("window.reports ?? []") == []
