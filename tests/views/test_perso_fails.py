"""Starts that fail because of Perso, the key or the database."""

import json
import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.utils import InterfaceError
from django.test import Client
from django.utils import timezone

from django_perso.models import ApiKey, Conversation, PersoSession, SessionPreset
from tests.stage import (
    KEY,
    created,
    faults,
    http_answer,
    make_preset,
    raw_server,
    update_conversations,
)
from tests.stage import start as post_start

from .answers import refused, staff_client

pytestmark = pytest.mark.django_db

Status = PersoSession.Status


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
def test_failed_start_has_a_code_and_stores_its_status(
    client: Client, fault: dict[str, Any], status: int, code: str, row: str
) -> None:
    make_preset()
    with faults(session=fault):
        refused(post_start(client), status, code)
    session = PersoSession.objects.get()
    assert (session.status, session.error_code) == (row, code)
    conversation = Conversation.objects.get()
    assert (conversation.ended_by, conversation.is_complete) == ("error", False)
    assert conversation.entries.get().kind == "error"


def test_staff_see_which_parameter_is_wrong(client: Client) -> None:
    make_preset(prompt="plp-gone")
    problem = refused(post_start(staff_client()), 502, "perso_refused")
    assert "does_not_exist (prompt)" in problem["hint"]
    assert "does_not_exist" in Conversation.objects.get().entries.get().data["message"]


@pytest.fixture
def key_row() -> Iterator[ApiKey]:
    """A default key that is not stored anywhere else during the test."""
    yield ApiKey.objects.create(name="Main", secret=KEY, is_default=True)
    entries = list(Conversation.objects.values_list("entries__data"))
    sessions = list(PersoSession.objects.values_list("params", "error_code"))
    assert KEY not in json.dumps([entries, sessions])


def at(key_row: ApiKey, server: str) -> None:
    ApiKey.objects.update(api_server=server)
    make_preset(has_intro=False)


def test_key_repeated_by_perso_is_not_passed_on(
    key_row: ApiKey, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    told = json.dumps(
        {"errors": [{"code": "x", "detail": f"bad key {KEY}", "attr": None}]}
    ).encode()
    with raw_server(http_answer(401, told)) as (server, asked):
        at(key_row, server)
        problem = refused(post_start(staff_client()), 502, "perso_refused")
    assert "Check the API key" in problem["hint"]
    assert KEY.encode() in asked[0]
    assert "did not start" in caplog.text
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    "answer", [b"", http_answer(201, b'{"session_id": "abc"}')[:-9], b"\0\1\2" * 99]
)
def test_incomplete_answer_leaves_an_unknown_session(
    key_row: ApiKey, answer: bytes
) -> None:
    with raw_server(answer) as (server, asked):
        at(key_row, server)
        problem = refused(post_start(staff_client()), 504, "start_unknown")
    assert "bill" in problem["hint"]
    assert len(asked) == 1  # never retried, since each session may be billed
    assert PersoSession.objects.get().status == Status.UNKNOWN


def test_start_without_answer_times_out_and_counts_as_live(
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
    update_conversations(last_seen_at=timezone.now() - timedelta(minutes=6))
    refused(post_start(client), 503, "perso_unreachable")  # no longer full


def test_start_fails_when_perso_is_unreachable(key_row: ApiKey, client: Client) -> None:
    with raw_server(None) as (server, _):
        pass
    at(key_row, server)
    refused(post_start(client), 503, "perso_unreachable")
    assert PersoSession.objects.get().status == Status.FAILED


def test_start_without_key_shows_staff_the_fix(
    settings: Any,
) -> None:
    settings.PERSO = {"API_KEY": ""}
    make_preset()
    problem = refused(post_start(staff_client()), 503, "no_api_key")
    assert 'PERSO = {"API_KEY": "sandbox"}' in problem["hint"]
    assert not Conversation.objects.exists()


def test_unreadable_key_is_reported_as_missing(key_row: ApiKey, settings: Any) -> None:
    make_preset()
    client = staff_client()
    settings.PERSO = {
        "ENCRYPTION_KEYS": ["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]
    }
    key_row.save()
    settings.PERSO = {}
    assert "ENCRYPTION_KEYS" in refused(post_start(client), 503, "no_api_key")["hint"]


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_start_without_database_creates_nothing(
    client: Client, error: type[Exception]
) -> None:
    make_preset()

    def dead(*_: Any) -> None:
        raise error("server closed the connection unexpectedly")

    with faults(session={"status": 500}):
        before = created()
        with connection.execute_wrapper(dead):
            refused(post_start(client), 503, "database_unavailable")
    assert created() == before
    assert not Conversation.objects.exists()


@pytest.mark.parametrize("kind", ["INSERT", "UPDATE", "SELECT"])
def test_start_whose_query_fails_creates_nothing(client: Client, kind: str) -> None:
    make_preset()

    def dies(execute: Any, sql: str, *rest: Any) -> Any:
        if sql.startswith(kind) and "django_perso" in sql:
            raise OperationalError("gone")
        return execute(sql, *rest)

    before = created()
    with connection.execute_wrapper(dies):
        refused(post_start(client), 503, "database_unavailable")
    assert created() == before
