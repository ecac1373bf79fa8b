"""The life of a conversation and of its Perso sessions: every transition of both rows.

No other module writes `status`, `ended_at`, `ended_by`, `error_code`, `is_complete`,
`settled_at` or Perso's facts.

A Perso session:

    starting ──┬── went_live() ──► live ────────┐
               │                                ├── finish(), end_silent(),
               ├── fail() ──► unknown ──────────┤   end_terminated(), detach()
               │              (may be billed)   ▼
               └── fail() ──► failed          ended ── settle() ──► ended and settled

A conversation:

    open ── finish(): its page sends bye ─────────────────────────────┐
      │  ── end_silent(), end_terminated(): no session of it runs ────┼──► ended
      │  ── log_out(): its user logs out ─────────────────────────────┤
      └──── fail(): its first session did not start ──────────────────┘

`finish()` also sets `is_complete`, after which no further entry is taken. Rows are
locked in the order preset, conversation, Perso session.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import OuterRef, QuerySet, Subquery
from django.db.models.functions import Greatest

from ..log.frames import LEFT
from ..models import Conversation, EndedBy, PersoSession, TranscriptEntry
from ..signals import (
    conversation_ended,
    conversation_started,
    perso_session_settled,
)
from . import conversation_gone, database, transcripts

Status = PersoSession.Status
# The number of the server entry that says how the start went. It is taken when the rows
# are made, so that a start that succeeds need not write the conversation again.
START_ENTRY = 1


@dataclass(frozen=True)
class Facts:
    """What Perso says about a session that has ended."""

    reason: str = ""
    duration_seconds: float | None = None

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to ask."""
        return bool(self.reason) and self.duration_seconds is not None


def begin(conversation: Conversation, session: PersoSession) -> None:
    """Insert a conversation and its first Perso session, which is about to start."""
    conversation.last_server_seq = START_ENTRY
    conversation.save(force_insert=True)
    session.conversation = conversation
    session.status = Status.STARTING
    session.save(force_insert=True)


def went_live(session: PersoSession) -> None:
    """Record that Perso made the session; its `session_id` is set already.

    Raises Refused (404) if the conversation was deleted meanwhile.
    """
    conversation = _conversation_of(session)
    kind = TranscriptEntry.Kind.STATE
    try:
        with transaction.atomic():
            session.status = Status.LIVE
            session.save(update_fields=["session_id", "status"])
            transcripts.note(conversation, kind, {"name": "started"}, seq=START_ENTRY)
    except IntegrityError as error:
        # Perso bills the session all the same, so it is asked how the session ends.
        session.save(update_fields=["session_id"])
        raise conversation_gone() from error
    conversation_started.send_robust(Conversation, conversation=conversation)


def fail(session: PersoSession, code: str, message: str, *, may_run: bool) -> None:
    """Record that the session did not start, which ends the conversation.

    `may_run`: Perso may have made it all the same, so it counts as running.
    """
    conversation = _conversation_of(session)
    now = database.now()
    with transaction.atomic():
        _lock(conversation.pk)
        session.error_code = code
        if may_run:
            session.status = Status.UNKNOWN
        else:
            session.status = Status.FAILED
            session.ended_at = now
            session.ended_by = EndedBy.ERROR
        session.save(update_fields=["error_code", "status", "ended_at", "ended_by"])
        error = {"code": code, "message": message}
        kind = TranscriptEntry.Kind.ERROR
        transcripts.note(conversation, kind, error, seq=START_ENTRY)
        _end_conversation(conversation, EndedBy.ERROR, now)


def finish(conversation: Conversation, how: str, facts: Facts) -> None:
    """End a conversation because its page says so, and what runs of it.

    With "left" the page may come back and send further entries. Safe to repeat.
    """
    ended_by = EndedBy(how)
    now = database.now()
    with transaction.atomic():
        row = _lock(conversation.pk)
        if row is None:
            return
        running = PersoSession.objects.filter(conversation=row).running()
        running.update(**_end_values(row, ended_by, now))
        newest = row.newest_session
        if newest is not None:
            settle(newest, facts)
        row.is_complete = row.is_complete or how != LEFT
        if row.ended_at is None:
            _note_end(row, how, reason=facts.reason)
            _end_conversation(row, ended_by, now)
        else:
            row.save(update_fields=["is_complete"])


def end_silent(session: PersoSession, last_sign_at: datetime) -> bool:
    """End a session that has shown no sign of life since, unless it does by now."""
    with transaction.atomic():
        row = _lock(session.conversation_id)
        if row is not None and row.last_seen_at > last_sign_at:
            return False
        still_silent = PersoSession.objects.filter(last_seen_at__lte=last_sign_at)
        return _end(session.pk, still_silent, row, EndedBy.SILENCE, last_sign_at)


def end_terminated(session: PersoSession, facts: Facts, last_sign_at: datetime) -> bool:
    """End a session that Perso says has ended."""
    with transaction.atomic():
        row = _lock(session.conversation_id)
        sessions = PersoSession.objects.all()
        remote = EndedBy.REMOTE
        return _end(session.pk, sessions, row, remote, last_sign_at, facts.reason)


def log_out(conversations: QuerySet[Conversation]) -> None:
    """End the open ones of these conversations, because their user has logged out.

    Their pages learn that and stop. Until Perso says that it has ended them, their
    sessions count as running.
    """
    for pk in conversations.filter(ended_at=None).values_list("pk", flat=True):
        with transaction.atomic():
            row = _lock(pk)
            if row is not None and row.ended_at is None:
                _note_end(row, EndedBy.LOGOUT.value, reason="")
                _end_conversation(row, EndedBy.LOGOUT, database.now())


def settle(session: PersoSession, facts: Facts) -> bool:
    """Store what Perso says about a session that has ended.

    Return whether all is known now.
    """
    if not facts.reason:
        return False
    values: dict[str, Any] = {
        "termination_reason": facts.reason[:100],
        "duration_seconds": facts.duration_seconds,
    }
    if facts.is_settled:
        values["settled_at"] = database.now()
    row = PersoSession.objects.filter(pk=session.pk)
    with transaction.atomic(savepoint=False):
        if not row.filter(settled_at=None).update(**values):
            return False
        session.refresh_from_db()
        if facts.is_settled:
            # Nobody can read the conversation any more, and Perso has been asked.
            row.filter(conversation=None).update(session_id="")
            send = partial(
                perso_session_settled.send_robust, PersoSession, perso_session=session
            )
            transaction.on_commit(send)
    return facts.is_settled


def saw(session: PersoSession, now: datetime) -> bool:
    """Record a sign of life: Perso says that the session runs."""
    earlier = PersoSession.objects.filter(pk=session.pk, last_seen_at__lt=now)
    return bool(earlier.update(last_seen_at=now))


def detach(conversations: Collection[UUID]) -> None:
    """Prepare conversations for being deleted; their Perso sessions stay.

    What runs ends here. The parameters go at once. Perso is still asked how a session
    ended, so its `session_id` goes once that is known.
    """
    sessions = PersoSession.objects.filter(conversation__in=conversations)
    seen = Conversation.objects.filter(pk=OuterRef("conversation"))
    last_sign = Greatest("last_seen_at", Subquery(seen.values("last_seen_at")[:1]))
    sessions.running().update(
        status=Status.ENDED,
        ended_by=EndedBy.OPERATOR,
        ended_at=database.now(),
        last_seen_at=last_sign,
    )
    sessions.exclude(settled_at=None).update(session_id="")
    sessions.update(params={}, conversation=None)


def _conversation_of(session: PersoSession) -> Conversation:
    conversation = session.conversation
    if conversation is None:
        raise ValueError("the conversation of this session was deleted")
    return conversation


def _lock(conversation_id: UUID | None) -> Conversation | None:
    """Lock a conversation until the transaction ends; None if it was deleted."""
    if conversation_id is None:
        return None
    row = Conversation.objects.filter(pk=conversation_id)
    database.lock(row, "lease")
    return row.first()


def _end(
    pk: UUID,
    sessions: Any,
    conversation: Conversation | None,
    ended_by: EndedBy,
    ended_at: datetime,
    reason: str = "",
) -> bool:
    """End a session if `sessions` has it and it runs; its conversation is locked."""
    running = sessions.filter(pk=pk).running()
    if not running.update(**_end_values(conversation, ended_by, ended_at)):
        return False
    if conversation is None or conversation.ended_at is not None:
        return True
    if not PersoSession.objects.filter(conversation=conversation).running().exists():
        _note_end(conversation, ended_by.value, reason)
        _end_conversation(conversation, ended_by, ended_at)
    return True


def _end_values(
    conversation: Conversation | None, ended_by: EndedBy, ended_at: datetime
) -> dict[str, Any]:
    values = {"status": Status.ENDED, "ended_by": ended_by, "ended_at": ended_at}
    if conversation is None:
        return values
    last_sign = Greatest("last_seen_at", conversation.last_seen_at)
    return {**values, "last_seen_at": last_sign}


def _note_end(conversation: Conversation, how: str, reason: str) -> None:
    state = {"name": "ended", "how": how}
    if reason:
        state["reason"] = reason
    transcripts.note(conversation, TranscriptEntry.Kind.STATE, state)


def _end_conversation(
    conversation: Conversation, ended_by: EndedBy, ended_at: datetime
) -> None:
    conversation.ended_at = ended_at
    conversation.ended_by = ended_by
    conversation.save(update_fields=["ended_at", "ended_by", "is_complete"])
    send = partial(
        conversation_ended.send_robust, Conversation, conversation=conversation
    )
    transaction.on_commit(send)
