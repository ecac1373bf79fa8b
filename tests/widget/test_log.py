"""The widget's log: answers that are not the site's, and what the browser keeps."""

import json
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.widget import Avatar

from .site import Site, ask

pytestmark = pytest.mark.browser

# Makes an outbox as the avatar does. Outboxes of a page share a world.
OPEN = """async ([stream, ws]) => {
  const names = ["frames", "outbox", "transport", "store"];
  const load = async (name) => [name, await import(`/static/${name}.js`)];
  const modules = Object.fromEntries(await Promise.all(names.map(load)));
  const { Outbox, makeWorld } = modules.outbox;
  window.world ??= makeWorld(modules);
  const address = { stream, ticket: "ticket", ws, post: "/log/" };
  window.outbox = new Outbox(address, world, (status) => { window.status = status; });
}"""
SAY = "(text) => outbox.add('chat', { role: 'visitor', text })"
SOCKET = "ws://site.invalid/log/"
HTML = {"content_type": "text/html", "body": "<h1>Blocked</h1>"}


@pytest.fixture
def open_outbox(site: Site, page: Any) -> Callable[..., Any]:
    """`open_outbox()` makes an outbox in a page, and returns what adds a line to it."""

    def open_one(stream: str = "a", ws: str | None = None) -> Callable[[str], None]:
        if page.url != site.url:
            page.goto(site.url)
        page.evaluate(OPEN, [stream, ws])

        def say(text: str) -> None:
            page.evaluate(SAY, text)

        return say

    return open_one


def wait_until_saved(page: Any, seconds: float = 30) -> None:
    page.wait_for_function("status === 'saved'", timeout=seconds * 1000)


def texts(site: Site) -> list[str]:
    """The text of each entry, or the reason of a gap."""
    return [row["d"].get("text", row["d"].get("reason")) for row in site.rows]


def wait_for_rows(site: Site, page: Any, count: int) -> None:
    for _ in range(100):
        if len(site.rows) >= count:
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"{len(site.rows)} of {count} entries were stored in 10 s")


@pytest.mark.parametrize("status", [200, 403, 404])
def test_html_page_instead_of_an_answer_loses_no_entry(
    site: Site,
    avatar: Callable[[], Avatar],
    page: Any,
    console_errors: list[str],
    status: int,
) -> None:
    html = {"status": status, "content_type": "text/html", "body": "<h1>Elsewhere</h1>"}
    talk = avatar()
    talk.start()
    talk.wait_for(log="saved")
    answered: list[str] = []

    def answer(route: Any) -> None:
        answered.append(route.request.post_data)
        route.fulfill(**html)

    page.route("**/log/", answer, times=1)
    ask(talk, "What is 2 times 3?", "6")
    ask(talk, "What is 2 times 4?", "8")
    talk.wait_for(log="saved")
    assert len(answered) == 1
    assert site.chat == talk.messages()
    assert len(site.chat) == 4
    console_errors.clear()


def test_store_keeps_what_a_page_leaves_in_indexeddb(site: Site, page: Any) -> None:
    page.goto(site.url)
    kept = page.evaluate(
        """async () => {
          const { Store } = await import("/static/store.js");
          const left = (stream, at) => ({ stream, at, entries: [], last: 0 });
          const writer = new Store();
          await writer.put(left("a", 1));
          await writer.put(left("a", 5));
          await writer.put(left("b", 1));
          await writer.put(left("c", 1));
          await writer.dropUntil("a", 4);
          await writer.dropUntil("b", 1);
          await writer.drop("c");
          await writer.drop("unknown");
          return new Store().all();
        }"""
    )
    assert kept == [{"stream": "a", "at": 5, "entries": [], "last": 0}]


def test_store_keeps_nothing_when_indexeddb_is_refused(site: Site, page: Any) -> None:
    page.add_init_script(
        "indexedDB.open = () => { throw new DOMException('no', 'SecurityError'); };"
    )
    page.goto(site.url)
    kept = page.evaluate(
        """async () => {
          const { Store } = await import("/static/store.js");
          const store = new Store();
          await store.put({ stream: "a", at: 1 });
          await store.drop("a");
          return store.all();
        }"""
    )
    assert kept == []


def test_entry_that_a_firewall_blocks_becomes_a_gap(
    site: Site, page: Any, open_outbox: Any, console_errors: list[str]
) -> None:
    def answer(route: Any) -> None:
        if "having " in (route.request.post_data or ""):
            route.fulfill(status=403, **HTML)
        else:
            route.continue_()

    page.route("**/log/", answer)
    say = open_outbox()
    lines = ["one", "two", "select a group having a count", "four", "five"]
    for line in lines:
        say(line)
    wait_until_saved(page)
    lines[2] = "undeliverable"
    assert texts(site) == lines
    assert site.rows[2]["k"] == "gap"
    console_errors.clear()


def test_queue_passes_a_proxy_that_refuses_large_bodies(
    site: Site, page: Any, open_outbox: Any, console_errors: list[str]
) -> None:
    is_away = True

    def answer(route: Any) -> None:
        if is_away:
            route.abort()
        elif len(route.request.post_data or "") > 8192:
            route.fulfill(status=413, **HTML)
        else:
            route.continue_()

    page.route("**/log/", answer)
    say = open_outbox()
    lines = [f"line {number} {'x' * 400}" for number in range(31)]
    for line in lines:
        say(line)
    page.wait_for_timeout(1000)
    is_away = False
    wait_until_saved(page)
    assert texts(site) == lines
    console_errors.clear()


@pytest.mark.parametrize("is_silent", [True, False])
def test_post_replaces_sockets_that_fail_for_the_page(
    site: Site, page: Any, open_outbox: Any, console_errors: list[str], is_silent: bool
) -> None:
    opened: list[Any] = []

    def accept(socket: Any) -> None:
        opened.append(socket)
        if not is_silent:
            socket.close(code=1011)

    page.route_web_socket(SOCKET, accept)
    open_outbox(ws=SOCKET)("one")
    wait_until_saved(page, seconds=10)
    sockets = len(opened)
    open_outbox(stream="b", ws=SOCKET)("two")
    wait_until_saved(page, seconds=2)
    assert texts(site) == ["one", "two"]
    assert sockets == len(opened) == (1 if is_silent else 2)
    console_errors.clear()


def test_two_pages_of_a_conversation_lose_no_entry(
    site: Site, page: Any, open_outbox: Any, console_errors: list[str]
) -> None:
    say = open_outbox()
    say("one")
    wait_until_saved(page)
    other = page.context.new_page()
    other.goto(site.url)
    other.evaluate(OPEN, ["a", None])
    other.evaluate(SAY, "two, on the second page")
    wait_until_saved(other)
    say("three, on the first page")
    page.wait_for_function("status === 'unsaved'")
    other.evaluate(SAY, "four, on the second page")
    wait_for_rows(site, other, 4)
    assert sorted(texts(site)) == [
        "four, on the second page",
        "one",
        "three, on the first page",
        "two, on the second page",
    ]
    console_errors.clear()  # the browser reports the refusal


def test_lines_after_storage_was_cleared_are_sent_later(
    site: Site, page: Any, open_outbox: Any, console_errors: list[str]
) -> None:
    context = page.context
    say = open_outbox()
    say("before")
    wait_until_saved(page)
    other = context.new_page()
    site.headers = {"Clear-Site-Data": '"storage"'}
    other.goto(site.url)
    site.headers = {}
    context.route("**/log/", lambda route: route.abort())
    for line in ("one", "two", "three"):
        say(line)
    page.wait_for_timeout(500)
    page.close()
    other.close()
    context.unroute("**/log/")
    later = context.new_page()
    later.goto(site.url)  # its avatar sends what earlier pages have left
    wait_for_rows(site, later, 4)
    assert texts(site) == ["before", "one", "two", "three"]
    console_errors.clear()


def test_lines_of_a_browser_killed_after_start_are_sent_later(
    site: Site, profile: Any
) -> None:
    context, pid = profile()
    page = context.new_page()
    page.goto(site.url)
    context.route("**/log/", lambda route: route.abort())
    talk = Avatar(page)
    talk.start()
    ask(talk, "What is 2 times 3?", "6")
    talk.wait_for(log="queued")
    said = talk.messages()
    page.wait_for_timeout(500)
    os.kill(pid, signal.SIGKILL)
    assert site.rows == []
    context, _ = profile()
    page = context.new_page()
    page.goto(site.url)
    wait_for_rows(site, page, 4)
    assert site.chat == said


def test_words_of_a_user_who_logged_out_are_neither_sent_nor_kept(
    site: Site, page: Any, open_outbox: Any, console_errors: list[str]
) -> None:
    context = page.context
    context.route("**/log/", lambda route: route.abort())
    open_outbox()("secret")
    page.wait_for_timeout(500)
    page.close()
    context.unroute("**/log/")
    posted: list[str] = []

    def refuse(route: Any) -> None:
        posted.append(route.request.post_data)
        route.fulfill(
            status=401,
            content_type="application/problem+json",
            body=json.dumps({"code": "logged_out"}),
        )

    context.route("**/log/", refuse)
    later = context.new_page()
    later.goto(site.url)
    later.wait_for_timeout(1500)
    kept = later.evaluate(
        """async () => {
          const { Store } = await import("/static/store.js");
          return new Store().all();
        }"""
    )
    assert kept == []
    assert len(posted) == 1
    assert "secret" not in posted[0]
    console_errors.clear()


def test_store_opens_a_database_that_was_deleted_again(site: Site, page: Any) -> None:
    page.goto(site.url)
    kept = page.evaluate(
        """async () => {
          const { Store } = await import("/static/store.js");
          const store = new Store();
          await store.put({ stream: "a", at: 1 });
          await new Promise((resolve, reject) => {
            const deletion = indexedDB.deleteDatabase("django-perso");
            deletion.onsuccess = resolve;
            deletion.onblocked = reject;
          });
          await store.put({ stream: "b", at: 1 });
          return new Store().all();
        }"""
    )
    assert kept == [{"stream": "b", "at": 1}]


def test_store_hands_entries_over_once(site: Site, page: Any) -> None:
    page.goto(site.url)
    taken = page.evaluate(
        """async () => {
          const { Store } = await import("/static/store.js");
          const store = new Store();
          const left = (at, ...entries) => ({ stream: "a", at, entries, last: 0 });
          await store.handOver(left(1, 1));
          await store.put(left(2, 7));
          await store.handOver(left(3, 2));
          await store.handOver(left(4, 3));
          await store.dropUntil("a", 9);
          const [kept] = await store.all();
          return [kept, await store.drop("a"), await store.drop("a")];
        }"""
    )
    kept = {"stream": "a", "at": 2, "entries": [7], "last": 0, "late": [2, 3]}
    assert taken == [kept, [2, 3], []]
