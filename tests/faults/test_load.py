"""Load: long messages, bursts, clients that ignore the protocol, many connections."""

import asyncio
import json
import time
from collections.abc import Callable

import pytest
from websockets.exceptions import ConnectionClosed

from django_perso.services.database import CONNECTIONS

from .oracle import Oracle
from .outbox import Address, Outbox
from .site import Site, percentile
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


async def deliver(outbox: Outbox, *texts: str) -> None:
    """Send these texts and wait until the outbox is done."""
    for text in texts[:-1]:
        outbox.add(text)
    outbox.finish(texts[-1])
    async with asyncio.timeout(60):
        await outbox.run()


async def test_message_of_any_length_is_stored_or_becomes_a_gap(
    site: Site, oracle: Oracle, row: Row
) -> None:
    addresses = await site.conversations(2 * len(SIZES))
    honest = [Outbox(address, oracle) for address in addresses[: len(SIZES)]]
    naive = [Outbox(address, oracle, fits=False) for address in addresses[len(SIZES) :]]
    for cutting, sending, size in zip(honest, naive, SIZES, strict=True):
        await asyncio.gather(
            deliver(cutting, "before", "x" * size, "after"),
            deliver(sending, "before", "x" * size, "after"),
        )
    verdict = site.judge(oracle)
    streams = ", ".join(repr(outbox.address.stream) for outbox in naive)
    gaps = site.rows(
        "SELECT count(*) FROM django_perso_transcriptentry "
        "WHERE kind = 'gap' AND source = 'browser' "
        f"AND conversation_id IN ({streams})"
    )[0][0]
    reconnects = sum(outbox.sockets - 1 for outbox in honest)
    most_reconnects = max(outbox.sockets for outbox in naive) - 1
    row(
        "F16",
        f"1 B to 4 MiB by clients that cut long texts: {reconnects} reconnects; by "
        f"clients that do not: {gaps} of {len(SIZES)} became gaps, at most "
        f"{most_reconnects} reconnects; {verdict}",
    )
    assert verdict.is_clean
    assert all(outbox.sockets == 1 for outbox in honest)
    assert most_reconnects <= 2
    assert gaps == sum(size > 16_300 for size in SIZES)


async def test_burst_of_10_000_lines_is_paced_and_stored(
    site: Site, oracle: Oracle, row: Row
) -> None:
    address, warm_up = await site.conversations(2)
    await deliver(Outbox(warm_up, oracle), "warm")
    before_mib = site.memory_mib()
    began = time.perf_counter()
    outbox = Outbox(address, oracle)
    async with asyncio.timeout(60):
        await asyncio.gather(outbox.feed(10_000), outbox.run())
    seconds = time.perf_counter() - began
    grown_mib = site.memory_mib() - before_mib
    verdict = site.judge(oracle)
    row(
        "F17",
        f"a burst of 10,000 entries: {verdict}; {10_000 / seconds:,.0f} entries/s, "
        f"RSS +{grown_mib:.0f} MiB",
    )
    assert verdict.is_clean
    assert grown_mib < 30


async def test_client_that_ignores_the_window_is_closed(
    site: Site, oracle: Oracle, row: Row
) -> None:
    *addresses, other, warm_up = await site.conversations(7)
    await deliver(Outbox(warm_up, oracle), "warm")
    polite = Outbox(other, oracle)
    before_mib = site.memory_mib()

    async def ignore_window(address: Address) -> tuple[int, float]:
        socket = await welcomed(address)
        began = time.perf_counter()
        try:
            for first in range(1, 40_000, 4):
                items = lines(first, first + 3, "x" * 3000)
                await socket.send(json.dumps({"t": "ev", "items": items}))
                await asyncio.sleep(0)  # lets this client receive the close frame
            raise AssertionError("120 MB were accepted")
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else 1006
            return code, time.perf_counter() - began

    talking = asyncio.gather(polite.feed(50, 1), polite.run())
    ends = await asyncio.gather(*map(ignore_window, addresses))
    await talking
    slowest = max(seconds for _, seconds in ends)
    grown_mib = site.memory_mib() - before_mib
    codes = sorted({code for code, _ in ends})
    row(
        "F18",
        f"5 clients that ignore the window: closed with {codes} within "
        f"{slowest:.2f} s, RSS +{grown_mib:.0f} MiB, p99 of another client "
        f"{percentile(99, polite.waits):.0f} ms",
    )
    assert codes == [4429]
    assert slowest < 1
    assert grown_mib < 30
    assert site.judge(oracle).is_clean


@pytest.mark.slow
async def test_thousand_connections_are_served(
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
    seconds = time.perf_counter() - began
    verdict = site.judge(oracle)
    attempts = sum(outbox.sockets for outbox in outboxes)
    connects = [outbox.connects[0] for outbox in outboxes]
    used = max(connections) - 1  # without that of the query
    row(
        "F19",
        f"1,000 connections at once: {verdict}; {seconds:.1f} s, connected within p95 "
        f"{percentile(95, connects) / 1000:.1f} s, {attempts - 1000} further attempts, "
        f"{used} database connections, RSS {site.memory_mib():.0f} MiB",
    )
    assert verdict.is_clean
    assert all(outbox.closed_with is None for outbox in outboxes)
    assert used <= CONNECTIONS + 1  # the writer has one more


@pytest.mark.slow
async def test_throughput_of_fifty_clients_loses_nothing(
    site: Site, oracle: Oracle, row: Row
) -> None:
    outboxes = [Outbox(address, oracle) for address in await site.conversations(50)]
    began = time.perf_counter()
    async with asyncio.timeout(120):
        feeds = (outbox.feed(400, 5) for outbox in outboxes)
        await asyncio.gather(*feeds, *(outbox.run() for outbox in outboxes))
    seconds = time.perf_counter() - began
    verdict = site.judge(oracle)
    waits = [wait for outbox in outboxes for wait in outbox.waits]
    frames = sum(outbox.frames for outbox in outboxes)
    row(
        "F27",
        f"50 clients x 400 entries: {verdict}; {20_000 / seconds:,.0f} entries/s, "
        f"{20_000 / frames:.1f} a frame, acknowledged within p50 "
        f"{percentile(50, waits):.0f} ms, p99 {percentile(99, waits):.0f} ms",
    )
    assert verdict.is_clean
