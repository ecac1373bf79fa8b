"""The end that a page reports with a bye: asked for at Perso, then recorded."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from ..client import PersoError, calls
from ..fields import SecretUnreadable
from ..log.frames import LEFT, Bye
from ..models import Conversation, PersoSession
from . import connections, lifecycle
from .database import in_database
from .lifecycle import Facts

log = logging.getLogger("django_perso")

# The reason may lag behind the end, so Perso is asked after each of these seconds.
DELAYS = (0, 0.5, 1)


async def end(
    conversation: Conversation, bye: Bye, *, delays: Sequence[float] = DELAYS
) -> dict[str, Any]:
    """End the conversation once all its entries are stored, and return the answer.

    The answer is a gap, or done with Perso's reason. Safe to repeat.
    """
    session = await in_database(_refreshed)(conversation)
    if bye.last > conversation.last_seq:
        return {"t": "gap", "s": conversation.last_seq}
    reason = session.termination_reason if session is not None else ""
    if not conversation.is_complete:
        facts = Facts()
        if session is not None and conversation.ended_at is None:
            facts = await _ask(session, delays)
        await in_database(lifecycle.finish)(conversation, bye.how, facts)
        reason = reason or facts.reason
    return {"t": "done", "reason": reason}


async def give_back(conversation: Conversation, session: PersoSession) -> None:
    """End a session that no page has joined, as far as Perso heeds the request."""
    try:
        call = calls.send_session_event(session.session_id.reveal(), "SESSION_END")
        await connections.send(call, connections.without_key(session))
    except (PersoError, SecretUnreadable) as error:
        log.warning("session %s could not be given back: %r", session.pk, error)
    await end(conversation, Bye(last=0, how=LEFT))


def _refreshed(conversation: Conversation) -> PersoSession | None:
    columns = ["last_seq", "ended_at", "is_complete"]
    conversation.refresh_from_db(fields=columns)
    return conversation.newest_session


async def _ask(session: PersoSession, delays: Sequence[float]) -> Facts:
    connection = connections.without_key(session)
    for delay in delays:
        await asyncio.sleep(delay)
        try:
            call = calls.get_session_info(session.session_id.reveal())
            info = await connections.send(call, connection)
        except (PersoError, SecretUnreadable) as error:
            log.warning(
                "session %s has ended, but Perso did not report why: %r",
                session.pk,
                error,
            )
            break
        if info.termination_reason:
            return Facts(info.termination_reason, info.duration_sec)
    return Facts()
