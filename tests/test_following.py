"""Following live: hints without content, and only for users who may read."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import Permission, User
from django.db import connections
from django.test import Client
from django.utils import timezone

from django_perso.asgi import get_asgi_application
from django_perso.services import following
from django_perso.services.interval import Interval
from tests.stage import chat, make_conversation, make_preset, post_log, start

pytestmark = pytest.mark.django_db(transaction=True)

SITE = "http://testserver"
IN_MEMORY = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
READER = ("view_conversation", "view_transcriptentry")
LOOK = '{"t": "look"}'


class Broken:
    """A channel layer whose server is gone."""

    async def new_channel(self) -> str:
        return "channel"

    async def receive(self, channel: str) -> None:
        await asyncio.sleep(60)

    async def group_add(self, *_: Any) -> None:
        raise ConnectionError("no layer")

    group_send = group_discard = group_add


@pytest.fixture(autouse=True)
async def _layer(settings: Any) -> AsyncIterator[None]:
    settings.CHANNEL_LAYERS = IN_MEMORY
    yield
    await sync_to_async(connections.close_all)()


def cookie(*rights: str, **values: Any) -> str:
    """Log in a user with these rights and return the session cookie."""
    user = User.objects.create(**{"username": "follower", "is_staff": True, **values})
    user.user_permissions.set(Permission.objects.filter(codename__in=rights))
    client = Client()
    client.force_login(user)
    return client.cookies["sessionid"].OutputString()


async def follow(
    stream: UUID, cookie: str = "", origin: str = SITE
) -> WebsocketCommunicator:
    headers = [
        (b"host", b"testserver"),
        (b"cookie", cookie.encode()),
        (b"origin", origin.encode()),
    ]
    path = f"/perso/log/follow/{stream}/"
    return WebsocketCommunicator(get_asgi_application(), path, headers=headers)


async def test_missing_layer_is_none_and_is_logged(
    settings: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "_warning", Interval(following.WARN_SECONDS))
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "missing.layers.Layer"}}
    assert not following.is_possible()
    following.notice(uuid4())
    (warning,) = caplog.records
    assert "missing.layers.Layer" in warning.getMessage()
    socket = await follow(uuid4(), await sync_to_async(cookie)(*READER))
    assert (await socket.connect())[0] is False


async def test_reader_receives_hints_of_the_conversation_only() -> None:
    followed = uuid4()
    other = uuid4()
    socket = await follow(followed, await sync_to_async(cookie)(*READER))
    assert (await socket.connect())[0]
    following.notice(other)
    following.notice(followed)
    assert await socket.receive_from() == LOOK
    assert await socket.receive_nothing(0.5)
    await socket.disconnect()


async def test_many_entries_send_one_hint() -> None:
    stream = uuid4()
    socket = await follow(stream, await sync_to_async(cookie)(*READER))
    await socket.connect()
    for _ in range(50):
        following.notice(stream)
        await asyncio.sleep(0)
    assert await socket.receive_from() == LOOK
    assert await socket.receive_nothing(0.5)
    following.notice(stream)  # sends another hint
    assert await socket.receive_from() == LOOK
    await socket.disconnect()


@pytest.mark.parametrize(
    ("rights", "values"),
    [
        ((), {}),
        (("view_conversation",), {}),
        (("view_transcriptentry",), {}),
        (READER, {"is_staff": False}),
        (READER, {"is_active": False}),
    ],
)
async def test_user_who_may_not_read_cannot_follow(
    rights: tuple[str, ...], values: dict[str, Any]
) -> None:
    socket = await follow(uuid4(), await sync_to_async(cookie)(*rights, **values))
    assert await socket.connect() == (False, 4403)


async def test_following_needs_a_login_and_the_own_origin(
    settings: Any,
) -> None:
    settings.PERSO = {**settings.PERSO, "ALLOWED_ORIGINS": ["http://blog.example"]}
    assert await (await follow(uuid4())).connect() == (False, 4403)
    reader = await sync_to_async(cookie)(*READER)
    for origin in ("http://evil.example", "http://blog.example"):
        socket = await follow(uuid4(), reader, origin)
        assert await socket.connect() == (False, 4403)


async def test_revoked_rights_end_following_at_the_next_message() -> None:
    stream = uuid4()
    socket = await follow(stream, await sync_to_async(cookie)(*READER))
    await socket.connect()
    await socket.send_to("{}")
    assert await socket.receive_from() == LOOK
    await User.objects.aupdate(is_staff=False)
    await socket.send_to("{}")
    assert (await socket.receive_output())["code"] == 4403


async def test_next_message_joins_a_lost_group_again() -> None:
    stream = uuid4()
    socket = await follow(stream, await sync_to_async(cookie)(*READER))
    await socket.connect()
    layer: Any = get_channel_layer()
    layer.groups.clear()  # as when Redis has been emptied
    await socket.send_to("{}")
    assert await socket.receive_from() == LOOK
    following.notice(stream)
    assert await socket.receive_from() == LOOK
    await socket.disconnect()


async def test_following_needs_a_channel_layer(
    settings: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following._warning, "due_at", 0.0)
    settings.CHANNEL_LAYERS = {}
    following.notice(uuid4())
    await asyncio.sleep(2 * following.PAUSE_SECONDS)
    assert caplog.records == []
    assert not following.is_possible()
    socket = await follow(uuid4(), await sync_to_async(cookie)(*READER))
    assert await socket.connect() == (False, 4403)


async def test_broken_layer_only_loses_hints(
    caplog: pytest.LogCaptureFixture, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following._warning, "due_at", 0.0)
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.test_following.Broken"}}
    stream = uuid4()
    for _ in range(4):
        following.notice(stream)
        await asyncio.sleep(following.PAUSE_SECONDS * 0.7)
    socket = await follow(stream, await sync_to_async(cookie)(*READER))
    assert await socket.connect() == (False, 4000)
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert all(
        "ConnectionError('no layer')" in record.getMessage()
        for record in caplog.records
    )


@pytest.mark.parametrize("layers", [IN_MEMORY, {}])
def test_page_follows_only_live_conversations(
    admin_client: Client, settings: Any, layers: dict[str, Any]
) -> None:
    settings.CHANNEL_LAYERS = layers
    running = make_conversation(status="live")
    ended = make_conversation(status="ended", ended_at=timezone.now())
    page = f"/admin/django_perso/conversation/{running.pk}/change/"
    assert (
        f"/perso/log/follow/{running.pk}/" in admin_client.get(page).content.decode()
    ) is bool(layers)
    page = f"/admin/django_perso/conversation/{ended.pk}/change/"
    assert "follow" not in admin_client.get(page).content.decode()


async def test_entries_by_post_send_hints(async_client: Any) -> None:
    await sync_to_async(make_preset)()
    client = Client()
    started = (await sync_to_async(start)(client)).json()
    socket = await follow(UUID(started["stream"]), await sync_to_async(cookie)(*READER))
    await socket.connect()
    async_client.cookies = client.cookies
    body = {
        "stream": started["stream"],
        "ticket": started["ticket"],
        "items": [chat(1)],
    }
    answer = await async_client.post(
        "/perso/log/entries/",
        body,
        content_type="application/json",
        headers={"Origin": SITE},
    )
    assert answer.json() == {"t": "ack", "s": 1}
    assert await socket.receive_from() == LOOK
    await socket.disconnect()
    answer = await sync_to_async(post_log)(client, started, items=[chat(2)])
    # Under WSGI there is no event loop in which a hint could be sent.
    assert answer.json() == {"t": "ack", "s": 2}


def test_http_request_to_the_follow_socket_is_refused(client: Client) -> None:
    assert client.get(f"/perso/log/follow/{uuid4()}/").status_code == 426
