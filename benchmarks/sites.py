"""The contestants: our application, a usual one, and two that store nothing."""

import os
import time
from typing import Any

from asgiref.sync import sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.settings")

from django_perso.asgi import get_asgi_application

django = get_asgi_application()

from django_perso.consumers import LogConsumer  # noqa: E402
from django_perso.models import TranscriptEntry  # noqa: E402

LogConsumer.window = 32
LogConsumer.silence_seconds = 3600  # the load client sends no pings
HOLD_SECONDS = 0.2


class Stock(AsyncJsonWebsocketConsumer):  # type: ignore[misc]
    """Stores one row after the other through the ORM, then acknowledges."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        if content["t"] == "hello":
            self.stream = content["stream"]
            await self.send_json({"t": "welcome"})
            return
        for item in content["items"]:
            await TranscriptEntry.objects.acreate(
                conversation_id=self.stream,
                source="browser",
                seq=item["s"],
                kind=item["k"],
                at_ms=item["t"],
                data=item["d"],
            )
        await self.send_json({"t": "ack", "s": item["s"]})


class Echo(AsyncJsonWebsocketConsumer):  # type: ignore[misc]
    """Acknowledges entries without storing them."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send_json(
            {"t": "ack", "s": content["items"][-1]["s"]}
            if "items" in content
            else {"t": "welcome"}
        )


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """Accept a socket and answer each message with a welcome frame."""
    while (message := await receive())["type"] != "websocket.disconnect":
        if message["type"] == "websocket.connect":
            await send({"type": "websocket.accept"})
        else:
            await send({"type": "websocket.send", "text": '{"t": "welcome"}'})


def with_holder(app: Any) -> Any:
    """Return an application that also has a socket at /hold/.

    That socket blocks the thread that the sync code of all sockets shares.
    """

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope.get("path") != "/hold/":
            await app(scope, receive, send)
            return
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            await sync_to_async(time.sleep)(HOLD_SECONDS)
            await send({"type": "websocket.send", "text": "held"})

    return application


ours = with_holder(django)
stock = with_holder(Stock.as_asgi())
echo = with_holder(Echo.as_asgi())
