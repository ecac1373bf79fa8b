"""Frames are stored once and in order, whatever the browser sends."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from django_perso.models import Conversation, TranscriptEntry
from django_perso.services import Refused, transcripts
from tests.stage import events, make_conversation, update_conversations

pytestmark = pytest.mark.django_db


@pytest.fixture
def session() -> Conversation:
    return make_conversation(visitor="me", status="live")


def stored(session: Conversation) -> list[int]:
    """Return the numbers of the browser's entries in the order of the transcript."""
    entries = session.entries.filter(source="browser").order_by("pk")
    return list(entries.values_list("seq", flat=True))


def test_entries_are_stored_and_acknowledged(session: Conversation) -> None:
    assert transcripts.record(session.pk, events(1, 2)) == {"t": "ack", "s": 2}
    first = session.entries.get(seq=1)
    assert (first.source, first.kind, first.at_ms, first.offset) == (
        "browser",
        "chat",
        10,
        "00:00",
    )
    assert first.data == {"role": "visitor", "text": "line 1"}


@pytest.mark.parametrize(
    ("before", "frame", "answer", "after"),
    [
        ((1, 2), events(1, 2), {"t": "ack", "s": 2}, [1, 2]),
        ((1, 2), events(2, 3), {"t": "ack", "s": 3}, [1, 2, 3]),
        ((1, 2), events(), {"t": "ack", "s": 2}, [1, 2]),
        ((1,), events(3), {"t": "gap", "s": 1}, [1]),
        ((1,), events(2, 4), {"t": "gap", "s": 2}, [1, 2]),
        ((), events(2, 1), {"t": "gap", "s": 0}, []),
        ((), events(1, 1, 2), {"t": "ack", "s": 2}, [1, 2]),
        (
            (),
            events(1, rejected=(2, "too_big")),
            {"t": "reject", "s": [2], "code": "too_big"},
            [1],
        ),
        (
            (),
            events(rejected=(1, "bad_schema")),
            {"t": "reject", "s": [1], "code": "bad_schema"},
            [],
        ),
        ((1, 2), events(rejected=(2, "too_big")), {"t": "ack", "s": 2}, [1, 2]),
        ((1,), events(rejected=(5, "too_big")), {"t": "gap", "s": 1}, [1]),
        ((1,), events(3, rejected=(4, "too_big")), {"t": "gap", "s": 1}, [1]),
    ],
)
def test_repeated_and_reordered_entries_are_stored_once(
    session: Conversation,
    before: tuple[int, ...],
    frame: Any,
    answer: dict[str, Any],
    after: list[int],
) -> None:
    transcripts.record(session.pk, events(*before))
    assert transcripts.record(session.pk, frame) == answer
    assert stored(session) == after
    session.refresh_from_db()
    assert session.last_seq == len(after)


@given(st.lists(st.lists(st.integers(1, 8), max_size=6), max_size=8))
@hypothesis_settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_frames_store_and_acknowledge_the_same_prefix(
    frames: list[list[int]],
) -> None:
    session = make_conversation(visitor="me")
    for numbers in frames:
        answer = transcripts.record(session.pk, events(*numbers))
        assert stored(session) == list(range(1, answer["s"] + 1))
        assert answer["t"] == (
            "ack" if max(numbers, default=0) <= answer["s"] else "gap"
        )


def test_stored_entry_is_not_overwritten(session: Conversation) -> None:
    transcripts.record(session.pk, events(1))
    other = events(1)
    other.items[0].d["text"] = "changed"
    transcripts.record(session.pk, other)
    assert session.entries.get().data["text"] == "line 1"


def test_empty_frame_updates_last_seen_at(
    session: Conversation,
) -> None:
    update_conversations(last_seen_at=timezone.now() - timedelta(hours=1))
    transcripts.record(session.pk, events())
    session.refresh_from_db()
    assert timezone.now() - session.last_seen_at < timedelta(seconds=10)


def test_socket_with_older_lease_writes_nothing(session: Conversation) -> None:
    update_conversations(lease=2)
    with pytest.raises(transcripts.Superseded):
        transcripts.record(session.pk, events(1), lease=1)
    assert stored(session) == []
    assert transcripts.record(session.pk, events(1), lease=2) == {"t": "ack", "s": 1}
    # A POST has no lease.
    assert transcripts.record(session.pk, events(2)) == {"t": "ack", "s": 2}


def test_entries_of_deleted_conversation_are_refused(
    session: Conversation,
) -> None:
    stream = session.pk
    session.delete()
    with pytest.raises(Refused) as caught:
        transcripts.record(stream, events(1))
    assert (caught.value.code, caught.value.status) == ("no_stream", 404)


def test_entries_after_the_goodbye_are_refused(session: Conversation) -> None:
    transcripts.record(session.pk, events(1, 2))
    update_conversations(is_complete=True)
    assert transcripts.record(session.pk, events(2, 1)) == {"t": "ack", "s": 2}
    with pytest.raises(Refused) as caught:
        transcripts.record(session.pk, events(1, 2, 3))
    assert (caught.value.status, stored(session)) == (404, [1, 2])


def put_in_a_nul(kind: str, data: dict[str, Any]) -> dict[str, Any]:
    """Redact as a site might, and leave a character that PostgreSQL refuses."""
    return {**data, "text": "a\x00b"}


def test_unusable_redactor_stores_nothing(settings: Any, session: Conversation) -> None:
    settings.PERSO = {**settings.PERSO, "REDACTOR": "mysite.privacy.redact"}
    with pytest.raises(ImproperlyConfigured, match=r"mysite\.privacy\.redact"):
        transcripts.record(session.pk, events(1))
    assert stored(session) == []
    # A report without entries, such as that before a bye, is answered all the same.
    assert transcripts.record(session.pk, events()) == {"t": "ack", "s": 0}


@pytest.mark.django_db(transaction=True)
def test_nul_from_redactor_is_replaced(settings: Any, either_database: str) -> None:
    settings.PERSO = {**settings.PERSO, "REDACTOR": f"{__name__}.put_in_a_nul"}
    session = make_conversation(visitor="me", status="live")
    assert transcripts.record(session.pk, events(1)) == {"t": "ack", "s": 1}
    assert session.entries.get(seq=1).data["text"] == "a\ufffdb"


def test_entries_of_the_server_are_numbered_separately(session: Conversation) -> None:
    transcripts.record(session.pk, events(1))
    for name in ("started", "ended"):
        transcripts.note(session, TranscriptEntry.Kind.STATE, {"name": name})
    transcripts.record(session.pk, events(2))
    entries = session.entries.order_by("pk").values_list("source", "seq")
    assert list(entries) == [
        ("browser", 1),
        ("server", 1),
        ("server", 2),
        ("browser", 2),
    ]


@pytest.mark.django_db(transaction=True)
def test_entries_sent_by_socket_and_post_are_stored_once() -> None:
    session = make_conversation(visitor="me", lease=1)
    answers: list[dict[str, Any]] = []
    together = threading.Barrier(4)

    def write(lease: int | None) -> None:
        together.wait()
        for first in range(1, 41, 4):
            answers.append(
                transcripts.record(
                    session.pk, events(*range(first, first + 4)), lease=lease
                )
            )
        connection.close()

    threads = [
        threading.Thread(target=write, args=(lease,)) for lease in (1, None, 1, None)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 40
    assert stored(session) == list(range(1, 41))
    assert {answer["t"] for answer in answers} == {"ack"}
