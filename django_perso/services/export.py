"""Conversations as text to take away, piece by piece: however many there are, few are in memory.

jsonl: a line for each, with its entries. csv: a row for each entry, and no cell is a formula, whatever a
visitor has typed. text: to be read. vtt: captions of what was said, one conversation after the other.
"""

import json
import unicodedata
from collections.abc import Callable, Iterator
from html import escape
from itertools import groupby
from operator import attrgetter
from typing import Any

from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _

from ..models import AvatarSession, TranscriptEntry

CHUNK, PIECE = 50, 1000  # conversations, and entries, that are read at once
CUE_MS = 4000  # how long the last thing said is shown
TIMES = ["created_at", "ended_at", "duration_seconds"]
FACTS = [*TIMES, "status", "termination_reason", "is_test", "is_complete"]
ENTRY = ["source", "seq", "kind", "at_ms"]
HEAD = [
    "conversation",
    "preset",
    "user",
    "visitor",
    "started",
    *ENTRY,
    "role",
    "text",
    "data",
]
TOLD = [
    "name",
    "phase",
    "how",
    "code",
    "message",
    "count",
    "reason",
    "detail",
]  # of what is not chat
CONTROLS = dict.fromkeys(
    [*range(32), *range(127, 160)], "?"
)  # a terminal would obey them

Conversations = Iterator[tuple[AvatarSession, Iterator[TranscriptEntry]]]


def export(sessions: QuerySet[AvatarSession], format: str) -> Iterator[str]:
    """These conversations in one of FORMATS, oldest first, as pieces of text."""
    return FORMATS[format](_conversations(sessions))


def _conversations(sessions: QuerySet[AvatarSession]) -> Conversations:
    # Page by page: one long cursor would keep SQLite's file from writers while a slow reader takes its time.
    rows, after = (
        sessions.select_related("preset", "user").order_by("created_at", "pk"),
        Q(),
    )
    while page := list(rows.filter(after)[:CHUNK]):
        said = TranscriptEntry.objects.filter(avatar_session__in=page)
        entries = said.order_by("avatar_session__created_at", "avatar_session_id", "pk")
        groups = groupby(
            entries.iterator(chunk_size=PIECE), attrgetter("avatar_session_id")
        )
        pk, found = next(groups, (None, iter(())))
        for session in page:
            yield session, found if session.pk == pk else iter(())
            if session.pk == pk:
                pk, found = next(groups, (None, iter(())))
        last = page[-1]
        after = Q(created_at__gt=last.created_at) | Q(
            created_at=last.created_at, pk__gt=last.pk
        )


def length_of(session: AvatarSession) -> int:
    """Whole seconds from the start to the end, or to the last sign of life."""
    return int(
        (
            (session.ended_at or session.last_seen_at) - session.created_at
        ).total_seconds()
    )


def _jsonl(conversations: Conversations) -> Iterator[str]:
    for session, entries in conversations:
        facts = {name: getattr(session, name) for name in FACTS} | {
            "length_seconds": length_of(session)
        }
        yield _json(_names(session) | facts)[:-1] + ', "entries": ['
        for n, entry in enumerate(entries):
            yield (", " if n else "") + _json(
                {name: getattr(entry, name) for name in [*ENTRY, "data"]}
            )
        yield "]}\n"


def _csv(conversations: Conversations) -> Iterator[str]:
    yield _row(HEAD)
    for session, entries in conversations:
        whose = [*_names(session).values(), session.created_at.isoformat()]
        for entry in entries:
            numbers = [getattr(entry, name) for name in ENTRY]
            yield _row(
                [
                    *whose,
                    *numbers,
                    entry.data.get("role", ""),
                    _told(entry),
                    _json(entry.data),
                ]
            )


def _text(conversations: Conversations) -> Iterator[str]:
    for session, entries in conversations:
        yield f"# {session.created_at:%Y-%m-%d %H:%M %Z}  {session.preset or ''}  {session.pk}\n"
        for entry in entries:
            who = _speaker(entry) if entry.kind == "chat" else f"[{entry.kind}]"
            # Further lines are indented, or they could pass for somebody else's.
            lines = [line.translate(CONTROLS) for line in _told(entry).splitlines()]
            yield f"{entry.offset} {who}: " + "\n      ".join(lines) + "\n"
        yield "\n"


def _vtt(conversations: Conversations) -> Iterator[str]:
    yield "WEBVTT\n"
    end = 0
    for session, entries in conversations:
        yield f"\nNOTE {session.pk} {session.created_at:%Y-%m-%d %H:%M %Z}\n"
        start, begin, cue = end, end, ""
        for entry in entries:
            lines = [
                line for line in _told(entry).splitlines() if line.strip()
            ]  # a blank one ends a cue
            if entry.kind == "chat" and lines:
                start, before = begin + entry.at_ms, start
                if cue:
                    start = max(
                        start, before + 1
                    )  # a browser's clock may stand still, or go back
                    yield _cue(before, start, cue)
                cue = f"<v {_speaker(entry)}>" + escape("\n".join(lines), quote=False)
        if cue:
            end = start + CUE_MS
            yield _cue(start, end, cue)


FORMATS: dict[str, Callable[..., Iterator[str]]] = {
    "jsonl": _jsonl,
    "csv": _csv,
    "text": _text,
    "vtt": _vtt,
}


def _names(session: AvatarSession) -> dict[str, Any]:
    preset, user = session.preset, session.user
    names = {"preset": preset and preset.slug, "user": user and user.get_username()}
    return {"conversation": str(session.pk), **names, "visitor": session.visitor}


def _speaker(entry: TranscriptEntry) -> str:
    return _("Avatar") if entry.data.get("role") == "avatar" else _("Visitor")


def _told(entry: TranscriptEntry) -> str:
    if entry.kind == "chat":
        return str(entry.data.get("text", ""))
    words = [str(entry.data[name]) for name in TOLD if entry.data.get(name) is not None]
    return " · ".join([*words, *entry.details.values()])


def _json(value: object) -> str:
    return json.dumps(
        value, ensure_ascii=False, default=lambda moment: moment.isoformat()
    )


def _row(cells: list[Any]) -> str:
    return (
        ",".join('"' + safe_cell(cell).replace('"', '""') + '"' for cell in cells)
        + "\r\n"
    )


def safe_cell(value: object) -> str:
    """A value as a spreadsheet's cell that is text: one that could be taken for a formula begins with `'`."""
    text = "" if value is None else str(value)
    seen = next((c for c in text if unicodedata.category(c)[0] not in "CZ"), "")
    first = unicodedata.normalize("NFKC", seen)[:1]  # full width is as good
    return f"'{text}" if first in [*"=+-@"] or text[:1] in ["\t", "\r", "\n"] else text


def _cue(start: int, end: int, text: str) -> str:
    return f"\n{_clock(start)} --> {_clock(end)}\n{text}\n"


def _clock(ms: int) -> str:
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}.{ms % 1000:03}"
