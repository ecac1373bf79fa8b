"""What happens to the site: it is killed, it is told to end; and the rig against logs that lose or double."""

import asyncio
import time
from collections.abc import Callable

import pytest

from .oracle import Oracle
from .outbox import Outbox
from .proxy import fault_proxy
from .site import Site, p

Row = Callable[[str, str], None]
ONCE = "ALTER TABLE django_perso_transcriptentry DROP CONSTRAINT perso_entry_once"


def test_the_comparison_finds_every_kind_of_wrong(oracle: Oracle) -> None:
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
    site: Site, oracle: Oracle, kills: int, lines: int, how: Callable[[Site], None]
) -> list[Outbox]:
    """8 clients, so many lines each, while the site is ended and started so many times."""
    outboxes = [Outbox(address, oracle) for address in await site.conversations(8)]
    talks = [asyncio.create_task(outbox.run()) for outbox in outboxes]
    feeds = [asyncio.create_task(outbox.feed(lines, 4.0 * kills)) for outbox in outboxes]
    for _ in range(kills):
        await asyncio.sleep(1.5)
        await asyncio.to_thread(how, site)
        await asyncio.to_thread(site.start)
    async with asyncio.timeout(90):
        await asyncio.gather(*feeds, *talks)
    return outboxes


def figures(outboxes: list[Outbox]) -> str:
    resent, sockets = sum(box.resent for box in outboxes), sum(box.sockets for box in outboxes)
    return f"{resent} resent, {sockets} sockets"


@pytest.mark.slow
async def test_a_site_killed_three_times_loses_nothing(site: Site, oracle: Oracle, row: Row) -> None:
    began = time.monotonic()
    outboxes = await under_load(site, oracle, 3, 800, Site.kill)
    took = time.monotonic() - began
    verdict = site.judge(oracle)
    row("F1", f"SIGKILL x 3, 8 clients x 800: {verdict}; {figures(outboxes)}, all there after {took:.1f} s")
    assert verdict.is_clean
    assert sum(box.sockets for box in outboxes) >= 8 * 2


@pytest.mark.slow
async def test_a_site_told_to_end_loses_nothing(site: Site, oracle: Oracle, row: Row) -> None:
    outboxes = await under_load(site, oracle, 1, 400, Site.stop)
    verdict = site.judge(oracle)
    waits = [wait for box in outboxes for wait in box.waits]
    row(
        "F2",
        f"SIGTERM: {verdict}; {figures(outboxes)}, ack p95 {p(95, waits):.0f} ms, "
        f"longest {p(100, waits):.0f} ms",
    )
    assert verdict.is_clean


@pytest.mark.slow
async def test_the_rig_finds_out_who_acknowledges_before_storing(
    new_site: Callable[..., Site], oracle: Oracle, row: Row
) -> None:
    site = new_site("tests.faults.controls:hasty")
    outboxes = await under_load(site, oracle, 1, 400, Site.kill)
    await asyncio.sleep(1)
    verdict = site.judge(oracle)
    row("F0", f"the rig against a log that acks before COMMIT: {verdict}; {figures(outboxes)}")
    assert verdict.lost > 0


@pytest.mark.slow
async def test_the_rig_finds_out_who_appends_blindly(
    new_site: Callable[..., Site], oracle: Oracle, row: Row
) -> None:
    site = new_site("tests.faults.controls:blind")
    site.execute(ONCE)
    async with fault_proxy(site.port) as proxy:
        proxy.seconds_before_cut = (0.2, 0.6)
        outboxes = [Outbox(it.through(proxy.port), oracle) for it in await site.conversations(8)]
        feeds = [outbox.feed(400, 3) for outbox in outboxes]

        async def calm() -> None:
            await asyncio.sleep(4)
            proxy.seconds_before_cut = None

        async with asyncio.timeout(60):
            await asyncio.gather(calm(), *feeds, *(outbox.run() for outbox in outboxes))
    verdict = site.judge(oracle)
    row("F0", f"the rig against a log that appends blindly: {verdict}; {figures(outboxes)}")
    assert verdict.double > 0
