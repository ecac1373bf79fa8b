"""The modules of the widget, each tested alone."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .site import Site, serving

pytestmark = pytest.mark.browser

Run = Callable[[str], Any]

# A session of the SDK whose events the test sends.
SESSION = """
  const calls = [];
  const handlers = {};
  const session = {
    sessionId: "s1",
    processChat: (text) => { calls.push(`chat ${text}`); },
    processTTSTF: (text) => { calls.push(`say ${text}`); },
    clearBuffer: async () => { calls.push("clear"); },
    setSrc: () => { calls.push("play"); },
    stopSession: () => { calls.push("stop"); },
    getLocalStream: () => null,
    onClose: (run) => { handlers.close = run; },
    setErrorHandler: (run) => { handlers.error = run; },
    subscribeChatStates: (run) => { handlers.states = run; },
    subscribeChatLog: (run) => { handlers.log = run; },
  };
  const reported = [];
  const listener = Object.fromEntries(
    ["activity", "said", "muted", "trouble", "close"].map((name) =>
      [name, (detail) => reported.push([name, detail ?? null])]));
  const video = document.createElement("video");
  const { Sdk1Adapter, chooseAdapter } = await load("adapter");
"""
START = """{
  api_server: "https://perso.example/", session_id: "s1", width: 64, height: 48
}"""
# Stand-ins for the modules of a conversation, and a stage that records its calls.
CONVERSATION = """
  const calls = [];
  class Outbox {
    add(kind, { name, code }) { calls.push(`${kind} ${name ?? code}`); }
    async end(how) { calls.push(`bye ${how}`); return "GRACEFUL_TERMINATION"; }
    leave(how) { calls.push(`leave ${how}`); }
    wake() {}
    flush() {}
  }
  class Toolbox {
    chatTools() { return []; }
    turn() {}
  }
  class Adapter {
    static async connect() { return new Adapter(); }
    playing = Promise.resolve();
    send = async (text) => { calls.push(`send ${text}`); return true; };
    say = (text) => { if (text) calls.push(`say ${text}`); return true; };
    stop = () => { calls.push("stop"); return true; };
    update() {}
    async interrupt() {}
  }
  const modules = {
    "sdk-loader": { loadSdk: async () => ({}) },
    adapter: { chooseAdapter: () => Adapter },
    outbox: { Outbox },
    tools: { Toolbox },
    store: await load("store"),
    world: {},
  };
  const shown = [];
  const methods = ["saved", "shape", "live", "activity", "muted",
    "said", "tool", "trouble", "ended", "closed"];
  const makeStage = (name = "") => Object.fromEntries(methods.map((method) =>
    [method, (detail) => shown.push([name + method, detail ?? null])]));
  const options = { endpoint: "/start/", csrfToken: "t", preset: "guide", params: null,
    sdk: { src: "/sdk.js" }, tools: new Map(), video: null, isSimultaneous: false };
  const { Conversation } = await load("conversation");
"""


@pytest.fixture
def site() -> Iterator[Site]:
    """A page without an avatar."""
    with serving(Site(perso="", sdk_url="", avatars=0)) as running:
        yield running


@pytest.fixture
def run(site: Site, page: Any) -> Run:
    """`run("return 6 * 7")` runs a function in the page and returns its result.

    In the function, `load(name)` imports a module of the widget.
    """
    page.goto(site.url)

    def evaluate(script: str) -> Any:
        prelude = "const load = (name) => import(`/static/${name}.js`);"
        return page.evaluate(f"async () => {{ {prelude} {script} }}")

    return evaluate


# --- words.js


def test_text_without_a_translation_stays_english(run: Run) -> None:
    assert run("""
      const { Words } = await load("words");
      const words = new Words({ "Start again": "Nochmal", Cancel: "" });
      return [words.start("ended"), words.start("error"), words.gettext("Cancel")];
    """) == ["Nochmal", "Try again", "Cancel"]


def test_fetched_words_are_added_to_the_first_ones(run: Run, page: Any) -> None:
    page.route("**/words/", lambda route: route.fulfill(json={"Saved": "Gespeichert"}))
    assert run("""
      const { Words } = await load("words");
      const words = new Words({ "Try again": "Nochmal" });
      const isLoaded = await words.load("/words/");
      return [isLoaded, words.gettext("Saved"), words.start("error")];
    """) == [True, "Gespeichert", "Nochmal"]


def test_words_that_cannot_be_fetched_stay_english(
    run: Run, page: Any, console_errors: list[str]
) -> None:
    page.route("**/words/", lambda route: route.abort())
    assert run("""
      const { Words } = await load("words");
      const words = new Words();
      return [await words.load("/words/"), words.gettext("Saved")];
    """) == [False, "Saved"]
    console_errors.clear()


# --- view.js and style.js


def test_view_writes_its_labels_anew(run: Run) -> None:
    assert run("""
      const { View } = await load("view");
      const { sheet } = await load("style");
      const { Words } = await load("words");
      const words = new Words();
      const root = document.body.attachShadow({ mode: "open" });
      const view = new View(root, sheet, words, {});
      view.showState("live");
      const read = () =>
        ["end", "status", "send"].map((part) => view.parts[part].textContent);
      const before = read();
      words.gettext = (text) => text.toUpperCase();
      view.translate();
      return [before, read()];
    """) == [["End", "Ready", "Send"], ["END", "READY", "SEND"]]


def test_message_that_was_not_sent_comes_back(run: Run) -> None:
    assert run("""
      const { View } = await load("view");
      const { sheet } = await load("style");
      const { Words } = await load("words");
      const root = document.body.attachShadow({ mode: "open" });
      const send = async (text) => text === "good";
      const view = new View(root, sheet, new Words(), { send });
      view.showState("live");
      const values = [];
      for (const text of ["good", "bad"]) {
        view.parts.input.value = text;
        view.parts.composer.requestSubmit();
        await new Promise((done) => setTimeout(done));
        values.push(view.parts.input.value);
      }
      return values;
    """) == ["", "bad"]


def test_style_sheet_does_not_depend_on_the_root_font(run: Run) -> None:
    text = run("""
      const { sheet } = await load("style");
      return [...sheet.cssRules].map((rule) => rule.cssText).join("\\n");
    """)
    assert "[part=" in text
    assert "rem" not in text.replace("remote", "")


# --- messages.js

MESSAGES = """
  const { View, make } = await load("view");
  const { sheet } = await load("style");
  const { Words } = await load("words");
  const { Messages } = await load("messages");
  const root = document.body.attachShadow({ mode: "open" });
  const words = new Words();
  const view = new View(root, sheet, words, {});
  const messages = new Messages(make, view, words);
  const read = () =>
    [...view.parts.log.children].map((line) => [line.dataset.phase, line.textContent]);
"""


def test_tool_call_is_one_line_that_changes(run: Run) -> None:
    assert run(f"""{MESSAGES}
      messages.showTool({{ id: "c1", name: "map", phase: "called" }});
      messages.showTool({{ id: "c2", name: "map", phase: "called" }});
      messages.showTool({{ id: "c1", name: "map", phase: "failed" }});
      return read();
    """) == [["failed", "Tool: Could not use map"], ["called", "Tool: Using map"]]


def test_name_of_a_tool_is_put_in_as_it_is(run: Run) -> None:
    assert run(f"""{MESSAGES}
      messages.showTool({{ id: "c1", name: "$& %(name)s", phase: "called" }});
      return read();
    """) == [["called", "Tool: Using $& %(name)s"]]


# --- sdk-loader.js


def test_sdk_is_loaded_once_for_two_avatars(run: Run, page: Any) -> None:
    requests: list[str] = []
    sdk = "globalThis.PersoInteractive = { createSession() {}, ChatTool: class {} }"

    def answer(route: Any) -> None:
        requests.append(route.request.url)
        route.fulfill(content_type="text/javascript", body=sdk)

    page.route("**/sdk.js", answer)
    assert run("""
      const { loadSdk } = await load("sdk-loader");
      const tag = { src: "/sdk.js", integrity: "", nonce: "", pageNonces: [] };
      const [first, second] = await Promise.all([loadSdk(tag), loadSdk(tag)]);
      return first === second && first === await loadSdk(tag);
    """)
    assert len(requests) == 1


def test_sdk_is_asked_for_again_after_a_failure(
    run: Run, page: Any, console_errors: list[str]
) -> None:
    page.route("**/sdk.js", lambda route: route.abort(), times=1)
    sdk = "globalThis.PersoInteractive = { createSession() {} }"
    assert (
        run("""
      const { loadSdk } = await load("sdk-loader");
      const tag = { src: "/sdk.js", integrity: "", nonce: "", pageNonces: [] };
      return loadSdk(tag).catch((error) => error.code);
    """)
        == "sdk_unreachable"
    )
    answer = {"content_type": "text/javascript", "body": sdk}
    page.route("**/sdk.js", lambda route: route.fulfill(**answer))
    assert run("""
      const { loadSdk } = await load("sdk-loader");
      const tag = { src: "/sdk.js", integrity: "", nonce: "", pageNonces: [] };
      return "createSession" in await loadSdk(tag);
    """)
    console_errors.clear()


# --- adapter.js


@pytest.mark.parametrize(
    ("exported", "is_supported"),
    [
        (["createSession", "ChatTool", "ChatState"], True),  # 1.0.0
        (["createSession", "ChatTool", "ApiError", "LLMError", "Session"], True),
        (["createSession", "ChatTool", "LlmProcessor", "DEFAULT_API_SERVER"], True),
        (["createSession"], False),
        ([], False),
    ],
    ids=["1.0.0", "1.0.1", "1.6.1", "no tools", "nothing"],
)
def test_adapter_is_chosen_by_what_the_sdk_exports(
    run: Run, exported: list[str], is_supported: bool
) -> None:
    assert (
        run(f"""
      const {{ chooseAdapter }} = await load("adapter");
      const sdk = Object.fromEntries({exported}.map((name) => [name, class {{}}]));
      return Boolean(chooseAdapter(sdk));
    """)
        is is_supported
    )


def test_adapter_joins_with_six_arguments_and_no_microphone(run: Run) -> None:
    assert run(f"""{SESSION}
      let joined;
      const createSession = async (...given) => {{
        joined = given;
        return session;
      }};
      const sdk = {{ createSession }};
      const {{ signal }} = new AbortController();
      const page = {{ tools: [], video, openWithMicrophone: null }};
      await Sdk1Adapter.connect(sdk, {START}, page, listener, signal);
      return joined;
    """) == ["https://perso.example", "s1", 64, 48, False, []]


@pytest.mark.parametrize("has_microphone", ["false", "true"])
@pytest.mark.parametrize(
    "create_session",
    [
        "(server, id, width, height, voice, tools) => take(voice, tools)",
        """(server, id, width, height, ...rest) =>
          typeof rest[0] === "boolean" ? take(...rest) : take(false, rest[0])""",
    ],
    ids=["1.0", "1.2"],
)
def test_every_sdk_tells_tools_from_the_microphone(
    run: Run, create_session: str, has_microphone: str
) -> None:
    taken = run(f"""{SESSION}
      let taken;
      const take = async (voice, tools) => {{
        taken = [Boolean(voice), tools];
        return session;
      }};
      const sdk = {{ createSession: {create_session} }};
      const {{ signal }} = new AbortController();
      const recorder = await load("recorder");
      const openWithMicrophone = {has_microphone} ? recorder.openWithMicrophone : null;
      const page = {{ tools: ["tool"], video, openWithMicrophone }};
      await Sdk1Adapter.connect(sdk, {START}, page, listener, signal);
      return taken;
    """)
    assert taken == [has_microphone == "true", ["tool"]]


def test_session_that_arrives_after_a_cancel_is_closed(run: Run) -> None:
    assert run(f"""{SESSION}
      const cancelling = new AbortController();
      const createSession = async () => {{
        cancelling.abort();
        return session;
      }};
      const sdk = {{ createSession }};
      const adapter = await Sdk1Adapter.connect(
        sdk, {START}, {{ tools: [], video }}, listener, cancelling.signal);
      return [adapter, calls];
    """) == [None, ["stop"]]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("new Error('Timeout')", ["connect_timeout", "Timeout"]),
        ("{ errorCode: 500, detail: 'no session' }", ["connect_failed", "no session"]),
    ],
)
def test_failure_to_connect_has_a_code(run: Run, error: str, expected: Any) -> None:
    assert (
        run(f"""{SESSION}
      const sdk = {{ createSession: () => Promise.reject({error}) }};
      const {{ signal }} = new AbortController();
      try {{
        await Sdk1Adapter.connect(
          sdk, {START}, {{ tools: [], video }}, listener, signal);
      }} catch (failure) {{
        return [failure.code, failure.message];
      }}
    """)
        == expected
    )


def test_stopped_session_sends_no_more_pings(run: Run) -> None:
    assert run(f"""{SESSION}
      const pingIntervalId = setInterval(() => calls.push("ping"), 10);
      session.perso = {{ pingIntervalId }};
      new Sdk1Adapter(session, video, listener).stop();
      await new Promise((done) => setTimeout(done, 50));
      return calls;
    """) == ["play", "clear", "stop"]


@pytest.mark.parametrize("file", ["perso-interactive-sdk.js", "index.iife.js"])
def test_rejection_in_the_sdk_gives_up_the_answer(run: Run, file: str) -> None:
    assert run(f"""{SESSION}
      new Sdk1Adapter(session, video, listener);
      handlers.states(new Set(["LLM"]));
      const error = new Error("broken");
      error.stack = "Error: broken at https://static.example/{file}:1:2";
      Promise.reject(error);
      await new Promise((done) => setTimeout(done, 50));
      return reported.filter(([name]) => name === "trouble");
    """) == [["trouble", {"code": "llm_failed", "message": "broken"}]]


def test_new_lines_of_the_sdks_log_are_passed_on_in_order(run: Run) -> None:
    assert run(f"""{SESSION}
      new Sdk1Adapter(session, video, listener);
      const line = (text, isUser) => ({{ text, isUser }});
      handlers.log([line("Hi", true)]);
      handlers.log([line("two", false), line("one", false), line("Hi", true)]);
      const messages = reported.filter(([name]) => name === "said");
      return messages.map(([, {{ role, text }}]) => [role, text]);
    """) == [["visitor", "Hi"], ["avatar", "one"], ["avatar", "two"]]


def test_state_the_sdk_does_not_leave_is_ignored_after_interrupt(run: Run) -> None:
    assert run(f"""{SESSION}
      const adapter = new Sdk1Adapter(session, video, listener);
      handlers.states(new Set(["LLM"]));
      session.clearBuffer = () => Promise.reject(new Error("stuck"));
      await adapter.interrupt();
      handlers.states(new Set(["LLM", "SPEAKING"]));
      const activities = reported.filter(([name]) => name === "activity");
      return activities.map(([, activity]) => activity);
    """) == ["thinking", "ready", "speaking"]


def test_error_of_the_sdk_is_described_by_its_cause(run: Run) -> None:
    assert run(f"""{SESSION}
      new Sdk1Adapter(session, video, listener);
      const underlyingError = {{ description: "model is down" }};
      handlers.error({{ message: "", underlyingError }});
      return reported.find(([name]) => name === "trouble")[1];
    """) == {"code": "llm_failed", "message": "model is down"}


def test_closed_session_is_reported_once(run: Run) -> None:
    assert run(f"""{SESSION}
      const adapter = new Sdk1Adapter(session, video, listener);
      handlers.close(false);
      handlers.close(true);
      const isSaid = adapter.say("too late");
      const closed = reported.filter(([name]) => name === "close");
      return [closed.length, adapter.stop(), isSaid];
    """) == [1, False, False]


# --- conversation.js

ANSWER = {
    "stream": "c1",
    "ticket": "t",
    "session_id": "s1",
    "api_server": "https://perso.example",
    "intro_message": " Welcome. ",
    "width": 640,
    "height": 480,
    "voice": "off",
    "tools": [],
    "log": {"ws": None, "post": "/log/"},
}


def test_conversation_goes_live_and_ends(run: Run, page: Any) -> None:
    page.route("**/start/", lambda route: route.fulfill(status=201, json=ANSWER))
    shown, calls = run(f"""{CONVERSATION}
      const conversation = new Conversation(modules, options, makeStage());
      await conversation.start();
      await conversation.send("  ");
      await conversation.send(" Hello ");
      await conversation.end("visitor");
      await conversation.end("visitor");
      return [shown, calls];
    """)
    assert [name for name, _ in shown] == ["shape", "live", "ended", "closed"]
    assert shown[-1][1]["reason"] == "GRACEFUL_TERMINATION"
    assert calls == [
        "state connecting",
        "state live",
        "say Welcome.",
        "send Hello",
        "state ended",
        "stop",
        "bye visitor",
    ]


def test_refusal_of_the_site_keeps_its_words(
    run: Run, page: Any, console_errors: list[str]
) -> None:
    refusal = {
        "code": "too_many_live",
        "detail": "All busy.",
        "hint": "Raise max_live.",
    }
    page.route("**/start/", lambda route: route.fulfill(status=429, json=refusal))
    shown, calls = run(f"""{CONVERSATION}
      await new Conversation(modules, options, makeStage()).start();
      return [shown, calls];
    """)
    assert [name for name, _ in shown] == ["trouble", "ended"]
    assert shown[0][1]["code"] == "too_many_live"
    assert (shown[0][1]["words"], shown[0][1]["hint"]) == (
        "All busy.",
        "Raise max_live.",
    )
    assert shown[1][1] == "error"
    assert calls == []
    console_errors.clear()


def test_start_cancelled_while_the_sdk_loads_asks_for_nothing(run: Run) -> None:
    assert run(f"""{CONVERSATION}
      let loaded;
      modules["sdk-loader"].loadSdk = () => new Promise((done) => {{ loaded = done; }});
      const conversation = new Conversation(modules, options, makeStage());
      const starting = conversation.start();
      await new Promise((done) => setTimeout(done));
      conversation.end("visitor");
      loaded({{}});
      await starting;
      return [shown, calls, performance.getEntriesByType("resource")
        .filter(({{ name }}) => name.endsWith("/start/")).length];
    """) == [[["ended", "visitor"]], [], 0]


@pytest.mark.parametrize("is_simultaneous", [False, True])
def test_second_conversation_ends_the_first_unless_simultaneous(
    run: Run, page: Any, is_simultaneous: bool
) -> None:
    page.route("**/start/", lambda route: route.fulfill(status=201, json=ANSWER))
    flag = str(is_simultaneous).lower()
    shown = run(f"""{CONVERSATION}
      options.isSimultaneous = {flag};
      await new Conversation(modules, options, makeStage("first ")).start();
      await new Conversation(modules, options, makeStage("second ")).start();
      return shown;
    """)
    ended = [detail for name, detail in shown if name == "first ended"]
    assert ended == ([] if is_simultaneous else ["other"])


def test_page_that_goes_away_says_goodbye_once(run: Run, page: Any) -> None:
    page.route("**/start/", lambda route: route.fulfill(status=201, json=ANSWER))
    shown, calls = run(f"""{CONVERSATION}
      const conversation = new Conversation(modules, options, makeStage());
      await conversation.start();
      conversation.leave();
      return [shown, calls];
    """)
    assert calls[-3:] == ["state ended", "leave left", "stop"]
    assert shown[-1] == ["ended", "visitor"]
