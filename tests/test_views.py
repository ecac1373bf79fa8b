"""Starting a session and taking log entries by POST: every answer, and nothing in it that should not be."""

import json
import logging
import re
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connection, connections
from django.db.utils import InterfaceError
from django.test import Client
from django.utils import timezone

from django_perso import payloads, protocol
from django_perso.models import ApiKey, AvatarSession, SessionPreset
from django_perso.services import sessions
from tests.stage import (
    KEY,
    LOG,
    SANDBOX,
    START,
    chat,
    created,
    faults,
    http_answer,
    make_preset,
    post_log,
    raw_server,
)
from tests.stage import start as post_start

pytestmark = pytest.mark.django_db

Status = AvatarSession.Status
PROBLEM = {"type", "title", "status", "detail", "code"}


@pytest.fixture(autouse=True)
def _no_intros() -> None:
    sessions.intros.clear()


def refused(answer: Any, status: int, code: str) -> dict[str, Any]:
    """The problem, after checking what all problems have in common."""
    problem: dict[str, Any] = answer.json()
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert answer["Content-Type"] == "application/problem+json"
    assert "no-store" in answer["Cache-Control"]
    assert set(problem) >= PROBLEM
    assert problem["detail"]
    assert KEY not in str(problem) + str(answer.headers)
    return problem


def staff_client() -> Client:
    client = Client()
    client.force_login(User.objects.create(username="staff", is_staff=True))
    return client


# --- a start --------------------------------------------------------------------------------------


def test_a_start_answers_what_the_browser_needs_and_is_kept_by_nobody(client: Client) -> None:
    make_preset(client_tools=["get_square_number"], voice=True, stt_type="default", width=480, height=640)
    answer = post_start(client)
    started = answer.json()
    row = AvatarSession.objects.get()
    assert answer.status_code == 201
    assert answer["Cache-Control"] == "no-store"
    assert started == {
        "stream": str(row.pk),
        "ticket": started["ticket"],
        "session_id": row.session_id.reveal(),
        "api_server": "http://testserver/perso/sandbox",
        "intro_message": "Hello! Nice to see you. Ask me anything, or tell me your name.",
        "width": 480,
        "height": 640,
        "voice": True,
        "tools": ["get_square_number"],
        "log": {"ws": None, "post": "/perso/log/entries/"},
    }


def test_the_visitors_cookie_comes_with_the_start_and_stays(client: Client) -> None:
    make_preset()
    first = post_start(client, secure=True).cookies["perso_visitor"]
    assert (first["httponly"], first["secure"], first["samesite"], first["path"]) == (True, True, "Lax", "/")
    post_start(client)
    assert len(set(AvatarSession.objects.values_list("visitor", flat=True))) == 1


@pytest.mark.parametrize(("transport", "ws"), [("auto", None), ("post", None), ("websocket", "/perso/log/")])
def test_a_socket_is_offered_only_where_one_is(
    client: Client, settings: Any, transport: str, ws: Any
) -> None:
    settings.PERSO = {**SANDBOX, "LOG_TRANSPORT": transport}
    make_preset()
    assert post_start(client).json()["log"] == {"ws": ws, "post": "/perso/log/entries/"}


@pytest.mark.parametrize("method", ["get", "put", "delete", "options", "patch"])
@pytest.mark.parametrize("url", [START, LOG])
def test_only_post_is_answered(client: Client, method: str, url: str) -> None:
    answer = getattr(client, method)(url)
    refused(answer, 405, "method_not_allowed")
    assert answer["Allow"] == "POST"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b"null", 400),
        (b'"guide"', 400),
        (b"[" * 30_000, 400),
        (b'{"preset": 7}', 400),
        (b'{"preset": null}', 400),
        (b'{"preset": ["guide"]}', 400),
        (b'{"preset": 1e999}', 400),
        (b'{"preset": "' + b"x" * payloads.MAX_FRAME + b'"}', 413),
    ],
)
def test_a_body_that_cannot_be_read_starts_nothing(client: Client, body: bytes, status: int) -> None:
    make_preset()
    refused(client.post(START, body, content_type="application/json"), status, "bad_request")
    assert not AvatarSession.objects.exists()


@pytest.mark.parametrize("slug", ["nope", "gone", "a\0b", "é" * 300, "guide' OR 1=1--"])
def test_an_unknown_preset_is_not_found_and_an_inactive_one_looks_the_same(client: Client, slug: str) -> None:
    make_preset()
    make_preset(slug="gone", is_active=False)
    problem = refused(post_start(client, slug), 404, "preset_not_found")
    assert problem == refused(post_start(client, "nope"), 404, "preset_not_found")


@pytest.mark.parametrize(
    ("access", "who", "code"),
    [
        ("staff", "anonymous", "login_required"),
        ("staff", "user", "not_allowed"),
        ("staff", "staff", None),
        ("logged_in", "anonymous", "login_required"),
        ("logged_in", "user", None),
        ("public", "anonymous", None),
    ],
)
def test_a_preset_lets_in_whom_it_says(client: Client, access: str, who: str, code: str | None) -> None:
    make_preset(access=access)
    if who != "anonymous":
        client.force_login(User.objects.create(username=who, is_staff=who == "staff"))
    before = created()
    answer = post_start(client)
    if code is None:
        assert answer.status_code == 201
        assert AvatarSession.objects.get().user_id == (None if who == "anonymous" else User.objects.get().pk)
    else:
        refused(answer, 403, code)
        assert (created(), AvatarSession.objects.count()) == (before, 0)


def test_hints_are_for_staff_and_for_debug(client: Client, settings: Any) -> None:
    make_preset()
    assert "hint" not in refused(post_start(client, "nope"), 404, "preset_not_found")
    hint = refused(post_start(staff_client(), "nope"), 404, "preset_not_found")["hint"]
    assert hint == 'No active preset "nope". Existing: guide.'
    settings.DEBUG = True
    assert refused(post_start(client, "nope"), 404, "preset_not_found")["hint"] == hint


# --- CSRF -----------------------------------------------------------------------------------------


@pytest.fixture(params=["cookie", "session"])
def browser(request: pytest.FixtureRequest, settings: Any) -> Client:
    """A browser on a page of the site, whose CSRF secret lies in a cookie or in the session."""
    settings.CSRF_USE_SESSIONS = request.param == "session"
    settings.DEBUG = True
    return Client(enforce_csrf_checks=True)


def token(browser: Client) -> str:
    """The token the page's avatar carries."""
    page = browser.get("/perso/demo/").content.decode()
    return str(re.findall(r'csrf-token="(\w+)"', page)[0])


def test_a_start_from_the_page_passes_the_csrf_check(browser: Client) -> None:
    make_preset()
    headers = {"X-CSRFToken": token(browser), "Origin": "http://testserver"}
    assert post_start(browser, headers=headers).status_code == 201


@pytest.mark.parametrize(
    "headers",
    [{}, {"X-CSRFToken": "x" * 64}, {"X-CSRFToken": ""}, {"X-CSRFToken": None, "Origin": "http://evil.test"}],
)
def test_without_the_pages_token_or_from_another_origin_nothing_starts(
    browser: Client, headers: dict[str, str | None]
) -> None:
    make_preset()
    known, before = token(browser), created()
    sent = {name: known if value is None else value for name, value in headers.items()}
    problem = refused(post_start(browser, headers=sent), 403, "csrf_failed")
    assert problem["hint"].startswith("CSRF")  # DEBUG
    assert created() == before


def test_a_token_without_its_cookie_starts_nothing(browser: Client) -> None:
    make_preset()
    known = token(browser)
    refused(post_start(Client(enforce_csrf_checks=True), headers={"X-CSRFToken": known}), 403, "csrf_failed")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n',
        ),
        ("multipart/form-data; boundary=x", b"garbage"),
        ("multipart/form-data", b"[]"),
        ("application/x-www-form-urlencoded", b"preset=guide"),
        ("text/plain", b"preset=guide"),
    ],
)
def test_a_form_of_whatever_kind_is_refused_and_breaks_nothing(
    browser: Client, content_type: str, body: bytes
) -> None:
    make_preset()
    headers = {"X-CSRFToken": token(browser)}
    refused(browser.post(START, body, content_type=content_type, headers=headers), 400, "bad_request")


# --- limits ---------------------------------------------------------------------------------------


def test_a_full_preset_says_when_to_come_back(client: Client) -> None:
    make_preset(max_live=1)
    assert post_start(client).status_code == 201
    before = created()
    answer = post_start(Client())
    assert refused(answer, 429, "too_many_live")["retry_after"] == int(answer["Retry-After"]) == 30
    assert created() == before
    AvatarSession.objects.update(last_seen_at=timezone.now() - timedelta(minutes=6))
    assert post_start(Client()).status_code == 201


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("198.51.100.1", "198.51.100.1", True),
        ("198.51.100.1", "198.51.100.2", False),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
    ],
)
def test_cookies_thrown_away_do_not_help_from_the_same_address(first: str, second: str, same: bool) -> None:
    make_preset(starts_per_hour=1)
    assert post_start(Client(), REMOTE_ADDR=first).status_code == 201
    answer = post_start(Client(), REMOTE_ADDR=second)
    if same:
        assert 3590 < refused(answer, 429, "too_many_starts")["retry_after"] <= 3601
    else:
        assert answer.status_code == 201


def test_a_forwarded_address_that_the_visitor_made_up_does_not_help(settings: Any) -> None:
    make_preset(starts_per_hour=1)
    spoof = [post_start(Client(), headers={"X-Forwarded-For": f"6.6.6.{n}"}).status_code for n in range(2)]
    assert spoof == [201, 429]
    AvatarSession.objects.all().delete()
    settings.PERSO = {**SANDBOX, "TRUSTED_PROXY_COUNT": 1}
    behind = [f"6.6.6.{n}, 203.0.113.{n // 2}" for n in range(4)]
    assert [post_start(Client(), headers={"X-Forwarded-For": hops}).status_code for hops in behind] == [
        201,
        429,
        201,
        429,
    ]


def in_threads(count: int) -> list[int]:
    """The statuses of starts by so many visitors at once."""
    together, statuses = threading.Barrier(count), list[int]()

    def visit(number: int) -> None:
        together.wait()
        statuses.append(post_start(Client(), "", REMOTE_ADDR=f"198.51.100.{number}").status_code)
        connections.close_all()

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(statuses)


@pytest.mark.django_db(transaction=True)
def test_limits_hold_when_all_press_start_at_once() -> None:
    make_preset(is_default=True, max_live=3)
    before = created()
    assert in_threads(12) == [201] * 3 + [429] * 9
    assert created() == before + 3


@pytest.mark.django_db(transaction=True)
def test_the_first_starts_of_a_fresh_site_make_one_default_preset(settings: Any) -> None:
    settings.DEBUG = True
    assert in_threads(4) == [201] * 4
    assert SessionPreset.objects.get().slug == "default"


# --- a Perso that misbehaves ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "status", "code", "row"),
    [
        ({"status": 500}, 502, "perso_refused", Status.UNKNOWN),
        ({"status": 500, "body": "json"}, 502, "perso_refused", Status.UNKNOWN),
        ({"status": 502, "body": "html"}, 502, "perso_refused", Status.UNKNOWN),
        ({"status": 500, "body": "empty"}, 502, "perso_refused", Status.UNKNOWN),
        ({"status": 401}, 502, "perso_refused", Status.FAILED),
        ({"status": 403, "body": "garbage"}, 502, "perso_refused", Status.FAILED),
        ({"status": 429, "body": "html"}, 502, "perso_refused", Status.FAILED),
        ({"status": 200, "body": "html"}, 502, "perso_unreadable", Status.UNKNOWN),
        ({"status": 200, "body": "json"}, 502, "perso_unreadable", Status.UNKNOWN),
        ({"status": 200, "body": "empty"}, 502, "perso_unreadable", Status.UNKNOWN),
        ({"status": 200, "body": "garbage"}, 502, "perso_unreadable", Status.UNKNOWN),
    ],
)
def test_whatever_perso_answers_the_visitor_gets_a_sentence_and_the_row_says_what_it_may_cost(
    client: Client, fault: dict[str, Any], status: int, code: str, row: str
) -> None:
    make_preset()
    with faults(session=fault):
        refused(post_start(client), status, code)
    session = AvatarSession.objects.get()
    assert (session.status, session.error_code) == (row, code)
    assert session.entries.get().kind == "error"


def test_a_wrong_parameter_is_told_to_staff(client: Client) -> None:
    make_preset(prompt="plp-gone")
    problem = refused(post_start(staff_client()), 502, "perso_refused")
    assert "does_not_exist (prompt)" in problem["hint"]
    assert "does_not_exist" in AvatarSession.objects.get().entries.get().data["message"]


@pytest.fixture
def key_row() -> Iterator[ApiKey]:
    """A real-looking key; what is logged and stored meanwhile is searched for it."""
    yield ApiKey.objects.create(name="Main", secret=KEY, is_default=True)
    notes = json.dumps(list(AvatarSession.objects.values_list("entries__data", "params", "error_code")))
    assert KEY not in notes


def at(key_row: ApiKey, server: str) -> None:
    ApiKey.objects.update(api_server=server)
    make_preset(has_intro=False)


def test_a_refusal_that_repeats_the_key_does_not_pass_it_on(
    key_row: ApiKey, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    told = json.dumps({"errors": [{"code": "x", "detail": f"bad key {KEY}", "attr": None}]}).encode()
    with raw_server(http_answer(401, told)) as (server, asked):
        at(key_row, server)
        problem = refused(post_start(staff_client()), 502, "perso_refused")
    assert "Check the API key" in problem["hint"]
    assert KEY.encode() in asked[0]
    assert "did not start" in caplog.text
    assert KEY not in caplog.text


@pytest.mark.parametrize("answer", [b"", http_answer(201, b'{"session_id": "abc"}')[:-9], b"\0\1\2" * 99])
def test_an_answer_that_breaks_off_leaves_a_conversation_that_may_be_billed(
    key_row: ApiKey, answer: bytes
) -> None:
    with raw_server(answer) as (server, asked):
        at(key_row, server)
        problem = refused(post_start(staff_client()), 504, "start_unknown")
    assert "bill" in problem["hint"]
    assert len(asked) == 1  # never asked twice: each costs
    assert AvatarSession.objects.get().status == Status.UNKNOWN


def test_a_perso_that_never_answers_is_waited_for_ten_seconds_at_most_and_counts_as_live_for_a_while(
    key_row: ApiKey, client: Client
) -> None:
    begun = timezone.now()
    with raw_server(None) as (server, asked):
        at(key_row, server)
        SessionPreset.objects.update(max_live=1)
        refused(post_start(client), 504, "start_unknown")
        assert (timezone.now() - begun).total_seconds() < 11
        refused(post_start(client), 429, "too_many_live")
        assert len(asked) == 1
    AvatarSession.objects.update(last_seen_at=timezone.now() - timedelta(minutes=6))
    refused(post_start(client), 503, "perso_unreachable")  # not full any more


def test_a_perso_that_cannot_be_reached_costs_nothing(key_row: ApiKey, client: Client) -> None:
    with raw_server(None) as (server, _):
        pass
    at(key_row, server)
    refused(post_start(client), 503, "perso_unreachable")
    assert AvatarSession.objects.get().status == Status.FAILED


def test_without_a_key_nothing_starts_and_staff_read_the_line_to_paste(settings: Any) -> None:
    settings.PERSO = {"API_KEY": ""}
    make_preset()
    problem = refused(post_start(staff_client()), 503, "no_api_key")
    assert 'PERSO = {"API_KEY": "sandbox"}' in problem["hint"]
    assert not AvatarSession.objects.exists()


def test_a_key_that_does_not_open_any_more_is_a_missing_key(key_row: ApiKey, settings: Any) -> None:
    make_preset()
    client = staff_client()
    settings.PERSO = {"ENCRYPTION_KEYS": ["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]}
    key_row.save()
    settings.PERSO = {}
    assert "ENCRYPTION_KEYS" in refused(post_start(client), 503, "no_api_key")["hint"]


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_a_dead_database_spends_nothing(client: Client, error: type[Exception]) -> None:
    make_preset()

    def dead(*_: Any) -> None:
        raise error("server closed the connection unexpectedly")

    with faults(session={"status": 500}):
        before = created()
        with connection.execute_wrapper(dead):
            refused(post_start(client), 503, "database_unavailable")
    assert created() == before
    assert not AvatarSession.objects.exists()


@pytest.mark.parametrize("kind", ["INSERT", "UPDATE", "SELECT"])
def test_a_database_that_dies_before_the_row_is_there_spends_nothing(client: Client, kind: str) -> None:
    make_preset()

    def dies(execute: Any, sql: str, *rest: Any) -> Any:
        if sql.startswith(kind) and "django_perso" in sql:
            raise OperationalError("gone")
        return execute(sql, *rest)

    before = created()
    with connection.execute_wrapper(dies):
        refused(post_start(client), 503, "database_unavailable")
    assert created() == before


# --- the log by POST ------------------------------------------------------------------------------


@pytest.fixture
def started(client: Client) -> dict[str, Any]:
    make_preset()
    answer: dict[str, Any] = post_start(client).json()
    return answer


def test_entries_are_acknowledged_as_they_are_stored(client: Client, started: dict[str, Any]) -> None:
    answer = post_log(client, started, items=[chat(1), chat(2)])
    assert (answer.status_code, answer.json(), answer["Cache-Control"]) == (
        200,
        {"t": "ack", "s": 2},
        "no-store",
    )
    assert post_log(client, started, items=[]).json() == {"t": "ack", "s": 2}
    assert post_log(client, started, items=[chat(2), chat(3)]).json() == {"t": "ack", "s": 3}
    assert post_log(client, started, items=[chat(5)]).json() == {"t": "gap", "s": 3}
    too_big = chat(4, "x" * protocol.MAX_ENTRY)
    assert post_log(client, started, items=[too_big]).json() == {"t": "reject", "s": [4], "code": "too_big"}
    gap = {"s": 4, "k": "gap", "t": 1, "d": {"count": 1, "reason": "too_big"}}
    assert post_log(client, started, items=[gap]).json() == {"t": "ack", "s": 4}
    entries = AvatarSession.objects.get().entries.filter(source="browser").order_by("pk")
    assert list(entries.values_list("seq", "kind")) == [(1, "chat"), (2, "chat"), (3, "chat"), (4, "gap")]


def test_the_goodbye_is_done_once_all_is_there(client: Client, started: dict[str, Any]) -> None:
    client.post(
        f"/perso/sandbox/api/v1/session/{started['session_id']}/event/create/",
        {"event": "SESSION_END", "detail": ""},
        content_type="application/json",
    )
    bye = {"last": 2, "how": "visitor"}
    assert post_log(client, started, bye=bye).json() == {"t": "gap", "s": 0}
    assert post_log(client, started, items=[chat(2)], bye=bye).json() == {"t": "gap", "s": 0}
    done = {"t": "done", "reason": "GRACEFUL_TERMINATION"}
    assert post_log(client, started, items=[chat(1), chat(2)], bye=bye).json() == done
    assert post_log(client, started, items=[], bye=bye).json() == done
    assert AvatarSession.objects.get().is_complete


@pytest.mark.parametrize(
    "origin", ["http://evil.test", "null", "https://testserver", "http://testserver:81", ""]
)
def test_entries_from_another_origin_are_refused(
    client: Client, started: dict[str, Any], origin: str
) -> None:
    refused(post_log(client, started, origin, items=[chat(1)]), 403, "origin")
    assert AvatarSession.objects.get().last_seq == 0


def test_entries_without_the_ticket_of_this_visitor_are_refused(
    client: Client, started: dict[str, Any]
) -> None:
    other = post_start(Client(REMOTE_ADDR="198.51.100.2")).json()
    for sender, changes in (
        (client, {"ticket": "x"}),
        (client, {"ticket": other["ticket"]}),
        (client, {"stream": other["stream"]}),
        (Client(), {}),
    ):
        refused(post_log(sender, {**started, **changes}, items=[chat(1)]), 401, "not_authorised")
    assert not AvatarSession.objects.exclude(last_seq=0).exists()


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"items": {}}, 400),
        ({"items": [1]}, 400),
        ({"items": [{"s": 0}]}, 400),
        ({"items": [{"s": "1"}]}, 400),
        ({"items": [chat(n) for n in range(1, 52)]}, 413),
        ({"bye": 7}, 400),
        ({"bye": {"last": 0, "how": "because"}}, 400),
        ({"stream": 7}, 400),
        ({"ticket": None}, 400),
        ({"items": [], "x": "x" * 66_000}, 413),
    ],
)
def test_a_log_body_that_cannot_be_read_changes_nothing(
    client: Client, started: dict[str, Any], change: dict[str, Any], status: int
) -> None:
    refused(post_log(client, started, **change), status, "bad_request")
    session = AvatarSession.objects.get()
    assert (session.last_seq, session.ended_at) == (0, None)


def test_a_conversation_that_is_over_for_a_day_takes_nothing_more(
    client: Client, started: dict[str, Any]
) -> None:
    AvatarSession.objects.update(ended_at=timezone.now() - timedelta(hours=25))
    refused(post_log(client, started, items=[chat(1)]), 404, "no_stream")


def test_a_log_while_the_database_is_down_is_to_be_sent_again(
    client: Client, started: dict[str, Any]
) -> None:
    def dead(*_: Any) -> None:
        raise OperationalError("gone")

    with connection.execute_wrapper(dead):
        refused(post_log(client, started, items=[chat(1)]), 503, "database_unavailable")
    assert post_log(client, started, items=[chat(1)]).json() == {"t": "ack", "s": 1}


# --- what else there is ---------------------------------------------------------------------------


def test_the_sockets_address_by_http_says_what_it_is(client: Client) -> None:
    refused(client.get("/perso/log/"), 426, "websocket_only")


@pytest.mark.parametrize(("debug", "status"), [(True, 200), (False, 404)])
def test_the_demo_page_is_there_while_debug_is_on(
    client: Client, settings: Any, debug: bool, status: int
) -> None:
    settings.DEBUG = debug
    page = client.get("/perso/demo/")
    assert page.status_code == status
    assert (b"<perso-avatar" in page.content) is debug


@pytest.mark.parametrize(
    "path", ["perso-interactive-sdk.js", "control/ledger/", "api/v1/prompt/", "no/such/"]
)
def test_the_emulators_gate_is_shut_while_it_is_off(client: Client, settings: Any, path: str) -> None:
    settings.PERSO = {"API_KEY": "pak-1"}
    assert client.get(f"/perso/sandbox/{path}").status_code == 404
