"""The log socket: authenticate, parse, hand to a service, reply. Holds no query and no rule."""

import asyncio
import io
import json
from typing import Any

from channels.db import DatabaseSyncToAsync
from channels.generic.websocket import AsyncWebsocketConsumer
from django.core.handlers.asgi import ASGIRequest
from django.db import DatabaseError

from . import protocol, visitors
from .models import AvatarSession
from .protocol import BadFrame
from .services import Refused, sessions, transcripts

RETRY_MS = 1000


def _in_thread(function: Any) -> Any:
    """`function` on a thread of its own: on the one shared database thread a locked row delays everybody."""
    return DatabaseSyncToAsync(function, thread_sensitive=False)


class LogConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    """One browser's log, `perso.log.1`. It has no channel layer: with one it would die when Redis does."""

    channel_layer_alias = ""
    session: AvatarSession | None = None
    hello_timer: asyncio.TimerHandle | None = None

    async def connect(self) -> None:
        self.request = ASGIRequest({**self.scope, "method": "GET"}, io.BytesIO())
        if not visitors.is_allowed_origin(self.request):
            await self.close(protocol.ORIGIN)
            return
        await self.accept()
        loop = asyncio.get_running_loop()
        self.hello_timer = loop.call_later(
            protocol.HELLO_SECONDS, lambda: loop.create_task(self.close(protocol.HELLO_TIMEOUT))
        )

    async def disconnect(self, code: int) -> None:
        if self.hello_timer is not None:
            self.hello_timer.cancel()

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        try:
            if text_data is None:
                raise BadFrame(protocol.BAD_FRAME, "binary frame")
            await self.answer(protocol.parse(text_data))
        except BadFrame as bad:
            await self.close(bad.code, str(bad))
        except Refused as refused:
            await self.close(4000 + refused.status, refused.code)
        except transcripts.Superseded:
            await self.close(protocol.SUPERSEDED, "superseded")
        except DatabaseError:
            await self.reply({"t": "retry", "after": RETRY_MS})

    async def answer(self, frame: protocol.Frame) -> None:
        """Reply to one frame."""
        if isinstance(frame, protocol.Hello):
            await self.welcome(frame)
        elif self.session is None:
            raise BadFrame(protocol.NOT_AUTHORISED, "say hello first")
        elif isinstance(frame, protocol.Events):
            record = _in_thread(transcripts.record)
            await self.reply(await record(self.session.pk, frame, lease=self.session.lease))
        elif isinstance(frame, protocol.Bye):
            await self.reply(await sessions.end(self.session, frame, lasting_loop=True))
        else:
            await self.reply({"t": "pong"})

    async def welcome(self, hello: protocol.Hello) -> None:
        session = await _in_thread(sessions.open_stream)(hello, visitors.cookie_id(self.request))
        self.session = await _in_thread(sessions.raise_lease)(session)
        if self.hello_timer is not None:
            self.hello_timer.cancel()
        await self.reply(
            {
                "t": "welcome",
                "ack": self.session.last_seq,
                "age": transcripts.age_ms(self.session),
                "window": protocol.WINDOW,
                "frame": protocol.MAX_FRAME,
                "ping": protocol.PING_SECONDS,
            }
        )

    async def reply(self, frame: dict[str, Any]) -> None:
        await self.send(text_data=json.dumps(frame))
