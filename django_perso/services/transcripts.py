"""The one write path of the transcript: once, in order, and durable before it is acknowledged."""

from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from ..models import AvatarSession, TranscriptEntry
from ..protocol import Entry, Events
from . import Refused


class Superseded(Exception):
    """A newer socket has taken over this conversation."""


def record(stream: UUID, events: Events, *, lease: int | None = None) -> dict[str, Any]:
    """Store what the browser reports, and answer it: ack (stored), gap (send again from there) or reject.

    Entries already stored are dropped; a hole or a bad entry stops the rest. With a `lease` (a socket) raises
    Superseded when a newer socket has come; the POST road has none. Refused (404) when the conversation was
    deleted. Safe to repeat, from both at once too.
    """
    with transaction.atomic():
        session = _locked(stream)
        if lease is not None and lease != session.lease:
            raise Superseded
        last = session.last_seq
        rows: list[TranscriptEntry] = []
        for entry in events.items:
            if entry.s <= last:
                continue
            if entry.s != last + 1:
                break
            rows.append(_row(session, entry))
            last = entry.s
        if rows:
            TranscriptEntry.objects.bulk_create(rows)
            AvatarSession.objects.filter(pk=stream).update(last_seq=last)
    highest = max((entry.s for entry in events.items), default=0)
    if highest > last:
        return {"t": "gap", "s": last}
    if events.rejected and events.rejected[0] > last:
        number, code = events.rejected
        return {"t": "reject", "s": [number], "code": code} if number == last + 1 else {"t": "gap", "s": last}
    return {"t": "ack", "s": last}


def _row(session: AvatarSession, entry: Entry) -> TranscriptEntry:
    return TranscriptEntry(
        avatar_session=session,
        source=TranscriptEntry.Source.BROWSER,
        seq=entry.s,
        kind=entry.k,
        at_ms=entry.t,
        data=entry.d,
    )


def note(session: AvatarSession, kind: TranscriptEntry.Kind, data: dict[str, Any]) -> None:
    """Store something this site did itself, with its own numbering."""
    with transaction.atomic():
        AvatarSession.objects.filter(pk=session.pk).update(last_server_seq=F("last_server_seq") + 1)
        session.refresh_from_db(fields=["last_server_seq"])
        TranscriptEntry.objects.create(
            avatar_session=session,
            source=TranscriptEntry.Source.SERVER,
            seq=session.last_server_seq,
            kind=kind,
            at_ms=age_ms(session),
            data=data,
        )


def age_ms(session: AvatarSession) -> int:
    """Milliseconds since the conversation started."""
    return max(0, int((timezone.now() - session.created_at).total_seconds() * 1000))


def _locked(stream: UUID) -> AvatarSession:
    # Starting with an UPDATE takes the lock on every database, and is the sign of life at the same time.
    if not AvatarSession.objects.filter(pk=stream).update(last_seen_at=timezone.now()):
        raise Refused("no_stream", 404, _("This conversation is over."))
    return AvatarSession.objects.only("last_seq", "lease").get(pk=stream)
