"""Faults of the site: killed and restarted servers, and consumers that are faulty."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable

import pytest

from example_project.balancer import Balancer
from tests.support.servers import unused_port

from .oracle import Oracle
from .outbox import Outbox
from .proxy import fault_proxy
from .site import Site, percentile

Row = Callable[[str, str], None]
ALLOW_DUPLICATES = (
    "ALTER TABLE django_perso_transcriptentry DROP CONSTRAINT perso_entry_once"
)


def test_comparison_detects_every_kind_of_error(oracle: Oracle) -> None:
    def stored(seq: int, text: str = "a", stream: str = "s") -> tuple[object, ...]:
        return (stream, seq, "chat", seq, {"text": text})

    for seq in range(1, 6):
        oracle.note_made("s", {"s": seq, "k": "chat", "t": seq, "d": {"text": "a"}})
    oracle.note_acknowledged("s", 1, 4)
    good = [stored(seq) for seq in range(1, 6)]
    assert oracle.compare(good).is_clean
    assert oracle.compare([*good, stored(1, stream="another test's")]).is_clean
    for rows, wrong in (
        (good[:3], {"lost": 1, "missing": 2}),
        (good[:4], {"lost": 0, "missing": 1}),
        ([*good, good[4]], {"double": 1}),
        ([*good[:2], *good[3:]], {"gappy": 1, "lost": 1}),
        ([good[1], good[0], *good[2:]], {"disordered": 1, "missing": 0}),
        ([*good[:4], stored(5, "b")], {"altered": 1}),
    ):
        verdict = oracle.compare(rows)
        assert not verdict.is_clean
        assert wrong.items() <= vars(verdict).items()


async def under_load(
    site: Site, oracle: Oracle, kills: int, lines: int
) -> tuple[list[Outbox], float]:
    """Let 8 clients talk while the site is killed and started again.

    Return them, and the seconds from the last start until all is acknowledged.
    """
    outboxes = [Outbox(address, oracle) for address in await site.conversations(8)]
    talks = [asyncio.create_task(outbox.run()) for outbox in outboxes]
    feeds = [
        asyncio.create_task(outbox.feed(lines, 4.0 * kills)) for outbox in outboxes
    ]
    for _ in range(kills):
        await asyncio.sleep(1.5)
        await asyncio.to_thread(site.kill)
        await asyncio.to_thread(site.start)
    started = time.monotonic()
    async with asyncio.timeout(90):
        await asyncio.gather(*feeds, *talks)
    return outboxes, time.monotonic() - started


def figures(outboxes: list[Outbox]) -> str:
    resent = sum(outbox.resent for outbox in outboxes)
    sockets = sum(outbox.sockets for outbox in outboxes)
    return f"{resent} resent, {sockets} sockets"


@pytest.mark.slow
async def test_site_killed_three_times_loses_nothing(
    site: Site, oracle: Oracle, row: Row
) -> None:
    began = time.monotonic()
    outboxes, seconds_after = await under_load(site, oracle, 3, 800)
    seconds = time.monotonic() - began
    verdict = site.judge(oracle)
    row(
        "F1",
        f"SIGKILL x 3, 8 clients x 800 entries: {verdict}; {figures(outboxes)}, "
        f"complete after {seconds:.1f} s, {seconds_after:.1f} s after the last start",
    )
    assert verdict.is_clean
    assert sum(outbox.sockets for outbox in outboxes) >= 8 * 2


@pytest.mark.slow
async def test_workers_restarted_in_turn_lose_nothing(
    new_site: Callable[..., Site], oracle: Oracle, row: Row
) -> None:
    daphne = new_site()
    uvicorn = new_site(database_url=daphne.database_url, is_uvicorn=True)
    port = unused_port()
    serving = asyncio.create_task(Balancer([daphne.port, uvicorn.port]).serve(port))
    addresses = await daphne.conversations(16)
    outboxes = [Outbox(address.through(port), oracle) for address in addresses]
    all_new = asyncio.Event()

    async def deploy() -> None:
        for worker in (daphne, uvicorn):
            await asyncio.sleep(1.5)
            await asyncio.to_thread(worker.stop)
            await asyncio.to_thread(worker.start)
        all_new.set()

    async with asyncio.timeout(120):
        feeds = [outbox.feed_until(all_new) for outbox in outboxes]
        await asyncio.gather(deploy(), *feeds, *(outbox.run() for outbox in outboxes))
    serving.cancel()
    await asyncio.wait([serving])
    verdict = daphne.judge(oracle)
    returns = [seconds for outbox in outboxes for seconds in outbox.connects[1:]]
    codes = Counter(code for outbox in outboxes for code in outbox.ends)
    row(
        "F2",
        f"SIGTERM to two workers in turn: {verdict}; {figures(outboxes)}, "
        f"closed with {dict(codes)}, reconnected within p95 "
        f"{percentile(95, returns):.0f} ms, at most {percentile(100, returns):.0f} ms",
    )
    assert verdict.is_clean
    assert len(returns) >= 16
    assert percentile(95, returns) < 2000


@pytest.mark.slow
async def test_acknowledging_before_storing_is_detected(
    new_site: Callable[..., Site], oracle: Oracle, row: Row
) -> None:
    site = new_site("tests.faults.controls:hasty")
    outboxes, _ = await under_load(site, oracle, 1, 400)
    await asyncio.sleep(2)
    verdict = site.judge(oracle)
    row(
        "F0",
        f"a consumer that acknowledges before COMMIT: {verdict}; {figures(outboxes)}",
    )
    assert verdict.lost > 0


@pytest.mark.slow
async def test_appending_duplicates_is_detected(
    new_site: Callable[..., Site], oracle: Oracle, row: Row
) -> None:
    site = new_site("tests.faults.controls:blind")
    site.execute(ALLOW_DUPLICATES)
    async with fault_proxy(site.port) as proxy:
        proxy.seconds_before_cut = (0.2, 0.6)
        addresses = await site.conversations(8)
        outboxes = [
            Outbox(address.through(proxy.port), oracle) for address in addresses
        ]
        feeds = [outbox.feed(400, 3) for outbox in outboxes]

        async def calm() -> None:
            await asyncio.sleep(4)
            proxy.seconds_before_cut = None

        async with asyncio.timeout(60):
            await asyncio.gather(calm(), *feeds, *(outbox.run() for outbox in outboxes))
    verdict = site.judge(oracle)
    row(
        "F0",
        f"a consumer that appends blindly: {verdict}; {figures(outboxes)}",
    )
    assert verdict.double > 0
