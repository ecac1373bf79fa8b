"""Asks Perso which conversations run and how others ended, and ends those that show no sign of life.

Nobody says goodbye when a browser crashes or a server is killed, so this is the one end that always comes.
And a browser may be silent or chatter on as it likes: what is billed is what Perso says.
"""

import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from math import inf
from time import monotonic
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet

from ..client import ApiError, PersoError, SessionInfo, calls
from ..fields import SecretUnreadable
from ..models import AvatarSession, TranscriptEntry
from ..signals import session_ended
from . import database, limits, transcripts, upstream

log = logging.getLogger("django_perso")

Status = AvatarSession.Status
ASK_AFTER = timedelta(
    minutes=2
)  # of the start; before a silent one's place would be free
ASK_FOR = timedelta(
    days=1
)  # after the end; whatever Perso has not told by then it will not
LAZY_LIMIT, LAZY_SECONDS = 5, 10.0  # of a start, in each process
AT_ONCE, ASK_SECONDS = (
    8,
    20.0,
)  # questions to Perso; after that none is begun, and each has its deadline
_looked_at = -inf


def sweep(
    limit: int = 1000, now: datetime | None = None, *, seconds: float = ASK_SECONDS
) -> dict[str, int]:
    """Ask Perso about what runs, and how ended what lately has; then close what is silent; at most `limit` of
    each.

    Gives how many were closed, how many run as Perso says, of how many it told the end, and of how many not:
    those are asked about next time. Safe to repeat, and from several processes at once.
    """
    now = now or database.now()
    asked = [*_running(now)[:limit], *_untold(now)[:limit]]
    ask, swept = (
        partial(_ask, until=monotonic() + seconds),
        dict.fromkeys(("closed", "running", "told"), 0),
    )
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for session, info in zip(asked, threads.map(ask, asked), strict=True):
            row = AvatarSession.objects.filter(pk=session.pk)
            if info is None:
                continue
            if info.termination_reason:  # which may lag behind the end
                reason = info.termination_reason[:100]
                facts = {
                    "termination_reason": reason,
                    "duration_seconds": info.duration_sec,
                }
                swept["told"] += row.update(**facts)
                told, running = (
                    {"how": "remote", "reason": reason},
                    row.filter(status__in=limits.RUNNING),
                )
                swept["closed"] += end(
                    session, running, told, ended_at=session.last_seen_at, **facts
                )
            elif info.status != "TERMINATED":  # a sign of life, for it is billed
                swept["running"] += row.filter(last_seen_at__lt=now).update(
                    last_seen_at=now
                )
    swept["closed"] += len(close_stale(limit, now))
    return {**swept, "untold": _untold(now)[:limit].count()}


def _running(now: datetime) -> QuerySet[AvatarSession]:
    """What may run at Perso; the most silent first. A browser that has just begun needs no second look."""
    sessions = AvatarSession.objects.filter(
        status__in=limits.RUNNING, created_at__lte=now - ASK_AFTER
    )
    return sessions.order_by("last_seen_at")


def _untold(now: datetime) -> QuerySet[AvatarSession]:
    """What has lately ended, and Perso did not say how."""
    recent = AvatarSession.objects.filter(
        status=Status.ENDED, last_seen_at__gte=now - ASK_FOR
    )
    return recent.filter(Q(termination_reason="") | Q(duration_seconds=None)).order_by(
        "-last_seen_at"
    )


def close_stale(limit: int, now: datetime | None = None) -> list[AvatarSession]:
    """End up to `limit` conversations that have been silent for LIVE_FOR. One query where there are none, and
    never a word to Perso, so it fits into a start."""
    return [
        session
        for session in stale(now).order_by("last_seen_at")[:limit]
        if _close(session)
    ]


def close_some() -> None:
    """What a start does for a site whose sweeper does not run, every few seconds at most."""
    global _looked_at
    if _looked_at < monotonic() - LAZY_SECONDS:
        _looked_at = monotonic()
        close_stale(LAZY_LIMIT)


def stale(now: datetime | None = None) -> QuerySet[AvatarSession]:
    """The conversations that are silent and not closed yet."""
    then = (now or database.now()) - limits.LIVE_FOR
    return AvatarSession.objects.filter(
        status__in=limits.RUNNING, last_seen_at__lte=then
    )


def _close(session: AvatarSession) -> bool:
    running = AvatarSession.objects.filter(pk=session.pk, status__in=limits.RUNNING)
    silent = running.filter(
        last_seen_at__lte=session.last_seen_at
    )  # still, after it was read
    return end(session, silent, {"how": "silence"}, ended_at=session.last_seen_at)


def end(
    session: AvatarSession,
    rows: QuerySet[AvatarSession],
    told: dict[str, Any],
    **values: Any,
) -> bool:
    """End a conversation if `rows` still finds it, with these values; note what is `told`, and signal it."""
    with transaction.atomic():
        if not rows.update(status=Status.ENDED, **values):
            return False
        session.refresh_from_db(fields=["status", *values])
        transcripts.note(session, TranscriptEntry.Kind.STATE, {"name": "ended", **told})
        transaction.on_commit(
            partial(session_ended.send_robust, AvatarSession, avatar_session=session)
        )
    return True


def _ask(session: AvatarSession, *, until: float) -> SessionInfo | None:
    """What Perso says of a session; None where it does not, or there is no time left. One that it does not
    know any more has ended, and counts no seconds."""
    try:
        session_id = session.session_id.reveal()
        if not session_id or monotonic() >= until:
            return None
        return upstream.client(upstream.account_of(session)).send(
            calls.get_session_info(session_id)
        )
    except (PersoError, SecretUnreadable, ValueError) as error:
        is_gone = (
            isinstance(error, ApiError) and error.code == "not_found"
        )  # Perso's word: not any page's 404
        # The emulator of another process is another one, and knows nothing.
        if is_gone and (session.api_server or session.status == Status.ENDED):
            reason = session.termination_reason or "NOT_FOUND"
            return SessionInfo(
                session_id=session_id, status="TERMINATED", termination_reason=reason
            )
        log.warning(
            "conversation %s: Perso does not say how it is: %r", session.pk, error
        )
        return None
