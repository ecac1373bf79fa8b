"""The log socket through the site's ASGI application, by the protocol perso.log.1."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.contrib.sessions.models import Session
from django.db import OperationalError, connections
from django.db.backends.signals import connection_created
from django.db.utils import InterfaceError
from django.test import AsyncClient
from django.utils import timezone

from django_perso import consumers
from django_perso.asgi import get_asgi_application
from django_perso.consumers import LogConsumer
from django_perso.log import frames, payloads
from django_perso.models import Conversation
from django_perso.services import tickets
from django_perso.services.database import IDLE_SECONDS
from tests.stage import chat, make_conversation, make_preset

pytestmark = pytest.mark.django_db(transaction=True)

SITE = "http://testserver"
WELCOME = {
    "t": "welcome",
    "ack": 0,
    "lease": 1,
    "window": 4,
    "frame": 65536,
    "ping": 15,
}


class Browser:
    """A visitor's browser, which starts by HTTP and opens any number of sockets."""

    def __init__(self, application: Any = None) -> None:
        self.application = application or get_asgi_application()
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.application), base_url=SITE
        )
        self.sockets: list[WebsocketCommunicator] = []

    async def start(self) -> None:
        page = (await self.http.get("/perso/demo/")).text
        token = page.partition('csrf-token="')[2].partition('"')[0]
        answer = await self.http.post(
            "/perso/sessions/", json={"preset": "guide"}, headers={"X-CSRFToken": token}
        )
        self.started = answer.json()
        self.hello_frame = {
            "t": "hello",
            "stream": self.started["stream"],
            "ticket": self.started["ticket"],
        }

    def socket(
        self, path: str = "/perso/log/", origin: bytes | None = SITE.encode()
    ) -> WebsocketCommunicator:
        cookies = "; ".join(
            f"{cookie.name}={cookie.value}" for cookie in self.http.cookies.jar
        )
        headers = [(b"host", b"testserver"), (b"cookie", cookies.encode())]
        headers += [] if origin is None else [(b"origin", origin)]
        self.sockets.append(
            WebsocketCommunicator(self.application, path, headers=headers)
        )
        return self.sockets[-1]

    async def hello(self, **changes: Any) -> WebsocketCommunicator:
        """Open a socket and wait for its welcome frame."""
        socket = self.socket()
        assert (await socket.connect())[0]
        assert (await say(socket, **{**self.hello_frame, **changes}))["t"] == "welcome"
        return socket

    async def close(self) -> None:
        await asyncio.gather(
            *(socket.disconnect() for socket in self.sockets), return_exceptions=True
        )
        await self.http.aclose()


@pytest.fixture
async def browser(settings: Any) -> AsyncIterator[Browser]:
    settings.DEBUG = True
    await sync_to_async(make_preset)()
    browser = Browser()
    await browser.start()
    yield browser
    await browser.close()
    await sync_to_async(connections.close_all)()


async def say(socket: WebsocketCommunicator, **frame: Any) -> dict[str, Any]:
    await socket.send_json_to(frame)
    answer: dict[str, Any] = await socket.receive_json_from(timeout=5)
    return answer


async def closed(socket: WebsocketCommunicator) -> int:
    """Return the code with which the socket is closed; no frame may come before."""
    output = await socket.receive_output(timeout=5)
    assert output["type"] == "websocket.close"
    # Autobahn, and so daphne, accepts nothing else.
    assert type(output["code"]) is int
    return output["code"]


async def row() -> Conversation:
    return await Conversation.objects.aget()


async def stored() -> list[int]:
    entries = (
        (await row())
        .entries.filter(source="browser")
        .order_by("pk")
        .values_list("seq", flat=True)
    )
    return [seq async for seq in entries]


async def test_start_offers_the_socket_under_asgi(
    browser: Browser,
) -> None:
    assert browser.started["log"] == {
        "ws": "/perso/log/",
        "post": "/perso/log/entries/",
    }


async def test_entries_are_acknowledged_until_bye(browser: Browser) -> None:
    socket = browser.socket()
    assert await socket.connect() == (True, None)
    welcome = await say(socket, **browser.hello_frame)
    assert 0 <= welcome.pop("age") < 10_000
    assert welcome == WELCOME
    assert await say(socket, t="ev", items=[chat(1), chat(2)]) == {"t": "ack", "s": 2}
    assert await say(socket, t="ping") == {"t": "pong"}
    assert await say(socket, t="bye", last=3, how="visitor") == {"t": "gap", "s": 2}
    assert await say(socket, t="ev", items=[chat(3)]) == {"t": "ack", "s": 3}
    session_url = (
        f"/perso/sandbox/api/v1/session/{browser.started['session_id']}/event/create/"
    )
    await browser.http.post(session_url, json={"event": "SESSION_END", "detail": ""})
    done = {"t": "done", "reason": "GRACEFUL_TERMINATION"}
    assert await say(socket, t="bye", last=3, how="visitor") == done
    session = await row()
    assert (session.is_complete, session.ended_by, session.last_seq) == (
        True,
        "visitor",
        3,
    )
    assert await stored() == [1, 2, 3]


async def test_repeated_and_rejected_entries_leave_no_hole(
    browser: Browser,
) -> None:
    socket = await browser.hello()
    assert await say(socket, t="ev", items=[chat(2)]) == {"t": "gap", "s": 0}
    assert await say(socket, t="ev", items=[chat(1), chat(3)]) == {"t": "gap", "s": 1}
    assert await say(socket, t="ev", items=[chat(1), chat(2)]) == {"t": "ack", "s": 2}
    too_big = chat(3, "x" * frames.MAX_ENTRY)
    assert await say(socket, t="ev", items=[too_big, chat(4)]) == {
        "t": "reject",
        "s": [3],
        "code": "too_big",
    }
    poem = {**chat(3), "k": "poem"}
    assert await say(socket, t="ev", items=[poem]) == {
        "t": "reject",
        "s": [3],
        "code": "bad_schema",
    }
    gap = {"s": 3, "k": "gap", "t": 1, "d": {"count": 1, "reason": "too_big"}}
    assert await say(socket, t="ev", items=[gap, chat(4)]) == {"t": "ack", "s": 4}
    assert await stored() == [1, 2, 3, 4]


async def test_new_socket_supersedes_the_old_one(
    browser: Browser,
) -> None:
    old = await browser.hello()
    await say(old, t="ev", items=[chat(1)])
    new = browser.socket()
    await new.connect()
    welcome = await say(new, **browser.hello_frame)
    assert (welcome["ack"], welcome["lease"]) == (1, 2)
    assert await closed(old) == 4409
    assert await say(new, t="ev", items=[chat(2)]) == {"t": "ack", "s": 2}
    assert (await row()).lease == 2


@pytest.mark.parametrize("frame", [{"t": "ping"}, {"t": "ev", "items": [chat(1)]}])
async def test_socket_superseded_in_another_process_is_closed(
    browser: Browser, frame: dict[str, Any]
) -> None:
    old = await browser.hello()
    await Conversation.objects.aupdate(lease=2)
    await old.send_json_to(frame)
    assert await closed(old) == 4409
    assert await stored() == []


async def test_pings_keep_a_quiet_conversation_alive(
    browser: Browser,
) -> None:
    socket = await browser.hello()
    await Conversation.objects.aupdate(
        last_seen_at=timezone.now() - timedelta(minutes=6)
    )
    assert await say(socket, t="ping") == {"t": "pong"}
    assert timezone.now() - (await row()).last_seen_at < timedelta(minutes=1)


async def test_same_entries_by_socket_and_post_are_stored_once(
    browser: Browser,
) -> None:
    socket = await browser.hello()
    body = {"stream": browser.started["stream"], "ticket": browser.started["ticket"]}

    async def post(first: int) -> dict[str, Any]:
        items = [chat(n) for n in range(1, first + 5)]
        answer = await browser.http.post(
            "/perso/log/entries/",
            json={**body, "items": items},
            headers={"Origin": SITE},
        )
        return dict(answer.json())

    async def send() -> list[dict[str, Any]]:
        return [
            await say(socket, t="ev", items=[chat(n) for n in range(1, s + 5)])
            for s in range(1, 20, 4)
        ]

    answers = await asyncio.gather(send(), *(post(first) for first in range(1, 20, 4)))
    assert await stored() == list(range(1, 22))
    assert {frame["t"] for frame in [*answers[0], *answers[1:]]} == {"ack"}


# --- access ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "origin",
    [
        None,
        b"",
        b"null",
        b"https://testserver",
        b"http://testserver:81",
        b"http://testserver.evil.test",
        b"http://evil",
    ],
)
async def test_foreign_origin_is_refused(origin: bytes | None) -> None:
    socket = Browser().socket(origin=origin)
    assert await socket.connect() == (False, 4403)


@pytest.mark.parametrize("scheme", ["wss", "https"])
async def test_https_origin_is_accepted_over_tls(scheme: str) -> None:
    browser = Browser()
    socket = browser.socket(origin=b"https://testserver")
    socket.scope["scheme"] = scheme
    assert await socket.connect() == (True, None)
    await browser.close()


async def test_unknown_host_is_refused(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["shop.example"]
    assert await Browser().socket().connect() == (False, 4403)


async def refused_hello(browser: Browser, **changes: Any) -> int:
    socket = browser.socket()
    await socket.connect()
    await socket.send_json_to({**browser.hello_frame, **changes})
    return await closed(socket)


async def test_hello_needs_the_ticket_of_this_conversation(
    browser: Browser,
) -> None:
    other = Browser(browser.application)
    await other.start()
    assert await refused_hello(browser, ticket="x") == 4401
    assert await refused_hello(browser, ticket=other.started["ticket"]) == 4401
    assert await refused_hello(browser, stream=other.started["stream"]) == 4401
    other.http.cookies.clear()
    await other.hello()
    await other.close()


async def test_hello_to_an_old_or_deleted_conversation_is_refused(
    browser: Browser,
) -> None:
    await Conversation.objects.aupdate(ended_at=timezone.now() - timedelta(hours=25))
    assert await refused_hello(browser) == 4404
    await Conversation.objects.all().adelete()
    assert await refused_hello(browser) == 4404


async def test_deleted_conversation_takes_no_more_entries(
    browser: Browser,
) -> None:
    socket = await browser.hello()
    await Conversation.objects.all().adelete()
    await socket.send_json_to({"t": "ev", "items": [chat(1)]})
    assert await closed(socket) == 4404


class Impatient(LogConsumer):
    """A consumer that waits for hello only briefly."""

    hello_seconds = 0.05


async def test_socket_without_hello_is_closed() -> None:
    browser = Browser(Impatient.as_asgi())
    socket = browser.socket()
    await socket.connect()
    assert await closed(socket) == 4408
    await browser.close()


async def test_welcomed_socket_may_be_silent(browser: Browser) -> None:
    browser.application = Impatient.as_asgi()
    socket = await browser.hello()
    assert await socket.receive_nothing(timeout=0.2)


# --- bad frames -----------------------------------------------------------------------


async def test_bye_on_a_new_socket_is_done_again(browser: Browser) -> None:
    done = {"t": "done", "reason": ""}
    first = await browser.hello()
    assert await say(first, t="bye", last=0, how="visitor") == done
    second = await browser.hello()
    assert await say(second, t="bye", last=0, how="error") == done


async def test_second_hello_is_a_bad_frame(browser: Browser) -> None:
    socket = await browser.hello()
    await socket.send_json_to(browser.hello_frame)
    assert await closed(socket) == 4400


async def test_second_hello_before_welcome_is_a_bad_frame(browser: Browser) -> None:
    socket = browser.socket()
    await socket.connect()
    await socket.send_json_to(browser.hello_frame)
    await socket.send_json_to(browser.hello_frame)
    assert await closed(socket) == 4400


@pytest.mark.parametrize("is_answered", [True, False])
async def test_repeated_bye_is_a_bad_frame(browser: Browser, is_answered: bool) -> None:
    socket = await browser.hello()
    bye = {"t": "bye", "last": 0, "how": "visitor"}
    await socket.send_json_to(bye)
    if is_answered:
        assert (await socket.receive_json_from(5))["t"] == "done"
    await socket.send_json_to(bye)
    assert await closed(socket) == 4400


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ({"t": "ping"}, 4401),
        ({"t": "ev", "items": []}, 4401),
        ({"t": "bye", "last": 0, "how": "visitor"}, 4401),
        ({"t": "dance"}, 4400),
        ({"t": "hello"}, 4400),
    ],
)
async def test_first_frame_other_than_hello_closes_the_socket(
    frame: dict[str, Any], code: int
) -> None:
    browser = Browser()
    socket = browser.socket()
    await socket.connect()
    await socket.send_json_to(frame)
    assert await closed(socket) == code
    await browser.close()


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"text": "{"}, 4400),
        ({"text": "null"}, 4400),
        ({"text": ""}, 4400),
        ({"text": json.dumps({"t": "bye", "last": 0, "how": "because"})}, 4400),
        ({"text": "[" * 50_000}, 4400),
        ({"text": " " * (payloads.MAX_FRAME + 1)}, 4413),
        (
            {"text": json.dumps({"t": "ev", "items": [chat(n) for n in range(1, 52)]})},
            4413,
        ),
        ({"bytes": b"\0\1"}, 4400),
        ({"bytes": json.dumps({"t": "ping"}).encode()}, 4400),
    ],
)
async def test_malformed_frame_closes_the_socket_with_its_code(
    browser: Browser, message: dict[str, Any], code: int
) -> None:
    socket = await browser.hello()
    await socket.send_input({"type": "websocket.receive", **message})
    assert await closed(socket) == code
    await socket.send_json_to({"t": "ev", "items": [chat(1)]})  # after the close
    assert await socket.receive_nothing(timeout=0.05)
    assert await stored() == []


# --- limits ---------------------------------------------------------------------------


async def test_silent_socket_is_closed(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LogConsumer, "hello_seconds", 0.05)
    monkeypatch.setattr(LogConsumer, "silence_seconds", 0.4)
    socket = await browser.hello()
    for _ in range(4):
        await asyncio.sleep(0.2)
        assert await say(socket, t="ping") == {"t": "pong"}
    assert await closed(socket) == 4000


async def test_sockets_of_a_visitor_are_limited(browser: Browser) -> None:
    hellos = []
    for _ in range(consumers.MAX_SOCKETS + 1):
        conversation = await sync_to_async(make_conversation)()
        ticket = tickets.issue(conversation)
        hellos.append({"stream": str(conversation.pk), "ticket": ticket})
    first, *others, last = hellos
    oldest = await browser.hello(**first)
    sockets = [await browser.hello(**hello) for hello in others]
    assert await refused_hello(browser, **last) == 4429
    # A socket in place of another one of the same conversation is not one too many.
    await browser.hello(**first)
    assert await closed(oldest) == 4409
    await sockets[0].disconnect()
    await browser.hello(**last)


async def test_sockets_of_an_address_without_hello_are_limited(
    browser: Browser,
) -> None:
    silent = [browser.socket() for _ in range(consumers.MAX_WAITING)]
    for socket in silent:
        assert await socket.connect() == (True, None)
    one_too_many = browser.socket()
    assert await one_too_many.connect() == (True, None)
    assert await closed(one_too_many) == 4429
    await one_too_many.disconnect()
    assert (await say(silent[0], **browser.hello_frame))["t"] == "welcome"
    assert await refused_hello(browser, ticket="x") == 4401
    assert consumers._waiting.total() == consumers.MAX_WAITING - 1


async def start_as(
    browser: Browser, client: AsyncClient, user: Any
) -> WebsocketCommunicator:
    """Log a user in, start a conversation, and open its socket in this browser."""
    client.cookies.load(
        {cookie.name: str(cookie.value) for cookie in browser.http.cookies.jar}
    )
    await client.aforce_login(user)
    for name, morsel in client.cookies.items():
        browser.http.cookies.set(name, morsel.value)
    await browser.start()
    return await browser.hello()


async def test_log_is_closed_after_logout(
    browser: Browser,
    django_user_model: Any,
    monkeypatch: pytest.MonkeyPatch,
    figure: Callable[[str, str], None],
) -> None:
    rosa = await django_user_model.objects.acreate(username="rosa")
    client = AsyncClient()
    await Conversation.objects.all().adelete()
    socket = await start_as(browser, client, rosa)
    await sync_to_async(client.logout)()
    # What was sent before the logout may arrive after it.
    assert await say(socket, t="ev", items=[chat(1)]) == {"t": "ack", "s": 1}
    monkeypatch.setattr(tickets, "LOGOUT_GRACE", timedelta(0))
    await socket.send_json_to({"t": "ev", "items": [chat(2)]})
    assert await closed(socket) == 4410
    assert await refused_hello(browser) == 4410
    assert await stored() == [1]
    figure(
        "T10",
        "after a logout: the next frame and a new hello are refused with 4410",
    )


async def test_expired_login_does_not_close_the_log(
    browser: Browser, django_user_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LogConsumer, "check_seconds", 0)
    rosa = await django_user_model.objects.acreate(username="rosa")
    socket = await start_as(browser, AsyncClient(), rosa)
    await Session.objects.all().adelete()
    assert await say(socket, t="ev", items=[chat(1)]) == {"t": "ack", "s": 1}
    browser.http.cookies.clear()
    await browser.hello()


async def test_log_of_a_deleted_user_is_closed(
    browser: Browser, django_user_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LogConsumer, "check_seconds", 0)
    rosa = await django_user_model.objects.acreate(username="rosa")
    socket = await start_as(browser, AsyncClient(), rosa)
    assert await say(socket, t="ev", items=[chat(1)]) == {"t": "ack", "s": 1}
    await rosa.adelete()
    await socket.send_json_to({"t": "ev", "items": [chat(2)]})
    assert await closed(socket) == 4410


async def test_entries_of_a_conversation_are_limited(browser: Browser) -> None:
    socket = await browser.hello()
    await Conversation.objects.aupdate(last_seq=frames.MAX_STREAM - 1)
    last = frames.MAX_STREAM
    limit = {"t": "reject", "s": [last + 1], "code": "limit"}
    assert await say(socket, t="ev", items=[chat(last), chat(last + 1)]) == limit
    assert await say(socket, t="ev", items=[chat(last + 1)]) == limit
    assert await stored() == [last]


# --- a database that is down ----------------------------------------------------------


@pytest.fixture(params=[OperationalError, InterfaceError])
def dead(request: pytest.FixtureRequest) -> Any:
    """`dead["now"] = True` takes the database of every thread down."""
    state = {"now": False}

    def refuse(execute: Any, *query: Any) -> Any:
        if state["now"]:
            raise request.param("server closed the connection unexpectedly")
        return execute(*query)

    def wrap(connection: Any, **_: Any) -> None:
        connection.execute_wrappers.append(refuse)

    connections.close_all()
    time.sleep(IDLE_SECONDS + 0.2)  # until the writer has closed its connection, too
    connection_created.connect(wrap)
    yield state
    state["now"] = False
    connection_created.disconnect(wrap)
    connections.close_all()
    connections["default"].execute_wrappers.clear()


async def test_frames_are_retried_while_the_database_is_down(
    dead: Any, browser: Browser
) -> None:
    socket = await browser.hello()
    dead["now"] = True
    retry = {"t": "retry", "after": 1000}
    assert await say(socket, t="ev", items=[chat(1)]) == retry
    assert await say(socket, t="ping") == retry
    assert await say(socket, t="bye", last=0, how="visitor") == retry
    assert await refused_hello(browser) == 4503  # browsers try again after it
    dead["now"] = False
    assert await say(socket, t="ev", items=[chat(1)]) == {"t": "ack", "s": 1}


async def test_writer_continues_after_an_error(browser: Browser, settings: Any) -> None:
    socket = await browser.hello()
    valid = settings.PERSO
    settings.PERSO = ["nonsense"]
    assert await say(socket, t="ev", items=[chat(1)]) == {"t": "retry", "after": 1000}
    settings.PERSO = valid
    assert await say(socket, t="ev", items=[chat(1)]) == {"t": "ack", "s": 1}


async def test_socket_needs_no_channel_layer(settings: Any, browser: Browser) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "no.such.Layer"}}
    socket = await browser.hello()
    assert await say(socket, t="ev", items=[chat(1)]) == {"t": "ack", "s": 1}
