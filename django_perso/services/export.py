"""Conversations as text to take away, piece by piece: few are in memory at a time.

jsonl: a line for each conversation, with its entries. csv: a row for each entry,
without formulas, whatever a visitor typed. text: for reading. vtt: captions of what was
said, one conversation after the other.
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

from ..models import Conversation, PersoSession, TranscriptEntry

# Conversations, and entries, that are read at once.
CHUNK = 50
PIECE = 1000
# How long the last caption of a conversation is shown.
CUE_MS = 4000
CONVERSATION = (
    "created_at",
    "ended_at",
    "ended_by",
    "language",
    "is_trial",
    "is_complete",
    "consent_at",
    "consent_hash",
)
PERSO_SESSION = (
    "number",
    "created_at",
    "ended_at",
    "status",
    "ended_by",
    "error_code",
    "termination_reason",
    "duration_seconds",
)
ENTRY = ("source", "seq", "kind", "at_ms")
CSV_HEAD = [
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
# The content of an entry that is not chat, as far as it is text for people.
WORDS = ("name", "phase", "how", "code", "message", "count", "reason", "detail")
# Control characters, which a terminal would obey.
CONTROLS = dict.fromkeys([*range(32), *range(127, 160)], "?")

Conversations = Iterator[tuple[Conversation, Iterator[TranscriptEntry]]]


def export(conversations: QuerySet[Conversation], format: str) -> Iterator[str]:
    """Yield conversations in one of FORMATS, oldest first, as pieces of text."""
    return FORMATS[format](_with_entries(conversations))


def _with_entries(conversations: QuerySet[Conversation]) -> Conversations:
    # Page by page: one long cursor would keep SQLite's file from writers while a slow
    # reader takes its time.
    rows = (
        conversations.select_related("preset", "user")
        .prefetch_related("perso_sessions")
        .order_by("created_at", "pk")
    )
    after = Q()
    while page := list(rows.filter(after)[:CHUNK]):
        yield from _entries_of(page)
        last = page[-1]
        after = Q(created_at__gt=last.created_at)
        after |= Q(created_at=last.created_at, pk__gt=last.pk)


def _entries_of(page: list[Conversation]) -> Conversations:
    """Yield each conversation of a page with its entries, from one query for all."""
    entries = TranscriptEntry.objects.filter(conversation__in=page).order_by(
        "conversation__created_at", "conversation_id", "pk"
    )
    groups = groupby(entries.iterator(chunk_size=PIECE), attrgetter("conversation_id"))
    nothing: Any = (None, iter(()))
    pk, group = next(groups, nothing)
    for conversation in page:
        if conversation.pk == pk:
            yield conversation, group
            pk, group = next(groups, nothing)
        else:
            yield conversation, iter(())


def _jsonl(conversations: Conversations) -> Iterator[str]:
    for conversation, entries in conversations:
        facts = {
            **_names(conversation),
            **_values(conversation, CONVERSATION),
            "length_seconds": conversation.length_seconds,
            "perso_sessions": [
                _values(session, PERSO_SESSION) for session in _sessions(conversation)
            ],
        }
        # The object stays open for the entries.
        yield _json(facts).removesuffix("}") + ', "entries": ['
        separator = ""
        for entry in entries:
            yield separator + _json(_values(entry, (*ENTRY, "data")))
            separator = ", "
        yield "]}\n"


def _csv(conversations: Conversations) -> Iterator[str]:
    yield _row(CSV_HEAD)
    for conversation, entries in conversations:
        names = _names(conversation).values()
        started = conversation.created_at.isoformat()
        for entry in entries:
            numbers = _values(entry, ENTRY).values()
            role = entry.data.get("role", "")
            content = [role, _words(entry), _json(entry.data)]
            yield _row([*names, started, *numbers, *content])


def _text(conversations: Conversations) -> Iterator[str]:
    for conversation, entries in conversations:
        started = f"{conversation.created_at:%Y-%m-%d %H:%M %Z}"
        yield f"# {started}  {conversation.preset or ''}  {conversation.pk}\n"
        for entry in entries:
            speaker = _speaker(entry) if entry.kind == "chat" else f"[{entry.kind}]"
            lines = [line.translate(CONTROLS) for line in _words(entry).splitlines()]
            # Further lines are indented, or they could pass for somebody else's.
            yield f"{entry.offset} {speaker}: " + "\n      ".join(lines) + "\n"
        yield "\n"


def _vtt(conversations: Conversations) -> Iterator[str]:
    yield "WEBVTT\n"
    end = 0
    for conversation, entries in conversations:
        started = f"{conversation.created_at:%Y-%m-%d %H:%M %Z}"
        yield f"\nNOTE {conversation.pk} {started}\n"
        begin = end
        start = begin
        # A caption is shown until the next one, so each waits for its successor.
        waiting = ""
        for entry in entries:
            caption = _caption(entry)
            if not caption:
                continue
            previous_start = start
            start = begin + entry.at_ms
            if waiting:
                # A browser's clock may stand still, or go back.
                start = max(start, previous_start + 1)
                yield _cue(previous_start, start, waiting)
            waiting = caption
        if waiting:
            end = start + CUE_MS
            yield _cue(start, end, waiting)


FORMATS: dict[str, Callable[..., Iterator[str]]] = {
    "jsonl": _jsonl,
    "csv": _csv,
    "text": _text,
    "vtt": _vtt,
}


def _names(conversation: Conversation) -> dict[str, Any]:
    preset = conversation.preset
    user = conversation.user
    return {
        "conversation": str(conversation.pk),
        "preset": preset and preset.slug,
        "user": user and user.get_username(),
        "visitor": conversation.visitor,
    }


def _values(row: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in names}


def _sessions(conversation: Conversation) -> list[PersoSession]:
    return sorted(conversation.perso_sessions.all(), key=attrgetter("number"))


def _speaker(entry: TranscriptEntry) -> str:
    return _("Avatar") if entry.data.get("role") == "avatar" else _("Visitor")


def _words(entry: TranscriptEntry) -> str:
    if entry.kind == "chat":
        return str(entry.data.get("text", ""))
    data = dict(entry.data)
    if data.get("code") == data.get("phase"):
        # The code of a tool that failed without one of its own.
        data.pop("code", None)
    values = [data.get(name) for name in WORDS]
    words = [str(value) for value in values if value is not None]
    return " · ".join([*words, *entry.details.values()])


def _caption(entry: TranscriptEntry) -> str:
    # A blank line would end a cue.
    lines = [line for line in _words(entry).splitlines() if line.strip()]
    if entry.kind != "chat" or not lines:
        return ""
    return f"<v {_speaker(entry)}>" + escape("\n".join(lines), quote=False)


def _json(value: object) -> str:
    return json.dumps(
        value, ensure_ascii=False, default=lambda moment: moment.isoformat()
    )


def _row(cells: list[Any]) -> str:
    quoted = ['"' + safe_cell(cell).replace('"', '""') + '"' for cell in cells]
    return ",".join(quoted) + "\r\n"


def safe_cell(value: object) -> str:
    """Return a value as the text of a spreadsheet cell.

    Text that a program could take for a formula begins with an apostrophe.
    """
    text = "" if value is None else str(value)
    visible = (char for char in text if unicodedata.category(char)[0] not in "CZ")
    # Programs take full-width signs for plain ones.
    first = unicodedata.normalize("NFKC", next(visible, ""))[:1]
    is_formula = first in {"=", "+", "-", "@"} or text[:1] in {"\t", "\r", "\n"}
    return f"'{text}" if is_formula else text


def _cue(start: int, end: int, text: str) -> str:
    return f"\n{_clock(start)} --> {_clock(end)}\n{text}\n"


def _clock(ms: int) -> str:
    hours = ms // 3_600_000
    minutes = ms // 60_000 % 60
    seconds = ms // 1000 % 60
    return f"{hours:02}:{minutes:02}:{seconds:02}.{ms % 1000:03}"
