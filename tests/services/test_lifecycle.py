"""Every transition of a conversation and of its Perso sessions."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from django_perso import signals
from django_perso.models import Conversation, PersoSession
from django_perso.services import Refused, lifecycle
from django_perso.services.lifecycle import Facts
from tests.stage import make_conversation, make_preset

pytestmark = pytest.mark.django_db(transaction=True)

Status = PersoSession.Status
ENDED = Facts("GRACEFUL_TERMINATION", 12.5)


@pytest.fixture
def sent() -> Iterator[list[str]]:
    """The names of the signals that were sent."""
    names: list[str] = []

    def listen(name: str) -> Any:
        def receive(**_: Any) -> None:
            names.append(name)

        return receive

    receivers = {
        name: listen(name)
        for name in (
            "conversation_started",
            "conversation_ended",
            "perso_session_settled",
        )
    }
    for name, receive in receivers.items():
        getattr(signals, name).connect(receive)
    yield names
    for name, receive in receivers.items():
        getattr(signals, name).disconnect(receive)


def begun() -> tuple[Conversation, PersoSession]:
    preset = make_preset()
    conversation = Conversation(visitor="me", preset=preset)
    session = PersoSession(preset=preset)
    lifecycle.begin(conversation, session)
    return conversation, session


def stored(conversation: Conversation) -> tuple[Conversation, PersoSession]:
    return (
        Conversation.objects.get(pk=conversation.pk),
        PersoSession.objects.get(conversation=conversation),
    )


def server_entries(conversation: Conversation) -> list[tuple[int, dict[str, Any]]]:
    entries = conversation.entries.filter(source="server").order_by("pk")
    return list(entries.values_list("seq", "data"))


def test_start_makes_one_session_of_one_conversation(sent: list[str]) -> None:
    conversation, session = stored(begun()[0])
    assert (session.number, session.status) == (1, Status.STARTING)
    assert (conversation.ended_at, session.ended_at) == (None, None)
    assert sent == []


def test_live_session_leaves_conversation_open(sent: list[str]) -> None:
    conversation, session = begun()
    session.session_id = "psn-1"
    lifecycle.went_live(session)
    conversation, session = stored(conversation)
    assert (session.status, session.session_id.reveal()) == (Status.LIVE, "psn-1")
    assert conversation.ended_at is None
    assert server_entries(conversation) == [(1, {"name": "started"})]
    assert conversation.last_server_seq == 1
    assert sent == ["conversation_started"]


def test_session_of_a_deleted_conversation_keeps_its_id() -> None:
    conversation, session = begun()
    Conversation.objects.get(pk=conversation.pk).delete()
    session.session_id = "psn-1"
    with pytest.raises(Refused):
        lifecycle.went_live(session)
    stored_session = PersoSession.objects.get()
    assert stored_session.status == Status.ENDED
    assert stored_session.session_id.reveal() == "psn-1"


@pytest.mark.parametrize(
    ("may_run", "status", "ended_by"),
    [(False, Status.FAILED, "error"), (True, Status.UNKNOWN, "")],
)
def test_failed_start_ends_the_conversation(
    sent: list[str], may_run: bool, status: str, ended_by: str
) -> None:
    conversation, session = begun()
    lifecycle.fail(session, "perso_refused", "No.", may_run=may_run)
    conversation, session = stored(conversation)
    assert (session.status, session.ended_by) == (status, ended_by)
    assert (session.ended_at is None) is may_run
    assert session.error_code == "perso_refused"
    assert conversation.ended_by == "error"
    assert conversation.ended_at is not None
    error = {"code": "perso_refused", "message": "No."}
    assert server_entries(conversation) == [(1, error)]
    assert sent == ["conversation_ended"]


def test_unknown_session_that_falls_silent_ends_quietly(sent: list[str]) -> None:
    conversation, session = begun()
    lifecycle.fail(session, "start_unknown", "?", may_run=True)
    later = timezone.now() + timedelta(minutes=6)
    assert lifecycle.end_silent(session, later)
    conversation, session = stored(conversation)
    assert (session.status, session.ended_by) == (Status.ENDED, "silence")
    assert conversation.ended_by == "error"
    assert len(server_entries(conversation)) == 1
    assert sent == ["conversation_ended"]


@pytest.mark.parametrize(
    "how", ["visitor", "left", "remote", "error", "idle", "time_limit", "replaced"]
)
def test_goodbye_says_who_ended_the_conversation(sent: list[str], how: str) -> None:
    conversation = make_conversation(status="live")
    lifecycle.finish(conversation, how, ENDED)
    lifecycle.finish(conversation, "visitor", ENDED)
    row, session = stored(conversation)
    assert (row.ended_by, session.ended_by, session.status) == (how, how, "ended")
    assert (session.termination_reason, session.duration_seconds) == (
        "GRACEFUL_TERMINATION",
        12.5,
    )
    ended = {"name": "ended", "how": how, "reason": "GRACEFUL_TERMINATION"}
    assert server_entries(row) == [(1, ended)]
    assert sorted(sent) == ["conversation_ended", "perso_session_settled"]


def test_page_that_left_may_send_further_entries() -> None:
    conversation = make_conversation(status="live")
    lifecycle.finish(conversation, "left", Facts())
    assert stored(conversation)[0].is_complete is False
    lifecycle.finish(conversation, "visitor", Facts())
    assert stored(conversation)[0].is_complete is True


def test_end_at_perso_is_dated_by_the_last_sign_of_life() -> None:
    seen_at = timezone.now() - timedelta(minutes=3)
    conversation = make_conversation(status="live", last_seen_at=seen_at)
    (session,) = PersoSession.objects.all()
    assert lifecycle.end_terminated(session, ENDED, seen_at)
    assert not lifecycle.end_terminated(session, ENDED, seen_at)
    row, session = stored(conversation)
    assert (row.ended_by, row.ended_at) == ("remote", seen_at)
    assert (session.ended_by, session.ended_at) == ("remote", seen_at)


def test_entry_stored_meanwhile_keeps_a_session_from_ending() -> None:
    conversation = make_conversation(status="live")
    last_sign_at = conversation.last_seen_at - timedelta(seconds=1)
    # Storing an entry writes the conversation's row only.
    PersoSession.objects.update(last_seen_at=last_sign_at)
    (session,) = PersoSession.objects.all()
    assert not lifecycle.end_silent(session, last_sign_at)
    assert stored(conversation)[1].status == Status.LIVE


def test_end_copies_the_last_sign_of_the_conversation() -> None:
    now = timezone.now()
    conversation = make_conversation(status="live", last_seen_at=now)
    PersoSession.objects.update(last_seen_at=now - timedelta(hours=1))
    lifecycle.finish(conversation, "visitor", Facts())
    assert stored(conversation)[1].last_seen_at == now


def test_session_is_settled_once_reason_and_seconds_are_known(
    sent: list[str],
) -> None:
    make_conversation(status="ended")
    (session,) = PersoSession.objects.all()
    assert not lifecycle.settle(session, Facts())
    assert not lifecycle.settle(session, Facts("SESSION_MISC_ERROR"))
    assert session.termination_reason == "SESSION_MISC_ERROR"
    assert (session.settled_at, sent) == (None, [])
    assert lifecycle.settle(session, Facts("SESSION_MISC_ERROR", 3))
    assert session.settled_at is not None
    assert not lifecycle.settle(session, Facts("GRACEFUL_TERMINATION", 4))
    session.refresh_from_db()
    assert (session.termination_reason, session.duration_seconds) == (
        "SESSION_MISC_ERROR",
        3,
    )
    assert sent == ["perso_session_settled"]


@pytest.mark.parametrize(
    ("first", "second", "may_both"),
    [
        ("starting", "live", False),
        ("live", "live", False),
        ("ended", "live", True),
        ("failed", "starting", True),
        ("unknown", "live", True),
    ],
)
def test_one_session_of_a_conversation_runs_at_a_time(
    first: str, second: str, may_both: bool
) -> None:
    conversation = make_conversation(status=first)
    try:
        PersoSession.objects.create(conversation=conversation, number=2, status=second)
    except IntegrityError:
        assert not may_both
    else:
        assert may_both


def test_handed_over_session_makes_room_for_the_next() -> None:
    conversation = make_conversation(status="live")
    (old,) = PersoSession.objects.all()
    with transaction.atomic():
        new = PersoSession.objects.create(number=2, status="live")
        old.handed_over_to = new
        old.save()
        new.conversation = conversation
        new.save()
    assert conversation.newest_session == new


def test_number_of_a_session_is_used_once() -> None:
    conversation = make_conversation(status="ended")
    with pytest.raises(IntegrityError):
        PersoSession.objects.create(conversation=conversation, number=1)


def test_last_sign_is_the_conversations_for_the_newest_session() -> None:
    now = timezone.now()
    earlier = now - timedelta(hours=1)
    conversation = make_conversation(status="ended", last_seen_at=now)
    PersoSession.objects.update(last_seen_at=earlier)
    PersoSession.objects.create(
        conversation=conversation, number=2, status="live", last_seen_at=earlier
    )
    signs = PersoSession.objects.with_last_sign().order_by("number")
    assert [session.last_sign_at for session in signs] == [earlier, now]
