"""Tells who follows a conversation to look again. It carries no line: the rows come from the database."""

import asyncio
import logging
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

from channels.layers import get_channel_layer

log = logging.getLogger("django_perso")

PAUSE_SECONDS = 0.2  # however much is said, so long lies between two hints
_waiting: WeakKeyDictionary[asyncio.AbstractEventLoop, set[UUID]] = WeakKeyDictionary()


def is_possible() -> bool:
    """Whether the site has a channel layer."""
    return get_channel_layer() is not None


def group(stream: UUID) -> str:
    """The name of a conversation's group."""
    return f"perso.{stream}"


def notice(stream: UUID) -> None:
    """Something new is committed. Called in an event loop; never waits, never fails."""
    if not is_possible():
        return
    loop = asyncio.get_running_loop()
    waiting = _waiting.setdefault(loop, set())
    if not waiting:
        loop.call_later(PAUSE_SECONDS, lambda: loop.create_task(_tell(waiting)))
    waiting.add(stream)


async def _tell(waiting: set[UUID]) -> None:
    streams = list(waiting)
    waiting.clear()
    layer: Any = get_channel_layer()
    try:
        for stream in streams:
            await layer.group_send(group(stream), {"type": "perso.look"})
    except Exception as error:  # a layer fails in ways of its own, and a hint is not worth a conversation
        log.warning("nobody is told of news, the channel layer fails: %r", error)
