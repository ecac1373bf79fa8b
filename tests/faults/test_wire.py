"""Faults between browser and site: cut connections, repeated frames, two tabs."""

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
    """Open a socket and say hello; return it and the last number the site has."""
    socket = await address.socket()
    await socket.send(json.dumps({"t": "hello", **address.opening}))
    welcome = json.loads(await socket.recv())
    assert welcome["t"] == "welcome"
    return socket, welcome["ack"]


async def welcomed(address: Address) -> ClientConnection:
    """Open a socket and say hello."""
    socket, _ = await welcomed_at(address)
    return socket


def lines(first: int, last: int, text: str = "line") -> list[dict[str, object]]:
    """Return chat entries with these numbers."""
    return [
        {"s": s, "k": "chat", "t": s, "d": {"role": "visitor", "text": f"{text} {s}"}}
        for s in range(first, last + 1)
    ]


async def talk_with_cuts(
    site: Site, oracle: Oracle, clients: int, count: int, seconds: float
) -> list[Outbox]:
    """Let clients talk through a proxy that cuts connections at random bytes."""
    async with fault_proxy(site.port) as proxy:
        proxy.seconds_before_cut = (0.5, 3.0)
        proxy.bytes_before_cut = (500, 60_000)
        outboxes = [
            Outbox(address.through(proxy.port), oracle)
            for address in await site.conversations(clients)
        ]

        async def calm() -> None:
            await asyncio.sleep(seconds)
            proxy.seconds_before_cut = None
            proxy.bytes_before_cut = None

        async with asyncio.timeout(seconds + 60):
            feeds = (outbox.feed(count, seconds) for outbox in outboxes)
            await asyncio.gather(calm(), *feeds, *(outbox.run() for outbox in outboxes))
    return outboxes


@pytest.mark.slow
async def test_connections_cut_at_random_bytes_lose_nothing(
    site: Site, oracle: Oracle, row: Row
) -> None:
    outboxes = await talk_with_cuts(site, oracle, clients=20, count=1200, seconds=60)
    verdict = site.judge(oracle)
    sockets = sum(outbox.sockets for outbox in outboxes)
    resent = sum(outbox.resent for outbox in outboxes)
    bytes_sent = sum(outbox.bytes_sent for outbox in outboxes)
    ratio = bytes_sent / sum(outbox.bytes_useful for outbox in outboxes)
    row(
        "F11",
        f"connections cut at random bytes, 20 clients, 60 s: {verdict}; "
        f"{sockets} sockets, {resent} entries resent, bytes sent / useful {ratio:.2f}",
    )
    assert verdict.is_clean
    assert sockets > 20 * 10
    assert ratio < 1.3


# Frames of each of 10 clients.
@pytest.mark.parametrize("frames", [10, pytest.param(100, marks=pytest.mark.slow)])
async def test_frame_sent_by_socket_and_post_is_stored_once(
    site: Site, oracle: Oracle, row: Row, frames: int
) -> None:
    answers: Counter[str] = Counter()

    async def one(address: Address, http: httpx.AsyncClient) -> None:
        socket = await welcomed(address)
        for first in range(1, 5 * frames, 5):
            items = lines(first, first + 4)
            for entry in items:
                oracle.note_made(address.stream, entry)
            posted, _ = await asyncio.gather(
                address.post(http, items=items),
                socket.send(json.dumps({"t": "ev", "items": items})),
            )
            for answer in (posted.json(), json.loads(await socket.recv())):
                answers[answer["t"]] += 1
                oracle.note_acknowledged(address.stream, first, answer["s"])
        forged = await address.post(http, items=lines(1, 50, "other words"))
        # Acknowledged, but the first content stays.
        assert forged.json() == {"t": "ack", "s": 5 * frames}
        await socket.close()

    async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
        await asyncio.gather(
            *(one(address, http) for address in await site.conversations(10))
        )
    verdict = site.judge(oracle)
    row(
        "F12",
        f"{10 * frames:,} frames by socket and POST at once, 500 entries again with "
        f"other content: {verdict}",
    )
    assert verdict.is_clean
    assert answers == {"ack": 20 * frames}


async def test_shuffled_frames_are_stored_in_order(
    site: Site, oracle: Oracle, row: Row
) -> None:
    chance = random.Random(1)
    answers: Counter[str] = Counter()

    async def one(address: Address, http: httpx.AsyncClient) -> None:
        socket = await welcomed(address)
        acked = 0
        for entry in lines(1, 100):
            oracle.note_made(address.stream, entry)
        while acked < 100:
            frames = [
                lines(first, min(first + 4, 100)) for first in range(acked + 1, 101, 5)
            ][:4]
            chance.shuffle(frames)
            by_post = [address.post(http, items=frame) for frame in frames[::2]]
            for frame in frames[1::2]:
                await socket.send(json.dumps({"t": "ev", "items": frame}))
            received = [answer.json() for answer in await asyncio.gather(*by_post)]
            if frames[1::2]:
                received.append(json.loads(await socket.recv()))
            while True:  # one answer may acknowledge several frames
                try:
                    answer = await asyncio.wait_for(socket.recv(), 0.1)
                except TimeoutError:
                    break
                received.append(json.loads(answer))
            answers.update(answer["t"] for answer in received)
            last = max(answer["s"] for answer in received)
            oracle.note_acknowledged(address.stream, acked + 1, last)
            acked = max(acked, last)
        await socket.close()

    async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
        await asyncio.gather(
            *(one(address, http) for address in await site.conversations(8))
        )
    verdict = site.judge(oracle)
    row(
        "F13",
        f"frames shuffled over socket and POST, {answers['gap']} answered by a gap: "
        f"{verdict}",
    )
    assert verdict.is_clean
    assert answers["gap"] > 0


async def test_newer_of_two_tabs_writes_and_older_is_closed(
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
    interleaved = 0
    for address, (_, last) in zip(addresses, ends, strict=True):
        rows = site.rows(
            "SELECT data->>'text' LIKE 'newer%' FROM django_perso_transcriptentry "
            f"WHERE source = 'browser' AND conversation_id = '{address.stream}' "
            "ORDER BY id"
        )
        is_newer = [from_newer for (from_newer,) in rows]
        interleaved += is_newer != [False] * last + [True] * 20
    codes = sorted({str(code) for code, _ in ends})
    row("F14", f"8 x two tabs: older closed with {codes}, interleaved {interleaved}")
    assert {code for code, _ in ends} == {4409}
    assert interleaved == 0


async def test_log_travels_by_post_where_sockets_are_blocked(
    site: Site, oracle: Oracle, row: Row
) -> None:
    async with fault_proxy(site.port) as proxy:
        proxy.refuses = lambda first: b"upgrade: websocket" in first.lower()
        outboxes = [
            Outbox(address.through(proxy.port), oracle)
            for address in await site.conversations(5)
        ]
        feeds = (outbox.feed(100, 1) for outbox in outboxes)
        async with asyncio.timeout(30):
            await asyncio.gather(*feeds, *(outbox.run() for outbox in outboxes))
    verdict = site.judge(oracle)
    row(
        "F25",
        f"sockets blocked, 5 clients: {verdict}; "
        f"{sum(box.frames for box in outboxes)} requests",
    )
    assert verdict.is_clean
    assert all(outbox.sockets == 2 for outbox in outboxes)
