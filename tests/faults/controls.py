"""Two logs as one should not write them: the rig must find them out.

`hasty` acknowledges what it has not stored yet; `blind` stores whatever comes, as often as it comes.
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
    """Stores, then acknowledges, and never looks at what is there."""

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
    """Acknowledges at once and stores a moment later."""

    async def take(self, items: list[dict[str, Any]]) -> None:
        await self.send_json({"t": "ack", "s": items[-1]["s"]})
        await asyncio.sleep(
            random.uniform(0.2, 1)
        )  # so that some are between the two whenever it is killed
        await self.store(items)


def _site(consumer: Any) -> Any:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await (consumer if scope["type"] == "websocket" else django)(
            scope, receive, send
        )

    return application


hasty, blind = _site(Hasty.as_asgi()), _site(Blind.as_asgi())
