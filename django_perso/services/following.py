"""Hints to pages that follow a conversation. A hint carries no entry."""

import asyncio
import logging
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

from channels.layers import get_channel_layer

from .interval import Interval

log = logging.getLogger("django_perso")

# Between two hints, however much is said.
PAUSE_SECONDS = 0.2
# For one round of hints; a layer that hangs is given up.
SEND_SECONDS = 2.0
# Between two warnings while the layer fails.
WARN_SECONDS = 60.0
# By event loop: the conversations that have news.
_waiting: WeakKeyDictionary[asyncio.AbstractEventLoop, set[UUID]] = WeakKeyDictionary()
_warning = Interval(WARN_SECONDS)
# The event loop keeps only weak references.
_senders: set[asyncio.Task[None]] = set()


def is_possible() -> bool:
    """Return whether the site has a channel layer; one that cannot be made is none."""
    try:
        return get_channel_layer() is not None
    except Exception as error:
        # Its class may be missing, or fail in ways of its own.
        _warn(error)
        return False


def group(stream: UUID) -> str:
    """Return the name of a conversation's group."""
    return f"perso.{stream}"


def notice(stream: UUID) -> None:
    """Hint that something was stored; needs an event loop, never waits or fails."""
    if not is_possible():
        return
    loop = asyncio.get_running_loop()
    if loop not in _waiting:
        sender = loop.create_task(_send_hints(loop))
        _senders.add(sender)
        sender.add_done_callback(_senders.discard)
    _waiting.setdefault(loop, set()).add(stream)


async def _send_hints(loop: asyncio.AbstractEventLoop) -> None:
    """Send hints until there are none left.

    There is one such task for each loop, so that hints wait for a slow layer and tasks
    do not pile up.
    """
    try:
        while streams := _waiting[loop]:
            await asyncio.sleep(PAUSE_SECONDS)
            _waiting[loop] = set()
            try:
                layer: Any = get_channel_layer()
                async with asyncio.timeout(SEND_SECONDS):
                    for stream in streams:
                        await layer.group_send(group(stream), {"type": "perso.look"})
            except Exception as error:
                # A layer fails in ways of its own, and a hint may be lost.
                _warn(error)
    finally:
        del _waiting[loop]


def _warn(error: Exception) -> None:
    if _warning.is_due():
        log.warning("cannot notify followers: the channel layer failed: %r", error)
