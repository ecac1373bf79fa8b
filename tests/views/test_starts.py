"""Starting a session: the answers, and what they must not contain."""

from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from django_perso.log import payloads
from django_perso.models import Conversation
from django_perso.services import Refused, limits
from django_perso.services.limits import Visitor
from tests.stage import LOG, SANDBOX, START, chat, created, make_preset, post_log
from tests.stage import start as post_start

from .answers import refused, staff_client

pytestmark = pytest.mark.django_db

INTRO = "Hello! Nice to see you. Ask me anything, or tell me your name."


def test_start_answers_with_session_and_is_not_cached(
    client: Client,
) -> None:
    make_preset(
        client_tools=["get_square_number"],
        voice="hands-free",
        stt_type="default",
        width=480,
        height=640,
    )
    answer = post_start(client)
    started = answer.json()
    row = Conversation.objects.get()
    assert answer.status_code == 201
    assert answer["Cache-Control"] == "no-store"
    assert started == {
        "stream": str(row.pk),
        "ticket": started["ticket"],
        "session_id": row.perso_sessions.get().session_id.reveal(),
        "api_server": "http://testserver/perso/sandbox",
        "intro_message": INTRO,
        "width": 480,
        "height": 640,
        "voice": "hands-free",
        "tools": ["get_square_number"],
        "log": {"ws": None, "post": "/perso/log/entries/"},
    }


def test_start_without_consent_is_answered_with_the_text(client: Client) -> None:
    preset = make_preset(consent_text="We keep <b>everything</b>.")
    problem = refused(post_start(client), 403, "consent_required")
    assert problem["consent"] == {
        "text": "We keep <b>everything</b>.",
        "hash": preset.consent_hash,
    }
    body = {"preset": "guide", "consent": problem["consent"]["hash"]}
    answer = client.post(START, body, content_type="application/json")
    assert answer.status_code == 201
    assert Conversation.objects.get().consent_hash == preset.consent_hash


def test_refusal_for_consent_sets_no_cookie(client: Client) -> None:
    make_preset(consent_text="We keep everything.")
    assert "perso_visitor" not in post_start(client).cookies


@pytest.mark.parametrize("consent", [None, 1, ["x"], {"hash": "x"}])
def test_consent_that_is_no_text_is_refused(client: Client, consent: Any) -> None:
    make_preset()
    body = {"preset": "guide", "consent": consent}
    answer = client.post(START, body, content_type="application/json")
    refused(answer, 400, "bad_request")
    assert not Conversation.objects.exists()


def test_unusable_redactor_refuses_the_start(
    client: Client, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.PERSO = {**settings.PERSO, "REDACTOR": "mysite.privacy.redact"}
    make_preset()
    paid = created()
    refused(post_start(client), 503, "not_configured")
    assert "mysite.privacy.redact" in caplog.text
    assert created() == paid
    assert not Conversation.objects.exists()


def test_first_start_sets_the_cookie_of_the_visitor(client: Client) -> None:
    make_preset()
    first = post_start(client, secure=True).cookies["perso_visitor"]
    assert (first["httponly"], first["secure"], first["samesite"], first["path"]) == (
        True,
        True,
        "Lax",
        "/",
    )
    post_start(client)
    assert len(set(Conversation.objects.values_list("visitor", flat=True))) == 1


@pytest.mark.parametrize(
    ("transport", "ws"), [("auto", None), ("post", None), ("websocket", "/perso/log/")]
)
def test_socket_is_offered_only_where_it_works(
    client: Client, settings: Any, transport: str, ws: Any
) -> None:
    settings.PERSO = {**SANDBOX, "LOG_TRANSPORT": transport}
    make_preset()
    assert post_start(client).json()["log"] == {"ws": ws, "post": "/perso/log/entries/"}


def reads_body_before(get_response: Any) -> Any:
    """Read the body as middleware that checks signatures does."""

    def middleware(request: Any) -> Any:
        assert request.body
        return get_response(request)

    return middleware


def reads_body_after(get_response: Any) -> Any:
    """Read the body as middleware that logs requests does."""

    def middleware(request: Any) -> Any:
        response = get_response(request)
        response["X-Length"] = len(request.body)
        return response

    return middleware


@pytest.mark.parametrize("middleware", [reads_body_before, reads_body_after])
def test_start_works_with_middleware_that_reads_the_body(
    settings: Any, client: Client, middleware: Any
) -> None:
    make_preset()
    settings.MIDDLEWARE = [f"{__name__}.{middleware.__name__}", *settings.MIDDLEWARE]
    answer = post_start(client)
    assert answer.status_code == 201
    assert answer.get("X-Length", "19") == "19"
    entries = post_log(client, answer.json(), items=[chat(1)])
    assert entries.json() == {"t": "ack", "s": 1}


@pytest.mark.parametrize(
    "content_type", ["application/json", "multipart/form-data; boundary=x"]
)
def test_too_large_body_is_refused_with_middleware_that_reads(
    settings: Any, client: Client, content_type: str
) -> None:
    settings.MIDDLEWARE = [f"{__name__}.reads_body_after", *settings.MIDDLEWARE]
    body = b"x" * (payloads.MAX_FRAME + 1)
    refused(client.post(START, body, content_type=content_type), 413, "bad_request")


@pytest.mark.parametrize("method", ["get", "put", "delete", "options", "patch"])
@pytest.mark.parametrize("url", [START, LOG])
def test_methods_other_than_post_are_refused(
    client: Client, method: str, url: str
) -> None:
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
def test_malformed_body_starts_nothing(
    client: Client, body: bytes, status: int
) -> None:
    make_preset()
    refused(
        client.post(START, body, content_type="application/json"), status, "bad_request"
    )
    assert not Conversation.objects.exists()


@pytest.mark.parametrize("slug", ["nope", "gone", "a\0b", "é" * 300, "guide' OR 1=1--"])
def test_inactive_preset_looks_like_an_unknown_one(client: Client, slug: str) -> None:
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
def test_access_of_preset_decides_who_may_start(
    client: Client, access: str, who: str, code: str | None
) -> None:
    make_preset(access=access)
    if who != "anonymous":
        client.force_login(User.objects.create(username=who, is_staff=who == "staff"))
    before = created()
    answer = post_start(client)
    if code is None:
        assert answer.status_code == 201
        assert Conversation.objects.get().user_id == (
            None if who == "anonymous" else User.objects.get().pk
        )
    else:
        refused(answer, 403, code)
        assert (created(), Conversation.objects.count()) == (before, 0)


def test_hints_are_shown_to_staff_and_under_debug(
    client: Client, settings: Any
) -> None:
    make_preset()
    assert "hint" not in refused(post_start(client, "nope"), 404, "preset_not_found")
    hint = refused(post_start(staff_client(), "nope"), 404, "preset_not_found")["hint"]
    assert hint == "No active preset 'nope'. Existing: guide."
    settings.DEBUG = True
    assert refused(post_start(client, "nope"), 404, "preset_not_found")["hint"] == hint


def test_user_without_login_session_is_offered_no_socket(
    client: Client, settings: Any
) -> None:
    make_preset(access="logged_in")
    User.objects.create(username="me")
    settings.MIDDLEWARE = [
        *settings.MIDDLEWARE,
        "tests.views.answers.known_by_a_header",
    ]
    settings.PERSO = {**SANDBOX, "LOG_TRANSPORT": "websocket"}
    started = post_start(client, headers={"X-User": "me"}).json()
    assert started["log"]["ws"] is None


def test_user_without_is_staff_is_not_staff() -> None:
    preset = make_preset(access="staff")
    visitor = Visitor("me", SimpleNamespace(pk=1))
    with pytest.raises(Refused, match="not_allowed"):
        limits.check_access(preset, visitor, is_sandbox=False)
