"""A visitor talks to the avatar, and every word and tool call is stored."""

import hashlib
import json
from typing import Any

import pytest

from django_perso.services.tickets import LOGOUT_GRACE
from tests.support.admin import log_in, open_first
from tests.support.widget import Avatar

pytestmark = pytest.mark.browser

KEPT_OUTBOXES = """() => new Promise((done) => {
  const opening = indexedDB.open("django-perso");
  opening.onsuccess = () => {
    const outboxes = opening.result.transaction("outbox").objectStore("outbox");
    outboxes.count().onsuccess = ({ target }) => done(target.result);
  };
})"""
ENTRIES = """SELECT source, kind, data FROM django_perso_transcriptentry ORDER BY id"""


def logged(site: Any) -> list[tuple[str, str, dict[str, Any]]]:
    """(source, kind, data) of all entries."""
    return [
        (source, kind, json.loads(data)) for source, kind, data in site.rows(ENTRIES)
    ]


def said(site: Any) -> list[tuple[str, str]]:
    """(role, text) of all that was said, as the database has it."""
    return [
        (data["role"], data["text"]) for _, kind, data in logged(site) if kind == "chat"
    ]


def shown(avatar: Avatar) -> list[tuple[str, str]]:
    """The same as the page has it."""
    return [(role, text) for role, text in avatar.messages() if role != "tool"]


def tool_phases(site: Any) -> list[tuple[str, str]]:
    return [
        (data["name"], data["phase"])
        for _, kind, data in logged(site)
        if kind == "tool"
    ]


def test_conversation_on_the_page_is_stored_once_in_order(
    example_server: Any, page: Any
) -> None:
    site = example_server()
    page.goto(site.url)
    avatar = Avatar(page)
    avatar.start()
    avatar.ask("What is 12 squared?", "144")
    avatar.ask("Thank you!")
    avatar.end()
    assert ("visitor", "What is 12 squared?") in shown(avatar)
    assert said(site) == shown(avatar)
    assert tool_phases(site) == [
        ("get_square_number", "called"),
        ("get_square_number", "answered"),
    ]
    (answered,) = [
        data
        for _, kind, data in logged(site)
        if kind == "tool" and data["phase"] == "answered"
    ]
    assert answered["result"] == {"result": 144}
    assert logged(site)[0] == ("server", "state", {"name": "started"})
    numbers = site.rows(
        "SELECT seq FROM django_perso_transcriptentry"
        " WHERE source = 'browser' ORDER BY id"
    )
    assert [number for (number,) in numbers] == list(range(1, len(numbers) + 1))
    assert site.rows("SELECT ended_by, is_complete FROM django_perso_conversation") == [
        ("visitor", 1)
    ]


def test_conversation_is_read_in_the_admin(
    example_server: Any, page: Any, new_context: Any
) -> None:
    site = example_server()
    page.goto(site.url)
    avatar = Avatar(page)
    avatar.start()
    avatar.ask("What is 12 squared?", "144")
    avatar.end()
    admin = new_context().new_page()
    open_first(admin, site)
    transcript = admin.locator(".perso-transcript").inner_text()
    assert transcript.count("What is 12 squared?") == 1
    order = [
        transcript.index(text)
        for text in ("started", "12 squared?", "get_square_number", "144", "ended")
    ]
    assert order == sorted(order)


def test_logout_in_another_tab_ends_the_conversation(
    example_server: Any, page: Any
) -> None:
    site = example_server()
    log_in(page, site)
    page.goto(site.url)
    avatar = Avatar(page)
    avatar.start()
    avatar.ask("What is 12 squared?", "144")
    tab = page.context.new_page()
    tab.goto(f"{site.url}/admin/")
    tab.get_by_role("button", name="Log out").click()
    tab.wait_for_timeout(LOGOUT_GRACE.total_seconds() * 1000 + 1000)
    avatar.type("What is 13 squared?")
    avatar.wait_for(state="ended")
    avatar.part("reason").filter(has_text="You have logged out").wait_for()
    assert ("visitor", "What is 12 squared?") in said(site)
    assert ("visitor", "What is 13 squared?") not in said(site)
    assert logged(site)[-1][2] == {"name": "ended", "how": "logout"}
    assert page.evaluate(KEPT_OUTBOXES) == 0


@pytest.mark.slow
def test_killing_the_server_three_times_loses_nothing(
    example_server: Any, sandbox_server: Any, page: Any, console_errors: list[str]
) -> None:
    sandbox = sandbox_server()
    site = example_server(PERSO_INTERACTIVE_API_SERVER=sandbox.url)
    page.goto(site.url)
    avatar = Avatar(page)
    avatar.start()
    for number in (31, 32, 33):  # no square of these is part of another
        avatar.ask(
            f"What is {number} squared?", str(number * number)
        )  # the page shows it as saved
        site.kill()
        avatar.type(
            f"And what is {number + 10} squared?"
        )  # said while the site is down
        avatar.part("message-avatar").filter(
            has_text=str((number + 10) ** 2)
        ).last.wait_for()
        site.start()
    avatar.wait_for(state="live", log="saved")
    avatar.end()
    assert said(site) == shown(avatar)
    assert (
        tool_phases(site)
        == [("get_square_number", "called"), ("get_square_number", "answered")] * 6
    )
    numbers = site.rows(
        "SELECT seq FROM django_perso_transcriptentry"
        " WHERE source = 'browser' ORDER BY id"
    )
    assert [number for (number,) in numbers] == list(range(1, len(numbers) + 1))
    # The browser reports each attempt to reach a server that is down.
    console_errors.clear()


def test_a_tool_that_fails_is_told_to_the_avatar_and_logged(
    example_server: Any, page: Any
) -> None:
    site = example_server()
    page.goto(site.url)
    avatar = Avatar(page)
    avatar.start()
    avatar.type("Show me the map")
    avatar.part("message-tool").filter(has_text="show_map").first.wait_for()
    avatar.wait_for(state="live", activity="ready", log="saved")
    avatar.ask("What is 3 squared?", "9")
    avatar.end()
    assert tool_phases(site)[:2] == [("show_map", "called"), ("show_map", "failed")]
    assert (
        "no map"
        in next(
            d for _, k, d in logged(site) if k == "tool" and d["phase"] == "failed"
        )["error"]
    )


def test_two_visitors_at_once_each_have_their_own_transcript(
    example_server: Any, new_context: Any
) -> None:
    site = example_server()
    avatars = []
    for name in ("Ada", "Bob"):
        page = new_context().new_page()
        page.goto(site.url)
        avatars.append((name, Avatar(page)))
    for _, avatar in avatars:
        avatar.start()
    for name, avatar in avatars:
        avatar.ask(f"Hello, my name is {name}.")
    for _, avatar in avatars:
        avatar.end()
    rows = site.rows(
        "SELECT conversation_id, data FROM django_perso_transcriptentry"
        " WHERE kind = 'chat'"
    )
    names = {
        name: {stream for stream, data in rows if f"my name is {name}" in data}
        for name, _ in avatars
    }
    assert all(len(streams) == 1 for streams in names.values())
    assert names["Ada"] != names["Bob"]


def test_consent_is_asked_for_stored_and_shown_to_staff(
    example_server: Any, page: Any, console_errors: list[str]
) -> None:
    site = example_server()
    site.execute(
        "UPDATE django_perso_sessionpreset SET consent_text = 'We keep <b>all</b>.'"
    )
    page.goto(site.url)
    avatar = Avatar(page)
    avatar.part("start").click()
    avatar.wait_for(state="consent")
    assert avatar.part("consent-text").inner_text() == "We keep <b>all</b>."
    assert site.rows("SELECT count(*) FROM django_perso_persosession") == [(0,)]
    avatar.part("agree").click()
    avatar.wait_for(state="live")
    avatar.ask("Hello!")
    avatar.end()
    page.reload()
    avatar.start()
    avatar.end()
    digest = hashlib.sha256(b"We keep <b>all</b>.").hexdigest()
    stored = site.rows(
        "SELECT consent_hash, consent_at IS NOT NULL FROM django_perso_conversation"
    )
    assert stored == [(digest, 1)] * 2
    open_first(page, site)
    page.get_by_text(f"the preset's current text ({digest[:12]})").wait_for()
    console_errors.clear()  # the browser reports the refusal
