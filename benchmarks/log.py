"""The log: durable rows a second, what a held thread delays, what a socket weighs."""

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

SECONDS, ROUNDS, SOCKETS, WINDOW, IDLE = 2.5, 3, 50, 32, 1000
FREED, SINGLE = "ours, what the window frees in a frame", "ours, one row a frame"
Run = Callable[[Process], dict[str, Any]]
CONTESTANTS = {  # which site, and how many entries a frame takes
    FREED: ("ours", MAX_ITEMS),
    SINGLE: ("ours", 1),
    "stock": ("stock", 1),
    "echo": ("echo", 1),
}


def browsers(many: int) -> list[Visitor]:
    """As many conversations that were started, with what opens their logs."""
    conversations = Conversation.objects.bulk_create(
        Conversation(visitor=uuid.uuid4().hex) for _ in range(many)
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
    """Each run by its name: its site, and what is done to it; all of them in turn, several times over."""
    found: Runs = {name: [] for name in runs}
    with ExitStack() as stack:
        sites = {site for site, _ in runs.values()}
        servers = {site: stack.enter_context(serving(kind, site)) for site in sites}
        for _ in range(rounds):
            for name, (site, run) in runs.items():
                found[name].append(run(servers[site]))
    return found


def durable_rows(site: str, size: int) -> Run:
    """A run under full load; of what was acknowledged only that counts whose row is there afterwards."""

    def run(server: Process) -> dict[str, Any]:
        with connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {TranscriptEntry._meta.db_table}")
        before = server.cpu_seconds()
        told = asyncio.run(load(server.port, browsers(SOCKETS), SECONDS, WINDOW, size))
        cpu, acked = server.cpu_seconds() - before, told.pop("acked")
        rows = TranscriptEntry.objects.values_list("conversation").annotate(Count("pk"))
        there = (
            {str(stream): count for stream, count in rows} if site != "echo" else acked
        )
        found, all_ = (
            sum(min(n, there.get(stream, 0)) for stream, n in acked.items()),
            sum(acked.values()),
        )
        cpu_us = cpu / all_ * 1e6
        return {
            **told,
            "rate": told["rate"] * found / all_,
            "lost": all_ - found,
            "cpu_us": cpu_us,
        }

    return run


def rows() -> Iterator[Figure]:
    """Durable rows a second."""
    for kind in ("daphne", "uvicorn"):
        contests = {
            name: (it[0], durable_rows(*it)) for name, it in CONTESTANTS.items()
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
    """Acknowledgements while other code of the process holds the thread that all its sockets share."""

    def run(is_held: bool) -> Run:
        return lambda server: asyncio.run(
            load(server.port, browsers(SOCKETS), 2, 1, 1, is_held=is_held)
        )

    runs = interleaved(
        "daphne",
        {
            f"{site} {how}": (site, run(how == "held"))
            for site in ("ours", "stock")
            for how in ("free", "held")
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
    """A thousand idle sockets, of fresh processes: what sockets before them had would be used again."""
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
    """What a thousand more sockets weigh."""

    async def weigh() -> float:
        await connect(server.port, opened[:100])  # what only the first few cost
        before = server.memory()
        sockets = await connect(server.port, opened[100:])
        await asyncio.sleep(0.5)
        assert not any(socket.transport.is_closing() for socket in sockets)
        return (server.memory() - before) / 1024 / len(sockets)

    opened = browsers(IDLE + 100)
    return {"kib": asyncio.run(weigh())}
