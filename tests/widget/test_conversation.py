"""The widget in a conversation: what is shown, what is logged, how it ends."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from django_perso.templatetags import perso
from tests.support.widget import WATCHED, Avatar

from .site import Site, ask

pytestmark = pytest.mark.browser

Open = Callable[[], Avatar]

# Takes away what a page on plain http in a local network does not have.
INSECURE = """
const takeAway = (owner, name) =>
  Object.defineProperty(owner.prototype, name, { value: undefined });
takeAway(Crypto, "randomUUID");
takeAway(Crypto, "subtle");
takeAway(Navigator, "locks");
takeAway(Navigator, "mediaDevices");
"""
SQUARE = """<script type="module">
  const avatar = document.querySelector("perso-avatar");
  avatar.registerTool("get_square_number", {
    description: "Calculate the square of a number",
    parameters: {
      type: "object",
      properties: { number: { type: "number" } },
      required: ["number"],
    },
    handler: ({ number }) => ({ result: number * number }),
  });
</script>"""
BROKEN = SQUARE.replace(
    "({ result: number * number })", '{ throw new Error("no squares today"); }'
)
EVENTS = """<script>
  window.events = [];
  for (const name of ["start", "state", "message", "tool", "error", "end"])
    document.addEventListener(`perso-${name}`, ({ type, detail }) => {
      events.push([type, detail]);
    });
</script>"""


def test_page_loads_only_the_first_screen_before_interest(
    site: Site, avatar: Open, page: Any
) -> None:
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    element = avatar().element
    page.wait_for_load_state("networkidle")
    first = {f"{site.url}static/{name}.js" for name in perso.FIRST_SCREEN}
    assert requested[:2] == [site.url, f"{site.url}static/perso-avatar.js"]
    assert set(requested[2:]) == first
    element.hover()
    page.wait_for_function("window.PersoInteractive")
    later = set(perso.MODULES) - {*perso.FIRST_SCREEN, *perso.ON_DEMAND}
    assert sorted(requested[2 + len(first) :]) == sorted(
        [*(f"{site.url}static/{name}.js" for name in later), site.sdk_url]
    )
    assert site.starts == []


def test_conversation_is_live_once_a_picture_is_shown(
    site: Site, avatar: Open, page: Any
) -> None:
    site.body = """<script>
      document.addEventListener("perso-state", ({ target, detail }) => {
        if (detail.state !== "live") return;
        window.widthWhenLive ??= target.shadowRoot.querySelector("video").videoWidth;
      });
    </script>"""
    avatar().start()
    assert page.evaluate("widthWhenLive") > 0


def test_visible_messages_are_logged_once_and_in_order(
    site: Site, avatar: Open
) -> None:
    site.intro = "Welcome to our site."
    talk = avatar()
    talk.start()
    talk.part("message-avatar").filter(has_text="Welcome").wait_for()
    ask(talk, "Hello!", "Nice to meet you")
    ask(talk, "Thank you!", "very welcome")
    talk.end()
    assert [role for role, _ in site.chat] == [
        "avatar",
        "visitor",
        "avatar",
        "visitor",
        "avatar",
    ]
    assert site.chat == talk.messages()
    assert site.chat[0] == ("avatar", "Welcome to our site.")
    assert [name for name in site.states if name != "interrupted"] == [
        "connecting",
        "live",
        "ended",
    ]
    assert [row["s"] for row in site.rows] == list(range(1, len(site.rows) + 1))
    assert [bye["how"] for bye in site.byes] == ["visitor"]
    assert talk.part("reason").inner_text() == "You ended the conversation."


def test_conversation_works_on_an_insecure_page(
    site: Site, avatar: Open, page: Any
) -> None:
    page.add_init_script(INSECURE)
    talk = avatar()
    talk.start()
    ask(talk, "Hello!", "Nice to meet you")
    talk.end()


def test_strict_content_security_policy_is_enough(
    site: Site, avatar: Open, console_errors: list[str]
) -> None:
    sdk_address = urlsplit(site.sdk_url)
    sdk_host = f"{sdk_address.scheme}://{sdk_address.netloc}"
    site.headers["Content-Security-Policy"] = (
        f"default-src 'none'; script-src 'self' {sdk_host}; "
        f"connect-src 'self' {site.perso}; img-src data:"
    )
    talk = avatar()
    talk.start()
    ask(talk, "Hello!", "Nice to meet you")
    talk.end()
    assert console_errors == []


def test_html_in_messages_is_shown_as_text(site: Site, avatar: Open, page: Any) -> None:
    site.intro = "<img src=x onerror=window.hit=1> intro"
    talk = avatar()
    talk.start()
    talk.type("<b onclick=hit>bold</b>")
    talk.part("message-avatar").nth(1).wait_for()
    assert talk.messages()[0] == ("avatar", site.intro)
    assert talk.element.locator("img, b").count() == 0
    assert page.evaluate("window.hit") is None


def test_tool_call_is_shown_and_logged(site: Site, avatar: Open, page: Any) -> None:
    site.body = SQUARE + EVENTS
    talk = avatar()
    talk.start()
    ask(talk, "What is 12 squared?", "144")
    assert ("tool", "Used get_square_number") in talk.messages()
    talk.end()
    called, answered = site.tools
    assert (called["phase"], called["arguments"]) == ("called", {"number": 12})
    assert (answered["phase"], answered["result"]) == ("answered", {"result": 144})
    assert called["id"] == answered["id"]
    assert answered["ms"] >= 0
    phases = [
        detail["phase"]
        for name, detail in page.evaluate("events")
        if name == "perso-tool"
    ]
    assert phases == ["called", "answered"]


def test_failed_tool_is_reported_to_the_avatar_and_logged(
    site: Site, avatar: Open
) -> None:
    site.body = BROKEN
    talk = avatar()
    talk.start()
    talk.type("What is 12 squared?")
    talk.part("message-tool").filter(
        has_text="Could not use get_square_number"
    ).wait_for()
    talk.part("message-avatar").filter(has_text="no squares today").last.wait_for()
    talk.end()
    assert site.tools[1]["error"] == "no squares today"
    assert site.tools[1]["code"] == "failed"


def test_unregistered_tool_is_not_offered(site: Site, avatar: Open, page: Any) -> None:
    site.body = SQUARE.replace(
        "avatar.registerTool", "window.unregister = avatar.registerTool"
    )
    talk = avatar()
    page.evaluate("unregister()")
    talk.start()
    ask(talk, "What is 12 squared?", "12")
    assert site.tools == []


def test_page_receives_all_events_and_can_prevent_a_start(
    site: Site, avatar: Open, page: Any
) -> None:
    site.body = EVENTS
    talk = avatar()
    page.evaluate(
        "document.addEventListener("
        "  'perso-start', (event) => event.preventDefault(), { once: true })"
    )
    talk.part("start").click()
    names = page.evaluate("events.map(([name]) => name)")
    assert names == ["perso-state", "perso-start"]
    assert site.starts == []
    talk.start()
    ask(talk, "Hello!", "Nice to meet you")
    talk.end()
    page.wait_for_function("events.at(-1)[0] === 'perso-end'")
    events = page.evaluate("events")
    changes = [detail for name, detail in events if name == "perso-state"]
    states = [detail["state"] for detail in changes]
    assert list(dict.fromkeys(states)) == ["idle", "connecting", "live", "ended"]
    activities = [detail["activity"] for detail in changes]
    assert activities.index("thinking") < activities.index("speaking")
    assert next(detail for name, detail in events if name == "perso-message") == {
        "role": "visitor",
        "text": "Hello!",
    }
    _, end = events[-1]
    assert end["how"] == "visitor"
    assert end["reason"] == "GRACEFUL_TERMINATION"
    assert end["ms"] > 0


def test_methods_control_the_conversation(site: Site, avatar: Open, page: Any) -> None:
    talk = avatar()

    def call(method: str) -> Any:
        return page.evaluate(f"document.querySelector('perso-avatar').{method}")

    assert call("send('too early')") is False
    call("start()")
    talk.wait_for(state="live")
    assert call("say('One, two.')") is True
    talk.part("message-avatar").filter(has_text="One, two.").wait_for()
    assert call("send('Hello!')") is True
    talk.part("message-avatar").filter(has_text="Nice to meet you").wait_for()
    call("stop()")
    talk.wait_for(state="ended", log="saved")
    assert call("say('too late')") is False


def test_interrupt_button_stops_speech(site: Site, avatar: Open) -> None:
    talk = avatar()
    talk.start()
    talk.type("Who are you?")
    talk.wait_for(activity="speaking")
    talk.part("captions").filter(has_text="sandbox").wait_for()
    talk.part("interrupt").click()
    talk.wait_for(activity="ready")
    assert talk.part("captions").inner_text() == ""
    assert talk.part("interrupt").is_disabled()
    ask(talk, "Hello!", "Nice to meet you")
    assert "interrupted" in site.states


def test_introduction_has_captions_while_it_is_spoken(site: Site, avatar: Open) -> None:
    site.intro = "Welcome to our site."
    talk = avatar()
    talk.start()
    talk.wait_for(activity="speaking")
    assert talk.part("captions").inner_text() == site.intro
    talk.wait_for(activity="ready")
    assert talk.part("captions").inner_text() == ""


def test_message_sent_during_speech_interrupts_it(
    site: Site, avatar: Open, page: Any
) -> None:
    page.add_init_script(
        "window.sent = []; const { send } = RTCDataChannel.prototype;"
        "RTCDataChannel.prototype.send = function (text) {"
        "  sent.push(JSON.parse(text).type); return send.call(this, text); };"
    )
    talk = avatar()
    talk.start()
    talk.type("Who are you?")
    talk.wait_for(activity="speaking")
    ask(talk, "Hello!", "Nice to meet you")
    assert [text for role, text in site.chat if role == "visitor"] == [
        "Who are you?",
        "Hello!",
    ]
    assert page.evaluate("sent.filter((type) => type === 'clear-buffer').length") == 1


def test_cancelled_start_gives_the_session_back(
    site: Site, avatar: Open, sandbox: Any
) -> None:
    sandbox.set_faults(exchange={"latency_ms": 1500})
    talk = avatar()
    with talk.page.expect_response("**/start/"):
        talk.part("start").click()
    talk.part("cancel").click()
    talk.wait_for(state="ended")
    # Until the session that was being created has arrived and is closed.
    talk.page.wait_for_timeout(3000)
    talk.wait_for(state="ended", log="saved")
    assert [bye["how"] for bye in site.byes] == ["visitor"]
    assert talk.part("video").evaluate("(video) => video.srcObject") is None
    sandbox.set_faults()
    talk.start()
    talk.end()


def test_late_cancelled_start_leaves_the_next_picture_alone(
    site: Site, avatar: Open, sandbox: Any
) -> None:
    sandbox.set_faults(exchange={"latency_ms": 5000, "times": 1})
    talk = avatar()
    with talk.page.expect_request("**/exchange/") as first:
        talk.part("start").click()
    talk.part("cancel").click()
    talk.wait_for(state="ended")
    with talk.page.expect_event(
        "requestfinished", lambda request: request == first.value
    ):
        talk.start()
    talk.page.wait_for_timeout(1000)
    assert talk.part("video").evaluate(WATCHED)
    talk.wait_for(state="live")
    assert statuses(sandbox)[-2:] == ["TERMINATED", "IN_PROGRESS"]


def statuses(sandbox: Any) -> list[str]:
    """Return the status of each session the sandbox has created."""
    return [session["status"] for session in sandbox.ledger()["sessions"]]


def remove_element(page: Any) -> None:
    page.locator("perso-avatar").evaluate("element => element.remove()")


def open_another_page(page: Any) -> None:
    page.goto("about:blank")


@pytest.mark.parametrize(
    ("leave", "end"), [(remove_element, "visitor"), (open_another_page, "left")]
)
def test_leaving_gives_the_session_back(
    site: Site,
    avatar: Open,
    sandbox: Any,
    page: Any,
    leave: Callable[[Any], None],
    end: str,
) -> None:
    talk = avatar()
    talk.start()
    before = statuses(sandbox).count("TERMINATED")
    leave(page)
    for _ in range(100):
        ended = statuses(sandbox).count("TERMINATED")
        if site.byes and ended > before:
            break
        page.wait_for_timeout(100)
    assert ended == before + 1
    assert [bye["how"] for bye in site.byes] == [end]
    assert site.states[-1] == "ended"


def test_answer_after_the_end_throws_nothing_into_the_page(
    avatar: Open, page: Any
) -> None:
    message = {"status": "success", "type": "message", "content": "Good morning!"}
    waiting: list[Any] = []

    def wait(route: Any) -> None:
        waiting.append(route)

    talk = avatar()
    talk.start()
    page.route("**/llm/v2/", wait)
    talk.type("Hello!")
    talk.wait_for(activity="thinking")
    talk.end()
    (route,) = waiting
    headers = {
        "access-control-allow-origin": "*",
        "content-type": "text/event-stream",
    }
    route.fulfill(body=f"data: {json.dumps(message)}\n", headers=headers)
    page.wait_for_timeout(300)
    # The fixture looks for errors.


def test_moved_element_continues_its_conversation(
    site: Site, avatar: Open, page: Any
) -> None:
    talk = avatar()
    talk.start()
    page.evaluate("document.body.append(document.querySelector('perso-avatar'))")
    ask(talk, "Hello!", "Nice to meet you")
    assert site.byes == []


MOVE_AS_TURBO_DOES = """async () => {
  const element = document.querySelector("perso-avatar");
  element.remove();
  for (let turn = 0; turn < 5; turn += 1) await null;
  document.body.append(element);
}"""


def test_element_put_back_after_microtasks_continues(
    site: Site, avatar: Open, page: Any
) -> None:
    talk = avatar()
    talk.start()
    page.evaluate(MOVE_AS_TURBO_DOES)
    ask(talk, "Hello!", "Nice to meet you")
    assert talk.part("video").evaluate(WATCHED)
    assert site.byes == []


def test_second_conversation_ends_the_first_with_a_reason(
    site: Site, page: Any
) -> None:
    site.avatars = 2
    page.goto(site.url)
    first, second = page.locator("perso-avatar").all()
    first.locator("[part=start]").click()
    page.locator("perso-avatar[data-state=live]").wait_for()
    second.locator("[part=start]").click()
    first.locator("[part=reason]").filter(has_text="Another conversation").wait_for()
    page.locator("perso-avatar:nth-of-type(2)[data-state=live]").wait_for()
    assert first.get_attribute("data-state") == "ended"
    assert page.locator("script[src*='perso-interactive-sdk']").count() == 1
    assert [bye["how"] for bye in site.byes] == ["replaced"]


SIMULTANEOUS = """<script type="module">
  await customElements.whenDefined("perso-avatar");
  const [first, ...others] = document.querySelectorAll("perso-avatar");
  for (const avatar of [first, ...others]) avatar.toggleAttribute("simultaneous", true);
  first.addEventListener("perso-start", () => {
    first.params = { model_style: "leo", width: 640 };
  });
</script>"""


def test_params_are_sent_instead_of_the_preset(site: Site, avatar: Open) -> None:
    site.body = SIMULTANEOUS
    talk = avatar()
    assert talk.element.evaluate("element => element.params") is None
    talk.start()
    assert site.starts == [{"params": {"model_style": "leo", "width": 640}}]
    talk.end()
    talk.element.evaluate(
        "element => element.addEventListener("
        "  'perso-start', () => { element.params = null; })"
    )
    talk.start()
    assert site.starts[1] == {"preset": "guide"}
    talk.end()


@pytest.mark.parametrize("end", ["stop", "leave"])
def test_simultaneous_conversations_do_not_interfere(
    site: Site, page: Any, end: str
) -> None:
    site.avatars = 2
    site.body = SIMULTANEOUS
    page.goto(site.url)
    page.locator("perso-avatar[simultaneous]").nth(1).wait_for()
    page.evaluate(
        "document.querySelectorAll('perso-avatar').forEach((avatar) => avatar.start())"
    )
    page.locator("perso-avatar[data-state=live]").nth(1).wait_for()
    for number, element in enumerate(page.locator("perso-avatar").all(), 3):
        element.locator("[part=input]").fill(f"What is {number} squared?")
        element.locator("[part=input]").press("Enter")
    for element in page.locator("perso-avatar").all():
        element.locator("[part~=message-avatar]").first.wait_for()
    page.locator("perso-avatar[data-state=live][data-log=saved]").nth(1).wait_for()
    assert page.locator("script[src*='perso-interactive-sdk']").count() == 1
    questions = {
        row["stream"]: row["d"]["text"]
        for row in site.rows
        if row["d"].get("role") == "visitor"
    }
    assert sorted(questions.values()) == ["What is 3 squared?", "What is 4 squared?"]
    if end == "leave":
        page.goto("about:blank")
    else:
        page.locator("perso-avatar").first.evaluate("element => element.stop()")
        page.locator("perso-avatar[data-state=ended]").wait_for()
        assert page.locator("perso-avatar[data-state=live]").count() == 1
        page.locator("perso-avatar[data-state=live]").evaluate(
            "element => element.stop()"
        )
        page.locator("perso-avatar[data-state=ended]").nth(1).wait_for()
    for _ in range(100):
        if len(site.byes) == 2:
            break
        page.wait_for_timeout(50)
    expected = "left" if end == "leave" else "visitor"
    assert [bye["how"] for bye in site.byes] == [expected, expected]
