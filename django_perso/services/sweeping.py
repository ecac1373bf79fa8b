"""Ask Perso which sessions run and how others ended, and end the silent ones.

A browser that crashes and a server that is killed send no bye, so this is the one
end that always comes. What a browser sends decides nothing here: Perso says what it
bills. "Silent" means that the page has given no sign of life, not that the visitor says
nothing. Ending a row does not end the session at Perso.
"""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from time import monotonic
from typing import Any

from django.db.models import Q, QuerySet

from ..client import ApiError, PersoError, calls
from ..fields import SecretUnreadable
from ..models import PersoSession, TranscriptEntry
from . import connections, database, lifecycle, limits, transcripts
from .interval import Interval
from .lifecycle import Facts

log = logging.getLogger("django_perso")

Status = PersoSession.Status
# A session is asked about this long after its start, before its place would be free.
ASK_AFTER = timedelta(minutes=2)
# The page of a session that runs sends entries or pings at least this often.
REPORT_WITHIN = timedelta(minutes=2)
# What Perso has not said a day after the end, it will not say.
ASK_FOR = timedelta(days=1)
# By then a sweeper has asked.
ASKED_AFTER = timedelta(hours=1)
# What a start closes for a site without a timer, and how often, in each process.
LAZY_LIMIT = 5
LAZY_SECONDS = 10.0
# Questions to Perso at the same time.
AT_ONCE = 8
# No question is begun after this; each has a deadline of its own.
ASK_SECONDS = 20.0
_lazy_close = Interval(LAZY_SECONDS)


@dataclass(frozen=True)
class Answer:
    """What Perso says about a session."""

    is_running: bool
    facts: Facts


def sweep(
    limit: int = 1000, now: datetime | None = None, *, seconds: float = ASK_SECONDS
) -> dict[str, int]:
    """Ask about at most `limit` running and ended sessions each; then end silent ones.

    Return counts of sessions: `closed`, ended here; `running`, as Perso says;
    `settled`, whose end Perso has explained; `unsettled`, whose end it has not, which
    are asked about next time. Safe to repeat, and to run in several processes at once.
    """
    now = now or database.now()
    counts = {"closed": 0, "running": 0, "settled": 0}
    sessions = [*_running(now)[:limit], *_unsettled(now)[:limit]]
    unreadable: list[SecretUnreadable] = []
    ask = partial(_ask, until=monotonic() + seconds, unreadable=unreadable)
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for session, answer in zip(sessions, threads.map(ask, sessions), strict=True):
            if answer is None:
                continue
            if answer.is_running:
                counts["running"] += lifecycle.saw(session, now)
                _note_silence(session, now)
            elif answer.facts.reason:
                last_sign_at = _last_sign_at(session)
                counts["closed"] += lifecycle.end_terminated(
                    session, answer.facts, last_sign_at
                )
                counts["settled"] += lifecycle.settle(session, answer.facts)
    if unreadable:
        # One line for all of them: usually they have one cause, a key that is missing.
        log.warning(
            "%d sessions cannot be asked about. %s", len(unreadable), unreadable[0]
        )
    counts["closed"] += len(close_stale(limit, now))
    return {**counts, "unsettled": _unsettled(now)[:limit].count()}


def _note_silence(session: PersoSession, now: datetime) -> None:
    """Note once that the page of a session that runs has reported nothing lately."""
    conversation = session.conversation
    if conversation is None or conversation.last_seen_at > now - REPORT_WITHIN:
        return
    since = Q(created_at__gte=conversation.last_seen_at)
    if not conversation.entries.filter(since, transcripts.IS_LOG_SILENT).exists():
        kind = TranscriptEntry.Kind.STATE
        transcripts.note(conversation, kind, transcripts.LOG_SILENT)


def _running(now: datetime) -> Any:
    """Return sessions that may still be running, least recently heard first."""
    sessions = PersoSession.objects.running().filter(created_at__lte=now - ASK_AFTER)
    by_silence = sessions.with_last_sign().order_by("last_sign_at")
    return by_silence.select_related("conversation")


def _unsettled(now: datetime) -> QuerySet[PersoSession]:
    """Return sessions that ended lately and that Perso has not explained in full."""
    ended = PersoSession.objects.filter(status=Status.ENDED, settled_at=None)
    recent = ended.filter(last_seen_at__gte=now - ASK_FOR)
    return recent.order_by("-last_seen_at")


def neglected(now: datetime | None = None) -> QuerySet[PersoSession]:
    """Return sessions that ended a while ago and that nobody has asked Perso about.

    Without those that did not start: they have no session id to ask with.
    """
    now = now or database.now()
    unexplained = _unsettled(now).filter(termination_reason="", error_code="")
    return unexplained.filter(ended_at__lte=now - ASKED_AFTER)


def close_stale(limit: int, now: datetime | None = None) -> list[PersoSession]:
    """End up to `limit` silent sessions, and return them.

    One query if there are none, and no question to Perso, so it fits into a start.
    """
    closed = []
    for session in stale(now).order_by("last_sign_at")[:limit]:
        if lifecycle.end_silent(session, _last_sign_at(session)):
            closed.append(session)
    return closed


def close_some() -> None:
    """End a few silent sessions, for a site that does not run the sweeper."""
    if _lazy_close.is_due():
        close_stale(LAZY_LIMIT)


def stale(now: datetime | None = None) -> Any:
    """Return the sessions that are silent and have not ended yet."""
    then = limits.silent_since(now)
    # The row's own sign is no later than the last one, and has an index.
    running = PersoSession.objects.running().filter(last_seen_at__lte=then)
    return running.with_last_sign().filter(last_sign_at__lte=then)


def _last_sign_at(session: Any) -> datetime:
    """Return what `with_last_sign` has found; an ended session has its own."""
    moment: datetime = getattr(session, "last_sign_at", session.last_seen_at)
    return moment


def _ask(
    session: PersoSession, *, until: float, unreadable: list[SecretUnreadable]
) -> Answer | None:
    """Return what Perso says, or None if it does not answer or no time is left.

    The error of a session id that cannot be decrypted is added to `unreadable`.
    """
    try:
        session_id = session.session_id.reveal()
        if not session_id or monotonic() >= until:
            return None
        connection = connections.without_key(session)
        info = connections.client(connection).send(calls.get_session_info(session_id))
    except SecretUnreadable as error:
        unreadable.append(error)
        return None
    except (PersoError, ValueError) as error:
        if _is_forgotten(session, error):
            reason = session.termination_reason or "NOT_FOUND"
            return Answer(False, Facts(reason, duration_seconds=0))
        log.warning(
            "session %s: cannot get its status from Perso: %r", session.pk, error
        )
        return None
    is_running = not info.termination_reason and info.status != "TERMINATED"
    return Answer(is_running, Facts(info.termination_reason or "", info.duration_sec))


def _is_forgotten(session: PersoSession, error: Exception) -> bool:
    """Return whether Perso says that it does not know the session any more."""
    # Perso's own code: any server may answer 404.
    is_unknown = isinstance(error, ApiError) and error.code == "not_found"
    # Each process has a sandbox of its own, which knows only its own sessions.
    is_at_perso = bool(session.api_server)
    return is_unknown and (is_at_perso or session.status == Status.ENDED)
