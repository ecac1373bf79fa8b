"""The stand-in SDK in a real browser, against `perso_sandbox` in another process and on another origin."""

import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from subprocess import Popen
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from .conftest import KEY, PARAMS, running_sandbox

if TYPE_CHECKING:
    from playwright.sync_api import Page

# Starts a session and keeps what the SDK reports in `seen`. Newest log entries come first.
START = """async ([server, id]) => {
  const P = PersoInteractive;
  window.seen = { states: [], log: [], errors: [], closed: [], squared: [] };
  const number = { type: 'number' };
  const schema = { type: 'object', properties: { number }, required: ['number'] };
  const square = new P.ChatTool('get_square_number', 'Multiplies a number by itself.', schema,
    (argument) => { seen.squared.push(argument.number); return { result: argument.number ** 2 }; });
  const settings = new P.ChatTool('show_settings', 'Opens the settings.', { type: 'object', properties: {} },
    () => { throw new Error('no settings here'); }, true);
  window.session = await P.createSession(server, id, 320, 240, false, [square, settings]);
  session.subscribeChatStates((states) => seen.states.push([...states].sort().join(' ')));
  const line = ({ text, isUser }) => (isUser ? '> ' : '') + text;
  session.subscribeChatLog((log) => { seen.log = log.map(line); });
  session.setErrorHandler((error) => seen.errors.push(error));
  session.onClose((manual) => seen.closed.push(manual));
  document.body.innerHTML = '<video autoplay muted playsinline></video>';
  session.setSrc(document.querySelector('video'));
}"""


class BlankPage(BaseHTTPRequestHandler):
    """A page without anything, not even a missing icon."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(
            b'<!doctype html><link rel="icon" href="data:,"><title>A page</title>'
        )

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def page_url() -> Iterator[str]:
    """Another origin on this machine: only such a page may talk to loopback."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BlankPage) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def sandbox() -> Iterator[tuple[str, "Popen[str]"]]:
    with running_sandbox() as running:
        yield running


@pytest.fixture
def talking(page: "Page", page_url: str, sandbox: tuple[str, "Popen[str]"]) -> "Page":
    """A page of one origin with a live session on another."""
    url, _ = sandbox
    created = httpx.post(
        f"{url}/api/v1/session/", json=PARAMS, headers=KEY, trust_env=False
    ).json()
    page.goto(page_url)
    page.add_script_tag(url=f"{url}/perso-interactive-sdk.js")
    page.evaluate(START, [url, created["session_id"]])
    return page


def until(page: "Page", condition: str) -> None:
    page.wait_for_function(condition, timeout=15_000)


def seen(page: "Page", what: str) -> Any:
    return page.evaluate(f"seen.{what}")


@pytest.mark.browser
def test_the_avatar_is_seen_moving_and_a_question_is_answered_with_a_tool(
    talking: "Page",
) -> None:
    until(talking, "document.querySelector('video').videoWidth === 320")
    until(talking, "document.querySelector('video').currentTime > 1")
    talking.evaluate("session.processChat('What is the square of 12?')")
    until(talking, "seen.log.length === 3")
    assert seen(talking, "log") == [
        "12 squared is 144.",
        "One moment, please.",
        "> What is the square of 12?",
    ]
    assert seen(talking, "squared") == [12]
    until(talking, "seen.states.at(-1) === 'SPEAKING'")
    assert seen(talking, "states")[:2] == ["LLM", "ANALYZING LLM"]
    until(talking, "seen.states.at(-1) === ''")
    talking.evaluate("session.stopSession(); session.stopSession()")
    assert seen(talking, "closed") == [True]


@pytest.mark.browser
def test_what_the_page_says_itself_belongs_to_the_conversation(talking: "Page") -> None:
    talking.evaluate("session.processTTSTF('Welcome!')")
    talking.evaluate("session.processChat('open the settings')")
    until(talking, "seen.log.length === 3 && !seen.states.at(-1).includes('LLM')")
    assert seen(talking, "log") == [
        "One moment, please.",
        "> open the settings",
        "Welcome!",
    ]
    assert seen(talking, "errors") == []


@pytest.mark.browser
def test_clearing_stops_reply_and_voice(talking: "Page") -> None:
    talking.evaluate("session.processChat('who are you?')")
    until(talking, "seen.states.at(-1).includes('SPEAKING')")
    talking.evaluate("session.clearBuffer()")
    until(talking, "seen.states.at(-1) === ''")
    assert len(seen(talking, "log")) == 2
    talking.evaluate("session.processChat('what did i say?')")
    until(talking, "seen.log.length === 4")


@pytest.mark.browser
def test_recognised_speech_is_handed_over_or_chatted_with(talking: "Page") -> None:
    keep = "(text) => { seen.heard = text; }"
    talking.evaluate(f"void (seen.unsubscribe = session.setSttResultCallback({keep}))")
    talking.evaluate("session.startVoiceChat(); session.stopVoiceChat()")
    until(talking, "seen.heard && seen.states.at(-1) === ''")
    assert seen(talking, "log") == []
    talking.evaluate(
        "seen.unsubscribe(); session.startVoiceChat(); session.stopVoiceChat()"
    )
    until(talking, "seen.log.length === 2")
    assert seen(talking, "log")[-1] == f"> {seen(talking, 'heard')}"


@pytest.mark.browser
def test_failures_of_the_model_reach_the_error_handler(
    talking: "Page", sandbox: tuple[str, "Popen[str]"], console_errors: list[str]
) -> None:
    talking.evaluate("session.processChat('/fail')")
    until(talking, "seen.errors.length === 1")
    description = talking.evaluate("seen.errors[0].underlyingError.description")
    assert description == "The language model is not available."
    httpx.put(
        f"{sandbox[0]}/control/faults/", json={"llm": {"status": 429}}, trust_env=False
    )
    talking.evaluate("session.processChat('hello')")
    until(talking, "seen.errors.length === 2 && seen.states.at(-1) === ''")
    is_api_error = "seen.errors[1].underlyingError instanceof PersoInteractive.ApiError"
    assert talking.evaluate(is_api_error)
    assert talking.evaluate("seen.errors[1].underlyingError.errorCode") == 429
    assert all("429" in line for line in console_errors)
    console_errors.clear()


@pytest.mark.browser
def test_a_failure_without_a_code_is_told_to_nobody_and_leaves_the_sdk_in_its_state(
    talking: "Page", sandbox: tuple[str, "Popen[str]"], console_errors: list[str]
) -> None:
    fault = {"llm": {"status": 502, "body": "html", "times": 1}}
    httpx.put(f"{sandbox[0]}/control/faults/", json=fault, trust_env=False)
    with talking.expect_event("pageerror"):
        talking.evaluate("session.processChat('hello')")
    assert (seen(talking, "states")[-1], seen(talking, "errors")) == ("LLM", [])
    assert (
        talking.evaluate("session.clearBuffer().catch(({ name }) => name)")
        == "SyntaxError"
    )
    console_errors.clear()


@pytest.mark.browser
def test_a_sandbox_told_to_end_ends_though_somebody_is_watching_who_then_learns_of_it(
    talking: "Page", sandbox: tuple[str, "Popen[str]"]
) -> None:
    until(talking, "document.querySelector('video').currentTime > 0.2")
    sandbox[1].send_signal(signal.SIGTERM)
    assert sandbox[1].wait(5) == 0
    until(talking, "seen.closed.length === 1")
    assert seen(talking, "closed") == [False]
