"""Ends the conversations that show no sign of life any more, and asks Perso how they ended.

Nobody says goodbye when a browser crashes or a server is killed, so this is the one end that always comes.
"""

import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from math import inf
from time import monotonic

from django.db import transaction
from django.db.models import F, Q, QuerySet

from ..client import ApiError, PersoError, calls
from ..fields import SecretUnreadable
from ..models import AvatarSession, TranscriptEntry
from ..signals import session_ended
from . import database, limits, transcripts, upstream

log = logging.getLogger("django_perso")

Status = AvatarSession.Status
ASK_FOR = timedelta(days=1)  # after the end; whatever Perso has not told by then it will not
LAZY_LIMIT, LAZY_SECONDS = 5, 10.0  # of a start, in each process
AT_ONCE, ASK_SECONDS = 8, 20.0  # questions to Perso; after that none is begun, and each has its deadline
_looked_at = -inf


def sweep(limit: int = 1000, now: datetime | None = None, *, seconds: float = ASK_SECONDS) -> dict[str, int]:
    """Close what is silent; ask Perso how that ended, and what else has lately; at most `limit` of each.

    Gives how many were closed, of how many Perso told, and of how many not: those are asked about next time.
    Safe to repeat, and from several processes at once.
    """
    now = now or database.now()
    closed = close_stale(limit, now)
    recent = AvatarSession.objects.filter(status=Status.ENDED, last_seen_at__gte=now - ASK_FOR)
    untold = recent.filter(Q(termination_reason="") | Q(duration_seconds=None)).order_by("-last_seen_at")
    asked = list({session.pk: session for session in [*closed, *untold[:limit]]}.values())
    ask, told = partial(_ask, until=monotonic() + seconds), 0
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for session, ending in zip(asked, threads.map(ask, asked), strict=True):
            if ending is not None:
                told += AvatarSession.objects.filter(pk=session.pk).update(
                    termination_reason=ending[0][:100], duration_seconds=ending[1]
                )
    return {"closed": len(closed), "told": told, "untold": len(asked) - told}


def close_stale(limit: int, now: datetime | None = None) -> list[AvatarSession]:
    """End up to `limit` conversations that have been silent for LIVE_FOR. One query where there are none, and
    never a word to Perso, so it fits into a start."""
    return [session for session in stale(now).order_by("last_seen_at")[:limit] if _close(session)]


def close_some() -> None:
    """What a start does for a site whose sweeper does not run, every few seconds at most."""
    global _looked_at
    if _looked_at < monotonic() - LAZY_SECONDS:
        _looked_at = monotonic()
        close_stale(LAZY_LIMIT)


def stale(now: datetime | None = None) -> QuerySet[AvatarSession]:
    """The conversations that are silent and not closed yet."""
    then = (now or database.now()) - limits.LIVE_FOR
    return AvatarSession.objects.filter(status__in=limits.RUNNING, last_seen_at__lte=then)


def _close(session: AvatarSession) -> bool:
    with transaction.atomic():
        running = AvatarSession.objects.filter(pk=session.pk, status__in=limits.RUNNING)
        silent = running.filter(last_seen_at__lte=session.last_seen_at)  # still, after it was read
        if not silent.update(status=Status.ENDED, ended_at=F("last_seen_at")):
            return False
        session.status, session.ended_at = Status.ENDED, session.last_seen_at
        transcripts.note(session, TranscriptEntry.Kind.STATE, {"name": "ended", "how": "silence"})
        transaction.on_commit(partial(session_ended.send_robust, AvatarSession, avatar_session=session))
    return True


def _ask(session: AvatarSession, *, until: float) -> tuple[str, float] | None:
    """Why a session ended and how many seconds it had, as Perso says; None where it does not, or there is no
    time left. Of a session it does not know any more it counts none."""
    try:
        session_id = session.session_id.reveal()
        if not session_id or monotonic() >= until:
            return None
        info = upstream.client(upstream.account_of(session)).send(calls.get_session_info(session_id))
        return (info.termination_reason, info.duration_sec) if info.termination_reason else None
    except (PersoError, SecretUnreadable, ValueError) as error:
        if isinstance(error, ApiError) and error.code == "not_found":  # in Perso's words: not any page's 404
            return session.termination_reason or "NOT_FOUND", 0.0
        log.warning("conversation %s ended, Perso does not say how: %r", session.pk, error)
        return None
