"""Two faulty consumers of the log, whose faults the tests must detect.

`hasty` acknowledges entries before it stores them; `blind` stores every copy of an
entry.
"""

import asyncio
import random
import uuid
from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer

from django_perso.asgi import get_asgi_application

django = get_asgi_application()

from django_perso.models import TranscriptEntry  # noqa: E402


class Blind(AsyncJsonWebsocketConsumer):  # type: ignore[misc]
    """Stores entries without looking for those that are stored, then acknowledges."""

    stream: uuid.UUID

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        if content["t"] == "hello":
            self.stream = content["stream"]
            await self.send_json({"t": "welcome", "ack": 0})
        elif content["t"] == "ev":
            await self.take(content["items"])

    async def take(self, items: list[dict[str, Any]]) -> None:
        await self.store(items)
        await self.send_json({"t": "ack", "s": items[-1]["s"]})

    async def store(self, items: list[dict[str, Any]]) -> None:
        await TranscriptEntry.objects.abulk_create(
            TranscriptEntry(
                conversation_id=self.stream,
                source="browser",
                seq=item["s"],
                kind=item["k"],
                at_ms=item["t"],
                data=item["d"],
            )
            for item in items
        )


class Hasty(Blind):
    """Acknowledges entries at once and stores them a moment later."""

    async def take(self, items: list[dict[str, Any]]) -> None:
        await self.send_json({"t": "ack", "s": items[-1]["s"]})
        # Long enough that some entries are acknowledged only, whenever it is killed.
        await asyncio.sleep(random.uniform(0.2, 1))
        await self.store(items)


def site_with(consumer: Any) -> Any:
    """Return the example site with another consumer for its sockets."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        handler = consumer if scope["type"] == "websocket" else django
        await handler(scope, receive, send)

    return application


hasty = site_with(Hasty.as_asgi())
blind = site_with(Blind.as_asgi())
