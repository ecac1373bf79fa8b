"""Upkeep while visitors talk: purging, migrating, long runs, and wrong clocks."""

import asyncio
import json
import os
import statistics
import time
from collections.abc import Callable

import psycopg
import pytest

from django_perso.services import bulk
from tests.support.visitor import HttpVisitor

from .oracle import Oracle
from .outbox import Outbox
from .proxy import fault_proxy
from .site import CLONE, Site, percentile

Row = Callable[[str, str], None]

SOAK_SECONDS = 60 * float(os.environ.get("PERSO_TEST_SOAK_MINUTES", "1"))
# Makes every other conversation of the history 100 days old.
AGE = """
UPDATE django_perso_conversation
SET created_at = now() - interval '100 days',
    last_seen_at = now() - interval '100 days'
WHERE id IN (
    SELECT id FROM (
        SELECT id, row_number() OVER (ORDER BY id) AS n
        FROM django_perso_conversation WHERE visitor = 'history'
    ) AS numbered
    WHERE n % 2 = 1
)"""
WRITE_ENTRIES = """
INSERT INTO django_perso_transcriptentry
    (conversation_id, source, seq, kind, at_ms, data, created_at)
SELECT conversation.id, 'browser', seq, 'chat', seq,
    '{"role": "visitor", "text": "old"}', conversation.created_at
FROM django_perso_conversation AS conversation, generate_series(1, %s) AS seq
WHERE conversation.visitor = 'history'"""
EXPIRED = (
    "SELECT count(*) FROM django_perso_conversation "
    "WHERE last_seen_at < now() - interval '30 days'"
)


def write_history(site: Site, conversations: int, lines: int) -> None:
    """Write conversations with entries; every other conversation has expired."""
    with psycopg.connect(site.database_url) as database:
        cursor = database.execute(
            "SELECT array_agg(gen_random_uuid()) FROM generate_series(1, %s)",
            [conversations],
        )
        (ids,) = cursor.fetchone() or ([],)
        database.execute(CLONE.encode(), ["history", ids, site.first])
        database.execute(AGE.encode())
        database.execute(WRITE_ENTRIES.encode(), [lines])


@pytest.mark.slow
async def test_purge_does_not_delay_conversations(
    site: Site, oracle: Oracle, row: Row
) -> None:
    addresses = await site.conversations(16)
    before = [Outbox(address, oracle) for address in addresses[:8]]
    during = [Outbox(address, oracle) for address in addresses[8:]]
    await asyncio.to_thread(write_history, site, 2000, 50)
    deleted: list[dict[str, int]] = []
    is_purged = asyncio.Event()
    began = time.monotonic()

    async def purge() -> None:
        printed = await asyncio.to_thread(site.manage, "perso_purge", "--json")
        deleted.append(json.loads(printed))
        is_purged.set()

    async with asyncio.timeout(120):
        feeds = [outbox.feed(66, 2) for outbox in before]
        await asyncio.gather(*feeds, *(outbox.run() for outbox in before))
        feeds = [outbox.feed_until(is_purged) for outbox in during]
        await asyncio.gather(purge(), *feeds, *(outbox.run() for outbox in during))
    seconds = time.monotonic() - began
    verdict = site.judge(oracle)
    deleted.append(json.loads(site.manage("perso_purge", "--json")))
    before_ms = percentile(99, [wait for box in before for wait in box.waits])
    during_ms = percentile(99, [wait for box in during for wait in box.waits])
    remaining = site.rows(
        "SELECT count(*) FROM django_perso_transcriptentry "
        "JOIN django_perso_conversation AS conversation "
        "ON conversation.id = conversation_id WHERE conversation.visitor = 'history'"
    )[0][0]
    row(
        "F21",
        f"{deleted[0]['entries']:,} of 100,000 entries purged, {seconds:.1f} s: p99 of "
        f"acknowledgements {during_ms:.0f} ms ({before_ms:.0f} ms before), "
        f"{deleted[1]['entries']} the second time; {verdict}",
    )
    assert verdict.is_clean
    assert deleted[0]["conversations"] == 1000
    assert (remaining, site.rows(EXPIRED)) == (50_000, [(0,)])
    assert (deleted[1]["conversations"], deleted[1]["entries"]) == (0, 0)
    assert during_ms < max(200, 3 * before_ms)


@pytest.mark.slow
async def test_migration_does_not_stop_writes(
    new_site: Callable[..., Site], row: Row
) -> None:
    site = new_site()
    (address,) = await site.conversations(1)
    await asyncio.to_thread(site.stop)
    await asyncio.to_thread(write_history, site, 20_000, 50)
    waits: list[float] = []
    stored = 0
    migration = asyncio.create_task(
        asyncio.to_thread(site.manage, "migrate", "--verbosity", "0")
    )
    async with await psycopg.AsyncConnection.connect(
        site.database_url, autocommit=True
    ) as database:
        while not migration.done():  # as each deployment does, also without a new one
            began = time.perf_counter()
            stored += 1
            cursor = await database.execute("SELECT now()")
            (now,) = await cursor.fetchone() or (None,)
            line = {
                "stream": address.stream,
                "seq": stored,
                "kind": "chat",
                "at_ms": 1,
                "data": {"text": "x"},
                "bytes": stored,
            }
            async with database.transaction():
                await database.execute(bulk.INSERT.encode(), [now, json.dumps([line])])
                await database.execute(bulk.UPDATE.encode(), [json.dumps([line])])
            waits.append(time.perf_counter() - began)
            await asyncio.sleep(0.005)
    await migration
    rows = site.rows(
        "SELECT count(*), max(seq) FROM django_perso_transcriptentry "
        f"WHERE conversation_id = '{address.stream}' AND source = 'browser'"
    )
    row(
        "F22",
        f"migrate with 20,000 conversations, 1,000,000 entries: {stored} writes "
        f"meanwhile, longest {percentile(100, waits):.0f} ms, "
        f"p99 {percentile(99, waits):.0f} ms",
    )
    assert rows == [(stored, stored)]
    assert max(waits) < 1


@pytest.mark.slow
async def test_clocks_two_hours_apart_do_not_change_the_order(
    new_site: Callable[..., Site], oracle: Oracle, row: Row
) -> None:
    fast = new_site("tests.faults.skewed:application", FAULTS_CLOCK_SECONDS="3600")
    slow = new_site(
        "tests.faults.skewed:application",
        fast.database_url,
        FAULTS_CLOCK_SECONDS="-3600",
    )
    async with fault_proxy(fast.port) as proxy:
        addresses = await fast.conversations(8)
        outboxes = [
            Outbox(address.through(proxy.port), oracle) for address in addresses
        ]

        async def switch_sites() -> None:
            for target in (slow, fast, slow):
                await asyncio.sleep(1)
                proxy.target = target.port
                proxy.cut_all()

        async with asyncio.timeout(60):
            feeds = (outbox.feed(200, 5) for outbox in outboxes)
            await asyncio.gather(
                switch_sites(), *feeds, *(outbox.run() for outbox in outboxes)
            )
    async with HttpVisitor(fast.url) as visitor:
        await visitor.open_page()
        assert (await visitor.start()).status_code == 201
    verdict = fast.judge(oracle)
    hours, ended = fast.rows(
        "SELECT "
        "extract(epoch FROM max(entry.created_at) - min(entry.created_at)) / 3600, "
        "count(DISTINCT conversation.id) "
        "FILTER (WHERE conversation.ended_at IS NOT NULL) "
        "FROM django_perso_transcriptentry AS entry "
        "JOIN django_perso_conversation AS conversation "
        "ON conversation.id = conversation_id WHERE entry.source = 'browser'"
    )[0]
    row(
        "F15",
        f"clocks {hours:.1f} h apart, 8 clients that switch between them: {verdict}; "
        f"{ended} live conversations ended as silent",
    )
    assert verdict.is_clean
    assert hours > 1.9
    assert ended == 0


@pytest.mark.slow
async def test_resources_do_not_grow_with_many_clients(
    new_site: Callable[..., Site], oracle: Oracle, row: Row
) -> None:
    site = new_site()
    began = time.monotonic()
    # Of each round: hours, MiB, open files, threads, connections.
    samples: list[tuple[float, ...]] = []
    query = (
        "SELECT count(*) - 1 FROM pg_stat_activity WHERE datname = current_database()"
    )
    while (passed := time.monotonic() - began) < SOAK_SECONDS:
        outboxes = [Outbox(address, oracle) for address in await site.conversations(50)]
        async with asyncio.timeout(60):
            feeds = [outbox.feed(20, 1) for outbox in outboxes]
            await asyncio.gather(*feeds, *(outbox.run() for outbox in outboxes))
        await asyncio.sleep(0.5)
        resources = (
            site.memory_mib(),
            *site.files_and_threads(),
            *site.rows(query)[0],
        )
        samples.append((passed / 3600, *resources))
    settled = samples[len(samples) // 3 :]
    hours, mib, files, threads, connections = zip(*settled, strict=True)
    slope = statistics.linear_regression(hours, mib).slope
    verdict = site.judge(oracle)
    row(
        "F28",
        f"{len(samples)} times 50 clients in {SOAK_SECONDS / 60:g} min: {verdict}; "
        f"RSS {mib[0]:.0f} to {mib[-1]:.0f} MiB ({slope:+.0f} MiB/h), "
        f"open files {files[0]} to {files[-1]}, threads {threads[0]} to {threads[-1]}, "
        f"at most {max(connections)} connections, tracebacks {site.tracebacks()}",
    )
    assert verdict.is_clean
    assert mib[-1] - mib[0] < 10
    assert files[-1] <= files[0] + 5
    assert threads[-1] <= threads[0] + 5
