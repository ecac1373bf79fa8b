"""`perso_doctor --contact` with its page in Chromium, and a Perso with oddities."""

import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import servers
from tests.support.contact import ContactRun, changing_proxy
from tests.support.sdk import SdkFile
from tests.support.servers import SandboxServer

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

KEY = "pak-0123456789abcdef0123456789abcdef"
# Where Perso's answers hold what the report must not: each has one of these texts.
SENTINELS = {
    "prompt": "sentinel-system-prompt",
    "entry": "sentinel-entry-of-a-list",
    "field": "sentinel-5e551011-name-of-a-field",
    "turn user": "sentinel-turn-user",
    "turn password": "sentinel-turn-password",
    "turn address": "203.0.113.77",
    "said": "sentinel-what-the-avatar-said",
    "reason": "sentinel reason of the end",
}
IP_ADDRESS = re.compile(r"\b\d{1,3}(\.\d{1,3}){3}\b")
Run = Callable[..., ContactRun]


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    """A running `perso_sandbox` that accepts only KEY."""
    directory = tmp_path_factory.mktemp("contact") / "sandbox"
    server = servers.sandbox_server(directory, ())
    server.start()
    server.accept_keys(KEY)
    yield server
    server.stop()


@pytest.fixture
def contact(
    sandbox: SandboxServer,
    template_database: Path,
    tmp_path: Path,
    sdk: SdkFile | None,
) -> Iterator[Run]:
    """`contact(api_server)` starts the command; no faults are left afterwards."""
    runs: list[ContactRun] = []

    def start(api_server: str = sandbox.url, *options: str) -> ContactRun:
        env = servers.environment(
            DATABASE_URL=f"sqlite:///{template_database}",
            PERSO_INTERACTIVE_API_KEY=KEY,
            PERSO_INTERACTIVE_API_SERVER=api_server,
            **(sdk.settings if sdk else servers.stand_in(sandbox.url)),
        )
        runs.append(ContactRun(tmp_path, env, *options))
        return runs[-1]

    yield start
    for run in runs:
        run.stop()
    sandbox.set_faults()


def press_start(page: "Page", run: ContactRun) -> None:
    page.goto(run.url)
    page.get_by_role("button", name="Start").click()


def hold(page: "Page", run: ContactRun) -> None:
    """Let the page do everything."""
    press_start(page, run)
    page.locator("body[data-state=over]").wait_for(timeout=60_000)


def newest(sandbox: SandboxServer) -> dict[str, Any]:
    """Return the newest session in the ledger."""
    session: dict[str, Any] = sandbox.ledger()["sessions"][-1]
    return session


def details(run: ContactRun) -> Any:
    """Return the JSON in the report."""
    (block,) = re.findall(r"```json\n(.+)```", run.report.read_text(), re.DOTALL)
    return json.loads(block)


def test_contact_without_trouble_finds_no_problem(
    contact: Run, sandbox: SandboxServer, page: "Page", console_errors: list[str]
) -> None:
    created = sandbox.ledger()["created"]
    run = contact()
    hold(page, run)
    assert run.finish() == 0, run.printed()
    facts = details(run)
    assert facts["page"]["audio_direction"] == "sendrecv"
    assert 0 < facts["page"]["connect_ms"] <= facts["page"]["first_frame_ms"] < 10_000
    assert facts["page"]["stt"] == "text"
    assert facts["page"]["stt_characters"] > 0
    assert facts["page"]["is_complete"]
    assert facts["about"]["browser"].startswith("Chrome ")
    assert facts["end"]["reason"] == "GRACEFUL_TERMINATION"
    assert not facts["end"]["was_given_back"]
    asked = {(each["call"], each["asked_by"]) for each in facts["answers"]}
    assert ("POST session/…/exchange/", "page") in asked
    assert ("POST session/…/llm/v2/", "page") in asked
    assert ("GET session/…/ice-servers/", "site") in asked
    assert sandbox.ledger()["created"] == created + 1
    heard = newest(sandbox)["heard"]["recordings"]
    assert 0.5 < heard[0]["sound_seconds"] < 1.5
    assert console_errors == []


@pytest.mark.slow  # all together
@pytest.mark.parametrize(
    ("faults", "finding"),
    [
        (
            {"exchange": {"sendonly": True}},
            "Perso does not receive sound: the audio line is recvonly.",
        ),
        ({"llm": {"no_finish": True}}, "ends with message instead of finish."),
        ({"llm": {"cut": 1}}, "ends with message instead of finish."),
        (
            {"llm": {"body": "html", "status": 502}},
            "The answer to the line of text is 502 text/html.",
        ),
        ({"exchange": {"body": "html"}}, "could not connect: SyntaxError."),
        ({"exchange": {"status": 403}}, "could not connect: http_403."),
        (
            {"event": {"status": 403}},
            "POST session/…/event/create/ does not work without the key: 403 error.",
        ),
        ({"document": {"body": "garbage", "status": 200}}, "document: The response"),
        ({"session": {"status": 403}}, "Perso did not create a session: 403 error."),
    ],
)
def test_oddity_of_perso_is_a_problem(
    contact: Run,
    sandbox: SandboxServer,
    page: "Page",
    console_errors: list[str],
    faults: dict[str, Any],
    finding: str,
) -> None:
    sandbox.set_faults(**faults)
    run = contact()
    hold(page, run)
    assert run.finish() == 1
    assert finding in run.printed()
    assert "django_perso.E042" in run.printed()
    assert "Traceback" not in run.printed()
    assert finding in run.report.read_text()
    assert newest(sandbox)["status"] == "TERMINATED"
    console_errors.clear()


def test_sdk_that_does_not_load_is_a_problem(
    contact: Run, sandbox: SandboxServer, page: "Page", console_errors: list[str]
) -> None:
    page.context.route("**/perso-interactive-sdk.js", lambda route: route.abort())
    run = contact()
    hold(page, run)
    assert run.finish() == 1
    assert "could not load Perso's SDK: sdk_unreachable." in run.printed()
    assert newest(sandbox)["status"] == "TERMINATED"
    console_errors.clear()


def without_candidates(path: str, body: bytes) -> bytes:
    if not path.endswith("/exchange/") or not body:
        return body
    return re.sub(rb"a=(candidate:|end-of-candidates)[^\\]*\\r\\n", b"", body)


def quota_as_reason(path: str, body: bytes) -> bytes:
    return body.replace(b"GRACEFUL_TERMINATION", b"TOTAL_MIN_PER_MONTH_QUOTA_EXCEEDED")


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (without_candidates, "The page could not connect: timeout."),
        (quota_as_reason, "TOTAL_MIN_PER_MONTH_QUOTA_EXCEEDED, "),
    ],
)
def test_changed_answer_of_perso_is_a_problem(
    contact: Run,
    sandbox: SandboxServer,
    page: "Page",
    change: Callable[[str, bytes], bytes],
    finding: str,
) -> None:
    with changing_proxy(sandbox.port, change) as url:
        run = contact(url)
        hold(page, run)
        assert run.finish() == 1
    assert finding in run.printed()
    assert newest(sandbox)["status"] == "TERMINATED"


def test_session_that_perso_ends_is_a_problem(
    contact: Run, sandbox: SandboxServer, page: "Page", console_errors: list[str]
) -> None:
    def end_session(path: str, body: bytes) -> bytes:
        """End the session as soon as the model has answered."""
        root, is_answer, _ = path.partition("llm/v2/")
        if is_answer and body:
            url = f"{sandbox.url}{root}event/create/"
            event = b'{"event": "SESSION_END", "detail": ""}'
            urllib.request.urlopen(url, event, timeout=30).close()
        return body

    with changing_proxy(sandbox.port, end_session) as url:
        run = contact(url)
        hold(page, run)
        assert run.finish() == 1
    assert "Perso closed the connection after" in run.printed()
    assert "One second of sound got no answer." in run.printed()
    console_errors.clear()


def with_sentinels(path: str, body: bytes) -> bytes:
    """Put a sentinel into each kind of answer, and fields that nobody expects."""
    try:
        answer = json.loads(body)
    except ValueError:
        return body
    extra = {SENTINELS["field"]: SENTINELS["entry"], "unknown": [1, None]}
    if path.endswith("/ice-servers/"):
        turn = f"turn:{SENTINELS['turn address']}:3478"
        user = SENTINELS["turn user"]
        password = SENTINELS["turn password"]
        server = {"urls": [turn], "username": user, "credential": password}
        answer["ice_servers"] = [server]
    if isinstance(answer, list):
        answer = [{**entry, **extra} for entry in answer]
    elif "errors" not in answer:
        answer |= extra
    if answer and "termination_reason" in answer and answer["termination_reason"]:
        answer["termination_reason"] = SENTINELS["reason"]
    text = json.dumps(answer)
    return re.sub(
        r'"system_prompt": "[^"]*"', f'"system_prompt": "{SENTINELS["prompt"]}"', text
    ).encode()


def with_other_words(path: str, body: bytes) -> bytes:
    """Let the avatar say a sentinel."""
    if not path.endswith("/llm/v2/"):
        return with_sentinels(path, body)
    said = SENTINELS["said"].encode()
    return re.sub(rb'"content": "[^"]+"', b'"content": "' + said + b'"', body)


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_report_and_output_hold_no_secret(
    contact: Run, sandbox: SandboxServer, page: "Page", options: tuple[str, ...]
) -> None:
    urls: list[str] = []
    page.on("request", lambda request: urls.append(request.url))
    with changing_proxy(sandbox.port, with_other_words) as url:
        run = contact(url, *options)
        hold(page, run)
        run.finish()
    session_id = newest(sandbox)["session_id"]
    own_urls = [each for each in urls if each.startswith(run.url)]
    assert any(each.endswith("/session") for each in own_urls)
    assert not any(session_id in each for each in own_urls)
    outputs = {
        "report": run.report.read_text(),
        "output": run.printed().replace(run.url, ""),
    }
    assert "ends with finish" in outputs["report"]
    assert '"unknown"' in outputs["report"]
    assert "1 ICE servers (turn)" in outputs["report"]
    for place, text in outputs.items():
        secrets = {**SENTINELS, "API key": KEY, "session id": session_id}
        for name, secret in secrets.items():
            assert secret not in text, f"{name} in the {place}"
        assert KEY[-6:] not in text
        assert "v=0" not in text
        assert "candidate:" not in text
        assert not IP_ADDRESS.search(re.sub(r'"(django|python)": "[^"]+"', "", text))


def test_page_that_is_left_ends_the_session(
    contact: Run, sandbox: SandboxServer, page: "Page"
) -> None:
    run = contact()
    press_start(page, run)
    page.locator("[data-step=answer][data-state=running]").wait_for()
    page.goto("about:blank")
    assert run.finish() == 1
    assert "The page was left before" in run.printed()
    assert newest(sandbox)["status"] == "TERMINATED"
    assert details(run)["end"]["was_given_back"]


def test_session_is_handed_over_only_once(contact: Run, page: "Page") -> None:
    run = contact()
    press_start(page, run)
    page.locator("[data-step=session][data-state=done]").wait_for()
    answer = page.request.post(f"{run.url}session")
    assert answer.status == 409
    assert answer.json() == {}
    page.locator("body[data-state=over]").wait_for(timeout=60_000)
    assert run.finish() == 0
