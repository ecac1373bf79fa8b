"""The stand-in SDK in a browser, with a sandbox of another origin."""

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

pytestmark = pytest.mark.browser

# Starts a session and collects what the SDK reports in `seen`. Of the log, the newest
# entry comes first.
START = """async ([server, id]) => {
  const P = PersoInteractive;
  window.seen = { states: [], log: [], errors: [], closed: [], squared: [] };
  const number = { type: 'number' };
  const schema = { type: 'object', properties: { number }, required: ['number'] };
  const square = new P.ChatTool(
    'get_square_number',
    'Multiplies a number by itself.',
    schema,
    (argument) => {
      seen.squared.push(argument.number);
      return { result: argument.number ** 2 };
    },
  );
  const settings = new P.ChatTool(
    'show_settings',
    'Opens the settings.',
    { type: 'object', properties: {} },
    () => { throw new Error('no settings here'); },
    true,
  );
  const tools = [square, settings];
  window.session = await P.createSession(server, id, 320, 240, false, tools);
  session.subscribeChatStates((states) => {
    seen.states.push([...states].sort().join(' '));
  });
  const line = ({ text, isUser }) => (isUser ? '> ' : '') + text;
  session.subscribeChatLog((log) => { seen.log = log.map(line); });
  session.setErrorHandler((error) => seen.errors.push(error));
  session.onClose((manual) => seen.closed.push(manual));
  document.body.innerHTML = '<video autoplay muted playsinline></video>';
  session.setSrc(document.querySelector('video'));
}"""


class BlankPage(BaseHTTPRequestHandler):
    """An empty page that does not request an icon."""

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
    """A page of another origin; it is local, since others may not call loopback."""
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
    """A page with a live session at a sandbox of another origin."""
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


def test_question_is_answered_with_tool(
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


def test_text_of_page_belongs_to_conversation(talking: "Page") -> None:
    talking.evaluate("session.processTTSTF('Welcome!')")
    talking.evaluate("session.processChat('open the settings')")
    until(talking, "seen.log.length === 3 && !seen.states.at(-1).includes('LLM')")
    assert seen(talking, "log") == [
        "One moment, please.",
        "> open the settings",
        "Welcome!",
    ]
    assert seen(talking, "errors") == []


def test_clear_buffer_stops_reply_and_voice(talking: "Page") -> None:
    talking.evaluate("session.processChat('who are you?')")
    until(talking, "seen.states.at(-1).includes('SPEAKING')")
    talking.evaluate("session.clearBuffer()")
    until(talking, "seen.states.at(-1) === ''")
    assert len(seen(talking, "log")) == 2
    talking.evaluate("session.processChat('what did i say?')")
    until(talking, "seen.log.length === 4")


# Records a tone, which the sandbox takes for speech.
RECORD = """async () => {
  const context = new AudioContext();
  await context.resume();
  const tone = new OscillatorNode(context);
  const output = context.createMediaStreamDestination();
  tone.connect(output);
  tone.start();
  const senders = session.perso.pc.getSenders();
  const sender = senders.find(({ track }) => track?.kind === "audio");
  await sender.replaceTrack(output.stream.getAudioTracks()[0]);
  session.startVoiceChat();
  await new Promise((done) => setTimeout(done, 900));
  session.stopVoiceChat();
}"""


def test_recognised_speech_goes_to_callback_or_model(talking: "Page") -> None:
    keep = "(text) => { seen.heard = text; }"
    talking.evaluate(f"void (seen.unsubscribe = session.setSttResultCallback({keep}))")
    talking.evaluate(RECORD)
    until(talking, "seen.heard && seen.states.at(-1) === ''")
    assert seen(talking, "log") == []
    talking.evaluate("seen.unsubscribe()")
    talking.evaluate(RECORD)
    until(talking, "seen.log.length === 2")
    assert seen(talking, "log")[-1] == f"> {seen(talking, 'heard')}"


def test_failures_of_model_reach_error_handler(
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


def test_failure_without_code_is_not_reported(
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


def test_sandbox_ends_while_page_is_connected(
    talking: "Page", sandbox: tuple[str, "Popen[str]"]
) -> None:
    until(talking, "document.querySelector('video').currentTime > 0.2")
    sandbox[1].send_signal(signal.SIGTERM)
    assert sandbox[1].wait(5) == 0
    until(talking, "seen.closed.length === 1")
    assert seen(talking, "closed") == [False]
