"""What happens between browser and site: cut lines, doubled and disordered frames, two tabs, no sockets."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable

import httpx
import pytest
from websockets.asyncio.client import ClientConnection

from .oracle import Oracle
from .outbox import Address, Outbox
from .proxy import fault_proxy
from .site import Site

Row = Callable[[str, str], None]


async def welcomed_at(address: Address) -> tuple[ClientConnection, int]:
    """A socket that has said hello, for a client without manners, and how far the site is."""
    socket = await address.socket()
    await socket.send(json.dumps({"t": "hello", **address.opening}))
    welcome = json.loads(await socket.recv())
    assert welcome["t"] == "welcome"
    return socket, welcome["ack"]


async def welcomed(address: Address) -> ClientConnection:
    """As above, where that is known."""
    return (await welcomed_at(address))[0]


def lines(first: int, last: int, text: str = "line") -> list[dict[str, object]]:
    """Chat entries with these numbers."""
    return [
        {"s": s, "k": "chat", "t": s, "d": {"role": "visitor", "text": f"{text} {s}"}}
        for s in range(first, last + 1)
    ]


async def fly(
    site: Site, oracle: Oracle, clients: int, count: int, seconds: float
) -> list[Outbox]:
    """Clients talk through a proxy that cuts each line after a while, at a random byte."""
    async with fault_proxy(site.port) as proxy:
        proxy.seconds_before_cut, proxy.bytes_before_cut = (0.5, 3.0), (500, 60_000)
        addresses = [it.through(proxy.port) for it in await site.conversations(clients)]
        outboxes = [Outbox(address, oracle) for address in addresses]

        async def calm() -> None:
            await asyncio.sleep(seconds)
            proxy.seconds_before_cut = proxy.bytes_before_cut = None

        async with asyncio.timeout(seconds + 60):
            feeds = (outbox.feed(count, seconds) for outbox in outboxes)
            await asyncio.gather(calm(), *feeds, *(outbox.run() for outbox in outboxes))
    return outboxes


@pytest.mark.slow
async def test_lines_cut_at_random_bytes_lose_nothing(
    site: Site, oracle: Oracle, row: Row
) -> None:
    outboxes = await fly(site, oracle, clients=20, count=1200, seconds=60)
    verdict = site.judge(oracle)
    sockets, resent = (
        sum(box.sockets for box in outboxes),
        sum(box.resent for box in outboxes),
    )
    ratio = sum(box.bytes_sent for box in outboxes) / sum(
        box.bytes_useful for box in outboxes
    )
    row(
        "F11",
        f"lines cut at random bytes, 20 clients, 60 s: {verdict}; {sockets} sockets, {resent} lines resent, "
        f"bytes sent / useful {ratio:.2f}",
    )
    assert verdict.is_clean
    assert sockets > 20 * 10
    assert ratio < 1.3


@pytest.mark.parametrize(
    "frames", [10, pytest.param(100, marks=pytest.mark.slow)]
)  # of each of 10 clients
async def test_a_frame_that_comes_by_socket_and_post_at_once_is_stored_once(
    site: Site, oracle: Oracle, row: Row, frames: int
) -> None:
    answers: Counter[str] = Counter()

    async def one(address: Address, http: httpx.AsyncClient) -> None:
        socket = await welcomed(address)
        for first in range(1, 5 * frames, 5):
            items = lines(first, first + 4)
            for entry in items:
                oracle.made(address.stream, entry)
            posted, _ = await asyncio.gather(
                address.post(http, items=items),
                socket.send(json.dumps({"t": "ev", "items": items})),
            )
            for answer in (posted.json(), json.loads(await socket.recv())):
                answers[answer["t"]] += 1
                oracle.told(address.stream, first, answer["s"])
        forged = await address.post(http, items=lines(1, 50, "other words"))
        assert forged.json() == {"t": "ack", "s": 5 * frames}  # the first has won
        await socket.close()

    async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
        await asyncio.gather(
            *(one(address, http) for address in await site.conversations(10))
        )
    verdict = site.judge(oracle)
    row(
        "F12",
        f"{10 * frames:,} frames by socket and POST at once, 500 lines again in other words: {verdict}",
    )
    assert verdict.is_clean
    assert answers == {"ack": 20 * frames}


async def test_frames_in_any_order_are_stored_in_theirs(
    site: Site, oracle: Oracle, row: Row
) -> None:
    chance, answers = random.Random(1), Counter[str]()

    async def one(address: Address, http: httpx.AsyncClient) -> None:
        socket, acked = await welcomed(address), 0
        for entry in lines(1, 100):
            oracle.made(address.stream, entry)
        while acked < 100:
            frames = [
                lines(first, min(first + 4, 100)) for first in range(acked + 1, 101, 5)
            ][:4]
            chance.shuffle(frames)
            by_post = [address.post(http, items=frame) for frame in frames[::2]]
            for frame in frames[1::2]:
                await socket.send(json.dumps({"t": "ev", "items": frame}))
            told = [answer.json() for answer in await asyncio.gather(*by_post)]
            told += [json.loads(await socket.recv()) for _ in frames[1::2][:1]]
            while True:  # acknowledgements may have been put together
                try:
                    told.append(json.loads(await asyncio.wait_for(socket.recv(), 0.1)))
                except TimeoutError:
                    break
            answers.update(answer["t"] for answer in told)
            oracle.told(address.stream, acked + 1, max(answer["s"] for answer in told))
            acked = max(acked, *(answer["s"] for answer in told))
        await socket.close()

    async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
        await asyncio.gather(
            *(one(address, http) for address in await site.conversations(8))
        )
    verdict = site.judge(oracle)
    row(
        "F13",
        f"frames shuffled over socket and POST, {answers['gap']} gaps answered: {verdict}",
    )
    assert verdict.is_clean
    assert answers["gap"] > 0


async def test_of_two_tabs_the_newer_one_writes_and_the_older_is_told(
    site: Site, oracle: Oracle, row: Row
) -> None:
    async def one(address: Address) -> tuple[int | None, int]:
        older = Outbox(address, oracle)
        talking = asyncio.create_task(older.run())
        feeding = asyncio.create_task(older.feed(10_000, 10, "older tab"))
        await asyncio.sleep(0.5)
        socket, last = await welcomed_at(address)
        await socket.send(
            json.dumps({"t": "ev", "items": lines(last + 1, last + 20, "newer tab")})
        )
        assert json.loads(await socket.recv()) == {"t": "ack", "s": last + 20}
        await asyncio.wait_for(talking, 5)
        feeding.cancel()
        await socket.close()
        return older.closed_with, last

    addresses = await site.conversations(8)
    ends = await asyncio.gather(*map(one, addresses))
    mixed = 0
    for address, (_, last) in zip(addresses, ends, strict=True):
        told = site.rows(
            "SELECT data->>'text' LIKE 'newer%' FROM django_perso_transcriptentry "
            f"WHERE source = 'browser' AND conversation_id = '{address.stream}' ORDER BY id"
        )
        mixed += [is_newer for (is_newer,) in told] != [False] * last + [True] * 20
    codes = sorted({str(code) for code, _ in ends})
    row("F14", f"two tabs x 8: the older closed with {codes}, interleaved {mixed}")
    assert {code for code, _ in ends} == {4409}
    assert mixed == 0


async def test_where_no_socket_comes_through_all_goes_by_post(
    site: Site, oracle: Oracle, row: Row
) -> None:
    async with fault_proxy(site.port) as proxy:
        proxy.refuses = lambda first: b"upgrade: websocket" in first.lower()
        addresses = [it.through(proxy.port) for it in await site.conversations(5)]
        outboxes = [Outbox(address, oracle) for address in addresses]
        feeds = (outbox.feed(100, 1) for outbox in outboxes)
        async with asyncio.timeout(30):
            await asyncio.gather(*feeds, *(outbox.run() for outbox in outboxes))
    verdict = site.judge(oracle)
    row(
        "F25",
        f"no sockets, 5 clients: {verdict}; {sum(box.frames for box in outboxes)} requests",
    )
    assert verdict.is_clean
    assert all(outbox.sockets == 2 for outbox in outboxes)
