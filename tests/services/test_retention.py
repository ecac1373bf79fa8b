"""Conversations are deleted after their retention period, or on request."""

import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction
from django.utils import timezone

from django_perso.models import Conversation, SessionPreset, TranscriptEntry
from django_perso.services import Refused, retention, transcripts
from tests.stage import SANDBOX, events, make_conversation, make_preset

NOTHING = {"conversations": 0, "entries": 0}


def deleted(
    conversations: int, entries: int, perso_sessions: int = 0
) -> dict[str, int]:
    return {
        "conversations": conversations,
        "entries": entries,
        "perso_sessions": perso_sessions,
    }


def conversation(
    days: float, *, entries: int = 2, preset: SessionPreset | None = None, **values: Any
) -> Any:
    at = timezone.now() - timedelta(days=days)
    usual = {
        "visitor": "me",
        "status": "ended",
        "created_at": at,
        "last_seen_at": at,
        "preset": preset,
    }
    session = make_conversation(**{**usual, **values})
    TranscriptEntry.objects.bulk_create(
        TranscriptEntry(
            conversation=session,
            source="browser",
            seq=n + 1,
            kind="chat",
            at_ms=n,
            data={"text": "hi"},
        )
        for n in range(entries)
    )
    return session


def keep_days(settings: Any, days: int | None) -> None:
    settings.PERSO = {**SANDBOX, "RETENTION_DAYS": days}


def left() -> set[Any]:
    return set(Conversation.objects.all())


def test_days_of_a_preset_overrule_those_of_the_settings(
    either_database: str, settings: Any
) -> None:
    keep_days(settings, 90)
    short, own, usual = (
        make_preset(slug=slug, retention_days=days)
        for slug, days in (("short", 1), ("own", 365), ("usual", None))
    )
    stay = {
        conversation(0.9, preset=short),
        conversation(364, preset=own),
        conversation(89, preset=usual),
        conversation(89),
        # A long conversation, or one whose entries arrived late.
        conversation(200, preset=usual, last_seen_at=timezone.now()),
        conversation(2, preset=short, status="live", last_seen_at=timezone.now()),
    }
    go = [
        conversation(1.1, preset=short, entries=0),
        conversation(366, preset=own, entries=1),
        conversation(91, preset=usual, status="failed"),
        conversation(91),
        conversation(91, status="live"),  # nobody has swept it
    ]
    assert set(retention.expired(timezone.now())) == set(go)
    assert retention.purge(dry_run=True) == deleted(5, 7)
    assert left() == stay | set(go)
    # Four of the five are older than the period for which sessions are kept.
    assert retention.purge() == deleted(5, 7, perso_sessions=4)
    assert left() == stay
    assert TranscriptEntry.objects.count() == 12
    assert retention.purge() == deleted(0, 0)


@pytest.mark.django_db
def test_purge_without_retention_days_deletes_nothing(settings: Any) -> None:
    keep_days(settings, None)
    preset = make_preset()
    conversation(9000, preset=preset)
    conversation(9000)
    assert retention.periods() == {}
    assert retention.purge() == deleted(0, 0)
    preset.retention_days = 30
    preset.save()
    assert retention.purge() == deleted(1, 2, perso_sessions=1)
    assert Conversation.objects.get().preset is None


def test_purge_deletes_more_than_one_batch(either_database: str, settings: Any) -> None:
    keep_days(settings, 1)
    for n in range(2 * retention.BATCH + 1):
        conversation(2 + n % 7, entries=1)
    stays = conversation(0)
    assert retention.purge() == deleted(101, 101)
    assert left() == {stays}


def test_conversation_active_during_a_purge_is_kept(
    either_database: str, settings: Any
) -> None:
    keep_days(settings, 1)
    first, second = conversation(3), conversation(2)
    was_written = threading.Event()

    def come_back() -> None:
        with transaction.atomic():
            Conversation.objects.filter(pk=second.pk).update(
                last_seen_at=timezone.now()
            )
            was_written.set()
            time.sleep(0.5)  # the purge has read by now, and waits for the row
        connection.close()

    thread = threading.Thread(target=come_back)
    thread.start()
    was_written.wait()
    assert retention.purge() == deleted(1, 2)
    thread.join()
    assert left() == {second}
    assert second.entries.count() == 2
    assert not TranscriptEntry.objects.filter(conversation=first).exists()


def test_concurrent_purges_delete_each_conversation_once(
    either_database: str, settings: Any
) -> None:
    keep_days(settings, 1)
    for _ in range(120):
        conversation(2, entries=1)
    done: list[dict[str, int]] = []

    def purge() -> None:
        done.append(retention.purge())
        connection.close()

    threads = [threading.Thread(target=purge) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [
        sum(counts[name] for counts in done) for name in ("conversations", "entries")
    ] == [120, 120]
    assert left() == set()


# --- erasing --------------------------------------------------------------------------


def test_erasing_a_visitor_leaves_others(either_database: str) -> None:
    theirs = [conversation(days, visitor="me") for days in (0, 1, 900)]
    theirs.append(conversation(0, visitor="me", status="live"))
    stays = {conversation(1, visitor=other) for other in ("me2", "m", "")}
    stays.add(conversation(1, visitor="me", user=User.objects.create(username="u")))
    assert retention.erase(visitor="me", dry_run=True) == {
        "conversations": 4,
        "entries": 8,
    }
    assert left() == {*theirs, *stays}
    assert retention.erase(visitor="me") == {"conversations": 4, "entries": 8}
    assert left() == stays
    with pytest.raises(Refused) as caught:
        transcripts.record(theirs[3].pk, events(3))  # its socket is still open
    assert caught.value.status == 404
    assert retention.erase(visitor="me") == NOTHING


def test_erasing_a_user_leaves_others(either_database: str) -> None:
    user, other = (User.objects.create(username=name) for name in ("u", "o"))
    conversation(1, user=user, visitor="phone")
    conversation(1, user=user, visitor="laptop")
    stays = {conversation(1, user=other), conversation(1, user=None, visitor="phone")}
    assert retention.erase(user=user) == {"conversations": 2, "entries": 4}
    assert left() == stays
    assert User.objects.filter(pk=user.pk).exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "whose", [{}, {"visitor": ""}, {"user": None}, {"visitor": "me", "user": object()}]
)
def test_erase_requires_a_visitor_or_a_user(whose: dict[str, Any]) -> None:
    conversation(1, visitor="")
    with pytest.raises(ValueError, match="either a visitor or a user"):
        retention.erase(**whose)
    assert Conversation.objects.exists()


@pytest.mark.django_db
def test_erasing_clears_admin_history_except_user_and_time() -> None:
    staff = User.objects.create(username="staff")
    gone = conversation(1, visitor="me")
    stays = conversation(1, visitor="you")
    kind = ContentType.objects.get_for_model(Conversation)
    preset = ContentType.objects.get_for_model(SessionPreset)
    for session, content_type in ((gone, kind), (stays, kind), (gone, preset)):
        LogEntry.objects.create(
            user=staff,
            content_type=content_type,
            object_id=str(session.pk),
            object_repr=str(session),
            action_flag=CHANGE,
            change_message="Read the transcript.",
        )
    retention.erase(visitor="me")
    told = LogEntry.objects.order_by("pk").values_list(
        "user", "object_id", "object_repr", "change_message"
    )
    as_before = (staff.pk, str(stays.pk), str(stays.pk), "Read the transcript.")
    of_another_model = (staff.pk, str(gone.pk), str(gone.pk), "Read the transcript.")
    assert list(told) == [(staff.pk, None, "", ""), as_before, of_another_model]
