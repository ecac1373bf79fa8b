"""Errors in the widget: each shows a sentence and a code, and the visitor can go on."""

import json
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.widget import Avatar

from .site import KEEP_CHANNEL, Site, ask

pytestmark = pytest.mark.browser

Open = Callable[[], Avatar]
WRONG = "sha384-" + "A" * 64


def alert(talk: Avatar) -> tuple[str, str]:
    """Return the sentence and the code of the error that is shown."""
    talk.element.locator("[role=alert] code").wait_for()
    words, code = talk.element.get_by_role("alert").inner_text().rsplit("\n", 1)
    return words.strip(), code.strip()


def fail_to_start(talk: Avatar) -> tuple[str, str]:
    """Press Start and return the sentence and the code of the error."""
    talk.part("start").click()
    talk.wait_for(state="error")
    assert talk.part("start").inner_text() == "Try again"
    return alert(talk)


def answer_sdk(page: Any, site: Site, **answer: Any) -> None:
    """Let the SDK's address answer this."""
    headers = {"access-control-allow-origin": "*", "content-type": "text/javascript"}
    page.route(
        site.sdk_url, lambda route: route.fulfill(**{"headers": headers, **answer})
    )


def test_changed_sdk_is_blocked_and_reported(
    site: Site, avatar: Open, page: Any, console_errors: list[str]
) -> None:
    site.sdk_url = "https://cdn.example/perso-interactive-sdk.js"
    site.sdk_integrity = WRONG
    answer_sdk(page, site, body="globalThis.PersoInteractive = {}")
    words, code = fail_to_start(avatar())
    assert (words, code) == (
        "The avatar's script is not the one this site trusts, so it was blocked.",
        "sdk_changed",
    )
    assert site.starts == [], "nothing was paid for"
    assert console_errors
    console_errors.clear()


def test_unreachable_sdk_is_reported_and_retried(
    site: Site, avatar: Open, page: Any, console_errors: list[str]
) -> None:
    page.route(site.sdk_url, lambda route: route.abort())
    talk = avatar()
    assert fail_to_start(talk)[1] == "sdk_unreachable"
    assert site.starts == []
    page.unroute(site.sdk_url)
    console_errors.clear()
    talk.start()


def test_failed_preloading_does_not_fail_the_start(
    site: Site, avatar: Open, page: Any, console_errors: list[str]
) -> None:
    modules = "/static/(conversation|sdk-loader|outbox|store|tools)"
    preloaded = re.compile(rf"{re.escape(site.sdk_url)}|{modules}")
    page.route(preloaded, lambda route: route.abort())
    talk = avatar()
    talk.element.hover()
    page.wait_for_timeout(500)
    page.unroute(preloaded)
    console_errors.clear()
    talk.start()


def test_sdk_forbidden_by_the_csp_is_reported(
    site: Site, avatar: Open, console_errors: list[str]
) -> None:
    site.headers["Content-Security-Policy"] = "script-src 'self'"
    assert fail_to_start(avatar())[1] == "sdk_forbidden"
    console_errors.clear()


def test_script_that_is_not_an_sdk_is_reported(
    site: Site, avatar: Open, page: Any
) -> None:
    site.sdk_url = "https://cdn.example/perso-interactive-sdk.js"
    site.sdk_integrity = ""
    answer_sdk(page, site, body="var PersoInteractive = {}")
    assert fail_to_start(avatar())[1] == "sdk_unusable"


def test_modules_that_do_not_load_are_reported(
    site: Site, avatar: Open, page: Any, console_errors: list[str]
) -> None:
    page.route("**/outbox.js", lambda route: route.abort())
    assert fail_to_start(avatar())[1] == "modules"
    console_errors.clear()


def test_refusal_of_the_site_is_shown(
    site: Site, avatar: Open, console_errors: list[str]
) -> None:
    site.refusal = (
        429,
        {
            "code": "too_many_live",
            "detail": "All places are taken, please wait a minute.",
        },
    )
    talk = avatar()
    assert fail_to_start(talk) == (
        "All places are taken, please wait a minute.",
        "too_many_live",
    )
    site.refusal = None
    console_errors.clear()
    talk.start()
    talk.end()
    assert len(site.starts) == 2


@pytest.mark.parametrize("answer", [(500, {}), (200, {"page": "sign in"})])
def test_start_answer_without_a_session_is_reported(
    site: Site,
    avatar: Open,
    console_errors: list[str],
    answer: tuple[int, dict[str, Any]],
) -> None:
    site.refusal = answer
    assert fail_to_start(avatar())[1] == "site_unreadable"
    console_errors.clear()


def test_unreachable_site_is_reported(
    site: Site, avatar: Open, page: Any, console_errors: list[str]
) -> None:
    page.route("**/start/", lambda route: route.abort())
    assert fail_to_start(avatar())[1] == "site_unreachable"
    console_errors.clear()


def test_cancel_before_the_answer_gives_the_session_back(
    site: Site, avatar: Open
) -> None:
    site.start_waits = threading.Event()
    talk = avatar()
    talk.part("start").click()
    talk.page.wait_for_function("window.PersoInteractive")
    talk.page.wait_for_timeout(300)
    talk.part("cancel").click()
    talk.wait_for(state="ended")
    site.start_waits.set()
    for _ in range(100):
        if site.byes:
            break
        talk.page.wait_for_timeout(50)
    assert site.byes == [{"last": 0, "how": "visitor"}]
    assert talk.element.get_attribute("data-state") == "ended"


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 500},
        {"status": 400, "body": "json"},
        {"status": 502, "body": "html"},
        {"cut": 0},
    ],
    ids=str,
)
def test_conversation_continues_after_a_failed_answer(
    site: Site,
    avatar: Open,
    sandbox: Any,
    console_errors: list[str],
    fault: dict[str, Any],
) -> None:
    talk = avatar()
    talk.start()
    sandbox.set_faults(llm={**fault, "times": 1})
    talk.type("Hello!")
    if "status" in fault:
        assert alert(talk) == (
            "The avatar could not answer. You can ask again.",
            "llm_failed",
        )
        talk.wait_for(log="saved")
        assert [row["d"]["code"] for row in site.rows if row["k"] == "error"] == [
            "llm_failed"
        ]
    talk.wait_for(state="live", activity="ready")
    ask(talk, "What is 2 times 3?", "6")
    assert talk.element.get_by_role("alert").inner_text() == ""
    console_errors.clear()


def test_offline_visitor_sees_an_error(
    site: Site, avatar: Open, page: Any, console_errors: list[str]
) -> None:
    talk = avatar()
    talk.start()
    page.context.set_offline(True)
    talk.type("Hello!")
    words = "This site cannot be reached. Check your connection."
    assert alert(talk) == (words, "site_unreachable")
    page.context.set_offline(False)
    console_errors.clear()
    ask(talk, "What is 2 times 3?", "6")


def test_interrupt_after_failed_answer_keeps_next_question(
    site: Site, avatar: Open, sandbox: Any, page: Any, console_errors: list[str]
) -> None:
    talk = avatar()
    talk.start()
    sandbox.set_faults(llm={"status": 502, "body": "html", "times": 1})
    talk.type("Hello!")
    assert alert(talk)[1] == "llm_failed"
    text = "A long sentence that can be stopped."
    talk.element.evaluate("(element, text) => element.say(text)", text)
    talk.wait_for(activity="speaking")
    talk.part("interrupt").click()
    talk.wait_for(activity="ready")
    ask(talk, "What is 2 times 3?", "6")
    console_errors.clear()


def test_answer_that_never_comes_can_be_interrupted(
    site: Site, avatar: Open, page: Any
) -> None:
    talk = avatar()
    talk.start()
    page.route("**/llm/v2/", lambda route: None)
    talk.type("Hello!")
    talk.wait_for(activity="thinking")
    talk.part("interrupt").click()
    talk.wait_for(activity="ready")
    page.unroute("**/llm/v2/")
    ask(talk, "What is 2 times 3?", "6")
    talk.end()


def test_endless_tool_calls_are_stopped(site: Site, avatar: Open, page: Any) -> None:
    site.body = """<script type=module>
      document.querySelector("perso-avatar").registerTool("again", () => 1);
    </script>"""
    function = {"name": "again", "arguments": "{}"}
    event = {
        "status": "success",
        "type": "tool_call",
        "role": "assistant",
        "tool_calls": [{"id": "c", "type": "function", "function": function}],
    }

    def answer(route: Any) -> None:
        headers = {
            "access-control-allow-origin": "*",
            "content-type": "text/event-stream",
        }
        route.fulfill(body=f"data: {json.dumps(event)}\n", headers=headers)

    talk = avatar()
    talk.start()
    page.route("**/llm/v2/", answer)
    talk.type("Go round!")
    assert alert(talk)[1] == "tools_without_end"
    page.unroute("**/llm/v2/", answer)
    talk.wait_for(activity="ready")
    assert 10 <= len([tool for tool in site.tools if tool["phase"] == "answered"]) <= 11
    ask(talk, "What is 2 times 3?", "6")


def test_conversation_ended_remotely_shows_the_reason(
    site: Site, avatar: Open, sandbox_server: Any, console_errors: list[str]
) -> None:
    perso = sandbox_server()
    site.perso = perso.url
    site.reason = "MAX_MIN_PER_SESSION_QUOTA_EXCEEDED"
    talk = avatar()
    talk.start()
    talk.part("input").fill("half a sen")
    perso.kill()
    talk.wait_for(state="ended", log="saved")
    talk.part("reason").filter(
        has_text="This conversation reached its time limit."
    ).wait_for()
    assert [bye["how"] for bye in site.byes] == ["remote"]
    assert talk.part("input").input_value() == "half a sen"
    assert talk.part("start").inner_text() == "Start again"
    console_errors.clear()


def test_unknown_reason_is_shown_unchanged(
    site: Site, avatar: Open, page: Any, console_errors: list[str]
) -> None:
    site.reason = "SOMETHING_NEW"
    page.add_init_script(KEEP_CHANNEL)
    talk = avatar()
    talk.start()
    page.evaluate("channel.close()")  # the SDK does not notice that
    page.locator("perso-avatar[data-state=ended]").wait_for(timeout=3000)
    talk.part("reason").filter(
        has_text="The conversation was closed. (SOMETHING_NEW)"
    ).wait_for()
    console_errors.clear()  # the SDK may have found its channel closed


def test_blocked_sound_shows_the_picture_and_a_button(
    site: Site, avatar: Open, page: Any
) -> None:
    page.add_init_script(
        "const play = HTMLMediaElement.prototype.play;"
        "HTMLMediaElement.prototype.play = function () {"
        "  return this.muted || window.mayPlay ? play.call(this)"
        "    : Promise.reject(new DOMException('gesture', 'NotAllowedError')); };"
    )
    talk = avatar()
    talk.start()
    assert talk.part("video").evaluate("(video) => video.muted") is True
    page.evaluate("window.mayPlay = true")
    talk.part("sound").click()
    assert page.evaluate("document.activeElement.localName") == "perso-avatar"
    assert talk.part("video").evaluate("(video) => video.muted") is False
    assert not talk.part("sound").is_visible()
    assert "sound_blocked" in site.states


def test_sound_button_without_effect_raises_nothing(
    site: Site, avatar: Open, page: Any, console_errors: list[str]
) -> None:
    page.add_init_script(
        "const play = HTMLMediaElement.prototype.play;"
        "HTMLMediaElement.prototype.play = function () {"
        "  return this.muted ? play.call(this)"
        "    : Promise.reject(new DOMException('gesture', 'NotAllowedError')); };"
    )
    talk = avatar()
    talk.start()
    talk.part("sound").click()
    talk.end()
    assert console_errors == []


def test_session_that_cannot_be_shown_is_given_back(
    site: Site, avatar: Open, page: Any, sandbox: Any
) -> None:
    page.add_init_script(
        "Object.defineProperty(HTMLMediaElement.prototype, 'srcObject',"
        "  { set(stream) { if (stream) throw new Error('no picture here'); } });"
    )
    assert fail_to_start(avatar())[1] == "connect_failed"
    for _ in range(50):
        if (status := sandbox.ledger()["sessions"][-1]["status"]) == "TERMINATED":
            break
        page.wait_for_timeout(100)
    assert status == "TERMINATED"


def test_browser_without_webrtc_shows_the_fallback(
    site: Site, avatar: Open, page: Any
) -> None:
    page.add_init_script("delete window.RTCPeerConnection")
    talk = avatar()
    assert talk.element.inner_text() == "Write to us instead."


def test_log_unsaved_for_two_minutes_says_why(
    site: Site, avatar: Open, page: Any, console_errors: list[str]
) -> None:
    page.clock.install()
    talk = avatar()
    talk.start()
    blocked = {"status": 403, "content_type": "text/html", "body": "<h1>Blocked</h1>"}
    page.route("**/log/", lambda route: route.fulfill(**blocked))
    talk.type("Hello!")
    talk.wait_for(state="live", log="queued")
    page.clock.fast_forward(121_000)
    talk.wait_for(log="unsaved")
    assert talk.part("saved").inner_text() == (
        "The last lines are not saved: something between you and this site blocks them,"
        " such as a firewall. Keep this page open; it keeps trying."
    )
    page.unroute("**/log/")
    page.evaluate("dispatchEvent(new Event('online'))")
    talk.wait_for(log="saved")
    assert ("visitor", "Hello!") in site.chat
    console_errors.clear()


def test_refused_log_says_so_at_once(
    site: Site, avatar: Open, page: Any, console_errors: list[str]
) -> None:
    talk = avatar()
    talk.start()
    talk.wait_for(log="saved")
    refusal = {
        "status": 409,
        "content_type": "application/problem+json",
        "body": json.dumps({"code": "superseded"}),
    }
    page.route("**/log/", lambda route: route.fulfill(**refusal))
    talk.type("Hello!")
    talk.wait_for(log="unsaved")
    assert talk.part("saved").inner_text() == (
        "This conversation continues on another page. Nothing more is saved on this"
        " one."
    )
    console_errors.clear()


def test_unsaved_log_is_shown_and_saved_later(
    site: Site, avatar: Open, page: Any, console_errors: list[str]
) -> None:
    page.add_init_script("Math.random = () => 0.999")  # makes each wait the longest
    talk = avatar()
    talk.start()
    page.route("**/log/", lambda route: route.abort())
    talk.type("Hello!")
    talk.wait_for(state="live", activity="ready", log="queued")
    assert talk.part("saved").inner_text() == "Not saved yet"
    page.unroute("**/log/")
    page.evaluate("dispatchEvent(new Event('online'))")
    page.locator("perso-avatar[data-log=saved]").wait_for(timeout=2000)
    assert site.chat == talk.messages()
    console_errors.clear()
