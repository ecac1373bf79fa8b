"""The widget in a conversation: what the visitor sees is what is logged, and everything can be stopped."""

from collections.abc import Callable
from typing import Any

import pytest

from django_perso.templatetags import perso
from tests.support.widget import WATCHED, Avatar

from .site import Site, ask

pytestmark = pytest.mark.browser

Open = Callable[[], Avatar]

# What a page on plain http in a local network does not have.
INSECURE = """
for (const [owner, name] of [[Crypto.prototype, "randomUUID"], [Crypto.prototype, "subtle"],
                             [Navigator.prototype, "locks"], [Navigator.prototype, "mediaDevices"]])
  Object.defineProperty(owner, name, { value: undefined });
"""
SQUARE = """<script type="module">
  const avatar = document.querySelector("perso-avatar");
  avatar.registerTool("get_square_number", {
    description: "Calculate the square of a number",
    parameters: { type: "object", properties: { number: { type: "number" } }, required: ["number"] },
    handler: ({ number }) => ({ result: number * number }),
  });
</script>"""
BROKEN = SQUARE.replace(
    "({ result: number * number })", '{ throw new Error("no squares today"); }'
)
EVENTS = """<script>
  window.seen = [];
  for (const name of ["start", "state", "message", "tool", "error", "end"])
    document.addEventListener(`perso-${name}`, ({ type, detail }) => seen.push([type, detail]));
</script>"""


def test_page_loads_only_the_first_screen_before_interest(
    site: Site, avatar: Open, page: Any
) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    element = avatar().element
    page.wait_for_load_state("networkidle")
    first = {f"{site.url}static/{name}.js" for name in perso.FIRST_SCREEN}
    assert asked[:2] == [site.url, f"{site.url}static/perso-avatar.js"]
    assert set(asked[2:]) == first
    element.hover()
    page.wait_for_function("window.PersoInteractive")
    later = set(perso.MODULES) - set(perso.FIRST_SCREEN)
    assert sorted(asked[2 + len(first) :]) == sorted(
        [*(f"{site.url}static/{name}.js" for name in later), site.sdk_url]
    )
    assert site.starts == []


def test_a_conversation_is_live_once_there_is_a_picture(
    site: Site, avatar: Open, page: Any
) -> None:
    site.body = """<script>
      document.addEventListener("perso-state", ({ target, detail }) => {
        if (detail.state === "live") window.shown ??= target.shadowRoot.querySelector("video").videoWidth;
      });
    </script>"""
    avatar().start()
    assert page.evaluate("shown") > 0


def test_what_the_visitor_sees_is_logged_once_and_in_order(
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


def test_it_needs_nothing_that_only_secure_pages_have(
    site: Site, avatar: Open, page: Any
) -> None:
    page.add_init_script(INSECURE)
    talk = avatar()
    talk.start()
    ask(talk, "Hello!", "Nice to meet you")
    talk.end()


def test_a_strict_content_security_policy_is_enough(
    site: Site, avatar: Open, console_errors: list[str]
) -> None:
    sdk_host = site.sdk_url.split("/perso-interactive")[0].split("/gh/")[0]
    site.headers["Content-Security-Policy"] = (
        f"default-src 'none'; script-src 'self' {sdk_host}; connect-src 'self' {site.perso}; img-src data:"
    )
    talk = avatar()
    talk.start()
    ask(talk, "Hello!", "Nice to meet you")
    talk.end()
    assert console_errors == []


def test_text_of_visitor_and_avatar_is_text(
    site: Site, avatar: Open, page: Any
) -> None:
    site.intro = "<img src=x onerror=window.hit=1> intro"
    talk = avatar()
    talk.start()
    talk.type("<b onclick=hit>bold</b>")
    talk.part("message-avatar").nth(1).wait_for()
    assert talk.messages()[0] == ("avatar", site.intro)
    assert talk.element.locator("img, b").count() == 0
    assert page.evaluate("window.hit") is None


def test_a_tool_of_the_page_is_used_shown_and_logged(
    site: Site, avatar: Open, page: Any
) -> None:
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
    told = [
        detail["phase"]
        for name, detail in page.evaluate("seen")
        if name == "perso-tool"
    ]
    assert told == ["called", "answered"]


def test_a_tool_that_fails_is_told_to_the_avatar_and_logged(
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


def test_a_tool_taken_back_is_not_offered_any_more(
    site: Site, avatar: Open, page: Any
) -> None:
    site.body = SQUARE.replace(
        "avatar.registerTool", "window.takeBack = avatar.registerTool"
    )
    talk = avatar()
    page.evaluate("takeBack()")
    talk.start()
    ask(talk, "What is 12 squared?", "12")
    assert site.tools == []


def test_the_page_hears_of_everything_and_can_forbid_a_start(
    site: Site, avatar: Open, page: Any
) -> None:
    site.body = EVENTS
    talk = avatar()
    page.evaluate(
        "document.addEventListener('perso-start', (event) => event.preventDefault(), { once: true })"
    )
    talk.part("start").click()
    assert page.evaluate("seen.map(([name]) => name)") == ["perso-state", "perso-start"]
    assert site.starts == []
    talk.start()
    ask(talk, "Hello!", "Nice to meet you")
    talk.end()
    page.wait_for_function("seen.at(-1)[0] === 'perso-end'")
    seen = page.evaluate("seen")
    states = [detail["state"] for name, detail in seen if name == "perso-state"]
    assert list(dict.fromkeys(states)) == ["idle", "connecting", "live", "ended"]
    activities = [detail["activity"] for name, detail in seen if name == "perso-state"]
    assert activities.index("thinking") < activities.index("speaking")
    assert next(detail for name, detail in seen if name == "perso-message") == {
        "role": "visitor",
        "text": "Hello!",
    }
    assert seen[-1][1]["how"] == "visitor"
    assert seen[-1][1]["reason"] == "GRACEFUL_TERMINATION"
    assert seen[-1][1]["ms"] > 0


def test_a_script_can_lead_the_conversation(
    site: Site, avatar: Open, page: Any
) -> None:
    talk = avatar()
    assert (
        page.evaluate("document.querySelector('perso-avatar').send('too early')")
        is False
    )
    page.evaluate("document.querySelector('perso-avatar').start()")
    talk.wait_for(state="live")
    assert (
        page.evaluate("document.querySelector('perso-avatar').say('One, two.')") is True
    )
    talk.part("message-avatar").filter(has_text="One, two.").wait_for()
    assert (
        page.evaluate("document.querySelector('perso-avatar').send('Hello!')") is True
    )
    talk.part("message-avatar").filter(has_text="Nice to meet you").wait_for()
    page.evaluate("document.querySelector('perso-avatar').stop()")
    talk.wait_for(state="ended", log="saved")
    assert (
        page.evaluate("document.querySelector('perso-avatar').say('too late')") is False
    )


def test_speech_can_be_stopped(site: Site, avatar: Open) -> None:
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


def test_what_the_avatar_says_by_itself_has_captions_while_it_is_spoken(
    site: Site, avatar: Open
) -> None:
    site.intro = "Welcome to our site."
    talk = avatar()
    talk.start()
    talk.wait_for(activity="speaking")
    assert talk.part("captions").inner_text() == site.intro
    talk.wait_for(activity="ready")
    assert talk.part("captions").inner_text() == ""


def test_who_types_while_the_avatar_speaks_interrupts_it(
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


def test_start_can_be_cancelled_and_the_place_is_given_back(
    site: Site, avatar: Open, sandbox: Any
) -> None:
    sandbox.set_faults(exchange={"latency_ms": 1500})
    talk = avatar()
    with talk.page.expect_response("**/start/"):
        talk.part("start").click()
    talk.part("cancel").click()
    talk.wait_for(state="ended")
    talk.page.wait_for_timeout(
        3000
    )  # the session that was being made arrives, and is let go
    talk.wait_for(state="ended", log="saved")
    assert [bye["how"] for bye in site.byes] == ["visitor"]
    assert talk.part("video").evaluate("(video) => video.srcObject") is None
    sandbox.set_faults()
    talk.start()
    talk.end()


def test_a_cancelled_start_that_comes_late_leaves_the_next_one_its_picture(
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
    assert [s["status"] for s in sandbox.ledger()["sessions"]][-2:] == [
        "TERMINATED",
        "IN_PROGRESS",
    ]


@pytest.mark.parametrize(
    ("how", "bye"),
    [("element.remove()", "visitor"), ("location.href = 'about:blank'", "left")],
)
def test_leaving_gives_the_session_back(
    site: Site, avatar: Open, sandbox: Any, page: Any, how: str, bye: str
) -> None:
    talk = avatar()
    talk.start()
    before = len(
        [s for s in sandbox.ledger()["sessions"] if s["status"] == "TERMINATED"]
    )
    page.evaluate(
        f"(() => {{ const element = document.querySelector('perso-avatar'); {how}; }})()"
    )
    for _ in range(100):
        ended = [s for s in sandbox.ledger()["sessions"] if s["status"] == "TERMINATED"]
        if site.byes and len(ended) > before:
            break
        page.wait_for_timeout(100)
    assert len(ended) == before + 1
    assert [each["how"] for each in site.byes] == [bye]
    assert site.states[-1] == "ended"


def test_an_element_that_is_only_moved_goes_on(
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


def test_element_put_back_after_some_microtasks_goes_on(
    site: Site, avatar: Open, page: Any
) -> None:
    talk = avatar()
    talk.start()
    page.evaluate(MOVE_AS_TURBO_DOES)
    ask(talk, "Hello!", "Nice to meet you")
    assert talk.part("video").evaluate(WATCHED)
    assert site.byes == []


def test_a_second_conversation_on_the_page_ends_the_first_with_a_word(
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


TRY = """<script type="module">
  await customElements.whenDefined("perso-avatar");
  const [first, ...others] = document.querySelectorAll("perso-avatar");
  for (const avatar of [first, ...others]) avatar.toggleAttribute("simultaneous", true);
  first.addEventListener("perso-start", () => (first.params = { model_style: "leo", width: 640 }));
</script>"""


def test_settings_are_sent_in_the_place_of_the_preset(site: Site, avatar: Open) -> None:
    site.body = TRY
    talk = avatar()
    assert talk.element.evaluate("element => element.params") is None
    talk.start()
    assert site.starts == [{"params": {"model_style": "leo", "width": 640}}]
    talk.end()
    talk.element.evaluate(
        "element => element.addEventListener('perso-start', () => (element.params = null))"
    )
    talk.start()
    assert site.starts[1] == {"preset": "guide"}
    talk.end()


@pytest.mark.parametrize("how", ["stop", "leave"])
def test_simultaneous_conversations_leave_each_other_alone(
    site: Site, page: Any, how: str
) -> None:
    site.avatars, site.body = 2, TRY
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
    asked = {
        row["stream"]: row["d"]["text"]
        for row in site.rows
        if row["d"].get("role") == "visitor"
    }
    assert sorted(asked.values()) == ["What is 3 squared?", "What is 4 squared?"]
    if how == "leave":
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
    expected = "left" if how == "leave" else "visitor"
    assert [bye["how"] for bye in site.byes] == [expected, expected]
