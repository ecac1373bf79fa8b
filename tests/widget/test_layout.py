"""Layout: whole lines, visible buttons, and a page that does not move."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.widget import Avatar

from .site import Site

pytestmark = pytest.mark.browser

Open = Callable[[], Avatar]

LONG = "There is much to tell about this house, its people and its garden. " * 20
PHONE = {
    "viewport": {"width": 390, "height": 664},
    "has_touch": True,
    "is_mobile": True,
}
SLOW_TOOL = """<script type="module">
  document.querySelector("perso-avatar").registerTool("get_square_number", {
    parameters: {
      type: "object",
      properties: { number: { type: "number" } },
      required: ["number"],
    },
    handler: () => new Promise(() => {}),
  });
</script>"""
# How many pixels of the messages are below the visible part.
BELOW = "log => log.scrollHeight - log.scrollTop - log.clientHeight"


def box(talk: Avatar, part: str) -> Any:
    """Return the position and size of a part."""
    return talk.part(part).bounding_box()


def test_messages_do_not_change_the_page_height(
    site: Site, avatar: Open, page: Any
) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    site.intro = LONG
    talk = avatar()
    talk.start()
    height = page.evaluate("document.documentElement.scrollHeight")
    talk.part("message-avatar").wait_for()
    talk.type("Hello!")
    talk.part("message-avatar").nth(1).wait_for()
    assert page.evaluate("document.documentElement.scrollHeight") == height


def test_tool_call_at_the_end_is_visible(site: Site, avatar: Open, page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    site.intro = LONG
    site.body = SLOW_TOOL
    talk = avatar()
    talk.start()
    talk.part("message-avatar").wait_for()
    talk.type("What is 12 squared?")
    talk.part("message-tool").filter(has_text="Using get_square_number").wait_for()
    assert talk.part("log").evaluate(BELOW) < 2


@pytest.mark.parametrize("text", [LONG, "a" * 400])
def test_captions_show_at_most_three_whole_lines(
    site: Site, avatar: Open, page: Any, text: str
) -> None:
    page.set_viewport_size({"width": 360, "height": 700})
    talk = avatar()
    talk.start()
    captions = talk.part("captions")
    captions.evaluate("(box, text) => box.replaceChildren(text)", text)
    lines, width, room = captions.evaluate(
        "box => [box.clientHeight / parseFloat(getComputedStyle(box).lineHeight),"
        "        box.scrollWidth, box.clientWidth]"
    )
    assert lines == pytest.approx(3, abs=0.05)
    assert width <= room


def test_buttons_stay_visible_and_in_place_on_a_phone(
    site: Site, avatar: Open, page: Any
) -> None:
    talk = avatar()
    talk.start()
    page.route("**/llm/v2/", lambda route: None)
    heights: dict[int, set[float]] = {360: set(), 375: set(), 390: set()}

    def check_bar() -> None:
        for width in (320, *heights):
            page.set_viewport_size({"width": width, "height": 700})
            bar = box(talk, "bar")
            end = box(talk, "end")
            assert talk.part("bar").evaluate(
                "bar => bar.scrollWidth <= bar.clientWidth"
            )
            assert end["x"] + end["width"] <= bar["x"] + bar["width"]
            heights.get(width, set()).add(bar["height"])

    check_bar()
    talk.type("Hello!")
    talk.wait_for(activity="thinking")
    check_bar()
    talk.part("interrupt").click()
    talk.wait_for(activity="ready")
    talk.element.evaluate("(element, text) => element.say(text)", LONG)
    talk.wait_for(activity="speaking")
    check_bar()
    assert [len(heights_at_width) for heights_at_width in heights.values()] == [1, 1, 1]


def test_start_on_a_phone_shows_the_text_field(site: Site, new_context: Any) -> None:
    page = new_context(**PHONE).new_page()
    page.goto(site.url)
    page.add_style_tag(content="body { padding: 300px 0 900px }")
    talk = Avatar(page)
    talk.part("start").tap()
    talk.wait_for(state="live")
    composer = box(talk, "composer")
    assert composer["y"] + composer["height"] <= 664
    assert box(talk, "stage")["y"] >= 0


def test_start_by_script_does_not_scroll_the_page(site: Site, new_context: Any) -> None:
    page = new_context(**PHONE).new_page()
    page.goto(site.url)
    page.add_style_tag(content="body { padding: 600px 0 900px }")
    talk = Avatar(page)
    talk.element.evaluate("element => void element.start()")
    talk.wait_for(state="live")
    assert page.evaluate("scrollY") == 0


def test_message_direction_follows_its_letters(site: Site, avatar: Open) -> None:
    site.intro = "שלום, ברוכים הבאים!"
    talk = avatar()
    talk.start()
    talk.part("message-avatar").wait_for()
    is_right_to_left = talk.part("message-text").evaluate("""({ firstChild: text }) => {
      const place = (at) => {
        const range = document.createRange();
        range.setStart(text, at);
        range.setEnd(text, at + 1);
        return range.getBoundingClientRect().left;
      };
      return place(text.length - 1) < place(0);
    }""")
    assert is_right_to_left
