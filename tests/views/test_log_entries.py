"""Log entries sent by POST."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone

from django_perso.log import frames
from django_perso.models import Conversation
from tests.stage import chat, make_preset, post_log, update_conversations
from tests.stage import start as post_start

from .answers import refused

pytestmark = pytest.mark.django_db


@pytest.fixture
def started(client: Client) -> dict[str, Any]:
    make_preset()
    answer: dict[str, Any] = post_start(client).json()
    return answer


def test_stored_entries_are_acknowledged(
    client: Client, started: dict[str, Any]
) -> None:
    answer = post_log(client, started, items=[chat(1), chat(2)])
    assert (answer.status_code, answer.json(), answer["Cache-Control"]) == (
        200,
        {"t": "ack", "s": 2},
        "no-store",
    )
    assert post_log(client, started, items=[]).json() == {"t": "ack", "s": 2}
    assert post_log(client, started, items=[chat(2), chat(3)]).json() == {
        "t": "ack",
        "s": 3,
    }
    assert post_log(client, started, items=[chat(5)]).json() == {"t": "gap", "s": 3}
    too_big = chat(4, "x" * frames.MAX_ENTRY)
    assert post_log(client, started, items=[too_big]).json() == {
        "t": "reject",
        "s": [4],
        "code": "too_big",
    }
    gap = {"s": 4, "k": "gap", "t": 1, "d": {"count": 1, "reason": "too_big"}}
    assert post_log(client, started, items=[gap]).json() == {"t": "ack", "s": 4}
    entries = Conversation.objects.get().entries.filter(source="browser").order_by("pk")
    assert list(entries.values_list("seq", "kind")) == [
        (1, "chat"),
        (2, "chat"),
        (3, "chat"),
        (4, "gap"),
    ]


def test_goodbye_is_done_once_all_entries_are_stored(
    client: Client, started: dict[str, Any]
) -> None:
    client.post(
        f"/perso/sandbox/api/v1/session/{started['session_id']}/event/create/",
        {"event": "SESSION_END", "detail": ""},
        content_type="application/json",
    )
    bye = {"last": 2, "how": "visitor"}
    assert post_log(client, started, bye=bye).json() == {"t": "gap", "s": 0}
    assert post_log(client, started, items=[chat(2)], bye=bye).json() == {
        "t": "gap",
        "s": 0,
    }
    done = {"t": "done", "reason": "GRACEFUL_TERMINATION"}
    assert post_log(client, started, items=[chat(1), chat(2)], bye=bye).json() == done
    assert post_log(client, started, items=[], bye=bye).json() == done
    assert Conversation.objects.get().is_complete


@pytest.mark.parametrize(
    "origin",
    ["http://evil.test", "null", "https://testserver", "http://testserver:81", ""],
)
def test_entries_from_another_origin_are_refused(
    client: Client, started: dict[str, Any], origin: str
) -> None:
    refused(post_log(client, started, origin, items=[chat(1)]), 403, "origin")
    assert Conversation.objects.get().last_seq == 0


def test_entries_without_ticket_of_this_conversation_are_refused(
    client: Client, started: dict[str, Any]
) -> None:
    other = post_start(Client(REMOTE_ADDR="198.51.100.2")).json()
    for changes in (
        {"ticket": "x"},
        {"ticket": other["ticket"]},
        {"stream": other["stream"]},
    ):
        changed = {**started, **changes}
        refused(post_log(client, changed, items=[chat(1)]), 401, "not_authorised")
    assert not Conversation.objects.exclude(last_seq=0).exists()


def test_ticket_is_enough_without_the_visitors_cookie(started: dict[str, Any]) -> None:
    assert post_log(Client(), started, items=[chat(1)]).json() == {"t": "ack", "s": 1}


def test_page_of_a_trusted_origin_may_start_and_write(settings: Any) -> None:
    settings.DEBUG = True
    make_preset()
    origin = "http://localhost:8511"
    client = Client(enforce_csrf_checks=True, HTTP_HOST="127.0.0.1:8000")
    page = client.get("/perso/demo/").content.decode()
    token = page.partition('csrf-token="')[2].partition('"')[0]
    headers = {"HTTP_ORIGIN": origin, "HTTP_X_CSRFTOKEN": token}
    refused(post_start(client, **headers), 403, "csrf_failed")
    settings.CSRF_TRUSTED_ORIGINS = [origin]
    answer = post_start(client, **headers)
    assert answer.status_code == 201, answer.content
    stored = post_log(client, answer.json(), origin, items=[chat(1)])
    assert stored.json() == {"t": "ack", "s": 1}


def test_hello_gives_the_log_to_this_page(
    client: Client, started: dict[str, Any]
) -> None:
    post_log(client, started, items=[chat(1)])
    welcome = post_log(client, started, hello=True).json()
    assert 0 <= welcome.pop("age") < 10_000
    assert welcome == {
        "t": "welcome",
        "ack": 1,
        "lease": 1,
        "window": 1,
        "frame": 65536,
        "ping": 15,
    }
    assert post_log(client, started, hello=True).json()["lease"] == 2
    refused(post_log(client, started, lease=1, items=[chat(2)]), 409, "superseded")
    bye = {"last": 1, "how": "visitor"}
    refused(post_log(client, started, lease=1, bye=bye), 409, "superseded")
    newest = post_log(client, started, lease=2, items=[chat(2)])
    assert newest.json() == {"t": "ack", "s": 2}
    without_lease = post_log(client, started, items=[chat(3)])
    assert without_lease.json() == {"t": "ack", "s": 3}
    assert not Conversation.objects.get().is_complete


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"lease": "1", "items": []}, 400),
        ({"lease": -1, "items": []}, 400),
        ({"lease": True, "items": []}, 400),
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
def test_malformed_entries_change_nothing(
    client: Client, started: dict[str, Any], change: dict[str, Any], status: int
) -> None:
    refused(post_log(client, started, **change), status, "bad_request")
    session = Conversation.objects.get()
    assert (session.last_seq, session.ended_at) == (0, None)


def test_entries_a_day_after_the_end_are_refused(
    client: Client, started: dict[str, Any]
) -> None:
    update_conversations(ended_at=timezone.now() - timedelta(hours=25))
    refused(post_log(client, started, items=[chat(1)]), 404, "no_stream")


def test_entries_can_be_sent_again_after_database_outage(
    client: Client, started: dict[str, Any]
) -> None:
    def dead(*_: Any) -> None:
        raise OperationalError("gone")

    with connection.execute_wrapper(dead):
        refused(post_log(client, started, items=[chat(1)]), 503, "database_unavailable")
    assert post_log(client, started, items=[chat(1)]).json() == {"t": "ack", "s": 1}
