"""Tells who follows a conversation to look again. It carries no line: the rows come from the database."""

import asyncio
import logging
from math import inf
from time import monotonic
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

from channels.layers import get_channel_layer

log = logging.getLogger("django_perso")

PAUSE_SECONDS = 0.2  # however much is said, so long lies between two hints
SEND_SECONDS = 2.0  # for one round of them; a layer that hangs is as good as none
WARN_SECONDS = 60.0  # between two lines in the site's log while it fails
_waiting: WeakKeyDictionary[asyncio.AbstractEventLoop, set[UUID]] = WeakKeyDictionary()
_warned_at = -inf
_tellers: set[asyncio.Task[None]] = set()  # a loop alone would let them be collected


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
    if loop not in _waiting:
        teller = loop.create_task(_tell(loop))
        _tellers.add(teller)
        teller.add_done_callback(_tellers.discard)
    _waiting.setdefault(loop, set()).add(stream)


async def _tell(loop: asyncio.AbstractEventLoop) -> None:
    """One teller a loop, so that a slow layer has hints wait for each other, not tasks pile up."""
    try:
        while streams := _waiting[loop]:
            await asyncio.sleep(PAUSE_SECONDS)
            _waiting[loop] = set()
            try:
                layer: Any = get_channel_layer()
                async with asyncio.timeout(SEND_SECONDS):
                    for stream in streams:
                        await layer.group_send(group(stream), {"type": "perso.look"})
            except Exception as error:  # a layer fails in ways of its own; a hint is not worth a conversation
                _warn(error)
    finally:
        del _waiting[loop]


def _warn(error: Exception) -> None:
    global _warned_at
    if monotonic() > _warned_at + WARN_SECONDS:
        _warned_at = monotonic()
        log.warning("nobody is told of news, the channel layer fails: %r", error)
