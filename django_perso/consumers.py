"""The log socket: authenticate, parse, hand to a service, reply. Holds no query and no rule."""

import asyncio
import io
import json
from typing import Any

from channels.generic.websocket import AsyncWebsocketConsumer
from django.core.handlers.asgi import ASGIRequest
from django.db import DatabaseError, InterfaceError

from . import protocol, visitors
from .models import AvatarSession
from .protocol import BadFrame
from .services import Refused, sessions, transcripts
from .services.database import in_database

RETRY_MS = 1000
NOTHING = protocol.Events(())


def _in_thread(function: Any) -> Any:
    """`function` on any free thread: on the one all sockets share, a locked row would delay everybody."""
    return in_database(function, thread_sensitive=False)


class LogConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    """One browser's log, `perso.log.1`. It has no channel layer: with one it would die when Redis does."""

    channel_layer_alias = ""
    session: AvatarSession | None = None
    deadline: asyncio.Task[None] | None = None
    is_closed = False
    hello_seconds: float = protocol.HELLO_SECONDS

    async def connect(self) -> None:
        self.request = ASGIRequest({**self.scope, "method": "GET"}, io.BytesIO())
        if not visitors.is_allowed_origin(self.request):
            await self.close(protocol.ORIGIN)
            return
        await self.accept()
        self.deadline = asyncio.create_task(self.expect_hello())

    async def expect_hello(self) -> None:
        await asyncio.sleep(self.hello_seconds)
        await self.close(protocol.HELLO_TIMEOUT)

    def stop_expecting(self) -> None:
        if self.deadline is not None:
            self.deadline.cancel()

    async def close(self, code: int | None = None, reason: str | None = None) -> None:
        self.is_closed = True
        await super().close(code, reason)

    async def disconnect(self, code: int) -> None:
        self.stop_expecting()

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if self.is_closed:  # frames that were on their way
            return
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
        except (DatabaseError, InterfaceError):
            if self.session is None:  # a browser says hello only on a new socket
                await self.close(protocol.BUSY, "busy")
            else:
                await self.reply({"t": "retry", "after": RETRY_MS})

    async def answer(self, frame: protocol.Frame) -> None:
        """Reply to one frame."""
        if isinstance(frame, protocol.Hello):
            await self.welcome(frame)
        elif self.session is None:
            raise BadFrame(protocol.NOT_AUTHORISED, "say hello first")
        elif isinstance(frame, protocol.Events):
            await self.reply(await self.record(self.session, frame))
        elif isinstance(frame, protocol.Bye):
            await self.reply(await sessions.end(self.session, frame, lasting_loop=True))
        else:
            await self.record(self.session, NOTHING)  # a quiet conversation is a live one: it is billed
            await self.reply({"t": "pong"})

    async def record(self, session: AvatarSession, events: protocol.Events) -> dict[str, Any]:
        answer: dict[str, Any] = await _in_thread(transcripts.record)(session.pk, events, lease=session.lease)
        return answer

    async def welcome(self, hello: protocol.Hello) -> None:
        self.stop_expecting()
        session = await _in_thread(sessions.open_stream)(hello, visitors.cookie_id(self.request))
        self.session = await _in_thread(sessions.raise_lease)(session)
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
