"""The log socket: authenticate, parse, call a service, reply.

Consumers hold no query and no rule.
"""

import asyncio
import io
import json
import logging
from collections import Counter, defaultdict
from collections.abc import Coroutine
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
from .services import Refused, byes, following, tickets, transcripts
from .services.database import in_database
from .services.limits import is_staff
from .services.transcripts import Answer, Report
from .services.writer import writer

log = logging.getLogger("django_perso")

RETRY_MS = 1000
# Sockets of a visitor in a process, and those of an address that have said nothing.
MAX_SOCKETS = 5
MAX_WAITING = 20
# How often a socket's conversation is read again.
CHECK_SECONDS = 30
# The age at which a socket is closed, so that the page says hello again.
MAX_AGE_SECONDS = 3600
NOTHING = Events(())
# What may go wrong while a frame is handled.
FAILURES = (BadFrame, Refused, DatabaseError, InterfaceError)
# Sockets of this process that have not said hello, by address; the others, by visitor
# and conversation.
_waiting: Counter[str] = Counter()
_open: defaultdict[str, dict[UUID, "LogConsumer"]] = defaultdict(dict)
# The event loop keeps only weak references.
_tasks: set[asyncio.Task[None]] = set()


class SocketConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    """A consumer whose sockets are closed with a CloseCode."""

    async def close(self, code: int | None = None, reason: str | None = None) -> None:
        # Autobahn, and so daphne, accepts only a plain int.
        await super().close(None if code is None else int(code), reason)

    @property
    def request(self) -> ASGIRequest:
        """The opening request; keeping it would cost memory on every idle socket."""
        return ASGIRequest({**self.scope, "method": "GET"}, io.BytesIO())


class LogConsumer(SocketConsumer):
    """One browser's log, `perso.log.1`.

    It has no channel layer: with one it would die whenever Redis does.
    """

    hello_seconds: float = frames.HELLO_SECONDS
    silence_seconds: float = frames.SILENCE_SECONDS
    check_seconds: float = CHECK_SECONDS
    window: int = frames.WINDOW

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        self.base_send = send
        self.address = visitors.address(self.request) or ""
        self.hello: Hello | None = None
        self.conversation: Conversation | None = None
        self.answers: list[Answer] = []
        self.is_waiting = True
        self.unanswered = 0
        self.is_pinged = False
        self.is_closed = False
        self.has_said_bye = False
        self.began = self.heard = self.checked = monotonic()
        watch = asyncio.create_task(self.watch())
        _waiting[self.address] += 1
        try:
            # Channels' own loop waits for the one shared thread of the process before
            # each frame.
            while (message := await receive())["type"] != "websocket.disconnect":
                await getattr(self, message["type"].replace(".", "_"))(message)
        finally:
            self.is_closed = True
            watch.cancel()
            self.count_no_more()

    async def connect(self) -> None:
        if not visitors.is_allowed_origin(self.request):
            await self.close(CloseCode.ORIGIN)
            return
        await self.accept()
        if _waiting[self.address] > MAX_WAITING:
            # A socket that was not accepted has no code, and would not be tried again.
            await self.close(CloseCode.TOO_FAST, "too many sockets")

    async def watch(self) -> None:
        """Close a socket without a hello, a silent one, and one that is too old."""
        await asyncio.sleep(self.hello_seconds)
        # A hello that has come may be waiting for the database.
        if self.hello is None:
            await self.close(CloseCode.HELLO_TIMEOUT)
        while not self.is_closed:
            silent_at = self.heard + self.silence_seconds
            await asyncio.sleep(max(0.05, silent_at - monotonic()))
            is_silent = monotonic() >= self.heard + self.silence_seconds
            if is_silent or monotonic() >= self.began + MAX_AGE_SECONDS:
                await self.close(CloseCode.RECONNECT)

    async def close(self, code: int | None = None, reason: str | None = None) -> None:
        self.is_closed = True
        self.count_no_more()
        await super().close(code, reason)

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None
    ) -> None:
        # Frames may have been under way when the socket was closed.
        if self.is_closed:
            return
        self.heard = monotonic()
        try:
            if text_data is None:
                raise BadFrame(CloseCode.BAD_FRAME, "binary frame")
            await self.read(frames.parse(payloads.load(text_data), len(text_data)))
        except FAILURES as error:
            await self.fail(error)

    async def read(self, frame: frames.Frame) -> None:
        """Act on one frame."""
        if isinstance(frame, Hello):
            self.take_hello(frame)
            return
        if self.conversation is None:
            raise BadFrame(CloseCode.NOT_AUTHORISED, "the first frame must be hello")
        if self.heard > self.checked + self.check_seconds:
            # The user may have been deleted meanwhile.
            self.conversation = await in_database(self.authenticate)()
            self.checked = self.heard
        if isinstance(frame, Bye):
            self.take_bye(self.conversation, frame)
        elif isinstance(frame, Ping):
            self.take_ping(self.conversation)
        else:
            self.take_events(self.conversation, frame)

    def take_hello(self, hello: Hello) -> None:
        if self.hello is not None:
            raise BadFrame(CloseCode.BAD_FRAME, "hello was already sent")
        self.hello = hello
        self.count_no_more()
        self.run(self.welcome())

    def take_bye(self, conversation: Conversation, bye: Bye) -> None:
        if self.has_said_bye:
            raise BadFrame(CloseCode.BAD_FRAME, "bye was already sent")
        self.has_said_bye = True
        self.run(self.end(conversation, bye))

    def take_ping(self, conversation: Conversation) -> None:
        # One ping waits for its answer at a time; pings take no part of the window.
        if self.is_pinged:
            return
        self.is_pinged = True
        # A quiet conversation is billed too, so a ping is stored as a sign of life.
        report = Report(conversation.pk, NOTHING, conversation.lease)
        writer().put(report, self.answered_ping)

    def take_events(self, conversation: Conversation, events: Events) -> None:
        if self.unanswered >= self.window:
            raise BadFrame(CloseCode.TOO_FAST, "more frames than the window allows")
        self.unanswered += 1
        report = Report(conversation.pk, events, conversation.lease)
        writer().put(report, self.answered)

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Do work that waits for the database or Perso beside the receive loop.

        While the loop waits, the server buffers whatever the browser sends.
        """
        task = asyncio.create_task(self.attempt(work))
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)

    async def attempt(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except FAILURES as error:
            await self.fail(error)

    async def welcome(self) -> None:
        conversation = await in_database(self.take_over)()
        if self.is_closed:
            return
        sockets = _open[conversation.visitor]
        older = sockets.get(conversation.pk)
        sockets[conversation.pk] = self
        self.conversation = conversation
        if older is not None:
            await older.fail(transcripts.Superseded())
        if len(sockets) > MAX_SOCKETS:
            raise BadFrame(CloseCode.TOO_FAST, "too many sockets")
        await self.reply(transcripts.welcome(conversation, self.window))

    def count_no_more(self) -> None:
        """Take this socket out of those that are counted. Safe to repeat."""
        if self.is_waiting:
            self.is_waiting = False
            _waiting[self.address] -= 1
            if not _waiting[self.address]:
                del _waiting[self.address]
        if self.conversation is not None:
            sockets = _open[self.conversation.visitor]
            if sockets.get(self.conversation.pk) is self:
                del sockets[self.conversation.pk]
            if not sockets:
                del _open[self.conversation.visitor]

    async def end(self, conversation: Conversation, bye: Bye) -> None:
        """End the conversation; the browser says bye again unless it is done."""
        answer: dict[str, Any] = {}
        try:
            answer = await byes.end(conversation, bye)
        finally:
            self.has_said_bye = answer.get("t") == "done"
        await self.reply(answer)
        following.notice(conversation.pk)

    def answered_ping(self, answer: Answer) -> None:
        self.is_pinged = False
        is_alive = not isinstance(answer, Exception) and answer["t"] == "ack"
        self.reply_soon({"t": "pong"} if is_alive else answer)

    def answered(self, answer: Answer) -> None:
        """Take an answer of the writer; those of one commit go out together."""
        self.unanswered -= 1
        self.reply_soon(answer)

    def reply_soon(self, answer: Answer) -> None:
        self.answers.append(answer)
        if len(self.answers) == 1:
            self.replying = asyncio.create_task(self.reply_all())

    async def reply_all(self) -> None:
        answers = self.answers
        self.answers = []
        for position, answer in enumerate(answers):
            if isinstance(answer, Exception):
                await self.fail(answer)
                continue
            # An ack is cumulative: one that is followed by another need not be sent.
            is_followed_by_ack = any(map(_is_ack, answers[position + 1 : position + 2]))
            if not (_is_ack(answer) and is_followed_by_ack):
                await self.reply(answer)
        if self.conversation is not None and any(map(_is_ack, answers)):
            following.notice(self.conversation.pk)

    async def fail(self, error: Exception) -> None:
        """Close with the code that says why, or ask the page to retry."""
        if isinstance(error, BadFrame):
            await self.close(error.code, str(error))
        elif isinstance(error, Refused):
            await self.close(CloseCode.for_status(error.status), error.code)
        elif isinstance(error, transcripts.Superseded):
            await self.close(CloseCode.SUPERSEDED, "superseded")
        elif self.conversation is None:
            # A browser says hello only on a new socket.
            await self.close(CloseCode.BUSY, "busy")
        else:
            await self.reply({"t": "retry", "after": RETRY_MS})

    def take_over(self) -> Conversation:
        # One thread and connection for all of it: after a restart everybody says hello
        # at once.
        return tickets.raise_lease(self.authenticate())

    def authenticate(self) -> Conversation:
        """Return the conversation of the hello, if it may still be written to.

        Reads the database, so not for the event loop's thread.
        """
        assert self.hello is not None  # noqa: S101
        conversation = tickets.open_log(self.hello)
        if self.conversation is not None:
            conversation.lease = self.conversation.lease
        return conversation

    async def reply(self, frame: dict[str, Any]) -> None:
        if not self.is_closed:
            await self.send(text_data=json.dumps(frame))


def _is_ack(answer: Answer) -> bool:
    return isinstance(answer, dict) and answer["t"] == "ack"


class FollowConsumer(SocketConsumer):
    """Tell a page of the admin that a conversation has news."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        except Exception as error:
            # A channel layer fails in ways of its own; the page will connect again.
            text = (
                "cannot notify followers: the channel layer or the database failed: %r"
            )
            log.warning(text, error)
            # The page may be gone already.
            with suppress(Exception):
                code = int(CloseCode.RECONNECT)
                await send({"type": "websocket.close", "code": code})

    async def connect(self) -> None:
        if await self.join():
            await self.accept()

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None
    ) -> None:
        """Join again: rights are withdrawn, groups expire, a Redis is emptied."""
        if await self.join():
            await self.perso_look({})

    async def join(self) -> bool:
        """Join the conversation's group if this user may follow it, or else close."""
        request = self.request
        may_follow = await in_database(_may_follow)(request)
        is_allowed = may_follow and visitors.is_trusted_origin(request)
        if self.channel_layer is None or not is_allowed:
            await self.close(CloseCode.ORIGIN)
            return False
        group = following.group(self.stream)
        await self.channel_layer.group_add(group, self.channel_name)
        return True

    async def perso_look(self, message: dict[str, Any]) -> None:
        await self.send(text_data='{"t": "look"}')

    async def disconnect(self, code: int) -> None:
        if self.channel_layer is not None:
            group = following.group(self.stream)
            await self.channel_layer.group_discard(group, self.channel_name)

    @property
    def stream(self) -> UUID:
        return UUID(self.scope["path"].rstrip("/")[-36:])


def _may_follow(request: ASGIRequest) -> bool:
    user = visitors.logged_in(request)
    rights = ("django_perso.view_conversation", "django_perso.view_transcriptentry")
    return is_staff(user) and user.has_perms(rights)
