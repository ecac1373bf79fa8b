"""What happens to the browser: tabs are closed in the middle of a sentence, Chromium is killed."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .outbox import Address
from .site import Site

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

Row = Callable[[str, str], None]
pytestmark = pytest.mark.slow

CLOSES, LINES, BURST = 300, 10, 10_000
# A page of this site without an avatar, which would send at once what earlier pages have left.
QUIET = "/admin/login/"
# An outbox and its pagehide, as the avatar makes them.
OPEN = """async ({ stream, ticket }) => {
  const names = ["frames", "outbox", "transport", "store"];
  const load = async (name) => [name, await import(`/static/django_perso/${name}.js`)];
  const modules = Object.fromEntries(await Promise.all(names.map(load)));
  const { Outbox, makeWorld } = modules.outbox;
  const ws = location.origin.replace("http", "ws") + "/perso/log/", post = "/perso/log/entries/";
  window.outbox = new Outbox({ stream, ticket, ws, post }, makeWorld(modules), () => {});
  addEventListener("pagehide", () => outbox.leave("visitor"));
}"""
SAY = """(count) => {
  for (let n = 1; n <= count; n += 1) outbox.add("chat", { role: "visitor", text: `line ${n}` });
}"""
LEFT = """() => new Promise((done) => {
  const opening = indexedDB.open("django-perso", 1);
  opening.onsuccess = () => {
    const asked = opening.result.transaction("outbox").objectStore("outbox").getAll();
    asked.onsuccess = () => {
      opening.result.close();
      done(asked.result.flatMap((left) => left.entries).length);
    };
  };
})"""
# What is stored of conversations: how many lines, how many of them wrong, and whether it is called complete.
STORED = """SELECT count(e.id), count(e.id) FILTER (WHERE e.data->>'text' IS DISTINCT FROM 'line ' || e.seq),
    s.is_complete FROM django_perso_conversation AS s LEFT JOIN django_perso_transcriptentry AS e
    ON e.conversation_id = s.id AND e.source = 'browser' WHERE s.visitor = '{}' GROUP BY s.id"""


def conversations(site: Site, count: int, visitor: str) -> list[Address]:
    """In a thread of its own: in this one Playwright's event loop runs."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, site.conversations(count, visitor)).result()


def be_visitor(context: "BrowserContext", address: Address) -> None:
    """The cookie of the conversation's visitor."""
    name, _, value = address.cookie.partition("=")
    context.add_cookies([{"name": name, "value": value, "url": address.url}])


def open_outbox(page: "Page", address: Address) -> None:
    """On a page of its own, as the page with the avatar has it."""
    page.goto(address.url + QUIET)
    page.evaluate(OPEN, {"stream": address.stream, "ticket": address.ticket})


def return_and_wait(page: "Page", site: Site) -> None:
    """A visit of the page with the avatar, which sends what earlier ones left."""
    page.goto(site.url)
    wait_until_sent(page)


def wait_until_sent(page: "Page") -> None:
    for _ in range(300):
        if page.evaluate(LEFT) == 0:
            return
        time.sleep(0.1)
    raise AssertionError("not all was sent within 30 s")


def test_what_is_said_when_a_tab_closes_is_not_lost(
    new_site: Callable[..., Site],
    new_context: "Callable[..., BrowserContext]",
    row: Row,
) -> None:
    site, chance, visitor = new_site(DEBUG="on"), random.Random(1), "closer"
    addresses, context = conversations(site, CLOSES, visitor), new_context()
    be_visitor(context, addresses[0])
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
    after_close, after_return = (
        100 * sum(count for count, *_ in rows) / (CLOSES * LINES)
        for rows in (closed, returned)
    )
    wrong = sum(wrong for _, wrong, _ in returned)
    too_early = sum(done and count < LINES for count, _, done in [*closed, *returned])
    row(
        "F23",
        f"{CLOSES} tabs closed in the middle: {after_close:.1f} % of lines there after the close, "
        f"{after_return:.1f} % after a return; wrong {wrong}, called complete too early {too_early}",
    )
    assert after_return == 100
    assert wrong == too_early == 0


def test_a_burst_that_nobody_paces_is_stored_but_for_one_gap_that_says_how_much(
    new_site: Callable[..., Site],
    new_context: "Callable[..., BrowserContext]",
    row: Row,
) -> None:
    site = new_site(DEBUG="on")
    (address,), context = conversations(site, 1, "burster"), new_context()
    be_visitor(context, address)
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
    gaps = [(at, data) for at, (kind, data) in enumerate(burst) if kind == "gap"]
    told = [data["text"] for kind, data in burst if kind == "chat"]
    row(
        "F17",
        f"a burst of {BURST:,} lines in one breath: {len(told):,} stored, gaps {[gap for _, gap in gaps]}",
    )
    assert told == [f"line {n}" for n in range(1, len(told) + 1)]
    assert gaps == [(len(told), {"count": BURST - len(told), "reason": "overflow"})]
    assert last[1]["text"] == "line 1"


def chromium_pid(profile: Path) -> int:
    """The main process of the Chromium with this profile."""
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            told = process.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if f"--user-data-dir={profile}" in told and not any(
            it.startswith("--type=") for it in told
        ):
            return int(process.parent.name)
    raise AssertionError("no such Chromium")


@pytest.fixture
def profile(
    tmp_path: Path, browser: "Browser", chromium: dict[str, Any]
) -> Iterator[Any]:
    """`profile()`: the context of a Chromium started anew on one and the same profile, and its pid."""
    place = tmp_path / "profile"
    opened: list[BrowserContext] = []

    def start() -> "tuple[BrowserContext, int]":
        opened.append(browser.browser_type.launch_persistent_context(place, **chromium))
        return opened[-1], chromium_pid(place)

    yield start
    opened[-1].close()


def test_what_a_killed_browser_had_kept_is_sent_by_the_next(
    new_site: Callable[..., Site], profile: Any, row: Row
) -> None:
    site, visitor, rounds = new_site(DEBUG="on"), "crasher", 5
    addresses = conversations(site, rounds, visitor)
    kept = 0
    for address in addresses:
        context, pid = profile()
        be_visitor(context, address)
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
        be_visitor(context, address)  # Chromium writes cookies down only every 30 s
        return_and_wait(context.new_page(), site)
        context.close()
    stored = site.rows(STORED.format(visitor))
    there, wrong = (
        sum(count for count, *_ in stored),
        sum(wrong for _, wrong, _ in stored),
    )
    row(
        "F24",
        f"Chromium killed {rounds} times: {kept} lines were kept, {there} are stored, wrong {wrong}",
    )
    assert there >= kept == rounds * LINES
    assert wrong == 0
