"""What operators do while visitors talk: purge, migrate, wait; and machines whose clocks differ."""

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
from .site import CLONE, Site, p

Row = Callable[[str, str], None]

SOAK_SECONDS = 60 * float(os.environ.get("PERSO_TEST_SOAK_MINUTES", "1"))
ENTRIES, SESSIONS = "django_perso_transcriptentry", "django_perso_conversation"
# Conversations like the first one, the odd ones 100 days old, and lines in each.
OLD = f"""UPDATE {SESSIONS}
    SET created_at = now() - interval '100 days', last_seen_at = now() - interval '100 days'
    WHERE id IN (SELECT id FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM {SESSIONS}
    WHERE visitor = 'history') AS numbered WHERE n % 2 = 1)"""
LINES = f"""INSERT INTO {ENTRIES} (conversation_id, source, seq, kind, at_ms, data, created_at)
    SELECT session.id, 'browser', seq, 'chat', seq, '{{"role": "visitor", "text": "old"}}', session.created_at
    FROM {SESSIONS} AS session, generate_series(1, %s) AS seq WHERE session.visitor = 'history'"""
EXPIRED = (
    f"SELECT count(*) FROM {SESSIONS} WHERE last_seen_at < now() - interval '30 days'"
)


def write_history(site: Site, conversations: int, lines: int) -> None:
    """Conversations of the past, every other one expired."""
    with psycopg.connect(site.database_url) as database:
        made = database.execute(
            "SELECT array_agg(gen_random_uuid()) FROM generate_series(1, %s)",
            [conversations],
        )
        (ids,) = made.fetchone() or ([],)
        database.execute(CLONE.encode(), ["history", ids, site.first])
        database.execute(OLD.encode())
        database.execute(LINES.encode(), [lines])


@pytest.mark.slow
async def test_a_purge_holds_up_nobody_who_talks(
    site: Site, oracle: Oracle, row: Row
) -> None:
    addresses = await site.conversations(16)
    before, during = (
        [Outbox(it, oracle) for it in addresses[:8]],
        [Outbox(it, oracle) for it in addresses[8:]],
    )
    await asyncio.to_thread(write_history, site, 2000, 50)
    deleted: list[dict[str, int]] = []
    began, all_gone = time.monotonic(), asyncio.Event()

    async def purge() -> None:
        told = await asyncio.to_thread(site.manage, "perso_purge", "--json")
        deleted.append(json.loads(told))
        all_gone.set()

    async with asyncio.timeout(120):
        await asyncio.gather(
            *(it for box in before for it in (box.feed(66, 2), box.run()))
        )
        await asyncio.gather(
            purge(),
            *(it for box in during for it in (box.feed_until(all_gone), box.run())),
        )
    took, verdict = time.monotonic() - began, site.judge(oracle)
    deleted.append(json.loads(site.manage("perso_purge", "--json")))
    usual, while_purging = (
        p(99, [wait for box in boxes for wait in box.waits])
        for boxes in (before, during)
    )
    left = site.rows(
        f"SELECT count(*) FROM {ENTRIES} AS e JOIN {SESSIONS} AS s ON s.id = conversation_id "
        "WHERE s.visitor = 'history'"
    )[0][0]
    row(
        "F21",
        f"purge of {deleted[0]['entries']:,} of 100,000 lines, {took:.1f} s: p99 ack {while_purging:.0f} ms "
        f"({usual:.0f} ms before), again: {deleted[1]['entries']}; {verdict}",
    )
    assert verdict.is_clean
    assert deleted[0]["conversations"] == 1000
    assert (left, site.rows(EXPIRED)) == (50_000, [(0,)])
    assert (deleted[1]["conversations"], deleted[1]["entries"]) == (0, 0)
    assert while_purging < max(200, 3 * usual)


@pytest.mark.slow
async def test_a_migration_does_not_stop_those_who_write(
    new_site: Callable[..., Site], row: Row
) -> None:
    site = new_site()
    (address,) = await site.conversations(1)
    await asyncio.to_thread(site.stop)
    await asyncio.to_thread(write_history, site, 20_000, 50)
    waits, stored = list[float](), 0
    migration = asyncio.create_task(
        asyncio.to_thread(site.manage, "migrate", "--verbosity", "0")
    )
    async with await psycopg.AsyncConnection.connect(
        site.database_url, autocommit=True
    ) as database:
        while not migration.done():  # as each deployment does, also without a new one
            began, stored = time.perf_counter(), stored + 1
            now = (
                await (await database.execute("SELECT now()")).fetchone() or (None,)
            )[0]
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
    found = site.rows(
        f"SELECT count(*), max(seq) FROM {ENTRIES} WHERE conversation_id = '{address.stream}' "
        "AND source = 'browser'"
    )
    row(
        "F22",
        f"migrate with 20,000 conversations, 1,000,000 lines: {stored} writes meanwhile, "
        f"longest {p(100, waits):.0f} ms, p99 {p(99, waits):.0f} ms",
    )
    assert found == [(stored, stored)]
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
        outboxes = [
            Outbox(it.through(proxy.port), oracle) for it in await fast.conversations(8)
        ]

        async def wander() -> None:
            for target in (slow, fast, slow):
                await asyncio.sleep(1)
                proxy.target = target.port
                proxy.cut_all()

        async with asyncio.timeout(60):
            feeds = (outbox.feed(200, 5) for outbox in outboxes)
            await asyncio.gather(
                wander(), *feeds, *(outbox.run() for outbox in outboxes)
            )
    async with HttpVisitor(fast.url) as visitor:
        await visitor.open_page()
        assert (await visitor.start()).status_code == 201
    verdict = fast.judge(oracle)
    hours, ended = fast.rows(
        "SELECT extract(epoch FROM max(e.created_at) - min(e.created_at)) / 3600, "
        "count(DISTINCT s.id) FILTER (WHERE s.ended_at IS NOT NULL) "
        f"FROM {ENTRIES} AS e JOIN {SESSIONS} AS s ON s.id = conversation_id WHERE e.source = 'browser'"
    )[0]
    row(
        "F15",
        f"clocks {hours:.1f} h apart, 8 clients to and fro: {verdict}; {ended} live ones taken for silent",
    )
    assert verdict.is_clean
    assert hours > 1.9
    assert ended == 0


@pytest.mark.slow
async def test_nothing_grows_however_many_come_and_go(
    new_site: Callable[..., Site], oracle: Oracle, row: Row
) -> None:
    site, began = new_site(), time.monotonic()
    samples: list[
        tuple[float, ...]
    ] = []  # hours, MiB, open files, threads, connections
    query = (
        "SELECT count(*) - 1 FROM pg_stat_activity WHERE datname = current_database()"
    )
    while (passed := time.monotonic() - began) < SOAK_SECONDS:
        outboxes = [Outbox(address, oracle) for address in await site.conversations(50)]
        async with asyncio.timeout(60):
            await asyncio.gather(
                *(it for box in outboxes for it in (box.feed(20, 1), box.run()))
            )
        await asyncio.sleep(0.5)
        held = (site.memory_mib(), *site.holds(), *site.rows(query)[0])
        samples.append((passed / 3600, *held))
    settled = samples[len(samples) // 3 :]
    hours, mib, files, threads, connections = zip(*settled, strict=True)
    slope = statistics.linear_regression(hours, mib).slope
    verdict = site.judge(oracle)
    row(
        "F28",
        f"50 clients come and go {len(samples)} times in {SOAK_SECONDS / 60:g} min: {verdict}; "
        f"RSS {mib[0]:.0f} to {mib[-1]:.0f} MiB ({slope:+.0f} MiB/h), open files {files[0]} to {files[-1]}, "
        f"threads {threads[0]} to {threads[-1]}, at most {max(connections)} connections, "
        f"tracebacks {site.tracebacks()}",
    )
    assert verdict.is_clean
    assert mib[-1] - mib[0] < 10
    assert files[-1] <= files[0] + 5
    assert threads[-1] <= threads[0] + 5
