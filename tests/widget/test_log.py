"""The widget's log: answers that are not the site's, and what the browser keeps."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.widget import Avatar

from .site import Site, ask

pytestmark = pytest.mark.browser


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
          await writer.drop("a", 4);
          await writer.drop("b", 1);
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
