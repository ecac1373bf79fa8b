"""T9, T11, T14, T22: a log takes its own visitor's words, few sockets, and no lies about who or where."""

import asyncio
import random
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tests.support.visitor import HttpVisitor, chat, say

pytestmark = pytest.mark.threat

BROWSER_ROWS = (
    "SELECT count(*) FROM django_perso_transcriptentry WHERE source = 'browser'"
)


async def started(visitor: HttpVisitor) -> dict[str, Any]:
    """A conversation of the visitor's own."""
    await visitor.open_page()
    answer = await visitor.start()
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def close_code(visitor: HttpVisitor, path: str, **frame: Any) -> int | None:
    """With which code a socket that says this is closed."""
    async with visitor.socket(path) as socket:
        with pytest.raises(ConnectionClosed) as closed:
            await say(socket, **frame)
    return closed.value.rcvd.code if closed.value.rcvd else None


async def test_nobody_writes_into_another_conversation(
    example_server: Any, figure: Callable[[str, str], None]
) -> None:
    site = example_server()
    async with HttpVisitor(site.url) as one, HttpVisitor(site.url) as other:
        mine, theirs = await started(one), await started(other)
        mixed = [
            {**mine, "stream": theirs["stream"]},
            {**theirs, "stream": mine["stream"]},
            theirs,  # a whole ticket, in another browser
            *({**mine, "stream": str(uuid.uuid4())} for _ in range(50)),
            *(
                {**mine, "ticket": mine["ticket"][:-n] + "-" * n} for n in range(1, 20)
            ),  # none ends so
        ]
        for attempt in mixed:
            answer = await one.post_log(attempt, items=[chat(1, "forged")])
            assert answer.status_code in (401, 404), answer.text
        for attempt in mixed[:5]:
            keys = {"stream": attempt["stream"], "ticket": attempt["ticket"]}
            assert await close_code(one, mine["log"]["ws"], t="hello", **keys) == 4401
        assert site.rows(BROWSER_ROWS) == [(0,)]
        assert (await one.post_log(mine, items=[chat(1, "mine")])).json() == {
            "t": "ack",
            "s": 1,
        }
    figure(
        "T9",
        f"{len(mixed)} foreign or invented streams by POST, 5 by socket: 0 rows written",
    )


async def test_a_browser_cannot_speak_as_the_site(
    example_server: Any, figure: Callable[[str, str], None]
) -> None:
    site = example_server()
    async with HttpVisitor(site.url) as visitor:
        mine = await started(visitor)
        lie = {
            "source": "server",
            "k": "state",
            "d": {"name": "ended", "source": "server", "how": "remote"},
        }
        items = [
            {**chat(n, "", "avatar"), **(lie if n % 2 else {})} for n in range(1, 21)
        ]
        assert (await visitor.post_log(mine, items=items, source="server")).json() == {
            "t": "ack",
            "s": 20,
        }
        await visitor.log_in("admin", site.admin_password)
        page = await visitor.http.get(
            f"/admin/django_perso/conversation/{mine['stream']}/change/"
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
        "20 entries that claim to be the site's: 20 stored as the browser's, and shown as such",
    )


async def test_a_made_up_address_is_no_new_visitor(
    example_server: Any, figure: Callable[[str, str], None]
) -> None:
    site = example_server()
    site.execute(
        "UPDATE django_perso_sessionpreset SET max_live = 1000, starts_per_hour = 10"
    )
    chance, statuses = random.Random(22), []
    for _ in range(60):
        async with HttpVisitor(site.url) as visitor:
            await visitor.open_page()
            made_up = ".".join(str(chance.randrange(1, 255)) for _ in range(4))
            headers = {
                "X-Forwarded-For": made_up,
                "X-Real-IP": made_up,
                "Forwarded": f"for={made_up}",
            }
            statuses.append((await visitor.start(**headers)).status_code)
    assert statuses == [201] * 10 + [429] * 50
    figure(
        "T22",
        "60 starts, each with new cookies and a made-up X-Forwarded-For: 10 granted, 50 x 429",
    )


async def test_requests_that_only_look_like_others_are_refused(
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
        f"{len(tricks)} control bytes in a header, a second Host: {len(tricks) + 1} x 400",
    )


async def flood(socket: Any) -> None:
    """Send more than the window takes, and read until the end."""
    for _ in range(400):
        await socket.send('{"t":"ev","items":[]}')
    while True:
        await asyncio.wait_for(socket.recv(), 10)


async def test_sockets_that_say_nothing_or_too_much_are_closed_and_delay_nobody(
    example_server: Any, figure: Callable[[str, str], None]
) -> None:
    site = example_server()

    async def silent(visitor: HttpVisitor, path: str) -> int:
        async with visitor.socket(path) as socket:
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
        mine = await started(visitor)
        path = mine["log"]["ws"]
        before = site.memory_mib()
        crowd = asyncio.gather(*(silent(stranger, path) for _ in range(200)))
        slowest = asyncio.gather(*(slow() for _ in range(200)))
        await asyncio.sleep(1)
        waits = []
        async with visitor.socket(path) as socket:
            await say(socket, t="hello", stream=mine["stream"], ticket=mine["ticket"])
            for n in range(1, 41):
                began = time.perf_counter()
                assert (await say(socket, t="ev", items=[chat(n, "hello")]))["s"] == n
                waits.append(time.perf_counter() - began)
                await asyncio.sleep(0.05)
            codes = await crowd
            await slowest
            assert set(codes) == {4408}
            grown = site.memory_mib() - before
            with pytest.raises(ConnectionClosed) as closed:
                await flood(socket)
            assert closed.value.rcvd
            assert closed.value.rcvd.code == 4429
        assert await close_code(visitor, path, t="x" * 70_000) in (4413, 1009)
    p99 = sorted(waits)[-1]
    assert p99 < 1
    assert grown < 50
    figure(
        "T11",
        f"200 sockets without a hello: 200 x 4408, and 200 requests that never end: +{grown:.0f} MiB; "
        f"others' slowest ack {p99 * 1000:.0f} ms",
    )


async def fragments(socket: Any) -> None:
    """One message in a great many parts."""
    await socket.send("x" for _ in range(300_000))
    await asyncio.wait_for(socket.recv(), 10)


async def bomb(socket: Any) -> None:
    """64 MiB that fit in few bytes, where the server agrees to unpack them."""
    await socket.send("x" * 2**26 if socket.protocol.extensions else "x" * 2**18)
    await asyncio.wait_for(socket.recv(), 10)


@pytest.mark.parametrize("is_uvicorn", [False, True], ids=["daphne", "uvicorn"])
async def test_no_message_grows_on_its_way_in(
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
        f"a flood of fragments and a deflate bomb: closed with {codes} by {name}, +{grown:.0f} MiB",
    )
