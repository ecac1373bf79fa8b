"""What happens to the site: it is killed, it is told to end; and the rig against logs that lose or double."""

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
from .site import Site, p

Row = Callable[[str, str], None]
ONCE = "ALTER TABLE django_perso_transcriptentry DROP CONSTRAINT perso_entry_once"


def test_comparison_detects_every_kind_of_error(oracle: Oracle) -> None:
    def stored(seq: int, text: str = "a", stream: str = "s") -> tuple[object, ...]:
        return (stream, seq, "chat", seq, {"text": text})

    for seq in range(1, 6):
        oracle.made("s", {"s": seq, "k": "chat", "t": seq, "d": {"text": "a"}})
    oracle.told("s", 1, 4)
    good = [stored(seq) for seq in range(1, 6)]
    assert oracle.compare(good).is_clean
    assert oracle.compare([*good, stored(1, stream="another test's")]).is_clean
    for rows, wrong in {
        "lost": (good[:3], {"lost": 1, "missing": 2}),
        "missing": (good[:4], {"lost": 0, "missing": 1}),
        "double": ([*good, good[4]], {"double": 1}),
        "gappy": ([*good[:2], *good[3:]], {"gappy": 1, "lost": 1}),
        "disordered": ([good[1], good[0], *good[2:]], {"disordered": 1, "missing": 0}),
        "altered": ([*good[:4], stored(5, "b")], {"altered": 1}),
    }.values():
        verdict = oracle.compare(rows)
        assert not verdict.is_clean
        assert wrong.items() <= vars(verdict).items()


async def under_load(
    site: Site, oracle: Oracle, kills: int, lines: int
) -> tuple[list[Outbox], float]:
    """8 clients, so many lines each, while the site is killed and started so many times; in the end how many
    seconds it took from the last start until everything was acknowledged."""
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
    resent, sockets = (
        sum(box.resent for box in outboxes),
        sum(box.sockets for box in outboxes),
    )
    return f"{resent} resent, {sockets} sockets"


@pytest.mark.slow
async def test_site_killed_three_times_loses_nothing(
    site: Site, oracle: Oracle, row: Row
) -> None:
    began = time.monotonic()
    outboxes, drain = await under_load(site, oracle, 3, 800)
    took, verdict = time.monotonic() - began, site.judge(oracle)
    row(
        "F1",
        f"SIGKILL x 3, 8 clients x 800: {verdict}; {figures(outboxes)}, all there after {took:.1f} s, "
        f"{drain:.1f} s after the last start",
    )
    assert verdict.is_clean
    assert sum(box.sockets for box in outboxes) >= 8 * 2


@pytest.mark.slow
async def test_workers_restarted_in_turn_lose_nothing(
    new_site: Callable[..., Site], oracle: Oracle, row: Row
) -> None:
    daphne = new_site()
    uvicorn = new_site(database_url=daphne.database_url, is_uvicorn=True)
    port = unused_port()
    serving = asyncio.create_task(Balancer([daphne.port, uvicorn.port]).serve(port))
    outboxes = [
        Outbox(it.through(port), oracle) for it in await daphne.conversations(16)
    ]
    all_new = asyncio.Event()

    async def deploy() -> None:
        for worker in (daphne, uvicorn):
            await asyncio.sleep(1.5)
            await asyncio.to_thread(worker.stop)
            await asyncio.to_thread(worker.start)
        all_new.set()

    async with asyncio.timeout(120):
        talks = (it for box in outboxes for it in (box.feed_until(all_new), box.run()))
        await asyncio.gather(deploy(), *talks)
    serving.cancel()
    await asyncio.wait([serving])
    verdict = daphne.judge(oracle)
    returns = [seconds for box in outboxes for seconds in box.connects[1:]]
    codes = Counter(code for box in outboxes for code in box.ends)
    row(
        "F2",
        f"SIGTERM to two workers in turn: {verdict}; {figures(outboxes)}, closed with {dict(codes)}, "
        f"back p95 {p(95, returns):.0f} ms, longest {p(100, returns):.0f} ms",
    )
    assert verdict.is_clean
    assert len(returns) >= 16
    assert p(95, returns) < 2000


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
        f"the rig against a log that acks before COMMIT: {verdict}; {figures(outboxes)}",
    )
    assert verdict.lost > 0


@pytest.mark.slow
async def test_appending_duplicates_is_detected(
    new_site: Callable[..., Site], oracle: Oracle, row: Row
) -> None:
    site = new_site("tests.faults.controls:blind")
    site.execute(ONCE)
    async with fault_proxy(site.port) as proxy:
        proxy.seconds_before_cut = (0.2, 0.6)
        outboxes = [
            Outbox(it.through(proxy.port), oracle) for it in await site.conversations(8)
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
        f"the rig against a log that appends blindly: {verdict}; {figures(outboxes)}",
    )
    assert verdict.double > 0
