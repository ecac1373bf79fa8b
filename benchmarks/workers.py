"""Several workers on one database, among which the sockets are divided."""

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from django.db.models import Count

from django_perso.log.frames import MAX_ITEMS
from django_perso.models import TranscriptEntry

from .figures import Figure, Runs, middle, over
from .load import load
from .log import ROUNDS, SECONDS, WINDOW, browsers
from .processes import Process, serving

SOCKETS = 48


def workers() -> Iterator[Figure]:
    """Compare durable rows a second of one worker and of three.

    Client, database and workers share the processor cores.
    """
    runs: Runs = {"1 worker": [], "3 workers": []}
    with ExitStack() as stack:
        servers = [stack.enter_context(serving("daphne")) for _ in range(3)]
        for _ in range(ROUNDS):
            runs["1 worker"].append(durable_rows(servers[:1]))
            runs["3 workers"].append(durable_rows(servers))
    for name in runs:
        yield Figure(
            f"daphne: durable rows a second, {name}, {os.cpu_count()} cores",
            middle(runs[name], "rate"),
            "/s",
        )
        yield Figure(
            f"daphne: p99 of an acknowledgement, {name}",
            middle(runs[name], "p99"),
            "ms",
        )
    ratio = over(runs, "rate", "3 workers", "1 worker")
    yield Figure(
        f"daphne: durable rows a second, 3 workers over 1, {os.cpu_count()} cores",
        ratio,
    )
    lost = sum(run["lost"] for results in runs.values() for run in results)
    yield Figure(
        "rows acknowledged by several workers but not stored",
        lost,
        "",
        0,
        0,
        {"runs": runs},
    )


def durable_rows(servers: Sequence[Process]) -> dict[str, Any]:
    """Put all servers under full load; count acknowledged rows that are not stored."""
    people = browsers(SOCKETS)

    async def load_all() -> list[dict[str, Any]]:
        shares = [people[n :: len(servers)] for n in range(len(servers))]
        loads = [
            load(server.port, share, SECONDS, WINDOW, MAX_ITEMS)
            for server, share in zip(servers, shares, strict=True)
        ]
        return await asyncio.gather(*loads)

    results = asyncio.run(load_all())
    acked: dict[Any, int] = {}
    for result in results:
        acked.update(result["acked"])
    rows = TranscriptEntry.objects.filter(conversation__in=acked).values_list(
        "conversation"
    )
    stored = {str(stream): count for stream, count in rows.annotate(Count("pk"))}
    lost = sum(max(0, count - stored.get(stream, 0)) for stream, count in acked.items())
    return {
        "rate": sum(result["rate"] for result in results),
        "p99": max(result["p99"] for result in results),
        "lost": lost,
    }
