"""Too much of it: long messages, bursts, clients without manners, a thousand connections."""

import asyncio
import json
import time
from collections.abc import Callable

import pytest
from websockets.exceptions import ConnectionClosed

from django_perso.services.database import CONNECTIONS

from .oracle import Oracle
from .outbox import Outbox
from .site import Site, p
from .test_wire import lines, welcomed

Row = Callable[[str, str], None]

SIZES = [
    1,
    100,
    4_000,
    16_000,
    16_384,
    17_000,
    60_000,
    65_536,
    70_000,
    131_072,
    140_000,
    1_048_576,
    4_194_304,
]


async def talked(outbox: Outbox, *texts: str) -> Outbox:
    """What became of an outbox with these lines in it."""
    for text in texts[:-1]:
        outbox.add(text)
    outbox.finish(texts[-1])
    async with asyncio.timeout(60):
        await outbox.run()
    return outbox


async def test_no_message_is_so_long_that_it_is_sent_for_ever(
    site: Site, oracle: Oracle, row: Row
) -> None:
    addresses = await site.conversations(2 * len(SIZES))
    honest = [Outbox(address, oracle) for address in addresses[: len(SIZES)]]
    naive = [Outbox(address, oracle, fits=False) for address in addresses[len(SIZES) :]]
    for outboxes in zip(honest, naive, SIZES, strict=True):
        *boxes, size = outboxes
        await asyncio.gather(
            *(talked(box, "before", "x" * size, "after") for box in boxes)
        )
    verdict = site.judge(oracle)
    gaps = site.rows(
        "SELECT count(*) FROM django_perso_transcriptentry WHERE kind = 'gap' AND source = 'browser' "
        f"AND conversation_id IN ({', '.join(repr(box.address.stream) for box in naive)})"
    )[0][0]
    worst = max(box.sockets for box in naive) - 1
    row(
        "F16",
        f"1 B to 4 MiB by clients that cut: {sum(box.sockets - 1 for box in honest)} reconnects; by clients "
        f"that do not: {gaps} of {len(SIZES)} became gaps, at most {worst} reconnects; {verdict}",
    )
    assert verdict.is_clean
    assert all(box.sockets == 1 for box in honest)
    assert worst <= 2
    assert gaps == sum(size > 16_300 for size in SIZES)


async def test_a_burst_of_10_000_lines_is_held_back_and_stored(
    site: Site, oracle: Oracle, row: Row
) -> None:
    (address, first) = await site.conversations(2)
    await talked(Outbox(first, oracle), "warm")
    before, began = site.memory_mib(), time.perf_counter()
    outbox = Outbox(address, oracle)
    async with asyncio.timeout(60):
        await asyncio.gather(outbox.feed(10_000), outbox.run())
    took, more = time.perf_counter() - began, site.memory_mib() - before
    verdict = site.judge(oracle)
    row(
        "F17",
        f"a burst of 10,000 lines: {verdict}; {10_000 / took:,.0f} lines/s, RSS +{more:.0f} MiB",
    )
    assert verdict.is_clean
    assert more < 30


async def test_who_ignores_the_window_is_closed_at_once(
    site: Site, oracle: Oracle, row: Row
) -> None:
    *addresses, other, first = await site.conversations(7)
    await talked(Outbox(first, oracle), "warm")
    others, before = [Outbox(other, oracle)], site.memory_mib()

    async def rude(number: int) -> tuple[int, float]:
        socket = await welcomed(addresses[number])
        began = time.perf_counter()
        try:
            for frame in range(10_000):
                await socket.send(
                    json.dumps(
                        {
                            "t": "ev",
                            "items": lines(frame * 4 + 1, frame * 4 + 4, "x" * 3000),
                        }
                    )
                )
                await asyncio.sleep(0)  # or this client would not hear of it
            raise AssertionError("120 MB were taken")
        except ConnectionClosed as closed:
            return (
                closed.rcvd.code if closed.rcvd else 1006
            ), time.perf_counter() - began

    talks = [
        asyncio.create_task(talk)
        for box in others
        for talk in (box.feed(50, 1), box.run())
    ]
    ends = await asyncio.gather(*map(rude, range(5)))
    await asyncio.gather(*talks)
    slowest, more = max(seconds for _, seconds in ends), site.memory_mib() - before
    polite = p(99, [wait for box in others for wait in box.waits])
    codes = sorted({code for code, _ in ends})
    row(
        "F18",
        f"5 clients that ignore the window: closed {codes} in {slowest:.2f} s, RSS +{more:.0f} MiB, "
        f"another's p99 {polite:.0f} ms",
    )
    assert codes == [4429]
    assert slowest < 1
    assert more < 30
    assert site.judge(oracle).is_clean


@pytest.mark.slow
async def test_a_thousand_connections_are_all_served(
    site: Site, oracle: Oracle, row: Row
) -> None:
    outboxes = [Outbox(address, oracle) for address in await site.conversations(1000)]
    began = time.perf_counter()
    connections: list[int] = []

    async def watch() -> None:
        while not all(box.is_over for box in outboxes):
            count = (
                "SELECT count(*) FROM pg_stat_activity WHERE datname = 'faults_shared'"
            )
            connections.append((await asyncio.to_thread(site.rows, count))[0][0])
            await asyncio.sleep(0.5)

    async with asyncio.timeout(150):
        feeds = (box.feed(10, 2) for box in outboxes)
        await asyncio.gather(*feeds, *(box.run() for box in outboxes), watch())
    took, verdict = time.perf_counter() - began, site.judge(oracle)
    tries, connects = (
        sum(box.sockets for box in outboxes),
        [box.connects[0] for box in outboxes],
    )
    row(
        "F19",
        f"1,000 connections at once: {verdict}; {took:.1f} s, connect p95 {p(95, connects) / 1000:.1f} s, "
        f"{tries - 1000} second tries, {max(connections) - 1} database connections, "
        f"RSS {site.memory_mib():.0f} MiB",
    )
    assert verdict.is_clean
    assert all(box.closed_with is None for box in outboxes)
    assert max(connections) - 1 <= CONNECTIONS + 1  # and the writer's


@pytest.mark.slow
async def test_how_many_lines_go_through_and_how_long_each_takes(
    site: Site, oracle: Oracle, row: Row
) -> None:
    outboxes = [Outbox(address, oracle) for address in await site.conversations(50)]
    began = time.perf_counter()
    async with asyncio.timeout(120):
        await asyncio.gather(
            *(it for box in outboxes for it in (box.feed(400, 5), box.run()))
        )
    took, verdict = time.perf_counter() - began, site.judge(oracle)
    waits = [wait for box in outboxes for wait in box.waits]
    row(
        "F27",
        f"50 clients x 400 lines on the cores of the site: {verdict}; {20_000 / took:,.0f} lines/s, "
        f"{20_000 / sum(box.frames for box in outboxes):.1f} a frame, ack p50 {p(50, waits):.0f} ms, "
        f"p99 {p(99, waits):.0f} ms",
    )
    assert verdict.is_clean
