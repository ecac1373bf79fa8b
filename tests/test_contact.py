"""`perso_doctor --contact` where no page is opened, and how it describes answers."""

import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from django_perso.client import Answer
from django_perso.management.contact import steps
from django_perso.management.contact.page import Page, Sdk
from django_perso.management.contact.shapes import (
    HIDDEN,
    describe,
    describe_stream,
    shape,
    word,
)
from django_perso.management.contact.talk import read_talk
from django_perso.models import ApiKey, SessionPreset
from tests.support import servers
from tests.support.contact import NAME, ContactRun
from tests.support.servers import SandboxServer

SDK = Sdk("https://cdn.example/sdk.js", "sha384-x")


@pytest.fixture(scope="module")
def shared_sandbox(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[SandboxServer]:
    """A running `perso_sandbox`."""
    directory = tmp_path_factory.mktemp("contact") / "sandbox"
    server = servers.sandbox_server(directory, ())
    server.start()
    yield server
    server.stop()


@pytest.fixture
def sandbox(
    shared_sandbox: SandboxServer, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SandboxServer]:
    """The API server of the settings. Nobody presses Start on a page."""
    settings.PERSO = {
        "API_KEY": "sandbox",
        "API_SERVER": shared_sandbox.url,
        "SDK_URL": f"{shared_sandbox.url}/perso-interactive-sdk.js",
    }
    monkeypatch.setattr(steps, "PRESS_SECONDS", 0.1)
    monkeypatch.setattr(steps, "GIVEN_BACK_SECONDS", 2)
    yield shared_sandbox
    shared_sandbox.set_faults()


@pytest.fixture
def contact(db: None, tmp_path: Path) -> Callable[..., tuple[int, dict[str, Any]]]:
    """`contact()` runs the command and returns its exit code and its document."""

    def run(*options: str, name: str = NAME) -> tuple[int, dict[str, Any]]:
        code = 0
        printed = StringIO()
        arguments = ["--contact", name, "--no-input", "--no-browser", "--json"]
        arguments += ["--report", str(tmp_path / "report.md"), *options]
        try:
            call_command("perso_doctor", *arguments, stdout=printed, stderr=StringIO())
        except SystemExit as leaving:
            code = int(str(leaving.code))
        return code, json.loads(printed.getvalue())

    return run


Contact = Callable[..., tuple[int, dict[str, Any]]]


def problems(document: dict[str, Any]) -> list[str]:
    return [line["text"] for line in document["lines"] if line["id"]]


# --- the command ----------------------------------------------------------------------


def test_page_that_nobody_opens_costs_one_session(
    contact: Contact, sandbox: SandboxServer
) -> None:
    created = sandbox.ledger()["created"]
    code, document = contact()
    assert code == 1
    assert problems(document) == ["Nobody pressed Start on the page in 0.1 seconds."]
    assert document["end"]["was_given_back"]
    assert document["end"]["reason"] == "GRACEFUL_TERMINATION"
    ledger = sandbox.ledger()
    assert ledger["created"] == created + 1
    assert ledger["sessions"][-1]["status"] == "TERMINATED"


def test_lists_that_fail_are_named_and_cost_nothing(
    contact: Contact, sandbox: SandboxServer
) -> None:
    sandbox.set_faults(settings={"status": 500})
    created = sandbox.ledger()["created"]
    code, document = contact()
    assert code == 1
    assert "avatar: 500 error." in problems(document)
    assert problems(document)[-1] == "No session can be created: 500 error"
    ok = [line["text"] for line in document["lines"] if not line["id"]]
    assert any(text.startswith("prompt: ") for text in ok)
    assert sandbox.ledger()["created"] == created


@pytest.mark.parametrize(
    ("fault", "finding"),
    [
        ({"status": 403}, "Perso did not create a session: 403 error."),
        ({"body": "html"}, "Perso did not create a session: 500 UNKNOWN_ERROR."),
        (
            {"body": "html", "status": 200},
            "Perso did not create a session: The response is not JSON.",
        ),
    ],
)
def test_session_that_is_refused_is_a_problem(
    contact: Contact, sandbox: SandboxServer, fault: dict[str, Any], finding: str
) -> None:
    sandbox.set_faults(session=fault)
    code, document = contact()
    assert code == 1
    assert finding in problems(document)
    (answer,) = [a for a in document["answers"] if a["call"] == "POST session/"]
    assert answer["status"] == fault.get("status", 500)
    assert document["end"] == {}


def test_session_that_does_not_end_is_a_problem(
    contact: Contact, sandbox: SandboxServer
) -> None:
    sandbox.set_faults(info={"body": "html", "status": 502})
    code, document = contact()
    assert code == 1
    assert problems(document)[0] == (
        "GET session/…/ does not work without the key: 502 UNKNOWN_ERROR."
    )
    assert "has ended. It may still run." in problems(document)[-1]
    assert document["end"] == {"is_known": False, "was_given_back": True}


def test_server_that_is_away_is_a_problem(
    contact: Contact, sandbox: SandboxServer, settings: Any
) -> None:
    away = f"http://127.0.0.1:{servers.unused_port()}"
    settings.PERSO = {**settings.PERSO, "API_SERVER": away}
    code, document = contact()
    assert code == 1
    assert problems(document)[0] == "avatar: Perso cannot be reached."
    assert "127.0.0.1" not in json.dumps(document)


def test_preset_says_what_the_session_is_made_of(
    contact: Contact, sandbox: SandboxServer
) -> None:
    style = "nathalie-front-full_dress-nodded_loop"
    SessionPreset.objects.create(
        name="Mute",
        slug="mute",
        model_style=style,
        prompt="plp-guide",
        llm_type="azure-gpt-4o",
        tts_type="openai-nova",
    )
    code, document = contact("--preset", "mute")
    assert code == 1
    created = sandbox.ledger()["sessions"][-1]["params"]
    assert created["stt_type"] is None
    (text,) = [x["text"] for x in document["lines"] if x["area"] == "session"]
    assert text.startswith("created from preset: 201")


def test_stored_key_is_found_by_its_name(
    contact: Contact, sandbox: SandboxServer, settings: Any
) -> None:
    settings.PERSO = {**settings.PERSO, "API_KEY": "not-accepted"}
    key = ApiKey(name="Shop", api_server=sandbox.url)
    key.secret = "sandbox"
    key.save()
    _, document = contact(name="Shop")
    assert problems(document) == ["Nobody pressed Start on the page in 0.1 seconds."]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--contact", "Shop"], 'No active key "Shop": PERSO["API_KEY"].'),
        (["--contact", NAME], "Add --no-input"),
        (["--contact", NAME, "--preset", "gone"], "No active preset 'gone'"),
        (["--preset", "gone"], "--preset needs --contact NAME."),
        (["--no-browser"], "--no-browser needs --contact NAME."),
        (["--no-input"], "--no-input needs --contact NAME."),
        (
            ["--contact", NAME, "--no-input", "--report", "/proc/none/x.md"],
            "Choose another file with --report",
        ),
    ],
)
@pytest.mark.django_db
def test_wrong_use_is_refused_with_the_fix(
    sandbox: SandboxServer, options: list[str], words: str
) -> None:
    requests = sandbox.ledger()["requests"]
    with pytest.raises(CommandError, match=re.escape(words)) as refusal:
        call_command("perso_doctor", *options)
    assert refusal.value.returncode == 2
    assert sandbox.ledger()["requests"] == requests


@pytest.mark.parametrize("typed", ["", "n"])
@pytest.mark.django_db
def test_answer_other_than_yes_contacts_nobody(
    sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    requests = sandbox.ledger()["requests"]
    asked = StringIO()
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda prompt: typed)
    call_command("perso_doctor", "--contact", NAME, stderr=asked)
    assert "creates one session,\nwhich Perso bills" in asked.getvalue()
    assert "Perso was not contacted." in asked.getvalue()
    assert sandbox.ledger()["requests"] == requests


@pytest.mark.django_db
def test_sandbox_inside_the_site_is_refused(settings: Any) -> None:
    settings.PERSO = {"API_KEY": "sandbox", "SANDBOX_ALLOW_IN_PRODUCTION": True}
    with pytest.raises(CommandError, match="perso_sandbox"):
        call_command("perso_doctor", "--contact", NAME, "--no-input")


@pytest.mark.parametrize("latency_ms", [0, 2000])
def test_ctrl_c_gives_the_session_back(
    shared_sandbox: SandboxServer,
    template_database: Path,
    tmp_path: Path,
    latency_ms: int,
) -> None:
    """Also while Perso is creating the session."""
    created = shared_sandbox.ledger()["created"]
    shared_sandbox.set_faults(session={"latency_ms": latency_ms})
    env = servers.environment(
        DATABASE_URL=f"sqlite:///{template_database}",
        PERSO_INTERACTIVE_API_SERVER=shared_sandbox.url,
        **servers.stand_in(shared_sandbox.url),
    )
    run = ContactRun(tmp_path, env)
    try:
        with ThreadPoolExecutor(1) as page:
            press = page.submit(status_of, f"{run.url}session", b"{}")
            wait([press], timeout=latency_ms / 2000 if latency_ms else 10)
            assert press.done() is not bool(latency_ms)
            run.interrupt()
            assert run.finish() == 1
    finally:
        run.stop()
        shared_sandbox.set_faults()
    assert "Interrupted by Ctrl-C; the session is given back." in run.printed()
    assert "Traceback" not in run.printed()
    ledger = shared_sandbox.ledger()
    assert ledger["created"] == created + 1
    assert ledger["sessions"][-1]["status"] == "TERMINATED"
    assert ledger["sessions"][-1]["session_id"] not in run.report.read_text()


# --- the page's server ----------------------------------------------------------------


def status_of(url: str, body: bytes | None = None) -> int:
    method = "GET" if body is None else "POST"
    request = urllib.request.Request(url, body, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_page_is_served_below_its_secret_path_only() -> None:
    with Page(SDK, "https://platform.perso.ai") as page:
        root = page.url.rsplit("/", 2)[0]
        assert status_of(page.url) == 200
        assert status_of(f"{page.url}contact.js") == 200
        assert status_of(f"{page.url}../conf.py") == 404
        assert status_of(f"{root}/") == 404
        assert status_of(f"{root}/guessed/contact.js") == 404
        assert status_of(f"{root}/guessed/session", b"{}") == 404
        assert page.url.startswith("http://127.0.0.1:")


def test_policy_of_the_page_allows_only_the_sdk_and_perso() -> None:
    with (
        Page(SDK, "https://platform.perso.ai") as page,
        urllib.request.urlopen(page.url, timeout=30) as answer,
    ):
        policy = answer.headers["Content-Security-Policy"]
        body = answer.read().decode()
    assert "script-src 'self' https://cdn.example;" in policy
    assert "connect-src 'self' https://platform.perso.ai;" in policy
    assert "unsafe" not in policy
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "style=" not in body
    assert body.count("<script") == 1


TOO_LARGE = b'{"text": "%s"}' % (b"x" * (5 << 20))


@pytest.mark.parametrize("body", [b"not JSON", b"[1]", b"", TOO_LARGE])
def test_result_that_is_no_object_is_not_taken(body: bytes) -> None:
    with Page(SDK, "https://platform.perso.ai") as page:
        try:
            assert status_of(f"{page.url}result", body) == 404
        except (urllib.error.URLError, ConnectionError):
            assert body is TOO_LARGE  # refused before it was read
        assert page.wait_for_result(0) is None


# --- descriptions ---------------------------------------------------------------------


def test_shape_has_paths_and_types_but_no_value() -> None:
    entries = [{"name": "secret", "n": 1, "more": {"x": None}}, {"name": "", "n": 1.5}]
    assert shape(entries) == {
        "(whole)": "array",
        "[]": "object",
        "[].name": "empty string | string",
        "[].n": "integer | number",
        "[].more": "absent | object",
        "[].more.x": "null",
    }


@pytest.mark.parametrize(
    "name",
    [
        "5e551011-0000-4000-8000-000000000000",
        "pak-0123456789abcdef0123456789abcdef",
        "0123456789abcdef0123456789abcdef",
        "Ada Lovelace",
        "192.0.2.1",
        "x" * 60,
        7,
    ],
)
def test_word_hides_whatever_may_be_secret(name: object) -> None:
    assert word(name) == HIDDEN
    assert shape({name: 1}) == {"(whole)": "object", HIDDEN: "integer"}


@pytest.mark.parametrize("name", ["session_id", "processed_v2", "http_403", "VP8"])
def test_word_shows_words_of_the_protocol(name: str) -> None:
    assert word(name) == name


def test_shape_of_a_huge_answer_is_short() -> None:
    deep: Any = 1
    for _ in range(50):
        deep = {"inner": deep}
    wide = {"a" * (n % 39 + 1) + str(n % 100): n for n in range(5000)}
    assert len(shape(deep)) < 20
    assert len(shape(wide)) <= 300


@pytest.mark.parametrize(
    ("body", "name", "value"),
    [
        (b'data: {"type":"finish"}\n', "last_type", "finish"),
        (b'data: {"type":"message"}\n', "last_type", "message"),
        (b'data: {"type":"message"}', "is_last_line_ended", False),
        (b'data: {"type":"finish"}\r\n', "has_carriage_returns", True),
        (b'data: {"type":"finish"}\n\n', "lines_that_are", {"blank": 1}),
        (b": comment\ndata:{}\n", "lines_that_are", {"without_data": 2}),
        (b"data: {broken\n", "lines_that_are", {"not_json": 1}),
        (b"", "lines", 0),
    ],
)
def test_oddity_of_a_stream_is_described(body: bytes, name: str, value: Any) -> None:
    actual = describe_stream(body)[name]
    if isinstance(value, dict):
        actual = {kind: count for kind, count in actual.items() if count}
    assert actual == value


def test_answer_that_is_not_json_is_described() -> None:
    answer = Answer(502, "text/html; charset=utf-8", b"<h1>secret", 0.0123)
    assert describe("GET prompt/", "site", answer) == {
        "call": "GET prompt/",
        "asked_by": "site",
        "status": 502,
        "content_type": "text/html",
        "ms": 12,
        "bytes": 10,
        "is_json": False,
    }


@pytest.mark.parametrize(
    "report",
    [
        {},
        {"answers": [1, {"status": "x"}, {"status": 200, "ms": 1, "path": "secret"}]},
        {"frames": ["secret", "[]", '{"type": "secret text"}', 5]},
        {"connect_ms": "secret", "stt": {"secret": 1}, "audio_direction": "a secret"},
        {"sdk_exports": ["a secret", 1], "left_ms_ago": "secret"},
    ],
)
def test_report_of_a_page_is_not_trusted(report: dict[str, Any]) -> None:
    talk = read_talk(report)
    findings = list(talk.findings(has_stt=True))
    assert any(is_problem for _, _, is_problem in findings)
    assert "secret" not in repr((talk, findings))


def test_numbers_of_a_page_are_rounded_and_bounded() -> None:
    talk = read_talk({"connect_ms": 1e300, "stt_ms": True, "sdk_ms": 12.6})
    assert "connect_ms" not in talk.facts
    assert "stt_ms" not in talk.facts
    assert talk.facts["sdk_ms"] == 13
