"""Silent conversations are ended once, and Perso is asked for the reason."""

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
from django_perso.log.frames import Hello
from django_perso.models import Conversation, PersoSession, SessionPreset
from django_perso.services import (
    connections,
    limits,
    sweeping,
    tickets,
    transcripts,
)
from django_perso.services.limits import Visitor
from django_perso.services.starting import Started
from django_perso.signals import conversation_ended
from tests.stage import (
    begin,
    events,
    faults,
    http_answer,
    make_conversation,
    make_preset,
    raw_server,
    update_conversations,
)

Status = PersoSession.Status
SILENT = 6  # minutes


@pytest.fixture(autouse=True)
def _no_start_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping._lazy_close, "due_at", inf)


def conversation(minutes: float = SILENT, **values: Any) -> Conversation:
    at = timezone.now() - timedelta(minutes=minutes)
    return make_conversation(
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
    update_conversations(created_at=then, last_seen_at=then)


def conversations(sessions: list[PersoSession]) -> list[Conversation | None]:
    return [session.conversation for session in sessions]


def swept(**numbers: int) -> dict[str, int]:
    return {"closed": 0, "running": 0, "settled": 0, "unsettled": 0, **numbers}


def endings(session: Conversation) -> list[Any]:
    return list(
        session.entries.filter(source="server", data__name="ended").values_list(
            "data", flat=True
        )
    )


@pytest.fixture
def heard() -> Iterator[list[Conversation]]:
    """The conversations for which `conversation_ended` was sent.

    An earlier receiver of the signal always fails.
    """
    told: list[Conversation] = []

    def fail(**_: Any) -> None:
        raise ValueError("a receiver of the site's")

    def note(conversation: Conversation, **_: Any) -> None:
        assert not connection.in_atomic_block
        stored = Conversation.objects.get(pk=conversation.pk)
        assert stored.ended_at == conversation.ended_at
        assert stored.ended_by == conversation.ended_by != ""
        told.append(conversation)

    conversation_ended.connect(fail)
    conversation_ended.connect(note)
    yield told
    conversation_ended.disconnect(fail)
    conversation_ended.disconnect(note)


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
def test_only_silent_running_sessions_are_ended(
    status: str, minutes: float, closes: bool
) -> None:
    row = conversation(minutes, status=status)
    session = PersoSession.objects.get()
    assert sweeping.close_stale(10) == ([session] if closes else [])
    row.refresh_from_db()
    session.refresh_from_db()
    if closes:
        assert (session.status, session.ended_at) == (Status.ENDED, row.last_seen_at)
        assert (row.ended_by, row.ended_at) == ("silence", row.last_seen_at)
        assert session.ended_by == "silence"
        assert endings(row) == [{"name": "ended", "how": "silence"}]
        assert not row.is_complete
        assert not limits.live(timezone.now()).exists()
    else:
        assert (session.status, session.ended_at) == (status, None)
        assert (row.ended_at, endings(row)) == (None, [])


def test_signal_is_sent_once_although_a_receiver_fails(
    either_database: str, heard: list[Conversation]
) -> None:
    silent = [conversation(n) for n in (8, 7, 6)]
    assert conversations(sweeping.close_stale(2)) == silent[:2]
    assert conversations(sweeping.close_stale(2)) == silent[2:]
    assert sweeping.close_stale(2) == []
    assert heard == silent


def test_entry_recorded_during_a_sweep_prevents_the_end(
    either_database: str, heard: list[Conversation]
) -> None:
    first, second = conversation(7), conversation(6)

    def revive(**_: Any) -> None:
        # When the first conversation ends, the sweep has already read the second.
        transcripts.record(second.pk, events(1))

    conversation_ended.connect(revive)
    assert conversations(sweeping.close_stale(10)) == [first]
    conversation_ended.disconnect(revive)
    second.refresh_from_db()
    assert (second.ended_at, heard) == (None, [first])
    assert second.perso_sessions.get().status == Status.LIVE


def test_concurrent_sweeps_end_each_conversation_once(
    either_database: str, heard: list[Conversation]
) -> None:
    silent = [conversation() for _ in range(40)]
    closed: list[PersoSession] = []
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
        sorted(s.conversation_id for s in closed if s.conversation_id)
        == sorted(s.pk for s in heard)
        == sorted(s.pk for s in silent)
    )
    assert {len(endings(session)) for session in silent} == {1}


@pytest.mark.django_db
def test_first_of_two_starts_ends_a_few_silent_conversations(monkeypatch: Any) -> None:
    monkeypatch.setattr(sweeping._lazy_close, "due_at", -inf)
    silent = [conversation() for _ in range(sweeping.LAZY_LIMIT + 2)]
    for _ in range(2):
        start()
        assert sum(len(endings(session)) for session in silent) == sweeping.LAZY_LIMIT


@pytest.mark.django_db
def test_sweep_without_silent_sessions_is_one_indexed_query(
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


# --- Perso ----------------------------------------------------------------------------


def start(**extra: Any) -> Started:
    if not SessionPreset.objects.exists():
        make_preset(max_live=100, starts_per_hour=1000)
    return async_to_sync(begin)("guide", Visitor("me"))


def finish(started: Started) -> None:
    """End the session at Perso."""
    call = calls.send_session_event(started.session.session_id.reveal(), "SESSION_END")
    connections.client(connections.without_key(started.session)).send(call)


@pytest.mark.django_db
def test_browser_that_returns_delivers_its_entries() -> None:
    started = start()
    fall_silent()
    sweeping.close_stale(10)
    hello = Hello(started.conversation.pk, tickets.issue(started.conversation))
    row = tickets.open_log(hello)
    assert transcripts.record(row.pk, events(1, 2)) == {"t": "ack", "s": 2}
    row.refresh_from_db()
    assert (row.ended_by, row.last_seq) == ("silence", 2)
    fall_silent()
    assert sweeping.close_stale(10) == []
    assert len(endings(row)) == 1


@pytest.mark.django_db
def test_reason_and_seconds_are_those_of_perso() -> None:
    started = start()
    finish(started)
    fall_silent()
    assert sweeping.sweep() == swept(closed=1, settled=1)
    row = Conversation.objects.get()
    assert endings(row) == [
        {"name": "ended", "how": "remote", "reason": "GRACEFUL_TERMINATION"}
    ]
    assert (row.ended_by, row.ended_at) == ("remote", row.last_seen_at)
    session = PersoSession.objects.get()
    assert (session.status, session.ended_by) == (Status.ENDED, "remote")
    assert session.termination_reason == "GRACEFUL_TERMINATION"
    assert session.duration_seconds is not None
    assert session.duration_seconds >= 0
    assert session.settled_at is not None
    assert not row.is_complete
    with faults(info={"status": 500}):
        assert sweeping.sweep() == swept()  # nothing is asked twice


@pytest.mark.django_db
@pytest.mark.parametrize(
    "fault", [{"status": 500}, {"status": 200, "body": "html"}, {"status": 404}]
)
def test_sweep_asks_again_while_perso_gives_no_reason(fault: dict[str, Any]) -> None:
    finish(start())
    fall_silent()
    with faults(info=fault):
        assert sweeping.sweep() == swept(closed=1, unsettled=1)
    assert sweeping.sweep() == swept(settled=1)
    assert PersoSession.objects.get().termination_reason == "GRACEFUL_TERMINATION"


@pytest.mark.django_db
def test_session_unknown_to_perso_is_settled_without_logging(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gone = conversation(session_id="psn-gone", status=Status.ENDED).perso_sessions.get()
    told = conversation(
        session_id="psn-2",
        status=Status.ENDED,
        termination_reason="GRACEFUL_TERMINATION",
    ).perso_sessions.get()
    assert sweeping.sweep() == swept(settled=2)
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
def test_conversation_ended_by_goodbye_is_settled() -> None:
    finish(start())
    update_conversations(status=Status.ENDED, ended_at=timezone.now(), is_complete=True)
    assert sweeping.sweep() == swept(settled=1)
    assert Conversation.objects.get().is_complete


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
def test_silent_session_running_at_perso_counts_as_live(
    status: str,
) -> None:
    with raw_server(told("IN_PROGRESS")) as (server, _):
        row = conversation(4, session_id="psn-1", api_server=server, status=status)
        session = row.perso_sessions.get()
        for minutes in (0, 4, 8, 12):
            now = timezone.now() + timedelta(minutes=minutes)
            assert sweeping.sweep(now=now)["running"] == 1
            assert list(limits.live(now + timedelta(minutes=4))) == [session]
    session.refresh_from_db()
    assert (session.status, endings(row)) == (status, [])


@pytest.mark.django_db
def test_page_that_stops_reporting_is_noted_once_for_each_silence() -> None:
    def silences() -> int:
        return row.entries.filter(source="server", data={"name": "log_silent"}).count()

    with raw_server(told("IN_PROGRESS")) as (server, _):
        row = conversation(4, session_id="psn-1", api_server=server)
        sweeping.sweep()
        sweeping.sweep()
        assert silences() == 1
        update_conversations(last_seen_at=timezone.now())
        sweeping.sweep()
        assert silences() == 1
        sweeping.sweep(now=timezone.now() + timedelta(minutes=3))
        sweeping.sweep(now=timezone.now() + timedelta(minutes=4))
        assert silences() == 2


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("answer", "reason"), [(None, "GRACEFUL_TERMINATION"), (NO_SUCH, "NOT_FOUND")]
)
def test_session_ended_at_perso_ends_despite_recent_activity(
    answer: bytes | None, reason: str, heard: list[Conversation]
) -> None:
    with raw_server(answer or b"") as (server, _):
        if answer:
            row = conversation(3, session_id="psn-1", api_server=server)
        else:
            finish(started := start())
            row = started.conversation
            update_conversations(created_at=timezone.now() - sweeping.ASK_AFTER)
        update_conversations(last_seen_at=timezone.now())
        assert sweeping.sweep() == swept(closed=1, settled=1)
    session = PersoSession.objects.get()
    assert (session.status, session.termination_reason) == (Status.ENDED, reason)
    assert session not in limits.live(timezone.now())
    assert endings(row) == [{"name": "ended", "how": "remote", "reason": reason}]


@pytest.mark.django_db
def test_session_in_sandbox_of_another_process_is_not_ended() -> None:
    conversation(3, session_id="psn-elsewhere", last_seen_at=timezone.now())
    assert sweeping.sweep() == swept()
    assert PersoSession.objects.get().status == Status.LIVE


@pytest.mark.django_db
def test_perso_is_asked_for_a_day() -> None:
    with raw_server(told("TERMINATED")) as (server, asked):
        conversation(
            23 * 60, session_id="psn-2", api_server=server, status=Status.ENDED
        )
        assert sweeping.sweep() == swept(unsettled=1)
        assert sweeping.sweep(now=timezone.now() + timedelta(hours=2)) == swept()
    assert len(asked) == 1


@pytest.mark.django_db
def test_session_that_cannot_be_asked_about_does_not_stop_sweep(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    conversation(session_id="psn-secret", api_server="http://elsewhere.example")
    conversation()  # no session was ever made
    unreadable = conversation(session_id="psn-secret")
    Conversation.objects.filter(pk=unreadable.pk).update(visitor="other")
    settings.SECRET_KEY = "another"
    finish(start())
    fall_silent()
    assert sweeping.sweep() == swept(closed=4, settled=1, unsettled=3)
    assert "psn-secret" not in caplog.text


@pytest.mark.django_db
def test_sweep_asks_in_parallel_until_the_deadline(
    sandbox_server: Any,
) -> None:
    sandbox = sandbox_server("--latency", "250")
    started = start()
    account = connections.Connection(Secret("sandbox"), sandbox.url)
    session_id = connections.client(account).send(
        calls.create_session_id(**started.session.params)
    )
    connections.client(account).send(
        calls.send_session_event(session_id, "SESSION_END")
    )
    for _ in range(48):
        conversation(session_id=session_id, api_server=sandbox.url)
    began = time.monotonic()
    # Three rounds of eight fit, and the sweep waits for the last one.
    first = sweeping.sweep(seconds=0.6)
    assert time.monotonic() - began < 2.5
    assert first["closed"] == 48
    assert 8 <= first["settled"] <= 32
    assert first["settled"] + first["unsettled"] == 48
    assert sweeping.sweep() == swept(settled=first["unsettled"])
    assert (
        sandbox.ledger()["sessions"][0]["termination_reason"] == "GRACEFUL_TERMINATION"
    )


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("minutes", "values", "is_neglected"),
    [
        (61, {}, True),
        (59, {}, False),
        (61, {"termination_reason": "GRACEFUL_TERMINATION"}, False),
        (61, {"error_code": "start_unknown"}, False),
        (25 * 60, {}, False),
    ],
)
def test_ended_session_is_neglected_until_perso_was_asked(
    minutes: float, values: dict[str, Any], is_neglected: bool
) -> None:
    ended_at = timezone.now() - timedelta(minutes=minutes)
    conversation(minutes, status=Status.ENDED, ended_at=ended_at, **values)
    assert sweeping.neglected().exists() is is_neglected
