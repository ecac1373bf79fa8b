"""What the page of a conversation shows of its entries.

An item is one entry, one tool call, or a line of states that follow each other. A tool
call is two entries, called and answered; the page and the site may both report one end.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models import QuerySet
from django.utils.formats import number_format
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..log.frames import WHOLE
from ..models import EndedBy, TranscriptEntry
from ..services import reasons

Entries = QuerySet[TranscriptEntry]
Kind = TranscriptEntry.Kind

# How many entries are looked through for the other half of a tool call.
MAX_HALVES = 500
# A longer line of states is broken.
MAX_STATES = 50

STATES = {
    "started": _("started"),
    "connecting": _("connecting"),
    "live": _("connected"),
    "interrupted": _("avatar interrupted"),
    "sound_blocked": _("sound blocked by the browser"),
    "log_silent": _("the page stopped reporting, while Perso went on"),
}
ENDED = "ended"
# Who or what ended a conversation, as a page or this site reports it.
ENDINGS = {
    **dict(EndedBy.choices),
    "other": EndedBy.REPLACED.label,
    "pagehide": EndedBy.LEFT.label,
}
# What this site may call an end that the page calls by these names.
SAME_END = {
    "pagehide": {EndedBy.VISITOR, EndedBy.LEFT},
    "other": {EndedBy.VISITOR, EndedBy.REPLACED},
}
PHASES = {
    "called": _("called"),
    "answered": _("answered"),
    "failed": _("failed"),
}
GAP_REASONS = {
    "overflow": _("the browser could not keep more"),
    "lost": _("the browser lost them"),
    "undeliverable": _("the browser could not send them"),
    "too_big": _("too large"),
    "bad_schema": _("malformed"),
    "limit": _("the conversation is too long"),
    "redactor": _("the redactor failed"),
}
DETAILS = {
    "arguments": _("arguments"),
    "result": _("result"),
    "error": _("error"),
}


@dataclass
class ToolCall:
    """A tool call: its entry and the entry of its answer, if they are there."""

    called: TranscriptEntry | None = None
    answer: TranscriptEntry | None = None

    @property
    def entries(self) -> list[TranscriptEntry]:
        return [entry for entry in (self.called, self.answer) if entry is not None]

    @property
    def name(self) -> Any:
        return self.entries[0].data.get("name")

    @property
    def phase(self) -> Any:
        phase = self.entries[-1].data.get("phase")
        return PHASES.get(str(phase), phase)

    @property
    def ms(self) -> Any:
        return self.entries[-1].data.get("ms")

    @property
    def has_failed(self) -> bool:
        return bool(self.entries[-1].data.get("phase") == "failed")

    @property
    def is_shortened(self) -> bool:
        return any(entry.data.get("truncated") for entry in self.entries)

    @property
    def details(self) -> list[tuple[Any, str]]:
        """The arguments, the result and the error, each with its label."""
        texts: dict[str, str] = {}
        for entry in self.entries:
            texts.update(entry.details)
        return [(label, texts[key]) for key, label in DETAILS.items() if key in texts]


@dataclass
class State:
    """A state as it is shown, and whether this site has written it."""

    entry: TranscriptEntry
    text: str
    is_from_site: bool


@dataclass
class Item:
    """What is shown as one: `entry` is the first of its entries."""

    entry: TranscriptEntry
    call: ToolCall | None = None
    states: list[State] = field(default_factory=list)

    @property
    def gap_reason(self) -> Any:
        """Why entries are missing."""
        reason = self.entry.data.get("reason")
        text = GAP_REASONS.get(str(reason), reason)
        detail = self.entry.data.get("detail")
        return f"{text} ({detail})" if detail else text

    @property
    def spoken(self) -> str:
        """That the visitor spoke this line, and for how long."""
        if self.entry.data.get("via") != "voice":
            return ""
        ms = self.entry.data.get("spoken_ms")
        if type(ms) is not int or ms not in WHOLE:
            return gettext("spoken")
        seconds = number_format(ms / 1000, decimal_pos=1)
        return gettext("spoken, %(seconds)s s") % {"seconds": seconds}


def items(entries: Entries, page: Sequence[TranscriptEntry]) -> list[Item]:
    """Return what a page of a transcript shows.

    `entries` are all of the conversation. A tool call is shown on the page on which it
    was called, with its answer, wherever that is.
    """
    shown = {entry.pk for entry in page}
    calls = {}
    for call in _calls(entries, page):
        first = call.entries[0]
        if first.pk in shown:
            calls[first.pk] = call
    return _arrange(page, calls)


def changed_items(
    entries: Entries, news: Sequence[TranscriptEntry], line: int
) -> list[Item]:
    """Return the items that new entries add or change.

    `line` is the key of the first entry of the line of states that the page ends with,
    or 0. An item that has changed is returned whole, below the key it had before.
    """
    calls = {}
    for call in _calls(entries, news):
        for entry in call.entries:
            calls[entry.pk] = call
    states: list[TranscriptEntry] = []
    if line and news and news[0].kind == Kind.STATE:
        earlier = entries.filter(pk__gte=line, pk__lt=news[0].pk, kind=Kind.STATE)
        states = list(earlier.order_by("pk")[:MAX_STATES])
    return _arrange([*states, *news], calls)


def _arrange(page: Sequence[TranscriptEntry], calls: dict[int, ToolCall]) -> list[Item]:
    """Make items of entries; `calls` are the tool calls to show, by keys of entries."""
    result: list[Item] = []
    arranged: set[int] = set()
    for entry in page:
        if entry.kind == Kind.TOOL:
            call = calls.get(entry.pk)
            if call is not None and id(call) not in arranged:
                arranged.add(id(call))
                result.append(Item(call.entries[0], call=call))
        elif entry.kind == Kind.STATE:
            previous = result[-1].states if result else []
            if not 0 < len(previous) < MAX_STATES:
                previous = []
                result.append(Item(entry, states=previous))
            _add_state(previous, entry)
        else:
            result.append(Item(entry))
    return result


# --- tool calls -----------------------------------------------------------------------


def _calls(entries: Entries, page: Sequence[TranscriptEntry]) -> list[ToolCall]:
    """Return the tool calls of which a page has one half or both."""
    tools = [entry for entry in page if entry.kind == Kind.TOOL]
    unanswered = set()
    uncalled = set()
    for call in _paired(tools):
        if call.answer is None:
            unanswered.add(_call_id(call.entries[0]))
        elif call.called is None:
            uncalled.add(_call_id(call.entries[0]))
    other_tools = entries.filter(kind=Kind.TOOL)
    before: list[TranscriptEntry] = []
    after: list[TranscriptEntry] = []
    if uncalled:
        earlier = other_tools.filter(pk__lt=page[0].pk, data__id__in=uncalled)
        before = list(reversed(earlier.order_by("-pk")[:MAX_HALVES]))
    if unanswered:
        later = other_tools.filter(pk__gt=page[-1].pk, data__id__in=unanswered)
        after = list(later.order_by("pk")[:MAX_HALVES])
    return _paired([*before, *tools, *after])


def _paired(tools: Iterable[TranscriptEntry]) -> list[ToolCall]:
    """Return calls in order, each with the next answer that has its id."""
    calls: list[ToolCall] = []
    waiting: dict[tuple[str, str], ToolCall] = {}
    for entry in tools:
        key = (entry.source, _call_id(entry))
        if entry.data.get("phase") == "called":
            call = ToolCall(called=entry)
            calls.append(call)
            waiting[key] = call
        elif key in waiting:
            waiting.pop(key).answer = entry
        else:
            calls.append(ToolCall(answer=entry))
    return calls


def _call_id(entry: TranscriptEntry) -> str:
    return str(entry.data.get("id", ""))


# --- states ---------------------------------------------------------------------------


def _add_state(states: list[State], entry: TranscriptEntry) -> None:
    """Append a state to a line, unless the line has this end from the other side."""
    for state in states:
        end = _same_end(state.entry, entry)
        if end is not None:
            state.text = _state_text(end)
            state.is_from_site = True
            return
    is_from_site = entry.source == TranscriptEntry.Source.SERVER
    states.append(State(entry, _state_text(entry.data), is_from_site))


def _same_end(one: TranscriptEntry, other: TranscriptEntry) -> dict[str, Any] | None:
    """Return what page and site together report of one end, or None if they do not."""
    data = {str(entry.source): entry.data for entry in (one, other)}
    if len(data) == 1 or any(each.get("name") != ENDED for each in data.values()):
        return None
    by_page = data["browser"]
    by_site = data["server"]
    detail = str(by_page.get("detail"))
    if by_site.get("how") not in SAME_END.get(detail, {detail}):
        return None
    return {**by_site, **by_page}


def _state_text(data: dict[str, Any]) -> str:
    """Return a state in words, whatever a page may have sent."""
    name = str(data.get("name") or "")
    detail = str(data.get("detail") or data.get("how") or "")
    reason = reasons.for_staff(str(data.get("reason") or ""))
    ending = str(ENDINGS.get(detail, detail))
    if name == ENDED and ending:
        words = [gettext("ended %(how)s") % {"how": ending}, reason]
    elif name == ENDED:
        words = [gettext("ended"), reason]
    else:
        words = [str(STATES.get(name, name.replace("_", " "))), ending, reason]
    return " · ".join(word for word in words if word)
