"""The log: durable rows a second, delays by a busy thread, memory of a socket."""

import asyncio
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

from django.core import signing
from django.db import connection
from django.db.models import Count
from django.http import HttpResponse

from django_perso import visitors
from django_perso.log.frames import MAX_ITEMS
from django_perso.models import Conversation, TranscriptEntry
from django_perso.services.tickets import SALT as TICKET_SALT

from .figures import Figure, Runs, middle, over
from .load import Visitor, connect, load
from .processes import Process, serving

SECONDS = 2.5
ROUNDS = 3
SOCKETS = 50
WINDOW = 32
IDLE = 1000
FREED = "ours, what the window frees in a frame"
SINGLE = "ours, one row a frame"
Run = Callable[[Process], dict[str, Any]]
# The site of each contestant, and its most entries in a frame.
CONTESTANTS = {
    FREED: ("ours", MAX_ITEMS),
    SINGLE: ("ours", 1),
    "stock": ("stock", 1),
    "echo": ("echo", 1),
}


def browsers(count: int) -> list[Visitor]:
    """Create conversations; return what opens their logs."""
    conversations = Conversation.objects.bulk_create(
        Conversation(visitor=uuid.uuid4().hex) for _ in range(count)
    )
    return [
        _browser(str(conversation.pk), conversation.visitor)
        for conversation in conversations
    ]


def _browser(stream: str, visitor: str) -> Visitor:
    answer = HttpResponse()
    answer.set_signed_cookie(visitors.COOKIE, visitor, salt=visitors.COOKIE_SALT)
    ticket = signing.dumps([stream, visitor], salt=TICKET_SALT, compress=False)
    cookie = f"{visitors.COOKIE}={answer.cookies[visitors.COOKIE].value}"
    return {"t": "hello", "stream": stream, "ticket": ticket}, cookie


def interleaved(
    kind: str, runs: dict[str, tuple[str, Run]], rounds: int = ROUNDS
) -> Runs:
    """Call functions with the servers of their sites, in turn, for several rounds.

    `runs` has the site and the function by name. Return the results by name.
    """
    results: Runs = {name: [] for name in runs}
    with ExitStack() as stack:
        sites = {site for site, _ in runs.values()}
        servers = {site: stack.enter_context(serving(kind, site)) for site in sites}
        for _ in range(rounds):
            for name, (site, run) in runs.items():
                results[name].append(run(servers[site]))
    return results


def durable_rows(site: str, size: int) -> Run:
    """Return a run under full load that counts acknowledged rows that are stored."""

    def run(server: Process) -> dict[str, Any]:
        with connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {TranscriptEntry._meta.db_table}")
        before = server.cpu_seconds()
        result = asyncio.run(
            load(server.port, browsers(SOCKETS), SECONDS, WINDOW, size)
        )
        cpu = server.cpu_seconds() - before
        acked = result.pop("acked")
        stored = acked if site == "echo" else stored_rows()
        acked_in_all = sum(acked.values())
        durable = sum(min(n, stored.get(stream, 0)) for stream, n in acked.items())
        return {
            **result,
            "rate": result["rate"] * durable / acked_in_all,
            "lost": acked_in_all - durable,
            "cpu_us": cpu / acked_in_all * 1e6,
        }

    return run


def stored_rows() -> dict[str, int]:
    """Return the number of stored rows of each conversation."""
    rows = TranscriptEntry.objects.values_list("conversation").annotate(Count("pk"))
    return {str(stream): count for stream, count in rows}


def rows() -> Iterator[Figure]:
    """Measure durable rows a second."""
    for kind in ("daphne", "uvicorn"):
        contests = {
            name: (site, durable_rows(site, size))
            for name, (site, size) in CONTESTANTS.items()
        }
        runs = interleaved(kind, contests)
        for name in CONTESTANTS:
            yield Figure(f"{kind}: {name}", middle(runs[name], "rate"), "/s")
            yield Figure(
                f"{kind}: {name}, CPU of the server",
                middle(runs[name], "cpu_us"),
                "us/row",
            )
        for other, must, aim in (("stock", 20, 30), ("echo", 2, 5)):
            ratio, single = (
                over(runs, "rate", name, other) for name in (FREED, SINGLE)
            )
            yield Figure(
                f"{kind}: durable rows a second, one row a frame, over {other}", single
            )
            yield Figure(
                f"{kind}: durable rows a second over {other}", ratio, "x", must, aim
            )
        lost = sum(run["lost"] for run in runs[FREED] + runs[SINGLE])
        yield Figure(
            f"{kind}: rows acknowledged but not stored", lost, "", 0, 0, {"runs": runs}
        )


def held() -> Iterator[Figure]:
    """Measure acknowledgements while other code blocks the thread sockets share."""

    def run(is_held: bool) -> Run:
        return lambda server: asyncio.run(
            load(server.port, browsers(SOCKETS), 2, 1, 1, is_held=is_held)
        )

    runs = interleaved(
        "daphne",
        {
            f"{site} {thread}": (site, run(thread == "held"))
            for site in ("ours", "stock")
            for thread in ("free", "held")
        },
    )
    for name in runs:
        yield Figure(
            f"p99 of an acknowledgement, {name}", middle(runs[name], "p99"), "ms"
        )
    ratio = over(runs, "p99", "ours held", "ours free")
    yield Figure(
        "p99 with the shared thread held 200 ms, against free",
        ratio,
        "x",
        2,
        1.5,
        {"runs": runs},
    )


def memory() -> Iterator[Figure]:
    """Measure a thousand idle sockets, in new processes without memory to reuse."""
    for kind in ("daphne", "uvicorn"):
        runs = interleaved(
            kind, {"ours": ("ours", idle), "bare": ("bare", idle)}, rounds=1
        )
        for name in runs:
            yield Figure(
                f"{kind}: memory of an idle socket, {name}",
                middle(runs[name], "kib"),
                "KiB",
            )
        ratio = over(runs, "kib", "ours", "bare")
        yield Figure(
            f"{kind}: memory of an idle socket over a bare one",
            ratio,
            "x",
            1.4,
            1.2,
            {"runs": runs},
        )


def idle(server: Process) -> dict[str, Any]:
    """Return the memory of a socket, measured with a thousand of them."""

    async def weigh() -> float:
        await connect(server.port, opened[:100])  # the first ones cost more
        before = server.memory()
        sockets = await connect(server.port, opened[100:])
        await asyncio.sleep(0.5)
        assert not any(socket.transport.is_closing() for socket in sockets)
        return (server.memory() - before) / 1024 / len(sockets)

    opened = browsers(IDLE + 100)
    return {"kib": asyncio.run(weigh())}
