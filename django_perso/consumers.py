"""The log socket: authenticate, parse, hand to a service, reply. Holds no query and no rule."""

import asyncio
import io
import json
import logging
from collections import Counter
from contextlib import suppress
from time import monotonic
from typing import Any
from uuid import UUID

from channels.generic.websocket import AsyncWebsocketConsumer
from django.core.handlers.asgi import ASGIRequest
from django.db import DatabaseError, InterfaceError

from . import visitors
from .log import frames, payloads
from .log.codes import CloseCode
from .log.frames import Bye, Events, Hello, Ping
from .log.payloads import BadFrame
from .models import Conversation
from .services import Refused, ending, following, tickets, transcripts
from .services.database import in_database
from .services.limits import is_staff
from .services.transcripts import Report
from .services.writer import writer

log = logging.getLogger("django_perso")

RETRY_MS = 1000
MAX_SOCKETS = 5  # of a visitor, in a process
# Until the visitor is looked at again; and the age at which a socket has to say hello again.
CHECK_SECONDS, MAX_AGE_SECONDS = 30, 3600
NOTHING = Events(())
_open_sockets: Counter[str] = Counter()  # of this process, by visitor


class LogConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    """One browser's log, `perso.log.1`. It has no channel layer: with one it would die when Redis does."""

    hello_seconds: float = frames.HELLO_SECONDS
    silence_seconds: float = frames.SILENCE_SECONDS
    check_seconds: float = CHECK_SECONDS
    window: int = frames.WINDOW

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope, self.base_send = scope, send
        self.visitor = visitors.cookie_id(self.request)
        self.hello: Hello | None = None
        self.conversation: Conversation | None = None
        self.answers: list[transcripts.Answer] = []
        self.unanswered, self.is_pinged, self.is_closed = 0, False, False
        self.began = self.heard = self.checked = monotonic()
        watch = asyncio.create_task(self.watch())
        _open_sockets[self.visitor] += 1
        try:
            # Channels' own loop waits for the process's one shared thread first, with every frame.
            while (message := await receive())["type"] != "websocket.disconnect":
                await getattr(self, message["type"].replace(".", "_"))(message)
        finally:
            self.is_closed = True
            watch.cancel()
            _open_sockets[self.visitor] -= 1
            if not _open_sockets[self.visitor]:
                del _open_sockets[self.visitor]

    @property
    def request(self) -> ASGIRequest:
        """The opening request, made anew each time: kept, it would weigh on every idle socket."""
        return ASGIRequest({**self.scope, "method": "GET"}, io.BytesIO())

    async def connect(self) -> None:
        if not visitors.is_allowed_origin(self.request):
            await self.close(CloseCode.ORIGIN)
        elif self.visitor and _open_sockets[self.visitor] > MAX_SOCKETS:
            await self.close(CloseCode.TOO_FAST)
        else:
            await self.accept()

    async def watch(self) -> None:
        """Close a socket that says no hello, falls silent, or is so old that it has to say hello again."""
        await asyncio.sleep(self.hello_seconds)
        if self.hello is None:  # a hello that has come may wait for the database
            await self.close(CloseCode.HELLO_TIMEOUT)
        while not self.is_closed:
            await asyncio.sleep(
                max(0.05, self.heard + self.silence_seconds - monotonic())
            )
            is_silent = monotonic() >= self.heard + self.silence_seconds
            if is_silent or monotonic() >= self.began + MAX_AGE_SECONDS:
                await self.close(CloseCode.RECONNECT)

    async def close(self, code: int | None = None, reason: str | None = None) -> None:
        self.is_closed = True
        await super().close(code, reason)

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None
    ) -> None:
        if self.is_closed:  # frames that were on their way
            return
        self.heard = monotonic()
        try:
            if text_data is None:
                raise BadFrame(CloseCode.BAD_FRAME, "binary frame")
            await self.read(frames.parse(payloads.load(text_data), len(text_data)))
        except (BadFrame, Refused, DatabaseError, InterfaceError) as error:
            await self.fail(error)

    async def read(self, frame: frames.Frame) -> None:
        """Act on one frame."""
        if isinstance(frame, Hello):
            await self.welcome(frame)
            return
        if self.conversation is None:
            raise BadFrame(CloseCode.NOT_AUTHORISED, "say hello first")
        if (
            self.heard > self.checked + self.check_seconds
        ):  # the visitor may have logged out meanwhile
            self.conversation, self.checked = (
                await in_database(self.authenticate)(),
                self.heard,
            )
        stream = self.conversation.pk
        lease = self.conversation.lease
        if isinstance(frame, Bye):
            await self.reply(await ending.end(self.conversation, frame))
            following.notice(stream)
        elif isinstance(frame, Ping):
            # One ping waits for its answer at a time; pings take no part of the window.
            if not self.is_pinged:
                self.is_pinged = True
                # A quiet conversation is billed too: a ping reports that it is alive.
                writer().put(Report(stream, NOTHING, lease), self.answered_ping)
        elif self.unanswered >= self.window:
            raise BadFrame(CloseCode.TOO_FAST, "more frames than the window has")
        else:
            self.unanswered += 1
            writer().put(Report(stream, frame, lease), self.answered)

    def answered_ping(self, answer: transcripts.Answer) -> None:
        self.is_pinged = False
        is_alive = not isinstance(answer, Exception) and answer["t"] == "ack"
        self.tell_soon({"t": "pong"} if is_alive else answer)

    def answered(self, answer: transcripts.Answer) -> None:
        """The writer's answer; those of one commit go out together."""
        self.unanswered -= 1
        self.tell_soon(answer)

    def tell_soon(self, answer: transcripts.Answer) -> None:
        self.answers.append(answer)
        if len(self.answers) == 1:
            self.telling = asyncio.create_task(self.tell())

    async def tell(self) -> None:
        answers, self.answers = self.answers, []
        for answer, next_one in zip(answers, [*answers[1:], None], strict=True):
            if isinstance(answer, Exception):
                await self.fail(answer)
            elif not (_is_ack(answer) and _is_ack(next_one)):  # an ack is cumulative
                await self.reply(answer)
        if self.conversation is not None and any(map(_is_ack, answers)):
            following.notice(self.conversation.pk)

    async def fail(self, error: Exception) -> None:
        """Close with the code that says why, or ask for patience."""
        if isinstance(error, BadFrame):
            await self.close(error.code, str(error))
        elif isinstance(error, Refused):
            await self.close(CloseCode.for_status(error.status), error.code)
        elif isinstance(error, transcripts.Superseded):
            await self.close(CloseCode.SUPERSEDED, "superseded")
        elif self.conversation is None:  # a browser says hello only on a new socket
            await self.close(CloseCode.BUSY, "busy")
        else:
            await self.reply({"t": "retry", "after": RETRY_MS})

    async def welcome(self, hello: Hello) -> None:
        self.hello = hello
        self.conversation = await in_database(self.take_over)()
        await self.reply(
            {
                "t": "welcome",
                "ack": self.conversation.last_seq,
                "age": transcripts.age_ms(self.conversation),
                "window": self.window,
                "frame": payloads.MAX_FRAME,
                "ping": frames.PING_SECONDS,
            }
        )

    def take_over(self) -> Conversation:
        # One thread and connection for all of it: after a restart everybody says hello at once.
        return tickets.raise_lease(self.authenticate())

    def authenticate(self) -> Conversation:
        """The conversation of the hello, if it still may be written to. Not for the event loop's thread."""
        assert self.hello is not None  # noqa: S101
        user = visitors.logged_in(self.request)
        conversation = tickets.open_log(self.hello, self.visitor, user)
        if self.conversation is not None:
            conversation.lease = self.conversation.lease
        return conversation

    async def reply(self, frame: dict[str, Any]) -> None:
        if not self.is_closed:
            await self.send(text_data=json.dumps(frame))


def _is_ack(answer: transcripts.Answer | None) -> bool:
    return isinstance(answer, dict) and answer["t"] == "ack"


class FollowConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    """Tells a page of the admin that a conversation has news; the page asks the admin for them."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        except Exception as error:  # a channel layer fails in ways of its own; the page will come again
            log.warning(
                "nobody is told of news, the channel layer or the database fails: %r",
                error,
            )
            with suppress(Exception):  # the page may be gone already
                await send({"type": "websocket.close", "code": CloseCode.RECONNECT})

    async def connect(self) -> None:
        if await self.join():
            await self.accept()

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None
    ) -> None:
        """The page asks now and then: rights are taken away, groups expire, a Redis is emptied."""
        if await self.join():
            await self.perso_look({})

    async def join(self) -> bool:
        """Be told from now on, if this user may; else close."""
        request = ASGIRequest({**self.scope, "method": "GET"}, io.BytesIO())
        may_follow = await in_database(_may_follow)(request)
        if (
            self.channel_layer is None
            or not may_follow
            or not visitors.is_allowed_origin(request)
        ):
            await self.close(CloseCode.ORIGIN)
            return False
        await self.channel_layer.group_add(
            following.group(self.stream), self.channel_name
        )
        return True

    async def perso_look(self, message: dict[str, Any]) -> None:
        await self.send(text_data='{"t": "look"}')

    async def disconnect(self, code: int) -> None:
        if self.channel_layer is not None:
            await self.channel_layer.group_discard(
                following.group(self.stream), self.channel_name
            )

    @property
    def stream(self) -> UUID:
        return UUID(self.scope["path"].rstrip("/")[-36:])


def _may_follow(request: ASGIRequest) -> bool:
    user = visitors.logged_in(request)
    rights = ("django_perso.view_conversation", "django_perso.view_transcriptentry")
    return is_staff(user) and user.has_perms(rights)
