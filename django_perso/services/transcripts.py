"""The one write path of the transcript: once, in order, and durable before it is acknowledged."""

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from .. import payloads
from ..conf import conf
from ..models import AvatarSession, TranscriptEntry
from ..protocol import MAX_STREAM, Entry, Events
from ..signals import entry_recorded
from . import Refused, bulk

log = logging.getLogger("django_perso")

Answer = dict[str, Any] | Exception


class Superseded(Exception):
    """A newer socket has taken over this conversation."""


@dataclass(frozen=True)
class Report:
    """What a browser reports of one conversation; with the `lease` of its socket, or by POST without."""

    stream: UUID
    events: Events
    lease: int | None = None


def record(stream: UUID, events: Events, *, lease: int | None = None) -> dict[str, Any]:
    """Store what the browser reports, and answer it: ack (stored), gap (send again from there) or reject.

    Entries already stored are dropped; a hole or a bad entry stops the rest. With a `lease` (a socket) raises
    Superseded when a newer socket has come; the POST road has none. Refused (404) when the conversation was
    deleted. Safe to repeat, from both at once too.
    """
    (answer,) = commit([Report(stream, events, lease)])
    if not isinstance(answer, dict):
        raise answer or Superseded
    return answer


def commit(reports: Sequence[Report], *, wait: bool = True) -> list[Answer | None]:
    """Store reports of many conversations in one transaction; their answers hold once this returns.

    Without `wait` a conversation whose row somebody else has locked is left alone: its answers are None.
    """
    now, rows = timezone.now(), list[bulk.Row]()
    streams = {report.stream for report in reports}
    with transaction.atomic():
        sessions = _locked(streams, now, wait)
        missing = streams - sessions.keys()
        busy = (
            set(
                AvatarSession.objects.filter(pk__in=missing).values_list(
                    "pk", flat=True
                )
            )
            if missing
            else ()
        )
        answers = [
            None
            if report.stream in busy
            else _take(sessions.get(report.stream), report, rows)
            for report in reports
        ]
        bulk.store(
            rows, {pk: session.last_seq for pk, session in sessions.items()}, now
        )
    if entry_recorded.has_listeners(AvatarSession):
        for stream, told in groupby(
            sorted(rows, key=itemgetter("stream")), itemgetter("stream")
        ):
            entry_recorded.send_robust(
                AvatarSession, avatar_session_id=stream, entries=list(told)
            )
    return answers


def _locked(
    streams: Iterable[UUID], now: datetime, wait: bool
) -> dict[UUID, AvatarSession]:
    """The conversations, locked until the transaction ends, in one order, so that nobody waits in a ring."""
    known = ("last_seq", "lease", "is_complete")
    found = AvatarSession.objects.filter(pk__in=streams).order_by("pk").only(*known)
    if connection.features.has_select_for_update_skip_locked:
        no_key = connection.features.has_select_for_no_key_update
        found = found.select_for_update(skip_locked=not wait, no_key=no_key)
    else:  # an UPDATE takes the lock, for SQLite would refuse to write after a read somebody else has outrun
        AvatarSession.objects.filter(pk__in=streams).update(last_seen_at=now)
    return {session.pk: session for session in found}


def _take(
    session: AvatarSession | None, report: Report, rows: list[bulk.Row]
) -> Answer:
    """Move what is new of a report to `rows`, and answer it."""
    items, rejected = report.events.items, report.events.rejected
    highest = max((entry.s for entry in items), default=0)
    if session is None or (session.is_complete and highest > session.last_seq):
        return Refused("no_stream", 404, _("This conversation is over."))
    if report.lease is not None and report.lease != session.lease:
        return Superseded()
    for entry in items:
        if entry.s == session.last_seq + 1 <= MAX_STREAM:
            kind, data = _redacted(entry)
            rows.append(
                {
                    "stream": session.pk,
                    "seq": entry.s,
                    "kind": kind,
                    "at_ms": entry.t,
                    "data": data,
                }
            )
            session.last_seq = entry.s
        elif entry.s > session.last_seq:
            break
    last = session.last_seq
    if highest > last == MAX_STREAM:
        return {"t": "reject", "s": [last + 1], "code": "limit"}
    if highest > last:
        return {"t": "gap", "s": last}
    if rejected and rejected[0] > last:
        number, code = rejected
        return (
            {"t": "reject", "s": [number], "code": code}
            if number == last + 1
            else {"t": "gap", "s": last}
        )
    return {"t": "ack", "s": last}


def _redacted(entry: Entry) -> tuple[str, dict[str, Any]]:
    """Return the entry's kind and data after the site's redactor, or a gap if it raises.

    ImproperlyConfigured if the redactor cannot be imported; the browser then keeps what
    it has and sends it again.
    """
    redact = conf.redactor
    if redact is None:
        return entry.k, entry.d
    try:
        return entry.k, payloads.load(json.dumps(redact(entry.k, entry.d)))
    except Exception:  # it is the site's code, and what failed to be redacted must not be shown by a log
        log.error("%s failed on entry %d; a gap stands for it", conf.REDACTOR, entry.s)
    return "gap", {"count": 1, "reason": "redactor"}


def note(
    session: AvatarSession,
    kind: TranscriptEntry.Kind,
    data: dict[str, Any],
    *,
    saving: Sequence[str] = (),
) -> None:
    """Store something this site did itself, with its own numbering; and with it `saving`, fields of a
    conversation that is not told to anybody yet."""
    with transaction.atomic():
        if saving:
            session.last_server_seq += 1
            session.save(update_fields=[*saving, "last_server_seq"])
        else:
            AvatarSession.objects.filter(pk=session.pk).update(
                last_server_seq=F("last_server_seq") + 1
            )
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
