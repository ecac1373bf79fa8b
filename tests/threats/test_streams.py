"""T9, T11, T14, T22: the log takes entries only with its ticket, and within limits."""

import asyncio
import random
import time
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from django_perso.consumers import MAX_WAITING
from tests.support.visitor import HttpVisitor, chat, say

pytestmark = pytest.mark.threat

BROWSER_ROWS = (
    "SELECT count(*) FROM django_perso_transcriptentry WHERE source = 'browser'"
)


async def started(visitor: HttpVisitor) -> dict[str, Any]:
    """Start a conversation of the visitor and return the answer."""
    await visitor.open_page()
    answer = await visitor.start()
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def close_code(visitor: HttpVisitor, path: str, **frame: Any) -> int | None:
    """Return the code with which a socket is closed after this frame."""
    async with visitor.socket(path) as socket:
        with pytest.raises(ConnectionClosed) as closed:
            await say(socket, **frame)
    return closed.value.rcvd.code if closed.value.rcvd else None


async def test_visitor_cannot_write_into_another_conversation(
    example_server: Any, figure: Callable[[str, str], None]
) -> None:
    site = example_server()
    async with HttpVisitor(site.url) as one, HttpVisitor(site.url) as other:
        own = await started(one)
        foreign = await started(other)
        attempts = [
            {**own, "stream": foreign["stream"]},
            {**foreign, "stream": own["stream"]},
            *({**own, "stream": str(uuid.uuid4())} for _ in range(50)),
            # No ticket ends with hyphens.
            *({**own, "ticket": own["ticket"][:-n] + "-" * n} for n in range(1, 20)),
        ]
        for attempt in attempts:
            answer = await one.post_log(attempt, items=[chat(1, "forged")])
            assert answer.status_code in (401, 404), answer.text
        for attempt in attempts[:5]:
            keys = {"stream": attempt["stream"], "ticket": attempt["ticket"]}
            assert await close_code(one, own["log"]["ws"], t="hello", **keys) == 4401
        assert site.rows(BROWSER_ROWS) == [(0,)]
        answer = await one.post_log(own, items=[chat(1, "mine")])
        assert answer.json() == {"t": "ack", "s": 1}
    figure(
        "T9",
        f"{len(attempts)} foreign or invented conversations by POST, 5 by socket: "
        "0 rows written",
    )


async def test_browser_cannot_write_as_the_site(
    example_server: Any, figure: Callable[[str, str], None]
) -> None:
    site = example_server()
    async with HttpVisitor(site.url) as visitor:
        conversation = await started(visitor)
        forged = {
            "source": "server",
            "k": "state",
            "d": {"name": "ended", "source": "server", "how": "remote"},
        }
        items = [
            {**chat(n, "", "avatar"), **(forged if n % 2 else {})} for n in range(1, 21)
        ]
        answer = await visitor.post_log(conversation, items=items, source="server")
        assert answer.json() == {"t": "ack", "s": 20}
        await visitor.log_in("admin", site.admin_password)
        page = await visitor.http.get(
            f"/admin/django_perso/conversation/{conversation['stream']}/change/"
        )
    rows = dict(
        site.rows(
            "SELECT source, count(*) FROM django_perso_transcriptentry GROUP BY source"
        )
    )
    assert rows == {"browser": 20, "server": 1}
    assert page.text.count('class="perso-source"') == 1
    figure(
        "T14",
        "20 entries that claim to be the site's: 20 stored and shown as the browser's",
    )


async def test_forged_address_does_not_avoid_the_limits(
    example_server: Any, sandbox_server: Any, figure: Callable[[str, str], None]
) -> None:
    site = example_server(PERSO_INTERACTIVE_API_SERVER=sandbox_server().url)
    site.lift_limits()
    site.execute("UPDATE django_perso_sessionpreset SET starts_per_hour = 10")
    chance = random.Random(22)
    statuses = []
    for _ in range(60):
        async with HttpVisitor(site.url) as visitor:
            await visitor.open_page()
            address = ".".join(str(chance.randrange(1, 255)) for _ in range(4))
            headers = {
                "X-Forwarded-For": address,
                "X-Real-IP": address,
                "Forwarded": f"for={address}",
            }
            statuses.append((await visitor.start(**headers)).status_code)
    assert statuses == [201] * 10 + [429] * 50
    figure(
        "T22",
        "60 starts, each with new cookies and a forged X-Forwarded-For: "
        "10 granted, 50 x 429",
    )


async def test_control_bytes_and_second_host_are_refused(
    example_server: Any, figure: Callable[[str, str], None]
) -> None:
    site = example_server()
    tricks = [
        b"X-A: a" + bytes([sign]) + b"X-Forwarded-For: 9.9.9.9"
        for sign in b"\0\n\r\x0b\x0c\x1c\x85"
    ]
    for trick in [*tricks, b"Host: shop.example.evil"]:
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + trick + b"\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 400 "), trick
        writer.close()
    figure(
        "T22",
        f"{len(tricks)} control bytes in headers and a second Host: "
        f"{len(tricks) + 1} x 400",
    )


async def flood(socket: Any) -> None:
    """Send more than the window allows, and read until the socket is closed."""
    for _ in range(400):
        await socket.send('{"t":"ev","items":[]}')
    while True:
        await asyncio.wait_for(socket.recv(), 10)


async def test_silent_and_flooding_sockets_delay_nobody(
    example_server: Any, figure: Callable[[str, str], None]
) -> None:
    site = example_server()

    async def silent(visitor: HttpVisitor, path: str) -> int:
        async with visitor.socket(path, address="127.0.0.2") as socket:
            await asyncio.wait_for(socket.wait_closed(), 15)
            return int(socket.close_code or 0)

    async def slow() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        for _ in range(10):
            writer.write(b"X-A: a\r\n")
            await asyncio.sleep(0.5)
        writer.close()

    async with HttpVisitor(site.url) as visitor, HttpVisitor(site.url) as stranger:
        conversation = await started(visitor)
        stream = conversation["stream"]
        path = conversation["log"]["ws"]
        before = site.memory_mib()
        silent_sockets = asyncio.gather(*(silent(stranger, path) for _ in range(200)))
        slow_requests = asyncio.gather(*(slow() for _ in range(200)))
        await asyncio.sleep(1)
        waits = []
        async with visitor.socket(path) as socket:
            await say(socket, t="hello", stream=stream, ticket=conversation["ticket"])
            for n in range(1, 41):
                began = time.perf_counter()
                assert (await say(socket, t="ev", items=[chat(n, "hello")]))["s"] == n
                waits.append(time.perf_counter() - began)
                await asyncio.sleep(0.05)
            codes = await silent_sockets
            await slow_requests
            # Those beyond the limit of one address are closed at once.
            assert Counter(codes) == {4408: MAX_WAITING, 4429: 200 - MAX_WAITING}
            grown = site.memory_mib() - before
            with pytest.raises(ConnectionClosed) as closed:
                await flood(socket)
            assert closed.value.rcvd
            assert closed.value.rcvd.code == 4429
        assert await close_code(visitor, path, t="x" * 70_000) in (4413, 1009)
    slowest = max(waits)
    assert slowest < 1
    assert grown < 50
    figure(
        "T11",
        "200 sockets without a hello: 20 x 4408, 180 x 4429; "
        "with 200 requests that never end "
        f"+{grown:.0f} MiB; slowest acknowledgement of another socket "
        f"{slowest * 1000:.0f} ms",
    )


async def fragments(socket: Any) -> None:
    """Send one message in very many fragments."""
    await socket.send("x" for _ in range(300_000))
    await asyncio.wait_for(socket.recv(), 10)


async def bomb(socket: Any) -> None:
    """Send 64 MiB that compress to few bytes, if the server accepts compression."""
    await socket.send("x" * 2**26 if socket.protocol.extensions else "x" * 2**18)
    await asyncio.wait_for(socket.recv(), 10)


@pytest.mark.parametrize("is_uvicorn", [False, True], ids=["daphne", "uvicorn"])
async def test_fragments_and_deflate_bombs_are_refused(
    example_server: Any, figure: Callable[[str, str], None], is_uvicorn: bool
) -> None:
    site = example_server(is_uvicorn)
    codes = []
    async with HttpVisitor(site.url) as visitor:
        path = (await started(visitor))["log"]["ws"]
        before = site.memory_mib()
        for attack in (fragments, bomb):
            async with visitor.socket(path) as socket:
                with pytest.raises(ConnectionClosed):
                    await attack(socket)
                codes.append(int(socket.close_code or 0))
        assert (await visitor.http.get("/")).status_code == 200
        grown = site.memory_mib() - before
    assert set(codes) <= {1006, 1009, 4408, 4413}
    assert grown < 50
    name = "uvicorn" if is_uvicorn else "daphne"
    figure(
        "T11",
        f"{name}: many fragments and a deflate bomb: closed with {codes}, "
        f"+{grown:.0f} MiB",
    )
