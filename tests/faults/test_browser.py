"""Faults of the browser: closed tabs, bursts, a killed Chromium."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from .outbox import Address
from .site import Site

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

Row = Callable[[str, str], None]
pytestmark = pytest.mark.slow

CLOSES = 300
LINES = 10
BURST = 10_000
# A page without an avatar, which would send what earlier pages have left.
QUIET = "/admin/login/"
# Makes an outbox as the avatar does; it is left when the page is hidden.
OPEN = """async ({ stream, ticket }) => {
  const names = ["frames", "outbox", "transport", "store"];
  const load = async (name) => [name, await import(`/static/django_perso/${name}.js`)];
  const modules = Object.fromEntries(await Promise.all(names.map(load)));
  const { Outbox, makeWorld } = modules.outbox;
  const ws = location.origin.replace("http", "ws") + "/perso/log/";
  const post = "/perso/log/entries/";
  const log = { stream, ticket, ws, post };
  window.outbox = new Outbox(log, makeWorld(modules), () => {});
  addEventListener("pagehide", () => outbox.leave("visitor"));
}"""
SAY = """(count) => {
  for (let n = 1; n <= count; n += 1)
    outbox.add("chat", { role: "visitor", text: `line ${n}` });
}"""
# Returns how many entries the browser keeps.
LEFT = """() => new Promise((done) => {
  const opening = indexedDB.open("django-perso", 1);
  opening.onsuccess = () => {
    const database = opening.result;
    const reading = database.transaction("outbox").objectStore("outbox").getAll();
    reading.onsuccess = () => {
      database.close();
      done(reading.result.flatMap((left) => left.entries).length);
    };
  };
})"""
# For each conversation of a visitor: the number of entries, of wrong entries, and
# whether the conversation is marked as complete.
STORED = """
SELECT
    count(entry.id),
    count(entry.id) FILTER
        (WHERE entry.data->>'text' IS DISTINCT FROM 'line ' || entry.seq),
    conversation.is_complete
FROM django_perso_conversation AS conversation
LEFT JOIN django_perso_transcriptentry AS entry
    ON entry.conversation_id = conversation.id AND entry.source = 'browser'
WHERE conversation.visitor = '{}'
GROUP BY conversation.id"""


def conversations(site: Site, count: int, visitor: str) -> list[Address]:
    """Create conversations in another thread; this one runs Playwright's event loop."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, site.conversations(count, visitor)).result()


def open_outbox(page: "Page", address: Address) -> None:
    """Open a page and make an outbox in it."""
    page.goto(address.url + QUIET)
    page.evaluate(OPEN, {"stream": address.stream, "ticket": address.ticket})


def return_and_wait(page: "Page", site: Site) -> None:
    """Visit the page with the avatar, which sends what earlier pages have left."""
    page.goto(site.url)
    wait_until_sent(page)


def wait_until_sent(page: "Page") -> None:
    for _ in range(300):
        if page.evaluate(LEFT) == 0:
            return
        time.sleep(0.1)
    raise AssertionError("the outbox is not empty after 30 s")


def test_entries_of_closed_tabs_are_not_lost(
    new_site: Callable[..., Site],
    new_context: "Callable[..., BrowserContext]",
    row: Row,
) -> None:
    site = new_site(DEBUG="on")
    chance = random.Random(1)
    visitor = "closer"
    addresses = conversations(site, CLOSES, visitor)
    context = new_context()
    for address in addresses:
        page = context.new_page()
        open_outbox(page, address)
        time.sleep(chance.choice([0, 0, 0.05]))
        page.evaluate(SAY, LINES)
        time.sleep(chance.uniform(0, 0.2) * chance.choice([0, 1]))
        page.close()
    time.sleep(2)
    closed = site.rows(STORED.format(visitor))
    return_and_wait(context.new_page(), site)
    returned = site.rows(STORED.format(visitor))
    after_close = percent_stored(closed)
    after_return = percent_stored(returned)
    wrong = sum(wrong for _, wrong, _ in returned)
    too_early = sum(done and count < LINES for count, _, done in [*closed, *returned])
    row(
        "F23",
        f"{CLOSES} tabs closed while talking: {after_close:.1f} % of the entries "
        f"stored after closing, {after_return:.1f} % after a return; wrong {wrong}, "
        f"marked as complete too early {too_early}",
    )
    assert after_return == 100
    assert wrong == too_early == 0


def percent_stored(rows: list[tuple[int, int, bool]]) -> float:
    """Return how much of all entries of the closed tabs is stored."""
    return 100 * sum(count for count, *_ in rows) / (CLOSES * LINES)


def test_unpaced_burst_is_stored_except_for_one_counted_gap(
    new_site: Callable[..., Site],
    new_context: "Callable[..., BrowserContext]",
    row: Row,
) -> None:
    site = new_site(DEBUG="on")
    (address,) = conversations(site, 1, "burster")
    context = new_context()
    page = context.new_page()
    open_outbox(page, address)
    page.evaluate(SAY, BURST)
    wait_until_sent(page)
    page.evaluate(SAY, 1)
    wait_until_sent(page)
    *burst, last = site.rows(
        "SELECT kind, data FROM django_perso_transcriptentry "
        f"WHERE source = 'browser' AND conversation_id = '{address.stream}' ORDER BY id"
    )
    gaps = [
        (position, data) for position, (kind, data) in enumerate(burst) if kind == "gap"
    ]
    texts = [data["text"] for kind, data in burst if kind == "chat"]
    row(
        "F17",
        f"a burst of {BURST:,} entries without a pause: {len(texts):,} stored, "
        f"gaps {[gap for _, gap in gaps]}",
    )
    assert texts == [f"line {n}" for n in range(1, len(texts) + 1)]
    assert gaps == [(len(texts), {"count": BURST - len(texts), "reason": "overflow"})]
    assert last[1]["text"] == "line 1"


def test_entries_kept_by_a_killed_browser_are_sent_later(
    new_site: Callable[..., Site], profile: Any, row: Row
) -> None:
    site = new_site(DEBUG="on")
    visitor = "crasher"
    rounds = 5
    addresses = conversations(site, rounds, visitor)
    kept = 0
    for address in addresses:
        context, pid = profile()
        page = context.new_page()
        open_outbox(page, address)
        page.wait_for_timeout(300)
        site.kill()  # so that nothing leaves the browser
        page.evaluate(SAY, LINES)
        while not (count := page.evaluate(LEFT)):
            time.sleep(0.005)
        kept += count
        os.kill(pid, signal.SIGKILL)
        site.start()
        context, _ = profile()
        return_and_wait(context.new_page(), site)
        context.close()
    rows = site.rows(STORED.format(visitor))
    stored = sum(count for count, *_ in rows)
    wrong = sum(wrong for _, wrong, _ in rows)
    row(
        "F24",
        f"Chromium killed {rounds} times: {kept} entries kept, {stored} stored, "
        f"wrong {wrong}",
    )
    assert stored >= kept == rounds * LINES
    assert wrong == 0
