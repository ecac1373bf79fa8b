"""The only write path of transcripts: once, in order, durable before it is acked."""

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import F, Q
from django.utils import timezone

from ..conf import conf
from ..log import frames, payloads
from ..log.frames import MAX_STREAM, Entry, Events
from ..models import Conversation, TranscriptEntry
from ..signals import entry_recorded
from . import bulk, conversation_gone, tickets

log = logging.getLogger("django_perso")

# The reason of a gap that is stored instead of an entry the redactor failed on.
REDACTOR = "redactor"

Answer = dict[str, Any] | Exception
# The entry of this site that says that the page has stopped reporting.
LOG_SILENT = {"name": "log_silent"}
IS_LOG_SILENT = Q(source=TranscriptEntry.Source.SERVER, data__name=LOG_SILENT["name"])
# What receivers of `entry_recorded` get of an entry.
RECORDED = ("source", "seq", "kind", "at_ms", "data")


class Superseded(Exception):
    """A newer page has taken over this conversation."""


@dataclass(frozen=True)
class Report:
    """What a browser reports of a conversation, with the `lease` of its page.

    A page that closed before may have left entries that are sent without a lease.
    """

    stream: UUID
    events: Events
    lease: int | None = None


def record(stream: UUID, events: Events, *, lease: int | None = None) -> dict[str, Any]:
    """Store what the browser reports, and return the frame that answers it.

    The answer is an ack (stored), a gap (send again from there) or a reject. Entries
    that are stored already are dropped; a missing number or a bad entry stops the rest.
    With a `lease`, raises Superseded if a newer page has come. Raises Refused (404)
    if the conversation was deleted. Safe to repeat, and to call from two places at
    once.
    """
    (answer,) = commit([Report(stream, events, lease)])
    if answer is None:
        raise AssertionError("a waiting commit answers every report")
    if isinstance(answer, Exception):
        raise answer
    return answer


def commit(reports: Sequence[Report], *, wait: bool = True) -> list[Answer | None]:
    """Store reports of many conversations in one transaction.

    The answers are valid once this returns. Without `wait`, a conversation whose row is
    locked by somebody else is skipped: the answers to its reports are None.
    """
    now = timezone.now()
    rows: list[bulk.Row] = []
    streams = {report.stream for report in reports}
    answers: list[Answer | None] = []
    with transaction.atomic():
        conversations = _locked(streams, now, wait)
        busy = _existing(streams - conversations.keys())
        for report in reports:
            if report.stream in busy:
                answers.append(None)
            else:
                conversation = conversations.get(report.stream)
                answers.append(_take(conversation, report, rows))
        bulk.store(rows, list(conversations.values()), now)
    if entry_recorded.has_listeners(Conversation):
        stream_of = itemgetter("stream")
        for stream, stored in groupby(sorted(rows, key=stream_of), stream_of):
            _send_recorded(stream, [{"source": "browser", **row} for row in stored])
    return answers


def _send_recorded(stream: UUID, rows: list[dict[str, Any]]) -> None:
    entries = [{name: row[name] for name in RECORDED} for row in rows]
    entry_recorded.send_robust(Conversation, conversation_id=stream, entries=entries)


def _locked(
    streams: Iterable[UUID], now: datetime, wait: bool
) -> dict[UUID, Conversation]:
    """Return the conversations, locked until the transaction ends.

    They are locked in the order of their keys, so that transactions cannot wait for
    each other in a circle.
    """
    columns = (
        "last_seq",
        "lease",
        "is_complete",
        "bytes_stored",
        "ended_at",
        "ended_by",
    )
    rows = Conversation.objects.filter(pk__in=streams)
    conversations = rows.order_by("pk").only(*columns)
    if connection.features.has_select_for_update_skip_locked:
        no_key = connection.features.has_select_for_no_key_update
        conversations = conversations.select_for_update(
            skip_locked=not wait, no_key=no_key
        )
    else:
        # SQLite refuses to write after a read that another write has outrun. An UPDATE
        # takes the lock first.
        rows.update(last_seen_at=now)
    return {conversation.pk: conversation for conversation in conversations}


def _existing(missing: set[UUID]) -> set[UUID]:
    """Return which conversations exist of those that could not be locked."""
    if not missing:
        return set()
    rows = Conversation.objects.filter(pk__in=missing)
    return set(rows.values_list("pk", flat=True))


def _take(
    conversation: Conversation | None, report: Report, rows: list[bulk.Row]
) -> Answer:
    """Append what is new in a report to `rows`, and return the answer to it.

    Raises ImproperlyConfigured if the site's redactor cannot be imported; the browser
    then keeps its entries and sends them again.
    """
    highest = max((entry.s for entry in report.events.items), default=0)
    if conversation is None or _is_over(conversation, highest):
        return conversation_gone()
    if tickets.was_closed_by_logout(conversation):
        return tickets.logged_out()
    if report.lease is not None and report.lease != conversation.lease:
        return Superseded()
    # A bye without entries ends the conversation even if there is no redactor to ask.
    redact = conf.redactor if report.events.items else None
    for entry in report.events.items:
        if entry.s > min(conversation.last_seq + 1, MAX_STREAM):
            break
        if entry.s > conversation.last_seq:
            kind, data = _redacted(entry, redact) if redact else (entry.k, entry.d)
            json_text = payloads.dump(data)
            rows.append(
                {
                    "stream": conversation.pk,
                    "seq": entry.s,
                    "kind": kind,
                    "at_ms": entry.t,
                    "data": data,
                    "json": json_text,
                }
            )
            conversation.last_seq = entry.s
            conversation.bytes_stored += len(json_text.encode())
    return _answer(conversation.last_seq, highest, report.events.rejected)


def _is_over(conversation: Conversation, highest: int) -> bool:
    return conversation.is_complete and highest > conversation.last_seq


def _answer(
    last_seq: int, highest: int, rejected: tuple[int, str] | None
) -> dict[str, Any]:
    """Return the frame that answers a report, once `last_seq` is stored of it."""
    if highest > last_seq == MAX_STREAM:
        return {"t": "reject", "s": [last_seq + 1], "code": "limit"}
    if highest > last_seq:
        return {"t": "gap", "s": last_seq}
    if rejected is not None:
        number, code = rejected
        if number == last_seq + 1:
            return {"t": "reject", "s": [number], "code": code}
        if number > last_seq:
            return {"t": "gap", "s": last_seq}
    return {"t": "ack", "s": last_seq}


def _redacted(
    entry: Entry, redact: Callable[[str, dict[str, Any]], Any]
) -> tuple[str, dict[str, Any]]:
    """Return kind and content as the redactor leaves them, or a gap if it fails."""
    try:
        redacted = redact(entry.k, entry.d)
        if not isinstance(redacted, dict):
            raise TypeError("a redactor returns a dict")
        return entry.k, payloads.load(json.dumps(redacted))
    except Exception as error:
        # Without the text and the traceback, which may hold what was to be redacted.
        name = type(error).__name__
    log.error(
        "%s raised %s on entry %d; storing a gap instead", conf.REDACTOR, name, entry.s
    )
    return "gap", {"count": 1, "reason": REDACTOR, "detail": name}


def redactor_failures(since: datetime) -> dict[str, int]:
    """Return how often the redactor has failed, by the name of the exception.

    It counts in the conversations that began since then, so that it need not read all
    entries.
    """
    recent = Conversation.objects.filter(created_at__gte=since)
    gaps = TranscriptEntry.objects.filter(
        conversation__in=recent,
        kind=TranscriptEntry.Kind.GAP,
        data__reason=REDACTOR,
    )
    names = gaps.values_list("data__detail", flat=True)
    return dict(Counter(str(name) for name in names))


def note(
    conversation: Conversation,
    kind: TranscriptEntry.Kind,
    data: dict[str, Any],
    *,
    seq: int | None = None,
) -> None:
    """Store an entry of this site, with the next server number or the given one."""
    source = TranscriptEntry.Source.SERVER
    # Without a savepoint, which would cost two statements in the caller's transaction.
    with transaction.atomic(savepoint=False):
        if seq is None:
            row = Conversation.objects.filter(pk=conversation.pk)
            row.update(last_server_seq=F("last_server_seq") + 1)
            conversation.refresh_from_db(fields=["last_server_seq"])
            seq = conversation.last_server_seq
        entry = TranscriptEntry.objects.create(
            conversation=conversation,
            source=source,
            seq=seq,
            kind=kind,
            at_ms=age_ms(conversation),
            data=data,
        )
        recorded = {name: getattr(entry, name) for name in RECORDED}
        # Plain strings, as in the entries of browsers.
        recorded |= {"source": source.value, "kind": kind.value}
        if entry_recorded.has_listeners(Conversation):
            transaction.on_commit(partial(_send_recorded, conversation.pk, [recorded]))


def welcome(conversation: Conversation, window: int) -> dict[str, Any]:
    """Return the frame that answers hello, after the conversation's lease was raised.

    `window` is how many frames may be unacknowledged.
    """
    return {
        "t": "welcome",
        "ack": conversation.last_seq,
        "lease": conversation.lease,
        "age": age_ms(conversation),
        "window": window,
        "frame": payloads.MAX_FRAME,
        "ping": frames.PING_SECONDS,
    }


def age_ms(conversation: Conversation) -> int:
    """Return the milliseconds since the conversation started."""
    age = timezone.now() - conversation.created_at
    return max(0, int(age.total_seconds() * 1000))
