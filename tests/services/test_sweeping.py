"""Conversations nobody hears of any more are ended, once, and Perso is asked how."""

import logging
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from math import inf
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.utils import timezone

from django_perso.client import calls
from django_perso.fields import Secret
from django_perso.models import AvatarSession, SessionPreset
from django_perso.protocol import Hello
from django_perso.services import limits, sessions, sweeping, transcripts, upstream
from django_perso.services.limits import Visitor
from django_perso.services.sessions import Started
from django_perso.signals import session_ended
from tests.stage import events, faults, http_answer, make_preset, raw_server

Status = AvatarSession.Status
SILENT = 6  # minutes


@pytest.fixture(autouse=True)
def _no_start_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "_looked_at", inf)


def conversation(minutes: float = SILENT, **values: Any) -> AvatarSession:
    at = timezone.now() - timedelta(minutes=minutes)
    return AvatarSession.objects.create(
        **{
            "visitor": "me",
            "status": Status.LIVE,
            "created_at": at,
            "last_seen_at": at,
            **values,
        }
    )


def fall_silent(minutes: float = SILENT) -> None:
    then = timezone.now() - timedelta(minutes=minutes)
    AvatarSession.objects.update(created_at=then, last_seen_at=then)


def swept(**numbers: int) -> dict[str, int]:
    return {"closed": 0, "running": 0, "told": 0, "untold": 0, **numbers}


def endings(session: AvatarSession) -> list[Any]:
    return list(
        session.entries.filter(source="server", data__name="ended").values_list(
            "data", flat=True
        )
    )


@pytest.fixture
def heard() -> Iterator[list[AvatarSession]]:
    """The conversations of which `session_ended` was sent; a receiver before that fails each time."""
    told: list[AvatarSession] = []

    def fail(**_: Any) -> None:
        raise ValueError("a receiver of the site's")

    def note(avatar_session: AvatarSession, **_: Any) -> None:
        assert not connection.in_atomic_block
        assert (
            AvatarSession.objects.get(pk=avatar_session.pk).status
            == avatar_session.status
            == "ended"
        )
        told.append(avatar_session)

    session_ended.connect(fail)
    session_ended.connect(note)
    yield told
    session_ended.disconnect(fail)
    session_ended.disconnect(note)


@pytest.mark.parametrize(
    ("status", "minutes", "closes"),
    [
        (Status.STARTING, SILENT, True),
        (Status.LIVE, SILENT, True),
        (Status.UNKNOWN, SILENT, True),
        (Status.FAILED, SILENT, False),
        (Status.ENDED, SILENT, False),
        (Status.LIVE, 4.9, False),
        (Status.STARTING, 0, False),
    ],
)
@pytest.mark.django_db
def test_what_may_run_and_is_silent_is_ended_and_nothing_else(
    status: str, minutes: float, closes: bool
) -> None:
    session = conversation(minutes, status=status)
    assert sweeping.close_stale(10) == ([session] if closes else [])
    session.refresh_from_db()
    if closes:
        assert (session.status, session.ended_at) == (
            Status.ENDED,
            session.last_seen_at,
        )
        assert endings(session) == [{"name": "ended", "how": "silence"}]
        assert not session.is_complete
        assert not limits.live(timezone.now()).exists()
    else:
        assert (session.status, session.ended_at, endings(session)) == (
            status,
            None,
            [],
        )


def test_an_ending_is_told_once_after_the_commit_whatever_a_receiver_does(
    either_database: str, heard: list[AvatarSession]
) -> None:
    silent = [conversation(n) for n in (8, 7, 6)]
    assert sweeping.close_stale(2) == silent[:2]
    assert sweeping.close_stale(2) == silent[2:]
    assert sweeping.close_stale(2) == []
    assert heard == silent


def test_a_sign_of_life_between_the_look_and_the_end_saves_a_conversation(
    either_database: str, heard: list[AvatarSession]
) -> None:
    first, second = conversation(7), conversation(6)

    def revive(
        **_: Any,
    ) -> None:  # while the first is closed the second has been read already
        transcripts.record(second.pk, events(1))

    session_ended.connect(revive)
    assert sweeping.close_stale(10) == [first]
    session_ended.disconnect(revive)
    second.refresh_from_db()
    assert (second.status, second.ended_at, heard) == (Status.LIVE, None, [first])


def test_two_sweepers_end_each_conversation_once(
    either_database: str, heard: list[AvatarSession]
) -> None:
    silent = [conversation() for _ in range(40)]
    closed: list[AvatarSession] = []
    together = threading.Barrier(3)

    def sweep() -> None:
        together.wait()
        closed.extend(sweeping.close_stale(100))
        connection.close()

    threads = [threading.Thread(target=sweep) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (
        sorted(s.pk for s in closed)
        == sorted(s.pk for s in heard)
        == sorted(s.pk for s in silent)
    )
    assert {len(endings(session)) for session in silent} == {1}


@pytest.mark.django_db
def test_a_start_closes_a_few_on_the_way_and_not_every_start(monkeypatch: Any) -> None:
    monkeypatch.setattr(sweeping, "_looked_at", -inf)
    silent = [conversation() for _ in range(sweeping.LAZY_LIMIT + 2)]
    for _ in range(2):
        start()
        assert sum(len(endings(session)) for session in silent) == sweeping.LAZY_LIMIT


@pytest.mark.django_db
def test_where_nobody_is_silent_a_sweep_is_one_query_by_an_index(
    django_assert_num_queries: Any,
) -> None:
    conversation(0)
    with django_assert_num_queries(1) as queries:
        assert sweeping.close_stale(10) == []
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN QUERY PLAN " + queries[0]["sql"])
        assert "USING INDEX perso_session_live (status=? AND last_seen_at<?)" in str(
            cursor.fetchall()
        )


# --- Perso ------------------------------------------------------------------------------------------


def start(**extra: Any) -> Started:
    if not SessionPreset.objects.exists():
        make_preset(max_live=100, starts_per_hour=1000)
    return async_to_sync(sessions.start)(lambda: ("guide", Visitor("me")))


def finish(started: Started) -> None:
    """The avatar's session ends on Perso's side."""
    call = calls.send_session_event(started.session.session_id.reveal(), "SESSION_END")
    upstream.client(upstream.account_of(started.session)).send(call)


@pytest.mark.django_db
def test_a_browser_that_comes_back_delivers_what_it_kept_and_the_end_stays() -> None:
    started = start()
    fall_silent()
    sweeping.close_stale(10)
    session = sessions.open_stream(
        Hello(started.session.pk, sessions.ticket(started.session)), "me"
    )
    assert transcripts.record(session.pk, events(1, 2)) == {"t": "ack", "s": 2}
    session.refresh_from_db()
    assert (session.status, session.last_seq) == (Status.ENDED, 2)
    fall_silent()
    assert sweeping.close_stale(10) == []
    assert len(endings(session)) == 1


@pytest.mark.django_db
def test_perso_says_how_it_ended_and_how_long_it_was() -> None:
    started = start()
    finish(started)
    fall_silent()
    assert sweeping.sweep() == swept(closed=1, told=1)
    row = AvatarSession.objects.get()
    assert endings(row) == [
        {"name": "ended", "how": "remote", "reason": "GRACEFUL_TERMINATION"}
    ]
    assert row.termination_reason == "GRACEFUL_TERMINATION"
    assert row.duration_seconds is not None
    assert row.duration_seconds >= 0
    assert not row.is_complete
    with faults(info={"status": 500}):
        assert sweeping.sweep() == swept()  # nothing is asked twice


@pytest.mark.django_db
@pytest.mark.parametrize(
    "fault", [{"status": 500}, {"status": 200, "body": "html"}, {"status": 404}]
)
def test_while_perso_does_not_say_it_is_asked_again(fault: dict[str, Any]) -> None:
    finish(start())
    fall_silent()
    with faults(info=fault):
        assert sweeping.sweep() == swept(closed=1, untold=1)
    assert sweeping.sweep() == swept(told=1)
    assert AvatarSession.objects.get().termination_reason == "GRACEFUL_TERMINATION"


@pytest.mark.django_db
def test_a_session_perso_does_not_know_any_more_is_settled_without_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gone = conversation(session_id="psn-gone", status=Status.ENDED)
    told = conversation(
        session_id="psn-2",
        status=Status.ENDED,
        termination_reason="GRACEFUL_TERMINATION",
    )
    assert sweeping.sweep() == swept(told=2)
    assert "django_perso" not in {record.name for record in caplog.records}
    gone.refresh_from_db()
    told.refresh_from_db()
    assert (gone.termination_reason, gone.duration_seconds) == ("NOT_FOUND", 0)
    assert (told.termination_reason, told.duration_seconds) == (
        "GRACEFUL_TERMINATION",
        0,
    )
    with faults(info={"status": 500}):
        assert sweeping.sweep() == swept()  # nothing is asked twice


@pytest.mark.django_db
def test_a_conversation_that_was_said_goodbye_to_gets_its_reason_too() -> None:
    finish(start())
    AvatarSession.objects.update(
        status=Status.ENDED, ended_at=timezone.now(), is_complete=True
    )
    assert sweeping.sweep() == swept(told=1)
    assert AvatarSession.objects.get().is_complete


def told(status: str) -> bytes:
    return http_answer(
        200, b'{"session_id": "psn-1", "status": "%s"}' % status.encode()
    )


NO_SUCH = http_answer(
    404,
    b'{"errors": [{"code": "not_found", "detail": "No such session.", "attr": null}]}',
)


@pytest.mark.django_db
@pytest.mark.parametrize("status", [Status.LIVE, Status.ENDED])
def test_what_perso_bills_keeps_its_place_however_silent_its_browser_is(
    status: str,
) -> None:
    with raw_server(told("IN_PROGRESS")) as (server, _):
        session = conversation(4, session_id="psn-1", api_server=server, status=status)
        for minutes in (0, 4, 8, 12):
            now = timezone.now() + timedelta(minutes=minutes)
            assert sweeping.sweep(now=now)["running"] == 1
            assert list(limits.live(now + timedelta(minutes=4))) == [session]
    session.refresh_from_db()
    assert (session.status, endings(session)) == (status, [])


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("answer", "reason"), [(None, "GRACEFUL_TERMINATION"), (NO_SUCH, "NOT_FOUND")]
)
def test_what_perso_has_ended_is_over_however_much_its_browser_chatters(
    answer: bytes | None, reason: str, heard: list[AvatarSession]
) -> None:
    with raw_server(answer or b"") as (server, _):
        if answer:
            session = conversation(3, session_id="psn-1", api_server=server)
        else:
            finish(started := start())
            session = started.session
            AvatarSession.objects.update(created_at=timezone.now() - sweeping.ASK_AFTER)
        AvatarSession.objects.update(last_seen_at=timezone.now())
        assert sweeping.sweep() == swept(closed=1, told=1)
    session.refresh_from_db()
    assert (session.status, session.termination_reason) == (Status.ENDED, reason)
    assert session not in limits.live(timezone.now())
    assert endings(session) == [{"name": "ended", "how": "remote", "reason": reason}]


@pytest.mark.django_db
def test_a_live_conversation_of_another_process_s_emulator_is_let_live() -> None:
    conversation(3, session_id="psn-elsewhere", last_seen_at=timezone.now())
    assert sweeping.sweep() == swept()
    assert AvatarSession.objects.get().status == Status.LIVE


@pytest.mark.django_db
def test_perso_is_asked_for_a_day() -> None:
    with raw_server(told("TERMINATED")) as (server, asked):
        conversation(
            23 * 60, session_id="psn-2", api_server=server, status=Status.ENDED
        )
        assert sweeping.sweep() == swept(untold=1)
        assert sweeping.sweep(now=timezone.now() + timedelta(hours=2)) == swept()
    assert len(asked) == 1


@pytest.mark.django_db
def test_what_cannot_be_asked_stops_nobody(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    conversation(session_id="psn-secret", api_server="http://elsewhere.example")
    conversation()  # no session was ever made
    unreadable = conversation(session_id="psn-secret")
    AvatarSession.objects.filter(pk=unreadable.pk).update(visitor="other")
    settings.SECRET_KEY = "another"
    finish(start())
    fall_silent()
    assert sweeping.sweep() == swept(closed=4, told=1, untold=3)
    assert "psn-secret" not in caplog.text


@pytest.mark.django_db
def test_many_are_asked_about_at_once_and_none_after_the_deadline(
    sandbox_server: Any,
) -> None:
    sandbox = sandbox_server("--latency", "250")
    started = start()
    account = upstream.Account(Secret("sandbox"), sandbox.url)
    session_id = upstream.client(account).send(
        calls.create_session_id(**started.session.params)
    )
    upstream.client(account).send(calls.send_session_event(session_id, "SESSION_END"))
    for _ in range(48):
        conversation(session_id=session_id, api_server=sandbox.url)
    began = time.monotonic()
    first = sweeping.sweep(
        seconds=0.6
    )  # three rounds of eight fit, and the last is waited for
    assert time.monotonic() - began < 2.5
    assert first["closed"] == 48
    assert 8 <= first["told"] <= 32
    assert first["told"] + first["untold"] == 48
    assert sweeping.sweep() == swept(told=first["untold"])
    assert (
        sandbox.ledger()["sessions"][0]["termination_reason"] == "GRACEFUL_TERMINATION"
    )
