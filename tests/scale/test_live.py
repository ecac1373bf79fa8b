"""Following a conversation live in the admin, over two workers with Redis."""

import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.scale.conftest import Fleet, Speaker
from tests.support import servers
from tests.support.admin import log_in

pytestmark = pytest.mark.browser
Row = Callable[[str, str], None]

REDIS_DOWN_SECONDS = float(os.environ.get("PERSO_TEST_REDIS_DOWN", "5"))
CONVERSATION = "/admin/django_perso/conversation/{}/change/"
LINES = "items => items.map((item) => item.textContent)"


@pytest.fixture
def operator(fleet: Fleet, new_context: Callable[..., Any]) -> Any:
    """A page of the admin on worker A, logged in."""
    page = new_context().new_page()
    log_in(page, fleet.a)
    return page


def open_conversation(page: Any, site: servers.ExampleServer, speaker: Speaker) -> None:
    """Open the conversation, and return once the page follows it."""
    page.goto(site.url + CONVERSATION.format(speaker.stream))
    wait_for(page, "live")


def wait_for(page: Any, state: str) -> str:
    """Wait until the page is live, paused or over; return its message."""
    status = page.locator(f".perso-following[data-state={state}]")
    status.wait_for()
    return str(status.inner_text())


def shown(page: Any) -> list[str]:
    """Return the messages that the page shows."""
    messages = page.locator(".perso-transcript .perso-chat p")
    texts: list[str] = messages.evaluate_all(LINES)
    return texts


def seconds_until(page: Any, text: str, since: float) -> float:
    page.get_by_text(text, exact=True).wait_for(timeout=5000)
    return time.monotonic() - since


def test_entry_appears_on_the_open_page_within_a_second(
    fleet: Fleet, operator: Any, speaker: Speaker, row: Row
) -> None:
    speaker.say("said before")
    open_conversation(operator, fleet.a, speaker)
    assert shown(operator) == speaker.said
    waits = []
    for n in range(20):
        began = time.monotonic()
        speaker.say(f"line {n}.")
        waits.append(seconds_until(operator, f"line {n}.", began))
    median = statistics.median(waits)
    slowest = max(waits)
    row(
        "F30",
        f"written through worker B, followed on A: {len(waits)} entries shown within "
        f"{median:.2f} s (median), the slowest within {slowest:.2f} s",
    )
    assert median < 1
    assert slowest < 3  # the machine may be busy
    speaker.end()
    assert wait_for(operator, "over").startswith("The conversation has ended. Reload ")
    assert shown(operator) == speaker.said
    assert fleet.tracebacks() == 0


def test_many_entries_at_once_are_all_shown(
    fleet: Fleet, operator: Any, speaker: Speaker
) -> None:
    open_conversation(operator, fleet.a, speaker)
    fleet.a.execute(
        "INSERT INTO django_perso_transcriptentry"
        " (conversation_id, source, seq, kind, at_ms, data, created_at)"
        f" SELECT '{speaker.stream}', 'server', 1000 + n, 'chat', n,"
        " jsonb_build_object('role', 'avatar', 'text', 'line ' || n), now()"
        " FROM generate_series(1, 620) AS n"
    )
    speaker.say("the last")
    seconds_until(operator, "the last", time.monotonic())
    assert shown(operator) == [*(f"line {n}" for n in range(1, 621)), "the last"]


def test_page_pauses_without_redis_and_loses_nothing(
    fleet: Fleet, operator: Any, speaker: Speaker, console_errors: list[str], row: Row
) -> None:
    open_conversation(operator, fleet.a, speaker)
    speaker.say("while all is well")
    fleet.redis.kill()
    try:
        assert wait_for(operator, "paused").startswith("Connection lost")
        until = time.monotonic() + REDIS_DOWN_SECONDS
        while time.monotonic() < until:
            speaker.say(f"without Redis {len(speaker.said)}")
            time.sleep(0.25)
    finally:
        fleet.redis.start()
    assert wait_for(operator, "live").startswith("Live")
    began = time.monotonic()
    speaker.say("with Redis again")
    seconds_until(operator, "with Redis again", began)
    assert shown(operator) == speaker.said
    rows = fleet.a.rows(
        "SELECT data FROM django_perso_transcriptentry WHERE source = 'browser' "
        f"AND conversation_id = '{speaker.stream}' ORDER BY id"
    )
    row(
        "F6",
        f"Redis down {REDIS_DOWN_SECONDS:g} s while a page follows: it says paused, "
        f"then shows {len(shown(operator))} of {len(speaker.said)} entries, "
        f"stored {len(rows)}",
    )
    assert [data["text"] for (data,) in rows] == speaker.said
    assert fleet.tracebacks() == 0
    console_errors[:] = [line for line in console_errors if "WebSocket" not in line]


def test_revoked_reader_sees_no_new_entries(
    fleet: Fleet,
    new_context: Callable[..., Any],
    speaker: Speaker,
    console_errors: list[str],
) -> None:
    write = "from tests.admin_site import roles; roles.write()"
    printed = fleet.a.manage("shell", "-c", write).splitlines()
    cookies = json.loads(next(line for line in printed if line.startswith("{")))
    context = new_context()
    context.add_cookies(
        [{"name": "sessionid", "value": cookies["transcripts"], "url": fleet.a.url}]
    )
    page = context.new_page()
    open_conversation(page, fleet.a, speaker)
    fleet.a.execute(
        "DELETE FROM auth_user_user_permissions USING auth_user, auth_permission "
        "WHERE user_id = auth_user.id AND username = 'transcripts' "
        "AND permission_id = auth_permission.id AND codename = 'view_transcriptentry'"
    )
    speaker.say("not for them")
    refusal = "You do not have permission to read what was said."
    page.get_by_text(refusal).wait_for()
    assert "not for them" not in page.content()
    console_errors[:] = [line for line in console_errors if "403" not in line]


@pytest.fixture
def alone(fleet: Fleet) -> Iterator[servers.ExampleServer]:
    """A worker on the same database, without a channel layer."""
    env = {**fleet.env, "DJANGO_SETTINGS_MODULE": "tests.scale.settings"}
    site = servers.ExampleServer(
        servers.unused_port(), env, fleet.directory / "alone.log"
    )
    site.start()
    yield site
    site.stop()


def test_page_without_a_channel_layer_does_not_follow(
    alone: servers.ExampleServer, page: Any, speaker: Speaker
) -> None:
    sockets: list[str] = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    speaker.say("read me")
    log_in(page, alone)
    page.goto(alone.url + CONVERSATION.format(speaker.stream))
    assert shown(page) == ["read me"]
    assert (
        page.locator(".perso-following, [data-follow], script[src*=follow]").count()
        == 0
    )
    page.wait_for_timeout(1000)
    assert sockets == []
