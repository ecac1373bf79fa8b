"""Unusual input: held keys, double clicks, typing while the state changes."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.widget import Avatar

from .site import KEEP_CHANNEL, Site, ask

pytestmark = pytest.mark.browser

Open = Callable[[], Avatar]

# Records the calls of the SDK in their order.
NOTE_CALLS = """window.calls = [];
let sdk;
const record = (session, name) => {
  const method = session[name];
  session[name] = (...args) => {
    calls.push([name, ...args].join(" "));
    return method.apply(session, args);
  };
};
Object.defineProperty(window, "PersoInteractive", {
  configurable: true,
  get: () => sdk,
  set(value) {
    sdk = value;
    const { createSession } = sdk;
    sdk.createSession = async (...args) => {
      const session = await createSession.apply(sdk, args);
      record(session, "clearBuffer");
      record(session, "processChat");
      return session;
    };
  },
});"""


def test_typing_after_the_conversation_closed_starts_nothing(
    site: Site, avatar: Open, page: Any, console_errors: list[str]
) -> None:
    page.add_init_script(KEEP_CHANNEL)
    talk = avatar()
    talk.start()
    talk.part("input").press_sequentially("I would")
    page.evaluate("channel.close()")
    talk.wait_for(state="ended")
    page.keyboard.type(" like a room")
    page.wait_for_timeout(300)
    assert len(site.starts) == 1
    assert talk.element.get_attribute("data-state") == "ended"
    console_errors.clear()  # the SDK may have found its channel closed


@pytest.mark.parametrize("key", ["Enter", " "])
def test_key_held_on_start_starts_once(
    site: Site, avatar: Open, page: Any, key: str
) -> None:
    talk = avatar()
    talk.part("start").focus()
    for _ in range(20):
        page.keyboard.down(key)
        page.wait_for_timeout(30)
    page.keyboard.up(key)
    talk.wait_for(state="live")
    assert len(site.starts) == 1


def test_double_click_on_start_again_starts_once(site: Site, avatar: Open) -> None:
    talk = avatar()
    talk.start()
    talk.end()
    talk.part("start").dblclick()
    talk.wait_for(state="live")
    assert len(site.starts) == 2


def test_start_after_cancel_waits_for_the_cancelled_one(
    site: Site, avatar: Open, page: Any
) -> None:
    site.start_waits = threading.Event()
    talk = avatar()
    with page.expect_request("**/start/"):
        talk.part("start").click()
    talk.part("cancel").click()
    talk.part("start").click()
    page.wait_for_timeout(500)
    assert len(site.starts) == 1
    site.start_waits.set()
    talk.wait_for(state="live")
    assert len(site.starts) == 2
    assert [bye["how"] for bye in site.byes] == ["visitor"]


def test_messages_sent_at_once_are_processed_in_order(
    site: Site, avatar: Open, page: Any
) -> None:
    page.add_init_script(NOTE_CALLS)
    talk = avatar()
    talk.start()
    talk.type("Who are you?")
    talk.wait_for(activity="speaking")
    talk.element.evaluate(
        "element => Promise.all([element.send('Hello!'), element.send('Thank you!')])"
    )
    processed = [call for call in page.evaluate("calls") if call.startswith("process")]
    assert processed == [
        "processChat Who are you?",
        "processChat Hello!",
        "processChat Thank you!",
    ]
    calls = page.evaluate("calls")
    assert calls[calls.index("processChat Hello!") + 1] == "clearBuffer"


def test_interrupt_by_keyboard_keeps_focus_in_the_widget(
    site: Site, avatar: Open, page: Any
) -> None:
    talk = avatar()
    talk.start()
    talk.type("Who are you?")
    talk.wait_for(activity="speaking")
    talk.part("interrupt").press("Enter")
    talk.wait_for(activity="ready")
    assert page.evaluate("document.activeElement.localName") == "perso-avatar"


def test_params_set_before_the_script_loads_are_kept(site: Site, avatar: Open) -> None:
    site.body = """<script>
      document.querySelector("perso-avatar").params = { model_style: "leo" };
    </script>"""
    talk = avatar()
    talk.start()
    assert site.starts == [{"params": {"model_style": "leo"}}]


def test_failed_request_of_the_page_is_not_shown_as_error(
    site: Site, avatar: Open, page: Any, sandbox: Any, console_errors: list[str]
) -> None:
    sandbox.set_faults(llm={"latency_ms": 1500})
    page.route("**/visits/", lambda route: route.abort())
    site.body = '<script>function count() { fetch("/visits/"); }</script>'
    talk = avatar()
    talk.start()
    talk.type("Hello!")
    talk.wait_for(activity="thinking")
    page.evaluate("count()")
    talk.part("message-avatar").filter(has_text="Nice to meet you").wait_for()
    assert talk.element.get_by_role("alert").inner_text() == ""
    assert console_errors
    console_errors.clear()


@pytest.mark.parametrize(
    ("width", "height"), [(640, 360), (667, 375), (320, 256), (390, 844)]
)
def test_try_again_is_visible_in_small_windows(
    site: Site,
    avatar: Open,
    page: Any,
    width: int,
    height: int,
    console_errors: list[str],
) -> None:
    page.set_viewport_size({"width": width, "height": height})
    detail = (
        "You have started many conversations. "
        "Please try again later, or write to help@example.org."
    )
    site.refusal = 429, {"code": "too_many_starts", "detail": detail}
    talk = avatar()
    talk.part("start").click()
    talk.wait_for(state="error")
    assert talk.part("stage").evaluate(
        "stage => stage.scrollHeight <= stage.clientHeight"
    )
    console_errors.clear()


def test_hint_of_a_refusal_is_shown(
    site: Site, avatar: Open, console_errors: list[str]
) -> None:
    hint = "no such table. Run: python manage.py migrate django_perso"
    site.refusal = (
        503,
        {"code": "database_unavailable", "detail": "This site is busy.", "hint": hint},
    )
    talk = avatar()
    talk.part("start").click()
    talk.element.get_by_role("alert").filter(has_text=hint).wait_for()
    site.refusal = None
    talk.start()
    ask(talk, "Hello!", "Nice to meet you")
    console_errors.clear()
